"""maxmemory: met at once, by what clients make us keep too, and never in the middle of a transaction or a script.

The expected values were asked of Redis 7.0.15.
"""

from __future__ import annotations

from typing import Any

import pytest

from replicator.core.events import OutputPending
from tests.support.nodes import LocalClient, LocalNode
from tests.support.replication_world import World


def fill(client: LocalClient, count: int) -> None:
    for number in range(count):
        client.send("SET", f"k{number}", "x" * 1000)


@pytest.mark.parametrize("policy", ["allkeys-random", "allkeys-lru", "allkeys-lfu"])
@pytest.mark.parametrize("first", ["maxmemory", "maxmemory-policy"])
def test_a_lowered_limit_is_met_without_waiting_for_a_write(policy: str, first: str) -> None:
    node = LocalNode()
    client = node.open()
    fill(client, 3000)  # more than go in one step
    settings = {"maxmemory": "1", "maxmemory-policy": policy}
    for name in sorted(settings, key=lambda name: name != first):
        assert client.send("CONFIG", "SET", name, settings[name]) == b"OK"
    node.advance(1)
    assert client.send("DBSIZE") == 0
    assert str(client.send("SET", "k", "v")) == "OOM command not allowed when used memory > 'maxmemory'."


def test_without_a_policy_a_lowered_limit_takes_nothing_away() -> None:
    node = LocalNode()
    client = node.open()
    fill(client, 10)
    client.send("CONFIG", "SET", "maxmemory", "1")
    node.advance(1000)
    assert [client.send("DBSIZE"), client.send("GET", "k1")] == [10, b"x" * 1000]


def test_a_small_limit_leaves_room_on_an_empty_node() -> None:
    client = LocalNode("--maxmemory", "4mb").open()
    assert client.send("SET", "k", "v") == b"OK"


@pytest.mark.parametrize(("ignores", "left"), [("no", 0), ("yes", 20)])
def test_a_replica_evicts_by_itself_only_where_it_must_not_ignore_its_limit(ignores: str, left: int) -> None:
    world = World("evicting", 2)
    world.writable_replicas = True  # it has less data at the same offset, as it was told to
    world.start(("repl-diskless-sync-delay", "0"), ("save", '""'))
    primary, replica = world.members
    replica.call("REPLICAOF", "127.0.0.1", primary.port)
    world.settle(2000)
    replica.call("CONFIG", "SET", "maxmemory-policy", "allkeys-random", "maxmemory", "1")
    replica.call("CONFIG", "SET", "replica-ignore-maxmemory", ignores)
    for number in range(20):
        primary.call("SET", f"k{number}", "v")
    world.settle(500)
    assert replica.call("DBSIZE") == left
    assert primary.call("DBSIZE") == 20
    assert replica.node.history.end == primary.node.history.end


# -- what clients make us keep -----------------------------------------------------------------------------------------


def crowded() -> tuple[LocalNode, LocalClient]:
    """A node whose data takes little of its limit of 5 MB."""
    node = LocalNode("--maxmemory", "5mb", "--maxmemory-policy", "allkeys-random")
    client = node.open()
    fill(client, 500)
    node.advance(500)
    assert client.send("DBSIZE") == 500
    return node, client


def unread_replies(node: LocalNode) -> LocalClient:
    other = node.open()
    node.handle(OutputPending(other.conn, 5_000_000))
    return other


