"""Syncs beside the loop: a thread that waits for the disk so that the loop need not.

One thread for one process, started by the first sync; what is asked for while one is under way waits behind it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

# How long the end of the process waits for a sync under way.
_LAST_SYNC_S: Final = 10.0

_Job = tuple[int, str, Callable[[str], None] | None]


def text_of(error: OSError) -> str:
    """The system's text for a file error ("No space left on device")."""
    return error.strerror or str(error)


def sync_directory(path: str) -> None:
    """Make the entries of the directory that holds `path` durable. Raises OSError."""
    fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Syncer:
    """Syncs descriptors one after the other in its thread."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def sync(self, fd: int, entry: str, done: Callable[[str], None]) -> None:
        """Sync the descriptor, which is closed afterwards, then the directory entry of the path `entry` (if given);
        then call done("") or done(reason), in the thread."""
        self._put((fd, entry, done))

    def release(self, fd: int) -> None:
        """Close the descriptor: of a file that has no name any more, whose blocks are given back then."""
        self._put((fd, "", None))

    def _put(self, job: _Job) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="syncs", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            fd, entry, done = job
            if done is None:
                os.close(fd)
                continue
            why = ""
            try:
                os.fsync(fd)
                if entry:
                    sync_directory(entry)
            except OSError as error:
                why = text_of(error)
            finally:
                os.close(fd)
            done(why)

    def shut(self) -> None:
        """End the thread behind what it has to do."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(_LAST_SYNC_S)
            self._thread = None
