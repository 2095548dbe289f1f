"""maxmemory: what the account counts and which keys each policy takes."""

from __future__ import annotations

from random import Random

import pytest

from replicator.core.keyspace.eviction import MAX_EVICTIONS, key_size
from tests.support.harness import Harness

PAYLOAD = "x" * 1000


def limited(policy: str, keys_that_fit: int, seed: int = 1) -> Harness:
    """A node with room for about so many keys of PAYLOAD."""
    node = Harness(seed)
    evictor = node.server.evictor
    node.server.config["maxmemory-policy"] = policy
    node.server.config["maxmemory"] = evictor.baseline + keys_that_fit * 1150
    evictor.reconfigure()
    return node


def set_keys(node: Harness, *names: str, ttl: int | None = None) -> None:
    for name in names:
        node.call("SET", name, PAYLOAD, *(("EX", ttl) if ttl else ()))
    node.drain_effects()


def evicted(node: Harness) -> list[bytes]:
    assert node.server.evictor.make_room()
    effects = node.drain_effects()
    assert all(argv[0] == b"DEL" for _, argv in effects)
    return [argv[1] for _, argv in effects]


def account_by_hand(node: Harness) -> int:
    return sum(key_size(db, key, value) for db in node.keyspace.databases for key, value in db.values.items())


def test_without_a_limit_nothing_is_installed_and_nothing_is_evicted() -> None:
    node = Harness()
    node.server.evictor.reconfigure()
    set_keys(node, *(f"k{i}" for i in range(50)))
    assert node.keyspace.on_access is None
    assert node.keyspace.on_change is None
    assert not node.first.db.hooked
    assert node.server.evictor.make_room()
    assert node.call("DBSIZE") == 50


def test_noeviction_says_that_there_is_no_room_and_deletes_nothing() -> None:
    node = limited("noeviction", 5)
    set_keys(node, *"abcd")
    assert node.server.evictor.make_room()
    set_keys(node, *"efgh")
    assert not node.server.evictor.make_room()
    assert node.call("DBSIZE") == 8
    node.call("DEL", *"abcd")
    assert node.server.evictor.make_room()


def test_lru_takes_the_keys_that_were_not_used_for_the_longest_time() -> None:
    node = limited("allkeys-lru", 100)
    names = [f"key:{i}" for i in range(90)]
    set_keys(node, *names)
    node.advance(10_000)
    for name in names[::2]:
        node.call("GET", name)
    node.advance(10_000)
    set_keys(node, *(f"new:{i}" for i in range(30)))
    gone = evicted(node)
    assert gone
    stale = sum(name in {key.encode() for key in names[1::2]} for name in gone)
    assert stale >= len(gone) * 0.9
    assert not any(name.startswith(b"new:") for name in gone)


def test_lfu_takes_the_keys_that_are_used_least_often() -> None:
    node = limited("allkeys-lfu", 100)
    names = [f"key:{i}" for i in range(90)]
    set_keys(node, *names)
    for _ in range(60):
        for name in names[:40]:
            node.call("GET", name)
    set_keys(node, *(f"new:{i}" for i in range(40)))
    gone = evicted(node)
    assert gone
    assert not any(name.decode() in names[:40] for name in gone)
    assert node.call("OBJECT", "FREQ", "key:0") > node.call("OBJECT", "FREQ", "key:80")


def test_volatile_policies_take_only_keys_with_an_expiry() -> None:
    for policy in ("volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"):
        node = limited(policy, 30)
        set_keys(node, *(f"stay:{i}" for i in range(20)))
        set_keys(node, *(f"go:{i}" for i in range(20)), ttl=1000)
        gone = evicted(node)
        assert gone, policy
        assert all(name.startswith(b"go:") for name in gone), policy
        set_keys(node, *(f"more:{i}" for i in range(30)))
        assert not node.server.evictor.make_room(), policy
        assert node.call("DBSIZE") == 50, policy


def test_volatile_ttl_takes_what_expires_soonest() -> None:
    node = limited("volatile-ttl", 20)
    ttls = Random(5).sample(range(100, 1000), 30)
    for ttl in ttls:
        set_keys(node, f"ttl:{ttl}", ttl=ttl)
    gone = evicted(node)
    assert gone == [b"ttl:%d" % ttl for ttl in sorted(ttls)[: len(gone)]]


def test_random_policies_take_from_all_databases_until_it_fits() -> None:
    node = limited("allkeys-random", 40)
    set_keys(node, *(f"k{i}" for i in range(30)))
    node.call("SELECT", 3)
    set_keys(node, *(f"k{i}" for i in range(30)))
    assert node.server.evictor.make_room()
    databases = {index for index, _ in node.drain_effects()}
    assert databases == {0, 3}
    assert node.server.evictor.used_memory() <= node.server.config["maxmemory"]


