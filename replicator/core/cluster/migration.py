"""Replica migration: a primary with slots that has lost its last working replica is given one by the primary that has
most, so that a cluster survives one failure after the other.

Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#replica-migration
"""

from __future__ import annotations

from replicator.core.cluster.claims import Claims
from replicator.core.cluster.station import Station
from replicator.core.cluster.topology import ClusterNode
from replicator.core.effects import Level
from replicator.core.wire.bus import MIGRATE_TO

_DELAY_MS = 5000  # a replica that comes back by itself is better than one that has to copy everything


class Migration:
    """One replica's part in it."""

    def __init__(self, station: Station, claims: Claims) -> None:
        self.station = station
        self.claims = claims

    def count(self) -> None:
        """Once a second: which primaries are orphaned, and since when."""
        now_ms = self.station.now.mono_ms
        for node in self.station.topology.nodes.values():
            orphaned = self._is_orphaned(node)
            if not orphaned:
                node.orphaned_ms = 0
            elif not node.orphaned_ms:
                node.orphaned_ms = now_ms

    @staticmethod
    def _is_orphaned(node: ClusterNode) -> bool:
        working = node.is_primary and not node.failed and node.slots
        return bool(working) and bool(node.flags & MIGRATE_TO) and not node.working_replicas()

    def go_on(self) -> None:
        """As a replica: go to an orphaned primary, if it is for us to go."""
        station = self.station
        topology = station.topology
        me, primary = topology.me, topology.me.primary
        if not me.is_replica or primary is None or not topology.ok:
            return
        if not station.settings["cluster-allow-replica-migration"]:
            return
        if primary.working_replicas() <= station.number("cluster-migration-barrier"):
            return
        orphans = [node for node in topology.nodes.values() if self._is_orphaned(node)]
        if not orphans:
            return
        most = max(node.working_replicas() for node in topology.nodes.values() if node.is_primary)
        if most < 2:
            return
        giving = [node for node in topology.nodes.values() if node.is_primary and node.working_replicas() == most]
        candidates = [other.id for node in giving for other in node.replicas if not other.failing]
        target = orphans[0]
        waited = target.orphaned_ms and station.now.mono_ms - target.orphaned_ms > _DELAY_MS
        if min(candidates) == me.id and waited:
            station.log(Level.WARNING, f"Migrating to orphaned master {target.id}")
            station.announce("cluster.migrating", ("to", target.id))
            self.claims.follow(target)
