"""What a node knows of its cluster: the nodes, who owns which slot, the epochs.

Invariants (check_invariants):
- every slot has at most one owner, and the owner's set holds it; only primaries own slots;
- a node that follows another one is in that one's `replicas`, and in no other's;
- no node's configuration epoch is above the current epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from replicator.core.cluster.slots import iterate
from replicator.core.wire.bus import (
    FAILED,
    HANDSHAKE,
    MEETING,
    MIGRATE_TO,
    MYSELF,
    NO_ADDRESS,
    NO_FAILOVER,
    PFAIL,
    PRIMARY,
    REPLICA,
    SLOTS,
)


@dataclass(slots=True, eq=False)
class ClusterNode:
    """One node, as this one knows it. Times are those of the monotonic clock in ms, 0 for never."""

    id: str
    flags: int
    host: str = ""
    port: int = 0
    bus_port: int = 0
    plain_port: int = 0
    host_name: str = ""
    shard_id: str = ""
    created_ms: int = 0
    primary: ClusterNode | None = None
    replicas: list[ClusterNode] = field(default_factory=list)
    slots: int = 0
    config_epoch: int = 0
    ping_sent_ms: int = 0  # of the ping that is not answered yet
    pong_received_ms: int = 0
    data_received_ms: int = 0
    failed_ms: int = 0
    voted_ms: int = 0  # when we last voted for a replica of this primary
    orphaned_ms: int = 0  # since when this primary with slots has had no working replica
    offset: int = 0  # its replication offset as it last told
    reports: dict[str, int] = field(default_factory=dict)  # who called it failing, and when
    inbound: int = 0  # its connection to us
    link: int = 0  # our connection to it
    linked: bool = False  # our connection stands
    speaks_extensions: bool = False  # its pings may carry more than gossip, and so may ours to it

    @property
    def is_primary(self) -> bool:
        """Whether it is a primary."""
        return bool(self.flags & PRIMARY)

    @property
    def is_replica(self) -> bool:
        """Whether it follows a primary."""
        return bool(self.flags & REPLICA)

    @property
    def failed(self) -> bool:
        """A majority called it failing."""
        return bool(self.flags & FAILED)

    @property
    def failing(self) -> bool:
        """We cannot reach it, or a majority cannot."""
        return bool(self.flags & (PFAIL | FAILED))

    @property
    def in_handshake(self) -> bool:
        """Its real name is not known yet."""
        return bool(self.flags & HANDSHAKE)

    def working_replicas(self) -> int:
        """How many of its replicas are not failing."""
        return sum(not replica.failing for replica in self.replicas)


class Topology:
    """The cluster as one node knows it."""

    def __init__(self, my_id: str) -> None:
        self.me = ClusterNode(my_id, MYSELF | PRIMARY)
        self.nodes: dict[str, ClusterNode] = {my_id: self.me}
        self.owners: list[ClusterNode | None] = [None] * SLOTS
        self.owned = 0  # slots that have an owner
        self.migrating: dict[int, ClusterNode] = {}
        self.importing: dict[int, ClusterNode] = {}
        self.current_epoch = 0
        self.last_vote_epoch = 0
        self.ok = False  # the cluster serves requests
        self.size = 1  # primaries with slots
        self.banned: dict[str, int] = {}  # forgotten nodes, and until when (mono ms) they stay so

    # -- nodes -------------------------------------------------------------------------------------------------------

    def known(self, name: str) -> ClusterNode | None:
        """The node of that id, if it is a member: one that we are still shaking hands with is not."""
        node = self.nodes.get(name)
        return None if node is None or node.in_handshake else node

    def add(self, node: ClusterNode) -> ClusterNode:
        """One node more."""
        self.nodes[node.id] = node
        return node

    def rename(self, node: ClusterNode, name: str) -> None:
        """A node in handshake has told its real name."""
        del self.nodes[node.id]
        node.id = name
        self.nodes[name] = node

    def remove(self, node: ClusterNode) -> None:
        """Forget a node and all it was."""
        assert node is not self.me
        self.disown(node.slots)
        for moving in (self.migrating, self.importing):
            for slot in [slot for slot, other in moving.items() if other is node]:
                del moving[slot]
        for replica in list(node.replicas):
            self.set_primary(replica, None)
        self.set_primary(node, None)
        for other in self.nodes.values():
            other.reports.pop(node.id, None)
        del self.nodes[node.id]

    def set_primary(self, node: ClusterNode, primary: ClusterNode | None) -> None:
        """Say whom a node follows; its role flags are its caller's affair."""
        old = node.primary
        if old is primary:
            return
        if old is not None:
            old.replicas.remove(node)
            if not old.replicas:
                old.flags &= ~MIGRATE_TO
        node.primary = primary
        if primary is not None:
            primary.replicas.append(node)
            primary.flags |= MIGRATE_TO

    def make_primary(self, node: ClusterNode) -> None:
        """The node is a primary."""
        if node.is_primary:
            return
        if node.primary is not None:
            self.set_primary(node, None)
            if node is not self.me:
                node.flags |= MIGRATE_TO
        node.flags = node.flags & ~REPLICA | PRIMARY

    def make_replica(self, node: ClusterNode, primary: ClusterNode | None) -> None:
        """The node follows that primary (None: one that we do not know)."""
        assert node is not primary
        if node.is_primary:
            self.disown(node.slots)
            node.flags = node.flags & ~(PRIMARY | MIGRATE_TO) | REPLICA
        self.set_primary(node, primary)

    def primaries_with_slots(self) -> list[ClusterNode]:
        """Those whose voices count."""
        return [node for node in self.nodes.values() if node.slots and node.is_primary]

    @property
    def quorum(self) -> int:
        """How many primaries are a majority."""
        return self.size // 2 + 1

    @property
    def my_primary(self) -> ClusterNode:
        """Whose slots these are: mine, or my primary's."""
        return self.me.primary or self.me

    # -- slots -------------------------------------------------------------------------------------------------------

    def assign(self, slots: int, owner: ClusterNode) -> None:
        """These slots belong to that node from now on."""
        self.disown(slots & self.owned)
        if not slots:
            return
        first = not owner.slots
        owner.slots |= slots
        self.owned |= slots
        for slot in iterate(slots):
            self.owners[slot] = owner
        # A primary that got its first slots may be given a replica, in a cluster whose primaries have some.
        if first and any(node.replicas for node in self.nodes.values() if node.is_primary and node is not owner):
            owner.flags |= MIGRATE_TO

    def disown(self, slots: int) -> None:
        """These slots belong to nobody."""
        slots &= self.owned
        if not slots:
            return
        self.owned &= ~slots
        for slot in iterate(slots):
            owner = self.owners[slot]
            assert owner is not None
            owner.slots &= ~(1 << slot)
            self.owners[slot] = None

    def slots_in(self, flags: int) -> int:
        """How many slots belong to nodes with one of these flags."""
        return sum(node.slots.bit_count() for node in self.nodes.values() if node.flags & flags)

    # -- epochs ------------------------------------------------------------------------------------------------------

    def greatest_epoch(self) -> int:
        """The greatest epoch that is known."""
        return max(self.current_epoch, *(node.config_epoch for node in self.nodes.values()))

    def bump_epoch(self) -> bool:
        """Take a new configuration epoch without a vote; False if ours is the greatest already."""
        greatest = self.greatest_epoch()
        if self.me.config_epoch and self.me.config_epoch == greatest:
            return False
        self.current_epoch += 1
        self.me.config_epoch = self.current_epoch
        return True

    def check_invariants(self) -> None:
        """Assert what must hold between turns."""
        union = 0
        for node in self.nodes.values():
            assert not node.slots & union, node.id
            union |= node.slots
            assert not node.slots or node.is_primary, node.id
            assert not (node.is_primary and node.is_replica), node.id
            assert node.primary is None or node in node.primary.replicas, node.id
            assert node.config_epoch <= self.current_epoch or node.is_replica, (node.id, node.config_epoch)
        assert union == self.owned


FLAG_WORDS = (
    (MYSELF, "myself"),
    (PRIMARY, "master"),
    (REPLICA, "slave"),
    (PFAIL, "fail?"),
    (FAILED, "fail"),
    (HANDSHAKE, "handshake"),
    (NO_ADDRESS, "noaddr"),
    (NO_FAILOVER, "nofailover"),
)
_WRITTEN = {word: flag for flag, word in FLAG_WORDS}
assert not MEETING & sum(_WRITTEN.values())


def flag_text(flags: int) -> str:
    """Flags as CLUSTER NODES and nodes.conf write them."""
    words = [word for flag, word in FLAG_WORDS if flags & flag]
    if flags & FAILED and flags & PFAIL:
        words.remove("fail?")
    return ",".join(words) or "noflags"


def flags_from(text: str) -> int:
    """Flags from their words; raises KeyError for an unknown one."""
    return 0 if text == "noflags" else sum(_WRITTEN[word] for word in text.split(","))
