"""What OBJECT ENCODING answers: the representation that a stock server would have chosen for a value.

Our own representation has no encodings; the answer is worked out when it is asked for, from the value's size and the
configured limits. Stock's encodings are sticky (a hash that has outgrown its listpack stays a hashtable when it shrinks
again), and three cheap things remember that:

- a SortedSet notes by itself that it has outgrown the limits (`flat`);
- a Set or a Hash that loses a member notes how large it had been, or that the member itself needed the large encoding
  (`peak`); adding, the hot path, notes nothing;
- the answer "hashtable" once given stays (`peak` again).

The other way round, what was small when a limit was lowered stays small until it is written to (thresholds.py).

A string that APPEND, SETRANGE or SETBIT has worked on is "raw" even if it is short, and a sum of INCRBYFLOAT is never
"int". Strings are plain bytes and carry no mark, so the keyspace keeps the last such objects by identity (`marked`).

Source: https://redis.io/docs/latest/commands/object-encoding/ and redis.conf's advanced configuration.
"""

from __future__ import annotations

from typing import Protocol

from replicator.core.keyspace.database import Keyspace
from replicator.core.keyspace.sorted_set import SortedSet
from replicator.core.keyspace.values import OUTGROWN, Hash, List, Set, Value, is_integer

# Strings up to this length share one allocation with their header in stock servers.
EMBEDDED = 44
# How many short strings are remembered to have another encoding than their text suggests; older ones are forgotten.
MAX_MARKED = 4096


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
        return b"listpack" if value.flat else b"skiplist"
    return b"stream"


def _string_encoding(keyspace: Keyspace, value: bytes) -> bytes:
    if len(value) > EMBEDDED:
        return b"raw"
    mark = keyspace.marked_strings.get(id(value))
    if mark is not None and mark[0] is value:
        return mark[1]
    return b"int" if is_integer(value) else b"embstr"


def marked(keyspace: Keyspace, value: bytes, name: bytes = b"raw") -> bytes:
    """The value to store for one that has this encoding because of how it was made, however short it is."""
    length = len(value)
    if not 0 < length <= EMBEDDED:
        return value
    # The mark hangs on the object, so it must be one that nobody else has. The interpreter shares objects of one byte,
    # but not those that come out of an integer.
    value = bytes(bytearray(value)) if length > 1 else value[0].to_bytes(1, "big")
    if length == 1 and value is bytes((value[0],)):
        return value
    known = keyspace.marked_strings
    known[id(value)] = (value, name)
    if len(known) > MAX_MARKED:
        del known[next(iter(known))]
    return value


def is_intset(value: Set, config: Settings) -> bool:
    """Whether stock would hold the set as an intset."""
    if -value.peak == len(value):
        return bool(value.peak)
    if max(value.peak, len(value)) <= config["set-max-intset-entries"] and all(map(is_integer, value.items)):
        return True
    value.peak = OUTGROWN
    return False


def is_listpack_hash(value: Hash, config: Settings) -> bool:
    """Whether stock would hold the hash as a listpack."""
    if value.kept is not None:
        return True
    longest = config["hash-max-listpack-value"]
    if max(value.peak, len(value)) <= config["hash-max-listpack-entries"] and all(
        len(name) <= longest and len(content) <= longest for name, content in value.items()
    ):
        return True
    value.peak = OUTGROWN
    return False
