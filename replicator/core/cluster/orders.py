"""What an operator orders by CLUSTER: each subcommand's effect on the topology, and its refusals in stock's words.

Source: https://redis.io/docs/latest/commands/?group=cluster, and the answers of Redis 7.0.15.
"""

from __future__ import annotations

from replicator.core.cluster.bus import Bus
from replicator.core.cluster.slots import key_slot
from replicator.core.cluster.station import Station
from replicator.core.cluster.topology import ClusterNode, Topology
from replicator.core.effects import Level
from replicator.core.errors import NOT_AN_INTEGER, SYNTAX, CommandError
from replicator.core.wire import reply
from replicator.core.wire.bus import HANDSHAKE, MYSELF, NO_ADDRESS, SLOTS
from replicator.core.wire.numbers import parse_int

_BAN_MS = 60_000  # CLUSTER FORGET: gossip does not bring the node back before everybody has forgotten it
_BAD_SLOT = "ERR Invalid or out of range slot"
_BAD_SETSLOT = "ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP"
_NOT_EMPTY = "ERR To set a master the node must be empty and without assigned slots."


def _text(word: bytes) -> str:
    return word.decode("utf-8", "replace")


def _integer(word: bytes) -> int:
    number = parse_int(word)
    if number is None:
        raise CommandError(NOT_AN_INTEGER)
    return number


def _slot(word: bytes) -> int:
    number = parse_int(word)
    if number is None or not 0 <= number < SLOTS:
        raise CommandError(_BAD_SLOT)
    return number


