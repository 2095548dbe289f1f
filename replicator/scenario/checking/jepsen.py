"""Judges Jepsen's histories: registers (:read, :write, :cas; alone or [key value]) and list appends (:txn of
:append, :r).

    {:type :invoke, :f :write, :value 3, :process 0, :time 1, :index 0}     then :ok, :fail or :info of the same process

Registers are held to linearizability, key by key. Appends are held to what any sane list gives: no element twice,
none that nobody appended, every read a prefix of the longest, nothing acknowledged missing from a later longest read.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from replicator.scenario.checking.edn import EdnError, read_all
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
    independent = all(
        isinstance(pair.value, list) and len(pair.value) == 2 for pair in pairs if pair.f in (":read", ":write")
    )
    for pair in pairs:
        if pair.how == "fail":
            continue
        key, value = ("", pair.value)
        completed = pair.completed
        if independent and isinstance(value, list):
            key, value = str(value[0]), value[1]
            completed = completed[1] if isinstance(completed, list) and len(completed) == 2 else completed
        match pair.f:
            case ":write":
                keyed.append((key, Call("write", value, pair.begin, pair.end)))
            case ":read":
                keyed.append((key, Call("read", completed, pair.begin, pair.end)))
            case ":cas":
                if not isinstance(value, list) or len(value) != 2:
                    raise EdnError(f"a :cas without [old new]: {value!r}")
                keyed.append((key, Call("cas", value[1], pair.begin, pair.end, value[0])))
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


def _name(key: str) -> str:
    return f"key {key}" if key else "the register"


def _stuck(verdict: Verdict) -> str:
    call = verdict.stuck
    if call is None:
        return "no order fits"
    return f"no order places the {call.kind} of {call.value!r} that ended at entry {call.end}"


def _appends(pairs: list[_Pair]) -> Judged:
    appended: dict[str, dict[Any, _Pair]] = {}
    reads: dict[str, list[tuple[_Pair, list[Any]]]] = {}
    for pair in pairs:
        told = pair.completed if pair.how == "ok" and pair.completed is not None else pair.value
        for step in told or []:
            if not isinstance(step, list) or len(step) != 3:
                raise EdnError(f"a transaction's step is [:append key value] or [:r key values], not {step!r}")
            what, key, value = str(step[0]), str(step[1]), step[2]
            if what == ":append":
                appended.setdefault(key, {})[value] = pair
            elif pair.how == "ok" and isinstance(value, list):
                reads.setdefault(key, []).append((pair, value))
    judged = Judged("append", len(pairs), len({*appended, *reads}))
    for key, seen in reads.items():
        _one_list(key, seen, appended.get(key, {}), judged.problems)
    return judged


def _one_list(key: str, seen: list[tuple[_Pair, list[Any]]], appended: dict[Any, _Pair], problems: list[str]) -> None:
    longest_pair, longest = max(seen, key=lambda one: len(one[1]))
    for element, count in Counter(map(str, longest)).items():
        if count > 1:
            problems.append(f"key {key}: {element} is there {count} times")
    for element in longest:
        writer = appended.get(element)
        if writer is None:
            problems.append(f"key {key}: {element!r} was appended by nobody")
        elif writer.how == "fail":
            problems.append(f"key {key}: {element!r} was refused, and is there")
    for pair, elements in seen:
        if elements != longest[: len(elements)]:
            problems.append(f"key {key}: the read at entry {pair.end} is no prefix of the longest: {elements[:10]!r}")
    there = set(map(str, longest))
    for element, writer in appended.items():
        if writer.how == "ok" and (writer.end or 0) < longest_pair.begin and str(element) not in there:
            problems.append(f"key {key}: {element!r} was acknowledged and is lost")
