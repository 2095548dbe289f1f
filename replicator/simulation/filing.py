"""File effects of a simulated process, as runtime/files.py has them live: at once and in order, trouble told."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from replicator.core import effects as do
from replicator.core import events as told
from replicator.simulation.disk import DiskError
from replicator.simulation.wire import Parcel

if TYPE_CHECKING:
    from replicator.simulation.process import Process


class Filing:
    """Carries out what a machine does with files."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._reading: dict[str, tuple[bytes, int, int]] = {}
        self._read_planned = False
        self._broken: dict[str, str] = {}  # names whose trouble the machine has not been told of yet

    def forgive(self, name: str) -> None:
        """The machine is being told of the trouble: what it does next with the name counts again."""
        self._broken.pop(name, None)

    def attempt(self, name: str, work: Callable[[], object], *, syncing: bool = False) -> bool:
        """A file operation; trouble is told, and nothing behind it leaves before the machine knows."""
        why = self._broken.get(name)
        if why is not None:
            self._process.tell(told.FileFailed(name, why, False))
            self._process.withheld = True
            return False
        try:
            work()
        except DiskError as problem:
            self._broken[name] = problem.why
            self._process.tell(told.FileFailed(name, problem.why, problem.missing, syncing))
            self._process.withheld = True
            return False
        return True

    def append(self, effect: do.AppendFile) -> None:
        """effects.AppendFile."""
        self.attempt(effect.name, lambda: self._process.disk.append(effect.name, effect.data, effect.first))

    def sync(self, effect: do.SyncFile) -> None:
        """effects.SyncFile."""
        self._process.flush_dirty()
        self.attempt(effect.name, lambda: self._synced(effect.name), syncing=True)

    def _synced(self, name: str) -> None:
        self._process.disk.sync(name)
        if self._process.disk.sync_us:
            self._process.be_busy(self._process.disk.sync_us)

    def sync_later(self, effect: do.SyncLater) -> None:
        """effects.SyncLater."""
        process = self._process
        try:
            end = process.disk.begin_sync(effect.name)
        except DiskError as problem:
            process.tell(told.FileSynced(effect.name, effect.ticket, problem.why))
            return

        def ended() -> None:
            if process.ended is None:
                process.later(process.turn, told.FileSynced(effect.name, effect.ticket, end()))

        process.kernel.after(max(1, process.disk.sync_us), ended)

    def truncate(self, effect: do.TruncateFile) -> None:
        """effects.TruncateFile."""
        self.attempt(effect.name, lambda: self._process.disk.truncate(effect.name, effect.length))

    def commit(self, effect: do.CommitFile) -> None:
        """effects.CommitFile."""
        self._process.flush_dirty()

        name = effect.name

        def rename() -> None:
            self._process.disk.rename(name, effect.final_name)
            if effect.durable:
                self._process.disk.sync_directory()

        there = name in self._process.disk.entries and name not in self._broken
        if effect.durable and there and not self.attempt(name, lambda: self._synced(name), syncing=True):
            return
        if self.attempt(name, rename):
            self._process.tell(told.FileCommitted(effect.name, effect.final_name))

    def stop_reading(self, effect: do.StopReading) -> None:
        """effects.StopReading."""
        self._reading.pop(effect.name, None)

    def read(self, effect: do.ReadFile) -> None:
        """effects.ReadFile."""
        try:
            data = self._process.disk.read(effect.name)
        except DiskError as problem:
            self._process.tell(told.FileFailed(effect.name, problem.why, problem.missing))
            return
        self._reading[effect.name] = (data, effect.chunk, effect.offset)
        self._plan_reading()

    def _plan_reading(self) -> None:
        if not self._read_planned:
            self._read_planned = True
            self._process.kernel.after(self._process.costs.read_us, self._process.later, self._read_chunks)

    def _read_chunks(self) -> None:
        self._read_planned = False
        for name, (data, chunk, offset) in list(self._reading.items()):
            if self._reading.get(name) != (data, chunk, offset):
                continue
            part = data[offset : offset + min(chunk, self._process.costs.read_bytes)]
            eof = offset + len(part) >= len(data)
            if eof:
                del self._reading[name]
            else:
                self._reading[name] = (data, chunk, offset + len(part))
            self._process.turn(told.FileChunk(name, offset, part, len(data), eof))
        if self._reading and self._process.ended is None:
            self._plan_reading()

    def send_snapshot(self, effect: do.SendSnapshot) -> None:
        """effects.SendSnapshot."""
        wire = self._process.wires.get(effect.conn)
        if wire is None or wire.closing is not None:
            return
        try:
            data = self._process.disk.read(effect.name)
        except DiskError as problem:
            self._process.tell(told.FileFailed(effect.name, problem.why, problem.missing))
            self._process.withheld = True
            return
        prefix = effect.prefix.replace(b"%d", b"%d" % len(data))
        if prefix:
            wire.queue.append(prefix)
            wire.pending += len(prefix)
        wire.queue.append(Parcel(data, effect.generation))
        self._process.flush_soon(wire)
