"""Requests: bytes -> argv, as fast as hiredis where that is safe, byte by byte where it is not.

hiredis.Reader is a reply parser. It takes what no request may hold (integers, nulls, nested arrays), refuses inline
commands, reserves memory for arguments that have not come, and does not say where it stopped. So RequestDecoder gives
it a read only at a frame's border, checks what comes out, and finds the border behind the last whole command by the
canonical size of what was decoded. Whatever does not fit goes through the careful decoder from that border on.

Source: the RESP protocol specification; the error texts are those of Redis 7.0 (asked of the server).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis

from replicator.core import limits
from replicator.core.wire.numbers import parse_int

Argv = list[bytes]

# argv -> its canonical encoding; the fastest there is.
encode: Callable[[tuple[bytes, ...]], bytes] = cast(Any, hiredis.pack_command)

_MANY = re.compile(rb"\*[0-9]{%d}" % limits.FAST_ARGUMENTS_DIGITS)
# Of a push hiredis fills the whole list when it has read the count.
_MANY_PUSHED = re.compile(rb">[0-9]{%d}" % limits.FAST_ARGUMENTS_DIGITS)
_USUAL = frozenset(b"*%d\r" % n for n in range(1, 10))  # how nearly all reads begin
_joined = b"".join  # of anything but bytes: TypeError
_HEADER = tuple(1 + len(str(n)) + 2 + n + 2 for n in range(1024))  # "$" digits CRLF payload CRLF


def _pushes_many(data: bytes) -> bool:
    return b">" in data and _MANY_PUSHED.search(data) is not None


def encoded_size(argv: Sequence[bytes]) -> int:
    """How many bytes the canonical encoding of argv has: the unit in which replication offsets count."""
    size = 3 + len(str(len(argv)))
    for argument in argv:
        length = len(argument)
        size += _HEADER[length] if length < 1024 else 5 + len(str(length)) + length
    return size


class ProtocolError(Exception):
    """The peer's bytes are no protocol; the text is what stock answers behind "ERR Protocol error: "."""


