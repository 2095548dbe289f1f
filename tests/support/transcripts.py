"""One conversation of several clients, held with a stock server and with a LocalNode: what comes back must be equal.

    a> CLIENT TRACKING ON          what client a sends (clients connect when they first speak)
    a?                             read what client a is told out of band

Lines are split like a shell's; \\xNN stands for a byte.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

import hiredis

from tests.support.nodes import NOTHING, LocalClient, LocalNode
from tests.support.stock import Wire

_END = b"the end of what was told"
Normalize = Callable[[list[bytes], Any], Any]


def words(line: str) -> list[bytes]:
    """A line's arguments."""
    return [word.encode().decode("unicode_escape").encode("latin-1") for word in shlex.split(line)]


def plain(answer: Any) -> Any:
    """Errors by their text, sets and maps as they come."""
    if isinstance(answer, hiredis.ReplyError):
        return ("error", str(answer))
    if isinstance(answer, list):
        return [plain(item) for item in answer]
    return answer


class StockSide:
    """The clients of the stock server. Out-of-band messages end where the reply to a PING begins."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.wires: dict[str, Wire] = {}

    def wire(self, name: str) -> Wire:
        if name not in self.wires:
            self.wires[name] = Wire(self.port)
        return self.wires[name]

    def send(self, name: str, argv: list[bytes]) -> Any:
        try:
            return self.wire(name).call(*argv)
        except (EOFError, ConnectionError):
            self.wires.pop(name).close()
            return "closed"

    def told(self, name: str) -> list[Any]:
        wire = self.wire(name)
        wire.send("PING", _END)
        found = []
        while (answer := wire.read()) not in (_END, [b"pong", _END]):
            found.append(answer)
        return found

    def close(self) -> None:
        for wire in self.wires.values():
            wire.close()


class OurSide:
    """The same clients on a LocalNode."""

    def __init__(self, node: LocalNode) -> None:
        self.node = node
        self.clients: dict[str, LocalClient] = {}

    def client(self, name: str) -> LocalClient:
        if name not in self.clients:
            self.clients[name] = self.node.open()
        return self.clients[name]

    def send(self, name: str, argv: list[bytes]) -> Any:
        client = self.client(name)
        answer = client.send(*argv)
        if answer is NOTHING and client.closed:
            del self.clients[name]
            return "closed"
        return answer

    def told(self, name: str) -> list[Any]:
        return self.client(name).read()


def compare(text: str, port: int, node: LocalNode, normalize: Normalize = lambda argv, answer: answer) -> None:
    """Hold the conversation with both and assert equal answers."""
    theirs, ours = StockSide(port), OurSide(node)
    try:
        for line in text.strip().splitlines():
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            name, mark, rest = line[0], line[1], line[2:].strip()
            argv = words(rest)
            if mark == "?":
                expected, actual = theirs.told(name), ours.told(name)
            else:
                expected, actual = theirs.send(name, argv), ours.send(name, argv)
            left, right = plain(normalize(argv, actual)), plain(normalize(argv, expected))
            assert left == right, f"{line!r}: ours {left!r}, stock {right!r}"
    finally:
        theirs.close()
