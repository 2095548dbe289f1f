"""Hashes: HSET, HGET and their kin.

Source: https://redis.io/docs/latest/commands/?group=hash
"""

from __future__ import annotations

from functools import partial

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import DENY_OOM, FAST, READONLY, WRITE, command
from replicator.core.commands.keys.repetitions import many
from replicator.core.commands.keys.scan import EMPTY_SCAN, parse_cursor, scan_reply
from replicator.core.commands.strings.counters import add_float
from replicator.core.errors import NO_NEGATION, NOT_A_FLOAT, NOT_AN_INTEGER, SYNTAX, CommandError
from replicator.core.keyspace.database import NOTIFY_GENERIC, NOTIFY_HASH, Database
from replicator.core.keyspace.encoding import is_listpack_hash
from replicator.core.keyspace.values import OUTGROWN, Hash
from replicator.core.limits import PART_MEMBERS
from replicator.core.wire import long_double, reply
from replicator.core.wire.numbers import INT64_MAX, INT64_MIN, parse_int

hash_command = partial(command, group="hash", categories="hash", keys=(1, 1, 1))

# A value beyond this length lets stock hold the hash in its large encoding for good (its default limit).
_LONG = 64


# -- setting ---------------------------------------------------------------------------------------------------------


def _set(value: Hash, field: bytes, content: bytes) -> bool:
    """Set one field; whether it is new."""
    before = value.get(field)
    value[field] = content
    if value.kept is not None:
        value.written(field, content)
    if before is None:
        if value.index is not None:
            value.index.add(field)
        return True
    if len(before) > _LONG and value.kept is None:
        value.peak = OUTGROWN
    return False


def _set_all(ctx: Context, argv: list[bytes], name: str) -> int:
    if len(argv) & 1:
        raise CommandError(f"ERR wrong number of arguments for '{name}' command")
    db = ctx.db
    keyspace = db.keyspace
    key = argv[1]
    value = db.values.get(key)
    # Database.for_write and changed in place: a good part of the time of one field.
    if type(value) is not Hash or key in db.expires or keyspace.on_access is not None:
        value = db.for_write(key, Hash)
        if value is None:
            value = Hash()
            db.store(key, value)
    if len(argv) == 4:
        made = 1 if _set(value, argv[2], argv[3]) else 0
    else:
        made = 0
        for at in range(2, len(argv), 2):
            made += _set(value, argv[at], argv[at + 1])
        keyspace.dirty += len(argv) // 2 - 2
    if db.hooked or keyspace.notify_flags:
        db.changed(key, b"hset", NOTIFY_HASH)
    else:
        keyspace.dirty += 1
    return made


@hash_command(
    "hset",
    arity=-4,
    flags=WRITE | DENY_OOM | FAST,
    access="RW",
    since="2.0.0",
    complexity="O(1) for each field/value pair added, so O(N) to add N field/value pairs when the command is called "
    "with multiple field/value pairs.",
    summary="Set the string value of a hash field",
    arguments="key field value [field value ...]",
    history=(("4.0.0", "Accepts multiple `field` and `value` arguments."),),
)
def hset(ctx: Context, argv: list[bytes]) -> bytes:
    """HSET key field value [field value ...]"""
    return reply.integer(_set_all(ctx, argv, "hset"))


@hash_command(
    "hmset",
    arity=-4,
    flags=WRITE | DENY_OOM | FAST,
    access="RW",
    since="2.0.0",
    complexity="O(N) where N is the number of fields being set.",
    summary="Set multiple hash fields to multiple values",
    arguments="key field value [field value ...]",
)
def hmset(ctx: Context, argv: list[bytes]) -> bytes:
    """HMSET key field value [field value ...]"""
    _set_all(ctx, argv, "hmset")
    return reply.OK


@hash_command(
    "hsetnx",
    arity=4,
    flags=WRITE | DENY_OOM | FAST,
    access="RW",
    since="2.0.0",
    complexity="O(1)",
    summary="Set the value of a hash field, only if the field does not exist",
    arguments="key field value",
)
def hsetnx(ctx: Context, argv: list[bytes]) -> bytes:
    """HSETNX key field value"""
    value = ctx.db.for_write(argv[1], Hash)
    if value is not None and argv[2] in value:
        return reply.ZERO
    _set_all(ctx, argv, "hsetnx")
    return reply.ONE


@hash_command(
    "hdel",
    arity=-3,
    flags=WRITE | FAST,
    access="RW",
    since="2.0.0",
    complexity="O(N) where N is the number of fields to be removed.",
    summary="Delete one or more hash fields",
    arguments="key field [field ...]",
    history=(("2.4.0", "Accepts multiple `field` arguments."),),
)
def hdel(ctx: Context, argv: list[bytes]) -> bytes:
    """HDEL key field [field ...]"""
    db = ctx.db
    key = argv[1]
    value = db.for_write(key, Hash)
    if value is None:
        return reply.ZERO
    removed = 0
    for field in argv[2:]:
        if value.pop(field) is not None:
            removed += 1
    if removed:
        if not value:
            db.remove(key)
        db.changed(key, b"hdel", NOTIFY_HASH)
        db.keyspace.dirty += removed - 1
        if not value:
            db.notify(NOTIFY_GENERIC, b"del", key)
    return reply.integer(removed)


