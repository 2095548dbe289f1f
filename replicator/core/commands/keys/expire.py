"""When keys expire: EXPIRE and its kin, TTL and its kin, PERSIST.

Replicas are told absolute times only (PEXPIREAT), and a time that has passed already is a deletion.

Source: https://redis.io/docs/latest/commands/expire/
"""

from __future__ import annotations

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import FAST, READONLY, WRITE, command
from replicator.core.errors import NOT_AN_INTEGER, CommandError
from replicator.core.keyspace.database import NOTIFY_GENERIC
from replicator.core.wire import reply
from replicator.core.wire.numbers import INT64_MAX, INT64_MIN, parse_int


def expiry_of(ctx: Context, amount: bytes, unit: bytes, name: str) -> int:
    """The expiry in unix ms that an option of SET or GETEX means (EX, PX: from now; EXAT, PXAT: absolute).

    Raises CommandError, which names the command, unless it is positive and in the range of 64 bits.
    """
    number = parse_int(amount)
    if number is None:
        raise CommandError(NOT_AN_INTEGER)
    when = number * 1000 if unit in (b"EX", b"EXAT") else number
    if number > 0 and when <= INT64_MAX and unit in (b"EX", b"PX"):
        when += ctx.keyspace.now_ms
    if number <= 0 or when > INT64_MAX:
        raise CommandError(f"ERR invalid expire time in '{name}' command")
    return when


def at_once_expired(ctx: Context, when: int) -> bool:
    """Whether an expiry at this time is a deletion: on a primary, of a time that has passed."""
    keyspace = ctx.keyspace
    return when <= keyspace.now_ms and keyspace.expires_keys and not keyspace.loading


def _options(argv: list[bytes]) -> tuple[bool, bool, bool, bool]:
    given = set()
    for at in range(3, len(argv)):
        option = argv[at].upper()
        if option not in (b"NX", b"XX", b"GT", b"LT"):
            raise CommandError(f"ERR Unsupported option {argv[at].decode('utf-8', 'surrogateescape')}")
        given.add(option)
    nx, xx, gt, lt = (b"NX" in given, b"XX" in given, b"GT" in given, b"LT" in given)
    if nx and (xx or gt or lt):
        raise CommandError("ERR NX and XX, GT or LT options at the same time are not compatible")
    if gt and lt:
        raise CommandError("ERR GT and LT options at the same time are not compatible")
    return nx, xx, gt, lt


def _expire(ctx: Context, argv: list[bytes], name: str, *, seconds: bool, base: int) -> bytes:
    nx, xx, gt, lt = _options(argv)
    number = parse_int(argv[2])
    if number is None:
        raise CommandError(NOT_AN_INTEGER)
    when = number * 1000 if seconds else number
    if not INT64_MIN <= when <= INT64_MAX - base:
        raise CommandError(f"ERR invalid expire time in '{name}' command")
    when += base
    db = ctx.db
    key = argv[1]
    if db.find(key) is None:
        return reply.ZERO
    current = db.expires.get(key)
    if current is None:
        # No expiry counts as the farthest one.
        refused = xx or gt
    else:
        refused = nx or (gt and when <= current) or (lt and when >= current)
    if refused:
        return reply.ZERO
    if at_once_expired(ctx, when):
        db.remove(key)
        db.changed(key, b"del", NOTIFY_GENERIC)
        ctx.replicate(ctx.keyspace.delete_name, key)
    else:
        db.expire_at(key, when)
        db.changed(key, b"expire", NOTIFY_GENERIC)
        ctx.replicate(b"PEXPIREAT", key, b"%d" % when)
    return reply.ONE


@command(
    "expire",
    arity=-3,
    flags=WRITE | FAST,
    keys=(1, 1, 1),
    access="RW",
    group="generic",
    since="1.0.0",
    complexity="O(1)",
    summary="Set a key's time to live in seconds",
    categories="keyspace",
    arguments="key seconds [NX | XX | GT | LT]",
    history=(("7.0.0", "Added options: `NX`, `XX`, `GT` and `LT`."),),
)
def expire(ctx: Context, argv: list[bytes]) -> bytes:
    """EXPIRE key seconds [NX | XX | GT | LT]"""
    return _expire(ctx, argv, "expire", seconds=True, base=ctx.keyspace.now_ms)


@command(
    "pexpire",
    arity=-3,
    flags=WRITE | FAST,
    keys=(1, 1, 1),
    access="RW",
    group="generic",
    since="2.6.0",
    complexity="O(1)",
    summary="Set a key's time to live in milliseconds",
    categories="keyspace",
    arguments="key milliseconds [NX | XX | GT | LT]",
    history=(("7.0.0", "Added options: `NX`, `XX`, `GT` and `LT`."),),
)
def pexpire(ctx: Context, argv: list[bytes]) -> bytes:
    """PEXPIRE key milliseconds [NX | XX | GT | LT]"""
    return _expire(ctx, argv, "pexpire", seconds=False, base=ctx.keyspace.now_ms)


