"""Keys whatever their type: DEL, EXISTS, TYPE, RENAME, COPY, KEYS and their kin."""

from __future__ import annotations

from copy import deepcopy

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import DENY_OOM, FAST, READONLY, WRITE, command
from replicator.core.commands.keys.databases import parse_database
from replicator.core.commands.keys.scan import kind_name
from replicator.core.errors import NO_SUCH_KEY, SYNTAX, CommandError
from replicator.core.keyspace.database import NOTIFY_GENERIC, Database
from replicator.core.keyspace.sorted_set import SortedSet
from replicator.core.keyspace.values import Hash, List, Set, Value
from replicator.core.wire import reply
from replicator.core.wire.glob import matcher

# RANDOMKEY of a replica full of logically expired keys (which it must not delete) gives up looking after so many.
_RANDOM_TRIES = 100


@command(
    "del",
    arity=-2,
    flags=WRITE,
    keys=(1, -1, 1),
    access="RM",
    group="generic",
    since="1.0.0",
    complexity=(
        "O(N) where N is the number of keys that will be removed. When a key to remove holds a value "
        "other than a string, the individual complexity for this key is O(M) where M is the number of "
        "elements in the list, set, sorted set or hash. Removing a single key that holds a string value "
        "is O(1)."
    ),
    summary="Delete a key",
    categories="keyspace",
    arguments="key [key ...]",
)
def del_(ctx: Context, argv: list[bytes]) -> bytes:
    """DEL key [key ...]"""
    db = ctx.db
    count = 0
    for at in range(1, len(argv)):
        key = argv[at]
        # A writable replica counts (and deletes) what has only logically expired, as stock does.
        if ctx.keyspace.expires_keys and key in db.expires and db.find(key) is None:
            continue
        if db.remove(key):
            db.changed(key, b"del", NOTIFY_GENERIC)
            count += 1
    return reply.integer(count)


@command(
    "unlink",
    arity=-2,
    flags=WRITE | FAST,
    keys=(1, -1, 1),
    access="RM",
    group="generic",
    since="4.0.0",
    complexity=(
        "O(1) for each key removed regardless of its size. Then the command does O(N) work in a different "
        "thread in order to reclaim memory, where N is the number of allocations the deleted objects "
        "where composed of."
    ),
    summary="Delete a key asynchronously in another thread. Otherwise it is just as DEL, but non blocking.",
    categories="keyspace",
    arguments="key [key ...]",
)
def unlink(ctx: Context, argv: list[bytes]) -> bytes:
    """UNLINK key [key ...]"""
    return del_(ctx, argv)


@command(
    "exists",
    arity=-2,
    flags=READONLY | FAST,
    keys=(1, -1, 1),
    access="RO",
    group="generic",
    since="1.0.0",
    complexity="O(N) where N is the number of keys to check.",
    summary="Determine if a key exists",
    categories="keyspace",
    arguments="key [key ...]",
    history=(("3.0.3", "Accepts multiple `key` arguments."),),
)
def exists(ctx: Context, argv: list[bytes]) -> bytes:
    """EXISTS key [key ...]"""
    peek = ctx.db.peek
    return reply.integer(sum(peek(argv[at]) is not None for at in range(1, len(argv))))


@command(
    "touch",
    arity=-2,
    flags=READONLY | FAST,
    keys=(1, -1, 1),
    access="RO",
    group="generic",
    since="3.2.1",
    complexity="O(N) where N is the number of keys that will be touched.",
    summary="Alters the last access time of a key(s). Returns the number of existing keys specified.",
    categories="keyspace",
    arguments="key [key ...]",
)
def touch(ctx: Context, argv: list[bytes]) -> bytes:
    """TOUCH key [key ...]"""
    lookup = ctx.db.lookup
    return reply.integer(sum(lookup(argv[at]) is not None for at in range(1, len(argv))))


