"""maxmemory: what counts against it, and when keys have to go.

Counted are the keys and what clients make us keep: their unread output, their half requests, their queued commands. The
output of replicas and the window are not: evicting because of them would give replicas more to read. Nor is the output
of clients that are told of invalidated keys: each eviction tells them more, which would evict more.

Keys go before a command that may take memory (outside transactions and scripts, so that what they do stays together),
and by the clock as long as the limit does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping

from replicator.core.clients.session import Asked, Session
from replicator.core.command_table.registry import DENY_OOM
from replicator.core.errors import CommandError
from replicator.core.keyspace.eviction import Evictor
from replicator.core.now import Now
from replicator.core.turn import Turn

_INVALIDATIONS = b"__redis__:invalidate"
_OUT_OF_MEMORY = "OOM command not allowed when used memory > 'maxmemory'."
# The buffers of all clients are added up so often at the most: there may be thousands.
_WEIGH_MS = 100


class Memory:
    """The limit of one node. exempt: it does not hold now; commit: hand on the deletions, each by itself."""

    def __init__(
        self,
        turn: Turn,
        evictor: Evictor,
        sessions: Mapping[int, Session],
        replicas: Container[int],
        exempt: Callable[[], bool],
        commit: Callable[[], None],
    ) -> None:
        self.turn = turn
        self.evictor = evictor
        self.sessions = sessions
        self.replicas = replicas
        self.exempt = exempt
        self.commit = commit
        self.due_ms: int | None = None  # when keys may have to go next (mono ms)
        self._weighed_ms = -_WEIGH_MS

    def weigh(self) -> int:
        """Bytes in the buffers of clients, as far as they count."""
        total = 0
        for conn, session in self.sessions.items():
            if conn not in self.replicas:
                total += session.decoder.pending + session.unread_size
                if session.tracking is None and _INVALIDATIONS not in session.channels:
                    total += session.pending_output
        return total

    def _count(self, now: Now) -> None:
        if not 0 <= now.mono_ms - self._weighed_ms < _WEIGH_MS:
            self._weighed_ms = now.mono_ms
            self.evictor.buffers = self.weigh()

    def has_room(self, now: Now) -> bool:
        """Whether the limit holds, after eviction if need be. Never within a transaction or a script."""
        if not self.evictor.limit or self.exempt():
            return True
        self._count(now)
        room = self.evictor.make_room()
        self.commit()
        return room

    def holds(self) -> bool:
        """Whether the limit holds, without doing anything for it."""
        return self.evictor.within_limit() or self.exempt()

    def check(self, now: Now) -> None:
        """Make room, or raise OOM."""
        if not self.has_room(now):
            raise CommandError(_OUT_OF_MEMORY)

    def admit(self, session: Session, asked: Asked) -> None:
        """Make room for a command that may need some, or raise OOM (execution.admission.Check).

        A queue grows as well: inside MULTI whatever would be queued needs room.
        """
        if asked.flags & DENY_OOM or session.queues(asked.command):
            self.check(self.turn.now)

    def reconfigured(self, now: Now) -> None:
        """The limit or the policy is another: it is met at once, whether or not a command comes."""
        may_evict = self.evictor.limit and self.evictor.policy != "noeviction"
        self.due_ms = now.mono_ms if may_evict else None

    def advance(self, now: Now) -> None:
        """Let keys go as long as the limit does not hold, some at a time."""
        if self.due_ms is not None and now.mono_ms >= self.due_ms:
            self.due_ms = now.mono_ms + (0 if self._evict(now) else _WEIGH_MS)

    def _evict(self, now: Now) -> bool:
        """Evict if need be; whether there is more to do at once."""
        evictor = self.evictor
        if self.exempt():
            return False
        self._count(now)
        if evictor.within_limit():
            return False
        more = evictor.make_room()
        self.commit()
        return more and not evictor.within_limit()
