"""Pauses: commands that have to wait, and with them everything that changes data by itself.

CLIENT PAUSE asks for one, for a time; a coordinated failover and a shutdown hold one until they are through. While
writes are paused the stream stands still: keys whose time has come are hidden, and deleted afterwards.
"""

from __future__ import annotations

from collections.abc import Callable

from replicator.core.clients.session import Session, Wait
from replicator.core.clients.waiting import Waiting
from replicator.core.command_table.registry import MAY_REPLICATE, WRITE, Command
from replicator.core.execution.script_flags import flags_of
from replicator.core.gates import ANY, Gates
from replicator.core.keyspace.database import Keyspace
from replicator.core.replication.primary import Primary
from replicator.core.replication.replica import Replica
from replicator.core.scripting.state import Scripting
from replicator.core.turn import Turn


class Pauses:
    """See the module. on_release: told when nothing is held back any more."""

    def __init__(
        self,
        turn: Turn,
        gates: Gates,
        keyspace: Keyspace,
        primary: Primary,
        replica: Replica,
        waiting: Waiting,
        scripting: Scripting,
    ) -> None:
        self.turn = turn
        self.gates = gates
        self.keyspace = keyspace
        self.primary = primary
        self.replica = replica
        self.waiting = waiting
        self.scripting = scripting
        self.until_ms = 0  # CLIENT PAUSE: mono ms; 0: none
        self.everything = False  # CLIENT PAUSE ALL
        self.reasons: dict[str, None] = {}  # of others that hold a pause of writes
        self.on_release: list[Callable[[], None]] = []

    @property
    def of_clients(self) -> bool:
        """CLIENT PAUSE holds commands back, those of our primary among them."""
        return self.until_ms > self.turn.now.mono_ms

    @property
    def of_writes(self) -> bool:
        """Writes have to wait, and with them everything else that changes data by itself (expiry, eviction)."""
        return self.until_ms > self.turn.now.mono_ms or bool(self.reasons)

    def holds(self, session: Session, command: Command) -> bool:
        """Whether this command has to wait."""
        if not self.of_writes or (session.link is not None and session.conn in self.primary.links):
            return False
        if self.everything and self.until_ms > self.turn.now.mono_ms:
            return True
        if command.name == "exec" and session.transaction is not None:
            flags = session.transaction.flags
        else:
            flags = flags_of(command, session.argv, self.scripting)
        return bool(flags & (WRITE | MAY_REPLICATE))

    def pause(self, until_ms: int, *, everything: bool) -> None:
        """CLIENT PAUSE; a running pause is never shortened, nor weakened."""
        running = self.of_clients
        self.until_ms = max(until_ms, self.until_ms if running else 0)
        self.everything = everything or (running and self.everything)
        self.settle()

    def unpause(self) -> None:
        """CLIENT UNPAUSE."""
        self.until_ms = 0
        self.release()

    def hold(self, reason: str) -> None:
        """Pause writes until this reason is gone."""
        self.reasons[reason] = None
        self.settle()

    def drop(self, reason: str) -> None:
        """The reason is gone."""
        self.reasons.pop(reason, None)
        self.release()

    def settle(self) -> None:
        """The gate, and whether our own clock deletes keys, follow pauses and role."""
        self.gates.set("pause", ANY if self.of_writes else 0)
        self.keyspace.expires_keys = not self.replica.active and not self.of_writes

    def release(self) -> None:
        """Let the parked commands run, unless another reason still holds them."""
        self.settle()
        if self.of_writes:
            return
        for session in list(self.waiting.blocked):
            blocked = session.blocked
            if blocked is not None and blocked.kind is Wait.PAUSE:
                session.queue.insert(0, blocked.argv)
                self.waiting.unpark(session)
        for told in self.on_release:
            told()

    def advance(self) -> None:
        """End CLIENT PAUSE when its time has come."""
        if self.until_ms and self.until_ms <= self.turn.now.mono_ms:
            self.until_ms = 0
            self.everything = False
            self.release()
