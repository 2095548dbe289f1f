"""A replica played by a test on real sockets: follows a server, acknowledges, and is asked to take over."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from typing import Any

import hiredis

from tests.support.servers import Server, until

_STREAM = re.compile(rb"^\$(?:EOF:(.{40})|(\d+))$")


class FakeReplica:
    """One link to a primary, and a port where that primary finds us when it fails over to us."""

    def __init__(self, primary: Server, *, acknowledges: bool = True) -> None:
        """Follow the primary, to the end of the full synchronization. Raises OSError or AssertionError."""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(10)
        self.port: int = self.listener.getsockname()[1]
        self.acknowledges = acknowledges
        self.ended = threading.Event()
        self.offset = 0
        self.id = b""
        self._accepted: list[socket.socket] = []
        self._buffer = b""
        self._link = socket.create_connection(("127.0.0.1", primary.port), timeout=10)
        self._synchronize()
        self.acknowledge()
        # Blocking from here on: the thread ends with the connection.
        self._link.settimeout(None)
        self._thread = threading.Thread(target=self._stream, daemon=True)
        self._thread.start()
        until(lambda: "state=online" in primary.info("replication").get("slave0", ""), "the fake replica is online")
        self.acknowledge()  # the first may have come too early to begin the stream

    def say(self, data: bytes) -> None:
        """Bytes on the link."""
        self._link.sendall(data)

    def _say(self, *argv: str) -> None:
        self.say(hiredis.pack_command(argv))

    def _line(self) -> bytes:
        while True:
            while b"\n" not in self._buffer:
                data = self._link.recv(1 << 16)
                assert data, "the primary closed the link"
                self._buffer += data
            line, self._buffer = self._buffer.split(b"\n", 1)
            if line.strip():
                return line.strip()

    def _synchronize(self) -> None:
        for argv in (
            ("PING",),
            ("REPLCONF", "listening-port", str(self.port)),
            ("REPLCONF", "capa", "eof", "capa", "psync2"),
            ("PSYNC", "?", "-1"),
        ):
            self._say(*argv)
            answer = self._line()
        _, self.id, offset = answer.split()
        self.offset = int(offset)
        header = _STREAM.match(self._line())
        assert header is not None
        mark, length = header[1], int(header[2] or 0)
        while not self._buffer.endswith(mark) if mark else len(self._buffer) < length:
            self._buffer += self._link.recv(1 << 16)
        self._buffer = b"" if mark else self._buffer[length:]

    def acknowledge(self) -> None:
        """REPLCONF ACK of all that came."""
        self._say("REPLCONF", "ACK", str(self.offset))

    def _stream(self) -> None:
        data = self._buffer
        with contextlib.suppress(OSError):
            while True:
                self.offset += len(data)
                if data and self.acknowledges:
                    self.acknowledge()
                data = self._link.recv(1 << 16)
                if not data:
                    break
        self.ended.set()

    def asked(self, answer: bytes | None) -> tuple[socket.socket, list[bytes]]:
        """The old primary connects, and says its handshake: its PSYNC gets that answer, or (None) the connection is
        reset. The connection and the PSYNC.
        """
        conn, _ = self.listener.accept()
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conn.settimeout(10)
        self._accepted.append(conn)
        return conn, self.asked_on(conn, answer)

    def asked_on(self, conn: socket.socket, answer: bytes | None) -> list[bytes]:
        """The same on a connection that stands."""
        reader = hiredis.Reader()
        while True:
            while (argv := reader.gets()) is False:
                data = conn.recv(1 << 16)
                assert data, "the old primary left"
                reader.feed(data)
            words: list[Any] = argv
            if words[0].upper() != b"PSYNC":
                conn.sendall(b"+PONG\r\n" if words[0].upper() == b"PING" else b"+OK\r\n")
                continue
            if answer is None:
                conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                conn.close()
            else:
                conn.sendall(answer)
            return words

    def leave(self) -> None:
        """Hang up."""
        # Not close alone: the thread that reads would keep the connection.
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        for one in (self._link, self.listener, *self._accepted):
            one.close()
