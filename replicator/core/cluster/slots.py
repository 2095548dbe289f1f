"""Slots: which one a key lies in, sets of them as numbers and as text, and the keys of each slot.

A set of slots is one number whose bit n stands for slot n, as on the bus: union, difference and counting are single
operations of the interpreter.

Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#key-distribution-model
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Iterable, Iterator

from replicator.core.wire.bus import SLOTS

ALL_SLOTS = (1 << SLOTS) - 1


def key_slot(key: bytes) -> int:
    """The slot of a key: of what stands between its first "{" and the next "}", if that is not nothing."""
    if b"{" in key:
        tag, closed, _ = key.partition(b"{")[2].partition(b"}")
        if closed and tag:
            key = tag
    return crc_hqx(key, 0) & 0x3FFF


def iterate(slots: int) -> Iterator[int]:
    """The slots of a set, ascending."""
    for first, last in ranges(slots):
        yield from range(first, last + 1)


def ranges(slots: int) -> Iterator[tuple[int, int]]:
    """The set as ranges (first, last), ascending."""
    at = 0
    while slots:
        gap = (slots & -slots).bit_length() - 1
        slots >>= gap
        run = (~slots & (slots + 1)).bit_length() - 1  # how many ones it ends with
        slots >>= run
        yield at + gap, at + gap + run - 1
        at += gap + run


def union(slots: Iterable[int]) -> int:
    """The set of these slots."""
    bits = 0
    for slot in slots:
        bits |= 1 << slot
    return bits


def span(first: int, last: int) -> int:
    """The set of the slots from first to last."""
    return ((1 << (last - first + 1)) - 1) << first


def shown(slots: int) -> list[str]:
    """The set as ranges for people: "0-5460", "77"."""
    return [str(first) if first == last else f"{first}-{last}" for first, last in ranges(slots)]
