"""The bus: one node among the others of its cluster.

Told what comes on the bus's connections and when time passes, it keeps the topology: who is there, who fails, who owns
which slot. Each turn ends with `settle`: what was decided is written to nodes.conf, durably, in front of whatever was
said because of it.

    event                           then
    ------------------------------  ----------------------------------------------------------------------------
    a tick (ten a second)           connections that are missing; pings; who has been silent for too long; our own
                                    part in elections; the state of the cluster
    PING, MEET                      PONG; MEET makes its sender a member
    PING, PONG, MEET of a member    epochs, roles, claims of slots, gossip
    FAIL                            a majority has decided
    AUTH_REQUEST, AUTH_ACK          elections.py
    UPDATE                          somebody owns slots with a newer epoch than we knew
    MFSTART                         elections.py
    PUBLISH, PUBLISHSHARD           to our own subscribers

Nothing but its PING is answered to somebody who is no member, and nothing of what he says is believed.
"""

from __future__ import annotations

from collections.abc import Callable

from replicator.core.cluster import nodes_conf
from replicator.core.cluster.claims import Claims
from replicator.core.cluster.elections import Elections
from replicator.core.cluster.failures import Failures
from replicator.core.cluster.gossip import Gossip, my_ports
from replicator.core.cluster.links import Link, Links
from replicator.core.cluster.migration import Migration
from replicator.core.cluster.station import Station
from replicator.core.cluster.topology import ClusterNode
from replicator.core.effects import AppendFile, CommitFile, Effect, Level
from replicator.core.limits import MAX_MEMBER_MESSAGE
from replicator.core.wire.bus import (
    AUTH_ACK,
    AUTH_REQUEST,
    EXTENSIONS,
    FAIL,
    FAILED,
    HANDSHAKE,
    MEET,
    MEETING,
    MFSTART,
    MIGRATE_TO,
    MYSELF,
    NO_ADDRESS,
    NO_FAILOVER,
    PING,
    PONG,
    PUBLISH,
    PUBLISHSHARD,
    REPLICA,
    UPDATE,
    WITH_GOSSIP,
    Message,
)

TICK_MS = 100
_CHOSEN_OF = 5  # every second the one of so many random nodes that was silent longest is pinged
_LEAST_HANDSHAKE_MS = 1000


