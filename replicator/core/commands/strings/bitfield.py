"""BITFIELD: integers of any width at any bit of a string.

Source: https://redis.io/docs/latest/commands/bitfield/
"""

from __future__ import annotations

from dataclasses import dataclass

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import DENY_OOM, FAST, READONLY, WRITE, command
from replicator.core.commands.strings.bits import parse_bit_offset
from replicator.core.errors import NOT_AN_INTEGER, SYNTAX, CommandError
from replicator.core.keyspace.database import NOTIFY_STRING
from replicator.core.keyspace.encoding import marked
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_int

_BAD_TYPE = (
    "ERR Invalid bitfield type. Use something like i16 u8. "
    "Note that u64 is not supported but i64 is."
)
_ARGUMENTS = {b"GET": 3, b"SET": 4, b"INCRBY": 4, b"OVERFLOW": 2}


@dataclass(slots=True)
class _Step:
    """One GET, SET or INCRBY: a field's place and shape, the operand, and what an overflow does."""

    name: bytes
    signed: bool
    width: int
    offset: int
    operand: int
    overflow: bytes


@command(
    "bitfield",
    arity=-2,
    flags=WRITE | DENY_OOM,
    keys=(1, 1, 1),
    access="RW",
    group="bitmap",
    since="3.2.0",
    complexity="O(1) for each subcommand specified",
    summary="Perform arbitrary bitfield integer operations on strings",
    categories="bitmap",
    arguments=(
        "key [GET encoding offset | [OVERFLOW WRAP | SAT | FAIL] <SET encoding offset value | INCRBY "
        "encoding offset increment> [GET encoding offset | [OVERFLOW WRAP | SAT | FAIL] <SET encoding "
        "offset value | INCRBY encoding offset increment> ...]]"
    ),
    differs="Copies the whole value once if it writes: O(length of the value).",
)
def bitfield(ctx: Context, argv: list[bytes]) -> bytes:
    """BITFIELD key [GET type offset | OVERFLOW w | SET type offset value | INCRBY type offset increment ...]"""
    steps, _ = _steps(ctx, argv)
    return _bitfield(ctx, argv[1], steps)


@command(
    "bitfield_ro",
    arity=-2,
    flags=READONLY | FAST,
    keys=(1, 1, 1),
    access="RO",
    group="bitmap",
    since="6.0.0",
    complexity="O(1) for each subcommand specified",
    summary="Perform arbitrary bitfield integer operations on strings. Read-only variant of BITFIELD",
    categories="bitmap",
    arguments="key [GET encoding offset [GET encoding offset ...]]",
)
def bitfield_ro(ctx: Context, argv: list[bytes]) -> bytes:
    """BITFIELD_RO key [GET type offset ...]"""
    steps, writes = _steps(ctx, argv)
    if writes:
        raise CommandError("ERR BITFIELD_RO only supports the GET subcommand")
    return _bitfield(ctx, argv[1], steps)


def _steps(ctx: Context, argv: list[bytes]) -> tuple[list[_Step], bool]:
    """The steps, and whether any of them writes. Raises CommandError."""
    steps = []
    overflow = b"WRAP"
    writes = False
    at = 2
    while at < len(argv):
        name = argv[at].upper()
        size = _ARGUMENTS.get(name, 0)
        if not size or at + size > len(argv):
            raise CommandError(SYNTAX)
        if name == b"OVERFLOW":
            overflow = argv[at + 1].upper()
            if overflow not in (b"WRAP", b"SAT", b"FAIL"):
                raise CommandError("ERR Invalid OVERFLOW type specified")
        else:
            signed, width = _shape(argv[at + 1])
            offset = parse_bit_offset(ctx, argv[at + 2], width)
            operand: int | None = 0
            if size == 4:
                writes = True
                operand = parse_int(argv[at + 3])
                if operand is None:
                    raise CommandError(NOT_AN_INTEGER)
            assert operand is not None
            steps.append(_Step(name, signed, width, offset, operand, overflow))
        at += size
    return steps, writes


def _shape(text: bytes) -> tuple[bool, int]:
    width = parse_int(text[1:])
    signed = text[:1] == b"i"
    if text[:1] not in (b"i", b"u") or width is None or not 1 <= width <= (64 if signed else 63):
        raise CommandError(_BAD_TYPE)
    return signed, width


def _bitfield(ctx: Context, key: bytes, steps: list[_Step]) -> bytes:
    db = ctx.db
    writing = [step for step in steps if step.name != b"GET"]
    if writing:
        before = db.for_write(key, bytes) or b""
        # Stock makes room for every field before it looks at any value, even for one that then fails to fit. (It does
        # not tell its replicas if nothing else changes; we do, so that both hold the same.)
        need = max((step.offset + step.width + 7) >> 3 for step in writing)
        data = bytearray(before)
        if need > len(data):
            data.extend(bytes(need - len(data)))
        grown = len(data) != len(before)
    else:
        data = bytearray(b"")
        before = db.string(key) or b""
        grown = False
    answers = []
    changes = 0
    for step in steps:
        if step.name == b"GET":
            answers.append(reply.integer(_read(data if writing else before, step)))
            continue
        old = _read(data, step)
        if step.name == b"SET":
            # Stock takes what is set into an unsigned field as an unsigned number: -1 is the largest one.
            wanted = step.operand if step.signed else step.operand % 2**64
        else:
            wanted = old + step.operand
        new = _fit(wanted, step)
        if new is None:
            answers.append(ctx.null)
            continue
        if new != old or grown:  # every write counts that a longer string was made for
            _write(data, step, new)
            changes += 1
        answers.append(reply.integer(old if step.name == b"SET" else new))
    if writing:
        _keep(ctx, key, bytes(data), changes, grown=grown)
    return reply.array(answers)


def _keep(ctx: Context, key: bytes, made: bytes, changes: int, *, grown: bool) -> None:
    db = ctx.db
    db.put(key, marked(ctx.keyspace, made))
    if changes or grown:
        db.changed(key, b"setbit", NOTIFY_STRING)
        ctx.keyspace.dirty += max(0, changes - 1)


def _read(data: bytes | bytearray, step: _Step) -> int:
    end = step.offset + step.width
    first, last = step.offset >> 3, (end + 7) >> 3
    part = bytes(data[first:last]).ljust(last - first, b"\x00")
    number = int.from_bytes(part, "big") >> (last * 8 - end) & ((1 << step.width) - 1)
    if step.signed and number >> (step.width - 1):
        number -= 1 << step.width
    return number


def _write(data: bytearray, step: _Step, value: int) -> None:
    end = step.offset + step.width
    first, last = step.offset >> 3, (end + 7) >> 3
    shift = last * 8 - end
    mask = ((1 << step.width) - 1) << shift
    number = int.from_bytes(data[first:last], "big") & ~mask | (value << shift) & mask
    data[first:last] = number.to_bytes(last - first, "big")


def _fit(value: int, step: _Step) -> int | None:
    """The value as the field can hold it under its overflow rule, or None where that rule says to fail."""
    low, high = (-(1 << step.width - 1), (1 << step.width - 1) - 1) if step.signed else (0, (1 << step.width) - 1)
    if low <= value <= high:
        return value
    if step.overflow == b"FAIL":
        return None
    if step.overflow == b"SAT":
        return high if value > high else low
    wrapped = value & ((1 << step.width) - 1)
    return wrapped - (1 << step.width) if step.signed and wrapped >> (step.width - 1) else wrapped
