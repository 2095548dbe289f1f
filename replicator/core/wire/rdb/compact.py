"""The compact encodings of small collections: ziplist, zipmap, intset and listpack. Each is one RDB string.

All functions raise Corrupt, and nothing else, for bytes that are none of these.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from replicator.core.wire.rdb.format import Corrupt

_SMALL = tuple(b"%d" % n for n in range(128))
_HEADER = struct.Struct("<IIH")
_INTSET_CODES = {2: "h", 4: "i", 8: "q"}
_UNKNOWN_COUNT = 0xFFFF


def _signed(data: bytes) -> bytes:
    return b"%d" % int.from_bytes(data, "little", signed=True)


def read_ziplist(data: bytes) -> list[bytes]:
    """The elements of a ziplist (size, offset of the last entry, count; entries; 255); numbers as their digits."""
    if len(data) < 11:
        raise Corrupt("ziplist is cut short")
    size, _, count = _HEADER.unpack_from(data)
    end = len(data) - 1
    if size != len(data) or data[end] != 255:
        raise Corrupt("ziplist has not the size it claims")
    out: list[bytes] = []
    at = 10
    try:
        while at < end:
            at += 1 if data[at] < 254 else 5
            mark = data[at]
            at += 1
            if mark < 0xC0:
                if mark < 0x40:
                    length = mark
                elif mark < 0x80:
                    length = (mark & 0x3F) << 8 | data[at]
                    at += 1
                else:
                    length = int.from_bytes(data[at : at + 4], "big")
                    at += 4
                out.append(data[at : at + length])
                at += length
            elif 0xF1 <= mark <= 0xFD:
                out.append(_SMALL[mark - 0xF1])
            else:
                width = _ZIPLIST_WIDTHS.get(mark)
                if width is None:
                    raise Corrupt("ziplist has an entry of unknown encoding")
                out.append(_signed(data[at : at + width]))
                at += width
    except IndexError:
        raise Corrupt("ziplist is cut short") from None
    if at != end or (count != _UNKNOWN_COUNT and count != len(out)):
        raise Corrupt("ziplist has not the entries it claims")
    return out


_ZIPLIST_WIDTHS = {0xC0: 2, 0xD0: 4, 0xE0: 8, 0xF0: 3, 0xFE: 1}


def read_zipmap(data: bytes) -> list[bytes]:
    """Fields and values, alternating, of a zipmap (count; length, field, length, unused bytes, value ...; 255)."""
    end = len(data) - 1
    if end < 1 or data[end] != 255:
        raise Corrupt("zipmap has no end")
    out: list[bytes] = []
    at = 1
    try:
        while at < end:
            unused = 0
            length = data[at]
            at += 1
            if length == 254:
                length = int.from_bytes(data[at : at + 4], "little")
                at += 4
            elif length == 255:
                raise Corrupt("zipmap ends inside")
            if len(out) & 1:
                unused = data[at]
                at += 1
            out.append(data[at : at + length])
            at += length + unused
    except IndexError:
        raise Corrupt("zipmap is cut short") from None
    if at != end or len(out) & 1:
        raise Corrupt("zipmap has not the entries it claims")
    return out


def read_intset(data: bytes) -> list[bytes]:
    """The members of an intset (width, count, sorted integers), as their digits."""
    if len(data) < 8:
        raise Corrupt("intset is cut short")
    width = int.from_bytes(data[:4], "little")
    count = int.from_bytes(data[4:8], "little")
    code = _INTSET_CODES.get(width)
    if code is None or len(data) != 8 + width * count:
        raise Corrupt("intset has not the size it claims")
    return [b"%d" % number for number in struct.unpack_from(f"<{count}{code}", data, 8)]


def read_listpack(data: bytes) -> list[bytes]:
    """The elements of a listpack (size, count; entries, each followed by its own length; 255); numbers as digits."""
    end = len(data) - 1
    if end < 6 or int.from_bytes(data[:4], "little") != len(data) or data[end] != 255:
        raise Corrupt("listpack has not the size it claims")
    out: list[bytes] = []
    push = out.append
    at = 6
    while at < end:
        mark = data[at]
        if mark < 0x80:
            push(_SMALL[mark])
            at += 2
        elif mark < 0xC0:
            stop = at + 1 + (mark & 0x3F)
            push(data[at + 1 : stop])
            at = stop + 1
        elif mark < 0xE0:
            number = (mark & 0x1F) << 8 | data[at + 1]
            push(b"%d" % (number if number < 4096 else number - 8192))
            at += 3
        elif mark < 0xF0:
            length = (mark & 0x0F) << 8 | data[at + 1]
            stop = at + 2 + length
            push(data[at + 2 : stop])
            at = stop + _back_size(2 + length)
        elif mark == 0xF0:
            length = int.from_bytes(data[at + 1 : at + 5], "little")
            stop = at + 5 + length
            push(data[at + 5 : stop])
            at = stop + _back_size_at(data, stop, 5 + length)
        elif mark <= 0xF4:
            width = _LISTPACK_WIDTHS[mark - 0xF1]
            push(_signed(data[at + 1 : at + 1 + width]))
            at += width + 2
        else:
            raise Corrupt("listpack has an entry of unknown encoding")
    count = int.from_bytes(data[4:6], "little")
    if at != end or (count != _UNKNOWN_COUNT and count != len(out)):
        raise Corrupt("listpack has not the entries it claims")
    return out


_LISTPACK_WIDTHS = (2, 3, 4, 8)


# Lengths that fill all bits of two, three, four bytes: Redis gives them one byte more, Valkey 9.1 does not, and neither
# loads what the other wrote of them.
_FULL = (16383, 2097151, 268435455)


def _back_size(length: int, *, valkey: bool = False) -> int:
    """How many bytes the length of an entry takes behind it."""
    if length <= 127:
        return 1
    if length in _FULL and not valkey:
        length += 1
    if length <= 16383:
        return 2
    if length <= 2097151:
        return 3
    return 4 if length <= 268435455 else 5


def _back_size_at(data: bytes, at: int, length: int) -> int:
    """The same, whoever wrote them: of a full length only Valkey's form begins with the byte 127."""
    return _back_size(length, valkey=data[at : at + 1] == b"\x7f")


