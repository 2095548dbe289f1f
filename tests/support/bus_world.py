"""A cluster of buses without nodes around them, in virtual time: network, disks and faults from one seed.

    world = BusWorld(seed, primaries=3, replicas=1)
    world.run(10_000)
    world.kill(0)
    world.run(10_000)
    world.check_converged()

Each member is a Bus with a host that stands for its data: a primary's offset grows while it serves, a replica's follows
its primary's over a link that partitions cut. Safety is looked at with every message that leaves a member.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random
from typing import Any

from replicator.core import effects as do
from replicator.core.cluster import nodes_conf
from replicator.core.cluster.bus import Bus
from replicator.core.cluster.orders import Orders
from replicator.core.cluster.slots import ALL_SLOTS, span
from replicator.core.cluster.station import Station
from replicator.core.cluster.topology import Topology
from replicator.core.now import Now
from replicator.core.wire.bus import PRIMARY, SLOTS, decode

SETTINGS: dict[str, Any] = {
    "cluster-node-timeout": 2000, "cluster-replica-validity-factor": 10, "cluster-require-full-coverage": True,
    "cluster-allow-replica-migration": True, "cluster-migration-barrier": 1, "cluster-replica-no-failover": False,
    "cluster-announce-ip": "", "cluster-announce-hostname": "", "cluster-announce-port": 0,
    "cluster-announce-bus-port": 0, "cluster-port": 0, "cluster-link-sendbuf-limit": 0, "bind-source-addr": "",
    "repl-ping-replica-period": 10, "port": 7000, "tls-cluster": False, "tls-port": 0, "tls-replication": False,
}  # fmt: skip
LATENCY_MS = (1, 5)


class Violation(AssertionError):
    """Something happened that must never happen."""


class FakeHost:
    """What stands for a node's data (cluster.station.Host)."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.data_offset = 0
        self.keys: set[int] = set()  # slots with a key
        self.leader: tuple[str, int] | None = None
        self.heard_ms: int | None = None
        self.paused_until_ms = 0

    def allocate_connection(self) -> int:
        self.member.last_conn -= 1
        return self.member.last_conn

    def follow(self, host: str, port: int) -> None:
        self.leader = (host, port)
        self.heard_ms = None

    def lead(self) -> None:
        self.leader = None

    def followed(self) -> tuple[str, int] | None:
        return self.leader

    def offset(self) -> int:
        return self.data_offset

    def data_age_ms(self) -> int | None:
        return None if self.heard_ms is None else self.member.world.now_ms - self.heard_ms

    def count_keys(self, slot: int) -> int:
        return int(slot in self.keys)

    def list_keys(self, slot: int, count: int) -> list[bytes]:
        return [b"%d" % slot][: count if slot in self.keys else 0]

    def delete_keys(self, slots: int) -> None:
        self.keys = {slot for slot in self.keys if not slots >> slot & 1}

    def flush_all(self) -> None:
        self.keys.clear()

    def has_data(self) -> bool:
        return bool(self.keys)

    def pause_writes(self, until_ms: int) -> None:
        self.paused_until_ms = until_ms

    def resume_writes(self) -> None:
        self.paused_until_ms = 0

    def publish(self, channel: bytes, message: bytes, shard: bool) -> None:
        self.member.heard.append((channel, message, shard))

    def slots_changed(self) -> None:
        pass

    def fail(self, why: str) -> None:
        self.member.world.kill(self.member.number)


