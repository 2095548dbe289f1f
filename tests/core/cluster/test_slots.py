"""Slots: where keys lie, and sets of slots."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.cluster.slots import iterate, key_slot, ranges, shown, span, union
from replicator.core.keyspace.index import SlotIndex
from replicator.core.wire.bus import SLOTS


def test_the_example_of_the_specification_and_hash_tags() -> None:
    assert key_slot(b"123456789") == 0x31C3
    assert key_slot(b"{user1000}.following") == key_slot(b"{user1000}.followers") == key_slot(b"user1000")
    assert key_slot(b"foo{}{bar}") == key_slot(b"foo{}{bar}") != key_slot(b"bar")
    assert key_slot(b"foo{{bar}}zap") == key_slot(b"{bar")
    assert key_slot(b"foo{bar}{zap}") == key_slot(b"bar")
    assert key_slot(b"foo{bar") != key_slot(b"bar")


@given(st.sets(st.integers(0, SLOTS - 1), max_size=300))
def test_a_set_as_a_number_has_the_same_slots_and_the_ranges_that_a_walk_finds(slots: set[int]) -> None:
    bits = union(slots)
    assert set(iterate(bits)) == slots
    again = 0
    for first, last in ranges(bits):
        assert not again & span(first, last)
        assert last + 1 not in slots
        again |= span(first, last)
    assert again == bits


def test_ranges_are_shown_as_nodes_conf_writes_them() -> None:
    assert shown(span(0, 5460) | 1 << 77 * 100 | span(16000, 16383)) == ["0-5460", "7700", "16000-16383"]


def test_the_index_by_slot_counts_and_lists_what_a_plain_walk_finds() -> None:
    chance = Random(3)
    index = SlotIndex(key_slot)
    members: dict[bytes, None] = {}
    for _ in range(5_000):
        key = b"{%d}%d" % (chance.randrange(20), chance.randrange(100))
        if chance.random() < 0.6:
            assert index.add(key) == (key not in members)
            members.setdefault(key)
        else:
            assert index.discard(key) == (key in members)
            members.pop(key, None)
    for tag in range(20):
        slot = key_slot(b"{%d}" % tag)
        there = {key for key in members if key_slot(key) == slot}
        assert index.count(slot) == len(there)
        assert set(index.list(slot, 1 << 30)) == there
        assert len(index.list(slot, 3)) == min(3, len(there))
    assert sorted(index.items) == sorted(members)
