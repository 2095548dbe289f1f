"""Judges Jepsen's histories: registers (:read, :write, :cas; alone or [key value]) and list appends (:txn of
:append, :r).

    {:type :invoke, :f :write, :value 3, :process 0, :time 1, :index 0}     then :ok, :fail or :info of the same process

Registers are held to linearizability, key by key. So are appends, by what it means for a list that only grows: no
element oftener than it was appended, none that nobody appended, every read a prefix of the longest, elements in the
order of their appends, no read without what was acknowledged before it, shorter than one before it, or ahead of time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import inf
from typing import Any

from replicator.scenario.checking.edn import EdnError, hashable, read_all
from replicator.scenario.checking.linearizable import EFFORT, Answer, Call, Verdict, judge_keys


@dataclass(slots=True)
class Judged:
    """kind: "register" or "append". problems: in words; unknown: keys that took too much effort."""

    kind: str
    operations: int
    keys: int
    problems: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "operations": self.operations, "keys": self.keys, "problems": self.problems,
            "unknown": self.unknown, "ok": not self.problems,
        }  # fmt: skip


@dataclass(slots=True)
class _Pair:
    """An invocation and how it ended ("ok", "fail", "info"); completed: the ending operation's value."""

    f: str
    value: Any
    begin: int
    how: str = "info"
    end: int | None = None
    completed: Any = None


_Read = tuple[_Pair, list[Any]]


def check_text(text: str, effort: int = EFFORT) -> Judged:
    """A whole file: one vector of operations, or one operation after another. Raises EdnError."""
    values = read_all(text)
    if len(values) == 1 and isinstance(values[0], list):
        values = values[0]
    pairs = _pairs(values)
    if any(pair.f == ":txn" or _is_append(pair) for pair in pairs):
        return _appends(pairs)
    return _registers(pairs, effort)


def _pairs(values: list[Any]) -> list[_Pair]:
    found: list[_Pair] = []
    open_: dict[Any, _Pair] = {}
    for place, operation in enumerate(values):
        if not isinstance(operation, dict) or ":type" not in operation:
            raise EdnError(f"entry {place + 1} is no operation (a map with :type)")
        process, kind = operation.get(":process"), str(operation[":type"]).lstrip(":")
        if not isinstance(process, int):
            continue  # the nemesis
        if kind == "invoke":
            pair = open_[process] = _Pair(str(operation.get(":f")), operation.get(":value"), place)
            found.append(pair)
        elif process in open_:
            pair = open_.pop(process)
            pair.how, pair.completed = kind, operation.get(":value")
            if kind != "info":
                pair.end = place
    return found


def _is_append(pair: _Pair) -> bool:
    value = pair.value
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, list) and first[:1] in ([":append"], [":r"])


def _registers(pairs: list[_Pair], effort: int) -> Judged:
    keyed: list[tuple[str, Call]] = []
    independent = _independent(pairs)
    for pair in pairs:
        if pair.how == "fail":
            continue
        key, value = "", pair.value
        completed = pair.completed
        if independent and isinstance(value, list):
            key, value = str(value[0]), value[1]
            completed = completed[1] if isinstance(completed, list) and len(completed) == 2 else completed
        match pair.f:
            case ":write":
                keyed.append((key, Call("write", hashable(value), pair.begin, pair.end)))
            case ":read":
                keyed.append((key, Call("read", hashable(completed), pair.begin, pair.end)))
            case ":cas":
                if not isinstance(value, list) or len(value) != 2:
                    raise EdnError(f"a :cas without [old new]: {value!r}")
                keyed.append((key, Call("cas", hashable(value[1]), pair.begin, pair.end, hashable(value[0]))))
            case _:
                raise EdnError(f"operation {pair.f} is none of :read, :write, :cas, :txn")
    verdicts = judge_keys(keyed, effort)
    judged = Judged("register", len(pairs), len(verdicts))
    for key, verdict in verdicts.items():
        if verdict.answer is Answer.NO:
            judged.problems.append(f"{_name(key)} is not linearizable: {_stuck(verdict)}")
        elif verdict.answer is Answer.UNKNOWN:
            judged.unknown.append(_name(key))
    return judged


def _independent(pairs: list[_Pair]) -> bool:
    """Whether values are [key value]."""
    plain = [pair.value for pair in pairs if pair.f in (":read", ":write")]
    if not plain:  # [[old new]] or [key [old new]]
        plain = [pair.value[1] if isinstance(pair.value, list) and len(pair.value) == 2 else None for pair in pairs]
    return all(isinstance(value, list) and len(value) == 2 for value in plain)


