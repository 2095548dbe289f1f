"""The log's lines."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from replicator.core.effects import Level
from replicator.runtime import observe
from replicator.runtime.logfile import LogFile, stamp


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Local time is UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def test_a_line_has_process_role_date_level_and_message(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "log"), role="M", unix_ns=lambda: 1_795_356_361_123_999_999)
    log.write(Level.NOTICE, "Ready to accept connections")
    log.set_role("S")
    log.write(Level.WARNING, "Connection with master lost.")
    assert (tmp_path / "log").read_text() == (
        f"{os.getpid()}:M 22 Nov 2026 14:06:01.123 * Ready to accept connections\n"
        f"{os.getpid()}:S 22 Nov 2026 14:06:01.123 # Connection with master lost.\n"
    )


def test_the_date_has_leading_zeros_and_english_months() -> None:
    assert stamp(1_704_164_645_007_000_000) == "02 Jan 2024 03:04:05.007"


@pytest.mark.parametrize(
    ("level", "written"), [("debug", ".-*#"), ("verbose", "-*#"), ("notice", "*#"), ("warning", "#"), ("nothing", "")]
)
def test_lines_below_the_level_are_left_out(tmp_path: Path, level: str, written: str) -> None:
    log = LogFile(str(tmp_path / "log"))
    log.set_level(level)
    for each in (Level.DEBUG, Level.VERBOSE, Level.NOTICE, Level.WARNING):
        log.write(each, "x")
    lines = (tmp_path / "log").read_text().splitlines()
    assert "".join(line.split()[-2] for line in lines) == written


def test_standard_output_is_written_line_by_line(capfd: pytest.CaptureFixture[str]) -> None:
    LogFile().raw("one\n")
    assert capfd.readouterr().out == "one\n"


def test_an_odd_byte_of_a_name_does_not_end_the_log(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "log"))
    log.raw(b"\xff".decode("utf-8", "surrogateescape") + "\n")
    assert (tmp_path / "log").read_bytes() == b"\\udcff\n"


def test_a_log_that_cannot_be_written_is_borne(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    log = LogFile(str(tmp_path / "folder" / "log"))
    (tmp_path / "folder" / "log").unlink()
    (tmp_path / "folder").rmdir()
    log.write(Level.WARNING, "nobody hears")
    assert list(tmp_path.iterdir()) == []


def test_memory_is_told_at_most_a_tenth_of_a_second_old(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = 0
    monkeypatch.setattr(time, "monotonic_ns", lambda: now_ns)
    readings = iter([10, 20])
    monkeypatch.setattr(observe, "read_resident_bytes", lambda: next(readings))
    memory = observe.memory_meter()
    assert memory() == 10
    now_ns = 99_999_999
    assert memory() == 10
    now_ns = 100_000_000
    assert memory() == 20


def test_resident_memory_is_that_of_this_process() -> None:
    ballast = bytearray(os.urandom(1)) * 50_000_000
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    assert abs(observe.read_resident_bytes() - int(line.split()[1]) * 1024) < 5_000_000
    assert observe.read_resident_bytes() > len(ballast)


def test_the_meter_counts_microseconds_and_seeds_differ() -> None:
    begin = observe.meter()
    begin_s = time.monotonic()
    while time.monotonic() - begin_s < 0.002:
        pass
    assert 2_000 <= observe.meter() - begin < 1_000_000
    assert observe.entropy() != observe.entropy()
