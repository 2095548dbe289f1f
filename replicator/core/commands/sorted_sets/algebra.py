"""Sorted sets, part four: union, intersection and difference of several sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isnan
from typing import NamedTuple, TypeAlias

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import DENY_OOM, MOVABLE_KEYS, READONLY, WRITE
from replicator.core.commands.sorted_sets.sorted_sets import pairs_reply, sorted_set_command, store_result
from replicator.core.errors import NOT_AN_INTEGER, SYNTAX, CommandError
from replicator.core.keyspace.database import WrongType
from replicator.core.keyspace.sorted_set import SortedSet
from replicator.core.keyspace.values import Set
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_float, parse_int

Scores: TypeAlias = Mapping[bytes, float]
Aggregate: TypeAlias = Callable[[float, float], float]


def _sum(left: float, right: float) -> float:
    # inf + -inf is no number: stock counts it as 0
    total = left + right
    return 0.0 if isnan(total) else total


def _least(left: float, right: float) -> float:
    # a right that is no number (inf weighed with 0) is passed over
    return right if right < left else left


def _most(left: float, right: float) -> float:
    return right if right > left else left


_AGGREGATES: dict[bytes, Aggregate] = {b"sum": _sum, b"min": _least, b"max": _most}


class _Source(NamedTuple):
    """One input: a sorted set's scores, or a set's members (each of score 1)."""

    scores: Scores
    weight: float

    def weighted(self, member: bytes) -> float:
        """The member's score times the weight; 0 where that is no number (inf times 0)."""
        score = self.weight * self.scores[member]
        return 0.0 if isnan(score) else score


class _Request(NamedTuple):
    sources: list[_Source]
    aggregate: Aggregate
    with_scores: bool


def _read_sources(ctx: Context, argv: list[bytes], at: int) -> tuple[list[Scores], int]:
    """The inputs of `numkeys key ...` at argv[at] (nothing for a missing key), and where the options begin."""
    number = parse_int(argv[at])
    if number is None:
        raise CommandError(NOT_AN_INTEGER)
    name = argv[0].decode("latin-1").lower()
    if number < 1:
        raise CommandError(f"ERR at least 1 input key is needed for '{name}' command")
    if number > len(argv) - at - 1:
        raise CommandError(SYNTAX)
    found: list[Scores] = []
    for key in argv[at + 1 : at + 1 + number]:
        value = ctx.db.lookup(key)
        if value is None:
            found.append({})
        elif type(value) is SortedSet:
            found.append(value.scores)
        elif type(value) is Set:
            found.append(dict.fromkeys(value.items, 1.0))
        else:
            raise WrongType
    return found, at + 1 + number


def _parse(ctx: Context, argv: list[bytes], at: int, *, store: bool, combine: bool) -> _Request:
    """Inputs and options. combine: WEIGHTS and AGGREGATE are allowed; store: WITHSCORES is not."""
    inputs, at = _read_sources(ctx, argv, at)
    weights = [1.0] * len(inputs)
    aggregate: Aggregate = _sum
    with_scores = False
    while at < len(argv):
        word, left = argv[at].lower(), len(argv) - at - 1
        if combine and word == b"weights" and left >= len(inputs):
            for i in range(len(inputs)):
                weight = parse_float(argv[at + 1 + i])
                if weight is None:
                    raise CommandError("ERR weight value is not a float")
                weights[i] = weight
            at += 1 + len(inputs)
        elif combine and word == b"aggregate" and left >= 1:
            chosen = _AGGREGATES.get(argv[at + 1].lower())
            if chosen is None:
                raise CommandError(SYNTAX)
            aggregate = chosen
            at += 2
        elif not store and word == b"withscores":
            with_scores = True
            at += 1
        else:
            raise CommandError(SYNTAX)
    sources = [_Source(scores, weight) for scores, weight in zip(inputs, weights, strict=True)]
    return _Request(sources, aggregate, with_scores)


def _union(request: _Request) -> dict[bytes, float]:
    # from the smallest input to the largest, as stock does: the order of additions shows in a sum's last bits
    result: dict[bytes, float] = {}
    for source in sorted(request.sources, key=lambda source: len(source.scores)):
        for member in source.scores:
            score = source.weighted(member)
            before = result.get(member)
            result[member] = score if before is None else request.aggregate(before, score)
    return result


def _intersection(request: _Request) -> dict[bytes, float]:
    sources = sorted(request.sources, key=lambda source: len(source.scores))
    first, others = sources[0], sources[1:]
    result: dict[bytes, float] = {}
    for member in first.scores:
        score = first.weighted(member)
        for source in others:
            if member not in source.scores:
                break
            score = request.aggregate(score, source.weight * source.scores[member])
        else:
            result[member] = score
    return result


def _difference(request: _Request) -> dict[bytes, float]:
    first, *others = request.sources
    return {
        member: score for member, score in first.scores.items() if not any(member in source.scores for source in others)
    }


_Operation: TypeAlias = Callable[[_Request], dict[bytes, float]]


def _answer(ctx: Context, argv: list[bytes], operation: _Operation, combine: bool) -> bytes:
    request = _parse(ctx, argv, 1, store=False, combine=combine)
    pairs = sorted((score, member) for member, score in operation(request).items())
    return pairs_reply(pairs, request.with_scores, ctx.resp3)


def _store(ctx: Context, argv: list[bytes], operation: _Operation, combine: bool, event: bytes) -> bytes:
    request = _parse(ctx, argv, 2, store=True, combine=combine)
    return store_result(ctx, argv[1], operation(request).items(), event)


