"""What many runs cost: percentiles that occurred, the seed of the worst, histograms that hold every run."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path

from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from replicator.cli import main
from replicator.search.run import Seed
from replicator.search.spread import COLUMNS, Ledger, histogram, percentile
from tests.simulation.hashes import SHORT

COUNTS = st.lists(st.integers(0, 5000), min_size=1, max_size=300)


def _costed(values: list[int]) -> Ledger:
    ledger = Ledger()
    for seed, value in enumerate(values):
        ledger.take(Seed("a.toml", "", seed, trace_hash="x", lost=value, silence_ms=2 * value))
    return ledger


@given(COUNTS, st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(values: list[int], share: float) -> None:
    found = percentile(sorted(values), share)
    assert found == min(one for one in values if sum(other <= one for other in values) >= share * len(values))


@given(COUNTS)
def test_a_spread_names_the_first_seed_of_the_worst(values: list[int]) -> None:
    (costs,) = _costed(values).costs()
    spread = costs.spread(costs.lost)
    assert (spread.min, spread.max) == (min(values), max(values))
    assert spread.worst_seed == values.index(max(values))
    assert costs.spread(costs.silence_ms).median == 2 * spread.median
    assert spread.min <= spread.median <= spread.p99 <= spread.max


@given(COUNTS)
def test_a_histogram_holds_every_run_in_columns_that_fit(values: list[int]) -> None:
    found = histogram(values)
    assert sum(found.counts) == len(values) and len(found.counts) <= COLUMNS
    assert (found.low, found.high) == (min(values), max(values))
    assert len(found.bars()) == len(found.counts)
    assert found.bars().count(" ") == found.counts.count(0)
    assert found.counts[0] and found.counts[-1]
    assert math.ceil((found.high - found.low + 1) / len(found.counts)) >= 1


def test_a_play_that_broke_has_cost_nothing_that_could_be_told() -> None:
    ledger = Ledger()
    ledger.take(Seed("a.toml", "", 3))
    assert ledger.costs() == [] and ledger.worst() == (0, 0)


def test_simulate_ends_with_what_each_file_costs_and_the_command_of_the_worst(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    page = tmp_path / "page.html"
    options = ["simulate", str(SHORT), "--seeds", "0:6", "--json", str(told), "--runs", "--report", str(page)]
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 0, result.output
    *_, line, bars, worst, where = result.stdout.splitlines()
    assert all(word in line for word in ("median", "99th", "worst", "(seed ")) and line.startswith(str(SHORT))
    assert bars.strip().startswith("lost ") and where == f"report: {page}"
    data = json.loads(told.read_text())
    (entry,) = data["files"]
    assert entry["file"] == str(SHORT) and entry["variant"] == "" and entry["runs"] == len(data["records"]) == 6
    for name in ("lost", "silence_ms"):
        values = {record["seed"]: record[name] for record in data["records"]}
        assert entry[name]["max"] == max(values.values()) == values[entry[name]["worst_seed"]]
        assert entry[name]["min"] == min(values.values())
    assert entry["worst"] in page.read_text().replace("&#x27;", "'")
    command = shlex.split(worst.removeprefix("  worst: "))
    assert command[:2] == ["replicator", "simulate"], "the file draws faults, which a single run does not"
    again = json.loads(CliRunner().invoke(main, [*command[1:], "--json", "-", "--runs"]).stdout)
    worst_of = "lost" if entry["lost"]["max"] else "silence_ms"
    assert again["records"] == [data["records"][entry[worst_of]["worst_seed"]]], "the command plays the very run"


def test_the_worst_run_of_a_script_without_drawn_faults_is_one_scenario_run() -> None:
    file = str(Path(__file__).parents[2] / "scenarios" / "power-loss.toml")
    data = json.loads(CliRunner().invoke(main, ["simulate", file, "--seeds", "0:3", "--json", "-", "--runs"]).stdout)
    entry = data["files"][-1]
    command = shlex.split(entry["worst"])
    assert command[:3] == ["replicator", "scenario", "run"] and entry["variant"] in command
    played = json.loads(CliRunner().invoke(main, [*command[1:], "--json", "-"]).stdout)
    (record,) = [
        one for one in data["records"] if (one["seed"], one["variant"]) == (played["seed"], played["variant"])
    ]
    assert len(played["lost"]) == record["lost"] == entry["lost"]["max"]
    assert played["trace_hash"] == record["trace_hash"]


def test_a_search_goes_on_behind_its_range_for_a_given_time(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    options = ["simulate", str(SHORT), "--seeds", "0:2", "--until", "worst", "500ms", "--json", str(told)]
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 0 and "runs behind the range" in result.output, result.output
    assert json.loads(told.read_text())["files"][0]["runs"] > 2
    for wrong in (["best", "3s"], ["worst", "soon"], ["worst", "0"]):
        refused = CliRunner().invoke(main, ["simulate", str(SHORT), "--until", *wrong])
        assert refused.exit_code == 2 and "--until" in refused.output, refused.output
    refused = CliRunner().invoke(main, ["simulate", str(SHORT), "--runs"])
    assert refused.exit_code == 2 and "--json" in refused.output
