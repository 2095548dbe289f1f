"""SCAN visits every key that is there all the time, whatever happens meanwhile, and refuses what stock refuses."""

from __future__ import annotations

from contextlib import closing
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.core.commands.keys.scan import EMPTY_SCAN, scan_reply
from replicator.core.keyspace.index import Index
from tests.support.harness import Harness, decode
from tests.support.stock import Wire, running


@given(
    st.lists(st.integers(0, 60), max_size=60),
    st.lists(st.lists(st.tuples(st.booleans(), st.integers(0, 99)), max_size=8), max_size=30),
    st.integers(1, 12),
)
def test_a_scan_misses_no_key_that_is_there_from_begin_to_end(
    start: list[int], changes: list[list[tuple[bool, int]]], count: int
) -> None:
    node = Harness()
    for number in start:
        node.call("SET", number, "v")
    always = {b"%d" % number for number in start}
    seen: set[bytes] = set()
    cursor = b"0"
    steps = iter(changes)
    while True:
        cursor, keys = node.call("SCAN", cursor, "COUNT", count)
        seen.update(keys)
        if cursor == b"0":
            break
        for adds, number in next(steps, []):
            if adds:
                node.call("SET", number, "v")
            else:
                node.call("DEL", number)
                always.discard(b"%d" % number)
    assert always <= seen


def test_match_and_type_filter_what_is_shown() -> None:
    node = Harness()
    node.call("SET", "text:1", "v")
    node.call("RPUSH", "list:1", "v")
    node.call("HSET", "hash:1", "f", "v")
    assert node.call("SCAN", "0", "TYPE", "LIST") == [b"0", [b"list:1"]]
    assert node.call("SCAN", "0", "MATCH", "*:1", "TYPE", "string") == [b"0", [b"text:1"]]
    assert node.call("SCAN", "0", "MATCH", "nope*") == [b"0", []]
    assert node.call("SCAN", "0", "TYPE", "nonsense") == [b"0", []]


@pytest.mark.parametrize(
    "argv",
    [
        "SCAN abc", "SCAN 18446744073709551616", "SCAN 99999999999999999999999", "SCAN 0 COUNT 0", "SCAN 0 COUNT x",
        "SCAN 0 FOO", "SCAN 0 MATCH", "SCAN 0 FOO x", "SSCAN missing x", "SSCAN missing 0 FOO", "SSCAN set 0 TYPE set",
        "SSCAN text 0", "SSCAN text x", "HSCAN missing 0 COUNT 0", "ZSCAN missing 0 MATCH", "HSCAN set 0",
        "SSCAN set 0 COUNT 1", "SSCAN set 5", "HSCAN hash 0 COUNT 1", "HSCAN hash 0 MATCH [a-b]",
        "ZSCAN zset 0 COUNT 1",
        "SCAN 0 COUNT 9223372036854775807 MATCH set", "SCAN +0 MATCH set", "SCAN -0 MATCH set",
    ],
)  # fmt: skip
def test_small_collections_and_wrong_arguments_are_answered_as_redis_7_does(argv: str, redis7: Wire) -> None:
    node = Harness()
    fill = ["FLUSHALL", "SADD set 10 3 -2 7", "HSET hash b 1 a 2 c 3", "ZADD zset 2 b 1 a 3 c", "SET text v"]
    for line in fill:
        assert str(node.call(*line.split())) == str(redis7.call(*line.split()))
    assert str(node.call(*argv.split())) == str(redis7.call(*argv.split()))


@pytest.fixture(scope="module")
def redis7():  # type: ignore[no-untyped-def]
    with running("redis7") as port, closing(Wire(port)) as wire:
        yield wire


def test_a_scan_of_members_shows_what_emit_makes_of_them() -> None:
    node = Harness()
    index = Index(b"%d" % number for number in range(25))
    shown: list[bytes] = []
    cursor = b"0"
    steps = 0
    while True:
        argv = [b"XSCAN", b"key", cursor, b"COUNT", b"4"]
        cursor, items = decode(scan_reply(node.first, argv, 2, index, lambda member: (member, member * 2)))
        shown += items
        steps += 1
        if cursor == b"0":
            break
    assert steps == 7
    assert sorted(shown[::2], key=int) == index.items
    assert [member * 2 for member in shown[::2]] == shown[1::2]
    assert decode(EMPTY_SCAN) == [b"0", []]


def test_a_cursor_from_a_larger_past_starts_at_the_end() -> None:
    node = Harness()
    for number in range(20):
        node.call("SET", number, "v")
    assert len(node.call("SCAN", "18446744073709551615", "COUNT", "100")[1]) == 20


def test_a_scan_on_a_primary_deletes_expired_keys_on_its_way() -> None:
    node = Harness()
    chance = Random(2)
    for number in range(50):
        node.call("SET", number, "v", "PX", chance.choice([10, 10_000]))
    node.advance(100)
    cursor, shown = b"0", []
    while True:
        cursor, keys = node.call("SCAN", cursor)
        shown += keys
        if cursor == b"0":
            break
    assert sorted(shown) == sorted(node.first.db.values)
    assert node.keyspace.expired == 50 - len(shown)
