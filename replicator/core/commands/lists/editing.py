"""Lists changed in place: LSET, LINSERT, LREM, LTRIM.

Source: https://redis.io/docs/latest/commands/?group=list
"""

from __future__ import annotations

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import DENY_OOM, WRITE
from replicator.core.commands.lists.lists import integer_argument, one_key, shrunk, span
from replicator.core.errors import NO_SUCH_KEY, OUT_OF_RANGE, SYNTAX, CommandError
from replicator.core.keyspace.database import NOTIFY_LIST
from replicator.core.keyspace.values import List
from replicator.core.wire import reply


@one_key(
    "lset",
    arity=4,
    flags=WRITE | DENY_OOM,
    access="RW",
    since="1.0.0",
    complexity="O(N) where N is the length of the list. Setting either the first or the last element of the list is "
    "O(1).",
    summary="Set the value of an element in a list by its index",
    arguments="key index element",
)
def lset(ctx: Context, argv: list[bytes]) -> bytes:
    """LSET key index element"""
    value = ctx.db.for_write(argv[1], List)
    if value is None:
        raise CommandError(NO_SUCH_KEY)
    at = integer_argument(argv[2])
    if not -len(value) <= at < len(value):
        raise CommandError(OUT_OF_RANGE)
    value[at] = argv[3]
    ctx.db.changed(argv[1], b"lset", NOTIFY_LIST)
    return reply.OK


@one_key(
    "linsert",
    arity=5,
    flags=WRITE | DENY_OOM,
    access="RW",
    since="2.2.0",
    complexity="O(N) where N is the number of elements to traverse before seeing the value pivot. This means that "
    "inserting somewhere on the left end on the list (head) can be considered O(1) and inserting somewhere on the "
    "right end (tail) is O(N).",
    summary="Insert an element before or after another element in a list",
    arguments="key BEFORE | AFTER pivot element",
)
def linsert(ctx: Context, argv: list[bytes]) -> bytes:
    """LINSERT key BEFORE | AFTER pivot element"""
    where = argv[2].lower()
    if where not in (b"before", b"after"):
        raise CommandError(SYNTAX)
    value = ctx.db.for_write(argv[1], List)
    if value is None:
        return reply.ZERO
    try:
        at = value.index(argv[3])
    except ValueError:
        return b":-1\r\n"
    value.insert(at + (where == b"after"), argv[4])
    ctx.db.changed(argv[1], b"linsert", NOTIFY_LIST)
    return reply.integer(len(value))


@one_key(
    "lrem",
    arity=4,
    flags=WRITE,
    access="RW",
    since="1.0.0",
    complexity="O(N+M) where N is the length of the list and M is the number of elements removed.",
    summary="Remove elements from a list",
    arguments="key count element",
)
def lrem(ctx: Context, argv: list[bytes]) -> bytes:
    """LREM key count element"""
    count, element = integer_argument(argv[2]), argv[3]
    value = ctx.db.for_write(argv[1], List)
    if value is None:
        return reply.ZERO
    removed = _remove(value, element, count)
    if removed:
        shrunk(ctx.db, argv[1], value, b"lrem", removed)
    return reply.integer(removed)


def _remove(value: List, element: bytes, count: int) -> int:
    """Remove the first (negative: last) `count` (0: all) of the element; how many there were."""
    if count == 1:
        try:
            value.remove(element)
        except ValueError:
            return 0
        return 1
    found = value.count(element)
    removed = min(abs(count), found) if count else found
    if removed == 0:
        return 0
    if removed == found:
        kept = [other for other in value if other != element]
    else:
        kept = []
        left = removed
        for other in value if count > 0 else reversed(value):
            if left and other == element:
                left -= 1
            else:
                kept.append(other)
        if count < 0:
            kept.reverse()
    value.clear()
    value.extend(kept)
    return removed


@one_key(
    "ltrim",
    arity=4,
    flags=WRITE,
    access="RW",
    since="1.0.0",
    complexity="O(N) where N is the number of elements to be removed by the operation.",
    summary="Trim a list to the specified range",
    arguments="key start stop",
)
def ltrim(ctx: Context, argv: list[bytes]) -> bytes:
    """LTRIM key start stop"""
    start, stop = integer_argument(argv[2]), integer_argument(argv[3])
    value = ctx.db.for_write(argv[1], List)
    if value is None:
        return reply.OK
    first, count = span(len(value), start, stop)
    removed = len(value) - count
    if not removed:  # nothing changes: as in later versions no watcher is told, listeners are
        ctx.db.notify(NOTIFY_LIST, b"ltrim", argv[1])
        return reply.OK
    value.keep(first, count)
    shrunk(ctx.db, argv[1], value, b"ltrim", removed)
    return reply.OK
