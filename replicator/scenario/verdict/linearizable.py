"""Is there one order of a key's operations that every client could have seen? (Wing and Gong's search with Lowe's
memory.)

Each key is judged alone: a history is linearizable exactly when each of its keys is. An operation whose end nobody
knows may have taken effect at any time after its begin, or never. The search is exponential at its worst; beyond
`effort` steps (or STEPS_A_CALL for each operation, if that is more) it answers UNKNOWN and not a guess.

Source: G. Lowe, Testing for linearizability, 2016.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random

EFFORT = 200_000
EFFORT_IN_ALL = 5_000_000
# A long history without riddles takes about two.
STEPS_A_CALL = 10
_NEVER = 1 << 62


class Answer(Enum):
    YES = "linearizable"
    NO = "not linearizable"
    UNKNOWN = "unknown"


# Not frozen: there are as many as operations in a history, and to make a frozen one takes three times as long.
@dataclass(slots=True)
class Call:
    """One operation on a register. kind: "write", "read" or "cas" (expected -> value). end: None if it never ended.

    A read that did not end says nothing and is left out by `judge`. done: a cas that was refused is a read of another
    value: leave it out, or give it as "read" if its value is known.
    """

    kind: str
    value: object
    begin: int
    end: int | None
    expected: object = None


@dataclass(slots=True)
class Verdict:
    """answer, the steps it took, and for NO the operation that no order could place."""

    answer: Answer
    steps: int
    stuck: Call | None = None


class _Entry:
    __slots__ = ("after", "before", "call", "index", "match")

    def __init__(self, call: Call, index: int) -> None:
        self.call = call
        self.index = index
        self.match: _Entry | None = None  # of a begin: its end
        self.before: _Entry | None = None
        self.after: _Entry | None = None


def judge(calls: Sequence[Call], initial: object = None, effort: int = EFFORT) -> Verdict:
    """One register's operations, in any order.

    A place of the search is remembered as a sum of 128 random bits for each operation done, so that memory is bounded
    by the effort alone; that two places ever share one has a chance below 1 in 10^25.
    """
    useful = _useful(calls)
    useful.sort(key=_begin)
    if _one_by_one(useful):
        return _in_turn(useful, initial)
    # What nobody can have written needs no search: it fits into no order.
    written = {initial, *(call.value for call in useful if call.kind != "read")}
    for call in useful:
        if call.end is not None and call.kind != "write" and _needed(call) not in written:
            return Verdict(Answer.NO, 0, call)
    head = _linked(useful)
    marks = Random("linearizable").getrandbits
    mark = [marks(128) for _ in useful]
    state, done, steps = initial, 0, 0
    seen: set[tuple[int, object]] = set()
    stack: list[tuple[_Entry, object]] = []
    entry = head.after
    left = sum(call.end is not None for call in useful)
    effort = max(effort, STEPS_A_CALL * len(useful))
    farthest: Call | None = None
    while left:
        steps += 1
        if steps > effort:
            return Verdict(Answer.UNKNOWN, steps)
        if entry is not None and entry.match is not None:
            possible, after = _step(entry.call, state)
            place = (done ^ mark[entry.index], after)
            if possible and place not in seen:
                seen.add(place)
                stack.append((entry, state))
                state, done = after, place[0]
                left -= entry.call.end is not None
                _lift(entry)
                entry = head.after
            else:
                entry = entry.after
            continue
        # The end of an operation that has not taken effect (or of the list): some choice before was wrong.
        if entry is not None and (farthest is None or (entry.call.end or 0) > (farthest.end or 0)):
            farthest = entry.call
        if not stack:
            return Verdict(Answer.NO, steps, farthest)
        entry, state = stack.pop()
        done ^= mark[entry.index]
        left += entry.call.end is not None
        _unlift(entry)
        entry = entry.after
    return Verdict(Answer.YES, steps)


def _useful(calls: Sequence[Call]) -> list[Call]:
    """Without reads that did not end, and without what did not end and nobody saw: an order that has it is as good
    without it.
    """
    asked = {call.value for call in calls if call.kind == "read" and call.end is not None}
    asked |= {call.expected for call in calls if call.kind == "cas"}
    return [call for call in calls if call.end is not None or (call.kind != "read" and call.value in asked)]


def _begin(call: Call) -> int:
    return call.begin


def _one_by_one(calls: list[Call]) -> bool:
    """Whether no two of them can have overlapped: then there is one order, and nothing to search for."""
    ended: int | None = -1
    for call in calls:
        if ended is None or call.begin <= ended:
            return False
        ended = call.end
    return True


def _in_turn(calls: list[Call], state: object) -> Verdict:
    for call in calls:
        possible, after = _step(call, state)
        if possible:
            state = after
        elif call.end is not None:
            return Verdict(Answer.NO, len(calls), call)
    return Verdict(Answer.YES, len(calls))


def _step(call: Call, state: object) -> tuple[bool, object]:
    if call.kind == "write":
        return True, call.value
    if call.kind == "read":
        return state == call.value, state
    return state == call.expected, call.value


def _needed(call: Call) -> object:
    """The state that a read or a cas finds."""
    return call.value if call.kind == "read" else call.expected


def _linked(calls: Sequence[Call]) -> _Entry:
    """Begins and ends in the order of time, a begin before an end of the same instant (they may have overlapped)."""
    events: list[tuple[int, int, int, _Entry]] = []
    for index, call in enumerate(calls):
        begin, end = _Entry(call, index), _Entry(call, index)
        begin.match = end
        events.append((call.begin, 0, index, begin))
        events.append((_NEVER if call.end is None else call.end, 1, index, end))
    events.sort(key=lambda event: event[:3])
    head = _Entry(Call("read", None, 0, None), -1)
    last = head
    for _, _, _, entry in events:
        if entry.match is None and entry.call.end is None:
            # It never ends: nothing forces it to take effect. Its begin stays, its end is nowhere.
            entry.before = entry.after = None
            continue
        last.after, entry.before = entry, last
        last = entry
    return head


def _lift(begin: _Entry) -> None:
    for entry in (begin, begin.match):
        assert entry is not None
        if entry.before is not None:
            entry.before.after = entry.after
        if entry.after is not None:
            entry.after.before = entry.before


def _unlift(begin: _Entry) -> None:
    for entry in (begin.match, begin):
        assert entry is not None
        if entry.before is not None:
            entry.before.after = entry
        if entry.after is not None:
            entry.after.before = entry


def judge_keys(keyed: Iterable[tuple[str, Call]], effort: int = EFFORT, initial: object = None) -> dict[str, Verdict]:
    """Every key's register alone. All riddles together may cost EFFORT_IN_ALL; quiet keys are judged all the same."""
    by_key: dict[str, list[Call]] = {}
    for key, call in keyed:
        by_key.setdefault(key, []).append(call)
    left = max(effort, EFFORT_IN_ALL)
    found: dict[str, Verdict] = {}
    for key, calls in by_key.items():
        found[key] = verdict = judge(calls, initial, min(effort, left))
        left -= max(0, min(left, verdict.steps - STEPS_A_CALL * len(calls)))
    return found
