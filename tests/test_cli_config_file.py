"""The configuration on disk: found, read where it lies, rewritten whole or not at all."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from replicator.config_file import CannotOpen, ConfigFileError, FileStore, load
from replicator.core.config.config import ConfigError


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # puts the directory back, whatever `dir` has made of it


def test_a_file_and_directives_join(tmp_path: Path) -> None:
    Path("a.conf").write_text("port 7000\ntimeout 5\n")
    config = load(["a.conf", "--timeout", "9"])
    assert (config["port"], config["timeout"]) == (7000, 9)
    assert config.store.path == str(tmp_path / "a.conf")


def test_dir_takes_effect_where_its_line_is_read(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "more.conf").write_text("timeout 8\n")
    Path("a.conf").write_text("dir data\ninclude more.conf\nlogfile node.log\n")
    config = load(["a.conf"])
    assert config["timeout"] == 8
    assert config["dir"] == os.getcwd() == str(data)
    assert (data / "node.log").exists()
    config.set_many([("timeout", "3")])
    config.save_file()
    assert "timeout 3" in (tmp_path / "a.conf").read_text()
    assert not (data / "a.conf").exists()


def test_includes_take_wildcards_in_the_order_of_names() -> None:
    Path("conf.d").mkdir()
    Path("conf.d/b.conf").write_text("timeout 2\n")
    Path("conf.d/a.conf").write_text("timeout 1\nport 1\n")
    Path("main.conf").write_text("include conf.d/*.conf\ninclude none/*.conf\n")
    config = load(["main.conf"])
    assert (config["timeout"], config["port"]) == (2, 1)


def test_an_error_in_an_included_file_names_that_file() -> None:
    Path("other.conf").write_text("\nbogus 1\n")
    Path("main.conf").write_text("include other.conf\n")
    with pytest.raises(ConfigFileError) as caught:
        load(["main.conf"])
    assert (caught.value.file, caught.value.line_number) == ("other.conf", 2)


def test_a_file_that_is_not_there_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(CannotOpen, match=f"can't open config file '{tmp_path}/none.conf': No such file"):
        load(["none.conf"])
    Path("main.conf").write_text("include none.conf\n")
    with pytest.raises(ConfigError, match=r"can't open config file 'none\.conf'"):
        load(["main.conf"])


def test_standard_input_stands_between_file_and_directives(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.conf").write_text("port 1\ntimeout 1")
    for arguments in (["a.conf", "-"], ["a.conf", "--hz", "20", "-"]):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"port 2\nhz 30\n")))
        config = load(arguments)
        assert (config["port"], config["timeout"], config["hz"]) == (2, 1, 20 if "--hz" in arguments else 30)


def test_any_bytes_of_a_file_survive_a_rewrite() -> None:
    raw = b"# caf\xe9 \xff\nrequirepass \"a\\xffb\"\ntimeout 1\n"
    Path("a.conf").write_bytes(raw)
    config = load(["a.conf"])
    config.set_many([("timeout", "2")])
    config.save_file()
    assert Path("a.conf").read_bytes().startswith(raw.replace(b"timeout 1", b"timeout 2"))


def test_a_rewrite_keeps_the_mode_and_follows_a_link(tmp_path: Path) -> None:
    real = tmp_path / "real.conf"
    real.write_text("timeout 1\n")
    real.chmod(0o600)
    Path("link.conf").symlink_to(real)
    FileStore("link.conf").write("timeout 2\n")
    assert Path("link.conf").is_symlink()
    assert real.read_text() == "timeout 2\n"
    assert real.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.conf", "real.conf"]


def test_a_rewrite_that_fails_leaves_the_file_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Path("a.conf").write_text("timeout 1\n")

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    store = FileStore("a.conf")
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(ConfigError, match="No space left on device"):
        store.write("timeout 2\n")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.conf", "timeout 1\n")]


def test_a_file_that_was_removed_meanwhile_is_written_anew() -> None:
    Path("a.conf").write_text("timeout 1\n")
    config = load(["a.conf"])
    Path("a.conf").unlink()
    config.save_file()
    assert "timeout 1\n" in Path("a.conf").read_text()


def test_a_directory_that_cannot_be_entered_is_told() -> None:
    with pytest.raises(ConfigError, match="No such file or directory"):
        FileStore().enter("nowhere")
    Path("file").write_text("")
    with pytest.raises(ConfigError, match="Not a directory"):
        load(["--dir", "file"])
