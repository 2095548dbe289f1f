"""MEMORY: what keys and the server take. All figures are estimates of this process, see keyspace/eviction.py."""

from __future__ import annotations

from replicator.core.command_table.registry import LOADING, READONLY, STALE, command, container
from replicator.core.commands.parts import Client
from replicator.core.errors import NOT_AN_INTEGER, SYNTAX, CommandError
from replicator.core.keyspace.eviction import key_size
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_int

_DEFAULT_SAMPLES = 5
# Below this there is nothing to diagnose.
_SMALL = 5 * 1024 * 1024

_HELP = (
    "MEMORY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DOCTOR",
    "    Return memory problems reports.",
    "MALLOC-STATS",
    "    Return internal statistics report from the memory allocator.",
    "PURGE",
    "    Attempt to purge dirty pages for reclamation by the allocator.",
    "STATS",
    "    Return information about the memory usage of the server.",
    "USAGE <key> [SAMPLES <count>]",
    "    Return memory in bytes used by <key> and its value. Nested values are",
    "    sampled up to <count> times (default: 5, 0 means sample all).",
    "HELP",
    "    Prints this help.",
)

_NOTHING_TO_SAY = (
    "Hi Sam, this instance is empty or is using very little memory, my issues detector can't be used in these "
    "conditions. Please, leave for your mission on Earth and fill it with some data. The new Sam and I will be "
    "back to our programming as soon as I finished rebooting.\n"
)
_HEALTHY = (
    "Hi Sam, I can't find any memory issue in your instance. I can only account for what occurs on this base.\n"
)
_HIGH_PEAK = (
    " * Peak memory: In the past this instance used more than 150% the memory that is currently using. The "
    "interpreter keeps freed memory for later use, so the resident set size may stay large.\n\n"
)
_BIG_BUFFERS = (
    " * Big replica buffers: The replica output buffers in this instance are greater than 10MB for each replica "
    "(on average). This likely means that there is some replica instance that is struggling receiving data.\n\n"
)

container("memory", group="server", since="4.0.0", summary="A container for memory diagnostics commands")


@command(
    "memory|usage",
    arity=-3,
    flags=READONLY,
    keys=(2, 2, 1),
    access="RO",
    group="server",
    since="4.0.0",
    complexity="O(N) where N is the number of samples.",
    summary="Estimate the memory usage of a key",
    arguments="key [SAMPLES count]",
    differs="An estimate of this process's memory, not of stock's.",
)
def memory_usage(ctx: Client, argv: list[bytes]) -> bytes:
    """MEMORY USAGE key [SAMPLES count]"""
    samples: int | None = _DEFAULT_SAMPLES
    if len(argv) > 3:
        if len(argv) % 2 == 0 or argv[3].upper() != b"SAMPLES":
            raise CommandError(SYNTAX)
        for at in range(3, len(argv), 2):
            if argv[at].upper() != b"SAMPLES":
                raise CommandError(SYNTAX)
            samples = parse_int(argv[at + 1])
            if samples is None:
                raise CommandError(NOT_AN_INTEGER)
            if samples < 0:
                raise CommandError(SYNTAX)
    assert samples is not None
    value = ctx.db.values.get(argv[2])  # one that has expired takes memory still
    return ctx.null if value is None else reply.integer(key_size(ctx.db, argv[2], value, samples))


def _overheads(ctx: Client) -> dict[str, int]:
    """Buffers outside the keyspace, as the node counts them (Server.memory_overheads)."""
    counted: dict[str, int] = {
        "replication.backlog": 0,
        "clients.slaves": 0,
        "clients.normal": 0,
        "cluster.links": 0,
        "aof.buffer": 0,
        "lua.caches": 0,
        "functions.caches": 0,
    }
    counted.update(ctx.server.report.overheads())
    return counted


