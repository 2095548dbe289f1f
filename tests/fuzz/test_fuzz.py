"""A bounded slice of the fuzzer, and all that failed once."""

from __future__ import annotations

import pytest

from tests.fuzz.table import TARGETS
from tests.fuzz.trial import attempt, corpus, input_of

# Inputs a target: some two seconds of each; peers make whole nodes, and stock is asked over sockets.
COUNTS = {
    "primaries": 40,
    "replicas": 60,
    "beside": 60,
    "commands": 120,
    "conversations": 150,
    "strangers": 150,
    "lua": 300,
}
SEEDS = range(1_000_000, 1_000_000 + 400)


@pytest.mark.parametrize("name", TARGETS)
def test_a_slice_of_each_target_meets_refusals_only(name: str) -> None:
    for seed in SEEDS[: COUNTS.get(name, len(SEEDS))]:
        try:
            attempt(TARGETS[name], input_of(name, seed))
        except Exception as problem:
            raise AssertionError(f"python -m tests.fuzz --target {name} --seed {seed}") from problem


def test_what_failed_once_fails_no_more() -> None:
    tried = 0
    for name, value in corpus():
        attempt(TARGETS[name], value)
        tried += 1
    assert tried > 20
