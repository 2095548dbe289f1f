"""Notices a run that does not come on: an endless loop would end no search and name no seed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from replicator.simulation.kernel import Kernel

# Seconds of processor time at one virtual instant. The busiest instants of honest runs take a fraction of one.
MOST_SECONDS: Final = 30.0


class Hangs(Exception):
    """Virtual time has stood still for too long."""


@contextmanager
def patience(kernel: Kernel, seconds: float = MOST_SECONDS) -> Iterator[None]:
    """While inside, Hangs is raised where the run is when one instant takes more than `seconds` (twice that at most).

    It works by a signal, so in the main thread only; elsewhere (a Dask worker's) nothing watches.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen_us = -1

    def look_on(_number: int, _frame: FrameType | None) -> None:
        nonlocal seen_us
        if kernel.now_us == seen_us:
            raise Hangs(f"virtual time has stood still at {kernel.now_us} us for {seconds:g} s of processor time")
        seen_us = kernel.now_us

    before = signal.signal(signal.SIGVTALRM, look_on)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
