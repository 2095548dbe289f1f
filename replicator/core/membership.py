"""This node as a member of a cluster: joins the bus to data, replication, clients and files.

nodes.conf is read before anything else, because it says whether this node is a replica: of what the dump holds, a
replica keeps other things than a primary. The bus begins to speak when the dump is loaded as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

from replicator.core.clients.session import Asked, Session, Wait
from replicator.core.cluster import nodes_conf
from replicator.core.cluster.bus import Bus
from replicator.core.cluster.orders import Orders
from replicator.core.cluster.redirects import Call, Redirects
from replicator.core.cluster.slots import iterate, key_slot
from replicator.core.cluster.station import Station
from replicator.core.cluster.topology import Topology
from replicator.core.cluster.views import Views
from replicator.core.command_table.registry import Command
from replicator.core.config.config import Config
from replicator.core.effects import Effect, Exit, Level, ReadFile
from replicator.core.errors import Redirect
from replicator.core.events import (
    Closed,
    Connected,
    ConnectFailed,
    Event,
    FileChunk,
    FileCommitted,
    FileFailed,
    Opened,
    OutputPending,
    Received,
)
from replicator.core.keyspace.database import NOTIFY_GENERIC, Keyspace
from replicator.core.keyspace.index import Index, SlotIndex
from replicator.core.now import Now
from replicator.core.replication.outgoing import Outgoing
from replicator.core.replication.replica import Replica
from replicator.core.scripting.api import ALLOW_CROSS_SLOT_KEYS, Run
from replicator.core.wire import reply

_CHUNK = 1 << 20
_KINDS = (Opened, Received, Closed, Connected, ConnectFailed, OutputPending, FileChunk, FileFailed, FileCommitted)


class Membership:
    """The cluster as the rest of the node sees it, and the node as the bus sees it (cluster.station.Host).

    allocate: a fresh negative connection number. become_replica(host, port, why), become_primary(why). pause(until),
    resume(): of clients that write. unblock(session, answer).
    emit: puts an effect into this turn. load: begins to load the dump.
    """

    def __init__(
        self,
        config: Config,
        chance: Random,
        pid: int,
        keyspace: Keyspace,
        replica: Replica,
        outgoing: Outgoing,
        *,
        allocate: Callable[[], int],
        become_replica: Callable[[str, int, str], None],
        become_primary: Callable[[str], None],
        pause: Callable[[int], None],
        resume: Callable[[], None],
        blocked: Callable[[], Iterable[Session]],
        unblock: Callable[[Session, bytes], None],
        publish: Callable[[bytes, bytes, bool], object],
        emit: Callable[[Effect], None],
    ) -> None:
        self.keyspace = keyspace
        self.db = keyspace.databases[0]
        self.replica = replica
        self.allocate_connection = allocate
        self.publish_here = publish
        self.resume_writes = resume
        self.pause_writes = pause
        self._become_replica = become_replica
        self._become_primary = become_primary
        self._blocked = blocked
        self._unblock = unblock
        self._emit = emit
        self.outgoing = outgoing
        self._load: Callable[[], None] = lambda: None
        self._fresh_of: tuple[str, int] | None = None  # the primary whose stream we have followed
        self.slot: int | None = None  # of the keys of the command that runs
        self._text = bytearray()  # of nodes.conf, while it is read
        self.bus_port = config["cluster-port"] or config["tls-port" if config["tls-cluster"] else "port"] + 10000
        self.file = str(config["cluster-config-file"])
        keyspace.new_index = _index_by_slot
        keyspace.keeps_index = True
        for database in keyspace.databases:
            database.key_index = keyspace.new_index(database.values)
        topology = Topology(f"{chance.getrandbits(160):040x}")
        self.station = Station(topology, config, chance, self)
        self.bus = Bus(self.station, self.file, f"{self.file}.tmp-{pid}")
        self.orders = Orders(self.station, self.bus)
        self.views = Views(self.station, self.bus, self.orders)
        self.redirects = Redirects(self.station, lambda key: self.db.find(key) is not None)
        for name in ("cluster-require-full-coverage", "cluster-allow-reads-when-down"):
            config.on_change(name, lambda _value: self._reconfigured())

    @property
    def topology(self) -> Topology:
        """The cluster as this node knows it."""
        return self.station.topology

    def _reconfigured(self) -> None:
        self.station.changed = True

    # -- start -------------------------------------------------------------------------------------------------------

    def begin(self, load: Callable[[], None]) -> None:
        """The process is up: read nodes.conf, then load the dump."""
        self._load = load
        self._emit(ReadFile(self.file, _CHUNK))

    def _file_read(self, now: Now) -> None:
        """All of nodes.conf is there (nothing: this node is new)."""
        text = self._text.decode("utf-8", "replace")
        self._text.clear()
        if text.strip():
            try:
                self.station.topology = nodes_conf.read(text, now)
            except nodes_conf.BadNodesConf as problem:
                self.station.log(Level.WARNING, f"Unrecoverable error: corrupted cluster config file. ({problem})")
                self._emit(Exit(1))
                return
            self.station.log(Level.NOTICE, f"Node configuration loaded, I'm {self.topology.me.id}")
        else:
            self.station.log(Level.NOTICE, f"No cluster configuration found, I'm {self.topology.me.id}")
        load, self._load = self._load, lambda: None
        load()

    @property
    def is_replica(self) -> bool:
        """Whether this node follows another one of its cluster."""
        return self.topology.me.is_replica

    def ready(self, now: Now) -> None:
        """The dump is loaded."""
        self.station.now = now
        self.bus.start()

    # -- the surface -------------------------------------------------------------------------------------------------

    def routed(self, kind: type, elsewhere: Callable[[Any], None], now: Callable[[], Now]) -> Callable[[Any], None]:
        """A handler of that kind of event which takes what concerns the bus, and hands on what does not."""
        kinds: dict[type, Callable[[Any], bool]] = {
            Opened: self._opened,
            Received: self._received,
            Closed: self._closed,
            Connected: self._connected,
            ConnectFailed: self._closed,
            OutputPending: self._output_pending,
            FileChunk: self._file_chunk,
            FileFailed: self._file_failed,
            FileCommitted: self._file_committed,
        }
        mine = kinds[kind]

        def handle(event: Event) -> None:
            self.station.now = now()
            if not mine(event):
                elsewhere(event)

        return handle

    def _opened(self, event: Opened) -> bool:
        if event.local_port != self.bus_port:
            return False
        self.bus.links.accept(event.conn, event.peer_host, event.local_host)
        return True

    def _received(self, event: Received) -> bool:
        if event.conn not in self.bus.links.by_conn:
            return False
        self.bus.received(event.conn, event.data)
        return True

    def _closed(self, event: Closed | ConnectFailed) -> bool:
        if event.conn not in self.bus.links.by_conn:
            return False
        if type(event) is ConnectFailed:
            self.bus.connect_failed(event.conn)
        else:
            self.bus.links.closed(event.conn)
        return True

    def _connected(self, event: Connected) -> bool:
        if event.conn not in self.bus.links.by_conn:
            return False
        self.bus.connected(event.conn)
        return True

    def _output_pending(self, event: OutputPending) -> bool:
        if event.conn not in self.bus.links.by_conn:
            return False
        self.bus.links.output_pending(event.conn, event.pending)
        return True

    def _file_chunk(self, event: FileChunk) -> bool:
        if event.name != self.file:
            return False
        self._text += event.data
        if event.eof:
            self._file_read(self.station.now)
        return True

    def _file_failed(self, event: FileFailed) -> bool:
        if event.name == self.bus.temporary:
            self.bus.could_not_save(event.why)
            return True
        if event.name != self.file:
            return False
        if event.missing:
            self._text.clear()
            self._file_read(self.station.now)
        else:
            self.station.log(Level.WARNING, f"Loading the cluster node config from {self.file}: {event.why}")
            self._emit(Exit(1))
        return True

    def _file_committed(self, event: FileCommitted) -> bool:
        return event.name == self.bus.temporary

    def route(self, handlers: dict[type, Callable[[Any], None]], now: Callable[[], Now]) -> None:
        """What concerns the bus no longer reaches these handlers."""
        for kind in _KINDS:
            handlers[kind] = self.routed(kind, handlers[kind], now)

    def connections(self) -> int:
        """How many there are to and from its other nodes."""
        return len(self.bus.links.by_conn)

    def advance(self, now: Now) -> None:
        """Do what is due."""
        self.station.now = now
        self.bus.advance()

    def deadline_ms(self) -> int | None:
        """When `advance` next has work (mono ms)."""
        return self.bus.deadline_ms()

    def settle(self) -> list[Effect]:
        """End a turn: what the bus has to do, what must be durable first."""
        return self.bus.settle()

    def before_leaving(self) -> None:
        """A key is about to be sent to another node: that its slot moves must outlive this process."""
        self.station.catch_up()
        for effect in self.bus.saved():
            self._emit(effect)

    # -- commands ----------------------------------------------------------------------------------------------------

    def check(self, session: Session, asked: Asked) -> None:
        """Raise Redirect if the command does not belong here (execution.admission.Check)."""
        asking = session.asking
        if asking:
            session.asking = False
            session.regate()
        if asked.command.name == "exec":
            transaction = session.transaction
            calls: Sequence[Call] = () if transaction is None else transaction.commands
        else:
            calls = ((asked.command, asked.argv),)
        self.slot = self.redirects.check(calls, asking=asking, readonly=session.readonly)

    def check_in_script(self, run: Run, command: Command, argv: Sequence[bytes]) -> None:
        """Raise CommandError if a script's command does not belong here, or not to the slot of the script's keys."""
        cross_slot = run.legacy or bool(run.flags & ALLOW_CROSS_SLOT_KEYS)
        self.slot = self.redirects.check_in_script((command, argv), self.slot, cross_slot=cross_slot)

    def _redirect_blocked(self) -> None:
        """Clients that wait for keys of a slot that is not ours any more are sent on."""
        for session in list(self._blocked()):
            blocked = session.blocked
            if blocked is None or blocked.kind is not Wait.KEYS or blocked.command is None:
                continue
            try:
                self.redirects.check(((blocked.command, blocked.argv),), asking=False, readonly=session.readonly)
            except Redirect as problem:
                self._unblock(session, reply.error(str(problem)))

    # -- what the bus asks (station.Host) ----------------------------------------------------------------------------

    def follow(self, host: str, port: int) -> None:
        """Replicate from there from now on."""
        self._become_replica(host, port, "cluster" if self.bus.running else "")
        self._fresh_of = None

    def lead(self) -> None:
        """Replicate from nobody: the data is this node's own."""
        self._become_primary("cluster")

    def followed(self) -> tuple[str, int] | None:
        """Whom the node replicates from; None for nobody."""
        return (self.replica.primary_host, self.replica.primary_port) if self.replica.active else None

    def offset(self) -> int:
        """The replication offset."""
        return self.outgoing.offset()

    def data_age_ms(self) -> int | None:
        """For how long nothing has come from the primary; None if nothing of its ever did."""
        replica = self.replica
        where = self.followed()
        if where is None:
            return None
        if replica.up:
            self._fresh_of = where
            return self.station.now.mono_ms - replica.last_io_ms
        if self._fresh_of != where or not replica.resumable:
            return None
        return self.station.now.mono_ms - replica.down_since_ms

    def count_keys(self, slot: int) -> int:
        """How many keys of that slot there are."""
        return self._index().count(slot)

    def list_keys(self, slot: int, count: int) -> list[bytes]:
        """Some keys of that slot, at most so many."""
        return self._index().list(slot, count)

    def _index(self) -> SlotIndex:
        index = self.db.key_index
        assert isinstance(index, SlotIndex)
        return index

    def delete_keys(self, slots: int) -> None:
        """Delete the keys of these slots: they belong to another node now."""
        db, keyspace = self.db, self.keyspace
        for slot in iterate(slots):
            for key in self.list_keys(slot, self.count_keys(slot)):
                db.remove(key)
                db.changed(key, b"del", NOTIFY_GENERIC)
                keyspace.recorded.append((db.index, [b"DEL", key]))
        self.outgoing.commit(together=False)

    def flush_all(self) -> None:
        """Delete all keys."""
        for database in self.keyspace.databases:
            database.clear()
        self.keyspace.dirty += 1
        self.keyspace.recorded.append((0, [b"FLUSHALL"]))
        self.outgoing.commit(together=False)

    def has_data(self) -> bool:
        """Whether there is any key."""
        return bool(len(self.db))

    def publish(self, channel: bytes, message: bytes, shard: bool) -> None:
        """A message that a client of another node published."""
        self.publish_here(channel, message, shard)

    def slots_changed(self) -> None:
        """Who serves which slot, or whether the cluster serves at all, may be different from before."""
        self.redirects.refresh()
        self._redirect_blocked()

    def fail(self, why: str) -> None:
        """End the process: nothing that it would say could be relied on."""
        self._emit(Exit(1, crash=True))


def _index_by_slot(keys: Iterable[bytes]) -> Index:
    return SlotIndex(key_slot, keys)
