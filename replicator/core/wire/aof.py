"""The append-only file's two languages: the manifest that names its parts, and the commands in them. Pure.

Since 7.0 an append-only file is a directory of parts (`appendonly.aof` stands for the directive appendfilename):

    appendonly.aof.2.base.rdb       all data as of a rewrite: an RDB file, or (aof) commands
    appendonly.aof.2.incr.aof       what has happened since; several while a rewrite is under way
    appendonly.aof.manifest         file appendonly.aof.2.base.rdb seq 2 type b
                                    file appendonly.aof.2.incr.aof seq 2 type i

Type h marks history: parts that a rewrite has replaced and that wait to be deleted. Parts are loaded in the order of
the manifest, base first. Commands are requests of RESP ("*3 $3 SET ..."), nothing inline; a line "#TS:<unix seconds>"
may stand between two of them. Before 7.0 there was one file: perhaps an RDB file, then commands.

How a file of commands may end, and what it means:

    whole       behind a command
    short       inside a command: the write was cut off. What stands before it is believed
    zeros       with zeros where a command goes on or begins: a crash left the length but not the bytes. As short
    open        behind MULTI without EXEC: the transaction never happened

Anything else that is no command is damage: bytes are missing or wrong in the middle, and nobody can know which.

Source: the manifest's form as Redis 7.0 writes and refuses it; redis.io, "Redis persistence".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum

import hiredis

from replicator.core.limits import MAX_AOF_BULK, MAX_ARGUMENTS, MAX_MANIFEST_BYTES, MAX_MANIFEST_LINE
from replicator.core.wire.numbers import parse_int
from replicator.core.wire.request import Argv, encoded_size, split_words

BASE, INCREMENT, HISTORY = "b", "i", "h"
RDB_MAGICS = (b"REDIS", b"VALKEY")


# -- the manifest ------------------------------------------------------------------------------------------------------


class ManifestError(Exception):
    """The manifest is none. line: its number, 0 for the file as a whole; text: that line."""

    def __init__(self, why: str, line: int = 0, text: str = "") -> None:
        super().__init__(f"{why} (line {line}: {text!r})" if line else why)
        self.why, self.line, self.text = why, line, text


@dataclass(frozen=True, slots=True)
class Part:
    """One file. kind: BASE, INCREMENT or HISTORY."""

    name: str
    number: int
    kind: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Which files make up the data, in the order in which they are loaded; and those that may go."""

    base: Part | None = None
    increments: tuple[Part, ...] = ()
    history: tuple[Part, ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        """What is loaded."""
        return self.increments if self.base is None else (self.base, *self.increments)

    @property
    def last_number(self) -> int:
        """The highest number of an increment that was ever given."""
        return max((part.number for part in self.increments), default=0)

    def with_increment(self, filename: str, number: int) -> Manifest:
        """One increment more; its name is increments[-1].name."""
        return replace(self, increments=(*self.increments, Part(f"{filename}.{number}.incr.aof", number, INCREMENT)))

    def rewritten(self, base: Part, increments: tuple[Part, ...]) -> Manifest:
        """The new base and what has happened since take the place of all that was."""
        kept = {part.name for part in increments} | {base.name}
        gone = tuple(replace(part, kind=HISTORY) for part in self.parts if part.name not in kept)
        return Manifest(base, increments, (*self.history, *gone))

    def encode(self) -> bytes:
        """The file's text."""
        lines = [
            f"file {_quoted(part.name)} seq {part.number} type {part.kind}\n"
            for part in (*((self.base,) if self.base else ()), *self.history, *self.increments)
        ]
        return "".join(lines).encode("utf-8", "surrogateescape")


def _quoted(name: str) -> str:
    """A name with anything but plain characters in quotes, as a configuration file would have it."""
    if name and re.fullmatch(r"[!#-&(-~]+", name) and "\\" not in name:
        return name
    data = name.encode("utf-8", "surrogateescape")
    plain = "".join(
        f"\\{chr(byte)}" if byte in b'"\\' else chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in data
    )
    return f'"{plain}"'


def parse_manifest(data: bytes) -> Manifest:
    """The manifest of these bytes. Raises ManifestError."""
    if not data:
        raise ManifestError("Found an empty AOF manifest")
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"The AOF manifest is larger than {MAX_MANIFEST_BYTES} bytes")
    base: Part | None = None
    increments: list[Part] = []
    history: list[Part] = []
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n")[:-1], 1):
        if line.startswith("#"):
            continue
        part = _part(line, number)
        if part.kind == BASE:
            if base is not None:
                raise ManifestError("Found duplicate base file information", number, line)
            base = part
        elif part.kind == HISTORY:
            history.append(part)
        else:
            if increments and part.number <= increments[-1].number:
                raise ManifestError("Found a non-monotonic sequence number", number, line)
            increments.append(part)
    if not data.endswith(b"\n"):
        last = data.rsplit(b"\n", 1)[-1].decode("utf-8", "replace")
        raise ManifestError("The AOF manifest file contains a line without its end", data.count(b"\n") + 1, last)
    if base is None and not increments:
        raise ManifestError("Found an empty AOF manifest")
    seen: set[str] = set()
    for part in (*((base,) if base else ()), *increments):
        if part.name in seen:
            raise ManifestError(f"The file {part.name} is there twice")
        seen.add(part.name)
    return Manifest(base, tuple(increments), tuple(history))


