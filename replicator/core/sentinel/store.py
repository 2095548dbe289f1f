"""The configuration file as a Sentinel's memory: what must not be forgotten is durable before it is spoken of.

    changed()                   state that belongs into the file has changed
    when_durable(said, unsaid)  said() when all that has changed so far is durable; unsaid() if the write failed

The file is written beside its place and renamed; one write is under way at a time, and what changes meanwhile is
written behind it. After a failed write the next is tried a second later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from replicator.core.effects import AppendFile, CommitFile, Level, RemoveFile
from replicator.core.turn import Turn

RETRY_MS = 1000


class Store:
    """Writes the file at the end of each turn in which something changed.

    path: of the file; "" keeps everything in memory (and all of it counts as durable). render: the file's whole text.
    """

    def __init__(self, turn: Turn, path: str, render: Callable[[], str]) -> None:
        self._turn = turn
        self.path = path
        self._temporary = f"{path}.new"
        self._render = render
        self.version = 0
        self.durable = 0  # the version that the file holds
        self._spoken_of = 0  # the version that must be durable before anybody hears of epochs
        self._flying = 0  # the version being written; 0: none is
        self._waiting: deque[tuple[int, Callable[[], None], Callable[[], None]]] = deque()
        self.retry_ms: int | None = None
        self.trouble = ""  # why the latest write failed

    def changed(self, *, spoken_of: bool = False) -> None:
        """Something that belongs into the file has changed. spoken_of: others will be told of it (an epoch, a vote)."""
        self.version += 1
        if spoken_of:
            self._spoken_of = self.version

    @property
    def may_speak(self) -> bool:
        """Whether all that others are told of epochs is durable."""
        return self.durable >= self._spoken_of

    def when_durable(self, said: Callable[[], None], unsaid: Callable[[], None]) -> None:
        """Call said() once all changes so far are durable (perhaps at once), or unsaid() when they could not be made
        so."""
        if self.durable >= self.version:
            said()
        else:
            self._waiting.append((self.version, said, unsaid))

    def flush(self) -> None:
        """At the end of a turn: begin to write what has changed."""
        if self.version <= self.durable or self._flying or self.retry_ms is not None:
            return
        if not self.path:
            self.durable = self.version
            self._settle()
            return
        self._flying = self.version
        data = self._render().encode("utf-8", "surrogateescape")
        self._turn.emit(AppendFile(self._temporary, data, first=True))
        self._turn.emit(CommitFile(self._temporary, self.path))

    def advance(self) -> None:
        """Try again what has failed, when it is time."""
        if self.retry_ms is not None and self._turn.now.mono_ms >= self.retry_ms:
            self.retry_ms = None

    def committed(self, name: str) -> None:
        """The file is durable under its name (FileCommitted)."""
        if name != self._temporary or not self._flying:
            return
        self.durable, self._flying = self._flying, 0
        self.trouble = ""
        self._turn.log(Level.DEBUG, f"Rewritten config file ({self.path}) successfully")
        self._turn.log(Level.NOTICE, "Sentinel new configuration saved on disk")
        self._settle()

    def failed(self, name: str, why: str) -> None:
        """The file could not be written (FileFailed; told for each effect that failed)."""
        if name != self._temporary or not self._flying:
            return
        self._flying = 0
        self.trouble = why
        self.retry_ms = self._turn.now.mono_ms + RETRY_MS
        self._turn.emit(RemoveFile(self._temporary))
        self._turn.log(
            Level.WARNING, f"WARNING: Sentinel was not able to save the new configuration on disk!!!: {why}"
        )
        waiting, self._waiting = self._waiting, deque()
        for _, _, unsaid in waiting:
            unsaid()

    def _settle(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.durable:
            self._waiting.popleft()[1]()
