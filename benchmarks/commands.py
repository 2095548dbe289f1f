"""Commands a second under redis-benchmark, ours and stock in turn."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from statistics import median

from benchmarks.servers import Server, benchmark_binary, servers, until

COMMANDS = ("set", "get", "incr", "lpush", "rpop", "sadd", "hset", "zadd")


@dataclass(frozen=True, slots=True)
class Run:
    """One run of redis-benchmark: commands a second, microseconds of the server's processor time for each."""

    per_s: float
    cpu_us: float


@dataclass(frozen=True, slots=True)
class Compared:
    """Ours and stock in some pairs of runs: medians, and the median of the pairs' ratios (ours / stock)."""

    name: str
    pipeline: int
    ours: Run
    stock: Run
    ratio: float
    ratios: tuple[float, ...]


def benchmark(server: Server, test: str, pipeline: int, requests: int, clients: int = 50) -> Run:
    """Run one test of redis-benchmark against the server."""
    command = [benchmark_binary(), "-h", "127.0.0.1", "-p", str(server.port), "-t", test, "-c", str(clients)]
    command += ["-n", str(requests), "-P", str(pipeline), "--csv"]
    if server.papers is not None:
        command += ["--tls", "--cacert", server.papers.ca, "--cert", server.papers.cert, "--key", server.papers.key]
    cpu_s = server.cpu_s()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    cpu_s = server.cpu_s() - cpu_s
    lines = [line.split(",") for line in done.stdout.splitlines() if line.startswith('"')]
    per_s = [float(fields[1].strip('"')) for fields in lines if fields[0].strip('"').lower().startswith(test)]
    if len(per_s) != 1:
        raise RuntimeError(f"redis-benchmark -t {test} said: {done.stdout}{done.stderr}")
    return Run(per_s[0], cpu_s / requests * 1e6)


def _middle(runs: list[Run]) -> Run:
    return Run(median(run.per_s for run in runs), median(run.cpu_us for run in runs))


def compared(name: str, pipeline: int, pairs: list[tuple[Run, Run]]) -> Compared:
    """Medians and ratios of these pairs of runs (ours, stock)."""
    ratios = tuple(ours.per_s / stock.per_s for ours, stock in pairs)
    ours, stock = _middle([ours for ours, _ in pairs]), _middle([stock for _, stock in pairs])
    return Compared(name, pipeline, ours, stock, median(ratios), ratios)


def measure(tests: tuple[str, ...], pipeline: int, requests: int, pairs: int, *, tls: bool = False) -> list[Compared]:
    """Each test in so many pairs. All tests share the two servers, as in a run of redis-benchmark by hand."""
    results: dict[str, list[tuple[Run, Run]]] = {test: [] for test in tests}
    with servers("ours", tls=tls) as (ours,), servers("stock", tls=tls) as (stock,):
        for server in (ours, stock):
            benchmark(server, "ping_mbulk", pipeline, max(1000, requests // 20))
        for number in range(pairs):
            for test in tests:
                # Who comes first changes from pair to pair: a machine that grows busier favours neither.
                first, second = (ours, stock) if number % 2 == 0 else (stock, ours)
                runs = {server.kind: benchmark(server, test, pipeline, requests) for server in (first, second)}
                results[test].append((runs["ours"], runs["stock"]))
    return [compared(test, pipeline, found) for test, found in results.items()]


def _with_replicas(kind: str, count: int, requests: int, pipeline: int) -> Run:
    """SET until every replica has caught up; processor time is that of all servers together."""
    with servers(kind, count + 1, "--repl-diskless-sync-delay", "0") as (primary, *replicas):
        for replica in replicas:
            replica.call("REPLICAOF", "127.0.0.1", primary.port)
        for replica in replicas:
            until(replica.follows, "a replica follows")
        cpu_s = -sum(server.cpu_s() for server in (primary, *replicas))
        begun_s = time.perf_counter()
        benchmark(primary, "set", pipeline, requests)
        end = primary.offset()
        for replica in replicas:
            until(lambda replica=replica: replica.offset() >= end, "a replica catches up")
        took_s = time.perf_counter() - begun_s
        cpu_s += sum(server.cpu_s() for server in (primary, *replicas))
        return Run(requests / took_s, cpu_s / requests * 1e6)


def measure_with_replicas(count: int, requests: int, pairs: int, pipeline: int = 16) -> Compared:
    """SET with replicas attached, ours with ours against stock with stock, measured until all have caught up."""
    found: list[tuple[Run, Run]] = []
    for number in range(pairs):
        order = ("ours", "stock") if number % 2 == 0 else ("stock", "ours")
        runs = {kind: _with_replicas(kind, count, requests, pipeline) for kind in order}
        found.append((runs["ours"], runs["stock"]))
    return compared(f"set, {count} replicas", pipeline, found)
