"""The same scripts to Redis 7.0 and to us: the replies are equal, byte by byte, in both protocols."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.random_scripts import scripts
from tests.support.stock_wire import pair

HAND_WRITTEN = [
    script
    for script in (Path(__file__).parent / "scripts.txt").read_text(encoding="utf-8").rstrip("\n").split("\n--\n")
    if script.strip()
]
COUNT = 15_000 if os.environ.get("REPLICATOR_LONG") else 700


@pytest.mark.parametrize("protocol", [2, 3])
def test_hand_written_scripts_answer_as_redis_7_does(protocol: int) -> None:
    assert len(HAND_WRITTEN) > 600
    with pair(protocol) as both:
        different = []
        for script in HAND_WRITTEN:
            ours, theirs = both.raw("EVAL", script, "1", "k", "a1")
            if ours != theirs:
                different.append((script, ours, theirs))
        assert different == []


@pytest.mark.parametrize("protocol", [2, 3])
def test_random_scripts_answer_as_redis_7_does(protocol: int) -> None:
    with pair(protocol) as both:
        for script in scripts(protocol, COUNT):
            ours, theirs = both.raw("EVAL", script, "1", "k", "a1")
            assert ours == theirs, script
