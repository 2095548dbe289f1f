"""Snapshots: BGSAVE, save points, SAVE, and the snapshots that full synchronizations need. One child at a time.

A snapshot is the data of the instant at which its StartSnapshot effect is carried out; nothing may run between the
decision and that instant, so Node puts the effect last in a turn and reads the offset there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from replicator.core.effects import (
    Announce,
    AppendFile,
    CancelSnapshot,
    CommitFile,
    Level,
    RemoveFile,
    StartSnapshot,
)
from replicator.core.events import SnapshotDone, SnapshotFailed, SnapshotStarted
from replicator.core.keyspace.database import Keyspace
from replicator.core.persistence.commands_base import command_chunks
from replicator.core.persistence.rdb import snapshot_chunks, version_for_file
from replicator.core.replication.primary import WHOLE, SnapshotRequest

if TYPE_CHECKING:
    from replicator.core.node import Node

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

    def __init__(self, node: Node) -> None:
        self.node = node
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
        self.save_empty = False  # FLUSHALL wants the file to hold nothing from the end of this turn on
        self._sync_file = False  # the dump file was made for replicas alone
        self._foreground: list[str] = []
        node.keyspace.on_flushed = self.flushed

    @property
    def changes(self) -> int:
        """Changes since the last save."""
        return self.node.keyspace.changes - self.saved_changes

    @property
    def saving(self) -> bool:
        """A background save (disk) is under way, for whomever."""
        return self.running is not None and not self.running.diskless and not self.running.rewrite

    # -- content -----------------------------------------------------------------------------------------------------

    def base_chunks(self, as_rdb: bool) -> Callable[[], Iterator[bytes | tuple[bytes, int]]]:
        """What writes the base of the append-only file: an RDB file, or commands."""
        return partial(self.chunks, replication=False, base=True) if as_rdb else self._command_chunks

    def _command_chunks(self) -> Iterator[bytes | tuple[bytes, int]]:
        node = self.node
        return command_chunks(
            node.keyspace,
            functions=node.scripting.library_codes(),
            stamp_s=node.turn.now.unix_ms // 1000 if node.config["aof-timestamp-enabled"] else None,
            count_keys=int(node.config["rdb-key-save-delay"]) != 0,
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
        node = self.node
        aux: dict[bytes, bytes] = {
            b"redis-ver": node.redis_version.encode(),
            b"redis-bits": b"64",
            b"ctime": b"%d" % (node.turn.now.unix_ms // 1000),
            b"used-mem": b"%d" % node.used_memory(),
        }
        if replication and node.history.window is not None:
            stream_db = node.replica.stream_db if node.replica.active else max(0, node.outgoing.db)
            aux[b"repl-stream-db"] = b"%d" % stream_db
            aux[b"repl-id"] = node.history.id.encode()
            aux[b"repl-offset"] = b"%d" % node.history.end
        aux[b"aof-base"] = b"%d" % base
        return snapshot_chunks(
            node.keyspace if keys else Keyspace(1),
            aux=aux,
            functions=node.scripting.library_codes() if functions else [],
            version=version or version_for_file(node.keyspace),
            compress=bool(node.config["rdbcompression"]),
            checksum=bool(node.config["rdbchecksum"]),
            count_keys=int(node.config["rdb-key-save-delay"]) != 0,
            accesses=node.evictor.use_of if keys and node.evictor.tells_uses else None,
        )

    # -- beginning ---------------------------------------------------------------------------------------------------

    def begin_due(self) -> None:
        """Called at the end of every turn: start the snapshot that is wanted, if no child runs."""
        node = self.node
        if self.save_empty:
            self.save_empty = False
            self.save_now()
        rewriter = node.append_only.rewriter
        if rewriter.prepares:  # its child comes next
            rewriter.begin_if_wanted(child_active=self.running is not None)
            return
        if self.running is not None:
            return
        if node.primary.links:
            request = node.primary.wanted_snapshot(node.turn.now)
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
        node = self.node
        now = node.turn.now.mono_ms
        self.running = Running(self.generation, False, False, node.keyspace.dirty, now, rewrite=True)
        node.turn.last_effect(replace(self._effect(), chunks=chunks, final_name=name, purpose="AOF rewrite"))

    def _start_for_replicas(self, request: SnapshotRequest) -> None:
        node = self.node
        self.generation += 1
        target = "replicas sockets" if request.diskless else "disk"
        node.turn.log(Level.NOTICE, f"Starting BGSAVE for SYNC with target: {target}")
        node.outgoing.flush()
        node.outgoing.db = -1  # the new replicas know no database: the stream says it anew
        node.primary.begin_snapshot(request, self.generation)
        self.running = Running(self.generation, True, request.diskless, node.keyspace.changes, node.turn.now.mono_ms)
        version = min(link.rdb_version for link in request.links)
        effect = replace(self._effect(), chunks=partial(self.chunks, version=version))
        self._sync_file = not request.diskless
        if request.diskless:
            mark = f"{node.random.getrandbits(160):040x}".encode()
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
        node.turn.last_effect(effect)

    def _start_save(self) -> None:
        self.generation += 1
        node = self.node
        node.outgoing.flush()
        self.last_try_ms = node.turn.now.mono_ms
        self._sync_file = False
        self.running = Running(self.generation, False, False, node.keyspace.changes, node.turn.now.mono_ms)
        node.turn.last_effect(self._effect())

    def _effect(self) -> StartSnapshot:
        node = self.node
        return StartSnapshot(
            self.generation,
            self.chunks,
            str(node.config["dbfilename"]),
            (),
            key_delay_us=int(node.config["rdb-key-save-delay"]),
        )

    def deadline_ms(self) -> int | None:
        """When replicas that wait are due a snapshot (mono ms)."""
        if self.running is not None or not self.node.primary.links:
            return None
        return self.node.primary.snapshot_due_ms()

    # -- what becomes of it ------------------------------------------------------------------------------------------

    def started(self, event: SnapshotStarted) -> None:
        """The child runs."""
        running = self.running
        if running is None or running.generation != event.generation:
            return
        running.pid = event.pid
        self.last_fork_us = event.fork_us
        self.total_forks += 1
        self.node.statistics.forked(event.fork_us)
        if running.rewrite:
            self.node.append_only.rewriter.started(event.pid)
            return
        kind = "Background RDB transfer" if running.diskless else "Background saving"
        self.node.turn.log(Level.NOTICE, f"{kind} started by pid {event.pid}")

    def done(self, event: SnapshotDone) -> None:
        """The snapshot is whole."""
        node = self.node
        running = self.running
        if running is None or running.generation != event.generation:
            return
        self.running = None
        if running.rewrite:
            node.append_only.rewriter.done(event.length, event.cow_bytes)
            return
        self.last_cow = event.cow_bytes
        self.last_duration_s = (node.turn.now.mono_ms - running.started_ms) // 1000
        node.primary.payload_size = event.length
        if running.diskless:
            up = sum(1 for link in node.primary.links.values() if link.generation == event.generation)
            node.turn.log(Level.WARNING, f"Diskless rdb transfer, done reading from pipe, {up} replicas still up.")
            node.primary.bytes_sent += up * event.length
            node.turn.log(Level.NOTICE, "Background RDB transfer terminated with success")
        else:
            self.saved_changes = running.changes_at_start
            self.last_save_s = node.turn.now.unix_ms // 1000
            self.last_ok = True
            self.saves += 1
            node.turn.log(Level.NOTICE, "Background saving terminated with success")
            node.regate()
        if running.for_replicas:
            node.primary.snapshot_done(event.generation, str(node.config["dbfilename"]), node.turn.now)

    def failed(self, event: SnapshotFailed) -> None:
        """The snapshot came to nothing."""
        node = self.node
        running = self.running
        if running is None or running.generation != event.generation:
            return
        self.running = None
        if running.rewrite:
            node.append_only.rewriter.failed(event.why, cancelled=running.cancelled)
            return
        if running.diskless:
            node.turn.log(Level.WARNING, f"Background transfer terminated: {event.why}")
        else:
            node.turn.log(Level.WARNING, f"Background saving terminated: {event.why}")
            if not running.cancelled:
                self.last_ok = False
            self.last_duration_s = (node.turn.now.mono_ms - running.started_ms) // 1000
            self.last_try_ms = node.turn.now.mono_ms
            node.regate()
        node.turn.emit(Announce("snapshot.failed", (("generation", event.generation), ("why", event.why))))
        if running.for_replicas:
            node.primary.snapshot_failed(event.generation)

    def cancel(self) -> None:
        """Kill the child."""
        if self.running is not None and not self.running.cancelled:
            self.running.cancelled = True
            self.node.turn.emit(CancelSnapshot(self.running.generation))

    def cancel_without_receivers(self) -> None:
        """A diskless snapshot whose last replica has gone is of no use to anybody."""
        running = self.running
        if running is None or not running.for_replicas or running.cancelled:
            return
        if not self.node.primary.has_receivers():
            if running.diskless:
                self.node.turn.log(Level.NOTICE, "Diskless rdb transfer, last replica dropped, killing fork child.")
                self.cancel()
            elif not self.node.config["save"]:
                self.node.turn.log(Level.NOTICE, "Killing running BGSAVE child: its last replica has gone")
                self.cancel()

    # -- clocks ------------------------------------------------------------------------------------------------------

    def check_save_points(self) -> None:
        """Begin a background save if a save point is reached."""
        node = self.node
        if self._sync_file:
            self._remove_sync_file()
        if self.running is not None or node.loading is not None:
            return
        for seconds, changes in node.config["save"]:
            if (
                self.changes >= changes
                and node.turn.now.unix_ms // 1000 - self.last_save_s > seconds
                and (self.last_ok or node.turn.now.mono_ms - self.last_try_ms > _RETRY_MS)
            ):
                node.turn.log(Level.NOTICE, f"{changes} changes in {seconds} seconds. Saving...")
                self.requested_save = True
                return

    def _remove_sync_file(self) -> None:
        """rdb-del-sync-files: a node that keeps nothing on disk drops a dump made for replicas when they have it.

        At the next start it would bring back old data.
        """
        config = self.node.config
        if not config["rdb-del-sync-files"] or config["save"] or config["appendonly"]:
            self._sync_file = False
        elif self.running is None and not self.node.primary.has_full_syncs():
            self._sync_file = False
            why = "Removing the RDB file used to feed replicas in a persistence-less instance"
            self.node.turn.log(Level.NOTICE, why)
            self.node.turn.emit(RemoveFile(str(config["dbfilename"])))

    def flushed(self) -> None:
        """FLUSHALL: a child at work would save what is gone; with save points the file must not keep it either.

        The file is written at the end of the turn, when the stream holds the command: its offset is the empty data's.
        """
        if self.running is not None:
            self.cancel()
        if self.node.config["save"]:
            self.save_empty = True

    # -- in the foreground -------------------------------------------------------------------------------------------

    def save_now(self) -> None:
        """SAVE and the save at shutdown: write the file within this turn. FileCommitted or FileFailed answers."""
        node = self.node
        self.generation += 1
        name = f"temp-{node.surroundings.pid}-{self.generation}.rdb"
        self._foreground.append(name)
        self._sync_file = False
        first = True
        node.outgoing.flush()
        for chunk in self.chunks():
            node.turn.emit(AppendFile(name, chunk[0] if isinstance(chunk, tuple) else chunk, first=first))
            first = False
        node.turn.emit(CommitFile(name, str(node.config["dbfilename"])))

    def foreground_ended(self, name: str, why: str) -> bool:
        """Whether this file event belongs to a save in the foreground; why: "" for success."""
        if name not in self._foreground:
            return False
        node = self.node
        self._foreground.remove(name)
        if why:  # who asked is told; only a failed save in the background stops writes
            node.turn.log(Level.WARNING, f"Error saving DB on disk: {why}")
            node.turn.emit(RemoveFile(name))
        else:
            node.turn.log(Level.NOTICE, "DB saved on disk")
            self.saved_changes = node.keyspace.changes
            self.last_save_s = node.turn.now.unix_ms // 1000
            self.last_ok = True
            self.saves += 1
        node.regate()
        return True
