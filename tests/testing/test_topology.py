"""Topologies of real nodes: what is promised to a test that uses one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from replicator.testing import Topology, TopologyError, topology
from tests.support.servers import until
from tests.support.stock import binary

ENGINE = "redis" if binary("redis7") else "replicator"


@pytest.fixture
def ha() -> Iterator[Topology]:
    """Stock where it is there: it starts faster, and the plugin is the same."""
    with topology(replicas=2, engine=ENGINE) as made:
        yield made


def written(client: Any, key: str, value: Any) -> None:
    """Write it as soon as somebody takes it."""

    def done() -> bool:
        try:
            client.set(key, value)
        except redis.RedisError:
            return False
        return True

    until(done, f"{key} can be written")


@pytest.mark.parametrize("engine", ["replicator", ENGINE])
def test_a_failover_without_a_loss(engine: str) -> None:
    with topology(replicas=2, engine=engine) as ha:
        client = ha.record(ha.client())
        with client.pipeline() as pipeline:
            for number in range(100):
                pipeline.set(f"order:{number}", "paid").rpush("orders", number).incr("count")
            assert len(pipeline.execute()) == 300
        ha.wait_synced()
        ha.primary.kill()
        failover = ha.wait_for_failover()
        assert failover.before == "a" and failover.fault == "kill a"
        assert ha.primary.name == failover.promoted != "a"
        written(client, "after", 1)
        assert ha.lost_writes() == [] and ha.recorder.unjudged == {}
        ha["a"].restart()
        ha.wait_synced()
        assert {name: node.role for name, node in ha.nodes.items()} == {
            name: "primary" if name == failover.promoted else "replica" for name in "abc"
        }
        assert ha.lost_writes() == []


def test_lost_writes_are_named_with_who_confirmed_them_and_what_would_have_kept_them(ha: Topology) -> None:
    client = ha.record(ha.client())
    client.set("kept", 1)
    ha.wait_synced()
    ha.cut(ha.primary, "others")
    client.set("doomed", 1)
    client.hset("hash", "doomed", "too")
    ha.primary.kill()
    ha.wait_for_failover()
    lost = ha.lost_writes()
    assert [(one.key, one.acknowledged_by, one.would_have_prevented) for one in lost] == [
        ("doomed", "a", "WAIT 1"), ("hash[doomed]", "a", "WAIT 1"),
    ]  # fmt: skip


def test_a_primary_that_stands_still_is_replaced_and_follows_when_it_goes_on(ha: Topology) -> None:
    client = ha.record(ha.client(socket_timeout=0.5))
    client.set("a", 1)
    ha.wait_synced()
    ha["a"].stop()
    ha.wait_for_failover()
    written(client, "b", 1)
    ha["a"].continue_()
    until(lambda: ha["a"].role == "replica", "it follows")
    ha.wait_synced()
    assert ha.lost_writes() == []


def test_a_primary_that_is_cut_off_is_replaced_and_what_its_clients_wrote_meanwhile_is_lost(ha: Topology) -> None:
    inside = ha.record(redis.Redis(*ha["a"].address, socket_timeout=5))
    ha.wait_synced()
    ha.cut("a", "others")
    inside.set("doomed", 1)
    ha.wait_for_failover()
    inside.set("doomed too", 1)
    ha.heal()
    until(lambda: ha["a"].role == "replica", "it follows")
    ha.wait_synced()
    assert [one.key for one in ha.lost_writes()] == ["doomed", "doomed too"]
    inside.close()


def test_links_can_be_cut_one_way_reset_delayed_throttled_and_healed(ha: Topology) -> None:
    client = ha.client(socket_timeout=5)
    client.set("a", 1)
    ha.wait_synced()
    ha.delay("clients", "a", delay="150ms", one_way=True)
    begun_s = time.monotonic()
    client.get("a")
    assert time.monotonic() - begun_s >= 0.15
    ha.heal()
    begun_s = time.monotonic()
    client.get("a")
    assert time.monotonic() - begun_s < 0.15
    ha.throttle("a", "others", rate="20kb", one_way=True)
    for _ in range(2):  # what a link reads while the limit is set still passes at once
        client.set("large", b"x" * 40_000)
        until(lambda: ha["a"].call("STRLEN", "large") == 40_000, "it is written")
    with pytest.raises(TopologyError, match=r"not in sync after 0.3 s"):
        ha.wait_synced(timeout=0.3)
    ha.heal("a", "others")
    ha.wait_synced()
    before = ha["a"].call("INFO", "stats")
    ha.cut("a", "b", mode="reset")
    ha.heal("a", "b")
    ha.wait_synced()
    assert ha["a"].call("INFO", "stats") != before
    ha.cut("a", "b", one_way=True)
    client.set("b", 1)
    until(lambda: ha["c"].call("GET", "b") == b"1", "c has it")
    assert ha["b"].call("GET", "b") is None
    ha.heal()
    ha.wait_synced()
    assert not ha.failovers


def test_a_client_that_retries_writes_twice_and_the_record_says_so(ha: Topology) -> None:
    from redis.backoff import ConstantBackoff
    from redis.retry import Retry

    retry = Retry(ConstantBackoff(0.1), 20)
    client = ha.record(ha.client(retry=retry, socket_timeout=0.5))
    client.set("warm", 1)
    ha.cut("a", "clients", one_way=True)  # the answer does not come back
    ha["a"].call("CLIENT", "NO-EVICT", "off")
    done: list[int] = []

    import threading

    thread = threading.Thread(target=lambda: done.append(client.incr("n")))
    thread.start()
    until(lambda: len(ha.history.operations) >= 3, "it has tried twice")
    ha.heal()
    thread.join()
    attempts = [one.status.value for one in ha.history.operations if one.key == "n"]
    assert attempts[-1] == "ok" and "info" in attempts
    assert done[0] >= 2, "the first attempt counted too"


def test_without_a_director_nobody_is_promoted_but_by_hand() -> None:
    with topology(replicas=1, engine=ENGINE, director=False) as ha:
        ha.wait_synced()
        ha.primary.kill()
        with pytest.raises(TopologyError, match=r"nobody was promoted within 1 s"):
            ha.wait_for_failover(timeout=1)
        ha["b"].promote()
        assert ha.wait_for_failover().promoted == "b"
        assert ha.client().set("a", 1)


def test_coroutines_wait_without_holding_their_loop_up(ha: Topology) -> None:
    import redis.asyncio

    async def scene() -> int:
        client = ha.record(redis.asyncio.Redis(host=ha.address[0], port=ha.address[1]))
        await client.set("a", 1)
        await ha.in_thread(ha.wait_synced)
        turns = 0

        async def ticking() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.01)

        ticker = asyncio.create_task(ticking())
        await ha.in_thread(ha.primary.kill)
        await ha.in_thread(ha.wait_for_failover)
        ticker.cancel()
        assert await ha.in_thread(ha.lost_writes) == []
        await client.aclose()
        return turns

    assert asyncio.run(scene()) > 10


async def test_under_trio_too(ha: Topology) -> None:
    await ha.in_thread(ha.primary.kill)
    assert (await ha.in_thread(ha.wait_for_failover)).before == "a"


def test_what_cannot_be_had_is_refused_with_a_sentence() -> None:
    with pytest.raises(TopologyError, match="there is no stock server"):
        topology(engine="/nowhere/redis-server")
    with (
        pytest.raises(TopologyError, match=r"node a ended at once; its log ends: .*no-such-directive"),
        topology(replicas=0, engine=ENGINE, config={"no-such-directive": 1}),
    ):
        raise AssertionError("it has started")
    with topology(replicas=0, engine=ENGINE) as ha:
        for refused in (
            lambda: ha.cut("a", "a"),
            lambda: ha.cut("a", "clients", mode="strange"),
            lambda: ha["a"].continue_() or ha["a"].call("NO-SUCH-COMMAND"),
            lambda: ha.client("nothing"),
        ):
            with pytest.raises((TopologyError, ValueError)):
                refused()
    with pytest.raises(TopologyError, match="has ended"):
        ha["a"].kill()


def test_sentinels_decide_where_there_are_any_over_tls_as_well() -> None:
    with topology(replicas=1, sentinels=3, engine="replicator", tls=True, down_after="1s") as ha:
        client = ha.record(ha.client())
        client.set("a", 1)
        ha.wait_synced()
        ha.primary.kill()
        assert ha.wait_for_failover().promoted == "b"
        written(client, "b", 1)
        assert ha.lost_writes() == []
        with redis.Redis(
            *ha.address, ssl=True, **{f"ssl_{name}": path for name, path in ha.tls_files.items()}
        ) as plain:
            assert plain.get("b") == b"1"
