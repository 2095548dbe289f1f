"""Sorted sets, part three: taking members from the ends, at once or as soon as there are some."""

from __future__ import annotations

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import BLOCKING, FAST, MOVABLE_KEYS, NO_SCRIPT, WRITE
from replicator.core.commands.blocking import counted_keys, positive, timeout_ms
from replicator.core.commands.sorted_sets.sorted_sets import (
    KEY,
    NOT_IN_RANGE,
    pairs_reply,
    removed_from,
    sorted_set_command,
)
from replicator.core.errors import SYNTAX, CommandError
from replicator.core.keyspace.sorted_set import SortedSet
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_int


def _take(ctx: Context, key: bytes, zset: SortedSet, highest: bool, count: int) -> list[tuple[float, bytes]]:
    """Pop up to count members and tell so."""
    taken = [zset.pop(highest) for _ in range(min(count, len(zset.scores)))]
    removed_from(ctx.db, key, zset, b"zpopmax" if highest else b"zpopmin", len(taken))
    return taken


def _pop(ctx: Context, argv: list[bytes], highest: bool) -> bytes:
    count = 1
    if len(argv) > 3:
        raise CommandError(SYNTAX)
    if len(argv) == 3:
        wanted = parse_int(argv[2])
        if wanted is None or wanted < 0:
            raise CommandError(NOT_IN_RANGE)
        count = wanted
    zset = ctx.db.for_write(argv[1], SortedSet)
    if zset is None or count == 0:
        return reply.EMPTY_ARRAY
    taken = _take(ctx, argv[1], zset, highest, count)
    if ctx.resp3 and len(argv) == 2:
        return reply.array([reply.bulk(taken[0][1]), reply.double(taken[0][0], True)])
    return pairs_reply(taken, True, ctx.resp3)


_POP_COST = "O(log(N)*M) with N being the number of elements in the sorted set, and M being the number popped."


@sorted_set_command(
    "zpopmin",
    arity=-2,
    flags=WRITE | FAST,
    keys=KEY,
    access="RW",
    since="5.0.0",
    complexity=_POP_COST,
    summary="Removes and returns the members with the lowest scores in a sorted set.",
    arguments="key [count]",
)
def zpopmin(ctx: Context, argv: list[bytes]) -> bytes:
    """ZPOPMIN key [count]"""
    return _pop(ctx, argv, False)


@sorted_set_command(
    "zpopmax",
    arity=-2,
    flags=WRITE | FAST,
    keys=KEY,
    access="RW",
    since="5.0.0",
    complexity=_POP_COST,
    summary="Removes and returns the members with the highest scores in a sorted set.",
    arguments="key [count]",
)
def zpopmax(ctx: Context, argv: list[bytes]) -> bytes:
    """ZPOPMAX key [count]"""
    return _pop(ctx, argv, True)


def _blocking_pop(ctx: Context, argv: list[bytes], highest: bool) -> bytes:
    timeout = timeout_ms(argv[-1])
    keys = argv[1:-1]
    for key in keys:
        zset = _waiting_set(ctx, key)
        if zset is not None:
            ((score, member),) = _take(ctx, key, zset, highest, 1)
            ctx.replicate(b"ZPOPMAX" if highest else b"ZPOPMIN", key)
            return reply.array([reply.bulk(key), reply.bulk(member), reply.double(score, ctx.resp3)])
    return ctx.block(keys, timeout, ctx.null_array)


def _waiting_set(ctx: Context, key: bytes) -> SortedSet | None:
    """The sorted set at key. One who waits already goes on waiting if another type came to stand there."""
    if ctx.retrying and type(ctx.db.find(key)) is not SortedSet:
        return None
    return ctx.db.for_write(key, SortedSet)


_BLOCKING_HISTORY = (("6.0.0", "`timeout` is interpreted as a double instead of an integer."),)


@sorted_set_command(
    "bzpopmin",
    arity=-3,
    flags=WRITE | NO_SCRIPT | BLOCKING | FAST,
    keys=(1, -2, 1),
    access="RW",
    since="5.0.0",
    complexity="O(log(N)) with N being the number of elements in the sorted set.",
    summary="Removes and returns the member with the lowest score from one of several sorted sets, or waits.",
    arguments="key [key ...] timeout",
    history=_BLOCKING_HISTORY,
)
def bzpopmin(ctx: Context, argv: list[bytes]) -> bytes:
    """BZPOPMIN key [key ...] timeout"""
    return _blocking_pop(ctx, argv, False)


