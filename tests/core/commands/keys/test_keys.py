"""Keys, databases and expiry: what replicas, watchers and listeners are told, and what a replica may do."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from replicator.core.keyspace.database import NOTIFY_NEW
from tests.support.harness import START, Harness
from tests.support.stock import Wire, running

NOW = START.unix_ms
ALL = (1 << 12) - 1


def effects_of(node: Harness, *argv: Any) -> list[list[bytes]]:
    node.drain_effects()
    node.call(*argv)
    return [effect for _, effect in node.drain_effects()]


def filled() -> Harness:
    node = Harness()
    node.call("SET", "s", "text")
    node.call("SET", "n", "5")
    node.call("SET", "t", "dying", "PX", "1000")
    return node


@pytest.mark.parametrize(
    ("argv", "effects"),
    [
        ("SET s v", ["SET s v"]),
        ("SET s v EX 10", [f"SET s v PXAT {NOW + 10_000}"]),
        ("SET s v PX 10 GET", [f"SET s v PXAT {NOW + 10}"]),
        ("SET s v EXAT 4000000000 XX", ["SET s v PXAT 4000000000000"]),
        ("SET s v KEEPTTL", ["SET s v KEEPTTL"]),
        ("SET s v NX", []),
        ("SET new v NX GET", ["SET new v"]),
        ("SETEX s 10 v", [f"SET s v PXAT {NOW + 10_000}"]),
        ("PSETEX s 10 v", [f"SET s v PXAT {NOW + 10}"]),
        ("SETNX s v", []),
        ("GETSET s v", ["SET s v"]),
        ("GETDEL s", ["DEL s"]),
        ("GETEX s", []),
        ("GETEX s EX 10", [f"PEXPIREAT s {NOW + 10_000}"]),
        ("GETEX s PXAT 5", ["DEL s"]),
        ("GETEX t PERSIST", ["PERSIST t"]),
        ("GETEX s PERSIST", []),
        ("INCR n", ["INCR n"]),
        ("INCRBYFLOAT n 0.5", ["SET n 5.5 KEEPTTL"]),
        ("APPEND s x", ["APPEND s x"]),
        ("EXPIRE s 10", [f"PEXPIREAT s {NOW + 10_000}"]),
        ("PEXPIRE s 10", [f"PEXPIREAT s {NOW + 10}"]),
        ("EXPIRE s -1", ["DEL s"]),
        ("EXPIREAT s 1", ["DEL s"]),
        ("EXPIRE t 100 NX", []),
        ("PERSIST s", []),
        ("PERSIST t", ["PERSIST t"]),
        ("DEL nothing", []),
        ("DEL s nothing", ["DEL s nothing"]),
        ("RENAME s s", []),
        ("FLUSHALL", ["FLUSHALL"]),
        ("FLUSHDB ASYNC", ["FLUSHDB ASYNC"]),
        ("SORT none STORE s", ["DEL s"]),
    ],
)
def test_replicas_are_told_absolute_and_determined_effects(argv: str, effects: list[str]) -> None:
    assert effects_of(filled(), *argv.split()) == [effect.encode().split() for effect in effects]


def test_a_flush_reaches_replicas_even_if_there_was_nothing_to_flush() -> None:
    assert effects_of(Harness(), "FLUSHALL") == [[b"FLUSHALL"]]
    assert effects_of(Harness(), "FLUSHDB") == [[b"FLUSHDB"]]


def test_reading_a_key_whose_time_has_come_deletes_it_on_a_primary_and_only_hides_it_on_a_replica() -> None:
    node = filled()
    node.advance(1000)
    assert effects_of(node, "GET", "t") == [[b"DEL", b"t"]]
    replica = filled()
    replica.keyspace.expires_keys = False
    replica.drain_effects()
    replica.advance(1000)
    assert replica.call("GET", "t") is None
    assert replica.call("EXISTS", "t") == 0
    assert sorted(replica.call("KEYS", "*")) == [b"n", b"s"]
    assert replica.call("SCAN", "0")[1] == [b"n", b"s"]
    assert replica.call("DBSIZE") == 3
    assert replica.drain_effects() == []


def test_keepttl_does_not_keep_the_expiry_of_a_key_that_is_gone() -> None:
    node = filled()
    node.advance(2000)
    node.call("SET", "t", "again", "KEEPTTL")
    assert node.call("PTTL", "t") == -1


def test_a_replica_keeps_a_past_expiry_that_its_primary_sends() -> None:
    node = filled()
    node.keyspace.expires_keys = False
    node.keyspace.applying = True
    assert node.call("PEXPIREAT", "s", "5") == 1
    assert node.first.db.expires[b"s"] == 5


def watching(node: Harness, key: bytes) -> Any:
    ctx = node.caller()
    node.first.db.watched[key] = {ctx: None}
    node.first.db.rehook()
    return ctx


@pytest.mark.parametrize(
    ("argv", "touched"),
    [
        ("SET s v", True),
        ("SET s v NX", False),
        ("GET s", False),
        ("APPEND s x", True),
        ("EXPIRE s 100", True),
        ("PERSIST s", False),
        ("RENAME s z", True),
        ("RENAME n s", True),
        ("COPY n s REPLACE", True),
        ("MOVE s 1", True),
        ("FLUSHALL", True),
        ("FLUSHDB", True),
        ("SWAPDB 0 1", True),
        ("SWAPDB 0 0", False),
        ("SWAPDB 1 2", False),
        ("OBJECT ENCODING s", False),
        ("BITFIELD s GET u8 0", False),
        ("BITFIELD s INCRBY u8 0 1", True),
    ],
)
def test_a_watched_key_is_touched_by_what_changes_it(argv: str, touched: bool) -> None:
    node = filled()
    ctx = watching(node, b"s")
    node.call(*argv.split())
    assert ctx.dirty_watch is touched


def test_a_watched_key_that_was_never_there_survives_a_flush_and_a_swap_of_empty_databases() -> None:
    node = filled()
    ctx = watching(node, b"missing")
    node.call("FLUSHALL")
    node.call("SWAPDB", "0", "1")
    assert not ctx.dirty_watch


@pytest.mark.parametrize("bring", ["RENAME other list", "COPY other list", "SWAPDB 0 1", "SORT other STORE list"])
def test_a_blocked_client_is_served_by_every_way_a_list_can_come(bring: str) -> None:
    node = Harness()
    waiter = node.caller()
    if bring.startswith("SWAPDB"):
        node.call("SELECT", 1)
        node.call("RPUSH", "list", "1")
        node.call("SELECT", 0)
    else:
        node.call("RPUSH", "other", "1")
    assert node.call("BLPOP", "list", "0", ctx=waiter) == b""
    node.call(*bring.split())
    assert node.unblocked(waiter) == [[b"list", b"1"]]


def told_events(node: Harness) -> list[tuple[bytes, bytes]]:
    told: list[tuple[bytes, bytes]] = []
    node.keyspace.notify_flags = ALL & ~NOTIFY_NEW & ~512
    node.keyspace.on_notify = lambda db, kind, event, key: told.append((event, key))
    return told


EVENTS = [
    "SET s v", "SET s v EX 10", "SETEX s 10 v", "SETNX c 1", "MSET a 1 b 2", "GETSET s v", "GETDEL s", "GETEX s EX 5",
    "GETEX s EXAT 5", "GETEX t PERSIST", "INCR n", "DECR n", "DECRBY n 2", "INCRBYFLOAT n 1", "APPEND s v",
    "SETRANGE s 1 v", "SETRANGE s 1 ", "SETBIT s 1 1", "SETBIT s 1 0", "BITOP NOT d s", "BITOP AND s nothing",
    "BITFIELD s SET u8 0 1", "BITFIELD s SET u8 0 115", "BITFIELD s OVERFLOW FAIL INCRBY u8 0 300", "PFADD h a",
    "PFMERGE h a", "RENAME s z", "MOVE s 1", "COPY s z", "DEL s n", "UNLINK s n", "EXPIRE s 5", "EXPIRE s -5",
    "PERSIST t", "SORT none STORE s", "RPUSH l 1", "SORT l STORE s", "RENAMENX s n", "FLUSHALL",
]  # fmt: skip


def test_keyspace_events_are_stocks() -> None:
    node = filled()
    told = told_events(node)
    with (
        running("redis7", "--notify-keyspace-events", "KEA") as port,
        closing(Wire(port)) as wire,
        closing(Wire(port)) as listener,
    ):
        for argv in ("SET s text", "SET n 5", "SET t dying PX 100000"):
            wire.call(*argv.split(" "))
        listener.call("PSUBSCRIBE", "__keyevent@*")
        for argv in EVENTS:
            told.clear()
            node.call(*argv.split(" "))
            wire.call(*argv.split(" "))
            wire.call("SETEX", "end", "100", argv)
            expected = []
            while (event := listener.read()[2:])[1] != b"end":
                expected.append((event[0].partition(b":")[2], event[1]))
            assert listener.read()[3] == b"end"  # SETEX tells of the value and of the expiry
            assert told == expected, argv


def test_a_new_key_is_told_before_what_made_it() -> None:
    node = filled()
    told = told_events(node)
    node.keyspace.notify_flags |= NOTIFY_NEW
    for db in node.keyspace.databases:
        db.indexed_keys()
    node.call("SET", "s", "known")
    node.call("SET", "fresh", "v")
    node.call("RENAME", "fresh", "fresher")
    node.call("INCR", "counter")
    events = [event for event in told if event[0] == b"new"]
    assert events == [(b"new", b"fresh"), (b"new", b"fresher"), (b"new", b"counter")]
    assert told.index((b"new", b"fresh")) < told.index((b"set", b"fresh"))


def test_randomkey_finds_every_key_and_none_that_is_gone() -> None:
    node = filled()
    node.advance(1000)
    assert {node.call("RANDOMKEY") for _ in range(100)} == {b"s", b"n"}
    node.call("FLUSHALL")
    assert node.call("RANDOMKEY") is None


def test_a_copy_shares_nothing_with_its_source() -> None:
    node = Harness()
    node.call("RPUSH", "l", "a")
    node.call("SADD", "s", "a")
    node.call("HSET", "h", "a", "1")
    node.call("ZADD", "z", "1", "a")
    node.call("XADD", "x", "1-1", "a", "1")
    for key in "lshzx":
        assert node.call("COPY", key, key + "2") == 1
    node.call("RPUSH", "l2", "b")
    node.call("SADD", "s2", "b")
    node.call("HSET", "h2", "b", "1")
    node.call("ZADD", "z2", "1", "b")
    node.call("XADD", "x2", "1-2", "a", "1")
    assert [
        node.call(name, key) for name, key in zip(("LLEN", "SCARD", "HLEN", "ZCARD", "XLEN"), "lshzx", strict=True)
    ] == [1] * 5


def test_sort_is_refused_by_pattern_in_a_cluster() -> None:
    node = Harness()
    node.server.config["cluster-enabled"] = True
    node.call("RPUSH", "l", "2", "1")
    assert node.call("SORT", "l") == [b"1", b"2"]
    assert node.call("SORT", "l", "BY", "nosort") == [b"2", b"1"]
    assert str(node.call("SORT", "l", "BY", "w_*")) == "ERR BY option of SORT denied in Cluster mode."
    assert str(node.call("SORT", "l", "GET", "#")) == "ERR GET option of SORT denied in Cluster mode."


@pytest.mark.parametrize(
    ("argv", "answer"),
    [
        ("SELECT 1", "ERR SELECT is not allowed in cluster mode"),
        ("SWAPDB 0 0", "ERR SWAPDB is not allowed in cluster mode"),
        ("MOVE a 0", "ERR MOVE is not allowed in cluster mode"),
        ("COPY a a DB 1", "ERR Copying to another database is not allowed in cluster mode"),
    ],
)
def test_a_cluster_has_one_database(argv: str, answer: str) -> None:
    node = Harness()
    node.server.config["cluster-enabled"] = True
    assert str(node.call(*argv.split())) == answer
    assert node.call("SELECT", "0") == b"OK"


def test_the_keys_of_sort_are_the_source_and_the_last_destination() -> None:
    sort = Harness().table[b"sort"]
    assert list(sort.key_positions(b"SORT l STORE a BY STORE LIMIT 0 1 STORE d".split())) == [1, 10]
    assert list(sort.key_positions(b"SORT l GET STORE ALPHA".split())) == [1]