def half_a_request(node: LocalNode) -> LocalClient:
    other = node.open()
    other.receive(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5000000\r\n" + b"x" * 4_900_000)
    return other


def unread_messages(node: LocalNode) -> LocalClient:
    other = node.open()
    other.send("SUBSCRIBE", "c")
    node.handle(OutputPending(other.conn, 5_000_000))
    return other


@pytest.mark.parametrize("keep", [unread_replies, half_a_request, unread_messages])
def test_what_clients_make_us_keep_counts(keep: Any) -> None:
    node, client = crowded()
    other = keep(node)
    node.advance(200)
    assert client.send("DBSIZE") == 0
    assert b"used_memory:6" in client.send("INFO", "memory") or b"used_memory:5" in client.send("INFO", "memory")
    other.close()
    node.advance(200)
    assert client.send("SET", "k", "v") == b"OK"


def test_without_a_policy_what_clients_make_us_keep_refuses_writes() -> None:
    node = LocalNode("--maxmemory", "4mb")
    client = node.open()
    assert client.send("SET", "k", "v") == b"OK"
    other = unread_replies(node)
    node.advance(200)
    assert str(client.send("SET", "k", "v")).startswith("OOM")
    assert client.send("GET", "k") == b"v"
    other.close()
    node.advance(200)
    assert client.send("SET", "k", "v") == b"OK"


@pytest.mark.parametrize("how", ["tracking", "redirected"])
def test_messages_about_evicted_keys_evict_no_more_keys(how: str) -> None:
    node, client = crowded()
    other = node.open()
    if how == "tracking":
        other.send("HELLO", 3)
        other.send("CLIENT", "TRACKING", "ON", "BCAST")
    else:
        other.send("SUBSCRIBE", "__redis__:invalidate")
    node.handle(OutputPending(other.conn, 5_000_000))
    node.advance(500)
    assert client.send("DBSIZE") == 500


# -- in order ----------------------------------------------------------------------------------------------------------


def test_keys_go_before_a_transaction_or_a_script_and_never_within() -> None:
    world = World("evicting in order", 2)
    world.start(("repl-diskless-sync-delay", "0"), ("save", '""'))
    primary, replica = world.members
    replica.call("REPLICAOF", "127.0.0.1", primary.port)
    world.settle(2000)
    for number in range(3):
        primary.call("SET", f"old{number}", "x" * 100_000)
    used = primary.node.evictor.used_memory()
    primary.call("CONFIG", "SET", "maxmemory", used + 50_000, "maxmemory-policy", "allkeys-lru")
    primary.pipeline([("MULTI",), ("SET", "a", "x" * 100_000), ("SET", "b", "x" * 100_000), ("EXEC",)])
    begin = primary.node.outgoing.offset()
    primary.pipeline([("MULTI",), ("SET", "c", "x" * 10), ("SET", "d", "x" * 10), ("EXEC",)])
    first = [line[:7] for line in primary.stream_since(begin)]
    assert first[-4:] == ["MULTI", "SET c x", "SET d x", "EXEC"]
    assert {line[:3] for line in first[:-4]} == {"DEL"}
    primary.call("SET", "e", "x" * 200_000)
    begin = primary.node.outgoing.offset()
    primary.call(
        "EVAL", "redis.call('set', 'f', 1) redis.call('set', 'g', string.rep('x', 200000)) redis.call('set', 'h', 1)", 0
    )
    second = [line[:7] for line in primary.stream_since(begin)]
    at = second.index("MULTI")
    assert second[at:] == ["MULTI", "set f 1", "set g x", "set h 1", "EXEC"]
    assert at > 0
    assert {line[:3] for line in second[:at]} == {"DEL"}
    world.settle(500)


# -- what INFO and OBJECT tell of it -----------------------------------------------------------------------------------


def test_what_the_window_keeps_for_a_slow_replica_is_the_replicas_until_it_is_gone() -> None:
    world = World("buffers", 2)
    world.start(("repl-diskless-sync-delay", "0"), ("save", '""'), ("repl-backlog-size", "16384"))
    primary, replica = world.members
    replica.call("REPLICAOF", "127.0.0.1", primary.port)
    world.settle(2000)

    def memory() -> list[int]:
        text = primary.call("INFO", "memory").decode()
        seen = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        names = ("mem_replication_backlog", "mem_clients_slaves", "mem_total_replication_buffers")
        return [int(seen[name]) for name in names]

    for number in range(40):
        primary.call("SET", f"k{number}", "x" * 100_000)  # nothing is delivered meanwhile
    backlog, slaves, total = memory()
    assert backlog <= 16384
    assert slaves > 3_900_000
    assert total == backlog + slaves
    replica.stop()
    world.settle(1000)
    assert memory()[1] < 200_000
    assert memory()[2] < 200_000


@pytest.mark.parametrize(
    ("limit", "policy", "shared"),
    [("0", "allkeys-lru", True), ("100mb", "noeviction", True), ("100mb", "allkeys-lru", False),
     ("100mb", "volatile-lfu", False), ("100mb", "allkeys-random", True)],
)  # fmt: skip
def test_small_integers_are_shared_unless_each_needs_a_clock(limit: str, policy: str, shared: bool) -> None:
    client = LocalNode("--maxmemory", limit, "--maxmemory-policy", policy).open()
    client.send("SET", "k", 5)
    assert client.send("OBJECT", "REFCOUNT", "k") == (2**31 - 1 if shared else 1)


def listed(node: LocalNode, name: str) -> dict[str, int]:
    """The numbers of one client's line."""
    line = next(line for line in node.open().send("CLIENT", "LIST").split(b"\n") if b"name=%b " % name.encode() in line)
    pairs = (part.split("=", 1) for part in line.decode().split(" ") if "=" in part)
    return {key: int(value) for key, value in pairs if value.lstrip("-").isdigit()}


def test_the_input_buffer_of_half_a_request_shows() -> None:
    # Stock, of a bulk of 20,000 bytes whose first 9,000 have come: qbuf=9000 qbuf-free=11474, and both are in tot-mem.
    node = LocalNode()
    client = node.open()
    client.send("CLIENT", "SETNAME", "half")
    idle = listed(node, "half")
    assert (idle["qbuf"], idle["qbuf-free"]) == (0, 0)
    client.receive(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n")
    for _ in range(4):
        client.receive(b"x" * 8192)
    half = listed(node, "half")
    assert 32768 <= half["qbuf"] < 32768 + 100
    buffer = client.session.decoder.unfinished._buffer
    assert half["qbuf-free"] >= buffer.__alloc__() - len(buffer) > 0
    assert half["tot-mem"] - idle["tot-mem"] == half["qbuf"] + half["qbuf-free"]
    client.receive(b"x" * (100000 - 32768) + b"\r\n")
    over = listed(node, "half")
    assert (over["qbuf"], over["qbuf-free"], over["tot-mem"]) == (0, 0, idle["tot-mem"])


def test_the_output_queue_of_a_client_that_does_not_read_shows() -> None:
    # Stock, of a reply of 8,000,000 bytes: obl=0 oll=1 omem=8388632, and omem is in tot-mem.
    node = LocalNode()
    client = node.open()
    client.send("CLIENT", "SETNAME", "slow")
    idle = listed(node, "slow")
    node.handle(OutputPending(client.conn, 8_000_000))
    slow = listed(node, "slow")
    assert (slow["obl"], slow["oll"], slow["omem"]) == (0, 1, 8_000_000)
    assert slow["tot-mem"] - idle["tot-mem"] == 8_000_000
    node.handle(OutputPending(client.conn, 0))
    assert listed(node, "slow")["oll"] == 0
