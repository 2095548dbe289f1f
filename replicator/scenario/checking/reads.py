"""What one client may expect of its own reads: that a register does not go back.

Monotonic reads: of two reads of one key by one client the later one shows no older write. The order of a register's
writes is that of its single writer (each register of a workload has one).
"""

from __future__ import annotations

from replicator.scenario.checking.linearizable import EFFORT, Call, Verdict, judge_keys
from replicator.scenario.history import FAIL, OK, History


def backward_reads(history: History) -> list[str]:
    """Reads that show an older write than an earlier read of the same client did, or than it had itself confirmed.

    (The latter where the operation does not say what it `expected`: otherwise it is a stale read already.) Keys to
    which a value was written twice are left out: what a read of it shows cannot be told.
    """
    looked_at = {operation.key for operation in history.operations if operation.kind == "get"}
    order: dict[str, dict[str, int]] = {}
    repeated: set[str] = set()
    for operation in history.operations:
        if operation.kind == "set" and operation.key in looked_at:
            of_key = order.setdefault(operation.key, {})
            if operation.value in of_key:
                repeated.add(operation.key)
            of_key[operation.value] = len(of_key)
    newest: dict[tuple[str, str], tuple[int, str]] = {}
    found: list[str] = []
    for operation in history.operations:
        key = operation.key
        if operation.status is not OK or operation.kind not in ("get", "set"):
            continue
        if key in repeated or key not in looked_at:
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
        if operation.kind not in ("set", "get") or operation.status is FAIL:
            continue
        end = operation.end_ms if operation.status is OK else None
        if operation.kind == "set":
            calls.append((operation.key, Call("write", operation.value, operation.invoke_ms, end)))
        else:
            calls.append((operation.key, Call("read", _found(operation.value), operation.invoke_ms, end)))
    last = max((one.end_ms or one.invoke_ms for one in history.operations), default=0) + 1
    for read_back in history.read_backs:
        if read_back.node == history.primary:
            calls.extend(
                (key, Call("read", _found(value), last, last + 1)) for key, value in read_back.registers.items()
            )
    return judge_keys(calls, effort)


def _found(value: str | None) -> str | None:
    """A missing key reads as "", which is what a register begins as."""
    return value or None
