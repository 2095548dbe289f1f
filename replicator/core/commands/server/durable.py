"""The append-only file's commands: BGREWRITEAOF, WAITAOF."""

from __future__ import annotations

from replicator.core.command_table.registry import ADMIN, BLOCKING, NO_ASYNC_LOADING, NO_SCRIPT, command
from replicator.core.commands.parts import Client
from replicator.core.errors import CommandError
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_int


@command(
    "bgrewriteaof",
    arity=1,
    flags=ADMIN | NO_SCRIPT | NO_ASYNC_LOADING,
    group="server",
    since="1.0.0",
    complexity="O(1)",
    summary="Asynchronously rewrites the append-only file to disk.",
    categories="admin dangerous",
)
def bgrewriteaof(ctx: Client, argv: list[bytes]) -> bytes:
    """BGREWRITEAOF"""
    return reply.simple(ctx.server.append_only.rewrite())


@command(
    "waitaof",
    arity=4,
    flags=NO_SCRIPT | BLOCKING,
    group="generic",
    since="7.2.0",
    complexity="O(1)",
    summary="Blocks until all of the preceding write commands sent by the connection are written to the append-only "
    "file of the master and/or replicas.",
    categories="connection",
    arguments="numlocal numreplicas timeout",
)
def waitaof(ctx: Client, argv: list[bytes]) -> bytes:
    """WAITAOF numlocal numreplicas timeout"""
    local = parse_int(argv[1])
    if local not in (0, 1):
        raise CommandError("ERR value is out of range, value must between 0 and 1")
    replicas = parse_int(argv[2])
    if replicas is None or replicas < 0:
        raise CommandError("ERR value is out of range, must be positive")
    timeout = parse_int(argv[3])
    if timeout is None:
        raise CommandError("ERR timeout is not an integer or out of range")
    if timeout < 0:
        raise CommandError("ERR timeout is negative")
    return ctx.server.durability.wait(ctx, local, replicas, timeout)
