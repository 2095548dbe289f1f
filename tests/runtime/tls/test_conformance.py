"""The live driver passes the conformance suite over TLS too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.encrypted import EncryptedWorld
from tests.conformance.streams import Check
from tests.conformance.suite import checks_for, name_of
from tests.support.tls import Papers


@pytest.fixture
def world(papers: Papers) -> Iterator[EncryptedWorld]:
    """An encrypted world, ended after the test."""
    made = EncryptedWorld(papers)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("check", checks_for(EncryptedWorld.can), ids=name_of)
def test_the_live_driver_over_tls(check: Check, world: EncryptedWorld) -> None:
    check(world)
