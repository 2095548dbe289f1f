"""The one alarm of a simulated machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from replicator.simulation.process import Process

# More alarms than this at one instant, and the machine never comes to rest.
SPINS_MOST: Final = 1000


class Alarm:
    """Calls the machine's advance at its deadline, never early; planned again lazily when the deadline moves back."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._planned_us = -1
        self._spins = 0
        self._spin_us = -1

    def set(self) -> None:
        """The deadline may have changed."""
        process = self._process
        deadline_ms = process.machine.deadline_ms()
        if deadline_ms is None:
            return
        when_us = process.clock.kernel_us(deadline_ms)
        if when_us < process.kernel.now_us:
            when_us = process.kernel.now_us
        if self._planned_us < 0 or when_us < self._planned_us:
            self._planned_us = when_us
            process.kernel.at(when_us, self._ring, when_us)

    def _ring(self, planned_us: int) -> None:
        if self._process.ended is None and planned_us == self._planned_us:
            self._planned_us = -1
            self._process.later(self._process.advance)

    def mind_spinning(self) -> None:
        """Count alarms at one instant."""
        if self._spin_us != self._process.kernel.now_us:
            self._spin_us, self._spins = self._process.kernel.now_us, 0
        self._spins += 1
        if self._spins > SPINS_MOST:
            raise AssertionError(f"{SPINS_MOST} alarms at one instant: the machine never comes to rest")
