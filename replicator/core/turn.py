"""One turn of a node: the time it is told, and what is to be done.

Everything that a part of the node wants done goes here. Effects come before the turn's replies, which node.py puts
behind them; those that need the replies out first go to `later`.
"""

from __future__ import annotations

from collections.abc import Callable

from replicator.core.effects import (
    Announce,
    Close,
    Effect,
    Exit,
    Level,
    Log,
    SendSnapshot,
    StartSnapshot,
    Stream,
)
from replicator.core.now import Now

_BEHIND = (StartSnapshot, SendSnapshot, Stream, Exit)  # effects that need the turn's replies out before them


class Turn:
    """See the module. on_close: told of each connection that is to be closed."""

    __slots__ = ("effects", "later", "now", "on_close")

    def __init__(self) -> None:
        self.now = Now(0, 0)
        self.effects: list[Effect] = []
        self.later: list[Effect] = []
        self.on_close: Callable[[int], None] = _nobody

    def emit(self, effect: Effect) -> None:
        """Put an effect before this turn's replies; those that need the replies out first go behind them."""
        if type(effect) in _BEHIND:
            self.later.append(effect)
        elif type(effect) is Close:
            self.on_close(effect.conn)
            self.later.append(effect)
        else:
            self.effects.append(effect)

    def last_effect(self, effect: Effect) -> None:
        """An effect that must be this turn's last."""
        self.later.append(effect)

    def log(self, level: Level, message: str) -> None:
        """One line for the log."""
        self.effects.append(Log(level, message))

    def announce(self, name: str, *fields: tuple[str, str | int | None]) -> None:
        """A domain event."""
        self.effects.append(Announce(name, fields))

    def crash(self) -> None:
        """End the process at once, as a bug or an operator's DEBUG demands."""
        self.later.append(Exit(1, crash=True))

    def take(self) -> list[Effect]:
        """The turn is over: all effects in their order."""
        effects = self.effects
        self.effects = []
        if self.later:
            effects += self.later
            self.later = []
        return effects


def _nobody(conn: int) -> None:
    pass
