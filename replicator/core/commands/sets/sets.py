"""Sets: SADD, SREM, SPOP and their kin; unions and intersections stand in sets_algebra.py.

Source: https://redis.io/docs/latest/commands/?group=set
"""

from __future__ import annotations

from functools import partial

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import DENY_OOM, FAST, READONLY, WRITE, command
from replicator.core.commands.hashes import random_count
from replicator.core.commands.keys.repetitions import many
from replicator.core.commands.keys.scan import EMPTY_SCAN, parse_cursor, scan_reply
from replicator.core.commands.lists.lists import NOT_POSITIVE
from replicator.core.errors import SYNTAX, CommandError
from replicator.core.keyspace.database import NOTIFY_GENERIC, NOTIFY_SET, Database
from replicator.core.keyspace.encoding import is_intset
from replicator.core.keyspace.values import Set, is_integer
from replicator.core.limits import PART_MEMBERS
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_int

set_command = partial(command, group="set", categories="set")
one_key = partial(set_command, keys=(1, 1, 1))


def in_order(ctx: Context, value: Set) -> list[bytes]:
    """The members in the order of their reply: a set that stock holds as an intset ascending, others as they stand."""
    if is_intset(value, ctx.server.config):
        return sorted(value.items, key=int)
    return value.items


def result_in_order(ctx: Context, members: list[bytes]) -> list[bytes]:
    """`in_order` for members of no set yet: the result of an intersection, union or difference."""
    if len(members) <= ctx.server.config["set-max-intset-entries"] and all(map(is_integer, members)):
        return sorted(members, key=int)
    return members


def set_reply(ctx: Context, members: list[bytes]) -> bytes:
    """The members as a set (for RESP2 as an array)."""
    encoded = reply.bulks(members)
    return b"~" + encoded[1:] if ctx.resp3 else encoded


def shrunk(db: Database, key: bytes, value: Set, event: bytes, count: int = 1) -> None:
    """Say that so many members left the set; take the key away with the last of them."""
    db.keyspace.dirty += count - 1
    if value.items:
        db.changed(key, event, NOTIFY_SET)
    else:
        db.remove(key)
        db.changed(key, event, NOTIFY_SET)
        db.notify(NOTIFY_GENERIC, b"del", key)


# -- changing --------------------------------------------------------------------------------------------------------


@one_key(
    "sadd",
    arity=-3,
    flags=WRITE | DENY_OOM | FAST,
    access="RW",
    since="1.0.0",
    complexity="O(1) for each element added, so O(N) to add N elements when the command is called with multiple "
    "arguments.",
    summary="Add one or more members to a set",
    arguments="key member [member ...]",
    history=(("2.4.0", "Accepts multiple `member` arguments."),),
)
def sadd(ctx: Context, argv: list[bytes]) -> bytes:
    """SADD key member [member ...]"""
    db = ctx.db
    keyspace = db.keyspace
    key = argv[1]
    value = db.values.get(key)
    # Database.for_write in place: a good part of the time of one member.
    if type(value) is not Set or key in db.expires or keyspace.on_access is not None:
        value = db.for_write(key, Set)
        if value is None:
            value = Set()
            db.store(key, value)
    place, items = value.place, value.items
    before = len(items)
    if len(argv) == 3:
        member = argv[2]
        if member in place:
            return reply.ZERO
        place[member] = before
        items.append(member)
    else:
        for member in argv[2:]:
            if member not in place:
                place[member] = len(items)
                items.append(member)
        if len(items) == before:
            return reply.ZERO
        keyspace.dirty += len(items) - before - 1
    if db.hooked or keyspace.notify_flags:
        db.changed(key, b"sadd", NOTIFY_SET)
    else:
        keyspace.dirty += 1
    return reply.integer(len(items) - before)


