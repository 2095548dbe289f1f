"""Hostile clients on real sockets: the process lives, serves others, and its memory stays within bounds."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from random import Random

import hiredis
import pytest

from tests.core.clients.test_sessions import _corpus, _drawn
from tests.support.servers import Server, servers, until
from tests.support.stock import Wire

LONG = 20 if os.environ.get("REPLICATOR_LONG") else 1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers(Path(tmp_path_factory.mktemp("hostile")), "ours") as (one,):
        yield one
        assert "Traceback" not in one.log()


def _resident_mib(server: Server) -> int:
    assert server.process is not None
    return int(Path(f"/proc/{server.process.pid}/status").read_text().split("VmRSS:")[1].split()[0]) // 1024


def _clients(server: Server) -> int:
    return int(server.info("clients")["connected_clients"])


def _alone(server: Server) -> None:
    until(lambda: _clients(server) == 1, "all others are gone")


def _set(server: Server, *directives: str) -> None:
    assert server.call("CONFIG", "SET", *directives) == b"OK"


def test_bytes_at_random_do_not_end_the_process(server: Server) -> None:
    chance = Random(11)
    corpus = [one for one in _corpus() if b"SHUTDOWN" not in one.upper()]
    names = [
        b"get",
        b"set",
        b"multi",
        b"exec",
        b"watch",
        b"blpop",
        b"subscribe",
        b"hello",
        b"eval",
        b"client",
        b"reset",
        b"xadd",
    ]
    subcommands = [b"reply", b"getname", b"id", b"list", b"tracking"]
    wires: list[Wire] = []
    for _ in range(3000 * LONG):
        if len(wires) < 10:
            wires.append(Wire(server.port))
            wires[-1].sock.setblocking(False)
        wire = chance.choice(wires)
        try:
            wire.sock.send(_drawn(chance, corpus, names, subcommands))
            with contextlib.suppress(BlockingIOError):
                while wire.sock.recv(1 << 16):
                    pass
                raise ConnectionResetError
        except ConnectionError:
            wire.close()
            wires.remove(wire)
    for wire in wires:
        wire.close()
    server.call("CLIENT", "UNPAUSE")
    _alone(server)
    assert server.call("FLUSHALL") == b"OK"


def test_a_client_that_never_reads_is_held_back_and_gets_all_in_order_when_it_does(server: Server) -> None:
    server.call("SET", "big", b"x" * 100_000)
    before = _resident_mib(server)
    wire = Wire(server.port)
    wire.sock.settimeout(0.5)
    count = 5000
    wire.sock.sendall(hiredis.pack_command(("GET", "big")) * count + hiredis.pack_command(("ECHO", "end")))

    def waiting_output() -> int:
        lines = server.call("CLIENT", "LIST").decode().splitlines()
        return max(int(line.split("omem=")[1].split()[0]) for line in lines)

    until(lambda: waiting_output() > 10_000_000, "output waits")
    assert _resident_mib(server) - before < 250  # of 500 MB of replies
    wire.sock.settimeout(20)
    for _ in range(count):
        assert len(wire.read()) == 100_000
    assert wire.read() == b"end"
    wire.close()
    _alone(server)
    server.call("DEL", "big")


def test_a_hundred_thousand_commands_in_one_piece_are_answered(server: Server) -> None:
    wire = Wire(server.port)
    wire.sock.sendall(hiredis.pack_command(("PING",)) * 100_000)
    assert all(wire.read() == b"PONG" for _ in range(100_000))
    wire.close()


def test_a_thousand_clients_are_served_and_forgotten(server: Server) -> None:
    before = _resident_mib(server)
    wires = [Wire(server.port) for _ in range(1000)]
    for wire in wires:
        wire.send("INCR", "counter")
    assert sorted(wire.read() for wire in wires) == list(range(1, 1001))
    assert _clients(server) == 1001
    for wire in wires:
        wire.close()
    _alone(server)
    assert _resident_mib(server) - before < 30


def test_a_storm_of_connections_that_hang_up_leaves_nothing(server: Server) -> None:
    for number in range(1000):
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            if number % 2:
                sock.sendall(b"*3\r\n$5\r\nBLPOP\r\n$1\r\nq\r\n$1\r\n0\r\n")
    _alone(server)
    assert server.info("clients")["blocked_clients"] == "0"
    assert server.call("RPUSH", "q", "x") == 1
    server.call("DEL", "q")


def test_slow_clients_hold_nobody_up(server: Server) -> None:
    wires = [Wire(server.port) for _ in range(50)]
    for byte in b"*2\r\n$4\r\nECHO\r\n$4\r\nslow\r":
        for wire in wires:
            wire.sock.sendall(bytes((byte,)))
        assert server.call("PING") == b"PONG"
    for wire in wires:
        wire.sock.sendall(b"\n")
        assert wire.read() == b"slow"
        wire.close()


def test_more_clients_than_maxclients_are_told_so(server: Server) -> None:
    _alone(server)
    _set(server, "maxclients", "3")
    wires = [Wire(server.port) for _ in range(2)]
    assert [wire.call("PING") for wire in wires] == [b"PONG", b"PONG"]
    refused = Wire(server.port)
    assert str(refused.read()) == "ERR max number of clients reached"
    with pytest.raises((EOFError, ConnectionError)):
        refused.read()
    for wire in (*wires, refused):
        wire.close()
    _set(server, "maxclients", "10000")


def test_silent_clients_are_sent_away_but_those_that_wait_are_not(server: Server) -> None:
    _alone(server)
    silent, waiting, listening = Wire(server.port), Wire(server.port), Wire(server.port)
    waiting.send("BLPOP", "q", "0")
    listening.call("SUBSCRIBE", "c")
    _set(server, "timeout", "1")
    until(lambda: _clients(server) == 3, "the silent one is gone")
    with pytest.raises((EOFError, ConnectionError)):
        silent.read()
    _set(server, "timeout", "0")
    assert server.call("PUBLISH", "c", "m") == 1
    assert server.call("RPUSH", "q", "x") == 1
    assert waiting.read() == [b"q", b"x"]
    for wire in (silent, waiting, listening):
        wire.close()


def test_a_query_beyond_its_limit_ends_that_connection_alone(server: Server) -> None:
    _set(server, "client-query-buffer-limit", "1mb")
    for data in (b"*2\r\n$4\r\nECHO\r\n$100000000\r\n" + b"x" * 3_000_000, b"BLPOP q 0\r\n" + b"PING\r\n" * 500_000):
        wire = Wire(server.port)
        with pytest.raises((EOFError, ConnectionError)):
            wire.sock.sendall(data)
            wire.read()
        wire.close()
    _set(server, "client-query-buffer-limit", "1gb")
    _alone(server)


def test_a_sleep_of_the_server_keeps_the_order_of_its_clients(server: Server) -> None:
    a, b = Wire(server.port), Wire(server.port)
    a.sock.sendall(
        hiredis.pack_command(("SET", "s", "1"))
        + hiredis.pack_command(("DEBUG", "SLEEP", "0.1"))
        + hiredis.pack_command(("APPEND", "s", "2"))
    )
    assert [a.read() for _ in range(3)] == [b"OK", b"OK", 2]
    assert b.call("GET", "s") == b"12"
    a.close()
    b.close()