class Orders:
    """Subcommands of CLUSTER that change something; argv as the client sent it."""

    def __init__(self, station: Station, bus: Bus) -> None:
        self.station = station
        self.bus = bus

    @property
    def topology(self) -> Topology:
        """The cluster as this node knows it."""
        return self.station.topology

    def node(self, word: bytes, unknown: str = "ERR Unknown node {}") -> ClusterNode:
        """The node of that id; raises CommandError."""
        node = self.topology.nodes.get(_text(word))
        if node is None:
            raise CommandError(unknown.format(_text(word)))
        return node

    # -- members -----------------------------------------------------------------------------------------------------

    def meet(self, argv: list[bytes]) -> bytes:
        """CLUSTER MEET ip port [bus-port]"""
        if len(argv) not in (4, 5):
            raise CommandError("ERR wrong number of arguments for 'cluster|meet' command")
        port = parse_int(argv[3])
        if port is None:
            raise CommandError(f"ERR Invalid TCP base port specified: {_text(argv[3])}")
        bus_port = port + 10000 if len(argv) == 4 else parse_int(argv[4])
        if bus_port is None:
            raise CommandError(f"ERR Invalid TCP bus port specified: {_text(argv[4])}")
        if not self.bus.gossip.start_handshake(_text(argv[2]), port, bus_port, meet=True):
            raise CommandError(f"ERR Invalid node address specified: {_text(argv[2])}:{_text(argv[3])}")
        return reply.OK

    def forget(self, argv: list[bytes]) -> bytes:
        """CLUSTER FORGET node-id"""
        node = self.node(argv[2])
        me = self.topology.me
        if node is me:
            raise CommandError("ERR I tried hard but I can't forget myself...")
        if me.primary is node:
            raise CommandError("ERR Can't forget my master!")
        self.topology.banned[node.id] = self.station.now.mono_ms + _BAN_MS
        self.bus.links.forget(node)
        self.topology.remove(node)
        self._changed()
        return reply.OK

    def replicate(self, argv: list[bytes]) -> bytes:
        """CLUSTER REPLICATE node-id"""
        node = self.node(argv[2])
        me = self.topology.me
        if node is me:
            raise CommandError("ERR Can't replicate myself")
        if node.is_replica:
            raise CommandError("ERR I can only replicate a master, not a replica.")
        if me.is_primary and (me.slots or self.station.host.has_data()):
            raise CommandError(_NOT_EMPTY)
        if me.primary is not node:
            self.bus.claims.follow(node)
            self._changed()
        return reply.OK

    def reset(self, argv: list[bytes]) -> bytes:
        """CLUSTER RESET [HARD | SOFT]"""
        how = argv[2].upper() if len(argv) == 3 else b"SOFT"
        if len(argv) > 3 or how not in (b"HARD", b"SOFT"):
            raise CommandError(SYNTAX)
        topology, station = self.topology, self.station
        if topology.me.is_primary and station.host.has_data():
            raise CommandError("ERR CLUSTER RESET can't be called with master nodes containing keys")
        self.bus.elections.reset_manual()
        if topology.me.is_replica:
            topology.make_primary(topology.me)
            station.host.lead()
            station.host.flush_all()
        topology.disown((1 << SLOTS) - 1)
        topology.migrating.clear()
        topology.importing.clear()
        for node in [node for node in topology.nodes.values() if node is not topology.me]:
            self.bus.links.forget(node)
            topology.remove(node)
        topology.banned.clear()
        if how == b"HARD":
            topology.current_epoch = topology.me.config_epoch = topology.last_vote_epoch = 0
            old = topology.me.id
            topology.rename(topology.me, station.random_id())
            station.log(Level.NOTICE, f"Node hard reset, now I'm {topology.me.id} (was {old})")
        self._changed()
        return reply.OK

    # -- slots -------------------------------------------------------------------------------------------------------

    def add_slots(self, argv: list[bytes]) -> bytes:
        """CLUSTER ADDSLOTS slot ..."""
        return self._add(self._listed(argv[2:], owned=False))

    def add_ranges(self, argv: list[bytes]) -> bytes:
        """CLUSTER ADDSLOTSRANGE first last ..."""
        return self._add(self._listed(self._spread(argv, "addslotsrange"), owned=False))

    def delete_slots(self, argv: list[bytes]) -> bytes:
        """CLUSTER DELSLOTS slot ..."""
        return self._remove(self._listed(argv[2:], owned=True))

    def delete_ranges(self, argv: list[bytes]) -> bytes:
        """CLUSTER DELSLOTSRANGE first last ..."""
        return self._remove(self._listed(self._spread(argv, "delslotsrange"), owned=True))

    @staticmethod
    def _spread(argv: list[bytes], name: str) -> list[bytes]:
        """The slots of ranges, one by one."""
        if len(argv) % 2:
            raise CommandError(f"ERR wrong number of arguments for 'cluster|{name}' command")
        words: list[bytes] = []
        for first, last in zip(argv[2::2], argv[3::2], strict=True):
            begin, end = _slot(first), _slot(last)
            if begin > end:
                raise CommandError(f"ERR start slot number {begin} is greater than end slot number {end}")
            words += [b"%d" % slot for slot in range(begin, end + 1)]
            if len(words) > 2 * SLOTS:
                break  # some slot stands there twice: the caller will find it
        return words

    def _listed(self, words: list[bytes], *, owned: bool) -> int:
        """The set of these slots; all of them must be assigned, or none."""
        for word in words:
            _slot(word)
        found = 0
        for word in words:
            slot = _slot(word)
            if (self.topology.owners[slot] is not None) != owned:
                raise CommandError(f"ERR Slot {slot} is already {'unassigned' if owned else 'busy'}")
            if found >> slot & 1:
                raise CommandError(f"ERR Slot {slot} specified multiple times")
            found |= 1 << slot
        return found

    def _add(self, slots: int) -> bytes:
        for slot in [slot for slot in self.topology.importing if slots >> slot & 1]:
            del self.topology.importing[slot]
        self.topology.assign(slots, self.topology.me)
        self._changed()
        return reply.OK

    def _remove(self, slots: int) -> bytes:
        self.topology.disown(slots)
        self._forget_moves()
        self._changed()
        return reply.OK

    def flush_slots(self, argv: list[bytes]) -> bytes:
        """CLUSTER FLUSHSLOTS"""
        if self.station.host.has_data():
            raise CommandError("ERR DB must be empty to perform CLUSTER FLUSHSLOTS.")
        self.topology.disown(self.topology.me.slots)
        self._forget_moves()
        self._changed()
        return reply.OK

    def _forget_moves(self) -> None:
        """A slot that is not ours does not leave us."""
        topology = self.topology
        for slot in [slot for slot in topology.migrating if not topology.me.slots >> slot & 1]:
            del topology.migrating[slot]

    def set_slot(self, argv: list[bytes]) -> bytes:
        """CLUSTER SETSLOT slot IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE"""
        topology = self.topology
        if topology.me.is_replica:
            raise CommandError("ERR You can use SETSLOT only with masters.")
        slot = _slot(argv[2])
        action = argv[3].upper()
        mine = bool(topology.me.slots >> slot & 1)
        if action == b"MIGRATING" and len(argv) == 5:
            if not mine:
                raise CommandError(f"ERR I'm not the owner of hash slot {slot}")
            topology.migrating[slot] = self._partner(argv[4])
        elif action == b"IMPORTING" and len(argv) == 5:
            if mine:
                raise CommandError(f"ERR I'm already the owner of hash slot {slot}")
            topology.importing[slot] = self._partner(argv[4])
        elif action == b"STABLE" and len(argv) == 4:
            topology.importing.pop(slot, None)
            topology.migrating.pop(slot, None)
        elif action == b"NODE" and len(argv) == 5:
            self._give(slot, self.node(argv[4]), mine)
        else:
            raise CommandError(_BAD_SETSLOT)
        self.station.save_late()
        self.station.host.slots_changed()
        return reply.OK

    def _partner(self, word: bytes) -> ClusterNode:
        node = self.node(word, "ERR I don't know about node {}")
        if node.is_replica:
            raise CommandError("ERR Target node is not a master")
        return node

    def _give(self, slot: int, node: ClusterNode, mine: bool) -> None:
        topology, station = self.topology, self.station
        me = topology.me
        if node.is_replica:
            raise CommandError("ERR Target node is not a master")
        if mine and node is not me and station.host.count_keys(slot):
            raise CommandError(
                f"ERR Can't assign hashslot {slot} to a different node while I still hold keys for this hash slot."
            )
        if not station.host.count_keys(slot):
            topology.migrating.pop(slot, None)
        had_slots = bool(me.slots)
        topology.assign(1 << slot, node)
        if node is me and slot in topology.importing:
            # The new owner's word must be newer than the old one's: nobody votes about it.
            if topology.bump_epoch():
                station.save()
                station.log(
                    Level.WARNING, f"configEpoch updated after importing slot {slot}: {me.config_epoch}"
                )
            del topology.importing[slot]
            station.save_soon()
            # Everybody hears of it now, so that the old owner's clients are sent on at once.
            self.bus.gossip.pong_to(list(topology.nodes.values()))
        if had_slots and not me.slots and station.settings["cluster-allow-replica-migration"]:
            station.log(
                Level.WARNING, f"Configuration change detected. Reconfiguring myself as a replica of {node.id}"
            )
            self.bus.claims.follow(node)

    # -- epochs and failover -----------------------------------------------------------------------------------------

    def bump_epoch(self, argv: list[bytes]) -> bytes:
        """CLUSTER BUMPEPOCH"""
        bumped = self.topology.bump_epoch()
        if bumped:
            self.station.save()
        return reply.simple(f"{'BUMPED' if bumped else 'STILL'} {self.topology.me.config_epoch}")

    def set_config_epoch(self, argv: list[bytes]) -> bytes:
        """CLUSTER SET-CONFIG-EPOCH epoch"""
        epoch = _integer(argv[2])
        topology = self.topology
        if epoch < 0:
            raise CommandError(f"ERR Invalid config epoch specified: {epoch}")
        if len(topology.nodes) > 1:
            raise CommandError(
                "ERR The user can assign a config epoch only when the node does not know any other node."
            )
        if topology.me.config_epoch:
            raise CommandError("ERR Node config epoch is already non-zero")
        topology.me.config_epoch = epoch
        topology.current_epoch = max(topology.current_epoch, epoch)
        self.station.log(Level.WARNING, f"configEpoch set to {epoch} via CLUSTER SET-CONFIG-EPOCH")
        self.station.save()
        return reply.OK

    def failover(self, argv: list[bytes]) -> bytes:
        """CLUSTER FAILOVER [FORCE | TAKEOVER]"""
        how = argv[2].upper().decode("ascii", "replace") if len(argv) == 3 else ""
        if len(argv) > 3 or how not in ("", "FORCE", "TAKEOVER"):
            raise CommandError(SYNTAX)
        me = self.topology.me
        primary = me.primary
        if me.is_primary:
            raise CommandError("ERR You should send CLUSTER FAILOVER to a replica")
        if primary is None:
            raise CommandError("ERR I'm a replica but my master is unknown to me")
        if (primary.failed or not primary.linked) and not how:
            raise CommandError("ERR Master is down or failed, please use CLUSTER FAILOVER FORCE")
        self.bus.elections.begin_manual(how)
        return reply.OK

    def save_config(self, argv: list[bytes]) -> bytes:
        """CLUSTER SAVECONFIG"""
        self.station.save()
        return reply.OK

    def _changed(self) -> None:
        self.station.save()
        self.station.host.slots_changed()

    # -- keys --------------------------------------------------------------------------------------------------------

    def key_slot(self, argv: list[bytes]) -> bytes:
        """CLUSTER KEYSLOT key"""
        return reply.integer(key_slot(argv[2]))

    def count_keys(self, argv: list[bytes]) -> bytes:
        """CLUSTER COUNTKEYSINSLOT slot"""
        slot = _integer(argv[2])
        if not 0 <= slot < SLOTS:
            raise CommandError("ERR Invalid slot")
        return reply.integer(self.station.host.count_keys(slot))

    def list_keys(self, argv: list[bytes]) -> bytes:
        """CLUSTER GETKEYSINSLOT slot count"""
        slot, count = _integer(argv[2]), _integer(argv[3])
        if not 0 <= slot < SLOTS or count < 0:
            raise CommandError("ERR Invalid slot or number of keys")
        return reply.bulks(self.station.host.list_keys(slot, count))

    def failure_reports(self, argv: list[bytes]) -> bytes:
        """CLUSTER COUNT-FAILURE-REPORTS node-id"""
        return reply.integer(self.bus.failures.reports_of(self.node(argv[2])))


def is_shown(node: ClusterNode) -> bool:
    """Whether clients are told of a node: one in handshake, or without address, is of no use to them."""
    return not node.flags & (HANDSHAKE | NO_ADDRESS) or bool(node.flags & MYSELF)


