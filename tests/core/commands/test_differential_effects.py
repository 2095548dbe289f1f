"""What replicas are told is what a stock primary tells them: its replication stream against our effects."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from random import Random

import hiredis
import pytest

from tests.support import geo_commands, sorted_set_commands, stream_commands
from tests.support.harness import Harness
from tests.support.stock import Wire, binary, running

LONG = 20 if os.environ.get("REPLICATOR_LONG") else 1
MARK = b"the last command"
Take = Callable[[Random, int], list[list[bytes]]]
FAMILIES: dict[str, Take] = {
    "sorted sets": lambda chance, count: sorted_set_commands.Commands(chance).take(count),
    "streams": lambda chance, count: stream_commands.Commands(chance).take(count),
    "geo": lambda chance, count: geo_commands.Commands(chance).take(count),
}


def follow(port: int) -> Wire:
    """A connection that is past its full synchronization: what comes now is the replication stream."""
    replica = Wire(port)
    replica.call("REPLCONF", "capa", "eof")
    replica.send("PSYNC", "?", "-1")
    data = b""
    while True:
        data += replica.sock.recv(1 << 16)
        at = data.find(b"$EOF:")
        if at >= 0 and len(data) >= at + 45 and data.find(data[at + 5 : at + 45], at + 45) >= 0:
            break
    replica.sock.settimeout(0.2)
    return replica


def told(replica: Wire) -> list[list[bytes]]:
    """The stream's commands up to the mark, without what only frames them."""
    commands: list[list[bytes]] = []
    for _ in range(100):
        # the stream begins with the first acknowledgement that comes after the primary has seen its snapshot off
        replica.send("REPLCONF", "ACK", 0)
        try:
            return read_told(replica, commands)
        except TimeoutError:
            continue
    raise AssertionError("the stock primary does not stream")


def read_told(replica: Wire, commands: list[list[bytes]]) -> list[list[bytes]]:
    """Add what comes, up to the mark, to the commands, and return them."""
    while MARK not in (argv := replica.read()):
        if argv[0].upper() not in (b"SELECT", b"MULTI", b"EXEC", b"PING", b"REPLCONF"):
            commands.append(timeless(argv))
    return commands


def timeless(argv: list[bytes]) -> list[bytes]:
    """XCLAIM without the time of day."""
    if argv[0].upper() == b"XCLAIM" and b"TIME" in argv:
        argv[argv.index(b"TIME") + 1] = b"now"
    return argv


@pytest.mark.skipif(not binary("redis7"), reason="no Redis 7.0 here")
@pytest.mark.parametrize("family", FAMILIES)
def test_effects_are_the_replication_stream_of_redis_7(family: str) -> None:
    with running("redis7", "--repl-diskless-sync-delay", "0") as port, closing(Wire(port)) as wire:
        for seed in range(2 * LONG):
            wire.call("FLUSHALL")
            commands = [[b"SET", b"txt", b"1"], *FAMILIES[family](Random(seed), 400)]
            commands = [argv for argv in commands if b"ANY" not in argv]  # chooses among equals
            with closing(follow(port)) as replica:
                for argv in commands:
                    wire.call(*argv)
                wire.call("SET", MARK, "1")
                stock = told(replica)
            node = Harness()
            node.first.deny_blocking = True
            ours = []
            for argv in commands:
                answer = node.call(*argv)
                assert not isinstance(answer, hiredis.ReplyError) or not node.keyspace.recorded
                ours += [timeless(effect) for _, effect in node.drain_effects()]
            assert ours == stock
