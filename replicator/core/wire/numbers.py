"""Numbers as the protocol writes and reads them (strict where stock is strict)."""

from __future__ import annotations

import math
import re

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1


def parse_int(data: bytes) -> int | None:
    """The signed 64-bit integer that `data` spells canonically (no plus, no spaces, no leading zeros), or None."""
    if data.isdigit() and len(data) < 19 and data[0] != 0x30:
        return int(data)
    try:
        value = int(data)
    except ValueError:
        return None
    if b"%d" % value != data or not INT64_MIN <= value <= INT64_MAX:
        return None
    return value


_LEADING_INT = re.compile(rb"[ \t\n\v\f\r]*([+-]?[0-9]+)")


def c_int(data: bytes) -> int:
    """What C's atoi makes of it: the digits that it begins with, as an int of 32 bits; 0 if there are none."""
    found = _LEADING_INT.match(data)
    if found is None:
        return 0
    digits = found[1]
    if len(digits) > 20:
        value = INT64_MIN if digits[:1] == b"-" else INT64_MAX
    else:
        value = max(INT64_MIN, min(INT64_MAX, int(digits)))
    return (value + 2**31) % 2**32 - 2**31


def parse_float(data: bytes) -> float | None:
    """The float that `data` spells (decimal, exponent, inf, hexadecimal as strtod does); None: nan or no number."""
    if not data or data[:1].isspace() or data[-1:].isspace() or b"_" in data or b"\x00" in data:
        return None
    try:
        value = float(data)
    except ValueError:
        if data.lstrip(b"+-")[:2] not in (b"0x", b"0X"):
            return None  # fromhex would take bare hexadecimal digits ("abc")
        try:
            value = float.fromhex(data.decode("ascii"))
        except (ValueError, UnicodeDecodeError, OverflowError):
            return None
    return None if math.isnan(value) else value


def format_float(value: float) -> bytes:
    """A double with 17 significant digits, as Redis 7.0 prints scores: 3 -> b"3", 0.1 -> b"0.10000000000000001"."""
    if -(10**17) < value < 10**17 and value == int(value):  # whole numbers in long's range print without exponent
        if value == 0 and math.copysign(1.0, value) < 0:
            return b"-0"
        return b"%d" % int(value)
    if math.isinf(value):
        return b"inf" if value > 0 else b"-inf"
    return b"%.17g" % value