@one_key(
    "srem",
    arity=-3,
    flags=WRITE | FAST,
    access="RW",
    since="1.0.0",
    complexity="O(N) where N is the number of members to be removed.",
    summary="Remove one or more members from a set",
    arguments="key member [member ...]",
    history=(("2.4.0", "Accepts multiple `member` arguments."),),
)
def srem(ctx: Context, argv: list[bytes]) -> bytes:
    """SREM key member [member ...]"""
    db = ctx.db
    key = argv[1]
    value = db.for_write(key, Set)
    if value is None:
        return reply.ZERO
    before = len(value.items)
    for member in argv[2:]:
        value.discard(member)
    removed = before - len(value.items)
    if removed:
        shrunk(db, key, value, b"srem", removed)
    return reply.integer(removed)


@set_command(
    "smove",
    arity=4,
    flags=WRITE | FAST,
    keys=(1, 2, 1),
    access="RW",
    since="1.0.0",
    complexity="O(1)",
    summary="Move a member from one set to another",
    arguments="source destination member",
)
def smove(ctx: Context, argv: list[bytes]) -> bytes:
    """SMOVE source destination member"""
    db = ctx.db
    source, destination, member = argv[1:]
    value = db.for_write(source, Set)
    if value is None:
        return reply.ZERO
    target = db.for_write(destination, Set)
    if value is target:
        return reply.ONE if member in value.place else reply.ZERO
    if not value.discard(member):
        return reply.ZERO
    shrunk(db, source, value, b"srem")
    if target is None:
        target = Set()
        db.store(destination, target)
    if target.add(member):
        db.changed(destination, b"sadd", NOTIFY_SET)
    return reply.ONE


@one_key(
    "spop",
    arity=-2,
    flags=WRITE | FAST,
    access="RW",
    since="1.0.0",
    complexity="Without the count argument O(1), otherwise O(N) where N is the value of the passed count.",
    summary="Remove and return one or multiple random members from a set",
    arguments="key [count]",
    history=(("3.2.0", "Added the `count` argument."),),
)
def spop(ctx: Context, argv: list[bytes]) -> bytes:
    """SPOP key [count]"""
    if len(argv) != 2:
        return _pop_count(ctx, argv)
    db = ctx.db
    key = argv[1]
    value = db.for_write(key, Set)
    if value is None:
        return ctx.null
    member = value.choose(ctx.server.random)
    value.discard(member)
    shrunk(db, key, value, b"spop")
    ctx.replicate(b"SREM", key, member)
    return reply.bulk(member)


# An effect removes at most so many members; more of them take several commands.
_EFFECT_MEMBERS = 1024


def _pop_count(ctx: Context, argv: list[bytes]) -> bytes:
    if len(argv) > 3:
        raise CommandError(SYNTAX)
    count = parse_int(argv[2])
    if count is None or count < 0:
        raise CommandError(NOT_POSITIVE)
    db = ctx.db
    key = argv[1]
    value = db.for_write(key, Set)
    if value is None or count == 0:
        return set_reply(ctx, [])
    if count >= len(value.items):
        members = in_order(ctx, value)
        db.remove(key)
        db.changed(key, b"spop", NOTIFY_SET)
        db.keyspace.dirty += len(members) - 1
        db.notify(NOTIFY_GENERIC, b"del", key)
        ctx.replicate(b"DEL", key)
        return set_reply(ctx, members)
    members = value.draw(ctx.server.random, count)
    for member in members:
        value.discard(member)
    db.changed(key, b"spop", NOTIFY_SET)
    db.keyspace.dirty += len(members) - 1
    for at in range(0, count, _EFFECT_MEMBERS):
        ctx.replicate(b"SREM", key, *members[at : at + _EFFECT_MEMBERS])
    return set_reply(ctx, members)


# -- reading ---------------------------------------------------------------------------------------------------------


