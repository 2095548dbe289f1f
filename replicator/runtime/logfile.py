"""The log: `PID:ROLE DATE LEVEL message`, a line at a time, as Redis 7 writes it.

    1234:M 22 Nov 2026 14:06:01.123 * Ready to accept connections

ROLE is M (primary), S (replica), C (a child, or before the role is known) or X (sentinel). A file is opened anew for
each line, so that a rotated (renamed) file is left and a new one begun; "" means standard output, flushed by the line.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from replicator.core.effects import Level

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ORDER = {Level.DEBUG: 0, Level.VERBOSE: 1, Level.NOTICE: 2, Level.WARNING: 3}
_NAMES = {"debug": 0, "verbose": 1, "notice": 2, "warning": 3, "nothing": 4}
ROLES = "MSCX"


def stamp(unix_ns: int) -> str:
    """Local time as the log has it: "22 Nov 2026 14:06:01.123", months in English whatever the locale."""
    local = time.localtime(unix_ns // 1_000_000_000)
    return (
        f"{local.tm_mday:02d} {_MONTHS[local.tm_mon - 1]} {local.tm_year:04d} "
        f"{local.tm_hour:02d}:{local.tm_min:02d}:{local.tm_sec:02d}.{unix_ns // 1_000_000 % 1000:03d}"
    )


class LogFile:
    """Writes log lines. A line that cannot be written is dropped: a full disk must not end a server."""

    def __init__(
        self,
        path: str = "",
        level: str = "notice",
        role: str = "C",
        unix_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """path: "" for standard output. level: a loglevel directive's word. Raises OSError if the file cannot be
        opened."""
        self._unix_ns = unix_ns
        self._role = role
        self._least = _NAMES[level]
        self.path = os.path.abspath(path) if path else ""
        if self.path:
            os.close(self._open())

    def set_role(self, role: str) -> None:
        """Change the role's character: one of M, S, C, X."""
        assert role in ROLES, role
        self._role = role

    def set_level(self, level: str) -> None:
        """Change the least level that is written: debug, verbose, notice, warning or nothing."""
        self._least = _NAMES[level]

    def write(self, level: Level, message: str) -> None:
        """Write one line, if its level is wanted."""
        if _ORDER[level] >= self._least:
            self.raw(f"{os.getpid()}:{self._role} {stamp(self._unix_ns())} {level.value} {message}\n")

    def raw(self, text: str) -> None:
        """Write text as it is (a logo, a stack trace)."""
        data = text.encode("utf-8", "backslashreplace")
        try:
            if not self.path:
                # Not through sys.stdout: a forked child must never flush what its parent had buffered.
                self._put(1, data)
                return
            fd = self._open()
            try:
                self._put(fd, data)
            finally:
                os.close(fd)
        except OSError:
            pass  # nowhere left to tell it

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    @staticmethod
    def _put(fd: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]


def flush_standard_output() -> None:
    """Push out what print() has buffered, so that it stands before the first log line."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        pass  # closed by whoever started us
