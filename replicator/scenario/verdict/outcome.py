"""What a play came to, in one place: for the terminal, the JSON and the HTML report alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from replicator.scenario.play.observe import Happening, Sync
from replicator.scenario.play.player import Failover, Player, StepResult
from replicator.scenario.play.stage import Stage
from replicator.scenario.script.script import Script
from replicator.scenario.verdict.agreement import same_place
from replicator.scenario.verdict.durability import Verdict, check
from replicator.scenario.verdict.history import OK, Digest, History

RATE_BUCKET_MS = 100


@dataclass(frozen=True, slots=True)
class Judged:
    """One expectation, or one step that did not go as written."""

    name: str
    expected: str
    actual: str
    ok: bool
    variant: str = ""

    def plain(self) -> dict[str, Any]:
        found = asdict(self)
        if not self.variant:
            del found["variant"]
        return found


@dataclass(slots=True)
class Outcome:
    """One play of one variant. nodes: name -> role at the end ("primary", "replica", or "down")."""

    script: Script
    variant: str
    on: str
    engine: str
    seed: int
    verdict: Verdict
    unjudged: str
    history: History
    events: list[Happening]
    syncs: list[Sync]
    steps: list[StepResult]
    failovers: list[Failover]
    digests: list[Digest]
    converged: bool
    ended_at_ms: int
    load_ended_at_ms: int
    nodes: dict[str, str]
    counters: dict[str, dict[str, int]]
    lines: list[tuple[int, str, str]]
    details: dict[str, Any]
    expectations: list[Judged] = field(default_factory=list)
    abouts: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.unjudged and all(one.ok for one in self.expectations)

    @property
    def pairs(self) -> list[tuple[Digest, Digest]]:
        """Nodes that stood at the same offset of the same history."""
        return same_place(self.digests)

    @property
    def consistent(self) -> bool:
        """Same replication id and same offset, so the same data: every pair compared."""
        return all(one.digest == other.digest for one, other in self.pairs)

    def synced(self, kind: str, node: str | None = None) -> list[Sync]:
        """Synchronizations of that kind since the play began (the first ones, of the set-up, do not count)."""
        return [sync for sync in self.syncs if sync.kind == kind and sync.at_ms >= 0 and node in (None, sync.replica)]

    def rates(self) -> list[int]:
        """Acknowledged writes in each RATE_BUCKET_MS of the play."""
        counts = [0] * (max(0, self.ended_at_ms) // RATE_BUCKET_MS + 1)
        for operation in self.history.operations:
            if operation.writes and operation.status is OK and operation.end_ms is not None:
                index = operation.end_ms // RATE_BUCKET_MS
                if 0 <= index < len(counts):
                    counts[index] += 1
        return counts

    def plain(self) -> dict[str, Any]:
        """The JSON of a run."""
        return {
            "scenario": self.script.title,
            "variant": self.variant,
            "on": self.on,
            "engine": self.engine,
            "seed": self.seed,
            "ok": self.ok,
            "unjudged": self.unjudged,
            "expectations": [one.plain() for one in self.expectations],
            "writes": self.verdict.writes(),
            "lost": [asdict(one) for one in self.verdict.lost],
            "anomalies": self.verdict.anomalies(),
            "reads": self.verdict.reads,
            "failovers": [one.plain() for one in self.failovers],
            "syncs": {
                "full": [sync.plain() for sync in self.syncs if sync.kind == "full"],
                "partial": [sync.plain() for sync in self.syncs if sync.kind == "partial"],
                "counted": self.counters,
            },
            "consistent": self.consistent,
            "pairs_compared": len(self.pairs),
            "converged": self.converged,
            "digests": [one.plain() for one in self.digests],
            "roles": self.nodes,
            "steps": [asdict(one) for one in self.steps],
            "events": [event.plain() for event in self.events],
            "duration_ms": self.ended_at_ms,
            "trace_hash": self.details.get("trace_hash"),
            "details": self.details,
        }


def outcome_of(player: Player, stage: Stage, variant: str) -> Outcome:
    """Judges a finished play; the expectations are put in by expect.py, which may need other variants' outcomes."""
    history, observer, results = player.history, player.observer, player.results
    unjudged = ""
    try:
        verdict = check(history)
    except ValueError as problem:
        unjudged = str(problem)
        verdict = Verdict(acknowledged=history.acknowledged)
    nodes = {
        node: view.role if view.running and view.answers else ("stopped" if view.stopped else "down")
        for node, view in observer.views.items()
    }
    return Outcome(
        player.script,
        variant,
        stage.on,
        stage.engine,
        player.seed,
        verdict,
        unjudged,
        history,
        observer.events,
        observer.syncs,
        results.steps,
        results.failovers,
        results.digests,
        results.converged,
        results.ended_at_ms,
        results.load_ended_at_ms,
        nodes,
        {node: observer.counters(node) for node in observer.views},
        observer.lines,
        stage.details(),
    )


def joined(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """One scenario's JSON: the run's own if there is one alone; otherwise sums and concatenations over its variants,
    each entry with its variant's name, and the variants' own under `variants`."""
    if len(outcomes) == 1:
        return outcomes[0].plain()
    first = outcomes[0]
    plains = [one.plain() for one in outcomes]

    def tagged(key: str) -> list[dict[str, Any]]:
        return [{"variant": plain["variant"], **entry} for plain in plains for entry in plain[key]]

    return {
        "scenario": first.script.title,
        "on": first.on,
        "engine": first.engine,
        "seed": first.seed,
        "ok": all(one.ok for one in outcomes),
        "expectations": tagged("expectations"),
        "writes": {key: sum(plain["writes"][key] for plain in plains) for key in plains[0]["writes"]},
        "lost": tagged("lost"),
        "failovers": tagged("failovers"),
        "syncs": {
            kind: [{"variant": plain["variant"], **sync} for plain in plains for sync in plain["syncs"][kind]]
            for kind in ("full", "partial")
        },
        "consistent": all(one.consistent for one in outcomes),
        "pairs_compared": sum(len(one.pairs) for one in outcomes),
        "converged": all(one.converged for one in outcomes),
        "digests": tagged("digests"),
        "events": tagged("events"),
        "duration_ms": sum(one.ended_at_ms for one in outcomes),
        "trace_hash": "+".join(str(plain["trace_hash"]) for plain in plains) if first.on == "sim" else None,
        "variants": plains,
    }
