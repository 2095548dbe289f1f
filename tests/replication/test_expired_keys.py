"""Keys whose time has come and that are still there: hidden, met by a write, watched, deleted, told of.

The expected values were asked of Redis 7.0.15.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.replication_world import Member, World

Pair = tuple[World, Member, Member]


@pytest.fixture
def pair() -> Pair:
    """A primary that deletes nothing by itself, and its replica."""
    world = World("expired", 2)
    world.writable_replicas = True  # the replica takes writes in some tests: no digest is compared on the way
    world.start(("repl-diskless-sync-delay", "0"), ("save", '""'), ("enable-debug-command", "yes"))
    primary, replica = world.members
    replica.call("REPLICAOF", "127.0.0.1", primary.port)
    world.settle(2000)
    assert replica.node.replica.up
    assert primary.call("DEBUG", "SET-ACTIVE-EXPIRE", 0) == b"OK"
    return world, primary, replica


def expire(pair: Pair, *commands: tuple[Any, ...]) -> None:
    """Run the commands, which give keys an expiry of 50 ms, on the primary, and let that time pass."""
    world, primary, _ = pair
    for command in commands:
        primary.call(*command)
    world.settle()
    world.pass_time(100)
    world.settle()


# -- writes of a replica's own clients -------------------------------------------------------------------------------


def test_a_write_to_a_replica_does_not_inherit_a_dead_expiry(pair: Pair) -> None:
    _, _, replica = pair
    replica.call("CONFIG", "SET", "replica-read-only", "no")
    expire(pair, ("SET", "k", 10, "PX", 50))
    assert [replica.call("INCR", "k"), replica.call("INCR", "k")] == [1, 2]
    replica.call("REPLICAOF", "NO", "ONE")
    assert [replica.call("GET", "k"), replica.call("TTL", "k")] == [b"2", -1]


_WRITES = [
    (("SET", "k", "old", "PX", 50), ("APPEND", "k", "x"), 1, ("GET", "k"), b"x"),
    (("SET", "k", "old", "PX", 50), ("SETRANGE", "k", 1, "x"), 2, ("GET", "k"), b"\0x"),
    (("SET", "k", "old", "PX", 50), ("SETBIT", "k", 1, 1), 0, ("GET", "k"), b"\x40"),
    (("SET", "k", 9, "PX", 50), ("INCRBYFLOAT", "k", "1.5"), b"1.5", ("GET", "k"), b"1.5"),
    (("SET", "k", 9, "PX", 50), ("BITFIELD", "k", "INCRBY", "u8", 0, 1), [1], ("GET", "k"), b"\x01"),
    (("SET", "k", 9, "PX", 50), ("GETSET", "k", "x"), None, ("TTL", "k"), -1),
    (("SET", "k", 9, "PX", 50), ("SET", "k", "x", "KEEPTTL"), b"OK", ("TTL", "k"), -1),
    (("SET", "k", 9, "PX", 50), ("SETNX", "k", "x"), 1, ("TTL", "k"), -1),
    (("SET", "k", 9, "PX", 50), ("SET", "k", "x", "XX"), None, ("DBSIZE",), 0),
    (("SET", "k", 9, "PX", 50), ("GETDEL", "k"), None, ("EXISTS", "k"), 0),
    (("SET", "k", 9, "PX", 50), ("EXPIRE", "k", 100), 0, ("TTL", "k"), -2),
    (("SET", "k", 9, "PX", 50), ("PERSIST", "k"), 0, ("DBSIZE",), 0),
    (("SET", "k", 9, "PX", 50), ("MSETNX", "k", "x", "l", "y"), 1, ("TTL", "k"), -1),
    (("SET", "k", 9, "PX", 50), ("PFADD", "k", "x"), 1, ("TTL", "k"), -1),
    (("SET", "k", 9, "PX", 50), ("DEL", "k"), 1, ("DBSIZE",), 0),
    (("SET", "k", 9, "PX", 50), ("UNLINK", "k"), 1, ("DBSIZE",), 0),
    (("SET", "k", 9, "PX", 50), ("GET", "k"), None, ("DBSIZE",), 1),
    (("SET", "k", 9, "PX", 50), ("LPUSH", "k", "x"), 1, ("TTL", "k"), -1),
    (("SET", "k", 9, "PX", 50), ("LPUSHX", "k", "x"), 0, ("DBSIZE",), 0),
    (("SET", "k", 9, "PX", 50), ("HINCRBY", "k", "f", 1), 1, ("TTL", "k"), -1),
    (("SET", "k", 9, "PX", 50), ("SADD", "k", "m"), 1, ("TTL", "k"), -1),
    (("SET", "k", 9, "PX", 50), ("ZINCRBY", "k", 1, "m"), b"1", ("TTL", "k"), -1),
    (("SET", "k", 9, "PX", 50), ("ZADD", "k", "XX", 1, "m"), 0, ("DBSIZE",), 0),
    (("SET", "k", 9, "PX", 50), ("GEOADD", "k", 1, 1, "m"), 1, ("TTL", "k"), -1),
    (("SET", "k", 9, "PX", 50), ("XADD", "k", "1-1", "f", "v"), b"1-1", ("TTL", "k"), -1),
    (("SET", "k", 9, "PX", 50), ("EVAL", "return redis.call('incr', 'k')", 0), 1, ("TTL", "k"), -1),
]


@pytest.mark.parametrize(("before", "write", "answer", "look", "then"), _WRITES, ids=lambda part: str(part)[:40])
def test_a_write_to_a_replica_meets_an_expired_key_as_none(
    pair: Pair, before: tuple[Any, ...], write: tuple[Any, ...], answer: Any, look: tuple[Any, ...], then: Any
) -> None:
    _, _, replica = pair
    replica.call("CONFIG", "SET", "replica-read-only", "no")
    expire(pair, before)
    assert [replica.call(*write), replica.call(*look)] == [answer, then]


def test_a_transaction_on_a_replica_meets_expired_keys_as_none(pair: Pair) -> None:
    _, _, replica = pair
    replica.call("CONFIG", "SET", "replica-read-only", "no")
    expire(pair, ("SET", "k", 9, "PX", 50))
    client = replica.client()
    assert [client.call(*argv) for argv in (("MULTI",), ("INCR", "k"), ("TTL", "k"), ("EXEC",))][-1] == [1, -1]


# -- WATCH -----------------------------------------------------------------------------------------------------------


def _primary_looks(world: World, primary: Member) -> None:
    primary.call("EXISTS", "s")


def _primary_sets(world: World, primary: Member) -> None:
    primary.call("SET", "s", 1)


def _flush(world: World, primary: Member) -> None:
    primary.call("FLUSHALL")


def _swap(world: World, primary: Member) -> None:
    primary.call("SWAPDB", 0, 1)


def _swap_twice(world: World, primary: Member) -> None:
    _swap(world, primary)
    _swap(world, primary)


def _nothing(world: World, primary: Member) -> None:
    pass


_S0, _S1 = (
    ("EVAL", "redis.call('select', 0) redis.call('set', 's', 1, 'px', 50)", 0),
    (
        "EVAL",
        "redis.call('select', 1) redis.call('set', 's', 1, 'px', 50)",
        0,
    ),
)
_LIVE1 = ("EVAL", "redis.call('select', 1) redis.call('set', 's', 1)", 0)


@pytest.mark.parametrize("where", ["primary", "replica"])
@pytest.mark.parametrize(
    ("before", "between", "runs"),
    [
        ([_S0], _nothing, True),
        ([_S0], _primary_looks, True),
        ([_S0], _primary_sets, False),
        ([_S0], _flush, True),
        ([_S0], _swap, True),
        ([_S1], _swap, True),
        ([_S0, _S1], _swap, True),
        ([_S0, _LIVE1], _swap, False),
        ([_S1], _swap_twice, True),
    ],
)
def test_a_key_that_had_expired_when_it_was_watched_is_as_one_that_was_not_there(
    pair: Pair,
    where: str,
    before: list[tuple[Any, ...]],
    between: Callable[[World, Member], None],
    runs: bool,
) -> None:
    world, primary, replica = pair
    expire(pair, *before)
    client = (primary if where == "primary" else replica).client()
    assert client.call("WATCH", "s") == b"OK"
    between(world, primary)
    world.settle()
    assert [client.call("MULTI"), client.call("PING"), client.call("EXEC")][-1] == ([b"PONG"] if runs else None)


@pytest.mark.parametrize("where", ["primary", "replica"])
@pytest.mark.parametrize("between", [_nothing, _primary_looks, _flush, _swap])
def test_a_key_that_expires_after_it_was_watched_has_changed(
    pair: Pair, where: str, between: Callable[[World, Member], None]
) -> None:
    world, primary, replica = pair
    primary.call("SET", "s", 1, "PX", 50)
    world.settle()
    client = (primary if where == "primary" else replica).client()
    client.call("WATCH", "s")
    world.pass_time(100)
    between(world, primary)
    world.settle()
    assert [client.call("MULTI"), client.call("PING"), client.call("EXEC")][-1] is None


# -- what the stream says --------------------------------------------------------------------------------------------


def stream_of(pair: Pair, *commands: tuple[Any, ...]) -> list[str]:
    """What the commands, sent by one client, put into the stream behind f1's and f2's expiry."""
    world, primary, _ = pair
    expire(pair, ("SET", "f1", "x", "PX", 50), ("SET", "f2", "x", "PX", 50))
    begin = primary.node.outgoing.offset()
    client = primary.client()
    for command in commands:
        client.call(*command)
    world.settle()
    found = primary.stream_since(begin)
    # A step through the index has no particular order.
    return sorted(found) if found[:1] != ["MULTI"] else [found[0], *sorted(found[1:-1]), found[-1]]


@pytest.mark.parametrize(
    "command", [("SCAN", 0), ("RANDOMKEY",), ("SCAN", 0, "TYPE", "set"), ("SCAN", 0, "MATCH", "*")]
)
def test_expired_keys_that_a_scan_meets_are_deleted_one_by_one(pair: Pair, command: tuple[Any, ...]) -> None:
    assert stream_of(pair, command) == ["DEL f1", "DEL f2"]


@pytest.mark.parametrize(
    "commands",
    [
        [("MGET", "f1", "f2")],
        [("EXISTS", "f1", "f2")],
        [("DEL", "f1", "f2")],
        [("EVAL", "redis.call('scan', 0)", 0)],
        [("MULTI",), ("SCAN", 0), ("EXEC",)],
    ],
)
def test_expired_keys_that_any_other_command_meets_are_deleted_together(
    pair: Pair, commands: list[tuple[Any, ...]]
) -> None:
    assert stream_of(pair, *commands) == ["MULTI", "DEL f1", "DEL f2", "EXEC"]


def test_keys_leaves_expired_keys_where_they_are(pair: Pair) -> None:
    _, primary, _ = pair
    assert stream_of(pair, ("KEYS", "*")) == []
    assert [primary.call("KEYS", "*"), primary.call("DBSIZE")] == [[], 2]


# -- time that passes within a turn ----------------------------------------------------------------------------------


def test_who_waits_for_a_key_is_not_served_when_it_has_expired_within_the_transaction(pair: Pair) -> None:
    _, primary, _ = pair
    waiting = primary.client()
    waiting.send("BRPOP", "k", 0)
    begin = primary.node.outgoing.offset()
    client = primary.client()
    for command in (("MULTI",), ("RPUSH", "k", 1), ("PEXPIRE", "k", 100), ("DEBUG", "SLEEP", "0.2")):
        client.call(*command)
    assert client.call("EXEC") == [1, 1, b"OK"]
    assert waiting.read() is False
    assert b" flags=b " in next(line for line in primary.call("CLIENT", "LIST").split(b"\n") if b"cmd=brpop" in line)
    assert primary.stream_since(begin)[-1] == "DEL k"
    assert primary.call("LLEN", "k") == 0


def test_a_transaction_sees_one_instant_and_a_pipeline_the_time_that_passes(pair: Pair) -> None:
    _, primary, _ = pair
    sleeper: list[tuple[Any, ...]] = [("SET", "q", 1, "PX", 100), ("DEBUG", "SLEEP", "0.2"), ("GET", "q")]
    assert primary.pipeline(sleeper) == [b"OK", b"OK", None]
    assert primary.pipeline([("MULTI",), *sleeper, ("EXEC",)])[-1] == [b"OK", b"OK", b"1"]


# -- looking at them -------------------------------------------------------------------------------------------------


def test_pfcount_of_an_expired_key_on_a_replica_counts_nothing_and_leaves_it(pair: Pair) -> None:
    _, _, replica = pair
    expire(pair, ("PFADD", "p", "x"), ("PEXPIRE", "p", 50))
    assert [replica.call("PFCOUNT", "p"), replica.call("DBSIZE")] == [0, 1]


def test_pfcount_on_a_replica_keeps_the_count(pair: Pair) -> None:
    world, primary, replica = pair
    primary.call("PFADD", "p", "x")
    world.settle()
    assert replica.call("PFCOUNT", "p") == 1
    assert replica.call("GET", "p")[8:16] == b"\x01" + bytes(7)


def test_debug_and_memory_see_what_has_only_logically_expired(pair: Pair) -> None:
    _, primary, replica = pair
    expire(pair, ("SET", "k", "v", "PX", 50))
    for member in (primary, replica):
        assert member.call("DEBUG", "OBJECT", "k").startswith(b"Value at:")
        assert member.call("MEMORY", "USAGE", "k") > 0
        assert member.call("DEBUG", "DIGEST-VALUE", "k") != [b"0" * 40]
        assert member.call("DBSIZE") == 1
    assert replica.call("OBJECT", "ENCODING", "k") is None


# -- files -----------------------------------------------------------------------------------------------------------


def test_a_primary_that_drops_expired_keys_at_its_start_tells_its_replicas_who_continue(pair: Pair) -> None:
    world, primary, replica = pair
    primary.call("SET", "live", 1)
    expire(
        pair, ("SET", "f1", "x", "PX", 50), ("EVAL", "redis.call('select', 3) redis.call('set', 'f2', 1, 'px', 50)", 0)
    )
    primary.call("SAVE")
    end = primary.node.outgoing.offset()
    primary.stop()
    world.settle(500)
    primary.start()
    world.settle(3000)
    assert primary.stream_since(end)[:4] == ["SELECT 0", "DEL f1", "SELECT 3", "DEL f2"]
    stats = primary.node.primary
    assert [stats.sync_full, stats.sync_partial_ok] == [0, 1]
    assert primary.call("DEBUG", "DIGEST") == replica.call("DEBUG", "DIGEST")
    assert replica.call("DBSIZE") == 1


def test_debug_reload_of_a_primary_tells_its_replicas_what_it_dropped(pair: Pair) -> None:
    world, primary, replica = pair
    expire(pair, ("SET", "f1", "x", "PX", 50), ("SET", "live", "x"))
    primary.call("DEBUG", "RELOAD")
    world.settle()
    assert [primary.call("DBSIZE"), replica.call("DBSIZE")] == [1, 1]