class Bus:
    """The machine. file: the name of nodes.conf."""

    def __init__(self, station: Station, file: str, temporary: str) -> None:
        self.station = station
        self.file = file
        self.temporary = temporary
        self.links = Links(station)
        self.failures = Failures(station, self.links)
        self.gossip = Gossip(station, self.links, self.failures)
        self.elections = Elections(station, self.links, self.gossip, self.failures)
        self.claims = Claims(station)
        self.migration = Migration(station, self.claims)
        self.running = False
        self.next_tick_ms = 0
        self._second_ms = 0
        self._saved_ms = 0
        self._kinds: dict[int, Callable[[Message, ClusterNode], None]] = {
            FAIL: self._fail,
            PUBLISH: self._published,
            PUBLISHSHARD: self._published,
            AUTH_REQUEST: self.elections.asked_for_vote,
            AUTH_ACK: self.elections.got_vote,
            UPDATE: self._update,
            MFSTART: lambda message, sender: self.elections.asked_to_hand_over(sender),
        }

    # -- the surface -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """nodes.conf has been read, the data is loaded: begin to speak."""
        station = self.station
        self.running = True
        self.next_tick_ms = self._second_ms = self.failures.started_ms = station.now.mono_ms
        me = station.topology.me
        me.port, me.bus_port = my_ports(station)
        if station.text("cluster-announce-ip"):
            me.host = station.text("cluster-announce-ip")
        self._claim_what_we_hold()
        station.save()
        self._keep_replication_right()

    def _claim_what_we_hold(self) -> None:
        """Keys of slots that nobody owns are ours; those of another node's slots are on their way to or from it."""
        station = self.station
        topology = station.topology
        if topology.me.is_replica or not station.host.has_data():
            return
        for slot, owner in enumerate(topology.owners):
            if owner is topology.me or slot in topology.importing or not station.host.count_keys(slot):
                continue
            if owner is None:
                station.log(
                    Level.WARNING, f"I have keys for unassigned slot {slot}. Taking responsibility for it."
                )
                topology.assign(1 << slot, topology.me)
            else:
                station.log(
                    Level.WARNING,
                    f"I have keys for slot {slot}, but the slot is assigned to another node. "
                    "Setting it to importing state.",
                )
                topology.importing[slot] = owner

    def deadline_ms(self) -> int | None:
        """When `advance` next has work (mono ms)."""
        return self.next_tick_ms if self.running else None

    def advance(self) -> None:
        """Do what is due."""
        if self.running and self.station.now.mono_ms >= self.next_tick_ms:
            self.next_tick_ms = self.station.now.mono_ms + TICK_MS
            self._tick()

    def settle(self) -> list[Effect]:
        """End a turn: all its effects, what must be durable first."""
        station = self.station
        if station.changed and self.running:
            station.changed = False
            self.failures.update_state()
        saved = self.saved()
        effects = station.effects
        station.effects = []
        return saved + effects

    def saved(self) -> list[Effect]:
        """What writes nodes.conf, if it has to be written."""
        station = self.station
        if not station.unsaved or not self.running:
            return []
        durable = station.promised
        station.unsaved = station.promised = station.late = False
        station.dated = station.dated and not durable
        text = nodes_conf.write(station.topology, station.now).encode()
        return [AppendFile(self.temporary, text, True), CommitFile(self.temporary, self.file, durable)]

    def could_not_save(self, why: str) -> None:
        """nodes.conf was not written: nothing that depends on it may leave this process."""
        self.station.log(Level.WARNING, f"Fatal: can't update cluster config file: {why}")
        self.station.host.fail(why)

    # -- connections -------------------------------------------------------------------------------------------------

    def connected(self, conn: int) -> None:
        """Our connection to a node stands: greet it."""
        link = self.links.connected(conn)
        if link is None:
            return
        node = link.node
        assert node is not None
        # A ping that was not answered before stays unanswered: who comes and goes is no healthier for it.
        waiting_since = node.ping_sent_ms
        self.gossip.ping(link, MEET if node.flags & MEETING else PING)
        if waiting_since:
            node.ping_sent_ms = waiting_since
        node.flags &= ~MEETING

    def connect_failed(self, conn: int) -> None:
        """It could not be made. A node that was never pinged is waited for from now on."""
        link = self.links.closed(conn)
        if link is not None and link.node is not None and not link.node.ping_sent_ms:
            link.node.ping_sent_ms = self.station.now.mono_ms

    def received(self, conn: int, data: bytes) -> None:
        """Bytes came on a connection of the bus."""
        if not self.running:
            return
        link = self.links.by_conn[conn]
        if link.node is not None:
            link.node.data_received_ms = self.station.now.mono_ms
        for came_on, message in self.links.received(conn, data):
            self._take(came_on, message)

    # -- a tick ------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        station = self.station
        topology = station.topology
        now_ms = station.now.mono_ms
        for name in [name for name, until in topology.banned.items() if until <= now_ms]:
            del topology.banned[name]
        second = now_ms - self._second_ms >= 1000
        if second:
            self._second_ms = now_ms
            self._ping_one()
            self.migration.count()
        for node in list(topology.nodes.values()):
            if node is not topology.me and node.id in topology.nodes:
                self._look_at(node, now_ms)
        self._keep_replication_right()
        self.elections.check_manual()
        self.elections.tell_offset()
        self.elections.go_on()
        self.migration.go_on()
        if second and station.dated:
            station.save()
        station.catch_up()
        self.failures.update_state()

    def _look_at(self, node: ClusterNode, now_ms: int) -> None:
        """Our connection to one node, its pings, its silence."""
        station = self.station
        timeout = station.node_timeout_ms
        if node.in_handshake and now_ms - node.created_ms > max(timeout, _LEAST_HANDSHAKE_MS):
            self.links.forget(node)
            station.topology.remove(node)
            return
        if node.flags & NO_ADDRESS:
            return
        link = self.links.by_conn.get(node.link) if node.link else None
        if link is None:
            if node.host:
                self.links.connect(node)
        elif (
            link.up
            and node.ping_sent_ms
            and now_ms - link.created_ms > timeout
            and now_ms - node.ping_sent_ms > timeout // 2
            and now_ms - node.data_received_ms > timeout // 2
        ):
            self.links.drop(node, "no answer")
            link = None
        if node.in_handshake:
            return
        if link is not None and link.up and not node.ping_sent_ms and now_ms - node.pong_received_ms > timeout // 2:
            self.gossip.ping(link, PING)
            return
        if node.ping_sent_ms:
            silent = min(now_ms - node.ping_sent_ms, now_ms - node.data_received_ms)
            if silent > timeout:
                self.failures.suspect(node)

    def _ping_one(self) -> None:
        """Of some random nodes, ping the one that has been silent longest."""
        nodes = [
            node
            for node in self.station.topology.nodes.values()
            if node.linked and not node.ping_sent_ms and not node.flags & (MYSELF | HANDSHAKE)
        ]
        if nodes:
            chosen = self.station.chance.sample(nodes, min(_CHOSEN_OF, len(nodes)))
            oldest = min(chosen, key=lambda node: node.pong_received_ms)
            self.gossip.ping(self.links.by_conn[oldest.link], PING)

    def _keep_replication_right(self) -> None:
        """Replicate from our primary, wherever it is by now."""
        me = self.station.topology.me
        primary = me.primary
        if primary is not None and primary.is_replica and primary.primary not in (None, me):
            # It has become a replica itself before we heard who took its slots: we belong to the same shard.
            assert primary.primary is not None
            self.station.log(
                Level.NOTICE,
                f"I'm a sub-replica! Reconfiguring myself from {primary.id} to {primary.primary.id}",
            )
            self.claims.follow(primary.primary)
            return
        if me.is_replica and primary is not None and primary.host and not primary.flags & NO_ADDRESS:
            where = (primary.host, primary.port)
            if self.station.host.followed() != where:
                self.station.host.follow(*where)

    # -- messages ----------------------------------------------------------------------------------------------------

    def _take(self, link: Link, message: Message) -> None:
        topology = self.station.topology
        sender = topology.known(message.sender)
        if sender is topology.me:
            sender = None
        if sender is not None:
            self.links.recognize(link, sender)
            sender.data_received_ms = self.station.now.mono_ms
            if message.message_flags & EXTENSIONS:
                sender.speaks_extensions = True
            self._take_epochs(message, sender)
            self.elections.heard_of_primary(message, sender)
        if message.type in WITH_GOSSIP:
            self._take_ping(link, message, sender)
        elif sender is not None:
            take = self._kinds.get(message.type)
            if take is not None:
                take(message, sender)

    def _take_epochs(self, message: Message, sender: ClusterNode) -> None:
        station = self.station
        topology = station.topology
        if message.current_epoch > topology.current_epoch:
            topology.current_epoch = message.current_epoch
            station.save_late()
        if message.config_epoch > sender.config_epoch:
            sender.config_epoch = message.config_epoch
            topology.current_epoch = max(topology.current_epoch, message.config_epoch)
            station.save_late()
        sender.offset = message.offset

    def _take_ping(self, link: Link, message: Message, sender: ClusterNode | None) -> None:
        station = self.station
        me = station.topology.me
        kind = message.type
        if kind != PONG:
            if (kind == MEET or not me.host) and not station.text("cluster-announce-ip") and link.inbound:
                self._learn_own_address(link.local_host)
            if kind == MEET and sender is None and message.sender != me.id:
                self._welcome(link, message)
            self.gossip.ping(link, PONG)
        if not link.inbound and link.node is not None and not self._take_answer(link, message, sender):
            return
        sender = station.topology.known(message.sender)
        if sender is None or sender is me:
            return
        if kind == PING and link.inbound:
            self._take_address(link, message, sender)
        self._take_role(message, sender)
        self._take_claims(link, message, sender)
        self.gossip.take(message, sender)
        if message.host_name is not None and message.host_name != sender.host_name:
            sender.host_name = message.host_name
            station.save_late()
        if message.shard_id:
            sender.shard_id = message.shard_id

    def _learn_own_address(self, host: str) -> None:
        me = self.station.topology.me
        if host and host != me.host:
            me.host = host
            self.station.log(Level.WARNING, f"IP address for this node updated to {host}")
            self.station.save_late()

    def _welcome(self, link: Link, message: Message) -> None:
        """MEET of somebody unknown: he is to become a member, under the name that he tells when we greet him."""
        host = message.host or link.peer_host
        self.gossip.start_handshake(host, message.port, message.bus_port, meet=False)

    def _take_answer(self, link: Link, message: Message, sender: ClusterNode | None) -> bool:
        """Something came on the connection that we opened to a node; whether to go on with it."""
        station = self.station
        topology = station.topology
        node = link.node
        assert node is not None
        if node.in_handshake:
            if sender is not None or message.sender == topology.me.id:
                # We know it already, perhaps at another address.
                if sender is not None:
                    self._take_address(link, message, sender)
                self.links.forget(node)
                topology.remove(node)
                return False
            if message.sender in topology.banned:
                self.links.forget(node)
                topology.remove(node)
                return False
            topology.rename(node, message.sender)
            link.decoder.longest = MAX_MEMBER_MESSAGE
            node.flags &= ~(HANDSHAKE | MEETING)
            node.flags |= message.flags & (MIGRATE_TO | NO_FAILOVER) | (REPLICA if message.primary else 1)
            station.log(Level.VERBOSE, f"Handshake with node {node.id} completed.")
            station.announce("cluster.joined", ("node", node.id))
            node.speaks_extensions = bool(message.message_flags & EXTENSIONS)
            self._take_epochs(message, node)
            station.save()
        elif node.id != message.sender:
            # Somebody else lives at that address by now.
            station.log(
                Level.NOTICE,
                f"PONG contains mismatching sender ID. About node {node.id} added "
                f"{station.now.mono_ms - node.created_ms} ms ago, having flags {node.flags}",
            )
            node.flags |= NO_ADDRESS
            node.host, node.port, node.bus_port = "", 0, 0
            self.links.drop(node, "another node answered")
            station.save_late()
            return False
        if message.type == PONG:
            node.pong_received_ms = station.now.mono_ms
            node.ping_sent_ms = 0
            self.failures.answered(node)
        return True

    def _take_address(self, link: Link, message: Message, sender: ClusterNode) -> None:
        """A member speaks from an address that is perhaps new."""
        host = message.host or link.peer_host
        if not link.inbound and link.node is not sender and not message.host:
            assert link.node is not None
            host = link.node.host
        here = (host, message.port, message.bus_port)
        if here == (sender.host, sender.port, sender.bus_port) or not host:
            return
        sender.host, sender.port, sender.bus_port = here
        sender.flags &= ~NO_ADDRESS
        self.links.drop(sender, "the node's address changed")
        self.station.log(Level.WARNING, f"Address updated for node {sender.id}, now {host}:{message.port}")
        self.station.save()

    def _take_role(self, message: Message, sender: ClusterNode) -> None:
        station = self.station
        topology = station.topology
        keep = NO_FAILOVER
        sender.flags = sender.flags & ~keep | message.flags & keep
        if not message.primary:
            if sender.is_replica:
                topology.make_primary(sender)
                station.save()
            return
        primary = topology.known(message.primary)
        if sender.is_primary:
            station.announce("cluster.demoted", ("node", sender.id))
            topology.make_replica(sender, None)
            station.host.slots_changed()
            station.save()
        if primary is not None and primary is not sender and sender.primary is not primary:
            topology.set_primary(sender, primary)
            station.save()

    def _take_claims(self, link: Link, message: Message, sender: ClusterNode) -> None:
        owner = sender if sender.is_primary else sender.primary
        if owner is None:
            return
        if message.slots != owner.slots:
            if sender.is_primary:
                self.claims.take(sender, message.config_epoch, message.slots)
            newer = self.claims.stale_owner(message, owner)
            if newer is not None:
                self.gossip.tell_update(link, newer)
        self.claims.collide(sender)

    def _fail(self, message: Message, sender: ClusterNode) -> None:
        topology = self.station.topology
        node = topology.known(message.node)
        if node is not None and not node.flags & (FAILED | MYSELF):
            self.station.log(Level.NOTICE, f"FAIL message received from {sender.id} about {node.id}")
            self.failures.condemn(node)

    def _update(self, message: Message, sender: ClusterNode) -> None:
        topology = self.station.topology
        node = topology.known(message.node)
        if node is None or node.config_epoch >= message.node_epoch or node is topology.me:
            return
        if node.is_replica:
            topology.make_primary(node)
        node.config_epoch = message.node_epoch
        topology.current_epoch = max(topology.current_epoch, node.config_epoch)
        self.station.save_late()
        self.claims.take(node, message.node_epoch, message.node_slots)

    def _published(self, message: Message, sender: ClusterNode) -> None:
        self.station.host.publish(message.channel, message.payload, message.type == PUBLISHSHARD)

    # -- what a client publishes -------------------------------------------------------------------------------------

    def spread(self, channel: bytes, payload: bytes, shard: bool) -> None:
        """A client's message, to the other nodes: those of our shard, or all."""
        message = self.gossip.compose(PUBLISHSHARD if shard else PUBLISH)
        message.channel, message.payload = channel, payload
        if not shard:
            self.links.broadcast(message)
            return
        mine = self.station.topology.my_primary
        for node in (mine, *mine.replicas):
            if node is not self.station.topology.me:
                self.links.send_to(node, message)