@sorted_set_command(
    "bzpopmax",
    arity=-3,
    flags=WRITE | NO_SCRIPT | BLOCKING | FAST,
    keys=(1, -2, 1),
    access="RW",
    since="5.0.0",
    complexity="O(log(N)) with N being the number of elements in the sorted set.",
    summary="Removes and returns the member with the highest score from one of several sorted sets, or waits.",
    arguments="key [key ...] timeout",
    history=_BLOCKING_HISTORY,
)
def bzpopmax(ctx: Context, argv: list[bytes]) -> bytes:
    """BZPOPMAX key [key ...] timeout"""
    return _blocking_pop(ctx, argv, True)


# -- one of several sets ---------------------------------------------------------------------------------------------


def _parse_multi(argv: list[bytes], at: int) -> tuple[list[bytes], bool, int]:
    """Keys, whether the highest are wanted, and the count, of `numkeys key ... MIN|MAX [COUNT count]` at argv[at]."""
    number = positive(argv[at], "numkeys")
    keys = argv[at + 1 : at + 1 + number]
    rest = argv[at + 1 + number :]
    if not rest or rest[0].lower() not in (b"min", b"max"):
        raise CommandError(SYNTAX)
    count = 1
    if len(rest) > 1:
        if len(rest) == 2 or rest[1].lower() != b"count":
            raise CommandError(SYNTAX)
        count = positive(rest[2], "count")
        if len(rest) > 3:
            raise CommandError(SYNTAX)
    return keys, rest[0].lower() == b"max", count


def _pop_first(ctx: Context, keys: list[bytes], highest: bool, count: int) -> bytes | None:
    """The reply with members popped from the first key that has any, or None."""
    for key in keys:
        zset = _waiting_set(ctx, key)
        if zset is None:
            continue
        taken = _take(ctx, key, zset, highest, count)
        ctx.replicate(b"ZPOPMAX" if highest else b"ZPOPMIN", key, b"%d" % len(taken))
        pairs = [b"*2\r\n%b%b" % (reply.bulk(member), reply.double(score, ctx.resp3)) for score, member in taken]
        return reply.array([reply.bulk(key), reply.array(pairs)])
    return None


@sorted_set_command(
    "zmpop",
    arity=-4,
    flags=WRITE | MOVABLE_KEYS,
    find_keys=lambda argv: counted_keys(argv, 1),
    access="RW",
    since="7.0.0",
    complexity="O(K) + O(M*log(N)) where K is the number of keys, N the number of elements and M the number popped.",
    summary="Removes and returns the highest- or lowest-scoring members from the first sorted set that has any.",
    arguments="numkeys key [key ...] <MIN | MAX> [COUNT count]",
)
def zmpop(ctx: Context, argv: list[bytes]) -> bytes:
    """ZMPOP numkeys key [key ...] MIN|MAX [COUNT count]"""
    keys, highest, count = _parse_multi(argv, 1)
    answer = _pop_first(ctx, keys, highest, count)
    return ctx.null_array if answer is None else answer


@sorted_set_command(
    "bzmpop",
    arity=-5,
    flags=WRITE | BLOCKING | MOVABLE_KEYS,
    find_keys=lambda argv: counted_keys(argv, 2),
    access="RW",
    since="7.0.0",
    complexity="O(K) + O(M*log(N)) where K is the number of keys, N the number of elements and M the number popped.",
    summary="Removes and returns the highest- or lowest-scoring members from one of several sorted sets, or waits.",
    arguments="timeout numkeys key [key ...] <MIN | MAX> [COUNT count]",
)
def bzmpop(ctx: Context, argv: list[bytes]) -> bytes:
    """BZMPOP timeout numkeys key [key ...] MIN|MAX [COUNT count]"""
    keys, highest, count = _parse_multi(argv, 2)
    timeout = timeout_ms(argv[1])
    answer = _pop_first(ctx, keys, highest, count)
    return ctx.block(keys, timeout, ctx.null_array) if answer is None else answer
