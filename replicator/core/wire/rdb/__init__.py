"""The RDB format: reading it incrementally, writing it in portions, and the payloads of DUMP and RESTORE."""

from __future__ import annotations

from replicator.core.wire.rdb.format import HASH, LIST, SET, SORTED_SET, STREAM, STRING, RdbError, Refused
from replicator.core.wire.rdb.payload import BAD_PAYLOAD, dump_payload, restore_payload
from replicator.core.wire.rdb.reader import RdbReader, RdbSink
from replicator.core.wire.rdb.stream import RdbConsumer, RdbGroup, RdbNode, RdbPending, RdbStream, nodes_of
from replicator.core.wire.rdb.writer import write

__all__ = [
    "BAD_PAYLOAD",
    "HASH",
    "LIST",
    "SET",
    "SORTED_SET",
    "STREAM",
    "STRING",
    "RdbConsumer",
    "RdbError",
    "RdbGroup",
    "RdbNode",
    "RdbPending",
    "RdbReader",
    "RdbSink",
    "RdbStream",
    "Refused",
    "dump_payload",
    "nodes_of",
    "restore_payload",
    "write",
]
