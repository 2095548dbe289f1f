"""Whole databases: SELECT, FLUSHDB, FLUSHALL and SWAPDB."""

from __future__ import annotations

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import FAST, LOADING, STALE, WRITE, command
from replicator.core.errors import NOT_AN_INTEGER, SYNTAX, CommandError
from replicator.core.keyspace.database import Database
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_int

_OUT_OF_RANGE = "ERR DB index is out of range"
_TOO_WIDE = "ERR value is out of range, value must between -2147483648 and 2147483647"


def parse_database(ctx: Context, text: bytes) -> int:
    """The number of an existing database; raises CommandError."""
    number = _index(text, NOT_AN_INTEGER, _TOO_WIDE)
    if not 0 <= number < len(ctx.keyspace.databases):
        raise CommandError(_OUT_OF_RANGE)
    return number


@command(
    "select",
    arity=2,
    flags=LOADING | STALE | FAST,
    group="connection",
    since="1.0.0",
    complexity="O(1)",
    summary="Change the selected database for the current connection",
    categories="connection",
    arguments="index",
)
def select(ctx: Context, argv: list[bytes]) -> bytes:
    """SELECT index"""
    number = _index(argv[1], NOT_AN_INTEGER, _TOO_WIDE)
    if number and ctx.server.config["cluster-enabled"]:
        raise CommandError("ERR SELECT is not allowed in cluster mode")
    if not 0 <= number < len(ctx.keyspace.databases):
        raise CommandError(_OUT_OF_RANGE)
    ctx.db = ctx.keyspace.databases[number]
    return reply.OK


def _check_flush(argv: list[bytes]) -> None:
    # ASYNC and SYNC are the same here: the dictionary is dropped by one assignment, its memory freed at once.
    if len(argv) > 2 or (len(argv) == 2 and argv[1].upper() not in (b"ASYNC", b"SYNC")):
        raise CommandError(SYNTAX)


@command(
    "flushdb",
    arity=-1,
    flags=WRITE,
    group="server",
    since="1.0.0",
    complexity="O(N) where N is the number of keys in the selected database",
    summary="Remove all keys from the current database",
    categories="keyspace dangerous",
    arguments="[ASYNC | SYNC]",
    history=(
        ("4.0.0", "Added the `ASYNC` flushing mode modifier."),
        ("6.2.0", "Added the `SYNC` flushing mode modifier."),
    ),
)
def flushdb(ctx: Context, argv: list[bytes]) -> bytes:
    """FLUSHDB [ASYNC | SYNC]"""
    _check_flush(argv)
    _count(ctx, ctx.db.clear())
    return reply.OK


def _count(ctx: Context, removed: int) -> None:
    keyspace = ctx.keyspace
    if not removed:
        keyspace.uncounted += 1  # changes nothing, and reaches the replicas all the same
    keyspace.dirty += removed or 1


@command(
    "flushall",
    arity=-1,
    flags=WRITE,
    group="server",
    since="1.0.0",
    complexity="O(N) where N is the total number of keys in all databases",
    summary="Remove all keys from all databases",
    categories="keyspace dangerous",
    arguments="[ASYNC | SYNC]",
    history=(
        ("4.0.0", "Added the `ASYNC` flushing mode modifier."),
        ("6.2.0", "Added the `SYNC` flushing mode modifier."),
    ),
)
def flushall(ctx: Context, argv: list[bytes]) -> bytes:
    """FLUSHALL [ASYNC | SYNC]"""
    _check_flush(argv)
    removed = 0
    for db in ctx.keyspace.databases:
        if db.values or db.watched or db.awaited:
            removed += db.clear()
    if ctx.keyspace.on_flushed is not None:
        ctx.keyspace.on_flushed()
    _count(ctx, removed)
    return reply.OK


@command(
    "swapdb",
    arity=3,
    flags=WRITE | FAST,
    group="server",
    since="4.0.0",
    complexity="O(N) where N is the count of clients watching or blocking on keys from both databases.",
    summary="Swaps two Redis databases",
    categories="keyspace dangerous",
    arguments="index1 index2",
)
def swapdb(ctx: Context, argv: list[bytes]) -> bytes:
    """SWAPDB index1 index2"""
    if ctx.server.config["cluster-enabled"]:
        raise CommandError("ERR SWAPDB is not allowed in cluster mode")
    first = _index(argv[1], "ERR invalid first DB index")
    second = _index(argv[2], "ERR invalid second DB index")
    databases = ctx.keyspace.databases
    if not (0 <= first < len(databases) and 0 <= second < len(databases)):
        raise CommandError(_OUT_OF_RANGE)
    if first != second:
        _swap(databases[first], databases[second])
    ctx.keyspace.dirty += 1
    return reply.OK


def _index(text: bytes, problem: str, too_wide: str = "") -> int:
    number = parse_int(text)
    if number is None:
        raise CommandError(problem)
    if not -(2**31) <= number < 2**31:
        raise CommandError(too_wide or problem)
    return number


def _swap(left: Database, right: Database) -> None:
    """Exchange the data of two databases. Sessions stay: their watched and awaited keys see other data."""
    left.values, right.values = right.values, left.values
    left.expires, right.expires = right.expires, left.expires
    left.schedule, right.schedule = right.schedule, left.schedule
    left.key_index, right.key_index = right.key_index, left.key_index
    left.tell_replaced(right.values)
    right.tell_replaced(left.values)
