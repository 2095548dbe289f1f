"""Fixtures of the live driver's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.live import LiveWorld
from tests.support.spawn import Spawned

Spawn = Callable[..., Spawned]


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """spawn(**fields of ServeOptions): a toy server process, ended after the test."""
    made: list[Spawned] = []

    def start(**options: Any) -> Spawned:
        folder = tmp_path / f"server-{len(made)}"
        folder.mkdir()
        made.append(Spawned(folder, **options))
        return made[-1]

    yield start
    for server in made:
        server.end()


@pytest.fixture
def world() -> Iterator[LiveWorld]:
    """A live world, ended after the test."""
    made = LiveWorld()
    try:
        yield made
    finally:
        made.close()
