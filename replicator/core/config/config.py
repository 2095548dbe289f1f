"""The configuration of a node: typed values by name, CONFIG GET and SET as stock has them, redis.conf in and out.

Pure: files, directories and the process are reached through the ConfigStore that is passed in.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/config/ and what Redis 7.0.15 answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from replicator.core.config.kinds import ConfigError, as_bytes, quoted
from replicator.core.config.table import DIRECTIVES, LATER, LATER_NAMES, Spec
from replicator.core.config.text import (
    ConfigFileError,
    Directive,
    argv_lines,
    parse_argv,
    parse_lines,
    rewrite_text,
)
from replicator.core.wire.glob import matcher

__all__ = [
    "Config",
    "ConfigError",
    "ConfigFileError",
    "ConfigStore",
    "Directive",
    "MemoryStore",
    "argv_lines",
    "parse_argv",
    "parse_lines",
]

BAD_DIRECTIVE = "Bad directive or wrong number of arguments"
WRONG_NUMBER = "wrong number of arguments"
# Directives that are no settings: they may stand in a file many times and CONFIG GET does not know them.
STATEMENTS = ("include", "rename-command", "user", "loadmodule")
# Left over from older servers: accepted and dropped, as stock does.
OBSOLETE = ("list-max-ziplist-entries", "list-max-ziplist-value")

Callback = Callable[[Any], None]


class ConfigStore(Protocol):
    """What a configuration needs of the world. Every method raises ConfigError with the system's reason."""

    path: str  # absolute path of the configuration file; "" if there is none

    def read(self) -> str | None:
        """The file's text as it is now; None if it does not exist."""

    def write(self, text: str) -> None:
        """Replace the file, atomically and durably."""

    def enter(self, directory: str) -> str:
        """Make this the working directory; its absolute path. "" asks for the present one."""

    def include(self, pattern: str) -> list[tuple[str, str]]:
        """(path, text) of each file that the pattern names; a pattern with wildcards may name none."""

    def try_log_file(self, path: str) -> None:
        """Refuse a log file that cannot be opened for appending."""


class MemoryStore:
    """A ConfigStore without a world: for simulated nodes and tests. Directories are only names."""

    def __init__(self, text: str | None = None, path: str = "", directory: str = "/") -> None:
        self.path = path
        self.text = text
        self.directory = directory
        self.files: dict[str, str] = {}

    def read(self) -> str | None:
        return self.text

    def write(self, text: str) -> None:
        self.text = text

    def enter(self, directory: str) -> str:
        if directory:
            self.directory = directory if directory.startswith("/") else f"{self.directory.rstrip('/')}/{directory}"
        return self.directory

    def include(self, pattern: str) -> list[tuple[str, str]]:
        matches = matcher(as_bytes(pattern))
        return [(path, text) for path, text in self.files.items() if matches(as_bytes(path))]

    def try_log_file(self, path: str) -> None:
        pass


def _table(specs: Iterable[Spec]) -> dict[str, Spec]:
    table = {spec.name: spec for spec in specs}
    table |= {spec.alias: spec for spec in list(table.values()) if spec.alias}
    return table | {later: table[name] for later, name in LATER_NAMES.items()}


SPECS = _table((*DIRECTIVES, *LATER))  # by every name, old ones included


def canonical(name: str) -> str:
    """The present name of a directive ("slave-priority" is "replica-priority"); unknown ones as they are."""
    spec = SPECS.get(name)
    return name if spec is None else spec.name


