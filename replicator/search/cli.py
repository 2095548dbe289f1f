"""The command `replicator simulate`: parses, searches, prints."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any, NoReturn, cast, get_args

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from replicator.scenario.dump import as_toml
from replicator.scenario.loading import ScriptError, load
from replicator.scenario.script import Expect, FaultKind, Faults, Script
from replicator.scenario.units import Milliseconds
from replicator.search.draw import ALL_KINDS
from replicator.search.run import Seed, prepared, try_seed
from replicator.search.shrink import RUNS_MOST, shrink
from replicator.search.workers import NoDask, loaded, play_all, play_on_dask, tasks_of
from replicator.simulation.patience import Hangs

FAILED, WRONG_FILE = 1, 2
# What an archived failure is held to when it is played again; the simulation's own findings always count.
HELD_TO = [
    Expect(converged=True), Expect(consistent=True), Expect(phantom=0), Expect(duplicated=0), Expect(reordered=0),
    Expect(resurrected=0),
]  # fmt: skip


def _refuse(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(WRONG_FILE)


def parse_seeds(text: str) -> tuple[int, int]:
    """ "100:200" -> (100, 200); "7" -> (7, 8). Raises ValueError."""
    begin, colon, end = text.partition(":")
    first = int(begin or "0")
    return first, int(end) if colon else first + 1


def parse_kinds(text: str) -> dict[FaultKind, float]:
    """ "all", or "kill=3,cut" -> {"kill": 3.0, "cut": 1.0}. Raises ValueError with what is allowed."""
    if text == "all":
        return dict(ALL_KINDS)
    found: dict[FaultKind, float] = {}
    for part in text.split(","):
        name, _, weight = part.partition("=")
        if name not in get_args(FaultKind):
            raise ValueError(f"there is no fault {name!r}; allowed: all, {', '.join(get_args(FaultKind))}")
        found[cast(FaultKind, name)] = float(weight or "1")
    return found


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--seeds", default="0:100", show_default=True, metavar="A:B", help="The seeds from A up to B, without B.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Worker processes.")
@click.option("--json", "json_to", metavar="FILE|-",
              help="The result as JSON; - prints it, and nothing else, on stdout.")  # fmt: skip
@click.option("--faults", "kinds", metavar="all|KIND=WEIGHT,...", help="Draw these faults in place of the files' own.")
@click.option("--per-minute", type=float, default=60.0, show_default=True, help="Faults a minute of --faults.")
@click.option("--vary", is_flag=True, help="With --faults: draw configuration, topology and load, too.")
@click.option("--dask", "cluster", metavar="tcp://HOST:PORT", help="Play on this Dask cluster (replicator[dask]).")
@click.option("--keep", type=click.Path(path_type=Path), default=Path("found"), show_default=True, metavar="FOLDER",
              help="Where shrunk failures are written, as scenario files.")  # fmt: skip
@click.option("--shrink/--no-shrink", "shrinking", default=True, help="Make the first failure of each kind small.")
@click.option("--shrink-runs", type=click.IntRange(1), default=RUNS_MOST, show_default=True,
              help="Runs to spend on that.")  # fmt: skip
@click.option("--stop-after", type=click.IntRange(1), metavar="N", help="End the search after N failing seeds.")
def simulate(
    files: tuple[Path, ...], seeds: str, jobs: int, json_to: str | None, kinds: str | None, per_minute: float, vary:
    bool, cluster: str | None, keep: Path, shrinking: bool, shrink_runs: int, stop_after: int | None,
) -> None:  # fmt: skip
    """Search seeds for a run of scenario FILEs in which something that must hold does not.

    Every seed draws faults as the file's [faults] says (or --faults), plays in virtual time, heals everything and
    demands that all nodes agree. Without faults the file's own expectations are judged as well. Exit 0: no seed failed;
    1: one did; 2: a file is wrong.
    """
    try:
        begin, end = parse_seeds(seeds)
        faults = None
        if kinds is not None:
            faults = Faults(
                kinds=parse_kinds(kinds), per_minute=per_minute, start=Milliseconds(200), longest=Milliseconds(4000),
                vary=vary,
            )  # fmt: skip
    except ValueError as problem:
        _refuse(f"replicator simulate: {problem}")
    texts: dict[str, str] = {}
    for file in files:
        try:
            load(file)
            texts[str(file)] = file.read_text("utf-8")
        except ScriptError as wrong:
            _refuse(str(wrong))
    console = Console(stderr=json_to == "-", highlight=False)
    tasks = tasks_of(list(texts), faults, begin, end)
    results = play_on_dask(tasks, cluster, texts) if cluster is not None else play_all(tasks, jobs)
    drawn = "" if kinds is None else f" --faults {kinds} --per-minute {per_minute:g}" + (" --vary" if vary else "")
    sweep = Sweep(faults, drawn)
    began = perf_counter()
    try:
        _gather(sweep, results, len(tasks), console, stop_after)
    except NoDask as problem:
        _refuse(f"replicator simulate: {problem}")
    except KeyboardInterrupt:
        console.print("interrupted")
    sweep.seconds = perf_counter() - began
    sweep.tell(console)
    for group in sweep.groups.values():
        if shrinking:
            _shrink(sweep, group, keep, console, shrink_runs)
        else:
            console.print(f"  replay: {sweep.replay(group.first)}")
    if json_to is not None:
        text = json.dumps(sweep.plain(), indent=2)
        if json_to == "-":
            click.echo(text)
        else:
            Path(json_to).write_text(text + "\n", "utf-8")
    sys.exit(FAILED if sweep.groups else 0)


def _gather(
    sweep: Sweep, results: Iterator[list[Seed]], tasks: int, console: Console, stop_after: int | None
) -> None:
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console,
        transient=True,
    )  # fmt: skip
    with bar if console.is_terminal else nullcontext():
        shown = bar.add_task("seeds", total=tasks)
        began = perf_counter()
        for done, batch in enumerate(results, 1):
            for seed in batch:
                sweep.take(seed)
            rate = sweep.runs / max(0.001, perf_counter() - began)
            so_far = f"{sweep.runs} runs, {rate:.0f} a second, {sweep.failed} failed"
            bar.update(shown, advance=1, description=so_far)
            if not console.is_terminal and 10 * done // tasks > 10 * (done - 1) // tasks and done < tasks:
                console.print(f"{100 * done // tasks} %: {so_far}")  # a log of a long search shows that it lives
            if stop_after is not None and sweep.failed >= stop_after:
                return


class Group:
    """Failures of one kind."""

    def __init__(self, name: str, first: Seed, text: str) -> None:
        self.name, self.first, self.text = name, first, text
        self.seeds: list[int] = []
        self.kept = ""
        self.command = ""

    def plain(self) -> dict[str, Any]:
        return {
            "violated": self.name, "count": len(self.seeds), "first": asdict(self.first), "seeds": self.seeds[:100],
            "scenario_file": self.kept, "replay": self.command,
        }  # fmt: skip


class Sweep:
    """All results of a search. drawn: the options by which its faults were drawn, if not as the files say."""

    def __init__(self, faults: Faults | None, drawn: str = "") -> None:
        self.given, self._drawn = faults, drawn
        self.groups: dict[str, Group] = {}
        self.faults: Counter[str] = Counter()
        self.paths: Counter[str] = Counter()
        self.sums: Counter[str] = Counter()
        self.runs = self.failed = 0
        self.seconds = 0.0

    def take(self, seed: Seed) -> None:
        """One more result."""
        self.runs += 1
        self.failed += not seed.ok
        self.faults.update(seed.faults)
        self.paths.update(seed.paths)
        for name in ("events", "virtual_ms", "writes", "lost", "compared_bytes", "compared_data"):
            self.sums[name] += getattr(seed, name)
        for name, text in seed.objections:
            group = self.groups.setdefault(name, Group(name, seed, text))
            if (seed.seed, seed.file) < (group.first.seed, group.first.file):
                group.first, group.text = seed, text
            group.seeds.append(seed.seed)

    def replay(self, seed: Seed) -> str:
        """The command that plays one seed again."""
        return f"replicator simulate {seed.file}{self._drawn} --seeds {seed.seed}:{seed.seed + 1} --no-shrink"

    def tell(self, console: Console) -> None:
        seconds, sums = max(0.001, self.seconds), self.sums
        console.print(
            f"{self.runs} runs in {seconds:.1f} s ({self.runs / seconds:.1f} a second, "
            f"{sums['virtual_ms'] / 1000 / seconds:.0f} virtual seconds and "
            f"{sums['events'] / seconds:.0f} events a second); {sums['writes']} writes acknowledged, "
            f"{sums['lost']} lost; {sums['compared_bytes']} bytes and {sums['compared_data']} data sets compared"
        )
        if self.faults:
            console.print("faults: " + ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items())))
        console.print("paths: " + ", ".join(f"{name} {count}" for name, count in sorted(self.paths.items())))
        if not self.groups:
            console.print("no seed failed")
        for group in self.groups.values():
            seeds = ", ".join(map(str, sorted(set(group.seeds))[:10]))
            console.print(f"[red]{group.name}[/red]: {len(group.seeds)} times; seeds {seeds}", highlight=False)
            console.print(group.text.strip()[-2000:], markup=False)

    def plain(self) -> dict[str, Any]:
        return {
            "runs": self.runs, "failed": self.failed, "seconds": round(self.seconds, 3), **self.sums,
            "faults": dict(sorted(self.faults.items())), "paths": dict(sorted(self.paths.items())),
            "failures": [group.plain() for group in self.groups.values()], "ok": not self.groups,
        }  # fmt: skip


def _shrink(sweep: Sweep, group: Group, keep: Path, console: Console, runs_most: int) -> None:
    """Make the group's first failure small, write it down, print how to play it."""
    first = group.first
    scripts = dict(loaded(first.file, sweep.given))
    script = prepared(scripts[first.variant], first.seed)

    def fails(candidate: Script) -> bool:
        found = try_seed(candidate, first.file, first.variant, first.seed)
        return any(name == group.name for name, _ in found.objections)

    before = len(script.faults.plan)
    why_not = "" if before else "no faults were drawn"
    if Hangs.__name__ in group.name:
        why_not = "each try would take a minute"
    small = None if why_not else shrink(script, fails, runs_most)
    if small is None:
        group.command = sweep.replay(first)
        console.print(f"  not shrunk ({why_not or 'it does not fail again'}); replay: {group.command}")
        return
    script = small.script
    text = f"Violated: {group.name}. Drawn from seed {first.seed} of {first.file} {first.variant}".strip()
    script = msgspec.structs.replace(
        script,
        title=f"Found by simulation: {group.name[:80]}",
        about=f"{text}.\n{group.text.strip()[:1500]}",
        expect=HELD_TO,
        variants=[],
    )
    keep.mkdir(parents=True, exist_ok=True)
    words = "".join(letter if letter.isalnum() else "-" for letter in group.name.lower())[:60].strip("-")
    path = keep / f"{words}-{first.seed}.toml"
    path.write_text(as_toml(script), "utf-8")
    group.kept, group.command = str(path), f"replicator scenario run {path} --on sim --seed {first.seed}"
    console.print(f"  shrunk from {before} faults to {len(script.faults.plan)} in {small.runs} runs: {path}")
    for fault in script.faults.plan:
        where = f"{fault.kind} {fault.node} {fault.other}".strip()
        told = f"    {int(fault.at)} ms: {where} lasts {int(fault.lasts)} amount {fault.amount}"
        console.print(told, markup=False)
    console.print(f"  replay: {group.command}")
