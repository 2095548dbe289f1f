"""SORT and SORT_RO: the elements of a list, set or sorted set in order, or what keys named after them hold.

Source: https://redis.io/docs/latest/commands/sort/
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import DENY_OOM, MOVABLE_KEYS, READONLY, WRITE, command
from replicator.core.errors import NOT_AN_INTEGER, SYNTAX, CommandError
from replicator.core.keyspace.database import NOTIFY_GENERIC, NOTIFY_LIST, Database, WrongType
from replicator.core.keyspace.sorted_set import SortedSet
from replicator.core.keyspace.values import Hash, List, Set
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_float, parse_int

_NOT_NUMBERS = "ERR One or more scores can't be converted into double"
_SMALLEST_NORMAL = 2.2250738585072014e-308
# Elements in one RPUSH of the effect of a SORT with STORE.
_EFFECT_CHUNK = 1000


@dataclass(slots=True)
class _Wish:
    by: bytes | None = None
    start: int = 0
    count: int = -1
    patterns: list[bytes] = field(default_factory=list)
    descending: bool = False
    alpha: bool = False
    store: bytes | None = None


def _sort_keys(argv: list[bytes]) -> list[int]:
    """The positions of the source and, if there is one, the (last) STORE destination."""
    places = [1]
    at = 2
    stored = 0
    while at < len(argv):
        option = argv[at].upper()
        if option == b"LIMIT":
            at += 2
        elif option in (b"BY", b"GET"):
            at += 1
        elif option == b"STORE" and at + 1 < len(argv):
            stored = at + 1
            at += 1
        at += 1
    return [*places, stored] if stored else places


@command(
    "sort",
    arity=-2,
    flags=WRITE | DENY_OOM | MOVABLE_KEYS,
    keys=(1, 1, 1),
    access="RO",
    group="generic",
    since="1.0.0",
    complexity=(
        "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number of "
        "returned elements. When the elements are not sorted, complexity is O(N)."
    ),
    summary="Sort the elements in a list, set or sorted set",
    categories="set sortedset list dangerous",
    arguments=(
        "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA] "
        "[STORE destination]"
    ),
    find_keys=_sort_keys,
    differs="ALPHA compares bytes, whatever the locale.",
)
def sort(ctx: Context, argv: list[bytes]) -> bytes:
    """SORT key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC | DESC] [ALPHA] [STORE destination]"""
    return _sort(ctx, argv[1], _options(ctx, argv, may_store=True))


@command(
    "sort_ro",
    arity=-2,
    flags=READONLY | MOVABLE_KEYS,
    keys=(1, 1, 1),
    access="RO",
    group="generic",
    since="7.0.0",
    complexity=(
        "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number of "
        "returned elements. When the elements are not sorted, complexity is O(N)."
    ),
    summary="Sort the elements in a list, set or sorted set. Read-only variant of SORT.",
    categories="set sortedset list dangerous",
    arguments="key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA]",
    differs="ALPHA compares bytes, whatever the locale.",
)
def sort_ro(ctx: Context, argv: list[bytes]) -> bytes:
    """SORT_RO key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC | DESC] [ALPHA]"""
    return _sort(ctx, argv[1], _options(ctx, argv, may_store=False))


def _options(ctx: Context, argv: list[bytes], *, may_store: bool) -> _Wish:
    wish = _Wish()
    at = 2
    while at < len(argv):
        option = argv[at].upper()
        left = len(argv) - at - 1
        if option in (b"ASC", b"DESC"):
            wish.descending = option == b"DESC"
        elif option == b"ALPHA":
            wish.alpha = True
        elif option == b"LIMIT" and left >= 2:
            start, count = parse_int(argv[at + 1]), parse_int(argv[at + 2])
            if start is None or count is None:
                raise CommandError(NOT_AN_INTEGER)
            wish.start, wish.count = start, count
            at += 2
        elif option == b"STORE" and left >= 1 and may_store:
            wish.store = argv[at + 1]
            at += 1
        elif option == b"BY" and left >= 1:
            wish.by = argv[at + 1]
            if b"*" in wish.by:
                _refuse_foreign_keys(ctx, "BY", argv)
            at += 1
        elif option == b"GET" and left >= 1:
            _refuse_foreign_keys(ctx, "GET", argv)
            wish.patterns.append(argv[at + 1])
            at += 1
        else:
            raise CommandError(SYNTAX)
        at += 1
    return wish


def _refuse_foreign_keys(ctx: Context, option: str, argv: list[bytes]) -> None:
    """BY and GET read keys that the command does not name."""
    if ctx.server.config["cluster-enabled"]:
        raise CommandError(f"ERR {option} option of SORT denied in Cluster mode.")
    if ctx.user is not None and not ctx.server.reads_all_keys(ctx, argv):
        raise CommandError(f"ERR {option} option of SORT denied due to insufficient ACL permissions.")


def _sort(ctx: Context, key: bytes, wish: _Wish) -> bytes:
    db = ctx.db
    source = db.lookup(key)
    if source is not None and not isinstance(source, List | Set | SortedSet):
        raise WrongType
    if isinstance(source, SortedSet):
        source.flat = False  # stock unpacks it for good, which OBJECT ENCODING shows
    unsorted = wish.by is not None and b"*" not in wish.by
    if unsorted and isinstance(source, Set) and (wish.store is not None or ctx.script is not None):
        # The order of a set is nobody's promise, and what is stored must be the same on every server.
        unsorted, wish.by, wish.alpha = False, None, True
    elements = _elements(source, in_order=unsorted, descending=wish.descending)
    if not unsorted:
        _arrange(db, elements, wish)
    start = max(0, wish.start)
    chosen = elements[start:] if wish.count < 0 else elements[start : start + wish.count]
    found: list[bytes | None]
    if wish.patterns:
        found = [_referred(db, pattern, element) for element in chosen for pattern in wish.patterns]
    else:
        found = list(chosen)
    if wish.store is not None:
        return _store(ctx, wish, [item or b"" for item in found])
    return reply.array([ctx.null if item is None else reply.bulk(item) for item in found])


def _elements(source: List | Set | SortedSet | None, *, in_order: bool, descending: bool) -> list[bytes]:
    if source is None:
        return []
    if isinstance(source, List):
        return list(source)
    if isinstance(source, Set):
        return list(source.items)
    if in_order:
        return [member for _, member in source.slice(0, len(source), descending)]
    return list(source.scores)


def _arrange(db: Database, elements: list[bytes], wish: _Wish) -> None:
    """Sort in place. Raises CommandError for weights that are no numbers."""
    by = wish.by
    if wish.alpha:
        if by is None:
            elements.sort(reverse=wish.descending)
        else:
            texts = {element: _referred(db, by, element) for element in elements}
            elements.sort(key=lambda element: _text_key(texts[element]), reverse=wish.descending)
        return
    weights: dict[bytes, float] = {}
    for element in elements:
        if element not in weights:
            text = element if by is None else _referred(db, by, element)
            weights[element] = 0.0 if text is None else _weight(text)
    elements.sort(key=lambda element: (weights[element], element), reverse=wish.descending)


def _text_key(text: bytes | None) -> tuple[bool, bytes]:
    # A missing weight comes before every text.
    return (text is not None, text or b"")


def _weight(text: bytes) -> float:
    """The number as C's strtod reads it: blanks before it, nothing behind it; an empty text is zero."""
    text = text.split(b"\x00", 1)[0]
    if not text:
        return 0.0
    text = text.lstrip(b" \t\n\v\f\r")
    value = parse_float(text)
    if value is None:
        raise CommandError(_NOT_NUMBERS)
    # What a double cannot hold is an error and not an infinity or a zero.
    if abs(value) == float("inf"):
        if text.lstrip(b"+-")[:1] not in b"iI":
            raise CommandError(_NOT_NUMBERS)
    elif abs(value) < _SMALLEST_NORMAL and _has_digit(text):
        raise CommandError(_NOT_NUMBERS)
    return value


