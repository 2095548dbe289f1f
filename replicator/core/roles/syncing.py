"""A connection becomes a replica's: REPLCONF, PSYNC and SYNC."""

from __future__ import annotations

from replicator.core.clients.session import Session
from replicator.core.effects import Level
from replicator.core.errors import CommandError
from replicator.core.persistence.snapshots import Snapshots
from replicator.core.replication.outgoing import Outgoing
from replicator.core.replication.primary import CAPA_EOF, WHOLE, Link, Primary
from replicator.core.replication.replica import Replica
from replicator.core.roles.role import Role
from replicator.core.turn import Turn


class Syncing:
    """See the module."""

    def __init__(
        self, turn: Turn, outgoing: Outgoing, primary: Primary, replica: Replica, snapshots: Snapshots, role: Role
    ) -> None:
        self.turn = turn
        self.outgoing = outgoing
        self.primary = primary
        self.replica = replica
        self.snapshots = snapshots
        self.role = role

    def link_of(self, session: Session) -> Link:
        """The replication attributes of a connection, made when it first speaks of them."""
        if session.link is None:
            host = session.peer.rpartition(":")[0].strip("[]")
            session.link = Link(session.conn, host, acked_ms=self.turn.now.mono_ms)
        return session.link

    def synchronize(self, session: Session, asked_id: str, position: int, *, failover: bool, old: bool) -> None:
        """PSYNC and SYNC: continue, or have a snapshot made."""
        link = self.link_of(session)
        self.outgoing.flush()
        if failover:
            self.role.take_over(session, asked_id)
        if self.replica.active and not self.replica.up:
            raise CommandError("NOMASTERLINK Can't SYNC while not connected with my master")
        if session.channels or session.patterns or session.out:
            raise CommandError("ERR SYNC and PSYNC are invalid with pending output")
        if link.content != WHOLE and not link.capabilities & CAPA_EOF:
            raise CommandError("ERR Filtered replica requires EOF capability")
        self.turn.log(Level.NOTICE, f"Replica {link.address} asks for synchronization")
        session.is_replica = True
        session.regate()
        link.old_sync = old
        if not old and self.primary.psync(link, asked_id, position, self.turn.now):
            return
        self.primary.full(link, self.turn.now, busy=self.snapshots.running is not None)
        self.outgoing.follow_window(is_primary=not self.replica.active)

    def log_wrong_offset(self, session: Session) -> None:
        """PSYNC with an offset that is no number."""
        address = self.link_of(session).address
        self.turn.log(Level.NOTICE, f"Replica {address} asks for synchronization but with a wrong offset")
