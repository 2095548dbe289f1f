"""`make safety`: what the settings against lost writes cost and save, under Sentinels, for docs/safety.md.

Every cell of the grid is played with many seeds in virtual time: one primary, two replicas, three Sentinels, clients on
both sides of whatever happens. Each seed draws the network, the moment of the fault and the Sentinels' chances anew.

    python -m benchmarks.safety --seeds 1000 --jobs 2
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

from replicator.scenario.script.load import loads
from replicator.scenario.script.script import Script
from replicator.search.run import try_seed

PAGE = Path(__file__).parents[1] / "docs" / "safety.md"
CHART = PAGE.with_name("safety.svg")

_HEAD = """
title = "safety"
about = "a cell of docs/safety.md"
duration = "9s"
[topology]
replicas = 2
sentinels = 3
down_after = "1s"
failover_timeout = "5s"
[config]
min-replicas-to-write = {least}
min-replicas-max-lag = {lag}
appendonly = {aof}
[[workload]]
name = "inside"
clients = 1
rate = 20
wait_replicas = {wait}
[[workload]]
name = "outside"
clients = 1
rate = 20
wait_replicas = {wait}
"""
_DISTANCE = "".join(
    f'[[steps]]\nat = "0s"\ndelay = {{ between = ["a", "{one}"], delay = "5ms", jitter = "10ms" }}\n' for one in "bc"
)
_SPLIT = [("a", ("b", "c", "s2", "s3", "outside")), ("s1", ("b", "c", "s2", "s3", "outside"))]
_SPLIT += [(one, ("inside",)) for one in ("b", "c", "s2", "s3")]


@dataclass(frozen=True)
class Fault:
    """One column of the question: what goes wrong, and the sentence that a person takes away."""

    name: str
    about: str
    lesson: str


FAULTS = (
    Fault("crash", "kill -9 of the primary, which comes back later",
          "What a killed process had sent still arrives, so almost nothing is lost; the price is the time of the "
          "failover. With min-replicas-to-write 2 there is no service until the third node is back."),
    Fault("split", "the primary is cut off with one Sentinel and half of the clients for 5 s",
          "Without a bound the loss grows with the partition; min-replicas-to-write 1 bounds it by a max-lag that is "
          "shorter than the partition, and WAIT 1 loses nothing that it confirmed."),
    Fault("pause", "the primary's process stands still for 3 s",
          "A pause longer than down-after costs a failover. What is lost in the worst case is what the old primary "
          "confirms after it has woken up, until it is demoted; min-replicas-to-write 1 prevents that."),
    Fault("restart-empty", "the primary restarts at once, without its data",
          "No setting here saves a primary that restarts empty within down-after: give it persistence, or time."),
    Fault("restart-aof", "the primary restarts at once, with an append-only file",
          "With an append-only file the same restart loses next to nothing."),
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One combination of settings and fault."""

    fault: str
    least: int
    lag: int
    wait: int


def steps(fault: str, at_ms: int) -> str:
    """The steps of a fault that begins at this time."""
    def step(*lines: str) -> str:
        return "[[steps]]\n" + "\n".join(lines) + "\n"

    begin = f'at = "{at_ms}ms"'
    if fault == "crash":
        return step(begin, 'kill = "a"') + step(f'at = "{at_ms + 4000}ms"', 'restart = "a"')
    if fault == "pause":
        return step(begin, 'stop = "a"') + step(f'at = "{at_ms + 3000}ms"', 'continue = "a"')
    if fault == "split":
        cuts = [step(f'cut = {{ between = ["{one}", "{other}"] }}') for one, others in _SPLIT for other in others]
        note = step(begin, 'note = "the network falls apart"')
        return note + "".join(cuts) + step(f'at = "{at_ms + 5000}ms"', 'heal = "all"')
    data = "wipe" if fault == "restart-empty" else "keep"
    again = step('after = "200ms"', f'restart = {{ node = "a", data = "{data}" }}')
    return step(begin, 'kill = "a"') + again


def script(cell: Cell, seed: int) -> Script:
    """What one seed of a cell plays."""
    aof = "true" if cell.fault == "restart-aof" else "false"
    head = _HEAD.format(least=cell.least, lag=cell.lag, wait=cell.wait, aof=aof)
    at_ms = 2000 + Random(f"{seed}/safety").randrange(1000)
    return loads(head + _DISTANCE + steps(cell.fault, at_ms), "safety")[0]


def cells() -> Iterator[Cell]:
    """The grid."""
    for fault in FAULTS:
        for least, lag in ((0, 10), (1, 1), (1, 10), (2, 1), (2, 10)):
            for wait in (0, 1):
                yield Cell(fault.name, least, lag, wait)


