"""HyperLogLog as stock servers keep it in a string: 16384 registers, sparse while that is short, then dense.

A value is a header of 16 bytes and the registers:

    "HYLL"  1 byte encoding (0 dense, 1 sparse)  3 zero bytes  8 bytes cached cardinality, little endian,
    whose highest bit says that it is stale

Dense: 6 bits a register, the lowest bits of a byte first. Sparse: runs of registers, each one opcode:

    00llllll             l + 1 zeros
    01llllll llllllll    l + 1 zeros
    1vvvvvll             l + 1 registers of the value v + 1

The bytes are the same that a stock server arrives at by the same additions, so that digests and dumps agree.

Sources: https://redis.io/docs/latest/develop/data-types/probabilistic/hyperloglogs/ (the format);
O. Ertl, "New cardinality estimation algorithms for HyperLogLog sketches", 2017, algorithm 6 (the estimate);
A. Appleby's MurmurHash64A (the hash).
"""

from __future__ import annotations

from math import inf, sqrt

REGISTERS = 16384
_INDEX_BITS = 14
_RANK_BITS = 50
HEADER = 16
DENSE_SIZE = HEADER + REGISTERS * 6 // 8
DENSE, SPARSE = 0, 1
# The largest value and the longest run of it that a sparse opcode can say.
_SPARSE_VALUE = 32
_SPARSE_RUN = 4
# After a change so many opcodes, from the one before the change on, are tried for joining.
_JOIN_SCAN = 5

EMPTY = b"HYLL\x01" + bytes(11) + b"\x7f\xff"

_SEED = 0xADC83B19
_FACTOR = 0xC6A4A7935BD1E995
_MASK = (1 << 64) - 1

_LOW6 = bytes(b & 63 for b in range(256))
_HIGH2 = bytes(b >> 6 for b in range(256))
_LOW4_UP2 = bytes((b & 15) << 2 for b in range(256))
_HIGH4 = bytes(b >> 4 for b in range(256))
_LOW2_UP4 = bytes((b & 3) << 4 for b in range(256))
_DOWN2 = bytes(b >> 2 for b in range(256))
_LOW2_UP6 = bytes((b & 3) << 6 for b in range(256))
_LOW4_UP4 = bytes((b & 15) << 4 for b in range(256))
_UP2 = bytes((b << 2) & 255 for b in range(256))


class Corrupt(Exception):
    """A sparse value whose runs do not make up 16384 registers."""


class _TooLong(Exception):
    """The sparse form cannot take the change: it must become dense first."""


def is_hyperloglog(value: bytes) -> bool:
    """Whether a string has the header (and, if dense, the length) of a HyperLogLog."""
    if len(value) < HEADER or not value.startswith(b"HYLL") or value[4] > SPARSE:
        return False
    return value[4] == SPARSE or len(value) == DENSE_SIZE


def hash64(data: bytes) -> int:
    """MurmurHash64A with the seed of stock servers."""
    length = len(data)
    value = _SEED ^ (length * _FACTOR & _MASK)
    whole = length & ~7
    for at in range(0, whole, 8):
        word = int.from_bytes(data[at : at + 8], "little") * _FACTOR & _MASK
        word = (word ^ word >> 47) * _FACTOR & _MASK
        value = (value ^ word) * _FACTOR & _MASK
    if length & 7:
        value = (value ^ int.from_bytes(data[whole:], "little")) * _FACTOR & _MASK
    value = (value ^ value >> 47) * _FACTOR & _MASK
    return value ^ value >> 47


def place_of(element: bytes) -> tuple[int, int]:
    """The register that an element concerns and the rank it gives it (1 to 51)."""
    value = hash64(element)
    rest = value >> _INDEX_BITS | 1 << _RANK_BITS
    return value & (REGISTERS - 1), (rest & -rest).bit_length()


