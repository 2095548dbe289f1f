"""Why an acknowledged write is gone, and what would have prevented it: from offsets, promotions and milestones alone.

The one rule that explains nearly all: a replica that is promoted at offset P keeps of the old primary's history what
ends at or before P. A write that ended at offset W > P is lost, however often it was confirmed.

Offsets. When the client asked ROLE behind its write, the offset is exact. Otherwise it lies between two samples of the
node: above the last one answered before the write was asked for, and not above the first one asked for after its
answer.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from replicator.scenario.history import History, Operation, Promotion, Sample


@dataclass(frozen=True, slots=True)
class Cause:
    """bounds: between which offsets the write ended (the same number twice when it is known exactly)."""

    why: str
    would_have_prevented: str
    promoted_offset: int | None
    bounds: tuple[int | None, int | None]

    @property
    def explained(self) -> bool:
        return bool(self.would_have_prevented)


class Explainer:
    """Looks into one history."""

    def __init__(self, history: History) -> None:
        self.history = history
        self._samples: dict[str, list[Sample]] = {}
        for sample in history.samples:
            self._samples.setdefault(sample.node, []).append(sample)
        self._received = {node: [one.received_ms for one in some] for node, some in self._samples.items()}
        self._sent = {node: [one.sent_ms for one in some] for node, some in self._samples.items()}

    def bounds(self, operation: Operation) -> tuple[int | None, int | None]:
        """Between which offsets of its node the write ended; (x, x) when exact, None where no sample bounds it."""
        if operation.offset is not None:
            return operation.offset, operation.offset
        samples = self._samples.get(operation.node, [])
        if not samples:
            return None, None
        below = bisect_right(self._received[operation.node], operation.invoke_ms - 1) - 1
        above = bisect_left(self._sent[operation.node], (operation.end_ms or operation.invoke_ms) + 1)
        low = samples[below].offset if below >= 0 else None
        high = samples[above].offset if above < len(samples) else None
        if below >= 0 and above < len(samples) and samples[below].replid != samples[above].replid:
            high = None
        return low, high

    def explain(self, operation: Operation) -> Cause:
        """operation: an acknowledged write that was not there at the end."""
        bounds = self.bounds(operation)
        ended = operation.end_ms or 0
        wiped = next((m for m in self.history.milestones if m.kind == "wipe" and m.at_ms >= ended), None)
        promotion = self._promotion_against(operation)
        if promotion is None or (wiped is not None and wiped.node == operation.node and wiped.at_ms < promotion.at_ms):
            return self._without_promotion(operation, bounds)
        offset = promotion.offset
        if ended > promotion.at_ms or operation.invoke_ms > promotion.at_ms:
            why = (
                f"{operation.node} confirmed it {ended - promotion.at_ms} ms after {promotion.node} had been promoted: "
                f"two primaries, and the history of {promotion.node} won"
            )
            return Cause(why, self._prevented_by(operation), offset, bounds)
        holder = self._holder(promotion, bounds)
        if holder is not None:
            why = (
                f"{holder} had it (offset {promotion.others[holder]}), but {promotion.node} was promoted, "
                f"which stood at {offset}, {_distance(bounds, offset)} behind the end of the write"
            )
            return Cause(why, f"promoting {holder}, the replica with the highest offset", offset, bounds)
        if bounds[1] is not None and bounds[1] <= offset:
            # The promoted one held it: so it was undone afterwards.
            return self._without_promotion(operation, bounds)
        if operation.acked:
            why = (
                f"{operation.acked} replicas had confirmed it to {operation.node}, but {promotion.node} was promoted, "
                f"which stood at {offset}, {_distance(bounds, offset)} before its end; no other reachable one had it"
            )
            return Cause(why, "WAIT for more replicas than can be lost at once", offset, bounds)
        why = (
            f"it ended {_distance(bounds, offset)} beyond offset {offset}, where {promotion.node} stood when it was "
            f"promoted: {operation.node} had confirmed it before any replica that could take over had it"
        )
        return Cause(why, self._prevented_by(operation), offset, bounds)

    def _promotion_against(self, operation: Operation) -> Promotion | None:
        """The promotion that decided against the write: the first of another node than the one that confirmed it,
        unless the write was made on the node after its own promotion."""
        ended = operation.end_ms or 0
        own = max(
            (p.at_ms for p in self.history.promotions if p.node == operation.node and p.at_ms <= ended), default=-1
        )
        rivals = [p for p in self.history.promotions if p.node != operation.node and p.at_ms > own]
        return rivals[0] if rivals else None

    def _without_promotion(self, operation: Operation, bounds: tuple[int | None, int | None]) -> Cause:
        ended = operation.end_ms or 0
        later = [m for m in self.history.milestones if m.node == operation.node and m.at_ms >= ended]
        if any(m.kind in ("wipe", "restart") for m in later):
            return Cause(
                f"{operation.node} came back without it after a restart, and no replica had been promoted: the "
                "replicas took over its data set",
                "promoting a replica before the old primary returns, or appendonly yes with appendfsync always",
                None,
                bounds,
            )
        if any(m.kind == "repoint" for m in later):
            return Cause(
                f"{operation.node} was made a replica of a node that did not have it and took over its data set",
                "promoting the node with the highest offset",
                None,
                bounds,
            )
        return Cause("nothing in the history explains it: this is a fault of the server", "", None, bounds)

    def _holder(self, promotion: Promotion, bounds: tuple[int | None, int | None]) -> str | None:
        """Another replica that was reachable at the promotion and stood at or beyond the write's end."""
        if bounds[1] is None:
            return None
        holders = [(offset, node) for node, offset in promotion.others.items() if offset >= bounds[1]]
        return max(holders)[1] if holders else None

    def _prevented_by(self, operation: Operation) -> str:
        """min-replicas-to-write if the primary had not heard of any replica for long enough, otherwise WAIT."""
        samples = self._samples.get(operation.node, [])
        index = bisect_right(self._received.get(operation.node, []), operation.end_ms or 0) - 1
        if index < 0 or samples[index].role != "master" or self.history.min_replicas:
            # Where it was set already, the write came before the servers' count of good replicas, once a second, had
            # moved.
            return "WAIT 1"
        lag = samples[index].lag_s if samples[index].online_replicas else None
        if lag is None or lag > self.history.max_lag_s:
            return "min-replicas-to-write 1"
        return f"WAIT 1, or min-replicas-to-write 1 with min-replicas-max-lag {lag - 1}" if lag > 1 else "WAIT 1"


def _distance(bounds: tuple[int | None, int | None], offset: int) -> str:
    low, high = bounds
    if low is not None and low == high:
        return f"{low - offset} bytes"
    if low is not None and high is not None:
        return f"{max(1, low - offset)} to {high - offset} bytes"
    return "an unknown number of bytes"
