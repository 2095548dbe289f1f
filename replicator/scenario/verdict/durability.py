"""Judges a history by what was read back: every acknowledged write is kept or lost, and nothing else may be there.

Only a History goes in (with its read-backs), so a history file can be judged long after its play. Verdicts:

- kept: confirmed to the client and there at the end. What a later write replaced counts, and so does what an unknown
  one may have replaced (it can take effect long after its client gave it up), unless offsets say that it was undone.
- lost: confirmed, and not there.
- unknown: nobody told the client; unknown_kept of them are there. They are never called lost.
- resurrected: refused with an error, and yet there (or read).  phantom: there (or read), and nobody ever wrote it.
- duplicated: an element more than once in its list.  reordered: elements in another order than the clients saw.
- stale reads: a read after a confirmed write of the same client returned something older.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from replicator.scenario.verdict.explain import ANEW, Cause, Explainer, replicas
from replicator.scenario.verdict.history import FAIL, OK, OPERATIONS, History, Operation, ReadBack

# A life of a counter is tried behind so many before it, so that the time for many of them stays bounded.
LIVES_MOST = 500


@dataclass(slots=True)
class LostWrite:
    """One acknowledged write that is gone. Offsets are of the history of acknowledged_by.

    replicas_acked: how many replicas had confirmed the offset; acked_by: their names, as far as ROLE told them.
    """

    client: str
    key: str
    value: str
    acknowledged_by: str
    acknowledged_at_ms: int
    offset_at_ack: int | None
    offset_bounds: tuple[int | None, int | None]
    replicas_acked: int | None
    acked_by: list[str]
    promoted_offset: int | None
    why: str
    would_have_prevented: str

    def told(self) -> str:
        """Who confirmed it, where in the history, who had it by then, why it is gone and what would have kept it."""
        count = self.replicas_acked
        acked = "" if count is None else f", {replicas(count, self.acked_by)} had confirmed that offset"
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
    lost: list[Operation] = []
    by_kind: dict[str, list[Operation]] = {kind: [] for kind in OPERATIONS}
    acknowledged = failed = unknown = 0
    for operation in history.operations:
        kind = operation.kind
        by_kind[kind].append(operation)
        if kind == "get":
            continue
        status = operation.status
        if status is OK:
            acknowledged += 1
        elif status is FAIL:
            failed += 1
        else:
            unknown += 1
    verdict = Verdict(acknowledged=acknowledged, failed=failed, unknown=unknown)
    doubtful: list[Operation] = []
    _registers(by_kind["set"], read_back, verdict, lost, doubtful)
    _lists(by_kind["rpush"], read_back, verdict, lost)
    _counters(by_kind["incr"], read_back, verdict, lost, _turns(history))
    _reads(by_kind["get"], by_kind["set"], verdict)
    explainer = Explainer(history)
    lost += [operation for operation in doubtful if explainer.explain(operation).explained]
    verdict.kept = verdict.acknowledged - len(lost)
    for operation in sorted(lost, key=lambda one: (one.end_ms or 0, one.id)):
        verdict.lost.append(_lost_write(operation, explainer.explain(operation)))
    return verdict


def _lost_write(operation: Operation, cause: Cause) -> LostWrite:
    value = operation.value or str(operation.result)
    return LostWrite(
        operation.client, operation.key, value, operation.node, operation.end_ms or 0, operation.offset,
        cause.bounds, operation.acked, operation.acked_by or [], cause.promoted_offset, cause.why,
        cause.would_have_prevented,
    )  # fmt: skip


def _precedes(one: Operation, other: Operation) -> bool:
    """One had certainly taken effect before the other was asked for. Times are whole milliseconds: within the same one
    only a client's own order is known."""
    if one.end_ms is None or not one.took_effect:
        return False
    if one.end_ms < other.invoke_ms:
        return True
    return one.end_ms == other.invoke_ms and one.client == other.client and one.id < other.id


def _registers(
    writes: list[Operation], read_back: ReadBack, verdict: Verdict, lost: list[Operation], doubtful: list[Operation]
) -> None:
    """What certainly follows the write that the final value is of, is lost. An unknown write may have taken effect
    long after its client gave it up, and so have replaced what was acknowledged meanwhile: that is doubtful.
    """
    registers = read_back.registers
    finals: dict[str, Operation] = {}
    twins: dict[str, list[Operation]] = {}  # of values that were written more than once
    for operation in writes:
        if registers.get(operation.key) == operation.value:
            final = finals.setdefault(operation.key, operation)
            if final is not operation:
                twins.setdefault(operation.key, [final]).append(operation)
    for key, some in twins.items():
        twins[key] = some = [one for one in some if one.status is not FAIL] or some
        finals[key] = some[-1]
    for operation in writes:
        if operation.status is not OK:
            continue
        last = finals.get(operation.key)
        if last is operation:
            continue
        if last is None:
            lost.append(operation)
            continue
        candidates = twins.get(operation.key) or (last,)
        if last.status is FAIL:
            if last.id < operation.id:
                lost.append(operation)
        elif all(_precedes(one, operation) for one in candidates):
            lost.append(operation)
        elif all(one.id < operation.id and one.status is not OK for one in candidates):
            doubtful.append(operation)
    for key, value in registers.items():
        if value is None:
            continue
        last = finals.get(key)
        if last is None:
            verdict.phantom.append(f"{key} = {value}")
        elif last.status is FAIL:
            verdict.resurrected.append(f"{key} = {value}")
        elif last.status is not OK:
            verdict.unknown_kept += 1


