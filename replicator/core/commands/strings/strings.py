"""Strings as a whole: GET, SET and their kin.

A relative expiry reaches replicas as an absolute one: SET with EX becomes SET with PXAT, GETEX becomes PEXPIREAT.
"""

from __future__ import annotations

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import DENY_OOM, FAST, READONLY, WRITE, command
from replicator.core.commands.keys.expire import at_once_expired, expiry_of
from replicator.core.errors import SYNTAX, CommandError
from replicator.core.keyspace.database import NOTIFY_GENERIC, NOTIFY_STRING
from replicator.core.wire import reply

_UNITS = (b"EX", b"PX", b"EXAT", b"PXAT")


@command(
    "get",
    arity=2,
    flags=READONLY | FAST,
    keys=(1, 1, 1),
    access="RO",
    group="string",
    since="1.0.0",
    complexity="O(1)",
    summary="Get the value of a key",
    categories="string",
    arguments="key",
)
def get(ctx: Context, argv: list[bytes]) -> bytes:
    """GET key"""
    db = ctx.db
    key = argv[1]
    value = db.values.get(key)
    keyspace = db.keyspace
    if type(value) is bytes and keyspace.on_access is None and key not in db.expires:
        keyspace.hits += 1
        return b"$%d\r\n%b\r\n" % (len(value), value)
    value = db.string(key)
    return ctx.null if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


@command(
    "set",
    arity=-3,
    flags=WRITE | DENY_OOM,
    keys=(1, 1, 1),
    access="RW",
    group="string",
    since="1.0.0",
    complexity="O(1)",
    summary="Set the string value of a key",
    categories="string",
    arguments=(
        "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT "
        "unix-time-milliseconds | KEEPTTL]"
    ),
    history=(
        ("2.6.12", "Added the `EX`, `PX`, `NX` and `XX` options."),
        ("6.0.0", "Added the `KEEPTTL` option."),
        ("6.2.0", "Added the `GET`, `EXAT` and `PXAT` option."),
        ("7.0.0", "Allowed the `NX` and `GET` options to be used together."),
    ),
)
def set_(ctx: Context, argv: list[bytes]) -> bytes:
    """SET key value [NX | XX] [GET] [EX seconds | PX ms | EXAT seconds | PXAT ms | KEEPTTL]"""
    if len(argv) != 3:
        return _set_with_options(ctx, argv)
    db = ctx.db
    if db.expires or db.key_index is not None:
        db.store(argv[1], argv[2])
    else:
        db.values[argv[1]] = argv[2]
    keyspace = db.keyspace
    if db.hooked or keyspace.notify_flags:
        db.changed(argv[1], b"set", NOTIFY_STRING)
    else:
        keyspace.dirty += 1
    return reply.OK


def _set_with_options(ctx: Context, argv: list[bytes]) -> bytes:
    db = ctx.db
    key, value = argv[1], argv[2]
    condition, unit, amount, keep, fetch = _set_options(argv)
    when = None if unit is None else expiry_of(ctx, amount, unit, "set")
    answer = reply.OK
    if fetch:
        before = db.string(key)
        answer = ctx.null if before is None else reply.bulk(before)
    if condition and (db.find(key) is None) == (condition == b"XX"):
        return answer if fetch else ctx.null
    if keep:
        db.find(key)  # whose expiry has passed is gone first, and its expiry with it
        db.put(key, value)
    else:
        db.store(key, value)
    if when is not None:
        db.expire_at(key, when)
    db.changed(key, b"set", NOTIFY_STRING)
    if when is not None:
        db.notify(NOTIFY_GENERIC, b"expire", key)
        ctx.replicate(b"SET", key, value, b"PXAT", b"%d" % when)
    elif keep:
        ctx.replicate(b"SET", key, value, b"KEEPTTL")
    else:
        ctx.replicate(b"SET", key, value)
    return answer


