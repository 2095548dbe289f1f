"""Conversations of several clients with one server, step by step, so that two servers can be held against each other.

A conversation is a list of steps (client, what it sends). A str is split into words as redis-cli does and sent as one
command, bytes go as they are, CLOSE hangs up. "{id:b}" stands for the client id of b. After each step everything that
came to each client is taken down as raw bytes, and whether its connection was closed.
"""

from __future__ import annotations

import re
import select
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

import hiredis

from replicator.core.wire.request import split_words
from tests.support.stock import Wire

CLOSE = object()


@dataclass(frozen=True)
class Late:
    """A command whose reply comes after some time: when its timeout has passed."""

    text: str


Step = tuple[str, object]

_ID = re.compile(r"\{id:(\w+)\}")
_HELLO_ID = re.compile(rb"(\r\n\$2\r\nid\r\n):[0-9]+\r\n")  # differs from server to server
_STREAM_ID = re.compile(rb"\$15\r\n[0-9]{13}-[0-9]\r\n")


def command(text: str) -> bytes:
    """One command as RESP, from words as redis-cli takes them."""
    words = split_words(text.encode("utf-8", "surrogateescape"))
    assert words is not None, text
    return hiredis.pack_command(tuple(words))


def commands(*texts: str) -> bytes:
    """Several commands in one piece."""
    return b"".join(map(command, texts))


@dataclass
class Record:
    """What one client has got so far."""

    sock: socket.socket
    id: int = 0
    got: bytearray = field(default_factory=bytearray)
    closed: bool = False

    def drain(self) -> bytes:
        """All that has come, without waiting."""
        taken = bytearray()
        while not self.closed:
            try:
                data = self.sock.recv(1 << 20)
            except BlockingIOError:
                break
            except ConnectionError:
                data = b""
            if not data:
                self.closed = True
            taken += data
        self.got += taken
        return _STREAM_ID.sub(b"", _HELLO_ID.sub(rb"\1:0\r\n", bytes(taken)))


class Talk:
    """Clients of one server on real sockets."""

    def __init__(self, port: int, password: str = "") -> None:
        self.port = port
        self.control = Wire(port)
        if password:
            assert self.control.call("AUTH", password) == b"OK"
        self.clients: dict[str, Record] = {}

    def close(self) -> None:
        """End the connection that stays."""
        self.control.close()

    def open(self, name: str, *, with_id: bool = False) -> Record:
        """A new client."""
        wire = Wire(self.port)
        record = self.clients[name] = Record(wire.sock)
        if with_id:
            record.id = int(wire.call("CLIENT", "ID"))
        wire.sock.setblocking(False)
        return record

    def send(self, name: str, data: bytes) -> None:
        """Bytes from a client; a server that has closed the connection takes none."""
        record = self.clients[name]
        record.sock.setblocking(True)
        try:
            record.sock.sendall(data)
        except ConnectionError:
            record.drain()
        finally:
            record.sock.setblocking(False)

    def settle(self, sent: int = 0) -> None:
        """Until the server has read all that was sent to it before: two turns of its loop, more for large requests."""
        for _ in range(2 + sent // 16000):
            self.control.call("PING")

    def step(self, name: str, what: object) -> list[tuple[str, bytes, bool]]:
        """One step; what came to each client, and whether it is closed."""
        if what is CLOSE:
            record = self.clients.pop(name)
            record.sock.close()
            self.settle()
        else:
            late = isinstance(what, Late)
            if isinstance(what, Late):
                what = what.text
            if isinstance(what, str):
                what = command(_ID.sub(lambda found: str(self.clients[found[1]].id), what))
            assert isinstance(what, bytes)
            self.send(name, what)
            self.settle(len(what))
            if late:
                select.select([self.clients[name].sock], [], [], 10)
        return [(other, record.drain(), record.closed) for other, record in sorted(self.clients.items())]

    def play(self, steps: Sequence[Step]) -> list[list[tuple[str, bytes, bool]]]:
        """A whole conversation, then everything as before."""
        with_id = any(isinstance(what, str) and "{id:" in what for _, what in steps)
        for name in dict.fromkeys(name for name, _ in steps):
            self.open(name, with_id=with_id)
        self.settle()  # a connection is accepted in one turn and read in a later one
        self.settle()
        try:
            return [self.step(name, what) for name, what in steps]
        finally:
            self.clean()

    def clean(self) -> None:
        """Hang up everywhere and forget all data."""
        for record in self.clients.values():
            record.sock.close()
        self.clients.clear()
        self.settle()
        for argv in (("CLIENT", "UNPAUSE"), ("FLUSHALL",), ("SCRIPT", "FLUSH")):
            assert self.control.call(*argv) == b"OK"


def differences(
    steps: Sequence[Step], ours: Sequence[list[tuple[str, bytes, bool]]], stock: Sequence[list[tuple[str, bytes, bool]]]
) -> str:
    """The first step whose outcome differs, in words; "" if none does."""
    for at, (mine, theirs) in enumerate(zip(ours, stock, strict=True)):
        if mine != theirs:
            told = "\n".join(f"    {name}: {what!r}" for name, what in steps[: at + 1])
            return f"step {at}:\n{told}\n  ours:  {mine!r}\n  stock: {theirs!r}"
    return ""
