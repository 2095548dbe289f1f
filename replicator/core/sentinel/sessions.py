"""Those who ask a Sentinel: clients, other Sentinels, subscribers. One Session a connection; replies keep their order.

A reply that has to wait for something (a vote for its being durable) holds back what is behind it on its connection,
and nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from replicator.core.turn import Turn
from replicator.core.wire import reply
from replicator.core.wire.glob import Matcher, matcher
from replicator.core.wire.request import RequestDecoder


class Session:
    """One connection that came to us."""

    __slots__ = (
        "_cells", "_touched", "authenticated", "channels", "closing", "command", "conn", "created_ms", "decoder", "id",
        "last_ms", "lib_name", "lib_ver", "local", "name", "patterns", "peer", "pending_output", "received", "resp3",
        "sent", "silent", "soft_since_ms", "user",
    )  # fmt: skip

    def __init__(self, conn: int, number: int, touched: dict[Session, None]) -> None:
        self.conn = conn
        self.id = number
        self.peer = ""
        self.local = ""
        self.name = b""
        self.lib_name = b""
        self.lib_ver = b""
        self.user: Any = None
        self.authenticated = False
        self.resp3 = False
        self.decoder = RequestDecoder()
        self.channels: dict[bytes, None] = {}
        self.patterns: dict[bytes, None] = {}
        self.created_ms = self.last_ms = 0
        self.command = "NULL"
        self.closing = ""  # why it is to be closed once its replies are out
        self.pending_output = 0
        self.soft_since_ms: int | None = None
        self.received = self.sent = 0
        self.silent = False  # CLIENT REPLY OFF
        self._touched = touched
        self._cells: deque[list[bytes | None]] = deque()

    @property
    def null(self) -> bytes:
        """The null that stands for a missing string."""
        return reply.null(self.resp3)

    def push(self, data: bytes) -> None:
        """Bytes behind what is being sent already."""
        self._cells.append([data])
        self._touched[self] = None

    def hold(self) -> Callable[[bytes], None]:
        """Keep a place for a reply; call what is returned with it."""
        cell: list[bytes | None] = [None]
        self._cells.append(cell)

        def give(data: bytes) -> None:
            cell[0] = data
            self._touched[self] = None

        return give

    @property
    def held(self) -> bool:
        """A reply is waited for."""
        return bool(self._cells)

    def take(self) -> bytes:
        """What may go out now."""
        parts = []
        while self._cells and (data := self._cells[0][0]) is not None:
            parts.append(data)
            self._cells.popleft()
        return b"".join(parts)


class Subscriptions:
    """Who listens to which events."""

    def __init__(self) -> None:
        self.channels: dict[bytes, dict[Session, None]] = {}
        self.patterns: dict[bytes, tuple[Matcher, dict[Session, None]]] = {}

    def publish(self, channel: bytes, message: bytes) -> int:
        """Send the message to all who listen; how many times it was sent."""
        count = 0
        for session in list(self.channels.get(channel, ())):
            session.push(reply.push([reply.bulk(one) for one in (b"message", channel, message)], session.resp3))
            count += 1
        for pattern, (matches, listeners) in self.patterns.items():
            if matches(channel):
                for session in list(listeners):
                    items = (b"pmessage", pattern, channel, message)
                    session.push(reply.push([reply.bulk(one) for one in items], session.resp3))
                    count += 1
        return count

    def subscribe(self, session: Session, name: bytes, *, pattern: bool) -> None:
        """Let the session listen to a channel, or to all that match a pattern."""
        if not pattern:
            session.channels[name] = None
            self.channels.setdefault(name, {})[session] = None
            return
        session.patterns[name] = None
        entry = self.patterns.get(name)
        if entry is None:
            entry = self.patterns[name] = (matcher(name), {})
        entry[1][session] = None

    def unsubscribe(self, session: Session, name: bytes, *, pattern: bool) -> None:
        """The session listens no more."""
        if not pattern:
            session.channels.pop(name, None)
            listeners = self.channels.get(name)
            if listeners is not None:
                listeners.pop(session, None)
                if not listeners:
                    del self.channels[name]
            return
        session.patterns.pop(name, None)
        entry = self.patterns.get(name)
        if entry is not None:
            entry[1].pop(session, None)
            if not entry[1]:
                del self.patterns[name]

    def drop(self, session: Session) -> None:
        """The session is gone."""
        for name in list(session.channels):
            self.unsubscribe(session, name, pattern=False)
        for name in list(session.patterns):
            self.unsubscribe(session, name, pattern=True)


class Counters:
    """What INFO stats tells."""

    def __init__(self) -> None:
        self.connections = 0
        self.rejected = 0
        self.commands = 0
        self.errors = 0
        self.received = 0
        self.sent = 0
        self.reads = 0
        self.writes = 0


class Room:
    """All sessions, and what they share."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.sessions: dict[int, Session] = {}
        self.touched: dict[Session, None] = {}
        self.subscriptions = Subscriptions()
        self.counters = Counters()
        self._last_id = 0

    def open(self, conn: int) -> Session:
        """A connection came."""
        self._last_id += 1
        session = self.sessions[conn] = Session(conn, self._last_id, self.touched)
        session.created_ms = session.last_ms = self.turn.now.mono_ms
        self.counters.connections += 1
        return session

    def forget(self, session: Session) -> None:
        """It is gone."""
        self.sessions.pop(session.conn, None)
        self.touched.pop(session, None)
        self.subscriptions.drop(session)
