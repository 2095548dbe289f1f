"""nodes.conf is stock's: each engine goes on from the other's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.clusters import Member, create, members, only_long, wait_ok
from tests.support.servers import until
from tests.support.stock import binary


@pytest.mark.parametrize("stock", ["redis7", pytest.param("valkey9", marks=only_long)])
def test_each_engine_goes_on_from_the_others_nodes_conf(tmp_path: Path, stock: str) -> None:
    if binary(stock) is None:
        pytest.skip(f"{stock} is not installed on this machine")
    with members(tmp_path, "ours", stock, "ours") as nodes:
        create(nodes)
        names = [node.my_id() for node in nodes]
        owned = [node.nodes()[name][8:] for node, name in zip(nodes, names, strict=True)]
        for node in nodes[:2]:
            assert node.stop() == 0
        # The first two change their places: our file for the stock server, and its file for us.
        replaced: list[Member] = []
        try:
            for node, engine in ((nodes[0], stock), (nodes[1], "ours")):
                other = Member(engine, node.folder)
                other.port = node.port
                other.launch()
                replaced.append(other)
            for other in replaced:
                other.wait_started()
            everybody = [*replaced, nodes[2]]
            assert [node.my_id() for node in everybody] == names
            wait_ok(everybody)
            for node, name, slots in zip(everybody, names, owned, strict=True):
                assert node.nodes()[name][8:] == slots
            until(
                lambda: all("fail" not in flags for node in everybody for flags in map(node.flags, names)),
                "everybody sees everybody alive",
            )
        finally:
            for other in replaced:
                other.kill()


def test_a_second_node_may_not_use_the_same_nodes_conf(tmp_path: Path) -> None:
    with members(tmp_path, "ours") as [node]:
        assert node.call("CLUSTER", "SAVECONFIG") == b"OK"
        other = Member("ours", node.folder)
        other.launch()
        assert other.process is not None
        try:
            assert other.process.wait(20) == 1
        finally:
            other.kill()
        assert "is already used by a different Redis Cluster node" in node.log()
        assert node.call("PING") == b"PONG"


def test_a_damaged_nodes_conf_is_told_with_its_line_and_nothing_starts(tmp_path: Path) -> None:
    with members(tmp_path, "ours") as [node]:
        assert node.stop() == 0
        path = node.folder / "nodes.conf"
        path.write_text(path.read_text().replace("myself,master", "myself,wizard"))
        node.launch()
        assert node.process is not None
        assert node.process.wait(20) == 1
        assert "corrupted cluster config file" in node.log()
        assert "line 1" in node.log()
