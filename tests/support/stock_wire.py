"""A stock server and a node side by side, compared byte by byte."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import hiredis

from tests.support.harness import Harness
from tests.support.stock import Wire, running

_MARK = b"$10\r\n~~marker~~\r\n"


class Pair:
    """The same commands to both; `raw` gives both encoded replies."""

    def __init__(self, wire: Wire, node: Harness) -> None:
        self.wire = wire
        self.node = node

    def stock(self, *argv: bytes | str | int) -> bytes:
        """Stock's reply as it is on the wire (replies may nest deeper than a client's parser goes)."""
        request = hiredis.pack_command(argv) + hiredis.pack_command(("ECHO", "~~marker~~"))
        self.wire.sock.sendall(request)
        data = b""
        while not data.endswith(_MARK):
            more = self.wire.sock.recv(1 << 20)
            assert more, f"the stock server ended at {argv!r}"
            data += more
        return data[: -len(_MARK)]

    def raw(self, *argv: bytes | str | int) -> tuple[bytes, bytes]:
        return self.node.raw(*argv), self.stock(*argv)

    def same(self, *argv: bytes | str | int) -> bytes:
        """Assert that both answer alike; the answer."""
        ours, theirs = self.raw(*argv)
        assert ours == theirs, argv
        return ours


@contextmanager
def pair(protocol: int = 2, *directives: str) -> Iterator[Pair]:
    """A fresh Redis 7 and a fresh node."""
    with running("redis7", *directives) as port:
        wire = Wire(port)
        node = Harness()
        if protocol == 3:
            wire.call("HELLO", "3")
            node.first.use_protocol(3)
        try:
            yield Pair(wire, node)
        finally:
            wire.close()
