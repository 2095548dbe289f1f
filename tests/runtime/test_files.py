"""Trouble with files: full disks and failing syncs leave no half records and no holes."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from replicator.core import events as told
from replicator.runtime.files import Files


@contextmanager
def small_files() -> Iterator[None]:
    """No file of this process may grow beyond 1000 bytes, nor the one that the test runner writes its progress to: so
    nothing but the append that is to fail may stand inside."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_failed_append_leaves_the_file_as_it_was_and_holds_back_what_follows(tmp_path: Path) -> None:
    heard: list[told.Event] = []
    files = Files(heard.append, str(tmp_path))
    assert files.append("log", b"a" * 900, True)
    with small_files():
        assert not files.append("log", b"b" * 200, False)
    assert not files.append("log", b"c", False), "it would follow a hole"
    assert not files.sync("log")
    assert not files.commit("log", "final")
    assert (tmp_path / "log").read_bytes() == b"a" * 900
    assert heard == [told.FileFailed("log", "File too large", False)] * 4
    files.forgive("log")
    assert files.append("log", b"d", False)
    assert files.commit("log", "final")
    assert (tmp_path / "final").read_bytes() == b"a" * 900 + b"d"
    files.shut()


def test_a_full_disk_is_told() -> None:
    heard: list[told.Event] = []
    files = Files(heard.append)
    assert not files.append("/dev/full", b"x", False)
    assert heard == [told.FileFailed("/dev/full", "No space left on device", False)]
    files.shut()


def test_a_sync_that_fails_is_told_and_holds_back_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[told.Event] = []
    files = Files(heard.append, str(tmp_path))
    assert files.append("log", b"x", True)

    def failing(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    assert not files.sync("log")
    monkeypatch.undo()
    assert not files.commit("log", "final")
    why = "Input/output error"
    assert heard == [told.FileFailed("log", why, False, syncing=True), told.FileFailed("log", why, False)]
    assert os.listdir(tmp_path) == ["log"]
    files.shut()


def test_the_directory_is_synced_once_for_a_new_file_and_after_each_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def noting(fd: int) -> None:
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        real(fd)

    monkeypatch.setattr(os, "fsync", noting)
    files = Files(lambda event: None, str(tmp_path))
    files.append("log", b"x", True)
    files.sync("log")
    files.append("log", b"y", False)
    files.sync("log")
    assert synced == ["log", tmp_path.name, "log"]
    files.commit("log", "final")
    assert synced[3:] == ["log", tmp_path.name]
    files.shut()


def test_relative_names_lie_in_the_directory_of_the_moment(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    files = Files(lambda event: None, str(tmp_path / "a"))
    files.append("log", b"1", True)
    files.directory = str(tmp_path / "b")
    files.append("log", b"2", False)
    files.append("other", b"3", True)
    files.commit("log", "final")
    assert (tmp_path / "b" / "final").read_bytes() == b"12"
    assert (tmp_path / "b" / "other").read_bytes() == b"3"
    assert os.listdir(tmp_path / "a") == []
    files.shut()


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    files = Files(lambda event: None, str(tmp_path))
    files.append("a", b"x", True)
    files.append("b", b"x", True)
    files.append("b", b"x", True)
    files.commit("b", "c")
    files.remove("a")
    files.start_reading("c", 10)
    files.start_reading("c", 10)
    files.append("d", b"x", True)
    files.shut()
    assert len(os.listdir("/proc/self/fd")) == before
