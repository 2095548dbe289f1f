"""One node: joins keyspace, sessions, replication and snapshots into a machine (handle / advance / deadline_ms /
pull).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from replicator.core.clients.listing import Clients
from replicator.core.clients.memory import Memory
from replicator.core.clients.monitors import Monitors
from replicator.core.clients.pubsub import PubSub
from replicator.core.clients.session import Session
from replicator.core.clients.tracking import Tracker
from replicator.core.clients.users import Users
from replicator.core.command_table.registry import BLOCKING, WRITE, Command
from replicator.core.command_table.statistics import Statistics
from replicator.core.commands.catalog import FAMILIES
from replicator.core.commands.parts import Server
from replicator.core.config.config import Config
from replicator.core.effects import (
    Effect,
    Level,
    Send,
    StopReading,
)
from replicator.core.errors import CommandError
from replicator.core.events import (
    Closed,
    Connected,
    ConnectFailed,
    Event,
    FileChunk,
    FileCommitted,
    FileFailed,
    FileSynced,
    Opened,
    OutputPending,
    Received,
    Signalled,
    SnapshotDone,
    SnapshotFailed,
    SnapshotSent,
    SnapshotStalled,
    SnapshotStarted,
    Started,
)
from replicator.core.execution.busy import Busy
from replicator.core.execution.connections import Connections
from replicator.core.execution.executor import ANY, Executor
from replicator.core.execution.replaying import Replayer
from replicator.core.execution.scripts import ScriptHost
from replicator.core.execution.transfers import Transfers
from replicator.core.keyspace.database import Keyspace
from replicator.core.keyspace.eviction import Evictor
from replicator.core.now import Now
from replicator.core.peers import Owner
from replicator.core.persistence.append_only import AppendOnly
from replicator.core.persistence.loading import Loading
from replicator.core.persistence.loads import Loads
from replicator.core.persistence.snapshots import Snapshots
from replicator.core.replication.history import History
from replicator.core.replication.outgoing import Outgoing
from replicator.core.replication.primary import Primary
from replicator.core.replication.replica import Replica
from replicator.core.roles.applying import Following
from replicator.core.roles.durability import Durability
from replicator.core.roles.failover import Handover
from replicator.core.roles.syncing import Orders
from replicator.core.scripting.state import Scripting
from replicator.core.services import Services
from replicator.core.surroundings import Surroundings, standing_still
from replicator.core.turn import Turn

if TYPE_CHECKING:
    from replicator.core.membership import Membership

REDIS_VERSION = "7.0.15"
_CRON_MS = 1000
assert FAMILIES  # importing the catalog has filled the registry
_CANNOT_PERSIST = (
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that "
    "may modify the data set are disabled, because this instance is configured to report errors during writes if "
    "RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the "
    "RDB error."
)
_EXPIRE_AT_ONCE = 200  # expired keys deleted in one turn before others are served


class Node:
    """A server: told what happened, it answers with what is to be done. See core/machine.py for the rules of the
    surface.
    """

    # Behind thirty attributes an instance's dictionary is no longer shared, and all access to it slower.
    __slots__ = (
        "_handlers", "append_only", "busy_scripts", "by_id", "clients", "cluster", "config", "connections", "cron_ms",
        "durability", "evictor", "executor", "exiting", "following", "handover", "held", "history", "journal",
        "keyspace", "last_connection", "loading", "loads", "memory", "meter", "monitors", "orders", "outgoing",
        "owners", "ping_ms", "primary", "pubsub", "random", "ready", "replica", "run_id", "scripting", "second_ms",
        "server", "services", "sessions", "snapshots", "started", "statistics", "surroundings", "tracker", "transfers",
        "turn", "users", "watchers",
    )  # fmt: skip

    redis_version = REDIS_VERSION

    def __init__(self, config: Config, chance: Random, surroundings: Surroundings | None = None) -> None:
        self.config = config
        self.random = chance
        self.surroundings = surroundings or Surroundings()
        self.turn = Turn()
        self.started = Now(0, 0)
        self.run_id = f"{chance.getrandbits(160):040x}"
        self.keyspace = Keyspace(config["databases"])
        self.sessions: dict[int, Session] = {}
        self.by_id: dict[int, Session] = {}
        self.monitors: dict[Session, None] = {}
        self.last_connection = 0
        self.connections = Connections(self)
        self.loads = Loads(self)
        self.history = History(chance)
        self.primary = Primary(self.history, config, chance, self.turn, self.send)
        self.outgoing = Outgoing(self.history, self.keyspace, self.primary.append)
        self.executor = Executor(self)
        self.following = Following(self)
        self.replica = Replica(self.history, config, chance, self.turn.emit, self.following)
        self.snapshots = Snapshots(self)
        self.append_only = AppendOnly(self.turn, config, self.outgoing, self.snapshots, self.regate)
        self.journal = self.append_only.journal
        self.append_only.load_again = self.loads.load_again
        self.held = False  # replies wait for the end of the driver's turn, and for the write that comes before them
        self.handover = Handover(self)
        self.durability = self._make_durability()
        self.orders = Orders(self)
        self.loading: Loading | None = None
        self.ready = False  # the initial load is over: "Ready to accept connections" was said
        self.exiting = False
        self.cron_ms = 0
        self.second_ms = 0
        self.ping_ms = 0
        self.meter = self.surroundings.meter or standing_still
        self.evictor = Evictor(self.keyspace, config, chance)
        self.pubsub = PubSub()
        self.scripting = Scripting(ScriptHost(self))
        self.clients = Clients(self)
        self.users = Users(self)
        self.tracker = Tracker(self)
        self.watchers = Monitors(self)
        self.statistics = Statistics(self)
        self.busy_scripts = Busy(self)
        services = self.services = Services(self)
        self.memory = Memory(
            self.evictor, self.sessions, self.primary.links, services.memory_is_free, services.commit_evictions
        )
        self.owners: dict[int, Owner] = {}  # of connections that we asked for, but for the one to our primary
        self.transfers = self._make_transfers()
        self.cluster: Membership | None = None
        self.server = self._visible()
        self._handlers = self._duties()
        if config["cluster-enabled"]:
            from replicator.core.membership import join_cluster  # plain nodes start without it

            self.cluster = self.server.cluster = join_cluster(self, self._handlers)
        self.services.install()
        self.regate()

    def _duties(self) -> dict[type, Callable[[Any], None]]:
        """Who takes which event."""
        return {
            Started: self._started,
            Opened: self.connections.opened,
            Received: self.connections.received,
            Closed: self.connections.closed,
            Connected: self.connections.connected,
            ConnectFailed: self.connections.connect_failed,
            OutputPending: self.connections.output_pending,
            SnapshotStarted: self.snapshots.started,
            SnapshotFailed: self.snapshots.failed,
            SnapshotDone: self.snapshots.done,
            SnapshotSent: self._snapshot_sent,
            SnapshotStalled: self._snapshot_stalled,
            FileChunk: self.loads.file_chunk,
            FileFailed: self.loads.file_failed,
            FileCommitted: self.loads.file_committed,
            FileSynced: self.append_only.file_synced,
            Signalled: self._signalled,
        }

    def make_replayer(self) -> Replayer:
        """What applies the commands of an append-only file."""
        return Replayer(self.executor, self.keyspace, self.turn.log)

    def _make_durability(self) -> Durability:
        executor, handover = self.executor, self.handover
        return Durability(
            self.turn,
            self.append_only,
            self.primary,
            self.replica,
            blocked=lambda: executor.blocked,
            park=executor.park,
            unblock=executor.unblock,
            position=handover.position_of,
            ask_acks=handover.ask_acks,
        )

    def _make_transfers(self) -> Transfers:
        executor = self.executor

        def release(conn: int) -> None:
            self.owners.pop(conn, None)

        def allocate(owner: Owner) -> int:
            conn = self.following.allocate_connection()
            self.owners[conn] = owner
            return conn

        return Transfers(
            self.turn,
            self.outgoing,
            allocate=allocate,
            release=release,
            park=executor.park, unpark=executor.unpark, unblock=executor.unblock,
            blocked=lambda: executor.blocked,
            encrypts=lambda: bool(self.config["tls-cluster"]),
            hold=lambda on: self.regate(),
            may_delete=lambda: not self.replica.active,
            in_cluster=self.config["cluster-enabled"],
            before_leaving=lambda: None if self.cluster is None else self.cluster.before_leaving(),
        )  # fmt: skip

    def _visible(self) -> Server:
        """What commands see."""
        return Server(
            redis_version=REDIS_VERSION,
            config=self.config,
            random=self.random,
            turn=self.turn,
            meter=self.meter,
            evictor=self.evictor,
            sessions=self.by_id,
            users=self.users,
            clients=self.clients,
            pubsub=self.pubsub,
            tracker=self.tracker,
            monitors=self.watchers,
            statistics=self.statistics,
            scripting=self.scripting,
            snapshots=self.snapshots,
            append_only=self.append_only,
            durability=self.durability,
            history=self.history,
            primary=self.primary,
            replica=self.replica,
            table=self.executor,
            orders=self.orders,
            handover=self.handover,
            services=self.services,
            outgoing=self.outgoing,
            transfers=self.transfers,
        )

    # -- the surface -------------------------------------------------------------------------------------------------

    def handle(self, event: Event, now: Now) -> list[Effect]:
        """Take one event."""
        self.turn.now = now
        self.keyspace.now_ms = now.unix_ms
        self._handlers[type(event)](event)
        return self._finish()

    def advance(self, now: Now) -> list[Effect]:
        """Do all that is due."""
        self.turn.now = now
        self.keyspace.now_ms = now.unix_ms
        if self.journal.takes:
            self.append_only.advance()
        self._expire_keys()
        self.executor.expire_waits(now.mono_ms)
        self.loads.advance()
        if self.transfers.lines:
            self.transfers.advance(now)
        if self.replica.active:
            self.replica.advance(now)
        self.handover.advance()
        if self.evictor.limit:
            self.memory.advance(now)
        if now.mono_ms >= self.cron_ms:
            self.cron_ms = now.mono_ms + _CRON_MS
            if not self.server.cron_paused:
                self._cron()
        if self.cluster is not None:
            self.cluster.advance(now)
        return self._finish(may_wait=False)

    def pull(self, conn: int, limit: int) -> bytes:
        """Bytes of the replication stream for a replica's connection; none before they have been written here."""
        return b"" if self.held else self.primary.pull(conn, limit)

    def deadline_ms(self) -> int | None:
        """When `advance` next has work (mono ms)."""
        # Asked after every turn: only those are asked further of whom it is known that they wait for something.
        soonest = self.cron_ms
        if self.executor.timeouts and (other := self.executor.next_timeout()) is not None and other < soonest:
            soonest = other
        if self.loading is not None and (other := self.loading.resume_ms) is not None and other < soonest:
            soonest = other
        if self.replica.active and (other := self.replica.deadline_ms()) is not None and other < soonest:
            soonest = other
        if (other := self.handover.deadline_ms()) is not None and other < soonest:
            soonest = other
        if self.keyspace.scheduled and (other := self._expiry_deadline()) is not None and other < soonest:
            soonest = other
        if self.evictor.limit and (other := self.memory.due_ms) is not None and other < soonest:
            soonest = other
        if self.primary.waiting and (other := self.snapshots.deadline_ms()) is not None and other < soonest:
            soonest = other
        if self.journal.takes and (other := self.append_only.deadline_ms()) is not None and other < soonest:
            soonest = other
        if self.transfers.lines and (other := self.transfers.deadline_ms()) is not None and other < soonest:
            soonest = other
        if self.cluster is not None and (other := self.cluster.deadline_ms()) is not None and other < soonest:
            soonest = other
        return soonest

    def send(self, conn: int, data: bytes) -> None:
        """Bytes to a connection, behind what it is being sent already."""
        session = self.sessions.get(conn)
        if session is not None:
            session.push(data)

    def _finish(self, *, may_wait: bool = True) -> list[Effect]:
        """End a turn: go on with the unblocked, flush the stream and the replies, start what must start last.

        may_wait: the driver's turn goes on; replies can wait for its end, and `advance`.
        """
        executor = self.executor
        outgoing = self.outgoing
        if self.keyspace.ready:
            executor.serve_ready()
        if executor.resumed:
            executor.resume(self.connections.run_unread)
        if self.keyspace.on_touch is not None:
            self.tracker.settle()
        if outgoing.stream or outgoing.writers:
            outgoing.flush()
        snapshots = self.snapshots
        wanted = snapshots.requested_save or snapshots.scheduled or snapshots.save_empty
        if self.primary.waiting or wanted or self.append_only.rewriter.due:
            snapshots.begin_due()
        journal = self.journal
        if journal.buffer:
            if self.turn.later:
                journal.write_through()
                self.held = False
            elif journal.holds(may_wait=may_wait):
                self.held = True
                return self.turn.take()
        self.held = False
        effects = self.turn.effects
        if self.cluster is not None:
            effects += self.cluster.settle()
        if executor.touched:
            for session in executor.touched:
                out = session.out
                if out:
                    data = out[0] if len(out) == 1 else b"".join(out)
                    out.clear()
                    session.total_sent += len(data)
                    executor.writes += 1
                    effects.append(Send(session.conn, data))
            executor.touched.clear()
        return self.turn.take()

    # -- start ---------------------------------------------------------------------------------------------------------

    def _started(self, event: Started) -> None:
        self.started = self.turn.now
        self.cron_ms = self.turn.now.mono_ms + _CRON_MS
        self.second_ms = self.turn.now.mono_ms
        self.ping_ms = self.turn.now.mono_ms
        self.snapshots.last_save_s = self.turn.now.unix_ms // 1000
        self.turn.log(Level.WARNING, "Server initialized")
        self.services.started()
        if self.cluster is not None:
            self.cluster.begin(self._load)
        else:
            self._load()

    def _load(self) -> None:
        self.loads.at_start()

    def _snapshot_sent(self, event: SnapshotSent) -> None:
        self.primary.snapshot_sent(event.conn, self.turn.now)
        self.regate()

    def _snapshot_stalled(self, event: SnapshotStalled) -> None:
        self.primary.snapshot_stalled(event.conn, event.stalled, self.turn.now)

    # -- roles -------------------------------------------------------------------------------------------------------

    def become_replica(self, host: str, port: int, *, why: str) -> None:
        """Follow host:port from now on: this sets every field of the role."""
        self.outgoing.flush()
        was_primary = not self.replica.active
        if was_primary:
            self.handover.resume_all_for_role_change()
            if why or self.replica.resumable or self.history.window is not None:
                if why or self.replica.resumable:
                    self.turn.log(
                        Level.NOTICE,
                        "Before turning into a replica, using my own master parameters to synthesize a cached master: "
                        "I may be able to synchronize with the new master with just a partial transfer.",
                    )
                if not self.replica.resumable and why:
                    self.replica.resumable = True
                    self.replica.stream_db = max(0, self.outgoing.db)
                if self.history.window is None:
                    self.history.open_window(self.config["repl-backlog-size"])
        self.keyspace.expires_keys = False
        self.outgoing.feed_window(False)
        self.replica.follow(host, port, self.turn.now)
        self.primary.alone_since_ms = None
        self.services.unblock_for_role_change()
        self.regate()
        self.surroundings.set_role("S")
        self.turn.announce("role.replica", ("primary_host", host), ("primary_port", port))

    def become_primary(self, *, why: str) -> None:
        """Follow nobody: open a new history that continues the old one. This sets every field of the role."""
        if not self.replica.active:
            return
        syncing_half = self.loading is not None and self.loading.source in ("file", "socket")
        if syncing_half:
            assert self.loading is not None
            self.turn.emit(StopReading(self.loading.name))
            self.loads.end()
        self.replica.stop(self.turn.now)
        if self.history.window is None:
            self.history.open_window(self.config["repl-backlog-size"])
        old = self.history.id
        self.history.branch(self.random)
        self.turn.log(
            Level.WARNING,
            f"Setting secondary replication ID to {old}, valid up to offset: {self.history.second_limit}. "
            f"New replication ID is {self.history.id}",
        )
        self.replica.resumable = False
        self.keyspace.own_volatile.clear()
        self.outgoing.db = -1
        self.primary.drop_all("a new history begins")
        self.primary.alone_since_ms = self.turn.now.mono_ms
        self.set_feeding()
        self.regate()
        if not self.journal.takes and self.loading is None:
            self.append_only.restart()
        self.surroundings.set_role("M")
        self.turn.announce("role.primary", ("id", self.history.id), ("offset", self.history.end), ("why", why))

    # -- the stream --------------------------------------------------------------------------------------------------

    def set_feeding(self) -> None:
        """The window is fed when this node is a primary that keeps one."""
        self.outgoing.feed_window(not self.replica.active and self.history.window is not None)

    def replication_offset(self) -> int:
        """This node's offset, with everything done so far."""
        return self.outgoing.offset()

    # -- gates -------------------------------------------------------------------------------------------------------

    def regate(self) -> None:
        """Recompute which commands need the careful path because of the node's state."""
        gate = BLOCKING
        if (
            self.loading is not None
            or self.monitors
            or self.handover.pausing
            or self.is_stale()
            or self.exiting
            or not self.ready
            or self.cluster is not None
            or self.transfers.under_way
            or not self.snapshots.last_ok
            or self.journal.refuses
        ):
            gate |= ANY
        # A replica, read-only or not: a write of its own meets expired keys in another way.
        if self.replica.active or self.config["min-replicas-to-write"]:
            gate |= WRITE
        gate |= self.services.gate()
        self.executor.gate = gate
        # While writes are paused the stream stands still: keys whose time has come are hidden, and deleted afterwards.
        self.keyspace.expires_keys = not self.replica.active and not self.handover.pausing_writes

    def is_stale(self) -> bool:
        """A replica cut off from its primary that must not serve what it has."""
        return self.replica.active and not self.replica.up and not self.config["replica-serve-stale-data"]

    def check_persistence(self) -> None:
        """Raise MISCONF while a failure to persist forbids writes; PING tells of it as well."""
        if self.replica.active:
            return
        config = self.config
        if not self.snapshots.last_ok and config["stop-writes-on-bgsave-error"] and config["save"]:
            raise CommandError(_CANNOT_PERSIST)
        if self.journal.refuses:
            raise CommandError(f"MISCONF Errors writing to the AOF file: {self.journal.refuses}")

    def check_write(self) -> None:
        """Raise what forbids a write now."""
        config = self.config
        self.check_persistence()
        wanted, max_lag = config["min-replicas-to-write"], config["min-replicas-max-lag"]
        counts = wanted and max_lag and not self.replica.active
        if counts and self.primary.good_replicas(self.turn.now, max_lag) < wanted:
            raise CommandError("NOREPLICAS Not enough good replicas to write.")
        if self.replica.active and config["replica-read-only"]:
            raise CommandError("READONLY You can't write against a read only replica.")

    def pauses(self, session: Session, command: Command) -> bool:
        """Whether the command has to wait for the end of a pause."""
        return self.handover.pausing and self.handover.pauses(session, command)

    # -- clocks ------------------------------------------------------------------------------------------------------

    def _expire_keys(self) -> None:
        if self.keyspace.own_volatile and self.loading is None:
            self.keyspace.purge_own()
        if not self.keyspace.expires_keys or not self.services.active_expire or self.loading is not None:
            return
        if self.handover.pausing_writes:
            return
        if not self.keyspace.scheduled:
            return
        left = _EXPIRE_AT_ONCE
        for database in self.keyspace.databases:
            if database.schedule and left:
                left -= database.purge_expired(left)
        if self.keyspace.recorded:
            self.outgoing.commit(together=False)

    def _expiry_deadline(self) -> int | None:
        if not self.keyspace.expires_keys or not self.services.active_expire or self.loading is not None:
            return None
        if self.handover.pausing_writes:
            return None
        when = self.keyspace.next_expiry()
        return None if when is None else self.turn.now.mono_ms + max(0, when - self.turn.now.unix_ms)

    def _cron(self) -> None:
        now = self.turn.now
        self.services.cron()
        if now.mono_ms - self.second_ms < 1000:
            return
        self.second_ms = now.mono_ms
        primary = self.primary
        if primary.links:
            period = 1000 * self.config["repl-ping-replica-period"]
            if not self.replica.active and now.mono_ms - self.ping_ms >= period and not self.handover.pausing_writes:
                self.ping_ms = now.mono_ms
                self.outgoing.tell_replicas((b"PING",))
            primary.keep_alive()
            primary.check_timeouts(now)
            primary.check_limits(now)
        primary.forget_backlog_if_alone(now, is_primary=not self.replica.active)
        if self.history.window is None:
            self.set_feeding()
        self.snapshots.check_save_points()
        self.append_only.cron()
        self.services.close_idle()

    # -- ends --------------------------------------------------------------------------------------------------------

    def _signalled(self, event: Signalled) -> None:
        words = self.config["shutdown-on-sigint" if event.name == "SIGINT" else "shutdown-on-sigterm"]
        save = True if "save" in words else (False if "nosave" in words else None)
        self.handover.shutdown(None, save=save, now="now" in words, force="force" in words)

    def check_invariants(self) -> None:
        """Assert what must hold between turns."""
        window, end = self.history.window, self.history.end
        if window is not None:
            assert window.end == end
            window.check_invariants()
        assert not self.outgoing.stream
        assert not self.keyspace.recorded
        if self.replica.active:
            assert not self.outgoing.windowed
            assert not self.keyspace.expires_keys
        if self.primary.links:
            for link in self.primary.links.values():
                assert link.acked <= end or link.cursor is None, (link.acked, end)

    def used_memory(self) -> int:
        """Bytes that the data takes, as maxmemory counts them."""
        return self.evictor.used_memory()
