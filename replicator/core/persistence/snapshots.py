"""Snapshots: BGSAVE, save points, SAVE, and the snapshots that full synchronizations need. One child at a time.

A snapshot is the data of the instant at which its StartSnapshot effect is carried out; nothing may run between the
decision and that instant, so Node puts the effect last in a turn and reads the offset there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from replicator.core.command_table.statistics import Statistics
from replicator.core.config.config import Config
from replicator.core.effects import (
    Announce,
    CancelSnapshot,
    Level,
    RemoveFile,
    StartSnapshot,
)
from replicator.core.events import SnapshotDone, SnapshotFailed, SnapshotStarted
from replicator.core.gates import ANY, Gates
from replicator.core.keyspace.database import Keyspace
from replicator.core.keyspace.eviction import Evictor
from replicator.core.persistence.commands_base import command_chunks
from replicator.core.persistence.rdb import snapshot_chunks, version_for_file
from replicator.core.persistence.rewriting import Rewriter
from replicator.core.replication.outgoing import Outgoing
from replicator.core.replication.primary import WHOLE, Primary, SnapshotRequest
from replicator.core.replication.replica import Replica
from replicator.core.surroundings import REDIS_VERSION
from replicator.core.turn import Turn

_RETRY_MS = 5000  # after a failed background save


@dataclass(slots=True)
class Running:
    """The snapshot that a child is making."""

    generation: int
    for_replicas: bool
    diskless: bool
    changes_at_start: int
    started_ms: int
    pid: int = 0
    cancelled: bool = False
    rewrite: bool = False  # the base of the append-only file


class Snapshots:
    """All that concerns snapshots of one node."""

    rewriter: Rewriter  # of the append-only file: who has its snapshots made here, is told of them

    def __init__(
        self,
        turn: Turn,
        config: Config,
        chance: Random,
        gates: Gates,
        keyspace: Keyspace,
        evictor: Evictor,
        outgoing: Outgoing,
        primary: Primary,
        replica: Replica,
        statistics: Statistics,
        function_codes: Callable[[], list[bytes]],
    ) -> None:
        self.turn = turn
        self.config = config
        self.random = chance
        self.gates = gates
        self.keyspace = keyspace
        self.evictor = evictor
        self.outgoing = outgoing
        self.history = primary.history
        self.primary = primary
        self.replica = replica
        self.statistics = statistics
        self.function_codes = function_codes
        self.running: Running | None = None
        self.requested_save = False  # a BGSAVE begins at the end of this turn
        self.scheduled = False  # BGSAVE SCHEDULE: when the child is free
        self.generation = 0
        self.saved_changes = 0  # keyspace.changes at the last good save
        self.last_save_s = 0
        self.last_ok = True
        self.last_try_ms = 0
        self.last_duration_s = -1
        self.last_cow = 0
        self.last_fork_us = 0
        self.total_forks = 0
        self.saves = 0
        self.last_keys_loaded = 0
        self.last_keys_expired = 0
        self.sync_file = False  # the dump file was made for replicas alone

    @property
    def changes(self) -> int:
        """Changes since the last save."""
        return self.keyspace.changes - self.saved_changes

    @property
    def saving(self) -> bool:
        """A background save (disk) is under way, for whomever."""
        return self.running is not None and not self.running.diskless and not self.running.rewrite

    # -- content -----------------------------------------------------------------------------------------------------

    def base_chunks(self, as_rdb: bool) -> Callable[[], Iterator[bytes | tuple[bytes, int]]]:
        """What writes the base of the append-only file: an RDB file, or commands."""
        return partial(self.chunks, replication=False, base=True) if as_rdb else self._command_chunks

    def _command_chunks(self) -> Iterator[bytes | tuple[bytes, int]]:
        return command_chunks(
            self.keyspace,
            functions=self.function_codes(),
            stamp_s=self.turn.now.unix_ms // 1000 if self.config["aof-timestamp-enabled"] else None,
            count_keys=int(self.config["rdb-key-save-delay"]) != 0,
        )

    def chunks(
        self,
        *,
        replication: bool = True,
        version: int = 0,
        keys: bool = True,
        functions: bool = True,
        base: bool = False,
    ) -> Iterator[bytes]:
        """The bytes of a snapshot of the data as it is, with its keys and with the functions, or without.

        version: of the format, as the reader takes it; 0: for a file of our own. base: it begins an append-only file.
        """
        aux: dict[bytes, bytes] = {
            b"redis-ver": REDIS_VERSION.encode(),
            b"redis-bits": b"64",
            b"ctime": b"%d" % (self.turn.now.unix_ms // 1000),
            b"used-mem": b"%d" % self.evictor.used_memory(),
        }
        if replication and self.history.window is not None:
            stream_db = self.replica.stream_db if self.replica.active else max(0, self.outgoing.db)
            aux[b"repl-stream-db"] = b"%d" % stream_db
            aux[b"repl-id"] = self.history.id.encode()
            aux[b"repl-offset"] = b"%d" % self.history.end
        aux[b"aof-base"] = b"%d" % base
        return snapshot_chunks(
            self.keyspace if keys else Keyspace(1),
            aux=aux,
            functions=self.function_codes() if functions else [],
            version=version or version_for_file(self.keyspace),
            compress=bool(self.config["rdbcompression"]),
            checksum=bool(self.config["rdbchecksum"]),
            count_keys=int(self.config["rdb-key-save-delay"]) != 0,
            accesses=self.evictor.use_of if keys and self.evictor.tells_uses else None,
        )

    # -- beginning ---------------------------------------------------------------------------------------------------

    def begin_due(self) -> None:
        """Called at the end of every turn: start the snapshot that is wanted, if no child runs."""
        rewriter = self.rewriter
        if rewriter.prepares:  # its child comes next
            rewriter.begin_if_wanted(child_active=self.running is not None)
            return
        if self.running is not None:
            return
        if self.primary.links:
            request = self.primary.wanted_snapshot(self.turn.now)
            if request is not None:
                self._start_for_replicas(request)
                return
        if rewriter.due:
            rewriter.begin_if_wanted(child_active=False)
            if self.running is not None or rewriter.prepares:
                return
        if self.requested_save or self.scheduled:
            self.requested_save = self.scheduled = False
            self._start_save()

    def start_rewrite(self, chunks: Callable[[], Iterator[bytes | tuple[bytes, int]]], name: str) -> None:
        """Begin the base of the append-only file, at the end of this turn."""
        self.generation += 1
        now = self.turn.now.mono_ms
        self.running = Running(self.generation, False, False, self.keyspace.dirty, now, rewrite=True)
        self.turn.last_effect(replace(self._effect(), chunks=chunks, final_name=name, purpose="AOF rewrite"))

    def _start_for_replicas(self, request: SnapshotRequest) -> None:
        self.generation += 1
        target = "replicas sockets" if request.diskless else "disk"
        self.turn.log(Level.NOTICE, f"Starting BGSAVE for SYNC with target: {target}")
        self.outgoing.flush()
        self.outgoing.db = -1  # the new replicas know no database: the stream says it anew
        self.primary.begin_snapshot(request, self.generation)
        self.running = Running(self.generation, True, request.diskless, self.keyspace.changes, self.turn.now.mono_ms)
        self.sync_file = not request.diskless
        version = min(link.rdb_version for link in request.links)
        effect = replace(self._effect(), chunks=partial(self.chunks, version=version))
        if request.diskless:
            mark = f"{self.random.getrandbits(160):040x}".encode()
            effect = replace(
                effect,
                final_name="",
                conns=tuple(link.conn for link in request.links),
                prefix=b"$EOF:" + mark + b"\r\n",
                suffix=mark,
            )
            if request.content != WHOLE:
                keys, functions = request.content.keys, request.content.functions
                chunks = partial(self.chunks, version=version, keys=keys, functions=functions)
                effect = replace(effect, chunks=chunks)
        self.turn.last_effect(effect)

    def _start_save(self) -> None:
        self.generation += 1
        self.outgoing.flush()
        self.last_try_ms = self.turn.now.mono_ms
        self.sync_file = False
        self.running = Running(self.generation, False, False, self.keyspace.changes, self.turn.now.mono_ms)
        self.turn.last_effect(self._effect())

    def _effect(self) -> StartSnapshot:
        return StartSnapshot(
            self.generation,
            self.chunks,
            str(self.config["dbfilename"]),
            (),
            key_delay_us=int(self.config["rdb-key-save-delay"]),
        )

    def deadline_ms(self) -> int | None:
        """When replicas that wait are due a snapshot (mono ms)."""
        if self.running is not None or not self.primary.links:
            return None
        return self.primary.snapshot_due_ms()

    # -- what becomes of it ------------------------------------------------------------------------------------------

    def started(self, event: SnapshotStarted) -> None:
        """The child runs."""
        running = self.running
        if running is None or running.generation != event.generation:
            return
        running.pid = event.pid
        self.last_fork_us = event.fork_us
        self.total_forks += 1
        self.statistics.forked(event.fork_us)
        if running.rewrite:
            self.rewriter.started(event.pid)
            return
        kind = "Background RDB transfer" if running.diskless else "Background saving"
        self.turn.log(Level.NOTICE, f"{kind} started by pid {event.pid}")

    def done(self, event: SnapshotDone) -> None:
        """The snapshot is whole."""
        running = self.running
        if running is None or running.generation != event.generation:
            return
        self.running = None
        if running.rewrite:
            self.rewriter.done(event.length, event.cow_bytes)
            return
        self.last_cow = event.cow_bytes
        self.last_duration_s = (self.turn.now.mono_ms - running.started_ms) // 1000
        self.primary.payload_size = event.length
        if running.diskless:
            up = sum(1 for link in self.primary.links.values() if link.generation == event.generation)
            self.turn.log(Level.WARNING, f"Diskless rdb transfer, done reading from pipe, {up} replicas still up.")
            self.primary.bytes_sent += up * event.length
            self.turn.log(Level.NOTICE, "Background RDB transfer terminated with success")
        else:
            self.saved_changes = running.changes_at_start
            self.last_save_s = self.turn.now.unix_ms // 1000
            self.last_ok = True
            self.saves += 1
            self.turn.log(Level.NOTICE, "Background saving terminated with success")
            self._settle()
        if running.for_replicas:
            self.primary.snapshot_done(event.generation, str(self.config["dbfilename"]), self.turn.now)

    def failed(self, event: SnapshotFailed) -> None:
        """The snapshot came to nothing."""
        running = self.running
        if running is None or running.generation != event.generation:
            return
        self.running = None
        if running.rewrite:
            self.rewriter.failed(event.why, cancelled=running.cancelled)
            return
        if running.diskless:
            self.turn.log(Level.WARNING, f"Background transfer terminated: {event.why}")
        else:
            self.turn.log(Level.WARNING, f"Background saving terminated: {event.why}")
            if not running.cancelled:
                self.last_ok = False
            self.last_duration_s = (self.turn.now.mono_ms - running.started_ms) // 1000
            self.last_try_ms = self.turn.now.mono_ms
            self._settle()
        self.turn.emit(Announce("snapshot.failed", (("generation", event.generation), ("why", event.why))))
        if running.for_replicas:
            self.primary.snapshot_failed(event.generation)

    def _remove_sync_file(self) -> None:
        """rdb-del-sync-files: a node that keeps nothing on disk drops a dump made for replicas when they have it.

        At the next start it would bring back old data.
        """
        config = self.config
        if not config["rdb-del-sync-files"] or config["save"] or config["appendonly"]:
            self.sync_file = False
        elif self.running is None and not self.primary.has_full_syncs():
            self.sync_file = False
            why = "Removing the RDB file used to feed replicas in a persistence-less instance"
            self.turn.log(Level.NOTICE, why)
            self.turn.emit(RemoveFile(str(config["dbfilename"])))

    def _settle(self) -> None:
        """While saves fail, writes are refused, and PING tells of it (stop-writes-on-bgsave-error)."""
        self.gates.set("failed save", 0 if self.last_ok else ANY)

    def saved_in_foreground(self) -> None:
        """The data was saved within a turn. (Had it failed, who asked is told; writes go on.)"""
        self.saved_changes = self.keyspace.changes
        self.last_save_s = self.turn.now.unix_ms // 1000
        self.last_ok = True
        self.saves += 1
        self._settle()

    def cancel(self) -> None:
        """Kill the child."""
        if self.running is not None and not self.running.cancelled:
            self.running.cancelled = True
            self.turn.emit(CancelSnapshot(self.running.generation))

    def cancel_without_receivers(self) -> None:
        """A diskless snapshot whose last replica has gone is of no use to anybody."""
        running = self.running
        if running is None or not running.for_replicas or running.cancelled:
            return
        if not self.primary.has_receivers():
            if running.diskless:
                self.turn.log(Level.NOTICE, "Diskless rdb transfer, last replica dropped, killing fork child.")
                self.cancel()
            elif not self.config["save"]:
                self.turn.log(Level.NOTICE, "Killing running BGSAVE child: its last replica has gone")
                self.cancel()

    # -- clocks ------------------------------------------------------------------------------------------------------

    def cron(self, *, loading: bool) -> None:
        """Once a second: begin a background save if a save point is reached."""
        if self.sync_file:
            self._remove_sync_file()
        if self.running is not None or loading:
            return
        for seconds, changes in self.config["save"]:
            if (
                self.changes >= changes
                and self.turn.now.unix_ms // 1000 - self.last_save_s > seconds
                and (self.last_ok or self.turn.now.mono_ms - self.last_try_ms > _RETRY_MS)
            ):
                self.turn.log(Level.NOTICE, f"{changes} changes in {seconds} seconds. Saving...")
                self.requested_save = True
                return
