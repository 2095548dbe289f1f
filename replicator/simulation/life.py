"""When a process runs: stopped, busy, or free; and what waits until it does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from replicator.simulation.kernel import Kernel


class Life:
    """The time of one process. ended: its exit code and how it ended, None while it lives."""

    __slots__ = ("_timers_waiting", "_waiting", "_waking_us", "busy_until_us", "ended", "kernel", "stopped")

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.ended: tuple[int, str] | None = None
        self.stopped = False
        self.busy_until_us = 0
        self._waiting: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._timers_waiting: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._waking_us = -1

    def stop(self) -> None:
        """SIGSTOP."""
        self.stopped = True

    def go_on(self) -> None:
        """SIGCONT."""
        if self.stopped:
            self.stopped = False
            self._wake()

    @property
    def held_up(self) -> bool:
        """The process does not run now."""
        return self.stopped or self.busy_until_us > self.kernel.now_us

    def later(self, call: Callable[..., None], *arguments: Any) -> None:
        """Call now, or when the process runs again."""
        if self.ended is not None:
            return
        if self.stopped or self.busy_until_us > self.kernel.now_us or self._waiting:
            self._waiting.append((call, arguments))
            self._plan_waking()
        else:
            call(*arguments)

    def later_than_reads(self, call: Callable[..., None]) -> None:
        """Call now; or when the process runs again, behind what has come on its sockets by then, for a turn of the live
        driver has sockets before timers."""
        if self.ended is not None:
            return
        if self.stopped or self.busy_until_us > self.kernel.now_us or self._waiting:
            self._timers_waiting.append((call, ()))
            self._plan_waking()
        else:
            call()

    def _plan_waking(self) -> None:
        if not self.stopped and self._waking_us != self.busy_until_us:
            self._waking_us = self.busy_until_us
            self.kernel.at(self.busy_until_us, self._wake)

    def _wake(self) -> None:
        self._waking_us = -1
        self._waiting.extend(self._timers_waiting)
        self._timers_waiting.clear()
        while self._waiting and self.ended is None:
            if self.held_up:
                self._plan_waking()
                return
            call, arguments = self._waiting.popleft()
            call(*arguments)

    def be_busy(self, duration_us: int) -> None:
        """The process stands still for so long, from now or from the end of what it is busy with."""
        self.busy_until_us = max(self.busy_until_us, self.kernel.now_us) + duration_us