class Config:
    """One node's configuration.

    config["repl-timeout"] gives a typed value under the directive's present name: bool, int (bytes for sizes), str, or
      save                              ((seconds, changes), ...)
      client-output-buffer-limit        {"normal" | "replica" | "pubsub": (hard, soft, seconds)}
      bind                              ("127.0.0.1", "-::1", ...)
      replicaof                         ("host", "port"), or () for a primary
      shutdown-on-sigint, -sigterm      words out of ("save", "nosave", "now", "force"); () is the default
      latency-tracking-info-percentiles floats;  oom-score-adj-values three ints
      maxmemory-clients                 bytes, or a negative number for a share of maxmemory in percent
    """

    def __init__(self, store: ConfigStore | None = None) -> None:
        self.store: ConfigStore = MemoryStore() if store is None else store
        self._values: dict[str, Any] = {spec.name: spec.default for spec in SPECS.values()}
        self._values["dir"] = self.store.enter("")
        self._callbacks: dict[str, list[Callback]] = {}
        self._contributors: dict[str, Callable[[], Sequence[str]]] = {}
        self._given: dict[str, None] = {}  # directives that files or the command line have set
        self.users: tuple[tuple[str, ...], ...] = ()  # the words behind each `user` line
        self.renames: tuple[tuple[str, str], ...] = ()  # (old, new) of each rename-command; "" takes it away

    # -- reading -----------------------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The typed value, or `default` for an unknown name."""
        return self._values.get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in SPECS

    def text(self, name: str) -> str:
        """The value as CONFIG GET prints it; old names are understood. Raises KeyError."""
        spec = SPECS[name]
        return spec.kind.text(self._values[spec.name])

    def names(self, pattern: str) -> list[str]:
        """The names that CONFIG GET lists for a pattern (case does not matter), or the exact name as it was spelled."""
        if not any(mark in pattern for mark in "*?["):
            return [pattern] if pattern.lower() in SPECS else []
        matches = matcher(as_bytes(pattern), ignore_case=True)
        return [name for name in _LISTED if matches(as_bytes(name))]

    def ineffective(self) -> list[str]:
        """Directives that a file or the command line has set and that do nothing here; the log says so at the start."""
        return [name for name in self._given if not SPECS[name].effect]

    # -- CONFIG SET --------------------------------------------------------------------------------------------------

    def on_change(self, name: str, callback: Callback) -> None:
        """Call back with the new value after a set that changed it, or that set a volatile directive. It may raise
        ConfigError to undo the whole set."""
        assert SPECS[name].name == name, name
        self._callbacks.setdefault(name, []).append(callback)

    def set_many(self, pairs: Sequence[tuple[str, str]], *, protected: bool | None = None) -> None:
        """CONFIG SET: all of the (name, text) pairs or none.

        protected: whether protected directives (dir, dbfilename) may be set; None asks enable-protected-configs for
        "yes". Raises ConfigError with the whole error text that the client gets.
        """
        specs = []
        for name, _ in pairs:
            spec = SPECS.get(name.lower())
            if spec is None:
                raise ConfigError(f"ERR Unknown option or number of arguments for CONFIG SET - '{name}'")
            specs.append(spec)
        if protected is None:
            protected = self._values["enable-protected-configs"] == "yes"
        seen: set[str] = set()
        for (name, _), spec in zip(pairs, specs, strict=True):
            if spec.immutable:
                raise _refused(name, "can't set immutable config")
            if spec.protected and not protected:
                raise _refused(name, "can't set protected config")
            if name.lower() in seen:
                raise _refused(name, "duplicate parameter")
            seen.add(name.lower())
        before = dict(self._values)
        at = ""
        try:
            for (name, text), spec in zip(pairs, specs, strict=True):
                at = name
                words = text.split(" ") if spec.kind.several else [text]
                self._values[spec.name] = self._read(spec, words)
            for (name, _), spec in zip(pairs, specs, strict=True):
                at = name
                self._tell(spec.name, before)
        except ConfigError as problem:
            self._undo(specs, before)
            raise _refused(at, str(problem)) from None

    def assign(self, name: str, value: Any) -> None:
        """Set a typed value from within the node (REPLICAOF, an announced address): no checks, no callbacks."""
        assert name in self._values, name
        self._values[name] = value

    def _read(self, spec: Spec, words: list[str]) -> Any:
        value = spec.kind.parse(words, self._values[spec.name])
        return self.store.enter(value or "\0") if spec.name == "dir" else value

    def _tell(self, name: str, before: Mapping[str, Any]) -> None:
        value = self._values[name]
        if value != before[name] or SPECS[name].volatile:
            for callback in self._callbacks.get(name, ()):
                callback(value)

    def _undo(self, specs: Sequence[Spec], before: dict[str, Any]) -> None:
        """Put the old values back, and tell those who may have acted on the new ones."""
        attempted, self._values = self._values, before
        for spec in specs:
            if spec.name == "dir" and attempted["dir"] != before["dir"]:
                self.store.enter(before["dir"])
            try:
                self._tell(spec.name, attempted)
            except ConfigError:
                continue  # who refused the new value may refuse again; the old one stands all the same

    # -- files and the command line ----------------------------------------------------------------------------------

    def load(
        self, text: str, argv: Sequence[str] = (), *, commands: Callable[[], Collection[str]] | None = None
    ) -> None:
        """Apply a file's text, then the command line's directives, line by line.

        commands: gives the names that rename-command may rename (None: not checked). Raises ConfigFileError.
        """
        loader = _Loader(self, commands)
        loader.run(parse_lines(text.split("\n"), self.store.path), depth=0)
        # An empty line lies between the two texts, as if they were one.
        loader.run(parse_lines(argv_lines(argv), first=text.count("\n") + 2), depth=0)
        if self._values["replicaof"] and self._values["cluster-enabled"]:
            raise ConfigFileError("replicaof directive not allowed in cluster mode")
        if self._values["daemonize"] and not self._values["pidfile"]:
            self._values["pidfile"] = "/var/run/redis.pid"

    def contribute(self, name: str, lines: Callable[[], Sequence[str]]) -> None:
        """Let CONFIG REWRITE ask another component for all lines of a directive ("user": what ACL knows by then)."""
        self._contributors[name] = lines

    def rewrite(self, old_text: str, extra: Mapping[str, Sequence[str]] | None = None) -> str:
        """The configuration file's new text (CONFIG REWRITE): comments and order stay, values change in place.

        extra: whole lines of directives that other components keep, by name ({"user": ["user alice on ...", ...]});
        they replace what this configuration would write for them.
        """
        present = Counter(canonical(line.name) for line in _readable(old_text))
        lines: list[tuple[str, list[str]]] = []
        for spec in (*DIRECTIVES, *LATER):
            if not extra or spec.name not in extra:
                value = self._values[spec.name]
                lines.append((spec.name, spec.kind.lines(spec.name, value, spec.default, present[spec.name])))
        if not extra or "user" not in extra:
            lines.append(("user", [f"user {' '.join(_word(word) for word in words)}" for words in self.users]))
        for name, given in (extra or {}).items():
            lines.append((name, list(given)))
        known = {name for name, _ in lines}
        kept = [name for name in (*STATEMENTS, *OBSOLETE) if name not in known]
        return rewrite_text(old_text, lines, canonical, kept)

    def save_file(self) -> None:
        """CONFIG REWRITE: rewrite the file that the node was started with. Raises ConfigError with the error reply."""
        if not self.store.path:
            raise ConfigError("ERR The server is running without a config file")
        try:
            extra = {name: lines() for name, lines in self._contributors.items()}
            self.store.write(self.rewrite(self.store.read() or "", extra))
        except ConfigError as problem:
            raise ConfigError(f"ERR Rewriting config file: {problem}") from None


