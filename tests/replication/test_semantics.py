"""What a replica shows and keeps, step by step: whole nodes in one thread, so that every moment can be looked at."""

from __future__ import annotations

from typing import Any

import hiredis
import pytest

from replicator.core import events as told
from tests.support.replication_world import End, Member, World


@pytest.fixture
def pair() -> tuple[World, Member, Member]:
    world = World("semantics", 2)
    world.start(("repl-diskless-sync-delay", "0"), ("save", '""'))
    primary, replica = world.members
    replica.call("REPLICAOF", "127.0.0.1", primary.port)
    world.settle(2000)
    assert replica.node.replica.up
    return world, primary, replica


def test_no_part_of_a_transaction_is_ever_visible(pair: tuple[World, Member, Member]) -> None:
    world, primary, replica = pair
    seen = set()
    for number in range(1, 4):
        primary.pipeline([("MULTI",), ("SET", "a", number), ("SET", "b", number), ("INCR", "c"), ("EXEC",)])
        (end,) = [end for end in world.links if not end.closed]
        while world._deliver(end, 1):
            a, b, c = replica.pipeline([("GET", "a"), ("GET", "b"), ("GET", "c")])
            assert a == b == c
            seen.add(a)
    assert seen == {None, b"1", b"2", b"3"}


def test_an_expired_key_is_hidden_on_a_replica_before_its_del_comes(pair: tuple[World, Member, Member]) -> None:
    world, primary, replica = pair
    primary.call("SET", "k", "v", "PX", 100)
    world.settle()
    world.pass_time(200)  # the DEL is on its way
    assert replica.pipeline([("GET", "k"), ("EXISTS", "k"), ("TTL", "k"), ("TYPE", "k")]) == [None, 0, -2, b"none"]
    assert replica.call("DBSIZE") == 1
    world.settle()
    assert replica.call("DBSIZE") == 0


def test_a_writable_replica_expires_the_keys_of_its_own_clients(pair: tuple[World, Member, Member]) -> None:
    world, primary, replica = pair
    world.writable_replicas = True
    replica.call("CONFIG", "SET", "replica-read-only", "no")
    replica.call("SET", "mine", "v", "PX", 100)
    primary.call("SET", "theirs", "v", "PX", 100_000)
    world.settle()
    assert b"slave_expires_tracked_keys:1\r\n" in replica.call("INFO", "stats")
    offset = replica.node.outgoing.offset()
    world.pass_time(2000)
    assert replica.call("DBSIZE") == 1
    assert b"slave_expires_tracked_keys:0\r\n" in replica.call("INFO", "stats")
    assert replica.node.outgoing.offset() == offset


def test_the_stream_stands_still_while_writes_are_paused(pair: tuple[World, Member, Member]) -> None:
    world, primary, _ = pair
    primary.call("SET", "k", "v", "PX", 100)
    primary.call("CLIENT", "PAUSE", 60_000, "WRITE")
    end = primary.node.outgoing.offset()
    world.pass_time(15_000)
    assert primary.call("GET", "k") is None
    assert primary.node.outgoing.offset() == end
    primary.call("CLIENT", "UNPAUSE")
    world.pass_time(10)
    assert primary.node.outgoing.offset() > end
    assert primary.call("DBSIZE") == 0


def test_a_published_message_reaches_subscribers_of_a_replica(pair: tuple[World, Member, Member]) -> None:
    world, primary, replica = pair
    replica._conns += 1
    end = End(replica, replica._conns)
    replica.ends[end.conn] = end
    replica.tell(told.Opened(end.conn, "127.0.0.1", 1, "127.0.0.1", replica.port))
    replica.tell(told.Received(end.conn, hiredis.pack_command(("SUBSCRIBE", "channel"))))
    end.replies.clear()
    primary.call("PUBLISH", "channel", "message")
    world.settle()
    assert bytes(end.replies) == b"*3\r\n$7\r\nmessage\r\n$7\r\nchannel\r\n$7\r\nmessage\r\n"


def test_a_waiting_reader_on_a_replica_is_served_by_the_stream_after_the_whole_transaction(
    pair: tuple[World, Member, Member],
) -> None:
    world, primary, replica = pair
    replica._conns += 1
    end = End(replica, replica._conns)
    replica.ends[end.conn] = end
    replica.tell(told.Opened(end.conn, "127.0.0.1", 1, "127.0.0.1", replica.port))
    replica.tell(told.Received(end.conn, hiredis.pack_command(("XREAD", "BLOCK", "0", "STREAMS", "s", "$"))))
    primary.pipeline([("MULTI",), ("XADD", "s", "1-1", "f", "1"), ("XADD", "s", "1-2", "f", "2"), ("EXEC",)])
    world.settle()
    reader = hiredis.Reader()
    reader.feed(bytes(end.replies))
    answer: Any = reader.gets()
    assert [entry[0] for entry in answer[0][1]] == [b"1-1", b"1-2"]


@pytest.mark.parametrize("options", [(), ("TO",), ("TIMEOUT",)])
def test_failover_loses_nothing_and_both_sides_continue_partially(
    pair: tuple[World, Member, Member], options: tuple[str, ...]
) -> None:
    world, primary, replica = pair
    for number in range(20):
        primary.call("SET", number, number)
    argv: list[str | int] = ["FAILOVER"]
    if "TO" in options:
        argv += ["TO", "127.0.0.1", replica.port]
    if "TIMEOUT" in options:
        argv += ["TIMEOUT", 5000]
    assert primary.call(*argv) == b"OK"
    assert primary.call("SET", "paused", "1") is None  # it waits
    world.settle(3000)
    assert replica.call("ROLE")[0] == b"master"
    assert primary.call("ROLE")[0] == b"slave"
    assert replica.call("DBSIZE") == 20
    assert b"sync_full:0\r\n" in replica.call("INFO", "stats")
    assert b"sync_partial_ok:1\r\n" in replica.call("INFO", "stats")
