"""python -m benchmarks: this node beside a stock server, in one run.

Rates depend on what else the machine does, ratios less so, processor time per command hardly: read them in that order.
The exit code is always 0; the last lines say which target is met.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from statistics import median
from typing import Any

from benchmarks import append_only, commands, processes
from benchmarks.commands import COMMANDS, Compared
from benchmarks.servers import Missing, benchmark_binary, compile_package, stock_binary

PARTS = ("commands", "tls", "append-only", "replicas", "sync", "start", "idle", "pauses", "simulation")
HOT = ("set", "get", "incr", "lpush")  # the commands that have a target
LEAST_RATIO = {1: 0.8, 16: 0.5}
LEAST_WITH_TLS = 0.5
LEAST_WITH_REPLICAS = 0.4
MOST_START_S = 0.3
LEAST_APPENDING = {("everysec", 16): 0.5, ("always", 1): 0.8}
MOST_LOAD = 3.0
MOST_REWRITE = 2.0
MOST_REWRITE_WAIT = 2.0
MOST_SYNC = 4.0
MOST_WAIT_S = 0.25
MOST_IDLE = 0.01


@dataclass(frozen=True, slots=True)
class Target:
    """What was asked for, what was found."""

    name: str
    wanted: str
    found: str
    met: bool


class Report:
    """What has been measured so far: printed line by line, kept for --json."""

    def __init__(self) -> None:
        self.results: dict[str, Any] = {}
        self.targets: list[Target] = []

    def say(self, line: str = "") -> None:
        """A line of the report, at once."""
        print(line, flush=True)

    def target(self, name: str, wanted: str, found: str, met: bool) -> None:
        """A target and whether it is met."""
        self.targets.append(Target(name, wanted, found, met))

    def verdict(self) -> None:
        """Which targets are met."""
        if not self.targets:
            return
        self.say()
        width = max(len(target.name) for target in self.targets)
        for target in self.targets:
            word = "met   " if target.met else "MISSED"
            self.say(f"{word}  {target.name:{width}}  {target.wanted:>10}  found {target.found}")


def _row(compared: Compared) -> str:
    return (
        f"{compared.name:16} -P {compared.pipeline:2}  {compared.ours.per_s:11,.0f}  {compared.stock.per_s:11,.0f}"
        f"  {compared.ratio:5.2f}  {compared.ours.cpu_us:8.2f}  {compared.stock.cpu_us:8.2f}"
        f"   {min(compared.ratios):.2f}-{max(compared.ratios):.2f}"
    )


_HEADER = f"{'':16} {'':5}  {'ours /s':>11}  {'stock /s':>11}  {'ratio':>5}  {'ours us':>8}  {'stock us':>8}   of pairs"


def _commands(report: Report, options: argparse.Namespace) -> None:
    report.say(_HEADER)
    for pipeline in options.pipelines:
        requests = options.requests * (1 if pipeline == 1 else 5)
        for compared in commands.measure(tuple(options.tests), pipeline, requests, options.pairs):
            report.say(_row(compared))
            report.results.setdefault("commands", []).append(asdict(compared))
            least = LEAST_RATIO.get(pipeline)
            if compared.name in HOT and least is not None:
                name = f"{compared.name} -P {pipeline}"
                report.target(name, f">= {least}", f"{compared.ratio:.2f}", compared.ratio >= least)


def _tls(report: Report, options: argparse.Namespace) -> None:
    report.say("over TLS, client certificates demanded")
    report.say(_HEADER)
    for pipeline in options.pipelines:
        requests = options.requests * (1 if pipeline == 1 else 5)
        for compared in commands.measure(("set", "get"), pipeline, requests, options.pairs, tls=True):
            report.say(_row(compared))
            report.results.setdefault("tls", []).append(asdict(compared))
            if compared.name == "set" and pipeline == 16:
                met = compared.ratio >= LEAST_WITH_TLS
                report.target("set -P 16 over TLS", f">= {LEAST_WITH_TLS}", f"{compared.ratio:.2f}", met)


def _append_only(report: Report, options: argparse.Namespace) -> None:
    report.say(_HEADER)
    for (policy, pipeline), least in LEAST_APPENDING.items():
        requests = options.requests * 5 if pipeline > 1 else options.requests // 2
        compared = append_only.measure(policy, pipeline, requests, options.pairs)
        report.say(_row(compared))
        report.results.setdefault("append-only", []).append(asdict(compared))
        name = f"{compared.name} -P {pipeline}"
        report.target(name, f">= {least}", f"{compared.ratio:.2f}", compared.ratio >= least)
    took = append_only.load(2 * options.keys, options.size)
    report.say(f"loading {2 * options.keys:,} SETs: " + ", ".join(f"{kind} {s:.2f} s" for kind, s in took.items()))
    times = took["ours"] / took["stock"]
    report.target("loading the file", f"<= {MOST_LOAD:.0f}x", f"{times:.1f}x", times <= MOST_LOAD)
    made = {kind: append_only.rewrite(kind, options.keys, options.size) for kind in ("ours", "stock")}
    report.say(
        f"rewriting {options.keys:,} keys: "
        + ", ".join(f"{kind} {one.took_s:.2f} s, longest wait {1000 * one.wait_s:.1f} ms" for kind, one in made.items())
    )
    report.results["append-only load"] = took
    report.results["append-only rewrite"] = {kind: asdict(one) for kind, one in made.items()}
    times = made["ours"].took_s / made["stock"].took_s
    report.target("rewriting the file", f"<= {MOST_REWRITE:.0f}x", f"{times:.1f}x", times <= MOST_REWRITE)
    times = made["ours"].wait_s / made["stock"].wait_s
    report.target("wait meanwhile", f"<= {MOST_REWRITE_WAIT:.0f}x", f"{times:.1f}x", times <= MOST_REWRITE_WAIT)


def _replicas(report: Report, options: argparse.Namespace) -> None:
    compared = commands.measure_with_replicas(2, 5 * options.requests, options.pairs)
    report.say(_HEADER.replace("ours us", "all us"))
    report.say(_row(compared))
    report.results["replicas"] = asdict(compared)
    met = compared.ratio >= LEAST_WITH_REPLICAS
    report.target(f"{compared.name} -P 16", f">= {LEAST_WITH_REPLICAS}", f"{compared.ratio:.2f}", met)


def _sync(report: Report, options: argparse.Namespace) -> None:
    runs: dict[str, list[processes.Sync]] = {"ours": [], "stock": []}
    for _ in range(max(1, options.pairs - 1)):
        for kind, found in runs.items():
            found.append(processes.full_sync(kind, options.keys, options.size))
    report.say(f"full synchronization of {options.keys:,} keys of {options.size} bytes")
    for kind, found in runs.items():
        report.say(
            f"  {kind:5}  {median(run.took_s for run in found):6.2f} s"
            f"   longest wait: at the primary {1000 * max(run.primary_wait_s for run in found):6.1f} ms,"
            f" at the replica {1000 * max(run.replica_wait_s for run in found):6.1f} ms"
            f"   cpu: primary {median(run.primary_cpu_s for run in found):.2f} s,"
            f" replica {median(run.replica_cpu_s for run in found):.2f} s"
            f"   {median(run.bytes_per_key for run in found):.0f} bytes a key"
        )
    report.results["sync"] = {kind: [asdict(run) for run in found] for kind, found in runs.items()}
    times = median(ours.took_s / stock.took_s for ours, stock in zip(runs["ours"], runs["stock"], strict=True))
    report.target("full synchronization", f"<= {MOST_SYNC:.0f}x", f"{times:.1f}x", times <= MOST_SYNC)
    wait_s = max(run.primary_wait_s for run in runs["ours"])
    report.target("wait meanwhile", f"<= {1000 * MOST_WAIT_S:.0f} ms", f"{1000 * wait_s:.0f} ms", wait_s <= MOST_WAIT_S)


def _start(report: Report, options: argparse.Namespace) -> None:
    floor_s = processes.interpreter_start(options.starts)
    found = {kind: processes.start(kind, options.starts) for kind in ("ours", "stock")}
    report.say(
        "start to the first PING: "
        + ", ".join(
            f"{kind} {1000 * one.wall_s:.0f} ms "
            f"(cpu {1000 * one.cpu_s:.0f} ms, waiting for a core {1000 * one.waited_s:.0f} ms)"
            for kind, one in found.items()
        )
        + f", python -c pass {1000 * floor_s:.0f} ms"
    )
    report.results["start"] = {kind: asdict(one) for kind, one in found.items()} | {"interpreter_s": floor_s}
    took_s = found["ours"].wall_s - found["ours"].waited_s
    report.target(
        "start, had it a core", f"<= {1000 * MOST_START_S:.0f} ms", f"{1000 * took_s:.0f} ms", took_s <= MOST_START_S
    )


def _idle(report: Report, options: argparse.Namespace) -> None:
    found = {kind: processes.idle(kind, options.idle_seconds) for kind in ("ours", "stock")}
    report.say("idle with a replica: " + ", ".join(f"{kind} {share:.2%} of a core" for kind, share in found.items()))
    report.results["idle"] = found
    report.target("idle", f"< {MOST_IDLE:.0%}", f"{found['ours']:.2%}", found["ours"] < MOST_IDLE)


def _pauses(report: Report, options: argparse.Namespace) -> None:
    found = {kind: processes.pauses(kind, options.keys) for kind in ("ours", "stock")}
    report.say(
        f"longest wait of a client while another makes {options.keys:,} strings and as many hashes: "
        + ", ".join(f"{kind} {1000 * one.probe_s:.1f} ms" for kind, one in found.items())
    )
    report.results["pauses"] = {kind: asdict(one) for kind, one in found.items()}


def _simulation(report: Report, options: argparse.Namespace) -> None:
    if find_spec("benchmarks.simulation") is None:
        report.say("simulation: there is no benchmarks/simulation.py")
        return
    simulation = import_module("benchmarks.simulation")
    measured = {**simulation.seeds_a_second(options.seeds), **simulation.million_writes()}
    report.results["simulation"] = measured
    for name, value in measured.items():
        report.say(f"simulation: {name:36} {value:12,.1f}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"what to measure: {', '.join(PARTS)} (all of them)")
    parser.add_argument("--tests", default=",".join(COMMANDS), help="commands of redis-benchmark (%(default)s)")
    parser.add_argument("--pipelines", default="1,16", help="commands in flight for each client (%(default)s)")
    parser.add_argument("--requests", type=int, default=60_000, help="in a run at -P 1; five times that otherwise")
    parser.add_argument("--pairs", type=int, default=3, help="runs of ours and of stock (%(default)s)")
    parser.add_argument("--keys", type=int, default=500_000, help="of the full synchronization (%(default)s)")
    parser.add_argument("--size", type=int, default=64, help="bytes of each value there (%(default)s)")
    parser.add_argument("--starts", type=int, default=7, help="starts of each server (%(default)s)")
    parser.add_argument("--idle-seconds", type=float, default=5.0, help="how long to watch idle servers (%(default)s)")
    parser.add_argument("--seeds", type=int, default=40, help="runs of the simulation (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write all figures there, too (- for standard output)")
    options = parser.parse_args()
    options.tests = options.tests.lower().split(",")
    options.pipelines = [int(word) for word in options.pipelines.split(",")]
    options.parts = options.parts or list(PARTS)
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"there is no part {part!r}: {', '.join(PARTS)}")
    for test in options.tests:
        if test not in COMMANDS:
            parser.error(f"there is no test {test!r}: {', '.join(COMMANDS)}")
    return options


def main() -> None:
    """Measure what was asked for and print it."""
    options = _options()
    report = Report()
    compile_package()
    try:
        report.say(f"stock is {stock_binary()}; load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        measures = {
            "commands": _commands,
            "tls": _tls,
            "append-only": _append_only,
            "replicas": _replicas,
            "sync": _sync,
            "start": _start,
            "idle": _idle,
            "pauses": _pauses,
            "simulation": _simulation,
        }
        if {"commands", "tls", "append-only", "replicas"} & set(options.parts):
            benchmark_binary()
        for part in options.parts:
            report.say()
            measures[part](report, options)
    except Missing as problem:
        print(f"benchmarks: {problem}", file=sys.stderr)
    report.verdict()
    if options.json:
        text = json.dumps(report.results | {"targets": [asdict(target) for target in report.targets]}, indent=2)
        if options.json == "-":
            print(text)
        else:
            with open(options.json, "w", encoding="utf-8") as file:
                file.write(text + "\n")


if __name__ == "__main__":
    main()
