"""This node as a replica: loads what its primary sends and applies its stream.

The stream's bytes are put into our own window verbatim, and only when what they say has been applied: so our replicas
read the same history as we do, and our offset never runs ahead of our data. A transaction is applied when its EXEC is
there, as one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core import limits
from replicator.core.clients.session import Blocked, Session
from replicator.core.command_table.registry import ADMIN, MAY_REPLICATE, WRITE, Command
from replicator.core.effects import Announce, Level, PauseReading, RemoveFile, StopReading
from replicator.core.errors import WRONG_TYPE, CommandError
from replicator.core.keyspace.database import WrongType
from replicator.core.persistence.loading import RdbError
from replicator.core.persistence.place import stream_database
from replicator.core.replication.transfer import LoadError
from replicator.core.wire.request import Argv, RequestDecoder, encoded_size

if TYPE_CHECKING:
    from replicator.core.node import Node


class PrimaryLink(Session):
    """The caller in whose name the stream is applied: nothing that a command says to it ever goes to the primary."""

    __slots__ = ()

    def push(self, data: bytes) -> None:
        """Drop it: the stream is not answered."""


class Following:
    """What replica.Replica asks of its node (replica.Host)."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.session: Session | None = None  # the context in which the stream is applied
        self.local = ""  # our end of the link, as host:port
        # Received, not applied yet (half a command, an open transaction): a bytearray, for it may grow piece by piece.
        # What comes when nothing waits stands here as it came until it is applied.
        self.unapplied: bytes | bytearray = b""
        self.queue: list[Argv] = []  # commands of an open transaction
        self.held: list[Argv] = []  # commands that CLIENT PAUSE keeps from being applied
        self._queued = 0  # their bytes in the stream
        self._queued_arguments = 0

    # -- before the stream -------------------------------------------------------------------------------------------

    def process_id(self) -> int:
        """The process's id."""
        return self.node.surroundings.pid

    def allocate_connection(self) -> int:
        """A fresh negative connection number."""
        self.node.last_connection -= 1
        return self.node.last_connection

    def handshake_lines(self) -> list[tuple[bytes, ...]]:
        """AUTH, REPLCONF listening-port, ip-address, capa."""
        config = self.node.config
        lines: list[tuple[bytes, ...]] = []
        if config["masterauth"]:
            password = _bytes(config["masterauth"])
            user = _bytes(config["masteruser"])
            lines.append((b"AUTH", user, password) if user else (b"AUTH", password))
        own_port = config["tls-port"] if config["tls-replication"] and config["tls-port"] else config["port"]
        port = config["replica-announce-port"] or own_port
        lines.append((b"REPLCONF", b"listening-port", b"%d" % port))
        if config["replica-announce-ip"]:
            lines.append((b"REPLCONF", b"ip-address", _bytes(config["replica-announce-ip"])))
        lines.append((b"REPLCONF", b"capa", b"eof", b"capa", b"psync2", b"capa", b"rdb11"))
        return lines

    def load_in_memory(self) -> bool:
        """Whether the payload goes straight to the loader."""
        mode = self.node.config["repl-diskless-load"]
        if mode == "on-empty-db":
            return not any(len(db) for db in self.node.keyspace.databases)
        return bool(mode == "swapdb")

    def full_sync_begins(self) -> None:
        """A payload will come; until our old data goes, our replicas are served and our history can be continued."""
        self.node.handover.succeeded()

    def history_renamed(self) -> None:
        """Our replicas learn the new id by asking again (and continue partially)."""
        self.node.primary.drop_all("our primary has a new replication id")

    def failover_refused(self, why: str) -> None:
        """The node that was to take over from us refused."""
        self.node.handover.refused(why)

    # -- loading -----------------------------------------------------------------------------------------------------

    def before_dump_is_replaced(self) -> None:
        """A child that saves our old data would put it under the payload's name: it is killed."""
        snapshots = self.node.snapshots
        snapshots.requested_save = snapshots.scheduled = False
        if snapshots.saving:
            assert snapshots.running is not None
            self.node.turn.log(
                Level.NOTICE,
                "Replica is about to load the RDB file received from the master, but there is a pending RDB child "
                f"running. Killing process {snapshots.running.pid} and removing its temp file to avoid any race",
            )
            snapshots.cancel()

    def load_file(self, name: str) -> None:
        """Drop the old data, then load the file chunk by chunk."""
        node = self.node
        self._flush_old()
        node.turn.log(Level.NOTICE, "MASTER <-> REPLICA sync: Loading DB in memory")
        node.loads.begin("file", name, asynchronous=False)
        node.loads.read(name)

    def disk_room(self) -> int | None:
        """Bytes free where the payload is written; None: nobody knows."""
        room = self.node.surroundings.disk_room
        return None if room is None else room()

    def open_loader(self) -> None:
        """Load from the socket; swapdb keeps the old data meanwhile, and serves it if it is of the same history."""
        node = self.node
        swap = node.config["repl-diskless-load"] == "swapdb"
        if not swap:
            self._flush_old()
        node.turn.log(Level.NOTICE, "MASTER <-> REPLICA sync: Loading DB in memory")
        # Old data of another history is kept in case the load fails, but nobody should take it for the primary's.
        node.loads.begin("socket", "", asynchronous=swap and node.replica.full_id == node.history.id)

    def _leave_history(self) -> None:
        """From now on nothing continues our old history: not we, and not our replicas."""
        if self.node.replica.resumable:
            self.node.turn.log(Level.NOTICE, "Discarding previously cached master state.")
        self.node.primary.drop_all("our primary gives us another history")

    def _flush_old(self) -> None:
        node = self.node
        node.append_only.suspend()
        self._leave_history()
        node.turn.log(Level.NOTICE, "MASTER <-> REPLICA sync: Flushing old data")
        for db in node.keyspace.databases:
            db.clear()
        # An empty node is no continuation of anything.
        node.history.drop_window()
        node.history.forget(node.random)
        node.replica.resumable = False
        node.turn.emit(Announce("replication.data-dropped", ()))

    def feed_loader(self, data: bytes) -> bytes | None:
        """Payload bytes from the socket."""
        loading = self.node.loading
        assert loading is not None
        node = self.node
        bound = node.surroundings.memory * limits.MAX_LOAD_PERCENT // 100
        if bound and node.surroundings.resident() > bound:
            node.loads.end()
            share = f"{limits.MAX_LOAD_PERCENT}% of the memory that this process may have"
            raise LoadError(f"{share} is in use, with {loading.read} bytes of the payload read")
        waited = loading.resume_ms is not None
        try:
            rest = node.loads.feed(loading, data)
        except RdbError as problem:
            node.loads.end()
            raise LoadError(str(problem)) from None
        waits = loading.resume_ms is not None
        if waits != waited:
            node.turn.emit(PauseReading(node.replica.conn, waits))
        return rest

    def loader_waits(self) -> bool:
        """Whether the loader holds bytes back (key-load-delay)."""
        loading = self.node.loading
        return loading is not None and loading.resume_ms is not None

    def finish_load(self) -> None:
        """The payload is whole: its data becomes ours."""
        self._adopt()

    def abandon_load(self, why: str) -> None:
        """The payload broke off."""
        loading = self.node.loading
        if loading is not None:
            self.node.turn.log(Level.NOTICE, f"MASTER <-> REPLICA sync: Discarding the unfinished load ({why})")
            if loading.source == "file":
                self.node.turn.emit(StopReading(loading.name))
            self.node.loads.end()

    def file_loaded(self, name: str) -> None:
        """The payload has been loaded from its file."""
        node = self.node
        if node.config["rdb-del-sync-files"] and not node.config["save"] and not node.config["appendonly"]:
            node.turn.emit(RemoveFile(name))
        self._adopt()

    def _adopt(self) -> None:
        node = self.node
        loading = node.loading
        assert loading is not None
        stream_db = stream_database(loading.loader.aux, len(node.keyspace.databases))
        if node.replica.resumable:  # swapdb: nothing was flushed
            self._leave_history()
        node.loads.adopt()
        node.append_only.restart()
        node.replica.payload_loaded(stream_db, node.turn.now)

    # -- the stream --------------------------------------------------------------------------------------------------

    def link_is_up(self) -> None:
        """A context for the stream, at the database where the stream is."""
        node = self.node
        session = PrimaryLink(node.executor, node.replica.conn)
        session.is_primary_link = True
        session.authenticated = True
        session.decoder = RequestDecoder()
        session.decoder.max_bulk = limits.MAX_AOF_BULK  # our primary may have taken more than we would
        session.id = node.connections.next_client_id()
        session.peer = f"{node.replica.primary_host}:{node.replica.primary_port}"
        session.local = self.local
        session.created_ms = session.last_ms = node.turn.now.mono_ms
        session.db = node.keyspace.databases[node.replica.stream_db]
        self.session = session
        self.unapplied = b""
        self._empty_queue()
        node.by_id[session.id] = session
        node.regate()
        node.handover.succeeded()

    def link_is_down(self) -> None:
        """What was not applied is dropped; it will be asked for again."""
        node = self.node
        if self.session is not None:
            node.by_id.pop(self.session.id, None)
            self._let_go(self.session)
            self.session = None
        self.unapplied = b""
        self._empty_queue()
        node.regate()

    def pause_ended(self) -> None:
        """Apply what a pause has held back."""
        session = self.session
        if session is not None and session.blocked is not None:
            self._let_go(session, keep=True)
            if self.held:
                self.apply_stream(b"")

    def _let_go(self, session: Session, *, keep: bool = False) -> None:
        """Nothing is held back any more; keep: because it is to be applied now."""
        if session.blocked is not None:
            self.node.executor.unpark(session)
            self.node.turn.emit(PauseReading(session.conn, False))
        if not keep:
            self.held = []

    def apply_stream(self, data: bytes) -> None:
        """Bytes of the stream: run the whole commands, then put their bytes into our window."""
        session = self.session
        node = self.node
        if session is None:
            return
        session.last_ms = node.turn.now.mono_ms
        if self.unapplied:
            self.unapplied += data
        else:
            self.unapplied = data
        unapplied = self.unapplied
        batch = session.decoder.feed(data)
        if self.held:
            batch = [*self.held, *batch]
            self.held = []
        keyspace = node.keyspace
        keyspace.applying = True
        keyspace.expires_keys = False
        try:
            open_size = self._apply(session, batch)
        finally:
            keyspace.applying = False
        if session.decoder.error is not None:
            node.turn.log(Level.WARNING, f"Protocol error from master: {session.decoder.error}")
            node.replica.resumable = False  # where in the history our data stands cannot be told any more
            node.replica.disconnect("protocol error", node.turn.now)
            return
        if self.session is not session:
            return  # the stream itself made us leave
        done = len(unapplied) - session.decoder.pending - open_size
        if done == len(unapplied):
            node.outgoing.verbatim(unapplied)
            self.unapplied = b""
            node.replica.stream_db = session.db.index
            return
        if done > 0:
            node.outgoing.verbatim(unapplied[:done])
            node.replica.stream_db = session.db.index
        if done > 0 or unapplied is data:
            self.unapplied = bytearray(memoryview(unapplied)[done:])
        self._weigh(session)

    def _weigh(self, session: Session) -> None:
        """Leave a primary that keeps too much open: its data comes by a full synchronization, or never."""
        node = self.node
        size = len(self.unapplied)
        arguments = self._queued_arguments + session.decoder.pending_arguments
        if size + arguments * limits.ARGUMENT_WEIGHT > limits.MAX_UNAPPLIED:
            what = "a transaction without its EXEC" if self.queue else "a command without its end"
            node.turn.log(
                Level.WARNING,
                f"The master has sent {what} of {size} bytes and {arguments} arguments, more than a replica keeps: "
                "leaving it, to ask for a full resynchronization.",
            )
            node.replica.resumable = False
            node.replica.disconnect("too much of the stream is open", node.turn.now)

    def _apply(self, session: Session, batch: list[Argv]) -> int:
        """Run commands of the stream; how many bytes of an open transaction remain unapplied at the end."""
        executor = self.node.executor
        keyspace = self.node.keyspace
        table = executor.table
        queue = self.queue
        session.deny_blocking = True
        pausing = self.node.handover.pausing_clients
        behind, behind_from = 0, -1  # bytes of the batch from that command on: one sum, however many ask for it
        for at, argv in enumerate(batch):
            command = table.get(argv[0]) or executor.find(argv[0])
            if pausing and command is not None and self._is_held(session, command, argv):
                return self._hold(session, batch[at:]) + self._queued
            if command is not None and command.flags & WRITE and not queue and not command.subcommands:
                self._write(session, command, argv)
                if keyspace.recorded:
                    self.node.outgoing.commit()
                if keyspace.ready:
                    executor.serve_ready()
                continue
            if command is None:
                self._complain(argv, f"unknown command '{argv[0]!r}'")
                continue
            name = command.name
            if queue or name == "multi":
                command.calls += name in ("multi", "exec")
                if name == "multi":
                    self._show(session, command, argv)
                queue.append(argv)
                self._queued += encoded_size(argv)
                self._queued_arguments += len(argv)
                if name == "exec":
                    for inner in queue[1:-1]:
                        self._run(session, inner)
                    if keyspace.recorded:
                        self.node.outgoing.commit()
                    self._empty_queue()
                    self._show(session, command, argv)
                    if keyspace.ready:
                        executor.serve_ready()
                continue
            if name == "replconf":
                command.calls += 1
                # GETACK asks for the offset before itself: what stands behind it in this batch is not applied yet.
                if behind_from < 0:
                    behind = sum(map(encoded_size, batch[at:]))
                else:
                    behind -= sum(map(encoded_size, batch[behind_from:at]))
                behind_from = at
                position = self.node.history.end + len(self.unapplied) - session.decoder.pending - behind
                if len(argv) > 1 and argv[1].lower() == b"getack":
                    self.node.replica.acknowledge(self.node.turn.now, position)
                continue
            self._run(session, argv)
            if keyspace.recorded:
                self.node.outgoing.commit()
            if keyspace.ready:
                executor.serve_ready()
        if keyspace.recorded:
            self.node.outgoing.commit(together=False)
        executor.total_commands += len(batch)
        if batch:
            session.command = executor.resolve(batch[-1])
        return self._queued

    def _is_held(self, session: Session, command: Command, argv: Argv) -> bool:
        """Whether CLIENT PAUSE holds this command of the stream back, as it would a client's."""
        if session.blocked is not None or self.node.handover.client_pause_all:
            return True
        if self.queue or command.name == "exec":
            return command.name == "exec"
        resolved = self.node.executor.resolve(argv) or command
        return bool(resolved.flags & (WRITE | MAY_REPLICATE))

    def _hold(self, session: Session, batch: list[Argv]) -> int:
        """Keep these, and all that come behind them, until the pause ends; their bytes in the stream."""
        node = self.node
        self.held = batch
        if session.blocked is None:
            node.executor.park(session, Blocked("stream", [], None, None, b"", since_ms=node.turn.now.mono_ms))
        if len(self.unapplied) > limits.MAX_UNAPPLIED // 4:
            node.turn.emit(PauseReading(session.conn, True))
        return sum(map(encoded_size, batch))

    def _empty_queue(self) -> None:
        self.queue.clear()
        self._queued = self._queued_arguments = 0

    def _run(self, session: Session, argv: Argv) -> None:
        command = self.node.executor.resolve(argv)
        if command is None:
            self._complain(argv, "unknown command")
            return
        self._write(session, command, argv)

    def _write(self, session: Session, command: Command, argv: Argv) -> None:
        """Run a command. Its effects are kept for the append-only file alone: our replicas read the stream itself."""
        if not command.least <= len(argv) <= command.most:
            self._complain(argv, "wrong number of arguments")
            return
        keyspace = self.node.keyspace
        command.calls += 1
        keyspace.verbatim = True
        before, index, kept = keyspace.dirty, session.db.index, len(keyspace.recorded)
        run = command.run
        try:
            answer = run(session, argv)
        except (CommandError, WrongType) as problem:
            text = WRONG_TYPE if isinstance(problem, WrongType) else str(problem)
            answer = self.node.executor.failed(command, text)
        if self.node.monitors:
            self._show(session, command, argv)
        if answer[:1] == b"-":
            self._complain(argv, answer[1:-2].decode("utf-8", "backslashreplace"))
        if not self.node.journal.takes:
            del keyspace.recorded[kept:]
        elif keyspace.dirty != before and keyspace.verbatim:
            keyspace.recorded.append((index, argv))

    def _show(self, session: Session, command: Command, argv: Argv) -> None:
        """To those who watch this node; what the primary shows of a client, we show of the link."""
        if self.node.monitors and not command.flags & ADMIN:
            self.node.watchers.feed(session, command, argv)

    def _complain(self, argv: Argv, why: str) -> None:
        self.node.turn.log(
            Level.WARNING,
            f"== CRITICAL == This replica is sending an error to its master: '{why}' after processing the command "
            f"'{argv[0].decode('utf-8', 'backslashreplace').lower()}'",
        )
        # A replica that takes writes of its own has other data anyway.
        if self.node.config["propagation-error-behavior"] != "ignore" and self.node.config["replica-read-only"]:
            self.node.turn.log(
                Level.WARNING, "Replica cannot apply its primary's command: it must not go on with other data."
            )
            self.node.turn.crash()


def _bytes(value: object) -> bytes:
    """A value of the configuration as it was given: any bytes."""
    return str(value).encode("utf-8", "surrogateescape")