class Member:
    """One process: its machine while it runs, and its disk."""

    def __init__(self, world: BusWorld, number: int) -> None:
        self.world = world
        self.number = number
        self.address = f"10.0.{number // 250}.{number % 250 + 1}"
        self.cached = ""  # nodes.conf as a restarted process finds it
        self.durable = ""  # and as it is after a power loss
        self._appended = ""
        self.failing_disk = False
        self.up = False
        self.frozen_until_ms = 0
        self.incarnation = 0
        self.last_conn = 0
        self.next_conn = 0
        self.ends: dict[int, tuple[Member, int, int]] = {}  # conn -> (peer, its conn, its incarnation)
        self.heard: list[tuple[bytes, bytes, bool]] = []
        self.bytes_sent = 0
        self.host: FakeHost
        self.bus: Bus
        self.orders: Orders

    def start(self) -> None:
        """Begin to run, from what the disk holds."""
        assert not self.up
        world = self.world
        self.incarnation += 1
        self.up = True
        chance = Random(f"{world.seed}/{self.number}/{self.incarnation}")
        old_offset = getattr(self, "host", None)
        self.host = FakeHost(self)
        if old_offset is not None:
            self.host.data_offset, self.host.keys = old_offset.data_offset, old_offset.keys
        now = Now(world.now_ms, world.now_ms + 1_700_000_000_000)
        topology = nodes_conf.read(self.cached, now) if self.cached else Topology(f"{chance.getrandbits(160):040x}")
        station = Station(topology, {**SETTINGS, **world.settings}, chance, self.host)
        self.bus = Bus(station, "nodes.conf", "nodes.tmp")
        self.orders = Orders(station, self.bus)
        self.ends = {}
        station.now = now
        self.bus.start()
        self.finish()

    @property
    def topology(self) -> Topology:
        """The cluster as it knows it."""
        return self.bus.station.topology

    def act(self, what: Callable[[], object]) -> None:
        """Let the machine take an event, and carry out what it answers."""
        if self.up:
            self.bus.station.now = Now(self.world.now_ms, self.world.now_ms + 1_700_000_000_000)
            what()
            self.finish()

    def finish(self) -> None:
        """Carry out the effects of a turn."""
        for effect in self.bus.settle():
            if not self.up:
                return
            self._carry_out(effect)
        self.world.monitor(self)

    def _carry_out(self, effect: do.Effect) -> None:
        world = self.world
        if isinstance(effect, do.Send):
            self.bytes_sent += len(effect.data)
            world.monitor_message(self, effect.data)
            world.send(self, effect.conn, effect.data)
        elif isinstance(effect, do.Connect):
            world.connect(self, effect)
        elif isinstance(effect, do.Close):
            world.hang_up(self, effect.conn)
        elif isinstance(effect, do.AppendFile):
            self._appended = effect.data.decode()
        elif isinstance(effect, do.CommitFile):
            if self.failing_disk and effect.durable:
                world.counts["disk failures"] += 1
                world.kill(self.number)  # what could not be written must not be spoken
                return
            self.cached = self._appended
            if effect.durable:
                self.durable = self._appended
        elif isinstance(effect, do.Announce):
            world.announced(self, effect)


