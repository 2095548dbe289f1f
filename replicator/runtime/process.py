"""A server process: listeners, signals, log, pid file, daemonize; runs one machine until it exits."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

import trio

from replicator.core.effects import Level
from replicator.core.events import Signalled
from replicator.core.machine import Machine
from replicator.runtime import observe
from replicator.runtime.hub import LINGER_S, Ended, Hub
from replicator.runtime.listeners import DEFAULT_ADDRESSES, Listener, ListenError, listen_bus, listen_tcp, listen_unix
from replicator.runtime.logfile import LogFile, flush_standard_output
from replicator.runtime.tls.context import Tls, TlsError, TlsSettings
from replicator.runtime.watchdog import Watchdog

# A machine's memory is keys and values: few cycles, and none that grow with the data. Small young generations keep
# each look short (200,000 containers, some 20 ms at worst); the look at everything, 0.2 s a million, is put off.
_COLLECT_AFTER = (20_000, 10, 1_000)
Announced = Callable[[str, tuple[tuple[str, str | int | None], ...]], None]
BUG_REPORT_BEGIN = "\n\n=== REPLICATOR BUG REPORT START: Cut & paste starting from here ===\n"
_CANNOT_LISTEN = "Unable to listen on this port. Check server logs."
BUG_REPORT_END = "\n=== REPLICATOR BUG REPORT END ===\n\n"


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What of the configuration concerns the process and not the machine.

    port: 0 for no TCP listener. addresses: as the bind directive has them ("*", "::*", "-" before one that may be
    missing). tls_port, tls: the same for connections that are encrypted, and how. bus_port: of a cluster's bus, 0
    for none. unix_path: "" for none; unix_permissions: its mode, 0 to leave it. directory: made the working directory.
    log_path: "" for standard output. role: the log's role character at the start. pid_path: "" for none. descriptors:
    how many the process may need (maxclients + 32); the soft limit is raised to it as far as the hard limit allows.
    """

    port: int = 6379
    bus_port: int = 0
    addresses: tuple[str, ...] = DEFAULT_ADDRESSES
    tls_port: int = 0
    tls: TlsSettings = field(default_factory=TlsSettings)
    backlog: int = 511
    unix_path: str = ""
    unix_permissions: int = 0
    keepalive_s: int = 300
    directory: str = "."
    log_path: str = ""
    log_level: str = "notice"
    role: str = "M"
    pid_path: str = ""
    daemonize: bool = False
    descriptors: int = 10_032
    watchdog_ms: int = 0
    locked_file: str = ""  # that no other process may use; "" for none


