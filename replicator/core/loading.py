"""A load in progress: a snapshot's bytes on their way into a keyspace."""

from __future__ import annotations

from dataclasses import dataclass

from replicator.core.keyspace.database import Keyspace
from replicator.core.persistence import KeyspaceLoader
from replicator.core.wire.rdb import RdbError, RdbReader


@dataclass(slots=True)
class Loading:
    """One load. The data goes into a keyspace of its own and is adopted when it is whole: never half.

    source: "start" (our own dump), "file" (a payload received to a file), "socket", "debug" (DEBUG RELOAD).
    asynchronous: the old data is served meanwhile (swapdb).
    """

    source: str
    name: str
    asynchronous: bool
    keyspace: Keyspace
    loader: KeyspaceLoader
    reader: RdbReader
    started_ms: int
    started_unix_ms: int
    size: int = 0
    read: int = 0
    budget_us: int = 0  # key-load-delay: time owed before the next chunk

    def feed(self, data: bytes) -> bytes | None:
        """More bytes; the rest behind the payload's end once it is there, else None. Raises RdbError."""
        self.read += len(data)
        self.reader.feed(data)
        return self.reader.rest if self.reader.done else None


def start_load(
    source: str, name: str, *, databases: int, asynchronous: bool, keep_expired: bool, check_crc: bool, mono_ms: int, unix_ms: int
) -> Loading:
    """An empty load; keep_expired: keys whose time has passed are kept (a replica waits for its primary's DEL)."""
    keyspace = Keyspace(databases)
    keyspace.now_ms = unix_ms
    loader = KeyspaceLoader(keyspace, keep_expired=keep_expired)
    reader = RdbReader(loader, check_crc=check_crc)
    return Loading(source, name, asynchronous, keyspace, loader, reader, mono_ms, unix_ms)


__all__ = ["Loading", "RdbError", "start_load"]
