"""From argv to reply and effect: the hot path, the checks before a command, transactions, blocked clients.

Two paths. The fast one runs a command after one dictionary look-up and one test of flags. Whatever needs a closer
look (a role, a limit, MULTI, an unauthenticated or subscribed client, a blocking command ...) sets bits in a gate
(the node's or the session's); a command with one of these bits takes the careful path, which asks every question in
stock's order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from replicator.core.clients.session import REPLY_ON, REPLY_SKIP, REPLY_SKIP_NEXT, Blocked, Session
from replicator.core.clients.transaction import Transaction
from replicator.core.command_table.context import PENDING, Context
from replicator.core.command_table.registry import (
    ADMIN,
    BLOCKING,
    DENY_OOM,
    LOADING,
    NO_ASYNC_LOADING,
    NO_AUTH,
    NO_MULTI,
    READONLY,
    REGISTRY,
    SKIP_MONITOR,
    STALE,
    WRITE,
    Command,
)
from replicator.core.effects import Close
from replicator.core.errors import WRONG_TYPE, CommandError, CountedError, Redirect, shown_in_error, unknown_command
from replicator.core.execution.script_flags import flags_of
from replicator.core.keyspace.database import WrongType
from replicator.core.limits import MAX_SPELLINGS, OUTPUT_HELD_BYTES, OUTPUT_RETRY_MS, WEIGHED_BYTES, WEIGHED_COMMANDS
from replicator.core.wire import reply
from replicator.core.wire.request import Argv, encode

if TYPE_CHECKING:
    from replicator.core.node import Node

ANY = 1 << 62  # every command has this bit: a gate that lets nothing through unseen

_ALLOWED_WHILE_SUBSCRIBED = frozenset(
    ("subscribe", "unsubscribe", "psubscribe", "punsubscribe", "ssubscribe", "sunsubscribe", "ping", "quit", "reset")
)
COUNTED_AT_END = ("keys", "replicas")  # whose command counts as called when its waiting has ended
_NEVER_QUEUED = frozenset(("exec", "discard", "multi", "watch", "quit", "reset"))
# CLIENT REPLY silences replies; what confirms a subscription is a message.
_ALWAYS_ANSWERED = frozenset(("subscribe", "unsubscribe", "psubscribe", "punsubscribe", "ssubscribe", "sunsubscribe"))


class Executor:
    """Runs the commands of all sessions of one node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.keyspace = node.keyspace
        # All commands; each is the registry's own until it is first called for, then this node's copy, which counts.
        self.commands = dict(REGISTRY)
        self.table: dict[bytes, Command] = {}  # those called for, by name as spelled by clients
        self.touched: dict[Session, None] = {}  # sessions with output
        self.outgoing = node.outgoing
        self.gate = BLOCKING  # command flags that need the careful path now
        self.timeouts: list[tuple[int, int, Session, Blocked]] = []
        self.blocked: dict[Session, None] = {}
        self.resumed: list[Session] = []  # unblocked, with commands still to run
        self.errors: dict[str, int] = {}  # INFO errorstats
        self.total_commands = self.writes = 0  # run; sent replies
        self.current: Session | None = None  # whose commands run
        self.behind: list[bytes] = []  # messages for `current`, to go out behind the reply of its command
        self.weighed_commands = WEIGHED_COMMANDS  # that run before their replies are weighed; 0: each is weighed
        self.weighed_bytes = WEIGHED_BYTES  # of output, before it is held against the limits
        self.batch_dirty = 0  # keyspace.dirty when the batch that runs now began
        self._count = 0

    # -- the table ---------------------------------------------------------------------------------------------------

    def _own(self, name: str, entry: Command) -> Command:
        """This node's copy of a command, from now on found under the name.

        Made when it is first called for: a node uses a few of hundreds, and a simulation starts thousands of nodes.
        """
        entry = entry.copy()
        entry.flags |= ANY
        for sub in entry.subcommands.values():
            sub.flags |= ANY
        self.node.statistics.measure(entry)
        self.commands[name] = entry
        self.table[name.encode()] = entry
        self.table[name.upper().encode()] = entry
        return entry

    def rename(self, old: str, new: str) -> bool:
        """rename-command; an empty new name removes the command. Whether the old name was there."""
        entry = self.commands.pop(old, None)
        if entry is None:
            return False
        self.table = {name: known for name, known in self.table.items() if known is not entry}
        if new:
            self.commands[new.lower()] = entry
        return True

    def find(self, name: bytes) -> Command | None:
        """The command of that name in any spelling."""
        known_as = name.lower().decode("utf-8", "replace")
        entry = self.commands.get(known_as)
        if entry is not None and entry is REGISTRY.get(entry.name):
            entry = self._own(known_as, entry)
        if entry is not None and len(self.table) < MAX_SPELLINGS:
            self.table[name] = entry
        return entry

    def resolve(self, argv: Argv) -> Command | None:
        """The command or subcommand that argv names, or None."""
        entry = self.table.get(argv[0]) or self.find(argv[0])
        if entry is not None and entry.subcommands:
            if len(argv) < 2:
                return entry
            return entry.subcommands.get(argv[1].lower().decode("utf-8", "replace"))
        return entry

    # -- running -----------------------------------------------------------------------------------------------------

    def run(self, session: Session, batch: Sequence[Argv]) -> None:
        """Run a client's commands in order; stop when one makes it wait (the rest is kept) or ends it."""
        table = self.table
        keyspace = self.keyspace
        outgoing = self.outgoing
        out = session.out
        if not out:
            self.touched[session] = None
        self.current = session
        dirty_before = self.batch_dirty = keyspace.dirty
        command: Command | None = None
        at = -1
        for at, argv in enumerate(batch):
            command = table.get(argv[0]) or self.find(argv[0])
            if (
                command is None
                or command.flags & (self.gate | session.gate)
                or not command.least <= len(argv) <= command.most
                or command.subcommands
            ):
                answer = self.careful(session, command, argv)
            else:
                command.calls += 1
                keyspace.verbatim = True
                before = keyspace.dirty
                run = command.run  # a local name: 3.11 finds what is called of an attribute slowly
                try:
                    answer = run(session, argv)
                except CommandError as problem:
                    answer = self.failed(command, problem)
                except WrongType:
                    answer = self.failed(command, WRONG_TYPE)
                if keyspace.recorded:
                    if keyspace.dirty != before and keyspace.verbatim:
                        keyspace.recorded.append((session.db.index, argv))
                    outgoing.commit()
                elif keyspace.dirty != before and outgoing.feeding and keyspace.verbatim:
                    index = session.db.index
                    if index != outgoing.db:
                        outgoing.select(index)
                    outgoing.stream.append(encode(tuple(argv)))
            if answer:
                out.append(answer)
            elif session.blocked is not None:
                if session.blocked.kind in COUNTED_AT_END and session.command is not None:
                    session.command.calls -= 1
                session.queue.extend(batch[at + 1 :])
                break
            if keyspace.ready:
                self.serve_ready()
            if session.closing:
                break
        if self.behind:
            self._push_behind(session)
        self.current = None
        if command is not None and not command.subcommands:
            session.command = command
        self.total_commands += at + 1
        if outgoing.feeding and keyspace.dirty != dirty_before:
            session.write_position = -1  # until the stream is flushed
            outgoing.writers[session] = None

    def run_weighed(self, session: Session, batch: Sequence[Argv]) -> None:
        """`run` for many commands: some at a time, and what is behind waits when the client has too much to read."""
        step = self.weighed_commands or 1
        for at in range(0, len(batch), step):
            behind = at + step
            self.run(session, batch[at:behind])
            if session.closing or (behind >= len(batch) and self.weighed_commands):
                return
            waiting = session.pending_output + sum(map(len, session.out))
            if waiting > self.weighed_bytes:
                self.node.services.check_output_limit(session)
                if session.closing:
                    return
                if waiting > OUTPUT_HELD_BYTES and session.blocked is None:
                    self._hold(session)
            if session.blocked is not None:
                session.queue.extend(batch[behind:])
                return

    def _hold(self, session: Session) -> None:
        """Let a client wait until it has read some of its replies."""
        now = self.node.turn.now.mono_ms
        self.park(session, Blocked("output", [], None, now + OUTPUT_RETRY_MS, b"", since_ms=now))

    def call(self, ctx: Context, command: Command, argv: Argv, *, commit: bool = True) -> bytes:
        """Run one command that has passed its checks; its effects are recorded (and handed on, if commit)."""
        command.calls += 1
        keyspace = self.keyspace
        keyspace.verbatim = True
        before = keyspace.dirty
        index = ctx.db.index
        keyspace.writes = command.flags & WRITE
        try:
            answer = command.run(ctx, argv)
        except CommandError as problem:
            answer = self.failed(command, problem)
        except WrongType:
            answer = self.failed(command, WRONG_TYPE)
        keyspace.writes = 0
        if keyspace.dirty != before and keyspace.verbatim:
            keyspace.recorded.append((index, argv))
        if commit and keyspace.recorded:
            self.outgoing.commit()
        return answer

    def failed(self, command: Command | None, problem: str | CommandError) -> bytes:
        """The error reply, counted."""
        if command is not None:
            command.failed += 1
        return reply.error(str(problem)) if type(problem) is CountedError else self._error(str(problem))

    def _error(self, text: str) -> bytes:
        code = text.split(" ", 1)[0]
        if code in self.errors or len(self.errors) < 128:
            self.errors[code] = self.errors.get(code, 0) + 1
        return reply.error(text)

    # -- the careful path --------------------------------------------------------------------------------------------

    def careful(self, session: Session, command: Command | None, argv: Argv) -> bytes:
        """Every check before a command, then the command (or its queueing, or its waiting)."""
        if session.is_replica and self.node.orders.speaks_on_link(session):
            return self.node.orders.said_on_link(session, command, argv)
        return self.answer(session, command, argv)

    def answer(self, session: Session, command: Command | None, argv: Argv) -> bytes:
        """`careful`, whoever asks."""
        if command is None and self.node.connections.refuses_browser(session, argv[0]):
            return PENDING
        try:
            command = self._admit(session, command, argv)
        except CommandError as problem:
            self.total_commands -= 1
            refused = self.resolve(argv)
            if refused is not None:
                refused.rejected += 1
            if command is not None and command.name == "exec":
                self.end_transaction(session)
                text = str(problem)
                if not isinstance(problem, Redirect):
                    text = f"EXECABORT Transaction discarded because of: {text.removeprefix('ERR ')}"
                return self._mode(session, self._error(text))
            if session.transaction is not None:
                session.transaction.aborted = True
            return self._mode(session, self._error(str(problem)))
        if self.node.pauses(session, command):
            self.park(session, Blocked("pause", argv, command, None, b"", since_ms=self.node.turn.now.mono_ms))
            return PENDING
        if self.node.transfers.holds(session, command, argv):
            self.park(session, Blocked("moved key", argv, command, None, b"", since_ms=self.node.turn.now.mono_ms))
            return PENDING
        if session.transaction is not None and command.full_name not in _NEVER_QUEUED:
            if command.flags & NO_MULTI:
                self.total_commands -= 1
                command.rejected += 1
                session.transaction.aborted = True
                return self._mode(session, self._error("ERR Command not allowed inside a transaction"))
            session.transaction.add(command, argv, flags_of(command, argv, self.node.scripting))
            self.total_commands -= 1  # it counts when EXEC runs it
            return self._mode(session, reply.QUEUED)
        session.argv = argv
        session.command = command
        monitored = self.node.monitors and not command.flags & ADMIN
        if monitored and command.flags & SKIP_MONITOR:  # a script is shown before what it does
            self.node.watchers.feed(session, command, argv)
        answer = (self._call_untouching if session.no_touch else self.call)(session, command, argv)
        if monitored and not command.flags & SKIP_MONITOR:
            self.node.watchers.feed(session, command, argv)
        if session.tracking is not None:
            self.node.tracker.after(session, command, argv)
        if session.blocked is None:
            wanted = self._mode(session, answer)
            answer = answer if command.name in _ALWAYS_ANSWERED else wanted
        if self.behind and answer:
            answer += b"".join(self.behind)
            self.behind.clear()
        return answer

    def _call_untouching(self, session: Session, command: Command, argv: Argv) -> bytes:
        """For CLIENT NO-TOUCH: the command counts as no access to its keys (TOUCH itself does)."""
        if command.name == "touch":
            return self.call(session, command, argv)
        keyspace = self.keyspace
        told, keyspace.on_access = keyspace.on_access, None
        try:
            return self.call(session, command, argv)
        finally:
            keyspace.on_access = told

    def tell(self, session: Session, data: bytes) -> None:
        """Send a message; to the client whose command runs now, behind that command's reply."""
        if session is self.current:
            self.behind.append(data)
        else:
            session.push(data)

    def _push_behind(self, session: Session) -> None:
        session.push(b"".join(self.behind))
        self.behind.clear()

    def _mode(self, session: Session, answer: bytes) -> bytes:
        """The answer as CLIENT REPLY wants it."""
        if session.reply_mode == REPLY_ON:
            return answer
        if session.reply_mode == REPLY_SKIP_NEXT:
            session.reply_mode = REPLY_SKIP
            return b""
        if session.reply_mode == REPLY_SKIP:
            session.reply_mode = REPLY_ON
            self.regate(session)
        return b""

    def _admit(self, session: Session, command: Command | None, argv: Argv) -> Command:
        """Raise what forbids the command now; return the command (a container's subcommand)."""
        command = self.identify(command, argv)
        session.argv = argv
        session.command = command
        node = self.node
        flags = flags_of(command, argv, node.scripting)
        lacks = ~flags
        if session.transaction is not None and command.name == "exec":
            flags |= session.transaction.flags  # what one of the queued commands does, EXEC does
            lacks |= session.transaction.lacks
        if not session.authenticated and not command.flags & NO_AUTH:
            raise CommandError("NOAUTH Authentication required.")
        node.users.check(session, command, argv)
        if node.cluster is not None:
            node.cluster.check(session, command, argv)
        if session.monitor and flags & (READONLY | WRITE):
            raise CommandError("ERR Replica can't interact with the keyspace")
        if flags & DENY_OOM or (session.transaction is not None and self._needs_memory(session.transaction, command)):
            node.memory.check(node.turn.now)
        if flags & WRITE:
            node.check_write()
        elif command.name == "ping":
            node.check_persistence()
        subscribed = session.channels or session.patterns or session.shard_channels
        if subscribed and not session.resp3 and command.name not in _ALLOWED_WHILE_SUBSCRIBED:
            raise CommandError(
                f"ERR Can't execute '{command.full_name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
                "RESET are allowed in this context"
            )
        if lacks & STALE and node.is_stale():
            raise CommandError("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.")
        if node.loading is not None:
            if lacks & LOADING and not node.loading.asynchronous:
                raise CommandError("LOADING Redis is loading the dataset in memory")
            if flags & NO_ASYNC_LOADING and node.loading.asynchronous:
                raise CommandError("LOADING Redis is loading the dataset in memory")
        node.busy_scripts.check(command)
        return command

    def identify(self, command: Command | None, argv: Argv) -> Command:
        """The command (a container's subcommand) with its arity checked, or the error that says what is wrong."""
        if command is None:
            raise CommandError(unknown_command(argv))
        if command.subcommands and len(argv) >= 2:
            sub = command.subcommands.get(argv[1].lower().decode("utf-8", "replace"))
            if sub is None:
                shown = shown_in_error(argv[1][:128])
                raise CommandError(f"ERR unknown subcommand '{shown}'. Try {command.name.upper()} HELP.")
            command = sub
        if not command.least <= len(argv) <= command.most:
            raise CommandError(f"ERR wrong number of arguments for '{command.full_name}' command")
        return command

    def _needs_memory(self, transaction: Transaction, command: Command) -> bool:
        """Whether a command inside MULTI is refused without memory: whatever would be queued, since a queue grows."""
        if command.name == "exec":
            return bool(transaction.flags & DENY_OOM)
        return command.full_name not in _NEVER_QUEUED

    def regate(self, session: Session) -> None:
        """Recompute which commands of this session need the careful path."""
        plain = (
            session.authenticated
            and session.transaction is None
            and session.reply_mode == REPLY_ON
            and not (session.channels or session.patterns or session.shard_channels)
            and session.tracking is None
            and not session.monitor
            and not session.no_touch
            and not session.asking
            and not session.is_replica
            and self.node.users.is_unrestricted(session)
        )
        session.gate = 0 if plain else ANY
        session.decoder.trusted = session.authenticated

    # -- transactions ------------------------------------------------------------------------------------------------

    def execute_transaction(self, session: Session) -> bytes:
        """EXEC: run what was queued, as one; its effects are handed on together."""
        transaction = session.transaction
        assert transaction is not None
        self.unwatch(session)
        answers: list[bytes] = []
        session.deny_blocking = True
        try:
            answers += [self._exec_one(session, command, argv) for command, argv in transaction.commands]
        finally:
            session.deny_blocking = False
            self.end_transaction(session)  # until here the client is shown as one that runs it
        self.keyspace.verbatim = False
        return reply.array(answers)

    def _exec_one(self, session: Session, command: Command, argv: Argv) -> bytes:
        if not session.is_primary_link:
            try:
                self.node.users.check_queued(session, command, argv)
            except CommandError as problem:
                return self.failed(command, str(problem))
        self.total_commands += 1
        answer = self.call(session, command, argv, commit=False)
        if self.node.monitors and not command.flags & (ADMIN | SKIP_MONITOR):
            self.node.watchers.feed(session, command, argv)
        if session.tracking is not None:
            self.node.tracker.remember(session, command, argv)
        return answer

    def end_transaction(self, session: Session) -> None:
        """Forget MULTI's queue and all watches."""
        session.transaction = None
        self.unwatch(session)
        self.regate(session)

    def unwatch(self, session: Context) -> None:
        """Forget all watches."""
        for db, key in session.watching:
            watchers = db.watched.get(key)
            if watchers is not None:
                watchers.pop(session, None)
                if not watchers:
                    del db.watched[key]
                    db.rehook()
        session.watching.clear()
        session.dirty_watch = False

    # -- waiting -----------------------------------------------------------------------------------------------------

    def block_on_keys(self, session: Session, blocked: Blocked) -> None:
        """Register a session that waits for keys (from Context.block)."""
        db = self.keyspace.databases[blocked.db_index]
        for key in blocked.keys:
            db.awaited.setdefault(key, {})[session] = None
        db.rehook()
        self.park(session, blocked)

    def park(self, session: Session, blocked: Blocked) -> None:
        """Let a session wait."""
        session.blocked = blocked
        self.blocked[session] = None
        if blocked.deadline_ms is not None:
            self._count += 1
            timeouts = self.timeouts
            if len(timeouts) > 64 and len(timeouts) > 2 * len(self.blocked):  # most of them were served in time
                timeouts[:] = [entry for entry in timeouts if entry[2].blocked is entry[3]]
                heapify(timeouts)
            heappush(timeouts, (blocked.deadline_ms, self._count, session, blocked))

    def unpark(self, session: Session) -> Blocked:
        """The session waits no more; its further commands will run at the end of this turn."""
        blocked = session.blocked
        assert blocked is not None
        session.blocked = None
        self.blocked.pop(session, None)
        if blocked.keys:
            db = self.keyspace.databases[blocked.db_index]
            for key in blocked.keys:
                waiters = db.awaited.get(key)
                if waiters is not None:
                    waiters.pop(session, None)
                    if not waiters:
                        del db.awaited[key]
            db.rehook()
        if session.queue or session.unread or session.decoder.error is not None:
            self.resumed.append(session)
        return blocked

    def unblock(self, session: Session, answer: bytes, *, counted: bool = False) -> None:
        """End a session's waiting with this reply. counted: of a call that INFO has counted."""
        blocked = self.unpark(session)
        if not counted and blocked.kind in COUNTED_AT_END and blocked.command is not None:
            blocked.command.calls += 1
            if answer[:1] == b"-":
                self.failed(blocked.command, answer[1:-2].decode())
        if answer and (answer := self._mode(session, answer)):
            session.push(answer)

    def expire_waits(self, now_ms: int) -> None:
        """Answer those whose timeout has passed."""
        timeouts = self.timeouts
        while timeouts and timeouts[0][0] <= now_ms:
            _, _, session, blocked = heappop(timeouts)
            if session.blocked is blocked:
                answer = blocked.on_timeout
                self.unblock(session, answer() if callable(answer) else answer)

    def next_timeout(self) -> int | None:
        """When the next waiting session gives up (mono ms)."""
        timeouts = self.timeouts
        while timeouts and timeouts[0][2].blocked is not timeouts[0][3]:
            heappop(timeouts)
        return timeouts[0][0] if timeouts else None

    def serve_ready(self) -> None:
        """Run the commands of those who wait for keys that changed, the longest waiting first."""
        ready = self.keyspace.ready
        while ready:
            index, key = next(iter(ready))
            del ready[(index, key)]
            db = self.keyspace.databases[index]
            there = key in db.values
            for session in list(db.awaited.get(key, ())):
                blocked = session.blocked
                if blocked is None or not (there or blocked.on_delete):
                    continue
                assert blocked.command is not None
                session.retrying = True
                session.ready_key = key
                before, self.current = self.current, session
                try:
                    answer = self.call(session, blocked.command, blocked.argv)
                finally:
                    session.retrying = False
                    self.current = before
                if answer == PENDING:
                    blocked.command.calls -= 1
                else:
                    self.unblock(session, answer, counted=True)
                    if self.behind and before is not session:
                        self._push_behind(session)
                    self.outgoing.writers[session] = None
                there = key in db.values

    def resume(self, run_bytes: Callable[[Session], None]) -> None:
        """Go on with sessions that were unblocked in this turn."""
        while self.resumed:
            session = self.resumed.pop(0)
            if session.blocked is not None or session.closing:
                continue
            if session.pending_output > OUTPUT_HELD_BYTES:
                self._hold(session)
                continue
            queue, session.queue = session.queue, []
            self.run_weighed(session, queue)
            more = session.unread or session.decoder.error is not None
            if more and session.blocked is None and not session.closing:
                run_bytes(session)

    def close_session(self, session: Session, why: str, after_reply: bool) -> None:
        """Close a session's connection."""
        self.node.turn.emit(Close(session.conn, why, after_reply))
