"""Saves in the foreground: SAVE, and the last one before the process ends. The file is written within one turn."""

from __future__ import annotations

from collections.abc import Callable

from replicator.core.clients.session import Blocked, Session, Wait
from replicator.core.clients.waiting import Waiting
from replicator.core.command_table.context import PENDING
from replicator.core.config.config import Config
from replicator.core.effects import AppendFile, CommitFile, Level, RemoveFile
from replicator.core.errors import CommandError
from replicator.core.events import FileCommitted, FileFailed
from replicator.core.persistence.snapshots import Snapshots
from replicator.core.replication.outgoing import Outgoing
from replicator.core.turn import Turn
from replicator.core.wire import reply


class Saving:
    """See the module."""

    def __init__(
        self, turn: Turn, config: Config, pid: int, outgoing: Outgoing, waiting: Waiting, snapshots: Snapshots
    ) -> None:
        self.turn = turn
        self.config = config
        self.pid = pid
        self.outgoing = outgoing
        self.waiting = waiting
        self.snapshots = snapshots
        self._file = ""  # that is being written; "": none
        self._told: Callable[[str], None] = self._answer
        self._waiters: list[Session] = []

    def save(self, session: Session) -> bytes:
        """SAVE: the reply comes when the file is durable."""
        if self.snapshots.running is not None:
            raise CommandError("ERR Background save already in progress")
        self.waiting.park(session, Blocked(Wait.SAVE, session.argv, session.command, None, b""))
        self._waiters.append(session)
        self.begin(self._answer)
        return PENDING

    def begin(self, told: Callable[[str], None]) -> None:
        """Write the file; `told` hears why it came to nothing, or "" when it is durable."""
        self.snapshots.generation += 1
        name = f"temp-{self.pid}-{self.snapshots.generation}.rdb"
        self._file = name
        self._told = told
        first = True
        self.outgoing.flush()
        for chunk in self.snapshots.chunks():
            self.turn.emit(AppendFile(name, chunk[0] if isinstance(chunk, tuple) else chunk, first=first))
            first = False
        self.turn.emit(CommitFile(name, str(self.config["dbfilename"])))

    def file_failed(self, event: FileFailed) -> bool:
        """A file operation failed; whether it was ours."""
        return self._ended(event.name, event.why)

    def file_committed(self, event: FileCommitted) -> bool:
        """A file stands under its final name; whether it is ours."""
        return self._ended(event.name, "")

    def _ended(self, name: str, why: str) -> bool:
        if not self._file or name != self._file:
            return False
        self._file = ""
        if why:
            self.turn.log(Level.WARNING, f"Error saving DB on disk: {why}")
            self.turn.emit(RemoveFile(name))
        else:
            self.turn.log(Level.NOTICE, "DB saved on disk")
        self.snapshots.saved_in_foreground(ok=not why)
        self._told(why)
        return True

    def _answer(self, why: str) -> None:
        waiters, self._waiters = self._waiters, []
        for session in waiters:
            if session.blocked is not None and session.blocked.kind is Wait.SAVE:
                self.waiting.unblock(session, reply.error(f"ERR {why}") if why else reply.OK)
