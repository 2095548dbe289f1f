"""Sorted sets: effects, waiting, events, and texts that random commands do not meet."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from replicator.core.keyspace.digest import digest_keyspace
from tests.support.harness import PENDING, Harness
from tests.support.sorted_set_commands import Commands


def effects(node: Harness) -> list[list[bytes]]:
    return [argv for _, argv in node.drain_effects()]


@pytest.mark.parametrize(
    ("command", "effect"),
    [
        (b"ZADD z INCR 2 a", b"ZADD z INCR 2 a"),
        (b"ZINCRBY z 2 a", b"ZINCRBY z 2 a"),
        (b"ZADD z XX 9 nobody", None),
        (b"ZADD z 1 a", None),
        (b"ZADD z 1 a 2 b", None),
        (b"ZPOPMIN z", b"ZPOPMIN z"),
        (b"BZPOPMIN z 0", b"ZPOPMIN z"),
        (b"BZPOPMAX none z 0", b"ZPOPMAX z"),
        (b"ZMPOP 1 z MAX COUNT 2", b"ZPOPMAX z 2"),
        (b"BZMPOP 0 2 none z MIN COUNT 9", b"ZPOPMIN z 3"),
        (b"ZRANGESTORE d z 0 -1", b"ZRANGESTORE d z 0 -1"),
        (b"ZUNIONSTORE d 1 none", None),
        (b"ZREM z nobody", None),
    ],
)
def test_replicas_are_told_what_a_stock_primary_tells_them(command: bytes, effect: bytes | None) -> None:
    node = Harness()
    node.call("ZADD", "z", 1, "a", 2, "b", 3, "c")
    node.drain_effects()
    node.call(*command.split())
    assert effects(node) == ([] if effect is None else [effect.split()])


@pytest.mark.parametrize("seed", range(6))
def test_the_effects_of_random_commands_make_the_same_data_on_a_replica(seed: int) -> None:
    primary, replica = Harness(), Harness()
    primary.first.deny_blocking = True
    replica.first.is_primary_link = True
    for argv in [[b"SET", b"txt", b"1"], *Commands(Random(seed)).take(500)]:
        primary.call(*argv)
        for _, effect in primary.drain_effects():
            replica.call(*effect)
    assert digest_keyspace(replica.keyspace) == digest_keyspace(primary.keyspace)


def test_who_waited_longest_is_served_first() -> None:
    node = Harness()
    first, second = node.caller(), node.caller()
    assert node.call("BZPOPMIN", "z", 0, ctx=first) == PENDING
    assert node.call("BZPOPMAX", "y", "z", 0, ctx=second) == PENDING
    node.call("ZADD", "z", 1, "a")
    assert node.unblocked(first) == [[b"z", b"a", b"1"]]
    assert node.unblocked(second) == []
    node.call("ZADD", "z", 1, "b", 5, "c")
    assert node.unblocked(second) == [[b"z", b"c", b"5"]]
    assert effects(node) == [
        [b"ZADD", b"z", b"1", b"a"],
        [b"ZPOPMIN", b"z"],
        [b"ZADD", b"z", b"1", b"b", b"5", b"c"],
        [b"ZPOPMAX", b"z"],
    ]


@pytest.mark.parametrize("command", [("BZPOPMIN", "z", 1.5), ("BZMPOP", 1.5, 1, "z", "MIN")])
def test_a_wait_ends_with_a_null_array_after_its_timeout(command: tuple[Any, ...]) -> None:
    node = Harness()
    assert node.call(*command) == PENDING
    node.advance(1499)
    assert node.unblocked(node.first) == []
    node.advance(1)
    assert node.unblocked(node.first) == [None]


def test_who_waits_is_not_disturbed_by_another_type_at_the_key() -> None:
    node = Harness()
    waiting = node.caller()
    node.call("BZPOPMIN", "z", 0, ctx=waiting)
    node.call("SET", "z", "x")
    assert node.unblocked(waiting) == []
    node.call("DEL", "z")
    node.call("ZADD", "z", 1, "a")
    assert node.unblocked(waiting) == [[b"z", b"a", b"1"]]


def test_nobody_waits_where_waiting_is_not_allowed() -> None:
    node = Harness()
    node.first.deny_blocking = True
    assert node.call("BZPOPMIN", "z", 0) is None
    assert node.call("BZMPOP", 0, 1, "z", "MAX") is None


def test_an_emptied_set_is_removed_and_said_to_be() -> None:
    node = Harness()
    heard: list[tuple[bytes, bytes]] = []
    node.keyspace.notify_flags = 0xFFF
    node.keyspace.on_notify = lambda db, kind, event, key: heard.append((event, key))
    node.call("ZADD", "z", 1, "a", 2, "b")
    node.call("ZINCRBY", "z", 1, "a")
    node.call("ZREM", "z", "a")
    node.call("ZPOPMAX", "z")
    assert [event for event, _ in heard if event != b"new"] == [b"zadd", b"zincr", b"zrem", b"zpopmax", b"del"]
    assert b"z" not in node.first.db.values


def test_resp3_has_doubles_and_pairs() -> None:
    node = Harness()
    node.first.use_protocol(3)
    node.call("ZADD", "z", "0.5", "a", "inf", "b")
    assert node.raw("ZSCORE", "z", "a") == b",0.5\r\n"
    assert node.raw("ZRANGE", "z", 0, -1, "WITHSCORES") == b"*2\r\n*2\r\n$1\r\na\r\n,0.5\r\n*2\r\n$1\r\nb\r\n,inf\r\n"
    assert node.raw("ZPOPMIN", "z") == b"*2\r\n$1\r\na\r\n,0.5\r\n"
    assert node.raw("ZPOPMIN", "z", 1) == b"*1\r\n*2\r\n$1\r\nb\r\n,inf\r\n"
    assert node.raw("BZPOPMIN", "z", 0) == PENDING


def test_a_full_scan_of_a_large_set_meets_every_member() -> None:
    node = Harness()
    for i in range(1000):
        node.call("ZADD", "z", i, f"m{i}")
    seen: dict[bytes, bytes] = {}
    cursor = b"0"
    while True:
        cursor, found = node.call("ZSCAN", "z", cursor, "COUNT", 50)
        seen.update(zip(found[::2], found[1::2], strict=True))
        if cursor == b"0":
            break
        node.call("ZREM", "z", found[0])
    assert seen == {b"m%d" % i: b"%d" % i for i in range(1000)}


def test_random_members_are_all_members_sooner_or_later() -> None:
    node = Harness()
    node.call("ZADD", "z", 1, "a", 2, "b", 3, "c")
    assert set(node.call("ZRANDMEMBER", "z", -200)) == {b"a", b"b", b"c"}
    assert sorted(node.call("ZRANDMEMBER", "z", 2, "WITHSCORES")[1::2])[0] in (b"1", b"2")
    assert node.call("ZRANDMEMBER", "z", 9) == [b"a", b"b", b"c"]
