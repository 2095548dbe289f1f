"""LZF, the compression of RDB strings.

A control byte below 32 is followed by that many plus one literal bytes. Any other names bytes already written: its top
three bits are the length minus two (7: another byte of length follows), the rest and the next byte the distance minus
one.
"""

from __future__ import annotations

from replicator.core.wire.rdb.format import Corrupt

_MAX_DISTANCE = 1 << 13
_MAX_MATCH = 264
_MAX_LITERAL = 32
# Three bytes of a longest match stand for 264: no honest length claims more.
_MAX_RATIO = 88


def decompress(data: bytes, length: int) -> bytes:
    """The `length` bytes that data stands for. Raises Corrupt when it does not stand for exactly that many."""
    if length > len(data) * _MAX_RATIO:
        raise Corrupt("compressed data cannot have the length it claims")
    out = bytearray()
    at, end = 0, len(data)
    try:
        while at < end:
            control = data[at]
            at += 1
            if control < _MAX_LITERAL:
                stop = at + control + 1
                if stop > end:
                    raise Corrupt("compressed data is cut short", at)
                out += data[at:stop]
                at = stop
            else:
                size = control >> 5
                if size == 7:
                    size += data[at]
                    at += 1
                size += 2
                source = len(out) - ((control & 31) << 8) - data[at] - 1
                at += 1
                if source < 0:
                    raise Corrupt("compressed data points before its begin", at)
                if source + size <= len(out):
                    out += out[source : source + size]
                else:
                    pattern = out[source:]
                    out += (pattern * (size // len(pattern) + 1))[:size]
            if len(out) > length:
                raise Corrupt("compressed data is longer than it claims", at)
    except IndexError:
        raise Corrupt("compressed data is cut short", end) from None
    if len(out) != length:
        raise Corrupt("compressed data is shorter than it claims", end)
    return bytes(out)


def repetitive(data: bytes) -> bool:
    """Whether half of the data, or more, are repetitions of its last eight bytes (padding, fill patterns, test data).

    Only then is compression worth its time here: a few bytes of ordinary text cost as much as a whole key written
    plainly.
    """
    tail = data[-8:]
    return data.find(tail) != len(data) - 8 and 16 * data.count(tail) >= len(data)


def compress(data: bytes) -> bytes | None:
    """data compressed, or None where that would not make it shorter by four bytes at least."""
    limit = len(data) - 4
    if limit <= 0:
        return None
    out = bytearray()
    seen: dict[bytes, int] = {}
    literal = at = 0
    last = len(data) - 2
    while at < last:
        triple = data[at : at + 3]
        source = seen.get(triple)
        seen[triple] = at
        if source is None or at - source > _MAX_DISTANCE:
            at += 1
            continue
        size = _match(data, source, at)
        _put_literal(out, data, literal, at)
        distance = at - source - 1
        if size < 9:
            out.append((size - 2) << 5 | distance >> 8)
        else:
            out.append(7 << 5 | distance >> 8)
            out.append(size - 9)
        out.append(distance & 0xFF)
        for place in range(max(at + 1, at + size - 2), min(at + size, last)):
            seen[data[place : place + 3]] = place
        at += size
        literal = at
        if len(out) > limit:
            return None
    _put_literal(out, data, literal, len(data))
    return bytes(out) if len(out) <= limit else None


def _match(data: bytes, source: int, at: int) -> int:
    """How many bytes (3 to the longest match) agree from the two places on."""
    longest = min(_MAX_MATCH, len(data) - at)
    size = 3
    while size + 8 <= longest and data[source + size : source + size + 8] == data[at + size : at + size + 8]:
        size += 8
    while size < longest and data[source + size] == data[at + size]:
        size += 1
    return size


def _put_literal(out: bytearray, data: bytes, start: int, stop: int) -> None:
    for begin in range(start, stop, _MAX_LITERAL):
        end = min(begin + _MAX_LITERAL, stop)
        out.append(end - begin - 1)
        out += data[begin:end]