class Sketch:
    """One value being changed: registers are raised, then `encoded` gives the new string."""

    __slots__ = ("_limit", "_path", "changed", "header", "payload")

    def __init__(self, value: bytes, sparse_limit: int) -> None:
        self.header = bytearray(value[:HEADER])
        self.payload = bytearray(value[HEADER:])
        self.changed = False
        self._limit = sparse_limit
        self._path: list[tuple[int, int]] = []  # (place in payload, first register) of opcodes passed on the way

    @property
    def dense(self) -> bool:
        """Whether the value has the dense form."""
        return self.header[4] == DENSE

    def encoded(self) -> bytes:
        """The string; the cached cardinality is stale."""
        self.header[15] |= 0x80
        return bytes(self.header + self.payload)

    def make_dense(self) -> None:
        """Change the form; raises Corrupt."""
        if not self.dense:
            self.payload = bytearray(_packed(_sparse_registers(self.payload)))
            self.header[4] = DENSE

    def add(self, element: bytes) -> None:
        """Count an element. Raises Corrupt."""
        self.raise_register(*place_of(element))

    def raise_register(self, index: int, rank: int) -> None:
        """Let the register have at least this value. Raises Corrupt."""
        if not self.dense:
            try:
                self._raise_sparse(index, rank)
                return
            except _TooLong:
                self.make_dense()
        at, shift = divmod(index * 6, 8)
        payload = self.payload
        pair = int.from_bytes(payload[at : at + 2], "little")
        if pair >> shift & 63 < rank:
            pair = pair & ~(63 << shift) | rank << shift
            payload[at : at + 2] = pair.to_bytes(2, "little")[: len(payload) - at]
            self.changed = True

    def _raise_sparse(self, index: int, rank: int) -> None:
        if rank > _SPARSE_VALUE:
            raise _TooLong
        payload, path = self.payload, self._path
        at = first = 0
        while path:
            at, first = path.pop()
            if first <= index:
                break
        else:
            at = first = 0
        # The one loop that long sparse values spend their time in, hence not by way of _opcode.
        try:
            while True:
                byte = payload[at]
                if byte >= 0x80:
                    run, size = (byte & 3) + 1, 1
                elif byte < 0x40:
                    run, size = byte + 1, 1
                else:
                    run, size = ((byte & 63) << 8 | payload[at + 1]) + 1, 2
                if index < first + run:
                    break
                path.append((at, first))
                at += size
                first += run
        except IndexError:
            raise Corrupt from None
        value = (byte >> 2 & 31) + 1 if byte >= 0x80 else 0
        if value >= rank:
            path.append((at, first))
            return
        before, after = index - first, first + run - index - 1
        made = _run(value, before) + _run(rank, 1) + _run(value, after)
        if len(made) > size and HEADER + len(payload) + len(made) - size > self._limit:
            raise _TooLong
        payload[at : at + size] = made
        self.changed = True
        # The opcode before the change may be joined with it, so the way is known only up to that one.
        self._join(path.pop()[0] if path else 0)

    def _join(self, at: int) -> None:
        """Join neighbouring runs of one value, from the opcode at `at` on."""
        payload = self.payload
        for _ in range(_JOIN_SCAN):
            if at + 1 >= len(payload):
                break
            opcode = payload[at]
            if opcode < 0x40:
                at += 1
            elif opcode < 0x80:
                at += 2
            else:
                following = payload[at + 1]
                joined = (opcode & 3) + (following & 3) + 2
                if following >= 0x80 and (opcode ^ following) & 0x7C == 0 and joined <= _SPARSE_RUN:
                    payload[at : at + 2] = bytes((opcode & 0xFC | joined - 1,))
                else:
                    at += 1


def _opcode(payload: bytes | bytearray, at: int) -> tuple[int, int, int]:
    """The opcode's value (0: zeros), how many registers it covers, and its size in bytes."""
    byte = payload[at]
    if byte >= 0x80:
        return (byte >> 2 & 31) + 1, (byte & 3) + 1, 1
    if byte < 0x40:
        return 0, byte + 1, 1
    if at + 1 >= len(payload):
        raise Corrupt
    return 0, ((byte & 63) << 8 | payload[at + 1]) + 1, 2


def _run(value: int, length: int) -> bytes:
    if length == 0:
        return b""
    if value:
        return bytes((0x80 | value - 1 << 2 | length - 1,))
    if length <= 64:
        return bytes((length - 1,))
    return bytes((0x40 | length - 1 >> 8, length - 1 & 255))


