"""Plans are plain data drawn from the seed; failures are shrunk to a file that plays them; the command tells it all."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from replicator.cli import main
from replicator.scenario.script.dump import as_toml
from replicator.scenario.script.load import load, loads
from replicator.scenario.script.script import Faults, Script
from replicator.scenario.script.units import Milliseconds
from replicator.search import cli as search_cli
from replicator.search.draw import ALL_KINDS, draw_plan, vary
from replicator.search.draw import window as fault_window
from replicator.search.run import prepared, scripts_of, try_seed
from replicator.search.shrink import shrink, with_plan
from replicator.search.workers import Tasks, play_all
from tests.simulation.hashes import SHORT
from tests.simulation.mutations import MUTANTS, at_work
from tests.support.arenas import ARENAS

ROOT = Path(__file__).parents[2]
LIBRARY = sorted((ROOT / "scenarios").glob("*.toml"))


def _all_faults(script: Script) -> Script:
    faults = Faults(kinds=ALL_KINDS, per_minute=200, start=Milliseconds(100), vary=True)
    return msgspec.structs.replace(script, faults=faults)


def test_a_plan_is_drawn_from_the_seed_alone_and_every_kind_is_drawn() -> None:
    script = _all_faults(load(SHORT)[0])
    assert draw_plan(script, 7) == draw_plan(script, 7) != draw_plan(script, 8)
    assert {fault.kind for seed in range(200) for fault in draw_plan(script, seed)} == set(ALL_KINDS)
    assert vary(script, 3) == vary(script, 3)


def test_most_faults_that_wait_for_a_snapshot_are_followed_by_one() -> None:
    waiting = met = 0
    for seed in range(100):
        plan = draw_plan(_all_faults(load(SHORT)[0]), seed)
        for fault in plan:
            if fault.kind in ("child-kill", "fork-error"):
                waiting += 1
                saves = [one for one in plan if one.kind == "save" and one.node == fault.node]
                met += any(0 <= save.at - fault.at < 100 for save in saves)
    assert waiting and waiting / 2 < met < waiting


@pytest.mark.parametrize(
    ("play", "start", "window"),
    [
        ("5s", None, (1000, 5000)),
        ("1001ms", None, (1000, 1001)),
        ("1s", None, (250, 1000)),
        ("800ms", None, (200, 800)),
        ("800ms", "100ms", (100, 800)),
        ("150ms", "200ms", (37, 150)),
    ],
)
def test_a_short_play_has_its_faults_too(play: str, start: str | None, window: tuple[int, int]) -> None:
    faults = Faults(kinds={"kill": 1.0}, per_minute=600, start=None if start is None else Milliseconds.parse(start))
    script = msgspec.structs.replace(load(SHORT)[0], duration=Milliseconds.parse(play), faults=faults)
    for seed in range(50):
        plan = draw_plan(script, seed)
        assert plan and all(window[0] <= fault.at <= window[1] for fault in plan)
    assert fault_window(script) == window
    ended = msgspec.structs.replace(faults, start=None, stop=Milliseconds(600))
    assert fault_window(msgspec.structs.replace(script, faults=ended)) == (150, 600)


def test_a_file_whose_faults_start_behind_its_play_is_refused_and_the_default_start_gives_way(tmp_path: Path) -> None:
    file = tmp_path / "short.toml"
    text = SHORT.read_text()
    file.write_text(text.replace('start = "100ms"', 'start = "1s"'))
    refused = CliRunner().invoke(search_cli.simulate, [str(file), "--seeds", "0:2"])
    assert refused.exit_code == 2 and "faults.start: 1000 ms is too late" in refused.stderr, refused.output
    file.write_text(text.replace('start = "100ms"\n', ""))
    drawn = CliRunner().invoke(search_cli.simulate, [str(file), "--seeds", "0:4", "--json", "-"])
    assert drawn.exit_code == 0 and sum(json.loads(drawn.stdout)["faults"].values()) >= 2, drawn.output


def test_a_script_survives_its_way_through_a_file() -> None:
    for path in [*LIBRARY, SHORT]:
        for _, script in load(path)[1]:
            whole = prepared(_all_faults(script), 3)
            assert loads(as_toml(whole))[0] == whole
    for script in ARENAS.values():
        assert loads(as_toml(prepared(script, 1)))[0] == prepared(script, 1)


QUESTION = """
title = "What does a cut before the crash lose?"
about = "The replica is cut off, the primary goes on, is killed, and the replica promoted."
duration = "1500ms"
[topology]
replicas = 1
[config]
min-replicas-max-lag = 7
repl-timeout = 2
[workload]
clients = 2
rate = 30
timeout = "300ms"
[[steps]]
at = "300ms"
cut = { between = ["a", "b"] }
[[steps]]
at = "700ms"
kill = "a"
[[steps]]
at = "800ms"
promote = "b"
[[expect]]
lost = 0
[faults]
per_minute = 300
start = "100ms"
longest = "200ms"
vary = true
[faults.kinds]
delay = 1
stop = 1
config = 1
"""


def test_a_shrunk_failure_still_answers_the_files_question_with_the_number_that_it_quotes(tmp_path: Path) -> None:
    file = tmp_path / "question.toml"
    file.write_text(QUESTION)
    options = ["simulate", str(file), "--seeds", "0:1", "--shrink-runs", "40", "--keep", str(tmp_path / "found")]
    result = CliRunner().invoke(main, [*options, "--json", "-"])
    assert result.exit_code == 1, result.output
    (failure,) = json.loads(result.stdout)["failures"]
    small, said = load(failure["scenario_file"])[0], load(file)[0]
    assert {name: small.config.get(name) for name in said.config} == said.config
    assert small.steps == said.steps and small.topology == said.topology
    assert len(small.config) < len(prepared(said, 0).config) and not small.faults.plan
    replay = CliRunner().invoke(main, [*shlex.split(failure["replay"])[1:], "--json", "-"])
    lost = len(json.loads(replay.stdout)["lost"])
    assert replay.exit_code == 1 and lost and f"actual {lost}" in small.about, small.about


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


def test_a_step_that_selects_another_database_does_not_lead_the_reading_back_astray() -> None:
    step = "command = { node = 'a', argv = ['SELECT', 3] }"
    found = try_seed(loads(EVICTING + step)[0], "t", "", 1)
    assert found.ok and found.writes and not found.lost, found.objections


def test_a_pool_finds_what_one_process_finds() -> None:
    tasks = Tasks([str(SHORT)], None, 0, 10)
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


FAILING = """
title = "Expects too much"
about = "x"
duration = "600ms"
[topology]
replicas = 1
[workload]
clients = 3
rate = 20
[[steps]]
at = "200ms"
kill = "a"
[[steps]]
when = { down = "a" }
promote = "b"
[[expect]]
name = "[never] a word"
acknowledged = 0
[[expect]]
phantom = 0
"""
DRAWN = FAILING + """
[faults]
per_minute = 300
start = "100ms"
kinds = { drop-links = 1, save = 1 }
"""


def _shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a printed command as somebody would who copies it into a shell."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ours = command.replace("replicator", f"{shlex.quote(sys.executable)} -m replicator", 1)
    return subprocess.run(
        ["sh", "-c", ours], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("text", [FAILING, DRAWN], ids=["its steps alone", "with drawn faults"])
def test_a_files_own_expectation_that_fails_is_shrunk_and_its_printed_commands_fail_in_a_shell(
    text: str, tmp_path: Path
) -> None:
    file = tmp_path / "a file.toml"
    file.write_text(text)
    words = ["simulate", str(file), "--seeds", "3:5", "--keep", str(tmp_path / "kept here")]
    found = CliRunner().invoke(main, words)
    assert found.exit_code == 1, found.output
    assert "[never] a word: 2 times; seeds 3, 4" in found.output
    (replay,) = [line.partition("replay: ")[2] for line in found.output.splitlines() if "replay: " in line]
    small, _ = load(tmp_path / "kept here" / "a file-never--a-word-3.toml")
    assert len(small.client_names()) == 1 and not small.faults.plan and small.steps == load(file)[0].steps
    assert small.expect[0].name == "[never] a word"
    again = _shell(replay, Path("/"))
    assert again.returncode == 1 and "✗ [never] a word: expected == 0, actual" in again.stdout, again
    unshrunk = CliRunner().invoke(main, [*words, "--no-shrink"])
    (replay,) = [line.partition("replay: ")[2] for line in unshrunk.output.splitlines() if "replay: " in line]
    again = _shell(replay, Path("/"))
    assert again.returncode == 1 and "[never] a word: 1 times; seeds 3" in again.stdout, again


def test_expectations_are_not_held_against_faults_that_the_file_does_not_know_of(tmp_path: Path) -> None:
    file = tmp_path / "failing.toml"
    file.write_text(FAILING)
    words = [str(file), "--faults", "save", "--per-minute", "120.123456789", "--seeds", "3"]
    assert CliRunner().invoke(search_cli.simulate, words).exit_code == 0


def test_an_interrupted_search_says_so_and_leaves_no_process(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "replicator", "simulate", str(SHORT), "--seeds", "0:1000000000", "--jobs", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)):
        with subprocess.Popen(
            words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=_heed_interrupts,
        ) as search:  # fmt: skip
            try:
                workers = _children(search.pid, 3)  # two, and the tracker of their semaphores
                search.send_signal(number)
                out, _ = search.communicate(timeout=30)  # the pipes are at their end when the last process is
            finally:
                search.kill()
        assert search.returncode == code, (number, out)
        assert len(workers) == 3
        if code == 130:
            assert "interrupted\nno seed failed so far" in out


def _heed_interrupts() -> None:
    """A shell starts what runs in the background deaf to SIGINT, and children take that over."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _children(pid: int, wanted: int) -> list[str]:
    """The child processes, once there are so many."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if len(found) >= wanted:
            return found
        time.sleep(0.02)
    raise AssertionError("the workers are not started")


def test_a_range_is_not_written_out_before_it_is_played() -> None:
    tasks = Tasks(["one", "two"], None, 0, 10**12)
    assert len(tasks) == 2 * 10**12 // 8
    assert tasks[:3] == [("one", None, 0, 8), ("two", None, 0, 8), ("one", None, 8, 16)]
    assert Tasks(["one"], None, 3, 13)[1] == ("one", None, 11, 13)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--seeds", "x"], "give A:B"),
        (["--seeds", "a:b"], "give A:B"),
        (["--seeds", ""], "give A:B"),
        (["--seeds", "5:"], "give A:B"),
        (["--seeds", "10:5"], "holds no seed"),
        (["--seeds", "5:5"], "holds no seed"),
        (["--faults", "earthquake"], "power-loss"),
        (["--faults", "kill=-1"], "a number from 0 on"),
        (["--faults", "kill=often"], "a number from 0 on"),
        (["--faults", "kill=nan"], "a number from 0 on"),
        (["--faults", "kill=0"], "nothing to draw"),
        (["--faults", "all", "--per-minute", "nan"], "above 0"),
        (["--faults", "all", "--per-minute", "-1"], "above 0"),
        (["--faults", "all", "--per-minute", "1e9"], "at most 60000"),
        (["--per-minute", "5"], "--per-minute goes with --faults"),
        (["--vary"], "--vary goes with --faults"),
        (["--json", "/nowhere/at/all.json"], "there is no folder /nowhere/at"),
        (["--json", "/"], "it is a folder"),
        (["--keep", "/dev/null/found"], "/dev/null is no folder"),
        (["--dask", "nowhere"], "--dask nowhere: "),
        (["--jobs", "0"], "--jobs"),
        (["nowhere.toml"], "cannot be read"),
    ],
)
def test_wrong_words_are_refused_with_what_is_allowed(words: list[str], told: str) -> None:
    refused = CliRunner().invoke(search_cli.simulate, [str(SHORT), *words])
    assert refused.exit_code == 2 and told in refused.stderr, refused.output
    assert "runs in" not in refused.output


def test_the_librarys_scenarios_hold_for_any_seed() -> None:
    for path in LIBRARY[:3]:  # all of them, and many seeds: make sim
        for variant, script in scripts_of(path, None):
            found = try_seed(prepared(script, 11), str(path), variant, 11)
            assert found.ok, (path, found.objections)


def test_a_fault_that_lay_in_wait_for_nothing_is_counted_as_unmet(tmp_path: Path) -> None:
    file = tmp_path / "idle.toml"
    text = FAILING.split("[[steps]]")[0].replace("[topology]", "steps = []\n[topology]")
    plan = "".join(
        f'[[faults.plan]]\nat = "100ms"\nkind = "{kind}"\nnode = "b"\n'
        for kind in ("disk-error", "fork-error", "fork-error", "child-kill")
    )
    file.write_text(text + plan)
    result = CliRunner().invoke(search_cli.simulate, [str(file), "--seeds", "0", "--json", "-"])
    assert json.loads(result.stdout)["faults"] == {
        "child-kill": 1, "child-kill (unmet)": 1, "disk-error": 1, "disk-error (unmet)": 1, "fork-error": 2,
        "fork-error (unmet)": 2,
    }  # fmt: skip
