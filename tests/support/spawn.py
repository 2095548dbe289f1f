"""Toy server processes for tests: started, spoken to in lines, ended by their pid."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.stock import free_port

ROOT = Path(__file__).resolve().parents[2]


def until(condition: Callable[[], bool], limit_s: float = 10) -> None:
    """Poll the condition of another process until it holds."""
    deadline_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s, "the condition does not come true"
        time.sleep(0.002)


class Lines:
    """A connection on which one speaks in lines."""

    def __init__(self, address: tuple[str, int] | str) -> None:
        if isinstance(address, str):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(10)
            self.sock.connect(address)
        else:
            self.sock = socket.create_connection(address, timeout=10)
        self.file = self.sock.makefile("rb")

    def send(self, line: str) -> None:
        self.sock.sendall(line.encode() + b"\n")

    def read(self) -> str:
        return self.file.readline().decode().rstrip("\n")

    def call(self, line: str) -> str:
        self.send(line)
        return self.read()

    def close(self) -> None:
        self.file.close()
        self.sock.close()


class Spawned:
    """A toy server; its log is `log`, its working directory `folder`."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.port = options.setdefault("port", free_port())
        options.setdefault("addresses", ["127.0.0.1"])
        options.setdefault("directory", str(folder))
        self.log_path = folder / "stdout.log"
        self.lines: list[Lines] = []
        with open(self.log_path, "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.toyserver", json.dumps(options)],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
            )

    def log(self) -> str:
        return self.log_path.read_text()

    def ready(self) -> Spawned:
        until(lambda: "Ready to accept connections" in self.log() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log()
        return self

    def connect(self) -> Lines:
        lines = Lines(("127.0.0.1", self.port))
        self.lines.append(lines)
        return lines

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(10)

    def end(self) -> None:
        for lines in self.lines:
            lines.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


def children(pid: int) -> list[int]:
    """The child processes of a process."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    """The process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] not in "ZX"
    except FileNotFoundError:
        return False
