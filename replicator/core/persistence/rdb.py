"""Between the keyspace and RDB: the snapshot of all data, and the sink that fills a keyspace from one.

snapshot_chunks reads the keyspace's own dictionaries while it runs: nothing may change them meanwhile (a forked child,
or one uninterrupted drain).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import heapify
from typing import Any

from replicator.core.keyspace.database import Database, Keyspace
from replicator.core.keyspace.serialize import ACCESSORS, BUILDERS
from replicator.core.keyspace.stream import Stream
from replicator.core.wire import rdb
from replicator.core.wire.rdb import Refused
from replicator.core.wire.rdb.format import PLAIN_VERSION, STREAM_2_VERSION

CHUNK_BYTES = 64 * 1024
# Auxiliary fields that are kept; any number may come.
MOST_FIELDS = 256
LONGEST_FIELD = 4096


# -- saving ------------------------------------------------------------------------------------------------------------


def version_for_file(keyspace: Keyspace) -> int:
    """The oldest version that keeps everything: Redis 7.0's where there are streams, else what Redis 5 can load."""
    for database in keyspace.databases:
        if any(type(value) is Stream for value in database.values.values()):
            return STREAM_2_VERSION
    return PLAIN_VERSION


def snapshot_chunks(
    keyspace: Keyspace,
    *,
    aux: Mapping[bytes, bytes] | None = None,
    functions: Iterable[bytes] = (),
    version: int = 9,
    compress: bool = False,
    checksum: bool = True,
    count_keys: bool = False,
    accesses: Callable[[int, bytes], tuple[int | None, int | None]] | None = None,
) -> Iterator[bytes]:
    """An RDB file of the data as it is, in portions of about 64 KiB.

    aux, functions, version, compress, checksum, accesses: as rdb.write has them. count_keys: one portion a key
    (where there are keys at all), so that whoever must wait after each key can count them.
    """
    databases = [(database.index, database.values, database.expires) for database in keyspace.databases]
    fields = list((aux or {}).items())

    def portions(chunk_bytes: int, on_keys: Callable[[int], None] | None) -> Iterator[bytes]:
        return rdb.write(
            databases,
            version=version,
            aux=fields,
            functions=functions,
            accessors=ACCESSORS,
            compress=compress,
            checksum=checksum,
            chunk_bytes=chunk_bytes,
            on_keys=on_keys,
            accesses=accesses,
        )

    return _key_by_key(portions) if count_keys else portions(CHUNK_BYTES, None)


def _key_by_key(portions: Callable[[int, Callable[[int], None]], Iterator[bytes]]) -> Iterator[bytes]:
    """Portions that end with a key each; what stands before the first and behind the last goes with these."""
    ended = 0

    def count(keys: int) -> None:
        nonlocal ended
        ended += keys

    whole = b""
    parts: list[bytes] = []
    for portion in portions(1, count):
        parts.append(portion)
        if ended:
            ended = 0
            if whole:
                yield whole
            whole = b"".join(parts)
            parts.clear()
    yield b"".join([whole, *parts])


# -- loading -----------------------------------------------------------------------------------------------------------


class KeyspaceLoader:
    """Fills the databases of a keyspace that is nobody's yet (no watchers, no waiting clients, no key index).

    keep_expired: keys whose time has passed are kept (a replica waits for its primary's DEL); without it they are left
    out, as the keyspace's now_ms tells. merge: a key that is there already is replaced; without it that is an error, as
    it is when the file has a key twice. Afterwards: rdb_version, aux, functions, keys (loaded), expired (left out), and
    ended: the file was whole.
    """

    __slots__ = (
        "_database",
        "_expires",
        "_keep_expired",
        "_merge",
        "_values",
        "aux",
        "dropped",
        "ended",
        "expired",
        "functions",
        "keys",
        "keyspace",
        "rdb_version",
        "uses",
    )

    def __init__(self, keyspace: Keyspace, *, keep_expired: bool, merge: bool = False) -> None:
        self.keyspace = keyspace
        self._keep_expired = keep_expired
        self._merge = merge
        self.rdb_version = 0
        self.aux: dict[bytes, bytes] = {}
        self.functions: list[bytes] = []
        self.keys = 0
        self.expired = 0
        self.uses: dict[tuple[int, bytes], tuple[int | None, int | None]] = {}  # idle seconds, access counter
        self.dropped: list[tuple[int, bytes]] = []  # expired keys that were left out: database, key
        self.ended = False
        self._enter(keyspace.databases[0])

    def _enter(self, database: Database) -> None:
        self._database = database
        self._values = database.values
        self._expires = database.expires

    def version(self, number: int) -> None:
        """The file's version."""
        self.rdb_version = number

    def auxiliary(self, name: bytes, value: bytes) -> None:
        """An auxiliary field; the last of a name holds."""
        if len(self.aux) < MOST_FIELDS and len(value) <= LONGEST_FIELD:  # ours and other engines' are short, and few
            self.aux[name] = value

    def select(self, index: int) -> None:
        """The entries that follow belong to this database."""
        databases = self.keyspace.databases
        if index >= len(databases):
            raise Refused(f"the data needs database {index}, and there are {len(databases)}")
        self._enter(databases[index])

    def resize(self, keys: int, expires: int) -> None:
        """A hint that dictionaries have no use for."""

    def entry(
        self, key: bytes, kind: str, value: Any, expire_ms: int | None, idle: int | None, freq: int | None
    ) -> None:
        """A key of the selected database."""
        if expire_ms is not None and expire_ms <= self.keyspace.now_ms and not self._keep_expired:
            self.expired += 1
            self.dropped.append((self._database.index, key))
            return
        values = self._values
        if key in values and not self._merge:
            raise Refused(f"key {key!r} is there twice in database {self._database.index}")
        values[key] = value if kind == "string" else BUILDERS[kind](value)
        self.keys += 1
        if idle is not None or freq is not None:
            self.uses[(self._database.index, key)] = (idle, freq)
        if expire_ms is not None:
            self._expires[key] = expire_ms
        elif self._merge:
            self._expires.pop(key, None)

    def function(self, code: bytes) -> None:
        """The source of a library of functions."""
        self.functions.append(code)

    def end(self) -> None:
        """The file is whole."""
        self.ended = True
        self.finish()

    def finish(self) -> None:
        """Make the schedules of expiry of what has been loaded; done at the file's end, harmless when repeated."""
        for database in self.keyspace.databases:
            if len(database.schedule) != len(database.expires):
                database.schedule = [(when, key) for key, when in database.expires.items()]
                heapify(database.schedule)
