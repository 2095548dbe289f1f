"""Programs that a machine has run for its operator (effects.RunScript): started, watched, killed, reaped.

Each is a child in a session of its own, so that what it starts goes with it. Its end is seen through a pidfd in the
hub's poll; no signal handler is involved.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from typing import TYPE_CHECKING

from replicator.core import effects as do
from replicator.core import events as told

if TYPE_CHECKING:
    from replicator.runtime.hub import Hub


class Scripts:
    """The scripts of one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._running: dict[int, tuple[subprocess.Popen[bytes], int]] = {}

    def run(self, effect: do.RunScript) -> None:
        """Start it; what comes of it is told."""
        try:
            process = subprocess.Popen(
                effect.argv, stdin=subprocess.DEVNULL, start_new_session=True, close_fds=True, restore_signals=True
            )
        except (OSError, ValueError) as problem:
            self._hub.tell(told.ScriptEnded(effect.number, 2, 0, str(getattr(problem, "strerror", None) or problem)))
            return
        fd = os.pidfd_open(process.pid)
        self._running[effect.number] = (process, fd)
        self._hub.watch(fd, select.EPOLLIN, lambda mask: self._ended(effect.number))
        self._hub.tell(told.ScriptStarted(effect.number, process.pid))

    def _ended(self, number: int) -> None:
        process, fd = self._running.pop(number)
        self._hub.unwatch(fd)
        self._hub.close_later(fd)
        code = process.wait()
        self._hub.tell(told.ScriptEnded(number, max(code, 0), max(-code, 0)))

    def kill(self, number: int) -> None:
        """Kill it and all that it has started; its end is told when it is gone."""
        running = self._running.get(number)
        if running is not None:
            _kill_group(running[0].pid)

    def shut(self) -> None:
        """End all of them and wait for that."""
        for process, fd in self._running.values():
            _kill_group(process.pid)
            process.wait()
            os.close(fd)
        self._running.clear()


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has just ended
