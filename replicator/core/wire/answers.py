"""A client's side of a connection: what is asked, and whose answer comes when.

    asks = Asks()
    data = asks.ask((b"PING",), then)        # bytes to be sent; then(answer) when its answer is here
    asks.receive(data)                       # calls each `then` in the order of the asks

An answer is decoded into bytes, int, float, bool, None, list, dict (of RESP3) or Refusal (an error). The decoder is a
plain one and reserves nothing for what has not come: whoever answers may be anybody, and may claim any length.

Source: the RESP protocol specification, https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from replicator.core import limits
from replicator.core.wire.numbers import parse_int
from replicator.core.wire.request import encode

Then: TypeAlias = Callable[[Any], None]
_MORE: Any = object()  # the bytes for the answer are not all here


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer, without its dash."""

    text: str

    @property
    def code(self) -> str:
        """Its first word: ERR, BUSY, LOADING ..."""
        return self.text.split(" ", 1)[0]


class AnswerError(Exception):
    """What came is no answer of the protocol, or a larger one than anybody honest sends."""


class AnswerDecoder:
    """Splits what a server sends into answers."""

    __slots__ = ("_at", "_buffer")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0

    @property
    def pending(self) -> int:
        """Bytes received that belong to no whole answer yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Any]:
        """The answers that are whole with these bytes, in order. Raises AnswerError."""
        buffer = self._buffer
        if not buffer and data == b"+PONG\r\n":
            return [b"PONG"]
        buffer += data
        answers = []
        begin = 0
        while begin < len(buffer):
            self._at = begin
            answer = self._next(0)
            if answer is _MORE:
                break
            answers.append(answer)
            begin = self._at
        if begin:
            del buffer[:begin]
        if len(buffer) > limits.MAX_ANSWER:
            raise AnswerError(f"an answer of more than {limits.MAX_ANSWER} bytes")
        return answers

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n", self._at)
        if end < 0:
            return None
        line = bytes(self._buffer[self._at : end])
        self._at = end + 2
        return line

    def _count(self, line: bytes) -> int:
        count = parse_int(line[1:]) if len(line) <= 21 else None
        if count is None or count < -1:
            raise AnswerError(f"no length: {line[:32]!r}")
        return count

    def _next(self, depth: int) -> Any:
        """The value that begins here, or _MORE."""
        line = self._line()
        if line is None:
            return _MORE
        kind = line[:1]
        if kind == b"+":
            return line[1:]
        if kind == b"-":
            return Refusal(line[1:].decode("utf-8", "replace"))
        if kind in b":(" and line:
            number = parse_int(line[1:])
            if number is None:
                raise AnswerError(f"no number: {line[:32]!r}")
            return number
        if kind in b"$=!" and line:
            return self._bulk(kind, self._count(line))
        if kind in b"*~>" and line:
            return self._items(self._count(line), depth)
        if kind in b"%|" and line:
            return self._map(kind, self._count(line), depth)
        if kind == b"_":
            return None
        if kind == b"#":
            return line == b"#t"
        if kind == b",":
            try:
                return float(line[1:])
            except ValueError:
                raise AnswerError(f"no number: {line[:32]!r}") from None
        raise AnswerError(f"no answer begins so: {line[:32]!r}")

    def _bulk(self, kind: bytes, length: int) -> Any:
        if length < 0:
            return None
        if length > limits.MAX_ANSWER:
            raise AnswerError(f"an answer of {length} bytes")
        begin, end = self._at, self._at + length
        if len(self._buffer) < end + 2:
            return _MORE
        self._at = end + 2
        data = bytes(self._buffer[begin:end])
        if kind == b"!":
            return Refusal(data.decode("utf-8", "replace"))
        return data[4:] if kind == b"=" else data

    def _items(self, count: int, depth: int) -> Any:
        if count < 0:
            return None
        if depth >= limits.MAX_ANSWER_DEPTH or count > limits.MAX_ANSWER_ITEMS:
            raise AnswerError("an answer too deep, or a list too long")
        items = []
        for _ in range(count):
            item = self._next(depth + 1)
            if item is _MORE:
                return _MORE
            items.append(item)
        return items

    def _map(self, kind: bytes, count: int, depth: int) -> Any:
        flat = self._items(2 * count, depth)
        if flat is _MORE:
            return _MORE
        if kind == b"|":  # attributes belong to the value behind them, and nobody asked for any
            return self._next(depth)
        try:
            return dict(zip(flat[::2], flat[1::2], strict=True))
        except TypeError:
            raise AnswerError("a map whose key is no plain value") from None


class Asks:
    """One connection's questions, answered in their order."""

    __slots__ = ("_waiting", "decoder")

    def __init__(self) -> None:
        self.decoder = AnswerDecoder()
        self._waiting: deque[Then | None] = deque()

    def __len__(self) -> int:
        """How many are not answered yet."""
        return len(self._waiting)

    def ask(self, argv: tuple[bytes, ...], then: Then | None = None) -> bytes:
        """The bytes of a question; its answer goes to `then` (None: to nobody)."""
        self._waiting.append(then)
        return encode(argv)

    def receive(self, data: bytes) -> None:
        """Hand on the answers that are whole with these bytes. Raises AnswerError (also for one that nobody asked
        for)."""
        for answer in self.decoder.feed(data):
            if not self._waiting:
                raise AnswerError("an answer without a question")
            then = self._waiting.popleft()
            if then is not None:
                then(answer)