def runs(value: bytes) -> list[tuple[int, int, int]]:
    """The opcodes of a sparse value: (value, length, size in bytes). Raises Corrupt."""
    found = []
    at = HEADER
    while at < len(value):
        opcode = _opcode(value, at)
        found.append(opcode)
        at += opcode[2]
    return found


def registers(value: bytes) -> bytes:
    """All registers, one byte each. Raises Corrupt."""
    if value[4] == SPARSE:
        return _sparse_registers(value[HEADER:])
    low, middle, high = value[HEADER::3], value[HEADER + 1 :: 3], value[HEADER + 2 :: 3]
    found = bytearray(REGISTERS)
    found[0::4] = low.translate(_LOW6)
    found[1::4] = _either(low.translate(_HIGH2), middle.translate(_LOW4_UP2))
    found[2::4] = _either(middle.translate(_HIGH4), high.translate(_LOW2_UP4))
    found[3::4] = high.translate(_DOWN2)
    return bytes(found)


def _sparse_registers(payload: bytes | bytearray) -> bytes:
    parts = []
    at = total = 0
    while at < len(payload):
        value, run, size = _opcode(payload, at)
        total += run
        if total > REGISTERS:
            raise Corrupt
        parts.append(bytes((value,)) * run)
        at += size
    if total != REGISTERS:
        raise Corrupt
    return b"".join(parts)


def _packed(values: bytes) -> bytes:
    first, second, third, fourth = (values[at::4] for at in range(4))
    payload = bytearray(REGISTERS * 6 // 8)
    payload[0::3] = _either(first, second.translate(_LOW2_UP6))
    payload[1::3] = _either(second.translate(_DOWN2), third.translate(_LOW4_UP4))
    payload[2::3] = _either(third.translate(_HIGH4), fourth.translate(_UP2))
    return bytes(payload)


def _either(left: bytes, right: bytes) -> bytes:
    """Byte by byte the bits of both."""
    return (int.from_bytes(left, "little") | int.from_bytes(right, "little")).to_bytes(len(left), "little")


_HIGH_BITS = int.from_bytes(b"\x80" * REGISTERS, "little")
_OTHER_BITS = int.from_bytes(b"\x7f" * REGISTERS, "little")


def largest(left: bytes, right: bytes) -> bytes:
    """Register by register the larger value, all at once: values have no high bit, so a subtraction below an extra one
    leaves that bit exactly where left is not smaller, and never borrows from the next byte."""
    first, second = int.from_bytes(left, "little"), int.from_bytes(right, "little")
    not_smaller = ((first | _HIGH_BITS) - second) & _HIGH_BITS
    mask = not_smaller - (not_smaller >> 7)
    return (first & mask | second & (mask ^ _OTHER_BITS)).to_bytes(REGISTERS, "little")


def cached_count(value: bytes) -> int | None:
    """The cardinality that the value carries, or None if it is stale."""
    return None if value[15] & 0x80 else int.from_bytes(value[8:16], "little")


def with_count(value: bytes, count: int) -> bytes:
    """The value with this cardinality cached."""
    return value[:8] + count.to_bytes(8, "little") + value[HEADER:]


def estimate(values: bytes) -> int:
    """The estimated cardinality of registers (one byte each)."""
    m = float(REGISTERS)
    total = m * _tau((m - values.count(_RANK_BITS + 1)) / m)
    for rank in range(_RANK_BITS, 0, -1):
        total = 0.5 * (total + values.count(rank))
    total += m * _sigma(values.count(0) / m)
    if total == inf:
        return 0
    return int(0.721347520444481703680 * m * m / total + 0.5)


def _sigma(x: float) -> float:
    if x == 1.0:
        return inf
    y, z = 1.0, x
    while True:
        x *= x
        before = z
        z += x * y
        y += y
        if before == z:
            return z


def _tau(x: float) -> float:
    if x in (0.0, 1.0):
        return 0.0
    y, z = 1.0, 1 - x
    while True:
        x = sqrt(x)
        before = z
        y *= 0.5
        z -= (1 - x) ** 2 * y
        if before == z:
            return z / 3
