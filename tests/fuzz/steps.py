"""How much a turn may cost: calls of functions, Python's and C's, counted; not time, which depends on the machine."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

# Whatever its bytes: as much as a command may ask for that repeats members (limits.MAX_RANDOM_MEMBERS), or that walks
# the small data of a fuzzed node a few times over.
BASE = 4_000_000
# A byte of a request: an empty line of two bytes is decoded, a command of six is looked up, run and answered.
PER_BYTE = 400


class TooManySteps(Exception):
    """A turn that cost more than its bytes allow."""


class Steps:
    """Counts within `with`; raises TooManySteps behind it."""

    def __init__(self, size: int) -> None:
        self.allowed = BASE + PER_BYTE * size
        self.count = 0

    def __enter__(self) -> Steps:
        sys.setprofile(self._note)
        return self

    def _note(self, _frame: FrameType, event: str, _argument: Any) -> None:
        if event[-4:] == "call":
            self.count += 1

    def __exit__(self, kind: Any, *_: object) -> None:
        sys.setprofile(None)
        if kind is None and self.count > self.allowed:
            raise TooManySteps(f"{self.count} steps, {self.allowed} allowed")
