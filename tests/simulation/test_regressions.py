"""What the simulation has found once does not come back: every file of scenarios/regressions holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from replicator.scenario.running import run_file
from replicator.scenario.script.script import Script
from replicator.scenario.stages.simulated import SimulatedStage
from tests.simulation.mutations import MUTANTS, at_work

FILES = sorted((Path(__file__).parents[2] / "scenarios" / "regressions").glob("*.toml"))


def _stage(script: Script, variant: str, seed: int) -> SimulatedStage:
    return SimulatedStage(script, seed)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_regression_holds(path: Path) -> None:
    for seed in range(2):
        for outcome in run_file(path, _stage, seed):
            assert outcome.ok, [one for one in outcome.expectations if not one.ok]


def test_the_first_find_would_be_found_again() -> None:
    (path,) = (one for one in FILES if one.stem == "wait-in-its-writes-packet")
    (mutant,) = (one for one in MUTANTS if one.name == "WAIT looks at the write before")
    with at_work(mutant):
        (outcome,) = run_file(path, _stage, 0)
    assert not outcome.ok and outcome.verdict.lost
