"""The append-only file's parts: which there are, and how a rewrite replaces them.

A rewrite of an append-only file that is in use:

    IDLE --wanted--> SETTLING    what has been written is synced beside the loop
         ----------> SWITCHING   the rest is synced; a new increment is made; the manifest that names it is committed
         ----------> FORKED      from this instant on effects go to the new increment, and a child writes the base
         ----------> CONCLUDING  base and new increment: that manifest is committed; then the old files are removed
         ----------> IDLE

At each instant the durable manifest names files that hold all that is promised: before CONCLUDING the old base and
every increment, afterwards the new base and the new increment. Files are removed behind that, and numbers are never
used again, so that a manifest of which nobody knows whether it reached the disk still names the right bytes.

A file that is only coming into use (CONFIG SET appendonly yes, after a full synchronization, after a sync that failed)
has no manifest yet: effects go to a temporary increment from the fork on, which gets its name when the base is there.

Source: the order is Redis 7.0's, and so are names and log lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum

from replicator.core.config.config import Config
from replicator.core.effects import (
    AppendFile,
    CommitFile,
    Exit,
    Level,
    ReadFile,
    RemoveFile,
    StopReading,
    SyncFile,
    TruncateFile,
)
from replicator.core.events import FileChunk
from replicator.core.limits import MAX_MANIFEST_BYTES
from replicator.core.persistence.journal import Journal, State
from replicator.core.turn import Turn
from replicator.core.wire.aof import Manifest, ManifestError, Part, parse_manifest

# After so many rewrites that failed one behind the other, the next waits: a minute, two, four ... an hour.
FAILURES_UNLIMITED = 3
_LONGEST_PAUSE_MIN = 60
# A file that is only coming into use is tried again so soon.
_RETRY_WAITING_MS = 1000

Chunks = Callable[[], Iterator[bytes | tuple[bytes, int]]]


class Phase(Enum):
    """See the head of the module."""

    IDLE = "idle"
    SETTLING = "settling"
    SWITCHING = "switching"
    FORKED = "forked"
    CONCLUDING = "concluding"


class Rewriter:
    """Owns the manifest. Hooks that its owner sets: `anew` (the stream names its database again, and all of it so far
    has been recorded), `fork` (begin a snapshot of these chunks to this file; it ends in done or failed), `cancel` it,
    `ready` (the file is in use, at the start).
    """

    def __init__(self, turn: Turn, config: Config, journal: Journal, chunks: Callable[[bool], Chunks]) -> None:
        """chunks: by whether it is to be an RDB file, what writes the data."""
        self._turn = turn
        self._config = config
        self.journal = journal
        self._chunks = chunks
        self.anew: Callable[[], None] = _nothing
        self.fork: Callable[[Chunks, str], None] = lambda chunks, name: None
        self.cancel: Callable[[], None] = _nothing
        self.ready: Callable[[], None] = _nothing
        self.manifest: Manifest | None = None  # None: not looked for yet
        self.phase = Phase.IDLE
        self.wanted = False  # begin when no child runs
        self.base_size = 0  # all parts after the last rewrite, or the base as it was loaded: growth is counted from it
        self.older_size = 0  # bytes of the parts but the one that is written
        self.failures = 0
        self.last_ok = True
        self.last_duration_s = -1
        self.last_cow = 0
        self.rewrites = 0
        self.began_ms = 0
        self._next_ms = 0  # no rewrite of its own accord before this
        self._fork_due = False
        self._base: Part | None = None
        self._increment: Part | None = None
        self._text: bytes | None = None  # of a manifest that is being read
        self._after_commit: dict[str, tuple[Callable[[], None], Callable[[str], None]]] = {}
        self._used = (0, 0)  # the highest numbers of a base and an increment that were ever given

    # -- names ---------------------------------------------------------------------------------------------------------

    @property
    def filename(self) -> str:
        """appendfilename."""
        return str(self._config["appendfilename"])

    def path(self, name: str) -> str:
        """Where a part lies."""
        return f"{self._config['appenddirname']}/{name}"

    @property
    def manifest_path(self) -> str:
        """Where the manifest lies."""
        return self.path(f"{self.filename}.manifest")

    @property
    def _temporary_manifest(self) -> str:
        return self.path(f"temp-{self.filename}.manifest")

    @property
    def _temporary_increment(self) -> str:
        return self.path(f"temp-{self.filename}.incr")

    @property
    def current_size(self) -> int:
        """Bytes of all parts (INFO aof_current_size)."""
        return self.older_size + self.journal.size

    @property
    def running(self) -> bool:
        """A rewrite is under way."""
        return self.phase is not Phase.IDLE

    # -- committing ----------------------------------------------------------------------------------------------------

    def _commit(self, name: str, final: str, then: Callable[[], None], otherwise: Callable[[str], None]) -> None:
        self._after_commit[name] = (then, otherwise)
        self._turn.emit(CommitFile(name, final))

    def _commit_manifest(
        self, manifest: Manifest, then: Callable[[], None], otherwise: Callable[[str], None]
    ) -> None:
        self._turn.emit(AppendFile(self._temporary_manifest, manifest.encode(), first=True))
        self._commit(self._temporary_manifest, self.manifest_path, then, otherwise)

    def committed(self, name: str) -> bool:
        """events.FileCommitted; whether the file was ours."""
        found = self._after_commit.pop(name, None)
        if found is not None:
            found[0]()
        return found is not None

    def file_failed(self, name: str, why: str, *, missing: bool, syncing: bool) -> bool:
        """events.FileFailed; whether the file was ours."""
        found = self._after_commit.pop(name, None)
        if found is not None:
            found[1](why)
            return True
        if name == self.manifest_path and self._text is not None:
            self._manifest_read(b"" if missing else None, why)
            return True
        if self.journal.takes and name == self.journal.name:
            if self.phase is Phase.SWITCHING:
                self._rewrite_failed(why)
            self.journal.failed(why, syncing=syncing)
            return True
        if self._increment is not None and name == self.path(self._increment.name):
            if self.phase is Phase.SWITCHING:
                self._rewrite_failed(why)
            return True
        return name.startswith(self.path(""))

    # -- at the start --------------------------------------------------------------------------------------------------

    def open(self, manifest: Manifest, sizes: dict[str, int]) -> None:
        """The parts have been loaded (there may be none): bring the file into use, then call `ready`."""
        self._adopt(manifest)
        journal = self.journal
        if not manifest.parts:
            base = self._next_base()
            self._turn.log(Level.NOTICE, f"Creating AOF base file {base.name} on server start")
            temporary = self.path(f"temp-{base.name}")
            first = True
            for chunk in self._chunks(self._rdb)():
                data = chunk[0] if isinstance(chunk, tuple) else chunk
                self._turn.emit(AppendFile(temporary, data, first=first))
                first = False
            then = lambda: self._open_new(Manifest(base), 0)  # noqa: E731 - a step of this very method
            self._commit(temporary, self.path(base.name), then, self._cannot_open)
            return
        total = sum(sizes.values())
        self.base_size = 0 if manifest.base is None else sizes.get(manifest.base.name, 0)
        if manifest.increments:
            last = manifest.increments[-1]
            self._turn.log(Level.NOTICE, f"Opening AOF incr file {last.name} on server start")
            size = sizes.get(last.name, 0)
            self.older_size = total - size
            journal.switch(self.path(last.name), size, State.ON)
            # What was read may be in the cache alone: a killed process leaves that. From here on it counts as durable.
            journal.sync()
            self._in_use()
        else:
            self._open_new(manifest, total)

    def _open_new(self, manifest: Manifest, older: int) -> None:
        manifest, increment = self._next_increment(manifest)
        self._turn.log(Level.NOTICE, f"Creating AOF incr file {increment.name} on server start")
        self._turn.emit(AppendFile(self.path(increment.name), b"", first=True))
        self._turn.emit(SyncFile(self.path(increment.name)))

        def then() -> None:
            self.manifest = manifest
            self.older_size = older
            self.journal.switch(self.path(increment.name), 0, State.ON)
            self._in_use()

        self._commit_manifest(manifest, then, self._cannot_open)

    def _in_use(self) -> None:
        self.anew()
        self._collect()
        self.ready()

    def _cannot_open(self, why: str) -> None:
        self._turn.log(Level.WARNING, f"Can't open the append-only file: {why}")
        self._turn.last_effect(Exit(1))

    @property
    def _rdb(self) -> bool:
        return bool(self._config["aof-use-rdb-preamble"])

    # -- numbers -------------------------------------------------------------------------------------------------------

    def _adopt(self, manifest: Manifest) -> None:
        self.manifest = manifest
        bases = [part.number for part in (manifest.base, *manifest.history) if part is not None]
        increments = [part.number for part in (*manifest.increments, *manifest.history)]
        self._used = (max([self._used[0], *bases]), max([self._used[1], *increments]))

    def _next_increment(self, manifest: Manifest) -> tuple[Manifest, Part]:
        number = max(self._used[1], manifest.last_number) + 1
        self._used = (self._used[0], number)
        manifest = manifest.with_increment(self.filename, number)
        return manifest, manifest.increments[-1]

    def _next_base(self) -> Part:
        number = self._used[0] + 1
        self._used = (number, self._used[1])
        return Part(f"{self.filename}.{number}.base.{'rdb' if self._rdb else 'aof'}", number, "b")

    # -- switching on and off ------------------------------------------------------------------------------------------

    def enable(self) -> None:
        """Bring the file into use while the node runs: all data is written anew."""
        if self.phase is Phase.FORKED:
            self._turn.log(
                Level.NOTICE,
                "AOF was enabled but there is already an AOF rewriting in background. Stopping background AOF and "
                "starting a rewrite now.",
            )
            self.cancel()
        self._reset()
        self.journal.switch(self._temporary_increment, 0, State.WAITING)
        self._turn.emit(AppendFile(self._temporary_increment, b"", first=True))
        self.failures = 0
        self.wanted = True

    def disable(self) -> None:
        """CONFIG SET appendonly no; before a full synchronization: what was promised is made durable, and that is
        all."""
        if self.journal.state is State.ON:
            self.journal.sync_now()
        if self.phase is Phase.FORKED:
            self.cancel()
        self._reset()
        self.journal.stop()

    def distrust(self) -> None:
        """A sync has failed: what the manifest names stays as it was at the last good one, and all data is written
        anew."""
        journal = self.journal
        if self.phase is Phase.FORKED:
            self.cancel()
        self._reset()
        if journal.state is State.ON and self._config["appendfsync"] != "no":
            # Whoever starts from it must not take the cache for the disk: later bytes would stand behind a hole.
            self._turn.emit(TruncateFile(journal.name, journal.durable_size))
        journal.switch(self._temporary_increment, 0, State.WAITING)
        self._turn.emit(AppendFile(self._temporary_increment, b"", first=True))
        self.wanted = True

    def _reset(self) -> None:
        self.phase = Phase.IDLE
        self.wanted = self._fork_due = False
        self._base = self._increment = None

    def chunk(self, event: FileChunk) -> bool:
        """The manifest's bytes, read to go on from its numbers; whether they were asked for."""
        if event.name != self.manifest_path or self._text is None:
            return False
        self._text += event.data
        if len(self._text) > MAX_MANIFEST_BYTES:
            self._turn.emit(StopReading(event.name))
            self._manifest_read(self._text, "")
        elif event.eof:
            self._manifest_read(self._text, "")
        return True

    def _manifest_read(self, text: bytes | None, why: str) -> None:
        """text: b"" if there is none, None if it cannot be read."""
        self._text = None
        try:
            if text is None:
                raise ManifestError(why)
            self._adopt(parse_manifest(text) if text else Manifest())
        except ManifestError as problem:
            # What is there cannot be read, so it cannot be replaced without a loss that nobody has asked for.
            self._turn.log(Level.WARNING, f"Can't enable the append-only file: {problem} in {self.manifest_path}")
            self._config.assign("appendonly", False)
            self._reset()
            self.journal.stop()

    # -- a rewrite -----------------------------------------------------------------------------------------------------

    def begin_if_wanted(self, *, child_active: bool) -> None:
        """Called at the end of every turn in which something may be due."""
        if self._fork_due:
            self._fork_due = False
            if child_active:
                self._rewrite_failed("another child is running")
            else:
                self._fork_now()
        elif self.wanted and self.phase is Phase.IDLE and not child_active and not self._is_limited():
            if self.manifest is None:
                if self._text is None:
                    self._text = b""
                    self._turn.emit(ReadFile(self.manifest_path, MAX_MANIFEST_BYTES + 1))
                return
            self.wanted = False
            self._begin()

    @property
    def prepares(self) -> bool:
        """A rewrite is about to fork: nobody else may before it."""
        return self.phase in (Phase.SETTLING, Phase.SWITCHING)

    @property
    def due(self) -> bool:
        """begin_if_wanted may have something to do."""
        return self.wanted or self._fork_due

    def _is_limited(self) -> bool:
        return self._pauses and self._turn.now.mono_ms < self._next_ms

    @property
    def _pauses(self) -> bool:
        return self.failures >= FAILURES_UNLIMITED or (self.failures > 0 and self.journal.state is State.WAITING)

    def deadline_ms(self) -> int | None:
        """When a rewrite that has to wait may begin (mono ms)."""
        if self.wanted and self.phase is Phase.IDLE and self._pauses and self._next_ms > self._turn.now.mono_ms:
            return self._next_ms
        return None

    def _begin(self) -> None:
        self.began_ms = self._turn.now.mono_ms
        if self.journal.state is not State.ON:
            self.phase = Phase.SWITCHING
            self._fork_now()
            return
        self.phase = Phase.SETTLING
        self.journal.write_through()
        if self.journal.durable_size < self.journal.size:
            self.journal.begin_sync()
        else:
            self._switch()

    def settled(self) -> None:
        """A sync has ended well."""
        if self.phase is Phase.SETTLING and not self.journal.syncing:
            self._switch()

    def _switch(self) -> None:
        assert self.manifest is not None
        self.phase = Phase.SWITCHING
        self.journal.sync_now()
        manifest, increment = self._next_increment(self.manifest)
        self._increment = increment
        self._turn.log(Level.NOTICE, f"Creating AOF incr file {increment.name} on background rewrite")
        self._turn.emit(AppendFile(self.path(increment.name), b"", first=True))
        self._turn.emit(SyncFile(self.path(increment.name)))

        def then() -> None:
            self.manifest = manifest
            if self.phase is Phase.SWITCHING:
                self._fork_due = True

        self._commit_manifest(manifest, then, self._rewrite_failed)

    def _fork_now(self) -> None:
        """The data of this instant becomes the base; what changes afterwards goes to the new increment."""
        self.anew()  # everything up to here is recorded, and the new file will name its database
        journal = self.journal
        if journal.state is State.ON:
            assert self._increment is not None
            journal.sync_now()
            self.older_size += journal.size
            journal.switch(self.path(self._increment.name), 0, State.ON)
        elif journal.state is State.WAITING:
            # Whatever was written to it before is in the base.
            journal.drop_pending()
            journal.switch(self._temporary_increment, 0, State.WAITING)
            self._turn.emit(AppendFile(self._temporary_increment, b"", first=True))
        self._base = self._next_base()
        self.phase = Phase.FORKED
        self.fork(self._chunks(self._rdb), self.path(self._base.name))

    def started(self, pid: int) -> None:
        """The child runs."""
        self.rewrites += 1
        self._turn.log(Level.NOTICE, f"Background append only file rewriting started by pid {pid}")

    def done(self, length: int, cow_bytes: int) -> None:
        """The base is there, durable under its name."""
        if self.phase is not Phase.FORKED:
            return
        assert self.manifest is not None and self._base is not None
        self.last_cow = cow_bytes
        self.phase = Phase.CONCLUDING
        self._turn.log(Level.NOTICE, "Background AOF rewrite terminated with success")
        if self.journal.state is State.ON:
            assert self._increment is not None
            self._conclude(self.manifest.rewritten(self._base, (self._increment,)), length)
        elif self.journal.state is State.OFF:
            self._conclude(self.manifest.rewritten(self._base, ()), length)
        else:
            manifest, increment = self._next_increment(Manifest())
            self.journal.write_now()

            def then() -> None:
                assert self.manifest is not None and self._base is not None
                self.journal.renamed(self.path(increment.name), State.WAITING)
                self._conclude(self.manifest.rewritten(self._base, manifest.increments), length)

            self._commit(self._temporary_increment, self.path(increment.name), then, self._rewrite_failed)

    def _conclude(self, manifest: Manifest, length: int) -> None:
        def then() -> None:
            self._adopt(manifest)
            if self.journal.state is State.WAITING:
                self.journal.state = State.ON
                self.journal.write_through()
                self.journal.trusted()
            self.older_size = length
            self.base_size = length + self.journal.size
            self.failures = 0
            self.last_ok = True
            self.last_duration_s = (self._turn.now.mono_ms - self.began_ms) // 1000
            self._reset()
            self._collect()
            self._turn.log(Level.NOTICE, "Background AOF rewrite finished successfully")

        self._commit_manifest(manifest, then, self._rewrite_failed)

    def failed(self, why: str, *, cancelled: bool) -> None:
        """There will be no base."""
        if self.phase is not Phase.FORKED:
            return
        self._turn.log(Level.WARNING, f"Background AOF rewrite terminated: {why}")
        if cancelled:
            self._reset()
            self.wanted = self.journal.state is State.WAITING
        else:
            self._rewrite_failed(why)

    def _rewrite_failed(self, why: str) -> None:
        self._reset()
        self.last_ok = False
        self.failures += 1
        self.last_duration_s = (self._turn.now.mono_ms - self.began_ms) // 1000
        if self.journal.state is State.WAITING:
            # Clients wait for it, and no file that a manifest names comes of an attempt.
            self._next_ms = self._turn.now.mono_ms + _RETRY_WAITING_MS
        elif self.failures >= FAILURES_UNLIMITED:
            minutes = min(_LONGEST_PAUSE_MIN, 1 << min(self.failures - FAILURES_UNLIMITED, 6))
            self._next_ms = self._turn.now.mono_ms + minutes * 60_000
            self._turn.log(
                Level.WARNING,
                f"Background AOF rewrite has repeatedly failed {self.failures} times and triggered the limit, will "
                f"retry in {minutes} minutes",
            )
        self._turn.announce("aof.rewrite-failed", ("why", why))
        if self.journal.state is State.WAITING:
            self.wanted = True

    def _collect(self) -> None:
        """Remove what the durable manifest calls history, then forget it."""
        manifest = self.manifest
        if manifest is None or not manifest.history or self._config["aof-disable-auto-gc"]:
            return
        for part in manifest.history:
            self._turn.log(Level.NOTICE, f"Removing the history file {part.name} in the background")
            self._turn.emit(RemoveFile(self.path(part.name)))
        shorter = Manifest(manifest.base, manifest.increments)

        def then() -> None:
            if self.manifest is manifest:
                self.manifest = shorter

        self._commit_manifest(shorter, then, lambda why: None)

    # -- of its own accord ---------------------------------------------------------------------------------------------

    def grow(self, *, child_active: bool) -> None:
        """Once a second: begin a rewrite if the file has grown as auto-aof-rewrite-percentage says."""
        percentage = int(self._config["auto-aof-rewrite-percentage"])
        if (
            self.journal.state is not State.ON
            or self.phase is not Phase.IDLE
            or self.wanted
            or child_active
            or not percentage
            or self.current_size <= int(self._config["auto-aof-rewrite-min-size"])
            or self._is_limited()
        ):
            return
        growth = self.current_size * 100 // (self.base_size or 1) - 100
        if growth >= percentage:
            self._turn.log(Level.NOTICE, f"Starting automatic rewriting of AOF on {growth}% growth")
            self.wanted = True


def _nothing() -> None:
    pass
