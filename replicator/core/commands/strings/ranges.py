"""Parts of strings: APPEND, STRLEN, SETRANGE, GETRANGE and SUBSTR.

A string is immutable here, so APPEND and SETRANGE copy it: O(length of the value) where stock is O(length of the
argument).
"""

from __future__ import annotations

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import DENY_OOM, FAST, READONLY, WRITE, command
from replicator.core.errors import NOT_AN_INTEGER, CommandError
from replicator.core.keyspace.database import NOTIFY_STRING
from replicator.core.keyspace.encoding import marked
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_int


def check_length(ctx: Context, length: int) -> None:
    """Raise CommandError if a string must not become so long."""
    if length > ctx.server.config["proto-max-bulk-len"]:
        raise CommandError("ERR string exceeds maximum allowed size (proto-max-bulk-len)")


@command(
    "append",
    arity=3,
    flags=WRITE | DENY_OOM | FAST,
    keys=(1, 1, 1),
    access="RW",
    group="string",
    since="2.0.0",
    complexity=(
        "O(1). The amortized time complexity is O(1) assuming the appended value is small and the already "
        "present value is of any size, since the dynamic string library used by Redis will double the "
        "free space available on every reallocation."
    ),
    summary="Append a value to a key",
    categories="string",
    arguments="key value",
    differs="Copies the whole value: O(length of the value).",
)
def append(ctx: Context, argv: list[bytes]) -> bytes:
    """APPEND key value"""
    db = ctx.db
    key, suffix = argv[1], argv[2]
    value = db.for_write(key, bytes)
    if value is None:
        db.store(key, suffix)
        length = len(suffix)
    else:
        length = len(value) + len(suffix)
        check_length(ctx, length)
        db.put(key, marked(ctx.keyspace, value + suffix))
    db.changed(key, b"append", NOTIFY_STRING)
    return reply.integer(length)


@command(
    "strlen",
    arity=2,
    flags=READONLY | FAST,
    keys=(1, 1, 1),
    access="RO",
    group="string",
    since="2.2.0",
    complexity="O(1)",
    summary="Get the length of the value stored in a key",
    categories="string",
    arguments="key",
)
def strlen(ctx: Context, argv: list[bytes]) -> bytes:
    """STRLEN key"""
    value = ctx.db.string(argv[1])
    return reply.ZERO if value is None else reply.integer(len(value))


@command(
    "setrange",
    arity=4,
    flags=WRITE | DENY_OOM,
    keys=(1, 1, 1),
    access="RW",
    group="string",
    since="2.2.0",
    complexity=(
        "O(1), not counting the time taken to copy the new string in place. Usually, this string is very "
        "small so the amortized complexity is O(1). Otherwise, complexity is O(M) with M being the length "
        "of the value argument."
    ),
    summary="Overwrite part of a string at key starting at the specified offset",
    categories="string",
    arguments="key offset value",
    differs="Copies the whole value: O(length of the value).",
)
def setrange(ctx: Context, argv: list[bytes]) -> bytes:
    """SETRANGE key offset value"""
    db = ctx.db
    key, part = argv[1], argv[3]
    offset = parse_int(argv[2])
    if offset is None:
        raise CommandError(NOT_AN_INTEGER)
    if offset < 0:
        raise CommandError("ERR offset is out of range")
    value = db.for_write(key, bytes)
    if not part:
        return reply.ZERO if value is None else reply.integer(len(value))
    end = offset + len(part)
    check_length(ctx, end)
    made = marked(ctx.keyspace, overwrite(value or b"", offset, part))
    db.put(key, made)
    db.changed(key, b"setrange", NOTIFY_STRING)
    return reply.integer(len(made))


def overwrite(value: bytes, offset: int, part: bytes) -> bytes:
    """The value with `part` at `offset`, zero bytes put before it where it begins behind the end; one copy."""
    if offset >= len(value):
        return b"".join((value, bytes(offset - len(value)), part))
    whole = memoryview(value)
    return b"".join((whole[:offset], part, whole[offset + len(part) :]))


@command(
    "getrange",
    arity=4,
    flags=READONLY,
    keys=(1, 1, 1),
    access="RO",
    group="string",
    since="2.4.0",
    complexity=(
        "O(N) where N is the length of the returned string. The complexity is ultimately determined by "
        "the returned length, but because creating a substring from an existing string is very cheap, it "
        "can be considered O(1) for small strings."
    ),
    summary="Get a substring of the string stored at a key",
    categories="string",
    arguments="key start end",
)
def getrange(ctx: Context, argv: list[bytes]) -> bytes:
    """GETRANGE key start end"""
    start, end = parse_int(argv[2]), parse_int(argv[3])
    if start is None or end is None:
        raise CommandError(NOT_AN_INTEGER)
    value = ctx.db.string(argv[1])
    if value is None or (start < 0 and end < 0 and start > end):
        return reply.EMPTY_BULK
    length = len(value)
    first = max(0, start + length) if start < 0 else start
    last = max(0, end + length) if end < 0 else end
    return reply.bulk(value[first : last + 1])


@command(
    "substr",
    arity=4,
    flags=READONLY,
    keys=(1, 1, 1),
    access="RO",
    group="string",
    since="1.0.0",
    complexity=(
        "O(N) where N is the length of the returned string. The complexity is ultimately determined by "
        "the returned length, but because creating a substring from an existing string is very cheap, it "
        "can be considered O(1) for small strings."
    ),
    summary="Get a substring of the string stored at a key",
    categories="string",
    arguments="key start end",
)
def substr(ctx: Context, argv: list[bytes]) -> bytes:
    """SUBSTR key start end"""
    return getrange(ctx, argv)
