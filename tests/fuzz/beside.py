"""Spoiled conversations beside a stock server: the same bytes come back, and the same connections end."""

from __future__ import annotations

import contextlib
import socket
from random import Random

import hiredis

from replicator.core.events import Received
from tests.fuzz.target import Target, mutated
from tests.support.nodes import LocalNode
from tests.support.servers import until
from tests.support.stock import Wire, running

_WORDS = (
    ("PING",), ("ECHO", "words"), ("SET", "k", "v"), ("GET", "k"), ("APPEND", "k", "x"), ("STRLEN", "k"), ("INCR", "n"),
    ("LPUSH", "l", "a", "b"), ("LRANGE", "l", "0", "-1"), ("HSET", "h", "f", "v"), ("HGETALL", "h"), ("DEL", "k", "l"),
    ("TYPE", "k"), ("EXISTS", "k", "n"), ("SETRANGE", "k", "3", "zz"), ("GETRANGE", "k", "0", "-1"), ("SELECT", "1"),
    ("ZADD", "z", "1", "a"), ("ZSCORE", "z", "a"), ("MULTI",), ("EXEC",), ("DISCARD",), ("NONSENSE", "x"),
)  # fmt: skip
_INLINE = (b"PING\r\n", b"\r\n", b"ECHO 'a b'\r\n", b"GET k\n", b'SET k "\\x41"\r\n', b"*0\r\n", b"*-1\r\n")
_END = b"*2\r\n$4\r\nECHO\r\n$8\r\n~marker~\r\n"
_stock: Wire | None = None
_stack = contextlib.ExitStack()


def _conversation(chance: Random) -> bytes:
    data = b"".join(
        chance.choice(_INLINE) if chance.random() < 0.3 else hiredis.pack_command(chance.choice(_WORDS))
        for _ in range(chance.choice((1, 3, 8)))
    )
    return mutated(chance, data, _INLINE)


def _stock_says(data: bytes) -> bytes:
    global _stock
    if _stock is None:
        _stock = Wire(_stack.enter_context(running("redis7")))
    _stock.call("FLUSHALL")
    peer = socket.create_connection(("127.0.0.1", _stock.sock.getpeername()[1]), timeout=10)
    try:
        me = peer.getsockname()[1]
        with contextlib.suppress(OSError):
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)
        found = b""
        with contextlib.suppress(OSError):
            while more := peer.recv(1 << 16):
                found += more
        until(lambda: _stock is not None and f":{me} ".encode() not in _stock.call("CLIENT", "LIST"), "stock lets go")
        return found
    finally:
        peer.close()


def _ours_says(data: bytes) -> bytes:
    node = LocalNode()
    client = node.open()
    found: list[bytes] = []

    class Reader:
        def feed(self, more: bytes) -> None:
            found.append(more)

    client.reader = Reader()
    node.handle(Received(client.conn, data))
    if not client.closed:
        client.close()
    return b"".join(found)


def _compare(data: bytes) -> None:
    ours, stock = _ours_says(data), _stock_says(data)
    assert ours == stock, f"{data!r}: {ours!r}, and stock {stock!r}"


TARGETS = {"beside": Target(_conversation, _compare)}
