"""What a node says of itself and of others, and what it learns from what others say.

A gossip section holds some nodes drawn at random, a tenth of the cluster but at least three, and all those that the
sender cannot reach: so news of a failure come to everybody within few pings, and the rest costs little.

What is learned of a third node is a hint: whoever is unknown is greeted, and proves by its own answer who it is; that
a node fails is believed when a majority of primaries says so.
"""

from __future__ import annotations

from ipaddress import ip_address

from replicator.core.cluster.failures import Failures
from replicator.core.cluster.links import Link, Links
from replicator.core.cluster.station import Station
from replicator.core.cluster.topology import ClusterNode
from replicator.core.limits import MAX_CLUSTER_NODES
from replicator.core.wire.bus import (
    EXTENSIONS,
    FAIL,
    FAILED,
    FORCE_ACK,
    HANDSHAKE,
    MEETING,
    NO_ADDRESS,
    NO_FAILOVER,
    PAUSED,
    PFAIL,
    PING,
    PONG,
    UPDATE,
    WITH_GOSSIP,
    GossipEntry,
    Message,
)

_LEAST_ENTRIES = 3
_SKEW_MS = 500  # how far ahead of ours a clock may be whose word about a PONG we take


class Gossip:
    """Composes what this node says, and takes in what others say of third ones."""

    def __init__(self, station: Station, links: Links, failures: Failures) -> None:
        self.station = station
        self.links = links
        self.failures = failures
        failures.tell_fail = self._tell_fail
        self.handing_over = False  # a manual failover of ours is under way, and clients wait

    # -- saying ------------------------------------------------------------------------------------------------------

    def compose(self, kind: int) -> Message:
        """A message of that type with its header."""
        station = self.station
        topology = station.topology
        me, mine = topology.me, topology.my_primary
        if station.settings["cluster-replica-no-failover"]:
            me.flags |= NO_FAILOVER
        else:
            me.flags &= ~NO_FAILOVER
        me.host_name = station.text("cluster-announce-hostname")
        me.port, me.bus_port = my_ports(station)
        me.offset = station.host.offset()
        return Message(
            type=kind,
            sender=me.id,
            port=me.port,
            bus_port=me.bus_port,
            current_epoch=topology.current_epoch,
            config_epoch=mine.config_epoch,
            offset=me.offset,
            slots=mine.slots,
            primary=me.primary.id if me.primary is not None else "",
            host=station.text("cluster-announce-ip"),
            flags=me.flags,
            failing=not topology.ok,
            message_flags=PAUSED if self.handing_over and me.is_primary else 0,
        )

    def ping(self, link: Link, kind: int) -> None:
        """PING, PONG or MEET with a gossip section, on this connection."""
        station = self.station
        node = link.node
        message = self.compose(kind)
        message.gossip = self._section(node)
        message.message_flags |= EXTENSIONS
        if node is not None and node.speaks_extensions and station.topology.me.host_name:
            message.host_name = station.topology.me.host_name
        if not link.inbound and kind == PING and node is not None:
            node.ping_sent_ms = station.now.mono_ms
        self.links.send(link, message)

    def pong_to(self, nodes: list[ClusterNode]) -> None:
        """Tell these nodes, unasked, how things stand with us."""
        for node in nodes:
            if node.linked and not node.in_handshake and node is not self.station.topology.me:
                self.ping(self.links.by_conn[node.link], PONG)

    def tell_update(self, link: Link, owner: ClusterNode) -> None:
        """Somebody claims a slot that has a newer owner."""
        message = self.compose(UPDATE)
        message.node, message.node_epoch, message.node_slots = owner.id, owner.config_epoch, owner.slots
        self.links.send(link, message)

    def _tell_fail(self, node: ClusterNode) -> None:
        """A majority calls the node failing: everybody is to know at once."""
        message = self.compose(FAIL)
        message.node = node.id
        self.links.broadcast(message)

    def ask_vote(self, kind: int, *, force: bool) -> None:
        """FAILOVER_AUTH_REQUEST to everybody."""
        message = self.compose(kind)
        if force:
            message.message_flags |= FORCE_ACK
        self.links.broadcast(message)

    def _section(self, receiver: ClusterNode | None) -> tuple[GossipEntry, ...]:
        topology = self.station.topology
        nodes = topology.nodes
        count = min(max(_LEAST_ENTRIES, len(nodes) // 10), len(nodes) - 2)
        fit = []
        unreachable = []
        for node in nodes.values():
            if node is topology.me or node is receiver or node.flags & (HANDSHAKE | NO_ADDRESS):
                continue
            if node.flags & PFAIL:
                unreachable.append(node)
            elif node.linked or node.slots:
                fit.append(node)
        chosen = self.station.chance.sample(fit, min(max(0, count), len(fit)))
        return tuple(self._entry(node) for node in (*chosen, *unreachable))

    def _entry(self, node: ClusterNode) -> GossipEntry:
        now = self.station.now
        shift = now.unix_ms - now.mono_ms
        times = (node.ping_sent_ms, node.pong_received_ms)
        ping, pong = (max(0, (when + shift) // 1000) if when else 0 for when in times)
        return GossipEntry(
            node.id, ping & 0xFFFFFFFF, pong & 0xFFFFFFFF, node.host, node.port, node.bus_port,
            node.flags & 0xFFFF, node.plain_port,
        )  # fmt: skip

    # -- hearing -----------------------------------------------------------------------------------------------------

    def take(self, message: Message, sender: ClusterNode | None) -> None:
        """The gossip section of a message; sender: None for one that has only just introduced itself by MEET."""
        assert message.type in WITH_GOSSIP
        topology = self.station.topology
        for entry in message.gossip:
            node = topology.nodes.get(entry.id)
            if node is None:
                if not entry.flags & NO_ADDRESS and entry.id not in topology.banned and sender is not None:
                    self.start_handshake(entry.host, entry.port, entry.bus_port, meet=False)
            elif node is not topology.me and not node.in_handshake:
                self._take_entry(entry, node, sender)

    def _take_entry(self, entry: GossipEntry, node: ClusterNode, sender: ClusterNode | None) -> None:
        says_failing = bool(entry.flags & (PFAIL | FAILED))
        if sender is not None and sender.is_primary and sender.slots:
            if says_failing:
                self.failures.report(node, sender)
            else:
                self.failures.withdraw(node, sender)
        if says_failing:
            return
        now = self.station.now
        if not node.ping_sent_ms and not node.flags & (PFAIL | FAILED) and not self.failures.reports_of(node):
            told_ms = entry.pong_received_s * 1000 - (now.unix_ms - now.mono_ms)
            if node.pong_received_ms < told_ms <= now.mono_ms + _SKEW_MS:
                node.pong_received_ms = told_ms
        elsewhere = (entry.host, entry.port, entry.bus_port) != (node.host, node.port, node.bus_port)
        if node.failing and elsewhere and entry.host and not entry.flags & NO_ADDRESS:
            # It is alive for somebody, at an address that is not the one where we look for it.
            self.links.drop(node, "the node's address changed")
            node.host, node.port, node.bus_port = entry.host, entry.port, entry.bus_port
            node.flags &= ~NO_ADDRESS

    def start_handshake(self, host: str, port: int, bus_port: int, *, meet: bool) -> bool:
        """Greet a node of which only the address is known; False if the address is none."""
        station = self.station
        topology = station.topology
        try:
            host = str(ip_address(host))
        except ValueError:
            return False
        if not 0 < port < 65536 or not 0 < bus_port < 65536:
            return False
        for node in topology.nodes.values():
            if node.in_handshake and (node.host, node.bus_port) == (host, bus_port):
                return True
        if len(topology.nodes) >= MAX_CLUSTER_NODES:
            return False
        flags = HANDSHAKE | (MEETING if meet else 0)
        node = ClusterNode(station.random_id(), flags, host, port, bus_port)
        node.created_ms = station.now.mono_ms
        topology.add(node)
        return True


def my_ports(station: Station) -> tuple[int, int]:
    """The ports that others are told: of clients, of the bus."""
    port = station.number("tls-port" if station.is_on("tls-cluster") else "port")
    bus_port = station.number("cluster-port") or port + 10000
    return station.number("cluster-announce-port") or port, station.number("cluster-announce-bus-port") or bus_port


