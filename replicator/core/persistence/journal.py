"""The append-only file's writer: when bytes are written, when they are synced, and what leaves before that.

What a turn changes is one write, whatever the number of clients: replies of a turn that changed something wait until
the driver calls `advance` at the turn's end, and then stand behind that write (Node._finish asks `holds`). Policies:

    always      write and sync, then the replies: one sync for all commands of the turn (group commit). A write or a
                sync that fails ends the process: nobody has been told of what is in doubt
    everysec    write, then the replies; a sync beside the loop begins when the last began a second ago. While one is
                under way a write might wait for the disk: it is put off, replies included, for HELD_MS; then the
                replies go without it, for at most POSTPONED_MS; then it is made all the same (aof_delayed_fsync)
    no          write, then the replies; the system syncs when it likes

Nothing that a failed sync was to bring to the disk is believed any more: the kernel has marked those pages clean, and a
second sync would succeed without them. So the file is given up (`distrusted`), writes are refused, and all data is
written anew (rewriting.py). A write that fails has left nothing behind (effects.AppendFile): it is tried again every
second, and writes of clients are refused until it succeeds.

    OFF --(start, CONFIG SET)--> WAITING --(the base is there, the manifest durable)--> ON
     ^------------(CONFIG SET, full synchronization)----+<--(a sync has failed)---------+

WAITING writes to a file that no manifest names: nothing is promised yet.

Source: redis.io, "Redis persistence"; log lines and bounds as Redis 7.0.15 has them.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from replicator.core.config.config import Config
from replicator.core.effects import AppendFile, Level, Sleep, SyncFile, SyncLater, TruncateFile
from replicator.core.turn import Turn
from replicator.core.wire.aof import timestamp

# A sync is begun when the last one began so long ago.
SYNC_EVERY_MS = 1000
# Replies wait so long for a write that waits for a sync: nearly every sync is over by then, and a killed process has
# lost nothing that it had acknowledged.
HELD_MS = 50
# Stock's bound: a write waits no longer for a sync.
POSTPONED_MS = 2000
# After a failed write.
RETRY_MS = 1000


class State(Enum):
    """See the head of the module."""

    OFF = "off"
    WAITING = "waiting"
    ON = "on"


class Journal:
    """Takes the encoded effects of each turn (`record`), and writes them to the file that `switch` has named.

    offset: the replication offset of all that has been recorded. on_durable: called when more is durable; on_trouble:
    when writes begin or cease to be refused; on_distrust: a sync has failed, the file is not to be believed.
    """

    def __init__(self, turn: Turn, config: Config, offset: Callable[[], int], child_active: Callable[[], bool]) -> None:
        self._turn = turn
        self._config = config
        self._offset = offset
        self._child_active = child_active
        self.on_durable: Callable[[], None] = _nobody
        self.on_trouble: Callable[[], None] = _nobody
        self.on_distrust: Callable[[], None] = _nobody
        self.state = State.OFF
        self.name = ""  # of the file that is written
        self.size = 0  # its bytes, as far as they have been written
        self.durable_size = 0  # and synced
        self.delayed = 0  # INFO aof_delayed_fsync
        self.write_error = ""
        self.sync_error = ""
        self.flush_sleep_us = 0  # DEBUG AOF-FLUSH-SLEEP
        self.syncing = False
        self.last_sync_ms = -SYNC_EVERY_MS
        self.buffer: list[bytes] = []  # recorded, not written
        self._emitted = b""  # what the last write wrote
        self._synced_behind = False  # and a sync was to follow it at once
        self._durable_before = 0  # what was durable without that
        self._postponed_ms: int | None = None
        self._retry_ms = 0
        self._trying = False  # the failed write has been made again, and nothing is known of it yet
        self._stamped_s = -1
        self._ticket = 0
        self._sync_began = (0, 0, 0)  # size and offset that the sync under way will make durable, and when it began
        self.durable_ms = 0  # what had been written by then is durable (mono ms)
        self._written_offset = 0
        self._synced_offset = 0

    # -- taking --------------------------------------------------------------------------------------------------------

    @property
    def takes(self) -> bool:
        """Whether effects are to be recorded."""
        return self.state is not State.OFF

    @property
    def refuses(self) -> str:
        """Why writes of clients are refused; "" if they are not."""
        return (self.write_error or self.sync_error) if self.state is not State.OFF else ""

    def record(self, data: bytes | bytearray) -> None:
        """Encoded effects of this turn, whole commands and whole transactions."""
        if self.state is State.OFF:
            return
        if self._config["aof-timestamp-enabled"]:
            now_s = self._turn.now.unix_ms // 1000
            if now_s != self._stamped_s:
                self._stamped_s = now_s
                self.buffer.append(timestamp(now_s))
        self.buffer.append(bytes(data))

    @property
    def pending_bytes(self) -> int:
        """How much (INFO aof_buffer_length)."""
        return sum(map(len, self.buffer))

    # -- writing -------------------------------------------------------------------------------------------------------

    def holds(self, *, may_wait: bool) -> bool:
        """End a turn in which something is pending: write it, or say (True) that the replies have to wait for that.

        may_wait: `advance` will be called at the end of the driver's turn, for all clients at once.
        """
        if self.write_error:
            return False  # it is tried again when its time has come
        if self.state is State.ON and self._config["appendfsync"] == "always" and not self._skips_sync():
            if may_wait:
                return True
            self._write()
            self.sync()
            return False
        if may_wait and self._postponed_ms is None:
            return True
        if self.syncing and self._config["appendfsync"] == "everysec":
            now = self._turn.now.mono_ms
            if self._postponed_ms is None:
                self._postponed_ms = now
            if now - self._postponed_ms < HELD_MS:
                return True
            if now - self._postponed_ms < POSTPONED_MS:
                return False
            self.delayed += 1
            self._turn.log(
                Level.NOTICE,
                "Asynchronous AOF fsync is taking too long (disk is busy?). Writing the AOF buffer without waiting for "
                "fsync to complete, this may slow down Redis.",
            )
        self._write()
        self._sync_if_due()
        return False

    def write_now(self) -> None:
        """Write what is pending, whatever the disk is doing."""
        if self.buffer and not self.write_error:
            self._write()

    def write_through(self) -> None:
        """End a turn whose effects cannot wait (a connection is closed, a child is forked): write, sync by `always`."""
        if self.buffer and not self.write_error:
            self._write()
            if self.state is State.ON and self._config["appendfsync"] == "always" and not self._skips_sync():
                self.sync()

    def _write(self) -> None:
        data = self.buffer[0] if len(self.buffer) == 1 else b"".join(self.buffer)
        self.buffer.clear()
        self._postponed_ms = None
        if self.flush_sleep_us:
            self._turn.emit(Sleep(self.flush_sleep_us))
        self._turn.emit(AppendFile(self.name, data, first=False))
        self._emitted = data
        self._synced_behind = False
        self.size += len(data)
        self._written_offset = self._offset()

    # -- syncing -------------------------------------------------------------------------------------------------------

    def _skips_sync(self) -> bool:
        """no-appendfsync-on-rewrite: a child that writes keeps the disk busy."""
        return bool(self._config["no-appendfsync-on-rewrite"]) and self._child_active()

    def sync(self) -> None:
        """Make all that has been written durable, before any later effect."""
        self._turn.emit(SyncFile(self.name))
        self._synced_behind = True
        self._durable_before = self.durable_size
        self.last_sync_ms = self.durable_ms = self._turn.now.mono_ms
        self.durable_size = self.size
        self._synced_offset = self._written_offset
        self.on_durable()

    def _sync_if_due(self) -> None:
        if (
            self._config["appendfsync"] == "everysec"
            and not self.syncing
            and self.durable_size < self.size
            and self._turn.now.mono_ms - self.last_sync_ms >= SYNC_EVERY_MS
            and not self._skips_sync()
        ):
            self.begin_sync()

    def begin_sync(self) -> None:
        """A sync beside the loop, of what has been written."""
        self._ticket += 1
        self.syncing = True
        self.last_sync_ms = self._turn.now.mono_ms
        self._sync_began = (self.size, self._written_offset, self._turn.now.mono_ms)
        self._turn.emit(SyncLater(self.name, self._ticket))

    def synced(self, name: str, ticket: int, why: str) -> None:
        """A sync beside the loop has ended (events.FileSynced)."""
        if ticket != self._ticket or not self.syncing:
            return  # of a file that is no longer written
        self.syncing = False
        if why:
            self._sync_failed(why)
            return
        size, offset, self.durable_ms = self._sync_began
        self.durable_size = max(self.durable_size, size)
        self._synced_offset = max(self._synced_offset, offset)
        self.on_durable()

    def _sync_failed(self, why: str) -> None:
        if self.state is State.OFF:
            return
        if self.state is State.ON and self._config["appendfsync"] == "always":
            self._turn.log(
                Level.WARNING,
                f"Can't persist AOF for fsync error when the AOF fsync policy is 'always': {why}. Exiting...",
            )
            self._end()
            return
        self._turn.log(
            Level.WARNING,
            f"Fail to fsync the AOF file: {why}. What was written since the last good fsync is not to be believed: "
            "all data will be written anew.",
        )
        self.sync_error = why
        self.on_trouble()
        self.on_distrust()

    def durable_offset(self) -> int:
        """Up to this replication offset everything is durable here."""
        if not self.buffer and self.durable_size >= self.size:
            return self._offset()
        return self._synced_offset

    # -- trouble -------------------------------------------------------------------------------------------------------

    def failed(self, why: str, *, syncing: bool) -> None:
        """The last write, or (syncing) the sync behind it, has failed (events.FileFailed of our file)."""
        if self._synced_behind:
            self._synced_behind = False
            self.durable_size = self._durable_before
        if syncing:
            self._sync_failed(why)
            return
        if self.state is State.ON and self._config["appendfsync"] == "always":
            self._turn.log(Level.WARNING, f"Error writing to the AOF file: {why}")
            self._turn.log(
                Level.WARNING,
                "Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting...",
            )
            self._end()
            return
        if not self._emitted:
            return
        if not self.write_error:
            self._turn.log(Level.WARNING, f"Error writing to the AOF file: {why}")
        self.size -= len(self._emitted)
        self.buffer.insert(0, self._emitted)
        self._emitted = b""
        self.write_error = why
        self._trying = False
        self._retry_ms = self._turn.now.mono_ms + RETRY_MS
        self.on_trouble()

    def _end(self) -> None:
        """The process ends before anybody is told of what is in doubt; that goes, so that no start believes it."""
        self._turn.emit(TruncateFile(self.name, self.durable_size))
        self._turn.crash()

    # -- clocks --------------------------------------------------------------------------------------------------------

    def deadline_ms(self) -> int | None:
        """When `advance` has work (mono ms)."""
        if self.state is State.OFF:
            return None
        if self.write_error:
            return self._turn.now.mono_ms if self._trying else self._retry_ms
        if self.buffer:
            if self._postponed_ms is None:
                return self._turn.now.mono_ms
            if self.syncing:
                held = self._postponed_ms + HELD_MS
                return held if held > self._turn.now.mono_ms else self._postponed_ms + POSTPONED_MS
            return self._turn.now.mono_ms
        if (
            not self.syncing
            and self.durable_size < self.size
            and self._config["appendfsync"] == "everysec"
            and not self._skips_sync()
        ):
            return self.last_sync_ms + SYNC_EVERY_MS
        return None

    def advance(self) -> None:
        """Do what is due but the writing of what is pending, which ends the turn."""
        if self._trying:
            self._trying = False  # nobody has told of a failure: the write was made
            self.write_error = ""
            self._turn.log(Level.WARNING, "AOF write error looks solved. The server can write again.")
            self.on_trouble()
        elif self.write_error:
            if self._turn.now.mono_ms >= self._retry_ms:
                self._trying = True
                self._write()
        elif self.state is not State.OFF:
            self._sync_if_due()

    # -- files ---------------------------------------------------------------------------------------------------------

    def switch(self, name: str, size: int, state: State) -> None:
        """From now on write to this file, which has so many bytes, all of them durable."""
        self.name, self.size, self.durable_size = name, size, size
        self.state = state
        self.syncing = False
        self._emitted = b""
        self._postponed_ms = None
        self._stamped_s = -1
        self._synced_offset = self._written_offset = self._offset()
        self.durable_ms = self._turn.now.mono_ms

    def renamed(self, name: str, state: State) -> None:
        """The file that is written is durable under another name."""
        self.name, self.state = name, state
        self.durable_size = self.size
        self._synced_offset = self._written_offset
        self.durable_ms = self._turn.now.mono_ms

    def drop_pending(self) -> None:
        """What is pending need not be written: the data itself is about to be."""
        self.buffer.clear()

    def sync_now(self) -> None:
        """Write what is pending and make all of it durable, before any later effect."""
        self.write_now()
        if self.durable_size < self.size:
            self.sync()

    def trusted(self) -> None:
        """What there was to doubt has been written anew."""
        if self.sync_error:
            self.sync_error = ""
            self._turn.log(Level.WARNING, "AOF write error looks solved. The server can write again.")
            self.on_trouble()

    def stop(self) -> None:
        """Take nothing more. What was pending is not written."""
        self.state = State.OFF
        self.buffer.clear()
        self.write_error = self.sync_error = ""
        self.syncing = self._trying = False
        self._postponed_ms = None
        self.on_trouble()


def _nobody() -> None:
    pass
