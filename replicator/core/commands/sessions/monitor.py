"""MONITOR: watch every command that a node runs; and LOLWUT, its version as art."""

from __future__ import annotations

from replicator.core.command_table.context import PENDING
from replicator.core.command_table.registry import ADMIN, FAST, LOADING, NO_SCRIPT, READONLY, STALE, command
from replicator.core.commands.parts import Client
from replicator.core.errors import NOT_AN_INTEGER, CommandError
from replicator.core.surroundings import REDIS_VERSION
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_int


@command(
    "monitor",
    arity=1,
    flags=ADMIN | NO_SCRIPT | LOADING | STALE,
    group="server",
    since="1.0.0",
    complexity="O(1)",
    summary="Listen for all requests received by the server in real time",
    categories="admin dangerous",
    history=(("6.0.0", "`AUTH` excluded from the command's output."),),
    differs="Times are those of the turn in which a command ran, in whole milliseconds.",
)
def monitor(ctx: Client, argv: list[bytes]) -> bytes:
    """MONITOR"""
    if ctx.deny_blocking:
        raise CommandError("ERR MONITOR isn't allowed for DENY BLOCKING client")
    return reply.OK if ctx.server.monitors.add(ctx) else PENDING


_RAMP = " .:-=+*#%@"


@command(
    "lolwut",
    arity=-1,
    flags=READONLY | FAST,
    group="server",
    since="5.0.0",
    complexity="O(1)",
    summary="Display some computer art and the Redis version",
    arguments="[VERSION version]",
    differs="A picture of its own.",
)
def lolwut(ctx: Client, argv: list[bytes]) -> bytes:
    """LOLWUT [VERSION version [argument ...]]"""
    if len(argv) > 2 and argv[1].lower() == b"version" and any(parse_int(number) is None for number in argv[2:]):
        raise CommandError(NOT_AN_INTEGER)
    offset, copies = ctx.server.outgoing.offset(), len(ctx.server.primary.links)
    lines = []
    for row in range(8):
        # A stream and its echoes: each line follows the one above, a little later and a little fainter.
        levels = [9 - (column - 2 * row - offset) % 18 - row // (copies + 1) for column in range(40)]
        lines.append("".join(_RAMP[max(0, level)] for level in levels).rstrip())
    text = "\n".join(lines) + f"\n\nRedis ver. {REDIS_VERSION}\n"
    return reply.verbatim(text.encode(), ctx.resp3)
