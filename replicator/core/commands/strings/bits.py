"""Strings as arrays of bits: SETBIT, GETBIT, BITCOUNT, BITPOS and BITOP. Bit 0 is the highest bit of the first byte.

Source: https://redis.io/docs/latest/develop/data-types/bitmaps/
"""

from __future__ import annotations

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import DENY_OOM, FAST, READONLY, WRITE, command
from replicator.core.commands.strings.ranges import overwrite
from replicator.core.errors import NOT_AN_INTEGER, SYNTAX, CommandError
from replicator.core.keyspace.database import NOTIFY_GENERIC, NOTIFY_STRING, WrongType
from replicator.core.keyspace.encoding import EMBEDDED, marked
from replicator.core.wire import reply
from replicator.core.wire.numbers import INT64_MAX, parse_int

_BAD_OFFSET = "ERR bit offset is not an integer or out of range"


def parse_bit_offset(ctx: Context, text: bytes, width: int = 0) -> int:
    """A bit's place; "#n" means n times `width` where a width is given. Raises CommandError."""
    counted = width > 0 and text[:1] == b"#"
    offset = parse_int(text[1:] if counted else text)
    if offset is None or offset < 0:
        raise CommandError(_BAD_OFFSET)
    if counted:
        offset *= width
    if offset > INT64_MAX or offset >> 3 >= ctx.server.config["proto-max-bulk-len"]:
        raise CommandError(_BAD_OFFSET)
    return offset


@command(
    "setbit",
    arity=4,
    flags=WRITE | DENY_OOM,
    keys=(1, 1, 1),
    access="RW",
    group="bitmap",
    since="2.2.0",
    complexity="O(1)",
    summary="Sets or clears the bit at offset in the string value stored at key",
    categories="bitmap",
    arguments="key offset value",
    differs="Copies the whole value if the bit changes: O(length of the value).",
)
def setbit(ctx: Context, argv: list[bytes]) -> bytes:
    """SETBIT key offset value"""
    offset = parse_bit_offset(ctx, argv[2])
    if argv[3] not in (b"0", b"1"):
        raise CommandError("ERR bit is not an integer or out of range")
    db = ctx.db
    key = argv[1]
    value = db.for_write(key, bytes) or b""
    at, mask = offset >> 3, 0x80 >> (offset & 7)
    before = value[at] if at < len(value) else 0
    after = before | mask if argv[3] == b"1" else before & ~mask
    if after != before or at >= len(value):
        db.put(key, marked(ctx.keyspace, overwrite(value, at, bytes((after,)))))
        db.changed(key, b"setbit", NOTIFY_STRING)
    elif len(value) <= EMBEDDED:
        # Nothing has changed but the encoding.
        db.put(key, marked(ctx.keyspace, value))
    return reply.ONE if before & mask else reply.ZERO


@command(
    "getbit",
    arity=3,
    flags=READONLY | FAST,
    keys=(1, 1, 1),
    access="RO",
    group="bitmap",
    since="2.2.0",
    complexity="O(1)",
    summary="Returns the bit value at offset in the string value stored at key",
    categories="bitmap",
    arguments="key offset",
)
def getbit(ctx: Context, argv: list[bytes]) -> bytes:
    """GETBIT key offset"""
    offset = parse_bit_offset(ctx, argv[2])
    value = ctx.db.string(argv[1])
    at = offset >> 3
    if value is None or at >= len(value):
        return reply.ZERO
    return reply.ONE if value[at] & (0x80 >> (offset & 7)) else reply.ZERO


def _counts_bits(word: bytes) -> bool:
    """Whether a range is given in bits; raises CommandError."""
    unit = word.upper()
    if unit not in (b"BIT", b"BYTE"):
        raise CommandError(SYNTAX)
    return unit == b"BIT"


def _range(argv: list[bytes], at: int) -> tuple[int, int | None, bool]:
    """start, end (None: not given) and whether they count bits, from argv[at:]."""
    start = parse_int(argv[at])
    if start is None:
        raise CommandError(NOT_AN_INTEGER)
    end: int | None = None
    bits = False
    if len(argv) > at + 1:
        if len(argv) > at + 2:
            bits = _counts_bits(argv[at + 2])
        end = parse_int(argv[at + 1])
        if end is None:
            raise CommandError(NOT_AN_INTEGER)
    return start, end, bits


def _clip(start: int, end: int, size: int) -> tuple[int, int]:
    """Negative places counted from the end, both made to fit; start > end means empty."""
    start = max(0, start + size) if start < 0 else start
    end = max(0, end + size) if end < 0 else end
    return start, min(end, size - 1)


