"""Sorted sets, part one: members and their scores (ZADD, ZSCORE, ZREM ...), and how scores are read and written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from math import isinf, isnan
from typing import TYPE_CHECKING

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import DENY_OOM, FAST, READONLY, WRITE, command
from replicator.core.commands.keys.repetitions import many
from replicator.core.commands.keys.scan import EMPTY_SCAN, parse_cursor, scan_reply
from replicator.core.errors import SYNTAX, CommandError
from replicator.core.keyspace.database import NOTIFY_GENERIC, NOTIFY_SORTED_SET, Database
from replicator.core.keyspace.sorted_set import SortedSet
from replicator.core.limits import PART_MEMBERS
from replicator.core.wire import reply
from replicator.core.wire.numbers import INT64_MAX, format_float, parse_float, parse_int

if TYPE_CHECKING:
    from replicator.core.command_table.registry import Run

NOT_A_SCORE = "ERR value is not a valid float"
NOT_IN_RANGE = "ERR value is out of range, must be positive"

# What all sorted-set commands register alike.
sorted_set_command: Callable[..., Callable[[Run], Run]] = partial(command, group="sorted-set", categories="sortedset")
KEY = (1, 1, 1)


def parse_score(data: bytes) -> float:
    """The score that an argument spells (decimal, hexadecimal, inf).

    Raises CommandError where stock refuses it: nan, spaces, and numbers beyond what a double can hold.
    """
    if data.isdigit() and len(data) < 16:
        return float(data)
    value = parse_float(data)
    if value is None or not (value or _spells_zero(data)) or (isinf(value) and b"n" not in data.lower()):
        raise CommandError(NOT_A_SCORE)
    return value


def _spells_zero(data: bytes) -> bool:
    """Whether a number whose value came out as zero was written as zero (and is not one too small for a double)."""
    text = data.lower()
    mantissa = text.partition(b"p")[0].partition(b"x")[2] if b"x" in text else text.partition(b"e")[0]
    return not mantissa.strip(b"+-0.")


def pairs_reply(pairs: Iterable[tuple[float, bytes]], with_scores: bool, resp3: bool) -> bytes:
    """An array of members; with scores: member, score, member ... (RESP2) or [member, score] pairs (RESP3)."""
    if not with_scores:
        return reply.bulks([member for _, member in pairs])
    bulk, double = reply.bulk, reply.double
    if resp3:
        return reply.array([b"*2\r\n%b%b" % (bulk(member), double(score, True)) for score, member in pairs])
    items = []
    for score, member in pairs:
        items.append(bulk(member))
        items.append(double(score, False))
    return reply.array(items)


def removed_from(db: Database, key: bytes, zset: SortedSet, event: bytes, count: int) -> None:
    """So many members were taken out of the set at key: tell so, and remove the key if none is left."""
    db.keyspace.dirty += count - 1
    emptied = not zset.scores
    if emptied:
        db.remove(key)
    db.changed(key, event, NOTIFY_SORTED_SET)
    if emptied:
        db.notify(NOTIFY_GENERIC, b"del", key)


def store_result(ctx: Context, key: bytes, pairs: Iterable[tuple[bytes, float]], event: bytes) -> bytes:
    """Make the (member, score) pairs the new value of key (no pairs: remove the key); replies how many there are."""
    return store_set(ctx, key, SortedSet.from_pairs(pairs, ctx.keyspace.flat_bounds), event)


def store_set(ctx: Context, key: bytes, zset: SortedSet, event: bytes) -> bytes:
    """Make this set the new value of key (empty: remove the key); replies its size."""
    db = ctx.db
    if zset.scores:
        db.store(key, zset)
        db.changed(key, event, NOTIFY_SORTED_SET)
    elif db.find(key) is not None:
        db.remove(key)
        db.changed(key, b"del", NOTIFY_GENERIC)
    return reply.integer(len(zset.scores))


# -- ZADD and ZINCRBY ------------------------------------------------------------------------------------------------


class _Add:
    """The options of a ZADD."""

    __slots__ = ("count_changed", "first", "greater", "increment", "less", "missing_only", "present_only")

    def __init__(self, argv: list[bytes]) -> None:
        self.missing_only = self.present_only = self.greater = self.less = self.count_changed = self.increment = False
        at = 2
        while at < len(argv):
            match argv[at].lower():
                case b"nx":
                    self.missing_only = True
                case b"xx":
                    self.present_only = True
                case b"gt":
                    self.greater = True
                case b"lt":
                    self.less = True
                case b"ch":
                    self.count_changed = True
                case b"incr":
                    self.increment = True
                case _:
                    break
            at += 1
        self.first = at  # where scores and members begin
        rest = len(argv) - at
        if rest == 0 or rest % 2:
            raise CommandError(SYNTAX)
        if self.missing_only and self.present_only:
            raise CommandError("ERR XX and NX options at the same time are not compatible")
        if (self.greater and (self.missing_only or self.less)) or (self.less and self.missing_only):
            raise CommandError("ERR GT, LT, and/or NX options at the same time are not compatible")
        if self.increment and rest > 2:
            raise CommandError("ERR INCR option supports a single increment-element pair")


@sorted_set_command(
    "zadd",
    arity=-4,
    flags=WRITE | DENY_OOM | FAST,
    keys=KEY,
    access="RW",
    since="1.2.0",
    complexity="O(log(N)) for each item added, where N is the number of elements in the sorted set.",
    summary="Adds members to a sorted set, or updates their scores.",
    arguments="key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]",
    history=(
        ("2.4.0", "Accepts multiple elements."),
        ("3.0.2", "Added the `XX`, `NX`, `CH` and `INCR` options."),
        ("6.2.0", "Added the `GT` and `LT` options."),
    ),
)
def zadd(ctx: Context, argv: list[bytes]) -> bytes:
    """ZADD key [NX|XX] [GT|LT] [CH] [INCR] score member [score member ...]"""
    key = argv[1]
    if len(argv) == 4 and argv[2][:1] not in b"nNxXgGlLcCiI":  # no option, nor nan, inf or nothing
        score = parse_score(argv[2])
        db = ctx.db
        zset = db.for_write(key, SortedSet)
        if zset is None:
            zset = SortedSet(ctx.keyspace.flat_bounds)
            db.put(key, zset)
        elif zset.scores.get(argv[3]) == score:
            return reply.ZERO
        zset.bounds = ctx.keyspace.flat_bounds
        new = zset.add(argv[3], score)
        db.changed(key, b"zadd", NOTIFY_SORTED_SET)
        return reply.ONE if new else reply.ZERO
    options = _Add(argv)
    pairs = [(argv[at + 1], parse_score(argv[at])) for at in range(options.first, len(argv), 2)]
    if options.increment:
        return _increment(ctx, key, pairs[0][0], pairs[0][1], options)
    return _add_many(ctx, key, pairs, options)


def _add_many(ctx: Context, key: bytes, pairs: list[tuple[bytes, float]], options: _Add) -> bytes:
    db = ctx.db
    zset = db.for_write(key, SortedSet)
    if zset is None:
        if options.present_only:
            return reply.ZERO
        zset = SortedSet(ctx.keyspace.flat_bounds)
        db.put(key, zset)
    zset.bounds = ctx.keyspace.flat_bounds
    scores = zset.scores
    added = updated = 0
    for member, score in pairs:
        before = scores.get(member)
        if before is None:
            if not options.present_only:
                zset.add(member, score)
                added += 1
        elif (
            score != before
            and not options.missing_only
            and not (options.greater and score <= before)
            and not (options.less and score >= before)
        ):
            zset.add(member, score)
            updated += 1
    if added or updated:
        db.changed(key, b"zadd", NOTIFY_SORTED_SET)
        db.keyspace.dirty += added + updated - 1
    return reply.integer(added + updated if options.count_changed else added)


def _increment(ctx: Context, key: bytes, member: bytes, by: float, options: _Add | None) -> bytes:
    db = ctx.db
    zset = db.for_write(key, SortedSet)
    before = None if zset is None else zset.scores.get(member)
    if before is None:
        if options is not None and options.present_only:
            return ctx.null
        score = by
    else:
        if options is not None and options.missing_only:
            return ctx.null
        score = before + by
        if isnan(score):
            raise CommandError("ERR resulting score is not a number (NaN)")
        if options is not None and ((options.greater and score <= before) or (options.less and score >= before)):
            return ctx.null
    if zset is None:
        zset = SortedSet(ctx.keyspace.flat_bounds)
        db.put(key, zset)
    if score != before:
        zset.bounds = ctx.keyspace.flat_bounds
        zset.add(member, score)
        db.changed(key, b"zincr", NOTIFY_SORTED_SET)
    return reply.double(score, ctx.resp3)


@sorted_set_command(
    "zincrby",
    arity=4,
    flags=WRITE | DENY_OOM | FAST,
    keys=KEY,
    access="RW",
    since="1.2.0",
    complexity="O(log(N)) where N is the number of elements in the sorted set.",
    summary="Increments the score of a member in a sorted set.",
    arguments="key increment member",
)
def zincrby(ctx: Context, argv: list[bytes]) -> bytes:
    """ZINCRBY key increment member"""
    return _increment(ctx, argv[1], argv[3], parse_score(argv[2]), None)


# -- removing ----------------------------------------------------------------------------------------------------------


@sorted_set_command(
    "zrem",
    arity=-3,
    flags=WRITE | FAST,
    keys=KEY,
    access="RW",
    since="1.2.0",
    complexity="O(M*log(N)) with N being the number of elements in the sorted set and M the number removed.",
    summary="Removes members from a sorted set.",
    arguments="key member [member ...]",
    history=(("2.4.0", "Accepts multiple elements."),),
)
def zrem(ctx: Context, argv: list[bytes]) -> bytes:
    """ZREM key member [member ...]"""
    key = argv[1]
    db = ctx.db
    zset = db.for_write(key, SortedSet)
    if zset is None:
        return reply.ZERO
    removed = 0
    for at in range(2, len(argv)):
        if zset.remove(argv[at]):
            removed += 1
    if removed:
        removed_from(db, key, zset, b"zrem", removed)
    return reply.integer(removed)


# -- reading one member ------------------------------------------------------------------------------------------------


@sorted_set_command(
    "zcard",
    arity=2,
    flags=READONLY | FAST,
    keys=KEY,
    access="RO",
    since="1.2.0",
    complexity="O(1)",
    summary="Returns the number of members in a sorted set.",
    arguments="key",
)
def zcard(ctx: Context, argv: list[bytes]) -> bytes:
    """ZCARD key"""
    zset = ctx.db.typed(argv[1], SortedSet)
    return reply.ZERO if zset is None else reply.integer(len(zset.scores))


@sorted_set_command(
    "zscore",
    arity=3,
    flags=READONLY | FAST,
    keys=KEY,
    access="RO",
    since="1.2.0",
    complexity="O(1)",
    summary="Returns the score of a member in a sorted set.",
    arguments="key member",
)
def zscore(ctx: Context, argv: list[bytes]) -> bytes:
    """ZSCORE key member"""
    zset = ctx.db.typed(argv[1], SortedSet)
    score = None if zset is None else zset.scores.get(argv[2])
    return ctx.null if score is None else reply.double(score, ctx.resp3)


@sorted_set_command(
    "zmscore",
    arity=-3,
    flags=READONLY | FAST,
    keys=KEY,
    access="RO",
    since="6.2.0",
    complexity="O(N) where N is the number of members being requested.",
    summary="Returns the scores of several members in a sorted set.",
    arguments="key member [member ...]",
)
def zmscore(ctx: Context, argv: list[bytes]) -> bytes:
    """ZMSCORE key member [member ...]"""
    zset = ctx.db.typed(argv[1], SortedSet)
    scores = {} if zset is None else zset.scores
    items = []
    for at in range(2, len(argv)):
        score = scores.get(argv[at])
        items.append(ctx.null if score is None else reply.double(score, ctx.resp3))
    return reply.array(items)


@sorted_set_command(
    "zrank",
    arity=3,
    flags=READONLY | FAST,
    keys=KEY,
    access="RO",
    since="2.0.0",
    complexity="O(log(N))",
    summary="Returns the index of a member in a sorted set ordered by ascending scores.",
    arguments="key member",
)
def zrank(ctx: Context, argv: list[bytes]) -> bytes:
    """ZRANK key member"""
    zset = ctx.db.typed(argv[1], SortedSet)
    place = None if zset is None else zset.rank(argv[2])
    return ctx.null if place is None else reply.integer(place)


@sorted_set_command(
    "zrevrank",
    arity=3,
    flags=READONLY | FAST,
    keys=KEY,
    access="RO",
    since="2.0.0",
    complexity="O(log(N))",
    summary="Returns the index of a member in a sorted set ordered by descending scores.",
    arguments="key member",
)
def zrevrank(ctx: Context, argv: list[bytes]) -> bytes:
    """ZREVRANK key member"""
    zset = ctx.db.typed(argv[1], SortedSet)
    place = None if zset is None else zset.rank(argv[2])
    return ctx.null if zset is None or place is None else reply.integer(len(zset.scores) - 1 - place)


# -- random members and scanning ---------------------------------------------------------------------------------------


def _random_count(argv: list[bytes]) -> tuple[int, bool]:
    """The count and whether scores are wanted, from ZRANDMEMBER's argv."""
    count = parse_int(argv[2])
    if count is None:
        raise CommandError("ERR value is not an integer or out of range")
    if count < -INT64_MAX:
        raise CommandError(f"ERR value is out of range, value must between {-INT64_MAX} and {INT64_MAX}")
    with_scores = len(argv) == 4 and argv[3].lower() == b"withscores"
    if len(argv) > 4 or (len(argv) == 4 and not with_scores):
        raise CommandError(SYNTAX)
    if with_scores and abs(count) > INT64_MAX // 2:
        raise CommandError("ERR value is out of range")
    return count, with_scores


