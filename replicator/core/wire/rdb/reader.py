"""Reading RDB: bytes in any portions -> calls of a sink.

Theory of operation
- One generator (`_parse`) holds the state of the reading; where bytes lack it yields how many must lie ahead to go on,
  and `feed` collects that many before it resumes it. So nothing is parsed twice however small the portions are, a large
  value is joined once, and a length that a corrupt file claims costs nothing until as many bytes have really come.
- Keys with plain strings (and an expiry, perhaps) are nearly all of most files. `_plain_keys` handles runs of them in
  one flat loop over the buffer and leaves everything else to the general path.
- The checksum is computed over whole portions, after they have been consumed.
"""

from __future__ import annotations

import struct
from typing import Any, Protocol

from replicator.core.wire.rdb import format as rdb
from replicator.core.wire.rdb.cursor import INT32, INT64, Machine, Need
from replicator.core.wire.rdb.format import RdbError, Refused
from replicator.core.wire.rdb.values import VALUE_TYPES, ValueReader

_MODULE_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


class RdbSink(Protocol):
    """What a reader tells. Any method may raise Refused with a reason: the reading ends with an RdbError."""

    def version(self, number: int) -> None:
        """The file's version; first of all calls."""

    def auxiliary(self, name: bytes, value: bytes) -> None:
        """An auxiliary field."""

    def select(self, index: int) -> None:
        """The entries that follow belong to this database."""

    def resize(self, keys: int, expires: int) -> None:
        """How many keys, and how many with an expiry, the selected database has: a hint that nobody must trust."""

    def entry(
        self, key: bytes, kind: str, value: Any, expire_ms: int | None, idle: int | None, freq: int | None
    ) -> None:
        """A key. value: bytes; list[bytes] of a list or set; dict[bytes, bytes] of a hash; list[tuple[bytes, float]] of
        a sorted set; RdbStream. expire_ms: unix time. idle: seconds. freq: 0 to 255."""

    def function(self, code: bytes) -> None:
        """The source of a library of functions."""

    def end(self) -> None:
        """The file is whole and its checksum right; last of all calls."""