# -- counting --------------------------------------------------------------------------------------------------------


def _put(db: Database, key: bytes, value: Hash | None, field: bytes, content: bytes, event: bytes) -> None:
    """Set a field of the hash at key, which may have to be made."""
    if value is None:
        value = Hash()
        db.store(key, value)
    _set(value, field, content)
    db.changed(key, event, NOTIFY_HASH)


@hash_command(
    "hincrby",
    arity=4,
    flags=WRITE | DENY_OOM | FAST,
    access="RW",
    since="2.0.0",
    complexity="O(1)",
    summary="Increment the integer value of a hash field by the given number",
    arguments="key field increment",
)
def hincrby(ctx: Context, argv: list[bytes]) -> bytes:
    """HINCRBY key field increment"""
    by = parse_int(argv[3])
    if by is None:
        raise CommandError(NOT_AN_INTEGER)
    value = ctx.db.for_write(argv[1], Hash)
    text = None if value is None else value.get(argv[2])
    before = 0 if text is None else parse_int(text)
    if before is None:
        raise CommandError("ERR hash value is not an integer")
    total = before + by
    if not INT64_MIN <= total <= INT64_MAX:
        raise CommandError("ERR increment or decrement would overflow")
    _put(ctx.db, argv[1], value, argv[2], b"%d" % total, b"hincrby")
    return reply.integer(total)


@hash_command(
    "hincrbyfloat",
    arity=4,
    flags=WRITE | DENY_OOM | FAST,
    access="RW",
    since="2.6.0",
    complexity="O(1)",
    summary="Increment the float value of a hash field by the given amount",
    arguments="key field increment",
)
def hincrbyfloat(ctx: Context, argv: list[bytes]) -> bytes:
    """HINCRBYFLOAT key field increment"""
    try:
        if long_double.parse(argv[3]) is None:
            raise CommandError(NOT_A_FLOAT)
    except long_double.Infinite:
        raise CommandError("ERR value is NaN or Infinity") from None
    value = ctx.db.for_write(argv[1], Hash)
    text = None if value is None else value.get(argv[2])
    total = add_float(text, argv[3], "ERR hash value is not a float")
    _put(ctx.db, argv[1], value, argv[2], total, b"hincrbyfloat")
    # The sum and not the summand, so that no rounding can differ.
    ctx.replicate(b"HSET", argv[1], argv[2], total)
    return reply.bulk(total)


# -- reading ---------------------------------------------------------------------------------------------------------


@hash_command(
    "hget",
    arity=3,
    flags=READONLY | FAST,
    access="RO",
    since="2.0.0",
    complexity="O(1)",
    summary="Get the value of a hash field",
    arguments="key field",
)
def hget(ctx: Context, argv: list[bytes]) -> bytes:
    """HGET key field"""
    value = ctx.db.typed(argv[1], Hash)
    if value is None:
        return ctx.null
    content = value.get(argv[2])
    return ctx.null if content is None else b"$%d\r\n%b\r\n" % (len(content), content)


@hash_command(
    "hmget",
    arity=-3,
    flags=READONLY | FAST,
    access="RO",
    since="2.0.0",
    complexity="O(N) where N is the number of fields being requested.",
    summary="Get the values of all the given hash fields",
    arguments="key field [field ...]",
)
def hmget(ctx: Context, argv: list[bytes]) -> bytes:
    """HMGET key field [field ...]"""
    value = ctx.db.typed(argv[1], Hash)
    null = ctx.null
    if value is None:
        return reply.array([null] * (len(argv) - 2))
    contents = map(value.get, argv[2:])
    return reply.array([null if c is None else b"$%d\r\n%b\r\n" % (len(c), c) for c in contents])


@hash_command(
    "hgetall",
    arity=2,
    flags=READONLY,
    access="RO",
    since="2.0.0",
    complexity="O(N) where N is the size of the hash.",
    summary="Get all the fields and values in a hash",
    arguments="key",
)
def hgetall(ctx: Context, argv: list[bytes]) -> bytes:
    """HGETALL key"""
    value = ctx.db.typed(argv[1], Hash)
    if value is None:
        return reply.mapping((), ctx.resp3)
    flat = reply.bulks([item for pair in value.items() for item in pair])
    # The same items in a map, which counts pairs.
    return b"%%%d%b" % (len(value), flat[flat.index(b"\r") :]) if ctx.resp3 else flat


@hash_command(
    "hkeys",
    arity=2,
    flags=READONLY,
    access="RO",
    since="2.0.0",
    complexity="O(N) where N is the size of the hash.",
    summary="Get all the fields in a hash",
    arguments="key",
)
def hkeys(ctx: Context, argv: list[bytes]) -> bytes:
    """HKEYS key"""
    value = ctx.db.typed(argv[1], Hash)
    return reply.EMPTY_ARRAY if value is None else reply.bulks(value)


