"""`replicator forecast`: what was seen becomes a scenario, four failures are played, and better settings are proved."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from replicator.advice.forecast import MOST_WRITES, changes, forecast
from replicator.advice.playing import best_changes, play
from replicator.cli import main
from replicator.scenario.script.load import load, loads
from tests.advice.test_explain import topology
from tests.support.stock import Wire, binary, running


def test_what_was_seen_is_in_the_scenario_and_what_was_assumed_is_said() -> None:
    look = topology(rate=20_000.0, min_replicas_to_write="0", repl_timeout="7")
    look.writes_per_second = 2 * MOST_WRITES
    look.nodes[1].view.behind_bytes = 2000  # a tenth of a second
    seen = forecast(look)
    assert loads(seen.text())[0] == seen.script
    assert list(seen.script.upstreams()) == ["a", "b", "c"] and seen.scale == 2.0
    assert str(seen.script.config["repl-timeout"]) == "7"
    assert [variant.name for variant in seen.script.variants] == ["crash", "partition", "pause", "restart"]
    _, plays = loads(seen.text())
    first = plays[0][1].steps[0].delay
    assert first is not None and first.between == ("a", "b") and first.delay == 100
    assert any("losses multiplied" in text for text in seen.assumptions)
    assert any("no Sentinel was asked" in text for text in seen.assumptions)


def test_a_primary_without_replicas_can_only_be_started_again() -> None:
    assert [variant.name for variant in forecast(topology(replicas=0)).script.variants] == ["restart"]
    with pytest.raises(ValueError, match="no primary"):
        look = topology()
        look.nodes[0].view.role = "replica"
        forecast(look)


def test_a_partition_loses_and_the_setting_that_is_named_loses_less() -> None:
    look = topology(rate=6000.0, min_replicas_to_write="0")
    look.writes_per_second = 40.0
    seen = forecast(look)
    before = {one.name: one for one in play(seen.script, seen.scale, 3, 1, lambda done: None)}
    assert before["partition"].lost.median > 0 and before["crash"].runs == 3
    better = best_changes(seen, changes(look), 3, 1, lambda done: None)
    assert better
    after = {one.name: one for one in better[0].failures}
    lost = [sum(one.lost.median for one in found.values()) for found in (before, after)]
    assert lost[1] < lost[0]


@pytest.mark.skipif(not binary("redis7"), reason="no Redis 7 is installed")
def test_the_command_plays_a_stock_pair_and_keeps_its_scenario(tmp_path: Path) -> None:
    kept = tmp_path / "kept.toml"
    with (
        running("redis7", "--repl-diskless-sync-delay", "0") as port,
        running("redis7", "--replicaof", "127.0.0.1", str(port)) as other,
    ):
        wire = Wire(other)
        deadline = time.monotonic() + 20
        while b"master_link_status:up" not in wire.call("INFO", "replication"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        wire.close()
        words = ["forecast", f"127.0.0.1:{port}", "--seeds", "2", "--jobs", "1", "--sample", "100ms", "--json"]
        result = CliRunner().invoke(main, [*words, "--keep", str(kept)])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [one["name"] for one in found["failures"]] == ["crash", "partition", "pause", "restart"]
    for one in found["failures"]:
        assert one["runs"] == 2 and set(one["lost"]) == {"min", "median", "p99", "max", "worst_seed"}
    assert load(kept)[0].upstreams() == {"a": None, "b": "a"}
    assert any("ten writes a second are assumed" in text for text in found["assumptions"])
