"""maxmemory: room is made before a command that may need some, or the command is refused."""

from __future__ import annotations

from collections.abc import Callable

from replicator.core.clients.session import Asked, Session
from replicator.core.command_table.registry import DENY_OOM
from replicator.core.config.config import Config
from replicator.core.errors import CommandError
from replicator.core.keyspace.database import Keyspace
from replicator.core.keyspace.eviction import Evictor
from replicator.core.replication.outgoing import Outgoing
from replicator.core.turn import Turn


class Memory:
    """See the module. exempt: asked whether the limit means nothing now."""

    __slots__ = ("config", "evictor", "exempt", "keyspace", "outgoing", "turn")

    def __init__(
        self,
        turn: Turn,
        config: Config,
        keyspace: Keyspace,
        outgoing: Outgoing,
        evictor: Evictor,
        exempt: Callable[[], bool],
    ) -> None:
        self.turn = turn
        self.config = config
        self.keyspace = keyspace
        self.outgoing = outgoing
        self.evictor = evictor
        self.exempt = exempt

    def has_room(self) -> bool:
        """Whether memory is within maxmemory, after eviction if need be."""
        if not self.config["maxmemory"] or self.exempt():
            return True
        room = self.evictor.make_room(self.turn.now)
        if self.keyspace.recorded:
            self.outgoing.commit(together=False)
        return room

    def check(self, session: Session, asked: Asked) -> None:
        """Make room, or raise OOM. A queue grows as well: inside MULTI whatever would be queued needs room."""
        if not asked.flags & DENY_OOM and not session.queues(asked.command):
            return
        if not self.has_room():
            raise CommandError("OOM command not allowed when used memory > 'maxmemory'.")
