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
        self.empty_due = False  # FLUSHALL wants the file to hold nothing from the end of this turn on
        self._files: dict[str, Callable[[str], None]] = {}  # that are being written, and who is told of it
        self._waiters: list[Session] = []

    def save(self, session: Session) -> bytes:
        """SAVE: the reply comes when the file is durable."""
        if self.snapshots.running is not None:
            raise CommandError("ERR Background save already in progress")
        self.waiting.park(session, Blocked(Wait.SAVE, session.argv, session.command, None, b""))
        self._waiters.append(session)
        self.begin(self._answer)
        return PENDING

    def flushed(self) -> None:
        """FLUSHALL: a child at work would save what is gone; with save points the file must not keep it either.

        The file is written at the end of the turn, when the stream holds the command: its offset is the empty data's.
        """
        if self.snapshots.running is not None:
            self.snapshots.cancel()
        if self.config["save"]:
            self.empty_due = True

    def save_emptied(self) -> None:
        """The turn in which FLUSHALL was called ends."""
        self.empty_due = False
        self.begin(lambda _why: None)

    def begin(self, told: Callable[[str], None]) -> None:
        """Write the file; `told` hears why it came to nothing, or "" when it is durable."""
        self.snapshots.generation += 1
        name = f"temp-{self.pid}-{self.snapshots.generation}.rdb"
        self._files[name] = told
        self.snapshots.sync_file = False
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
        told = self._files.pop(name, None)
        if told is None:
            return False
        if why:
            self.turn.log(Level.WARNING, f"Error saving DB on disk: {why}")
            self.turn.emit(RemoveFile(name))
        else:
            self.turn.log(Level.NOTICE, "DB saved on disk")
            self.snapshots.saved_in_foreground()
        told(why)
        return True

    def _answer(self, why: str) -> None:
        waiters, self._waiters = self._waiters, []
        for session in waiters:
            if session.blocked is not None and session.blocked.kind is Wait.SAVE:
                self.waiting.unblock(session, reply.error("ERR") if why else reply.OK)
