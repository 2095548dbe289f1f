"""Replies as bytes. A command answers with encoded RESP; these functions and constants are its alphabet.

Where RESP2 and RESP3 differ the functions take `resp3`, or stand in a pair. Composite replies take items that are
already encoded: ``array([integer(1), bulk(b"x")])``.

Source: the RESP protocol specification, https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from replicator.core.wire.numbers import format_float

OK = b"+OK\r\n"
PONG = b"+PONG\r\n"
QUEUED = b"+QUEUED\r\n"
NULL2 = b"$-1\r\n"
NULL_ARRAY2 = b"*-1\r\n"
NULL3 = b"_\r\n"
EMPTY_ARRAY = b"*0\r\n"
EMPTY_BULK = b"$0\r\n\r\n"
ZERO = b":0\r\n"
ONE = b":1\r\n"

_INTEGERS = tuple(b":%d\r\n" % n for n in range(10_000))
# What stands before a bulk string of such a length: looking it up takes half the time of formatting it.
_BULK_HEADS = tuple(b"$%d\r\n" % n for n in range(1024))


def integer(value: int) -> bytes:
    """:value"""
    if 0 <= value < 10_000:
        return _INTEGERS[value]
    return b":%d\r\n" % value


def bulk(data: bytes) -> bytes:
    """A bulk string of these bytes."""
    return b"$%d\r\n%b\r\n" % (len(data), data)


def simple(text: str) -> bytes:
    """A simple string (+text); text must hold no line ends."""
    return b"+%b\r\n" % text.encode("utf-8", "surrogateescape")


def error(text: str | bytes) -> bytes:
    """An error; text begins with its code ("ERR ...", "WRONGTYPE ..."). Line ends inside become spaces."""
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return b"-%b\r\n" % data.replace(b"\r", b" ").replace(b"\n", b" ")


def array(items: Sequence[bytes]) -> bytes:
    """An array of encoded items."""
    return b"*%d\r\n%b" % (len(items), b"".join(items))


def bulks(values: Iterable[bytes]) -> bytes:
    """An array of bulk strings."""
    if not isinstance(values, list):
        values = list(values)
    if not values:
        return EMPTY_ARRAY
    heads = _BULK_HEADS
    try:
        items = [heads[len(value)] + value for value in values]
    except IndexError:
        items = [b"$%d\r\n%b" % (len(value), value) for value in values]
    return b"*%d\r\n%b\r\n" % (len(items), b"\r\n".join(items))


def null(resp3: bool) -> bytes:
    """The null that stands for a missing string."""
    return NULL3 if resp3 else NULL2


def null_array(resp3: bool) -> bytes:
    """The null that stands for a missing array."""
    return NULL3 if resp3 else NULL_ARRAY2


def mapping(items: Sequence[bytes], resp3: bool) -> bytes:
    """A map of encoded key, value, key, value ...; for RESP2 a flat array."""
    if resp3:
        return b"%%%d\r\n%b" % (len(items) // 2, b"".join(items))
    return array(items)


def set_of(items: Sequence[bytes], resp3: bool) -> bytes:
    """A set of encoded items; for RESP2 an array."""
    return b"%b%d\r\n%b" % (b"~" if resp3 else b"*", len(items), b"".join(items))


def double(value: float, resp3: bool) -> bytes:
    """A double; for RESP2 a bulk string of its 17 digits."""
    text = format_float(value)
    return b",%b\r\n" % text if resp3 else bulk(text)


def boolean(value: bool, resp3: bool) -> bytes:
    """A boolean; for RESP2 the integer 1 or 0."""
    if resp3:
        return b"#t\r\n" if value else b"#f\r\n"
    return ONE if value else ZERO


def verbatim(text: bytes, resp3: bool, kind: bytes = b"txt") -> bytes:
    """A verbatim string (three letters name its kind); for RESP2 a bulk string."""
    return b"=%d\r\n%b:%b\r\n" % (len(text) + 4, kind, text) if resp3 else bulk(text)


def push(items: Sequence[bytes], resp3: bool) -> bytes:
    """An out-of-band push; for RESP2 an array."""
    return b"%b%d\r\n%b" % (b">" if resp3 else b"*", len(items), b"".join(items))