def _lists(writes: list[Operation], read_back: ReadBack, verdict: Verdict, lost: list[Operation]) -> None:
    by_element = {(operation.key, operation.value): operation for operation in writes}
    twins: dict[tuple[str, str], list[Operation]] = {}  # elements that were pushed more than once
    if len(by_element) < len(writes):
        for operation in writes:
            twins.setdefault((operation.key, operation.value), []).append(operation)
        twins = {place: some for place, some in twins.items() if len(some) > 1}
    present: dict[str, Counter[str]] = {}
    for key, elements in read_back.lists.items():
        order: list[Operation] = []
        present[key] = counts = Counter(elements)
        for element, count in counts.items():
            writer = by_element.get((key, element))
            if writer is None:
                verdict.phantom.append(f"{key}: {element}")
            elif (key, element) in twins:
                _twins(f"{key}: {element}", count, twins[key, element], verdict)
            else:
                order.append(writer)
                if count > 1:
                    verdict.duplicated.append(f"{key}: {element} ({count} times)")
                if writer.status is FAIL:
                    verdict.resurrected.append(f"{key}: {element}")
                elif writer.status is not OK:
                    verdict.unknown_kept += 1
        _in_order(key, order, verdict)
    nothing: Counter[str] = Counter()
    for operation in writes:
        if operation.status is OK and operation.value not in present.get(operation.key, nothing):
            lost.append(operation)
    for (key, element), some in twins.items():
        sure = [one for one in some if one.status is OK]
        count = present.get(key, nothing)[element]
        if count:
            lost.extend(sure[count:])


def _twins(shown: str, count: int, writers: list[Operation], verdict: Verdict) -> None:
    """An element that several writes pushed may be there as often; their order is not judged."""
    sure = sum(one.status is OK for one in writers)
    failed = sum(one.status is FAIL for one in writers)
    unknown = len(writers) - sure - failed
    verdict.unknown_kept += min(unknown, max(0, count - sure))
    if count > len(writers):
        verdict.duplicated.append(f"{shown} ({count} times)")
    if failed and count > sure + unknown:
        verdict.resurrected.append(shown)


def _in_order(key: str, order: list[Operation], verdict: Verdict) -> None:
    """An element whose write ended before another's began must stand before it."""
    earliest: Operation | None = None
    of_client: dict[str, Operation] = {}
    for operation in reversed(order):
        # Of everything behind this one in the list, what was confirmed first must not precede its begin; and nothing
        # that its own client had confirmed before.
        own = of_client.get(operation.client)
        if (earliest is not None and _precedes(earliest, operation)) or (own is not None and _precedes(own, operation)):
            verdict.reordered.append(f"{key}: {operation.value}")
        if operation.status is OK and operation.end_ms is not None:
            if earliest is None or operation.end_ms < (earliest.end_ms or 0):
                earliest = operation
            if own is None or operation.id < own.id:
                of_client[operation.client] = operation


def _counters(
    writes: list[Operation], read_back: ReadBack, verdict: Verdict, lost: list[Operation], turns: dict[str, list[int]]
) -> None:
    """Each counter has one client, whose answers can only grow in one history: an acknowledged increment that fits
    into none that ends with the final value is lost."""
    by_key: dict[str, list[Operation]] = {}
    for operation in writes:
        by_key.setdefault(operation.key, []).append(operation)
    for key, operations in by_key.items():
        final = read_back.counters.get(key, 0)
        standing = _standing(operations, final)
        excess = _excess(operations, standing, final)
        if excess > 0:
            # Increments that were undone come back when the node that has them becomes the primary again.
            longest = _longest(operations, final, turns)
            again = _excess(operations, longest, final)
            if again < excess:
                standing, excess = longest, again
        there = {operation.id for operation in standing}
        gone = [one for one in operations if one.status is OK and one.result is not None and one.id not in there]
        unnumbered = [one for one in operations if one.status is OK and one.result is None]
        lost.extend(gone)
        lost.extend(unnumbered[max(0, final - len(standing)) :])
        unknown = sum(one.status is not OK and one.status is not FAIL for one in operations)
        sure = sum(one.status is OK for one in standing) + len(unnumbered)
        verdict.unknown_kept += min(unknown, max(0, final - sure))
        if excess > 0:
            failed = sum(one.status is FAIL for one in operations)
            name = verdict.resurrected if excess <= failed else verdict.phantom
            name.append(f"{key} is {final}, {excess} more than was written")
    for key, value in read_back.counters.items():
        if key not in by_key and value:
            verdict.phantom.append(f"{key} = {value}")


