"""A Sentinel as a process: sentinel.conf in, the machine built, runtime driven."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Sequence
from random import Random

from replicator import __version__
from replicator.config_file import CannotOpen, ConfigFileError, FileStore, open_text
from replicator.core.config.config import Config, ConfigError, Directive
from replicator.core.effects import Level
from replicator.core.sentinel.file import DEFAULT_PORT, separate
from replicator.core.sentinel.machine import Sentinel, Surroundings
from replicator.core.sentinel.report import VERSION
from replicator.process_facts import cpu_seconds, tls_settings
from replicator.runtime.process import ServeOptions, Services, serve

_EXTRA_DESCRIPTORS = 32
NO_FILE = "Sentinel needs config file on disk in order to save state. Exiting..."


class Loaded:
    """A configuration that was read: a server's directives, and Sentinel's own lines."""

    def __init__(self, config: Config, directives: list[Directive], text: str) -> None:
        self.config = config
        self.directives = directives
        self.text = text


def load(arguments: Sequence[str]) -> Loaded:
    """The configuration that redis-sentinel's arguments give. Raises CannotOpen, ConfigFileError."""
    words = [word for word in arguments if word.lower() != "--sentinel"]
    path = words.pop(0) if words and not words[0].startswith("-") else ""
    store = FileStore(path)
    config = Config(store)
    config.assign("port", DEFAULT_PORT)
    config.assign("protected-mode", False)
    text = open_text(store.path) if path else ""
    rest, given, own = separate(text, words, store.path)
    config.load("\n".join((rest, *given)))
    return Loaded(config, own, text)


def run(arguments: Sequence[str]) -> int:
    """Serve until the process is asked to end; the exit code."""
    try:
        loaded = load(arguments)
    except CannotOpen as problem:
        print(f"replicator: {problem}", file=sys.stderr)
        return 1
    except ConfigFileError as problem:
        print(problem.report(), end="", file=sys.stderr)
        return 1

    def build(services: Services) -> Sentinel:
        _greet(loaded.config, services)
        _require_file(loaded.config, services)
        try:
            machine = Sentinel(
                loaded.config, loaded.directives, Random(services.seed), _surroundings(loaded.config, services),
                loaded.text,
            )  # fmt: skip
        except ConfigFileError as problem:
            print(problem.report(), end="", file=sys.stderr)
            raise SystemExit(1) from None
        except ValueError as problem:
            services.log.write(Level.WARNING, str(problem))
            raise SystemExit(1) from None
        loaded.config.on_change("loglevel", services.set_log_level)
        return machine

    return serve(build, _options(loaded.config))


def _options(config: Config) -> ServeOptions:
    return ServeOptions(
        port=config["port"],
        addresses=tuple(config["bind"]),
        tls_port=config["tls-port"],
        tls=tls_settings(config),
        backlog=config["tcp-backlog"],
        unix_path=config["unixsocket"],
        unix_permissions=config["unixsocketperm"],
        keepalive_s=config["tcp-keepalive"],
        directory=config["dir"],
        log_path=config["logfile"],
        log_level=config["loglevel"],
        role="X",
        pid_path=config["pidfile"],
        daemonize=config["daemonize"],
        descriptors=config["maxclients"] + _EXTRA_DESCRIPTORS,
    )


def _require_file(config: Config, services: Services) -> None:
    path = config.store.path
    if not path:
        services.log.write(Level.WARNING, NO_FILE)
        raise SystemExit(1)
    if not os.access(path, os.W_OK):
        services.log.write(Level.WARNING, f"Sentinel config file {path} is not writable: Permission denied. Exiting...")
        raise SystemExit(1)
    directory = os.path.dirname(path)
    if not os.access(directory, os.W_OK):
        services.log.write(
            Level.WARNING, f"Sentinel config file directory {directory} is not writable: Permission denied. Exiting..."
        )
        raise SystemExit(1)


def _surroundings(config: Config, services: Services) -> Surroundings:
    machine = os.uname()
    return Surroundings(
        pid=services.pid,
        port=config["port"],
        executable=os.path.abspath(sys.argv[0]),
        config_file=config.store.path,
        system=f"{machine.sysname} {machine.release} {machine.machine}",
        resident=services.memory,
        cpu_seconds=cpu_seconds,
        read_file=lambda: _present_text(config),
        resolve=_resolve,
        may_run=lambda path: os.access(path, os.X_OK),
        calendar=time.ctime,
    )


def _present_text(config: Config) -> str | None:
    """The file as it is now: its operator may have added comments."""
    try:
        return config.store.read()
    except ConfigError:
        return None


def _resolve(host: str) -> str | None:
    """The address of a host name. It waits for the resolver, as stock Sentinels do."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return None
    return str(found[0][4][0]) if found else None


def _greet(config: Config, services: Services) -> None:
    write = services.log.write
    write(Level.WARNING, "oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo")
    write(
        Level.WARNING,
        f"Redis version={VERSION}, bits=64, commit=00000000, modified=0, pid={services.pid}, just started",
    )
    write(Level.WARNING, "Configuration loaded")
    write(Level.NOTICE, "monotonic clock: POSIX clock_gettime")
    services.log.raw(
        f"\n    replicator {__version__} (compatible with Redis {VERSION}) 64 bit\n\n"
        f"    Running in sentinel mode\n    Port: {config['port']}\n    PID: {services.pid}\n\n"
    )
