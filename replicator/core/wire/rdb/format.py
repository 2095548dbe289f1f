"""Numbers of the RDB format, the neutral kinds of values, and the error of a file that cannot be read.

An RDB file is a magic with a version, then opcodes (auxiliary fields, "select database", expiry times that belong to
the next key ...) and entries (value type, key, value), an end mark and a CRC-64 over all before it. Integers in lengths
are big-endian, in data little-endian.

Source: the format as publicly described (the "Redis RDB Dump File Format" notes) and as the servers' own files show it.
"""

from __future__ import annotations

from typing import Final

import anycrc

STRING: Final = "string"
LIST: Final = "list"
SET: Final = "set"
SORTED_SET: Final = "zset"
HASH: Final = "hash"
STREAM: Final = "stream"

# Opcodes: they stand where a value type could stand.
OP_SLOT_IMPORT = 243
OP_SLOT_INFO = 244
OP_FUNCTION = 245
OP_FUNCTION_PRE_RELEASE = 246
OP_MODULE_AUX = 247
OP_IDLE = 248
OP_FREQUENCY = 249
OP_AUX = 250
OP_RESIZE = 251
OP_EXPIRE_MS = 252
OP_EXPIRE_SECONDS = 253
OP_SELECT = 254
OP_END = 255

# Value types.
TYPE_STRING = 0
TYPE_LIST = 1
TYPE_SET = 2
TYPE_SORTED_SET = 3  # scores as text
TYPE_HASH = 4
TYPE_SORTED_SET_2 = 5  # scores as binary doubles
TYPE_MODULE_PRE_RELEASE = 6
TYPE_MODULE = 7
TYPE_HASH_ZIPMAP = 9
TYPE_LIST_ZIPLIST = 10
TYPE_SET_INTSET = 11
TYPE_SORTED_SET_ZIPLIST = 12
TYPE_HASH_ZIPLIST = 13
TYPE_LIST_QUICKLIST = 14
TYPE_STREAM = 15
TYPE_HASH_LISTPACK = 16
TYPE_SORTED_SET_LISTPACK = 17
TYPE_LIST_QUICKLIST_2 = 18
TYPE_STREAM_2 = 19  # with first id, greatest deleted id, entries added, entries read
TYPE_SET_LISTPACK = 20
TYPE_STREAM_3 = 21  # with the active time of consumers

# Types that are known to exist and cannot be held here.
UNSUPPORTED_TYPES = {
    TYPE_MODULE_PRE_RELEASE: "a module's value in its pre-release form",
    TYPE_MODULE: "a module's value",
    22: "a hash with expiring fields",
    23: "a hash with expiring fields in its pre-release compact form",
    24: "a hash with expiring fields",
    25: "a hash with expiring fields in its compact form",
}

OLDEST_VERSION = 1
FIRST_VERSION_WITH_CHECKSUM = 5
NEWEST_REDIS_VERSION = 12  # Redis 7.4
VALKEY_VERSION = 80  # Valkey 9; the numbers between are nobody's
PLAIN_VERSION = 9  # what Redis 5 to 7, and Valkey, can load
FUNCTIONS_VERSION = 10
STREAM_2_VERSION = 10
STREAM_3_VERSION = 11
NEWEST_WRITTEN_VERSION = 11

CRC64 = anycrc.Model("CRC64-REDIS")


class RdbError(Exception):
    """The bytes are no RDB file that can be loaded. `offset`: how many bytes before the trouble were fine."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(f"{message} (at byte {offset})")
        self.message = message
        self.offset = offset


class Refused(Exception):
    """Raised by a sink that cannot take what was read; the reader turns it into an RdbError with the offset."""


class Corrupt(Exception):
    """A compact encoding does not hold what it claims; the reader turns it into an RdbError with the offset.

    at: how many of its bytes were fine, where that is known.
    """

    def __init__(self, message: str, at: int = 0) -> None:
        super().__init__(message)
        self.at = at


def known_version(version: int) -> bool:
    """Whether files (and DUMP payloads) of this version can be read."""
    return OLDEST_VERSION <= version <= NEWEST_REDIS_VERSION or version == VALKEY_VERSION
