"""Connections that a simulated process makes itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core import effects as do
from replicator.core import events as told
from replicator.simulation.network import TIMED_OUT, Attempt, Socket

if TYPE_CHECKING:
    from replicator.simulation.process import Process


class Calls:
    """The attempts that are under way, by the number that the connection will have."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._attempts: dict[int, Attempt] = {}

    def connect(self, effect: do.Connect) -> None:
        """effects.Connect."""
        process, conn = self._process, effect.conn
        assert conn < 0 and conn not in self._attempts and conn not in process.wires, effect

        def done(sock: Socket | None, why: str) -> None:
            if process.ended is None:
                process.later(self._connected, conn, sock, why)

        source = effect.source or process.address[0]
        attempt = Attempt(process.net, process.name, source, (effect.host, effect.port), done)
        self._attempts[conn] = attempt
        process.kernel.after(max(1, effect.timeout_ms) * 1000, process.later, self._too_late, conn, attempt)

    def _connected(self, conn: int, sock: Socket | None, why: str) -> None:
        process = self._process
        if self._attempts.pop(conn, None) is None:
            if sock is not None:
                sock.close()
            return
        if sock is None:
            process.turn(told.ConnectFailed(conn, why))
            return
        process.adopt(conn, sock)
        process.turn(told.Connected(conn, *sock.local))
        if sock.inbox or sock.ended or sock.broken:
            process.readable(sock)

    def _too_late(self, conn: int, attempt: Attempt) -> None:
        if self._attempts.get(conn) is attempt:
            self.give_up(conn)
            self._process.turn(told.ConnectFailed(conn, TIMED_OUT))

    def give_up(self, conn: int) -> bool:
        """End the attempt; False: there is none of that number."""
        attempt = self._attempts.pop(conn, None)
        if attempt is None:
            return False
        attempt.cancel()
        return True

    def shut(self) -> None:
        """The process ends."""
        for attempt in self._attempts.values():
            attempt.cancel()
