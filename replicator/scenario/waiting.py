"""What a course of the player waits for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Wait:
    """Go on when ready() holds (True is sent into the course) or at until_ms, the stage's mono_ms (False)."""

    ready: Callable[[], bool]
    until_ms: int | None = None
