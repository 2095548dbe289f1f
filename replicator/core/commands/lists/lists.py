"""Lists: LPUSH, LPOP, LRANGE and their kin; those that wait stand in lists_blocking.py, those that
change a list in its middle in lists_editing.py.

Source: https://redis.io/docs/latest/commands/?group=list
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import DENY_OOM, FAST, MOVABLE_KEYS, READONLY, WRITE, command
from replicator.core.commands.blocking import counted_keys, positive
from replicator.core.errors import NO_NEGATION, NOT_AN_INTEGER, SYNTAX, CommandError
from replicator.core.keyspace.database import NOTIFY_GENERIC, NOTIFY_LIST, Database
from replicator.core.keyspace.values import List
from replicator.core.wire import reply
from replicator.core.wire.numbers import INT64_MIN, parse_int

list_command = partial(command, group="list", categories="list")
one_key = partial(list_command, keys=(1, 1, 1))

NOT_POSITIVE = "ERR value is out of range, must be positive"
_RANK_ZERO = (
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... "
    "or use negative to start from the end of the list"
)
_PUSH_COST = (
    "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments."
)


def integer_argument(text: bytes) -> int:
    """The 64-bit integer that the text spells; raises CommandError."""
    value = parse_int(text)
    if value is None:
        raise CommandError(NOT_AN_INTEGER)
    return value


# -- pushing ---------------------------------------------------------------------------------------------------------
# The four commands of every queue (LPUSH, RPUSH, LPOP, RPOP) do the work of Database.for_write and changed in place
# where nobody looks on: it is a quarter of their time.


def _list_to_fill(db: Database, key: bytes) -> List:
    """The list at key, made if need be; raises WrongType."""
    value = db.for_write(key, List)
    if value is None:
        value = List()
        value.fill = db.keyspace.list_fill
        db.store(key, value)
    return value


@one_key(
    "lpush",
    arity=-3,
    flags=WRITE | DENY_OOM | FAST,
    access="RW",
    since="1.0.0",
    complexity=_PUSH_COST,
    summary="Prepend one or multiple elements to a list",
    arguments="key element [element ...]",
    history=(("2.4.0", "Accepts multiple `element` arguments."),),
)
def lpush(ctx: Context, argv: list[bytes]) -> bytes:
    """LPUSH key element [element ...]"""
    db = ctx.db
    keyspace = db.keyspace
    key = argv[1]
    value = db.values.get(key)
    if type(value) is not List or key in db.expires or keyspace.on_access is not None:
        value = _list_to_fill(db, key)
    if len(argv) == 3:
        value.appendleft(argv[2])
    else:
        value.extendleft(argv[2:])
        keyspace.dirty += len(argv) - 3
    if db.hooked or keyspace.notify_flags:
        db.changed(key, b"lpush", NOTIFY_LIST)
    else:
        keyspace.dirty += 1
    return reply.integer(len(value))


@one_key(
    "rpush",
    arity=-3,
    flags=WRITE | DENY_OOM | FAST,
    access="RW",
    since="1.0.0",
    complexity=_PUSH_COST,
    summary="Append one or multiple elements to a list",
    arguments="key element [element ...]",
    history=(("2.4.0", "Accepts multiple `element` arguments."),),
)
def rpush(ctx: Context, argv: list[bytes]) -> bytes:
    """RPUSH key element [element ...]"""
    db = ctx.db
    keyspace = db.keyspace
    key = argv[1]
    value = db.values.get(key)
    if type(value) is not List or key in db.expires or keyspace.on_access is not None:
        value = _list_to_fill(db, key)
    if len(argv) == 3:
        value.append(argv[2])
    else:
        value.extend(argv[2:])
        keyspace.dirty += len(argv) - 3
    if db.hooked or keyspace.notify_flags:
        db.changed(key, b"rpush", NOTIFY_LIST)
    else:
        keyspace.dirty += 1
    return reply.integer(len(value))


@one_key(
    "lpushx",
    arity=-3,
    flags=WRITE | DENY_OOM | FAST,
    access="RW",
    since="2.2.0",
    complexity=_PUSH_COST,
    summary="Prepend an element to a list, only if the list exists",
    arguments="key element [element ...]",
    history=(("4.0.0", "Accepts multiple `element` arguments."),),
)
def lpushx(ctx: Context, argv: list[bytes]) -> bytes:
    """LPUSHX key element [element ...]"""
    return reply.ZERO if ctx.db.for_write(argv[1], List) is None else lpush(ctx, argv)


@one_key(
    "rpushx",
    arity=-3,
    flags=WRITE | DENY_OOM | FAST,
    access="RW",
    since="2.2.0",
    complexity=_PUSH_COST,
    summary="Append an element to a list, only if the list exists",
    arguments="key element [element ...]",
    history=(("4.0.0", "Accepts multiple `element` arguments."),),
)
def rpushx(ctx: Context, argv: list[bytes]) -> bytes:
    """RPUSHX key element [element ...]"""
    return reply.ZERO if ctx.db.for_write(argv[1], List) is None else rpush(ctx, argv)


# -- popping ---------------------------------------------------------------------------------------------------------


def shrunk(db: Database, key: bytes, value: List, event: bytes, count: int = 1) -> None:
    """Say that so many elements left the list; take the key away with the last of them."""
    db.keyspace.dirty += count - 1
    if value:
        db.changed(key, event, NOTIFY_LIST)
    else:
        db.remove(key)
        db.changed(key, event, NOTIFY_LIST)
        db.notify(NOTIFY_GENERIC, b"del", key)


def take(db: Database, key: bytes, value: List, left: bool, count: int) -> list[bytes]:
    """Pop up to `count` (at least one) elements of a list that is not empty."""
    pop = value.popleft if left else value.pop
    taken = [pop() for _ in range(min(count, len(value)))]
    shrunk(db, key, value, b"lpop" if left else b"rpop", len(taken))
    return taken


@one_key(
    "lpop",
    arity=-2,
    flags=WRITE | FAST,
    access="RW",
    since="1.0.0",
    complexity="O(N) where N is the number of elements returned",
    summary="Remove and get the first elements in a list",
    arguments="key [count]",
    history=(("6.2.0", "Added the `count` argument."),),
)
def lpop(ctx: Context, argv: list[bytes]) -> bytes:
    """LPOP key [count]"""
    if len(argv) != 2:
        return _pop_count(ctx, argv, True)
    db = ctx.db
    keyspace = db.keyspace
    key = argv[1]
    value = db.values.get(key)
    if type(value) is not List or key in db.expires or keyspace.on_access is not None:
        value = db.for_write(key, List)
        if value is None:
            return ctx.null
    element = value.popleft()
    if value and not db.hooked and not keyspace.notify_flags:
        keyspace.dirty += 1
    else:
        shrunk(db, key, value, b"lpop")
    return b"$%d\r\n%b\r\n" % (len(element), element)


@one_key(
    "rpop",
    arity=-2,
    flags=WRITE | FAST,
    access="RW",
    since="1.0.0",
    complexity="O(N) where N is the number of elements returned",
    summary="Remove and get the last elements in a list",
    arguments="key [count]",
    history=(("6.2.0", "Added the `count` argument."),),
)
def rpop(ctx: Context, argv: list[bytes]) -> bytes:
    """RPOP key [count]"""
    if len(argv) != 2:
        return _pop_count(ctx, argv, False)
    db = ctx.db
    keyspace = db.keyspace
    key = argv[1]
    value = db.values.get(key)
    if type(value) is not List or key in db.expires or keyspace.on_access is not None:
        value = db.for_write(key, List)
        if value is None:
            return ctx.null
    element = value.pop()
    if value and not db.hooked and not keyspace.notify_flags:
        keyspace.dirty += 1
    else:
        shrunk(db, key, value, b"rpop")
    return b"$%d\r\n%b\r\n" % (len(element), element)


def _pop_count(ctx: Context, argv: list[bytes], left: bool) -> bytes:
    if len(argv) > 3:
        raise CommandError(f"ERR wrong number of arguments for '{'lpop' if left else 'rpop'}' command")
    count = parse_int(argv[2])
    if count is None or count < 0:
        raise CommandError(NOT_POSITIVE)
    value = ctx.db.for_write(argv[1], List)
    if value is None:
        return ctx.null_array
    if count == 0:
        return reply.EMPTY_ARRAY
    return reply.bulks(take(ctx.db, argv[1], value, left, count))


def parse_side(word: bytes) -> bool:
    """LEFT (True) or RIGHT (False); raises CommandError."""
    side = word.lower()
    if side == b"left":
        return True
    if side == b"right":
        return False
    raise CommandError(SYNTAX)


def parse_multi_pop(argv: list[bytes], at: int) -> tuple[list[bytes], bool, int]:
    """Keys, side and count of `numkeys key ... LEFT|RIGHT [COUNT count]` at argv[at]; raises CommandError."""
    number = positive(argv[at], "numkeys")
    where = at + 1 + number
    if where >= len(argv):
        raise CommandError(SYNTAX)
    left = parse_side(argv[where])
    rest = argv[where + 1 :]
    count = 1
    if rest:
        if len(rest) == 1 or rest[0].lower() != b"count":
            raise CommandError(SYNTAX)
        count = positive(rest[1], "count")
        if len(rest) > 2:
            raise CommandError(SYNTAX)
    return argv[at + 1 : where], left, count


def take_and_tell(ctx: Context, key: bytes, value: List, left: bool, count: int) -> bytes:
    """Pop for LMPOP or BLMPOP: the reply; the effect is the plain pop of as many as there were."""
    taken = take(ctx.db, key, value, left, count)
    ctx.replicate(b"LPOP" if left else b"RPOP", key, b"%d" % len(taken))
    return b"*2\r\n" + reply.bulk(key) + reply.bulks(taken)


@list_command(
    "lmpop",
    arity=-4,
    flags=WRITE | MOVABLE_KEYS,
    find_keys=lambda argv: counted_keys(argv, 1),
    access="RW",
    since="7.0.0",
    complexity="O(N+M) where N is the number of provided keys and M is the number of elements returned.",
    summary="Pop elements from a list",
    arguments="numkeys key [key ...] LEFT | RIGHT [COUNT count]",
)
def lmpop(ctx: Context, argv: list[bytes]) -> bytes:
    """LMPOP numkeys key [key ...] LEFT | RIGHT [COUNT count]"""
    keys, left, count = parse_multi_pop(argv, 1)
    for key in keys:
        value = ctx.db.for_write(key, List)
        if value is not None:
            return take_and_tell(ctx, key, value, left, count)
    return ctx.null_array


# -- moving ----------------------------------------------------------------------------------------------------------


def move(db: Database, source: bytes, value: List, destination: bytes, from_left: bool, to_left: bool) -> bytes:
    """Pop from the list at `source`, push to the one at `destination` (made if need be); the element.

    Raises WrongType, before any change, if something else than a list is at the destination.
    """
    target = db.for_write(destination, List)
    element = value.popleft() if from_left else value.pop()
    if target is None:
        target = List()
        target.fill = db.keyspace.list_fill
        db.store(destination, target)
    if to_left:
        target.appendleft(element)
    else:
        target.append(element)
    db.changed(destination, b"lpush" if to_left else b"rpush", NOTIFY_LIST)
    shrunk(db, source, value, b"lpop" if from_left else b"rpop", 0)  # a move is one change
    return element


@list_command(
    "lmove",
    arity=5,
    flags=WRITE | DENY_OOM,
    keys=(1, 2, 1),
    access="RW",
    since="6.2.0",
    complexity="O(1)",
    summary="Pop an element from a list, push it to another list and return it",
    arguments="source destination LEFT | RIGHT LEFT | RIGHT",
)
def lmove(ctx: Context, argv: list[bytes]) -> bytes:
    """LMOVE source destination LEFT | RIGHT LEFT | RIGHT"""
    return _move_or_null(ctx, argv, parse_side(argv[3]), parse_side(argv[4]))


@list_command(
    "rpoplpush",
    arity=3,
    flags=WRITE | DENY_OOM,
    keys=(1, 2, 1),
    access="RW",
    since="1.2.0",
    complexity="O(1)",
    summary="Remove the last element in a list, prepend it to another list and return it",
    arguments="source destination",
)
def rpoplpush(ctx: Context, argv: list[bytes]) -> bytes:
    """RPOPLPUSH source destination"""
    return _move_or_null(ctx, argv, False, True)


def _move_or_null(ctx: Context, argv: list[bytes], from_left: bool, to_left: bool) -> bytes:
    value = ctx.db.for_write(argv[1], List)
    if value is None:
        return ctx.null
    return reply.bulk(move(ctx.db, argv[1], value, argv[2], from_left, to_left))


# -- reading ---------------------------------------------------------------------------------------------------------


@one_key(
    "llen",
    arity=2,
    flags=READONLY | FAST,
    access="RO",
    since="1.0.0",
    complexity="O(1)",
    summary="Get the length of a list",
    arguments="key",
)
def llen(ctx: Context, argv: list[bytes]) -> bytes:
    """LLEN key"""
    value = ctx.db.list(argv[1])
    return reply.ZERO if value is None else reply.integer(len(value))


def span(length: int, start: int, stop: int) -> tuple[int, int]:
    """The first place and the count of what indexes start to stop (inclusive, negative from the end) mean."""
    if start < 0:
        start = max(0, start + length)
    if stop < 0:
        stop += length
    stop = min(stop, length - 1)
    return (start, stop - start + 1) if start <= stop else (0, 0)


@one_key(
    "lrange",
    arity=4,
    flags=READONLY,
    access="RO",
    since="1.0.0",
    complexity="O(S+N) where S is the distance of start offset from HEAD for small lists, from nearest end "
    "(HEAD or TAIL) for large lists; and N is the number of elements in the specified range.",
    summary="Get a range of elements from a list",
    arguments="key start stop",
)
def lrange(ctx: Context, argv: list[bytes]) -> bytes:
    """LRANGE key start stop"""
    start, stop = integer_argument(argv[2]), integer_argument(argv[3])
    value = ctx.db.list(argv[1])
    if value is None:
        return reply.EMPTY_ARRAY
    first, count = span(len(value), start, stop)
    return reply.bulks(value.between(first, count)) if count else reply.EMPTY_ARRAY


@one_key(
    "lindex",
    arity=3,
    flags=READONLY,
    access="RO",
    since="1.0.0",
    complexity="O(N) where N is the number of elements to traverse to get to the element at index. "
    "This makes asking for the first or the last element of the list O(1).",
    summary="Get an element from a list by its index",
    arguments="key index",
)
def lindex(ctx: Context, argv: list[bytes]) -> bytes:
    """LINDEX key index"""
    value = ctx.db.list(argv[1])
    if value is None:
        return ctx.null
    at = integer_argument(argv[2])
    return reply.bulk(value[at]) if -len(value) <= at < len(value) else ctx.null


@one_key(
    "lpos",
    arity=-3,
    flags=READONLY,
    access="RO",
    since="6.0.6",
    complexity="O(N) where N is the number of elements in the list, for the average case. When searching for elements "
    "near the head or the tail of the list, or when the MAXLEN option is provided, the command may run in constant "
    "time.",
    summary="Return the index of matching elements on a list",
    arguments="key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
)
def lpos(ctx: Context, argv: list[bytes]) -> bytes:
    """LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]"""
    rank, count, most = _lpos_options(argv)
    value = ctx.db.list(argv[1])
    if value is None:
        return ctx.null if count is None else reply.EMPTY_ARRAY
    places = _places(value, argv[2], rank < 0, most)
    # Nothing is beyond the list's length, and islice takes no larger numbers than memory has addresses.
    start = min(abs(rank) - 1, len(value))
    wanted = min(1 if count is None else count, len(value))
    found = list(islice(places, start, start + wanted if wanted else None))
    if count is None:
        return reply.integer(found[0]) if found else ctx.null
    return reply.array([reply.integer(at) for at in found])


def _lpos_options(argv: list[bytes]) -> tuple[int, int | None, int]:
    """Rank, count (None: not given; 0: all), and how many elements to look at (0: all)."""
    rank, count, most = 1, None, 0
    at = 3
    while at < len(argv):
        option = argv[at].upper()
        if option not in (b"RANK", b"COUNT", b"MAXLEN") or at + 1 >= len(argv):
            raise CommandError(SYNTAX)
        number = parse_int(argv[at + 1])
        if option == b"RANK":
            if number is None:
                raise CommandError(NOT_AN_INTEGER)
            if number == 0:
                raise CommandError(_RANK_ZERO)
            if number == INT64_MIN:
                raise CommandError(NO_NEGATION)  # Valkey's answer; in Redis 7.0 the negation overflows unseen
            rank = number
        elif number is None or number < 0:
            raise CommandError(f"ERR {option.decode()} can't be negative")
        elif option == b"COUNT":
            count = number
        else:
            most = number
        at += 2
    return rank, count, most


def _places(value: List, element: bytes, backwards: bool, most: int) -> Iterator[int]:
    """Where the element stands among the first (backwards: last) `most` (0: all) elements, nearest first."""
    places = range(len(value) - 1, -1, -1) if backwards else range(len(value))
    walk = zip(places, reversed(value) if backwards else value, strict=True)
    if 0 < most < len(value):
        walk = islice(walk, most)  # type: ignore[assignment] # as good an iterator
    return (at for at, other in walk if other == element)
