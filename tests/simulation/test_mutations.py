"""The simulation bites: mutants are caught. All of them by `make sim` (docs/mutations.md); here those that show at
once."""

from __future__ import annotations

import pytest

from replicator.search.run import prepared, try_seed
from tests.simulation.mutations import MUTANTS, Mutant, at_work, hunt
from tests.support.arenas import ARENAS

QUICK = (
    "forget replid2", "second offset one too low", "window trimmed under its readers", "stale acks count",
    "WAIT looks at the write before", "backlog dropped, id kept", "no SELECT in the stream",
    "fsync skipped", "reply before fsync", "old files go first", "the fork comes too early", "tail not truncated",
)  # fmt: skip


@pytest.mark.parametrize("name", QUICK)
def test_a_mutant_is_caught(name: str) -> None:
    (mutant,) = (one for one in MUTANTS if one.name == name)
    assert hunt(mutant, 4) is not None


@pytest.mark.parametrize(
    "arena", ["crash", "lonely", "chain", "wait", "handover", "lag", "ttl", "flood", "storm", "transactions"]
)
def test_the_sound_node_is_not(arena: str) -> None:
    for seed in range(2):
        found = try_seed(prepared(ARENAS[arena], seed), arena, "", seed)
        assert found.ok, found.objections


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_every_mutant_still_finds_what_it_breaks(mutant: Mutant) -> None:
    with at_work(mutant):
        pass
