"""The 80-bit floating point of INCRBYFLOAT and HINCRBYFLOAT: 64 bits of precision, exactly as stock servers round.

Python has no such type, so a number here is a whole number times a power of two (mantissa, exponent), always already
rounded to 64 bits. Addition and both conversions are exact integer arithmetic with one rounding (half to even).

    add(parse(b"0.1"), parse(b"0.2"))  ->  b"0.3" when formatted (a double would give 0.30000000000000004)

Source: the x87 extended format (IEEE 754 binary64 extended); formatting is C's "%.17Lf" without trailing zeros.
"""

from __future__ import annotations

import re
from typing import TypeAlias

LongDouble: TypeAlias = tuple[int, int]  # mantissa * 2**exponent

PRECISION = 64
_LARGEST_EXPONENT = 16384  # 2**16384 is the first power of two that does not fit
_SMALLEST_EXPONENT = -16445  # of the last bit of the smallest (subnormal) number
_DECIMAL = re.compile(rb"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]+))?", re.ASCII)
_HEXADECIMAL = re.compile(rb"([+-]?)0[xX]([0-9a-fA-F]*)(?:\.([0-9a-fA-F]*))?(?:[pP]([+-]?[0-9]+))?", re.ASCII)
_INFINITE = re.compile(rb"[+-]?inf(?:inity)?", re.IGNORECASE)
# A decimal exponent beyond these cannot make a finite, non-zero number with the digits that a command may carry.
_FAR = 6000
# Longer spellings are refused before any arithmetic: stock reads numbers into a buffer of this size.
MAX_LENGTH = 5 * 1024


class Infinite(ValueError):
    """The text spells an infinity, or a sum is beyond the largest number."""


def parse(data: bytes) -> LongDouble | None:
    """The number that `data` spells, or None if it spells none (or one out of range). Raises Infinite for "inf"."""
    if len(data) >= MAX_LENGTH:
        return None
    found = _DECIMAL.fullmatch(data)
    if found is not None:
        return _parsed(found, 10)
    found = _HEXADECIMAL.fullmatch(data)
    if found is not None:
        return _parsed(found, 16)
    if _INFINITE.fullmatch(data):
        raise Infinite
    return None


def _parsed(found: re.Match[bytes], base: int) -> LongDouble | None:
    sign, whole, fraction, exponent = found.groups()
    fraction = fraction or b""
    digits = whole + fraction
    if not digits:
        return None
    # Python bounds the length of decimal texts that int() takes; digits of a power-of-two base have no such bound.
    number = int(digits, base) if base == 16 or len(digits) < 4000 else _long(digits)
    if number == 0:
        return (0, 0)
    if sign == b"-":
        number = -number
    shown = (exponent or b"0").lstrip(b"+-0")
    power = int(exponent or b"0") if len(shown) < 9 else (-1 if exponent.startswith(b"-") else 1) * 10**9
    try:
        if base == 16:
            if abs(power) > 8 * _LARGEST_EXPONENT:
                return None
            return _nonzero(rounded(number, 1, power - 4 * len(fraction)))
        power -= len(fraction)
        if power + len(digits) > _FAR or power + len(digits) < -_FAR:
            return None
        if power >= 0:
            return rounded(number * 10**power, 1, 0)
        return _nonzero(rounded(number, 10**-power, 0))
    except Infinite:
        return None


def _long(digits: bytes) -> int:
    value = 0
    for at in range(0, len(digits), 4000):
        part = digits[at : at + 4000]
        value = value * 10 ** len(part) + int(part)
    return value


def _nonzero(value: LongDouble) -> LongDouble | None:
    return value if value[0] else None


def rounded(numerator: int, denominator: int, exponent: int) -> LongDouble:
    """The nearest representable number to numerator / denominator * 2**exponent. Raises Infinite."""
    magnitude = abs(numerator)
    if magnitude == 0:
        return (0, 0)
    # `drop` bits are to go, so that 64 (or, of a subnormal number, fewer) remain.
    drop = magnitude.bit_length() - denominator.bit_length() - PRECISION
    while True:
        last = max(drop, _SMALLEST_EXPONENT - exponent)
        if last >= 0:
            quotient, rest = divmod(magnitude, denominator << last)
            divisor = denominator << last
        else:
            quotient, rest = divmod(magnitude << -last, denominator)
            divisor = denominator
        if quotient.bit_length() <= PRECISION:
            break
        drop += 1
    if 2 * rest > divisor or (2 * rest == divisor and quotient & 1):
        quotient += 1
    exponent += last
    if quotient and quotient.bit_length() + exponent > _LARGEST_EXPONENT:
        raise Infinite
    return (-quotient if numerator < 0 else quotient, exponent)


def add(left: LongDouble, right: LongDouble) -> LongDouble:
    """The rounded sum. Raises Infinite."""
    exponent = min(left[1], right[1])
    total = (left[0] << (left[1] - exponent)) + (right[0] << (right[1] - exponent))
    return rounded(total, 1, exponent)


def from_integer(value: int) -> LongDouble:
    """A 64-bit integer, exactly."""
    return (value, 0)


def text(value: LongDouble) -> bytes:
    """Seventeen digits behind the point, trailing zeros (and a bare point) taken away."""
    mantissa, exponent = value
    scaled = abs(mantissa) * 10**17
    if exponent >= 0:
        scaled <<= exponent
    else:
        divisor = 1 << -exponent
        scaled, rest = divmod(scaled, divisor)
        if 2 * rest > divisor or (2 * rest == divisor and scaled & 1):
            scaled += 1
    whole, fraction = divmod(scaled, 10**17)
    shown = _digits(whole)
    if fraction:
        shown += b"." + (b"%017d" % fraction).rstrip(b"0")
    return b"-" + shown if mantissa < 0 and scaled else shown


def _digits(value: int) -> bytes:
    """Decimal digits, also of numbers beyond Python's bound for one conversion."""
    if value < 10**4000:
        return b"%d" % value
    high, low = divmod(value, 10**4000)
    return b"%d%04000d" % (high, low)
