"""Connections of one node: clients and replicas come, speak and go. What belongs to a peer goes to its owner."""

from __future__ import annotations

from replicator.core import limits
from replicator.core.clients.output import Output
from replicator.core.clients.roll import Roll, address
from replicator.core.clients.session import REPLY_ON, Session
from replicator.core.clients.users import Users
from replicator.core.clients.waiting import Waiting
from replicator.core.config.config import Config
from replicator.core.effects import Level
from replicator.core.events import Closed, Connected, ConnectFailed, Opened, OutputPending, Received
from replicator.core.execution.executor import Executor
from replicator.core.peers import Peers
from replicator.core.replication.primary import Link
from replicator.core.turn import Turn
from replicator.core.wire import reply


class Connections:
    """See the module. links: those of replicas, by connection."""

    def __init__(
        self,
        turn: Turn,
        config: Config,
        roll: Roll,
        waiting: Waiting,
        users: Users,
        output: Output,
        executor: Executor,
        peers: Peers,
        links: dict[int, Link],
    ) -> None:
        self.turn = turn
        self.config = config
        self.roll = roll
        self.waiting = waiting
        self.users = users
        self.output = output
        self.executor = executor
        self.peers = peers
        self.links = links
        self.received_total = 0
        self.rejected_total = 0
        self.reads = 0  # of clients

    def opened(self, event: Opened) -> None:
        """A client came."""
        self.received_total += 1
        session = self.roll.new(Session, event.conn)
        session.decoder.max_bulk = self.config["proto-max-bulk-len"]
        session.peer = address(event.peer_host, event.peer_port)
        session.local = address(event.local_host, event.local_port)
        self.roll.sessions[event.conn] = session
        refusal = self._refusal(session)
        if refusal:
            self.rejected_total += 1
            session.push(reply.error(refusal))
            session.close("rejected")
            return
        self.users.greet(session)
        session.regate()

    def _refusal(self, session: Session) -> str:
        """The error that a new connection gets, or "" if it is welcome."""
        if len(self.roll.sessions) > self.config["maxclients"]:
            return "ERR max number of clients reached"
        if self.config["protected-mode"] and self.users.default.no_password and not session.comes_from_here:
            return (
                "DENIED Redis is running in protected mode because protected mode is enabled and no password is "
                "set for the default user. In this mode connections are only accepted from the loopback interface."
            )
        return ""

    def received(self, event: Received) -> None:
        """Bytes came."""
        session = self.roll.sessions.get(event.conn)
        if session is None:
            owner = self.peers.owners.get(event.conn)
            if owner is not None:
                owner.received(event, self.turn.now)
            return
        self.reads += 1
        session.last_ms = self.turn.now.mono_ms
        data = event.data
        session.total_received += len(data)
        if session.blocked is not None:
            session.keep_unread(data)
            if session.unread_size > self.config["client-query-buffer-limit"]:
                self._close_greedy(session)
            return
        if session.closing:
            return
        self._run_bytes(session, data)

    def _run_bytes(self, session: Session, data: bytes) -> None:
        decoder = session.decoder
        session.reading = len(data)
        if session.link is not None and not data.strip(b"\r\n"):
            session.link.acked_ms = self.turn.now.mono_ms  # a replica that loads shows life by line ends
        if not decoder.trusted:
            data = self._authenticate(session, data)
        if decoder.trusted:
            batch = decoder.feed(data)
            if batch:
                if len(batch) <= self.output.weighed_commands:
                    self.executor.run(session, batch)
                else:
                    self.executor.run_weighed(session, batch)
        if (decoder.unfinished is None and decoder.error is None) or session.closing:
            return
        if decoder.error is not None and session.blocked is None:
            if session.reply_mode == REPLY_ON and session.conn not in self.links:
                session.push(self.executor.calling.failed(None, f"ERR Protocol error: {decoder.error}"))
            self.turn.log(
                Level.VERBOSE, f"Protocol error ({decoder.error}) from client: id={session.id} addr={session.peer}"
            )
            session.close("protocol error")
        elif decoder.pending > limits.MAX_INLINE and decoder.pending > self.config["client-query-buffer-limit"]:
            self._close_greedy(session)

    def _authenticate(self, session: Session, data: bytes) -> bytes:
        """Run the commands of a client until it has authenticated; what it sent behind that."""
        decoder = session.decoder
        argv = decoder.next_small(data)
        held, seen = session.pending_output, 0
        while argv is not None:
            self.executor.run(session, [argv])
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

    def _close_silent(self, session: Session) -> None:
        """Cut a client that asks and asks, does not say who it is, and reads no reply."""
        self.turn.log(
            Level.WARNING,
            f"Closing unauthenticated client that does not read its replies: id={session.id} addr={session.peer}",
        )
        session.out.clear()
        session.close("unauthenticated output", after_reply=False)

    def _close_greedy(self, session: Session) -> None:
        self.turn.log(
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
        session = self.roll.sessions.pop(event.conn, None)
        if session is not None:
            self.waiting.abandon(session)
            session.unwatch()
            self.roll.remove(session)
        elif (owner := self.peers.owners.pop(event.conn, None)) is not None:
            owner.closed(event, self.turn.now)

    def connected(self, event: Connected) -> None:
        """A connection that somebody has asked for stands."""
        owner = self.peers.owners.get(event.conn)
        if owner is not None:
            owner.connected(event, self.turn.now)

    def connect_failed(self, event: ConnectFailed) -> None:
        """A connection could not be made."""
        owner = self.peers.owners.pop(event.conn, None)
        if owner is not None:
            owner.connect_failed(event, self.turn.now)

    def output_pending(self, event: OutputPending) -> None:
        """How much the driver still holds for a connection."""
        link = self.links.get(event.conn)
        if link is not None:
            link.pending = event.pending
        session = self.roll.sessions.get(event.conn)
        if session is not None:
            session.pending_output = event.pending
            if event.pending and link is None:
                self.output.weigh(session)
