"""proto-max-bulk-len acts on what clients send, both ways; our primary is not held to it. Asked of Redis 7.0.15."""

from __future__ import annotations

import pytest

from tests.support.nodes import NOTHING, LocalNode
from tests.support.replication_world import World

MEGABYTE = 1 << 20


@pytest.mark.parametrize("portion", [1 << 16, 1 << 24])
@pytest.mark.parametrize(("size", "taken"), [(MEGABYTE, True), (MEGABYTE + 1, False), (2 * MEGABYTE, False)])
def test_a_lowered_limit_is_a_protocol_error(size: int, taken: bool, portion: int) -> None:
    node = LocalNode()
    client = node.open()
    assert client.send("CONFIG", "SET", "proto-max-bulk-len", MEGABYTE) == b"OK"
    request = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%b\r\n" % (size, b"x" * size)
    for at in range(0, len(request), portion):
        if not client.closed:
            client.receive(request[at : at + portion])
    answers = client.read()
    assert [str(answer) for answer in answers] == ["b'OK'" if taken else "ERR Protocol error: invalid bulk length"]
    assert client.closed is not taken


@pytest.mark.parametrize("when", ["start", "run time"])
def test_a_raised_limit_lets_larger_requests_begin(when: str) -> None:
    node = LocalNode(*(("--proto-max-bulk-len", "2gb") if when == "start" else ()))
    before = node.open()
    if when != "start":
        assert before.send("CONFIG", "SET", "proto-max-bulk-len", "2gb") == b"OK"
    for client in (before, node.open()):
        client.receive(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$600000000\r\n")
        assert client.reader.gets() is NOTHING
        assert not client.closed
    last = node.open()
    last.receive(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % (2 * 1024 * MEGABYTE + 1))
    assert str(last.read()[0]) == "ERR Protocol error: invalid bulk length"


def test_a_replica_with_a_lower_limit_takes_what_its_primary_took() -> None:
    world = World("bulks", 2)
    world.start(("repl-diskless-sync-delay", "0"), ("save", '""'))
    primary, replica = world.members
    replica.call("REPLICAOF", "127.0.0.1", primary.port)
    world.settle(2000)
    replica.call("CONFIG", "SET", "proto-max-bulk-len", MEGABYTE)
    primary.call("SET", "k", "x" * (2 * MEGABYTE))
    world.settle()
    assert replica.call("STRLEN", "k") == 2 * MEGABYTE
    assert replica.node.replica.up
