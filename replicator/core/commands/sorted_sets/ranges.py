"""Sorted sets, part two: ranges by rank, score and member; counting, storing and removing them."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan
from typing import NamedTuple

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import DENY_OOM, FAST, READONLY, WRITE
from replicator.core.commands.sorted_sets.sorted_sets import (
    KEY,
    pairs_reply,
    removed_from,
    sorted_set_command,
    store_set,
)
from replicator.core.errors import NOT_AN_INTEGER, SYNTAX, CommandError
from replicator.core.keyspace.sorted_set import LexRange, ScoreRange, SortedSet
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_float, parse_int

NOT_A_RANGE = "ERR min or max is not a float"
NOT_A_LEX_RANGE = "ERR min or max not valid string range item"


def parse_integer(data: bytes) -> int:
    """The 64-bit integer that an argument spells; raises CommandError."""
    value = parse_int(data)
    if value is None:
        raise CommandError(NOT_AN_INTEGER)
    return value


def _score_bound(data: bytes) -> tuple[float, bool]:
    """One end of a score range and whether it is excluded. As lenient as C's strtod: leading spaces, nothing for 0."""
    excluded = data[:1] == b"("
    text = (data[1:] if excluded else data).partition(b"\0")[0]
    value = parse_float(text.lstrip(b" \t\n\v\f\r")) if text else 0.0
    if value is None or isnan(value):
        raise CommandError(NOT_A_RANGE)
    return value, excluded


def score_range(least: bytes, most: bytes) -> ScoreRange:
    """The range that two arguments spell ("5", "(5", "-inf"); raises CommandError."""
    low, above = _score_bound(least)
    high, below = _score_bound(most)
    return ScoreRange(low, high, above, below)


def lex_range(least: bytes, most: bytes) -> LexRange:
    """The range that two arguments spell ("[a", "(a", "-", "+"); raises CommandError."""
    bounds = []
    for data in (least, most):
        if data not in (b"-", b"+") and data[:1] not in (b"[", b"("):
            raise CommandError(NOT_A_LEX_RANGE)
        bounds.append(None if data in (b"-", b"+") else data[1:])
    empty = least == b"+" or most == b"-"
    return LexRange(bounds[0], bounds[1], least[:1] == b"(", most[:1] == b"(", empty)


class _Query(NamedTuple):
    """What a ZRANGE and its kin ask for. offset, limit: of LIMIT; limit -1: all."""

    by: str  # "rank", "score" or "lex"
    reverse: bool
    offset: int = 0
    limit: int = -1
    with_scores: bool = False


