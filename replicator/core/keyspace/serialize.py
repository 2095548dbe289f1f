"""Values of the keyspace as RDB knows them, and back: what DUMP, RESTORE and snapshots share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from replicator.core.keyspace.sorted_set import FLAT_BOUNDS, SortedSet
from replicator.core.keyspace.stream import Consumer, Group, Stream
from replicator.core.keyspace.values import Hash, List, Set, Value
from replicator.core.wire import rdb
from replicator.core.wire.rdb import RdbConsumer, RdbGroup, RdbNode, RdbPending, RdbStream


def neutral_stream(stream: Stream) -> RdbStream:
    """A stream as the wire knows it. Shares the lists of the stream's nodes' fields."""
    nodes = [
        RdbNode(node.master, node.names, list(zip(node.ids, node.fields, strict=True)), node.deleted)
        for node in stream.nodes
    ]
    groups = [
        RdbGroup(
            name,
            group.last_id,
            group.entries_read,
            [RdbConsumer(reader.name, reader.seen_ms, reader.active_ms) for reader in group.consumers.values()],
            [
                RdbPending(id, entry.consumer.name, entry.delivered_ms, entry.deliveries)
                for id, entry in sorted(group.pending.by_id.items(), key=_by_id)
            ],
        )
        for name, group in stream.groups.items()
    ]
    return RdbStream(nodes, stream.last_id, stream.first_id, stream.max_deleted_id, stream.entries_added, groups)


def _by_id(item: tuple[tuple[int, int], Any]) -> tuple[int, int]:
    return item[0]


def stream_from(neutral: RdbStream) -> Stream:
    """The keyspace's stream of a neutral one."""
    stream = Stream()
    for node in neutral.nodes:
        stream.load_node(node.master, node.names, node.entries, node.deleted)
    stream.last_id = neutral.last_id
    stream.max_deleted_id = neutral.max_deleted_id
    stream.entries_added = neutral.entries_added
    for saved in neutral.groups:
        group = stream.groups[saved.name] = Group(saved.last_id, saved.entries_read)
        for reader in saved.consumers:
            group.consumers[reader.name] = Consumer(reader.name, reader.seen_ms, reader.active_ms)
        for entry in saved.pending:
            group.add_pending(entry.id, group.consumers[entry.consumer], entry.delivered_ms, entry.deliveries)
    return stream


ACCESSORS: Mapping[type, Callable[[Any], tuple[str, Any]]] = {
    bytes: lambda value: (rdb.STRING, value),
    List: lambda value: (rdb.LIST, value),
    Set: lambda value: (rdb.SET, value.items),
    Hash: lambda value: (rdb.HASH, value),
    SortedSet: lambda value: (rdb.SORTED_SET, value.scores),
    Stream: lambda value: (rdb.STREAM, neutral_stream(value)),
}

BUILDERS: Mapping[str, Callable[[Any], Value]] = {
    rdb.STRING: bytes,
    rdb.LIST: List,
    rdb.SET: Set,
    rdb.HASH: Hash,
    rdb.SORTED_SET: SortedSet.from_pairs,
    rdb.STREAM: stream_from,
}


def neutral_value(value: Value) -> tuple[str, Any]:
    """The kind and the neutral form of a value of the keyspace."""
    return ACCESSORS[type(value)](value)


def value_from(kind: str, neutral: Any, flat_bounds: tuple[int, int] = FLAT_BOUNDS) -> Value:
    """The keyspace's value of a kind and a neutral form; flat_bounds: those of the keyspace it is for."""
    return SortedSet.from_pairs(neutral, flat_bounds) if kind == rdb.SORTED_SET else BUILDERS[kind](neutral)
