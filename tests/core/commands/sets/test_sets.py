"""Sets: order of replies, chance, scanning, effects, and their algebra against Python's own sets."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.core.keyspace.digest import digest_keyspace
from tests.core.commands.test_hashes import scan
from tests.support.harness import Harness
from tests.support.observed import replay


@pytest.fixture
def node() -> Harness:
    return Harness()


def effects(node: Harness) -> list[list[bytes]]:
    return [argv for _, argv in node.drain_effects()]


def test_small_sets_of_integers_are_shown_in_ascending_order(node: Harness) -> None:
    node.call("SADD", "s", 10, 9, -1, 2**63 - 1, 0, -(2**63))
    ascending = [b"%d" % n for n in (-(2**63), -1, 0, 9, 10, 2**63 - 1)]
    assert node.call("SMEMBERS", "s") == ascending
    assert node.call("SRANDMEMBER", "s", 6) == ascending
    assert node.call("SUNION", "s", "none") == ascending
    assert node.call("SSCAN", "s", 0, "COUNT", 1) == [b"0", ascending]
    assert node.call("SPOP", "s", 6) == ascending


@pytest.mark.parametrize("odd", ["x", "01", "+1", " 1", "1.0", 2**63, ""])
def test_one_member_that_is_no_integer_ends_that_order_for_good(node: Harness, odd: str | int) -> None:
    node.call("SADD", "s", 3, 2, odd, 1)
    assert node.call("SMEMBERS", "s") == [b"3", b"2", str(odd).encode(), b"1"]
    node.call("SREM", "s", odd)
    assert node.call("SMEMBERS", "s") == [b"3", b"2", b"1"]


def test_more_than_512_integers_are_scanned_step_by_step(node: Harness) -> None:
    members = [b"%d" % n for n in range(600)]
    node.call("SADD", "s", *members)
    found, calls = scan(node, "SSCAN", "s", "COUNT", 60)
    assert sorted(found) == sorted(members)
    assert calls == 10


@given(seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_a_scan_while_members_come_and_go_misses_none_that_stays(seed: int) -> None:
    node = Harness()
    chance = Random(seed)
    members = [b"m%d" % n for n in range(300)]
    node.call("SADD", "s", *members)
    stays = {member for member in members if chance.random() < 0.5}
    goes = [member for member in members if member not in stays]
    seen: set[bytes] = set()
    cursor = b"0"
    while True:
        cursor, items = node.call("SSCAN", "s", cursor, "COUNT", chance.randint(1, 20))
        seen.update(items)
        if cursor == b"0":
            break
        for _ in range(chance.randrange(10)):
            if goes and chance.random() < 0.6:
                node.call("SREM", "s", goes.pop(chance.randrange(len(goes))))
            else:
                node.call("SADD", "s", b"new%d" % chance.randrange(1000))
    assert stays <= seen


members_of = st.lists(st.integers(0, 30).map(lambda n: b"%d" % n if n % 2 else b"m%d" % n), max_size=25)


@given(st.lists(members_of, min_size=1, max_size=4), st.integers(0, 8))
@settings(max_examples=80, deadline=None)
def test_unions_intersections_and_differences_are_those_of_plain_sets(groups: list[list[bytes]], limit: int) -> None:
    node = Harness()
    names = [b"s%d" % n for n in range(len(groups))]
    for name, members in zip(names, groups, strict=True):
        if members:
            node.call("SADD", name, *members)
    plain = [set(members) for members in groups]
    expected = {
        "SINTER": set.intersection(*plain),
        "SUNION": set.union(*plain),
        "SDIFF": plain[0].difference(*plain[1:]),
    }
    for command, wanted in expected.items():
        found = node.call(command, *names)
        assert len(found) == len(wanted)
        assert set(found) == wanted
        assert node.call(f"{command}STORE", "to", *names) == len(wanted)
        assert set(node.call("SMEMBERS", "to")) == wanted
        assert (node.keyspace.databases[0].find(b"to") is None) == (not wanted)
    card = len(expected["SINTER"])
    assert node.call("SINTERCARD", len(names), *names, "LIMIT", limit) == (min(card, limit) if limit else card)


def test_storing_a_result_over_its_own_source_replaces_it(node: Harness) -> None:
    node.call("SADD", "a", 1, 2, 3)
    node.call("SADD", "b", 2, 3, 4)
    node.keyspace.databases[0].expire_at(b"a", node.keyspace.now_ms + 1000)
    assert node.call("SINTERSTORE", "a", "a", "b") == 2
    assert node.call("SMEMBERS", "a") == [b"2", b"3"]
    assert node.keyspace.databases[0].expiry(b"a") is None
    assert node.call("SDIFFSTORE", "a", "a", "a") == 0
    assert node.keyspace.databases[0].find(b"a") is None


def test_a_result_is_stored_over_a_key_of_any_type(node: Harness) -> None:
    node.call("SET", "to", "text")
    node.call("SADD", "a", "x")
    assert node.call("SUNIONSTORE", "to", "a") == 1
    node.call("SET", "to", "text")
    assert node.call("SINTERSTORE", "to", "a", "none") == 0
    assert node.keyspace.databases[0].find(b"to") is None


def test_a_popped_member_is_replicated_as_its_removal(node: Harness) -> None:
    node.call("SADD", "s", "a", "b", "c")
    node.drain_effects()
    member = node.call("SPOP", "s")
    assert effects(node) == [[b"SREM", b"s", member]]
    pair = node.call("SPOP", "s", 1)
    assert effects(node) == [[b"SREM", b"s", *pair]]
    node.call("SPOP", "s", 10)
    assert effects(node) == [[b"DEL", b"s"]]
    assert node.call("SPOP", "s", 10) == []
    assert effects(node) == []


def test_many_popped_members_are_replicated_in_portions(node: Harness) -> None:
    node.call("SADD", "s", *range(5000))
    popped = node.call("SPOP", "s", 2500)
    told = effects(node)[1:]
    assert [len(argv) - 2 for argv in told] == [1024, 1024, 452]
    assert [member for argv in told for member in argv[2:]] == popped
    assert node.call("SCARD", "s") == 2500


def test_pops_by_chance_replicate_to_the_same_data() -> None:
    node = Harness(seed=4)
    chance = Random(8)
    for _ in range(600):
        key = chance.choice(("a", "b"))
        if chance.random() < 0.6:
            node.call("SADD", key, *[chance.randrange(40) for _ in range(4)])
        else:
            node.call("SPOP", key, *chance.choice(((), (2,), (50,))))
    assert digest_keyspace(replay(node.drain_effects()).keyspace) == digest_keyspace(node.keyspace)


def test_random_members_differ_for_a_positive_count_and_may_repeat_for_a_negative_one(node: Harness) -> None:
    members = {b"m%d" % n for n in range(40)}
    node.call("SADD", "s", *sorted(members))
    some = node.call("SRANDMEMBER", "s", 20)
    assert len(some) == len(set(some)) == 20
    many = node.call("SRANDMEMBER", "s", -500)
    assert len(many) == 500
    assert set(many) == members
    assert node.call("SCARD", "s") == 40
    assert str(node.call("SRANDMEMBER", "s", -(2**62))) == "ERR value is out of range"


def test_every_member_is_popped_about_as_often() -> None:
    counts = dict.fromkeys((b"a", b"b", b"c", b"d"), 0)
    node = Harness(seed=2)
    for _ in range(2000):
        node.call("SADD", "s", "a", "b", "c", "d")
        counts[node.call("SPOP", "s")] += 1
    assert all(400 < count < 600 for count in counts.values())


def test_moving_a_member_tells_both_keys_and_nothing_where_it_is_not(node: Harness) -> None:
    told: list[tuple[bytes, bytes]] = []
    node.keyspace.notify_flags = 4095
    node.keyspace.on_notify = lambda db, kind, event, key: told.append((event, key))
    node.call("SADD", "a", "x")
    told.clear()
    assert node.call("SMOVE", "a", "b", "y") == 0
    assert told == []
    assert node.call("SMOVE", "a", "b", "x") == 1
    assert (b"srem", b"a") in told
    assert (b"del", b"a") in told
    assert told[-1] == (b"sadd", b"b")


def test_in_resp3_members_come_as_a_set(node: Harness) -> None:
    node.call("SADD", "s", "x")
    node.first.use_protocol(3)
    assert node.raw("SMEMBERS", "s") == b"~1\r\n$1\r\nx\r\n"
    assert node.raw("SINTER", "s", "none") == b"~0\r\n"
    assert node.raw("SRANDMEMBER", "s", 1) == b"*1\r\n$1\r\nx\r\n"
    assert node.raw("SPOP", "s", 1) == b"~1\r\n$1\r\nx\r\n"
