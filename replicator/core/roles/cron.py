"""What a node does once a second, whatever happens."""

from __future__ import annotations

from replicator.core.clients.output import Output
from replicator.core.config.config import Config
from replicator.core.persistence.loads import Loads
from replicator.core.replication.outgoing import Outgoing
from replicator.core.replication.primary import Primary
from replicator.core.replication.replica import Replica
from replicator.core.roles.pauses import Pauses
from replicator.core.turn import Turn


class Cron:
    """Keeps replicas alive and within their limits, begins saves that are due, closes idle clients."""

    def __init__(
        self,
        turn: Turn,
        config: Config,
        outgoing: Outgoing,
        primary: Primary,
        replica: Replica,
        pauses: Pauses,
        loads: Loads,
        output: Output,
    ) -> None:
        self.turn = turn
        self.config = config
        self.outgoing = outgoing
        self.primary = primary
        self.replica = replica
        self.pauses = pauses
        self.loads = loads
        self.output = output
        self.ping_ms = 0

    def run(self) -> None:
        """Once a second."""
        now, primary, is_primary = self.turn.now, self.primary, not self.replica.active
        if primary.links:
            period = 1000 * self.config["repl-ping-replica-period"]
            if is_primary and now.mono_ms - self.ping_ms >= period and not self.pauses.of_writes:
                self.ping_ms = now.mono_ms
                self.outgoing.tell_replicas((b"PING",))
            primary.keep_alive()
            primary.check_timeouts(now)
            primary.check_limits(now)
        primary.forget_backlog_if_alone(now, is_primary=is_primary)
        if primary.history.window is None:
            self.outgoing.follow_window(is_primary=is_primary)
        self.loads.snapshots.cron(loading=self.loads.loading is not None)
        self.loads.append_only.cron()
        self.output.close_idle()
