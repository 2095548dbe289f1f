"""What a target of the fuzzer is, and mutations of bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

INTERESTING = (
    *(b"\0", b"\xff", b"\r\n", b"\n", b"$-1\r\n", b"*-1\r\n", b"$536870912\r\n", b"*2147483647\r\n", b"*1\r\n"),
    *(
        b"9" * 30,
        b"9" * 5000,
        b"-9223372036854775808",
        b"9223372036854775808",
        b"18446744073709551616",
        b"nan",
        b"-inf",
    ),
    *(b"1e309", b"0x10", b"\xc0\x80", b"\x80\xff\xff\xff\xff", b"\x81" + b"\xff" * 8, b" ", b"'", b'"', b"\\x"),
)


@dataclass(frozen=True)
class Target:
    """make: an input from a generator. run: try it. An input is a literal (bytes, strings, numbers, lists, tuples), so
    that it can stand in the corpus. refusals: what `run` may raise.
    """

    make: Callable[[Random], Any]
    run: Callable[[Any], None]
    refusals: tuple[type[BaseException], ...] = ()


def mutated(chance: Random, data: bytes, others: tuple[bytes, ...] = ()) -> bytes:
    """Bytes changed in a few places: flipped, dropped, doubled, cut, or with something nasty put in."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        at = chance.randrange(len(changed) + 1)
        kind = chance.randrange(8)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 1 and at < len(changed):
            changed[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        elif kind == 2:
            del changed[at : at + chance.choice((1, 2, 4, 8, 64))]
        elif kind == 3:
            piece = changed[at : at + chance.choice((1, 2, 8, 64, 256))]
            changed[at:at] = piece * chance.choice((1, 2, 3))
        elif kind == 4:
            changed[at:at] = chance.choice(INTERESTING)
        elif kind == 5:
            word = chance.choice(INTERESTING)
            changed[at : at + len(word)] = word
        elif kind == 6:
            del changed[at:]
        elif others:
            other = chance.choice(others)
            begin = chance.randrange(len(other) + 1)
            changed[at:at] = other[begin : begin + chance.choice((1, 8, 64, 512))]
    return bytes(changed)
