"""One scenario, live and simulated: the same roles, the same synchronizations, the same verdicts."""

from __future__ import annotations

from pathlib import Path

import pytest

from replicator.core.node import Node
from replicator.core.now import Now
from replicator.core.report.info import render
from replicator.scenario.play.observe import Seen, parse_info, seen_by
from replicator.scenario.play.player import Player
from replicator.scenario.play.stage import Request
from replicator.scenario.running import run_file
from replicator.scenario.script.load import loads
from replicator.scenario.script.script import Script
from replicator.scenario.stages import engines, simulated
from replicator.scenario.stages.processes import ProcessStage
from replicator.scenario.stages.simulated import SimulatedStage, seen
from replicator.scenario.verdict.outcome import Outcome
from replicator.search.run import try_seed

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


def test_what_the_simulation_sees_of_a_node_is_what_info_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Seen] = []

    def checked(node: Node) -> Seen:
        found = seen(node)
        assert found == seen_by(parse_info(render(node, ["replication", "stats"])))
        compared.append(found)
        return found

    monkeypatch.setattr(simulated, "seen", checked)
    _, ((variant, script),) = loads(TEXT)
    assert try_seed(script, "parity", variant, 3).ok
    assert {one.role for one in compared} == {"master", "slave"}
    assert {one.link for one in compared} == {"", "up", "down"}
    assert {one.online_replicas for one in compared} >= {0, 1, 2}


def test_writes_cost_the_player_a_turn_only_where_it_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[bool] = []
    advance = Player.advance

    def counted(player: Player, now: Now) -> list[Request]:
        turns.append(player.watches_clients)
        return advance(player, now)

    monkeypatch.setattr(Player, "advance", counted)
    script = 'title = "t"\nabout = "a"\nduration = "4s"\n[workload]\nrate = 50\n[[steps]]\n'

    def play(step: str) -> None:
        turns.clear()
        _, ((variant, one),) = loads(script + step)
        assert try_seed(one, "turns", variant, 1).ok

    play('note = "nothing is waited for"')
    assert turns.count(False) < 80 and turns.count(True) <= 2
    play("when = { acknowledged = 400 }\nnote = 'half of them'")
    assert 20 < turns.count(True) < 120