class RdbReader(ValueReader):
    """Reads one RDB file.

    feed(data) as it comes; `done` once the end mark and the checksum were there: bytes behind them are not touched and
    lie in `rest`. close() at the end of the input. Both raise RdbError for bytes that are no file that can be loaded;
    a reader that has raised is finished. `position`: bytes consumed. `skipped`: entries left out because they are empty
    collections, which cannot exist (stock leaves them out too).
    """

    __slots__ = (
        "_check_crc",
        "_crc",
        "_machine",
        "_pending",
        "_pending_size",
        "_sink",
        "_summed",
        "_wanted",
        "done",
        "failed",
        "skipped",
    )

    def __init__(self, sink: RdbSink, *, check_crc: bool = True) -> None:
        super().__init__()
        self._sink = sink
        self._check_crc = check_crc
        self._summed = 0  # the checksum covers the buffer up to here
        self._crc = 0
        self._wanted = 1  # the machine can go on once so many bytes lie at the position
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._machine: Machine = self._parse()
        self.done = False
        self.failed: RdbError | None = None
        self.skipped = 0

    @property
    def rest(self) -> bytes:
        """Bytes received that have not been consumed: once done, what stands behind the file."""
        return b"".join([self._buffer[self._at :], *self._pending])

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises RdbError, and what the sink raises."""
        if self.failed is not None:
            raise self.failed
        have = len(self._buffer) - self._at + self._pending_size + len(data)
        if self.done or have < self._wanted:
            self._pending.append(data)
            self._pending_size += len(data)
            return
        self._base += self._at
        if have == len(data):
            self._buffer = data
        else:
            self._buffer = b"".join([self._buffer[self._at :], *self._pending, data])
            self._pending.clear()
            self._pending_size = 0
        self._at = self._summed = 0
        self._resume()

    def close(self) -> None:
        """Say that no more bytes come. Raises RdbError if the file is not whole."""
        if self.failed is not None:
            raise self.failed
        if not self.done:
            end = self._base + len(self._buffer) + self._pending_size
            self.failed = RdbError("the file ends too early", end)
            raise self.failed

    def _resume(self) -> None:
        try:
            self._wanted = next(self._machine)
        except StopIteration:
            self.done = True
        except Refused as problem:
            self.failed = RdbError(str(problem), self.position)
        except RdbError as problem:
            self.failed = problem
        except BaseException:
            self.failed = self._error("the reading was broken off")
            raise
        if self.failed is not None:
            raise self.failed
        if self._check_crc and not self.done:
            self._sum()

    def _error(self, message: str) -> RdbError:
        return RdbError(message, self.position)

    # -- the file ------------------------------------------------------------------------------------------------------

    def _parse(self) -> Machine:
        magic = yield from self._take(9)
        self._version = _version(magic)
        self._sink.version(self._version)
        while True:
            short = self._plain_keys()
            if short:
                yield short
                continue
            if self._buffer[self._at] == rdb.OP_END:
                break
            yield from self._general()
        self._at += 1
        if self._version >= rdb.FIRST_VERSION_WITH_CHECKSUM:
            if self._check_crc:
                self._sum()
            stored = int.from_bytes((yield from self._take(8)), "little")
            if self._check_crc and stored and stored != self._crc:
                self._at -= 8
                raise self._error(f"RDB CRC error: the file says {stored:016x}, its bytes {self._crc:016x}")
        self._sink.end()

    def _plain_keys(self) -> int:
        """Hand over keys with plain strings as long as they follow one another whole; stops before anything else.

        Returns 0: something else comes; or how many bytes must lie at the position to look again.
        """
        buffer, at = self._buffer, self._at
        end = len(buffer)
        entry = self._sink.entry
        start = at
        try:
            while True:
                start = at
                expire = None
                try:
                    mark = buffer[at]
                    if mark == 252:
                        (expire,) = INT64(buffer, at + 1)
                        at += 9
                        mark = buffer[at]
                        if expire == _NO_EXPIRY:
                            expire = None
                    if mark:
                        return 0
                    length = buffer[at + 1]
                    if length < 64:
                        begin = at + 2
                    elif length < 128:
                        length = (length & 63) << 8 | buffer[at + 2]
                        begin = at + 3
                    else:
                        return 0
                    at = begin + length
                    length = buffer[at]
                    key = buffer[begin:at]
                    if length < 64:
                        begin = at + 1
                    elif length < 128:
                        length = (length & 63) << 8 | buffer[at + 1]
                        begin = at + 2
                    elif length == 0xC3:
                        packed, begin = self._small_count(buffer, at + 1)
                        length, begin = self._small_count(buffer, begin)
                        if packed < 0 or length < 0:
                            return 0
                        at = begin + packed
                        if at > end:
                            return at - start
                        entry(key, "string", self._expand(buffer[begin:at], length, begin), expire, None, None)
                        continue
                    elif 0xC0 <= length < 0xC3:
                        size = 1 << (length & 3)
                        begin = at + 1
                        at = begin + size
                        if at > end:
                            return at - start
                        number = int.from_bytes(buffer[begin:at], "little", signed=True)
                        entry(key, "string", b"%d" % number, expire, None, None)
                        continue
                    else:
                        return 0
                except (IndexError, struct.error):
                    return max(end, at) - start + 1
                at = begin + length
                if at > end:
                    return at - start
                entry(key, "string", buffer[begin:at], expire, None, None)
        finally:
            self._at = start

    def _general(self) -> Need:
        """One opcode, or one entry with the opcodes that belong to it.

        What is said of a key holds until the key comes: KeyDB writes auxiliary fields between the two.
        """
        expire: int | None = None
        idle: int | None = None
        freq: int | None = None
        while True:
            mark = (yield from self._take(1))[0]
            if mark == rdb.OP_EXPIRE_MS:
                (when,) = INT64((yield from self._take(8)))
                expire = None if when == _NO_EXPIRY else when
            elif mark == rdb.OP_EXPIRE_SECONDS:
                (seconds,) = INT32((yield from self._take(4)))
                expire = seconds * 1000
            elif mark == rdb.OP_IDLE:
                idle = yield from self._count()
            elif mark == rdb.OP_FREQUENCY:
                freq = (yield from self._take(1))[0]
            elif mark == rdb.OP_END:
                self._at -= 1
                if expire is not None or idle is not None or freq is not None:
                    raise self._error("the file ends where a key must follow")
                return
            elif mark >= rdb.OP_SLOT_IMPORT:
                yield from self._opcode(mark)
                if expire is None and idle is None and freq is None:
                    return
            else:
                break
        if mark in rdb.UNSUPPORTED_TYPES or mark not in VALUE_TYPES:
            yield from self._unknown(mark)
        key = yield from self._string()
        kind, value = yield from self.value(mark)
        if not value and kind != rdb.STRING and kind != rdb.STREAM:
            self.skipped += 1
            return
        self._sink.entry(key, kind, value, expire, idle, freq)

    def _opcode(self, mark: int) -> Need:
        sink = self._sink
        if mark == rdb.OP_AUX:
            name = yield from self._string()
            sink.auxiliary(name, (yield from self._string()))
        elif mark == rdb.OP_SELECT:
            sink.select((yield from self._count()))
        elif mark == rdb.OP_RESIZE:
            keys = yield from self._count()
            sink.resize(keys, (yield from self._count()))
        elif mark == rdb.OP_FUNCTION:
            sink.function((yield from self._string()))
        elif mark == rdb.OP_FUNCTION_PRE_RELEASE:
            self._at -= 1
            raise self._error("functions in their pre-release form are not supported")
        elif mark == rdb.OP_MODULE_AUX:
            yield from self._skip_module_data()
        elif mark == rdb.OP_SLOT_INFO:
            for _ in range(3):  # slot, keys, keys with an expiry
                yield from self._count()
        elif mark == rdb.OP_SLOT_IMPORT and self._version == rdb.VALKEY_VERSION:
            yield from self._string()  # the job's name
            for _ in range(2 * (yield from self._count())):
                yield from self._count()
        else:
            yield from self._unknown(mark)

    def _unknown(self, mark: int) -> Need:
        """Raises: the type cannot be read."""
        start = self._at - 1
        name = rdb.UNSUPPORTED_TYPES.get(mark)
        of = f"value type {mark} of RDB version {self._version}"
        if name is None:
            raise RdbError(f"unknown {of}", self._base + start)
        offset = self._base + start
        key = yield from self._string()
        if mark == rdb.TYPE_MODULE:
            module = yield from self._count()
            letters = "".join(_MODULE_ALPHABET[module >> 10 + 6 * (8 - place) & 63] for place in range(9))
            name = f"{name} ({letters} version {module & 1023})"
        raise RdbError(f"{of}, {name}, is not supported: key {key!r}", offset)

    def _skip_module_data(self) -> Need:
        """The auxiliary data of a module: its id, then numbers and strings, each behind a mark of its kind."""
        yield from self._count()
        while mark := (yield from self._count()):
            if mark in (1, 2):
                yield from self._count()
            elif mark in (3, 4):
                yield from self._take(4 if mark == 3 else 8)
            elif mark == 5:
                yield from self._string()
            else:
                raise self._error(f"module data of unknown kind {mark}")

    def _sum(self) -> None:
        """Let the checksum cover all that has been consumed."""
        if self._summed < self._at:
            self._crc = rdb.CRC64.calc(memoryview(self._buffer)[self._summed : self._at], self._crc)
            self._summed = self._at


_NO_EXPIRY = -1


def _version(magic: bytes) -> int:
    """The version that the nine bytes at the begin tell. Raises RdbError."""
    name, digits = (b"VALKEY", magic[6:]) if magic.startswith(b"VALKEY") else (b"REDIS", magic[5:])
    if not magic.startswith(name) or not digits.isdigit():
        raise RdbError("no RDB file: it does not begin with REDIS or VALKEY and a version", 0)
    version = int(digits)
    if not rdb.known_version(version):
        supported = f"1 to {rdb.NEWEST_REDIS_VERSION} and {rdb.VALKEY_VERSION}"
        raise RdbError(f"RDB version {version} is not supported ({supported} are)", 0)
    return version
