"""One node: its parts put together into a machine (handle / advance / deadline_ms / pull).

Nobody holds the node: each part is given what it needs when it is made, and so the order in which they are made here
says who stands on whom. What would go in a circle is told later, in four places: a roll is told of the server that
sessions see (Roll.open), the link to a primary whom it asks (Replica.attach), a load what follows it (Loads.on_ready),
a script host whom it serves.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from replicator.core.clients.listing import Clients
from replicator.core.clients.long_answers import LongAnswers
from replicator.core.clients.memory import Memory
from replicator.core.clients.monitors import Monitors
from replicator.core.clients.output import Output
from replicator.core.clients.pubsub import PubSub
from replicator.core.clients.roll import Roll
from replicator.core.clients.session import Session
from replicator.core.clients.tracking import Tracker
from replicator.core.clients.users import Users
from replicator.core.clients.waiting import Waiting
from replicator.core.command_table.registry import BLOCKING, DENY_OOM
from replicator.core.command_table.statistics import Statistics
from replicator.core.command_table.table import Table
from replicator.core.commands.catalog import FAMILIES
from replicator.core.commands.parts import Server
from replicator.core.config.config import Config
from replicator.core.effects import Effect, Level, Send
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
from replicator.core.execution import admission
from replicator.core.execution.admission import Admission
from replicator.core.execution.busy import Busy
from replicator.core.execution.calling import Calling
from replicator.core.execution.connections import Connections
from replicator.core.execution.executor import Executor, Parts
from replicator.core.execution.replaying import Replayer
from replicator.core.execution.scripts import ScriptHost, built_functions
from replicator.core.execution.transactions import Transactions
from replicator.core.execution.transfers import Transfers
from replicator.core.gates import ANY, Gates
from replicator.core.keyspace.database import Keyspace
from replicator.core.keyspace.eviction import Evictor
from replicator.core.keyspace.expiry import Expiry
from replicator.core.keyspace.notifications import configure
from replicator.core.keyspace.thresholds import COMPACT, Thresholds
from replicator.core.now import Now
from replicator.core.peers import Peers
from replicator.core.persistence.append_only import AppendOnly
from replicator.core.persistence.loads import Loads
from replicator.core.persistence.reload import Reload
from replicator.core.persistence.saving import Saving
from replicator.core.persistence.snapshots import Snapshots
from replicator.core.replication.history import History
from replicator.core.replication.outgoing import Outgoing
from replicator.core.replication.primary import Primary
from replicator.core.replication.replica import Replica
from replicator.core.report.counters import Counters
from replicator.core.report.info import Sources
from replicator.core.roles.acknowledgements import Acknowledgements
from replicator.core.roles.applying import Applying
from replicator.core.roles.cron import Cron
from replicator.core.roles.durability import Durability
from replicator.core.roles.failover import Failover
from replicator.core.roles.pauses import Pauses
from replicator.core.roles.payload import Payload
from replicator.core.roles.role import Role
from replicator.core.roles.shutdown import Shutdown
from replicator.core.roles.syncing import Syncing
from replicator.core.scripting.state import Scripting
from replicator.core.surroundings import Surroundings, standing_still
from replicator.core.turn import Turn

if TYPE_CHECKING:
    from replicator.core.membership import Membership

_CRON_MS = 1000
assert FAMILIES  # importing the catalog has filled the registry


class Node:
    """A server: told what happened, it answers with what is to be done. See core/machine.py for the rules of the
    surface.
    """

    # Behind thirty attributes an instance's dictionary is no longer shared, and all access to it slower.
    __slots__ = (
        "_handlers", "acknowledgements", "admission", "append_only", "applying", "calling", "clients", "cluster",
        "config", "connections", "counters", "cron", "cron_ms", "durability", "evictor", "executor", "expiry",
        "failover", "gates", "held", "history", "journal", "keyspace", "loads", "long_answers", "memory", "monitors",
        "outgoing", "output", "pauses", "peers", "primary", "pubsub", "random", "replica", "report", "role", "roll",
        "run_id", "saving", "scripting", "server", "shutdown", "snapshots", "statistics", "surroundings", "syncing",
        "table", "tracker", "transfers", "turn", "users", "waiting",
    )  # fmt: skip

    def __init__(self, config: Config, chance: Random, surroundings: Surroundings | None = None) -> None:
        self.config = config
        self.random = chance
        self.surroundings = surroundings or Surroundings()
        self.run_id = f"{chance.getrandbits(160):040x}"
        self.turn = Turn()
        self.gates = Gates()
        self.gates.hold("blocking commands", BLOCKING)
        self.gates.hold("start", ANY)
        self.cron_ms = 0
        self.held = False  # replies wait for the end of the driver's turn, and for the write that comes before them
        self.cluster: Membership | None = None
        self._make_data()
        self._make_clients()
        self._make_snapshots()
        self._make_execution()
        self._make_roles()
        self._open()
        self._handlers: dict[type, Callable[[Any], None]] = {
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
            FileFailed: self._file_failed,
            FileCommitted: self._file_committed,
            FileSynced: self.append_only.file_synced,
            Signalled: self._signalled,
        }
        if self.cluster is not None:
            self.cluster.route(self._handlers, lambda: self.turn.now)

    # -- how it is put together --------------------------------------------------------------------------------------

    def _make_data(self) -> None:
        """The data set, its history, and the way of changes into it."""
        config, chance, turn = self.config, self.random, self.turn
        self.keyspace = Keyspace(config["databases"])
        self.evictor = Evictor(self.keyspace, config, chance)
        self.roll = Roll(turn, self.keyspace)
        self.peers = Peers()
        self.history = History(chance)
        self.primary = Primary(self.history, config, chance, turn, self.roll.send)
        self.replica = Replica(self.history, config, chance, turn, self.peers)
        self.outgoing = Outgoing(self.history, self.keyspace, self.primary.append)

    def _make_clients(self) -> None:
        """Who is connected, and what is kept of them. Those who let go of a client that is gone do so in this order."""
        config, turn, roll, primary = self.config, self.turn, self.roll, self.primary
        self.statistics = Statistics(turn, config, self.surroundings.meter)
        self.table = Table(self.statistics.measure)
        self.monitors = Monitors(turn, roll, self.gates)
        roll.on_gone.append(self._writer_gone)
        self.calling = Calling(turn, self.keyspace, self.outgoing)
        self.waiting = Waiting(self.keyspace, self.calling.failed)
        self.clients = Clients(turn, roll, self.waiting, primary, self.replica)
        self.users = Users(turn, config, self.random, self.surroundings, self.table, roll, self.clients)
        self.pubsub = PubSub()
        roll.on_gone.append(self.pubsub.drop)
        self.output = Output(turn, config, roll, self.clients, primary)
        self.long_answers = LongAnswers(turn, config, self.waiting, self.output.weigh)
        roll.on_gone.append(self.long_answers.drop)
        self.tracker = Tracker(config, self.keyspace, roll, self._is_loading)

    def _make_snapshots(self) -> None:
        """Snapshots and loads; scripts, for their libraries lie in snapshots."""
        config, turn, outgoing, replica = self.config, self.turn, self.outgoing, self.replica
        self.scripting = Scripting()
        self.snapshots = Snapshots(
            turn, config, self.random, self.gates, self.keyspace, self.evictor, outgoing, self.primary, replica,
            self.statistics, self.scripting.library_codes,
        )  # fmt: skip
        self.append_only = AppendOnly(turn, config, self.gates, outgoing, self.snapshots)
        self.journal = self.append_only.journal
        self.loads = Loads(
            turn, config, self.gates, self.keyspace, outgoing, self.primary, replica, self.evictor, self.snapshots,
            self.append_only, self.waiting, self.scripting,
        )  # fmt: skip
        self.saving = Saving(turn, config, self.surroundings.pid, outgoing, self.waiting, self.snapshots)
        self.keyspace.on_flushed = self.saving.flushed
        self.pauses = Pauses(
            turn, self.gates, self.keyspace, self.primary, replica, self.waiting, self.scripting
        )
        self.role = Role(
            turn, config, self.random, self.surroundings.set_role, self.gates, self.keyspace, outgoing, self.primary,
            replica, self.waiting, self.loads, self.pauses,
        )  # fmt: skip

    def _make_execution(self) -> None:
        """From the bytes of a client to its replies."""
        config, turn, outgoing = self.config, self.turn, self.outgoing
        self.memory = Memory(
            turn, self.evictor, self.roll.sessions, self.primary.links, self._memory_is_free, self._commit_apart
        )
        self.transfers = Transfers(
            turn, outgoing, allocate=self.peers.new, release=self.peers.drop, park=self.waiting.park,
            unpark=self.waiting.unpark, unblock=self.waiting.unblock, blocked=lambda: self.waiting.blocked,
            hold=lambda on: self.gates.set("moved keys", ANY if on else 0), may_delete=lambda: not self.replica.active,
            in_cluster=config["cluster-enabled"],
            encrypts=lambda: bool(config["tls-cluster"]),
            before_leaving=lambda: None if self.cluster is None else self.cluster.before_leaving(),
        )  # fmt: skip
        redirects: tuple[tuple[str, admission.Check], ...] = ()
        if config["cluster-enabled"]:
            self.cluster = self._join_cluster()
            redirects = (("cluster", self.cluster.check),)
        # What is asked before a command that needs a closer look, in stock's order.
        self.admission = Admission(
            self.scripting,
            (
                ("login", admission.check_login),
                ("access", self.users.admit),
                *redirects,
                ("monitor", admission.check_monitor),
                ("memory", self.memory.admit),
                ("role", self.role.check),
                ("subscriber", admission.check_subscriber),
                ("stale", self.role.check_stale),
                ("load", self.loads.check),
                ("busy script", admission.BusyScript(self.scripting, self.roll).check),
            )
        )
        self.executor = Executor(
            Parts(
                turn, self.gates, self.keyspace, outgoing, self.table, self.roll, self.waiting, self.output,
                self.monitors, self.tracker, self.scripting, self.primary.links, self.calling, self.admission,
                self.pauses, self.transfers,
            )
        )  # fmt: skip
        self.connections = Connections(
            turn, config, self.roll, self.waiting, self.users, self.output, self.executor, self.peers,
            self.primary.links,
        )  # fmt: skip
        self.expiry = Expiry(
            self.keyspace, self._commit_apart, lambda: self.pauses.of_writes, self._is_loading
        )
        self.counters = Counters(
            turn, self.keyspace, self.roll, self.calling, self.statistics, self.connections, self.table,
            self.primary, self.replica, self.snapshots,
        )  # fmt: skip
        self.scripting.host = ScriptHost(
            turn, self.surroundings.meter or standing_still, config, self.keyspace, self.table, self.calling,
            self.users, self.roll, self.monitors, self.tracker, self.memory, self.scripting, self.role,
            None if self.cluster is None else self.cluster.check_in_script,
        )  # fmt: skip

    def _make_roles(self) -> None:
        """Primary or replica: what each does, and how one becomes the other."""
        config, turn, outgoing, primary, replica = self.config, self.turn, self.outgoing, self.primary, self.replica
        self.acknowledgements = Acknowledgements(turn, self.keyspace, outgoing, primary, self.waiting)
        self.durability = Durability(turn, self.append_only, primary, replica, self.waiting, self.acknowledgements)
        self.failover = Failover(
            turn, outgoing, primary, replica, self.role, self.acknowledgements, self.pauses
        )
        self.shutdown = Shutdown(
            turn, config, self.gates, self.waiting, primary, replica, self.snapshots, self.saving,
            self.append_only, self.acknowledgements, self.pauses,
        )  # fmt: skip
        self.syncing = Syncing(turn, outgoing, primary, replica, self.snapshots, self.role)
        self.applying = Applying(
            turn, config, self.surroundings.pid, self.keyspace, self.roll, self.table, self.calling, self.executor,
            self.waiting, self.monitors, outgoing, self.journal, primary, replica, self.failover, self.pauses,
        )  # fmt: skip
        self.cron = Cron(turn, config, outgoing, primary, replica, self.pauses, self.loads, self.output)
        payload = Payload(
            turn, config, self.random, self.surroundings, self.keyspace, primary, replica, self.loads, self.failover
        )
        replica.attach(self.applying, payload)
        self.loads.on_ready = self._ready
        self.loads.functions_of = lambda codes, end: built_functions(self.scripting, codes, end)
        self.loads.replayer = lambda: Replayer(self.table, self.keyspace, self.roll, turn.log).apply
        self.roll.on_gone.append(self._replica_gone)
        Busy(
            turn, self.surroundings, self.gates, self.keyspace, outgoing, self.roll, self.connections, self.scripting,
            self.shutdown.under_way,
        )  # fmt: skip

    def _open(self) -> None:
        """Let clients see the parts, and the parts follow the configuration."""
        config = self.config
        self.report = Sources(
            self.turn, config, self.surroundings, Now(0, 0), self.run_id, self.keyspace, self.evictor, self.table,
            self.statistics, self.calling, self.counters, self.roll, self.waiting, self.connections, self.pubsub,
            self.tracker, self.scripting, self.history, self.outgoing, self.primary, self.replica, self.clients,
            self.snapshots, self.append_only, self.loads, self.applying, self.failover, self.shutdown, self.transfers,
            self.cluster,
        )  # fmt: skip
        self.server = Server(
            config=config, random=self.random, turn=self.turn, meter=self.surroundings.meter or standing_still,
            evictor=self.evictor, roll=self.roll, users=self.users, clients=self.clients, pubsub=self.pubsub,
            tracker=self.tracker, monitors=self.monitors, statistics=self.statistics, scripting=self.scripting,
            snapshots=self.snapshots, append_only=self.append_only, history=self.history, primary=self.primary,
            replica=self.replica, table=self.table,
            transactions=Transactions(self.keyspace, self.calling, self.users, self.monitors, self.tracker),
            outgoing=self.outgoing, expiry=self.expiry, loads=self.loads, saving=self.saving,
            reload=Reload(self.turn, self.keyspace, self.outgoing, self.replica, self.snapshots, self.loads),
            role=self.role, syncing=self.syncing, acknowledgements=self.acknowledgements, durability=self.durability,
            pauses=self.pauses, failover=self.failover, shutdown=self.shutdown, report=self.report,
            counters=self.counters, transfers=self.transfers, cluster=self.cluster,
        )  # fmt: skip
        self.roll.open(
            self.server, weigh=self.output.weigh, wait_for_keys=self.waiting.wait_for_keys,
            send_parts=self.long_answers.begin,
        )  # fmt: skip
        self._limit_memory()
        self.users.install()
        self.statistics.install(config)
        for name in ("maxmemory", "maxmemory-policy", "replica-ignore-maxmemory"):
            config.on_change(name, lambda _value: self._limit_memory())
        config.on_change("notify-keyspace-events", lambda _value: self._set_notifications())
        config.on_change("repl-backlog-size", self._resize_window)
        config.on_change("proto-max-bulk-len", self._bound_bulks)
        thresholds = Thresholds(self.keyspace, config)
        for name in COMPACT:
            config.on_change(name, lambda _value: thresholds.changed())
        self._set_notifications()
        for old, new in config.renames:
            if not self.table.rename(old.lower(), new):
                raise ValueError(f"No such command in rename-command: {old}")
        self.role.settle()

    def _join_cluster(self) -> Membership:
        """Make this node a member of a cluster."""
        from replicator.core.membership import Membership  # plain nodes start without it

        cluster = Membership(
            self.config,
            self.random,
            self.surroundings.pid,
            self.keyspace,
            self.replica,
            self.outgoing,
            allocate=self.peers.number,
            become_replica=lambda host, port, why: self.role.become_replica(host, port, why=why),
            become_primary=lambda why: self.role.become_primary(why=why),
            pause=lambda until_ms: self.pauses.pause(until_ms, everything=False),
            resume=self.pauses.unpause,
            blocked=lambda: self.waiting.blocked,
            unblock=self.waiting.unblock,
            publish=self.pubsub.publish,
            emit=self.turn.emit,
        )
        self.pubsub.spread = cluster.bus.spread
        self.loads.is_member_replica = lambda: cluster.is_replica
        self.gates.hold("cluster", ANY)
        return cluster

    def _limit_memory(self) -> None:
        self.evictor.reconfigure()
        self.gates.set("memory", DENY_OOM if self.config["maxmemory"] else 0)
        self.memory.reconfigured(self.turn.now)

    def _set_notifications(self) -> None:
        configure(self.keyspace, self.pubsub.publish, str(self.config["notify-keyspace-events"]))

    def _bound_bulks(self, size: int) -> None:
        for session in self.roll.sessions.values():
            session.decoder.max_bulk = size

    def _resize_window(self, size: int) -> None:
        if self.history.window is not None:
            self.history.window.resize(size)

    def _is_loading(self) -> bool:
        return self.loads.loading is not None

    def _memory_is_free(self) -> bool:
        """Whether maxmemory does not hold now."""
        if self.loads.loading is not None or self.pauses.of_writes:
            return True
        return self.replica.active and bool(self.config["replica-ignore-maxmemory"])

    def _commit_apart(self) -> None:
        """Deletions that nobody asked for, each by itself."""
        if self.keyspace.recorded:
            self.outgoing.commit(together=False)

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
        self.expiry.advance()
        self.waiting.expire(now.mono_ms)
        self.loads.advance()
        if self.long_answers.due_ms is not None:
            self.long_answers.advance()
        if self.transfers.lines:
            self.transfers.advance(now)
        if self.replica.active:
            self.replica.advance(now)
        self.pauses.advance()
        self.failover.advance()
        self.shutdown.advance()
        if self.evictor.limit:
            self.memory.advance(now)
        if now.mono_ms >= self.cron_ms:
            self.cron_ms = now.mono_ms + _CRON_MS
            if not self.server.cron_paused:
                self.counters.tick()
                self.cron.run()
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
        if self.waiting.timeouts and (other := self.waiting.next_timeout()) is not None and other < soonest:
            soonest = other
        if (other := self.long_answers.due_ms) is not None and other < soonest:
            soonest = other
        if (load := self.loads.loading) is not None and (other := load.resume_ms) is not None and other < soonest:
            soonest = other
        if self.replica.active and (other := self.replica.deadline_ms()) is not None and other < soonest:
            soonest = other
        if (pause := self.pauses.until_ms) and pause < soonest:
            soonest = pause
        if (other := self.failover.deadline_ms) is not None and other < soonest:
            soonest = other
        if (other := self.shutdown.deadline_ms) is not None and other < soonest:
            soonest = other
        if self.keyspace.scheduled and (other := self.expiry.deadline_ms(self.turn.now)) is not None:
            soonest = min(soonest, other)
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

    def _finish(self, *, may_wait: bool = True) -> list[Effect]:
        """End a turn: go on with the unblocked, flush the stream and the replies, start what must start last.

        may_wait: the driver's turn goes on; replies can wait for its end, and `advance`.
        """
        outgoing = self.outgoing
        if self.keyspace.ready:
            self.executor.serve_ready()
        if self.waiting.resumed:
            self.executor.resume(self.connections.run_unread)
        if self.keyspace.on_touch is not None:
            self.tracker.settle()
        if outgoing.stream or outgoing.writers:
            outgoing.flush()
        snapshots = self.snapshots
        if self.saving.empty_due:
            self.saving.save_emptied()
        wanted = snapshots.requested_save or snapshots.scheduled
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
        if self.cluster is not None:
            self.turn.effects += self.cluster.settle()
        touched = self.roll.touched
        if touched:
            effects = self.turn.effects
            for session in touched:
                out = session.out
                if out:
                    data = out[0] if len(out) == 1 else b"".join(out)
                    out.clear()
                    session.total_sent += len(data)
                    self.roll.writes += 1
                    effects.append(Send(session.conn, data))
            touched.clear()
        return self.turn.take()

    # -- start and clocks --------------------------------------------------------------------------------------------

    def _started(self, event: Started) -> None:
        now = self.turn.now
        self.report.started = now
        self.cron_ms = now.mono_ms + _CRON_MS
        self.cron.ping_ms = now.mono_ms
        self.snapshots.last_save_s = now.unix_ms // 1000
        self.turn.log(Level.WARNING, "Server initialized")
        names = self.config.ineffective()
        if names:
            self.turn.log(Level.NOTICE, f"Accepted and kept, but without effect here: {', '.join(names)}")
        if self.cluster is not None:
            self.cluster.begin(self.loads.at_start)
        else:
            self.loads.at_start()

    def _ready(self) -> None:
        """Our own dump is loaded, or there is none."""
        if self.config["replicaof"]:
            host, port = self.config["replicaof"]
            self.role.become_replica(host, int(port), why="")
        self.gates.drop("start")
        if self.cluster is not None:
            self.cluster.ready(self.turn.now)
        self.turn.log(Level.NOTICE, "Ready to accept connections")

    # -- what is told ------------------------------------------------------------------------------------------------

    def _snapshot_sent(self, event: SnapshotSent) -> None:
        self.primary.snapshot_sent(event.conn, self.turn.now)

    def _snapshot_stalled(self, event: SnapshotStalled) -> None:
        self.primary.snapshot_stalled(event.conn, event.stalled, self.turn.now)

    def _file_failed(self, event: FileFailed) -> None:
        """Whose file it is, knows."""
        if not (self.append_only.file_failed(event) or self.saving.file_failed(event) or self.loads.file_failed(event)):
            self.replica.file_failed(event.name, event.why, self.turn.now)

    def _file_committed(self, event: FileCommitted) -> None:
        if not (self.append_only.file_committed(event) or self.saving.file_committed(event)):
            self.replica.file_committed(event.name, event.final_name)

    def _signalled(self, event: Signalled) -> None:
        words = self.config["shutdown-on-sigint" if event.name == "SIGINT" else "shutdown-on-sigterm"]
        save = True if "save" in words else (False if "nosave" in words else None)
        self.shutdown.begin(None, save=save, now="now" in words, force="force" in words)

    def _writer_gone(self, session: Session) -> None:
        self.outgoing.writers.pop(session, None)

    def _replica_gone(self, session: Session) -> None:
        if self.primary.closed(session.conn, self.turn.now):
            self.snapshots.cancel_without_receivers()
            self.acknowledgements.changed()

    @property
    def ready(self) -> bool:
        """The initial load is over: "Ready to accept connections" was said."""
        return "start" not in self.gates.held

    # -- for tests ---------------------------------------------------------------------------------------------------

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
        for link in self.primary.links.values():
            assert link.acked <= end or link.cursor is None, (link.acked, end)
