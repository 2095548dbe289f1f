"""Connections from inside a process's own machine (an operator's): no network, no rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from replicator.core import events as told

if TYPE_CHECKING:
    from replicator.simulation.process import Process


class Local:
    """One such connection. answered(bytes), or None when the process ends."""

    __slots__ = ("answered", "conn", "process")

    def __init__(self, process: Process, answered: Callable[[bytes | None], None]) -> None:
        self.process = process
        self.conn = process.next_conn()
        self.answered = answered
        process.locals[self.conn] = self
        process.later(process.turn, told.Opened(self.conn, "127.0.0.1", 1, *process.address))

    def say(self, data: bytes) -> None:
        """Bytes to the machine, as soon as its process runs."""
        self.process.later(self._heard, data)

    def _heard(self, data: bytes) -> None:
        if self.conn in self.process.locals:
            self.process.turn(told.Received(self.conn, data))

    def close(self) -> None:
        """Give the connection up; nothing more comes from it."""
        self.answered = _ignored
        if self.process.locals.pop(self.conn, None) is not None:
            self.process.later(self.process.turn, told.Closed(self.conn, "Client closed connection"))


def _ignored(data: bytes | None) -> None:
    """Nobody listens any more."""
