"""What an append-only file costs: commands a second under each policy, loading, rewriting, and who waits meanwhile."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hiredis

from benchmarks.commands import Compared, Run, benchmark, compared
from benchmarks.processes import Prober
from benchmarks.servers import Server, fill, servers, until

_ON = ("--appendonly", "yes", "--auto-aof-rewrite-percentage", "0")


def measure(policy: str, pipeline: int, requests: int, pairs: int) -> Compared:
    """SET by 50 clients under this policy."""
    found: list[tuple[Run, Run]] = []
    words = (*_ON, "--appendfsync", policy)
    with servers("ours", 1, *words) as (ours,), servers("stock", 1, *words) as (stock,):
        for server in (ours, stock):
            benchmark(server, "ping_mbulk", pipeline, max(1000, requests // 20))
        for number in range(pairs):
            order = (ours, stock) if number % 2 == 0 else (stock, ours)
            runs = {server.kind: benchmark(server, "set", pipeline, requests) for server in order}
            found.append((runs["ours"], runs["stock"]))
    return compared(f"set, {policy}", pipeline, found)


@dataclass(frozen=True, slots=True)
class Rewrite:
    """From BGREWRITEAOF to its end; the longest wait of a client meanwhile."""

    took_s: float
    wait_s: float


def _persistence(server: Server) -> dict[str, str]:
    text: bytes = server.call("INFO", "persistence")
    return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)


def _is_over(info: dict[str, str]) -> bool:
    return info["aof_rewrite_in_progress"] == info["aof_rewrite_scheduled"] == "0"


def rewrite(kind: str, keys: int, size: int) -> Rewrite:
    """Rewrite the file of so many keys."""
    with servers(kind, 1, *_ON) as (server,):
        fill(server, keys, size)
        prober = Prober(server)
        with prober.asking():
            begun_s = time.perf_counter()
            server.call("BGREWRITEAOF")
            until(lambda: _is_over(_persistence(server)), "the rewrite ends", 0.01)
            took_s = time.perf_counter() - begun_s
        return Rewrite(took_s, prober.worst_s)


def load(commands: int, size: int) -> dict[str, float]:
    """Seconds from the start of a server until it has loaded a file of so many SETs, by kind: one file for both."""
    took: dict[str, float] = {}
    with TemporaryDirectory(prefix="replicator-bench-") as folder:
        parts = Path(folder, "appendonlydir")
        parts.mkdir()
        value = b"v" * size
        with open(parts / "appendonly.aof.1.incr.aof", "wb") as file:
            file.write(b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n")
            for number in range(commands):
                command: Any = (b"SET", b"key:%012d" % number, value)
                file.write(hiredis.pack_command(command))
        (parts / "appendonly.aof.manifest").write_text("file appendonly.aof.1.incr.aof seq 1 type i\n")
        for kind in ("ours", "stock"):
            begun_s = time.perf_counter()
            server = Server(kind, Path(folder), *_ON)
            try:
                server.wait_ready(0.01)
                took[kind] = time.perf_counter() - begun_s
                if server.call("DBSIZE") != commands:
                    raise RuntimeError(f"{kind}: {server.call('DBSIZE')} keys of {commands}")
            finally:
                server.end()
    return took
