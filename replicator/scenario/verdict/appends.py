"""Judges list appends of a Jepsen history: held to linearizability, by what it means for a list that only grows.

- no element oftener than it was appended, none that nobody appended or that was refused;
- every read is a prefix of the longest one;
- elements stand in the order of their appends (and so within a transaction);
- no read lacks what was acknowledged before it, is shorter than one before it, or shows what was appended after it;
- what was acknowledged before the last read, or before the append of something that is there, is there as well.

An append of which nobody knows whether it happened may be there or not. The order of elements that were appended more
than once is left open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Any

from replicator.scenario.verdict.jepsen.edn import EdnError, hashable
from replicator.scenario.verdict.pairs import Pair

_Write = tuple[Pair, int]  # the operation, and the place among its steps
_Read = tuple[Pair, list[Any]]


@dataclass(slots=True)
class _List:
    name: str
    appended: dict[Any, list[_Write]] = field(default_factory=dict)
    reads: list[_Read] = field(default_factory=list)
    longest: list[Any] = field(default_factory=list)  # of the reads

    def writer(self, element: Any) -> _Write | None:
        """Who appended it, if that was one append."""
        writes = self.appended.get(element, ())
        return writes[0] if len(writes) == 1 else None


def objections(pairs: list[Pair]) -> tuple[int, list[str]]:
    """How many lists there are, and what is wrong with them. Raises EdnError."""
    lists: dict[Any, _List] = {}
    for pair in pairs:
        for place, (what, key, value) in enumerate(_steps(pair)):
            one = lists.setdefault(hashable(key), _List("the list" if key == "" else f"key {key}"))
            if what == ":append":
                one.appended.setdefault(hashable(value), []).append((pair, place))
            elif pair.how == "ok":
                if not isinstance(value, list | None):
                    raise EdnError(f"a read of key {key} is no list: {value!r}")
                # A key that is not there reads as nil.
                one.reads.append((pair, [hashable(element) for element in value or []]))
    problems: list[str] = []
    for one in lists.values():
        if one.reads:
            one.longest = max((elements for _, elements in one.reads), key=len)
            for judge in (_elements, _lost, _order, _times):
                problems += [f"{one.name}: {text}" for text in judge(one)]
    return len(lists), problems


def _steps(pair: Pair) -> Iterator[tuple[str, Any, Any]]:
    told = pair.completed if pair.how == "ok" and pair.completed is not None else pair.value
    if not isinstance(told, list | None):
        raise EdnError(f"a transaction is a list of steps, not {told!r}")
    for step in told or []:
        if not isinstance(step, list) or len(step) != 3 or str(step[0]) not in (":append", ":r"):
            raise EdnError(f"a transaction's step is [:append key value] or [:r key values], not {step!r}")
        yield str(step[0]), step[1], step[2]


def _ended(pair: Pair) -> float:
    """Its place; of what nobody knows when it ended: behind everything."""
    return inf if pair.end is None else pair.end


def _read_at(pair: Pair) -> str:
    return "a read" if pair.end is None else f"the read at entry {pair.end}"


def _elements(one: _List) -> Iterator[str]:
    """What is there and should not be, and reads that contradict each other."""
    most = Counter[Any]()
    for _, elements in one.reads:
        if elements == one.longest[: len(elements)]:
            continue  # its elements are those of the longest
        most |= Counter(elements)
    most |= Counter(one.longest)
    for element, count in most.items():
        writes = one.appended.get(element, [])
        possible = sum(pair.how != "fail" for pair, _ in writes)
        if not writes:
            yield f"{element!r} was appended by nobody"
        elif not possible:
            yield f"{element!r} was refused, and is there"
        if count > max(1, possible):
            yield f"{element!r} is there {count} times"
    for pair, elements in one.reads:
        if elements != one.longest[: len(elements)]:
            yield f"{_read_at(pair)} is no prefix of the longest: {elements[:10]!r}"


def _lost(one: _List) -> Iterator[str]:
    there = set(one.longest)
    begins = [pair.begin for pair, _ in one.reads]
    begins += [write[0].begin for element in there if (write := one.writer(element)) is not None]
    last = max(begins)
    for element, writes in one.appended.items():
        if element not in there and any(pair.how == "ok" and _ended(pair) < last for pair, _ in writes):
            yield f"{element!r} was acknowledged and is lost"


def _order(one: _List) -> Iterator[str]:
    """Elements that stand before one whose append had ended before theirs began; or, in one transaction, before one
    that was appended first.
    """
    first_end: tuple[float, Any] = (inf, None)
    first_step: dict[int, tuple[int, Any]] = {}
    for element in reversed(one.longest):
        if (write := one.writer(element)) is None:
            continue
        pair, place = write
        earliest, behind = first_end
        if earliest < pair.begin:
            yield f"{behind!r} was appended before {element!r}, and stands behind it"
        step, follower = first_step.get(id(pair), (place, element))
        if step < place:
            yield f"{follower!r} was appended before {element!r} in one transaction, and stands behind it"
        first_step[id(pair)] = min((step, follower), (place, element), key=_first)
        if pair.how == "ok" and _ended(pair) < earliest:
            first_end = (_ended(pair), element)


def _first(pair: tuple[int, Any]) -> int:
    return pair[0]


def _times(one: _List) -> Iterator[str]:
    """Nothing may be seen, or missed, against the order of time."""
    longest = one.longest
    writes = [one.writer(element) for element in longest]
    # From each place on: the end of the append that was acknowledged first, and where; up to it: the latest begin.
    first_end: list[tuple[float, int]] = [(inf, -1)] * (len(longest) + 1)
    latest_begin = [(-1, -1)]
    for place in range(len(longest) - 1, -1, -1):
        write = writes[place]
        end = _ended(write[0]) if write is not None and write[0].how == "ok" else inf
        first_end[place] = min(first_end[place + 1], (end, place))
    for place, write in enumerate(writes):
        latest_begin.append(max(latest_begin[-1], (write[0].begin if write else -1, place)))
    longest_before, ended = 0, 0
    by_end = sorted(one.reads, key=lambda read: _ended(read[0]))
    for pair, elements in sorted(one.reads, key=lambda read: read[0].begin):
        size = len(elements)
        while _ended(by_end[ended][0]) < pair.begin:
            longest_before = max(longest_before, len(by_end[ended][1]))
            ended += 1
        earliest, missing = first_end[size]
        if earliest < pair.begin:
            yield f"{_read_at(pair)} misses {longest[missing]!r}, acknowledged before it"
        elif size < longest_before:
            yield f"{_read_at(pair)} shows {size} elements, one before it {longest_before}"
        begin, early = latest_begin[size]
        if begin > _ended(pair):
            yield f"{_read_at(pair)} shows {longest[early]!r}, appended after it"
