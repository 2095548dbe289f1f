"""Whole plays on stock servers, by the command line: JSON, reports, histories, exit codes, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from replicator.output_paths import unusable
from replicator.scenario.cli import history, scenario
from tests.support.stock import binary

ROOT = Path(__file__).parents[2]
ENGINES = ["redis7", "valkey9", "redis6"]

# A failover in a good second: b's line is too thin, so the kill loses what had not crossed it.
CRASH = """
title = "crash"
about = "a short crash"
duration = "1600ms"
[topology]
replicas = 2
[workload]
clients = 4
rate = 100
value_size = 256
[[workload_placeholder]]
[[steps]]
at = "0s"
throttle = { between = ["a", "others"], rate = "40kb", direction = "a->others" }
[[steps]]
when = { behind = { node = "b", by = "20kb" } }
kill = "a"
[[steps]]
when = { down = "a" }
promote = "best"
[[steps]]
repoint = "others"
[[steps]]
wait = { writable = true }
[[steps]]
restart = { node = "a", replica_of = "primary" }
[[steps]]
wait = { synced = "all" }
[[expect]]
lost = "> 0"
[[expect]]
failovers = 1
[[expect]]
consistent = true
[[expect]]
equal_digests = ["a", "b", "c"]
[[expect]]
phantom = 0
""".replace("[[workload_placeholder]]\n", "")

QUIET = """
title = "quiet"
about = "nothing happens"
duration = "300ms"
[topology]
replicas = 1
[workload]
kind = "mixed"
[[steps]]
note = "nothing"
[[expect]]
lost = "LOST"
"""

MEMBERS = {
    "scenario": str, "on": str, "engine": str, "seed": int, "ok": bool, "expectations": list, "writes": dict,
    "lost": list, "failovers": list, "syncs": dict, "consistent": bool, "digests": list, "events": list,
}  # fmt: skip


def held_to_contract(result: dict[str, Any]) -> None:
    """The members that users' tools read, with their types."""
    for name, kind in MEMBERS.items():
        assert isinstance(result[name], kind), name
    assert "trace_hash" in result
    for one in result["expectations"]:
        assert {"name", "expected", "actual", "ok"} <= one.keys()
    assert {"acknowledged", "kept", "lost", "failed", "unknown", "unknown_kept"} <= result["writes"].keys()
    assert result["writes"]["acknowledged"] == result["writes"]["kept"] + result["writes"]["lost"]
    assert result["writes"]["lost"] == len(result["lost"])
    for one in result["lost"]:
        assert {
            "client", "key", "value", "acknowledged_by", "acknowledged_at_ms", "offset_at_ack", "replicas_acked",
            "promoted_offset", "why", "would_have_prevented",
        } <= one.keys()  # fmt: skip
    for one in result["failovers"]:
        assert {"fault_at_ms", "detected_at_ms", "promoted", "writable_at_ms"} <= one.keys()
    for kind in ("full", "partial"):
        assert all(one["reason"] for one in result["syncs"][kind])


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "replicator", "scenario", "run", *map(str, arguments)],
        capture_output=True, text=True, cwd=ROOT, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
