"""Snapshot children in virtual time: the data of the instant, delivered later; they may fail or be killed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from replicator.core import events as told
from replicator.core.effects import StartSnapshot
from replicator.simulation.disk import DiskError
from replicator.simulation.wire import Feed, Wire

if TYPE_CHECKING:
    from replicator.simulation.process import Process

# What a connection of a feed may lie behind before the child has to wait.
BEHIND_BYTES: Final = 512 * 1024
# The chunks are drawn at the instant of the fork. A snapshot beyond this (no keyspace here is so large; a test's
# endless one is) is drawn on as it is needed.
DRAINED_MOST: Final = 64 * 1024 * 1024
PART_BYTES: Final = 64 * 1024
_NEVER_ENDS: Final = 1 << 62


class _Child:
    """The child under way."""

    def __init__(self, effect: StartSnapshot, pid: int) -> None:
        self.effect = effect
        self.generation = effect.generation
        self.pid = pid
        self.parts: deque[tuple[bytes, int]] = deque()
        self.rest: Iterator[bytes | tuple[bytes, int]] | None = None
        self.trouble = ""
        self.length = 0
        self.keys = 0
        self.temporary = f"temp-{effect.generation}.rdb" if effect.final_name else ""
        self.feeds: dict[int, tuple[Wire, Feed]] = {}
        self.waits = False  # for a connection to take more
        self.cancelled = False
        self.die_after = _NEVER_ENDS  # bytes after which it is killed (a fault)


class Snapshots:
    """Carries out StartSnapshot and CancelSnapshot of one process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._child: _Child | None = None
        self._children = 0
        self.fail_fork = 0  # faults to come: so many forks fail
        self.kill_next = 0  # and so many children are killed midway
        self.started = 0

    def start(self, effect: StartSnapshot) -> None:
        """Draw the data and begin. Tells SnapshotStarted or SnapshotFailed."""
        process = self._process
        if self._child is not None:
            if not self._child.cancelled:
                process.tell(told.SnapshotFailed(effect.generation, "another snapshot is under way"))
                return
            self._fail(self._child, "cancelled")
        assert bool(effect.final_name) != bool(effect.conns), effect
        if self.fail_fork:
            self.fail_fork -= 1
            process.tell(told.SnapshotFailed(effect.generation, "Cannot allocate memory"))
            return
        self._children += 1
        self.started += 1
        child = self._child = _Child(effect, process.pid + self._children)
        self._draw(child)
        if self.kill_next:
            self.kill_next -= 1
            child.die_after = process.chance.randrange(sum(len(data) for data, _ in child.parts) + 1)
        process.be_busy(process.costs.fork_us)
        process.tell(told.SnapshotStarted(effect.generation, child.pid, process.costs.fork_us))
        if effect.conns:
            self._open_feeds(child)
        process.kernel.after(process.costs.fork_us + process.costs.snapshot_us, self._go_on, child)

    def _draw(self, child: _Child) -> None:
        """What a forked child would see: all of it now."""
        drawn = 0
        chunks = child.effect.chunks()
        try:
            for chunk in chunks:
                data, keys = chunk if isinstance(chunk, tuple) else (chunk, 1)
                child.parts.append((data, keys))
                if isinstance(chunk, tuple):
                    child.keys += keys
                drawn += len(data)
                if drawn >= DRAINED_MOST:
                    child.rest = chunks
                    return
        except Exception as problem:
            child.trouble = f"{type(problem).__name__}: {problem}"

    def _open_feeds(self, child: _Child) -> None:
        process = self._process
        for conn in child.effect.conns:
            wire = process.wires.get(conn)
            if wire is None or wire.closing is not None:
                continue
            feed = Feed(child.generation)
            if child.effect.prefix:
                feed.put(child.effect.prefix)
            wire.queue.append(feed)
            child.feeds[conn] = (wire, feed)
            process.flush_soon(wire)

    # -- the child's work --------------------------------------------------------------------------------------------

    def _go_on(self, child: _Child) -> None:
        """The child makes the next part; its parent takes it when it runs."""
        if self._child is not child or child.cancelled:
            return
        if child.rest is not None and not child.parts:
            self._draw_on(child)
        if not child.parts:
            self._process.later(self._conclude, child)
            return
        if child.effect.conns:
            child.waits = not child.feeds or any(feed.behind >= BEHIND_BYTES for _, feed in child.feeds.values())
            if child.waits:
                return
        data, keys = child.parts.popleft()
        if len(data) > PART_BYTES:
            child.parts.appendleft((data[PART_BYTES:], 0))
            data = data[:PART_BYTES]
        child.length += len(data)
        if child.length > child.die_after:
            self._process.later(self._fail_in_turn, child, "terminated by signal 9")
            return
        if child.temporary:
            try:
                self._process.disk.append(child.temporary, data, child.length == len(data))
            except DiskError as problem:
                self._process.later(self._fail_in_turn, child, problem.why)
                return
        else:
            self._process.later(self._hand_on, child, data)
        delay = child.effect.key_delay_us
        pace_us = len(data) * 1_000_000 // self._process.costs.snapshot_rate
        pace_us += keys * delay if delay > 0 else (keys // -delay if delay else 0)
        self._process.kernel.after(max(1, pace_us), self._go_on, child)

    def _draw_on(self, child: _Child) -> None:
        assert child.rest is not None
        chunk = next(child.rest, None)
        if chunk is None:
            child.rest = None
        else:
            child.parts.append(chunk if isinstance(chunk, tuple) else (chunk, 1))

    def _hand_on(self, child: _Child, data: bytes) -> None:
        if self._child is not child or child.cancelled:
            return
        for wire, feed in list(child.feeds.values()):
            feed.put(data)
            if not wire.blocked:
                self._process.flush(wire)
        self._process.settle()

    def hungry(self) -> None:
        """A connection of the feed has taken what it had, or is gone."""
        child = self._child
        if child is None or not child.waits or not child.feeds or child.cancelled:
            return
        if all(feed.behind < BEHIND_BYTES for _, feed in child.feeds.values()):
            child.waits = False
            self._process.kernel.after(1, self._go_on, child)

    def _conclude(self, child: _Child) -> None:
        if self._child is not child or child.cancelled:
            return
        process = self._process
        if child.trouble:
            self._fail_in_turn(child, child.trouble)
            return
        if child.temporary:
            disk = process.disk
            try:
                if not child.length:
                    disk.append(child.temporary, b"", True)
                disk.sync(child.temporary)
                disk.rename(child.temporary, child.effect.final_name)
                disk.sync_directory()
            except DiskError as problem:
                self._fail_in_turn(child, problem.why)
                return
        self._child = None
        process.tell(told.SnapshotDone(child.generation, child.length, 0, child.keys))
        for wire, feed in list(child.feeds.values()):
            if child.effect.suffix:
                feed.put(child.effect.suffix)
            feed.finished = True
            if not wire.blocked:
                process.flush(wire)
        process.settle()

    # -- ends --------------------------------------------------------------------------------------------------------

    def served(self, conn: int) -> None:
        """A snapshot went out whole to the connection."""
        if self._child is not None:
            self._child.feeds.pop(conn, None)

    def waited(self, wire: Wire, was_blocked: bool) -> None:
        """The connection took what it could; if that was of a feed, whether it waits for its peer is told."""
        if (wire.blocked or was_blocked) and wire.queue and type(wire.queue[0]) is Feed:
            self._process.tell(told.SnapshotStalled(wire.conn, wire.blocked))

    def dropped(self, conn: int) -> None:
        """The connection is gone: the child waits no longer for it."""
        if self._child is not None and self._child.feeds.pop(conn, None) is not None:
            self.hungry()

    def cancel(self, generation: int) -> None:
        """Kill the child; SnapshotFailed follows when it is gone."""
        child = self._child
        if child is not None and child.generation == generation and not child.cancelled:
            child.cancelled = True
            self._process.kernel.after(100, self._process.later, self._fail_in_turn, child, "cancelled")

    def kill(self) -> bool:
        """A fault: the child is killed; whether there was one."""
        child = self._child
        if child is None or child.cancelled:
            return False
        self._process.later(self._fail_in_turn, child, "terminated by signal 9")
        return True

    def _fail_in_turn(self, child: _Child, why: str) -> None:
        if self._child is child:
            self._fail(child, why)
            self._process.settle()

    def _fail(self, child: _Child, why: str) -> None:
        self._child = None
        if child.temporary:
            self._process.disk.remove(child.temporary)
        for wire, feed in child.feeds.values():
            # Half a payload has no end that its reader could know of: nothing follows it but the machine's Close.
            feed.chunks.clear()
            wire.queue.remove(feed)
        self._process.tell(told.SnapshotFailed(child.generation, why))

    def shut(self, *, power: bool) -> bool:
        """The process ends, and its child with it; a rename under way never happens. Whether there was a child."""
        child, self._child = self._child, None
        if child is not None and child.temporary and not power:
            self._process.disk.remove(child.temporary)
        return child is not None
