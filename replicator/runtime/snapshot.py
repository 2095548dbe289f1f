"""Snapshots by fork: one child at a time, to a file or to connections."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import time
import warnings
from typing import TYPE_CHECKING, Final

from replicator.core import events as told
from replicator.core.effects import StartSnapshot
from replicator.runtime import snapshot_child
from replicator.runtime.files import Files
from replicator.runtime.link import FeedItem, Link
from replicator.runtime.syncer import sync_directory, text_of

if TYPE_CHECKING:
    from replicator.runtime.hub import Hub

# One read of the child's pipe, and what the pipe holds: few switches between parent and child.
_PIPE_BYTES: Final = 1024 * 1024
_READ_BYTES: Final = 256 * 1024
# What a connection of a feed may lie behind before the child's pipe is left unread.
_BEHIND_BYTES: Final = 512 * 1024


class _Child:
    """The child under way, and (pipe_fd >= 0) the feed of its bytes to connections."""

    def __init__(self, effect: StartSnapshot, pid: int, status_fd: int, pipe_fd: int, temporary: str) -> None:
        self.effect = effect
        self.generation = effect.generation
        self.pid = pid
        self.status_fd = status_fd
        self.pipe_fd = pipe_fd
        self.temporary = temporary  # "" for a feed
        self.status = b""
        self.items: dict[int, tuple[Link, FeedItem]] = {}
        self.reading = False
        self.drained = pipe_fd < 0  # everything was read from the pipe
        self.outcome: tuple[int, int, int] | None = None  # length, keys, copied bytes
        self.cancelled = False


class Snapshots:
    """Carries out StartSnapshot and CancelSnapshot."""

    def __init__(self, hub: Hub, files: Files) -> None:
        self._hub = hub
        self._files = files
        self._child: _Child | None = None

    @property
    def child_pid(self) -> int | None:
        """The process id of the child under way."""
        return None if self._child is None else self._child.pid

    def start(self, effect: StartSnapshot) -> None:
        """Fork. Tells SnapshotStarted, or SnapshotFailed."""
        if self._child is not None:
            if not self._child.cancelled:
                self._hub.tell(told.SnapshotFailed(effect.generation, "another snapshot is under way"))
                return
            self._reap()
        assert bool(effect.final_name) != bool(effect.conns), effect
        opened: list[int] = []
        temporary = ""
        try:
            status_read, status_write = os.pipe2(os.O_CLOEXEC)
            opened += [status_read, status_write]
            if effect.final_name:
                temporary = self._files.path(f"temp-{effect.generation}.rdb")
                output = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
                pipe_read = -1
                opened.append(output)
            else:
                pipe_read, output = os.pipe2(os.O_CLOEXEC)
                opened += [pipe_read, output]
                _enlarge(output)
            parent_pid = os.getpid()
            begun_ns = time.monotonic_ns()
            # Signals wait until the child has put their handlers away: it would take them for the server's.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                pid = _fork()
                if pid == 0:
                    output_is_file = bool(temporary)
                    snapshot_child.run(
                        parent_pid,
                        effect.chunks,
                        output,
                        status_write,
                        output_is_file,
                        effect.key_delay_us,
                        self._hub.child_log,
                        effect.purpose,
                    )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            fork_us = (time.monotonic_ns() - begun_ns) // 1000
        except OSError as error:
            for fd in opened:
                os.close(fd)
            if temporary:
                _unlink(temporary)
            self._hub.tell(told.SnapshotFailed(effect.generation, text_of(error)))
            return
        os.close(status_write)
        os.close(output)
        child = self._child = _Child(effect, pid, status_read, pipe_read, temporary)
        os.set_blocking(status_read, False)
        self._hub.watch(status_read, select.EPOLLIN, lambda mask: self._status(child))
        self._hub.tell(told.SnapshotStarted(effect.generation, pid, fork_us))
        if pipe_read >= 0:
            os.set_blocking(pipe_read, False)
            self._begin_feed(child)

    def _begin_feed(self, child: _Child) -> None:
        effect = child.effect
        for conn in effect.conns:
            link = self._hub.links.get(conn)
            if link is None:
                continue
            item = FeedItem(effect.generation)
            if effect.prefix:
                item.chunks.append(effect.prefix)
            link.queue.append(item)
            child.items[conn] = (link, item)
            self._hub.links.flush_soon(link)
        self.hungry()

    def hungry(self) -> None:
        """A connection of the feed has taken what it had, or is gone: read the pipe if all the others keep up."""
        child = self._child
        if child is None or child.drained or child.reading or child.cancelled or not child.items:
            return
        if all(_behind(item) < _BEHIND_BYTES for _, item in child.items.values()):
            child.reading = True
            self._hub.watch(child.pipe_fd, select.EPOLLIN, lambda mask: self._read_pipe(child))

    def _read_pipe(self, child: _Child) -> None:
        try:
            data = os.read(child.pipe_fd, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._stop_pipe(child)
            child.drained = True
            self._conclude(child)
            return
        for link, item in list(child.items.values()):
            item.chunks.append(data)
            if not link.blocked:
                self._hub.links.flush(link)
        if not child.items or any(_behind(item) >= _BEHIND_BYTES for _, item in child.items.values()):
            child.reading = False
            self._hub.unwatch(child.pipe_fd)

    def _stop_pipe(self, child: _Child) -> None:
        if child.pipe_fd >= 0:
            self._hub.unwatch(child.pipe_fd)
            self._hub.close_later(child.pipe_fd)
            child.pipe_fd = -1
        child.reading = False

    def _status(self, child: _Child) -> None:
        try:
            data = os.read(child.status_fd, 4096)
        except BlockingIOError:
            return
        if data:
            child.status += data
            return
        # The status pipe ends when the child's descriptors go, after its memory: the wait is for microseconds.
        self._hub.unwatch(child.status_fd)
        self._hub.close_later(child.status_fd)
        child.status_fd = -1
        _, status = os.waitpid(child.pid, 0)
        child.pid = -1
        words = child.status.split()
        if child.cancelled:
            self._fail(child, "cancelled")
        elif os.WIFSIGNALED(status):
            self._fail(child, f"terminated by signal {os.WTERMSIG(status)}")
        elif words[:1] == [b"done"]:
            child.outcome = (int(words[1]), int(words[2]), int(words[3]))
            self._conclude(child)
        elif words[:1] == [b"fail"]:
            self._fail(child, child.status[5:].decode("utf-8", "replace").strip())
        else:
            self._fail(child, f"exited with code {os.WEXITSTATUS(status)}")

    def _conclude(self, child: _Child) -> None:
        """The child has reported its end and everything was read from it, in either order."""
        if child.outcome is None or not child.drained:
            return
        length, keys, copied = child.outcome
        if child.temporary:
            final = self._files.path(child.effect.final_name)
            try:
                os.rename(child.temporary, final)
                sync_directory(final)
            except OSError as error:
                self._fail(child, text_of(error))
                return
        self._child = None
        self._hub.tell(told.SnapshotDone(child.generation, length, copied, keys))
        for link, item in list(child.items.values()):
            if child.effect.suffix:
                item.chunks.append(child.effect.suffix)
            item.finished = True
            if not link.blocked:
                self._hub.links.flush(link)

    def served(self, conn: int) -> None:
        """A snapshot went out whole to the connection."""
        if self._child is not None:
            self._child.items.pop(conn, None)

    def dropped(self, conn: int) -> None:
        """The connection is gone: the feed no longer waits for it."""
        if self._child is not None and self._child.items.pop(conn, None) is not None:
            self.hungry()

    def cancel(self, generation: int) -> None:
        """Kill the child of that snapshot, if it is still under way; SnapshotFailed follows when it is gone."""
        child = self._child
        if child is not None and child.generation == generation and not child.cancelled:
            child.cancelled = True
            if child.pid > 0:
                os.kill(child.pid, signal.SIGKILL)
            else:
                self._fail(child, "cancelled")

    def _reap(self) -> None:
        """Wait for the end of a child that has been killed."""
        child = self._child
        assert child is not None and child.cancelled
        os.waitpid(child.pid, 0)
        child.pid = -1
        self._hub.unwatch(child.status_fd)
        self._hub.close_later(child.status_fd)
        self._fail(child, "cancelled")

    def _fail(self, child: _Child, why: str) -> None:
        self._child = None
        self._stop_pipe(child)
        if child.temporary:
            _unlink(child.temporary)
        for link, item in child.items.values():
            # The payload has no end that its reader could know of: nothing may follow it but the machine's Close.
            item.close()
            link.queue.remove(item)
        self._hub.tell(told.SnapshotFailed(child.generation, why))

    def shut(self) -> None:
        """End the child, if there is one, and drop its temporary file."""
        child = self._child
        if child is None:
            return
        self._child = None
        if child.pid > 0:
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)
        for fd in (child.status_fd, child.pipe_fd):
            if fd >= 0:
                os.close(fd)
        if child.temporary:
            _unlink(child.temporary)


def _behind(item: FeedItem) -> int:
    return sum(len(chunk) for chunk in item.chunks)


def _fork() -> int:
    with warnings.catch_warnings():
        # Threads of trio's name look-ups may idle beside us; the child never touches what they hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _enlarge(pipe_fd: int) -> None:
    try:
        fcntl.fcntl(pipe_fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        pass  # the system's bound for pipes is reached: a smaller pipe is only slower


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # it was never made, or its directory is gone
