"""Claims of slots: who is believed to own what, and what follows for this node.

A claim comes with the claimant's configuration epoch and wins over an owner whose epoch is smaller. The loser finds
out the same way: everybody's pings say what they own. Two primaries of one epoch: the one with the smaller id takes a
new epoch, so that in the end every configuration epoch belongs to one primary.
"""

from __future__ import annotations

from replicator.core.cluster.slots import iterate
from replicator.core.cluster.station import Station
from replicator.core.cluster.topology import ClusterNode
from replicator.core.effects import Level
from replicator.core.wire.bus import Message


class Claims:
    """Judges the claims that others make."""

    def __init__(self, station: Station) -> None:
        self.station = station

    def take(self, claimant: ClusterNode, epoch: int, slots: int) -> None:
        """The claimant, a primary, says that these slots are its own."""
        station = self.station
        topology = station.topology
        if claimant is topology.me:
            return
        mine = topology.my_primary
        before = mine.slots
        won = 0
        for slot in iterate(slots & ~claimant.slots):
            owner = topology.owners[slot]
            # A slot that we import changes hands by an operator's word, with a greater epoch.
            if slot not in topology.importing and (owner is None or owner.config_epoch < epoch):
                won |= 1 << slot
        if not won:
            return
        lost = won & topology.me.slots
        with_keys = sum(1 << slot for slot in iterate(lost) if station.host.count_keys(slot))
        for slot in list(topology.migrating):
            if lost >> slot & 1:
                del topology.migrating[slot]
        topology.assign(won, claimant)
        station.announce("cluster.slots-taken", ("by", claimant.id), ("epoch", epoch), ("slots", won.bit_count()))
        station.save_late()
        if before & won and not mine.slots and station.settings["cluster-allow-replica-migration"]:
            station.log(
                Level.WARNING, f"Configuration change detected. Reconfiguring myself as a replica of {claimant.id}"
            )
            self.follow(claimant)
        elif with_keys:
            station.host.delete_keys(with_keys)
        station.host.slots_changed()

    def follow(self, primary: ClusterNode) -> None:
        """This node is a replica of that one from now on."""
        station = self.station
        topology = station.topology
        assert primary is not topology.me
        topology.make_replica(topology.me, primary)
        topology.migrating.clear()
        topology.importing.clear()
        station.announce("cluster.following", ("primary", primary.id))
        station.save()
        if primary.host:
            station.host.follow(primary.host, primary.port)

    def stale_owner(self, message: Message, claimant: ClusterNode) -> ClusterNode | None:
        """The newer owner of a slot that the message claims, if there is one: its sender must be told."""
        topology = self.station.topology
        for slot in iterate(message.slots & topology.owned & ~claimant.slots):
            owner = topology.owners[slot]
            if owner is not None and owner is not claimant and owner.config_epoch > message.config_epoch:
                return owner
        return None

    def collide(self, sender: ClusterNode) -> None:
        """Another primary may have our configuration epoch."""
        station = self.station
        topology = station.topology
        me = topology.me
        if not sender.is_primary or not me.is_primary or sender.config_epoch != me.config_epoch:
            return
        if sender.id <= me.id:
            return
        topology.current_epoch += 1
        me.config_epoch = topology.current_epoch
        station.save()
        station.log(
            Level.VERBOSE,
            f"WARNING: configEpoch collision with node {sender.id}. configEpoch set to {me.config_epoch}",
        )
        station.announce("cluster.epoch-collision", ("with", sender.id), ("epoch", me.config_epoch))
