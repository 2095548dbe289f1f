"""Connections that belong to a part of the machine, not to a client: those that it has asked for itself.

The link to our primary, a sentinel's links, the bus of a cluster: whoever wants a connection asks for a number, emits
effects.Connect with it, and is told what comes of it. What comes on a number that nobody owns any more is dropped.
"""

from __future__ import annotations

from typing import Protocol

from replicator.core.events import Closed, Connected, ConnectFailed, Received
from replicator.core.now import Now


class Owner(Protocol):
    """Who is told of a connection (event.conn)."""

    def connected(self, event: Connected, now: Now) -> None:
        """It stands."""

    def connect_failed(self, event: ConnectFailed, now: Now) -> None:
        """It could not be made; it belongs to nobody now."""

    def received(self, event: Received, now: Now) -> None:
        """Bytes came."""

    def closed(self, event: Closed, now: Now) -> None:
        """It is gone; it belongs to nobody now."""


class Peers:
    """Who owns which connection."""

    __slots__ = ("_last", "owners")

    def __init__(self) -> None:
        self.owners: dict[int, Owner] = {}
        self._last = 0

    def new(self, owner: Owner) -> int:
        """A connection number (negative) that has not been used before; what happens on it is the owner's."""
        conn = self.number()
        self.owners[conn] = owner
        return conn

    def number(self) -> int:
        """A number that has not been used before, for whoever takes what happens on it before it comes here."""
        self._last -= 1
        return self._last

    def own(self, conn: int, owner: Owner) -> None:
        """A connection that came to us by itself (one to the port of a bus) belongs to the owner from now on."""
        self.owners[conn] = owner

    def drop(self, conn: int) -> None:
        """What still comes on the connection is nobody's."""
        self.owners.pop(conn, None)
