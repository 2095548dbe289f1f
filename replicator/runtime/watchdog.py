"""The watchdog (watchdog-period): says in the log where the main thread hangs.

A timer of the process runs while a turn of the loop runs. When it rings, the signal's handler writes the stack of that
very moment; the turn then goes on.
"""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable
from types import FrameType

# Stock's least period.
LEAST_MS = 200


class Watchdog:
    """Give `petted` to a Hub; switch on with `set_period`. For the main thread only: signals arrive there."""

    def __init__(self, raw: Callable[[str], None], pid: Callable[[], int]) -> None:
        """raw: takes text for the log as it is. pid: of this process."""
        self._raw = raw
        self._pid = pid
        self._period_s = 0.0
        self._running = False
        self._rearm_at_s = 0.0

    def set_period(self, period_ms: int) -> None:
        """Ring after so many milliseconds without the end of a turn (0: never; less than 200 counts as 200)."""
        self._period_s = max(period_ms, LEAST_MS) / 1000 if period_ms else 0.0
        if self._period_s:
            signal.signal(signal.SIGALRM, self._ring)
        self._set(self._period_s)

    def petted(self, turning: bool) -> None:
        """A turn begins (turning), or the loop is about to sleep. While turns follow each other closely the timer is
        set again only after a quarter of the period: a system call a turn would be felt."""
        if not self._period_s:
            return
        if not turning:
            if self._running:
                self._set(0.0)
            return
        now_s = time.monotonic()
        if not self._running or now_s >= self._rearm_at_s:
            self._rearm_at_s = now_s + self._period_s / 4
            self._set(self._period_s)

    def _set(self, seconds: float) -> None:
        self._running = seconds > 0
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def _ring(self, number: int, frame: FrameType | None) -> None:
        head = f"{self._pid()}:signal-handler ({int(time.time())})"
        stack = "".join(traceback.format_stack(frame))
        self._raw(f"{head} \n--- WATCHDOG TIMER EXPIRED ---\n\n------ STACK TRACE ------\n{stack}\n{head} --------\n\n")
