"""Programs that a simulated machine has run for its operator (effects.RunScript): they take a while, and end as the
costs say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core import effects as do
from replicator.core import events as told

if TYPE_CHECKING:
    from replicator.simulation.process import Process


class Scripts:
    """The scripts of one process."""

    __slots__ = ("_process", "_running")

    def __init__(self, process: Process) -> None:
        self._process = process
        self._running: dict[int, None] = {}

    def run(self, effect: do.RunScript) -> None:
        """Start it."""
        process = self._process
        self._running[effect.number] = None
        process.kernel.note(f"{process.name} runs {effect.argv}")
        process.tell(told.ScriptStarted(effect.number, 10_000 + effect.number))
        process.kernel.after(process.costs.script_us, self._over, effect.number)

    def _over(self, number: int) -> None:
        if self._running.pop(number, 0) is None and self._process.ended is None:
            self._process.tell(told.ScriptEnded(number, self._process.costs.script_code, 0))
            self._process.settle()

    def kill(self, effect: do.KillScript) -> None:
        """End it at once."""
        if self._running.pop(effect.number, 0) is None:
            self._process.tell(told.ScriptEnded(effect.number, 0, 9))
