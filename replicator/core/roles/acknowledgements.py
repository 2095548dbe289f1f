"""What replicas have acknowledged: WAIT, and the question whether one has everything."""

from __future__ import annotations

from collections.abc import Callable

from replicator.core.clients.session import Blocked, Session, Wait
from replicator.core.clients.waiting import Waiting
from replicator.core.command_table.context import PENDING
from replicator.core.keyspace.database import Keyspace
from replicator.core.replication.outgoing import Outgoing
from replicator.core.replication.primary import Link, LinkState, Primary
from replicator.core.turn import Turn
from replicator.core.wire import reply


class Acknowledgements:
    """See the module. on_change: told when a replica has acknowledged more, has come or has gone."""

    def __init__(
        self, turn: Turn, keyspace: Keyspace, outgoing: Outgoing, primary: Primary, waiting: Waiting
    ) -> None:
        self.turn = turn
        self.keyspace = keyspace
        self.outgoing = outgoing
        self.primary = primary
        self.waiting = waiting
        self.on_change: list[Callable[[], None]] = []
        self._asked = (0, -1)  # where the last GETACK lies in the stream: its begin and end

    def wait(self, session: Session, wanted: int, timeout_ms: int) -> bytes:
        """WAIT: how many replicas have acknowledged the caller's last write; waits for more if they are too few."""
        primary = self.primary
        position = self.position_of(session)
        count = primary.acked_by(position)
        if count >= wanted or session.deny_blocking:
            return reply.integer(count)
        deadline = self.turn.now.mono_ms + timeout_ms if timeout_ms else None
        blocked = Blocked(
            Wait.REPLICAS,
            session.argv,
            session.command,
            deadline,
            lambda: reply.integer(primary.acked_by(position)),
            position=position,
            wanted=wanted,
        )
        self.waiting.park(session, blocked)
        self.ask()
        return PENDING

    def position_of(self, session: Session) -> int:
        """The offset behind the last write of the caller whose command runs now."""
        outgoing = self.outgoing
        outgoing.flush()
        if self.keyspace.dirty != outgoing.batch_dirty:
            # The write came in the same packet: its session learns its place after the batch.
            return outgoing.history.end
        return session.write_position

    def ask(self) -> None:
        """Ask all replicas for an ACK now, through the stream."""
        if self.outgoing.windowed and self.primary.links:
            begin = self.outgoing.offset()
            self.outgoing.tell_replicas((b"REPLCONF", b"GETACK", b"*"))
            self._asked = (begin, self.outgoing.history.end)

    def has_all(self, link: Link) -> bool:
        """Whether the replica has acknowledged all there is.

        A GETACK is answered with the offset before itself, and who has answered it has read it: nothing is missing.
        """
        end = self.outgoing.offset()
        begin, asked = self._asked
        return link.state is LinkState.ONLINE and (link.acked == end or (asked == end and link.acked >= begin))

    def acknowledged(self, link: Link, position: int) -> None:
        """REPLCONF ACK."""
        self.primary.ack(link, position, self.turn.now)
        if self.waiting.blocked:
            for session in list(self.waiting.blocked):
                blocked = session.blocked
                if blocked is not None and blocked.kind is Wait.REPLICAS:
                    count = self.primary.acked_by(blocked.position)
                    if count >= blocked.wanted:
                        self.waiting.unblock(session, reply.integer(count))
        self.changed()

    def changed(self) -> None:
        """Acknowledgements, or the list of replicas, changed: go on with what waits for them."""
        for told in self.on_change:
            told()
