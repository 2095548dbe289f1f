"""Clusters of real processes for tests: started on free ports, joined by redis-cli, ended by process id."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.servers import Server, until

NODE_TIMEOUT_MS = 2000
# What shows the same with another engine or library is left to the long run.
only_long = pytest.mark.skipif("REPLICATOR_LONG" not in os.environ, reason="the same with another engine: a long run")


def port_pair() -> int:
    """A loopback port that nobody listens on, nor on the one 10000 above it: the bus's."""
    for _ in range(200):
        with socket.socket() as probe, socket.socket() as other:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            port -= 10000 if port > 55000 else 0
            try:
                other.bind(("127.0.0.1", port + 10000))
            except OSError:
                continue
            with socket.socket() as again:
                try:
                    again.bind(("127.0.0.1", port))
                except OSError:
                    if port < 45000:
                        continue
            return port
    raise AssertionError("no pair of free ports")


class Member(Server):
    """One node of a cluster."""

    def __init__(self, engine: str, folder: Path, *directives: str, node_timeout_ms: int = NODE_TIMEOUT_MS) -> None:
        super().__init__(
            engine, folder, "--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout_ms), *directives
        )
        self.port = port_pair()

    @property
    def address(self) -> str:
        """host:port"""
        return f"127.0.0.1:{self.port}"

    def my_id(self) -> str:
        """CLUSTER MYID"""
        return str(self.call("CLUSTER", "MYID").decode())

    def cluster_info(self) -> dict[str, str]:
        """CLUSTER INFO as a dictionary."""
        return dict(line.split(":", 1) for line in self.call("CLUSTER", "INFO").decode().split())

    def nodes(self) -> dict[str, list[str]]:
        """CLUSTER NODES: the words of each node's line by its id."""
        lines = [line.split() for line in self.call("CLUSTER", "NODES").decode().splitlines()]
        return {words[0]: words for words in lines}

    def flags(self, other: Member | str) -> set[str]:
        """How this node sees another one."""
        name = other if isinstance(other, str) else other.my_id()
        return set(self.nodes()[name][2].split(","))

    def is_ok(self) -> bool:
        """Whether the cluster serves, for this node."""
        return self.cluster_info()["cluster_state"] == "ok"


def redis_cli(*arguments: str, answer: str = "", bound: float = 120) -> str:
    """redis-cli with these arguments; all it printed. It must succeed."""
    path = shutil.which("redis-cli")
    if path is None:
        pytest.skip("redis-cli is not installed on this machine")
    done = subprocess.run([path, *arguments], input=answer, capture_output=True, text=True, timeout=bound, check=False)
    assert done.returncode == 0, f"redis-cli {arguments}: {done.stdout} {done.stderr}"
    return done.stdout


def create(members: Sequence[Member], replicas: int = 0) -> None:
    """redis-cli --cluster create, and wait until every node says that the cluster serves and knows its replicas."""
    printed = redis_cli(
        "--cluster", "create", *(one.address for one in members), "--cluster-replicas", str(replicas), "--cluster-yes"
    )
    assert "All 16384 slots covered" in printed, printed
    wait_ok(members)
    if replicas:
        primaries = len(members) // (1 + replicas)
        until(lambda: all(_counted(one) == primaries for one in members), "every node knows who follows whom")
        for one in members:
            if "slave" in one.flags(one):
                one.wait_linked()


def _counted(member: Member) -> int:
    return sum("master" in words[2] for words in member.nodes().values())


def wait_ok(members: Sequence[Member]) -> None:
    """Until the cluster serves, for every one of these nodes."""
    for one in members:
        until(one.is_ok, f"the cluster is ok for {one.engine}: {one.log()[-2000:]}")


@contextmanager
def members(
    folder: Path, *engines: str, directives: tuple[str, ...] = (), node_timeout_ms: int = NODE_TIMEOUT_MS
) -> Iterator[list[Member]]:
    """Several nodes, started, not joined; all ended at the end."""
    made: list[Member] = []
    try:
        for number, engine in enumerate(engines):
            made.append(
                Member(engine, folder / f"{number}-{engine}", *directives, node_timeout_ms=node_timeout_ms)
            )
            made[-1].launch()
        for one in made:
            one.wait_started()
        yield made
    finally:
        for one in made:
            one.kill()
