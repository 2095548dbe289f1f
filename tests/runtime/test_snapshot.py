"""Snapshots by a real fork: the child, its descriptors, its end; the parent goes on serving."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from pathlib import Path

from tests.runtime.conftest import Spawn
from tests.support.spawn import alive, children, until

LONG = os.environ.get("REPLICATOR_LONG") == "1"


def started(answer: str) -> int:
    """The child's pid from the toy server's answer."""
    assert answer.startswith("started "), answer
    return int(answer.split()[1])


def test_the_child_is_a_real_process_the_servers_only_one_and_holds_no_connection(spawn: Spawn) -> None:
    server = spawn().ready()
    lines = server.connect()
    lines.call("KEYS 1000")
    pid = started(lines.call("SNAP 20000"))
    assert children(server.process.pid) == [pid]

    def descriptors() -> list[str]:
        return [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir() if int(entry.name) > 2]

    until(lambda: len(descriptors()) == 2)
    held = sorted(descriptors())
    assert held[0].endswith("/temp-1.rdb") and held[1].startswith("pipe:"), held
    assert os.readlink(f"/proc/{pid}/cwd") == str(server.folder)


def test_a_connection_closed_while_the_child_runs_ends_at_once(spawn: Spawn) -> None:
    server = spawn().ready()
    lines = server.connect()
    lines.call("KEYS 1000")
    other = server.connect()
    assert other.call("PING") == "PONG"
    started(lines.call("SNAP 20000"))
    other.sock.shutdown(socket.SHUT_WR)
    begin_s = time.monotonic()
    assert other.sock.recv(1) == b""
    assert time.monotonic() - begin_s < 5, "the child lives for 20 s"


def test_a_killed_child_fails_the_snapshot_and_not_the_server(spawn: Spawn) -> None:
    server = spawn().ready()
    lines = server.connect()
    lines.call("KEYS 1000")
    for number in (signal.SIGKILL, signal.SIGTERM):
        pid = started(lines.call("SNAP 20000"))
        until(lambda: "temp" in " ".join(os.listdir(server.folder)))
        os.kill(pid, number)
        assert lines.read() == f"failed terminated by signal {int(number)}"
        assert not alive(pid) and not Path(f"/proc/{pid}").exists(), "reaped"
    assert [name for name in os.listdir(server.folder) if "rdb" in name] == []
    assert lines.call("SNAP 0").startswith("started")
    assert lines.read().startswith("done")


def test_a_signal_to_the_child_in_its_first_instant_is_not_taken_for_the_servers(spawn: Spawn) -> None:
    server = spawn().ready()
    lines = server.connect()
    lines.call("KEYS 1000")
    for _ in range(40):
        lines.send("SNAP 20000")
        pid = 0
        while not pid:
            pid = next(iter(children(server.process.pid)), 0)
        os.kill(pid, signal.SIGTERM)
        assert started(lines.read()) == pid
        assert lines.read() == "failed terminated by signal 15"
    assert "Received SIGTERM" not in server.log()


def test_the_child_dies_with_a_killed_parent(spawn: Spawn) -> None:
    server = spawn().ready()
    lines = server.connect()
    lines.call("KEYS 1000")
    pid = started(lines.call("SNAP 20000"))
    server.signal(signal.SIGKILL)
    server.wait()
    until(lambda: not alive(pid), 2)


def test_the_child_ends_and_its_file_goes_when_the_server_exits(spawn: Spawn) -> None:
    server = spawn().ready()
    lines = server.connect()
    lines.call("KEYS 1000")
    pid = started(lines.call("SNAP 20000"))
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert not alive(pid)
    assert [name for name in os.listdir(server.folder) if "rdb" in name] == []


def test_a_fork_that_cannot_be_made_fails_the_snapshot(spawn: Spawn) -> None:
    server = spawn().ready()
    lines = server.connect()
    (server.folder / "temp-1.rdb").mkdir()
    assert lines.call("SNAP 0") == "failed Is a directory"
    assert lines.call("PING") == "PONG"


def test_the_child_says_in_the_log_what_it_did(spawn: Spawn) -> None:
    server = spawn().ready()
    lines = server.connect()
    lines.call("KEYS 10")
    pid = started(lines.call("SNAP 0"))
    assert lines.read().startswith("done")
    of_child = [line for line in server.log().splitlines() if line.startswith(f"{pid}:C ")]
    assert of_child[0].endswith("* DB saved on disk")
    assert "Fork CoW for RDB: current " in of_child[1]


def test_two_hundred_clients_are_served_while_the_snapshot_is_made(spawn: Spawn) -> None:
    """The worst wait of any of them, the fork included; the store changes all the while (copy-on-write)."""
    keys = 500_000 if LONG else 200_000
    server = spawn().ready()
    lines = server.connect()
    lines.sock.settimeout(60)
    assert lines.call(f"KEYS {keys}") == "ok"
    selector = selectors.DefaultSelector()
    asked_s: dict[socket.socket, float] = {}
    for _ in range(200):
        sock = server.connect().sock
        selector.register(sock, selectors.EVENT_READ)
    lines.send("SNAP 0")
    selector.register(lines.sock, selectors.EVENT_READ)
    worst_s, served, told = 0.0, 0, b""
    for registered in list(selector.get_map().values()):
        sock = registered.fileobj  # type: ignore[assignment]
        assert isinstance(sock, socket.socket)
        if sock is not lines.sock:
            asked_s[sock] = time.monotonic()
            sock.sendall(b"SET\n")
    while b"done" not in told:
        for key, _ in selector.select(10):
            sock = key.fileobj  # type: ignore[assignment]
            assert isinstance(sock, socket.socket)
            if sock is lines.sock:
                told += sock.recv(1000)
                assert b"failed" not in told
                continue
            assert sock.recv(100) == b"ok\n"
            now_s = time.monotonic()
            worst_s = max(worst_s, now_s - asked_s[sock])
            served += 1
            asked_s[sock] = now_s
            sock.sendall(b"SET\n")
    selector.close()
    fork_us = int(told.split()[2])
    print(f"{keys} keys: {served} requests served, worst wait {worst_s * 1000:.1f} ms, fork {fork_us} us")
    assert told.split()[-1] == b"%d" % keys
    assert served > 1000
    assert worst_s <= 0.25