@command(
    "bitcount",
    arity=-2,
    flags=READONLY,
    keys=(1, 1, 1),
    access="RO",
    group="bitmap",
    since="2.6.0",
    complexity="O(N)",
    summary="Count set bits in a string",
    categories="bitmap",
    arguments="key [start end [BYTE | BIT]]",
    history=(("7.0.0", "Added the `BYTE|BIT` option."),),
)
def bitcount(ctx: Context, argv: list[bytes]) -> bytes:
    """BITCOUNT key [start end [BYTE | BIT]]"""
    value = ctx.db.string(argv[1])
    if value is None:
        return reply.ZERO
    if len(argv) == 2:
        return reply.integer(int.from_bytes(value, "big").bit_count())
    if len(argv) not in (4, 5):
        raise CommandError(SYNTAX)
    start, end = parse_int(argv[2]), parse_int(argv[3])
    if start is None or end is None:
        raise CommandError(NOT_AN_INTEGER)
    if start < 0 and end < 0 and start > end:
        return reply.ZERO
    bits = len(argv) == 5 and _counts_bits(argv[4])
    start, end = _clip(start, end, len(value) * 8 if bits else len(value))
    if start > end:
        return reply.ZERO
    if not bits:
        return reply.integer(int.from_bytes(value[start : end + 1], "big").bit_count())
    return reply.integer(_bits_between(value, start, end).bit_count())


def _bits_between(value: bytes, start: int, end: int) -> int:
    """Bits start to end (both included) as a number whose lowest bit is bit `end`."""
    number = int.from_bytes(value[start >> 3 : (end >> 3) + 1], "big") >> (7 - (end & 7))
    return number & ((1 << (end - start + 1)) - 1)


@command(
    "bitpos",
    arity=-3,
    flags=READONLY,
    keys=(1, 1, 1),
    access="RO",
    group="bitmap",
    since="2.8.7",
    complexity="O(N)",
    summary="Find first bit set or clear in a string",
    categories="bitmap",
    arguments="key bit [start [end [BYTE | BIT]]]",
    history=(("7.0.0", "Added the `BYTE|BIT` option."),),
)
def bitpos(ctx: Context, argv: list[bytes]) -> bytes:
    """BITPOS key bit [start [end [BYTE | BIT]]]"""
    bit = parse_int(argv[2])
    if bit is None:
        raise CommandError(NOT_AN_INTEGER)
    if bit not in (0, 1):
        raise CommandError("ERR The bit argument must be 1 or 0.")
    value = ctx.db.string(argv[1])
    if value is None:
        return reply.integer(-1 if bit else 0)
    if len(argv) > 6:
        raise CommandError(SYNTAX)
    start, given_end, bits = _range(argv, 3) if len(argv) > 3 else (0, None, False)
    size = len(value) * 8 if bits else len(value)
    start, end = _clip(start, size - 1 if given_end is None else given_end, size)
    if start > end:
        return reply.integer(-1)
    if not bits:
        start, end = start * 8, end * 8 + 7
    found = _first_bit(value, bit, start, end)
    if found < 0 and bit == 0 and given_end is None:
        # Without an end the string is thought to go on with zeros.
        found = len(value) * 8
    return reply.integer(found)


def _first_bit(value: bytes, bit: int, start: int, end: int) -> int:
    """The first place of such a bit between start and end (both included), or -1."""
    dull = b"\x00" if bit else b"\xff"
    first, last = start >> 3, end >> 3
    head = value[first] & (0xFF >> (start & 7)) if bit else value[first] | ~(0xFF >> (start & 7)) & 0xFF
    if head != dull[0]:
        at, byte = first, head
    else:
        rest = value[first + 1 : last + 1]
        skipped = len(rest) - len(rest.lstrip(dull))
        at = first + 1 + skipped
        if at > last:
            return -1
        byte = value[at]
    lead = 8 - (byte if bit else byte ^ 0xFF).bit_length()
    place = at * 8 + lead
    return place if place <= end else -1


@command(
    "bitop",
    arity=-4,
    flags=WRITE | DENY_OOM,
    keys=(2, -1, 1),
    access="OW",
    group="bitmap",
    since="2.6.0",
    complexity="O(N)",
    summary="Perform bitwise operations between strings",
    categories="bitmap",
    arguments="operation destkey key [key ...]",
)
def bitop(ctx: Context, argv: list[bytes]) -> bytes:
    """BITOP operation destkey key [key ...]"""
    operation = argv[1].upper()
    if operation not in (b"AND", b"OR", b"XOR", b"NOT"):
        raise CommandError(SYNTAX)
    if operation == b"NOT" and len(argv) != 4:
        raise CommandError("ERR BITOP NOT must be called with a single source key.")
    db = ctx.db
    sources = []
    for key in argv[3:]:
        value = db.lookup(key)
        if value is not None and type(value) is not bytes:
            raise WrongType
        sources.append(value or b"")
    target = argv[2]
    size = max(map(len, sources))
    if size == 0:
        if db.find(target) is not None:
            db.remove(target)
            db.changed(target, b"del", NOTIFY_GENERIC)
        return reply.ZERO
    db.store(target, marked(ctx.keyspace, _combine(operation, sources, size)))
    db.changed(target, b"set", NOTIFY_STRING)
    return reply.integer(size)


def _combine(operation: bytes, sources: list[bytes], size: int) -> bytes:
    """The bitwise combination; shorter sources are padded with zeros at their end."""
    numbers = [int.from_bytes(source, "little") for source in sources]
    result = numbers[0]
    if operation == b"NOT":
        result ^= (1 << 8 * size) - 1
    for number in numbers[1:]:
        if operation == b"AND":
            result &= number
        elif operation == b"OR":
            result |= number
        else:
            result ^= number
    return result.to_bytes(size, "little")