def _source_keys(at: int, argv: list[bytes]) -> Sequence[int]:
    """Where the keys behind the number at argv[at] are; with at == 2, the destination too."""
    number = parse_int(argv[at]) if len(argv) > at else None
    keys = list(range(at + 1, min(len(argv), at + 1 + max(0, number or 0))))
    return [1, *keys] if at == 2 else keys


def _plain_keys(argv: list[bytes]) -> Sequence[int]:
    return _source_keys(1, argv)


def _stored_keys(argv: list[bytes]) -> Sequence[int]:
    return _source_keys(2, argv)


_UNION_COST = "O(N)+O(M*log(M)) with N being the sum of the sizes of the inputs, and M the size of the result."
_INTER_COST = "O(N*K)+O(M*log(M)) with N the smallest input, K the number of inputs and M the size of the result."
_DIFF_COST = "O(L + (N-K)log(N)) with L all elements of all inputs, N the size of the first and K of the result."
_COMBINE = " [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]"


@sorted_set_command(
    "zunion",
    arity=-3,
    flags=READONLY | MOVABLE_KEYS,
    find_keys=_plain_keys,
    access="RO",
    since="6.2.0",
    complexity=_UNION_COST,
    summary="Returns the union of several sorted sets.",
    arguments=f"numkeys key [key ...]{_COMBINE} [WITHSCORES]",
)
def zunion(ctx: Context, argv: list[bytes]) -> bytes:
    """ZUNION numkeys key [key ...] [WEIGHTS ...] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]"""
    return _answer(ctx, argv, _union, True)


@sorted_set_command(
    "zinter",
    arity=-3,
    flags=READONLY | MOVABLE_KEYS,
    find_keys=_plain_keys,
    access="RO",
    since="6.2.0",
    complexity=_INTER_COST,
    summary="Returns the intersection of several sorted sets.",
    arguments=f"numkeys key [key ...]{_COMBINE} [WITHSCORES]",
)
def zinter(ctx: Context, argv: list[bytes]) -> bytes:
    """ZINTER numkeys key [key ...] [WEIGHTS ...] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]"""
    return _answer(ctx, argv, _intersection, True)


@sorted_set_command(
    "zdiff",
    arity=-3,
    flags=READONLY | MOVABLE_KEYS,
    find_keys=_plain_keys,
    access="RO",
    since="6.2.0",
    complexity=_DIFF_COST,
    summary="Returns the difference between several sorted sets.",
    arguments="numkeys key [key ...] [WITHSCORES]",
)
def zdiff(ctx: Context, argv: list[bytes]) -> bytes:
    """ZDIFF numkeys key [key ...] [WITHSCORES]"""
    return _answer(ctx, argv, _difference, False)


@sorted_set_command(
    "zunionstore",
    arity=-4,
    flags=WRITE | DENY_OOM | MOVABLE_KEYS,
    keys=(1, 1, 1),
    find_keys=_stored_keys,
    access="OW",
    since="2.0.0",
    complexity=_UNION_COST,
    summary="Stores the union of several sorted sets in a key.",
    arguments=f"destination numkeys key [key ...]{_COMBINE}",
)
def zunionstore(ctx: Context, argv: list[bytes]) -> bytes:
    """ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS ...] [AGGREGATE SUM|MIN|MAX]"""
    return _store(ctx, argv, _union, True, b"zunionstore")


@sorted_set_command(
    "zinterstore",
    arity=-4,
    flags=WRITE | DENY_OOM | MOVABLE_KEYS,
    keys=(1, 1, 1),
    find_keys=_stored_keys,
    access="OW",
    since="2.0.0",
    complexity=_INTER_COST,
    summary="Stores the intersection of several sorted sets in a key.",
    arguments=f"destination numkeys key [key ...]{_COMBINE}",
)
def zinterstore(ctx: Context, argv: list[bytes]) -> bytes:
    """ZINTERSTORE destination numkeys key [key ...] [WEIGHTS ...] [AGGREGATE SUM|MIN|MAX]"""
    return _store(ctx, argv, _intersection, True, b"zinterstore")


@sorted_set_command(
    "zdiffstore",
    arity=-4,
    flags=WRITE | DENY_OOM | MOVABLE_KEYS,
    keys=(1, 1, 1),
    find_keys=_stored_keys,
    access="OW",
    since="6.2.0",
    complexity=_DIFF_COST,
    summary="Stores the difference between several sorted sets in a key.",
    arguments="destination numkeys key [key ...]",
)
def zdiffstore(ctx: Context, argv: list[bytes]) -> bytes:
    """ZDIFFSTORE destination numkeys key [key ...]"""
    return _store(ctx, argv, _difference, False, b"zdiffstore")


@sorted_set_command(
    "zintercard",
    arity=-3,
    flags=READONLY | MOVABLE_KEYS,
    find_keys=_plain_keys,
    access="RO",
    since="7.0.0",
    complexity="O(N*K) worst case with N being the smallest input and K the number of inputs.",
    summary="Returns the number of members in the intersection of several sorted sets.",
    arguments="numkeys key [key ...] [LIMIT limit]",
)
def zintercard(ctx: Context, argv: list[bytes]) -> bytes:
    """ZINTERCARD numkeys key [key ...] [LIMIT limit]"""
    inputs, at = _read_sources(ctx, argv, 1)
    limit = 0
    while at < len(argv):
        if argv[at].lower() != b"limit" or at + 1 == len(argv):
            raise CommandError(SYNTAX)
        wanted = parse_int(argv[at + 1])
        if wanted is None or wanted < 0:
            raise CommandError("ERR LIMIT can't be negative")
        limit = wanted
        at += 2
    first, *others = sorted(inputs, key=len)
    count = 0
    for member in first:
        if all(member in scores for scores in others):
            count += 1
            if count == limit:
                break
    return reply.integer(count)
