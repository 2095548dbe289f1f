"""One scenario, live and simulated: the same roles, the same synchronizations, the same verdicts."""

from __future__ import annotations

from pathlib import Path

import pytest

from replicator.scenario.loading import loads
from replicator.scenario.outcome import Outcome
from replicator.scenario.running import run_file
from replicator.scenario.script import Script
from replicator.scenario.stages import engines
from replicator.scenario.stages.processes import ProcessStage
from replicator.scenario.stages.simulated import SimulatedStage

TEXT = """
title = "the same on both stages"
about = "A link breaks and comes back, the primary is killed, the better replica promoted, the old primary returns."
duration = "2500ms"
[topology]
replicas = 2
[config]
repl-timeout = 5
[workload]
clients = 2
rate = 40
kind = "append"
[[steps]]
at = "200ms"
cut = { between = ["a", "c"], mode = "reset" }
[[steps]]
when = { link = { node = "c", is = "down" } }
heal = { between = ["a", "c"] }
[[steps]]
wait = { synced = ["c"] }
[[steps]]
load = "pause"
[[steps]]
wait = { offsets_equal = ["a", "b", "c"] }
[[steps]]
kill = "a"
[[steps]]
when = { down = "a" }
promote = "b"
[[steps]]
repoint = "others"
[[steps]]
load = "resume"
[[steps]]
restart = { node = "a", replica_of = "primary" }
[[steps]]
wait = { synced = "all" }
[[expect]]
lost = 0
[[expect]]
failovers = 1
[[expect]]
consistent = true
[[expect]]
converged = true
[[expect]]
duplicated = 0
"""


def _told(outcome: Outcome) -> dict[str, object]:
    """What must not depend on the stage."""
    syncs = sorted((sync.kind, sync.primary, sync.replica) for sync in outcome.syncs if sync.at_ms >= 0)
    return {
        "roles": outcome.nodes,
        "syncs": syncs,
        "verdicts": [(one.name, one.ok) for one in outcome.expectations],
        "failovers": [(one.before, one.promoted) for one in outcome.failovers],
        "equal data": len({digest.digest for digest in outcome.digests}),
    }


def test_live_and_simulated_plays_end_alike(tmp_path: Path) -> None:
    path = tmp_path / "both.toml"
    path.write_text(TEXT)

    def live(script: Script, variant: str, seed: int) -> ProcessStage:
        return ProcessStage("live", engines.ours(), script, seed)

    def simulated(script: Script, variant: str, seed: int) -> SimulatedStage:
        return SimulatedStage(script, seed)

    (first,) = run_file(path, live, 1)
    told = _told(first)
    assert first.ok, [one for one in first.expectations if not one.ok]
    for seed in range(5):
        (other,) = run_file(path, simulated, seed)
        assert _told(other) == told


def test_the_parity_scenario_has_no_chance_but_in_its_times() -> None:
    script, _ = loads(TEXT)
    assert not script.faults.kinds and not script.faults.plan


pytestmark = pytest.mark.filterwarnings("error")
