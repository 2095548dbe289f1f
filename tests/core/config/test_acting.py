"""Directives that must act at the start, what is told of those that cannot, and the panic of a replica.

The expected values were asked of Redis 7.0.15.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from replicator.core.config.config import Config, MemoryStore
from tests.support.nodes import LocalNode
from tests.support.replication_world import World
from tests.support.servers import Server


def config_of(text: str) -> Config:
    config = Config(MemoryStore())
    config.load(text, [])
    return config


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("save\n", ()),
        ('save ""\n', ()),
        ("save 10 1\nsave\n", ((10, 1),)),
        ("save\nsave 10 1\n", ((10, 1),)),
        ("save 10 1\nsave 20 2\n", ((10, 1), (20, 2))),
    ],
)
def test_save_without_arguments_means_no_save_points(text: str, points: tuple[tuple[int, int], ...]) -> None:
    assert config_of(text)["save"] == points


def test_what_has_no_effect_is_told_in_one_line() -> None:
    node = LocalNode("--io-threads", "4", "--activerehashing", "no", "--jemalloc-bg-thread", "no")
    told = [line for line in node.log if "without effect" in line]
    assert told == ["Accepted and kept, but without effect here: io-threads, activerehashing, jemalloc-bg-thread"]
    assert not [line for line in LocalNode().log if "without effect" in line]


def test_a_server_that_would_listen_nowhere_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "replicator", "server", "--port", "0", "--save", "", "--dir", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "Configured to not listen anywhere, exiting." in ended.stdout


def test_a_unix_socket_is_enough_to_listen(tmp_path: Path) -> None:
    server = Server("ours", tmp_path)
    try:
        server.launch("--port", "0", "--unixsocket", str(tmp_path / "s"))
        for _ in range(3000):
            if "Ready to accept" in server.log():
                break
            assert server.process is not None
            assert server.process.poll() is None, server.log()
            try:
                server.process.wait(0.01)
            except subprocess.TimeoutExpired:
                continue
        assert "Ready to accept" in server.log()
    finally:
        server.kill()


LINE = "client-output-buffer-limit"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["replica 256mb 64mb 60"], ["normal 0 0 0"]),
        (["replica 256mb 64mb 60", "pubsub 32mb 8mb 60"], ["normal 0 0 0", "replica 256mb 64mb 60"]),
        (
            ["normal 0 0 0", "slave 256mb 64mb 60", "pubsub 33554432 8388608 60"],
            ["normal 0 0 0", "replica 256mb 64mb 60", "pubsub 32mb 8mb 60"],
        ),
        (["replica 1mb 1mb 60"], ["normal 0 0 0", "replica 1mb 1mb 60"]),
        ([], []),
    ],
)
def test_a_rewrite_keeps_as_many_lines_of_output_limits_as_there_were(old: list[str], new: list[str]) -> None:
    text = "".join(f"{LINE} {rest}\n" for rest in old)
    rewritten = config_of(text).rewrite(text)
    assert [line.removeprefix(LINE + " ") for line in rewritten.split("\n") if line.startswith(LINE)] == new


@pytest.mark.parametrize(("read_only", "ends"), [("yes", True), ("no", False)])
def test_only_a_read_only_replica_panics_over_what_it_cannot_apply(read_only: str, ends: bool) -> None:
    world = World("panic", 2)
    world.writable_replicas = world.deceived = True
    world.start(("repl-diskless-sync-delay", "0"), ("save", '""'), ("propagation-error-behavior", "panic"))
    primary, replica = world.members
    replica.call("REPLICAOF", "127.0.0.1", primary.port)
    world.settle(2000)
    replica.call("CONFIG", "SET", "replica-read-only", "no")
    replica.call("SET", "k", "text")
    replica.call("CONFIG", "SET", "replica-read-only", read_only)
    primary.call("SADD", "k", "member")
    if ends:
        with pytest.raises(AssertionError, match="must not go on with other data"):
            world.settle()
    else:
        world.settle()
        assert replica.node.replica.up
        assert replica.call("GET", "k") == b"text"