def _name(key: str) -> str:
    return f"key {key}" if key else "the register"


def _stuck(verdict: Verdict) -> str:
    call = verdict.stuck
    if call is None:
        return "no order fits"
    return f"no order places the {call.kind} of {call.value!r} that ended at entry {call.end}"


def _appends(pairs: list[_Pair]) -> Judged:
    appended: dict[str, dict[Any, list[_Pair]]] = {}
    reads: dict[str, list[_Read]] = {}
    for pair in pairs:
        completed = pair.how == "ok" and pair.completed is not None
        for step in (pair.completed if completed else pair.value) or []:
            if not isinstance(step, list) or len(step) != 3:
                raise EdnError(f"a transaction's step is [:append key value] or [:r key values], not {step!r}")
            what, key, value = str(step[0]), str(step[1]), step[2]
            if what == ":append":
                appended.setdefault(key, {}).setdefault(hashable(value), []).append(pair)
            elif completed and (value is None or isinstance(value, list)):
                # A key that is not there reads as nil.
                reads.setdefault(key, []).append((pair, [hashable(one) for one in value or []]))
    judged = Judged("append", len(pairs), len({*appended, *reads}))
    for key, seen in reads.items():
        problems: list[str] = []
        _elements(seen, appended.get(key, {}), problems)
        _times(seen, appended.get(key, {}), problems)
        judged.problems += [f"key {key}: {text}" for text in problems]
    return judged


def _elements(seen: list[_Read], appended: dict[Any, list[_Pair]], problems: list[str]) -> None:
    """What is in the longest read, and whether the others are its beginnings."""
    longest = max(seen, key=lambda one: len(one[1]))[1]
    for element, count in Counter(longest).items():
        writers = appended.get(element, [])
        possible = sum(writer.how != "fail" for writer in writers)
        if not writers:
            problems.append(f"{element!r} was appended by nobody")
        elif not possible:
            problems.append(f"{element!r} was refused, and is there")
        if count > max(1, possible):
            problems.append(f"{element!r} is there {count} times")
    for pair, elements in seen:
        if elements != longest[: len(elements)]:
            problems.append(f"the read at entry {pair.end} is no prefix of the longest: {elements[:10]!r}")
    # What was acknowledged before a read, or before the append of something that is there, should be there as well.
    there = set(longest)
    writers_there = [some[0].begin for one in there if len(some := appended.get(one, [])) == 1]
    last = max([pair.begin for pair, _ in seen] + writers_there)
    for element, writers in appended.items():
        if element not in there and any(one.how == "ok" and (one.end or 0) < last for one in writers):
            problems.append(f"{element!r} was acknowledged and is lost")


def _times(seen: list[_Read], appended: dict[Any, list[_Pair]], problems: list[str]) -> None:
    """Nothing may be seen, or missed, against the order of time. Elements of several appends are not judged."""
    longest = max(seen, key=lambda one: len(one[1]))[1]
    writers = [some[0] if len(some := appended.get(one, [])) == 1 else None for one in longest]
    # From each place on: the end of the append that was acknowledged first, and where; up to it: the latest begin.
    first_end: list[tuple[float, int]] = [(inf, -1)] * (len(longest) + 1)
    for place in range(len(longest) - 1, -1, -1):
        writer = writers[place]
        end = writer.end if writer is not None and writer.how == "ok" else None
        first_end[place] = min(first_end[place + 1], (inf if end is None else end, place))
    latest_begin = [(-1, -1)]
    for place, writer in enumerate(writers):
        latest_begin.append(max(latest_begin[-1], (writer.begin if writer else -1, place)))
        earliest, behind = first_end[place + 1]
        if writer and earliest < writer.begin:
            problems.append(f"{longest[behind]!r} was appended before {longest[place]!r}, and stands behind it")
    longest_before, by_end = 0, sorted(seen, key=lambda one: one[0].end or 0)
    ended = 0
    for pair, elements in sorted(seen, key=lambda one: one[0].begin):
        size = len(elements)
        while (by_end[ended][0].end or 0) < pair.begin:
            longest_before = max(longest_before, len(by_end[ended][1]))
            ended += 1
        earliest, missing = first_end[size]
        if earliest < pair.begin:
            problems.append(f"the read at entry {pair.end} misses {longest[missing]!r}, acknowledged before it")
        elif size < longest_before:
            problems.append(f"the read at entry {pair.end} shows {size} elements, one before it {longest_before}")
        begin, early = latest_begin[size]
        if begin > (pair.end or 0):
            problems.append(f"the read at entry {pair.end} shows {longest[early]!r}, appended after it")
