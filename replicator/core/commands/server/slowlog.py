"""SLOWLOG: the commands that took longest (measured in core/command_table/statistics.py)."""

from __future__ import annotations

from functools import partial

from replicator.core.command_table.registry import ADMIN, LOADING, STALE, command, container
from replicator.core.commands.parts import Client
from replicator.core.errors import CommandError
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_int

_DEFAULT = 10
_HELP = (
    "SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET [<count>]",
    "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
    "    Entries are made of:",
    "    id, timestamp, time in microseconds, arguments array, client IP and port,",
    "    client name",
    "LEN",
    "    Return the length of the slowlog.",
    "RESET",
    "    Reset the slowlog.",
    "HELP",
    "    Prints this help.",
)
_DIFFERS = (
    "Of commands with constant cost only a sample is measured, unless slowlog-log-slower-than is below 5000: one that "
    "is slow by chance can be missing."
)

container("slowlog", group="server", since="2.2.12", summary="A container for slow log commands")
admin = partial(command, group="server", flags=ADMIN | LOADING | STALE, categories="admin dangerous")


@admin(
    "slowlog|get",
    arity=-2,
    since="2.2.12",
    complexity="O(N) where N is the number of entries returned",
    summary="Get the slow log's entries",
    arguments="[count]",
    history=(("4.0.0", "Added client IP address, port and name to the reply."),),
    differs=_DIFFERS,
)
def slowlog_get(ctx: Client, argv: list[bytes]) -> bytes:
    """SLOWLOG GET [count]"""
    if len(argv) > 3:
        shown = argv[1].decode("utf-8", "surrogateescape")
        raise CommandError(f"ERR unknown subcommand or wrong number of arguments for '{shown}'. Try SLOWLOG HELP.")
    count: int | None = _DEFAULT
    if len(argv) == 3:
        count = parse_int(argv[2])
        if count is None or count < -1:
            raise CommandError("ERR count should be greater than or equal to -1")
    slow = ctx.server.statistics.slow
    entries = [
        reply.array(
            [
                reply.integer(entry.id),
                reply.integer(entry.at_s),
                reply.integer(entry.usec),
                reply.bulks(list(entry.argv)),
                reply.bulk(entry.peer.encode()),
                reply.bulk(entry.name),
            ]
        )
        for entry in (slow if count == -1 else slow[:count])
    ]
    return reply.array(entries)


@admin("slowlog|len", arity=2, since="2.2.12", complexity="O(1)", summary="Get the slow log's length")
def slowlog_len(ctx: Client, argv: list[bytes]) -> bytes:
    """SLOWLOG LEN"""
    return reply.integer(len(ctx.server.statistics.slow))


@admin(
    "slowlog|reset",
    arity=2,
    since="2.2.12",
    complexity="O(N) where N is the number of entries in the slowlog",
    summary="Clear all entries from the slow log",
)
def slowlog_reset(ctx: Client, argv: list[bytes]) -> bytes:
    """SLOWLOG RESET"""
    ctx.server.statistics.slow.clear()
    return reply.OK


@command(
    "slowlog|help",
    arity=2,
    flags=LOADING | STALE,
    group="server",
    since="6.2.0",
    complexity="O(1)",
    summary="Show helpful text about the different subcommands",
)
def slowlog_help(ctx: Client, argv: list[bytes]) -> bytes:
    """SLOWLOG HELP"""
    return reply.array([reply.simple(line) for line in _HELP])
