"""The configuration on disk: reading the file that a node is started with, and rewriting it durably.

    config = load(["redis.conf", "--port", "7000"])

Arguments are those of redis-server: a file first, or "-" as the first or the last word (standard input), then
directives.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Sequence
from glob import glob, has_magic

from replicator.core.config.config import Config, ConfigError, ConfigFileError

__all__ = ["CannotOpen", "ConfigFileError", "FileStore", "load"]


class CannotOpen(ConfigError):
    """The configuration file cannot be read; the text is what stock logs then."""


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        return file.read()


class FileStore:
    """A core.config.ConfigStore on the file system of this process."""

    def __init__(self, path: str = "") -> None:
        # The node may change its directory later; the file stays where it was.
        self.path = os.path.abspath(path) if path else ""

    def read(self) -> str | None:
        """The file's text; None if there is none."""
        try:
            return _read(self.path)
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise ConfigError(problem.strerror or str(problem)) from None

    def write(self, text: str) -> None:
        """Write beside the file, make that durable, and put it in the file's place in one step (its mode is kept)."""
        target = os.path.realpath(self.path)  # a link stays a link
        temporary = f"{target}.{os.getpid()}.tmp"
        try:
            mode = os.stat(target).st_mode & 0o777 if os.path.exists(target) else 0o644
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
            try:
                with open(descriptor, "wb") as file:
                    file.write(text.encode("utf-8", "surrogateescape"))
                    file.flush()
                    os.fchmod(file.fileno(), mode)
                    os.fsync(file.fileno())
                os.rename(temporary, target)
            except OSError:
                os.unlink(temporary)
                raise
            directory = os.open(os.path.dirname(target), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as problem:
            raise ConfigError(problem.strerror or str(problem)) from None

    def enter(self, directory: str) -> str:
        """Change the working directory ("" asks for it); its absolute path."""
        try:
            if directory:
                os.chdir(directory.replace("\0", ""))
            return os.getcwd()
        except OSError as problem:
            raise ConfigError(problem.strerror or str(problem)) from None

    def include(self, pattern: str) -> list[tuple[str, str]]:
        """The files that the pattern names, in the order of their names; one without wildcards must exist."""
        paths = sorted(glob(pattern)) if has_magic(pattern) else [pattern]
        return [(path, open_text(path)) for path in paths]

    def try_log_file(self, path: str) -> None:
        """Refuse a log file that cannot be appended to."""
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644))
        except OSError as problem:
            raise ConfigError(problem.strerror or str(problem)) from None


def open_text(path: str) -> str:
    """The file's text. Raises CannotOpen."""
    try:
        return _read(path)
    except OSError as problem:
        raise CannotOpen(f"Fatal error, can't open config file '{path}': {problem.strerror}") from None


def command_names() -> Collection[str]:
    """The names that rename-command may rename; imports all commands."""
    from replicator.core.command_table.registry import REGISTRY
    from replicator.core.commands.catalog import FAMILIES

    assert FAMILIES
    return REGISTRY.keys()


def load(arguments: Sequence[str], *, commands: Callable[[], Collection[str]] = command_names) -> Config:
    """The configuration that redis-server's arguments give; its `store` knows the file.

    commands: asked for the commands' names when the configuration renames one. Raises CannotOpen, ConfigFileError.
    """
    words = list(arguments)
    path = ""
    if words and not words[0].startswith("-"):
        path = words.pop(0)
    standard_input = words[:1] == ["-"] or words[-1:] == ["-"]
    if standard_input:
        words.pop(0 if words[0] == "-" else -1)
    store = FileStore(path)
    config = Config(store)
    text = open_text(store.path) if path else ""
    if standard_input:
        text += "\n" if text and not text.endswith("\n") else ""
        text += sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    config.load(text, words, commands=commands)
    return config
