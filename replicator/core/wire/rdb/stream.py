"""Streams as neutral values, and the nodes (listpacks of many entries) in which RDB keeps their entries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from replicator.core.wire.numbers import parse_int
from replicator.core.wire.rdb.compact import read_listpack, write_listpack
from replicator.core.wire.rdb.format import Corrupt

StreamId: TypeAlias = tuple[int, int]  # milliseconds, sequence
StreamEntry: TypeAlias = tuple[StreamId, list[bytes]]  # fields and values, alternating

_MASK = (1 << 64) - 1
_DELETED = 1
_SAME_FIELDS = 2
# A node ends at these bounds, which are stock's defaults (stream-node-max-entries, stream-node-max-bytes).
_NODE_ENTRIES = 100
_NODE_BYTES = 4096


@dataclass(slots=True)
class RdbConsumer:
    """A consumer of a group. Times in unix ms; active_ms -1: it never read or claimed an entry."""

    name: bytes
    seen_ms: int
    active_ms: int


@dataclass(slots=True)
class RdbPending:
    """An entry that was delivered to a consumer and not acknowledged yet."""

    id: StreamId
    consumer: bytes
    delivered_ms: int  # unix time of the last delivery
    deliveries: int


@dataclass(slots=True)
class RdbGroup:
    """A consumer group. entries_read: how many entries were read up to last_id, or None where nobody knows."""

    name: bytes
    last_id: StreamId
    entries_read: int | None
    consumers: list[RdbConsumer] = field(default_factory=list)
    pending: list[RdbPending] = field(default_factory=list)  # in the order of their ids


@dataclass(slots=True)
class RdbStream:
    """A stream. entries: in the order of their ids. first_id: of the first entry ((0, 0) without entries)."""

    entries: list[StreamEntry] = field(default_factory=list)
    last_id: StreamId = (0, 0)
    first_id: StreamId = (0, 0)
    max_deleted_id: StreamId = (0, 0)
    entries_added: int = 0
    groups: list[RdbGroup] = field(default_factory=list)

    def entries_read_up_to(self, last_id: StreamId) -> int | None:
        """How many entries a group that has read up to last_id has read, where that follows from the stream alone."""
        if not self.entries_added:
            return 0
        if not self.entries:
            return self.entries_added if last_id >= self.last_id else None
        if last_id == self.last_id:
            return self.entries_added
        if last_id < self.first_id and self.max_deleted_id < self.first_id:
            return self.entries_added - len(self.entries)
        if last_id == self.first_id and self.max_deleted_id < self.first_id:
            return self.entries_added - len(self.entries) + 1
        return None


def raw_id(identifier: StreamId) -> bytes:
    """The sixteen bytes of an id."""
    return identifier[0].to_bytes(8, "big") + identifier[1].to_bytes(8, "big")


def read_id(data: bytes) -> StreamId:
    """The id of sixteen bytes."""
    return int.from_bytes(data[:8], "big"), int.from_bytes(data[8:16], "big")


def read_node(master: bytes, data: bytes) -> list[StreamEntry]:
    """The entries of one node that are not marked deleted. Raises Corrupt.

    A node begins with: count, deleted, number of fields, the fields, 0. Each entry: flags, ms and sequence as
    differences to the master id, then either the values of the node's fields or number, field, value ...; and how many
    elements that were.
    """
    if len(master) != 16:
        raise Corrupt("stream node has no id")
    base_ms, base_seq = read_id(master)
    tokens = iter(read_listpack(data))
    entries: list[StreamEntry] = []
    try:
        live, deleted, width = _number(next(tokens)), _number(next(tokens)), _number(next(tokens))
        if width < 0:
            raise Corrupt("stream node has a negative number of fields")
        names = _some(tokens, width)
        next(tokens)
        seen_deleted = 0
        for token in tokens:
            flags = _number(token)
            ms, seq = base_ms + _number(next(tokens)) & _MASK, base_seq + _number(next(tokens)) & _MASK
            if flags & _SAME_FIELDS:
                fields: list[bytes] = [b""] * (2 * width)
                fields[::2] = names
                fields[1::2] = _some(tokens, width)
            else:
                count = _number(next(tokens))
                if count < 0:
                    raise Corrupt("stream entry has a negative number of fields")
                fields = _some(tokens, 2 * count)
            next(tokens)
            if flags & _DELETED:
                seen_deleted += 1
            else:
                entries.append(((ms, seq), fields))
    except StopIteration:
        raise Corrupt("stream node is cut short") from None
    if live != len(entries) or deleted != seen_deleted:
        raise Corrupt("stream node has not the entries it claims")
    return entries


def _number(token: bytes) -> int:
    value = parse_int(token)
    if value is None:
        raise Corrupt("stream node has a text where a number belongs")
    return value


def _some(tokens: Iterator[bytes], count: int) -> list[bytes]:
    """The next count tokens, taken one by one: a claimed count is not believed."""
    out: list[bytes] = []
    while len(out) < count:
        out.append(next(tokens))
    return out


def write_nodes(entries: Iterable[StreamEntry]) -> Iterator[tuple[bytes, bytes]]:
    """The nodes that hold the entries: (master id, listpack)."""
    node: list[StreamEntry] = []
    size = 0
    for entry in entries:
        weight = 8 + sum(map(len, entry[1]))
        if node and (len(node) >= _NODE_ENTRIES or size + weight > _NODE_BYTES):
            yield _node(node)
            node = []
            size = 0
        node.append(entry)
        size += weight
    if node:
        yield _node(node)


def _node(entries: list[StreamEntry]) -> tuple[bytes, bytes]:
    (base_ms, base_seq), first = entries[0]
    names = first[::2]
    width = len(names)
    elements: list[bytes | int] = [len(entries), 0, width, *names, 0]
    for (ms, seq), fields in entries:
        identifier = (_wrapped(ms - base_ms), _wrapped(seq - base_seq))
        if fields[::2] == names:
            elements += (_SAME_FIELDS, *identifier, *fields[1::2], width + 3)
        else:
            elements += (0, *identifier, len(fields) // 2, *fields, len(fields) + 4)
    return raw_id((base_ms, base_seq)), write_listpack(elements)


def _wrapped(difference: int) -> int:
    """The difference of two unsigned 64-bit numbers as a signed one: readers add it modulo 2**64."""
    return (difference + (1 << 63) & _MASK) - (1 << 63)
