"""Judges a history by what was read back: every acknowledged write is kept or lost, and nothing else may be there.

Only a History goes in (with its read-backs), so a history file can be judged long after its play. Verdicts:

- kept: confirmed to the client and there at the end (a register's value that the same client overwrote later counts).
- lost: confirmed, and not there.
- unknown: nobody told the client; unknown_kept of them are there. They are never called lost.
- resurrected: refused with an error, and yet there.  phantom: there, and nobody ever wrote it.
- duplicated: an element more than once in its list.  reordered: elements in another order than the clients saw.
- stale reads: a read after a confirmed write of the same client returned something older.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from replicator.scenario.explain import Cause, Explainer
from replicator.scenario.history import FAIL, OK, History, Operation, ReadBack


@dataclass(slots=True)
class LostWrite:
    """One acknowledged write that is gone. Offsets are of the history of acknowledged_by."""

    client: str
    key: str
    value: str
    acknowledged_by: str
    acknowledged_at_ms: int
    offset_at_ack: int | None
    offset_bounds: tuple[int | None, int | None]
    replicas_acked: int | None
    promoted_offset: int | None
    why: str
    would_have_prevented: str

    def told(self) -> str:
        """Who confirmed it, where in the history, who had it by then, why it is gone and what would have kept it."""
        acked = "" if self.replicas_acked is None else f", {self.replicas_acked} replicas had confirmed that offset"
        where = "" if self.offset_at_ack is None else f" at offset {self.offset_at_ack}"
        kept = f"; would have prevented it: {self.would_have_prevented}" if self.would_have_prevented else ""
        return (
            f"{self.client} {self.key} = {self.value}: acknowledged by {self.acknowledged_by}{where} at "
            f"{self.acknowledged_at_ms} ms{acked}; {self.why}{kept}"
        )


@dataclass(slots=True)
class Verdict:
    """What a history comes to. The lists name the values concerned."""

    acknowledged: int = 0
    kept: int = 0
    failed: int = 0
    unknown: int = 0
    unknown_kept: int = 0
    reads: int = 0
    lost: list[LostWrite] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    reordered: list[str] = field(default_factory=list)
    phantom: list[str] = field(default_factory=list)
    resurrected: list[str] = field(default_factory=list)
    stale_reads: list[str] = field(default_factory=list)

    def writes(self) -> dict[str, int]:
        """The table `writes` of a report."""
        return {
            "acknowledged": self.acknowledged, "kept": self.kept, "lost": len(self.lost), "failed": self.failed,
            "unknown": self.unknown, "unknown_kept": self.unknown_kept,
        }  # fmt: skip

    def anomalies(self) -> dict[str, list[str]]:
        return {
            "duplicated": self.duplicated, "reordered": self.reordered, "phantom": self.phantom,
            "resurrected": self.resurrected, "stale_reads": self.stale_reads,
        }  # fmt: skip

    def plain(self) -> dict[str, Any]:
        return {"writes": self.writes(), "lost": [asdict(one) for one in self.lost], **self.anomalies()}


def check(history: History) -> Verdict:
    """Judges by the read-back of the node that history.primary names. Raises ValueError if there is none."""
    read_back = next((one for one in history.read_backs if one.node == history.primary), None)
    if read_back is None:
        raise ValueError("nothing was read back from a primary at the end, so no write can be judged")
    verdict = Verdict()
    lost: list[Operation] = []
    by_kind: dict[str, list[Operation]] = {"set": [], "rpush": [], "incr": [], "get": []}
    for operation in history.operations:
        by_kind[operation.kind].append(operation)
        if not operation.writes:
            continue
        if operation.status is OK:
            verdict.acknowledged += 1
        elif operation.status is FAIL:
            verdict.failed += 1
        else:
            verdict.unknown += 1
    _registers(by_kind["set"], read_back, verdict, lost)
    _lists(by_kind["rpush"], read_back, verdict, lost)
    _counters(by_kind["incr"], read_back, verdict, lost)
    _reads(by_kind["get"], verdict)
    verdict.kept = verdict.acknowledged - len(lost)
    explainer = Explainer(history)
    for operation in sorted(lost, key=lambda one: (one.end_ms or 0, one.id)):
        verdict.lost.append(_lost_write(operation, explainer.explain(operation)))
    return verdict


def _lost_write(operation: Operation, cause: Cause) -> LostWrite:
    value = operation.value or str(operation.result)
    return LostWrite(
        operation.client, operation.key, value, operation.node, operation.end_ms or 0, operation.offset,
        cause.bounds, operation.acked, cause.promoted_offset, cause.why, cause.would_have_prevented,
    )  # fmt: skip


def _registers(writes: list[Operation], read_back: ReadBack, verdict: Verdict, lost: list[Operation]) -> None:
    """Each register has one writer, so the position of the final value among its writes decides about all of them."""
    registers = read_back.registers
    finals: dict[str, Operation] = {}
    for operation in writes:
        # Values do not repeat in a play. Where they do, in a history from elsewhere, the last one may be it.
        there = registers.get(operation.key) == operation.value
        if there and (operation.status is not FAIL or operation.key not in finals):
            finals[operation.key] = operation
    for operation in writes:
        if operation.status is OK:
            final = finals.get(operation.key)
            if final is not operation and (final is None or final.id < operation.id):
                lost.append(operation)
    for key, value in registers.items():
        if value is None:
            continue
        final = finals.get(key)
        if final is None:
            verdict.phantom.append(f"{key} = {value}")
        elif final.status is FAIL:
            verdict.resurrected.append(f"{key} = {value}")
        elif final.status is not OK:
            verdict.unknown_kept += 1


def _lists(writes: list[Operation], read_back: ReadBack, verdict: Verdict, lost: list[Operation]) -> None:
    by_element = {(operation.key, operation.value): operation for operation in writes}
    for key, elements in read_back.lists.items():
        order: list[Operation] = []
        for element, count in Counter(elements).items():
            writer = by_element.get((key, element))
            if writer is None:
                verdict.phantom.append(f"{key}: {element}")
                continue
            order.append(writer)
            if count > 1:
                verdict.duplicated.append(f"{key}: {element} ({count} times)")
            if writer.status is FAIL:
                verdict.resurrected.append(f"{key}: {element}")
            elif writer.status is not OK:
                verdict.unknown_kept += 1
        _in_order(key, order, verdict)
    present = {key: set(elements) for key, elements in read_back.lists.items()}
    nothing: set[str] = set()
    for operation in writes:
        if operation.status is OK and operation.value not in present.get(operation.key, nothing):
            lost.append(operation)


def _in_order(key: str, order: list[Operation], verdict: Verdict) -> None:
    """An element whose write ended before another's began must stand before it."""
    earliest_end: int | None = None
    for operation in reversed(order):
        # Everything behind this one in the list; the one of them that was confirmed first must not precede its begin.
        if earliest_end is not None and earliest_end < operation.invoke_ms:
            verdict.reordered.append(f"{key}: {operation.value}")
        if operation.status is OK and operation.end_ms is not None:
            earliest_end = operation.end_ms if earliest_end is None else min(earliest_end, operation.end_ms)


