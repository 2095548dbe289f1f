"""Sentinels as processes, ours and stock's, around servers of any engine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.servers import Server, until
from tests.support.stock import Wire, binary, free_port


class SentinelProcess:
    """One Sentinel of an engine: "ours", "redis7", "valkey9" ..."""

    def __init__(self, engine: str, folder: Path, lines: Sequence[str]) -> None:
        self.engine = engine
        self.folder = folder
        self.port = free_port()
        self.conf = folder / "sentinel.conf"
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        head = ("# kept by rewrites", f"port {self.port}", "bind 127.0.0.1", f"dir {folder}")
        self.conf.write_text("\n".join((*head, *lines)) + "\n")

    def start(self) -> SentinelProcess:
        """Start it (again) and wait until it answers."""
        if self.engine == "ours":
            command = [sys.executable, "-m", "replicator", "sentinel", str(self.conf)]
        else:
            path = binary(self.engine)
            assert path is not None, f"{self.engine} is not installed"
            command = [path, str(self.conf), "--sentinel"]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self._answers, f"the Sentinel answers: {self.log()[-2000:]}")
        return self

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log()[-2000:]
        with suppress(OSError):
            wire = Wire(self.port)
            wire.close()
            return True
        return False

    def log(self) -> str:
        """All it has logged."""
        return (self.folder / "log").read_text(errors="replace")

    def call(self, *argv: str | int) -> object:
        """A command on a connection of its own."""
        wire = Wire(self.port)
        try:
            return wire.call(*argv)
        finally:
            wire.close()

    def fields(self) -> dict[bytes, bytes]:
        """SENTINEL MASTER as a dictionary."""
        flat = self.call("SENTINEL", "MASTER", "ours")
        assert isinstance(flat, list), flat
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def primary_port(self) -> int:
        """Where it says the primary listens."""
        answer = self.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "ours")
        assert isinstance(answer, list), answer
        return int(answer[1])

    def knows(self, replicas: int, others: int) -> bool:
        """Whether it has found so many replicas and other Sentinels."""
        fields = self.fields()
        return (fields[b"num-slaves"], fields[b"num-other-sentinels"]) == (b"%d" % replicas, b"%d" % others)

    def end(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(10)

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextmanager
def quorum(folder: Path, primary: Server, engines: Sequence[str], *lines: str) -> Iterator[list[SentinelProcess]]:
    """Sentinels of these engines that watch the primary under the name "ours", a majority being their quorum."""
    found: list[SentinelProcess] = []
    try:
        for number, engine in enumerate(engines):
            monitor = f"sentinel monitor ours 127.0.0.1 {primary.port} {len(engines) // 2 + 1}"
            own = (monitor, "sentinel down-after-milliseconds ours 500", "sentinel failover-timeout ours 4000", *lines)
            one = SentinelProcess(engine, folder / f"sentinel-{number}", own)
            found.append(one)
            one.start()
        yield found
    finally:
        for one in found:
            one.kill()
