"""Clusters of our nodes, driven by redis-cli and by a client library."""

from __future__ import annotations

from pathlib import Path

from redis.cluster import RedisCluster

from tests.support.clusters import create, members


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