def _standing(operations: list[Operation], final: int) -> list[Operation]:
    """The increments that no later answer and no final value contradicts: an answer that is not above an earlier one
    proves that the increments behind the earlier were undone."""
    standing: list[Operation] = []
    for operation in operations:
        if operation.result is not None and operation.status is not FAIL:
            while standing and (standing[-1].result or 0) >= operation.result:
                standing.pop()
            standing.append(operation)
    while standing and (standing[-1].result or 0) > final:
        standing.pop()
    return standing


@dataclass(slots=True)
class _Life:
    """Answers of one node, each above the one before, given while it stood in one history: if one of them counts, all
    before it do. places: theirs among the operations. before: the longest chain of lives that this one may continue:
    how many answers, by way of which life, how many of that one's.
    """

    answers: list[Operation]
    results: list[int]
    places: list[int]
    before: tuple[int, int, int] = (0, -1, 0)


def _lives(operations: list[Operation], turns: dict[str, list[int]]) -> list[_Life]:
    lives: list[_Life] = []
    present: dict[str, _Life] = {}
    for place, operation in enumerate(operations):
        result, node = operation.result, operation.node
        if result is None or operation.status is FAIL:
            continue
        life, of_node = present.get(node), turns.get(node, [])
        if life is not None:
            last_ms, this_ms = life.answers[-1].end_ms or 0, operation.end_ms or 0
            if result <= life.results[-1] or bisect_left(of_node, last_ms) < bisect_left(of_node, this_ms):
                life = None
        if life is None:
            life = present[node] = _Life([], [], [])
            lives.append(life)
        life.answers.append(operation)
        life.results.append(result)
        life.places.append(place)
    return lives


def _longest(operations: list[Operation], final: int, turns: dict[str, list[int]]) -> list[Operation]:
    """The most answers that can stand in one history: those of some lives, of each from its begin up to where the next
    one went on, growing up to the final value.
    """
    lives = _lives(operations, turns)
    best = (0, -1, 0)
    for index, life in enumerate(lives):
        for other in range(max(0, index - LIVES_MOST), index):
            earlier = lives[other]
            kept = min(bisect_left(earlier.results, life.results[0]), bisect_left(earlier.places, life.places[0]))
            if kept and earlier.before[0] + kept >= life.before[0]:
                life.before = (earlier.before[0] + kept, other, kept)
        fits = bisect_right(life.results, final)
        if life.before[0] + fits >= best[0]:
            best = (life.before[0] + fits, index, fits)
    found: list[Operation] = []
    _, index, kept = best
    while index >= 0:
        found[:0] = lives[index].answers[:kept]
        _, index, kept = lives[index].before
    return found


def _turns(history: History) -> dict[str, list[int]]:
    """When nodes were made anew, or something else than they had been."""
    turns: dict[str, list[int]] = {}
    for promotion in history.promotions:
        turns.setdefault(promotion.node, []).append(promotion.at_ms)
    for milestone in history.milestones:
        if milestone.kind in (*ANEW, "repoint"):
            turns.setdefault(milestone.node, []).append(milestone.at_ms)
    return {node: sorted(times) for node, times in turns.items()}


def _excess(operations: list[Operation], standing: list[Operation], final: int) -> int:
    """By how much an answer (or the final value) exceeds all that can have been added until then; 0 if none does."""
    counted = unknown = worst = 0
    following = iter(standing)
    expected = next(following, None)
    for operation in operations:
        if operation is expected:
            counted += 1
            worst = max(worst, (operation.result or 0) - counted - unknown)
            expected = next(following, None)
        elif operation.result is None and operation.status is not FAIL:
            unknown += 1
    return max(worst, final - counted - unknown)


def _reads(reads: list[Operation], writes: list[Operation], verdict: Verdict) -> None:
    """A value of an unknown write is never called stale: nobody knows when that took effect."""
    reads = [one for one in reads if one.status is OK]
    verdict.reads += len(reads)
    concerned = {one.key for one in reads}
    written: dict[tuple[str, str], list[Operation]] = {}
    for one in writes:
        if one.key in concerned:
            written.setdefault((one.key, one.value), []).append(one)
    nobody: list[Operation] = []
    for operation in reads:
        writers = written.get((operation.key, operation.value), nobody)
        shown = f"{operation.client} read {operation.key} from {operation.node} at {operation.end_ms} ms: "
        shown += operation.value or "nothing"
        if operation.value and all(one.status is FAIL for one in writers):
            (verdict.resurrected if writers else verdict.phantom).append(shown)
        late = any(one.status is not FAIL and not one.took_effect for one in writers)
        if operation.expected not in (None, operation.value) and not late:
            verdict.stale_reads.append(f"{shown} instead of {operation.expected}")
