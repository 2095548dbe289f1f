"""Judges list appends of a Jepsen history: what any list gives to those who append to it and read it.

- no element twice, none that nobody appended or that was refused;
- every read is a prefix of the longest one;
- an element whose append had ended before another's began stands before it (and so within a transaction);
- a client's reads do not go back, nor miss what it had appended itself;
- what was acknowledged is in the last read that began later, or it is lost.

An append of which nobody knows whether it happened may be there or not.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from replicator.scenario.checking.edn import EdnError, hashable
from replicator.scenario.checking.pairs import Pair


@dataclass(slots=True)
class _Read:
    pair: Pair
    elements: list[Any]


@dataclass(slots=True)
class _List:
    """appended: element -> the operation, and its place among that operation's steps."""

    name: str
    appended: dict[Any, tuple[Pair, int]] = field(default_factory=dict)
    reads: list[_Read] = field(default_factory=list)


def objections(pairs: list[Pair]) -> tuple[int, list[str]]:
    """How many lists there are, and what is wrong with them. Raises EdnError."""
    lists: dict[Any, _List] = {}
    for pair in pairs:
        for place, (what, key, value) in enumerate(_steps(pair)):
            one = lists.setdefault(hashable(key), _List("the list" if key == "" else f"key {key}"))
            if what == ":append":
                one.appended.setdefault(hashable(value), (pair, place))
            elif pair.how == "ok":
                if not isinstance(value, list | None):
                    raise EdnError(f"a read of key {key} is no list: {value!r}")
                one.reads.append(_Read(pair, [hashable(element) for element in value or []]))
    problems: list[str] = []
    for one in lists.values():
        problems.extend(_strange(one))
        problems.extend(_unordered(one))
        problems.extend(_backward(one))
        problems.extend(_lost(one))
    return len(lists), problems


def _steps(pair: Pair) -> Iterator[tuple[str, Any, Any]]:
    told = pair.completed if pair.how == "ok" and pair.completed is not None else pair.value
    if not isinstance(told, list | None):
        raise EdnError(f"a transaction is a list of steps, not {told!r}")
    for step in told or []:
        if not isinstance(step, list) or len(step) != 3 or str(step[0]) not in (":append", ":r"):
            raise EdnError(f"a transaction's step is [:append key value] or [:r key values], not {step!r}")
        yield str(step[0]), step[1], step[2]


def _strange(one: _List) -> Iterator[str]:
    """Elements that are there twice, from nobody, or although they were refused; reads that contradict each other."""
    if not one.reads:
        return
    longest = _longest(one)
    seen = Counter(element for read in one.reads for element in dict.fromkeys(read.elements))
    most = Counter[Any]()
    for read in one.reads:
        most |= Counter(read.elements)
    for element in seen:
        if most[element] > 1:
            yield f"{one.name}: {element!r} is there {most[element]} times"
        writer = one.appended.get(element)
        if writer is None:
            yield f"{one.name}: {element!r} was appended by nobody"
        elif writer[0].how == "fail":
            yield f"{one.name}: {element!r} was refused, and is there"
    for read in one.reads:
        if read.elements != longest[: len(read.elements)]:
            where = "a read" if read.pair.end is None else f"the read at entry {read.pair.end}"
            yield f"{one.name}: {where} is no prefix of the longest: {read.elements[:10]!r}"


def _unordered(one: _List) -> Iterator[str]:
    """Elements of the longest read that stand before one whose append had ended before theirs began."""
    if not one.reads:
        return
    longest = _longest(one)
    writers = [(element, *one.appended[element]) for element in dict.fromkeys(longest) if element in one.appended]
    first_end: tuple[int, Any] | None = None
    for element, pair, _ in reversed(writers):
        if first_end is not None and first_end[0] < pair.begin:
            yield f"{one.name}: {element!r} stands before {first_end[1]!r}, which had ended before it began"
        if pair.how == "ok" and pair.end is not None and (first_end is None or pair.end < first_end[0]):
            first_end = (pair.end, element)
    for (element, pair, place), (other, other_pair, other_place) in pairwise(writers):
        if pair is other_pair and place > other_place:
            yield f"{one.name}: {element!r} stands before {other!r}, which the same transaction appended first"


def _backward(one: _List) -> Iterator[str]:
    """What one client may expect of its own reads."""
    longest: dict[Any, int] = {}
    for read in sorted(one.reads, key=_begin):
        process = read.pair.process
        if process is None:
            continue
        if len(read.elements) < longest.get(process, 0):
            yield (
                f"{one.name}: process {process} read {len(read.elements)} elements at entry {read.pair.end}, after it "
                f"had read {longest[process]}"
            )
        longest[process] = max(longest.get(process, 0), len(read.elements))


def _lost(one: _List) -> Iterator[str]:
    """Acknowledged elements that the last read which began later does not have."""
    if not one.reads:
        return
    last = max(one.reads, key=_begin)
    there = set(last.elements)
    place = {element: index for index, element in enumerate(_longest(one))}
    own: dict[Any, list[_Read]] = {}
    for read in sorted(one.reads, key=_begin):
        own.setdefault(read.pair.process, []).append(read)
    for element, (writer, _) in one.appended.items():
        if writer.how != "ok" or writer.end is None:
            continue
        if writer.end < last.pair.begin and element not in there:
            yield f"{one.name}: {element!r} was acknowledged and is lost"
            continue
        reads = own.get(writer.process, [])
        # The next one alone: those behind it are held to what it shows.
        following = bisect_right(reads, writer.end, key=_begin)
        if following < len(reads) and place.get(element, len(place)) >= len(reads[following].elements):
            yield (
                f"{one.name}: process {writer.process} did not read its own {element!r} at entry "
                f"{reads[following].pair.end} (a stale read)"
            )


def _longest(one: _List) -> list[Any]:
    return max(one.reads, key=lambda read: len(read.elements)).elements


def _begin(read: _Read) -> int:
    return read.pair.begin
