"""Strings: GET, SET and their kin."""

from __future__ import annotations

from replicator.core.commands.context import Context
from replicator.core.commands.registry import (
    DENY_OOM,
    FAST,
    NOT_AN_INTEGER,
    READONLY,
    WRITE,
    CommandError,
    command,
)
from replicator.core.keyspace.database import NOTIFY_STRING
from replicator.core.wire import reply
from replicator.core.wire.numbers import INT64_MAX, INT64_MIN, parse_int

GROUP = "string"


@command(
    "get",
    arity=2,
    flags=READONLY | FAST,
    keys=(1, 1, 1),
    access="RO",
    group=GROUP,
    since="1.0.0",
    complexity="O(1)",
    summary="Returns the string value of a key.",
    categories="string",
    arguments="key",
)
def get(ctx: Context, argv: list[bytes]) -> bytes:
    """GET key"""
    value = ctx.db.string(argv[1])
    if value is None:
        return ctx.null
    return b"$%d\r\n%b\r\n" % (len(value), value)


@command(
    "incr",
    arity=2,
    flags=WRITE | DENY_OOM | FAST,
    keys=(1, 1, 1),
    access="RW",
    group=GROUP,
    since="1.0.0",
    complexity="O(1)",
    summary="Increments the integer value of a key by one.",
    categories="string",
    arguments="key",
)
def incr(ctx: Context, argv: list[bytes]) -> bytes:
    """INCR key"""
    return _increment(ctx, argv[1], 1)


def _increment(ctx: Context, key: bytes, by: int) -> bytes:
    db = ctx.db
    text = db.for_write(key, bytes)
    if text is None:
        value = by
    else:
        before = parse_int(text)
        if before is None:
            raise CommandError(NOT_AN_INTEGER)
        value = before + by
        if not INT64_MIN <= value <= INT64_MAX:
            raise CommandError("ERR increment or decrement would overflow")
    db.put(key, b"%d" % value)
    db.changed(key, b"incrby", NOTIFY_STRING)
    return reply.integer(value)
