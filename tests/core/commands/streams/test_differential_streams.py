"""Streams answer as stock servers do: the same random commands to both, replies and digests compared."""

from __future__ import annotations

import os
from contextlib import closing
from random import Random
from typing import Any

import pytest

from tests.support.differential import compare
from tests.support.harness import Harness
from tests.support.stock import Wire, binary, running
from tests.support.stream_commands import Commands

LONG = 50 if os.environ.get("REPLICATOR_LONG") else 1
# Times of two servers differ: fields of XINFO whose values are left out.
TIMES = (b"idle", b"seen-time")


def timeless(answer: Any) -> Any:
    """XINFO's answer without times; maps (RESP3) as flat lists."""
    if isinstance(answer, dict):
        answer = [item for pair in answer.items() for item in pair]
    if not isinstance(answer, list):
        return answer
    left = [timeless(item) for item in answer]
    for at, item in enumerate(left[:-1]):
        if isinstance(item, bytes) and item in TIMES:
            left[at + 1] = "time"
        if item == b"lag" and left[at + 1] is not None:
            left[at + 1] = "a number"  # stock's may be wrong, even negative
        if item == b"pending" and isinstance(left[at + 1], list):
            # [id, consumer, time, count] of a group, [id, time, count] of a consumer
            left[at + 1] = [[*entry[:-2], "time", entry[-1]] for entry in left[at + 1]]
    return left


def normalize(argv: list[bytes], answer: Any) -> Any:
    """Leave out what the time of day decides."""
    name = argv[0].upper()
    if name == b"XINFO":
        return timeless(answer)
    if name == b"XPENDING" and isinstance(answer, list) and len(argv) > 3:
        return [[entry[0], entry[1], "time", entry[3]] for entry in answer]
    if isinstance(answer, dict):
        return list(answer.items())
    return answer


def run(engine: str, seed: int, rounds: int, protocol: int) -> None:
    with running(engine) as port, closing(Wire(port)) as wire:
        if protocol == 3:
            wire.call("HELLO", 3)
        for at in range(rounds):
            node = Harness()
            node.first.use_protocol(protocol)
            node.first.deny_blocking = True
            compare([[b"SET", b"txt", b"1"], *Commands(Random(seed + at)).take(400)], wire, node, normalize)


@pytest.mark.skipif(not binary("redis7"), reason="no Redis 7.0 here")
@pytest.mark.parametrize("protocol", [2, 3])
def test_random_commands_get_the_replies_and_leave_the_data_of_redis_7(protocol: int) -> None:
    run("redis7", 1000 * protocol, 10 * LONG if protocol == 2 else 4 * LONG, protocol)