def write_listpack(elements: Iterable[bytes | int], *, valkey: bool = False) -> bytes:
    """A listpack of strings and of integers (64 bits, signed), each in its shortest encoding.

    valkey: for a reader that is Valkey 9; it matters for strings of 16378 bytes (and two greater lengths).
    """
    parts: list[bytes] = []
    for element in elements:
        encoded = _listpack_entry(element)
        length = len(encoded)
        parts += (encoded, _BACK[length] if length <= 127 else _back(length, valkey))
    body = b"".join(parts)
    count = min(len(parts) // 2, _UNKNOWN_COUNT)
    return b"%b%b%b\xff" % ((len(body) + 7).to_bytes(4, "little"), count.to_bytes(2, "little"), body)


_BACK = tuple(bytes((n,)) for n in range(128))


def _back(length: int, valkey: bool) -> bytes:
    size = _back_size(length, valkey=valkey)
    groups = [(length >> 7 * place & 127) | 128 for place in range(size - 1, -1, -1)]
    groups[0] &= 127
    return bytes(groups)


def _listpack_entry(element: bytes | int) -> bytes:
    if isinstance(element, bytes):
        length = len(element)
        if length < 64:
            return b"%c%b" % (0x80 | length, element)
        if length < 4096:
            return b"%c%c%b" % (0xE0 | length >> 8, length & 0xFF, element)
        return b"\xf0%b%b" % (length.to_bytes(4, "little"), element)
    if 0 <= element < 128:
        return _BACK[element]
    if -4096 <= element < 4096:
        number = element & 0x1FFF
        return bytes((0xC0 | number >> 8, number & 0xFF))
    for place, width in enumerate(_LISTPACK_WIDTHS):
        if -(1 << 8 * width - 1) <= element < 1 << 8 * width - 1:
            return bytes((0xF1 + place,)) + element.to_bytes(width, "little", signed=True)
    raise OverflowError("listpack integers have 64 bits")
