"""While a script runs too long: others are answered -BUSY, and may end it.

The machine is inside one handle() call then, in the middle of a command. From the script's hook it asks the driver
what has come in (Surroundings.arrivals), serves that with everything of the interrupted turn laid aside, and has the
answers carried out at once (Surroundings.carry_out). Only commands run that may (SCRIPT KILL, FUNCTION KILL, SHUTDOWN
NOSAVE, AUTH ...). What cannot be taken now (bytes of the caller itself, of our primary, ends of connections) is told
again when the turn is over (Surroundings.tell_again). A signal that asks for the end ends a script that wrote nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.command_table.registry import ALLOW_BUSY, Command
from replicator.core.effects import Effect, Level, Log, Send
from replicator.core.errors import CommandError
from replicator.core.events import Event, Opened, Received, Signalled
from replicator.core.execution.executor import ANY
from replicator.core.scripting.api import Kind

if TYPE_CHECKING:
    from replicator.core.node import Node


class Busy:
    """Serves a node's connections while a script runs."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._told_of: object = None  # the run that the log was told of
        node.scripting.on_slow = self.serve

    def check(self, command: Command) -> None:
        """Raise BUSY for a command that has to wait for the script's end."""
        error = self.node.scripting.busy_error()
        if error is None:
            return
        if not command.flags & ALLOW_BUSY:
            raise CommandError(error)
        session = self.node.executor.current
        words = [] if session is None else [word.lower() for word in session.argv[1:]]
        if command.name == "shutdown" and b"nosave" not in words and words != [b"abort"]:
            raise CommandError(error)

    def serve(self) -> bool:
        """Take what has come in; whether the script has to end (its process will)."""
        node = self.node
        surroundings = node.surroundings
        if surroundings.arrivals is None:
            return False
        self._log_once()
        caller = node.executor.current
        ends = False
        for event in surroundings.arrivals():
            ends = ends or type(event) is Signalled
            if self._waits(event, None if caller is None else caller.conn):
                surroundings.tell_again(event)
            else:
                surroundings.carry_out(self._aside(event))
        if node.handover.shutting_down and node.scripting.running is not None:
            node.scripting.running.wrote = False  # SHUTDOWN NOSAVE: its writes are lost with all others
            return True
        return ends

    def _waits(self, event: Event, caller: int | None) -> bool:
        if type(event) is Opened:
            return False
        if type(event) is not Received or event.conn == caller:
            return True
        session = self.node.sessions.get(event.conn)
        return session is None or session.blocked is not None or session.closing

    def _aside(self, event: Event) -> list[Effect]:
        """Handle one event as a turn of its own inside the interrupted one."""
        node, executor, keyspace = self.node, self.node.executor, self.node.keyspace
        turn = node.turn
        kept_turn = (turn.effects, turn.later, executor.touched, executor.behind, executor.gate, executor.current)
        kept_data = (keyspace.recorded, keyspace.verbatim, executor.batch_dirty)
        turn.effects, turn.later, executor.touched, executor.behind = [], [], {}, []
        keyspace.recorded = []
        executor.gate |= ANY
        try:
            if isinstance(event, Opened):
                node.connections.opened(event)
            else:
                assert isinstance(event, Received)
                node.connections.received(event)
            effects = turn.effects
            for session in executor.touched:
                if session.out:
                    effects.append(Send(session.conn, b"".join(session.out)))
                    session.out.clear()
            assert not keyspace.recorded, "a command that may run while a script does has changed data"
            return [*effects, *turn.later]
        finally:
            turn.effects, turn.later, executor.touched, executor.behind, executor.gate, executor.current = kept_turn
            keyspace.recorded, keyspace.verbatim, executor.batch_dirty = kept_data

    def _log_once(self) -> None:
        run = self.node.scripting.running
        if run is None or run is self._told_of:
            return
        self._told_of = run
        elapsed = (self.node.meter() - run.started_us) // 1000
        kind = "FUNCTION" if run.kind is Kind.FUNCTION else "SCRIPT"
        text = (
            f"Slow script detected: still in execution after {elapsed} milliseconds. You can try killing the script "
            f"using the {kind} KILL command. Script name is: {run.name.decode('utf-8', 'replace')}."
        )
        self.node.surroundings.carry_out([Log(Level.WARNING, text)])



