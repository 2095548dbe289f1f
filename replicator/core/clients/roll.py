"""Who is connected: the sessions of a node, which of them have output, and whose command runs.

Messages for the client whose command runs now (a published message, an invalidation) go out behind that command's
reply: they wait in `behind` for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from replicator.core.clients.session import Blocked, Session
from replicator.core.command_table.context import Server
from replicator.core.keyspace.database import Keyspace
from replicator.core.limits import WEIGHED_BYTES
from replicator.core.turn import Turn

Made = TypeVar("Made", bound=Session)


class Roll:
    """See the module. on_gone: told of each session that is gone."""

    __slots__ = (
        "behind", "by_id", "current", "keyspace", "last_id", "on_gone", "send_parts", "server", "sessions", "touched",
        "turn", "wait_for_keys", "weigh", "weighed_bytes", "writes",
    )  # fmt: skip

    server: Server
    weigh: Callable[[Session], None]
    wait_for_keys: Callable[[Session, Blocked], None]
    send_parts: Callable[[Session, Iterator[bytes]], None]

    def __init__(self, turn: Turn, keyspace: Keyspace) -> None:
        self.turn = turn
        self.keyspace = keyspace
        self.sessions: dict[int, Session] = {}  # by connection
        self.by_id: dict[int, Session] = {}  # the link from our primary among them
        self.touched: dict[Session, None] = {}  # those with output in this turn; the dictionary stays the same one
        self.current: Session | None = None  # whose commands run
        self.behind: list[bytes] = []  # messages for `current`; the list stays the same one
        self.on_gone: list[Callable[[Session], None]] = []
        self.last_id = 0
        self.weighed_bytes = WEIGHED_BYTES  # of output, before it is held against the limits (Output)
        self.writes = 0  # turns in which a client was sent something
        turn.on_close = self._closing

    def open(
        self,
        server: Server,
        *,
        weigh: Callable[[Session], None],
        wait_for_keys: Callable[[Session, Blocked], None],
        send_parts: Callable[[Session, Iterator[bytes]], None],
    ) -> None:
        """The node stands: what sessions are given. (These parts need the roll to be made.)"""
        self.server, self.weigh = server, weigh
        self.wait_for_keys, self.send_parts = wait_for_keys, send_parts

    def make(self, made: type[Made], conn: int) -> Made:
        """A session that nobody finds: a caller inside the node."""
        return made(self.server, self.keyspace, self, conn)

    def new(self, made: type[Made], conn: int) -> Made:
        """A session with an id of its own (they grow from 1), found by it."""
        session = self.make(made, conn)
        self.last_id += 1
        session.id = self.last_id
        session.created_ms = session.last_ms = self.turn.now.mono_ms
        self.by_id[session.id] = session
        return session

    def remove(self, session: Session) -> None:
        """The session is gone: whatever held it lets go of it."""
        session.closing = True
        self.by_id.pop(session.id, None)
        self.touched.pop(session, None)
        for told in self.on_gone:
            told(session)

    def send(self, conn: int, data: bytes) -> None:
        """Bytes to a connection, behind what it is being sent already."""
        session = self.sessions.get(conn)
        if session is not None:
            session.push(data)

    def tell(self, session: Session, data: bytes) -> None:
        """Send a message; to the client whose command runs now, behind that command's reply."""
        if session is self.current:
            self.behind.append(data)
        else:
            session.push(data)

    def push_behind(self, session: Session) -> None:
        """The command has no reply, or it has gone: the messages behind it follow now."""
        session.push(b"".join(self.behind))
        self.behind.clear()

    def _closing(self, conn: int) -> None:
        """A connection is to be closed behind the replies of this turn: nothing it says counts any more."""
        session = self.sessions.get(conn)
        if session is not None:
            session.closing = True


def address(host: str, port: int) -> str:
    """host:port, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
