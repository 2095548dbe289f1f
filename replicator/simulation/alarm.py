"""The one alarm of a simulated machine."""

from __future__ import annotations

from functools import partial
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from replicator.simulation.process import Process

# More alarms than this at one instant, and the machine never comes to rest.
SPINS_MOST: Final = 1000
_NEVER: Final = 1 << 62


class Alarm:
    """Calls the machine's advance at its deadline, never early.

    A deadline that moves back leaves the call that is planned where it is; when that comes, the deadline is looked at
    again. So a deadline that moves to and fro with every turn costs a call now and then, not one each time.
    """

    def __init__(self, process: Process) -> None:
        self._process, self._rings = process, self._ring
        self._deadline_ms: int | None = None  # as the machine said behind its last turn
        self._planned_ms: list[int] = []  # a heap of the times for which calls are planned
        self._soonest_ms = _NEVER  # the first of them
        self._spins = 0
        self._spin_us = -1

    def set(self) -> None:
        """The deadline may have changed."""
        self._deadline_ms = deadline_ms = self._process.machine.deadline_ms()
        if deadline_ms is not None and deadline_ms < self._soonest_ms:
            self._plan(deadline_ms)

    def _plan(self, deadline_ms: int) -> None:
        process = self._process
        self._soonest_ms = deadline_ms
        heappush(self._planned_ms, deadline_ms)
        process.kernel.at(process.clock.kernel_us(deadline_ms), self._rings)

    def _ring(self) -> None:
        planned = self._planned_ms
        reached_ms = heappop(planned)
        self._soonest_ms = planned[0] if planned else _NEVER
        if self._process.ended is None:
            self._process.later_than_reads(partial(self._look, reached_ms))

    def _look(self, reached_ms: int) -> None:
        """Is it time? It is that late at least."""
        process, deadline_ms = self._process, self._deadline_ms
        if deadline_ms is None:
            return
        if deadline_ms <= reached_ms or deadline_ms <= process.clock.now().mono_ms:
            process.advance()
        elif deadline_ms < self._soonest_ms:
            self._plan(deadline_ms)

    def mind_spinning(self) -> None:
        """Count alarms at one instant."""
        if self._spin_us != self._process.kernel.now_us:
            self._spin_us, self._spins = self._process.kernel.now_us, 0
        self._spins += 1
        if self._spins > SPINS_MOST:
            raise AssertionError(f"{SPINS_MOST} alarms at one instant: the machine never comes to rest")
