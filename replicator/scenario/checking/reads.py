"""What one client may expect of its own reads: that a register does not go back.

Monotonic reads: of two reads of one key by one client the later one shows no older write. The order of a register's
writes is that of its single writer (each register of a workload has one).
"""

from __future__ import annotations

from replicator.scenario.checking.linearizable import EFFORT, Call, Verdict, judge_keys
from replicator.scenario.history import History, Status


def backward_reads(history: History) -> list[str]:
    """Reads that show an older write than an earlier read of the same client did, or than it had itself confirmed.

    (The latter where the operation does not say what it `expected`: otherwise it is a stale read already.) Keys to
    which a value was written twice are left out: what a read of it shows cannot be told.
    """
    order: dict[str, dict[str, int]] = {}
    repeated: set[str] = set()
    for operation in history.operations:
        if operation.kind == "set":
            of_key = order.setdefault(operation.key, {})
            if operation.value in of_key:
                repeated.add(operation.key)
            of_key[operation.value] = len(of_key)
    newest: dict[tuple[str, str], tuple[int, str]] = {}
    found: list[str] = []
    for operation in history.operations:
        key = operation.key
        if operation.status is not Status.OK or operation.kind not in ("get", "set") or key in repeated:
            continue
        place = order.get(key, {}).get(operation.value, -1)
        seen = newest.get((operation.client, key))
        if operation.kind == "set":
            newest[operation.client, key] = (place, f"written {operation.value}")
        elif seen is None or place >= seen[0]:
            newest[operation.client, key] = (place, f"read {operation.value}")
        elif not (operation.expected is not None and seen[1].startswith("written")):
            shown = operation.value or "nothing"
            found.append(
                f"{operation.client} read {key} from {operation.node} at {operation.end_ms} ms: {shown}, "
                f"after it had {seen[1]}"
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
    for read_back in history.read_backs:
        if read_back.node != history.primary:
            continue
        last = max((one.end_ms or one.invoke_ms for one in history.operations), default=0) + 1
        for key, value in read_back.registers.items():
            calls.append((key, Call("read", value or "", last, last + 1)))
    return judge_keys([(key, _from_nothing(call)) for key, call in calls], effort)


def _from_nothing(call: Call) -> Call:
    """A missing key reads as "", which is what a register begins as."""
    return call if call.kind == "write" or call.value != "" else Call("read", None, call.begin, call.end)
