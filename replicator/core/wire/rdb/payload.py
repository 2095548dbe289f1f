"""What DUMP gives and RESTORE takes: one value with its type, the RDB version and a checksum.

type number, value, version (two bytes), CRC-64 of all before it (eight bytes), both little-endian.
"""

from __future__ import annotations

from typing import Any

from replicator.core.wire.rdb import format as rdb
from replicator.core.wire.rdb.format import RdbError
from replicator.core.wire.rdb.values import VALUE_TYPES, ValueReader
from replicator.core.wire.rdb.writer import encode_value

BAD_PAYLOAD = "DUMP payload version or checksum are wrong"
_FOOTER = 10


def dump_payload(kind: str, value: Any, version: int = rdb.PLAIN_VERSION) -> bytes:
    """The payload of a value. version: the RDB version for whose readers it is; streams keep more from 10 and 11 on."""
    number, body = encode_value(kind, value, version)
    data = b"".join((bytes((number,)), *body, version.to_bytes(2, "little")))
    checksum: int = rdb.CRC64.calc(data)
    return data + checksum.to_bytes(8, "little")


def restore_payload(data: bytes, *, check_crc: bool = True) -> tuple[str, Any]:
    """The kind and neutral value of a payload. Raises RdbError, whose message is BAD_PAYLOAD if the footer is wrong."""
    footer = len(data) - _FOOTER
    if footer < 0:
        raise RdbError(BAD_PAYLOAD, len(data))
    version = int.from_bytes(data[footer : footer + 2], "little")
    if version and not rdb.known_version(version):  # servers ask only that it is not newer than they are
        raise RdbError(BAD_PAYLOAD, footer)
    if check_crc and rdb.CRC64.calc(memoryview(data)[: footer + 2]) != int.from_bytes(data[footer + 2 :], "little"):
        raise RdbError(BAD_PAYLOAD, footer + 2)
    return read_value(data[:footer], version)


def read_value(data: bytes, version: int) -> tuple[str, Any]:
    """The kind and neutral value of a type number and a value's bytes. Raises RdbError."""
    if not data or data[0] not in VALUE_TYPES:
        what = rdb.UNSUPPORTED_TYPES.get(data[0], "an unknown one") if data else "none"
        raise RdbError(f"value type {data[:1].hex()} of RDB version {version} is {what}", 0)
    reader = ValueReader(data, version)
    machine = reader.whole_value()
    try:
        next(machine)
    except StopIteration as end:
        kind, value = end.value
        if not value and kind not in (rdb.STRING, rdb.STREAM):
            raise RdbError("an empty collection", len(data)) from None
        return kind, value
    raise RdbError("the value ends too early", len(data))