class RequestDecoder:
    """Splits what one client sends into commands.

    feed(data) returns the commands that became whole. After a protocol error `error` holds its text, the commands
    before it are still returned, and nothing more is decoded. `consumed` counts the bytes of all commands returned so
    far (the offset arithmetic of a replication stream hangs on it), `pending` those of the unfinished one.
    """

    __slots__ = ("_reader", "consumed", "copied", "error", "max_bulk", "trusted", "unfinished")

    def __init__(self, *, trusted: bool = True) -> None:
        self._reader = hiredis.Reader()
        self.unfinished: CarefulDecoder | None = None  # holds the frame that is not whole yet
        self.consumed = 0
        self.copied = 0  # bytes that the way through both decoders has copied or looked through again
        self.error: str | None = None
        self.max_bulk = limits.MAX_BULK  # proto-max-bulk-len
        self.trusted = trusted  # not yet authenticated clients are held to small requests

    @property
    def pending(self) -> int:
        """Bytes received that belong to no whole command yet."""
        return 0 if self.unfinished is None else self.unfinished.pending

    @property
    def spare(self) -> int:
        """Bytes that are set aside for the rest of the unfinished command, beyond those that have come."""
        return 0 if self.unfinished is None else self.unfinished.spare

    @property
    def pending_arguments(self) -> int:
        """Arguments of the command that is not whole yet."""
        return 0 if self.unfinished is None else self.unfinished.arguments

    def feed(self, data: bytes) -> list[Argv]:
        """The commands that are whole with these bytes, in order (an empty request is no command)."""
        if self.unfinished is not None or not self.trusted or data[:3] not in _USUAL:
            return self._feed(data, fast=self.trusted and len(data) <= self.max_bulk)
        if len(data) > self.max_bulk:  # hiredis knows no such limit
            return self._feed(data, fast=False)
        if 0x3E in data and _pushes_many(data):
            return self._feed(data, fast=True)
        alone = data.find(b"*", 3) < 0
        batch = self._one(data) if alone else self._many(data)
        if batch:
            self.consumed += len(data)
            return batch
        self._reader = hiredis.Reader()
        return self._feed(data, fast=not alone)

    def next_small(self, data: bytes = b"") -> Argv | None:
        """Take these bytes of a client that has not authenticated, and return its next command; None: there is none.

        One by one, because each may be the AUTH that lets the next be large; see `trust`.
        """
        careful = self.unfinished
        if careful is None:
            careful = self.unfinished = CarefulDecoder()
        careful.trusted = False
        careful.max_bulk = self.max_bulk
        if data:
            careful.feed(data)
        argv: Argv | None = None
        try:
            while (argv := careful.next()) is not None and not argv:
                pass
        except ProtocolError as problem:
            self.error = str(problem)
            argv = None
        self.consumed += careful.consumed
        careful.consumed = 0
        if argv is None and self.error is None and not careful.pending:
            self.unfinished = None
        return argv

    def trust(self) -> bytes:
        """Between two commands of next_small: what is left, to be fed again now that the limits are gone."""
        careful, self.unfinished = self.unfinished, None
        return b"" if careful is None else careful.rest()

    def _one(self, data: bytes) -> list[Argv] | None:
        """The command, if these bytes are a single whole one as it is usually written; None: look closer."""
        reader = self._reader
        reader.feed(data)
        header = _HEADER
        try:
            argv = reader.gets()
            if type(argv) is list:
                size = 4
                for argument in argv:
                    if type(argument) is not bytes:
                        return None
                    length = len(argument)
                    size += header[length] if length < 1024 else 5 + len(str(length)) + length
                if size == len(data):
                    return [argv]
        except Exception:  # see _many
            pass
        return None

    def _many(self, data: bytes) -> list[Argv] | None:
        """The commands, if these bytes are whole ones and plain; None: look closer.

        hiredis takes more than requests may hold. So what it gives must end where a command ends, consist of lists of
        bytes, and there must be as many bulk headers as arguments (no status among them).
        """
        if _MANY.search(data):
            return None
        reader = self._reader
        reader.feed(data)
        gets, unread = reader.gets, reader.has_data
        batch: list[Argv] = []
        arguments = 0
        try:
            while type(argv := gets()) is list and argv:
                batch.append(argv)
                arguments += len(argv)
                _joined(argv)
                if not unread():
                    return batch if data.count(b"$") >= arguments else None
        except Exception:  # not only ProtocolError: of a map whose key is a list hiredis makes a TypeError
            pass
        return None

    def _feed(self, data: bytes, *, fast: bool) -> list[Argv]:
        """feed, for everything: unfinished, unusual, inline, not canonical. fast: hiredis may take the whole ones."""
        batch: list[Argv] = []
        rest = data
        allowed = limits.DECODER_COPIES * len(data)
        while rest and self.error is None:
            allowed -= len(rest)
            self.copied += len(rest)
            if allowed < 0:  # both decoders in turns: what is left goes through the careful one in one pass
                rest = self._carefully(rest, batch, one=False)
                continue
            plain = fast and self.unfinished is None and rest[:1] == b"*"
            if plain and not _MANY.search(rest) and not _pushes_many(rest):
                used = self._fast(rest, batch)
                self.consumed += used
                if used == len(rest):
                    break
                rest = rest[used:]
                fast = used > 0
            rest = self._carefully(rest, batch, one=fast)
        return batch

    def _carefully(self, rest: bytes, batch: list[Argv], *, one: bool) -> bytes:
        """Decode commands (or just `one`, the unfinished) with the careful decoder; what is left for the fast one."""
        careful = self.unfinished
        if careful is None:
            careful = self.unfinished = CarefulDecoder()
        careful.trusted = self.trusted
        careful.max_bulk = self.max_bulk
        careful.feed(rest)
        try:
            while (argv := careful.next()) is not None:
                if argv:
                    batch.append(argv)
                if one and not careful.inline_follows:  # a flood of empty lines goes through in one pass
                    break
        except ProtocolError as problem:
            self.error = str(problem)
        self.consumed += careful.consumed
        careful.consumed = 0
        if not careful.at_border or self.error is not None:
            return b""
        if argv is None and careful.pending:
            return b""  # an inline command whose line has not ended
        self.unfinished = None
        return careful.rest()

    def _fast(self, data: bytes, batch: list[Argv]) -> int:
        """Decode whole commands with hiredis into batch; how many bytes they took. Stops before what it does not
        trust.
        """
        reader = self._reader
        reader.feed(data)
        gets = reader.gets
        header = _HEADER
        used = 0
        before = len(batch)
        try:
            while True:
                argv = gets()
                if type(argv) is not list or not argv:
                    break
                size = 4 if len(argv) < 10 else 3 + len(str(len(argv)))
                for argument in argv:
                    if type(argument) is not bytes:
                        raise hiredis.ProtocolError
                    length = len(argument)
                    size += header[length] if length < 1024 else 5 + len(str(length)) + length
                used += size
                batch.append(argv)
        except Exception:  # see _many
            pass
        if used == len(data):
            return used
        self._reader = hiredis.Reader()
        if (used < len(data) and data[used - 2 : used] == b"\r\n") or used == 0:
            return used
        # The peer does not write canonically: decode this read again, carefully, from its first byte.
        del batch[before:]
        return 0


