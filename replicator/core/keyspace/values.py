"""The data types, as plain and as fast as Python allows.

A string is `bytes` itself. The other types are classes of their own so that `type(value)` tells them apart at once.
Nothing here is iterated in an order that depends on a hash seed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice, repeat
from typing import Any, Protocol, TypeAlias

from replicator.core.keyspace.index import Index
from replicator.core.keyspace.kinds import Kind
from replicator.core.keyspace.sorted_set import SortedSet
from replicator.core.keyspace.stream import Stream

# Elements to walk over before a better way to a place inside a list pays (List.between).
_NEAR = 256
_FEW = 16


class List(deque[bytes]):
    """A list: constant-time ends; indexing costs the distance to the nearer end (by blocks of 64)."""

    # list-max-listpack-size when a push made the list (DEBUG OBJECT shows it); not there for those made otherwise.
    __slots__ = ("fill",)
    kind = Kind.LIST
    fill: int

    def between(self, start: int, count: int) -> list[bytes]:
        """`count` elements from place `start` on, all of which must exist.

        Near an end that end is walked. Farther in, a few are found by their place, and for many the list is rotated
        there and back: it moves references, about twenty times as fast as walking over them.
        """
        behind = len(self) - start - count
        if start <= _NEAR:
            return list(islice(self, start, start + count))
        if behind <= _NEAR:
            found = list(islice(reversed(self), behind, behind + count))
            found.reverse()
            return found
        if count <= _FEW:
            return [self[at] for at in range(start, start + count)]
        self.rotate(-start)
        found = list(islice(self, count))
        self.rotate(start)
        return found

    def keep(self, start: int, count: int) -> None:
        """Drop all but `count` elements from place `start` on; costs the smaller of what goes and what stays."""
        if len(self) - count > count:
            kept = self.between(start, count)
            self.clear()
            self.extend(kept)
            return
        behind = len(self) - start - count
        for _ in repeat(None, start):
            self.popleft()
        for _ in repeat(None, behind):
            self.pop()


# The size that stands for "has needed the large encoding", whatever the configured limits are (see encoding.py).
OUTGROWN = 1 << 62
# Fields and values of a hash beyond this length do not fit stock's small encoding (its default limit).
_LONG = 64


def is_integer(data: bytes) -> bool:
    """Whether the bytes spell a signed 64-bit integer canonically."""
    if data.isdigit() and len(data) < 19 and data[0] != 48:
        return True
    if len(data) > 20:
        return False
    try:
        value = int(data)
    except ValueError:
        return False
    return b"%d" % value == data and -(2**63) <= value < 2**63


class Set(Index):
    """A set of byte strings: constant-time membership, random choice and scanning."""

    __slots__ = ("peak",)
    kind = Kind.SET

    def __init__(self, members: Iterable[bytes] = ()) -> None:
        if members == ():  # by far the most frequent: SADD of a new key
            self.items = []
            self.place = {}
        else:
            self.items = list(dict.fromkeys(members))
            self.place = {member: i for i, member in enumerate(self.items)}
        # How large it has been before members left it, for encoding.py; negative: it has been an intset with so many
        # members when the limit was lowered, and remains one until it is more.
        self.peak = 0

    def discard(self, member: bytes) -> bool:
        """Remove; whether it was there."""
        at = self.place.pop(member, None)
        if at is None:
            return False
        if self.peak < OUTGROWN:
            if not is_integer(member):
                self.peak = OUTGROWN
            elif -self.peak == len(self.items):
                self.peak += 1
            elif len(self.items) > self.peak:
                self.peak = len(self.items)
        last = self.items.pop()
        if at < len(self.items):
            self.items[at] = last
            self.place[last] = at
        return True


class HashLimits(Protocol):
    """The limits of a hash's small encoding, as they are now."""

    def outgrown(self, fields: int, length: int) -> bool:
        """Whether a hash of so many fields, one of which has this length or a value of it, is beyond them."""


class Hash(dict[bytes, bytes]):
    """A hash: fields in the order of their first setting.

    There is no __init__ of its own, so that making one costs what a dict costs. `index`, `peak` and `kept` are the
    class's until an instance needs them.
    """

    kind = Kind.HASH
    # Numbers the fields; made by the first HRANDFIELD or HSCAN that needs it (`indexed`). From then on whoever sets a
    # new field adds it here; removals through `pop` and `del` are followed.
    index: Index | None = None
    peak = 0  # how large it has been before fields left it, for encoding.py
    # Set when the limits were lowered below what the hash holds: it is a listpack until a write goes beyond them.
    kept: HashLimits | None = None

    def written(self, field: bytes, content: bytes) -> None:
        """Whoever sets a field of a `kept` hash tells it here: this is when stock looks at the limits."""
        if self.kept is not None and self.kept.outgrown(len(self), max(len(field), len(content))):
            self.kept = None
            self.peak = OUTGROWN

    def indexed(self) -> Index:
        """The fields with places, in constant time to choose from and to scan; O(N) once."""
        index = self.index
        if index is None:
            index = self.index = Index(self)
        return index

    def pop(self, field: bytes, default: Any = None) -> Any:
        """Remove a field; its value, or the default if it is not there."""
        value = super().pop(field, None)
        if value is None:
            return default
        if self.index is not None:
            self.index.discard(field)
        if self.kept is not None:
            return value
        if len(value) > _LONG or len(field) > _LONG:
            self.peak = OUTGROWN
        elif len(self) >= self.peak:
            self.peak = len(self) + 1
        return value

    def __delitem__(self, field: bytes) -> None:
        if self.pop(field) is None:
            raise KeyError(field)


Value: TypeAlias = bytes | List | Set | Hash | SortedSet | Stream
