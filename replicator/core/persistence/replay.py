"""Loading an append-only file: the manifest, then its parts one behind the other, into the keyspace.

    MANIFEST    read and parsed; none: perhaps the single file of versions before 7.0, which is taken over
    MEASURING   each part is opened once, so that a missing one is known before anything is loaded, and progress has
                an end
    PARTS       base first: an RDB file (commands may follow in it), then commands
    DONE

A part that ends inside a command, in zeros, or in a transaction without its EXEC is cut back to where it is sound, if
it is the last one and aof-load-truncated allows it: those are the ways in which a write is cut off by a crash. Whatever
else does not fit ends the load, with file and offset. A load that ended so has changed no file.

Source: redis.io, "Redis persistence"; log lines as Redis 7.0.15 has them.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from replicator.core.config.config import Config
from replicator.core.effects import AppendFile, CommitFile, Level, ReadFile, StopReading, SyncFile, TruncateFile
from replicator.core.errors import UnknownCommand
from replicator.core.events import FileChunk
from replicator.core.keyspace.database import Keyspace
from replicator.core.limits import MAX_MANIFEST_BYTES
from replicator.core.persistence.loading import LOAD_CHUNK
from replicator.core.persistence.rdb import KeyspaceLoader
from replicator.core.turn import Turn
from replicator.core.wire.aof import (
    BASE,
    AofDamage,
    CommandReader,
    Ending,
    Manifest,
    ManifestError,
    Part,
    is_rdb,
    parse_manifest,
)
from replicator.core.wire.rdb import RdbError, RdbReader
from replicator.core.wire.request import Argv

_SHORTEST_WAIT_US = 5_000  # of key-load-delay


class Stage(Enum):
    """See the head of the module."""

    MANIFEST = "manifest"
    MEASURING = "measuring"
    MOVING = "moving"
    PARTS = "parts"
    DONE = "done"


class Unreadable(Exception):
    """The file cannot be loaded; the text says which and where."""


class Replay:
    """One load. `apply` runs a command of the file (b"" or its error); `begin` is told the keyspace that a base has
    filled, with its functions; `loaded` and `failed` end it.
    """

    def __init__(
        self,
        turn: Turn,
        config: Config,
        *,
        make_keyspace: Callable[[], Keyspace],
        keep_expired: bool,
        check_crc: bool,
        adopt: Callable[[KeyspaceLoader], None],
        apply: Callable[[list[Argv]], None],
    ) -> None:
        """make_keyspace: an empty one for the base. adopt: what a base held becomes the data; raises RdbError.

        apply: run commands; raises UnknownCommand.
        """
        self._turn = turn
        self._config = config
        self._make_keyspace = make_keyspace
        self._keep_expired = keep_expired
        self._check_crc = check_crc
        self._adopt = adopt
        self._apply = apply
        self.loaded: Callable[[Manifest, dict[str, int]], None] = lambda manifest, sizes: None
        self.failed: Callable[[str], None] = lambda why: None
        self.stage = Stage.MANIFEST
        self.manifest = Manifest()
        self.sizes: dict[str, int] = {}
        self.started_ms = turn.now.mono_ms
        self.started_unix_ms = turn.now.unix_ms
        self.read = 0
        self.resume_ms: int | None = None  # key-load-delay: nothing more is loaded before
        self.keys = 0
        self.commands = 0
        self._text = b""
        self._looks_for_old = False  # there is no manifest: perhaps there is the single file of older versions
        self._todo: list[Part] = []
        self._part_ms = 0
        self._at = 0  # in the part that is being loaded
        self._owed_us = 0
        self._rdb: RdbReader | None = None
        self._loader: KeyspaceLoader | None = None
        self._reader: CommandReader | None = None
        self._queue: list[Argv] | None = None  # of an open transaction
        self._ended = False  # the part's last bytes have come

    # -- names ---------------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(self.sizes.values())

    def _path(self, name: str) -> str:
        return f"{self._config['appenddirname']}/{name}"

    @property
    def _filename(self) -> str:
        return str(self._config["appendfilename"])

    @property
    def _manifest_path(self) -> str:
        return self._path(f"{self._filename}.manifest")

    @property
    def name(self) -> str:
        """The file that is read now."""
        if self.stage is Stage.MANIFEST:
            return self._filename if self._looks_for_old else self._manifest_path
        if self.stage is Stage.MOVING:
            return self._filename
        return self._path(self._todo[0].name) if self._todo else ""

    def begin(self) -> None:
        """Read the manifest."""
        self._turn.emit(ReadFile(self._manifest_path, MAX_MANIFEST_BYTES + 1))

    # -- files ---------------------------------------------------------------------------------------------------------

    def chunk(self, event: FileChunk) -> bool:
        """More of a file; whether it was of this load."""
        if self.stage is Stage.DONE or event.name != self.name:
            return False
        try:
            if self.stage is Stage.MANIFEST:
                self._manifest_chunk(event)
            elif self.stage is Stage.MEASURING:
                self._turn.emit(StopReading(event.name))
                self._measured(event.size)
            elif self.stage is Stage.PARTS:
                self._part_chunk(event)
        except Unreadable as problem:
            self._fail(str(problem))
        return True

    def file_failed(self, name: str, why: str, *, missing: bool) -> bool:
        """A file cannot be read; whether it was of this load."""
        if self.stage is Stage.DONE:
            return False
        if self.stage is Stage.MOVING:
            self._fail(f"Can't move the old append-only file into {self._config['appenddirname']}: {why}")
            return True
        if name != self.name:
            return False
        if self.stage is Stage.MANIFEST:
            if not missing:
                self._fail(f"Can't open or create append-only dir {self._config['appenddirname']}: {why}")
            elif self._looks_for_old:
                self._finish(Manifest())
            else:
                self._look_for_old()
        elif self.stage is Stage.MEASURING and missing and self._was_never_moved():
            self._move()
        else:
            self._fail(f"Unable to obtain the AOF file {self._todo[0].name} length. stat: {why}")
        return True

    def committed(self, name: str) -> bool:
        """A step of taking over the old single file is durable; whether it was ours."""
        if self.stage is not Stage.MOVING:
            return False
        if name == self._filename:
            self._turn.log(
                Level.NOTICE,
                f"Successfully migrated an old-style AOF file ({self._filename}) into the AOF directory "
                f"({self._config['appenddirname']}).",
            )
            self._measure()
        return True

    # -- the manifest --------------------------------------------------------------------------------------------------

    def _manifest_chunk(self, event: FileChunk) -> None:
        if self._looks_for_old:
            self._turn.emit(StopReading(event.name))
            self._take_over()
            return
        self._text += event.data
        if not event.eof and len(self._text) <= MAX_MANIFEST_BYTES:
            return
        self._turn.emit(StopReading(event.name))
        try:
            self.manifest = parse_manifest(self._text)
        except ManifestError as problem:
            warn = self._turn.log
            warn(Level.WARNING, "*** FATAL AOF MANIFEST FILE ERROR ***")
            if problem.line:
                warn(Level.WARNING, f"Reading the manifest file, at line {problem.line}")
                warn(Level.WARNING, f">>> '{problem.text}'")
            warn(Level.WARNING, problem.why)
            raise Unreadable(f"{self._manifest_path}: {problem}") from None
        self._measure()

    def _look_for_old(self) -> None:
        """There is no manifest: is there a file as versions before 7.0 wrote it?"""
        self._looks_for_old = True
        self._turn.emit(ReadFile(self._filename, 1))

    def _take_over(self) -> None:
        """First the manifest, then the file's move: a crash in between is seen as `_was_never_moved`."""
        self.manifest = Manifest(Part(self._filename, 1, BASE))
        self.stage = Stage.MOVING
        temporary = self._path(f"temp-{self._filename}.manifest")
        self._turn.emit(AppendFile(temporary, self.manifest.encode(), first=True))
        self._turn.emit(CommitFile(temporary, self._manifest_path))
        self._move()

    def _was_never_moved(self) -> bool:
        return self._todo[0].name == self._filename and not self.manifest.increments

    def _move(self) -> None:
        self.stage = Stage.MOVING
        self._turn.emit(CommitFile(self._filename, self._path(self._filename)))

    # -- measuring -----------------------------------------------------------------------------------------------------

    def _measure(self) -> None:
        self.stage = Stage.MEASURING
        self._todo = list(self.manifest.parts)
        self._turn.emit(ReadFile(self.name, 1))

    def _measured(self, size: int) -> None:
        self.sizes[self._todo.pop(0).name] = size
        if self._todo:
            self._turn.emit(ReadFile(self.name, 1))
            return
        self.stage = Stage.PARTS
        self._todo = list(self.manifest.parts)
        self._begin_part()

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _begin_part(self) -> None:
        self._rdb = self._reader = self._loader = None
        self._queue = None
        self._at = 0
        self._part_ms = self._turn.now.mono_ms
        self._read_on()

    def _read_on(self) -> None:
        size = min(LOAD_CHUNK, int(self._config["loading-process-events-interval-bytes"]))
        self._turn.emit(ReadFile(self.name, max(16, size), self._at))

    def _part_chunk(self, event: FileChunk) -> None:
        self._at = event.offset + len(event.data)
        self.read += len(event.data)
        self._ended = event.eof
        self.sizes[self._todo[0].name] = event.size
        if event.offset == 0:
            self._open(event.data)
        self._take(event.data)
        if self.resume_ms is not None and not event.eof:
            self._turn.emit(StopReading(event.name))
        elif event.eof and self.resume_ms is None:
            self._end_part()

    def _open(self, first: bytes) -> None:
        part = self._todo[0]
        if part.kind == BASE and is_rdb(first):
            if part.name.endswith(".rdb"):
                self._turn.log(Level.NOTICE, "Reading RDB base file on AOF loading...")
            else:
                self._turn.log(Level.NOTICE, "Reading RDB preamble from AOF file...")
            self._loader = KeyspaceLoader(self._make_keyspace(), keep_expired=self._keep_expired)
            self._rdb = RdbReader(self._loader, check_crc=self._check_crc)
        else:
            self._reader = CommandReader()

    def _take(self, data: bytes) -> None:
        if self._rdb is not None:
            self._take_rdb(data)
        else:
            self._take_commands(data)

    def _take_rdb(self, data: bytes) -> None:
        assert self._rdb is not None and self._loader is not None
        part = self._todo[0]
        before = self._loader.keys + self._loader.expired
        try:
            self._rdb.feed(data)
            if self._ended and not self._rdb.done:
                self._rdb.close()
            if self._rdb.done:
                self._adopt(self._loader)
        except RdbError as problem:
            raise Unreadable(f"Error reading the RDB preamble of the AOF file {part.name}: {problem}") from None
        self._pay(self._loader.keys + self._loader.expired - before)
        if not self._rdb.done:
            return
        self.keys = self._loader.keys
        rest = self._rdb.rest
        self._rdb = self._loader = None
        self._reader = CommandReader(self._at - len(rest))
        if rest or not part.name.endswith(".rdb"):
            self._turn.log(Level.NOTICE, "Reading the remaining AOF tail...")
        if rest:
            self._take_commands(rest)

    def _take_commands(self, data: bytes) -> None:
        reader, part = self._reader, self._todo[0]
        assert reader is not None
        try:
            batch = reader.feed(data)
        except AofDamage as problem:
            raise Unreadable(self._damage(part, problem)) from None
        try:
            if self._queue is None and not any(len(argv) == 1 and argv[0].upper() == b"MULTI" for argv in batch):
                self._apply(batch)
            else:
                self._with_transactions(batch)
        except UnknownCommand as problem:
            where = f"the append only file {part.name}, at offset {reader.offset_of(problem.at, batch)}"
            raise Unreadable(f"Unknown command '{problem.name}' reading {where}") from None
        self.commands += len(batch)
        self._pay(len(batch))

    def _with_transactions(self, batch: list[Argv]) -> None:
        """A transaction happens at its EXEC, as a whole."""
        queue = self._queue
        for at, argv in enumerate(batch):
            name = argv[0].upper() if len(argv) == 1 else b""
            if name == b"MULTI":
                queue = []
            elif queue is None:
                run, queue = [argv], None
                self._apply_at(run, at)
            elif name == b"EXEC":
                run, queue = queue, None
                self._apply_at(run, at)
            else:
                queue.append(argv)
        self._queue = queue

    def _apply_at(self, run: list[Argv], at: int) -> None:
        try:
            self._apply(run)
        except UnknownCommand as problem:
            problem.at = at
            raise

    def _damage(self, part: Part, problem: AofDamage) -> str:
        self._turn.log(
            Level.WARNING,
            f"Bad file format reading the append only file {part.name}: make a backup of your AOF file, then use "
            "./redis-check-aof --fix <filename.manifest>",
        )
        return f"{self._path(part.name)}: {problem}"

    def _end_part(self) -> None:
        part = self._todo[0]
        reader = self._reader
        if reader is None:
            if self._rdb is not None:
                raise Unreadable(f"{part.name}: Unexpected EOF reading RDB file")
            reader = CommandReader()
        try:
            ending = reader.ending
        except AofDamage as problem:
            raise Unreadable(self._damage(part, problem)) from None
        if ending is not Ending.WHOLE:
            self._cut(part, reader, ending)
        seconds = (self._turn.now.mono_ms - self._part_ms) / 1000
        kind = "base" if part.kind == BASE else "incr"
        self._turn.log(Level.NOTICE, f"DB loaded from {kind} file {part.name}: {seconds:.3f} seconds")
        self._todo.pop(0)
        if self._todo:
            self._begin_part()
            return
        total = (self._turn.now.mono_ms - self.started_ms) / 1000
        self._turn.log(Level.NOTICE, f"DB loaded from append only file: {total:.3f} seconds")
        self._finish(self.manifest)

    def _cut(self, part: Part, reader: CommandReader, ending: Ending) -> None:
        """The part ends as a write that was cut off ends: believe what stands before."""
        warn = self._turn.log
        if ending is Ending.OPEN:
            warn(Level.WARNING, f"Revert incomplete MULTI/EXEC transaction in AOF file {part.name}")
        if len(self._todo) > 1:
            raise Unreadable(
                f"Fatal error: the truncated file is not the last file: {self._path(part.name)} ends at offset "
                f"{self._at} and is sound up to {reader.sound}"
            )
        if not self._config["aof-load-truncated"]:
            raise Unreadable(
                f"Unexpected end of file reading the append only file {part.name}: it is sound up to offset "
                f"{reader.sound}, and aof-load-truncated is off. You can: 1) Make a backup of your AOF file, then use "
                "`replicator aof check --fix`. 2) Set the 'aof-load-truncated' option to yes and restart the server."
            )
        warn(Level.WARNING, f"!!! Warning: short read while loading the AOF file {part.name}!!!")
        warn(Level.WARNING, f"!!! Truncating the AOF {part.name} at offset {reader.sound} !!!")
        self._turn.emit(TruncateFile(self._path(part.name), reader.sound))
        self._turn.emit(SyncFile(self._path(part.name)))
        self.sizes[part.name] = reader.sound
        self._turn.announce("aof.truncated", ("file", part.name), ("offset", reader.sound), ("end", self._at))
        warn(Level.WARNING, f"AOF {part.name} loaded anyway because aof-load-truncated is enabled")

    # -- the pace of key-load-delay ------------------------------------------------------------------------------------

    def _pay(self, keys: int) -> None:
        delay_us = int(self._config["key-load-delay"])
        if delay_us:
            self._owed_us += keys * delay_us if delay_us > 0 else keys // -delay_us
            if self._owed_us >= _SHORTEST_WAIT_US:
                self.resume_ms = self._turn.now.mono_ms - (-self._owed_us // 1000)
                self._owed_us = 0

    def advance(self) -> None:
        """Go on when the wait is over."""
        if self.resume_ms is None or self._turn.now.mono_ms < self.resume_ms:
            return
        self.resume_ms = None
        try:
            if self._ended:
                self._end_part()
            else:
                self._read_on()
        except Unreadable as problem:
            self._fail(str(problem))

    # -- ends ----------------------------------------------------------------------------------------------------------

    def _finish(self, manifest: Manifest) -> None:
        self.stage = Stage.DONE
        self.loaded(manifest, self.sizes)

    def _fail(self, why: str) -> None:
        if self.stage is Stage.PARTS:
            self._turn.emit(StopReading(self.name))
        self.stage = Stage.DONE
        self.failed(why)
