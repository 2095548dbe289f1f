"""What the blocking commands of all types share.

Source: https://redis.io/docs/latest/commands/blpop/
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from replicator.core.errors import CommandError
from replicator.core.wire.numbers import parse_float, parse_int


def timeout_ms(text: bytes) -> int | None:
    """A timeout in seconds (a decimal fraction is allowed) as milliseconds, rounded up; None, from 0, is for ever.

    Raises CommandError. A number too large for 64 bits of milliseconds is "negative", as stock words it.
    """
    seconds = parse_float(text)
    if seconds is None:
        raise CommandError("ERR timeout is not a float or out of range")
    if not -1 < seconds * 1000 < 2.0**63:  # it is rounded up before it is looked at
        raise CommandError("ERR timeout is negative")
    return ceil(seconds * 1000) or None


def counted_keys(argv: Sequence[bytes], at: int) -> Sequence[int]:
    """The places of the keys whose number stands at argv[at] and which follow it; none if that is no fitting number."""
    number = parse_int(argv[at]) if at < len(argv) else None
    if number is None or not 0 < number < len(argv) - at:
        return ()
    return range(at + 1, at + 1 + number)


def positive(text: bytes, what: str) -> int:
    """An integer from 1 to 2**63 - 1; raises CommandError with `what` in its text."""
    value = parse_int(text)
    if value is None or value <= 0:
        raise CommandError(f"ERR {what} should be greater than 0")
    return value