def test_a_crash_is_played_judged_and_told(engine: str, tmp_path: Path) -> None:
    path = binary(engine)
    if path is None:
        pytest.skip(f"there is no {engine} on this machine")
    file = tmp_path / "crash.toml"
    file.write_text(CRASH)
    report, lines = tmp_path / "report.html", tmp_path / "history.jsonl"
    done = run(
        file, "--on", "stock", "--engine", path, "--json", "-", "--report", report, "--history", lines, "--seed", "3"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    held_to_contract(result)
    assert result["ok"] and result["on"] == "stock" and result["seed"] == 3 and result["pairs_compared"] == 3
    (failover,) = result["failovers"]
    assert (
        failover["fault_at_ms"]
        <= failover["detected_at_ms"]
        <= failover["promoted_at_ms"]
        <= failover["writable_at_ms"]
    )
    for one in result["lost"]:
        assert one["acknowledged_by"] == "a" and one["offset_at_ack"] > one["promoted_offset"]
        assert one["would_have_prevented"] == "WAIT 1" and "beyond offset" in one["why"]
    at_begin = [sync for sync in result["syncs"]["full"] if sync["at_ms"] < 0]
    assert sorted(sync["replica"] for sync in at_begin) == ["b", "c"]
    assert "a is killed" in done.stderr and "every expectation held" in done.stderr
    page = report.read_text()
    assert "<svg" in page and "WAIT 1" in page and "http" not in page.replace("http://www.w3.org", "")
    judged = CliRunner().invoke(history, ["check", str(lines), "--json"])
    assert judged.exit_code == 1
    again = json.loads(judged.stdout)
    assert again["writes"] == result["writes"] and again["seed"] == 3
    assert [one["value"] for one in again["lost"]] == [one["value"] for one in result["lost"]]


def test_the_exit_code_tells_a_failed_expectation_and_a_clean_history_is_called_clean(tmp_path: Path) -> None:
    file, lines, result = tmp_path / "quiet.toml", tmp_path / "history.jsonl", tmp_path / "result.json"
    file.write_text(QUIET.replace('"LOST"', '"> 0"'))
    done = run(file, "--on", "stock", "--engine", "valkey", "--history", lines, "--json", result)
    assert done.returncode == 1, done.stderr
    assert "an expectation failed" in done.stdout
    told = json.loads(result.read_text())
    held_to_contract(told)
    assert told["ok"] is False and told["writes"]["lost"] == 0 and told["writes"]["acknowledged"] > 0
    assert CliRunner().invoke(history, ["check", str(lines)]).exit_code == 0


def test_variants_are_played_one_after_the_other_and_compared(tmp_path: Path) -> None:
    file = tmp_path / "variants.toml"
    file.write_text(
        QUIET.replace('lost = "LOST"', 'variant = "slow"\nacknowledged = "< quick"')
        + "[[variants]]\nname = 'quick'\n[variants.workload]\nrate = 100\n"
        + "[[variants]]\nname = 'slow'\n[variants.workload]\nrate = 20\n"
    )
    report = tmp_path / "report.html"
    done = run(file, "--on", "stock", "--engine", "valkey", "--json", "-", "--report", report)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    held_to_contract(result)
    quick, slow = result["variants"]
    assert (quick["variant"], slow["variant"]) == ("quick", "slow")
    assert result["writes"]["acknowledged"] == quick["writes"]["acknowledged"] + slow["writes"]["acknowledged"]
    held_to_contract(quick)
    assert "Side by side" in report.read_text()


def _heed_interrupts() -> None:
    # A test run in the background of a shell has them ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_play_ends_its_nodes(name: str, tmp_path: Path) -> None:
    file = tmp_path / "long.toml"
    file.write_text(QUIET.replace('duration = "300ms"', 'duration = "60s"').replace('"LOST"', "0"))
    keep = tmp_path / "keep"
    player = subprocess.Popen(
        [sys.executable, "-m", "replicator", "scenario", "run", str(file), "--on", "stock", "--engine", "valkey",
         "--keep", str(keep)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, preexec_fn=_heed_interrupts,
    )  # fmt: skip
    try:
        assert player.stdout is not None
        for line in player.stdout:
            if "clients begin" in line:
                break
        children = Path(f"/proc/{player.pid}/task/{player.pid}/children").read_text().split()
        assert len(children) == 2
        player.send_signal(signal.Signals[name])
        player.communicate(timeout=10)
        assert player.returncode == 130
    finally:
        player.kill()
        player.communicate()
    deadline = time.monotonic() + 5
    while any(os.path.exists(f"/proc/{pid}") for pid in children):
        assert time.monotonic() < deadline, "a node outlived its play"
        time.sleep(0.01)
    logs = list(keep.rglob("log"))
    assert len(logs) == 2 and all("Ready to accept connections" in log.read_text() for log in logs)


def test_a_wrong_file_exits_with_2_and_plays_nothing(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(QUIET.replace("[[steps]]", "[[stebs]]"))
    for command in (["run", str(wrong), "--on", "stock"], ["check", str(wrong)]):
        done = CliRunner().invoke(scenario, command)
        assert done.exit_code == 2 and "stebs" in done.stderr and 'did you mean "steps"' in done.stderr


def test_what_cannot_be_had_exits_with_2_in_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "quiet.toml"
    file.write_text(QUIET.replace('"LOST"', "0"))
    for options, words in (
        (["--engine", "/nowhere/server"], "no stock server '/nowhere/server'"),
        (["--engine", "/bin/echo"], "does not look like a Redis or Valkey server"),
        (["--on", "live", "--engine", "redis"], "goes with --on stock"),
    ):
        done = CliRunner().invoke(scenario, ["run", str(file), *options])
        assert done.exit_code == 2 and words in done.stderr, done.output
    assert CliRunner().invoke(history, ["check", str(tmp_path / "none")]).exit_code == 2
    assert CliRunner().invoke(scenario, ["list", str(tmp_path / "none")]).exit_code == 2


@pytest.mark.parametrize("option", ["--json", "--report", "--history", "--keep"])
def test_a_place_that_cannot_be_written_is_told_before_the_play(option: str, tmp_path: Path) -> None:
    file = tmp_path / "quiet.toml"
    file.write_text(QUIET.replace('"LOST"', "0"))
    (tmp_path / "taken").write_text("")
    done = CliRunner().invoke(scenario, ["run", str(file), "--on", "sim", option, str(tmp_path / "taken" / "place")])
    assert done.exit_code == 2 and done.stdout == "" and "place: cannot be written" in done.stderr, done.output


def test_a_server_that_does_not_start_exits_with_2_and_its_last_words(tmp_path: Path) -> None:
    file = tmp_path / "quiet.toml"
    file.write_text(QUIET.replace('"LOST"', "0") + '[config]\naclfile = "/there/is/none.acl"\n')
    done = run(file, "--on", "stock", "--engine", "valkey")
    assert done.returncode == 2
    assert "node a ended at once" in done.stderr and "/there/is/none.acl" in done.stderr


def test_the_library_is_listed_with_a_line_each() -> None:
    done = CliRunner().invoke(scenario, ["list"])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert len(lines) == len(list((ROOT / "scenarios").glob("*.toml")))
    assert any("min-replicas.toml" in line and "2 variants" in line for line in lines)
    checked = CliRunner().invoke(scenario, ["check", str(ROOT / "scenarios" / "chain.toml")])
    assert checked.exit_code == 0 and "4 nodes" in checked.stdout


def test_thousands_of_lost_writes_are_summed_up_unless_each_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    lines = [{"type": "run", "scenario": "many"}]
    lines += [
        {"type": "op", "id": number, "client": "app1", "kind": "set", "key": f"k{number}", "value": "v", "node": "a",
         "invoke_ms": number, "end_ms": number, "status": "ok"}
        for number in range(2000)
    ]  # fmt: skip
    lines.append({"type": "read", "node": "b", "registers": {f"k{number}": None for number in range(2000)}})
    lines.append({"type": "end", "primary": "b", "at_ms": 9000})
    file.write_text("\n".join(map(json.dumps, lines)))
    brief = CliRunner().invoke(history, ["check", str(file)])
    assert brief.exit_code == 1 and len(brief.output.splitlines()) < 40, brief.output
    assert "and 1990 more (--all tells each)" in brief.output and "lost, by reason: 2000 times" in brief.output
    whole = CliRunner().invoke(history, ["check", "--all", str(file)])
    assert whole.exit_code == 1 and whole.output.count("lost: ") >= 2000


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read: No such file"), (b"\x84\xff\x00", "is not UTF-8 text"),
     (b'{"type":"op","id":0,"client":"a","kind":"set","key":"k","node":"a","invoke_ms":1.5,"status":"ok"}', "line 1")],
    ids=["missing", "binary", "a float where milliseconds are whole"],
)  # fmt: skip
def test_a_history_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "history.jsonl"
    if content is not None:
        file.write_bytes(content)
    result = CliRunner().invoke(history, ["check", str(file)])
    assert result.exit_code == 2 and words in result.stderr and len(result.stderr.splitlines()) == 1, result.output


def test_a_folder_that_cannot_be_made_is_refused_before_the_play(tmp_path: Path) -> None:
    wanted = Path("/proc/there/is/none")
    result = CliRunner().invoke(scenario, ["run", str(ROOT / "scenarios" / "chain.toml"), "--keep", str(wanted)])
    assert result.exit_code == 2 and f"{wanted}: cannot be written" in result.output
    assert not (tmp_path / "a").exists() and unusable(tmp_path / "a" / "b") == "" and not (tmp_path / "a").exists()
