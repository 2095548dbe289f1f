"""`replicator aof check` and `replicator aof dump`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from replicator.aof_tool import aof
from replicator.core.keyspace.database import Keyspace
from replicator.core.persistence.rdb import snapshot_chunks
from replicator.core.wire.aof import timestamp
from replicator.core.wire.request import encode

SET = [encode((b"SET", b"k%d" % i, b"v")) for i in range(5)]
MULTI, EXEC = encode((b"MULTI",)), encode((b"EXEC",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A base of one key and two increments."""
    keyspace = Keyspace(1)
    keyspace.databases[0].values[b"key"] = b"value"
    (tmp_path / "a.1.base.rdb").write_bytes(b"".join(snapshot_chunks(keyspace)))
    (tmp_path / "a.1.incr.aof").write_bytes(SET[0] + SET[1])
    (tmp_path / "a.2.incr.aof").write_bytes(timestamp(1700000000) + SET[2] + MULTI + SET[3] + EXEC)
    lines = ["file a.1.base.rdb seq 1 type b", "file a.1.incr.aof seq 1 type i", "file a.2.incr.aof seq 2 type i"]
    (tmp_path / "a.manifest").write_text("\n".join(lines) + "\n")
    return tmp_path


def run(*words: str | Path, answer: str | None = None) -> tuple[int, str]:
    done = CliRunner().invoke(aof, list(map(str, words)), input=answer)
    return done.exit_code, done.output


def test_what_is_whole_is_told_part_by_part(folder: Path) -> None:
    for path in (folder, folder / "a.manifest", folder.parent):
        if path == folder.parent and len(list(path.glob("*/*.manifest"))) > 1:
            continue
        code, text = run("check", path)
        assert code == 0, text
        assert "a.1.base.rdb" in text and "1 keys in an RDB file" in text
        assert "a.2.incr.aof: 101 bytes, 4 commands, 1 timestamps" in text
        assert text.endswith("OK: all files are whole\n")


@pytest.mark.parametrize(
    ("tail", "why"),
    [
        (SET[4][:9], "ends inside a command"),
        (bytes(100), "ends in zeros"),
        (MULTI + SET[4], "ends inside a transaction"),
    ],
)
def test_a_tail_that_a_crash_left_is_told_and_cut_off(folder: Path, tail: bytes, why: str) -> None:
    last = folder / "a.2.incr.aof"
    whole = last.read_bytes()
    last.write_bytes(whole + tail)
    code, text = run("check", folder)
    assert code == 1 and why in text and f"sound up to offset {len(whole)}" in text
    assert last.read_bytes() == whole + tail
    code, text = run("check", "--fix", folder)
    assert code == 0 and f"{len(tail)} bytes cut off" in text
    assert last.read_bytes() == whole
    assert run("check", folder)[0] == 0


def test_damage_is_cut_off_only_when_that_is_confirmed(folder: Path) -> None:
    last = folder / "a.2.incr.aof"
    damaged = last.read_bytes() + b"oops" + SET[4]
    last.write_bytes(damaged)
    code, text = run("check", folder)
    assert code == 1 and "BROKEN: b'o' where '*' should be, at offset 101" in text
    assert run("check", "--fix", folder, answer="n\n")[0] == 1
    assert last.read_bytes() == damaged
    assert run("check", "--fix", folder, answer="y\n")[0] == 0
    assert last.read_bytes() == damaged[:101]


def test_nothing_is_cut_off_a_file_that_others_follow(folder: Path) -> None:
    first = folder / "a.1.incr.aof"
    first.write_bytes(first.read_bytes()[:-3])
    code, text = run("check", "--fix", "--yes", folder)
    assert code == 1 and "a.1.incr.aof is not the last file" in text
    (folder / "a.1.incr.aof").unlink()
    code, text = run("check", folder)
    assert code == 1 and "the manifest names it, and it is not there" in text


def test_a_manifest_that_is_none_is_told_with_its_line(folder: Path) -> None:
    (folder / "a.manifest").write_text("file a.1.base.rdb seq 1 type b\nfile x\n")
    code, text = run("check", folder)
    assert code == 1 and "Invalid AOF manifest file format (line 2: 'file x')" in text


def test_a_dump_has_keys_commands_with_offsets_and_times(folder: Path) -> None:
    code, text = run("dump", folder, "--json")
    assert code == 0
    lines = [json.loads(line) for line in text.splitlines()]
    assert {"db": 0, "key": "key", "type": "string", "value": "value"} in lines
    assert {"offset": len(SET[0]), "argv": ["SET", "k1", "v"]} in lines
    at = lines.index({"time_s": 1700000000})
    assert lines[at - 1] == {"file": "a.2.incr.aof", "size": 101}
    assert lines[at + 1] == {"offset": 16, "argv": ["SET", "k2", "v"]}
    assert lines[-1] == {"end": "whole", "sound": 101}


def test_a_single_file_of_an_older_version_is_read(folder: Path, tmp_path: Path) -> None:
    single = tmp_path / "appendonly.aof"
    single.write_bytes((folder / "a.1.base.rdb").read_bytes() + SET[0] + SET[1][:7])
    code, text = run("check", single)
    assert code == 1 and "1 keys in an RDB file" in text and "ends inside a command" in text
    assert run("check", "--fix", single)[0] == 0
    assert run("check", single)[0] == 0
