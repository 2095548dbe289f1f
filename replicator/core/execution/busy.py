"""While a script runs too long: others are answered -BUSY, and may end it.

The machine is inside one handle() call then, in the middle of a command. From the script's hook it asks the driver
what has come in (Surroundings.arrivals), serves that with everything of the interrupted turn laid aside, and has the
answers carried out at once (Surroundings.carry_out). Only commands run that may (SCRIPT KILL, FUNCTION KILL, SHUTDOWN
NOSAVE, AUTH ...). What cannot be taken now (bytes of the caller itself, of our primary, ends of connections) is told
again when the turn is over (Surroundings.tell_again). A signal that asks for the end ends a script that wrote nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from replicator.core.clients.roll import Roll
from replicator.core.effects import Effect, Level, Log, Send
from replicator.core.events import Event, Opened, Received, Signalled
from replicator.core.execution.connections import Connections
from replicator.core.gates import ANY, Gates
from replicator.core.keyspace.database import Keyspace
from replicator.core.replication.outgoing import Outgoing
from replicator.core.scripting.api import Kind
from replicator.core.scripting.state import Scripting
from replicator.core.surroundings import Surroundings
from replicator.core.turn import Turn


class Busy:
    """Serves a node's connections while a script runs. shutting_down: asked whether the process is about to end."""

    def __init__(
        self,
        turn: Turn,
        surroundings: Surroundings,
        gates: Gates,
        keyspace: Keyspace,
        outgoing: Outgoing,
        roll: Roll,
        connections: Connections,
        scripting: Scripting,
        shutting_down: Callable[[], bool],
    ) -> None:
        self.turn = turn
        self.surroundings = surroundings
        self.gates = gates
        self.keyspace = keyspace
        self.outgoing = outgoing
        self.roll = roll
        self.connections = connections
        self.scripting = scripting
        self.shutting_down = shutting_down
        self._told_of: object = None  # the run that the log was told of
        scripting.on_slow = self.serve

    def serve(self) -> bool:
        """Take what has come in; whether the script has to end (its process will)."""
        surroundings = self.surroundings
        if surroundings.arrivals is None:
            return False
        self._log_once()
        caller = self.roll.current
        ends = False
        for event in surroundings.arrivals():
            ends = ends or type(event) is Signalled
            if self._waits(event, None if caller is None else caller.conn):
                surroundings.tell_again(event)
            else:
                surroundings.carry_out(self._aside(event))
        if self.shutting_down() and self.scripting.running is not None:
            self.scripting.running.wrote = False  # SHUTDOWN NOSAVE: its writes are lost with all others
            return True
        return ends

    def _waits(self, event: Event, caller: int | None) -> bool:
        if type(event) is Opened:
            return False
        if type(event) is not Received or event.conn == caller:
            return True
        session = self.roll.sessions.get(event.conn)
        return session is None or session.blocked is not None or session.closing

    def _aside(self, event: Event) -> list[Effect]:
        """Handle one event as a turn of its own inside the interrupted one."""
        turn, keyspace, roll, outgoing = self.turn, self.keyspace, self.roll, self.outgoing
        kept_turn = (turn.effects, turn.later, roll.current)
        kept_roll = (dict(roll.touched), list(roll.behind))
        kept_data = (keyspace.recorded, keyspace.verbatim, keyspace.writes, outgoing.batch_dirty)
        turn.effects, turn.later = [], []
        roll.touched.clear()
        roll.behind.clear()
        keyspace.recorded = []
        self.gates.hold("busy script", ANY)
        try:
            if isinstance(event, Opened):
                self.connections.opened(event)
            else:
                assert isinstance(event, Received)
                self.connections.received(event)
            effects = turn.effects
            for session in roll.touched:
                if session.out:
                    effects.append(Send(session.conn, b"".join(session.out)))
                    session.out.clear()
            assert not keyspace.recorded, "a command that may run while a script does has changed data"
            return [*effects, *turn.later]
        finally:
            turn.effects, turn.later, roll.current = kept_turn
            roll.touched.clear()
            roll.touched.update(kept_roll[0])
            roll.behind[:] = kept_roll[1]
            self.gates.drop("busy script")
            keyspace.recorded, keyspace.verbatim, keyspace.writes, outgoing.batch_dirty = kept_data

    def _log_once(self) -> None:
        run = self.scripting.running
        if run is None or run is self._told_of:
            return
        self._told_of = run
        elapsed = (self.scripting.host.meter() - run.started_us) // 1000
        kind = "FUNCTION" if run.kind is Kind.FUNCTION else "SCRIPT"
        text = (
            f"Slow script detected: still in execution after {elapsed} milliseconds. You can try killing the script "
            f"using the {kind} KILL command. Script name is: {run.name.decode('utf-8', 'replace')}."
        )
        self.surroundings.carry_out([Log(Level.WARNING, text)])
