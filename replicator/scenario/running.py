"""Plays a scenario file, variant after variant, and judges it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from replicator.scenario.play.player import Player
from replicator.scenario.play.stage import Stage
from replicator.scenario.report.terminal import Terminal
from replicator.scenario.script.load import alone, load
from replicator.scenario.script.script import Script
from replicator.scenario.verdict import expect
from replicator.scenario.verdict.history import History
from replicator.scenario.verdict.outcome import Outcome, outcome_of

# Makes the stage of one play: the variant's script, its name, the seed.
MakeStage = Callable[[Script, str, int], Stage]


def run_file(
    path: str | Path, make_stage: MakeStage, seed: int, terminal: Terminal | None = None, history: TextIO | None = None,
    only: str | None = None,
) -> list[Outcome]:  # fmt: skip
    """The outcomes of all variants, judged. history: where each play's history goes, a JSON document a line. only: the
    one variant to play; what compares it with another is then not judged.

    Raises ScriptError (the file is wrong) and StageError (the stage cannot be set up).
    """
    script, variants = load(path)
    abouts = {variant.name: variant.about for variant in script.variants}
    if only is not None:
        variants = [(name, alone(variant, name)) for name, variant in variants if name == only]
    outcomes = [
        run_one(variant, name, abouts.get(name, ""), make_stage, seed, terminal, history) for name, variant in variants
    ]
    expect.judge(outcomes)
    for outcome in outcomes:
        # The variants' own scripts know only each other's names; reports want their words too.
        outcome.abouts = abouts
    if terminal is not None:
        terminal.verdicts(outcomes)
    return outcomes


def run_one(
    script: Script,
    name: str,
    about: str,
    make_stage: MakeStage,
    seed: int,
    terminal: Terminal | None,
    file: TextIO | None,
) -> Outcome:
    """One play."""
    stage = make_stage(script, name, seed)
    if terminal is not None:
        terminal.opening(script, name, about, stage.on, stage.engine, seed)
    sink = None
    if file is not None:
        run = {
            "type": "run",
            "scenario": script.title,
            "variant": name,
            "on": stage.on,
            "engine": stage.engine,
            "seed": seed,
        }

        def sink(record: dict[str, Any]) -> None:
            file.write(json.dumps(record, separators=(",", ":")) + "\n")

        sink(run)
    player = Player(script, stage, History(sink), seed)
    if terminal is not None:
        player.observer.watch = terminal.watch
    stage.play(player)
    outcome = outcome_of(player, stage, name)
    if terminal is not None:
        terminal.closing(outcome)
    return outcome
