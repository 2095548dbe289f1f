"""What is measured of whole processes: full synchronization, start, idling, memory, pauses."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.servers import Server, Wire, fill, servers, until

_BETWEEN_PROBES_S = 0.001


class Prober:
    """A client that asks again and again; `worst_s` is its longest wait for an answer."""

    def __init__(self, server: Server) -> None:
        self._wire = Wire(server.port)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self.worst_s = 0.0
        self.asked = 0

    def _ask(self) -> None:
        while not self._stop.is_set():
            begun_s = time.perf_counter()
            self._wire.call("GET", "key:000000000000")
            self.worst_s = max(self.worst_s, time.perf_counter() - begun_s)
            self.asked += 1
            time.sleep(_BETWEEN_PROBES_S)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Asks while the block runs."""
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()
            self._wire.close()


@dataclass(frozen=True, slots=True)
class Sync:
    """One full synchronization: its time, the longest waits of a client of the primary and of the replica, processor
    time of both, resident bytes a key of the filled primary."""

    took_s: float
    primary_wait_s: float
    replica_wait_s: float
    primary_cpu_s: float
    replica_cpu_s: float
    bytes_per_key: float


def full_sync(kind: str, keys: int, size: int) -> Sync:
    """From REPLICAOF until the replica is in the stream, both of one kind, diskless without delay."""
    with servers(kind, 2, "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0") as (primary, replica):
        empty = primary.resident_bytes()
        fill(primary, keys, size)
        per_key = (primary.resident_bytes() - empty) / keys
        at_primary, at_replica = Prober(primary), Prober(replica)
        before = primary.cpu_s(), replica.cpu_s()
        with at_primary.asking(), at_replica.asking():
            begun_s = time.perf_counter()
            replica.call("REPLICAOF", "127.0.0.1", primary.port)
            until(replica.follows, "the full synchronization ends", 0.005)
            took_s = time.perf_counter() - begun_s
        if replica.call("DBSIZE") != keys:
            raise RuntimeError(f"{kind}: the replica has {replica.call('DBSIZE')} keys of {keys}")
        return Sync(
            took_s,
            at_primary.worst_s,
            at_replica.worst_s,
            primary.cpu_s() - before[0],
            replica.cpu_s() - before[1],
            per_key,
        )


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from exec to the first PING answered; the processor time until then; and what of the seconds was spent
    waiting for a core that other processes had. Medians."""

    wall_s: float
    cpu_s: float
    waited_s: float


def start(kind: str, times: int) -> Start:
    """Start a server so many times, one after the other."""
    walls: list[float] = []
    cpus: list[float] = []
    waits: list[float] = []
    for _ in range(times):
        with TemporaryDirectory(prefix="replicator-bench-") as folder:
            begun_s = time.perf_counter()
            server = Server(kind, Path(folder))
            try:
                server.wait_ready(0.001)
                walls.append(time.perf_counter() - begun_s)
                cpus.append(server.cpu_s())
                waits.append(server.waited_s())
            finally:
                server.end()
    return Start(median(walls), median(cpus), median(waits))


def interpreter_start(times: int) -> float:
    """Seconds of `python -c pass`: no server written in Python can start sooner. Median."""
    walls: list[float] = []
    for _ in range(times):
        begun_s = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        walls.append(time.perf_counter() - begun_s)
    return median(walls)


def idle(kind: str, seconds: float) -> float:
    """The share of a core that a primary with one replica and a connected client uses while nothing happens; the busier
    of the two nodes."""
    with servers(kind, 2, "--repl-diskless-sync-delay", "0") as (primary, replica):
        replica.call("REPLICAOF", "127.0.0.1", primary.port)
        until(replica.follows, "the replica follows")
        time.sleep(0.5)  # the synchronization's tail is no idling
        before = [(server.cpu_s(), time.perf_counter()) for server in (primary, replica)]
        time.sleep(seconds)
        return max(
            (server.cpu_s() - cpu_s) / (time.perf_counter() - begun_s)
            for server, (cpu_s, begun_s) in zip((primary, replica), before, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Pauses:
    """Longest waits of one client while another fills an empty server."""

    probe_s: float
    batch_s: float


def pauses(kind: str, keys: int) -> Pauses:
    """Fill an empty server with so many strings, then as many hashes, while a second client asks."""
    with servers(kind) as (server,):
        prober = Prober(server)
        with prober.asking():
            batch_s = max(fill(server, keys, 64, 100), fill(server, keys, 64, 100, hashes=True))
        return Pauses(prober.worst_s, batch_s)