@sorted_set_command(
    "zrandmember",
    arity=-2,
    flags=READONLY,
    keys=KEY,
    access="RO",
    since="6.2.0",
    complexity="O(N) where N is the number of members returned.",
    summary="Returns one or more random members from a sorted set.",
    arguments="key [count [WITHSCORES]]",
    differs="More than 2**20 repetitions (a negative count) are refused inside MULTI and scripts.",
)
def zrandmember(ctx: Context, argv: list[bytes]) -> bytes:
    """ZRANDMEMBER key [count [WITHSCORES]]"""
    chance = ctx.server.random
    if len(argv) == 2:
        zset = ctx.db.typed(argv[1], SortedSet)
        return ctx.null if zset is None else reply.bulk(zset.numbered().choose(chance))
    count, with_scores = _random_count(argv)
    zset = ctx.db.typed(argv[1], SortedSet)
    if zset is None or count == 0:
        return reply.EMPTY_ARRAY
    if count >= len(zset.scores):
        return pairs_reply(zset.slice(0, len(zset.scores)), with_scores, ctx.resp3)
    if count < -PART_MEMBERS:
        scores = zset.scores
        answer = many(ctx, -count, list(scores), list(scores.values()) if with_scores else None)
        if answer is not None:
            return answer
    members = zset.numbered()
    if count < 0:
        chosen = [members.choose(chance) for _ in range(-count)]
    else:
        chosen = chance.sample(members.items, count)
    return pairs_reply([(zset.scores[member], member) for member in chosen], with_scores, ctx.resp3)


@sorted_set_command(
    "zscan",
    arity=-3,
    flags=READONLY,
    keys=KEY,
    access="RO",
    since="2.8.0",
    complexity="O(1) for every call. O(N) for a complete iteration.",
    summary="Iterates over members and scores of a sorted set.",
    arguments="key cursor [MATCH pattern] [COUNT count]",
)
def zscan(ctx: Context, argv: list[bytes]) -> bytes:
    """ZSCAN key cursor [MATCH pattern] [COUNT count]"""
    parse_cursor(argv[2])
    zset = ctx.db.typed(argv[1], SortedSet)
    if zset is None:
        return EMPTY_SCAN
    scores = zset.scores
    if not zset.flat:
        return scan_reply(ctx, argv, 2, zset.numbered(), lambda member: (member, format_float(scores[member])))
    whole = [member for _, member in zset.slice(0, len(scores))]
    return scan_reply(ctx, argv, 2, None, lambda member: (member, _flat_score(scores[member])), whole=whole)


def _flat_score(score: float) -> bytes:
    """A score as a flat list holds it: whole numbers below 2**62 as integers, so that no exponent shows."""
    return b"%d" % int(score) if -(2.0**62) < score < 2.0**62 and score.is_integer() else format_float(score)
