"""Connections of the bus: one that we opened to each node, and those that the others opened to us.

We send PING and MEET on our own connection and the other answers PONG on it; what it sends by itself comes on the
connection that it opened. So each direction is tried by who depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from replicator.core.cluster.station import Station
from replicator.core.cluster.topology import ClusterNode
from replicator.core.effects import Close, Connect, Level, Send
from replicator.core.limits import MAX_BUS_STRANGERS, MAX_MEMBER_MESSAGE
from replicator.core.wire.bus import Decoder, Message, encode


@dataclass(slots=True, eq=False)
class Link:
    """One connection. node: whose it is; of one that came to us, as soon as a member has spoken on it."""

    conn: int
    inbound: bool
    created_ms: int
    node: ClusterNode | None = None
    up: bool = False
    pending: int = 0  # bytes that wait in the driver
    sent: int = 0
    peer_host: str = ""
    local_host: str = ""
    decoder: Decoder = field(default_factory=Decoder)


class Links:
    """All connections of one node's bus."""

    def __init__(self, station: Station) -> None:
        self.station = station
        self.by_conn: dict[int, Link] = {}
        self.limit_exceeded = 0  # connections closed because their peer took too little

    # -- ours --------------------------------------------------------------------------------------------------------

    def connect(self, node: ClusterNode) -> None:
        """Open our connection to a node."""
        assert not node.link
        station = self.station
        conn = node.link = station.host.allocate_connection()
        self.by_conn[conn] = Link(conn, False, station.now.mono_ms, node)
        source = station.text("bind-source-addr")
        timeout_ms, tls = max(1000, station.node_timeout_ms), station.is_on("tls-cluster")
        station.emit(Connect(conn, node.host, node.bus_port, source, timeout_ms, tls))

    def connected(self, conn: int) -> Link | None:
        """It stands."""
        link = self.by_conn.get(conn)
        if link is None or link.node is None:
            return None
        link.up = link.node.linked = True
        link.created_ms = self.station.now.mono_ms
        return link

    def drop(self, node: ClusterNode, why: str) -> None:
        """Close our connection to a node; it will be made anew."""
        if node.link:
            link = self.by_conn.pop(node.link)
            self.station.emit(Close(link.conn, why))
            node.link = 0
            node.linked = False

    def forget(self, node: ClusterNode) -> None:
        """The node is no member any more: both connections are closed."""
        self.drop(node, "the node was removed")
        if node.inbound:
            self.close(node.inbound, "the node was removed")

    # -- theirs ------------------------------------------------------------------------------------------------------

    def accept(self, conn: int, peer_host: str, local_host: str) -> None:
        """Somebody connected to our bus. Too many of whom nobody knows: the oldest of these goes."""
        strangers = [link for link in self.by_conn.values() if link.inbound and link.node is None]
        if len(strangers) >= MAX_BUS_STRANGERS:
            self.close(strangers[0].conn, "too many connections to the bus")
        now_ms = self.station.now.mono_ms
        self.by_conn[conn] = Link(conn, True, now_ms, None, True, 0, 0, peer_host, local_host)

    def recognize(self, link: Link, node: ClusterNode) -> None:
        """A member spoke on a connection that came to us. One that it had before is not its any more."""
        link.decoder.longest = MAX_MEMBER_MESSAGE
        if not link.inbound or link.node is node:
            return
        if link.node is not None and link.node.inbound == link.conn:
            link.node.inbound = 0
        if node.inbound and node.inbound in self.by_conn:
            self.close(node.inbound, "the node has opened another connection")
        link.node = node
        node.inbound = link.conn

    # -- both --------------------------------------------------------------------------------------------------------

    def received(self, conn: int, data: bytes) -> Iterator[tuple[Link, Message]]:
        """Bytes came: the messages that are whole by now. Taking one may close the connection."""
        link = self.by_conn[conn]
        for message in link.decoder.feed(data):
            self.station.received[message.type] += 1
            yield link, message
            if self.by_conn.get(conn) is not link:
                return
        if link.decoder.error:
            whom = link.node.id if link.node is not None else link.peer_host
            self.station.log(
                Level.NOTICE,
                "Bad message length or signature received from Cluster bus. "
                f"({link.decoder.error}, from {whom})",
            )
            self.close(conn, "not the protocol of the bus")

    def close(self, conn: int, why: str) -> None:
        """Close one connection."""
        link = self.by_conn.pop(conn, None)
        if link is not None:
            self.station.emit(Close(conn, why))
            self._detach(link)

    def closed(self, conn: int) -> Link | None:
        """A connection is gone, or could not be made."""
        link = self.by_conn.pop(conn, None)
        if link is not None:
            self._detach(link)
        return link

    @staticmethod
    def _detach(link: Link) -> None:
        node = link.node
        if node is None:
            return
        if node.link == link.conn:
            node.link = 0
            node.linked = False
        if node.inbound == link.conn:
            node.inbound = 0

    def output_pending(self, conn: int, pending: int) -> None:
        """How much of what was sent still waits in the driver."""
        link = self.by_conn.get(conn)
        if link is None:
            return
        link.pending = pending
        limit = self.station.number("cluster-link-sendbuf-limit")
        if limit and pending > limit:
            self.limit_exceeded += 1
            whom = link.node.id if link.node is not None else link.peer_host
            self.station.log(
                Level.WARNING,
                f"Freeing outbound cluster link to node {whom}, exceeded sendbuf limit {limit}: {pending}",
            )
            self.close(conn, "cluster-link-sendbuf-limit")

    # -- speaking ----------------------------------------------------------------------------------------------------

    def send(self, link: Link, message: Message) -> None:
        """One message on one connection."""
        self._put(link, message.type, encode(message))

    def send_to(self, node: ClusterNode, message: Message) -> bool:
        """One message to a node, on our connection to it; whether that stands."""
        link = self.by_conn.get(node.link) if node.linked else None
        if link is None:
            return False
        self.send(link, message)
        return True

    def broadcast(self, message: Message) -> None:
        """One message to all members that we are connected with."""
        data = encode(message)
        for link in list(self.by_conn.values()):
            if not link.inbound and link.up and link.node is not None and not link.node.in_handshake:
                self._put(link, message.type, data)

    def _put(self, link: Link, kind: int, data: bytes) -> None:
        station = self.station
        station.sent[kind] += 1
        link.sent += len(data)
        station.emit(Send(link.conn, data))
