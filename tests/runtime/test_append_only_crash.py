"""A node that keeps an append-only file is killed under load, again and again."""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import hiredis
import pytest

from tests.support.brood import Brood
from tests.support.stock import Wire, free_port

LONG = bool(os.environ.get("REPLICATOR_LONG"))
PIPELINE = 8
CLIENTS = 4


@pytest.fixture
def brood() -> Iterator[Brood]:
    made = Brood()
    yield made
    made.end()


class Load:
    """Clients that write numbers in order, each to a key and a list of its own, and note what was acknowledged."""

    def __init__(self) -> None:
        self.sent = [0] * CLIENTS
        self.acknowledged = [0] * CLIENTS

    def run(self, port: int, seconds: float, least: int) -> None:
        """Write for so long, and until so many writes of this run are acknowledged."""
        selector = selectors.DefaultSelector()
        readers = [hiredis.Reader() for _ in range(CLIENTS)]
        open_replies = [0] * CLIENTS
        begun = sum(self.acknowledged)
        deadline = time.monotonic() + seconds
        socks = []
        for client in range(CLIENTS):
            sock = socket.create_connection(("127.0.0.1", port), timeout=20)
            socks.append(sock)
            selector.register(sock, selectors.EVENT_READ, client)
            self._write(sock, client, open_replies)
        while time.monotonic() < deadline or sum(self.acknowledged) - begun < least:
            for key, _ in selector.select(0.05):
                client: int = key.data
                data = socks[client].recv(1 << 16)
                assert data, "the server has closed a connection"
                readers[client].feed(data)
                while (answer := readers[client].gets()) is not False:
                    assert not isinstance(answer, Exception), answer
                    open_replies[client] -= 1
                if not open_replies[client]:
                    self.acknowledged[client] = self.sent[client]
                    self._write(socks[client], client, open_replies)
        for sock in socks:
            sock.close()
        selector.close()

    def _write(self, sock: socket.socket, client: int, open_replies: list[int]) -> None:
        commands = []
        for _ in range(PIPELINE):
            self.sent[client] += 1
            number = self.sent[client]
            commands += [("SET", f"key:{client}", number), ("RPUSH", f"list:{client}", number)]
        open_replies[client] = len(commands)
        sock.sendall(b"".join(hiredis.pack_command(command) for command in commands))

    def check(self, wire: Wire, *, whole: bool, promised: bool) -> None:
        """What is there is what was written first, nothing missing in between and nothing there twice; promised: and
        nothing acknowledged is missing. Go on from what is there."""
        for client in range(CLIENTS):
            last = int(wire.call("GET", f"key:{client}") or 0)
            length = wire.call("LLEN", f"list:{client}")
            assert length in (last, last - 1) and last <= self.sent[client], (client, length, last)
            if promised:
                assert length >= self.acknowledged[client], (client, length, self.acknowledged)
            if length:
                assert int(wire.call("LINDEX", f"list:{client}", -1)) == length
            if length < last:
                wire.call("RPUSH", f"list:{client}", last)
            if whole:
                found = wire.call("LRANGE", f"list:{client}", 0, -1)
                assert found == [b"%d" % number for number in range(1, last + 1)]
            self.sent[client] = self.acknowledged[client] = last


def wait_ready(port: int, log: Path) -> Wire:
    """A connection to the server, which has loaded its data. Fails when it takes too long."""
    deadline = time.monotonic() + 30
    while True:
        try:
            wire = Wire(port)
            if wire.call("PING") == b"PONG":
                return wire
            wire.close()
        except OSError:
            pass
        assert time.monotonic() < deadline, f"no start: {log.read_text()[-3000:]}"
        time.sleep(0.002)


@pytest.mark.parametrize("policy", ["always", "everysec"])
def test_a_node_killed_under_load_again_and_again_starts_with_what_its_policy_promises(
    policy: str, tmp_path: Path, brood: Brood
) -> None:
    """With everysec a write may wait for a sync that takes long, and its reply go without it: that is no promise."""
    rounds = {"always": 200 if LONG else 90, "everysec": 100 if LONG else 10}[policy]
    chance = Random(15)
    port = free_port()
    log = tmp_path / "log"
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path), "--save", ""]
    arguments += ["--appendonly", "yes", "--appendfsync", policy, "--auto-aof-rewrite-min-size", "64kb"]
    load = Load()
    for turn in range(rounds):
        pid = brood.start(log, *arguments)
        wire = wait_ready(port, log)
        load.check(wire, whole=turn % 30 == 0, promised=policy == "always")
        if turn % 3 == 0:
            wire.call("BGREWRITEAOF")
        wire.close()
        load.run(port, chance.uniform(0, 0.08), least=PIPELINE)
        brood.kill(pid)
    pid = brood.start(log, *arguments)
    wire = wait_ready(port, log)
    load.check(wire, whole=True, promised=policy == "always")
    wire.close()
    assert sum(load.acknowledged) >= rounds * PIPELINE // 2
    assert "Fatal" not in log.read_text()
