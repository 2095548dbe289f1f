"""What a full copy, a restart and DEBUG RELOAD keep beside the values: a stream's counters, and how keys were used.

The expected values were asked of Redis 7.0.15.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from replicator.core.wire.rdb import RdbReader
from tests.support.rdb_collector import Collector
from tests.support.replication_world import Member, World
from tests.support.servers import servers, until


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


# -- how keys were used -----------------------------------------------------------------------------------------------


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
    primary.call("RESTORE", "often", 0, primary.call("DUMP", "k"), "FREQ", 100)  # DUMP is an access
    for member in (attach(world), reload(world, primary), restart(world, primary)):
        assert [member.call("OBJECT", "FREQ", key) for key in ("often", "k")] == [100, 6]


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


# -- files that must not stay, and saves that fail --------------------------------------------------------------------


def fields(member: Member) -> dict[str, str]:
    text = member.call("INFO", "persistence").decode()
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


@pytest.mark.parametrize("command", [("FLUSHALL",), ("FLUSHALL", "ASYNC"), ("FLUSHALL", "SYNC")])
def test_flushall_ends_a_save_in_the_background(command: tuple[str, ...]) -> None:
    world = world_of()
    primary = world.members[0]
    primary.call("SET", "k", "v")
    primary.call("BGSAVE")
    assert fields(primary)["rdb_bgsave_in_progress"] == "1"
    primary.call(*command)
    seen = fields(primary)
    assert [seen["rdb_bgsave_in_progress"], seen["rdb_last_bgsave_status"], seen["rdb_saves"]] == ["0", "ok", "0"]
    assert "dump.rdb" not in primary.files


def test_flushdb_lets_a_save_in_the_background_go_on() -> None:
    world = world_of()
    primary = world.members[0]
    primary.call("BGSAVE")
    primary.call("FLUSHDB")
    assert fields(primary)["rdb_bgsave_in_progress"] == "1"
    world.settle()
    assert "dump.rdb" in primary.files


def test_flushall_with_save_points_empties_the_file_at_the_offset_of_the_empty_data() -> None:
    world = world_of()
    primary = world.members[0]
    replica = attach(world)
    primary.call("CONFIG", "SET", "save", "3600 1")
    primary.call("SET", "k", "v")
    primary.call("SAVE")
    world.settle()
    primary.call("FLUSHALL")
    world.settle()
    assert fields(primary)["rdb_changes_since_last_save"] == "0"
    sink = Collector()
    RdbReader(sink).feed(primary.files["dump.rdb"])
    assert sink.data == {}
    assert dict(sink.fields)[b"repl-offset"] == b"%d" % primary.node.history.end
    assert replica.call("DBSIZE") == 0


@pytest.mark.parametrize(("delete", "stays"), [("yes", False), ("no", True)])
def test_a_file_made_for_replicas_alone_goes_when_they_have_it(delete: str, stays: bool) -> None:
    world = world_of(("rdb-del-sync-files", delete), ("repl-diskless-sync", "no"))
    primary = world.members[0]
    primary.call("SET", "k", "v")
    attach(world)
    world.settle(2000)
    assert ("dump.rdb" in primary.files) is stays
    primary.call("SAVE")
    world.settle(2000)
    assert "dump.rdb" in primary.files


def test_a_node_that_persists_keeps_the_file_made_for_replicas() -> None:
    world = world_of(("rdb-del-sync-files", "yes"), ("repl-diskless-sync", "no"))
    primary = world.members[0]
    primary.call("CONFIG", "SET", "save", "3600 1")
    attach(world)
    world.settle(3000)
    assert "dump.rdb" in primary.files


def test_saves_in_a_directory_that_is_gone_fail_and_the_server_goes_on(tmp_path: Path) -> None:
    directory = tmp_path / "gone"
    directory.mkdir()
    with servers(tmp_path, "ours") as (server,):
        assert server.call("CONFIG", "SET", "save", "3600 1") == b"OK"
        directives = ("--enable-protected-configs", "yes", "--save", "3600 1", "--dir", str(directory))
        server.stop()
        server.start(*directives)
        directory.rmdir()
        assert str(server.call("SAVE")) == "ERR"
        assert server.info("persistence")["rdb_last_bgsave_status"] == "ok"
        server.call("BGSAVE")
        until(lambda: server.info("persistence")["rdb_last_bgsave_status"] == "err", "the background save fails")
        assert not directory.exists()
        for words in ((), ("SAVE",)):
            assert str(server.call("SHUTDOWN", *words)) == "ERR Errors trying to SHUTDOWN. Check logs."
        assert server.call("ECHO", "there") == b"there", "PING tells of the failure, as stock's does"
        assert "Error trying to save the DB, can't exit." in server.log()