class CarefulDecoder:
    """The plain decoder: slower, exact about every byte, with stock's limits, inline commands included."""

    __slots__ = (
        "_argv", "_buffer", "_bulk", "_position", "_remaining", "_scanned", "_size", "consumed", "max_bulk", "trusted",
    )  # fmt: skip

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = 0
        self._scanned = 0  # the line end was not found before here
        self._argv: Argv | None = None
        self._remaining = 0
        self._bulk = -1  # length of the bulk whose bytes are awaited; -1: its header is
        self._size = 0  # bytes of the current command so far
        self.consumed = 0  # bytes of the commands handed out
        self.trusted = True
        self.max_bulk = limits.MAX_BULK

    @property
    def pending(self) -> int:
        """Bytes that belong to no whole command."""
        return len(self._buffer) - self._position + self._size

    @property
    def spare(self) -> int:
        """Bytes of the buffer that hold nothing that is awaited."""
        return max(0, self._buffer.__alloc__() - len(self._buffer)) + self._position

    @property
    def arguments(self) -> int:
        """Whole arguments of the command that is half read."""
        return 0 if self._argv is None else len(self._argv)

    @property
    def at_border(self) -> bool:
        """No command is half read."""
        return self._argv is None

    @property
    def inline_follows(self) -> bool:
        """What comes next has begun, and not with a "*"."""
        return self._position < len(self._buffer) and self._buffer[self._position] != 0x2A

    def rest(self) -> bytes:
        """What has not been decoded."""
        return bytes(memoryview(self._buffer)[self._position :])

    def feed(self, data: bytes) -> None:
        """Take more bytes."""
        if self._position:
            del self._buffer[: self._position]
            self._scanned -= self._position
            self._position = 0
        self._buffer += data

    def next(self) -> Argv | None:
        """The next command ([] for an empty one), or None: more bytes are needed. Raises ProtocolError."""
        if self._argv is None:
            if self._position >= len(self._buffer):
                return None
            if self._buffer[self._position] != 0x2A:
                return self._inline()
            line = self._line("too big mbulk count string")
            if line is None:
                return None
            count = _protocol_int(line[1:])
            if count is None or count > limits.MAX_ARGUMENTS:
                raise ProtocolError("invalid multibulk length")
            if not self.trusted and count > limits.UNAUTHENTICATED_ARGUMENTS:
                raise ProtocolError("unauthenticated multibulk length")
            if count <= 0:
                return self._finish([])
            self._argv = []
            self._remaining = count
        while self._remaining:
            argument = self._argument()
            if argument is None:
                return None
            self._argv.append(argument)
            self._remaining -= 1
        return self._finish(self._argv)

    def _finish(self, argv: Argv) -> Argv:
        self.consumed += self._size
        self._size = 0
        self._argv = None
        return argv

    def _argument(self) -> bytes | None:
        if self._bulk < 0 and not self._short_header():
            if self._position >= len(self._buffer):
                return None
            line = self._line("too big bulk count string")
            if line is None:
                return None
            if line[:1] != b"$":
                raise ProtocolError(f"expected '$', got '{_shown(line)}'")
            length = _protocol_int(line[1:])
            if length is None or length < 0 or length > self.max_bulk:
                raise ProtocolError("invalid bulk length")
            if not self.trusted and length > limits.UNAUTHENTICATED_BULK:
                raise ProtocolError("unauthenticated bulk length")
            self._bulk = length
        end = self._position + self._bulk
        if len(self._buffer) < end + 2:
            return None
        argument = bytes(memoryview(self._buffer)[self._position : end])
        self._size += self._bulk + 2
        self._position = end + 2
        self._scanned = self._position
        self._bulk = -1
        return argument

    def _short_header(self) -> bool:
        """Take the header of a bulk of up to 9999 bytes, as nearly all are, if it is here, whole and plain."""
        buffer, begin = self._buffer, self._position
        end = buffer.find(b"\r\n", begin, begin + 7)
        if end < 0 or buffer[begin] != 0x24 or buffer[begin + 1] == 0x30:
            return False
        digits = buffer[begin + 1 : end]
        if not digits.isdigit():
            return False
        self._bulk = int(digits)
        self._size += end + 2 - begin
        self._position = self._scanned = end + 2
        return True

    def _find(self, mark: bytes) -> int:
        """Where the line that begins here ends, or -1. A line with a NUL never ends: stock looks for it as C does."""
        begin = max(self._scanned, self._position)
        end = self._buffer.find(mark, begin)
        nul = self._buffer.find(b"\0", begin, len(self._buffer) if end < 0 else end)
        if nul < 0:
            if end < 0:
                self._scanned = len(self._buffer)
            return end
        self._scanned = nul
        return -1

    def _line(self, too_long: str) -> bytes | None:
        """The line that begins here, without its CRLF, consumed; None: not whole yet."""
        end = self._find(b"\r")
        if (len(self._buffer) if end < 0 else end) - self._position > limits.MAX_INLINE:
            raise ProtocolError(too_long)
        if end < 0:
            return None
        if len(self._buffer) < end + 2:
            self._scanned = end
            return None
        line = bytes(memoryview(self._buffer)[self._position : end])
        self._size += end + 2 - self._position
        self._position = self._scanned = end + 2
        return line

    def _inline(self) -> Argv | None:
        end = self._find(b"\n")
        if (len(self._buffer) if end < 0 else end) - self._position > limits.MAX_INLINE:
            raise ProtocolError("too big inline request")  # whole or not, so that it does not hang on the reads
        if end < 0:
            return None
        line = bytes(memoryview(self._buffer)[self._position : end])
        self._size += end + 1 - self._position
        self._position = self._scanned = end + 1
        words = split_words(line.removesuffix(b"\r"))
        if words is None:
            raise ProtocolError("unbalanced quotes in request")
        return self._finish(words)


