"""Loads of one node: its own dump at the start, and payloads of its primary; and the end of other file operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.clients.session import Blocked, Session
from replicator.core.command_table.context import PENDING
from replicator.core.effects import Exit, Level, ReadFile, StopReading
from replicator.core.errors import CommandError
from replicator.core.events import FileChunk, FileCommitted, FileFailed
from replicator.core.keyspace.database import Keyspace
from replicator.core.persistence.loading import LOAD_CHUNK, Loading, RdbError, start_load
from replicator.core.persistence.place import place_of, stream_database
from replicator.core.persistence.rdb import KeyspaceLoader
from replicator.core.persistence.replay import Replay
from replicator.core.wire import reply
from replicator.core.wire.aof import Manifest

if TYPE_CHECKING:
    from replicator.core.node import Node


class Loads:
    """Begins, feeds and ends what node.loading holds."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._kept: Keyspace | None = None  # DEBUG LOADAOF: the data until the file has been read
        self._kept_functions: list[bytes] = []
        self._asked_by: Session | None = None

    def at_start(self) -> None:
        """Load what there is: the append-only file if it is on, else the dump."""
        node = self.node
        if node.config["appendonly"]:
            self.begin("append-only", "", asynchronous=False)
            self._replay()
            return
        name = str(node.config["dbfilename"])
        self.begin("start", name, asynchronous=False)
        self.read(name)

    def _replay(self) -> None:
        """Load the append-only file; node.loading tells of its progress."""
        node, append_only = self.node, self.node.append_only
        replay = append_only.replay = Replay(
            node.turn,
            node.config,
            make_keyspace=self._empty_keyspace,
            keep_expired=True,  # what follows may speak of keys that have expired since; the file deletes them itself
            check_crc=bool(node.config["rdbchecksum"]) and not node.services.skip_checksum,
            adopt=self._adopt_base,
            apply=node.make_replayer().apply,
        )
        replay.loaded = self._append_only_loaded
        replay.failed = self._append_only_failed
        replay.begin()

    def load_again(self, session: Session) -> bytes:
        """DEBUG LOADAOF: the data is what the append-only file holds. What it was comes back if that cannot be read."""
        node = self.node
        if node.loading is not None:
            raise CommandError("ERR Another load is under way")
        node.append_only.rewriter.anew()
        node.append_only.rewriter.disable()
        kept = self._kept = self._empty_keyspace()
        for mine, theirs in zip(node.keyspace.databases, kept.databases, strict=True):
            theirs.values, theirs.expires, theirs.schedule = mine.values, mine.expires, mine.schedule
            mine.clear()
        self._kept_functions = node.scripting.library_codes()
        self._asked_by = session
        node.executor.park(session, Blocked("load", session.argv, session.command, None, b""))
        self.begin("append-only", "", asynchronous=False)
        self._replay()
        return PENDING

    def _loaded_again(self, why: str) -> None:
        """DEBUG LOADAOF has ended; why: "" for success."""
        node, session = self.node, self._asked_by
        assert session is not None
        self._asked_by = self._kept = None
        if not why:
            node.turn.log(Level.WARNING, "Append Only File loaded by DEBUG LOADAOF")
        if session.blocked is not None and session.blocked.kind == "load":
            problem = f"ERR Error trying to load the append only file, check server logs: {why}"
            node.executor.unblock(session, reply.error(problem) if why else reply.OK)

    def _empty_keyspace(self) -> Keyspace:
        keyspace = Keyspace(len(self.node.keyspace.databases))
        keyspace.now_ms = self.node.turn.now.unix_ms
        keyspace.flat_bounds = self.node.keyspace.flat_bounds
        return keyspace

    def _adopt_base(self, loader: KeyspaceLoader) -> None:
        """The base of the append-only file is whole. Raises RdbError for functions that do not load."""
        adopt_functions = self.node.services.built_functions(loader.functions, 0)
        self._describe(loader.aux)
        if loader.aux.get(b"aof-base") == b"1":
            self.node.turn.log(Level.NOTICE, "RDB is base AOF")
        loader.finish()
        self.node.keyspace.adopt(loader.keyspace)
        adopt_functions()
        self.node.snapshots.last_keys_loaded = loader.keys
        self.node.snapshots.last_keys_expired = loader.expired
        self.node.turn.log(
            Level.NOTICE, f"Done loading RDB, keys loaded: {loader.keys}, keys expired: {loader.expired}."
        )

    def _append_only_loaded(self, manifest: Manifest, sizes: dict[str, int]) -> None:
        node = self.node
        rewriter = node.append_only.rewriter
        self.end()
        if self._asked_by is None:
            rewriter.ready = self._become_ready
            rewriter.open(manifest, sizes)
        elif node.config["appendonly"]:
            rewriter.ready = lambda: self._loaded_again("")
            rewriter.open(manifest, sizes)
        else:
            self._loaded_again("")

    def _append_only_failed(self, why: str) -> None:
        node = self.node
        node.turn.log(Level.WARNING, why)
        self.end()
        if self._kept is None:
            node.turn.later.append(Exit(1))
            return
        node.keyspace.adopt(self._kept)
        node.scripting.flush_libraries()
        node.scripting.load_libraries(self._kept_functions)
        node.append_only.restart()
        self._loaded_again(why)

    def begin(self, source: str, name: str, *, asynchronous: bool) -> None:
        """A load begins; until it ends the gate lets through what may run while loading."""
        self.node.loading = start_load(
            source,
            name,
            databases=len(self.node.keyspace.databases),
            asynchronous=asynchronous,
            keep_expired=source in ("file", "socket") or self.is_replica_by_config(),
            check_crc=bool(self.node.config["rdbchecksum"]) and not self.node.services.skip_checksum,
            mono_ms=self.node.turn.now.mono_ms,
            unix_ms=self.node.turn.now.unix_ms,
        )
        self.node.loading.keyspace.flat_bounds = self.node.keyspace.flat_bounds
        self.node.regate()

    def is_replica_by_config(self) -> bool:
        """Whether this node follows, or is configured to follow, a primary."""
        cluster = self.node.cluster
        return (
            self.node.replica.active
            or bool(self.node.config["replicaof"])
            or (cluster is not None and cluster.is_replica)
        )

    def end(self) -> None:
        """No load is under way any more."""
        self.node.loading = None
        self.node.regate()

    def adopt(self) -> None:
        """What was loaded becomes the data."""
        loading = self.node.loading
        assert loading is not None
        loading.loader.finish()
        self.node.keyspace.adopt(loading.keyspace)
        self.node.evictor.adopt_uses(loading.loader.uses)
        self.node.snapshots.saved_changes = self.node.keyspace.changes
        assert loading.adopt_functions is not None, "adopted before it was whole"
        loading.adopt_functions()
        self.node.snapshots.last_keys_loaded = loading.loader.keys
        self.node.snapshots.last_keys_expired = loading.loader.expired
        self._describe(loading.loader.aux)
        self.node.turn.log(
            Level.NOTICE,
            f"Done loading RDB, keys loaded: {loading.loader.keys}, keys expired: {loading.loader.expired}.",
        )
        self.end()

    def _describe(self, aux: dict[bytes, bytes]) -> None:
        """Say what the snapshot tells of itself."""
        node = self.node
        version = aux.get(b"valkey-ver") or aux.get(b"redis-ver")
        if version is not None:
            shown = version[:64].decode("utf-8", "backslashreplace")
            node.turn.log(Level.NOTICE, f"Loading RDB produced by version {shown}")
        made, memory = aux.get(b"ctime", b""), aux.get(b"used-mem", b"")
        if made.isdigit() and len(made) < 20:
            node.turn.log(Level.NOTICE, f"RDB age {max(0, node.turn.now.unix_ms // 1000 - int(made))} seconds")
        if memory.isdigit() and len(memory) < 20:
            node.turn.log(Level.NOTICE, f"RDB memory usage when created {int(memory) / (1 << 20):.2f} Mb")

    def file_chunk(self, event: FileChunk) -> None:
        """More of a file that is being loaded."""
        if self.node.append_only.file_chunk(event):
            self._show_progress()
            return
        loading = self.node.loading
        if loading is None or loading.name != event.name:
            self.node.turn.emit(StopReading(event.name))
            return
        loading.size = event.size
        loading.read_to = event.offset + len(event.data)
        loading.at_end = event.eof
        if self._take(loading, event.data) and not event.eof and loading.resume_ms is not None:
            self.node.turn.emit(StopReading(event.name))

    def _show_progress(self) -> None:
        """What INFO tells of a load."""
        replay, loading = self.node.append_only.replay, self.node.loading
        if replay is not None and loading is not None and loading.source == "append-only":
            loading.size, loading.read, loading.resume_ms = replay.size, replay.read, replay.resume_ms

    def read(self, name: str, offset: int = 0) -> None:
        """Read the file that is being loaded, from there on."""
        chunk = min(LOAD_CHUNK, self.node.config["loading-process-events-interval-bytes"])
        self.node.turn.emit(ReadFile(name, chunk, offset))

    def advance(self) -> None:
        """Go on with a load that had to wait (key-load-delay)."""
        loading = self.node.loading
        if loading is None or loading.resume_ms is None or self.node.turn.now.mono_ms < loading.resume_ms:
            return
        if loading.source == "append-only":
            assert self.node.append_only.replay is not None
            self.node.append_only.replay.advance()
            self._show_progress()
        elif loading.source == "socket":
            self.node.replica.load_goes_on(self.node.turn.now)
        elif self._take(loading, b"") and loading.resume_ms is None and not loading.at_end:
            self.read(loading.name, loading.read_to)

    def feed(self, loading: Loading, data: bytes) -> bytes | None:
        """More bytes of the payload; what stands behind its end once it is there, else None. Raises RdbError, also for
        a library of functions that does not load: nothing of the payload has been adopted yet.
        """
        rest = loading.feed(data, self.node.turn.now, self.node.config["key-load-delay"])
        if rest is not None and loading.adopt_functions is None:
            end = loading.read - len(rest)
            loading.adopt_functions = self.node.services.built_functions(loading.loader.functions, end)
        return rest

    def _take(self, loading: Loading, data: bytes) -> bool:
        """Bytes of a file; whether the load goes on."""
        node = self.node
        if loading.source == "file":
            node.replica.show_life(node.turn.now)
        try:
            rest = self.feed(loading, data)
            if loading.resume_ms is not None or not loading.at_end:
                return True
            if rest is None:
                loading.reader.close()
            elif rest and loading.source == "file":
                raise RdbError(f"{len(rest)} bytes follow the end of the data", loading.size - len(rest))
        except RdbError as problem:
            if loading.source == "file":
                self.end()
                node.replica.payload_failed(str(problem), node.turn.now)
            else:
                self._cannot_load(loading.name, str(problem))
            return False
        if loading.source == "file":
            node.following.file_loaded(loading.name)
        else:
            self._loaded_at_start(loading)
        return False

    def _cannot_load(self, name: str, why: str) -> None:
        self.node.turn.log(Level.WARNING, f"Fatal error loading the DB, check server logs. Exiting. ({name}: {why})")
        self.node.turn.emit(StopReading(name))
        self.end()
        self.node.turn.later.append(Exit(1))

    def _loaded_at_start(self, loading: Loading) -> None:
        self.adopt()
        took = (self.node.turn.now.mono_ms - loading.started_ms) / 1000
        self.node.turn.log(Level.NOTICE, f"DB loaded from disk: {took:.3f} seconds")
        aux = loading.loader.aux
        place = place_of(aux)
        if place is not None:
            stream_db = stream_database(aux, len(self.node.keyspace.databases))
            self._recover_history(place.id, place.offset, stream_db, loading.loader.dropped)
        self._become_ready()

    def _recover_history(self, identity: str, offset: int, stream_db: int, dropped: list[tuple[int, bytes]]) -> None:
        """The dump knew its place in a history: continue there (a replica), or let replicas continue (a primary)."""
        history = self.node.history
        size = self.node.config["repl-backlog-size"]
        if self.is_replica_by_config():
            history.restart(identity, offset, size)
            self.node.replica.resumable = True
            self.node.replica.stream_db = stream_db
        else:
            own = history.id
            history.restart(identity, offset, size)
            history.follow(own)
            self.node.primary.alone_since_ms = self.node.turn.now.mono_ms
            self.node.set_feeding()
            keyspace = self.node.keyspace  # replicas hold what had expired, and continue: they are told
            keyspace.recorded += [(index, [keyspace.delete_name, key]) for index, key in dropped]
            self.node.outgoing.commit(together=False)

    def _become_ready(self) -> None:
        if self.node.config["replicaof"]:
            host, port = self.node.config["replicaof"]
            self.node.become_replica(host, int(port), why="")
        self.node.ready = True
        self.node.regate()
        if self.node.cluster is not None:
            self.node.cluster.ready(self.node.turn.now)
        self.node.turn.log(Level.NOTICE, "Ready to accept connections")

    def file_failed(self, event: FileFailed) -> None:
        """A file operation failed."""
        if self.node.append_only.file_failed(event):
            return
        if self.node.snapshots.foreground_ended(event.name, event.why):
            self.node.handover.saved(event.why)
            return
        loading = self.node.loading
        if loading is not None and loading.name == event.name:
            if loading.source == "start":
                if event.missing:
                    self.end()
                    self._become_ready()
                else:
                    self._cannot_load(event.name, event.why)
            else:
                self.end()
                self.node.replica.payload_failed(event.why, self.node.turn.now)
            return
        self.node.replica.file_failed(event.name, event.why, self.node.turn.now)

    def file_committed(self, event: FileCommitted) -> None:
        """A file stands under its final name."""
        if self.node.append_only.file_committed(event):
            return
        if self.node.snapshots.foreground_ended(event.name, ""):
            self.node.handover.saved("")
            return
        self.node.replica.file_committed(event.name, event.final_name)
