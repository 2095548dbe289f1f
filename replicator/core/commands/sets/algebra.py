"""Several sets at once: SINTER, SUNION, SDIFF, their STORE forms, SINTERCARD.

Source: https://redis.io/docs/latest/commands/?group=set
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import DENY_OOM, MOVABLE_KEYS, READONLY, WRITE
from replicator.core.commands.blocking import counted_keys, positive
from replicator.core.commands.sets.sets import result_in_order, set_command, set_reply
from replicator.core.errors import SYNTAX, CommandError
from replicator.core.keyspace.database import NOTIFY_GENERIC, NOTIFY_SET
from replicator.core.keyspace.values import Set
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_int

Combine: TypeAlias = Callable[[Sequence[Set | None]], list[bytes]]

_INTER_COST = "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets."
_TOTAL_COST = "O(N) where N is the total number of elements in all given sets."


def intersection(sets: Sequence[Set | None], limit: int = 0) -> list[bytes]:
    """Members of all sets (None is an empty one), in the order of the smallest; with a limit no more than so many."""
    present = [value for value in sets if value is not None]
    if len(present) < len(sets):
        return []
    present.sort(key=len)
    others = [value.place for value in present[1:]]
    found: list[bytes] = []
    for member in present[0].items:
        for place in others:
            if member not in place:
                break
        else:
            found.append(member)
            if len(found) == limit:
                break
    return found


def union(sets: Sequence[Set | None]) -> list[bytes]:
    """Members of any set, in the order of their first appearance."""
    found: dict[bytes, None] = {}
    for value in sets:
        if value is not None:
            found.update(dict.fromkeys(value.items))
    return list(found)


def difference(sets: Sequence[Set | None]) -> list[bytes]:
    """Members of the first set that are in none of the others, in the order of the first.

    Looks each member of the first up in the others, the largest first because it most likely has it; or, where the
    others have fewer members together, takes their members out of a copy of the first.
    """
    first = sets[0]
    if first is None:
        return []
    others = [value for value in sets[1:] if value is not None]
    if first in others:
        return []
    if sum(map(len, others)) < len(first):
        left = dict.fromkeys(first.items)
        for value in others:
            for member in value.items:
                left.pop(member, None)
        return list(left)
    others.sort(key=len, reverse=True)
    places = [value.place for value in others]
    return [member for member in first.items if not any(member in place for place in places)]


def _read(ctx: Context, argv: list[bytes], combine: Combine) -> bytes:
    typed = ctx.db.typed
    members = combine([typed(key, Set) for key in argv[1:]])
    return set_reply(ctx, result_in_order(ctx, members))


def _store(ctx: Context, argv: list[bytes], combine: Combine, event: bytes) -> bytes:
    db = ctx.db
    key = argv[1]
    members = combine([db.typed(name, Set) for name in argv[2:]])
    if members:
        db.store(key, Set(members))
        db.changed(key, event, NOTIFY_SET)
    elif db.find(key) is not None:
        db.remove(key)
        db.changed(key, b"del", NOTIFY_GENERIC)
    return reply.integer(len(members))


@set_command(
    "sinter",
    arity=-2,
    flags=READONLY,
    keys=(1, -1, 1),
    access="RO",
    since="1.0.0",
    complexity=_INTER_COST,
    summary="Intersect multiple sets",
    arguments="key [key ...]",
)
def sinter(ctx: Context, argv: list[bytes]) -> bytes:
    """SINTER key [key ...]"""
    return _read(ctx, argv, intersection)


@set_command(
    "sinterstore",
    arity=-3,
    flags=WRITE | DENY_OOM,
    keys=(1, -1, 1),
    access="RW",
    since="1.0.0",
    complexity=_INTER_COST,
    summary="Intersect multiple sets and store the resulting set in a key",
    arguments="destination key [key ...]",
)
def sinterstore(ctx: Context, argv: list[bytes]) -> bytes:
    """SINTERSTORE destination key [key ...]"""
    return _store(ctx, argv, intersection, b"sinterstore")


@set_command(
    "sintercard",
    arity=-3,
    flags=READONLY | MOVABLE_KEYS,
    find_keys=lambda argv: counted_keys(argv, 1),
    access="RO",
    since="7.0.0",
    complexity=_INTER_COST,
    summary="Intersect multiple sets and return the cardinality of the result",
    arguments="numkeys key [key ...] [LIMIT limit]",
)
def sintercard(ctx: Context, argv: list[bytes]) -> bytes:
    """SINTERCARD numkeys key [key ...] [LIMIT limit]"""
    number = positive(argv[1], "numkeys")
    if number > len(argv) - 2:
        raise CommandError("ERR Number of keys can't be greater than number of args")
    limit = 0
    options = argv[2 + number :]
    for at in range(0, len(options), 2):
        if options[at].lower() != b"limit" or at + 1 == len(options):
            raise CommandError(SYNTAX)
        asked = parse_int(options[at + 1])
        if asked is None or asked < 0:
            raise CommandError("ERR LIMIT can't be negative")
        limit = asked
    typed = ctx.db.typed
    return reply.integer(len(intersection([typed(key, Set) for key in argv[2 : 2 + number]], limit)))


@set_command(
    "sunion",
    arity=-2,
    flags=READONLY,
    keys=(1, -1, 1),
    access="RO",
    since="1.0.0",
    complexity=_TOTAL_COST,
    summary="Add multiple sets",
    arguments="key [key ...]",
)
def sunion(ctx: Context, argv: list[bytes]) -> bytes:
    """SUNION key [key ...]"""
    return _read(ctx, argv, union)


@set_command(
    "sunionstore",
    arity=-3,
    flags=WRITE | DENY_OOM,
    keys=(1, -1, 1),
    access="OW",
    since="1.0.0",
    complexity=_TOTAL_COST,
    summary="Add multiple sets and store the resulting set in a key",
    arguments="destination key [key ...]",
)
def sunionstore(ctx: Context, argv: list[bytes]) -> bytes:
    """SUNIONSTORE destination key [key ...]"""
    return _store(ctx, argv, union, b"sunionstore")


@set_command(
    "sdiff",
    arity=-2,
    flags=READONLY,
    keys=(1, -1, 1),
    access="RO",
    since="1.0.0",
    complexity=_TOTAL_COST,
    summary="Subtract multiple sets",
    arguments="key [key ...]",
)
def sdiff(ctx: Context, argv: list[bytes]) -> bytes:
    """SDIFF key [key ...]"""
    return _read(ctx, argv, difference)


@set_command(
    "sdiffstore",
    arity=-3,
    flags=WRITE | DENY_OOM,
    keys=(1, -1, 1),
    access="OW",
    since="1.0.0",
    complexity=_TOTAL_COST,
    summary="Subtract multiple sets and store the resulting set in a key",
    arguments="destination key [key ...]",
)
def sdiffstore(ctx: Context, argv: list[bytes]) -> bytes:
    """SDIFFSTORE destination key [key ...]"""
    return _store(ctx, argv, difference, b"sdiffstore")