def _refused(name: str, reason: str) -> ConfigError:
    return ConfigError(f"ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")


def _word(word: str) -> str:
    """The word as a file may have it: quoted only where it must be."""
    plain = word and all(0x20 < byte < 0x7F and byte not in b"\"'\\" for byte in as_bytes(word))
    return word if plain else quoted(word)


def _readable(text: str) -> list[Directive]:
    """The directives of those lines that can be read."""
    directives: list[Directive] = []
    for line in text.split("\n"):
        try:
            directives += parse_lines([line])
        except ConfigFileError:
            continue
    return directives


_LISTED = sorted(name for spec in DIRECTIVES if not spec.hidden for name in (spec.name, spec.alias) if name)


class _Loader:
    """Applies directives in their order: what may stand only before the start is allowed, statements are known."""

    MOST_INCLUDES = 16  # an include that includes itself ends here

    def __init__(self, config: Config, commands: Callable[[], Collection[str]] | None) -> None:
        self.config = config
        self.ask_commands = commands
        self.commands: set[str] | None = None  # asked for when the first one is renamed
        self.saves_given = False

    def run(self, directives: Sequence[Directive], depth: int) -> None:
        for directive in directives:
            try:
                self._apply(directive, depth)
            except ConfigFileError:
                raise
            except ConfigError as problem:
                raise ConfigFileError(str(problem), directive.file, directive.line_number, directive.text) from None

    def _apply(self, directive: Directive, depth: int) -> None:
        spec = SPECS.get(directive.name)
        if spec is None:
            self._statement(directive, depth)
            return
        config, words = self.config, list(directive.args)
        if (not words and spec.name != "save") or (len(words) > 1 and not spec.kind.several):
            raise ConfigError(WRONG_NUMBER)
        if len(words) == 1 and spec.kind.several:
            words = words[0].split(" ")
        value = config._read(spec, words)
        adds = value or not directive.args  # 'save ""' takes back what was said before, "save" alone does not
        if spec.name == "save" and adds and self.saves_given:
            value = config["save"] + value
        self.saves_given |= spec.name == "save"
        if spec.name == "logfile" and value:
            try:
                config.store.try_log_file(value)
            except ConfigError as problem:
                raise ConfigFileError(f"Can't open the log file: {problem}") from None
        config._values[spec.name] = value
        config._given[spec.name] = None

    def _statement(self, directive: Directive, depth: int) -> None:
        config, args = self.config, directive.args
        if directive.name == "include" and len(args) == 1:
            if depth >= self.MOST_INCLUDES:
                raise ConfigError("too many nested includes")
            for path, text in config.store.include(args[0]):
                self.run(parse_lines(text.split("\n"), path), depth + 1)
        elif directive.name == "rename-command" and len(args) == 2:
            self._rename(args[0], args[1])
        elif directive.name == "user" and args:
            if any(user[0] == args[0] for user in config.users):
                reason = "Duplicate user found. A user can only be defined once in config files"
                raise ConfigError(f"Error in user declaration '{args[0]}': {reason}")
            config.users += (args,)
        elif directive.name == "loadmodule" and args:
            raise ConfigError("modules cannot be loaded here")
        elif directive.name in OBSOLETE and len(args) == 1:
            return
        else:
            raise ConfigError(BAD_DIRECTIVE)

    def _rename(self, old: str, new: str) -> None:
        if self.commands is None and self.ask_commands is not None:
            self.commands = set(self.ask_commands())
        commands = self.commands
        if commands is not None:
            if old.lower() not in commands:
                raise ConfigError("No such command in rename-command")
            commands.discard(old.lower())
            if new and new.lower() in commands:
                raise ConfigError("Target command name already exists")
            if new:
                commands.add(new.lower())
        self.config.renames += ((old, new),)