@command(
    "memory|stats",
    arity=2,
    group="server",
    since="4.0.0",
    complexity="O(1)",
    summary="Show memory usage details",
    differs="Figures of the allocator are those of the estimate.",
)
def memory_stats(ctx: Client, argv: list[bytes]) -> bytes:
    """MEMORY STATS"""
    evictor = ctx.server.evictor
    buffers = _overheads(ctx)
    extra = sum(buffers.values())
    data = evictor.used_memory() - evictor.baseline
    total = evictor.baseline + data + extra
    peak = max(evictor.peak, total)
    items: list[bytes] = []

    def number(name: str, value: int) -> None:
        items.append(reply.bulk(name.encode()))
        items.append(reply.integer(value))

    def ratio(name: str, value: float) -> None:
        items.append(reply.bulk(name.encode()))
        items.append(reply.double(value, ctx.resp3))

    number("peak.allocated", peak)
    number("total.allocated", total)
    number("startup.allocated", evictor.baseline)
    for name, size in buffers.items():
        number(name, size)
    tables = 0
    count = 0
    for db in ctx.keyspace.databases:
        if not db.values:
            continue
        main, expires = db.values.__sizeof__(), db.expires.__sizeof__()
        tables += main + expires
        count += len(db.values)
        items.append(reply.bulk(b"db.%d" % db.index))
        parts = (
            (b"overhead.hashtable.main", main),
            (b"overhead.hashtable.expires", expires),
            (b"overhead.hashtable.slot-to-keys", 0),
        )
        encoded = [item for name, size in parts for item in (reply.bulk(name), reply.integer(size))]
        items.append(reply.mapping(encoded, ctx.resp3))
    number("overhead.total", evictor.baseline + extra + tables)
    number("keys.count", count)
    number("keys.bytes-per-key", data // count if count else 0)
    number("dataset.bytes", max(0, data - tables))
    ratio("dataset.percentage", 100.0 * max(0, data - tables) / max(1, total - evictor.baseline))
    ratio("peak.percentage", 100.0 * total / peak)
    for name in ("allocator.allocated", "allocator.active", "allocator.resident"):
        number(name, total)
    ratio("allocator-fragmentation.ratio", 1.0)
    number("allocator-fragmentation.bytes", 0)
    ratio("allocator-rss.ratio", 1.0)
    number("allocator-rss.bytes", 0)
    ratio("rss-overhead.ratio", 1.0)
    number("rss-overhead.bytes", 0)
    ratio("fragmentation", 1.0)
    number("fragmentation.bytes", 0)
    return reply.mapping(items, ctx.resp3)


@command(
    "memory|doctor",
    arity=2,
    group="server",
    since="4.0.0",
    complexity="O(1)",
    summary="Outputs memory problems report",
)
def memory_doctor(ctx: Client, argv: list[bytes]) -> bytes:
    """MEMORY DOCTOR"""
    evictor = ctx.server.evictor
    used = evictor.used_memory()
    data = used - evictor.baseline
    if data < _SMALL:
        text = _NOTHING_TO_SAY
    else:
        findings = _HIGH_PEAK if evictor.peak > used * 1.5 else ""
        replicas = ctx.server.report.overheads().get("clients.slaves", 0)
        if replicas > 10 * 1024 * 1024:
            findings += _BIG_BUFFERS
        text = f"Sam, I detected a few issues in this instance memory implants:\n\n{findings}" if findings else _HEALTHY
    return reply.verbatim(text.encode(), ctx.resp3)


@command(
    "memory|malloc-stats",
    arity=2,
    group="server",
    since="4.0.0",
    complexity="Depends on how much memory is allocated, could be slow",
    summary="Show allocator internal stats",
    differs="There is no allocator with statistics.",
)
def memory_malloc_stats(ctx: Client, argv: list[bytes]) -> bytes:
    """MEMORY MALLOC-STATS"""
    return reply.bulk(b"Stats not supported for the current allocator")


@command(
    "memory|purge",
    arity=2,
    group="server",
    since="4.0.0",
    complexity="Depends on how much memory is allocated, could be slow",
    summary="Ask the allocator to release memory",
    differs="Freed memory goes back to the system as the interpreter sees fit.",
)
def memory_purge(ctx: Client, argv: list[bytes]) -> bytes:
    """MEMORY PURGE"""
    return reply.OK


@command(
    "memory|help",
    arity=2,
    flags=LOADING | STALE,
    group="server",
    since="4.0.0",
    complexity="O(1)",
    summary="Show helpful text about the different subcommands",
)
def memory_help(ctx: Client, argv: list[bytes]) -> bytes:
    """MEMORY HELP"""
    return reply.array([reply.simple(line) for line in _HELP])
