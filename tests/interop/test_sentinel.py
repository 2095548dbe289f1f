"""Stock Sentinels watch our nodes: they find the replicas, agree that the primary is gone, and fail over."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import Server, converge, servers, until
from tests.support.stock import Wire, binary, free_port

ENGINES = [
    pytest.param(
        engine,
        marks=pytest.mark.skipif(binary(engine) is None, reason=f"{engine}'s server is not installed on this machine"),
    )
    for engine in (("redis6", "redis7", "valkey9") if os.environ.get("REPLICATOR_LONG") else ("valkey9",))
]


@contextmanager
def sentinels(engine: str, folder: Path, primary: Server, count: int) -> Iterator[list[Wire]]:
    """Stock Sentinels that watch the primary; a connection to each."""
    processes: list[subprocess.Popen[bytes]] = []
    wires: list[Wire] = []
    try:
        for number in range(count):
            port = free_port()
            home = folder / f"sentinel-{number}"
            home.mkdir()
            (home / "sentinel.conf").write_text(
                f"port {port}\nbind 127.0.0.1\ndir {home}\n"
                f"sentinel monitor ours 127.0.0.1 {primary.port} {count // 2 + 1}\n"
                "sentinel down-after-milliseconds ours 700\n"
                "sentinel failover-timeout ours 5000\n"
            )
            path = binary(engine)
            assert path is not None
            with open(home / "log", "wb") as log:
                command = [path, str(home / "sentinel.conf"), "--sentinel"]
                processes.append(subprocess.Popen(command, stdout=log, stderr=log))
            wires.append(until(lambda port=port: connect(port), "the sentinel answers"))
        yield wires
    finally:
        for wire in wires:
            wire.close()
        for process in processes:
            process.kill()
            process.wait()


def connect(port: int) -> Wire | None:
    with suppress(OSError):
        return Wire(port)
    return None


def state(wire: Wire) -> dict[bytes, bytes]:
    """SENTINEL MASTER as a dictionary."""
    flat = wire.call("SENTINEL", "MASTER", "ours")
    return dict(zip(flat[::2], flat[1::2], strict=True))


def sees(wire: Wire, replicas: int, others: int) -> Any:
    known = state(wire)
    return known[b"num-slaves"] == b"%d" % replicas and known[b"num-other-sentinels"] == b"%d" % others


@pytest.mark.parametrize("engine", ENGINES)
def test_stock_sentinels_fail_our_nodes_over_when_the_primary_is_killed(tmp_path: Path, engine: str) -> None:
    with servers(tmp_path, "ours", "ours", "ours", directives=("--repl-ping-replica-period", "1")) as nodes:
        primary, *replicas = nodes
        replicas[0].call("CONFIG", "SET", "replica-priority", 1)  # preferred
        for replica in replicas:
            replica.follow(primary)
        for replica in replicas:
            replica.wait_linked()
        primary.call("SET", "acknowledged", "write")
        assert primary.call("WAIT", 2, 5000) == 2
        with sentinels(engine, tmp_path, primary, 2) as wires:
            for wire in wires:
                until(lambda wire=wire: sees(wire, 2, 1), "each sentinel sees both replicas and the other sentinel")
            assert priority(wires[0], replicas[0]) == b"1"
            primary.kill()
            port = b"%d" % replicas[0].port
            address = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "ours")
            until(lambda: wires[0].call(*address)[1] == port, "the preferred replica is promoted")
            until(lambda: state(wires[0])[b"flags"] == b"master", "the failover has ended")
            for replica in replicas:
                replica.reconnect()  # a Sentinel ends the clients of nodes whose role it changes
            assert replicas[0].call("ROLE")[0] == b"master"
            assert replicas[1].info("replication")["master_port"] == port.decode()
            replicas[0].call("SET", "after", "failover")
            converge(replicas[0], replicas[1])
            assert replicas[0].call("GET", "acknowledged") == b"write"
            assert replicas[0].info("stats")["sync_full"] == "0"


def priority(wire: Wire, replica: Server) -> bytes:
    """The priority of a replica as a sentinel knows it."""
    for flat in wire.call("SENTINEL", "REPLICAS", "ours"):
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        if fields[b"port"] == b"%d" % replica.port:
            return bytes(fields[b"slave-priority"])
    return b""


@pytest.mark.parametrize("engine", ENGINES)
def test_a_replica_that_is_not_announced_is_not_promoted_by_sentinel(tmp_path: Path, engine: str) -> None:
    with servers(tmp_path, "ours", "ours") as (primary, hidden):
        hidden.call("CONFIG", "SET", "replica-announced", "no")
        hidden.follow(primary)
        hidden.wait_linked()
        assert hidden.info("replication")["replica_announced"] == "0"
        with sentinels(engine, tmp_path, primary, 1) as (wire,):
            until(lambda: state(wire)[b"num-slaves"] == b"1", "the sentinel has found it in INFO of its primary")
            # Its own INFO takes it off the list of those that SENTINEL REPLICAS shows.
            until(lambda: wire.call("SENTINEL", "REPLICAS", "ours") == [], "it is not announced")

            primary.kill()
            until(lambda: b"o_down" in state(wire)[b"flags"], "the sentinel holds the primary for down")
            assert "MASTER MODE" not in hidden.log()
