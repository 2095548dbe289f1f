"""Hashes: order, scanning and chance on large ones, effects, what removal leaves behind."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.core.keyspace.values import Hash
from tests.support.harness import Harness


@pytest.fixture
def node() -> Harness:
    return Harness()


def scan(node: Harness, name: str, key: str, *options: object) -> tuple[list[bytes], int]:
    """All that a whole scan shows, and its number of calls."""
    found: list[bytes] = []
    cursor, calls = b"0", 0
    while True:
        cursor, items = node.call(name, key, cursor, *options)  # type: ignore[arg-type] # options are words and numbers
        found += items
        calls += 1
        if cursor == b"0":
            return found, calls


def large(node: Harness, count: int = 1000) -> dict[bytes, bytes]:
    pairs = {b"f%d" % n: b"v%d" % n for n in range(count)}
    node.call("HSET", "h", *[item for pair in pairs.items() for item in pair])
    return pairs


def test_fields_are_shown_in_the_order_of_their_first_setting(node: Harness) -> None:
    node.call("HSET", "h", "b", "1", "a", "2", "c", "3")
    node.call("HSET", "h", "a", "changed")
    node.call("HDEL", "h", "b")
    node.call("HSET", "h", "b", "again")
    assert node.call("HGETALL", "h") == [b"a", b"changed", b"c", b"3", b"b", b"again"]
    assert node.call("HKEYS", "h") == [b"a", b"c", b"b"]
    assert node.call("HVALS", "h") == [b"changed", b"3", b"again"]


def test_in_resp3_all_fields_are_a_map_and_random_pairs_are_nested(node: Harness) -> None:
    node.call("HSET", "h", "a", "1", "b", "2")
    node.first.use_protocol(3)
    assert node.raw("HGETALL", "h") == b"%2\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n"
    assert node.raw("HGETALL", "none") == b"%0\r\n"
    assert node.raw("HRANDFIELD", "h", 5, "WITHVALUES") == (
        b"*2\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n"
    )


def test_a_whole_scan_of_a_large_hash_shows_every_field_once_in_many_steps(node: Harness) -> None:
    pairs = large(node)
    found, calls = scan(node, "HSCAN", "h", "COUNT", 100)
    assert dict(zip(found[::2], found[1::2], strict=True)) == pairs
    assert len(found) == 2 * len(pairs)
    assert calls == 10


def test_a_small_hash_is_scanned_in_one_call_whatever_count_says(node: Harness) -> None:
    node.call("HSET", "h", *[word for n in range(128) for word in (n, n)])
    found, calls = scan(node, "HSCAN", "h", "COUNT", 1)
    assert calls == 1
    assert found[::2] == [b"%d" % n for n in range(128)]


@given(seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_a_scan_while_fields_come_and_go_misses_none_that_stays(seed: int) -> None:
    node = Harness()
    chance = Random(seed)
    pairs = large(node, 300)
    stays = {field for field in pairs if chance.random() < 0.5}
    goes = [field for field in pairs if field not in stays]
    chance.shuffle(goes)
    seen: set[bytes] = set()
    cursor = b"0"
    while True:
        cursor, items = node.call("HSCAN", "h", cursor, "COUNT", chance.randint(1, 20))
        seen.update(items[::2])
        if cursor == b"0":
            break
        for _ in range(chance.randrange(10)):
            if goes and chance.random() < 0.6:
                node.call("HDEL", "h", goes.pop())
            else:
                node.call("HSET", "h", b"new%d" % chance.randrange(1000), "x")
    assert stays <= seen


def test_the_numbering_of_fields_follows_every_change(node: Harness) -> None:
    chance = Random(3)
    value = None
    node.call("HRANDFIELD", "none")
    for _ in range(3000):
        field = b"%d" % chance.randrange(200)
        command = chance.choice(("HSET", "HSET", "HDEL", "HSETNX", "HINCRBY", "HINCRBYFLOAT", "HRANDFIELD", "HMSET"))
        if command == "HDEL":
            node.call("HDEL", "h", field)
        elif command == "HRANDFIELD":
            answer = node.call("HRANDFIELD", "h")
            value = node.keyspace.databases[0].values.get(b"h")
            assert answer is None if value is None else answer in value
        else:
            node.call(command, "h", field, "1")
    assert isinstance(value, Hash)
    assert value.index is not None
    assert sorted(value.index.items) == sorted(value)
    assert all(value.index.items[place] == field for field, place in value.index.place.items())


def test_random_fields_are_different_for_a_positive_count_and_free_to_repeat_for_a_negative_one(node: Harness) -> None:
    pairs = large(node, 50)
    some = node.call("HRANDFIELD", "h", 20)
    assert len(some) == 20
    assert len(set(some)) == 20
    many = node.call("HRANDFIELD", "h", -200, "WITHVALUES")
    assert len(many) == 400
    assert all(pairs[field] == content for field, content in zip(many[::2], many[1::2], strict=True))
    assert {node.call("HRANDFIELD", "h") for _ in range(2000)} == set(pairs)
    assert node.call("HRANDFIELD", "h", 51) == list(pairs)


def test_the_same_seed_draws_the_same_fields() -> None:
    draws = []
    for _ in range(2):
        node = Harness(seed=9)
        large(node, 100)
        draws.append([node.call("HRANDFIELD", "h", count) for count in (1, 5, -5, 99)])
    assert draws[0] == draws[1]


def test_repetitions_without_bound_are_refused(node: Harness) -> None:
    node.call("HSET", "h", "f", "v")
    assert str(node.call("HRANDFIELD", "h", -(2**62))) == "ERR value is out of range"
    assert str(node.call("HRANDFIELD", "h", -(2**63))).endswith("-9223372036854775807 and 9223372036854775807")


def test_replicas_are_told_the_sum_of_floats_and_not_the_summand(node: Harness) -> None:
    assert node.call("HINCRBYFLOAT", "h", "f", "10.50") == b"10.5"
    assert node.call("HINCRBYFLOAT", "h", "f", "0.1") == b"10.6"
    assert [argv for _, argv in node.drain_effects()] == [
        [b"HSET", b"h", b"f", b"10.5"],
        [b"HSET", b"h", b"f", b"10.6"],
    ]


def test_the_last_field_takes_its_key_with_it(node: Harness) -> None:
    told: list[tuple[bytes, bytes]] = []
    node.keyspace.notify_flags = 4095
    node.keyspace.on_notify = lambda db, kind, event, key: told.append((event, key))
    node.call("HSET", "h", "a", "1", "b", "2")
    assert node.call("HDEL", "h", "a", "b", "c") == 2
    assert node.keyspace.databases[0].find(b"h") is None
    assert told[-2:] == [(b"hdel", b"h"), (b"del", b"h")]


def test_making_a_hash_costs_no_dictionary_beside_it() -> None:
    value = Hash()
    value[b"f"] = b"v"
    assert value.index is None
    assert value.peak == 0
    assert "index" not in vars(value)