def _part(line: str, number: int) -> Part:
    if len(line) > MAX_MANIFEST_LINE:
        raise ManifestError("The AOF manifest file contains too long line", number, line[:80])
    words = split_words(line.encode("utf-8", "surrogateescape"))
    if words is None or len(words) < 6 or len(words) % 2:
        raise ManifestError("Invalid AOF manifest file format", number, line)
    fields = {words[i].lower(): words[i + 1] for i in range(0, len(words), 2)}
    name = fields.get(b"file", b"").decode("utf-8", "surrogateescape")
    sequence = parse_int(fields.get(b"seq", b""))
    kind = fields.get(b"type", b"").decode("latin-1")
    if "/" in name or name in (".", ".."):
        raise ManifestError("File can't be a path, just a filename", number, line)
    if kind not in (BASE, INCREMENT, HISTORY) and kind:
        raise ManifestError("Unknown AOF file type", number, line)
    if not name or not kind or sequence is None or sequence <= 0:
        raise ManifestError("Invalid AOF manifest file format", number, line)
    return Part(name, sequence, kind)


# -- commands ----------------------------------------------------------------------------------------------------------


def timestamp(unix_s: int) -> bytes:
    """The line that says when what follows was written."""
    return b"#TS:%d\r\n" % unix_s


class AofDamage(Exception):
    """Not a command, and more than its end is missing. offset: of the first byte that does not fit."""

    def __init__(self, why: str, offset: int) -> None:
        super().__init__(f"{why}, at offset {offset}")
        self.why, self.offset = why, offset


class Ending(Enum):
    """How the bytes read so far end; see the head of the module."""

    WHOLE = "whole"
    SHORT = "short"
    ZEROS = "zeros"
    OPEN = "open"


_MARK = b"\r\n#TS:"
_BORDER = b"\r\n*"
_MANY = re.compile(rb"\*[0-9]{5}")  # hiredis would reserve memory for as many as the count says
_FOLLOWS = re.compile(rb"\r\n(?=\*[1-9][0-9]{0,9}\r\n\$[0-9]{1,10}\r\n)")
_LENGTH = re.compile(rb"([0-9]{0,19})(\r\n|\r$|)")  # as much of a line's number as is there
_CHECKED_BORDERS = 64  # places tried inside an unfinished command before it is believed to be one


