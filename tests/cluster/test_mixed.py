"""Clusters whose nodes are ours and stock servers'."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.cluster import RedisCluster

from tests.support.clusters import Member, create, members, only_long, redis_cli, wait_ok
from tests.support.servers import until
from tests.support.stock import binary


def _missing(*engines: str) -> bool:
    return any(binary(engine) is None for engine in engines)


def _heir(nodes: list[Member], name: str) -> Member:
    """The replica of the primary of that id."""
    [heir] = [node for node in nodes if node.nodes()[node.my_id()][3] == name]
    return heir


def _confirmed(node: Member) -> list[str]:
    """Keys written to a primary and acknowledged with WAIT 1, on the connection that wrote them."""
    keys = [f"confirmed:{i}" for i in range(60) if node.call("SET", f"confirmed:{i}", "confirmed") == b"OK"]
    assert node.call("WAIT", 1, 5000) >= 1
    return keys


@pytest.mark.parametrize("stock", ["redis7", pytest.param("valkey9", marks=only_long)])
def test_a_mixed_cluster_votes_across_the_kinds(tmp_path: Path, stock: str) -> None:
    """Two primaries of ours and a stock one, a replica of the other kind each: primaries die in turn, and whoever is
    left votes; what was acknowledged with WAIT 1 is there afterwards."""
    if _missing(stock):
        pytest.skip(f"{stock} is not installed on this machine")
    with members(tmp_path, "ours", "ours", stock, "ours", stock, stock) as nodes:
        create(nodes, replicas=1)
        client = RedisCluster(host="127.0.0.1", port=nodes[1].port)
        for i in range(100):
            client.set(f"key:{i}", i)
        client.close()
        confirmed = [key for node in nodes[:3] for key in _confirmed(node)]
        assert len(confirmed) > 30
        for dying in (nodes[0], nodes[2]):
            name = dying.my_id()
            others = [node for node in nodes if node is not dying]
            heir = _heir(others, name)
            dying.kill()
            until(lambda heir=heir: "master" in heir.flags(heir), f"{heir.engine} takes the place of {dying.engine}")
            wait_ok(others)
            dying.start()
            until(lambda dying=dying: "slave" in dying.flags(dying), "the old primary follows")
            dying.wait_linked()
            wait_ok(nodes)
        client = RedisCluster(host="127.0.0.1", port=nodes[1].port)
        assert [int(client.get(f"key:{i}")) for i in range(100)] == list(range(100))
        assert all(client.get(key) == b"confirmed" for key in confirmed)
        client.close()
        printed = redis_cli("--cluster", "check", nodes[1].address)
        assert "All nodes agree about slots configuration" in printed
        assert "All 16384 slots covered" in printed
