"""Judges Jepsen's histories: registers (:read, :write, :cas; alone or [key value]) and list appends (:txn of
:append, :r; or :append and :read alone).

    {:type :invoke, :f :write, :value 3, :process 0, :time 1, :index 0}     then :ok, :fail or :info of the same process

Registers are held to linearizability, key by key. Of appends: see appends.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from replicator.scenario.verdict.appends import objections
from replicator.scenario.verdict.jepsen.edn import EdnError, Word, hashable, read_all
from replicator.scenario.verdict.linearizable import EFFORT, Answer, Call, Verdict, judge_keys
from replicator.scenario.verdict.pairs import Pair, paired


@dataclass(slots=True)
class Judged:
    """kind: "register" or "append". problems: in words; unknown: keys that took too much effort."""

    kind: str
    operations: int
    keys: int
    problems: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool | None:
        """None: nothing is known to be wrong, and not all could be judged."""
        if self.problems:
            return False
        return None if self.unknown else True

    def plain(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "operations": self.operations, "keys": self.keys, "problems": self.problems,
            "unknown": self.unknown, "ok": self.ok,
        }  # fmt: skip


def check_text(text: str, effort: int = EFFORT) -> Judged:
    """A whole file: one vector of operations, or one operation after another. Raises EdnError."""
    values = read_all(text)
    if len(values) == 1 and isinstance(values[0], list):
        values = values[0]
    pairs = paired(values)
    if not pairs:
        raise EdnError("holds no operation of a client")
    if any(pair.f == ":append" for pair in pairs):
        pairs = _as_transactions(pairs)
    if any(pair.f == ":txn" or _is_append(pair) for pair in pairs):
        keys, problems = objections(pairs)
        return Judged("append", len(pairs), keys, problems)
    return _registers(pairs, effort)


def _is_append(pair: Pair) -> bool:
    value = pair.value
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, list) and first[:1] in ([":append"], [":r"])


def _as_transactions(pairs: list[Pair]) -> list[Pair]:
    """:append and :read alone, of one list or of [key value], as transactions of one step."""
    keyed = all(isinstance(pair.value, list) and len(pair.value) == 2 for pair in pairs if pair.f == ":append")
    for pair in pairs:
        if pair.f not in (":append", ":read"):
            raise EdnError(f"operation {pair.f} is none of :append, :read")
        what = Word(":append" if pair.f == ":append" else ":r")
        pair.f, pair.value = ":txn", _step(what, pair.value, keyed)
        if pair.completed is not None:
            pair.completed = _step(what, pair.completed, keyed)
    return pairs


def _step(what: Word, value: Any, keyed: bool) -> list[Any]:
    key, inner = value if keyed and isinstance(value, list) and len(value) == 2 else ("", value)
    return [[what, key, inner]]


def _keyed(pairs: list[Pair]) -> bool:
    """Whether the values are [key value], as of jepsen.independent."""
    values = [pair.value for pair in pairs if pair.f in (":read", ":write")]
    if not values:
        return all(isinstance(pair.value, list) and isinstance(pair.value[-1], list) for pair in pairs if pair.value)
    return all(isinstance(value, list) and len(value) == 2 for value in values)


def _registers(pairs: list[Pair], effort: int) -> Judged:
    calls: list[tuple[str, Call]] = []
    keyed = _keyed(pairs)
    for pair in pairs:
        if pair.f not in (":read", ":write", ":cas"):
            raise EdnError(f"operation {pair.f} is none of :read, :write, :cas, :txn, :append")
        if pair.begin < 0:
            raise EdnError("a register's operations need :process and :invoke: nothing else tells when they began")
        if pair.how == "fail":
            continue
        key, value = ("", pair.value)
        completed = pair.completed
        if keyed and isinstance(value, list) and len(value) == 2:
            key, value = str(value[0]), value[1]
            completed = completed[1] if isinstance(completed, list) and len(completed) == 2 else completed
        match pair.f:
            case ":write":
                calls.append((key, Call("write", hashable(value), pair.begin, pair.end)))
            case ":read":
                calls.append((key, Call("read", hashable(completed), pair.begin, pair.end)))
            case _:
                if not isinstance(value, list) or len(value) != 2:
                    raise EdnError(f"a :cas without [old new]: {value!r}")
                old, new = map(hashable, value)
                calls.append((key, Call("cas", new, pair.begin, pair.end, old)))
    verdicts = judge_keys(calls, effort)
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
    return f"no order places the {call.kind} of {_shown(call.value)} that ended at entry {call.end}"


def _shown(value: object) -> str:
    return "nil" if value is None else repr(value)
