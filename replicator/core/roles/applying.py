"""The stream of our primary: applied command by command, and put into our own window verbatim.

The bytes go into the window only when what they say has been applied: so our replicas read the same history as we do,
and our offset never runs ahead of our data. A transaction is applied when its EXEC is there, as one.
"""

from __future__ import annotations

from replicator.core import limits
from replicator.core.clients.monitors import Monitors
from replicator.core.clients.roll import Roll, address
from replicator.core.clients.session import Blocked, Session, Wait
from replicator.core.clients.waiting import Waiting
from replicator.core.command_table.registry import ADMIN, MAY_REPLICATE, WRITE, Command
from replicator.core.command_table.table import Table
from replicator.core.config.config import Config
from replicator.core.effects import Level, PauseReading
from replicator.core.errors import WRONG_TYPE, CommandError
from replicator.core.execution.calling import Calling
from replicator.core.execution.executor import Executor
from replicator.core.keyspace.database import Keyspace, WrongType
from replicator.core.persistence.journal import Journal
from replicator.core.replication.outgoing import Outgoing
from replicator.core.replication.primary import Primary
from replicator.core.replication.replica import Replica
from replicator.core.roles.failover import Failover
from replicator.core.roles.pauses import Pauses
from replicator.core.turn import Turn
from replicator.core.wire.request import Argv, RequestDecoder, encoded_size


class PrimaryLink(Session):
    """The caller in whose name the stream is applied: nothing that a command says to it ever goes to the primary."""

    __slots__ = ()

    def push(self, data: bytes) -> None:
        """Drop it: the stream is not answered."""


