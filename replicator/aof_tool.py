"""Looking into append-only files: `replicator aof check` and `replicator aof dump`.

PATH is a manifest, the directory that holds one, or one file (of any version). Files are read in portions.

`check` tells of each part what is in it and up to where it can be believed. What a crash leaves (a command that was cut
off, zeros, a transaction without its EXEC) at the end of the last part is no damage: a start cuts it off, and so does
--fix. Damage is cut off by --fix too, with all that stands behind it, when that is confirmed, and in the last part
alone: behind a hole in another one the later parts would be wrong.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from replicator.core.wire.aof import AofDamage, CommandReader, Ending, Manifest, ManifestError, is_rdb, parse_manifest
from replicator.core.wire.rdb import RdbError, RdbReader
from replicator.rdb_tool import PORTION_BYTES, Printing, Sink, json_text

_ENDINGS = {
    Ending.WHOLE: "",
    Ending.SHORT: "ends inside a command",
    Ending.ZEROS: "ends in zeros",
    Ending.OPEN: "ends inside a transaction",
}


@dataclass(slots=True)
class Part:
    """One file, as far as it could be read. sound: up to here it can be believed. why: "" if it is whole; damaged: it
    is not only cut off."""

    path: Path
    size: int = 0
    rdb_bytes: int = 0
    keys: int = 0
    commands: int = 0
    stamps: int = 0
    sound: int = 0
    why: str = ""
    damaged: bool = False
    in_rdb: bool = False


class Unreadable(Exception):
    """There is nothing to look into; the text says why."""


def parts_of(path: Path) -> tuple[Path | None, list[Path]]:
    """The manifest (None: a single file) and the files in their order. Raises Unreadable."""
    if path.is_dir():
        manifests = sorted(path.glob("*.manifest")) or sorted(path.glob("*/*.manifest"))  # a server's `dir` will do
        found = [one for one in manifests if not one.name.startswith("temp-")]
        if len(found) != 1:
            raise Unreadable(f"{path}: {'no manifest' if not found else 'more than one manifest'} in this directory")
        path = found[0]
    if not path.name.endswith(".manifest"):
        return None, [path]
    try:
        manifest: Manifest = parse_manifest(path.read_bytes())
    except ManifestError as problem:
        raise Unreadable(f"{path}: {problem}") from None
    return path, [path.parent / part.name for part in manifest.parts]


def _portions(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while portion := file.read(PORTION_BYTES):
            yield portion


class _Counting(Sink):
    def __init__(self) -> None:
        super().__init__()
        self.keys = 0

    def entry(
        self, key: bytes, kind: str, value: Any, expire_ms: int | None, idle: int | None, freq: int | None
    ) -> None:
        self.keys += 1


class Reading:
    """One file on its way: an RDB file, commands, or both. Told to whoever subclasses it."""

    def __init__(self, path: Path, sink: Sink) -> None:
        self.part = Part(path, path.stat().st_size)
        self._sink = sink
        self._rdb: RdbReader | None = None
        self._reader: CommandReader | None = None

    def commands(self, batch: list[list[bytes]], reader: CommandReader) -> None:
        """Some commands."""

    def run(self) -> Part:
        """Read all of it. Raises OSError."""
        part = self.part
        try:
            for number, portion in enumerate(_portions(part.path)):
                self._take(portion, first=number == 0)
            self._end()
        except RdbError as problem:
            part.why, part.sound = f"its RDB file is broken: {problem.message}", problem.offset
            part.damaged = part.in_rdb = True
        except AofDamage as problem:
            part.why, part.damaged = f"{problem.why}, at offset {problem.offset}", True
            assert self._reader is not None
            part.sound = self._reader.sound
        return part

    def _take(self, portion: bytes, *, first: bool) -> None:
        if first:
            if is_rdb(portion):
                self._rdb = RdbReader(self._sink, check_crc=True)
            else:
                self._reader = CommandReader()
        if self._rdb is not None:
            self._rdb.feed(portion)
            if not self._rdb.done:
                return
            self.part.rdb_bytes = self._rdb.position
            portion = self._rdb.rest
            self._reader = CommandReader(self._rdb.position)
            self._rdb = None
        assert self._reader is not None
        if portion:
            batch = self._reader.feed(portion)
            self.part.commands += len(batch)
            self.commands(batch, self._reader)

    def _end(self) -> None:
        if self._rdb is not None:
            self._rdb.close()
        reader = self._reader
        if reader is None:
            return  # an empty file
        self.part.stamps = reader.stamps
        self.part.sound = reader.sound
        self.part.why = _ENDINGS[reader.ending]


def check(path: Path) -> list[Part]:
    """What is in each file. Raises Unreadable, OSError."""
    _, files = parts_of(path)
    found = []
    for file in files:
        if not file.exists():
            raise Unreadable(f"{file}: the manifest names it, and it is not there")
        counting = _Counting()
        part = Reading(file, counting).run()
        part.keys = counting.keys
        found.append(part)
    return found


def _told(part: Part) -> str:
    inside = [f"{part.keys} keys in an RDB file of {part.rdb_bytes} bytes"] if part.rdb_bytes else []
    if part.commands or not inside:
        inside.append(f"{part.commands} commands")
    if part.stamps:
        inside.append(f"{part.stamps} timestamps")
    text = f"{part.path.name}: {part.size} bytes, {', '.join(inside)}"
    if part.why:
        text += f"; {'BROKEN: ' if part.damaged else ''}{part.why}; sound up to offset {part.sound}"
    return text


def _wrong(parts: list[Part]) -> Part | None:
    """The first part that is not whole; all but the last have to be."""
    return next((part for part in parts if part.why), None)


class _Dump(Reading):
    """Writes a JSON object a line."""

    def __init__(self, path: Path, out: Any) -> None:
        self._out = out
        self._database = 0
        super().__init__(path, Printing(out))

    def _line(self, content: dict[str, Any]) -> None:
        self._out.write(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")

    def commands(self, batch: list[list[bytes]], reader: CommandReader) -> None:
        marks = dict(reader.marks)
        for at, argv in enumerate(batch):
            if at in marks:
                self._line({"time_s": marks[at]})
            self._line({"offset": reader.offset_of(at, batch), "argv": [json_text(word) for word in argv]})

    def run(self) -> Part:
        self._line({"file": self.part.path.name, "size": self.part.size})
        part = super().run()
        self._line({"end": part.why or "whole", "sound": part.sound if part.commands or part.why else part.size})
        return part


# -- the commands ------------------------------------------------------------------------------------------------------

_PATH = click.Path(exists=True, path_type=Path)


@click.group()
def aof() -> None:
    """Look into append-only files."""


@aof.command("check")
@click.argument("path", type=_PATH)
@click.option("--fix", is_flag=True, help="Cut the last file back to where it can be believed.")
@click.option("--yes", is_flag=True, help="With --fix: ask nothing, whatever is cut off.")
def check_command(path: Path, fix: bool, yes: bool) -> None:
    """Read PATH (a manifest, its directory, or one file) and tell what is in it.

    Exit code 1 where it is not whole.
    """
    try:
        parts = check(path)
    except (Unreadable, OSError) as problem:
        raise SystemExit(_complain(str(problem))) from None
    for part in parts:
        click.echo(_told(part))
    wrong = _wrong(parts)
    if wrong is None:
        click.echo("OK: all files are whole")
        return
    if not fix:
        hint = "a start with aof-load-truncated yes, or --fix, cuts it off" if not wrong.damaged else "see --fix"
        text = f"{wrong.path.name} is not whole: {hint}" if wrong is parts[-1] else _not_last(wrong)
        raise SystemExit(_complain(text))
    if wrong is not parts[-1]:
        raise SystemExit(_complain(_not_last(wrong)))
    if wrong.in_rdb:
        raise SystemExit(_complain(f"{wrong.path.name}: there is nothing in it that could be kept"))
    gone = wrong.size - wrong.sound
    if wrong.damaged and not yes:
        text = f"{gone} bytes from offset {wrong.sound} on will be cut off, sound ones among them."
        click.confirm(f"{text} Go on?", abort=True)
    with wrong.path.open("r+b") as file:
        file.truncate(wrong.sound)
    click.echo(f"{wrong.path.name}: {gone} bytes cut off; it is whole now, with {wrong.sound} bytes")


def _not_last(part: Part) -> str:
    return f"{part.path.name} is not the last file, so nothing can be cut off: the later ones would follow a hole"


def _complain(text: str) -> int:
    click.echo(f"replicator aof: {text}", err=True)
    return 1


@aof.command("dump")
@click.argument("path", type=_PATH)
@click.option("--json", "as_json", is_flag=True, required=True, help="A JSON object a line.")
def dump_command(path: Path, as_json: bool) -> None:
    """Write all that PATH holds: keys of RDB files as `rdb dump` has them, commands with their offsets, timestamps."""
    try:
        _, files = parts_of(path)
        parts = [_Dump(file, sys.stdout).run() for file in files]
    except (Unreadable, OSError) as problem:
        raise SystemExit(_complain(str(problem))) from None
    wrong = _wrong(parts)
    if wrong is not None:
        raise SystemExit(_complain(_told(wrong)))
