"""The live driver passes the conformance suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.live import LiveWorld
from tests.conformance.streams import Check
from tests.conformance.suite import checks_for, name_of


@pytest.fixture
def world() -> Iterator[LiveWorld]:
    """A live world, ended after the test."""
    made = LiveWorld()
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("check", checks_for(LiveWorld.can), ids=name_of)
def test_the_live_driver(check: Check, world: LiveWorld) -> None:
    check(world)
