"""redis-cli --cluster on clusters of ours and on mixed ones, under load."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from redis.cluster import RedisCluster

from tests.support.clusters import Member, create, members, only_long, redis_cli, wait_ok
from tests.support.servers import Server, servers, until
from tests.support.stock import binary


class Load:
    """A cluster client with default options that counts up keys until it is stopped; what it was told is remembered."""

    def __init__(self, port: int) -> None:
        self.client = RedisCluster(host="127.0.0.1", port=port)
        self.done: dict[str, int] = {}
        self.errors: list[BaseException] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            key = f"load:{number % 500}"
            try:
                self.client.set(key, number)
                self.done[key] = number
                assert int(self.client.get(key)) == number
            except BaseException as problem:  # all that a user would see is told at the end
                self.errors.append(problem)
            number += 1

    def stop(self) -> None:
        """End it; whatever was acknowledged must be there, and nothing but answers must have come."""
        self._stop.set()
        self._thread.join()
        assert not self.errors, self.errors[:3]
        assert len(self.done) > 50
        for key, number in self.done.items():
            assert int(self.client.get(key)) == number, key
        self.client.close()


def _check(node: Member) -> str:
    printed = redis_cli("--cluster", "check", node.address)
    assert "All nodes agree about slots configuration" in printed
    assert "All 16384 slots covered" in printed
    return printed


def _slots(node: Member) -> int:
    """How many slots a node owns."""
    count = 0
    for word in node.nodes()[node.my_id()][8:]:
        first, _, last = word.partition("-")
        count += int(last or first) - int(first) + 1
    return count


# The whole third takes minutes on a busy machine; the same with fewer slots shows the same.
TAKEN = (2731, 2730) if "REPLICATOR_LONG" in os.environ else (60, 60)


def test_a_third_primary_joins_two_and_takes_its_third_while_clients_write(tmp_path: Path) -> None:
    with members(tmp_path, "ours", "ours", "ours") as nodes:
        first, second, third = nodes
        assert first.call("CLUSTER", "ADDSLOTSRANGE", 0, 8191) == b"OK"
        assert second.call("CLUSTER", "ADDSLOTSRANGE", 8192, 16383) == b"OK"
        assert first.call("CLUSTER", "SET-CONFIG-EPOCH", 1) == second.call("CLUSTER", "SET-CONFIG-EPOCH", 2) == b"OK"
        assert first.call("CLUSTER", "MEET", "127.0.0.1", second.port) == b"OK"
        wait_ok([first, second])
        load = Load(first.port)
        assert "New node added correctly" in redis_cli("--cluster", "add-node", third.address, first.address)
        wait_ok(nodes)
        until(lambda: all(len(node.nodes()) == 3 for node in nodes), "all know the third")
        move = ("--cluster", "reshard", first.address, "--cluster-yes", "--cluster-to", third.my_id())
        redis_cli(*move, "--cluster-from", first.my_id(), "--cluster-slots", str(TAKEN[0]), bound=300)
        redis_cli(*move, "--cluster-from", second.my_id(), "--cluster-slots", str(TAKEN[1]), bound=300)
        load.stop()
        assert [_slots(node) for node in nodes] == [8192 - TAKEN[0], 8192 - TAKEN[1], sum(TAKEN)]
        _check(first)


@pytest.mark.parametrize(
    "kinds", [pytest.param(("ours", "ours", "ours"), marks=only_long), ("ours", "redis7", "valkey9")]
)
def test_redis_cli_runs_a_cluster_through_all_its_operations(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    if any(kind != "ours" and binary(kind) is None for kind in kinds):
        pytest.skip("a stock server is missing")
    with members(tmp_path, *kinds, "ours") as nodes:
        *primaries, fourth = nodes
        create(primaries)
        load = Load(primaries[0].port)
        source, target = primaries[1], primaries[0]
        redis_cli(
            "--cluster", "reshard", target.address, "--cluster-from", source.my_id(), "--cluster-to", target.my_id(),
            "--cluster-slots", "60", "--cluster-yes",
        )  # fmt: skip
        assert _slots(target) == 5461 + 60
        redis_cli(
            "--cluster", "reshard", target.address, "--cluster-from", target.my_id(), "--cluster-to", source.my_id(),
            "--cluster-slots", "60", "--cluster-yes",
        )  # fmt: skip
        _interrupt_a_move(target, source)
        printed = redis_cli("--cluster", "fix", primaries[2].address)
        assert "All 16384 slots covered" in printed
        _check(target)
        assert "keys" in redis_cli("--cluster", "info", target.address)
        assert "PONG" in redis_cli("--cluster", "call", target.address, "ping")
        redis_cli("--cluster", "add-node", fourth.address, target.address, "--cluster-slave")
        until(lambda: fourth.nodes()[fourth.my_id()][3] != "-", "the fourth follows somebody")
        fourth.wait_linked()
        wait_ok(nodes)
        redis_cli("--cluster", "del-node", target.address, fourth.my_id())
        until(lambda: all(len(node.nodes()) == 3 for node in primaries), "the fourth is forgotten")
        load.stop()
        _check(target)


def _interrupt_a_move(source: Member, target: Member) -> None:
    """Leave a slot with keys half moved, as a redis-cli that was killed does."""
    slot = next(
        slot
        for first, last, *owner in source.call("CLUSTER", "SLOTS")
        if owner[0][1] == source.port
        for slot in range(first, last + 1)
        if source.call("CLUSTER", "COUNTKEYSINSLOT", slot)
    )
    assert target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", source.my_id()) == b"OK"
    assert source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", target.my_id()) == b"OK"
    [key, *_] = source.call("CLUSTER", "GETKEYSINSLOT", slot, 1)
    assert source.call("MIGRATE", "127.0.0.1", target.port, key, 0, 5000) == b"OK"


def _filled(server: Server, count: int) -> dict[str, Any]:
    data = {f"imported:{i}": str(i) for i in range(count)}
    for key, value in data.items():
        server.call("SET", key, value)
    return data


def test_redis_cli_imports_the_data_of_a_plain_server(tmp_path: Path) -> None:
    with members(tmp_path, "ours", "ours", "ours") as nodes, servers(tmp_path / "plain", "ours") as [plain]:
        create(nodes)
        data = _filled(plain, 50)
        redis_cli("--cluster", "import", nodes[0].address, "--cluster-from", f"127.0.0.1:{plain.port}")
        client = RedisCluster(host="127.0.0.1", port=nodes[0].port)
        assert {key: client.get(key).decode() for key in data} == data
        client.close()
        assert plain.call("DBSIZE") == 0
        folder = tmp_path / "backup"
        folder.mkdir()
        redis_cli("--cluster", "backup", nodes[0].address, str(folder))
        assert len(list(folder.glob("*.rdb"))) == 3
