"""What a course of the player waits for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Wait:
    """Go on when ready() holds (True is sent into the course) or at until_ms, the stage's mono_ms (False).

    of_clients: ready() looks at what clients do, so it is asked again soon after their turns, too.
    """

    ready: Callable[[], bool]
    until_ms: int | None = None
    of_clients: bool = False
