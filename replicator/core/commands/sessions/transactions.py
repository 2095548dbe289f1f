"""Transactions: MULTI, EXEC, DISCARD, WATCH, UNWATCH."""

from __future__ import annotations

from replicator.core.command_table.registry import ALLOW_BUSY, FAST, LOADING, NO_SCRIPT, SKIP_SLOWLOG, STALE, command
from replicator.core.commands.parts import Client
from replicator.core.errors import CommandError
from replicator.core.wire import reply

GROUP = "transactions"
_FLAGS = NO_SCRIPT | LOADING | STALE | ALLOW_BUSY


@command(
    "multi",
    arity=1,
    flags=_FLAGS | FAST,
    group=GROUP,
    since="1.2.0",
    complexity="O(1)",
    summary="Starts a transaction.",
    categories="transaction",
)
def multi(ctx: Client, argv: list[bytes]) -> bytes:
    """MULTI"""
    if ctx.transaction is not None:
        raise CommandError("ERR MULTI calls can not be nested")
    ctx.begin_transaction()
    return reply.OK


@command(
    "exec",
    arity=1,
    flags=NO_SCRIPT | LOADING | STALE | SKIP_SLOWLOG,
    group=GROUP,
    since="1.2.0",
    complexity="Depends on commands in the transaction",
    summary="Executes all commands in a transaction.",
    categories="transaction",
)
def exec_(ctx: Client, argv: list[bytes]) -> bytes:
    """EXEC"""
    if ctx.transaction is None:
        raise CommandError("ERR EXEC without MULTI")
    if ctx.transaction.aborted:
        ctx.end_transaction()
        raise CommandError("EXECABORT Transaction discarded because of previous errors.")
    expired = any(db.is_past(key) and not db.watched[key][ctx] for db, key in ctx.watching)
    if ctx.dirty_watch or expired:
        ctx.end_transaction()
        return ctx.null_array
    answer = ctx.server.transactions.execute(ctx)
    ctx.keyspace.catch_up()
    return answer


@command(
    "discard",
    arity=1,
    flags=_FLAGS | FAST,
    group=GROUP,
    since="2.0.0",
    complexity="O(N), when N is the number of queued commands",
    summary="Discards a transaction.",
    categories="transaction",
)
def discard(ctx: Client, argv: list[bytes]) -> bytes:
    """DISCARD"""
    if ctx.transaction is None:
        raise CommandError("ERR DISCARD without MULTI")
    ctx.end_transaction()
    return reply.OK


@command(
    "watch",
    arity=-2,
    flags=_FLAGS | FAST,
    keys=(1, -1, 1),
    access="RO",
    group=GROUP,
    since="2.2.0",
    complexity="O(1) for every key.",
    summary="Monitors changes to keys to determine the execution of a transaction.",
    categories="transaction",
    arguments="key [key ...]",
)
def watch(ctx: Client, argv: list[bytes]) -> bytes:
    """WATCH key [key ...]"""
    if ctx.transaction is not None:
        raise CommandError("ERR WATCH inside MULTI is not allowed")
    db = ctx.db
    for key in argv[1:]:
        if ctx in db.watched.get(key, ()):
            continue
        ctx.watching.append((db, key))
        db.watched.setdefault(key, {})[ctx] = db.is_past(key)
    db.rehook()
    return reply.OK


@command(
    "unwatch",
    arity=1,
    flags=_FLAGS | FAST,
    group=GROUP,
    since="2.2.0",
    complexity="O(1)",
    summary="Forgets about watched keys of a transaction.",
    categories="transaction",
)
def unwatch(ctx: Client, argv: list[bytes]) -> bytes:
    """UNWATCH"""
    ctx.unwatch()
    return reply.OK
