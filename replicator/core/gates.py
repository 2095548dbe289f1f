"""Which commands need a closer look just now, and why.

A command has flags, a bit each; a gate is a set of bits that somebody holds for a reason: while a snapshot is loaded
the reason "loading" holds ANY, and so every command takes the careful path of the executor, which asks all questions.
A command that has none of the bits of any gate runs at once. Gates decide nothing: they only say who must be asked.
"""

from __future__ import annotations

ANY = 1 << 62  # every command has this bit: a gate that lets nothing through unseen


class Gates:
    """The gates of one node. bits: of all of them together; the executor reads it before each command."""

    __slots__ = ("bits", "held")

    def __init__(self) -> None:
        self.held: dict[str, int] = {}
        self.bits = 0

    def hold(self, reason: str, bits: int) -> None:
        """For this reason commands with these bits are looked at closely (in place of what it held before)."""
        if self.held.get(reason) != bits:
            self.held[reason] = bits
            self._join()

    def drop(self, reason: str) -> None:
        """The reason is gone."""
        if self.held.pop(reason, None) is not None:
            self._join()

    def set(self, reason: str, bits: int) -> None:
        """`hold` or, without bits, `drop`."""
        if bits:
            self.hold(reason, bits)
        else:
            self.drop(reason)

    def _join(self) -> None:
        bits = 0
        for held in self.held.values():
            bits |= held
        self.bits = bits