def _counters(writes: list[Operation], read_back: ReadBack, verdict: Verdict, lost: list[Operation]) -> None:
    """Each counter has one client. An answer that is not above all earlier answers proves that the increments behind
    the earlier, higher answers were undone; so does a final value below an answer."""
    by_key: dict[str, list[Operation]] = {}
    for operation in writes:
        by_key.setdefault(operation.key, []).append(operation)
    for key, operations in by_key.items():
        standing: list[Operation] = []
        unknown = failed = undone = 0
        for operation in operations:
            if operation.status is OK and operation.result is not None:
                while standing and (standing[-1].result or 0) >= operation.result:
                    lost.append(standing.pop())
                    undone += 1
                standing.append(operation)
            elif operation.status is FAIL:
                failed += 1
            elif operation.status is not OK:
                unknown += 1
        final = read_back.counters.get(key, 0)
        while standing and (standing[-1].result or 0) > final:
            lost.append(standing.pop())
        # An increment that was undone comes back when the node that has it becomes the primary again.
        extra = max(0, final - len(standing) - undone)
        verdict.unknown_kept += min(unknown, max(0, extra))
        if extra > unknown:
            name = verdict.resurrected if extra - unknown <= failed else verdict.phantom
            name.append(f"{key} is {final}, {extra - unknown} more than was written")
    for key, value in read_back.counters.items():
        if key not in by_key and value:
            verdict.phantom.append(f"{key} = {value}")


def _reads(reads: list[Operation], verdict: Verdict) -> None:
    for operation in reads:
        if operation.status is OK:
            verdict.reads += 1
            if operation.expected is not None and operation.value != operation.expected:
                shown = operation.value or "nothing"
                verdict.stale_reads.append(
                    f"{operation.client} read {operation.key} from {operation.node} at {operation.end_ms} ms: {shown} "
                    f"instead of {operation.expected}"
                )
