"""Files of a machine: append, sync, commit, remove, read. All done at once and in order, in the thread of the loop, but
for syncs that the machine does not wait for (SyncLater).

A failed append leaves no half record: the file is cut back to where it was, and further appends and commits of that
name are refused until the machine has been told (FileFailed), so that no record can follow a hole.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable

from replicator.core import events as told
from replicator.runtime.syncer import Syncer, sync_directory, text_of

# Files beyond this are given up beside the loop.
_LARGE_BYTES = 1 << 20


class _Handle:
    """A file being appended to."""

    __slots__ = ("entry_durable", "fd", "path", "torn_at")

    def __init__(self, path: str, fd: int, entry_durable: bool) -> None:
        self.path = path
        self.fd = fd
        self.entry_durable = entry_durable  # its directory entry has been synced, too
        self.torn_at: int | None = None  # half a record stands behind this length, and could not be cut off


class _Reading:
    """An effects.ReadFile under way."""

    __slots__ = ("chunk", "fd", "offset", "size")

    def __init__(self, fd: int, chunk: int, size: int, offset: int) -> None:
        self.fd = fd
        self.chunk = chunk
        self.size = size
        self.offset = offset


class Files:
    """Carries out the file effects. Methods return whether all went well; trouble is told as FileFailed."""

    def __init__(
        self,
        tell: Callable[[told.Event], None],
        directory: str = ".",
        post: Callable[[told.Event], None] | None = None,
    ) -> None:
        """directory: where relative names lie. post: as tell, called in a thread of the syncs and at any time."""
        self.directory = os.path.abspath(directory)
        self._tell = tell
        self._post = post or tell
        self._syncer = Syncer()
        self._handles: dict[str, _Handle] = {}
        self._broken: dict[str, str] = {}  # names whose trouble the machine has not been told of yet
        self.reading: dict[str, _Reading] = {}
        self._locked: dict[str, int] = {}  # names that no other process may use, by the descriptor that holds the lock

    def lock(self, name: str) -> bool:
        """Keep the file, made if it is missing, from other processes that ask so; False if one of them has it."""
        fd = os.open(self.path(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return False
        self._locked[name] = fd
        return True

    def _keep_locked(self, name: str, fd: int) -> None:
        """The file behind this descriptor will take a locked name: it is locked first, so that nobody comes between."""
        old = self._locked.get(name)
        if old is not None:
            fcntl.flock(fd, fcntl.LOCK_EX)
            self._locked[name] = os.dup(fd)
            os.close(old)

    def path(self, name: str) -> str:
        """Where the name lies now."""
        return os.path.join(self.directory, name)

    def _failed(self, name: str, error: OSError, *, syncing: bool = False) -> bool:
        """Trouble with what was to be written: nothing of that name is done until the machine has been told."""
        self._broken[name] = text_of(error)
        return self._tell_failed(name, error, syncing=syncing)

    def _tell_failed(self, name: str, error: OSError, *, syncing: bool = False) -> bool:
        self._tell(told.FileFailed(name, text_of(error), isinstance(error, FileNotFoundError), syncing))
        return False

    def _refused(self, name: str) -> bool:
        """An operation behind a failed one of the same name: it fails, too."""
        why = self._broken.get(name)
        if why is None:
            return False
        self._tell(told.FileFailed(name, why, False))
        return True

    def forgive(self, name: str) -> None:
        """The machine is being told of the failure: what it does next with the name counts again."""
        self._broken.pop(name, None)

    def append(self, name: str, data: bytes, first: bool) -> bool:
        """Append, making the file (and its directory) where it is missing; `first` begins it anew."""
        if self._refused(name):
            return False
        try:
            handle = self._handles.get(name)
            if handle is None or first:
                self._forget(name)
                handle = self._handles[name] = self._open(self.path(name), first)
            self._write(handle, data)
        except OSError as error:
            return self._failed(name, error)
        return True

    def _open(self, path: str, first: bool) -> _Handle:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        existed = os.path.exists(path)
        try:
            fd = os.open(path, flags | (os.O_TRUNC if first else 0), 0o644)
        except FileNotFoundError:
            if not os.path.isdir(self.directory):  # ours is gone: that is for its owner to mend
                raise
            os.makedirs(os.path.dirname(path), exist_ok=True)
            sync_directory(os.path.dirname(path))  # the directory's own entry
            fd = os.open(path, flags, 0o644)
        return _Handle(path, fd, existed)

    @staticmethod
    def _write(handle: _Handle, data: bytes) -> None:
        view = memoryview(data)
        written = 0
        if handle.torn_at is not None:
            os.ftruncate(handle.fd, handle.torn_at)
            handle.torn_at = None
        try:
            while written < len(data):
                written += os.write(handle.fd, view[written:])
        except OSError:
            if written:
                handle.torn_at = os.fstat(handle.fd).st_size - written
                os.ftruncate(handle.fd, handle.torn_at)
                handle.torn_at = None
            raise

    def _handle(self, name: str) -> _Handle:
        handle = self._handles.get(name)
        if handle is None:
            path = self.path(name)
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            handle = self._handles[name] = _Handle(path, fd, False)
        return handle

    def sync(self, name: str, *, entry: bool = True) -> bool:
        """Make all that was appended durable, and (entry) the file's entry in its directory."""
        if self._refused(name):
            return False
        try:
            handle = self._handle(name)
        except OSError as error:
            return self._failed(name, error)
        try:
            os.fsync(handle.fd)
            if entry and not handle.entry_durable:
                sync_directory(handle.path)
                handle.entry_durable = True
        except OSError as error:
            return self._failed(name, error, syncing=True)
        return True

    def sync_later(self, name: str, ticket: int) -> None:
        """Begin to sync the file in a thread of its own; FileSynced is told when that has ended."""
        try:
            handle = self._handle(name)
            entry = "" if handle.entry_durable else handle.path
            handle.entry_durable = True
            # A descriptor of its own: the file may be closed, renamed or removed before its turn has come.
            fd = os.dup(handle.fd)
        except OSError as error:
            self._tell(told.FileSynced(name, ticket, text_of(error)))
            return
        self._syncer.sync(fd, entry, lambda why: self._post(told.FileSynced(name, ticket, why)))

    def truncate(self, name: str, length: int) -> bool:
        """Cut the file back."""
        if self._refused(name):
            return False
        try:
            os.ftruncate(self._handle(name).fd, length)
        except OSError as error:
            return self._failed(name, error)
        return True

    def commit(self, name: str, final_name: str, *, durable: bool = True) -> bool:
        """Make the file durable and rename it, durably; tells FileCommitted. Not durable: leave that to the system."""
        if self._refused(name) or ((durable or name not in self._handles) and not self.sync(name, entry=False)):
            return False
        handle = self._handles.pop(name)
        final = self.path(final_name)
        try:
            self._keep_locked(final_name, handle.fd)
            os.rename(handle.path, final)
            if durable:
                sync_directory(final)
        except OSError as error:
            return self._failed(name, error)
        finally:
            os.close(handle.fd)
        # An append that goes on under the final name must go to the new file, not to the one it replaced.
        self._forget(final_name)
        self._tell(told.FileCommitted(name, final_name))
        return True

    def remove(self, name: str) -> bool:
        """Delete the file if it is there."""
        self._forget(name)
        path = self.path(name)
        try:
            # What a large file takes to be given up is spent where the last descriptor is closed.
            large = os.stat(path).st_size > _LARGE_BYTES
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if large else -1
            try:
                os.unlink(path)
            finally:
                if fd >= 0:
                    self._syncer.release(fd)
        except FileNotFoundError:
            return True
        except OSError as error:
            return self._failed(name, error)
        return True

    def _forget(self, name: str) -> None:
        handle = self._handles.pop(name, None)
        if handle is not None:
            os.close(handle.fd)

    def start_reading(self, name: str, chunk: int, offset: int = 0) -> bool:
        """Begin an effects.ReadFile; a reading of the same name under way begins anew."""
        self.stop_reading(name)
        try:
            fd = os.open(self.path(name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            return self._tell_failed(name, error)
        self.reading[name] = _Reading(fd, chunk, os.fstat(fd).st_size, offset)
        return True

    def read_chunks(self) -> None:
        """Tell one FileChunk for each file being read."""
        for name, reading in list(self.reading.items()):
            try:
                data = os.pread(reading.fd, reading.chunk, reading.offset)
            except OSError as error:
                self.stop_reading(name)
                self._tell_failed(name, error)
                continue
            offset = reading.offset
            reading.offset += len(data)
            eof = not data or reading.offset >= reading.size
            if eof:
                self.stop_reading(name)
            self._tell(told.FileChunk(name, offset, data, reading.size, eof))

    def stop_reading(self, name: str) -> None:
        """No more chunks of this file. Harmless if it is not being read."""
        reading = self.reading.pop(name, None)
        if reading is not None:
            os.close(reading.fd)

    def open_to_send(self, name: str) -> tuple[int, int] | None:
        """A descriptor and the length of the file as it is now; None after telling FileFailed."""
        try:
            fd = os.open(self.path(name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self._tell_failed(name, error)
            return None
        return fd, os.fstat(fd).st_size

    def shut(self) -> None:
        """Close every descriptor; nothing more is made durable."""
        for name in list(self.reading):
            self.stop_reading(name)
        for name in list(self._handles):
            self._forget(name)
        for fd in self._locked.values():
            os.close(fd)
        self._locked.clear()
        self._syncer.shut()
