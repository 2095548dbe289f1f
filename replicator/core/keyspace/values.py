"""The data types, as plain and as fast as Python allows.

A string is `bytes` itself. The other types are classes of their own so that `type(value)` tells them apart at once.
Nothing here is iterated in an order that depends on a hash seed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

from replicator.core.keyspace.index import Index

if TYPE_CHECKING:
    from replicator.core.keyspace.sorted_set import SortedSet
    from replicator.core.keyspace.stream import Stream


class Kind(Enum):
    """The types with the names that TYPE gives them."""

    STRING = "string"
    LIST = "list"
    SET = "set"
    SORTED_SET = "zset"
    HASH = "hash"
    STREAM = "stream"


class List(deque[bytes]):
    """A list: constant-time ends; indexing costs the distance to the nearer end (by blocks of 64)."""

    kind = Kind.LIST


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
        self.items = list(dict.fromkeys(members))
        self.place = {member: i for i, member in enumerate(self.items)}
        self.peak = 0  # how large it has been before members left it, for encoding.py

    def discard(self, member: bytes) -> bool:
        """Remove; whether it was there."""
        at = self.place.pop(member, None)
        if at is None:
            return False
        if self.peak < OUTGROWN:
            if not is_integer(member):
                self.peak = OUTGROWN
            elif len(self.items) > self.peak:
                self.peak = len(self.items)
        last = self.items.pop()
        if at < len(self.items):
            self.items[at] = last
            self.place[last] = at
        return True


class Hash(dict[bytes, bytes]):
    """A hash: fields in the order of their first setting."""

    __slots__ = ("index", "peak")
    kind = Kind.HASH

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(pairs)
        # made by the first HRANDFIELD or HSCAN of a large hash, dropped by any new field
        self.index: Index | None = None
        self.peak = 0  # how large it has been before fields left it, for encoding.py

    def pop(self, field: bytes, default: Any = None) -> Any:
        """Remove a field; its value, or the default if it is not there."""
        value = super().pop(field, None)
        if value is None:
            return default
        if len(value) > _LONG or len(field) > _LONG:
            self.peak = OUTGROWN
        elif len(self) >= self.peak:
            self.peak = len(self) + 1
        return value

    def __delitem__(self, field: bytes) -> None:
        if self.pop(field) is None:
            raise KeyError(field)


Value: TypeAlias = "bytes | List | Set | Hash | SortedSet | Stream"