class Applying:
    """What replica.Replica asks of its node for the link and the stream (replica.Host)."""

    def __init__(
        self,
        turn: Turn,
        config: Config,
        pid: int,
        keyspace: Keyspace,
        roll: Roll,
        table: Table,
        calling: Calling,
        executor: Executor,
        waiting: Waiting,
        monitors: Monitors,
        outgoing: Outgoing,
        journal: Journal,
        primary: Primary,
        replica: Replica,
        failover: Failover,
        pauses: Pauses,
    ) -> None:
        self.turn = turn
        self.config = config
        self.pid = pid
        self.keyspace = keyspace
        self.roll = roll
        self.table = table
        self.calling = calling
        self.executor = executor
        self.waiting = waiting
        self.monitors = monitors
        self.outgoing = outgoing
        self.journal = journal
        self.history = primary.history
        self.primary = primary
        self.replica = replica
        self.failover = failover
        self.pauses = pauses
        self.session: Session | None = None  # the context in which the stream is applied
        # Received, not applied yet (half a command, an open transaction): a bytearray, for it may grow piece by piece.
        # What comes when nothing waits stands here as it came until it is applied.
        self.unapplied: bytes | bytearray = b""
        self.queue: list[Argv] = []  # commands of an open transaction
        self.held: list[Argv] = []  # commands that CLIENT PAUSE keeps from being applied
        self._queued = 0  # their bytes in the stream
        self._queued_arguments = 0
        pauses.on_release.append(self.pause_ended)

    # -- before the stream -------------------------------------------------------------------------------------------

    def process_id(self) -> int:
        """The process's id."""
        return self.pid

    def handshake_lines(self) -> list[tuple[bytes, ...]]:
        """AUTH, REPLCONF listening-port, ip-address, capa."""
        config = self.config
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

    def history_renamed(self) -> None:
        """Our replicas learn the new id by asking again (and continue partially)."""
        self.primary.drop_all("our primary has a new replication id")

    def failover_refused(self, why: str) -> None:
        """The node that was to take over from us refused."""
        self.failover.refused(why)

    # -- the stream --------------------------------------------------------------------------------------------------

    def link_is_up(self) -> None:
        """A context for the stream, at the database where the stream is."""
        session = self.roll.new(PrimaryLink, self.replica.conn)
        session.is_primary_link = True
        session.authenticated = True
        session.decoder = RequestDecoder()
        session.decoder.max_bulk = limits.MAX_AOF_BULK  # our primary may have taken more than we would
        session.peer = f"{self.replica.primary_host}:{self.replica.primary_port}"
        session.local = address(*self.replica.local)
        session.db = self.keyspace.databases[self.replica.stream_db]
        self.session = session
        self.unapplied = b""
        self._empty_queue()
        self.failover.succeeded()

    def link_is_down(self) -> None:
        """What was not applied is dropped; it will be asked for again."""
        if self.session is not None:
            self.roll.by_id.pop(self.session.id, None)
            self._let_go(self.session)
            self.session = None
        self.unapplied = b""
        self._empty_queue()

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
            self.waiting.unpark(session)
            self.turn.emit(PauseReading(session.conn, False))
        if not keep:
            self.held = []

    def apply_stream(self, data: bytes) -> None:
        """Bytes of the stream: run the whole commands, then put their bytes into our window."""
        session = self.session
        if session is None:
            return
        session.last_ms = self.turn.now.mono_ms
        if self.unapplied:
            self.unapplied += data
        else:
            self.unapplied = data
        unapplied = self.unapplied
        batch = session.decoder.feed(data)
        if self.held:
            batch = [*self.held, *batch]
            self.held = []
        keyspace = self.keyspace
        keyspace.applying = True
        keyspace.expires_keys = False
        try:
            open_size = self._apply(session, batch)
        finally:
            keyspace.applying = False
        if session.decoder.error is not None:
            self.turn.log(Level.WARNING, f"Protocol error from master: {session.decoder.error}")
            self.replica.resumable = False  # where in the history our data stands cannot be told any more
            self.replica.disconnect("protocol error", self.turn.now)
            return
        if self.session is not session:
            return  # the stream itself made us leave
        done = len(unapplied) - session.decoder.pending - open_size
        if done == len(unapplied):
            self.outgoing.verbatim(unapplied)
            self.unapplied = b""
            self.replica.stream_db = session.db.index
            return
        if done > 0:
            self.outgoing.verbatim(unapplied[:done])
            self.replica.stream_db = session.db.index
        if done > 0 or unapplied is data:
            self.unapplied = bytearray(memoryview(unapplied)[done:])
        self._weigh(session)

    def _weigh(self, session: Session) -> None:
        """Leave a primary that keeps too much open: its data comes by a full synchronization, or never."""
        size = len(self.unapplied)
        arguments = self._queued_arguments + session.decoder.pending_arguments
        if size + arguments * limits.ARGUMENT_WEIGHT > limits.MAX_UNAPPLIED:
            what = "a transaction without its EXEC" if self.queue else "a command without its end"
            self.turn.log(
                Level.WARNING,
                f"The master has sent {what} of {size} bytes and {arguments} arguments, more than a replica keeps: "
                "leaving it, to ask for a full resynchronization.",
            )
            self.replica.resumable = False
            self.replica.disconnect("too much of the stream is open", self.turn.now)

    def _apply(self, session: Session, batch: list[Argv]) -> int:
        """Run commands of the stream; how many bytes of an open transaction remain unapplied at the end."""
        keyspace = self.keyspace
        known = self.table.known
        queue = self.queue
        session.deny_blocking = True
        pausing = self.pauses.of_clients
        behind, behind_from = 0, -1  # bytes of the batch from that command on: one sum, however many ask for it
        for at, argv in enumerate(batch):
            command = known.get(argv[0]) or self.table.find(argv[0])
            if pausing and command is not None and self._is_held(session, command, argv):
                return self._hold(session, batch[at:]) + self._queued
            if command is not None and command.flags & WRITE and not queue and not command.subcommands:
                self._write(session, command, argv)
                if keyspace.recorded:
                    self.outgoing.commit()
                if keyspace.ready:
                    self.executor.serve_ready()
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
                        self.outgoing.commit()
                    self._empty_queue()
                    self._show(session, command, argv)
                    if keyspace.ready:
                        self.executor.serve_ready()
                continue
            if name == "replconf":
                command.calls += 1
                # GETACK asks for the offset before itself: what stands behind it in this batch is not applied yet.
                if behind_from < 0:
                    behind = sum(map(encoded_size, batch[at:]))
                else:
                    behind -= sum(map(encoded_size, batch[behind_from:at]))
                behind_from = at
                position = self.history.end + len(self.unapplied) - session.decoder.pending - behind
                if len(argv) > 1 and argv[1].lower() == b"getack":
                    self.replica.acknowledge(self.turn.now, position)
                continue
            self._run(session, argv)
            if keyspace.recorded:
                self.outgoing.commit()
            if keyspace.ready:
                self.executor.serve_ready()
        if keyspace.recorded:
            self.outgoing.commit(together=False)
        self.calling.total += len(batch)
        if batch:
            session.command = self.table.resolve(batch[-1])
        return self._queued

    def _is_held(self, session: Session, command: Command, argv: Argv) -> bool:
        """Whether CLIENT PAUSE holds this command of the stream back, as it would a client's."""
        if session.blocked is not None or self.pauses.everything:
            return True
        if self.queue or command.name == "exec":
            return command.name == "exec"
        resolved = self.table.resolve(argv) or command
        return bool(resolved.flags & (WRITE | MAY_REPLICATE))

    def _hold(self, session: Session, batch: list[Argv]) -> int:
        """Keep these, and all that come behind them, until the pause ends; their bytes in the stream."""
        self.held = batch
        if session.blocked is None:
            self.waiting.park(session, Blocked(Wait.STREAM, [], None, None, b"", since_ms=self.turn.now.mono_ms))
        if len(self.unapplied) > limits.MAX_UNAPPLIED // 4:
            self.turn.emit(PauseReading(session.conn, True))
        return sum(map(encoded_size, batch))

    def _empty_queue(self) -> None:
        self.queue.clear()
        self._queued = self._queued_arguments = 0

    def _run(self, session: Session, argv: Argv) -> None:
        command = self.table.resolve(argv)
        if command is None:
            self._complain(argv, "unknown command")
            return
        self._write(session, command, argv)

    def _write(self, session: Session, command: Command, argv: Argv) -> None:
        """Run a command. Its effects are kept for the append-only file alone: our replicas read the stream itself."""
        if not command.least <= len(argv) <= command.most:
            self._complain(argv, "wrong number of arguments")
            return
        keyspace = self.keyspace
        command.calls += 1
        keyspace.verbatim = True
        before, index, kept = keyspace.dirty, session.db.index, len(keyspace.recorded)
        run = command.run
        try:
            answer = run(session, argv)
        except (CommandError, WrongType) as problem:
            text = WRONG_TYPE if isinstance(problem, WrongType) else str(problem)
            answer = self.calling.failed(command, text)
        if self.monitors.sessions:
            self._show(session, command, argv)
        if answer[:1] == b"-":
            self._complain(argv, answer[1:-2].decode("utf-8", "backslashreplace"))
        if not self.journal.takes:
            del keyspace.recorded[kept:]
        elif keyspace.dirty != before and keyspace.verbatim:
            keyspace.recorded.append((index, argv))

    def _show(self, session: Session, command: Command, argv: Argv) -> None:
        """To those who watch this node; what the primary shows of a client, we show of the link."""
        if self.monitors.sessions and not command.flags & ADMIN:
            self.monitors.feed(session, command, argv)

    def _complain(self, argv: Argv, why: str) -> None:
        self.turn.log(
            Level.WARNING,
            f"== CRITICAL == This replica is sending an error to its master: '{why}' after processing the command "
            f"'{argv[0].decode('utf-8', 'backslashreplace').lower()}'",
        )
        # A replica that takes writes of its own has other data anyway.
        if self.config["propagation-error-behavior"] != "ignore" and self.config["replica-read-only"]:
            self.turn.log(
                Level.WARNING, "Replica cannot apply its primary's command: it must not go on with other data."
            )
            self.turn.crash()


def _bytes(value: object) -> bytes:
    """A value of the configuration as it was given: any bytes."""
    return str(value).encode("utf-8", "surrogateescape")
