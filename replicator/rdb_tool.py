"""Looking into RDB files: `replicator rdb check` and `replicator rdb dump`.

Files are read in portions and each entry is dropped once it is counted or printed: memory is that of the largest value.

JSON: a byte string is a JSON string if it is UTF-8, else {"base64": "..."}; nothing else is ever an object with this
one name. Scores that JSON has no numbers for are the strings "inf" and "-inf". See docs/rdb.md.
"""

from __future__ import annotations

import io
import json
import math
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

import click

from replicator.core.wire.rdb import RdbError, RdbReader, RdbStream

PORTION_BYTES = 1 << 20


class Sink:
    """Tells an entry's database along with it; leaves out what nobody asks for."""

    def __init__(self) -> None:
        self.database = 0

    def version(self, number: int) -> None: ...

    def auxiliary(self, name: bytes, value: bytes) -> None: ...

    def select(self, index: int) -> None:
        self.database = index

    def resize(self, keys: int, expires: int) -> None: ...

    def entry(
        self, key: bytes, kind: str, value: Any, expire_ms: int | None, idle: int | None, freq: int | None
    ) -> None: ...

    def function(self, code: bytes) -> None: ...

    def end(self) -> None: ...


def _portions(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while portion := file.read(PORTION_BYTES):
            yield portion


def _read(path: Path, sink: Sink, check_crc: bool, progress: Callable[[int], None]) -> RdbReader:
    """Read the whole file into the sink; the reader afterwards. Raises RdbError and OSError."""
    reader = RdbReader(sink, check_crc=check_crc)
    for portion in _portions(path):
        reader.feed(portion)
        progress(len(portion))
        if reader.done:
            break
    reader.close()
    return reader


# -- check -------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Report:
    """What is in a file, as far as it could be read.

    keys: (database, kind) -> number. error: None if the file is whole; else what is wrong, at byte error_offset.
    size: of the file; length: of the data in it (more may follow, as behind the snapshot of an append-only file).
    """

    path: Path
    size: int = 0
    length: int = 0
    version: int = 0
    aux: list[tuple[bytes, bytes]] = field(default_factory=list)
    functions: int = 0
    keys: dict[tuple[int, str], int] = field(default_factory=dict)
    expires: dict[int, int] = field(default_factory=dict)
    skipped: int = 0
    error: str | None = None
    error_offset: int = 0
    last_key: bytes | None = None
    follows: bool = False  # commands of an append-only file, whose base this snapshot then is

    @property
    def total(self) -> int:
        """All keys."""
        return sum(self.keys.values())


class _Counting(Sink):
    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report

    def version(self, number: int) -> None:
        self.report.version = number

    def auxiliary(self, name: bytes, value: bytes) -> None:
        self.report.aux.append((name, value))

    def entry(
        self, key: bytes, kind: str, value: Any, expire_ms: int | None, idle: int | None, freq: int | None
    ) -> None:
        report = self.report
        place = (self.database, kind)
        report.keys[place] = report.keys.get(place, 0) + 1
        report.last_key = key
        if expire_ms is not None:
            report.expires[self.database] = report.expires.get(self.database, 0) + 1

    def function(self, code: bytes) -> None:
        self.report.functions += 1


def _ignore(size: int) -> None:
    pass


def check(path: Path | str, *, check_crc: bool = True, progress: Callable[[int], None] = _ignore) -> Report:
    """Read the file and count. progress: is told the size of each portion. Raises OSError, never RdbError."""
    report = Report(Path(path))
    report.size = report.path.stat().st_size
    try:
        reader = _read(report.path, _Counting(report), check_crc, progress)
        report.length, report.skipped = reader.position, reader.skipped
        _look_behind(report)
    except RdbError as problem:
        report.error, report.error_offset = problem.message, problem.offset
    return report


def _look_behind(report: Report) -> None:
    """What is behind the snapshot: nothing, or the commands of an append-only file; anything else is damage."""
    if report.length == report.size:
        return
    with report.path.open("rb") as file:
        file.seek(report.length)
        report.follows = file.read(1) in (b"*", b"#")
    if not report.follows:
        report.error = f"{report.size - report.length} bytes behind the end of the snapshot, which belong to nothing"
        report.error_offset = report.length


def _lines(report: Report) -> Iterator[str]:
    """The report for people."""
    if report.version:
        yield f"RDB version {report.version}"
    for name, value in report.aux:
        yield f"  {_shown(name)} = {_shown(value)}"
    if report.functions:
        yield f"function libraries: {report.functions}"
    for index in sorted({index for index, _ in report.keys}):
        kinds = [(kind, count) for (place, kind), count in report.keys.items() if place == index]
        total = sum(count for _, count in kinds)
        each = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds))
        yield f"database {index}: {total} keys ({each}), {report.expires.get(index, 0)} with an expiry"
    if report.skipped:
        yield f"empty collections left out: {report.skipped}"
    if report.error is not None:
        yield f"BROKEN at byte {report.error_offset} of {report.size}: {report.error}"
        if report.last_key is not None:
            yield f"the last key that could be read is {_shown(report.last_key)}, number {report.total}"
    else:
        if report.follows:
            yield f"{report.size - report.length} bytes of an append-only file follow the snapshot"
        yield f"OK: {report.total} keys in {report.length} bytes"


