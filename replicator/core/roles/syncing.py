"""What replication commands ask of the node: roles, links, synchronizations, transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.clients.session import REPLY_OFF, REPLY_ON, Session
from replicator.core.clients.transaction import Transaction
from replicator.core.command_table.context import PENDING
from replicator.core.command_table.registry import Command
from replicator.core.effects import Level
from replicator.core.errors import CommandError
from replicator.core.execution.executor import ANY
from replicator.core.replication.primary import CAPA_EOF, WHOLE, Link
from replicator.core.roles.failover import FailoverState
from replicator.core.wire.request import Argv

if TYPE_CHECKING:
    from replicator.core.node import Node


_SAID_ON_LINKS = (b"replconf", b"psync", b"sync")


class Orders:
    """The verbs that commands use (server.orders)."""

    def __init__(self, node: Node) -> None:
        self.node = node

    # -- transactions ------------------------------------------------------------------------------------------------

    def begin_transaction(self, session: Session) -> None:
        """MULTI."""
        session.transaction = Transaction()
        session.gate = ANY

    def end_transaction(self, session: Session) -> None:
        """DISCARD, or an EXEC that does not run."""
        self.node.executor.end_transaction(session)

    def unwatch(self, session: Session) -> None:
        """UNWATCH."""
        self.node.executor.unwatch(session)

    def execute_transaction(self, session: Session) -> bytes:
        """EXEC."""
        return self.node.executor.execute_transaction(session)

    # -- roles -------------------------------------------------------------------------------------------------------

    def handover_running(self) -> bool:
        """A coordinated failover is under way."""
        return self.node.handover.state is not FailoverState.NONE

    def promote(self, ctx: Session) -> None:
        """REPLICAOF NO ONE."""
        if not self.node.replica.active:
            return
        self.node.become_primary(why="user request")
        self.node.config.assign("replicaof", ())
        self.node.turn.log(Level.NOTICE, f"MASTER MODE enabled (user request from '{self.describe(ctx)}')")

    def follow(self, ctx: Session, host: str, port: int) -> bool:
        """REPLICAOF host port; whether we follow that one already."""
        if self.node.replica.active and (self.node.replica.primary_host, self.node.replica.primary_port) == (
            host,
            port,
        ):
            self.node.turn.log(
                Level.NOTICE,
                "REPLICAOF would result into synchronization with the master we are already connected with. "
                "No operation performed.",
            )
            return True
        self.node.become_replica(host, port, why="user request")
        self.node.config.assign("replicaof", (host, str(port)))
        self.node.turn.log(Level.NOTICE, f"REPLICAOF {host}:{port} enabled (user request from '{self.describe(ctx)}')")
        return False

    def describe(self, ctx: Session) -> str:
        """A client in a log line, as CLIENT LIST begins it."""
        return f"id={ctx.id} addr={ctx.peer} laddr={ctx.local} name={ctx.name.decode('utf-8', 'replace')}"

    # -- replicas ----------------------------------------------------------------------------------------------------

    def link_of(self, session: Session) -> Link:
        """The replication attributes of a connection, made when it first speaks of them."""
        if session.link is None:
            host = session.peer.rpartition(":")[0].strip("[]")
            session.link = Link(session.conn, host, acked_ms=self.node.turn.now.mono_ms)
        return session.link

    def acknowledged(self, link: Link, position: int) -> None:
        """REPLCONF ACK."""
        self.node.primary.ack(link, position, self.node.turn.now)
        if self.node.executor.blocked or self.node.handover.pausing:
            self.node.handover.acks_changed()
            self.node.durability.changed()

    def synchronize(self, session: Session, asked_id: str, position: int, *, failover: bool, old: bool) -> None:
        """PSYNC and SYNC: continue, or have a snapshot made."""
        link = self.link_of(session)
        self.node.outgoing.flush()
        if failover:
            self._take_over(session, asked_id)
        if self.node.replica.active and not self.node.replica.up:
            raise CommandError("NOMASTERLINK Can't SYNC while not connected with my master")
        if session.channels or session.patterns or session.out:
            raise CommandError("ERR SYNC and PSYNC are invalid with pending output")
        if link.content != WHOLE and not link.capabilities & CAPA_EOF:
            raise CommandError("ERR Filtered replica requires EOF capability")
        self.node.turn.log(Level.NOTICE, f"Replica {link.address} asks for synchronization")
        session.is_replica = True
        session.executor.regate(session)
        link.old_sync = old
        if not old and self.node.primary.psync(link, asked_id, position, self.node.turn.now):
            self.node.regate()
            return
        if old:
            asked_id, position = "?", -2
        self.node.primary.full(link, self.node.turn.now, busy=self.node.snapshots.running is not None)
        self.node.set_feeding()
        self.node.regate()

    def speaks_on_link(self, session: Session) -> bool:
        """Whether what is sent to the client is the stream."""
        return session.conn in self.node.primary.links

    def said_on_link(self, session: Session, command: Command | None, argv: Argv) -> bytes:
        """A link carries the stream and acknowledgements. Whoever says what has an answer is sent away: an answer, even
        an error, would count as the stream's bytes.
        """
        if argv[0].lower() in _SAID_ON_LINKS and not self.node.executor.answer(session, command, argv):
            return PENDING
        name = argv[0][:128].decode("utf-8", "backslashreplace").lower()
        self.node.turn.log(
            Level.WARNING, f"Replica generated a reply to command '{name}', disconnecting it: {self.describe(session)}"
        )
        session.close("a command on a replication link", after_reply=False)
        return PENDING

    def log_wrong_offset(self, session: Session) -> None:
        """PSYNC with an offset that is no number."""
        address = self.link_of(session).address
        self.node.turn.log(Level.NOTICE, f"Replica {address} asks for synchronization but with a wrong offset")

    def reset_session(self, session: Session) -> None:
        """RESET: the connection as if it were new."""
        node = self.node
        if session.transaction is not None:
            session.transaction = None
        node.executor.unwatch(session)
        session.db = node.keyspace.databases[0]
        session.use_protocol(2)
        session.name = b""
        if session.reply_mode == REPLY_OFF:
            session.reply_mode = REPLY_ON  # SKIP is still about this very reply
        node.monitors.pop(session, None)
        node.services.reset(session)
        node.regate()
        node.executor.regate(session)

    def _take_over(self, session: Session, asked_id: str) -> None:
        """PSYNC ... FAILOVER: our primary hands over to us."""
        self.node.turn.log(Level.WARNING, f"Failover request received for replid {asked_id}.")
        if not self.node.replica.active:
            raise CommandError("ERR PSYNC FAILOVER can't be sent to a master.")
        if asked_id != self.node.history.id:
            raise CommandError("ERR PSYNC FAILOVER replid must match my replid.")
        self.node.become_primary(why="failover")
        self.node.config.assign("replicaof", ())
        self.node.turn.log(Level.NOTICE, f"MASTER MODE enabled (failover request from '{self.describe(session)}')")
