"""Sorted sets answer as stock servers do: the same random commands to both, replies and digests compared."""

from __future__ import annotations

import os
from contextlib import closing
from random import Random
from typing import Any

import hiredis
import pytest

from tests.support.differential import compare
from tests.support.harness import Harness
from tests.support.sorted_set_commands import Commands
from tests.support.stock import Wire, binary, running

LONG = 50 if os.environ.get("REPLICATOR_LONG") else 1


def normalize(argv: list[bytes], answer: Any) -> Any:
    """Random members are compared by their number; a single one by its being there."""
    if argv[0].upper() == b"ZRANDMEMBER":
        return len(answer) if isinstance(answer, list) else isinstance(answer, bytes) or answer
    if argv[0].upper() == b"ZSCAN" and isinstance(answer, list):
        return answer[0], sorted(zip(answer[1][::2], answer[1][1::2], strict=True))
    return answer


def wordless(argv: list[bytes], answer: Any) -> Any:
    """Other servers word their errors otherwise: compared is that there is one."""
    return "error" if isinstance(answer, hiredis.ReplyError) else normalize(argv, answer)


def run(engine: str, seed: int, rounds: int, protocol: int, odd: bool) -> None:
    with running(engine) as port, closing(Wire(port)) as wire:
        if protocol == 3:
            wire.call("HELLO", 3)
        for at in range(rounds):
            node = Harness()
            node.first.use_protocol(protocol)
            node.first.deny_blocking = True
            commands = [[b"SET", b"txt", b"1"], *Commands(Random(seed + at), odd).take(400)]
            compare(commands, wire, node, normalize if engine == "redis7" else wordless)


@pytest.mark.skipif(not binary("redis7"), reason="no Redis 7.0 here")
@pytest.mark.parametrize("protocol", [2, 3])
def test_random_commands_get_the_replies_and_leave_the_data_of_redis_7(protocol: int) -> None:
    run("redis7", 1000 * protocol, 10 * LONG if protocol == 2 else 5 * LONG, protocol, odd=True)


@pytest.mark.skipif(not binary("valkey9"), reason="no Valkey here")
def test_random_commands_leave_the_data_of_valkey_9() -> None:
    run("valkey9", 5000, 2 * LONG, 2, odd=False)
