"""One turn of the Sentinel: the instant of the event that is being handled, and what is to be done about it."""

from __future__ import annotations

from replicator.core.effects import Announce, Effect, Level, Log
from replicator.core.now import Now


class Turn:
    """Shared by all parts of a Sentinel: they read `now` and add effects; the machine takes these when the turn ends.

    last: effects that come behind everything else of the turn (Exit).
    """

    __slots__ = ("effects", "last", "now")

    def __init__(self) -> None:
        self.now = Now(0, 0)
        self.effects: list[Effect] = []
        self.last: list[Effect] = []

    def emit(self, effect: Effect) -> None:
        """Something to be done."""
        self.effects.append(effect)

    def log(self, level: Level, message: str) -> None:
        """One line for the log."""
        self.effects.append(Log(level, message))

    def announce(self, name: str, *fields: tuple[str, str | int | None]) -> None:
        """A domain event, for reports and the simulation's trace."""
        self.effects.append(Announce(name, fields))

    def take(self) -> list[Effect]:
        """All effects of the turn, in order; the next begins with none."""
        effects, self.effects = self.effects, []
        if self.last:
            effects += self.last
            self.last = []
        return effects
