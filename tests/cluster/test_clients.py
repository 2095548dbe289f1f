"""Cluster clients of three libraries, with default options, run through a reshard and a failover."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.clusters import create, members, only_long, redis_cli, wait_ok
from tests.support.servers import until


class Worker:
    """A client in a thread of its own: it sets keys until it is stopped. run(stop, done, failed): the loop."""

    def __init__(self, run: Callable[[threading.Event, dict[str, int], list[str]], None]) -> None:
        self.stop = threading.Event()
        self.done: dict[str, int] = {}
        self.failed: list[str] = []
        self.thread = threading.Thread(target=run, args=(self.stop, self.done, self.failed))
        self.thread.start()


def _blocking(client: Any, stop: threading.Event, done: dict[str, int], failed: list[str]) -> None:
    number = 0
    while not stop.is_set():
        key = f"{client.__module__.split('.')[0]}:{number % 200}"
        try:
            client.set(key, number)
            done[key] = number
        except Exception as problem:  # while nobody serves the slot, a client may say so
            failed.append(f"{type(problem).__name__}: {problem}")
            time.sleep(0.05)
        number += 1
    client.close()


def _coredis(port: int, stop: threading.Event, done: dict[str, int], failed: list[str]) -> None:
    import coredis

    async def work() -> None:
        client = coredis.RedisCluster(startup_nodes=[coredis.connection.TCPLocation("127.0.0.1", port)])
        async with client:
            number = 0
            while not stop.is_set():
                key = f"coredis:{number % 200}"
                try:
                    with trio.fail_after(10):
                        await client.set(key, str(number))
                    done[key] = number
                except Exception as problem:  # as above
                    failed.append(f"{type(problem).__name__}: {problem}")
                    await trio.sleep(0.05)
                number += 1

    trio.run(work)


def _worker(library: str, port: int) -> Worker:
    if library == "redis":
        from redis.cluster import RedisCluster

        return Worker(lambda *state: _blocking(RedisCluster(host="127.0.0.1", port=port), *state))
    if library == "valkey":
        from valkey.cluster import ValkeyCluster

        return Worker(lambda *state: _blocking(ValkeyCluster(host="127.0.0.1", port=port), *state))
    return Worker(lambda *state: _coredis(port, *state))


# coredis leaves the streams of connections that broke to the garbage collector, which says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("library", ["redis", *(pytest.param(name, marks=only_long) for name in ("valkey", "coredis"))])
def test_a_client_with_default_options_runs_through_a_reshard_and_a_failover(tmp_path: Path, library: str) -> None:
    pytest.importorskip(library)
    with members(tmp_path, *["ours"] * 4) as nodes:
        create(nodes[:3])
        redis_cli("--cluster", "add-node", nodes[3].address, nodes[0].address, "--cluster-slave",
                  "--cluster-master-id", nodes[0].my_id())  # fmt: skip
        until(lambda: "slave" in nodes[3].flags(nodes[3]), "the fourth follows the first")
        nodes[3].wait_linked()
        wait_ok(nodes)
        worker = _worker(library, nodes[1].port)
        try:
            until(lambda: len(worker.done) > 100, f"the client works: {worker.failed[:3]}")
            redis_cli(
                "--cluster", "reshard", nodes[0].address, "--cluster-from", nodes[1].my_id(), "--cluster-to",
                nodes[2].my_id(), "--cluster-slots", "30", "--cluster-yes",
            )  # fmt: skip
            assert not worker.failed, worker.failed[:3]  # of a reshard no client sees more than redirections
            assert nodes[3].call("CLUSTER", "FAILOVER") == b"OK"
            until(lambda: "master" in nodes[3].flags(nodes[3]), "the replica took over")
            wait_ok(nodes)
            before = len(worker.failed)
            since = dict(worker.done)
            until(lambda: sum(worker.done[key] != since[key] for key in since) > 100, "the client goes on")
            assert len(worker.failed) - before <= 3, worker.failed[-3:]
        finally:
            worker.stop.set()
            worker.thread.join()
        last = dict(worker.done)
        from redis.cluster import RedisCluster

        client = RedisCluster(host="127.0.0.1", port=nodes[2].port)
        for key, number in last.items():
            assert int(client.get(key)) >= number, key  # one that was not confirmed may be there as well
        client.close()
        gc.collect()
