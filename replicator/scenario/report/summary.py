"""Figures that the terminal and the HTML report share: lost writes by cause, and what nodes were over time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from replicator.scenario.script.units import human_bytes, human_ms
from replicator.scenario.verdict.durability import LostWrite
from replicator.scenario.verdict.outcome import Outcome


@dataclass(slots=True)
class LossGroup:
    """Lost writes with one cause: those confirmed by one node, lost against one promotion, prevented by the same
    means."""

    writes: list[LostWrite]

    @property
    def first(self) -> LostWrite:
        return self.writes[0]

    def sentence(self, outcome: Outcome) -> str:
        first, last = self.writes[0], self.writes[-1]
        count = len(self.writes)
        many = f"{count} writes" if count > 1 else "1 write"
        begin, end = first.acknowledged_at_ms, last.acknowledged_at_ms
        when = f"at {clock(begin)}" if begin == end else f"between {clock(begin)} and {clock(end)}"
        offsets = sorted(one.offset_at_ack for one in self.writes if one.offset_at_ack is not None)
        where = ""
        if offsets and first.promoted_offset is not None:
            where = f" (they ended at offsets {offsets[0]} to {offsets[-1]}; promotion at {first.promoted_offset})"
        return f"{many} acknowledged by {first.acknowledged_by} {when}{where}"

    def cause(self) -> str:
        """Why, without the figures of a single write."""
        first = self.first
        if "two primaries" in first.why:
            return "two primaries: they were confirmed after another node had been promoted"
        if " had it (offset" in first.why:
            return "a replica that had them was passed over"
        if "beyond offset" in first.why:
            return "confirmed before the replica that was promoted had received them (replication is asynchronous)"
        return first.why


def loss_groups(outcome: Outcome) -> list[LossGroup]:
    """In the order of their first write."""
    groups: dict[tuple[str, str, int | None, str], LossGroup] = {}
    for write in outcome.verdict.lost:
        group = LossGroup([])
        group.writes.append(write)
        key = (write.acknowledged_by, write.would_have_prevented, write.promoted_offset, group.cause())
        if key in groups:
            groups[key].writes.append(write)
        else:
            groups[key] = group
    return list(groups.values())


@dataclass(frozen=True, slots=True)
class Span:
    """What a node was from begin to end. state: "primary", "replica", "unlinked", "down" or "stopped"."""

    begin_ms: int
    end_ms: int
    state: str


def spans(outcome: Outcome, node: str) -> list[Span]:
    """The node's states over the whole play, in order, without gaps."""
    upstream = outcome.script.upstreams()[node]
    state = "replica" if upstream else "primary"
    before_stop = state
    found: list[Span] = []
    since = 0
    for event in sorted(outcome.events, key=lambda one: one.at_ms):
        if event.node != node or event.at_ms < 0:
            continue
        new = state
        match event.kind:
            case "node.down" | "node.ended" if state != "stopped" or event.kind == "node.ended":
                new = "down"
            case "node.up" if state != "stopped":
                new = "primary" if event.fields.get("role") == "primary" else "unlinked"
            case "promote":
                new = "primary"
            case "role" if event.fields.get("role") == "primary":
                new = "primary"
            case "role":
                new = "unlinked"
            case "link.up":
                new = "replica"
            case "link.down" if state == "replica":
                new = "unlinked"
            case "fault.stop":
                before_stop, new = state, "stopped"
            case "fault.continue" if state in ("stopped", "down"):
                new = before_stop
            case _:
                pass
        if new != state:
            if event.at_ms > since:
                found.append(Span(since, event.at_ms, state))
            since, state = event.at_ms, new
    found.append(Span(since, max(since, outcome.ended_at_ms), state))
    return found


@dataclass(frozen=True, slots=True)
class Distance:
    """How many bytes a replica was seen to lack of its primary's history at that moment."""

    at_ms: int
    behind: int


def distances(outcome: Outcome, node: str) -> list[Distance]:
    """The replica's distance at each look at it, measured against what any node of the same history was seen to hold
    before: what was asked later may know more, so nobody is ever ahead."""
    ends: dict[str, int] = {}
    found: list[Distance] = []
    for sample in sorted(outcome.history.samples, key=lambda one: one.received_ms):
        if sample.node == node and sample.role == "slave" and sample.replid in ends:
            found.append(Distance(sample.received_ms, max(0, ends[sample.replid] - sample.offset)))
        if sample.role == "master":
            ends[sample.replid] = max(ends.get(sample.replid, 0), sample.offset)
    return found


def finding(outcome: Outcome) -> str:
    """What a reader takes away, in one sentence."""
    writes = outcome.verdict.writes()
    silent = f"the longest time without an acknowledged write was {human_ms(silence_ms(outcome))}"
    if outcome.unjudged:
        return f"Not judged: {outcome.unjudged}"
    if not writes["lost"]:
        return f"None of {writes['acknowledged']} acknowledged writes is lost; {silent}."
    many = f"{writes['lost']} of {writes['acknowledged']} acknowledged writes are lost"
    means = dict.fromkeys(group.first.would_have_prevented for group in loss_groups(outcome))
    saved = " or ".join(f"“{one}”" for one in means if one)
    return f"{many}; {silent}." + (f" What would have kept them: {saved}." if saved else "")


def backlog_advice(outcome: Outcome) -> list[str]:
    """For each partial resynchronization that was refused for want of backlog: what size would have sufficed."""
    return [
        f"{sync.replica} copied everything at {clock(sync.at_ms)}: repl-backlog-size {human_bytes(sync.sufficient)} "
        f"({sync.sufficient} bytes) would have sufficed"
        for sync in outcome.synced("full")
        if sync.sufficient is not None
    ]


def clock(at_ms: int) -> str:
    """2501 -> "2.501 s"."""
    return f"{at_ms / 1000:.3f} s"


def silence_ms(outcome: Outcome) -> int:
    """The longest time without an acknowledged write while there was load."""
    ends = sorted(
        operation.end_ms
        for operation in outcome.history.operations
        if operation.writes and operation.status.value == "ok" and operation.end_ms is not None
    )
    points = [0, *ends, max(outcome.load_ended_at_ms, ends[-1] if ends else 0)]
    return max((later - earlier for earlier, later in pairwise(points)), default=0)


def failover_sentence(outcome: Outcome, index: int) -> str:
    """One failover's times, from the fault on."""
    failover = outcome.failovers[index]
    start = failover.promoted_at_ms if failover.fault_at_ms is None else failover.fault_at_ms
    parts = [f"{failover.fault} at {clock(start)}" if failover.fault else f"planned, at {clock(start)}"]
    if failover.fault and failover.detected_at_ms is not None:
        parts.append(f"first sign after {human_ms(failover.detected_at_ms - start)}")
    parts.append(f"{failover.promoted} promoted after {human_ms(failover.promoted_at_ms - start)}")
    if failover.writable_at_ms is None:
        parts.append("no write acknowledged since")
    else:
        parts.append(f"writable after {human_ms(failover.writable_at_ms - start)}")
    return ", ".join(parts)


def flowing(text: str) -> str:
    """Paragraphs without the line breaks of the file."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))
