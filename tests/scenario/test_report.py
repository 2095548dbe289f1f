"""A report begins with the loss, draws how far a replica lags, and names the backlog that would have sufficed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from replicator.scenario.play.observe import Observer, Seen
from replicator.scenario.report.html import STYLE, page
from replicator.scenario.report.summary import backlog_advice, distances, finding
from replicator.scenario.report.terminal import Terminal
from replicator.scenario.running import run_file
from replicator.scenario.script.script import Script
from replicator.scenario.stages.simulated import SimulatedStage
from replicator.scenario.verdict.history import History
from replicator.scenario.verdict.outcome import Outcome
from tests.support.consoles import recorded

SCENARIOS = Path(__file__).parents[2] / "scenarios"


def _stage(script: Script, variant: str, seed: int) -> SimulatedStage:
    return SimulatedStage(script, seed)


@pytest.fixture(scope="module")
def crash() -> list[Outcome]:
    return run_file(SCENARIOS / "primary-crash.toml", _stage, 0)


def test_the_loss_stands_above_the_expectations(crash: list[Outcome]) -> None:
    html = page([crash])
    lost = len(crash[0].verdict.lost)
    assert lost and f"{lost} of " in finding(crash[0]) and "“WAIT 1”" in finding(crash[0])
    places = [html.index(mark) for mark in ('class="finding"', 'class="timeline"', "<h2>Expectations")]
    assert places == sorted(places)


def test_a_replica_that_lags_is_drawn_with_its_distance_and_nobody_is_ahead(crash: list[Outcome]) -> None:
    (outcome,) = crash
    behind = {node: [one.behind for one in distances(outcome, node)] for node in ("b", "c")}
    assert all(min(found) >= 0 for found in behind.values()) and max(behind["c"]) > 100_000
    html = page([crash])
    assert html.count('<polygon class="lag"') == 2 and "replica, in sync" not in html
    assert re.search(r"\d+ KB behind</text>", html)


def test_no_two_meanings_share_a_colour() -> None:
    for block in re.findall(r":root\{(.*?)\}", STYLE, re.DOTALL):
        colours = dict(re.findall(r"--([a-z-]+):(#[0-9a-f]{3,6})", block))
        shown = [colours[name] for name in ("primary", "replica", "lag", "unlinked", "down", "stopped", "kept", "lost")]
        assert len(set(shown)) == len(shown), colours


def test_variants_stand_side_by_side_in_the_terminal() -> None:
    console, text = recorded()
    run_file(SCENARIOS / "small-backlog.toml", _stage, 0, Terminal(console, quiet=True))
    told = text()
    head, small, large = (
        next(line for line in told.splitlines() if line.strip().startswith(words))
        for words in ("acknowledged  lost", "16 KB  ", "4 MB  ")
    )
    assert len(head) == len(small.rstrip()) == len(large.rstrip())
    assert "repl-backlog-size" in told and "would have sufficed" in told


def test_the_size_that_would_have_sufficed_is_told_and_suffices() -> None:
    small, large = run_file(SCENARIOS / "small-backlog.toml", _stage, 0)
    (sync,) = small.synced("full")
    assert sync.sufficient is not None and len(backlog_advice(small)) == 1 and not backlog_advice(large)
    assert 16_384 < sync.sufficient < 4 << 20


def test_of_a_stock_primary_it_follows_from_the_offset_that_was_asked_for_and_the_one_that_was_seen() -> None:
    """The line is what Redis 7.0.15 logs."""
    observer = Observer(["a", "b"], History(), {"127.0.0.1:7": "b"}.get)
    observer.logged("a", "Replica 127.0.0.1:7 asks for synchronization", 500)
    line = "Unable to partial resync with replica 127.0.0.1:7 for lack of backlog (Replica request was: 3001)."
    observer.logged("a", line, 500)
    (sync,) = observer.syncs
    observer.answered("a", Seen("master", "x" * 40, 9000), 480, 510)
    assert sync.sufficient is None, "asked before it happened"
    observer.answered("b", Seen("slave", "x" * 40, 3000), 520, 530)
    observer.answered("a", Seen("master", "x" * 40, 9100), 540, 550)
    assert sync.sufficient == 9100 - 3001 + 1 and sync.plain()["sufficient_backlog"] == 6100
