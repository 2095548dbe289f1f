"""What OBJECT ENCODING answers: the representation that a stock server would have chosen for a value.

Our own representation has no encodings; the answer is worked out when it is asked for, from the value's size and the
configured limits. Stock's encodings are sticky (a hash that has outgrown its listpack stays a hashtable when it shrinks
again), and three cheap things remember that:

- a SortedSet notes by itself that it has outgrown the limits (`flat`);
- a Set or a Hash that loses a member notes how large it had been, or that the member itself needed the large encoding
  (`peak`); adding, the hot path, notes nothing;
- the answer "hashtable" once given stays (`peak` again).

A string that APPEND, SETRANGE or SETBIT has worked on is "raw" even if it is short. Strings are plain bytes and carry
no mark, so the keyspace keeps the few last such objects by identity (`mark_raw`).

Source: https://redis.io/docs/latest/commands/object-encoding/ and redis.conf's advanced configuration.
"""

from __future__ import annotations

from typing import Protocol

from replicator.core.keyspace.database import Keyspace
from replicator.core.keyspace.sorted_set import SortedSet
from replicator.core.keyspace.values import OUTGROWN, Hash, List, Set, Value, is_integer

# Strings up to this length share one allocation with their header in stock servers.
EMBEDDED = 44
# How many short strings are remembered as raw; older ones answer "embstr" again.
MAX_RAW = 4096


class Settings(Protocol):
    """The configuration, as far as it is needed here."""

    def __getitem__(self, name: str, /) -> int: ...


def encoding(keyspace: Keyspace, value: Value, config: Settings) -> bytes:
    """The name of the encoding of a value that is in the keyspace."""
    if type(value) is bytes:
        return _string_encoding(keyspace, value)
    if isinstance(value, List):
        return b"quicklist"
    if isinstance(value, Set):
        return b"intset" if is_intset(value, config) else b"hashtable"
    if isinstance(value, Hash):
        return b"listpack" if is_listpack_hash(value, config) else b"hashtable"
    if isinstance(value, SortedSet):
        return b"listpack" if is_listpack_sorted_set(value, config) else b"skiplist"
    return b"stream"


def _string_encoding(keyspace: Keyspace, value: bytes) -> bytes:
    length = len(value)
    if length > EMBEDDED or keyspace.raw_strings.get(id(value)) is value:
        return b"raw"
    return b"int" if is_integer(value) else b"embstr"


def mark_raw(keyspace: Keyspace, value: bytes) -> None:
    """The value, new and about to be stored, was made by changing another in place."""
    if 1 < len(value) <= EMBEDDED:
        marked = keyspace.raw_strings
        marked[id(value)] = value
        if len(marked) > MAX_RAW:
            del marked[next(iter(marked))]


def is_intset(value: Set, config: Settings) -> bool:
    """Whether stock would hold the set as an intset."""
    if max(value.peak, len(value)) <= config["set-max-intset-entries"] and all(map(is_integer, value.items)):
        return True
    value.peak = OUTGROWN
    return False


def is_listpack_hash(value: Hash, config: Settings) -> bool:
    """Whether stock would hold the hash as a listpack."""
    longest = config["hash-max-listpack-value"]
    if max(value.peak, len(value)) <= config["hash-max-listpack-entries"] and all(
        len(name) <= longest and len(content) <= longest for name, content in value.items()
    ):
        return True
    value.peak = OUTGROWN
    return False


def is_listpack_sorted_set(value: SortedSet, config: Settings) -> bool:
    """Whether stock would hold the sorted set as a listpack."""
    longest = config["zset-max-listpack-value"]
    if (
        value.flat
        and len(value) <= config["zset-max-listpack-entries"]
        and all(len(member) <= longest for member in value.scores)
    ):
        return True
    value.flat = False
    return False