def _options(argv: list[bytes], at: int, by: str, reverse: bool, *, full: bool, store: bool = False) -> _Query:
    """The options from argv[at] on. full: BYSCORE, BYLEX and REV may be given (ZRANGE, ZRANGESTORE).

    store: WITHSCORES may not be given. A `by` of "" means: rank, unless an option says otherwise.
    """
    offset, limit, with_scores, wants_rev = 0, -1, False, reverse
    size = len(argv)
    while at < size:
        match argv[at].lower():
            case b"withscores" if not store:
                with_scores = True
            case b"limit" if at + 2 < size:
                offset, limit = parse_integer(argv[at + 1]), parse_integer(argv[at + 2])
                at += 2
            case b"rev" if full and not wants_rev:
                wants_rev = True
            case b"byscore" if full and not by:
                by = "score"
            case b"bylex" if full and not by:
                by = "lex"
            case _:
                raise CommandError(SYNTAX)
        at += 1
    by = by or "rank"
    if limit != -1 and by == "rank":
        raise CommandError("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
    if with_scores and by == "lex":
        raise CommandError("ERR syntax error, WITHSCORES not supported in combination with BYLEX")
    return _Query(by, wants_rev, offset, limit, with_scores)


class _Wanted(NamedTuple):
    """A parsed range of one of the three kinds."""

    ranks: tuple[int, int] | None
    scores: ScoreRange | None
    members: LexRange | None


def _parse_wanted(query: _Query, first: bytes, second: bytes) -> _Wanted:
    if query.by == "rank":
        return _Wanted((parse_integer(first), parse_integer(second)), None, None)
    if query.reverse:
        first, second = second, first
    if query.by == "score":
        return _Wanted(None, score_range(first, second), None)
    return _Wanted(None, None, lex_range(first, second))


def rank_window(size: int, start: int, end: int) -> tuple[int, int]:
    """The places (start, stop) that two ranks (negative: from the end; both included) mean in a set of that size."""
    if start < 0:
        start = max(0, start + size)
    if end < 0:
        end += size
    return start, min(end, size - 1) + 1


def _select(zset: SortedSet, query: _Query, wanted: _Wanted) -> Iterator[tuple[float, bytes]]:
    """The (score, member) pairs asked for, in the order asked for."""
    if wanted.ranks is not None:
        size = len(zset.scores)
        start, stop = rank_window(size, *wanted.ranks)
        if query.reverse:
            start, stop = size - stop, size - start
    else:
        if wanted.scores is not None:
            start, stop = zset.score_window(wanted.scores)
        else:
            assert wanted.members is not None
            start, stop = zset.lex_window(wanted.members)
        if query.offset < 0:
            return iter(())
        if query.reverse:
            stop -= query.offset
            start = start if query.limit < 0 else max(start, stop - query.limit)
        else:
            start += query.offset
            stop = stop if query.limit < 0 else min(stop, start + query.limit)
    if start >= stop:
        return iter(())
    return zset.slice(start, stop, query.reverse)


def _range(ctx: Context, argv: list[bytes], by: str, reverse: bool, full: bool) -> bytes:
    query = _options(argv, 4, by, reverse, full=full)
    wanted = _parse_wanted(query, argv[2], argv[3])
    zset = ctx.db.typed(argv[1], SortedSet)
    if zset is None:
        return reply.EMPTY_ARRAY
    return pairs_reply(_select(zset, query, wanted), query.with_scores, ctx.resp3)


_RANGE_COST = "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements returned."


@sorted_set_command(
    "zrange",
    arity=-4,
    flags=READONLY,
    keys=KEY,
    access="RO",
    since="1.2.0",
    complexity=_RANGE_COST,
    summary="Returns members in a sorted set within a range of indexes, scores or members.",
    arguments="key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
    history=(("6.2.0", "Added the `REV`, `BYSCORE`, `BYLEX` and `LIMIT` options."),),
)
def zrange(ctx: Context, argv: list[bytes]) -> bytes:
    """ZRANGE key start stop [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES]"""
    return _range(ctx, argv, "", False, full=True)


@sorted_set_command(
    "zrevrange",
    arity=-4,
    flags=READONLY,
    keys=KEY,
    access="RO",
    since="1.2.0",
    complexity=_RANGE_COST,
    summary="Returns members in a sorted set within a range of indexes in reverse order.",
    arguments="key start stop [WITHSCORES]",
)
def zrevrange(ctx: Context, argv: list[bytes]) -> bytes:
    """ZREVRANGE key start stop [WITHSCORES]"""
    return _range(ctx, argv, "rank", True, full=False)


@sorted_set_command(
    "zrangebyscore",
    arity=-4,
    flags=READONLY,
    keys=KEY,
    access="RO",
    since="1.0.5",
    complexity=_RANGE_COST,
    summary="Returns members in a sorted set within a range of scores.",
    arguments="key min max [WITHSCORES] [LIMIT offset count]",
    history=(("2.0.0", "Added the `WITHSCORES` modifier."),),
)
def zrangebyscore(ctx: Context, argv: list[bytes]) -> bytes:
    """ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]"""
    return _range(ctx, argv, "score", False, full=False)


@sorted_set_command(
    "zrevrangebyscore",
    arity=-4,
    flags=READONLY,
    keys=KEY,
    access="RO",
    since="2.2.0",
    complexity=_RANGE_COST,
    summary="Returns members in a sorted set within a range of scores in reverse order.",
    arguments="key max min [WITHSCORES] [LIMIT offset count]",
    history=(("2.1.6", "`min` and `max` can be exclusive."),),
)
def zrevrangebyscore(ctx: Context, argv: list[bytes]) -> bytes:
    """ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]"""
    return _range(ctx, argv, "score", True, full=False)


@sorted_set_command(
    "zrangebylex",
    arity=-4,
    flags=READONLY,
    keys=KEY,
    access="RO",
    since="2.8.9",
    complexity=_RANGE_COST,
    summary="Returns members in a sorted set within a lexicographical range.",
    arguments="key min max [LIMIT offset count]",
)
def zrangebylex(ctx: Context, argv: list[bytes]) -> bytes:
    """ZRANGEBYLEX key min max [LIMIT offset count]"""
    return _range(ctx, argv, "lex", False, full=False)


@sorted_set_command(
    "zrevrangebylex",
    arity=-4,
    flags=READONLY,
    keys=KEY,
    access="RO",
    since="2.8.9",
    complexity=_RANGE_COST,
    summary="Returns members in a sorted set within a lexicographical range in reverse order.",
    arguments="key max min [LIMIT offset count]",
)
def zrevrangebylex(ctx: Context, argv: list[bytes]) -> bytes:
    """ZREVRANGEBYLEX key max min [LIMIT offset count]"""
    return _range(ctx, argv, "lex", True, full=False)


@sorted_set_command(
    "zrangestore",
    arity=-5,
    flags=WRITE | DENY_OOM,
    keys=(1, 2, 1),
    access="OW",
    since="6.2.0",
    complexity="O(log(N)+M) with N being the number of elements in the sorted set and M the number stored.",
    summary="Stores a range of members from a sorted set in a key.",
    arguments="dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
)
def zrangestore(ctx: Context, argv: list[bytes]) -> bytes:
    """ZRANGESTORE dst src min max [BYSCORE|BYLEX] [REV] [LIMIT offset count]"""
    query = _options(argv, 5, "", False, full=True, store=True)
    wanted = _parse_wanted(query, argv[3], argv[4])
    zset = ctx.db.typed(argv[2], SortedSet)
    chosen = [] if zset is None else list(_select(zset, query, wanted))
    if query.by == "rank" and len(chosen) > ctx.keyspace.flat_bounds[0]:
        pairs = [(member, score) for score, member in chosen]
        result = SortedSet.from_pairs(pairs, ctx.keyspace.flat_bounds)
    else:
        # stock does not know the size beforehand and starts with a flat list
        result = SortedSet(ctx.keyspace.flat_bounds)
        for score, member in chosen:
            result.add(member, score)
    return store_set(ctx, argv[1], result, b"zrangestore")


# -- counting and removing ---------------------------------------------------------------------------------------------


@sorted_set_command(
    "zcount",
    arity=4,
    flags=READONLY | FAST,
    keys=KEY,
    access="RO",
    since="2.0.0",
    complexity="O(log(N)) with N being the number of elements in the sorted set.",
    summary="Returns the count of members in a sorted set that have scores within a range.",
    arguments="key min max",
)
def zcount(ctx: Context, argv: list[bytes]) -> bytes:
    """ZCOUNT key min max"""
    wanted = score_range(argv[2], argv[3])
    zset = ctx.db.typed(argv[1], SortedSet)
    if zset is None:
        return reply.ZERO
    start, stop = zset.score_window(wanted)
    return reply.integer(max(0, stop - start))


@sorted_set_command(
    "zlexcount",
    arity=4,
    flags=READONLY | FAST,
    keys=KEY,
    access="RO",
    since="2.8.9",
    complexity="O(log(N)) with N being the number of elements in the sorted set.",
    summary="Returns the number of members in a sorted set within a lexicographical range.",
    arguments="key min max",
)
def zlexcount(ctx: Context, argv: list[bytes]) -> bytes:
    """ZLEXCOUNT key min max"""
    wanted = lex_range(argv[2], argv[3])
    zset = ctx.db.typed(argv[1], SortedSet)
    if zset is None:
        return reply.ZERO
    start, stop = zset.lex_window(wanted)
    return reply.integer(max(0, stop - start))


def _remove_range(ctx: Context, argv: list[bytes], by: str, event: bytes) -> bytes:
    key = argv[1]
    query = _Query(by, False)
    wanted = _parse_wanted(query, argv[2], argv[3])
    zset = ctx.db.for_write(key, SortedSet)
    if zset is None:
        return reply.ZERO
    if wanted.ranks is not None:
        start, stop = rank_window(len(zset.scores), *wanted.ranks)
    elif wanted.scores is not None:
        start, stop = zset.score_window(wanted.scores)
    else:
        assert wanted.members is not None
        start, stop = zset.lex_window(wanted.members)
    removed = zset.remove_slice(start, stop) if start < stop else 0
    if removed:
        removed_from(ctx.db, key, zset, event, removed)
    return reply.integer(removed)


_REMOVE_COST = "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed."


@sorted_set_command(
    "zremrangebyrank",
    arity=4,
    flags=WRITE,
    keys=KEY,
    access="RW",
    since="2.0.0",
    complexity=_REMOVE_COST,
    summary="Removes members in a sorted set within a range of indexes.",
    arguments="key start stop",
)
def zremrangebyrank(ctx: Context, argv: list[bytes]) -> bytes:
    """ZREMRANGEBYRANK key start stop"""
    return _remove_range(ctx, argv, "rank", b"zremrangebyrank")


@sorted_set_command(
    "zremrangebyscore",
    arity=4,
    flags=WRITE,
    keys=KEY,
    access="RW",
    since="1.2.0",
    complexity=_REMOVE_COST,
    summary="Removes members in a sorted set within a range of scores.",
    arguments="key min max",
)
def zremrangebyscore(ctx: Context, argv: list[bytes]) -> bytes:
    """ZREMRANGEBYSCORE key min max"""
    return _remove_range(ctx, argv, "score", b"zremrangebyscore")


@sorted_set_command(
    "zremrangebylex",
    arity=4,
    flags=WRITE,
    keys=KEY,
    access="RW",
    since="2.8.9",
    complexity=_REMOVE_COST,
    summary="Removes members in a sorted set within a lexicographical range.",
    arguments="key min max",
)
def zremrangebylex(ctx: Context, argv: list[bytes]) -> bytes:
    """ZREMRANGEBYLEX key min max"""
    return _remove_range(ctx, argv, "lex", b"zremrangebylex")
