"""Streams as neutral values, and the nodes (listpacks of many entries) in which RDB keeps their entries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from replicator.core.wire.numbers import parse_int
from replicator.core.wire.rdb.compact import read_listpack, write_listpack
from replicator.core.wire.rdb.format import Corrupt

StreamId: TypeAlias = tuple[int, int]  # milliseconds, sequence
StreamEntry: TypeAlias = tuple[StreamId, Sequence[bytes]]  # fields and values, alternating

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
class RdbNode:
    """A run of entries as servers keep and save it. master: the id of its first entry ever, names: that one's fields.

    deleted: how many of its entries were deleted since; they take room until the whole node goes.
    """

    master: StreamId
    names: Sequence[bytes]
    entries: list[StreamEntry]
    deleted: int = 0


@dataclass(slots=True)
class RdbStream:
    """A stream. nodes: none is empty, all ids ascend. first_id: of the first entry ((0, 0) without entries)."""

    nodes: list[RdbNode] = field(default_factory=list)
    last_id: StreamId = (0, 0)
    first_id: StreamId = (0, 0)
    max_deleted_id: StreamId = (0, 0)
    entries_added: int = 0
    groups: list[RdbGroup] = field(default_factory=list)

    @property
    def entries(self) -> list[StreamEntry]:
        """All entries."""
        return [entry for node in self.nodes for entry in node.entries]

    def __len__(self) -> int:
        return sum(len(node.entries) for node in self.nodes)


def raw_id(identifier: StreamId) -> bytes:
    """The sixteen bytes of an id."""
    return identifier[0].to_bytes(8, "big") + identifier[1].to_bytes(8, "big")


def read_id(data: bytes) -> StreamId:
    """The id of sixteen bytes."""
    return int.from_bytes(data[:8], "big"), int.from_bytes(data[8:16], "big")


def read_node(master: bytes, data: bytes) -> RdbNode:
    """A node: its id and its listpack. Raises Corrupt.

    The listpack begins with: count, deleted, number of fields, the fields, 0. Each entry: flags, ms and sequence as
    differences to the master id, then either the values of the node's fields or number, field, value ...; and how many
    elements that were.
    """
    if len(master) != 16:
        raise Corrupt("stream node has no id")
    base_ms, base_seq = read_id(master)
    tokens = iter(read_listpack(data))
    entries: list[StreamEntry] = []
    seen_deleted = 0
    try:
        live, deleted, width = _number(next(tokens)), _number(next(tokens)), _number(next(tokens))
        names = _some(tokens, width)
        next(tokens)
        for token in tokens:
            flags = _number(token)
            ms, seq = base_ms + _number(next(tokens)) & _MASK, base_seq + _number(next(tokens)) & _MASK
            if flags & _SAME_FIELDS:
                fields: list[bytes] = [b""] * (2 * width)
                fields[::2] = names
                fields[1::2] = _some(tokens, width)
            else:
                fields = _some(tokens, 2 * _number(next(tokens)))
            next(tokens)
            if flags & _DELETED:
                seen_deleted += 1
            else:
                entries.append(((ms, seq), fields))
    except StopIteration:
        raise Corrupt("stream node is cut short") from None
    if live != len(entries) or deleted != seen_deleted:
        raise Corrupt("stream node has not the entries it claims")
    return RdbNode((base_ms, base_seq), names, entries, deleted)


def _number(token: bytes) -> int:
    value = parse_int(token)
    if value is None:
        raise Corrupt("stream node has a text where a number belongs")
    return value


def _some(tokens: Iterator[bytes], count: int) -> list[bytes]:
    """The next count tokens, taken one by one: a claimed count is not believed."""
    if count < 0:
        raise Corrupt("stream node has a negative number of fields")
    out: list[bytes] = []
    while len(out) < count:
        out.append(next(tokens))
    return out


def write_node(node: RdbNode, *, valkey: bool = False) -> tuple[bytes, bytes]:
    """The node's id and its listpack. Deleted entries are written as empty ones, so that their number stays.

    valkey: as write_listpack has it.
    """
    base_ms, base_seq = node.master
    names = list(node.names)
    width = len(names)
    elements: list[bytes | int] = [len(node.entries), node.deleted, width, *map(_compact, names), 0]
    for _ in range(node.deleted):
        elements += (_DELETED | _SAME_FIELDS, 0, 0, *[b""] * width, width + 3)
    for (ms, seq), fields in node.entries:
        identifier = (_wrapped(ms - base_ms), _wrapped(seq - base_seq))
        if list(fields[::2]) == names:
            elements += (_SAME_FIELDS, *identifier, *map(_compact, fields[1::2]), width + 3)
        else:
            elements += (0, *identifier, len(fields) // 2, *map(_compact, fields), len(fields) + 4)
    return raw_id(node.master), write_listpack(elements, valkey=valkey)


def _compact(text: bytes) -> bytes | int:
    """A text that spells an integer, as that integer: so do stock servers."""
    if len(text) > 20 or not (text[:1].isdigit() or text[:1] == b"-"):
        return text
    number = parse_int(text)
    return text if number is None else number


def nodes_of(entries: Iterable[StreamEntry]) -> list[RdbNode]:
    """The entries, in ascending order of their ids, as nodes of stock's default size."""
    nodes: list[RdbNode] = []
    room = 0
    for entry in entries:
        weight = 8 + sum(map(len, entry[1]))
        if not nodes or len(nodes[-1].entries) >= _NODE_ENTRIES or weight > room:
            nodes.append(RdbNode(entry[0], entry[1][::2], []))
            room = _NODE_BYTES
        nodes[-1].entries.append(entry)
        room -= weight
    return nodes


def _wrapped(difference: int) -> int:
    """The difference of two unsigned 64-bit numbers as a signed one: readers add it modulo 2**64."""
    return (difference + (1 << 63) & _MASK) - (1 << 63)
