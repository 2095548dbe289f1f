"""All checks that a driver must pass; test_live.py runs them against the live one.

A driver's test file says:

    @pytest.fixture
    def world(): ...                       # yields a World, ends it afterwards

    @pytest.mark.parametrize("check", checks_for(MyWorld.can), ids=name_of)
    def test_driver(check, world): check(world)
"""

from __future__ import annotations

from tests.conformance import files, links, snapshots, streams
from tests.conformance.streams import Check

NEEDS: list[tuple[frozenset[str], list[Check]]] = [
    (frozenset(), streams.CHECKS),
    (frozenset(), links.CHECKS),
    (frozenset({"silence"}), links.SILENCE_CHECKS),
    (frozenset({"files"}), files.CHECKS),
    (frozenset({"files", "snapshots"}), snapshots.CHECKS),
]


def checks_for(can: frozenset[str]) -> list[Check]:
    """Every check whose capabilities the world has."""
    return [check for needs, checks in NEEDS if needs <= can for check in checks]


def name_of(check: Check) -> str:
    """A check's name, for pytest's ids."""
    return check.__name__
