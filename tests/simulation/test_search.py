"""Plans are plain data drawn from the seed; failures are shrunk to a file that plays them; the command tells it all."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
from click.testing import CliRunner

from replicator.scenario.dump import as_toml
from replicator.scenario.loading import load, loads
from replicator.scenario.script import Faults, Script
from replicator.scenario.units import Milliseconds
from replicator.search import cli as search_cli
from replicator.search.draw import ALL_KINDS, draw_plan, vary
from replicator.search.run import prepared, scripts_of, try_seed
from replicator.search.shrink import shrink, with_plan
from replicator.search.workers import play_all, tasks_of
from tests.simulation.arenas import ARENAS
from tests.simulation.hashes import SHORT
from tests.simulation.mutations import MUTANTS, at_work

LIBRARY = sorted((Path(__file__).parents[2] / "scenarios").glob("*.toml"))


def _all_faults(script: Script) -> Script:
    faults = Faults(kinds=ALL_KINDS, per_minute=200, start=Milliseconds(100), vary=True)
    return msgspec.structs.replace(script, faults=faults)


def test_a_plan_is_drawn_from_the_seed_alone_and_every_kind_is_drawn() -> None:
    script = _all_faults(load(SHORT)[0])
    assert draw_plan(script, 7) == draw_plan(script, 7) != draw_plan(script, 8)
    assert {fault.kind for seed in range(200) for fault in draw_plan(script, seed)} == set(ALL_KINDS)
    assert vary(script, 3) == vary(script, 3)


def test_a_script_survives_its_way_through_a_file() -> None:
    for path in [*LIBRARY, SHORT]:
        for _, script in load(path)[1]:
            whole = prepared(_all_faults(script), 3)
            assert loads(as_toml(whole))[0] == whole
    for script in ARENAS.values():
        assert loads(as_toml(prepared(script, 1)))[0] == prepared(script, 1)


def test_a_failure_is_shrunk_to_few_faults_and_fails_again_from_its_file() -> None:
    (mutant,) = (one for one in MUTANTS if one.name == "an open transaction is counted")
    script = prepared(ARENAS["transactions"], 6)
    with at_work(mutant):
        first = try_seed(script, "t", "", 6)
        assert not first.ok
        wanted = first.objections[0][0]

        def fails(candidate: Script) -> bool:
            return any(name == wanted for name, _ in try_seed(candidate, "t", "", 6).objections)

        small = shrink(script, fails, 25).script
        assert len(small.faults.plan) < len(script.faults.plan) / 2
        again = loads(as_toml(small))[0]
        assert fails(again)
    assert try_seed(again, "t", "", 6).ok, "the sound node passes the same file"


def test_without_a_plan_nothing_is_drawn() -> None:
    script = prepared(load(SHORT)[0], 1)
    assert script.faults.plan and not prepared(with_plan(script, []), 1).faults.plan


EVICTING = """
title = "t"
about = "Keys are dropped while clients write, and only the one who reads the file knows why."
duration = "600ms"
[topology]
replicas = 1
[workload]
clients = 2
rate = 100
[[steps]]
at = "400ms"
"""


def test_a_loss_that_nothing_explains_is_an_objection_and_what_the_scenario_does_itself_is_none() -> None:
    def names(step: str) -> list[str]:
        return [name for name, _ in try_seed(loads(EVICTING + step)[0], "t", "", 1).objections]

    drop = "maxmemory = 1, maxmemory-policy = 'allkeys-random'"
    by_config = f"config = {{ node = 'a', set = {{ {drop} }} }}"
    by_command = (
        "command = { node = 'a', argv = ['CONFIG', 'SET', 'maxmemory-policy', 'allkeys-random', 'maxmemory', 1] }"
    )
    assert names(by_command) == ["unexplained loss"]
    assert names(by_config) == names("command = { node = 'a', argv = ['FLUSHALL'] }") == []


def test_a_pool_finds_what_one_process_finds() -> None:
    tasks = tasks_of([str(SHORT)], None, 0, 10)
    alone = {seed.seed: seed.trace_hash for batch in play_all(tasks, 1) for seed in batch}
    pooled = {seed.seed: seed.trace_hash for batch in play_all(tasks, 2) for seed in batch}
    assert alone == pooled and len(alone) == 10


def test_the_command_counts_faults_and_paths_and_ends_with_0() -> None:
    result = CliRunner().invoke(search_cli.simulate, [str(SHORT), "--seeds", "0:6", "--json", "-"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["runs"] == 6 and told["failed"] == 0 and told["ok"] is True
    assert sum(told["faults"].values()) > 6 and told["paths"]["replication.full-sync"] >= 6
    assert told["compared_bytes"] > 0


def test_a_search_without_a_terminal_tells_its_progress_in_lines() -> None:
    result = CliRunner().invoke(search_cli.simulate, [str(SHORT), "--seeds", "0:24"])
    told = [line.split(": ") for line in result.output.splitlines() if " %: " in line]
    assert [percent for percent, _ in told] == ["33 %", "66 %"]
    assert told[0][1].startswith("8 runs, ") and told[1][1].endswith(" a second, 0 failed")


def test_a_failing_seed_is_told_with_the_command_and_the_file_that_replay_it(tmp_path: Path) -> None:
    (mutant,) = (one for one in MUTANTS if one.name == "an open transaction is counted")
    file = tmp_path / "transactions.toml"
    file.write_text(as_toml(ARENAS["transactions"]))
    with at_work(mutant):
        result = CliRunner().invoke(
            search_cli.simulate,
            [str(file), "--seeds", "6", "--json", "-", "--keep", str(tmp_path / "found"), "--shrink-runs", "4"],
        )
    assert result.exit_code == 1, result.output
    told = json.loads(result.stdout)["failures"][0]
    assert load(told["scenario_file"])[0].faults.plan
    assert told["replay"].startswith("replicator scenario run ") and "--on sim --seed" in told["replay"]


def test_a_failure_that_is_not_shrunk_is_told_with_the_command_that_plays_it_again(tmp_path: Path) -> None:
    (mutant,) = (one for one in MUTANTS if one.name == "an open transaction is counted")
    file = tmp_path / "transactions.toml"
    file.write_text(as_toml(ARENAS["transactions"]).split("[faults]")[0])
    words = [str(file), "--faults", "reset=3,drop-links", "--per-minute", "200", "--seeds", "0:16", "--no-shrink"]
    with at_work(mutant):
        first = CliRunner().invoke(search_cli.simulate, words, terminal_width=200)
        assert first.exit_code == 1, first.output
        told = " ".join(first.output.split()).partition("replay: replicator simulate ")[2]
        again = CliRunner().invoke(search_cli.simulate, [*told.partition("--no-shrink")[0].split(), "--no-shrink"])
    assert again.exit_code == 1, again.output
    assert "--faults reset=3,drop-links --per-minute 200 --seeds " in told


def test_wrong_words_are_refused_with_what_is_allowed() -> None:
    run = CliRunner().invoke
    assert run(search_cli.simulate, [str(SHORT), "--seeds", "x"]).exit_code == 2
    refused = run(search_cli.simulate, [str(SHORT), "--faults", "earthquake"])
    assert refused.exit_code == 2 and "power-loss" in refused.stderr
    assert run(search_cli.simulate, ["nowhere.toml"]).exit_code == 2


def test_the_librarys_scenarios_hold_for_any_seed() -> None:
    for path in LIBRARY[:3]:  # all of them, and many seeds: make sim
        for variant, script in scripts_of(path, None):
            found = try_seed(prepared(script, 11), str(path), variant, 11)
            assert found.ok, (path, found.objections)
