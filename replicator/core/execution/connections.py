"""Connections of one node: clients and replicas come, speak and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core import limits
from replicator.core.clients.session import REPLY_ON, Session
from replicator.core.effects import Level
from replicator.core.events import Closed, Connected, ConnectFailed, Opened, OutputPending, Received
from replicator.core.wire import reply

if TYPE_CHECKING:
    from replicator.core.node import Node

_HTTP = frozenset((b"post", b"host:"))


class Connections:
    """What happens on connections; the link to our primary is handed on to replica.Replica."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.received_total = 0
        self.rejected_total = 0
        self.reads = 0  # of clients
        self.client_ids = 0
        self._next_warning_ms = 0
        node.turn.on_close = self._closing

    def next_client_id(self) -> int:
        """Client ids grow from 1."""
        self.client_ids += 1
        return self.client_ids

    def opened(self, event: Opened) -> None:
        """A client came."""
        self.received_total += 1
        session = Session(self.node.executor, event.conn)
        session.id = self.next_client_id()
        session.peer = address(event.peer_host, event.peer_port)
        session.local = address(event.local_host, event.local_port)
        session.created_ms = session.last_ms = self.node.turn.now.mono_ms
        self.node.sessions[event.conn] = session
        self.node.by_id[session.id] = session
        refusal = self.node.services.admit_connection(session)
        if refusal:
            self.rejected_total += 1
            session.push(reply.error(refusal))
            session.close("rejected")
            return
        self.node.users.greet(session)
        self.node.executor.regate(session)

    def received(self, event: Received) -> None:
        """Bytes came."""
        node = self.node
        session = node.sessions.get(event.conn)
        if session is None:
            if event.conn == node.replica.conn:
                node.replica.received(event.data, node.turn.now)
            elif event.conn in node.owners:
                node.owners[event.conn].received(event, node.turn.now)
            return
        self.reads += 1
        session.last_ms = node.turn.now.mono_ms
        data = event.data
        session.total_received += len(data)
        if session.blocked is not None:
            session.keep_unread(data)
            if session.unread_size > node.config["client-query-buffer-limit"]:
                self._close_greedy(session)
            return
        if session.closing:
            return
        self._run_bytes(session, data)

    def _run_bytes(self, session: Session, data: bytes) -> None:
        decoder = session.decoder
        session.reading = len(data)
        if session.link is not None and not data.strip(b"\r\n"):
            session.link.acked_ms = self.node.turn.now.mono_ms  # a replica that loads shows life by line ends
        if not decoder.trusted:
            data = self._authenticate(session, data)
        if decoder.trusted:
            batch = decoder.feed(data)
            if batch:
                if len(batch) <= self.node.executor.weighed_commands:
                    self.node.executor.run(session, batch)
                else:
                    self.node.executor.run_weighed(session, batch)
        if (decoder.unfinished is None and decoder.error is None) or session.closing:
            return
        if decoder.error is not None and session.blocked is None:
            if session.reply_mode == REPLY_ON and session.conn not in self.node.primary.links:
                session.push(self.node.executor.failed(None, f"ERR Protocol error: {decoder.error}"))
            self.node.turn.log(
                Level.VERBOSE, f"Protocol error ({decoder.error}) from client: id={session.id} addr={session.peer}"
            )
            session.close("protocol error")
        elif decoder.pending > limits.MAX_INLINE and decoder.pending > self.node.config["client-query-buffer-limit"]:
            self._close_greedy(session)

    def _authenticate(self, session: Session, data: bytes) -> bytes:
        """Run the commands of a client until it has authenticated; what it sent behind that."""
        decoder = session.decoder
        held, seen = session.pending_output, 0
        argv = decoder.next_small(data)
        while argv is not None:
            self.node.executor.run(session, [argv])
            held += sum(map(len, session.out[seen:]))
            seen = len(session.out)
            if held > limits.UNAUTHENTICATED_OUTPUT and not decoder.trusted:
                self._close_silent(session)
                return b""
            if session.blocked is not None:
                session.keep_unread(decoder.trust())
                return b""
            if session.closing:
                return b""
            if decoder.trusted:
                return decoder.trust()
            argv = decoder.next_small()
        return b""

    def refuses_browser(self, session: Session, name: bytes) -> bool:
        """Whether these are words of HTTP: a browser was made to speak to us, which must do nothing more. It is sent
        away without a word.
        """
        if name.lower() not in _HTTP:
            return False
        now = self.node.turn.now.mono_ms
        if now >= self._next_warning_ms:
            self._next_warning_ms = now + 60_000
            self.node.turn.log(
                Level.WARNING,
                "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to Redis. "
                "This is likely due to an attacker attempting to use Cross Protocol Scripting to compromise your Redis "
                f"instance. Connection from {session.peer} aborted.",
            )
        session.out.clear()
        session.close("HTTP", after_reply=False)
        return True

    def _close_silent(self, session: Session) -> None:
        """Cut a client that asks and asks, does not say who it is, and reads no reply."""
        self.node.turn.log(
            Level.WARNING,
            f"Closing unauthenticated client that does not read its replies: id={session.id} addr={session.peer}",
        )
        session.out.clear()
        session.close("unauthenticated output", after_reply=False)

    def _close_greedy(self, session: Session) -> None:
        self.node.turn.log(
            Level.WARNING,
            f"Closing client that reached max query buffer length: id={session.id} addr={session.peer}",
        )
        session.unread.clear()
        session.queue.clear()
        session.close("query buffer limit", after_reply=False)

    def run_unread(self, session: Session) -> None:
        """Go on with what came while the session waited, one read at a time: what waits takes least memory as bytes."""
        while True:
            self._run_bytes(session, session.take_unread())
            if not session.unread or session.blocked is not None or session.closing:
                return

    def closed(self, event: Closed) -> None:
        """A connection is gone."""
        session = self.node.sessions.pop(event.conn, None)
        if session is None:
            if event.conn == self.node.replica.conn and self.node.replica.conn:
                self.node.replica.closed(event.why, self.node.turn.now)
            elif event.conn in self.node.owners:
                self.node.owners[event.conn].closed(event, self.node.turn.now)
            return
        self._forget(session)

    def _forget(self, session: Session) -> None:
        """Whatever held the session lets go of it."""
        executor = self.node.executor
        session.closing = True
        self.node.by_id.pop(session.id, None)
        self.node.monitors.pop(session, None)
        executor.touched.pop(session, None)
        self.node.outgoing.writers.pop(session, None)
        if session.blocked is not None:
            session.queue.clear()
            session.unread.clear()
            executor.unpark(session)
        executor.unwatch(session)
        self.node.services.forget(session)
        if self.node.primary.closed(session.conn, self.node.turn.now):
            self.node.snapshots.cancel_without_receivers()
            self.node.regate()
            self.node.handover.replicas_changed()

    def _closing(self, conn: int) -> None:
        """A connection is to be closed behind the replies of this turn: nothing it says counts any more."""
        session = self.node.sessions.get(conn)
        if session is not None:
            session.closing = True

    def connected(self, event: Connected) -> None:
        """The link to our primary stands."""
        if event.conn == self.node.replica.conn:
            self.node.following.local = address(event.local_host, event.local_port)
            self.node.replica.connected(self.node.turn.now)
        elif event.conn in self.node.owners:
            self.node.owners[event.conn].connected(event, self.node.turn.now)

    def connect_failed(self, event: ConnectFailed) -> None:
        """The link to our primary could not be made."""
        if event.conn == self.node.replica.conn:
            self.node.replica.connect_failed(event.why, self.node.turn.now)
        elif event.conn in self.node.owners:
            self.node.owners[event.conn].connect_failed(event, self.node.turn.now)

    def output_pending(self, event: OutputPending) -> None:
        """How much the driver still holds for a connection."""
        link = self.node.primary.links.get(event.conn)
        if link is not None:
            link.pending = event.pending
        session = self.node.sessions.get(event.conn)
        if session is not None:
            session.pending_output = event.pending
            if event.pending and link is None:
                self.node.services.check_output_limit(session)


def address(host: str, port: int) -> str:
    """host:port, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