@command(
    "type",
    arity=2,
    flags=READONLY | FAST,
    keys=(1, 1, 1),
    access="RO",
    group="generic",
    since="1.0.0",
    complexity="O(1)",
    summary="Determine the type stored at key",
    categories="keyspace",
    arguments="key",
)
def type_(ctx: Context, argv: list[bytes]) -> bytes:
    """TYPE key"""
    value = ctx.db.peek(argv[1])
    return b"+none\r\n" if value is None else b"+%b\r\n" % kind_name(value)


@command(
    "keys",
    arity=2,
    flags=READONLY,
    group="generic",
    since="1.0.0",
    complexity=(
        "O(N) with N being the number of keys in the database, under the assumption that the key names in "
        "the database and the given pattern have limited length."
    ),
    summary="Find all keys matching the given pattern",
    categories="keyspace dangerous",
    arguments="pattern",
)
def keys(ctx: Context, argv: list[bytes]) -> bytes:
    """KEYS pattern"""
    db = ctx.db
    pattern = argv[1]
    if pattern == b"*":
        found = list(db.values)
    else:
        match = matcher(pattern)
        found = [key for key in db.values if match(key)]
    if db.expires:
        found = [key for key in found if not db.is_past(key)]
    return reply.bulks(found)


@command(
    "randomkey",
    arity=1,
    flags=READONLY,
    group="generic",
    since="1.0.0",
    complexity="O(1)",
    summary="Return a random key from the keyspace",
    categories="keyspace",
    differs="The first RANDOMKEY or SCAN of a database numbers its keys: O(N) once, then about 100 bytes a key.",
)
def randomkey(ctx: Context, argv: list[bytes]) -> bytes:
    """RANDOMKEY"""
    db = ctx.db
    index = db.indexed_keys()
    tries = 0
    while len(index):
        key = index.choose(ctx.server.random)
        if db.find(key) is not None:
            ctx.let_stand_apart()
            return reply.bulk(key)
        tries += 1
        if tries >= _RANDOM_TRIES and not ctx.keyspace.expires_keys:
            return reply.bulk(key)
    ctx.let_stand_apart()
    return ctx.null


@command(
    "dbsize",
    arity=1,
    flags=READONLY | FAST,
    group="server",
    since="1.0.0",
    complexity="O(1)",
    summary="Return the number of keys in the selected database",
    categories="keyspace",
)
def dbsize(ctx: Context, argv: list[bytes]) -> bytes:
    """DBSIZE"""
    return reply.integer(len(ctx.db))


def _move(source: Database, key: bytes, target: Database, new_key: bytes, value: Value) -> None:
    """Take the value with its expiry to another key; both keys' watchers are still to be told."""
    expiry = source.expires.get(key)
    source.remove(key)
    target.store(new_key, value)
    if expiry is not None:
        target.expire_at(new_key, expiry)


@command(
    "rename",
    arity=3,
    flags=WRITE,
    keys=(1, 2, 1),
    access="RW",
    group="generic",
    since="1.0.0",
    complexity="O(1)",
    summary="Rename a key",
    categories="keyspace",
    arguments="key newkey",
)
def rename(ctx: Context, argv: list[bytes]) -> bytes:
    """RENAME key newkey"""
    _rename(ctx, argv[1], argv[2], replace=True)
    return reply.OK


@command(
    "renamenx",
    arity=3,
    flags=WRITE | FAST,
    keys=(1, 2, 1),
    access="RW",
    group="generic",
    since="1.0.0",
    complexity="O(1)",
    summary="Rename a key, only if the new key does not exist",
    categories="keyspace",
    arguments="key newkey",
    history=(("3.2.0", "The command no longer returns an error when source and destination names are the same."),),
)
def renamenx(ctx: Context, argv: list[bytes]) -> bytes:
    """RENAMENX key newkey"""
    return reply.ONE if _rename(ctx, argv[1], argv[2], replace=False) else reply.ZERO


