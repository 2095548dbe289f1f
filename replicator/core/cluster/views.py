"""What CLUSTER tells of the topology: NODES, SLOTS, SHARDS, INFO, LINKS and REPLICAS.

Source: https://redis.io/docs/latest/commands/?group=cluster, and the answers of Redis 7.0.15.
"""

from __future__ import annotations

from replicator.core.cluster import nodes_conf
from replicator.core.cluster.bus import Bus
from replicator.core.cluster.orders import Orders, is_shown
from replicator.core.cluster.slots import ranges
from replicator.core.cluster.station import Station
from replicator.core.cluster.topology import ClusterNode
from replicator.core.errors import CommandError
from replicator.core.wire import reply
from replicator.core.wire.bus import FAILED, PFAIL, TYPE_NAMES


def preferred_endpoint(station: Station, node: ClusterNode) -> str | None:
    """How clients are told to reach the node; None: as they reached this one."""
    kind = station.text("cluster-preferred-endpoint-type")
    if kind == "hostname":
        return node.host_name or "?"
    return node.host if kind == "ip" else None


class Views:
    """The answers."""

    def __init__(self, station: Station, bus: Bus, orders: Orders) -> None:
        self.station = station
        self.bus = bus
        self.orders = orders

    def my_id(self) -> bytes:
        """CLUSTER MYID"""
        return reply.bulk(self.station.topology.me.id.encode())

    def nodes(self, resp3: bool) -> bytes:
        """CLUSTER NODES"""
        text = nodes_conf.describe(self.station.topology, self.station.now)
        return reply.verbatim(text.encode(), resp3)

    def replicas(self, word: bytes) -> bytes:
        """CLUSTER REPLICAS node-id"""
        node = self.orders.node(word)
        if node.is_replica:
            raise CommandError("ERR The specified node is not a master")
        topology, now = self.station.topology, self.station.now
        return reply.bulks([nodes_conf.node_line(topology, one, now).encode() for one in node.replicas])

    def info(self, resp3: bool) -> bytes:
        """CLUSTER INFO"""
        station = self.station
        topology = station.topology
        mine = topology.my_primary
        failing, failed = topology.slots_in(PFAIL), topology.slots_in(FAILED)
        assigned = topology.owned.bit_count()
        fields: list[tuple[str, object]] = [
            ("cluster_state", "ok" if topology.ok else "fail"),
            ("cluster_slots_assigned", assigned),
            ("cluster_slots_ok", assigned - failing - failed),
            ("cluster_slots_pfail", failing),
            ("cluster_slots_fail", failed),
            ("cluster_known_nodes", len(topology.nodes)),
            ("cluster_size", topology.size),
            ("cluster_current_epoch", topology.current_epoch),
            ("cluster_my_epoch", mine.config_epoch),
        ]
        for counts, verb in ((station.sent, "sent"), (station.received, "received")):
            fields += [
                (f"cluster_stats_messages_{name}_{verb}", count)
                for name, count in zip(TYPE_NAMES, counts, strict=True)
                if count
            ]
            fields.append((f"cluster_stats_messages_{verb}", sum(counts)))
        fields.append(("total_cluster_links_buffer_limit_exceeded", self.bus.links.limit_exceeded))
        return reply.verbatim("".join(f"{name}:{value}\r\n" for name, value in fields).encode(), resp3)

    # -- for clients -------------------------------------------------------------------------------------------------

    def _endpoint(self, node: ClusterNode, resp3: bool) -> bytes:
        host = preferred_endpoint(self.station, node)
        return reply.null(resp3) if host is None else reply.bulk(host.encode())

    def slots(self, resp3: bool) -> bytes:
        """CLUSTER SLOTS"""
        answers = []
        for first, last, owner in self._owned_ranges():
            nodes = [owner, *(one for one in owner.replicas if is_shown(one) and not one.failing)]
            shown = [self._networking(node, resp3) for node in nodes]
            answers.append(reply.array([reply.integer(first), reply.integer(last), *shown]))
        return reply.array(answers)

    def _owned_ranges(self) -> list[tuple[int, int, ClusterNode]]:
        found = [
            (first, last, node)
            for node in self.station.topology.nodes.values()
            if node.slots
            for first, last in ranges(node.slots)
        ]
        return sorted(found, key=lambda entry: entry[0])

    def _networking(self, node: ClusterNode, resp3: bool) -> bytes:
        kind = self.station.text("cluster-preferred-endpoint-type")
        more: list[bytes] = []
        if kind != "ip":
            more += [reply.bulk(b"ip"), reply.bulk(node.host.encode())]
        if kind != "hostname" and node.host_name:
            more += [reply.bulk(b"hostname"), reply.bulk(node.host_name.encode())]
        return reply.array(
            [
                self._endpoint(node, resp3),
                reply.integer(node.port),
                reply.bulk(node.id.encode()),
                reply.mapping(more, resp3),
            ]
        )

    def shards(self, resp3: bool) -> bytes:
        """CLUSTER SHARDS"""
        answers = []
        for node in self.station.topology.nodes.values():
            if not node.is_primary or not is_shown(node):
                continue
            bounds = [reply.integer(bound) for pair in ranges(node.slots) for bound in pair]
            members = [self._member(one, resp3) for one in (node, *node.replicas) if is_shown(one)]
            items = [reply.bulk(b"slots"), reply.array(bounds), reply.bulk(b"nodes"), reply.array(members)]
            answers.append(reply.mapping(items, resp3))
        return reply.array(answers)

    def _member(self, node: ClusterNode, resp3: bool) -> bytes:
        me = self.station.topology.me
        offset = self.station.host.offset() if node is me else node.offset
        if node.failing:
            health = b"fail"
        else:
            health = b"loading" if node.is_replica and not offset else b"online"
        items = [
            reply.bulk(b"id"), reply.bulk(node.id.encode()),
            reply.bulk(b"port"), reply.integer(node.port),
            reply.bulk(b"ip"), reply.bulk(node.host.encode()),
            reply.bulk(b"endpoint"), self._endpoint(node, resp3),
        ]  # fmt: skip
        if node.host_name:
            items += [reply.bulk(b"hostname"), reply.bulk(node.host_name.encode())]
        items += [
            reply.bulk(b"role"), reply.bulk(b"replica" if node.is_replica else b"master"),
            reply.bulk(b"replication-offset"), reply.integer(offset),
            reply.bulk(b"health"), reply.bulk(health),
        ]  # fmt: skip
        return reply.mapping(items, resp3)

    def links(self, resp3: bool) -> bytes:
        """CLUSTER LINKS"""
        shift = self.station.now.unix_ms - self.station.now.mono_ms
        answers = []
        for link in self.bus.links.by_conn.values():
            if link.node is None or not link.up:
                continue
            items = [
                reply.bulk(b"direction"), reply.bulk(b"from" if link.inbound else b"to"),
                reply.bulk(b"node"), reply.bulk(link.node.id.encode()),
                reply.bulk(b"create-time"), reply.integer(link.created_ms + shift),
                reply.bulk(b"events"), reply.bulk(b"rw" if link.pending else b"r"),
                reply.bulk(b"send-buffer-allocated"), reply.integer(link.pending),
                reply.bulk(b"send-buffer-used"), reply.integer(link.pending),
            ]  # fmt: skip
            answers.append(reply.mapping(items, resp3))
        return reply.array(answers)