@dataclass(slots=True)
class Services:
    """What a machine is given of its process: observations, and the few questions that need an answer at once.

    The functions that take effect answer None, or the reason why they did not.
    """

    log: LogFile
    watchdog: Watchdog
    options: ServeOptions
    pid: int = field(default_factory=os.getpid)
    seed: int = field(default_factory=observe.entropy)
    meter: Callable[[], int] = observe.meter
    memory: Callable[[], int] = field(default_factory=observe.memory_meter)
    hub: Hub | None = None
    ports: tuple[int, int] = (0, 0)  # plain and TLS
    addresses: tuple[str, ...] = ()
    tls: Tls = field(default_factory=Tls)

    def set_role(self, role: str) -> None:
        """The log's role character: M, S or X."""
        self.log.set_role(role)

    def set_log_level(self, level: str) -> None:
        """loglevel: debug, verbose, notice, warning."""
        self.log.set_level(level)

    def set_watchdog(self, period_ms: int) -> None:
        """watchdog-period; 0 switches it off."""
        self.watchdog.set_period(period_ms)

    def set_keepalive(self, seconds: int) -> None:
        """tcp-keepalive, for connections to come."""
        if self.hub is not None:
            self.hub.door.keepalive_s = seconds

    def try_listen(self, port: int) -> str | None:
        """CONFIG SET port: listen there instead; on trouble everything stays and the log says why."""
        return self._relisten((port, self.ports[1]), self.addresses, "port", _CANNOT_LISTEN)

    def try_listen_tls(self, port: int) -> str | None:
        """CONFIG SET tls-port: the same for connections that are encrypted."""
        return self._relisten((self.ports[0], port), self.addresses, "tls-port", _CANNOT_LISTEN)

    def try_bind(self, addresses: tuple[str, ...]) -> str | None:
        """CONFIG SET bind: listen on these addresses instead."""
        return self._relisten(self.ports, addresses, "bind", "Failed to bind to specified addresses.")

    def try_tls(self, settings: TlsSettings, setting: str) -> str | None:
        """CONFIG SET of a tls directive: the files are read again, and connections to come use what they say."""
        try:
            self.tls.configure(settings)
        except TlsError as error:
            self._not_applied(str(error), setting)
            return "Unable to update TLS configuration. Check server logs."
        if self.hub is not None:
            for listener in self.hub.door.listeners:
                listener.tls = settings.cluster if listener.bus else listener.tls
        return None

    def _not_applied(self, why: str, setting: str) -> None:
        self.log.write(Level.WARNING, why)
        self.log.write(
            Level.WARNING,
            f"Failed applying new configuration. Possibly related to new {setting} setting. "
            "Restoring previous settings.",
        )

    def _relisten(self, ports: tuple[int, int], addresses: tuple[str, ...], setting: str, trouble: str) -> str | None:
        if (ports, addresses) == (self.ports, self.addresses):
            return None
        assert self.hub is not None, "listeners change while the machine runs, not before"
        door, backlog = self.hub.door, self.options.backlog
        moving = [tls for tls in (False, True) if addresses != self.addresses or ports[tls] != self.ports[tls]]
        clients = [listener for listener in door.listeners if not listener.unix_path and not listener.bus]
        old = [listener for listener in clients if listener.tls in moving]
        # On the same port the addresses that stay could not be bound a second time: the old listeners go first, and
        # come back if the new ones cannot be made.
        early = [listener for listener in old if ports[listener.tls] == self.ports[listener.tls]]
        made: list[Listener] = []
        try:
            for listener in early:
                door.close(listener)
            for tls in moving:
                made += listen_tcp(addresses, ports[tls], backlog, tls=tls) if ports[tls] else []
        except ListenError as error:
            _close_all(made)
            self._not_applied("\n".join(error.lines[:-1]), setting)
            for tls in dict.fromkeys(listener.tls for listener in early):
                self.hub.listen(listen_tcp(self.addresses, self.ports[tls], backlog, tls=tls))
            return trouble
        for listener in old:
            if listener not in early:
                door.close(listener)
        self.hub.listen(made)
        self.ports, self.addresses = ports, addresses
        return None

    def try_directory(self, path: str) -> str | None:
        """CONFIG SET dir: make it the working directory, where relative file names lie from now on."""
        try:
            os.chdir(path)
        except OSError as error:
            return error.strerror or str(error)
        if self.hub is not None:
            self.hub.files.directory = os.getcwd()
        return None


