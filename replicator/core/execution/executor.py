"""The commands of clients, from argv to reply: the hot path, the careful path, those who wait for keys.

Two paths. The fast one runs a command after one dictionary look-up and one test of flags. Whatever needs a closer
look (a role, a limit, MULTI, an unauthenticated or subscribed client, a blocking command ...) sets bits in a gate
(the node's or the session's); a command with one of these bits takes the careful path, which asks every question of
Admission in stock's order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from replicator.core.clients.monitors import Monitors
from replicator.core.clients.output import Output
from replicator.core.clients.roll import Roll
from replicator.core.clients.session import Blocked, Session, Wait
from replicator.core.clients.tracking import Tracker
from replicator.core.clients.waiting import Waiting
from replicator.core.command_table.context import PENDING
from replicator.core.command_table.registry import ADMIN, NO_MULTI, SKIP_MONITOR, Command
from replicator.core.command_table.table import Table
from replicator.core.effects import Level
from replicator.core.errors import WRONG_TYPE, CommandError, Redirect
from replicator.core.execution.admission import Admission
from replicator.core.execution.browsers import Browsers
from replicator.core.execution.calling import Calling
from replicator.core.execution.script_flags import flags_of
from replicator.core.execution.transfers import Transfers
from replicator.core.gates import Gates
from replicator.core.keyspace.database import Keyspace, WrongType
from replicator.core.limits import OUTPUT_HELD_BYTES, OUTPUT_RETRY_MS
from replicator.core.replication.outgoing import Outgoing
from replicator.core.replication.primary import Link
from replicator.core.scripting.state import Scripting
from replicator.core.turn import Turn
from replicator.core.wire import reply
from replicator.core.wire.request import Argv, encode

# CLIENT REPLY silences replies; what confirms a subscription is a message.
_ALWAYS_ANSWERED = frozenset(("subscribe", "unsubscribe", "psubscribe", "punsubscribe", "ssubscribe", "sunsubscribe"))
_SAID_ON_LINKS = (b"replconf", b"psync", b"sync")


class Pauses(Protocol):
    """Who may have to wait for the end of a pause (roles/pauses.py)."""

    def holds(self, session: Session, command: Command) -> bool:
        """Whether the command has to wait."""


@dataclass(slots=True)
class Parts:
    """What an executor is put together from."""

    turn: Turn
    gates: Gates
    keyspace: Keyspace
    outgoing: Outgoing
    table: Table
    roll: Roll
    waiting: Waiting
    output: Output
    monitors: Monitors
    tracker: Tracker
    scripting: Scripting
    links: dict[int, Link]  # connections that carry the stream to a replica
    calling: Calling
    admission: Admission
    pauses: Pauses
    transfers: Transfers


class Executor:
    """Runs the commands of all sessions of one node."""

    def __init__(self, parts: Parts) -> None:
        self.turn = parts.turn
        self.gates = parts.gates
        self.keyspace = parts.keyspace
        self.outgoing = parts.outgoing
        self.table = parts.table
        self.roll = parts.roll
        self.waiting = parts.waiting
        self.output = parts.output
        self.monitors = parts.monitors
        self.tracker = parts.tracker
        self.scripting = parts.scripting
        self.links = parts.links
        self.calling = parts.calling
        self.admission = parts.admission
        self.pauses = parts.pauses
        self.transfers = parts.transfers
        self.browsers = Browsers(parts.turn)

    # -- running -----------------------------------------------------------------------------------------------------

    def run(self, session: Session, batch: Sequence[Argv]) -> None:
        """Run a client's commands in order; stop when one makes it wait (the rest is kept) or ends it."""
        known = self.table.known
        keyspace = self.keyspace
        outgoing = self.outgoing
        gates = self.gates
        roll = self.roll
        out = session.out
        if not out:
            roll.touched[session] = None
        roll.current = session
        dirty_before = before = outgoing.batch_dirty = keyspace.dirty
        command: Command | None = None
        at = -1
        for at, argv in enumerate(batch):
            command = known.get(argv[0]) or self.table.find(argv[0])
            try:
                if (
                    command is None
                    or command.flags & (gates.bits | session.gate)
                    or not command.least <= len(argv) <= command.most
                    or command.subcommands
                ):
                    before = keyspace.dirty
                    answer = self.careful(session, command, argv)
                else:
                    command.calls += 1
                    keyspace.verbatim = True
                    before = keyspace.dirty
                    run = command.run  # a local name: 3.11 finds what is called of an attribute slowly
                    try:
                        answer = run(session, argv)
                    except CommandError as problem:
                        answer = self.calling.failed(command, problem)
                    except WrongType:
                        answer = self.calling.failed(command, WRONG_TYPE)
                    if keyspace.recorded:
                        if keyspace.dirty != before and keyspace.verbatim:
                            keyspace.recorded.append((session.db.index, argv))
                        outgoing.commit()
                    elif keyspace.dirty != before and outgoing.feeding and keyspace.verbatim:
                        index = session.db.index
                        if index != outgoing.db:
                            outgoing.select(index)
                        outgoing.stream.append(encode(tuple(argv)))
            except Exception as bug:
                answer = self.calling.bug(bug, self.table.resolve(argv), argv, before)
            if answer:
                out.append(answer)
            elif session.blocked is not None:
                session.queue.extend(batch[at + 1 :])
                break
            if keyspace.ready:
                self.serve_ready()
            if session.closing:
                break
        if roll.behind:
            roll.push_behind(session)
        roll.current = None
        if command is not None and not command.subcommands:
            session.command = command
        self.calling.total += at + 1
        if outgoing.feeding and keyspace.dirty != dirty_before:
            session.write_position = -1  # until the stream is flushed
            outgoing.writers[session] = None

    def run_weighed(self, session: Session, batch: Sequence[Argv]) -> None:
        """`run` for many commands: some at a time, and what is behind waits when the client has too much to read."""
        step = self.output.weighed_commands or 1
        for at in range(0, len(batch), step):
            behind = at + step
            self.run(session, batch[at:behind])
            if session.closing or (behind >= len(batch) and self.output.weighed_commands):
                return
            waiting = session.pending_output + sum(map(len, session.out))
            if waiting > self.roll.weighed_bytes:
                self.output.weigh(session)
                if session.closing:
                    return
                if waiting > OUTPUT_HELD_BYTES and session.blocked is None:
                    self._hold(session)
            if session.blocked is not None:
                session.queue.extend(batch[behind:])
                return

    def _hold(self, session: Session) -> None:
        """Let a client wait until it has read some of its replies."""
        now = self.turn.now.mono_ms
        self.waiting.park(session, Blocked(Wait.OUTPUT, [], None, now + OUTPUT_RETRY_MS, b"", since_ms=now))

    # -- the careful path --------------------------------------------------------------------------------------------

    def careful(self, session: Session, command: Command | None, argv: Argv) -> bytes:
        """Every check before a command, then the command (or its queueing, or its waiting)."""
        if session.is_replica and session.conn in self.links:
            return self._said_on_link(session, command, argv)
        return self._answer(session, command, argv)

    def _said_on_link(self, session: Session, command: Command | None, argv: Argv) -> bytes:
        """A link carries the stream and acknowledgements. Whoever says what has an answer is sent away: an answer, even
        an error, would count as the stream's bytes.
        """
        if argv[0].lower() in _SAID_ON_LINKS and not self._answer(session, command, argv):
            return PENDING
        name = argv[0][:128].decode("utf-8", "backslashreplace").lower()
        self.turn.log(
            Level.WARNING, f"Replica generated a reply to command '{name}', disconnecting it: {session.described()}"
        )
        session.close("a command on a replication link", after_reply=False)
        return PENDING

    def _answer(self, session: Session, command: Command | None, argv: Argv) -> bytes:
        if command is None and self.browsers.refuses(session, argv[0]):
            return PENDING
        try:
            command = self.admission.admit(session, command, argv)
        except CommandError as problem:
            return self._refused(session, command, argv, problem)
        if self.pauses.holds(session, command):
            now = self.turn.now.mono_ms
            self.waiting.park(session, Blocked(Wait.PAUSE, argv, command, None, b"", since_ms=now))
            return PENDING
        if self.transfers.holds(session, command, argv):
            now = self.turn.now.mono_ms
            self.waiting.park(session, Blocked(Wait.MOVED_KEY, argv, command, None, b"", since_ms=now))
            return PENDING
        transaction = session.transaction
        if transaction is not None and session.queues(command):
            self.calling.total -= 1  # it counts when EXEC runs it
            if command.flags & NO_MULTI:
                command.rejected += 1
                transaction.aborted = True
                return session.answer(self.calling.error("ERR Command not allowed inside a transaction"))
            transaction.add(command, argv, flags_of(command, argv, self.scripting))
            return session.answer(reply.QUEUED)
        session.argv = argv
        session.command = command
        monitored = self.monitors.sessions and not command.flags & ADMIN
        if monitored and command.flags & SKIP_MONITOR:  # a script is shown before what it does
            self.monitors.feed(session, command, argv)
        answer = (self._call_untouching if session.no_touch else self.calling.call)(session, command, argv)
        if monitored and not command.flags & SKIP_MONITOR:
            self.monitors.feed(session, command, argv)
        if session.tracking is not None:
            self.tracker.after(session, command, argv)
        if session.blocked is None:
            wanted = session.answer(answer)
            answer = answer if command.name in _ALWAYS_ANSWERED else wanted
        behind = self.roll.behind
        if behind and answer:
            answer += b"".join(behind)
            behind.clear()
        return answer

    def _refused(self, session: Session, command: Command | None, argv: Argv, problem: CommandError) -> bytes:
        self.calling.total -= 1
        refused = self.table.resolve(argv)
        if refused is not None:
            refused.rejected += 1
        why = str(problem)
        if command is not None and command.name == "exec":
            session.end_transaction()
            if not isinstance(problem, Redirect):
                why = f"EXECABORT Transaction discarded because of: {why.removeprefix('ERR ')}"
        elif session.transaction is not None:
            session.transaction.aborted = True
        return session.answer(self.calling.error(why))

    def _call_untouching(self, session: Session, command: Command, argv: Argv) -> bytes:
        """For CLIENT NO-TOUCH: the command counts as no access to its keys (TOUCH itself does)."""
        if command.name == "touch":
            return self.calling.call(session, command, argv)
        keyspace = self.keyspace
        told, keyspace.on_access = keyspace.on_access, None
        try:
            return self.calling.call(session, command, argv)
        finally:
            keyspace.on_access = told

    # -- those who wait ----------------------------------------------------------------------------------------------

    def serve_ready(self) -> None:
        """Run the commands of those who wait for keys that changed, the longest waiting first."""
        ready = self.keyspace.ready
        roll = self.roll
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
                before, roll.current = roll.current, session
                dirty = self.keyspace.dirty
                try:
                    answer = self.calling.call(session, blocked.command, blocked.argv)
                except Exception as bug:
                    answer = self.calling.bug(bug, blocked.command, blocked.argv, dirty)
                finally:
                    session.retrying = False
                    roll.current = before
                blocked.command.calls -= 1  # it was counted when it began to wait
                if answer != PENDING:
                    self.waiting.unblock(session, answer, counted=True)
                    if roll.behind and before is not session:
                        roll.push_behind(session)
                    self.outgoing.writers[session] = None
                there = key in db.values

    def resume(self, run_bytes: Callable[[Session], None]) -> None:
        """Go on with sessions that were unblocked in this turn."""
        resumed = self.waiting.resumed
        while resumed:
            session = resumed.pop(0)
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
