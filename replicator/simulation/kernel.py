"""The event heap: virtual time, chance by purpose, and the trace whose hash names a run.

Everything that happens is a call at a time. Two calls at the same microsecond run in the order in which they were
planned, so a run is a function of its seed alone: not of hashes, addresses, threads or the speed of the machine that
runs it.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from heapq import heappop, heappush
from random import Random
from typing import Any

# Notes gathered before they are hashed together.
_NOTES_AT_ONCE = 4096


class Kernel:
    """Virtual time in whole microseconds since the run began.

    checksum: of all bytes that anybody has read so far, with when and by whom: who reads carries it on. Each note of
    the trace holds what it is then.
    """

    __slots__ = ("_hash", "_heap", "_notes", "_sequence", "checksum", "events", "halted", "now_us", "seed")

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now_us = 0
        self.events = 0  # calls made so far
        self.halted = False  # run() makes no more calls
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0
        self._hash = blake2b(digest_size=16)
        self._notes: list[str] = []
        self.checksum = 0

    def random(self, purpose: str) -> Random:
        """A stream of chance of its own: a new draw in one place does not shift the draws of others."""
        return Random(f"{self.seed}/{purpose}")

    def at(self, when_us: int, call: Callable[..., None], *arguments: Any) -> None:
        """Call at that time, at the earliest now."""
        self._sequence += 1
        if when_us < self.now_us:
            when_us = self.now_us
        heappush(self._heap, (when_us, self._sequence, call, arguments))

    def after(self, delay_us: int, call: Callable[..., None], *arguments: Any) -> None:
        """Call so much later."""
        self.at(self.now_us + delay_us, call, *arguments)

    def step(self) -> bool:
        """Make the next call; False: nothing is planned."""
        if not self._heap:
            return False
        self.now_us, _, call, arguments = heappop(self._heap)
        self.events += 1
        call(*arguments)
        return True

    def next_us(self) -> int | None:
        """When the next call is planned."""
        return self._heap[0][0] if self._heap else None

    def run(self, until_us: int) -> None:
        """Make calls until that time, or until somebody halts the kernel."""
        self.halted = False
        self.at(until_us, self.halt)
        heap = self._heap
        events = 0
        try:
            while not self.halted:
                self.now_us, _, call, arguments = heappop(heap)
                events += 1
                call(*arguments)
        finally:
            self.events += events

    def halt(self) -> None:
        """End run() behind the present call."""
        self.halted = True

    def note(self, text: str) -> None:
        """A line of the trace, at the present time."""
        notes = self._notes
        notes.append(f"{self.now_us} {self.checksum} {text}")
        if len(notes) >= _NOTES_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        self._hash.update("\n".join(self._notes).encode("utf-8", "surrogateescape"))
        self._notes.clear()

    def trace_hash(self) -> str:
        """Names all that has been noted so far: equal hashes, equal runs."""
        self.note("")
        self._flush()
        return self._hash.hexdigest()