def raise_descriptor_limit(wanted: int) -> int:
    """Raise the soft limit of open descriptors to `wanted`, as far as the hard limit allows; returns the limit in
    force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
    except (OSError, ValueError):
        return soft
    return target


def daemonize() -> None:
    """Go to the background: a process of its own session, not its leader, with nothing on the standard three. The
    process that was started ends with exit code 0."""
    flush_standard_output()
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    if null > 2:
        os.close(null)


def serve(
    build: Callable[[Services], Machine], options: ServeOptions, announce: Announced = lambda name, fields: None
) -> int:
    """Run a server in this process until its machine exits; returns the exit code.

    build: makes the machine once the log stands and before anything is bound, so it may write the start banner to
    services.log; it must not ask services that need the hub. announce: takes what effects.Announce says. A listener
    that cannot be made: told in the log, exit code 1. To be called in the main thread.
    """
    if options.daemonize:
        daemonize()
    log = None
    try:
        os.chdir(options.directory)
        log = LogFile(options.log_path, options.log_level, options.role)
    except OSError as error:
        what = "open the log file" if log is None and os.path.isdir(options.directory) else "chdir"
        print(f"Can't {what}: {error.strerror or error}", file=sys.stderr)
        return 1
    flush_standard_output()
    services = Services(
        log,
        Watchdog(log.raw, os.getpid),
        options,
        ports=(options.port, options.tls_port),
        addresses=options.addresses,
    )
    limit = raise_descriptor_limit(options.descriptors)
    machine = build(services)
    if limit < options.descriptors:
        log.write(
            Level.WARNING, f"The limit of open files is {limit}, {options.descriptors} are wanted for maxclients."
        )
    try:
        services.tls.configure(options.tls)
    except TlsError as error:
        log.write(Level.WARNING, str(error))
        log.write(Level.WARNING, "Failed to configure TLS. Check logs for more info.")
        return 1
    try:
        listeners = listen_tcp(options.addresses, options.port, options.backlog) if options.port else []
        try:
            if options.tls_port:
                listeners += listen_tcp(options.addresses, options.tls_port, options.backlog, tls=True)
            if options.bus_port:
                listeners += listen_bus(
                    options.addresses, options.bus_port, options.backlog, tls=options.tls.cluster
                )
            if options.unix_path:
                listeners.append(listen_unix(options.unix_path, options.unix_permissions, options.backlog))
            if not listeners:
                raise ListenError("Configured to not listen anywhere, exiting.")
        except ListenError:
            _close_all(listeners)
            raise
    except ListenError as error:
        for line in error.lines:
            log.write(Level.WARNING, line)
        return 1
    return _run(machine, services, listeners, announce)


def _close_all(listeners: list[Listener]) -> None:
    for listener in listeners:
        listener.close()


def _run(machine: Machine, services: Services, listeners: list[Listener], announce: Announced) -> int:
    options, log = services.options, services.log
    child_log = LogFile(log.path, options.log_level, "C")
    hub = services.hub = Hub(
        machine,
        log=log.write,
        announce=announce,
        directory=os.getcwd(),
        keepalive_s=options.keepalive_s,
        linger_s=LINGER_S,
        relisten=services.try_listen,
        child_log=child_log.write,
        petted=services.watchdog.petted,
        tls=services.tls,
    )
    if options.locked_file and not hub.files.lock(options.locked_file):
        log.write(
            Level.WARNING,
            f"Sorry, the cluster configuration file {options.locked_file} is already used by a different Redis Cluster "
            "node. Please make sure that different nodes use different cluster configuration files.",
        )
        _close_all(listeners)
        return 1
    hub.listen(listeners)
    if options.pid_path:
        _write_pid(options.pid_path, log)
    _install_signals(hub, log)
    services.set_watchdog(options.watchdog_ms)
    # Modules and tables live as long as the process; to look for the little garbage among them takes a while.
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    gc.enable()
    try:
        ended: Ended = trio.run(hub.run)
    except BaseException:
        log.write(Level.WARNING, BUG_REPORT_BEGIN + traceback.format_exc() + BUG_REPORT_END)
        return 1
    finally:
        services.set_watchdog(0)
        if options.pid_path:
            _remove_pid(options.pid_path, log)
    if ended.crash:
        os._exit(ended.code)
    return ended.code


def _write_pid(path: str, log: LogFile) -> None:
    try:
        with open(path, "w") as file:
            file.write(f"{os.getpid()}\n")
    except OSError as error:
        log.write(Level.WARNING, f"Failed to write PID file: {error.strerror or error}")


def _remove_pid(path: str, log: LogFile) -> None:
    try:
        with open(path) as file:
            if file.read().strip() != str(os.getpid()):
                return  # another server has taken the path over
        os.unlink(path)
    except OSError:
        return
    log.write(Level.NOTICE, "Removing the pid file.")


def _install_signals(hub: Hub, log: LogFile) -> None:
    """SIGTERM and SIGINT are told to the machine; a second SIGINT ends the process at once; SIGHUP and SIGPIPE do
    nothing.

    Plain handlers: they run between two steps of the loop even when it never comes to rest.
    """
    interrupted = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        head = f"{os.getpid()}:signal-handler ({int(time.time())})"
        name = signal.Signals(number).name
        if number == signal.SIGINT and interrupted:
            log.raw(f"{head} You insist... exiting now.\n")
            hub.snapshots.shut()
            os._exit(1)
        interrupted = interrupted or number == signal.SIGINT
        log.raw(f"{head} Received {name} scheduling shutdown...\n")
        hub.post(Signalled(name))

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
