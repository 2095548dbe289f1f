"""`replicator rdb check` and `replicator rdb dump`."""

from __future__ import annotations

import io
import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from replicator.rdb_tool import check, dump_json, json_text, rdb
from tests.golden.rdb import make
from tests.support.rdb_collector import comparable

GOLDEN = make.HERE / "valkey9-compressed.rdb"


def as_bytes(item: Any) -> bytes:
    """The byte string that JSON shows."""
    if isinstance(item, dict):
        assert list(item) == ["base64"]
        return b64decode(item["base64"])
    assert isinstance(item, str)
    return item.encode()


def value_of(kind: str, value: Any) -> Any:
    if kind == "string":
        return as_bytes(value)
    if kind in ("list", "set"):
        return [as_bytes(item) for item in value]
    if kind == "hash":
        return {as_bytes(name): as_bytes(content) for name, content in value}
    return [(as_bytes(member), float(score)) for member, score in value]


def test_the_json_of_a_file_holds_all_that_was_stored() -> None:
    out = io.StringIO()
    dump_json(GOLDEN, out)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert lines[0] == {"rdb_version": 80}
    assert {"function": make.LIBRARY.decode()} in lines
    assert {"aux": "valkey-ver", "value": "9.1.2"} in lines
    found = {(line["db"], as_bytes(line["key"])): line for line in lines if "key" in line}
    for index, data in make.contents().items():
        for key, (kind, value) in data.items():
            line = found.pop((index, key))
            assert line["type"] == kind
            assert comparable(kind, value_of(kind, line["value"])) == comparable(kind, value), key
            assert line.get("expire_ms") == (make.EXPIRING.get(key) if index == 0 else None)
    for key, (entries, last_id) in make.STREAMS.items():
        value = found.pop((0, key))["value"]
        assert value["last_id"] == f"{last_id[0]}-{last_id[1]}"
        assert [(place, [as_bytes(part) for part in fields]) for place, fields in value["entries"]] == [
            (f"{ms}-{sequence}", fields) for (ms, sequence), fields in entries
        ]
        if key == b"stream:small":
            (reads,) = (group for group in value["groups"] if group["name"] == "reads")
            assert [(entry["id"], entry["consumer"]) for entry in reads["pending"]] == [
                ("2-0", "alice"),
                (f"{2**64 - 1}-1", "bob"),
            ]
    assert not found


def test_bytes_that_are_no_utf8_are_told_apart_from_texts_that_look_like_them() -> None:
    assert json_text(b"caf\xc3\xa9") == "café"
    assert json_text(b"\xff") == {"base64": "/w=="}
    assert json_text(b'{"base64": "/w=="}') == '{"base64": "/w=="}'


def test_check_counts_what_is_in_a_file() -> None:
    seen: list[int] = []
    report = check(GOLDEN, progress=seen.append)
    assert report.error is None and report.version == 80 and report.functions == 1
    assert report.total == sum(map(len, make.contents().values())) + len(make.STREAMS)
    assert report.keys[0, "stream"] == 3 and report.keys[15, "list"] == 1 and report.expires == {0: 2}
    assert report.length == report.size == sum(seen)


def test_the_check_command_tells_the_content_and_exits_with_0() -> None:
    result = CliRunner().invoke(rdb, ["check", str(GOLDEN)])
    assert result.exit_code == 0, result.output
    assert "RDB version 80" in result.output
    assert "database 15: 1 keys (list 1), 0 with an expiry" in result.output
    assert "OK: " in result.output


def test_the_check_command_tells_where_a_file_is_broken_and_exits_with_1(tmp_path: Path) -> None:
    data = GOLDEN.read_bytes()
    cut = tmp_path / "cut.rdb"
    cut.write_bytes(data[:5000])
    result = CliRunner().invoke(rdb, ["check", str(cut)])
    assert result.exit_code == 1
    assert "BROKEN at byte 5000 of 5000: the file ends too early" in result.output
    assert "the last key that could be read is" in result.output
    wrong = tmp_path / "wrong.rdb"
    wrong.write_bytes(data[:-1] + bytes((data[-1] ^ 1,)))
    result = CliRunner().invoke(rdb, ["check", str(wrong)])
    assert result.exit_code == 1 and f"BROKEN at byte {len(data) - 8}" in result.output
    assert CliRunner().invoke(rdb, ["check", "--no-checksum", str(wrong)]).exit_code == 0
    assert CliRunner().invoke(rdb, ["check", str(tmp_path / "missing.rdb")]).exit_code == 2


def test_bytes_behind_a_snapshot_are_reported_not_read(tmp_path: Path) -> None:
    both = tmp_path / "mixed.aof"
    both.write_bytes(GOLDEN.read_bytes() + b"*1\r\n$4\r\nPING\r\n")
    result = CliRunner().invoke(rdb, ["check", str(both)])
    assert result.exit_code == 0 and "14 bytes of an append-only file follow the snapshot" in result.output
    both.write_bytes(GOLDEN.read_bytes() + b"\0\0\0")
    result = CliRunner().invoke(rdb, ["check", str(both)])
    assert result.exit_code == 1 and "\nOK" not in result.output, result.output
    assert f"BROKEN at byte {GOLDEN.stat().st_size}" in result.output and "3 bytes behind the end" in result.output


def test_the_dump_command_prints_what_comes_before_the_damage(tmp_path: Path) -> None:
    result = CliRunner().invoke(rdb, ["dump", str(GOLDEN), "--json"])
    assert result.exit_code == 0
    whole = result.stdout.splitlines()
    cut = tmp_path / "cut.rdb"
    cut.write_bytes(GOLDEN.read_bytes()[:5000])
    result = CliRunner().invoke(rdb, ["dump", str(cut), "--json"])
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert len(lines) > 10 and lines == whole[: len(lines)]
    assert "broken at byte 5000: the file ends too early" in result.stderr


@pytest.mark.parametrize("engine", make.ENGINES)
def test_idle_times_and_frequencies_are_shown(engine: str) -> None:
    out = io.StringIO()
    dump_json(make.HERE / f"{engine}-lru.rdb", out)
    assert all(line["idle_s"] == 0 for line in map(json.loads, out.getvalue().splitlines()) if "key" in line)
    out = io.StringIO()
    dump_json(make.HERE / f"{engine}-lfu.rdb", out)
    assert all(line["freq"] > 0 for line in map(json.loads, out.getvalue().splitlines()) if "key" in line)