@one_key(
    "scard",
    arity=2,
    flags=READONLY | FAST,
    access="RO",
    since="1.0.0",
    complexity="O(1)",
    summary="Get the number of members in a set",
    arguments="key",
)
def scard(ctx: Context, argv: list[bytes]) -> bytes:
    """SCARD key"""
    value = ctx.db.typed(argv[1], Set)
    return reply.ZERO if value is None else reply.integer(len(value.items))


@one_key(
    "sismember",
    arity=3,
    flags=READONLY | FAST,
    access="RO",
    since="1.0.0",
    complexity="O(1)",
    summary="Determine if a given value is a member of a set",
    arguments="key member",
)
def sismember(ctx: Context, argv: list[bytes]) -> bytes:
    """SISMEMBER key member"""
    value = ctx.db.typed(argv[1], Set)
    return reply.ONE if value is not None and argv[2] in value.place else reply.ZERO


@one_key(
    "smismember",
    arity=-3,
    flags=READONLY | FAST,
    access="RO",
    since="6.2.0",
    complexity="O(N) where N is the number of elements being checked for membership",
    summary="Returns the membership associated with the given elements for a set",
    arguments="key member [member ...]",
)
def smismember(ctx: Context, argv: list[bytes]) -> bytes:
    """SMISMEMBER key member [member ...]"""
    value = ctx.db.typed(argv[1], Set)
    if value is None:
        return reply.array([reply.ZERO] * (len(argv) - 2))
    return reply.array([reply.ONE if member in value.place else reply.ZERO for member in argv[2:]])


@one_key(
    "smembers",
    arity=2,
    flags=READONLY,
    access="RO",
    since="1.0.0",
    complexity="O(N) where N is the set cardinality.",
    summary="Get all the members in a set",
    arguments="key",
)
def smembers(ctx: Context, argv: list[bytes]) -> bytes:
    """SMEMBERS key"""
    value = ctx.db.typed(argv[1], Set)
    return set_reply(ctx, [] if value is None else in_order(ctx, value))


@one_key(
    "srandmember",
    arity=-2,
    flags=READONLY,
    access="RO",
    since="1.0.0",
    complexity="Without the count argument O(1), otherwise O(N) where N is the absolute value of the passed count.",
    summary="Get one or multiple random members from a set",
    arguments="key [count]",
    history=(("2.6.0", "Added the optional `count` argument."),),
    differs="More than 2**20 repetitions (a negative count) are refused inside MULTI and scripts.",
)
def srandmember(ctx: Context, argv: list[bytes]) -> bytes:
    """SRANDMEMBER key [count]"""
    if len(argv) == 2:
        value = ctx.db.typed(argv[1], Set)
        return ctx.null if value is None else reply.bulk(value.choose(ctx.server.random))
    if len(argv) > 3:
        raise CommandError(SYNTAX)
    count = random_count(argv[2])
    value = ctx.db.typed(argv[1], Set)
    if value is None or count == 0:
        return reply.EMPTY_ARRAY
    if count >= len(value.items):
        return reply.bulks(in_order(ctx, value))
    if count < -PART_MEMBERS:
        answer = many(ctx, -count, list(value.items))
        if answer is not None:
            return answer
    return reply.bulks(value.draw(ctx.server.random, count))


@one_key(
    "sscan",
    arity=-3,
    flags=READONLY,
    access="RO",
    since="2.8.0",
    complexity="O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to "
    "return back to 0. N is the number of elements inside the collection..",
    summary="Incrementally iterate Set elements",
    arguments="key cursor [MATCH pattern] [COUNT count]",
)
def sscan(ctx: Context, argv: list[bytes]) -> bytes:
    """SSCAN key cursor [MATCH pattern] [COUNT count]"""
    parse_cursor(argv[2])
    value = ctx.db.typed(argv[1], Set)
    if value is None:
        return EMPTY_SCAN
    if is_intset(value, ctx.server.config):
        return scan_reply(ctx, argv, 2, None, whole=in_order(ctx, value))
    return scan_reply(ctx, argv, 2, value)