def _set_options(argv: list[bytes]) -> tuple[bytes, bytes | None, bytes, bool, bool]:
    """NX, XX or nothing; the expiry's unit and amount; KEEPTTL; GET."""
    condition, amount = b"", b""
    unit: bytes | None = None
    keep = fetch = False
    at = 3
    while at < len(argv):
        option = argv[at].upper()
        if option in (b"NX", b"XX") and condition in (b"", option):
            condition = option
        elif option == b"GET":
            fetch = True
        elif option == b"KEEPTTL" and unit is None:
            keep = True
        elif option in _UNITS and not keep and unit in (None, option) and at + 1 < len(argv):
            unit = option
            at += 1
            amount = argv[at]
        else:
            raise CommandError(SYNTAX)
        at += 1
    return condition, unit, amount, keep, fetch


@command(
    "setnx",
    arity=3,
    flags=WRITE | DENY_OOM | FAST,
    keys=(1, 1, 1),
    access="OW",
    group="string",
    since="1.0.0",
    complexity="O(1)",
    summary="Set the value of a key, only if the key does not exist",
    categories="string",
    arguments="key value",
)
def setnx(ctx: Context, argv: list[bytes]) -> bytes:
    """SETNX key value"""
    db = ctx.db
    key = argv[1]
    if db.find(key) is not None:
        return reply.ZERO
    db.store(key, argv[2])
    db.changed(key, b"set", NOTIFY_STRING)
    return reply.ONE


@command(
    "setex",
    arity=4,
    flags=WRITE | DENY_OOM,
    keys=(1, 1, 1),
    access="OW",
    group="string",
    since="2.0.0",
    complexity="O(1)",
    summary="Set the value and expiration of a key",
    categories="string",
    arguments="key seconds value",
)
def setex(ctx: Context, argv: list[bytes]) -> bytes:
    """SETEX key seconds value"""
    return _set_for(ctx, argv[1], argv[3], expiry_of(ctx, argv[2], b"EX", "setex"))


@command(
    "psetex",
    arity=4,
    flags=WRITE | DENY_OOM,
    keys=(1, 1, 1),
    access="OW",
    group="string",
    since="2.6.0",
    complexity="O(1)",
    summary="Set the value and expiration in milliseconds of a key",
    categories="string",
    arguments="key milliseconds value",
)
def psetex(ctx: Context, argv: list[bytes]) -> bytes:
    """PSETEX key milliseconds value"""
    return _set_for(ctx, argv[1], argv[3], expiry_of(ctx, argv[2], b"PX", "psetex"))


def _set_for(ctx: Context, key: bytes, value: bytes, when: int) -> bytes:
    db = ctx.db
    db.store(key, value)
    db.expire_at(key, when)
    db.changed(key, b"set", NOTIFY_STRING)
    db.notify(NOTIFY_GENERIC, b"expire", key)
    ctx.replicate(b"SET", key, value, b"PXAT", b"%d" % when)
    return reply.OK


@command(
    "mset",
    arity=-3,
    flags=WRITE | DENY_OOM,
    keys=(1, -1, 2),
    access="OW",
    group="string",
    since="1.0.1",
    complexity="O(N) where N is the number of keys to set.",
    summary="Set multiple keys to multiple values",
    categories="string",
    arguments="key value [key value ...]",
)
def mset(ctx: Context, argv: list[bytes]) -> bytes:
    """MSET key value [key value ...]"""
    if len(argv) % 2 == 0:
        raise CommandError("ERR wrong number of arguments for 'mset' command")
    _store_pairs(ctx, argv)
    return reply.OK


@command(
    "msetnx",
    arity=-3,
    flags=WRITE | DENY_OOM,
    keys=(1, -1, 2),
    access="OW",
    group="string",
    since="1.0.1",
    complexity="O(N) where N is the number of keys to set.",
    summary="Set multiple keys to multiple values, only if none of the keys exist",
    categories="string",
    arguments="key value [key value ...]",
)
def msetnx(ctx: Context, argv: list[bytes]) -> bytes:
    """MSETNX key value [key value ...]"""
    if len(argv) % 2 == 0:
        raise CommandError("ERR wrong number of arguments for 'msetnx' command")
    db = ctx.db
    for at in range(1, len(argv), 2):
        if db.find(argv[at]) is not None:
            return reply.ZERO
    _store_pairs(ctx, argv)
    return reply.ONE


def _store_pairs(ctx: Context, argv: list[bytes]) -> None:
    db = ctx.db
    for at in range(1, len(argv), 2):
        key = argv[at]
        db.store(key, argv[at + 1])
        db.changed(key, b"set", NOTIFY_STRING)


