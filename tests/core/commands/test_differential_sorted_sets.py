"""Sorted sets answer as stock servers do: the same random commands to both, replies and digests compared."""

from __future__ import annotations

import os
from random import Random
from typing import Any

import pytest

from tests.core.commands.sorted_set_commands import Commands
from tests.differential import compare
from tests.harness import Harness
from tests.stock import Wire, binary, running

LONG = 50 if os.environ.get("REPLICATOR_LONG") else 1
ENGINES = [engine for engine in ("redis7", "redis6", "valkey9") if binary(engine)]


def normalize(argv: list[bytes], answer: Any) -> Any:
    """Random members are compared by their number; a single one by its being there."""
    if argv[0].upper() == b"ZRANDMEMBER":
        return len(answer) if isinstance(answer, list) else isinstance(answer, bytes) or answer
    if argv[0].upper() == b"ZSCAN" and isinstance(answer, list):
        return answer[0], sorted(zip(answer[1][::2], answer[1][1::2], strict=True))
    return answer


def run(engine: str, seed: int, rounds: int, protocol: int, odd: bool, names: frozenset[bytes] | None = None) -> None:
    with running(engine) as port:
        wire = Wire(port)
        if protocol == 3:
            wire.call("HELLO", 3)
        for at in range(rounds):
            node = Harness()
            node.first.use_protocol(protocol)
            node.first.deny_blocking = True
            commands = [[b"SET", b"txt", b"1"], *Commands(Random(seed + at), odd).take(400)]
            if names is not None:
                commands = [argv for argv in commands if argv[0].upper() not in names]
            compare(commands, wire, node, normalize)
        wire.close()


@pytest.mark.skipif("redis7" not in ENGINES, reason="no Redis 7.0 here")
@pytest.mark.parametrize("protocol", [2, 3])
def test_random_commands_get_the_replies_and_leave_the_data_of_redis_7(protocol: int) -> None:
    run("redis7", 1000 * protocol, 5 * LONG * (protocol == 2) * 2 or 5 * LONG, protocol, odd=True)


@pytest.mark.skipif("valkey9" not in ENGINES, reason="no Valkey here")
def test_random_commands_leave_the_data_of_valkey_9() -> None:
    run("valkey9", 5000, 2 * LONG, 2, odd=False)
