"""The bytes of a file as they come, and the lengths and strings that everything in it is made of."""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator
from typing import Any, TypeAlias

from replicator.core.wire.rdb.format import Corrupt, RdbError
from replicator.core.wire.rdb.lzf import decompress

INT32 = struct.Struct("<i").unpack_from
INT64 = struct.Struct("<q").unpack_from
# Compressed texts up to this size are remembered (so many of them): repeated values are expanded once, and kept once.
_MEMO_BYTES = 64
_MEMO_ENTRIES = 1024

Need: TypeAlias = Generator[int, None, None]
Machine: TypeAlias = Generator[int, None, Any]


class Cursor:
    """A position in bytes of which only some have come. The generators yield how many bytes must lie there to go on."""

    __slots__ = ("_at", "_base", "_buffer", "_memo", "_version")

    def __init__(self, data: bytes = b"", version: int = 0) -> None:
        self._buffer = data
        self._at = 0  # next byte of the buffer
        self._base = 0  # bytes before the buffer
        self._version = version
        self._memo: dict[bytes, bytes] = {}

    @property
    def position(self) -> int:
        """Bytes consumed so far."""
        return self._base + self._at

    def _error(self, message: str) -> RdbError:
        return RdbError(message, self.position)

    def _take(self, size: int) -> Generator[int, None, bytes]:
        """The next size bytes."""
        while len(self._buffer) - self._at < size:
            yield size
        at = self._at
        self._at = stop = at + size
        return self._buffer[at:stop]

    @staticmethod
    def _small_count(buffer: bytes, at: int) -> tuple[int, int]:
        """The length below 16384 at a place and where it ends; (-1, 0): it is larger or none. Raises IndexError."""
        first = buffer[at]
        if first < 64:
            return first, at + 1
        if first < 128:
            return (first & 63) << 8 | buffer[at + 1], at + 2
        return -1, 0

    def _length(self) -> Generator[int, None, int]:
        """A length; or -1 minus the number of a special string encoding."""
        first = (yield from self._take(1))[0]
        if first < 0x40:
            return first
        if first < 0x80:
            return (first & 0x3F) << 8 | (yield from self._take(1))[0]
        if first >= 0xC0:
            return -1 - (first & 0x3F)
        if first == 0x80:
            return int.from_bytes((yield from self._take(4)), "big")
        if first == 0x81:
            return int.from_bytes((yield from self._take(8)), "big")
        raise self._error(f"unknown length encoding {first:#x}")

    def _count(self) -> Generator[int, None, int]:
        """A length that must be a number."""
        number = yield from self._length()
        if number < 0:
            raise self._error("a string's encoding where a number must be")
        return number

    def _string(self) -> Generator[int, None, bytes]:
        length = yield from self._length()
        if length >= 0:
            return (yield from self._take(length))
        if length == -1:
            return b"%d" % int.from_bytes((yield from self._take(1)), "little", signed=True)
        if length == -2:
            return b"%d" % int.from_bytes((yield from self._take(2)), "little", signed=True)
        if length == -3:
            return b"%d" % int.from_bytes((yield from self._take(4)), "little", signed=True)
        if length == -4:
            size = yield from self._count()
            length = yield from self._count()
            packed = yield from self._take(size)
            return self._expand(packed, length, self._at - size)
        raise self._error(f"unknown string encoding {-1 - length}")

    def _expand(self, packed: bytes, length: int, begin: int) -> bytes:
        """The compressed text that stands at `begin` of the buffer."""
        known = self._memo.get(packed)
        if known is not None and len(known) == length:
            return known
        try:
            text = decompress(packed, length)
        except Corrupt as problem:
            raise RdbError(str(problem), self._base + begin + problem.at) from None
        if len(packed) <= _MEMO_BYTES and len(self._memo) < _MEMO_ENTRIES:
            self._memo[packed] = text
        return text

    def _strings(self, count: int) -> Generator[int, None, list[bytes]]:
        """The next count strings."""
        out: list[bytes] = []
        push = out.append
        while count:
            buffer, at = self._buffer, self._at
            end = len(buffer)
            try:
                while count:
                    length = buffer[at]
                    if length < 64:
                        begin = at + 1
                    elif length < 128:
                        length = (length & 63) << 8 | buffer[at + 1]
                        begin = at + 2
                    else:
                        break
                    stop = begin + length
                    if stop > end:
                        break
                    push(buffer[begin:stop])
                    at = stop
                    count -= 1
            except IndexError:
                pass
            self._at = at
            if count:
                push((yield from self._string()))
                count -= 1
        return out

    def _packed(self, decode: Callable[[bytes], list[bytes]]) -> Generator[int, None, list[bytes]]:
        """A collection in a compact encoding."""
        data = yield from self._string()
        try:
            return decode(data)
        except Corrupt as problem:
            raise self._error(str(problem)) from None
