"""OBJECT: how a value is represented and when it was last used."""

from __future__ import annotations

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import LOADING, READONLY, STALE, command, container
from replicator.core.errors import CommandError
from replicator.core.keyspace.encoding import encoding
from replicator.core.wire import reply

# Stock shares the objects of small integers, and this is the reference count that it shows for them.
_SHARED = 2**31 - 1
_SHARED_BELOW = 10_000

_LATER = (
    " Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust."
)

_HELP = (
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
    "HELP",
    "    Prints this help.",
)

container(
    "object",
    group="generic",
    since="2.2.3",
    summary="A container for object introspection commands",
)


@command(
    "object|encoding",
    arity=3,
    flags=READONLY,
    keys=(2, 2, 1),
    access="RO",
    group="generic",
    since="2.2.3",
    complexity="O(1)",
    summary="Inspect the internal encoding of a Redis object",
    categories="keyspace",
    arguments="key",
)
def object_encoding(ctx: Context, argv: list[bytes]) -> bytes:
    """OBJECT ENCODING key"""
    value = ctx.db.peek(argv[2])
    if value is None:
        return ctx.null
    return reply.bulk(encoding(ctx.keyspace, value, ctx.server.config))


@command(
    "object|refcount",
    arity=3,
    flags=READONLY,
    keys=(2, 2, 1),
    access="RO",
    group="generic",
    since="2.2.3",
    complexity="O(1)",
    summary="Get the number of references to the value of the key",
    categories="keyspace",
    arguments="key",
    differs="Values are never shared between keys; the count is stock's for small integers and 1 otherwise.",
)
def object_refcount(ctx: Context, argv: list[bytes]) -> bytes:
    """OBJECT REFCOUNT key"""
    value = ctx.db.peek(argv[2])
    if value is None:
        return ctx.null
    shared = type(value) is bytes and len(value) <= 4 and encoding(ctx.keyspace, value, ctx.server.config) == b"int"
    config = ctx.server.config
    clocked = config["maxmemory"] and config["maxmemory-policy"].endswith(("-lru", "-lfu"))  # each has its own clock
    if shared and not clocked and 0 <= int(value) < _SHARED_BELOW:  # type: ignore[arg-type]
        return reply.integer(_SHARED)
    return reply.ONE


@command(
    "object|idletime",
    arity=3,
    flags=READONLY,
    keys=(2, 2, 1),
    access="RO",
    group="generic",
    since="2.2.3",
    complexity="O(1)",
    summary="Get the time since a Redis object was last accessed",
    categories="keyspace",
    arguments="key",
    differs="Accesses are recorded from the first OBJECT IDLETIME on, or under an LRU policy with a limit.",
)
def object_idletime(ctx: Context, argv: list[bytes]) -> bytes:
    """OBJECT IDLETIME key"""
    if ctx.db.peek(argv[2]) is None:
        return ctx.null
    evictor = ctx.server.evictor
    if evictor.counts_frequency:
        raise CommandError(f"ERR An LFU maxmemory policy is selected, idle time not tracked.{_LATER}")
    return reply.integer(evictor.idle_ms(ctx.db, argv[2]) // 1000)


@command(
    "object|freq",
    arity=3,
    flags=READONLY,
    keys=(2, 2, 1),
    access="RO",
    group="generic",
    since="4.0.0",
    complexity="O(1)",
    summary="Get the logarithmic access frequency counter of a Redis object",
    categories="keyspace",
    arguments="key",
)
def object_freq(ctx: Context, argv: list[bytes]) -> bytes:
    """OBJECT FREQ key"""
    if ctx.db.peek(argv[2]) is None:
        return ctx.null
    evictor = ctx.server.evictor
    if not evictor.counts_frequency:
        raise CommandError(
            f"ERR An LFU maxmemory policy is not selected, access frequency not tracked.{_LATER}"
        )
    return reply.integer(evictor.frequency(ctx.db, argv[2]))


@command(
    "object|help",
    arity=2,
    flags=LOADING | STALE,
    group="generic",
    since="6.2.0",
    complexity="O(1)",
    summary="Show helpful text about the different subcommands",
    categories="keyspace",
)
def object_help(ctx: Context, argv: list[bytes]) -> bytes:
    """OBJECT HELP"""
    return reply.array([reply.simple(line) for line in _HELP])
