"""The append-only file of a node: what the node tells it, and what it answers.

Journal writes, Rewriter knows the parts, Replay loads them; here they are joined, and here is what concerns all three:
INFO, CONFIG SET appendonly, WAITAOF's question, and which file events are theirs.
"""

from __future__ import annotations

from collections.abc import Callable

from replicator.core.clients.session import Session
from replicator.core.config.config import Config
from replicator.core.effects import Level
from replicator.core.errors import CommandError
from replicator.core.events import FileChunk, FileCommitted, FileFailed, FileSynced
from replicator.core.gates import ANY, Gates
from replicator.core.persistence.journal import Journal, State
from replicator.core.persistence.replay import Replay
from replicator.core.persistence.rewriting import Phase, Rewriter
from replicator.core.persistence.snapshots import Snapshots
from replicator.core.replication.outgoing import Outgoing
from replicator.core.turn import Turn


class AppendOnly:
    """See the module. `durable` is called when more is durable."""

    def __init__(
        self, turn: Turn, config: Config, gates: Gates, outgoing: Outgoing, snapshots: Snapshots
    ) -> None:
        self._turn = turn
        self._config = config
        self._outgoing = outgoing
        self._snapshots = snapshots
        self._gates = gates
        history = outgoing.history
        self.journal = Journal(turn, config, lambda: history.end, self._child_active)
        rewriter = self.rewriter = Rewriter(turn, config, self.journal, snapshots.base_chunks)
        snapshots.rewriter = rewriter
        rewriter.anew = self._stream_anew
        rewriter.fork = snapshots.start_rewrite
        rewriter.cancel = snapshots.cancel
        self.replay: Replay | None = None
        self.durable: Callable[[], None] = _nothing
        self.load_again: Callable[[Session], bytes] = lambda session: b""  # DEBUG LOADAOF; set by Loads
        self.watched = False  # somebody waits for more to be durable
        self._more = False  # there is more
        self.journal.on_trouble = self._changed
        self.journal.on_distrust = self.rewriter.distrust
        self.journal.on_durable = self._on_durable
        config.on_change("appendonly", self._switched)

    def _child_active(self) -> bool:
        return self._snapshots.running is not None

    def _changed(self) -> None:
        """Whether effects are recorded, or writes refused, may be another matter now."""
        outgoing, record = self._outgoing, self.journal.record
        if self.journal.takes != (record in outgoing.sinks):
            if self.journal.takes:
                outgoing.open(record)
            else:
                outgoing.close(record)
        self._gates.set("append-only file", ANY if self.journal.refuses else 0)

    def _stream_anew(self) -> None:
        """What has been done so far is recorded; what comes begins with its database."""
        self._outgoing.flush()
        self._outgoing.db = -1
        self._changed()

    def _on_durable(self) -> None:
        self.rewriter.settled()
        self._more = self.watched  # told by `advance`: when the sync that was asked for now has been made

    @property
    def promises(self) -> bool:
        """What is durable in the file is durable: it is the one that a start would load."""
        return self.journal.state is State.ON

    # -- on and off ----------------------------------------------------------------------------------------------------

    def _switched(self, value: object) -> None:
        """CONFIG SET appendonly."""
        self.rewriter.anew()
        if value and not self.journal.takes:
            self.rewriter.enable()
        elif not value and self.journal.takes:
            self.rewriter.disable()
        self._changed()

    def suspend(self) -> None:
        """The data is about to be replaced by another node's: what comes from now on belongs to no file."""
        if self.journal.takes:
            self.rewriter.anew()
            self.rewriter.disable()
            self._changed()

    def restart(self) -> None:
        """There is other data: write all of it anew, if there is to be a file at all."""
        if self._config["appendonly"]:
            self.rewriter.enable()
            self._changed()

    # -- events --------------------------------------------------------------------------------------------------------

    def file_chunk(self, event: FileChunk) -> bool:
        """Whether the file is ours."""
        return (self.replay is not None and self.replay.chunk(event)) or self.rewriter.chunk(event)

    def file_failed(self, event: FileFailed) -> bool:
        """Whether the file is ours."""
        if self.replay is not None and self.replay.file_failed(event.name, event.why, missing=event.missing):
            return True
        return self.rewriter.file_failed(event.name, event.why, missing=event.missing, syncing=event.syncing)

    def file_committed(self, event: FileCommitted) -> bool:
        """Whether the file is ours."""
        return (self.replay is not None and self.replay.committed(event.name)) or self.rewriter.committed(event.name)

    def file_synced(self, event: FileSynced) -> None:
        """A sync beside the loop has ended."""
        self.journal.synced(event.name, event.ticket, event.why)

    # -- turns ---------------------------------------------------------------------------------------------------------

    def deadline_ms(self) -> int | None:
        """When `advance` has work (mono ms)."""
        if self._more:
            return self._turn.now.mono_ms
        soonest = self.journal.deadline_ms()
        other = self.rewriter.deadline_ms()
        return other if soonest is None or (other is not None and other < soonest) else soonest

    def advance(self) -> None:
        """Do what is due."""
        if self._more:
            self._more = self.watched = False
            self.durable()
        self.journal.advance()

    def cron(self) -> None:
        """Once a second."""
        self.rewriter.grow(child_active=self._child_active())

    # -- orders --------------------------------------------------------------------------------------------------------

    def rewrite(self) -> str:
        """BGREWRITEAOF; the reply. Raises CommandError."""
        rewriter = self.rewriter
        if rewriter.running:
            raise CommandError("ERR Background append only file rewriting already in progress")
        rewriter.wanted = True
        if self._child_active():
            return "Background append only file rewriting scheduled"
        return "Background append only file rewriting started"

    def before_exit(self, *, force: bool) -> bool:
        """SHUTDOWN: make durable what was promised; False: that cannot be done now, and the node must not end."""
        journal = self.journal
        if journal.state is State.OFF:
            return True
        if self.rewriter.phase is Phase.FORKED:
            self._turn.log(Level.WARNING, "There is a child rewriting the AOF. Killing it!")
        if journal.state is State.WAITING:
            if not force:
                self._turn.log(Level.WARNING, "Writing initial AOF, can't exit.")
                return False
            self._turn.log(Level.WARNING, "Writing initial AOF. Exit anyway.")
            return True
        self._turn.log(Level.NOTICE, "Calling fsync() on the AOF file.")
        journal.sync_now()
        return True

    # -- telling -------------------------------------------------------------------------------------------------------

    def fields(self) -> list[tuple[str, object]]:
        """INFO persistence."""
        journal, rewriter = self.journal, self.rewriter
        now = self._turn.now.mono_ms
        return [
            ("aof_enabled", int(journal.takes)),
            ("aof_rewrite_in_progress", int(rewriter.running)),
            ("aof_rewrite_scheduled", int(rewriter.wanted)),
            ("aof_last_rewrite_time_sec", rewriter.last_duration_s),
            ("aof_current_rewrite_time_sec", (now - rewriter.began_ms) // 1000 if rewriter.running else -1),
            ("aof_last_bgrewrite_status", "ok" if rewriter.last_ok else "err"),
            ("aof_rewrites", rewriter.rewrites),
            ("aof_rewrites_consecutive_failures", rewriter.failures),
            ("aof_last_write_status", "err" if journal.refuses else "ok"),
            ("aof_last_cow_size", rewriter.last_cow),
        ]

    def size_fields(self) -> list[tuple[str, object]]:
        """INFO persistence, behind module_fork_*; only with an append-only file."""
        journal, rewriter = self.journal, self.rewriter
        if not journal.takes:
            return []
        return [
            ("aof_current_size", rewriter.current_size),
            ("aof_base_size", rewriter.base_size),
            ("aof_pending_rewrite", int(rewriter.wanted)),
            ("aof_buffer_length", journal.pending_bytes),
            ("aof_pending_bio_fsync", int(journal.syncing)),
            ("aof_delayed_fsync", journal.delayed),
        ]


def _nothing() -> None:
    pass
