"""What one client may expect of its own reads: that a register does not go back.

Monotonic reads: of two reads of one key by one client the later one shows no older write, nor an older one than the
client has itself confirmed. The order of a register's writes is that of its single writer (each register of a workload
has one; others are left to linearizability). An unknown write has no place in it until somebody reads it: it may take
effect late, once.
"""

from __future__ import annotations

from bisect import bisect_left

from replicator.scenario.checking.linearizable import EFFORT, Call, Verdict, judge_keys
from replicator.scenario.history import History, Operation, Status

# Where a value stands: the id of its write, and how many late ones were seen behind that.
_Place = tuple[int, int]
_NOTHING: _Place = (-1, 0)


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
        if not operation.took_effect and operation.status is not Status.FAIL:
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
    registers: dict[str, _Register] = {}
    for operation in history.operations:
        if operation.kind == "set":
            registers.setdefault(operation.key, _Register()).wrote(operation)
    readers: dict[tuple[str, str], _Reader] = {}
    found: list[str] = []
    nothing = _Register()
    for operation in history.operations:
        if operation.kind not in ("get", "set") or operation.status is not Status.OK:
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
    calls: list[tuple[str, Call]] = []
    for operation in history.operations:
        if operation.kind not in ("set", "get") or operation.status is Status.FAIL:
            continue
        known = operation.status is Status.OK
        end = None if operation.end_ms is None or not known else operation.end_ms
        kind = "write" if operation.kind == "set" else "read"
        calls.append((operation.key, Call(kind, operation.value, operation.invoke_ms, end)))
    last = max((one.end_ms or one.invoke_ms for one in history.operations), default=0) + 1
    for read_back in history.read_backs:
        if read_back.node != history.primary:
            continue
        for key, value in read_back.registers.items():
            calls.append((key, Call("read", value or "", last, last + 1)))
    # A missing key reads as "", which is what a register begins as.
    return judge_keys(calls, effort, initial="")