@command(
    "mget",
    arity=-2,
    flags=READONLY | FAST,
    keys=(1, -1, 1),
    access="RO",
    group="string",
    since="1.0.0",
    complexity="O(N) where N is the number of keys to retrieve.",
    summary="Get the values of all the given keys",
    categories="string",
    arguments="key [key ...]",
)
def mget(ctx: Context, argv: list[bytes]) -> bytes:
    """MGET key [key ...]"""
    db = ctx.db
    null = ctx.null
    keyspace = db.keyspace
    if not db.expires and keyspace.on_access is None and not keyspace.notify_flags:  # `lookup`, for all at once
        values = list(map(db.values.get, argv[1:]))
        missing = values.count(None)
        keyspace.misses += missing
        keyspace.hits += len(values) - missing
        return reply.array([b"$%d\r\n%b\r\n" % (len(one), one) if type(one) is bytes else null for one in values])
    lookup = db.lookup
    items = []
    for at in range(1, len(argv)):
        value = lookup(argv[at])
        items.append(b"$%d\r\n%b\r\n" % (len(value), value) if type(value) is bytes else null)
    return reply.array(items)


@command(
    "getset",
    arity=3,
    flags=WRITE | DENY_OOM | FAST,
    keys=(1, 1, 1),
    access="RW",
    group="string",
    since="1.0.0",
    complexity="O(1)",
    summary="Set the string value of a key and return its old value",
    categories="string",
    arguments="key value",
)
def getset(ctx: Context, argv: list[bytes]) -> bytes:
    """GETSET key value"""
    db = ctx.db
    key = argv[1]
    before = db.string(key)
    db.store(key, argv[2])
    db.changed(key, b"set", NOTIFY_STRING)
    ctx.replicate(b"SET", key, argv[2])
    return ctx.null if before is None else reply.bulk(before)


@command(
    "getdel",
    arity=2,
    flags=WRITE | FAST,
    keys=(1, 1, 1),
    access="RW",
    group="string",
    since="6.2.0",
    complexity="O(1)",
    summary="Get the value of a key and delete the key",
    categories="string",
    arguments="key",
)
def getdel(ctx: Context, argv: list[bytes]) -> bytes:
    """GETDEL key"""
    db = ctx.db
    key = argv[1]
    value = db.string(key)
    if value is None:
        return ctx.null
    db.remove(key)
    db.changed(key, b"del", NOTIFY_GENERIC)
    ctx.replicate(b"DEL", key)
    return reply.bulk(value)


@command(
    "getex",
    arity=-2,
    flags=WRITE | FAST,
    keys=(1, 1, 1),
    access="RW",
    group="string",
    since="6.2.0",
    complexity="O(1)",
    summary="Get the value of a key and optionally set its expiration",
    categories="string",
    arguments="key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]",
)
def getex(ctx: Context, argv: list[bytes]) -> bytes:
    """GETEX key [EX seconds | PX milliseconds | EXAT seconds | PXAT milliseconds | PERSIST]"""
    db = ctx.db
    key = argv[1]
    option = argv[2].upper() if len(argv) > 2 else b""
    step = 1 if option == b"PERSIST" else 2 if option in _UNITS else len(argv)
    # The same option may come again, and the last one counts.
    if (len(argv) - 2) % step or any(argv[at].upper() != option for at in range(2, len(argv), step)):
        raise CommandError(SYNTAX)
    value = db.string(key)
    if value is None:
        return ctx.null
    if option == b"PERSIST":
        if db.persist(key):
            db.changed(key, b"persist", NOTIFY_GENERIC)
            ctx.replicate(b"PERSIST", key)
    elif option:
        when = expiry_of(ctx, argv[-1], option, "getex")
        if at_once_expired(ctx, when):
            db.remove(key)
            db.changed(key, b"del", NOTIFY_GENERIC)
            ctx.replicate(ctx.keyspace.delete_name, key)
        else:
            db.expire_at(key, when)
            db.changed(key, b"expire", NOTIFY_GENERIC)
            ctx.replicate(b"PEXPIREAT", key, b"%d" % when)
    return reply.bulk(value)
