"""Loads of one node: its own dump at the start, and payloads of its primary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from replicator.core.clients.session import Asked, Blocked, Session, Wait
from replicator.core.clients.waiting import Waiting
from replicator.core.command_table.context import PENDING
from replicator.core.command_table.registry import LOADING, NO_ASYNC_LOADING
from replicator.core.config.config import Config
from replicator.core.effects import Exit, Level, ReadFile, StopReading
from replicator.core.errors import CommandError
from replicator.core.events import FileChunk, FileFailed
from replicator.core.gates import ANY, Gates
from replicator.core.keyspace.database import Keyspace
from replicator.core.keyspace.eviction import Evictor
from replicator.core.persistence.append_only import AppendOnly
from replicator.core.persistence.loading import LOAD_CHUNK, Loading, RdbError, Source, start_load
from replicator.core.persistence.place import place_of, stream_database
from replicator.core.persistence.rdb import KeyspaceLoader
from replicator.core.persistence.replay import Replay
from replicator.core.persistence.snapshots import Snapshots
from replicator.core.replication.outgoing import Outgoing
from replicator.core.replication.primary import Primary
from replicator.core.replication.replica import Replica
from replicator.core.turn import Turn
from replicator.core.wire import reply
from replicator.core.wire.aof import Manifest
from replicator.core.wire.request import Argv

_LOADING = "LOADING Redis is loading the dataset in memory"


class Functions(Protocol):
    """The libraries of functions, which lie in snapshots (scripting.state.Scripting)."""

    def library_codes(self) -> list[bytes]:
        """Their codes."""

    def load_libraries(self, codes: list[bytes]) -> None:
        """These libraries in place of those that are there."""


class Loads:
    """Begins, feeds and ends what `loading` holds.

    on_ready: called when our own data is loaded, or there is none. on_payload: with the name of a payload's file that
    has been loaded. functions_of: builds the libraries of a snapshot that ends there, and returns what adopts them;
    raises RdbError. replayer: makes what runs the commands of an append-only file. is_member_replica: whether a cluster
    makes this node a replica.
    """

    on_ready: Callable[[], None]
    on_payload: Callable[[str], None]
    functions_of: Callable[[list[bytes], int], Callable[[], None]]
    replayer: Callable[[], Callable[[list[Argv]], None]]

    def __init__(
        self,
        turn: Turn,
        config: Config,
        gates: Gates,
        keyspace: Keyspace,
        outgoing: Outgoing,
        primary: Primary,
        replica: Replica,
        evictor: Evictor,
        snapshots: Snapshots,
        append_only: AppendOnly,
        waiting: Waiting,
        functions: Functions,
    ) -> None:
        self.turn = turn
        self.config = config
        self.gates = gates
        self.keyspace = keyspace
        self.outgoing = outgoing
        self.history = primary.history
        self.primary = primary
        self.replica = replica
        self.evictor = evictor
        self.snapshots = snapshots
        self.append_only = append_only
        self.waiting = waiting
        self.functions = functions
        append_only.load_again = self.load_again
        self._kept: Keyspace | None = None  # DEBUG LOADAOF: the data until the file has been read
        self._kept_functions: list[bytes] = []
        self._asked_by: Session | None = None
        self.loading: Loading | None = None
        self.is_member_replica: Callable[[], bool] = lambda: False
        self.skip_checksum = False  # DEBUG SET-SKIP-CHECKSUM-VALIDATION

    def at_start(self) -> None:
        """Load what there is: the append-only file if it is on, else the dump."""
        if self.config["appendonly"]:
            self.begin(Source.APPEND_ONLY, "", asynchronous=False)
            self._replay()
            return
        name = str(self.config["dbfilename"])
        self.begin(Source.START, name, asynchronous=False)
        self.read(name)

    def _replay(self) -> None:
        """Load the append-only file; `loading` tells of its progress."""
        replay = self.append_only.replay = Replay(
            self.turn,
            self.config,
            make_keyspace=self._empty_keyspace,
            keep_expired=True,  # what follows may speak of keys that have expired since; the file deletes them itself
            check_crc=bool(self.config["rdbchecksum"]) and not self.skip_checksum,
            adopt=self._adopt_base,
            apply=self.replayer(),
        )
        replay.loaded = self._append_only_loaded
        replay.failed = self._append_only_failed
        replay.begin()

    def load_again(self, session: Session) -> bytes:
        """DEBUG LOADAOF: the data is what the append-only file holds. What it was comes back if that cannot be read."""
        if self.loading is not None:
            raise CommandError("ERR Another load is under way")
        self.append_only.rewriter.anew()
        self.append_only.rewriter.disable()
        kept = self._kept = self._empty_keyspace()
        for mine, theirs in zip(self.keyspace.databases, kept.databases, strict=True):
            theirs.values, theirs.expires, theirs.schedule = mine.values, mine.expires, mine.schedule
            mine.clear()
        self._kept_functions = self.functions.library_codes()
        self._asked_by = session
        self.waiting.park(session, Blocked(Wait.LOAD, session.argv, session.command, None, b""))
        self.begin(Source.APPEND_ONLY, "", asynchronous=False)
        self._replay()
        return PENDING

    def _loaded_again(self, why: str) -> None:
        """DEBUG LOADAOF has ended; why: "" for success."""
        session = self._asked_by
        assert session is not None
        self._asked_by = self._kept = None
        if not why:
            self.turn.log(Level.WARNING, "Append Only File loaded by DEBUG LOADAOF")
        if session.blocked is not None and session.blocked.kind is Wait.LOAD:
            problem = f"ERR Error trying to load the append only file, check server logs: {why}"
            self.waiting.unblock(session, reply.error(problem) if why else reply.OK)

    def _empty_keyspace(self) -> Keyspace:
        keyspace = Keyspace(len(self.keyspace.databases))
        keyspace.now_ms = self.turn.now.unix_ms
        return keyspace

    def _adopt_base(self, loader: KeyspaceLoader) -> None:
        """The base of the append-only file is whole. Raises RdbError for functions that do not load."""
        adopt_functions = self.functions_of(loader.functions, 0)
        self._describe(loader.aux)
        if loader.aux.get(b"aof-base") == b"1":
            self.turn.log(Level.NOTICE, "RDB is base AOF")
        loader.finish()
        self.keyspace.adopt(loader.keyspace)
        adopt_functions()
        self.snapshots.last_keys_loaded = loader.keys
        self.snapshots.last_keys_expired = loader.expired
        self.turn.log(Level.NOTICE, f"Done loading RDB, keys loaded: {loader.keys}, keys expired: {loader.expired}.")

    def _append_only_loaded(self, manifest: Manifest, sizes: dict[str, int]) -> None:
        self.end()
        rewriter = self.append_only.rewriter
        if self._asked_by is None:
            rewriter.ready = self.on_ready
            rewriter.open(manifest, sizes)
        elif self.config["appendonly"]:
            rewriter.ready = lambda: self._loaded_again("")
            rewriter.open(manifest, sizes)
        else:
            self._loaded_again("")

    def _append_only_failed(self, why: str) -> None:
        self.turn.log(Level.WARNING, why)
        self.end()
        if self._kept is None:
            self.turn.later.append(Exit(1))
            return
        self.keyspace.adopt(self._kept)
        self.functions.load_libraries(self._kept_functions)
        self.append_only.restart()
        self._loaded_again(why)

    def begin(self, source: Source, name: str, *, asynchronous: bool) -> None:
        """A load begins; until it ends the gate lets through what may run while loading."""
        self.loading = start_load(
            source,
            name,
            databases=len(self.keyspace.databases),
            asynchronous=asynchronous,
            keep_expired=source.is_payload or self.is_replica_by_config(),
            check_crc=bool(self.config["rdbchecksum"]) and not self.skip_checksum,
            mono_ms=self.turn.now.mono_ms,
            unix_ms=self.turn.now.unix_ms,
        )
        self.gates.hold("load", ANY)

    def is_replica_by_config(self) -> bool:
        """Whether this node follows, or is configured to follow, a primary."""
        return self.replica.active or bool(self.config["replicaof"]) or self.is_member_replica()

    def end(self) -> None:
        """No load is under way any more."""
        self.loading = None
        self.gates.drop("load")

    def adopt(self) -> None:
        """What was loaded becomes the data."""
        loading = self.loading
        assert loading is not None
        loading.loader.finish()
        self.keyspace.adopt(loading.keyspace)
        self.evictor.adopt_uses(loading.loader.uses)
        self.snapshots.saved_changes = self.keyspace.changes
        assert loading.adopt_functions is not None, "adopted before it was whole"
        loading.adopt_functions()
        self.snapshots.last_keys_loaded = loading.loader.keys
        self.snapshots.last_keys_expired = loading.loader.expired
        self._describe(loading.loader.aux)
        self.turn.log(
            Level.NOTICE,
            f"Done loading RDB, keys loaded: {loading.loader.keys}, keys expired: {loading.loader.expired}.",
        )
        self.end()

    def _describe(self, aux: dict[bytes, bytes]) -> None:
        """Say what the snapshot tells of itself."""
        version = aux.get(b"valkey-ver") or aux.get(b"redis-ver")
        if version is not None:
            shown = version[:64].decode("utf-8", "backslashreplace")
            self.turn.log(Level.NOTICE, f"Loading RDB produced by version {shown}")
        made, memory = aux.get(b"ctime", b""), aux.get(b"used-mem", b"")
        if made.isdigit() and len(made) < 20:
            self.turn.log(Level.NOTICE, f"RDB age {max(0, self.turn.now.unix_ms // 1000 - int(made))} seconds")
        if memory.isdigit() and len(memory) < 20:
            self.turn.log(Level.NOTICE, f"RDB memory usage when created {int(memory) / (1 << 20):.2f} Mb")

    def file_chunk(self, event: FileChunk) -> None:
        """More of a file that is being loaded."""
        if self.append_only.file_chunk(event):
            self._show_progress()
            return
        loading = self.loading
        if loading is None or loading.name != event.name:
            self.turn.emit(StopReading(event.name))
            return
        loading.size = event.size
        loading.read_to = event.offset + len(event.data)
        loading.at_end = event.eof
        if self._take(loading, event.data) and not event.eof and loading.resume_ms is not None:
            self.turn.emit(StopReading(event.name))

    def _show_progress(self) -> None:
        """What INFO tells of a load."""
        replay, loading = self.append_only.replay, self.loading
        if replay is not None and loading is not None and loading.source is Source.APPEND_ONLY:
            loading.size, loading.read, loading.resume_ms = replay.size, replay.read, replay.resume_ms

    def read(self, name: str, offset: int = 0) -> None:
        """Read the file that is being loaded, from there on."""
        chunk = min(LOAD_CHUNK, self.config["loading-process-events-interval-bytes"])
        self.turn.emit(ReadFile(name, chunk, offset))

    def advance(self) -> None:
        """Go on with a load that had to wait (key-load-delay)."""
        loading = self.loading
        if loading is None or loading.resume_ms is None or self.turn.now.mono_ms < loading.resume_ms:
            return
        if loading.source is Source.APPEND_ONLY:
            assert self.append_only.replay is not None
            self.append_only.replay.advance()
            self._show_progress()
        elif loading.source is Source.SOCKET:
            self.replica.load_goes_on(self.turn.now)
        elif self._take(loading, b"") and loading.resume_ms is None and not loading.at_end:
            self.read(loading.name, loading.read_to)

    def feed(self, loading: Loading, data: bytes) -> bytes | None:
        """More bytes of the payload; what stands behind its end once it is there, else None. Raises RdbError, also for
        a library of functions that does not load: nothing of the payload has been adopted yet.
        """
        rest = loading.feed(data, self.turn.now, self.config["key-load-delay"])
        if rest is not None and loading.adopt_functions is None:
            end = loading.read - len(rest)
            loading.adopt_functions = self.functions_of(loading.loader.functions, end)
        return rest

    def _take(self, loading: Loading, data: bytes) -> bool:
        """Bytes of a file; whether the load goes on."""
        if loading.source is Source.PAYLOAD:
            self.replica.show_life(self.turn.now)
        try:
            rest = self.feed(loading, data)
            if loading.resume_ms is not None or not loading.at_end:
                return True
            if rest is None:
                loading.reader.close()
            elif rest and loading.source is Source.PAYLOAD:
                raise RdbError(f"{len(rest)} bytes follow the end of the data", loading.size - len(rest))
        except RdbError as problem:
            if loading.source is Source.PAYLOAD:
                self.end()
                self.replica.payload_failed(str(problem), self.turn.now)
            else:
                self._cannot_load(loading.name, str(problem))
            return False
        if loading.source is Source.PAYLOAD:
            self.on_payload(loading.name)
        else:
            self._loaded_at_start(loading)
        return False

    def _cannot_load(self, name: str, why: str) -> None:
        self.turn.log(Level.WARNING, f"Fatal error loading the DB, check server logs. Exiting. ({name}: {why})")
        self.turn.emit(StopReading(name))
        self.end()
        if self._kept is None:
            self.turn.later.append(Exit(1))
            return
        self.keyspace.adopt(self._kept)
        self.functions.load_libraries(self._kept_functions)
        self.append_only.restart()
        self._loaded_again(why)

    def _loaded_at_start(self, loading: Loading) -> None:
        self.adopt()
        took = (self.turn.now.mono_ms - loading.started_ms) / 1000
        self.turn.log(Level.NOTICE, f"DB loaded from disk: {took:.3f} seconds")
        aux = loading.loader.aux
        place = place_of(aux)
        if place is not None:
            stream_db = stream_database(aux, len(self.keyspace.databases))
            self._recover_history(place.id, place.offset, stream_db, loading.loader.dropped)
        self.on_ready()

    def _recover_history(self, identity: str, offset: int, stream_db: int, dropped: list[tuple[int, bytes]]) -> None:
        """The dump knew its place in a history: continue there (a replica), or let replicas continue (a primary)."""
        history = self.history
        size = self.config["repl-backlog-size"]
        if self.is_replica_by_config():
            history.restart(identity, offset, size)
            self.replica.resumable = True
            self.replica.stream_db = stream_db
        else:
            own = history.id
            history.restart(identity, offset, size)
            history.follow(own)
            self.primary.alone_since_ms = self.turn.now.mono_ms
            self.outgoing.follow_window(is_primary=True)
            keyspace = self.keyspace  # replicas hold what had expired, and continue: they are told
            keyspace.recorded += [(index, [keyspace.delete_name, key]) for index, key in dropped]
            self.outgoing.commit(together=False)

    def file_failed(self, event: FileFailed) -> bool:
        """A file operation failed; whether it was one of ours."""
        loading = self.loading
        if loading is None or loading.name != event.name:
            return False
        if loading.source.is_payload:
            self.end()
            self.replica.payload_failed(event.why, self.turn.now)
        elif event.missing:
            self.end()
            self.on_ready()
        else:
            self._cannot_load(event.name, event.why)
        return True

    def check(self, session: Session, asked: Asked) -> None:
        """Raise LOADING for a command that cannot run while the data is loaded (execution.admission.Check)."""
        loading = self.loading
        if loading is None:
            return
        if loading.asynchronous:
            if asked.flags & NO_ASYNC_LOADING:
                raise CommandError(_LOADING)
        elif asked.lacks & LOADING:
            raise CommandError(_LOADING)
