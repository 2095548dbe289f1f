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

from replicator.scenario.verdict.history import History, Milestone, Operation, Promotion, Sample

FAULT = "nothing in the history explains it: unless it was evicted (maxmemory), this is a fault of the server"
UNTOLD = "roles changed more than once or its node was restarted, and what was seen does not tell what undid it"
ANEW = ("restart", "wipe")
# Commands of a scenario's steps that take data away; they are milestones by their names.
DESTRUCTIVE = (
    "DEBUG", "DEL", "EVAL", "EXPIRE", "FLUSHALL", "FLUSHDB", "GETDEL", "LPOP", "LTRIM", "MOVE", "RENAME", "RPOP", "SET",
    "SWAPDB", "UNLINK",
)  # fmt: skip


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


def replicas(count: int, names: list[str] | None) -> str:
    """So many, and which, as far as their names are known."""
    return f"{count} replica{'' if count == 1 else 's'}" + (f" ({', '.join(names)})" if names else "")


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
        ended = operation.end_ms or operation.invoke_ms
        # A node that was started anew behind the begin gave the answer in its life before: links do not outlive it.
        owner, since, before = operation.node, operation.invoke_ms, 0
        identity = self._identity(operation)
        lineage = {identity}
        for promotion in self._promotions_against(operation):
            if promotion.node == owner:
                continue
            if owner == operation.node and ended > promotion.at_ms:
                return self._two_primaries(operation, promotion, bounds)
            cause = self._restarted(operation, owner, since, promotion.at_ms, bounds)
            if cause is not None:
                return cause
            held = bounds[1] is not None and bounds[1] <= promotion.offset
            stood = self._stood_in(promotion, 0 if held else ended)
            if identity is not None and stood not in (None, *lineage):
                return self._apart(operation, promotion, bounds)
            if not held:
                return self._beyond(operation, promotion, bounds, before)
            lineage.add(promotion.replid)
            # The promoted one held it: so it was undone afterwards.
            owner, since, before = promotion.node, promotion.at_ms, before + 1
        return self._without_promotion(operation, owner, since, bounds)

    def _promotions_against(self, operation: Operation) -> list[Promotion]:
        """The promotions that decided about the write: of other nodes than the one that confirmed it, since that
        one's own promotion."""
        ended = operation.end_ms or 0
        own = max(
            (p.at_ms for p in self.history.promotions if p.node == operation.node and p.at_ms <= ended), default=-1
        )
        rivals = [p for p in self.history.promotions if p.at_ms > own]
        first = next((index for index, p in enumerate(rivals) if p.node != operation.node), len(rivals))
        return rivals[first:]

    def _two_primaries(
        self, operation: Operation, promotion: Promotion, bounds: tuple[int | None, int | None]
    ) -> Cause:
        why = (
            f"{operation.node} confirmed it {(operation.end_ms or 0) - promotion.at_ms} ms after {promotion.node} had "
            f"been promoted: two primaries, and the history of {promotion.node} won"
        )
        beyond = (promotion.offset + 1, promotion.offset + 1)
        stayed = max(operation.acked or 0, len(self._reached(operation, beyond, promotion.node)))
        if not stayed:
            return Cause(why, self._prevented_by(operation), promotion.offset, bounds)
        why += f"; {stayed} of its replicas had stayed with {operation.node}"
        prevented = self._wait_for(operation, stayed + 1)
        sample = self._sample_before(operation)
        if sample is not None and sample.online_replicas <= stayed and self.history.min_replicas <= stayed:
            prevented += f", or min-replicas-to-write {stayed + 1}"
        return Cause(why, prevented, promotion.offset, bounds)

    def _beyond(
        self, operation: Operation, promotion: Promotion, bounds: tuple[int | None, int | None], before: int
    ) -> Cause:
        """The promoted one did not have it. before: how many promoted before had had it."""
        offset = promotion.offset
        holder = self._holder(promotion, bounds)
        if holder is not None:
            why = (
                f"{holder} had it (offset {promotion.others[holder]}), but {promotion.node} was promoted, "
                f"which stood at {offset}, {_distance(bounds, offset)} behind the end of the write"
            )
            return Cause(why, f"promoting {holder}, the replica with the highest offset", offset, bounds)
        if operation.acked:
            why = (
                f"{replicas(operation.acked, operation.acked_by)} had confirmed it to {operation.node}, but "
                f"{promotion.node} was promoted, "
                f"which stood at {offset}, {_distance(bounds, offset)} before its end; no other reachable one had it"
            )
            return Cause(why, "WAIT for more replicas than can be lost at once", offset, bounds)
        reached = self._reached(operation, bounds, promotion.node, promotion.at_ms)
        if reached or before:
            had = f"{', '.join(reached) or promotion.before} had it and could not take over"
            prevented = self._wait_for(operation, max(len(reached), before) + 1)
        else:
            had = f"{operation.node} had confirmed it before any replica that could take over had it"
            prevented = self._prevented_by(operation)
        why = (
            f"it ended {_distance(bounds, offset)} beyond offset {offset}, where {promotion.node} stood when it was "
            f"promoted: {had}"
        )
        return Cause(why, prevented, offset, bounds)

    def _apart(self, operation: Operation, promotion: Promotion, bounds: tuple[int | None, int | None]) -> Cause:
        """The promoted one stood in another history, whose offsets say nothing of this write."""
        why = (
            f"{promotion.node} was promoted, which had not followed {operation.node} since that had begun another "
            "history, and never had it"
        )
        reached = max(operation.acked or 0, len(self._reached(operation, bounds, promotion.node, promotion.at_ms)))
        prevented = self._wait_for(operation, reached + 1) if reached else self._prevented_by(operation)
        return Cause(why, prevented, promotion.offset, bounds)

    def _identity(self, operation: Operation) -> str | None:
        """Which history the write's node stood in, as seen in the same life of it."""
        begins = [m.at_ms for m in self.history.milestones if m.node == operation.node and m.kind in ANEW]
        before = self._sample_before(operation)
        ended = operation.end_ms or operation.invoke_ms
        same_life = before is not None and not any(before.sent_ms < begin <= ended for begin in begins)
        if before is not None and before.role == "master" and same_life:
            return before.replid
        for own in reversed(self.history.promotions):
            if own.node == operation.node and own.at_ms <= ended:
                return None if any(own.at_ms < begin <= ended for begin in begins) else own.replid
        index = bisect_left(self._sent.get(operation.node, []), ended)
        for after in self._samples.get(operation.node, [])[index : index + 1]:
            if after.role == "master" and not any(ended < begin <= after.received_ms for begin in begins):
                return after.replid
        return None

    def _stood_in(self, promotion: Promotion, since: int) -> str | None:
        """Which history the promoted one stood in before, as last seen, if that was since then."""
        index = bisect_right(self._received.get(promotion.node, []), promotion.at_ms) - 1
        if index < 0:
            return None
        sample = self._samples[promotion.node][index]
        return sample.replid if sample.sent_ms >= since and sample.replid != promotion.replid else None

    def _restarted(
        self, operation: Operation, owner: str, since: int, until: int, bounds: tuple[int | None, int | None]
    ) -> Cause | None:
        """The primary was started anew meanwhile and was seen without the write."""
        for milestone in self.history.milestones:
            if milestone.node == owner and milestone.kind in ANEW and since <= milestone.at_ms <= until:
                if milestone.kind == "restart" and not self._came_back_without(owner, milestone.at_ms, until, bounds):
                    continue
                return self._by_restart(operation, milestone, bounds)
        return None

    def _came_back_without(
        self, node: str, since: int, until: int | None, bounds: tuple[int | None, int | None]
    ) -> bool:
        index = bisect_left(self._sent.get(node, []), since)
        sample = next(iter(self._samples.get(node, [])[index : index + 1]), None)
        late = sample is not None and until is not None and sample.received_ms > until
        if sample is None or late or sample.role != "master" or bounds[1] is None:
            return False
        return sample.offset < bounds[1]

    def _without_promotion(
        self, operation: Operation, owner: str, since: int, bounds: tuple[int | None, int | None]
    ) -> Cause:
        later = [m for m in self.history.milestones if m.node == owner and m.at_ms >= since]
        for milestone in later:
            without = milestone.kind == "restart" and self._came_back_without(owner, milestone.at_ms, None, bounds)
            if milestone.kind == "wipe" or without:
                return self._by_restart(operation, milestone, bounds)
            if milestone.kind == "repoint":
                return self._by_repoint(owner, bounds)
        index = bisect_left(self._sent.get(owner, []), since)
        if any(sample.role == "slave" for sample in self._samples.get(owner, [])[index:]):
            return self._by_repoint(owner, bounds)
        restart = next((one for one in later if one.kind == "restart"), None)
        if restart is not None:
            return self._by_restart(operation, restart, bounds)
        for milestone in self.history.milestones:
            if milestone.kind in DESTRUCTIVE and milestone.at_ms >= operation.invoke_ms:
                return Cause(
                    f"the scenario's own {milestone.kind} on {milestone.node} came behind it",
                    f"leaving out that {milestone.kind}",
                    None,
                    bounds,
                )
        nodes = (operation.node, owner)
        changed = len(self.history.promotions) > 1 or any(
            one.kind in ANEW and one.node in nodes for one in self.history.milestones
        )
        return Cause(UNTOLD if changed else FAULT, "", None, bounds)

    def _by_repoint(self, node: str, bounds: tuple[int | None, int | None]) -> Cause:
        why = f"{node} was made a replica of a node that did not have it and took over its data set"
        return Cause(why, "promoting the node with the highest offset", None, bounds)

    def _by_restart(self, operation: Operation, milestone: Milestone, bounds: tuple[int | None, int | None]) -> Cause:
        node = milestone.node
        unsynced = self._unsynced(operation, milestone)
        if unsynced is not None and unsynced.since_ms is not None:
            why = (
                f"{node} lost power {unsynced.at_ms - unsynced.since_ms} ms after the last fsync of its append-only "
                "file had begun, and this was confirmed behind it"
            )
            return Cause(why, "appendfsync always, or WAITAOF 1 0", None, bounds)
        why = (
            f"{node} came back without it after a restart, and no replica had been promoted for it: the replicas took "
            "over its data set"
        )
        reached = self._reached(operation, bounds, node, milestone.at_ms)
        had = f", {reached[0]} for one, which had it," if reached else ""
        prevented = f"promoting a replica{had} before the old primary returns"
        if not reached and not operation.acked:
            prevented = f"WAIT 1 and {prevented}"
        if milestone.kind == "restart":
            prevented += "; or an append-only file with appendfsync always, on a server that has one"
        return Cause(why, prevented, None, bounds)

    def _unsynced(self, operation: Operation, restart: Milestone) -> Milestone | None:
        """What is known of the node's append-only file when its machine lost power before this restart, if the write
        was confirmed behind the last fsync."""
        found = None
        for one in self.history.milestones:
            if one.node == restart.node and one.kind == "unsynced" and one.at_ms <= restart.at_ms:
                found = one
        began, ended = operation.invoke_ms, operation.end_ms
        if found is None or found.since_ms is None or ended is None:
            return None
        return found if found.since_ms <= ended and began <= found.at_ms else None

    def _reached(
        self, operation: Operation, bounds: tuple[int | None, int | None], but: str, until: int | None = None
    ) -> list[str]:
        """Nodes that were seen at or beyond the upper bound in the history of the write's node, without that one and
        `but`.
        """
        own, end = self._identity(operation), bounds[1]
        found: list[str] = []
        if own is None or end is None:
            return found
        for node, samples in self._samples.items():
            if node in (operation.node, but):
                continue
            last = len(samples) if until is None else bisect_right(self._received[node], until)
            if any(one.offset >= end and one.replid == own for one in samples[:last]):
                found.append(node)
        return found

    def _wait_for(self, operation: Operation, count: int) -> str:
        sample = self._sample_before(operation)
        few = sample is not None and sample.role == "master" and sample.online_replicas < count
        return f"WAIT {count}" + (f", with more replicas directly behind {operation.node}" if few else "")

    def _sample_before(self, operation: Operation) -> Sample | None:
        """The last look at the write's node before its answer."""
        index = bisect_right(self._received.get(operation.node, []), operation.end_ms or 0) - 1
        return self._samples[operation.node][index] if index >= 0 else None

    def _holder(self, promotion: Promotion, bounds: tuple[int | None, int | None]) -> str | None:
        """Another replica that was reachable at the promotion and stood at or beyond the write's end."""
        if bounds[1] is None:
            return None
        holders = [(offset, node) for node, offset in promotion.others.items() if offset >= bounds[1]]
        return max(holders)[1] if holders else None

    def _prevented_by(self, operation: Operation) -> str:
        """min-replicas-to-write if the primary had not heard of any replica for long enough, otherwise WAIT."""
        sample = self._sample_before(operation)
        if sample is None or sample.role != "master" or self.history.min_replicas:
            # Where it was set already, the write came before the servers' count of good replicas, once a second, had
            # moved.
            return "WAIT 1"
        lag = sample.lag_s if sample.online_replicas else None
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
