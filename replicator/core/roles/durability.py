"""WAITAOF: clients that wait until their writes are durable here, on replicas, or both.

A replica tells with its acknowledgements how far its own append-only file is durable (REPLCONF ACK <offset> FACK
<offset>); a replica without one does not, and never counts.

Source: valkey.io, "WAITAOF"; tried against Valkey 9.1.
"""

from __future__ import annotations

from replicator.core.clients.session import Blocked, Session, Wait
from replicator.core.clients.waiting import Waiting
from replicator.core.command_table.context import PENDING
from replicator.core.errors import CommandError
from replicator.core.persistence.append_only import AppendOnly
from replicator.core.replication.primary import LinkState, Primary
from replicator.core.replication.replica import Replica
from replicator.core.roles.acknowledgements import Acknowledgements
from replicator.core.turn import Turn
from replicator.core.wire import reply


class Durability:
    """See the module."""

    def __init__(
        self,
        turn: Turn,
        append_only: AppendOnly,
        primary: Primary,
        replica: Replica,
        waiting: Waiting,
        acknowledgements: Acknowledgements,
    ) -> None:
        self._turn = turn
        self._append_only = append_only
        self._primary = primary
        self._replica = replica
        self._waiting = waiting
        self._acknowledgements = acknowledgements
        acknowledgements.on_change.append(self.changed)
        append_only.durable = self.more
        replica.durable_offset = self._durable_here

    def _durable_here(self, position: int) -> int | None:
        """For our primary, which we tell that we have applied so much: how far it is durable; None: no file."""
        append_only = self._append_only
        if not append_only.promises:
            return None
        durable = append_only.journal.durable_offset()
        if durable < position:
            append_only.watched = True
        return min(durable, position)

    def _counts(self, position: int) -> tuple[int, int]:
        """Whether it is durable here (0 or 1), and on how many replicas."""
        append_only = self._append_only
        here = append_only.promises and append_only.journal.durable_offset() >= position
        links = self._primary.links.values()
        return int(here), sum(link.state is LinkState.ONLINE and link.durable >= position for link in links)

    def wait(self, session: Session, local: int, replicas: int, timeout_ms: int) -> bytes:
        """WAITAOF local replicas timeout."""
        if self._replica.active:
            raise CommandError(
                "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just "
                "local and are not propagated."
            )
        if local and not self._append_only.journal.takes:
            raise CommandError("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.")
        position = self._acknowledgements.position_of(session)
        counts = self._counts(position)
        if (counts[0] >= local and counts[1] >= replicas) or session.deny_blocking:
            return _pair(counts)
        deadline = self._turn.now.mono_ms + timeout_ms if timeout_ms else None
        blocked = Blocked(
            Wait.DURABLE,
            session.argv,
            session.command,
            deadline,
            lambda: _pair(self._counts(position)),
            position=position,
            wanted=replicas,
            local=local,
        )
        self._waiting.park(session, blocked)
        self._append_only.watched = True
        if replicas:
            self._acknowledgements.ask()
        return PENDING

    def more(self) -> None:
        """More is durable here: tell our primary, or those who wait."""
        if self._replica.active:
            self._replica.acknowledge(self._turn.now)
        self.changed()

    def changed(self) -> None:
        """More is durable here or on a replica."""
        for session in list(self._waiting.blocked):
            blocked = session.blocked
            if blocked is None or blocked.kind is not Wait.DURABLE:
                continue
            counts = self._counts(blocked.position)
            if counts[0] >= blocked.local and counts[1] >= blocked.wanted:
                self._waiting.unblock(session, _pair(counts))
            else:
                self._append_only.watched = True


def _pair(counts: tuple[int, int]) -> bytes:
    return reply.array([reply.integer(count) for count in counts])
