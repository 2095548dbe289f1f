"""A node as a process: configuration in, Node built, runtime driven."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from random import Random
from typing import Any

from replicator import __version__
from replicator.config_file import FileStore
from replicator.core.config.config import Config, ConfigError
from replicator.core.effects import Level
from replicator.core.limits import TLS_HANDSHAKES
from replicator.core.node import Node
from replicator.core.surroundings import REDIS_VERSION, Surroundings
from replicator.process_facts import TLS_NAMES, cpu_seconds, tls_settings
from replicator.runtime.observe import read_memory_bound
from replicator.runtime.process import ServeOptions, Services, serve

_EXTRA_DESCRIPTORS = 32  # log, snapshots, listeners ... beside the clients


def run(config: Config) -> int:
    """Serve with this configuration until the process is asked to end; the exit code."""

    def build(services: Services) -> Node:
        _greet(config, services)
        try:
            node = Node(config, Random(services.seed), _surroundings(config, services))
        except ValueError as problem:
            services.log.write(Level.WARNING, str(problem))
            raise SystemExit(1) from None
        _connect_settings(config, services)
        return node

    return serve(build, _options(config))


def _options(config: Config) -> ServeOptions:
    return ServeOptions(
        port=config["port"],
        bus_port=_bus_port(config),
        addresses=tuple(config["bind"]),
        locked_file=config["cluster-config-file"] if config["cluster-enabled"] else "",
        tls_port=config["tls-port"],
        tls=tls_settings(config),
        backlog=config["tcp-backlog"],
        unix_path=config["unixsocket"],
        unix_permissions=config["unixsocketperm"],
        keepalive_s=config["tcp-keepalive"],
        directory=config["dir"],
        log_path=config["logfile"],
        log_level=config["loglevel"],
        role="S" if config["replicaof"] else "M",
        pid_path=config["pidfile"],
        daemonize=config["daemonize"],
        descriptors=config["maxclients"] + _EXTRA_DESCRIPTORS + (TLS_HANDSHAKES if config["tls-port"] else 0),
        watchdog_ms=config["watchdog-period"],
    )


def _bus_port(config: Config) -> int:
    if not config["cluster-enabled"]:
        return 0
    port: int = config["cluster-port"] or config["tls-port" if config["tls-cluster"] else "port"] + 10000
    return port


def _surroundings(config: Config, services: Services) -> Surroundings:
    machine = os.uname()
    return Surroundings(
        pid=services.pid,
        executable=os.path.abspath(sys.argv[0]),
        config_file=config.store.path,
        meter=services.meter,
        resident=services.memory,
        memory=read_memory_bound(),
        disk_room=_disk_room,
        cpu_seconds=cpu_seconds,
        system=f"{machine.sysname} {machine.release} {machine.machine}",
        set_role=services.set_role,
        acl_file=_TextFile(config["aclfile"]) if config["aclfile"] else None,
        entropy=os.urandom,
        arrivals=lambda: [] if services.hub is None else services.hub.arrivals(),
        carry_out=lambda effects: None if services.hub is None else services.hub.carry_out(effects),
        tell_again=lambda event: None if services.hub is None else services.hub.tell(event),
    )


def _disk_room() -> int:
    """Bytes free in the working directory, where payloads and snapshots go."""
    found = os.statvfs(".")
    return found.f_bavail * found.f_frsize


class _TextFile:
    """A text file on the file system of this process (core.surroundings.TextFile)."""

    def __init__(self, path: str) -> None:
        self._store = FileStore(path)

    def read(self) -> str:
        """All of it."""
        text = self._store.read()
        if text is None:
            raise ConfigError("No such file or directory")
        return text

    def write(self, text: str) -> None:
        """Replace it, durably and as a whole."""
        self._store.write(text)


def _connect_settings(config: Config, services: Services) -> None:
    """Settings that act on the process take effect when CONFIG SET changes them."""

    def must(reason: str | None) -> None:
        if reason is not None:
            raise ConfigError(reason)

    def new_tls(name: str) -> Callable[[Any], None]:
        return lambda _: must(services.try_tls(tls_settings(config), f"tls-{name.replace('_', '-')}"))

    def new_tls_port(port: int) -> None:
        if services.tls.server is None:
            must(services.try_tls(tls_settings(config), "tls-port"))
        must(services.try_listen_tls(port))

    for name in TLS_NAMES:
        config.on_change(f"tls-{name.replace('_', '-')}", new_tls(name))
    config.on_change("tls-port", new_tls_port)
    config.on_change("port", lambda value: must(services.try_listen(value)))
    config.on_change("bind", lambda value: must(services.try_bind(tuple(value))))
    config.on_change("dir", lambda value: must(services.try_directory(value)))
    config.on_change("loglevel", services.set_log_level)
    config.on_change("tcp-keepalive", services.set_keepalive)
    config.on_change("watchdog-period", services.set_watchdog)


def _greet(config: Config, services: Services) -> None:
    """The first lines of the log; tools wait for the one with the process id."""
    write = services.log.write
    write(Level.WARNING, "oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo")
    write(
        Level.WARNING,
        f"Redis version={REDIS_VERSION}, bits=64, commit=00000000, modified=0, pid={services.pid}, just started",
    )
    if config.store.path or len(sys.argv) > 2:
        write(Level.WARNING, "Configuration loaded")
    else:
        write(
            Level.WARNING,
            "Warning: no config file specified, using the default config. In order to specify a config file use "
            "replicator server /path/to/redis.conf",
        )
    mode = "cluster" if config["cluster-enabled"] else "standalone"
    services.log.raw(
        f"\n    replicator {__version__} (compatible with Redis {REDIS_VERSION}) 64 bit\n\n"
        f"    Running in {mode} mode\n    Port: {config['port'] or config['tls-port']}\n    PID: {services.pid}\n\n"
    )