@dataclass
class Figures:
    """What came of one cell's seeds."""

    lost: list[int]
    silence_ms: list[int]
    wrong: list[str]


def measure(cell: Cell, seeds: int) -> Figures:
    """Play all seeds of a cell."""
    found = Figures([], [], [])
    for seed in range(seeds):
        one = try_seed(script(cell, seed), "safety", "", seed)
        found.lost.append(one.lost)
        found.silence_ms.append(one.silence_ms)
        found.wrong += [f"{cell} seed {seed}: {text[:200]}" for _, text in one.objections]
    return found


def at(values: list[int], share: float) -> int:
    """The value that so large a share does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def page(found: dict[Cell, Figures], seeds: int) -> str:
    """docs/safety.md."""
    lines = [
        "# What to choose against lost writes", "",
        f"Generated by `make safety`; this one with `SEEDS={seeds}`: so many simulated runs a row.",
        "One primary, two replicas 5 to 15 ms away, three Sentinels, down-after 1 s, two clients with 20 writes a",
        "second each, one on each side of a partition. Lost are writes that were acknowledged; with WAIT 1 a write",
        "counts as that when a replica has it. Without service: the longest time in which no write of anybody was",
        "acknowledged.", "",
        "![writes lost](safety.svg)", "",
    ]  # fmt: skip
    for fault in FAULTS:
        lines += [
            f"## {fault.name}: {fault.about}", "", fault.lesson, "",
            "| min-replicas-to-write | max-lag | WAIT | lost: median | 99th | worst | no service: median | worst |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]  # fmt: skip
        for cell, figures in found.items():
            if cell.fault == fault.name:
                lost, silent = figures.lost, figures.silence_ms
                lag = "–" if cell.least == 0 else f"{cell.lag} s"
                wait = "1" if cell.wait else "–"
                lines.append(
                    f"| {cell.least} | {lag} | {wait} | {at(lost, 0.5)} | {at(lost, 0.99)} | {max(lost)} "
                    f"| {at(silent, 0.5) / 1000:.1f} s | {max(silent) / 1000:.1f} s |"
                )
        lines.append("")
    return "\n".join(lines)


def chart(found: dict[Cell, Figures]) -> str:
    """The medians of lost writes as bars, a group for each fault."""
    most = max(max(at(figures.lost, 0.5), 1) for figures in found.values())
    rows, y = [], 30
    for fault in FAULTS:
        rows.append(f'<text x="8" y="{y + 11}" font-weight="bold">{fault.name}</text>')
        y += 18
        for cell, figures in found.items():
            if cell.fault != fault.name:
                continue
            median, worst = at(figures.lost, 0.5), max(figures.lost)
            label = f"min-replicas {cell.least}" + (f", lag {cell.lag} s" if cell.least else "")
            label += ", WAIT 1" if cell.wait else ""
            width = 420 * median / most
            rows.append(
                f'<text x="16" y="{y + 10}">{label}</text><rect x="190" y="{y}" width="{width:.1f}" height="11" '
                f'fill="#c0392b"/><text x="{196 + width:.1f}" y="{y + 10}">{median} (worst {worst})</text>'
            )
            y += 15
        y += 10
    head = '<text x="8" y="16">acknowledged writes that are lost, median of all seeds</text>'
    body = "\n".join((head, *rows))
    size = f'width="760" height="{y + 8}" viewBox="0 0 760 {y + 8}"'
    style = 'font-family="sans-serif" font-size="11" fill="#222"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n<rect width="100%" height="100%" fill="#fff"/>\n'
        f"{body}\n</svg>\n"
    )


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="What settings against lost writes cost and save.")
    parser.add_argument("--seeds", type=int, default=1000, help="runs of each cell")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes")
    given = parser.parse_args()
    grid = list(cells())
    found: dict[Cell, Figures] = {}
    with ProcessPoolExecutor(given.jobs) as pool:
        for cell, figures in zip(grid, pool.map(measure, grid, [given.seeds] * len(grid)), strict=True):
            found[cell] = figures
            worst = f"{max(figures.lost)} worst"
            print(f"{cell}: lost {at(figures.lost, 0.5)} median, {worst}; {len(figures.wrong)} objections", flush=True)
            for text in figures.wrong[:2]:
                print(f"  {text}", flush=True)
    PAGE.write_text(page(found, given.seeds), "utf-8")
    CHART.write_text(chart(found), "utf-8")
    print(f"{PAGE} and {CHART.name} written")


if __name__ == "__main__":
    main()
