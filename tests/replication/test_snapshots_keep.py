"""What a full copy, a restart and DEBUG RELOAD keep beside the values: a stream's counters, and how keys were used.

The expected values were asked of Redis 7.0.15.
"""

from __future__ import annotations

from typing import Any

import pytest

from replicator.core.wire.rdb import RdbReader
from tests.support.rdb_collector import Collector
from tests.support.replication_world import Member, World


def world_of(*directives: tuple[str, str]) -> World:
    world = World("keeping", 2)
    world.start(("repl-diskless-sync-delay", "0"), ("save", '""'), ("enable-debug-command", "yes"), *directives)
    return world


def attach(world: World) -> Member:
    primary, replica = world.members
    replica.call("REPLICAOF", "127.0.0.1", primary.port)
    world.settle(2000)
    assert replica.node.replica.up
    return replica


def restart(world: World, member: Member) -> Member:
    assert member.call("SAVE") == b"OK"
    member.stop()
    member.start()
    world.settle(1000)
    return member


def reload(world: World, member: Member) -> Member:
    assert member.call("DEBUG", "RELOAD") == b"OK"
    return member


def counters(member: Member) -> list[Any]:
    """entries-added, max-deleted-entry-id, and the group's entries-read."""
    fields = member.call("XINFO", "STREAM", "s", "FULL")
    stream = dict(zip(fields[::2], fields[1::2], strict=True))
    group = dict(zip(stream[b"groups"][0][::2], stream[b"groups"][0][1::2], strict=True))
    return [stream[b"entries-added"], stream[b"max-deleted-entry-id"], group[b"entries-read"]]


def fill_stream(member: Member) -> None:
    for number in (1, 2, 3):
        member.call("XADD", "s", f"{number}-1", "a", "b")
    member.call("XGROUP", "CREATE", "s", "g", "0")
    member.call("XREADGROUP", "GROUP", "g", "c", "COUNT", 2, "STREAMS", "s", ">")
    member.call("XDEL", "s", "1-1")


@pytest.mark.parametrize("diskless", ["yes", "no"])
def test_a_stream_keeps_its_counters_on_a_replica(diskless: str) -> None:
    world = world_of(("repl-diskless-sync", diskless))
    fill_stream(world.members[0])
    assert counters(attach(world)) == [3, b"1-1", 2]


@pytest.mark.parametrize("how", [reload, restart])
def test_a_stream_keeps_its_counters_when_it_is_read_back(how: Any) -> None:
    world = world_of()
    primary = world.members[0]
    fill_stream(primary)
    assert counters(how(world, primary)) == [3, b"1-1", 2]


def test_a_file_needs_a_newer_server_only_where_it_holds_a_stream() -> None:
    world = world_of()
    primary = world.members[0]
    primary.call("SET", "k", "v")
    primary.call("SAVE")
    assert primary.files["dump.rdb"].startswith(b"REDIS0009")
    fill_stream(primary)
    primary.call("SAVE")
    assert primary.files["dump.rdb"].startswith(b"REDIS0010")


@pytest.mark.parametrize(
    ("said", "version"), [((), 9), (("capa", "rdb11"), 11), (("version", "9.1.2"), 11), (("version", "7.0.15"), 9)]
)
def test_a_replica_gets_the_newest_form_that_it_said_to_take(said: tuple[str, ...], version: int) -> None:
    world = world_of()
    primary = world.members[0]
    fill_stream(primary)
    client = primary.client()
    assert client.call("REPLCONF", "capa", "eof", "capa", "psync2", *said) == b"OK"
    client.send("SYNC")
    world.settle()
    data = b"".join(part for part in client.end.outgoing if part)
    assert b"REDIS%04d" % version in data


# -- how keys were used ------------------------------------------------------------------------------------------------


def test_idle_times_reach_a_replica_a_file_and_a_reload() -> None:
    world = world_of(("maxmemory-policy", "allkeys-lru"))
    primary = world.members[0]
    primary.call("SET", "old", "abc")
    primary.call("SET", "used", "abc")
    world.pass_time(5000)
    primary.call("GET", "used")
    replica = attach(world)
    assert [replica.call("OBJECT", "IDLETIME", key) for key in ("old", "used")] == [7, 2]
    reload(world, primary)
    assert [primary.call("OBJECT", "IDLETIME", key) for key in ("old", "used")] == [7, 2]
    restart(world, primary)
    assert [primary.call("OBJECT", "IDLETIME", key) for key in ("old", "used")] == [8, 3]


def test_a_replica_takes_idle_times_whatever_its_own_policy() -> None:
    world = world_of()
    primary, replica = world.members
    primary.call("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    primary.call("SET", "old", "abc")
    world.pass_time(5000)
    assert attach(world).call("OBJECT", "IDLETIME", "old") == 7
    assert replica.call("CONFIG", "GET", "maxmemory-policy")[1] == b"noeviction"


def test_access_counters_reach_a_replica_a_file_and_a_reload() -> None:
    world = world_of(("maxmemory-policy", "allkeys-lfu"))
    primary = world.members[0]
    primary.call("SET", "k", "abc")
    primary.call("RESTORE", "often", 0, primary.call("DUMP", "k"), "FREQ", 100)
    for member in (attach(world), reload(world, primary), restart(world, primary)):
        assert [member.call("OBJECT", "FREQ", key) for key in ("often", "k")] == [100, 5]


def test_restore_says_how_a_key_was_used() -> None:
    world = world_of()
    primary = world.members[0]
    primary.call("SET", "k", "abc")
    payload = primary.call("DUMP", "k")
    primary.call("RESTORE", "idle", 0, payload, "IDLETIME", 100)
    assert primary.call("OBJECT", "IDLETIME", "idle") == 100
    assert b"lru_seconds_idle:100" in primary.call("DEBUG", "OBJECT", "idle")
    primary.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
    primary.call("RESTORE", "often", 0, payload, "FREQ", 100)
    assert primary.call("OBJECT", "FREQ", "often") == 100


def test_a_file_tells_idle_times_and_counters_behind_the_expiry() -> None:
    world = world_of(("maxmemory-policy", "allkeys-lru"))
    primary = world.members[0]
    primary.call("SET", "k", "abc", "PX", 100_000)
    world.pass_time(3000)
    primary.call("SAVE")
    sink = Collector()
    RdbReader(sink).feed(primary.files["dump.rdb"])
    assert b"\xf8\x03\x00\x01k\x03abc" in primary.files["dump.rdb"]
