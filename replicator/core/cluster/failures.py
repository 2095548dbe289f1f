"""Who is failing, and whether the cluster serves.

    PFAIL   this node has heard nothing of it for the node timeout: an opinion
    FAIL    a majority of the primaries with slots has that opinion: a fact, told to everybody at once

FAIL ends at once for a node that owns no slots and answers again; for a primary with slots when it answers and nobody
has taken its slots for twice the node timeout, for until then it may be about to lose them.

The cluster serves (for this node) if a majority of primaries can be reached and, with cluster-require-full-coverage,
every slot has an owner that has not failed.

Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#failure-detection
"""

from __future__ import annotations

from collections.abc import Callable

from replicator.core.cluster.links import Links
from replicator.core.cluster.station import Station
from replicator.core.cluster.topology import ClusterNode
from replicator.core.effects import Level
from replicator.core.wire.bus import FAILED, MYSELF, PFAIL

_LEAST_REJOIN_MS, _MOST_REJOIN_MS = 500, 5000
_WRITABLE_AFTER_MS = 2000  # a primary that has just started waits so long for news before it takes writes


class Failures:
    """Opinions, reports and verdicts about failures; the state of the cluster."""

    def __init__(self, station: Station, links: Links) -> None:
        self.station = station
        self.links = links
        self.started_ms = 0  # when the bus began to run
        self.tell_fail: Callable[[ClusterNode], None] = lambda node: None  # everybody, by FAIL (see Gossip)
        self._minority_ms = -_MOST_REJOIN_MS  # when we last belonged to a minority

    # -- reports -----------------------------------------------------------------------------------------------------

    def report(self, node: ClusterNode, sender: ClusterNode) -> None:
        """A primary says that the node fails."""
        if sender.id not in node.reports:
            self.station.log(
                Level.VERBOSE, f"Node {sender.id} reported node {node.id} as not reachable."
            )
        node.reports[sender.id] = self.station.now.mono_ms
        self.judge(node)

    def withdraw(self, node: ClusterNode, sender: ClusterNode) -> None:
        """It says so no more."""
        if node.reports.pop(sender.id, None) is not None:
            self.station.log(Level.VERBOSE, f"Node {sender.id} reported node {node.id} is back online.")

    def reports_of(self, node: ClusterNode) -> int:
        """How many reports about the node count still."""
        if not node.reports:
            return 0
        oldest = self.station.now.mono_ms - 2 * self.station.node_timeout_ms
        for name in [name for name, when in node.reports.items() if when < oldest]:
            del node.reports[name]
        return len(node.reports)

    # -- verdicts ----------------------------------------------------------------------------------------------------

    def suspect(self, node: ClusterNode) -> None:
        """We have not heard of it for too long."""
        if node.flags & (PFAIL | FAILED):
            return
        node.flags |= PFAIL
        station = self.station
        station.log(Level.VERBOSE, f"*** NODE {node.id} possibly failing")
        station.announce("cluster.pfail", ("node", node.id))
        station.save_late()
        self.judge(node)

    def judge(self, node: ClusterNode) -> bool:
        """Mark the node as failed if a majority says so; whether it was marked now."""
        station = self.station
        topology = station.topology
        if not node.flags & PFAIL or node.failed:
            return False
        voices = self.reports_of(node) + (topology.me.is_primary and bool(topology.me.slots))
        if voices < topology.quorum:
            return False
        station.log(Level.NOTICE, f"Marking node {node.id} as failing (quorum reached).")
        self.condemn(node)
        self.tell_fail(node)
        return True

    def condemn(self, node: ClusterNode) -> None:
        """The node has failed: a majority, or somebody who knows of one, said so."""
        station = self.station
        assert not node.flags & MYSELF
        node.flags = node.flags & ~PFAIL | FAILED
        node.failed_ms = station.now.mono_ms
        station.announce("cluster.fail", ("node", node.id))
        station.save_late()

    def answered(self, node: ClusterNode) -> None:
        """The node answers: whatever we thought of it, it is alive."""
        station = self.station
        if node.flags & PFAIL:
            node.flags &= ~PFAIL
            station.save_late()
        elif node.failed:
            self._absolve(node)

    def _absolve(self, node: ClusterNode) -> None:
        station = self.station
        if node.is_replica or not node.slots:
            why = "replica is reachable again" if node.is_replica else "master without slots is reachable again"
        elif station.now.mono_ms - node.failed_ms > 2 * station.node_timeout_ms:
            why = "is reachable again and nobody is serving its slots after some time"
        else:
            return
        station.log(Level.NOTICE, f"Clear FAIL state for node {node.id}: {why}.")
        node.flags &= ~FAILED
        station.announce("cluster.unfail", ("node", node.id))
        station.save_late()

    # -- the cluster -------------------------------------------------------------------------------------------------

    def update_state(self) -> None:
        """Look anew whether the cluster serves."""
        station = self.station
        topology = station.topology
        now_ms = station.now.mono_ms
        me = topology.me
        voices = topology.primaries_with_slots()
        topology.size = len(voices)
        if me.is_primary and not topology.ok and now_ms - self.started_ms < _WRITABLE_AFTER_MS:
            return
        covered = topology.owned.bit_count() == len(topology.owners) and not any(node.failed for node in voices)
        ok = covered or not station.settings["cluster-require-full-coverage"]
        if sum(not node.failing for node in voices) < topology.quorum:
            ok = False
            self._minority_ms = now_ms
        if ok == topology.ok:
            return
        rejoin = min(max(station.node_timeout_ms, _LEAST_REJOIN_MS), _MOST_REJOIN_MS)
        if ok and me.is_primary and now_ms - self._minority_ms < rejoin:
            return
        station.log(Level.WARNING, f"Cluster state changed: {'ok' if ok else 'fail'}")
        station.announce("cluster.state", ("ok", int(ok)))
        topology.ok = ok
        station.host.slots_changed()
