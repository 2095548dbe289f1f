"""Server processes for tests, ours and stock alike: start, ask, wait for a condition, stop, end by process id."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.stock import Wire, binary, free_port

BOUND = 30.0  # no condition takes longer; a test that waits so long has failed


def until(condition: Callable[[], Any], what: str, bound: float = BOUND) -> Any:
    """Wait until the condition holds (its value is true); its value. Fails after `bound` seconds."""
    deadline = time.monotonic() + bound
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {bound} s in vain: {what}"
        time.sleep(0.01)


class Server:
    """One server process of an engine: "ours", "redis6", "redis7" or "valkey9"."""

    def __init__(self, engine: str, folder: Path, *directives: str) -> None:
        self.engine = engine
        self.folder = folder
        self.port = free_port()
        self.directives = directives
        self.process: subprocess.Popen[bytes] | None = None
        self._wire: Wire | None = None
        self.answers_loading = False  # a server that loads counts as started
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, *more: str) -> Server:
        """Start it (again) and wait for its PONG."""
        self.launch(*more)
        return self.wait_started()

    def launch(self, *more: str) -> None:
        """Start it and wait for nothing."""
        if self.engine == "ours":
            command = [sys.executable, "-m", "replicator", "server"]
        else:
            path = binary(self.engine)
            assert path is not None, f"{self.engine} is not installed"
            command = [path]
        command += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""]
        command += ["--repl-diskless-sync-delay", "0"]
        if self.engine != "redis6":
            command += ["--enable-debug-command", "yes"]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen([*command, *self.directives, *more], stdout=log, stderr=log)

    def wait_started(self) -> Server:
        """Until it answers PING."""
        until(self._answers, f"{self.engine} on port {self.port} answers: {self.log()[-2000:]}")
        return self

    def connect(self) -> Wire:
        """A new connection to it."""
        return Wire(self.port)

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, f"{self.engine} ended: {self.log()[-2000:]}"
        with contextlib.suppress(OSError, EOFError):
            wire = self.connect()
            try:
                answer = wire.call("PING")
            finally:
                wire.close()
            return (
                answer == b"PONG" or "MASTERDOWN" in str(answer) or (self.answers_loading and "LOADING" in str(answer))
            )
        return False

    def log(self) -> str:
        """All it has logged."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def wire(self) -> Wire:
        """A connection that stays."""
        if self._wire is None:
            self._wire = self.connect()
        return self._wire

    def reconnect(self) -> None:
        """Give up the connection that stays; the next call opens another."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def call(self, *argv: bytes | str | int | float) -> Any:
        """One command on the connection that stays."""
        return self.wire.call(*argv)

    def info(self, section: str = "everything") -> dict[str, str]:
        """INFO as a dictionary."""
        text = self.call("INFO", section).decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def follow(self, other: Server) -> None:
        """REPLICAOF other."""
        assert self.call("REPLICAOF", "127.0.0.1", other.port) in (b"OK", b"OK Already connected to specified master")

    def offset(self) -> int:
        """Its replication offset, as far as it has applied."""
        info = self.info("replication")
        return int(info["slave_repl_offset"] if info["role"] == "slave" else info["master_repl_offset"])

    def digest(self) -> str:
        """DEBUG DIGEST."""
        return str(self.call("DEBUG", "DIGEST").decode())

    def linked(self) -> bool:
        """Whether the link to its primary is up."""
        return self.info("replication").get("master_link_status") == "up"

    def wait_linked(self) -> None:
        """Until the link to its primary is up."""
        until(self.linked, f"the link of {self.engine} to its primary is up: {self.log()[-3000:]}")

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once and wait for its end."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self, bound: float = 15) -> int:
        """SIGTERM, and its exit code."""
        assert self.process is not None
        if self._wire is not None:
            self._wire.close()
            self._wire = None
        self.process.terminate()
        code = self.process.wait(bound)
        self.process = None
        return code


def converge(primary: Server, *replicas: Server) -> None:
    """Wait until all replicas stand where the primary stands, then compare offsets and data."""
    for replica in replicas:
        replica.wait_linked()

    def together() -> bool:
        before = primary.offset()
        return all(replica.offset() == before for replica in replicas) and primary.offset() == before

    until(together, "all offsets are equal")
    expected = primary.digest()
    for replica in replicas:
        assert replica.digest() == expected, f"{replica.engine} differs from {primary.engine} at the same offset"


@contextmanager
def servers(folder: Path, *engines: str, directives: tuple[str, ...] = ()) -> Iterator[list[Server]]:
    """Several servers, started; all ended at the end."""
    made: list[Server] = []
    try:
        for number, engine in enumerate(engines):
            made.append(Server(engine, folder / f"{number}-{engine}", *directives))
            made[-1].launch()
        for server in made:
            server.wait_started()
        yield made
    finally:
        for server in made:
            server.kill()
