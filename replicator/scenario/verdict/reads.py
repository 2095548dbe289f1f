"""What one client may expect of its own reads: that a register does not go back.

Monotonic reads: of two reads of one key by one client the later one shows no older write, nor an older one than the
client has itself confirmed. The order of a register's writes is that of its single writer (each register of a workload
has one; others are left to linearizability). An unknown write has no place in it until somebody reads it: it may take
effect late, once.
"""

from __future__ import annotations

from bisect import bisect_left

from replicator.scenario.verdict.history import FAIL, OK, History, Operation
from replicator.scenario.verdict.linearizable import EFFORT, Answer, Call, Verdict, judge_keys

# Where a value stands: the id of its write, and how many late ones were seen behind that.
_Place = tuple[int, int]
_NOTHING: _Place = (-1, 0)
# What stands before a register's first operation.
_FRESH = Operation(-1, "", "set", "", "", "", -1, OK, -1)


class _Register:
    """The writes of one register, by value in the order of their ids."""

    __slots__ = ("places", "unknown", "writer")

    def __init__(self) -> None:
        self.places: dict[str, list[_Place]] = {}
        self.unknown: set[str] = set()
        self.writer: str | None = ""  # "": nobody yet; None: several

    def wrote(self, operation: Operation) -> None:
        self.writer = operation.client if self.writer in ("", operation.client) else None
        self.places.setdefault(operation.value, []).append((operation.id, 0))
        if not operation.took_effect and operation.status is not FAIL:
            self.unknown.add(operation.value)


class _Reader:
    """What one client has seen of one register. how: it has "read" or "written" the value."""

    __slots__ = ("how", "late", "newest", "value")

    def __init__(self) -> None:
        self.newest, self.value, self.how = _NOTHING, "", ""
        self.late: dict[str, _Place] = {}

    def wrote(self, operation: Operation) -> None:
        """A write of its own was confirmed."""
        place = (operation.id, 0)
        if place > self.newest:
            self.newest, self.value, self.how = place, operation.value, "written"

    def goes_back(self, value: str, register: _Register) -> bool:
        """Whether this read shows an older write than what it has seen before."""
        places = register.places.get(value, ())
        if value == "" and not places:
            return self.newest > _NOTHING
        unknown = value in register.unknown
        if not places or (unknown and len(places) > 1):
            return False  # nobody wrote it: no older write; or nobody knows which write it is of
        if unknown:
            newest = self.newest
            late = newest if value == self.value else (newest[0], newest[1] + 1)
            place = self.late.setdefault(value, max(places[0], late))
        else:
            place = places[min(bisect_left(places, self.newest), len(places) - 1)]
        if place < self.newest:
            return True
        self.newest, self.value, self.how = place, value, "read"
        return False


def backward_reads(history: History) -> list[str]:
    """Reads that show an older write than an earlier read of the same client did, or than it had itself confirmed.

    (The latter where the operation does not say what it `expected`: otherwise it is a stale read already.)
    """
    concerned = {one.key for one in history.operations if one.kind == "get" and one.status is OK}
    if not concerned:
        return []
    registers: dict[str, _Register] = {}
    for operation in history.operations:
        if operation.kind == "set" and operation.key in concerned:
            registers.setdefault(operation.key, _Register()).wrote(operation)
    readers: dict[tuple[str, str], _Reader] = {}
    found: list[str] = []
    nothing = _Register()
    for operation in history.operations:
        if operation.kind not in ("get", "set") or operation.status is not OK or operation.key not in concerned:
            continue
        register = registers.get(operation.key, nothing)
        if register.writer is None:
            continue
        reader = readers.setdefault((operation.client, operation.key), _Reader())
        if operation.kind == "set":
            reader.wrote(operation)
            continue
        how, seen = reader.how, reader.value
        if reader.goes_back(operation.value, register) and (how == "read" or operation.expected is None):
            shown = operation.value or "nothing"
            found.append(
                f"{operation.client} read {operation.key} from {operation.node} at {operation.end_ms} ms: {shown}, "
                f"after it had {how} {seen}"
            )
    return found


def linearizability(history: History, effort: int = EFFORT) -> dict[str, Verdict]:
    """Each register of a history. Asynchronous replication promises none: a failover that loses writes shows here."""
    ended = max((one.end_ms or one.invoke_ms for one in history.operations), default=0) + 1
    quiet = _quiet(history)
    riddles = {key for key, last in quiet.items() if last is None}
    judged = _searched(history, riddles, ended, effort) if riddles else {}
    plain = Verdict(Answer.YES, 0)
    return {key: plain if last is not None else judged[key] for key, last in quiet.items()}


def _quiet(history: History) -> dict[str, Operation | None]:
    """Each register's last operation, whose value it has, if none began before the end of the one before and each
    fits to it: that is an order, and needs no search. None for all others.
    """
    found: dict[str, Operation | None] = {}
    for operation in history.operations:
        kind = operation.kind
        if (kind != "set" and kind != "get") or operation.status is FAIL:
            continue
        before = found.get(operation.key, _FRESH)
        if before is None:
            continue
        begin, end = operation.invoke_ms, operation.end_ms
        follows = operation.status is OK and end is not None and (before.end_ms or 0) <= begin <= end
        fits = follows and (kind == "set" or operation.value == before.value)
        found[operation.key] = operation if fits else None
    for read_back in history.read_backs:
        if read_back.node == history.primary:
            for key, value in read_back.registers.items():
                before = found.get(key, _FRESH)
                found[key] = before if before is not None and before.value == (value or "") else None
    return found


def _searched(history: History, keys: set[str], ended: int, effort: int) -> dict[str, Verdict]:
    """The verdicts of these keys. ended: behind every operation, which is when they are read back."""
    calls: list[tuple[str, Call]] = []
    for operation in history.operations:
        if operation.key not in keys or operation.kind not in ("set", "get") or operation.status is FAIL:
            continue
        known = operation.status is OK
        end = None if operation.end_ms is None or not known else operation.end_ms
        kind = "write" if operation.kind == "set" else "read"
        calls.append((operation.key, Call(kind, operation.value, operation.invoke_ms, end)))
    for read_back in history.read_backs:
        if read_back.node != history.primary:
            continue
        for key, value in read_back.registers.items():
            if key in keys:
                calls.append((key, Call("read", value or "", ended, ended + 1)))
    # A missing key reads as "", which is what a register begins as.
    return judge_keys(calls, effort, initial="")