def _shown(line: bytes) -> str:
    return line[:1].decode("utf-8", "surrogateescape") if line else "\r"


def _protocol_int(data: bytes) -> int | None:
    return parse_int(data) if len(data) <= 20 else None


_ESCAPES = {0x6E: 0x0A, 0x72: 0x0D, 0x74: 0x09, 0x62: 0x08, 0x61: 0x07}
_BLANK = b" \n\r\t\x0b\x0c"  # before a word, and behind a closing quote
_END = b" \n\r\t"  # of a word
_HEX = b"0123456789abcdefABCDEF"


def split_words(line: bytes) -> Argv | None:
    """Split a line into words as redis-cli, inline commands and redis.conf do; None: quotes do not balance.

    Double quotes know \\xHH and \\n \\r \\t \\b \\a, single quotes only \\'. A closing quote must end its word.
    """
    words: Argv = []
    line = line.partition(b"\0")[0]  # which ends a string of C's
    position, length = 0, len(line)
    while True:
        while position < length and line[position] in _BLANK:
            position += 1
        if position >= length:
            return words
        word = bytearray()
        while position < length and line[position] not in _END:
            mark = line[position]
            if mark not in b"\"'":
                word.append(mark)
                position += 1
                continue
            end = _quoted(line, position + 1, mark, word)
            if end is None or (end < length and line[end] not in _BLANK):
                return None
            position = end
            break
        words.append(bytes(word))


def _quoted(line: bytes, position: int, mark: int, word: bytearray) -> int | None:
    """Read a quoted run into word; the position behind its closing quote, or None if there is none."""
    length = len(line)
    while position < length:
        byte = line[position]
        if byte == mark:
            return position + 1
        if byte == 0x5C and position + 1 < length:
            following = line[position + 1]
            if mark == 0x22:
                if (
                    following == 0x78
                    and all(h in _HEX for h in line[position + 2 : position + 4])
                    and position + 3 < length
                ):
                    word.append(int(line[position + 2 : position + 4], 16))
                    position += 4
                    continue
                word.append(_ESCAPES.get(following, following))
                position += 2
                continue
            if following == 0x27:
                word.append(following)
                position += 2
                continue
        word.append(byte)
        position += 1
    return None