def _shown(data: bytes) -> str:
    text = data[:200].decode("utf-8", "backslashreplace")
    return text if text.isprintable() else repr(text)[1:-1]


# -- dump --------------------------------------------------------------------------------------------------------------


def json_text(data: bytes) -> str | dict[str, str]:
    """A byte string for JSON."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode()}


def _score(score: float) -> float | str:
    return score if math.isfinite(score) else ("inf" if score > 0 else "-inf")


def _id(identifier: tuple[int, int]) -> str:
    return f"{identifier[0]}-{identifier[1]}"


def _stream(stream: RdbStream) -> dict[str, Any]:
    return {
        "entries": [[_id(place), [json_text(part) for part in fields]] for place, fields in stream.entries],
        "last_id": _id(stream.last_id),
        "max_deleted_id": _id(stream.max_deleted_id),
        "entries_added": stream.entries_added,
        "groups": [
            {
                "name": json_text(group.name),
                "last_id": _id(group.last_id),
                "entries_read": group.entries_read,
                "consumers": [
                    {"name": json_text(reader.name), "seen_ms": reader.seen_ms, "active_ms": reader.active_ms}
                    for reader in group.consumers
                ],
                "pending": [
                    {
                        "id": _id(entry.id),
                        "consumer": json_text(entry.consumer),
                        "delivered_ms": entry.delivered_ms,
                        "deliveries": entry.deliveries,
                    }
                    for entry in group.pending
                ],
            }
            for group in stream.groups
        ],
    }


_JSON_VALUES: dict[str, Callable[[Any], Any]] = {
    "string": json_text,
    "list": lambda value: [json_text(element) for element in value],
    "set": lambda value: [json_text(member) for member in value],
    "hash": lambda value: [[json_text(name), json_text(content)] for name, content in value.items()],
    "zset": lambda value: [[json_text(member), _score(score)] for member, score in value],
    "stream": _stream,
}


class Output(Protocol):
    """Where lines go."""

    def write(self, text: str, /) -> Any: ...


class Printing(Sink):
    def __init__(self, out: Output) -> None:
        super().__init__()
        self.out = out

    def _line(self, content: dict[str, Any]) -> None:
        self.out.write(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")

    def version(self, number: int) -> None:
        self._line({"rdb_version": number})

    def auxiliary(self, name: bytes, value: bytes) -> None:
        self._line({"aux": json_text(name), "value": json_text(value)})

    def function(self, code: bytes) -> None:
        self._line({"function": json_text(code)})

    def entry(
        self, key: bytes, kind: str, value: Any, expire_ms: int | None, idle: int | None, freq: int | None
    ) -> None:
        line: dict[str, Any] = {"db": self.database, "key": json_text(key), "type": kind}
        for name, number in (("expire_ms", expire_ms), ("idle_s", idle), ("freq", freq)):
            if number is not None:
                line[name] = number
        line["value"] = _JSON_VALUES[kind](value)
        self._line(line)


def dump_json(path: Path | str, out: Output | TextIO, *, check_crc: bool = True) -> None:
    """Write a JSON object a line: the version, auxiliary fields, functions, every key. Raises RdbError, OSError."""
    _read(Path(path), Printing(out), check_crc, _ignore)


# -- the commands ------------------------------------------------------------------------------------------------------

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_NO_CHECKSUM = "Do not hold the data against the file's checksum."


@click.group()
def rdb() -> None:
    """Look into snapshot files."""


@rdb.command("check")
@click.argument("file", type=_FILE)
@click.option("--no-checksum", is_flag=True, help=_NO_CHECKSUM)
def check_command(file: Path, no_checksum: bool) -> None:
    """Read FILE to its end and tell what is in it, or where it is broken (exit code 1)."""
    size = file.stat().st_size
    with click.progressbar(length=size, label="reading", file=sys.stderr) as bar:
        report = check(file, check_crc=not no_checksum, progress=bar.update)
    for line in _lines(report):
        click.echo(line)
    if report.error is not None:
        raise SystemExit(1)


@rdb.command("dump")
@click.argument("file", type=_FILE)
@click.option("--no-checksum", is_flag=True, help=_NO_CHECKSUM)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line (the only form so far, and the default).")
def dump_command(file: Path, no_checksum: bool, as_json: bool) -> None:
    """Print what is in FILE, a key a line. What is no UTF-8 is given as {"base64": "..."}."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    try:
        dump_json(file, sys.stdout, check_crc=not no_checksum)
    except RdbError as problem:
        sys.stdout.flush()
        click.echo(f"{file}: broken at byte {problem.offset}: {problem.message}", err=True)
        raise SystemExit(1) from None
