"""Arithmetic of the 80-bit extended double, in which stock servers on x86-64 compute INCRBYFLOAT and HINCRBYFLOAT.

A finite number is a pair (mantissa, exponent) that stands for mantissa * 2**exponent; results are rounded to 64 bits of
mantissa, ties to even, as the processor does. Text comes out as printf's "%.17Lf" without the zeros at its end.

Sources: ISO C strtold and printf; the x87 extended precision format (64-bit mantissa, exponents -16445 to 16383).
"""

from __future__ import annotations

import re
from typing import TypeAlias

from replicator.core.wire.numbers import INT64_MAX

Finite: TypeAlias = tuple[int, int]

MANTISSA_BITS = 64
MAX_EXPONENT = 16384  # a magnitude of 2**16384 or more is infinite
MIN_QUANTUM = -16445  # the smallest step, of denormal numbers
MAX_TEXT = 5 * 1024  # stock's buffer: longer text is no number
# Decimal exponents beyond which a number is certainly infinite, or certainly zero.
_CERTAINLY_INFINITE = 4940
_CERTAINLY_ZERO = -4990

_DECIMAL = re.compile(rb"([+-]?)(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))(?:[eE]([+-]?[0-9]+))?", re.ASCII)
_HEXADECIMAL = re.compile(
    rb"([+-]?)0[xX](?:([0-9a-fA-F]+)(?:\.([0-9a-fA-F]*))?|\.([0-9a-fA-F]+))(?:[pP]([+-]?[0-9]+))?", re.ASCII
)
_INFINITE = re.compile(rb"([+-]?)inf(?:inity)?", re.IGNORECASE | re.ASCII)


class Infinite(Exception):
    """The number that was read, or the result, is infinite."""


def _round(mantissa: int, exponent: int) -> Finite:
    """To 64 bits, ties to even; raises Infinite."""
    drop = max(mantissa.bit_length() - MANTISSA_BITS, MIN_QUANTUM - exponent)
    if drop > 0:
        sign, size = (-1, -mantissa) if mantissa < 0 else (1, mantissa)
        kept, rest = size >> drop, size & ((1 << drop) - 1)
        half = 1 << (drop - 1)
        if rest > half or (rest == half and kept & 1):
            kept += 1
        mantissa, exponent = sign * kept, exponent + drop
    if mantissa.bit_length() + exponent > MAX_EXPONENT:
        raise Infinite
    return mantissa, exponent


def parse(data: bytes) -> Finite | None:
    """The number that `data` spells as strtold takes it, or None (no number, or not zero yet too small for any digit).

    Raises Infinite for "inf"; a decimal number too large is None, as stock refuses it.
    """
    if len(data) >= MAX_TEXT:
        return None
    if len(data) < 19 and data.isdigit():
        return int(data), 0
    try:
        if match := _DECIMAL.fullmatch(data):
            return _decimal(*match.groups(b""))
        if match := _HEXADECIMAL.fullmatch(data):
            return _hexadecimal(*match.groups(b""))
    except Infinite:
        return None
    if _INFINITE.fullmatch(data):
        raise Infinite
    return None


def _decimal(sign: bytes, whole: bytes, fraction: bytes, bare: bytes, power: bytes) -> Finite | None:
    fraction = fraction or bare
    # By halves, because int() takes at most 4300 digits at once and text may have a few more.
    digits = int(whole or b"0") * 10 ** len(fraction) + int(fraction or b"0") if len(whole) < 4300 > len(fraction) else None
    if digits is None:
        text = whole + fraction
        half = len(text) // 2
        digits = int(text[:half] or b"0") * 10 ** (len(text) - half) + int(text[half:])
    if digits == 0:
        return 0, 0
    exponent = _small_int(power) - len(fraction)
    size = len(whole) + len(fraction) + exponent  # an upper bound of the decimal exponent
    leading = len(whole + fraction) - len((whole + fraction).lstrip(b"0"))
    if size - leading > _CERTAINLY_INFINITE:
        raise Infinite
    if size - leading < _CERTAINLY_ZERO:
        return None
    if sign == b"-":
        digits = -digits
    if exponent >= 0:
        return _round(digits * 10**exponent, 0)
    divisor = 10**-exponent
    shift = max(0, MANTISSA_BITS + 2 + divisor.bit_length() - digits.bit_length())
    quotient, rest = divmod(abs(digits) << shift, divisor)
    quotient = quotient << 1 | (rest != 0)
    number = _round(-quotient if digits < 0 else quotient, -shift - 1)
    return number if number[0] else None


def _hexadecimal(sign: bytes, whole: bytes, fraction: bytes, bare: bytes, power: bytes) -> Finite | None:
    fraction = fraction or bare
    digits = int(whole + fraction, 16)
    if digits == 0:
        return 0, 0
    exponent = _small_int(power) - 4 * len(fraction)
    size = digits.bit_length() + exponent
    if size > MAX_EXPONENT + 1:
        raise Infinite
    if size < MIN_QUANTUM - 1:
        return None
    number = _round(-digits if sign == b"-" else digits, exponent)
    return number if number[0] else None


def _small_int(power: bytes) -> int:
    """A written exponent; beyond a million it makes no difference how much."""
    if len(power) > 18:
        stripped = power.lstrip(b"+-").lstrip(b"0")
        size = 1_000_000 if len(stripped) > 6 else int(stripped or b"0")
        return -size if power[:1] == b"-" else size
    return max(-1_000_000, min(1_000_000, int(power or b"0")))


def add(left: Finite, right: Finite) -> Finite:
    """The rounded sum; raises Infinite."""
    if left[1] == 0 and right[1] == 0 and abs(total := left[0] + right[0]) <= INT64_MAX:
        return total, 0
    low = min(left[1], right[1])
    return _round((left[0] << (left[1] - low)) + (right[0] << (right[1] - low)), low)


def text(number: Finite) -> bytes:
    """Seventeen decimals, the zeros at the end cut off: 3.1 -> b"3.1", 5.0 -> b"5", -0.0 -> b"0"."""
    mantissa, exponent = number
    if exponent >= 0:
        return _digits(mantissa << exponent)
    size = abs(mantissa) * 10**17
    scaled, rest = size >> -exponent, size & ((1 << -exponent) - 1)
    half = 1 << (-exponent - 1)
    if rest > half or (rest == half and scaled & 1):
        scaled += 1
    whole, decimals = divmod(scaled, 10**17)
    if scaled == 0:
        return b"0"
    tail = (b"%017d" % decimals).rstrip(b"0")
    return (b"-" if mantissa < 0 else b"") + _digits(whole) + (b"." + tail if tail else b"")


def _digits(value: int) -> bytes:
    """Decimal digits of any length (str() refuses more than 4300 at once)."""
    if abs(value) < 10**4000:
        return b"%d" % value
    high, low = divmod(abs(value), 10**4000)
    return (b"-" if value < 0 else b"") + b"%d" % high + b"%04000d" % low
