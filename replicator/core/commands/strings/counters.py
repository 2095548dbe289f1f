"""Strings as numbers: INCR, DECR, INCRBY, DECRBY and INCRBYFLOAT."""

from __future__ import annotations

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import DENY_OOM, FAST, WRITE, command
from replicator.core.errors import NOT_A_FLOAT, NOT_AN_INTEGER, CommandError
from replicator.core.keyspace.database import NOTIFY_STRING
from replicator.core.keyspace.encoding import marked
from replicator.core.wire import long_double, reply
from replicator.core.wire.numbers import INT64_MAX, INT64_MIN, parse_int


@command(
    "incr",
    arity=2,
    flags=WRITE | DENY_OOM | FAST,
    keys=(1, 1, 1),
    access="RW",
    group="string",
    since="1.0.0",
    complexity="O(1)",
    summary="Increment the integer value of a key by one",
    categories="string",
    arguments="key",
)
def incr(ctx: Context, argv: list[bytes]) -> bytes:
    """INCR key"""
    return _increment(ctx, argv[1], 1)


@command(
    "decr",
    arity=2,
    flags=WRITE | DENY_OOM | FAST,
    keys=(1, 1, 1),
    access="RW",
    group="string",
    since="1.0.0",
    complexity="O(1)",
    summary="Decrement the integer value of a key by one",
    categories="string",
    arguments="key",
)
def decr(ctx: Context, argv: list[bytes]) -> bytes:
    """DECR key"""
    return _increment(ctx, argv[1], -1)


@command(
    "incrby",
    arity=3,
    flags=WRITE | DENY_OOM | FAST,
    keys=(1, 1, 1),
    access="RW",
    group="string",
    since="1.0.0",
    complexity="O(1)",
    summary="Increment the integer value of a key by the given amount",
    categories="string",
    arguments="key increment",
)
def incrby(ctx: Context, argv: list[bytes]) -> bytes:
    """INCRBY key increment"""
    by = parse_int(argv[2])
    if by is None:
        raise CommandError(NOT_AN_INTEGER)
    return _increment(ctx, argv[1], by)


@command(
    "decrby",
    arity=3,
    flags=WRITE | DENY_OOM | FAST,
    keys=(1, 1, 1),
    access="RW",
    group="string",
    since="1.0.0",
    complexity="O(1)",
    summary="Decrement the integer value of a key by the given number",
    categories="string",
    arguments="key decrement",
)
def decrby(ctx: Context, argv: list[bytes]) -> bytes:
    """DECRBY key decrement"""
    by = parse_int(argv[2])
    if by is None:
        raise CommandError(NOT_AN_INTEGER)
    if by == INT64_MIN:
        raise CommandError("ERR decrement would overflow")
    return _increment(ctx, argv[1], -by)


def _increment(ctx: Context, key: bytes, by: int) -> bytes:
    db = ctx.db
    keyspace = db.keyspace
    text = db.values.get(key)
    if type(text) is not bytes or keyspace.on_access is not None or key in db.expires:
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
    text = b"%d" % value
    if db.key_index is not None:
        db.put(key, text)
    else:
        db.values[key] = text
    if db.hooked or keyspace.notify_flags:
        db.changed(key, b"incrby", NOTIFY_STRING)
    else:
        keyspace.dirty += 1
    return b":%b\r\n" % text


@command(
    "incrbyfloat",
    arity=3,
    flags=WRITE | DENY_OOM | FAST,
    keys=(1, 1, 1),
    access="RW",
    group="string",
    since="2.6.0",
    complexity="O(1)",
    summary="Increment the float value of a key by the given amount",
    categories="string",
    arguments="key increment",
)
def incrbyfloat(ctx: Context, argv: list[bytes]) -> bytes:
    """INCRBYFLOAT key increment"""
    db = ctx.db
    key = argv[1]
    text = db.for_write(key, bytes)
    made = marked(ctx.keyspace, add_float(text, argv[2]), b"embstr")
    db.put(key, made)
    db.changed(key, b"incrbyfloat", NOTIFY_STRING)
    # The sum and not the summand: rounding must not differ between servers, and an expiry stays.
    ctx.replicate(b"SET", key, made, b"KEEPTTL")
    return reply.bulk(made)


def add_float(text: bytes | None, increment: bytes, not_a_float: str = NOT_A_FLOAT) -> bytes:
    """The sum of two spelled numbers (None: zero) with 80-bit precision, as stock writes it.

    not_a_float: the error when `text` spells no number. Raises CommandError.
    """
    try:
        before = long_double.from_integer(0) if text is None else long_double.parse(text)
    except long_double.Infinite:
        before = None
        endless = True
    else:
        endless = False
        if before is None:
            raise CommandError(not_a_float)
    try:
        by = long_double.parse(increment)
        if by is None:
            raise CommandError(NOT_A_FLOAT)
        if endless or before is None:
            raise long_double.Infinite
        return long_double.text(long_double.add(before, by))
    except long_double.Infinite:
        raise CommandError("ERR increment would produce NaN or Infinity") from None
