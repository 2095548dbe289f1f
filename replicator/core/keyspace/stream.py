"""Streams: entries in the order of their ids, and the consumer groups that read them.

Theory of operation
- Entries live in nodes of at most stream-node-max-entries (100) entries or stream-node-max-bytes (4096), as stock keeps
  them: approximate trimming (MAXLEN ~) drops whole nodes, so equal nodes are what makes XLEN equal. A node counts the
  entries deleted from it, which take room in stock's nodes until the whole node goes; `packed` counts the bytes that
  stock's node would have (a listpack, https://github.com/antirez/listpack/blob/master/listpack.md).
- Seeking an id is a binary search over the nodes and one within a node; appending and dropping a node are constant-time
  but for moving one pointer per node.
- A pending entry stands in two lists, its group's and its consumer's, as one object. A list knows its entries by id and
  makes their order only when somebody asks for it.
- Ids are pairs (ms, seq) of unsigned 64-bit numbers and compare as Python tuples.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from sortedcontainers import SortedList

from replicator.core.keyspace.kinds import Kind
from replicator.core.wire.numbers import parse_int

Id: TypeAlias = tuple[int, int]
Fields: TypeAlias = Sequence[bytes]  # name, value, name, value ...

ZERO_ID: Id = (0, 0)
LARGEST_PART = 2**64 - 1
LARGEST_ID: Id = (LARGEST_PART, LARGEST_PART)
NODE_ENTRIES = 100
NODE_BYTES = 4096
# The entries that an approximate trim without LIMIT examines at most, when nodes are not limited by entries.
TRIM_LIMIT = 10_000


def next_id(id: Id) -> Id | None:
    """The smallest id after this one, or None behind the largest."""
    ms, seq = id
    if seq < LARGEST_PART:
        return (ms, seq + 1)
    return (ms + 1, 0) if ms < LARGEST_PART else None


def previous_id(id: Id) -> Id | None:
    """The largest id before this one, or None before 0-0."""
    ms, seq = id
    if seq > 0:
        return (ms, seq - 1)
    return (ms - 1, LARGEST_PART) if ms > 0 else None


def _packed_int(value: int) -> int:
    """The bytes of an integer in a listpack, its back length included."""
    if 0 <= value <= 127:
        return 2
    if -4096 <= value <= 4095:
        return 3
    if -(2**15) <= value < 2**15:
        return 4
    if -(2**23) <= value < 2**23:
        return 5
    return 6 if -(2**31) <= value < 2**31 else 10


def _packed(data: bytes) -> int:
    """The bytes of a string in a listpack, its back length included; a canonical integer is kept as one."""
    size = len(data)
    if size <= 20 and (data[:1].isdigit() or data[:1] == b"-") and (value := parse_int(data)) is not None:
        return _packed_int(value)
    if size < 64:
        return size + 2
    size += 2 if size < 4096 else 5
    return size + (
        1 if size <= 127 else 2 if size <= 16383 else 3 if size <= 2097151 else 4 if size <= 268435455 else 5
    )


class Node:
    """A run of entries. master, last: the ids of its first and last entry ever, deleted or not; names: of the first.

    All entries may be trimmed away one by one and the node stay, as stock's does, until a trim drops it whole.
    """

    __slots__ = ("body", "deleted", "fields", "ids", "last", "master", "names")

    def __init__(self, master: Id, names: Fields) -> None:
        self.master = self.last = master
        self.names = tuple(names)
        self.ids: list[Id] = []
        self.fields: list[Fields] = []
        self.deleted = 0
        # the listpack's bytes without the two counters: head, end, number of names, names, closing zero
        self.body = 7 + _packed_int(len(self.names)) + sum(map(_packed, self.names)) + 2

    @property
    def packed(self) -> int:
        """The bytes of stock's listpack for this node."""
        return self.body + _packed_int(len(self.ids)) + _packed_int(self.deleted)

    def append(self, id: Id, fields: Fields) -> None:
        """Add an entry behind all others."""
        seq = (id[1] - self.master[1] + 2**63) % 2**64 - 2**63
        ms = (id[0] - self.master[0] + 2**63) % 2**64 - 2**63
        size = 2 + _packed_int(ms) + _packed_int(seq)
        if tuple(fields[::2]) == self.names:
            size += sum(map(_packed, fields[1::2])) + _packed_int(len(fields) // 2 + 3)
        else:
            size += _packed_int(len(fields) // 2) + sum(map(_packed, fields)) + _packed_int(len(fields) + 4)
        self.body += size
        self.last = id
        self.ids.append(id)
        self.fields.append(fields)


class Pending:
    """A delivered entry that nobody has acknowledged yet. delivered_ms: unix time of the last delivery."""

    __slots__ = ("consumer", "delivered_ms", "deliveries")

    def __init__(self, consumer: Consumer, delivered_ms: int, deliveries: int) -> None:
        self.consumer = consumer
        self.delivered_ms = delivered_ms
        self.deliveries = deliveries


class PendingList:
    """Pending entries by id; their order is made when first asked for, then kept up."""

    __slots__ = ("by_id", "order")

    def __init__(self) -> None:
        self.by_id: dict[Id, Pending] = {}
        self.order: Any = None  # SortedList of ids, or None

    def __len__(self) -> int:
        return len(self.by_id)

    def get(self, id: Id) -> Pending | None:
        """The pending entry of this id, or None."""
        return self.by_id.get(id)

    def add(self, id: Id, entry: Pending) -> None:
        """Put in (or replace) the entry of this id."""
        if self.order is not None and id not in self.by_id:
            self.order.add(id)
        self.by_id[id] = entry

    def remove(self, id: Id) -> Pending | None:
        """Take out and return the entry of this id, or None."""
        entry = self.by_id.pop(id, None)
        if entry is not None and self.order is not None:
            self.order.remove(id)
        return entry

    def ids(self, start: Id = ZERO_ID, end: Id = LARGEST_ID) -> Iterator[Id]:
        """The ids from start to end (both included) in order. The list must not change meanwhile."""
        if self.order is None:
            self.order = SortedList(self.by_id)
        found: Iterator[Id] = self.order.irange(start, end)
        return found

    def edges(self) -> tuple[Id, Id]:
        """The first and the last id; there must be one."""
        if self.order is None:
            self.order = SortedList(self.by_id)
        return self.order[0], self.order[-1]


class Consumer:
    """One reader of a group. seen_ms: when it last tried to read; active_ms: when it last got or claimed something
    (-1: never), both unix times."""

    __slots__ = ("active_ms", "name", "pending", "seen_ms")

    def __init__(self, name: bytes, seen_ms: int, active_ms: int = -1) -> None:
        self.name = name
        self.seen_ms = seen_ms
        self.active_ms = active_ms
        self.pending = PendingList()


class Group:
    """A consumer group. entries_read: how many entries were ever read up to last_id, or None if nobody can know."""

    __slots__ = ("consumers", "entries_read", "last_id", "pending")

    def __init__(self, last_id: Id, entries_read: int | None) -> None:
        self.last_id = last_id
        self.entries_read = entries_read
        self.pending = PendingList()
        self.consumers: dict[bytes, Consumer] = {}

    def add_pending(self, id: Id, consumer: Consumer, delivered_ms: int, deliveries: int) -> Pending:
        """Make the entry pending for the consumer, whoever had it before."""
        entry = self.pending.get(id)
        if entry is None:
            entry = Pending(consumer, delivered_ms, deliveries)
            self.pending.add(id, entry)
        else:
            if entry.consumer is not consumer:
                entry.consumer.pending.remove(id)
            entry.consumer, entry.delivered_ms, entry.deliveries = consumer, delivered_ms, deliveries
        consumer.pending.add(id, entry)
        return entry

    def acknowledge(self, id: Id) -> bool:
        """The entry is pending no more; whether it was."""
        entry = self.pending.remove(id)
        if entry is None:
            return False
        entry.consumer.pending.remove(id)
        return True

    def remove_consumer(self, name: bytes) -> int:
        """Forget the consumer, which is there, and what it had pending; how many entries that were."""
        consumer = self.consumers.pop(name)
        for id in consumer.pending.by_id:
            self.pending.remove(id)
        return len(consumer.pending)


class Stream:
    """Entries and groups; see the module's head."""

    __slots__ = ("entries_added", "groups", "last_id", "length", "max_deleted_id", "nodes")
    kind = Kind.STREAM

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.length = 0
        self.last_id: Id = ZERO_ID
        self.max_deleted_id: Id = ZERO_ID
        self.entries_added = 0
        self.groups: dict[bytes, Group] = {}

    def __len__(self) -> int:
        return self.length

    @property
    def first_id(self) -> Id:
        """The id of the first entry, 0-0 if there is none."""
        for node in self.nodes:
            if node.ids:
                return node.ids[0]
        return ZERO_ID

    @property
    def top_id(self) -> Id:
        """The id of the last entry that is there, 0-0 if there is none."""
        for node in reversed(self.nodes):
            if node.ids:
                return node.ids[-1]
        return ZERO_ID

    # -- reading ---------------------------------------------------------------------------------------------------

    def entries(self) -> Iterator[tuple[Id, Fields]]:
        """All entries in order."""
        for node in self.nodes:
            yield from zip(node.ids, node.fields, strict=True)

    def range(self, start: Id, end: Id) -> Iterator[tuple[Id, Fields]]:
        """The entries from start to end, both included, in order."""
        for at in range(self._node_of(start), len(self.nodes)):
            node = self.nodes[at]
            ids = node.ids
            for i in range(bisect_left(ids, start), len(ids)):
                if ids[i] > end:
                    return
                yield ids[i], node.fields[i]

    def range_back(self, start: Id, end: Id) -> Iterator[tuple[Id, Fields]]:
        """The entries from start to end, both included, the last first."""
        if not self.nodes:
            return
        for at in range(self._node_of(end), -1, -1):
            node = self.nodes[at]
            ids = node.ids
            stop = bisect_left(ids, (end[0], end[1] + 1))
            for i in range(stop - 1, -1, -1):
                if ids[i] < start:
                    return
                yield ids[i], node.fields[i]

    def get(self, id: Id) -> Fields | None:
        """The fields of the entry of this id, or None."""
        place = self._find(id)
        return None if place is None else self.nodes[place[0]].fields[place[1]]

    def __contains__(self, id: Id) -> bool:
        return self._find(id) is not None

    def _node_of(self, id: Id) -> int:
        """The place of the last node that begins at or before id; 0 if none does."""
        low, high = 0, len(self.nodes)
        if high and self.nodes[-1].master <= id:
            return high - 1
        while low < high:
            middle = (low + high) // 2
            if self.nodes[middle].master <= id:
                low = middle + 1
            else:
                high = middle
        return max(0, low - 1)

    def _find(self, id: Id) -> tuple[int, int] | None:
        if not self.nodes:
            return None
        at = self._node_of(id)
        ids = self.nodes[at].ids
        i = bisect_left(ids, id)
        return (at, i) if i < len(ids) and ids[i] == id else None

    # -- changing --------------------------------------------------------------------------------------------------

    def append(self, id: Id, fields: Fields, node_entries: int = NODE_ENTRIES, node_bytes: int = NODE_BYTES) -> None:
        """Add an entry; its id must be larger than last_id. The limits of a node: 0 means none."""
        node = self.nodes[-1] if self.nodes else None
        if (
            node is None
            or (node_bytes and node.packed + sum(map(len, fields)) >= node_bytes)
            or (node_entries and len(node.ids) + node.deleted >= node_entries)
        ):
            node = Node(id, fields[::2])
            self.nodes.append(node)
        node.append(id, fields)
        self.length += 1
        self.entries_added += 1
        self.last_id = id

    def load_node(
        self, master: Id, names: Fields, entries: Iterable[tuple[Id, Fields]], deleted: int, last: Id | None = None
    ) -> None:
        """Add a whole node behind all others, as a snapshot has it; last_id and entries_added are for the caller."""
        node = Node(master, names)
        for id, fields in entries:
            node.append(id, fields)
        node.deleted = deleted
        if last is not None:
            node.last = last
        self.nodes.append(node)
        self.length += len(node.ids)

    def delete(self, id: Id) -> bool:
        """Take out the entry; whether it was there."""
        place = self._find(id)
        if place is None:
            return False
        at, i = place
        node = self.nodes[at]
        if len(node.ids) == 1:
            del self.nodes[at]
        else:
            del node.ids[i], node.fields[i]
            node.deleted += 1
        self.length -= 1
        if id > self.max_deleted_id:
            self.max_deleted_id = id
        return True

    def trim_length(self, most: int, approximate: bool, limit: int) -> int:
        """Drop the oldest entries until `most` are left; how many were dropped.

        approximate: only whole nodes, and of these no more than `limit` entries (0: no limit).
        """
        dropped = whole = 0
        for node in self.nodes:
            size = len(node.ids)
            if (
                self.length - dropped <= most
                or (limit and dropped + size > limit)
                or self.length - dropped - size < most
            ):
                break
            dropped += size
            whole += 1
        return self._drop(whole, dropped, 0 if approximate else max(0, self.length - dropped - most))

    def trim_before(self, least: Id, approximate: bool, limit: int) -> int:
        """Drop the entries before the id `least`; how many were dropped. approximate, limit: as for trim_length."""
        dropped = whole = 0
        for node in self.nodes:
            size = len(node.ids)
            if (limit and dropped + size > limit) or node.last >= least:
                break
            dropped += size
            whole += 1
        rest = 0
        if not approximate and whole < len(self.nodes):
            rest = bisect_left(self.nodes[whole].ids, least)
        return self._drop(whole, dropped, rest)

    def _drop(self, whole: int, entries: int, rest: int) -> int:
        """Drop so many whole nodes, with so many entries, and `rest` entries of the node behind them."""
        if whole:
            del self.nodes[:whole]
        if rest:
            node = self.nodes[0]
            del node.ids[:rest], node.fields[:rest]
            node.deleted += rest
        self.length -= entries + rest
        return entries + rest

    # -- counting what was read ------------------------------------------------------------------------------------

    def has_gap_after(self, start: Id) -> bool:
        """Whether an entry at or behind start was deleted, so that counting from there cannot be trusted."""
        deleted = self.max_deleted_id
        return (
            bool(self.length) and deleted != ZERO_ID and self.first_id <= deleted and start <= deleted <= self.last_id
        )

    def read_up_to(self, id: Id) -> int | None:
        """How many entries were ever added up to this id, or None where that cannot be known any more."""
        if not self.entries_added:
            return 0
        if not self.length and id <= self.last_id:
            return self.entries_added
        if id == self.last_id:
            return self.entries_added
        if id > self.last_id:
            return None
        first = self.first_id
        if self.max_deleted_id == ZERO_ID or self.max_deleted_id < first:
            if id < first:
                return self.entries_added - self.length
            if id == first:
                return self.entries_added - self.length + 1
        return None

    def lag(self, group: Group) -> int | None:
        """How many entries the group has still to read, or None where stock cannot know it.

        Where its counters give a number, that number forgets entries that were deleted behind the group; so the entries
        are counted.
        """
        if not self.entries_added:
            return 0
        counted = group.entries_read is not None and not self.has_gap_after(group.last_id)
        if not counted and self.read_up_to(group.last_id) is None:
            return None
        return self.count_after(group.last_id)

    def count_after(self, id: Id) -> int:
        """How many entries there are behind this id; takes the time of as many nodes."""
        start = (id[0], id[1] + 1)
        count = 0
        for node in reversed(self.nodes):
            count += len(node.ids) - bisect_left(node.ids, start)
            if node.master < start:
                break
        return count