@hash_command(
    "hvals",
    arity=2,
    flags=READONLY,
    access="RO",
    since="2.0.0",
    complexity="O(N) where N is the size of the hash.",
    summary="Get all the values in a hash",
    arguments="key",
)
def hvals(ctx: Context, argv: list[bytes]) -> bytes:
    """HVALS key"""
    value = ctx.db.typed(argv[1], Hash)
    return reply.EMPTY_ARRAY if value is None else reply.bulks(value.values())


@hash_command(
    "hlen",
    arity=2,
    flags=READONLY | FAST,
    access="RO",
    since="2.0.0",
    complexity="O(1)",
    summary="Get the number of fields in a hash",
    arguments="key",
)
def hlen(ctx: Context, argv: list[bytes]) -> bytes:
    """HLEN key"""
    value = ctx.db.typed(argv[1], Hash)
    return reply.ZERO if value is None else reply.integer(len(value))


@hash_command(
    "hexists",
    arity=3,
    flags=READONLY | FAST,
    access="RO",
    since="2.0.0",
    complexity="O(1)",
    summary="Determine if a hash field exists",
    arguments="key field",
)
def hexists(ctx: Context, argv: list[bytes]) -> bytes:
    """HEXISTS key field"""
    value = ctx.db.typed(argv[1], Hash)
    return reply.ONE if value is not None and argv[2] in value else reply.ZERO


@hash_command(
    "hstrlen",
    arity=3,
    flags=READONLY | FAST,
    access="RO",
    since="3.2.0",
    complexity="O(1)",
    summary="Get the length of the value of a hash field",
    arguments="key field",
)
def hstrlen(ctx: Context, argv: list[bytes]) -> bytes:
    """HSTRLEN key field"""
    value = ctx.db.typed(argv[1], Hash)
    return reply.ZERO if value is None else reply.integer(len(value.get(argv[2], b"")))


# -- by chance, and step by step ---------------------------------------------------------------------------------------


def random_count(text: bytes) -> int:
    """How many members a client wants at random (negative: with repetition); raises CommandError."""
    count = parse_int(text)
    if count is None:
        raise CommandError(NOT_AN_INTEGER)
    if count < -INT64_MAX:
        raise CommandError(NO_NEGATION)
    return count


@hash_command(
    "hrandfield",
    arity=-2,
    flags=READONLY,
    access="RO",
    since="6.2.0",
    complexity="O(N) where N is the number of fields returned",
    summary="Get one or multiple random fields from a hash",
    arguments="key [count [WITHVALUES]]",
    differs="The first HRANDFIELD of a hash numbers its fields: O(N) once. More than 2**20 repetitions (a negative "
    "count) are refused inside MULTI and scripts.",
)
def hrandfield(ctx: Context, argv: list[bytes]) -> bytes:
    """HRANDFIELD key [count [WITHVALUES]]"""
    if len(argv) == 2:
        value = ctx.db.typed(argv[1], Hash)
        return ctx.null if value is None else reply.bulk(value.indexed().choose(ctx.server.random))
    with_values = len(argv) > 3
    count = random_count(argv[2])
    if len(argv) > 4 or (with_values and argv[3].lower() != b"withvalues"):
        raise CommandError(SYNTAX)
    if with_values and abs(count) > INT64_MAX // 2:
        raise CommandError("ERR value is out of range")
    value = ctx.db.typed(argv[1], Hash)
    if value is None or count == 0:
        return reply.EMPTY_ARRAY
    if count < -PART_MEMBERS:
        answer = many(ctx, -count, list(value), list(value.values()) if with_values else None)
        if answer is not None:
            return answer
    fields = list(value) if count >= len(value) else value.indexed().draw(ctx.server.random, count)
    if not with_values:
        return reply.bulks(fields)
    if ctx.resp3:
        return reply.array([reply.bulks((field, value[field])) for field in fields])
    return reply.bulks([item for field in fields for item in (field, value[field])])


@hash_command(
    "hscan",
    arity=-3,
    flags=READONLY,
    access="RO",
    since="2.8.0",
    complexity="O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to "
    "return back to 0. N is the number of elements inside the collection..",
    summary="Incrementally iterate hash fields and associated values",
    arguments="key cursor [MATCH pattern] [COUNT count]",
    differs="The first HSCAN of a large hash numbers its fields: O(N) once.",
)
def hscan(ctx: Context, argv: list[bytes]) -> bytes:
    """HSCAN key cursor [MATCH pattern] [COUNT count]"""
    parse_cursor(argv[2])
    value = ctx.db.typed(argv[1], Hash)
    if value is None:
        return EMPTY_SCAN

    def emit(field: bytes) -> tuple[bytes, bytes]:
        return field, value[field]

    if is_listpack_hash(value, ctx.server.config):
        return scan_reply(ctx, argv, 2, None, emit, whole=value)
    return scan_reply(ctx, argv, 2, value.indexed(), emit)
