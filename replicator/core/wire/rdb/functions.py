"""What FUNCTION DUMP gives and FUNCTION RESTORE takes: the sources of libraries as a snapshot holds them, and a footer.

For each library the opcode 245 and its code; then the RDB version (two bytes) and the CRC-64 of all before it (eight
bytes), both little-endian.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable

from replicator.core.wire.rdb import format as rdb
from replicator.core.wire.rdb.cursor import Cursor
from replicator.core.wire.rdb.format import RdbError
from replicator.core.wire.rdb.payload import BAD_PAYLOAD
from replicator.core.wire.rdb.writer import compressed

NOT_A_FUNCTION = "given type is not a function"
_FOOTER = 10
_MARK = bytes((rdb.OP_FUNCTION,))


def dump_functions(codes: Iterable[bytes]) -> bytes:
    """The payload of these libraries."""
    body = b"".join(_MARK + compressed(code) for code in codes)
    data = body + rdb.FUNCTIONS_VERSION.to_bytes(2, "little")
    checksum: int = rdb.CRC64.calc(data)
    return data + checksum.to_bytes(8, "little")


def restore_functions(data: bytes) -> list[bytes]:
    """The libraries' codes in a payload. Raises RdbError, whose message is BAD_PAYLOAD if the footer is wrong."""
    footer = len(data) - _FOOTER
    if footer < 0:
        raise RdbError(BAD_PAYLOAD, len(data))
    version = int.from_bytes(data[footer : footer + 2], "little")
    if not rdb.known_version(version):
        raise RdbError(BAD_PAYLOAD, footer)
    if rdb.CRC64.calc(memoryview(data)[: footer + 2]) != int.from_bytes(data[footer + 2 :], "little"):
        raise RdbError(BAD_PAYLOAD, footer + 2)
    machine = _Reader(data[:footer], version).codes()
    try:
        next(machine)
    except StopIteration as end:
        codes: list[bytes] = end.value
        return codes
    raise RdbError("the payload ends too early", footer)


class _Reader(Cursor):
    """Reads the libraries before a payload's footer."""

    __slots__ = ()

    def codes(self) -> Generator[int, None, list[bytes]]:
        """All libraries' codes; yields if bytes are missing."""
        codes: list[bytes] = []
        while self._at < len(self._buffer):
            if (yield from self._take(1)) != _MARK:
                raise self._error(NOT_A_FUNCTION)
            codes.append((yield from self._string()))
        return codes
