"""DEBUG DIGEST: forty hex digits that are equal exactly when two servers hold the same data.

Order-independent where the type is (keys, sets, hashes, sorted sets: exclusive or), order-dependent where order is data
(lists, the parts of one element: sha1 of the running digest xor the next). Values as stock servers compute them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import sha1

from replicator.core.keyspace.database import Database, Keyspace
from replicator.core.keyspace.sorted_set import SortedSet
from replicator.core.keyspace.stream import Stream
from replicator.core.keyspace.values import Hash, List, Set, Value
from replicator.core.wire.numbers import format_float

_SMALL = 128
_TYPE_NUMBER: dict[type, int] = {bytes: 0, List: 1, Set: 2, SortedSet: 3, Hash: 4, Stream: 6}


def _number(data: bytes) -> int:
    return int.from_bytes(sha1(data, usedforsecurity=False).digest(), "big")


def _mix(digest: int, data: bytes) -> int:
    digest ^= _number(data)
    return int.from_bytes(sha1(digest.to_bytes(20, "big"), usedforsecurity=False).digest(), "big")


def _hashed(digest: int) -> int:
    return _number(digest.to_bytes(20, "big"))


_STRING_NUMBER = _number((0).to_bytes(4, "big"))


def _pair(first: bytes, second: bytes) -> int:
    return _hashed(_mix(_mix(0, first), second))


def _value(digest: int, value: Value) -> int:
    if type(value) is bytes:
        return _mix(digest, value)
    if isinstance(value, List):
        for element in value:
            digest = _mix(digest, element)
    elif isinstance(value, Set):
        for member in value.items:
            digest ^= _number(member)
    elif isinstance(value, Hash):
        for name, content in value.items():
            digest ^= _pair(name, content)
    elif isinstance(value, SortedSet):
        for member, score in value.scores.items():
            digest ^= _pair(member, format_float(score))
    elif isinstance(value, Stream):
        for (ms, seq), fields in value.entries():
            digest = _mix(digest, b"%d.%d" % (ms, seq))
            for item in fields:
                digest = _mix(digest, item)
    return digest


def digest_value(database: Database, key: bytes) -> str:
    """The digest of one key's value alone; of a missing key forty zeros."""
    value = database.values.get(key)  # one that has expired and is still there counts, as in the digest of all data
    if value is None:
        return "0" * 40
    return f"{_keyed(0, database, key, value):040x}"


@lru_cache(maxsize=8192)
def _small_string(key: bytes, value: bytes) -> int:
    """What a string adds to the digest of all data.

    The most common entry by far, and the same ones again and again: in each replica, and in each look at them.
    """
    return _hashed(_mix(_hashed(_hashed(_number(key)) ^ _STRING_NUMBER), value))


def _keyed(digest: int, database: Database, key: bytes, value: Value) -> int:
    digest = _value(_mix(digest, _TYPE_NUMBER[type(value)].to_bytes(4, "big")), value)
    if key in database.expires:
        digest ^= _number(b"!!expire!!")
    return digest


def digest_keyspace(keyspace: Keyspace, note: Callable[[], None] | None = None) -> str:
    """The digest of all data: every database, key, value and the fact of an expiry."""
    final = 0
    for database in keyspace.databases:
        if not database.values:
            continue
        final = _mix(final, database.index.to_bytes(4, "big"))
        for key, value in database.values.items():
            if type(value) is bytes and len(value) <= _SMALL and key not in database.expires:
                final ^= _small_string(key, value)
            else:
                final ^= _hashed(_keyed(_mix(0, key), database, key, value))
    return f"{final:040x}"
