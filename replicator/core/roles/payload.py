"""The payload of a full synchronization on its way into our data set: by a file, or as it comes."""

from __future__ import annotations

from random import Random

from replicator.core import limits
from replicator.core.config.config import Config
from replicator.core.effects import Announce, Level, PauseReading, RemoveFile, StopReading
from replicator.core.keyspace.database import Keyspace
from replicator.core.persistence.loading import RdbError, Source
from replicator.core.persistence.loads import Loads
from replicator.core.persistence.place import stream_database
from replicator.core.replication.primary import Primary
from replicator.core.replication.replica import Replica
from replicator.core.replication.transfer import LoadError
from replicator.core.roles.failover import Failover
from replicator.core.surroundings import Surroundings
from replicator.core.turn import Turn


class Payload:
    """What replica.Replica asks of its node for a payload (replica.Payloads)."""

    def __init__(
        self,
        turn: Turn,
        config: Config,
        chance: Random,
        surroundings: Surroundings,
        keyspace: Keyspace,
        primary: Primary,
        replica: Replica,
        loads: Loads,
        failover: Failover,
    ) -> None:
        self.turn = turn
        self.config = config
        self.random = chance
        self.surroundings = surroundings
        self.keyspace = keyspace
        self.history = primary.history
        self.primary = primary
        self.replica = replica
        self.loads = loads
        self.snapshots = loads.snapshots
        self.append_only = loads.append_only
        self.failover = failover
        loads.on_payload = self.file_loaded

    def load_in_memory(self) -> bool:
        """Whether the payload goes straight to the loader."""
        mode = self.config["repl-diskless-load"]
        if mode == "on-empty-db":
            return not any(len(db) for db in self.keyspace.databases)
        return bool(mode == "swapdb")

    def full_sync_begins(self) -> None:
        """A payload will come; until our old data goes, our replicas are served and our history can be continued."""
        self.failover.succeeded()

    def disk_room(self) -> int | None:
        """Bytes free where the payload is written; None: nobody knows."""
        room = self.surroundings.disk_room
        return None if room is None else room()

    def before_dump_is_replaced(self) -> None:
        """A child that saves our old data would put it under the payload's name: it is killed."""
        snapshots = self.snapshots
        snapshots.requested_save = snapshots.scheduled = False
        if snapshots.saving:
            assert snapshots.running is not None
            self.turn.log(
                Level.NOTICE,
                "Replica is about to load the RDB file received from the master, but there is a pending RDB child "
                f"running. Killing process {snapshots.running.pid} and removing its temp file to avoid any race",
            )
            snapshots.cancel()

    def load_file(self, name: str) -> None:
        """Drop the old data, then load the file chunk by chunk."""
        self._flush_old()
        self.turn.log(Level.NOTICE, "MASTER <-> REPLICA sync: Loading DB in memory")
        self.loads.begin(Source.PAYLOAD, name, asynchronous=False)
        self.loads.read(name)

    def open_loader(self) -> None:
        """Load from the socket; swapdb keeps the old data meanwhile, and serves it if it is of the same history."""
        swap = self.config["repl-diskless-load"] == "swapdb"
        if not swap:
            self._flush_old()
        self.turn.log(Level.NOTICE, "MASTER <-> REPLICA sync: Loading DB in memory")
        # Old data of another history is kept in case the load fails, but nobody should take it for the primary's.
        self.loads.begin(Source.SOCKET, "", asynchronous=swap and self.replica.full_id == self.history.id)

    def _leave_history(self) -> None:
        """From now on nothing continues our old history: not we, and not our replicas."""
        if self.replica.resumable:
            self.turn.log(Level.NOTICE, "Discarding previously cached master state.")
        self.primary.drop_all("our primary gives us another history")

    def _flush_old(self) -> None:
        self.append_only.suspend()
        self._leave_history()
        self.turn.log(Level.NOTICE, "MASTER <-> REPLICA sync: Flushing old data")
        for db in self.keyspace.databases:
            db.clear()
        # An empty node is no continuation of anything.
        self.history.drop_window()
        self.history.forget(self.random)
        self.replica.resumable = False
        self.turn.emit(Announce("replication.data-dropped", ()))

    def feed_loader(self, data: bytes) -> bytes | None:
        """Payload bytes from the socket."""
        loading = self.loads.loading
        assert loading is not None
        bound = self.surroundings.memory * limits.MAX_LOAD_PERCENT // 100
        if bound and self.surroundings.resident() > bound:
            self.loads.end()
            share = f"{limits.MAX_LOAD_PERCENT}% of the memory that this process may have"
            raise LoadError(f"{share} is in use, with {loading.read} bytes of the payload read")
        waited = loading.resume_ms is not None
        try:
            rest = self.loads.feed(loading, data)
        except RdbError as problem:
            self.loads.end()
            raise LoadError(str(problem)) from None
        waits = loading.resume_ms is not None
        if waits != waited:
            self.turn.emit(PauseReading(self.replica.conn, waits))
        return rest

    def loader_waits(self) -> bool:
        """Whether the loader holds bytes back (key-load-delay)."""
        loading = self.loads.loading
        return loading is not None and loading.resume_ms is not None

    def finish_load(self) -> None:
        """The payload is whole: its data becomes ours."""
        self._adopt()

    def abandon_load(self, why: str) -> None:
        """The payload broke off."""
        loading = self.loads.loading
        if loading is not None:
            self.turn.log(Level.NOTICE, f"MASTER <-> REPLICA sync: Discarding the unfinished load ({why})")
            if loading.source is Source.PAYLOAD:
                self.turn.emit(StopReading(loading.name))
            self.loads.end()

    def file_loaded(self, name: str) -> None:
        """The payload has been loaded from its file."""
        if self.config["rdb-del-sync-files"] and not self.config["save"] and not self.config["appendonly"]:
            self.turn.emit(RemoveFile(name))
        self._adopt()

    def _adopt(self) -> None:
        loading = self.loads.loading
        assert loading is not None
        stream_db = stream_database(loading.loader.aux, len(self.keyspace.databases))
        if self.replica.resumable:  # swapdb: nothing was flushed
            self._leave_history()
        self.loads.adopt()
        self.append_only.restart()
        self.replica.payload_loaded(stream_db, self.turn.now)