def _rename(ctx: Context, key: bytes, new_key: bytes, *, replace: bool) -> bool:
    db = ctx.db
    value = db.find(key)
    if value is None:
        raise CommandError(NO_SUCH_KEY)
    if key == new_key:
        return False
    if db.find(new_key) is not None:
        if not replace:
            return False
        db.remove(new_key)
    _move(db, key, db, new_key, value)
    db.changed(key, b"rename_from", NOTIFY_GENERIC)
    db.changed(new_key, b"rename_to", NOTIFY_GENERIC)
    ctx.keyspace.dirty -= 1  # counts as one change
    return True


@command(
    "move",
    arity=3,
    flags=WRITE | FAST,
    keys=(1, 1, 1),
    access="RW",
    group="generic",
    since="1.0.0",
    complexity="O(1)",
    summary="Move a key to another database",
    categories="keyspace",
    arguments="key db",
)
def move(ctx: Context, argv: list[bytes]) -> bytes:
    """MOVE key db"""
    if ctx.server.config["cluster-enabled"]:
        raise CommandError("ERR MOVE is not allowed in cluster mode")
    db = ctx.db
    key = argv[1]
    target = ctx.keyspace.databases[parse_database(ctx, argv[2])]
    if target is db:
        raise CommandError("ERR source and destination objects are the same")
    value = db.find(key)
    if value is None or target.find(key) is not None:
        return reply.ZERO
    _move(db, key, target, key, value)
    db.changed(key, b"move_from", NOTIFY_GENERIC)
    target.changed(key, b"move_to", NOTIFY_GENERIC)
    ctx.keyspace.dirty -= 1  # counts as one change
    return reply.ONE


@command(
    "copy",
    arity=-3,
    flags=WRITE | DENY_OOM,
    keys=(1, 2, 1),
    access="RO",
    group="generic",
    since="6.2.0",
    complexity="O(N) worst case for collections, where N is the number of nested items. O(1) for string values.",
    summary="Copy a key",
    categories="keyspace",
    arguments="source destination [DB destination-db] [REPLACE]",
)
def copy(ctx: Context, argv: list[bytes]) -> bytes:
    """COPY source destination [DB destination-db] [REPLACE]"""
    db = target = ctx.db
    key, new_key = argv[1], argv[2]
    replace = False
    at = 3
    while at < len(argv):
        option = argv[at].upper()
        if option == b"REPLACE":
            replace = True
        elif option == b"DB" and at + 1 < len(argv):
            at += 1
            target = ctx.keyspace.databases[parse_database(ctx, argv[at])]
        else:
            raise CommandError(SYNTAX)
        at += 1
    if target.index and ctx.server.config["cluster-enabled"]:
        raise CommandError("ERR Copying to another database is not allowed in cluster mode")
    if target is db and key == new_key:
        raise CommandError("ERR source and destination objects are the same")
    value = db.lookup(key)
    if value is None:
        return reply.ZERO
    if target.find(new_key) is not None:
        if not replace:
            return reply.ZERO
        target.remove(new_key)
    target.store(new_key, duplicate(value))
    expiry = db.expires.get(key)
    if expiry is not None:
        target.expire_at(new_key, expiry)
    target.changed(new_key, b"copy_to", NOTIFY_GENERIC)
    return reply.ONE


def duplicate(value: Value) -> Value:
    """An independent value equal to this one."""
    if type(value) is bytes:
        return value
    if isinstance(value, List):
        elements = List(value)
        if hasattr(value, "fill"):
            elements.fill = value.fill
        return elements
    if isinstance(value, Set):
        members = Set(value.items)
        members.peak = value.peak
        return members
    if isinstance(value, Hash):
        fields = Hash(value)
        fields.peak = value.peak
        fields.kept = value.kept
        return fields
    if isinstance(value, SortedSet):
        scored = SortedSet.from_pairs(value.scores.items(), value.bounds)
        scored.flat = value.flat
        return scored
    return deepcopy(value)
