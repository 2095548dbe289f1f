"""What INFO counts of a whole life: bytes of connections that are gone, commands a second. CONFIG RESETSTAT is here."""

from __future__ import annotations

from replicator.core.clients.roll import Roll
from replicator.core.clients.session import Session
from replicator.core.command_table.statistics import Statistics
from replicator.core.execution.calling import Calling
from replicator.core.execution.connections import Connections
from replicator.core.keyspace.database import Keyspace
from replicator.core.persistence.snapshots import Snapshots
from replicator.core.replication.primary import Primary
from replicator.core.turn import Turn


class Counters:
    """See the module."""

    def __init__(
        self,
        turn: Turn,
        keyspace: Keyspace,
        roll: Roll,
        calling: Calling,
        statistics: Statistics,
        connections: Connections,
        primary: Primary,
        snapshots: Snapshots,
    ) -> None:
        self.turn = turn
        self.keyspace = keyspace
        self.roll = roll
        self.calling = calling
        self.statistics = statistics
        self.connections = connections
        self.primary = primary
        self.snapshots = snapshots
        self.gone_received = 0  # bytes of connections that are gone
        self.gone_sent = 0
        self.ops_per_second = 0
        self._sample = (0, 0)  # when commands were counted last, and how many had been run
        self._ticked_ms = 0
        roll.on_gone.append(self._gone)

    def _gone(self, session: Session) -> None:
        self.gone_received += session.total_received
        self.gone_sent += session.total_sent

    def received(self) -> int:
        """Bytes that came on all connections ever."""
        return sum(session.total_received for session in self.roll.sessions.values()) + self.gone_received

    def sent(self) -> int:
        """Bytes that went out on all connections ever."""
        return sum(session.total_sent for session in self.roll.sessions.values()) + self.gone_sent

    def tick(self) -> None:
        """Once a second."""
        then, count = self._sample
        now, total = self.turn.now.mono_ms, self.calling.total
        if now > then:
            self.ops_per_second = (total - count) * 1000 // (now - then)
        self._sample = (now, total)
        if now - self._ticked_ms >= 1000:
            self._ticked_ms = now
            self.statistics.tick()

    def reset(self) -> None:
        """CONFIG RESETSTAT: what INFO counts begins at zero again."""
        keyspace, primary = self.keyspace, self.primary
        keyspace.hits = keyspace.misses = keyspace.expired = keyspace.evicted = 0
        self.connections.received_total = self.connections.rejected_total = 0
        primary.sync_full = primary.sync_partial_ok = primary.sync_partial_err = 0
        self.snapshots.last_fork_us = self.snapshots.total_forks = 0
        # The totals are those of connections that are gone and of those that are there.
        self.gone_received -= self.received()
        self.gone_sent -= self.sent()
        self._sample = (self._sample[0], 0)
        self.calling.total = 0
        self.calling.errors.clear()
        self.statistics.reset()
        for one in self.statistics.measured.values():
            one.entry.calls = one.entry.rejected = one.entry.failed = 0
