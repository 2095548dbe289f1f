"""Clusters of our nodes, driven by redis-cli and by a client library."""

from __future__ import annotations

from pathlib import Path

from redis.cluster import RedisCluster

from replicator.core.cluster.slots import key_slot
from tests.support.clusters import create, members, wait_ok
from tests.support.servers import converge, until


def test_redis_cli_creates_a_cluster_and_a_cluster_client_writes_and_reads_all_of_it(tmp_path: Path) -> None:
    with members(tmp_path, "ours", "ours", "ours") as nodes:
        create(nodes)
        client = RedisCluster(host="127.0.0.1", port=nodes[0].port)
        try:
            for i in range(300):
                client.set(f"key:{i}", i)
            assert [int(client.get(f"key:{i}")) for i in range(300)] == list(range(300))
        finally:
            client.close()
        counts = [node.call("DBSIZE") for node in nodes]
        assert sum(counts) == 300
        assert all(counts), counts


def test_a_replica_takes_the_place_of_a_primary_that_dies_and_the_old_one_follows_it(tmp_path: Path) -> None:
    with members(tmp_path, *["ours"] * 6) as nodes:
        create(nodes, replicas=1)
        dying, others = nodes[0], nodes[1:]
        [heir] = [node for node in others if dying.my_id() in node.nodes()[node.my_id()][3]]
        key = next(f"k{i}" for i in range(100) if dying.call("SET", f"k{i}", "kept") == b"OK")
        assert dying.call("WAIT", 1, 5000) == 1
        name = dying.my_id()
        dying.kill()
        until(lambda: "master" in heir.flags(heir), "the replica took over")
        wait_ok(others)
        assert heir.call("GET", key) == b"kept"
        assert "fail" in others[0].flags(name)
        dying.start()
        until(lambda: "slave" in dying.flags(dying), f"the old primary follows: {dying.log()[-2000:]}")
        dying.wait_linked()
        wait_ok(nodes)
        moved = dying.call("GET", key)
        assert str(moved) == f"MOVED {key_slot(key.encode())} {heir.address}"
        assert dying.call("READONLY") == b"OK"
        assert dying.call("GET", key) == b"kept"
        converge(heir, dying)
