"""Geospatial commands answer as stock servers do: the same random commands to both, replies and digests compared."""

from __future__ import annotations

import os
from contextlib import closing
from random import Random
from typing import Any

import hiredis
import pytest

from tests.support.differential import compare
from tests.support.geo_commands import Commands
from tests.support.harness import Harness
from tests.support.stock import Wire, binary, running

LONG = 50 if os.environ.get("REPLICATOR_LONG") else 1


def normalize(argv: list[bytes], answer: Any) -> Any:
    """Without ASC or DESC the order of a search is nobody's promise; with COUNT and ANY neither is the choice."""
    if not argv[0].upper().startswith((b"GEOSEARCH", b"GEORADIUS")) or not isinstance(answer, list):
        return answer
    words = [word.lower() for word in argv]
    if b"any" in words:
        return len(answer)
    if b"asc" in words or b"desc" in words or b"count" in words:
        return answer
    return sorted(answer, key=repr)


def storable(argv: list[bytes], engine: str) -> bool:
    """Whether a command stores what both sides must choose and (in digests) print alike."""
    words = [word.lower() for word in argv]
    if engine != "redis7" and b"storedist" in words:
        return False
    stores = words[0] == b"geosearchstore" or b"store" in words or b"storedist" in words
    return not (stores and b"any" in words)


def wordless(argv: list[bytes], answer: Any) -> Any:
    """Other servers word their errors otherwise: compared is that there is one."""
    return "error" if isinstance(answer, hiredis.ReplyError) else normalize(argv, answer)


def run(engine: str, seed: int, rounds: int, protocol: int) -> None:
    with running(engine) as port, closing(Wire(port)) as wire:
        if protocol == 3:
            wire.call("HELLO", 3)
        for at in range(rounds):
            node = Harness()
            node.first.use_protocol(protocol)
            commands = [argv for argv in Commands(Random(seed + at)).take(400) if storable(argv, engine)]
            compare([[b"SET", b"txt", b"1"], *commands], wire, node, normalize if engine == "redis7" else wordless)


@pytest.mark.skipif(not binary("redis7"), reason="no Redis 7.0 here")
@pytest.mark.parametrize("protocol", [2, 3])
def test_random_commands_get_the_replies_and_leave_the_data_of_redis_7(protocol: int) -> None:
    run("redis7", 1000 * protocol, 6 * LONG if protocol == 2 else 3 * LONG, protocol)


@pytest.mark.skipif(not binary("valkey9"), reason="no Valkey here")
def test_random_commands_leave_the_data_of_valkey_9() -> None:
    run("valkey9", 5000, 2 * LONG, 2)