_MANTISSA = re.compile(rb"[+-]?(0[xX][0-9a-fA-F.]*|[0-9.]*)")


def _has_digit(text: bytes) -> bool:
    """Whether the mantissa has a digit other than zero."""
    found = _MANTISSA.match(text)
    return found is not None and bool(found.group(1).lower().removeprefix(b"0x").strip(b"0."))


def _referred(db: Database, pattern: bytes, element: bytes) -> bytes | None:
    """What the pattern means for the element: the string (or, behind "->", the hash field) of the key that it names."""
    if pattern == b"#":
        return element
    before, star, behind = pattern.partition(b"*")
    if not star:
        return None
    at = behind.find(b"->")
    name = b""
    if at >= 0 and len(behind) > at + 2:
        name, behind = behind[at + 2 :], behind[:at]
    value = db.lookup(before + element + behind)
    if name:
        return value.get(name) if isinstance(value, Hash) else None
    return value if isinstance(value, bytes) else None


def _store(ctx: Context, wish: _Wish, found: list[bytes]) -> bytes:
    db = ctx.db
    target = wish.store
    assert target is not None
    if not found:
        if db.find(target) is not None:
            db.remove(target)
            db.changed(target, b"del", NOTIFY_GENERIC)
            ctx.replicate(b"DEL", target)
        return reply.ZERO
    db.store(target, List(found))
    db.changed(target, b"sortstore", NOTIFY_LIST)
    ctx.keyspace.dirty += len(found) - 1
    if wish.alpha and wish.by is not None:
        # Equal weights leave the order to the source's, which another server may hold in another order.
        ctx.replicate(b"DEL", target)
        for at in range(0, len(found), _EFFECT_CHUNK):
            ctx.replicate(b"RPUSH", target, *found[at : at + _EFFECT_CHUNK])
    return reply.integer(len(found))