@command(
    "expireat",
    arity=-3,
    flags=WRITE | FAST,
    keys=(1, 1, 1),
    access="RW",
    group="generic",
    since="1.2.0",
    complexity="O(1)",
    summary="Set the expiration for a key as a UNIX timestamp",
    categories="keyspace",
    arguments="key unix-time-seconds [NX | XX | GT | LT]",
    history=(("7.0.0", "Added options: `NX`, `XX`, `GT` and `LT`."),),
)
def expireat(ctx: Context, argv: list[bytes]) -> bytes:
    """EXPIREAT key unix-time-seconds [NX | XX | GT | LT]"""
    return _expire(ctx, argv, "expireat", seconds=True, base=0)


@command(
    "pexpireat",
    arity=-3,
    flags=WRITE | FAST,
    keys=(1, 1, 1),
    access="RW",
    group="generic",
    since="2.6.0",
    complexity="O(1)",
    summary="Set the expiration for a key as a UNIX timestamp specified in milliseconds",
    categories="keyspace",
    arguments="key unix-time-milliseconds [NX | XX | GT | LT]",
    history=(("7.0.0", "Added options: `NX`, `XX`, `GT` and `LT`."),),
)
def pexpireat(ctx: Context, argv: list[bytes]) -> bytes:
    """PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT]"""
    return _expire(ctx, argv, "pexpireat", seconds=False, base=0)


def _time_left(ctx: Context, key: bytes, *, seconds: bool, absolute: bool) -> bytes:
    db = ctx.db
    if db.peek(key) is None:
        return reply.integer(-2)
    when = db.expires.get(key)
    if when is None:
        return reply.integer(-1)
    left = when if absolute else max(0, when - ctx.keyspace.now_ms)
    return reply.integer((left + 500) // 1000 if seconds else left)


@command(
    "ttl",
    arity=2,
    flags=READONLY | FAST,
    keys=(1, 1, 1),
    access="RO",
    group="generic",
    since="1.0.0",
    complexity="O(1)",
    summary="Get the time to live for a key in seconds",
    categories="keyspace",
    arguments="key",
    history=(("2.8.0", "Added the -2 reply."),),
)
def ttl(ctx: Context, argv: list[bytes]) -> bytes:
    """TTL key"""
    return _time_left(ctx, argv[1], seconds=True, absolute=False)


@command(
    "pttl",
    arity=2,
    flags=READONLY | FAST,
    keys=(1, 1, 1),
    access="RO",
    group="generic",
    since="2.6.0",
    complexity="O(1)",
    summary="Get the time to live for a key in milliseconds",
    categories="keyspace",
    arguments="key",
    history=(("2.8.0", "Added the -2 reply."),),
)
def pttl(ctx: Context, argv: list[bytes]) -> bytes:
    """PTTL key"""
    return _time_left(ctx, argv[1], seconds=False, absolute=False)


@command(
    "expiretime",
    arity=2,
    flags=READONLY | FAST,
    keys=(1, 1, 1),
    access="RO",
    group="generic",
    since="7.0.0",
    complexity="O(1)",
    summary="Get the expiration Unix timestamp for a key",
    categories="keyspace",
    arguments="key",
)
def expiretime(ctx: Context, argv: list[bytes]) -> bytes:
    """EXPIRETIME key"""
    return _time_left(ctx, argv[1], seconds=True, absolute=True)


@command(
    "pexpiretime",
    arity=2,
    flags=READONLY | FAST,
    keys=(1, 1, 1),
    access="RO",
    group="generic",
    since="7.0.0",
    complexity="O(1)",
    summary="Get the expiration Unix timestamp for a key in milliseconds",
    categories="keyspace",
    arguments="key",
)
def pexpiretime(ctx: Context, argv: list[bytes]) -> bytes:
    """PEXPIRETIME key"""
    return _time_left(ctx, argv[1], seconds=False, absolute=True)


@command(
    "persist",
    arity=2,
    flags=WRITE | FAST,
    keys=(1, 1, 1),
    access="RW",
    group="generic",
    since="2.2.0",
    complexity="O(1)",
    summary="Remove the expiration from a key",
    categories="keyspace",
    arguments="key",
)
def persist(ctx: Context, argv: list[bytes]) -> bytes:
    """PERSIST key"""
    db = ctx.db
    key = argv[1]
    if db.find(key) is None or not db.persist(key):
        return reply.ZERO
    db.changed(key, b"persist", NOTIFY_GENERIC)
    return reply.ONE
