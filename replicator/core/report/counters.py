"""What INFO counts: commands a second, traffic. CONFIG RESETSTAT is here."""

from __future__ import annotations

from replicator.core.clients.roll import Roll
from replicator.core.command_table.statistics import Statistics
from replicator.core.command_table.table import Table
from replicator.core.execution.calling import Calling
from replicator.core.execution.connections import Connections
from replicator.core.keyspace.database import Keyspace
from replicator.core.persistence.snapshots import Snapshots
from replicator.core.replication.primary import Primary
from replicator.core.replication.replica import Replica
from replicator.core.report.traffic import Traffic
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
        table: Table,
        primary: Primary,
        replica: Replica,
        snapshots: Snapshots,
    ) -> None:
        self.turn = turn
        self.keyspace = keyspace
        self.roll = roll
        self.calling = calling
        self.statistics = statistics
        self.connections = connections
        self.table = table
        self.primary = primary
        self.snapshots = snapshots
        self.traffic = Traffic(roll.sessions, primary, replica)
        self.ops_per_second = 0
        self._sample = (0, 0)  # when commands were counted last, and how many had been run
        self._ticked_ms = 0
        roll.on_gone.append(self.traffic.forget)

    def tick(self) -> None:
        """Once a second."""
        then, count = self._sample
        now, total = self.turn.now.mono_ms, self.calling.total
        if now > then:
            self.ops_per_second = (total - count) * 1000 // (now - then)
        self._sample = (now, total)
        if now - self._ticked_ms >= 1000:
            self._ticked_ms = now
            self.traffic.sample(now)
            self.statistics.tick()

    def reset(self) -> None:
        """CONFIG RESETSTAT: what INFO counts begins at zero again."""
        keyspace, primary = self.keyspace, self.primary
        keyspace.hits = keyspace.misses = keyspace.expired = keyspace.evicted = 0
        self.connections.received_total = self.connections.rejected_total = 0
        primary.sync_full = primary.sync_partial_ok = primary.sync_partial_err = 0
        self.snapshots.last_fork_us = self.snapshots.total_forks = 0
        self.traffic.reset()
        self.connections.reads = self.roll.writes = 0
        self._sample = (self._sample[0], 0)
        self.calling.total = 0
        self.calling.errors.clear()
        self.statistics.reset()
        for one in self.statistics.measured.values():
            one.entry.calls = one.entry.rejected = one.entry.failed = 0
        reset = self.table.resolve([b"CONFIG", b"RESETSTAT"])
        if reset is not None:
            reset.calls = 1  # this very call
