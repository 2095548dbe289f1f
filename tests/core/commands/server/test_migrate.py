"""MIGRATE between plain nodes: answers as stock's, and nothing lost when the other side fails."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import servers
from tests.support.stock import Wire, binary, free_port

_TALK: tuple[tuple[object, ...], ...] = (
    ("MIGRATE", "127.0.0.1", "{port}", "nokey", 0, 1000),
    ("SET", "a", "1"),
    ("MIGRATE", "127.0.0.1", "{port}", "a", 0, 1000),
    ("MIGRATE", "127.0.0.1", "{port}", "a", 0, 1000, "AUTH", "wrong"),
    ("EXISTS", "a"),
    ("MIGRATE", "127.0.0.1", "{port}", "a", 0, 1000, "COPY", "AUTH", "secret"),
    ("EXISTS", "a"),
    ("MIGRATE", "127.0.0.1", "{port}", "a", 0, 1000, "AUTH", "secret"),
    ("MIGRATE", "127.0.0.1", "{port}", "a", 0, 1000, "AUTH2", "default", "secret", "REPLACE"),
    ("EXISTS", "a"),
    ("MIGRATE", "127.0.0.1", "{port}", "a", 0, 1000, "KEYS", "a", "b"),
    ("MIGRATE", "127.0.0.1", "{port}", "", 0, 1000, "AUTH", "secret", "KEYS"),
    ("MIGRATE", "127.0.0.1", "{port}", "a", 0, 1000, "WHAT"),
    ("MIGRATE", "127.0.0.1", "{port}", "", 0, 1000, "AUTH"),
    ("MIGRATE", "127.0.0.1", "{port}", "b", "x", 1000),
    ("MIGRATE", "127.0.0.1", "{port}", "b", 0, "x"),
    ("RPUSH", "l", "1", "2"),
    ("SET", "t", "v", "PX", "100000"),
    ("ZADD", "z", "1.5", "m"),
    ("MIGRATE", "127.0.0.1", "{port}", "t", 99, 1000, "AUTH", "secret"),
    ("MIGRATE", "127.0.0.1", "{port}", "", 1, 1000, "AUTH", "secret", "KEYS", "l", "t", "z", "none"),
    ("DBSIZE",),
    ("MIGRATE", "127.0.0.1", "1", "a", 0, 1000),
    ("COMMAND", "GETKEYS", "MIGRATE", "127.0.0.1", "1", "", "0", "10", "KEYS", "a", "b"),
)


def _talk(folder: Path, engine: str) -> tuple[list[Any], list[Any]]:
    """What a server of that engine answers when it moves keys to a stock one; and what the other then holds."""
    with servers(folder, engine) as [source], servers(folder / "target", "redis7") as [target]:
        assert target.call("CONFIG", "SET", "requirepass", "secret") == b"OK"
        answers = [
            source.call(*(str(target.port) if word == "{port}" else word for word in argv))  # type: ignore[arg-type]
            for argv in _TALK
        ]
        assert target.call("AUTH", "secret") == b"OK"
        assert target.call("SELECT", 1) == b"OK"
        left = target.call("PTTL", "t")
        held = [target.call("LRANGE", "l", 0, -1), 50_000 < left <= 100_000, target.call("ZSCORE", "z", "m")]
        return [str(answer) for answer in answers], held


@pytest.mark.skipif(binary("redis7") is None, reason="Redis 7 is not installed on this machine")
def test_migrate_answers_as_stock_and_moves_the_same(tmp_path: Path) -> None:
    ours, theirs = _talk(tmp_path / "ours", "ours"), _talk(tmp_path / "stock", "redis7")
    for argv, mine, stock in zip(_TALK, ours[0], theirs[0], strict=True):
        assert mine == stock, argv
    assert ours[1] == theirs[1]


def test_a_target_that_breaks_off_loses_nothing_and_writers_wait_for_the_end(tmp_path: Path) -> None:
    """The target reads the payload and confirms one of two keys: only that one is gone here; a write to a key that is
    being moved comes behind the move's end."""
    door = socket.create_server(("127.0.0.1", 0))
    proceed = threading.Event()

    def target() -> None:
        conn, _ = door.accept()
        with conn:
            data = b""
            while data.count(b"RESTORE\r\n") < 2:
                data += conn.recv(65536)
            proceed.wait(20)
            conn.sendall(b"+OK\r\n+OK\r\n")  # SELECT, and the first key

    threading.Thread(target=target, daemon=True).start()
    with servers(tmp_path, "ours") as [source], door:
        source.call("MSET", "a", "1", "b", "2")
        source.wire.send("MIGRATE", "127.0.0.1", door.getsockname()[1], "", 0, 5000, "KEYS", "a", "b")
        other = Wire(source.port)
        try:
            assert other.call("GET", "b") == b"2"
            other.send("APPEND", "b", "+")
            third = Wire(source.port)
            assert third.call("SET", "unmoved", "1") == b"OK"
            assert third.call("GET", "b") == b"2"
            proceed.set()
            assert "IOERR" in str(source.wire.read())
            assert other.read() == 2
            assert third.call("MGET", "a", "b", "unmoved") == [None, b"2+", b"1"]
            third.close()
        finally:
            other.close()


def test_a_target_that_says_nothing_is_given_up_when_the_time_is_over(tmp_path: Path) -> None:
    with servers(tmp_path, "ours") as [source], socket.create_server(("127.0.0.1", 0)) as door:
        source.call("SET", "a", "1")
        answer = source.call("MIGRATE", "127.0.0.1", door.getsockname()[1], "a", 0, 200)
        assert str(answer) == "IOERR error or timeout reading to target instance"  # in stock's words
        assert source.call("GET", "a") == b"1"
    with servers(tmp_path, "ours") as [source]:
        source.call("SET", "a", "1")
        answer = source.call("MIGRATE", "127.0.0.1", free_port(), "a", 0, 1000)
        assert str(answer) == "IOERR error or timeout writing to target instance"
        assert source.call("EXISTS", "a") == 1
