"""DUMP and RESTORE: one value as bytes that any server of the family can take."""

from __future__ import annotations

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import ASKING, DENY_OOM, READONLY, WRITE, command
from replicator.core.errors import NOT_AN_INTEGER, SYNTAX, CommandError
from replicator.core.keyspace.database import NOTIFY_GENERIC
from replicator.core.keyspace.serialize import neutral_value, value_from
from replicator.core.keyspace.stream import Stream
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_int
from replicator.core.wire.rdb import BAD_PAYLOAD, RdbError, dump_payload, restore_payload

# A stream needs the form of Redis 7 to keep its counters; everything else is written so that Redis 5 and later load it.
_STREAM_VERSION = 10
_PLAIN_VERSION = 9
_RESTORE_COMPLEXITY = (
    "O(1) to create the new key and additional O(N*M) to reconstruct the serialized value, where N is the number of "
    "Redis objects composing the value and M their average size. For small string values the time complexity is thus "
    "O(1)+O(1*M) where M is small, so simply O(1). However for sorted set values the complexity is O(N*M*log(N)) "
    "because inserting values into sorted sets is O(log(N))."
)
_RESTORE_HISTORY = (
    ("3.0.0", "Added the `REPLACE` modifier."),
    ("5.0.0", "Added the `ABSTTL` modifier."),
    ("5.0.0", "Added the `IDLETIME` and `FREQ` options."),
)
_RESTORE_ARGUMENTS = "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]"


@command(
    "dump",
    arity=2,
    flags=READONLY,
    keys=(1, 1, 1),
    access="RO",
    group="generic",
    since="2.6.0",
    complexity=(
        "O(1) to access the key and additional O(N*M) to serialize it, where N is the number of Redis objects "
        "composing the value and M their average size. For small string values the time complexity is thus "
        "O(1)+O(1*M) where M is small, so simply O(1)."
    ),
    summary="Return a serialized version of the value stored at the specified key.",
    categories="keyspace",
    arguments="key",
    differs="Collections are written in plain encodings, not in compact ones: other bytes, the same value.",
)
def dump(ctx: Context, argv: list[bytes]) -> bytes:
    """DUMP key"""
    value = ctx.db.lookup(argv[1])
    if value is None:
        return ctx.null
    version = _STREAM_VERSION if isinstance(value, Stream) else _PLAIN_VERSION
    return reply.bulk(dump_payload(*neutral_value(value), version))


@command(
    "restore",
    arity=-4,
    flags=WRITE | DENY_OOM,
    keys=(1, 1, 1),
    access="OW",
    group="generic",
    since="2.6.0",
    complexity=_RESTORE_COMPLEXITY,
    summary="Create a key using the provided serialized value, previously obtained using DUMP.",
    categories="keyspace dangerous",
    arguments=_RESTORE_ARGUMENTS,
    history=_RESTORE_HISTORY,
    differs="IDLETIME and FREQ act while a policy records accesses. A value that runs into its footer is refused.",
)
@command(
    "restore-asking",
    arity=-4,
    flags=WRITE | DENY_OOM | ASKING,
    keys=(1, 1, 1),
    access="OW",
    group="server",
    since="3.0.0",
    complexity=_RESTORE_COMPLEXITY,
    summary="An internal command for migrating keys in a cluster",
    categories="keyspace dangerous",
    arguments=_RESTORE_ARGUMENTS,
    history=_RESTORE_HISTORY,
)
def restore(ctx: Context, argv: list[bytes]) -> bytes:
    """RESTORE key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]"""
    replace, absolute, idle, frequency = _options(argv)
    db, key = ctx.db, argv[1]
    there = db.find(key) is not None
    if there and not replace:
        raise CommandError("BUSYKEY Target key name already exists.")
    ttl = parse_int(argv[2])
    if ttl is None:
        raise CommandError(NOT_AN_INTEGER)
    if ttl < 0:
        raise CommandError("ERR Invalid TTL value, must be >= 0")
    try:
        kind, neutral = restore_payload(argv[3])
    except RdbError as problem:
        bad_footer = problem.message == BAD_PAYLOAD
        raise CommandError(f"ERR {BAD_PAYLOAD}" if bad_footer else "ERR Bad data format") from None
    when = ttl if absolute or not ttl else _wrapped(ttl + ctx.keyspace.now_ms)
    if ttl and when <= ctx.keyspace.now_ms and ctx.keyspace.expires_keys:
        if there:
            db.remove(key)
            db.changed(key, b"del", NOTIFY_GENERIC)
            ctx.replicate(ctx.keyspace.delete_name, key)
        return reply.OK
    db.store(key, value_from(kind, neutral, ctx.keyspace.flat_bounds))
    if ttl:
        db.expire_at(key, when)
    db.changed(key, b"restore", NOTIFY_GENERIC)
    _remember_use(ctx, key, idle, frequency)  # behind the change, which is a use itself
    if ttl and not absolute:
        ctx.replicate(b"RESTORE", key, b"%d" % when, *argv[3:], b"ABSTTL")
    return reply.OK


def _wrapped(when: int) -> int:
    """A sum in signed 64 bits: a time to live that is too large lies in the past."""
    return (when + (1 << 63)) % (1 << 64) - (1 << 63)


def _options(argv: list[bytes]) -> tuple[bool, bool, int | None, int | None]:
    """(replace, absolute, idle seconds, frequency)"""
    replace = absolute = False
    idle: int | None = None
    frequency: int | None = None
    at = 4
    while at < len(argv):
        option = argv[at].upper()
        more = at + 1 < len(argv)
        if option == b"REPLACE":
            replace = True
        elif option == b"ABSTTL":
            absolute = True
        elif option == b"IDLETIME" and more and frequency is None:
            at += 1
            idle = _integer(argv[at])
            if idle < 0:
                raise CommandError("ERR Invalid IDLETIME value, must be >= 0")
        elif option == b"FREQ" and more and idle is None:
            at += 1
            frequency = _integer(argv[at])
            if not 0 <= frequency <= 255:
                raise CommandError("ERR Invalid FREQ value, must be >= 0 and <= 255")
        else:
            raise CommandError(SYNTAX)
        at += 1
    return replace, absolute, idle, frequency


def _integer(text: bytes) -> int:
    number = parse_int(text)
    if number is None:
        raise CommandError(NOT_AN_INTEGER)
    return number


def _remember_use(ctx: Context, key: bytes, idle: int | None, frequency: int | None) -> None:
    """Tell the evictor how the key was used elsewhere."""
    if idle is not None:
        ctx.server.evictor.set_idle(ctx.db, key, idle * 1000)
    elif frequency is not None:
        ctx.server.evictor.set_frequency(ctx.db, key, frequency)