class BusWorld:
    """All of it. settings: directives that differ from SETTINGS."""

    def __init__(self, seed: int, primaries: int, replicas: int = 0, *, met: bool = False, **settings: Any) -> None:
        """met: the members know each other from the beginning, as after a common restart."""
        self.seed = seed
        self.settings = {name.replace("_", "-"): value for name, value in settings.items()}
        self.chance = Random(f"{seed}/world")
        self.now_ms = 1_000_000
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._ticket = 0
        self.cut: set[frozenset[int]] = set()  # pairs that cannot reach each other
        self.counts: dict[str, int] = dict.fromkeys(("votes", "promotions", "fails", "disk failures", "collisions"), 0)
        self.votes: dict[tuple[str, int], str] = {}
        self.promoted: dict[int, str] = {}
        self.spoken: dict[str, int] = {}  # the greatest configuration epoch that each node has claimed slots with
        self.primaries = primaries
        self.suspected: dict[tuple[str, str], int] = {}  # (who, by whom) -> when
        self.log: list[tuple[int, int, str, tuple[tuple[str, str | int | None], ...]]] = []
        self.members = [Member(self, number) for number in range(primaries * (1 + replicas))]
        if met:
            self._remember(primaries)
        else:
            self._form(primaries)

    def _remember(self, primaries: int) -> None:
        """Start from files in which everybody knows everybody."""
        names = [f"{member.number:040x}" for member in self.members]
        for member in self.members:
            lines = []
            for number, name in enumerate(names):
                words = [name, f"{self.members[number].address}:7000@17000"]
                own = "myself," if number == member.number else ""
                if number < primaries:
                    slots = f"{number * SLOTS // primaries}-{(number + 1) * SLOTS // primaries - 1}"
                    words += [f"{own}master", "-", "0", "0", str(number + 1), "connected", slots]
                else:
                    words += [f"{own}slave", names[number % primaries], "0", "0", "0", "connected"]
                lines.append(" ".join(words))
            lines.append(f"vars currentEpoch {primaries} lastVoteEpoch 0")
            member.cached = member.durable = "\n".join(lines) + "\n"
        for member in self.members:
            member.start()
        for member in self.members:
            self._plan_tick(member)
        self.run_until(self.is_converged, 60_000)

    def _form(self, primaries: int) -> None:
        """What redis-cli --cluster create does."""
        for member in self.members:
            member.start()
        for number, member in enumerate(self.members):
            member.act(lambda member=member, number=number: self._deal(member, number, primaries))
        first = self.members[0]
        for member in self.members[1:]:
            first.act(lambda member=member: first.bus.gossip.start_handshake(member.address, 7000, 17000, meet=True))
        for member in self.members:
            self._plan_tick(member)
        self.run_until(lambda: all(len(self._settled(m)) == len(self.members) for m in self.members), 120_000)
        for number, member in enumerate(self.members[primaries:]):
            leader = member.topology.nodes[self.members[number % primaries].topology.me.id]
            member.act(lambda member=member, leader=leader: member.bus.claims.follow(leader))
        self.run_until(self.is_converged, 60_000)

    def _deal(self, member: Member, number: int, primaries: int) -> None:
        topology = member.topology
        if number < primaries:
            topology.assign(span(number * SLOTS // primaries, (number + 1) * SLOTS // primaries - 1), topology.me)
        topology.me.config_epoch = topology.current_epoch = number + 1
        member.bus.station.save()

    @staticmethod
    def _settled(member: Member) -> list[str]:
        return [node.id for node in member.topology.nodes.values() if not node.in_handshake]

    # -- time --------------------------------------------------------------------------------------------------------

    def after(self, delay_ms: int, call: Callable[[], None]) -> None:
        """Call so much later."""
        self._ticket += 1
        heapq.heappush(self._heap, (self.now_ms + delay_ms, self._ticket, call))

    def run(self, duration_ms: int) -> None:
        """Let time pass."""
        end = self.now_ms + duration_ms
        heap = self._heap
        while heap and heap[0][0] <= end:
            self.now_ms, _, call = heapq.heappop(heap)
            call()
        self.now_ms = end

    def run_until(self, condition: Callable[[], bool], bound_ms: int) -> int:
        """Let time pass until the condition holds; how long that took."""
        begun = self.now_ms
        while not condition():
            if self.now_ms - begun > bound_ms:
                raise Violation(f"after {bound_ms} ms still not: {self.views()}")
            self.run(100)
        return self.now_ms - begun

    def _plan_tick(self, member: Member) -> None:
        incarnation = member.incarnation

        def tick() -> None:
            if member.incarnation != incarnation or not member.up:
                return
            if self.now_ms >= member.frozen_until_ms:
                self._replicate(member)
                member.act(member.bus.advance)
            self.after(100, tick)

        self.after(self.chance.randrange(1, 100), tick)

    def _replicate(self, member: Member) -> None:
        """The data: a primary that serves takes writes, a replica copies what its primary has."""
        host = member.host
        if host.leader is None:
            if member.topology.ok and host.paused_until_ms <= self.now_ms:
                host.data_offset += self.chance.randrange(3)
                self._write(member)
            return
        leader = next(other for other in self.members if other.address == host.leader[0])
        reachable = leader.up and leader.host.leader is None and self.now_ms >= leader.frozen_until_ms
        if reachable and frozenset((leader.number, member.number)) not in self.cut:
            host.data_offset = leader.host.data_offset
            host.keys = set(leader.host.keys)
            host.heard_ms = self.now_ms

    def _write(self, member: Member) -> None:
        """A key in one of its slots."""
        slots = member.topology.me.slots
        slot = self.chance.randrange(SLOTS)
        if slots >> slot & 1 and len(member.host.keys) < 500:
            member.host.keys.add(slot)

    # -- the network -------------------------------------------------------------------------------------------------

    def _delay(self) -> int:
        return self.chance.randrange(*LATENCY_MS)

    def _reachable(self, one: Member, other: Member) -> bool:
        return frozenset((one.number, other.number)) not in self.cut

    def connect(self, member: Member, effect: do.Connect) -> None:
        """Somebody opens a connection."""
        incarnation = member.incarnation
        peer = next((other for other in self.members if other.address == effect.host), None)

        def arrive() -> None:
            if member.incarnation != incarnation or not member.up:
                return
            if peer is None or not peer.up or not self._reachable(member, peer):
                member.act(lambda: member.bus.connect_failed(effect.conn))
                return
            peer.next_conn += 1
            theirs = peer.next_conn
            member.ends[effect.conn] = (peer, theirs, peer.incarnation)
            peer.ends[theirs] = (member, effect.conn, member.incarnation)
            peer.act(lambda: peer.bus.links.accept(theirs, member.address, peer.address))
            member.act(lambda: member.bus.connected(effect.conn))

        unreachable = peer is not None and not self._reachable(member, peer)
        self.after(effect.timeout_ms if unreachable else self._delay(), arrive)

    def send(self, member: Member, conn: int, data: bytes) -> None:
        """Bytes on their way; what a partition holds back arrives when it ends."""
        end = member.ends.get(conn)
        if end is None:
            return
        peer, theirs, incarnation = end

        def arrive() -> None:
            if not peer.up or peer.incarnation != incarnation or theirs not in peer.ends:
                return
            if not self._reachable(member, peer) or self.now_ms < peer.frozen_until_ms:
                self.after(200, arrive)
                return
            if theirs in peer.bus.links.by_conn:
                peer.act(lambda: peer.bus.received(theirs, data))

        self.after(5, arrive)  # one delay for all keeps the order of a connection

    def hang_up(self, member: Member, conn: int) -> None:
        """A connection ends, for both sides."""
        end = member.ends.pop(conn, None)
        if end is None:
            return
        peer, theirs, incarnation = end

        def arrive() -> None:
            if peer.up and peer.incarnation == incarnation and peer.ends.pop(theirs, None) is not None:
                peer.act(lambda: peer.bus.links.closed(theirs))

        self.after(5, arrive)

    # -- faults ------------------------------------------------------------------------------------------------------

    def kill(self, number: int, *, power: bool = False) -> None:
        """The process ends; power: and what was not durable is gone."""
        member = self.members[number]
        if not member.up:
            return
        for conn in list(member.ends):
            self.hang_up(member, conn)
        member.up = False
        if power:
            member.cached = member.durable

    def restart(self, number: int) -> None:
        """The process is started again."""
        member = self.members[number]
        if not member.up:
            member.failing_disk = False
            member.start()
            self._plan_tick(member)

    def freeze(self, number: int, duration_ms: int) -> None:
        """The process stands still."""
        self.members[number].frozen_until_ms = self.now_ms + duration_ms

    def split(self, side: set[int]) -> None:
        """Members of the side reach only each other, and the others too."""
        rest = set(range(len(self.members))) - side
        self.cut = {frozenset((one, other)) for one in side for other in rest}

    def heal(self) -> None:
        """All is well again: everybody runs and reaches everybody."""
        self.cut = set()
        for member in self.members:
            member.failing_disk = False
            self.restart(member.number)

    # -- safety ------------------------------------------------------------------------------------------------------

    def announced(self, member: Member, event: do.Announce) -> None:
        """A domain event: what it must not contradict."""
        fields = dict(event.fields)
        self.log.append((self.now_ms, member.number, event.name, event.fields))
        name = member.topology.me.id
        if event.name == "cluster.vote":
            self.counts["votes"] += 1
            key, candidate = (name, int(fields["epoch"] or 0)), str(fields["for"])
            if self.votes.setdefault(key, candidate) != candidate or (key, candidate) in self._given:
                raise Violation(f"member {member.number} has voted twice in epoch {key[1]}")
            self._given.add((key, candidate))
        elif event.name == "cluster.promoted":
            self.counts["promotions"] += 1
            epoch = int(fields["epoch"] or 0)
            given = sum(voted == name for (_, when), voted in self.votes.items() if when == epoch)
            if given <= self.primaries // 2:
                raise Violation(f"member {member.number} was promoted in epoch {epoch} by {given} votes")
            if self.promoted.setdefault(epoch, name) != name:
                raise Violation(f"two members were promoted in epoch {epoch}")
        elif event.name == "cluster.pfail":
            self.suspected[(str(fields["node"]), name)] = self.now_ms
        elif event.name == "cluster.fail":
            self.counts["fails"] += 1
            self._check_fail(member, str(fields["node"]))
        elif event.name == "cluster.epoch-collision":
            self.counts["collisions"] += 1

    def _check_fail(self, member: Member, node: str) -> None:
        """FAIL is a majority's verdict: so many must have suspected the node."""
        accusers = {accuser for (accused, accuser) in self.suspected if accused == node}
        if len(accusers) <= self.primaries // 2:
            raise Violation(f"member {member.number} calls {node[:8]} failed, {len(accusers)} have suspected it")

    _given: set[tuple[tuple[str, int], str]]

    def __new__(cls, *arguments: Any, **named: Any) -> BusWorld:
        world = super().__new__(cls)
        world._given = set()
        return world

    def monitor_message(self, member: Member, data: bytes) -> None:
        """What leaves a member must hold against all it has ever said."""
        message = decode(data)
        assert message is not None
        if message.flags & PRIMARY and message.slots:
            if message.config_epoch < self.spoken.get(message.sender, 0):
                raise Violation(f"the configuration epoch of member {member.number} has gone back")
            self.spoken[message.sender] = message.config_epoch

    def monitor(self, member: Member) -> None:
        """After every turn."""
        member.topology.check_invariants()
        if member.topology.last_vote_epoch > member.topology.current_epoch:
            raise Violation("a vote for an epoch that is not there yet")

    # -- convergence -------------------------------------------------------------------------------------------------

    def views(self) -> list[Any]:
        """Every member's view, for comparison and for people."""
        return [
            sorted(
                (node.id[:8], node.config_epoch if node.is_primary else 0, node.slots.bit_count(), node.is_primary,
                 node.primary.id[:8] if node.primary else "", node.failing)
                for node in member.topology.nodes.values()
            )
            for member in self.members
            if member.up
        ]  # fmt: skip

    def is_converged(self) -> bool:
        """All serve, and all say the same."""
        running = [member for member in self.members if member.up]
        if not all(member.topology.ok and member.topology.owned == ALL_SLOTS for member in running):
            return False
        if any(node.primary.is_replica for node in running[0].topology.nodes.values() if node.primary is not None):
            return False
        epochs = [node.config_epoch for node in running[0].topology.primaries_with_slots()]
        if len(set(epochs)) < len(epochs):
            return False
        owners = [[owner.id if owner else "" for owner in member.topology.owners] for member in running]
        views = self.views()
        return all(one == owners[0] for one in owners) and all(one == views[0] for one in views)

    def check_converged(self, bound_ms: int = 60_000) -> int:
        """After healing: everything comes right; how long it took. Then no key is where it does not belong."""
        took = self.run_until(self.is_converged, bound_ms)
        self.run(10_000)
        for member in self.members:
            strays = [slot for slot in member.host.keys if not member.topology.my_primary.slots >> slot & 1]
            if strays:
                raise Violation(f"member {member.number} keeps keys of slots {strays[:5]} that are not its")
        return took


def play(seed: int, *, primaries: int = 3, replicas: int = 1, duration_ms: int = 60_000) -> BusWorld:
    """One seed: faults for a while, then healing, then convergence. Raises Violation."""
    world = BusWorld(seed, primaries, replicas)
    chance = Random(f"{seed}/faults")
    end = world.now_ms + duration_ms
    count = len(world.members)
    while world.now_ms < end:
        world.run(chance.randrange(200, 6000))
        number = chance.randrange(count)
        member = world.members[number]
        what = chance.random()
        if what < 0.30:
            world.kill(number, power=chance.random() < 0.5)
        elif what < 0.55:
            for other in range(count):
                world.restart(other)
        elif what < 0.70:
            world.split({one for one in range(count) if chance.random() < 0.4})
        elif what < 0.80:
            world.cut = set()
        elif what < 0.86:
            world.freeze(number, chance.randrange(500, 8000))
        elif what < 0.90:
            member.failing_disk = True
        elif member.up:
            _order(world, member, chance)
    world.heal()
    world.run(1)
    for member in world.members:
        member.frozen_until_ms = 0
    world.check_converged()
    return world


def _order(world: BusWorld, member: Member, chance: Random) -> None:
    """An operator does something that he may do at any time."""
    me = member.topology.me
    if me.is_replica and me.primary is not None:
        how = chance.choice(("", "FORCE", "TAKEOVER")) if chance.random() < 0.5 else ""
        if how == "TAKEOVER":
            how = "FORCE"  # which of two takeovers counts is for the operator to know
        if me.primary.linked or how:
            member.act(lambda: member.bus.elections.begin_manual(how))
    elif chance.random() < 0.6:
        slot = chance.randrange(SLOTS)
        owner = member.topology.owners[slot]
        if owner is not None and owner is not me and me.slots:
            here, source = b"%d" % slot, owner.id.encode()
            member.act(lambda: member.orders.set_slot([b"CLUSTER", b"SETSLOT", here, b"IMPORTING", source]))
            member.act(lambda: member.orders.set_slot([b"CLUSTER", b"SETSLOT", here, b"NODE", me.id.encode()]))
    elif chance.random() < 0.5:
        member.act(lambda: member.orders.bump_epoch([b"CLUSTER", b"BUMPEPOCH"]))
