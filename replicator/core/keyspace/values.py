"""The data types, as plain and as fast as Python allows.

A string is `bytes` itself. The other types are classes of their own so that `type(value)` tells them apart at once.
Nothing here is iterated in an order that depends on a hash seed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

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


class Set(Index):
    """A set of byte strings: constant-time membership, random choice and scanning."""

    __slots__ = ()
    kind = Kind.SET


class Hash(dict[bytes, bytes]):
    """A hash: fields in the order of their first setting."""

    __slots__ = ("index",)
    kind = Kind.HASH

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(pairs)
        self.index: Index | None = None  # made by the first HRANDFIELD or HSCAN of a large hash, dropped by any new field


Value: TypeAlias = "bytes | List | Set | Hash | SortedSet | Stream"