def test_an_eviction_counts_notifies_and_touches_watched_keys() -> None:
    node = limited("allkeys-lru", 1)
    told = []
    node.keyspace.notify_flags = 128
    node.keyspace.on_notify = lambda db, kind, event, key: told.append((event, key))
    node.first.db.watched[b"a"] = {node.first: None}
    set_keys(node, "a")
    node.first.dirty_watch = False
    node.advance(5)
    set_keys(node, "b")
    assert evicted(node) == [b"a"]
    assert told == [(b"evicted", b"a")]
    assert node.keyspace.evicted == 1
    assert node.first.dirty_watch


def test_one_call_evicts_a_bounded_number_of_keys() -> None:
    node = limited("allkeys-random", 100_000)
    set_keys(node, *(f"k{i}" for i in range(MAX_EVICTIONS + 500)))
    node.server.config["maxmemory"] = node.server.evictor.baseline + 1
    node.server.evictor.reconfigure()
    assert len(evicted(node)) == MAX_EVICTIONS
    assert len(evicted(node)) == 500
    assert node.server.evictor.total == 0


@pytest.mark.parametrize("seed", range(4))
def test_the_account_is_the_sum_of_all_keys_whatever_happens(seed: int) -> None:
    node = limited("allkeys-lru", 10_000, seed)
    chance = Random(seed)
    for step in range(1500):
        key, other = f"k{chance.randrange(20)}", f"k{chance.randrange(20)}"
        node.call(
            *chance.choice(
                [
                    ("SET", key, "x" * chance.randrange(2000)),
                    ("SET", key, "v", "PX", chance.randrange(1, 50)),
                    ("APPEND", key, "tail"),
                    ("RENAME", key, other),
                    ("COPY", key, other, "DB", "1", "REPLACE"),
                    ("DEL", key),
                    ("EXPIRE", key, "100"),
                    ("PERSIST", key),
                    ("RPUSH", key, "x" * chance.randrange(50)),
                    ("SADD", key, f"m{chance.randrange(9)}"),
                    ("HSET", key, f"f{chance.randrange(9)}", "v"),
                    ("ZADD", key, "1", f"m{chance.randrange(9)}"),
                    ("SELECT", str(chance.randrange(2))),
                    ("SWAPDB", "0", "1"),
                    ("FLUSHDB",) if chance.random() < 0.05 else ("GET", key),
                ]
            )
        )
        node.advance(1)
        if step % 100 == 0:
            assert node.server.evictor.total == account_by_hand(node)
    assert node.server.evictor.total == account_by_hand(node)


def test_an_estimate_without_a_limit_is_close_to_the_account_with_one() -> None:
    node = Harness()
    set_keys(node, *(f"key:{i}" for i in range(2000)))
    estimate = node.server.evictor.data_size()
    assert abs(estimate - account_by_hand(node)) < 0.05 * estimate


def test_idle_time_counts_from_the_last_access_once_somebody_asks() -> None:
    node = Harness()
    set_keys(node, "a", "b")
    assert node.call("OBJECT", "IDLETIME", "a") == 0
    node.advance(5000)
    node.call("GET", "a")
    node.advance(3000)
    assert node.call("OBJECT", "IDLETIME", "a") == 3
    assert node.call("OBJECT", "IDLETIME", "b") == 8
    node.call("TTL", "b")
    node.call("EXISTS", "b")
    node.call("TYPE", "b")
    assert node.call("OBJECT", "IDLETIME", "b") == 8
    node.call("TOUCH", "b")
    assert node.call("OBJECT", "IDLETIME", "b") == 0
    node.server.evictor.set_idle(node.first.db, b"b", 60_000)
    assert node.call("OBJECT", "IDLETIME", "b") == 60


def test_a_frequency_decays_with_the_minutes() -> None:
    node = limited("allkeys-lfu", 100)
    set_keys(node, "a")
    assert node.call("OBJECT", "FREQ", "a") == 5
    for _ in range(500):
        node.call("GET", "a")
    high = node.call("OBJECT", "FREQ", "a")
    assert 8 < high < 60
    node.advance(3 * 60_000)
    assert node.call("OBJECT", "FREQ", "a") == high - 3
    assert "LFU maxmemory policy is selected" in str(node.call("OBJECT", "IDLETIME", "a"))


def test_the_same_seed_evicts_the_same_keys() -> None:
    def run() -> list[bytes]:
        node = limited("allkeys-lru", 50, seed=9)
        set_keys(node, *(f"k{i}" for i in range(200)))
        return evicted(node)

    assert run() == run()
