"""A load in progress: a snapshot's bytes on their way into a keyspace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from replicator.core.keyspace.database import Keyspace
from replicator.core.now import Now
from replicator.core.persistence.rdb import KeyspaceLoader
from replicator.core.wire.rdb import RdbError, RdbReader

LOAD_CHUNK = 256 * 1024
# With key-load-delay: how much is parsed before the keys in it are counted, and the shortest wait that is worth its
# while.
_PACED_BYTES = 1024
_SHORTEST_WAIT_US = 5_000


class Source(Enum):
    """Where what is loaded comes from."""

    START = "our own dump, at the start"
    APPEND_ONLY = "our own append-only file, at the start"
    PAYLOAD = "a payload that was received to a file"
    SOCKET = "a payload as it comes"

    @property
    def is_payload(self) -> bool:
        """What our primary sends: keys that have expired wait for its word."""
        return self is Source.PAYLOAD or self is Source.SOCKET


@dataclass(slots=True)
class Loading:
    """One load. The data goes into a keyspace of its own and is adopted when it is whole: never half.

    asynchronous: the old data is served meanwhile (swapdb).
    resume_ms: nothing more is parsed before this time (mono ms), as key-load-delay wants; None: no wait.
    """

    source: Source
    name: str
    asynchronous: bool
    keyspace: Keyspace
    loader: KeyspaceLoader
    reader: RdbReader
    started_ms: int
    started_unix_ms: int
    size: int = 0
    read: int = 0
    resume_ms: int | None = None
    read_to: int = 0  # how far the file has been read
    at_end: bool = False  # the file's last bytes have come
    adopt_functions: Callable[[], None] | None = None  # there when the payload is whole, its libraries built
    _held: bytes = b""  # came, but has to wait
    _owed_us: int = 0
    _keys: int = 0  # paid for

    def feed(self, data: bytes, now: Now, delay_us: int) -> bytes | None:
        """More bytes; what stands behind the payload's end once it is there, else None. Raises RdbError.

        delay_us: key-load-delay, microseconds a key (negative: keys a microsecond). If that demands a wait, resume_ms
        is set, and `feed` must be called again (perhaps with nothing) at that time.
        """
        reader = self.reader
        if not delay_us and not self._held:
            self.read += len(data)
            reader.feed(data)
            return reader.rest if reader.done else None
        self._held += data
        if self.resume_ms is not None and now.mono_ms < self.resume_ms:
            return None
        self.resume_ms = None
        while self._held and not reader.done:
            part, self._held = self._held[:_PACED_BYTES], self._held[_PACED_BYTES:]
            self.read += len(part)
            reader.feed(part)
            keys = self.loader.keys + self.loader.expired - self._keys
            self._keys += keys
            self._owed_us += keys * delay_us if delay_us > 0 else keys // -delay_us if delay_us else 0
            if self._owed_us >= _SHORTEST_WAIT_US:
                # Rounded up: a wait that ends too early would owe the same time again and again.
                self.resume_ms = now.mono_ms + -(-self._owed_us // 1000)
                self._owed_us = 0
                return None
        if not reader.done:
            return None
        rest, self._held = reader.rest + self._held, b""
        return rest


def start_load(
    source: Source,
    name: str,
    *,
    databases: int,
    asynchronous: bool,
    keep_expired: bool,
    check_crc: bool,
    mono_ms: int,
    unix_ms: int,
) -> Loading:
    """An empty load; keep_expired: keys whose time has passed are kept (a replica waits for its primary's DEL)."""
    keyspace = Keyspace(databases)
    keyspace.now_ms = unix_ms
    loader = KeyspaceLoader(keyspace, keep_expired=keep_expired)
    reader = RdbReader(loader, check_crc=check_crc)
    return Loading(source, name, asynchronous, keyspace, loader, reader, mono_ms, unix_ms)


__all__ = ["LOAD_CHUNK", "Loading", "RdbError", "Source", "start_load"]