class CommandReader:
    """Splits a file of commands, fed in portions, into commands.

    feed(data) returns the commands that became whole, in order. `end` is the offset behind the last of them; `sound`
    the offset to which the file can be believed: `end`, or where the MULTI stands whose EXEC has not come. `stamp` is
    the last "#TS:" line's time, `stamps` how many there were, `marks` those of the last batch: (place in it, time).

    Most portions go through hiredis as one piece: from a command's first byte to the last place where a command seems
    to begin. If all of that piece turns out to be commands, it is (a place inside a value leaves a rest). Whatever is
    not so simple is decoded exactly, and offsets of errors come from there.
    """

    __slots__ = (
        "_batch_at", "_bytes", "_misfit", "_needed", "_open_at", "_reader", "_starts", "end", "marks", "stamp",
        "stamps",
    )  # fmt: skip

    def __init__(self, offset: int = 0) -> None:
        """offset: where in the file the first byte stands."""
        self._reader = hiredis.Reader()
        self._bytes = bytearray()  # of the command that is not whole yet
        self._needed = 0  # fewer of them cannot make it whole
        self._open_at: int | None = None  # where the MULTI without EXEC stands
        self._misfit: AofDamage | None = None  # what did not fit, while nothing but zeros has come from there on
        self._batch_at = offset
        self._starts: list[int] | None = None  # where each command of the last batch began, where that was noted
        self.end = offset
        self.stamp: int | None = None
        self.stamps = 0
        self.marks: list[tuple[int, int]] = []

    @property
    def sound(self) -> int:
        """Up to here the file can be believed."""
        return self.end if self._open_at is None else self._open_at

    @property
    def ending(self) -> Ending:
        """How what was fed ends. Raises AofDamage if what looks cut off is in truth a damaged length."""
        if self._misfit is not None:
            return Ending.ZEROS
        if self._bytes:
            self._refuse_swallowed()
            return Ending.SHORT
        return Ending.WHOLE if self._open_at is None else Ending.OPEN

    def feed(self, data: bytes) -> list[Argv]:
        """The commands that are whole with these bytes. Raises AofDamage; what it had to return is lost then."""
        if self._misfit is not None:
            if data.strip(b"\0"):
                raise self._misfit
            return []
        if self._bytes:
            self._bytes += data
            if len(self._bytes) < self._needed:
                return []
            data, self._bytes = bytes(self._bytes), bytearray()
        self._batch_at = self.end
        self._starts = None
        self.marks.clear()
        batch: list[Argv] = []
        cut = data.rfind(_BORDER) + 2
        if cut > 2 and _MARK not in data[: cut + 4] and not data.startswith(b"#"):
            head = data[:cut]
            plain = self._plain(head)
            if plain is not None:
                batch = plain
                self.end += cut
                data = data[cut:]
                self._follow_transactions(batch, self.end)
        if data:
            self._exactly(data, batch)
        return batch

    def _plain(self, data: bytes) -> list[Argv] | None:
        """The commands, if these bytes are whole ones and nothing else; None: look closer."""
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
                b"".join(argv)  # of anything but bytes: TypeError
                if not unread():
                    if data.count(b"$") >= arguments:
                        return batch
                    break
        except Exception:  # whatever hiredis or Python makes of what is no request
            pass
        self._reader = hiredis.Reader()
        return None

    def _follow_transactions(self, batch: list[Argv], end: int) -> None:
        """Note whether a transaction is open at `end`, behind these commands (which hold no "#TS:" lines)."""
        for at in range(len(batch) - 1, -1, -1):
            argv = batch[at]
            if len(argv) != 1:
                continue
            name = argv[0].upper()
            if name == b"EXEC":
                self._open_at = None
                return
            if name == b"MULTI":
                self._open_at = end - sum(encoded_size(later) for later in batch[at:])
                return

    def offset_of(self, index: int, batch: list[Argv]) -> int:
        """Where the command batch[index] of the batch that feed returned last begins."""
        if self._starts is not None and index >= len(batch) - len(self._starts):
            return self._starts[index - len(batch) + len(self._starts)]
        return self._batch_at + sum(encoded_size(argv) for argv in batch[:index])

    # -- exactly -------------------------------------------------------------------------------------------------------

    def _exactly(self, data: bytes, batch: list[Argv]) -> None:
        """Decode all whole commands of data into batch; keep the rest."""
        at = self._needed = 0
        starts: list[int] = []
        base = self.end
        while at < len(data):
            if data[at] == 0x23:  # "#"
                close = data.find(b"\r\n", at, at + MAX_MANIFEST_LINE)
                if close < 0:
                    if len(data) - at >= MAX_MANIFEST_LINE:
                        self._unfit("a comment without its end", at, data, base)
                    break
                self._note(data[at:close], len(batch))
                at = close + 2
                self.end = base + at
                continue
            found = self._command(data, at, base)
            if found is None:
                break
            argv, behind = found
            starts.append(base + at)
            batch.append(argv)
            if len(argv) == 1:
                name = argv[0].upper()
                if name == b"MULTI":
                    self._open_at = base + at
                elif name == b"EXEC":
                    self._open_at = None
            at = behind
            self.end = base + at
        self._starts = starts
        self._bytes = bytearray(data[at:])

    def _note(self, line: bytes, place: int) -> None:
        if line.startswith(b"#TS:"):
            when = parse_int(line[4:])
            if when is not None:
                self.stamp = when
                self.stamps += 1
                self.marks.append((place, when))

    def _command(self, data: bytes, at: int, base: int) -> tuple[Argv, int] | None:
        """The command that begins at data[at], and where it ends; None: it is not whole."""
        self._needed = 0
        found = self._number(data, at, 0x2A, base)
        if found is None:
            return None
        count, position = found
        if not 0 < count <= MAX_ARGUMENTS:
            self._unfit(f"a command of {count} arguments", at, data, base)
            return None
        argv: Argv = []
        for _ in range(count):
            found = self._number(data, position, 0x24, base)
            if found is None:
                return None
            length, begin = found
            if not 0 <= length <= MAX_AOF_BULK:
                self._unfit(f"an argument of {length} bytes", position, data, base)
                return None
            position = begin + length + 2
            if position > len(data):
                self._needed = position - at
                return None
            if data[position - 2 : position] != b"\r\n":
                misfit = position - (1 if data[position - 2] == 0x0D else 2)
                self._unfit("an argument without its line end", misfit, data, base)
                return None
            argv.append(data[begin : begin + length])
        return argv, position

    def _number(self, data: bytes, at: int, mark: int, base: int) -> tuple[int, int] | None:
        """The number of the line "<mark><digits>" at data[at], and where the next begins; None: not whole."""
        if at >= len(data):
            return None
        if data[at] != mark:
            self._unfit(f"{data[at : at + 1]!r} where '{chr(mark)}' should be", at, data, base)
            return None
        line = _LENGTH.match(data, at + 1)
        assert line is not None  # it may be empty
        end = line.end()
        if line.group(2) == b"\r\n" and line.group(1):
            return int(line.group(1)), end
        if data[end : end + 1] == b"\r":
            end += 1  # what does not fit stands behind it
        if end < len(data):
            self._unfit("a length that is no number, or has no line end", end, data, base)
        return None

    def _unfit(self, why: str, at: int, data: bytes, base: int) -> None:
        """At data[at] stands what does not fit: zeros up to the end may be a torn tail, all else is damage."""
        self._misfit = AofDamage(why, base + at)
        if data[at:].strip(b"\0"):
            raise self._misfit

    def _refuse_swallowed(self) -> None:
        """A damaged length makes everything behind it look like the inside of one unfinished command. If whole commands
        stand in there, one behind the other up to the end, that is what happened.
        """
        rest = bytes(self._bytes)
        for tried, border in enumerate(_FOLLOWS.finditer(rest)):
            if tried >= _CHECKED_BORDERS:
                return
            probe = CommandReader()
            try:
                commands = probe.feed(rest[border.end() :])
            except AofDamage:
                continue
            if len(commands) > 1 or (commands and not probe._bytes):
                why = "a command that reaches beyond the end of the file, with whole commands inside"
                raise AofDamage(why, self.end)


def is_rdb(first: bytes) -> bool:
    """Whether a file that begins so is an RDB file (or begins with one)."""
    return first.startswith(RDB_MAGICS)

