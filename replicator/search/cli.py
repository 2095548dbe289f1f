"""The command `replicator simulate`: parses, searches, prints."""

from __future__ import annotations

import json
import math
import shlex
import signal
import sys
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter
from typing import NoReturn, cast, get_args

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from replicator.output_paths import as_interrupt, unusable, unwritable
from replicator.scenario.script.dump import as_toml
from replicator.scenario.script.load import MAX_FAULTS, ScriptError, load
from replicator.scenario.script.script import Expect, FaultKind, Faults, Script
from replicator.scenario.script.units import Milliseconds, human_ms
from replicator.scenario.verdict.expect import of_file
from replicator.search.draw import ALL_KINDS
from replicator.search.page import page
from replicator.search.run import Seed, play, prepared, try_seed
from replicator.search.shrink import RUNS_MOST, shrink
from replicator.search.sweep import Group, Sweep
from replicator.search.workers import DASK_SECONDS, NoDask, Tasks, loaded, play_all, play_on_dask
from replicator.simulation.patience import Hangs

FAILED, WRONG_FILE, INTERRUPTED = 1, 2, 130
# How far behind its range a search may go on: more than can be played.
SEEDS_MOST = 1 << 40
PER_MINUTE = 60.0
# What must hold of any run.
HELD_TO = [
    Expect(converged=True), Expect(consistent=True), Expect(phantom=0), Expect(duplicated=0), Expect(reordered=0),
    Expect(resurrected=0),
]  # fmt: skip


def _refuse(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(WRONG_FILE)


def parse_seeds(text: str) -> tuple[int, int]:
    """ "100:200" -> (100, 200); "7" -> (7, 8); ":5" -> (0, 5). Raises ValueError."""
    begin, colon, end = text.strip().partition(":")
    try:
        first = int(begin) if begin or not colon else 0
        last = int(end) if colon else first + 1
    except ValueError:
        raise ValueError(f"--seeds {text!r}: give A:B, the seeds from A up to B without B, or one seed") from None
    if last <= first:
        raise ValueError(f"--seeds {text!r} holds no seed: A:B are the seeds from A up to B, without B")
    return first, last


def parse_kinds(text: str) -> dict[FaultKind, float]:
    """ "all", or "kill=3,cut" -> {"kill": 3.0, "cut": 1.0}. Raises ValueError with what is allowed."""
    if text.strip() == "all":
        return dict(ALL_KINDS)
    found: dict[FaultKind, float] = {}
    for part in text.split(","):
        name, equals, weight = (word.strip() for word in part.partition("="))
        if name not in get_args(FaultKind):
            raise ValueError(f"there is no fault {name!r}; allowed: all, {', '.join(get_args(FaultKind))}")
        try:
            found[cast(FaultKind, name)] = drawn = float(weight) if equals else 1.0
        except ValueError:
            drawn = math.nan
        if not 0 <= drawn < math.inf:
            raise ValueError(f"--faults {part}: the weight is a number from 0 on, not {weight!r}")
    if not any(found.values()):
        raise ValueError(f"--faults {text} gives nothing to draw: each weight is 0")
    return found


def _given(kinds: str | None, per_minute: float | None, vary: bool) -> Faults | None:
    """The faults of the command line. Raises ValueError."""
    if kinds is None:
        if vary or per_minute is not None:
            option = "--vary" if vary else "--per-minute"
            raise ValueError(f"{option} goes with --faults; a file has its own in [faults]")
        return None
    rate = PER_MINUTE if per_minute is None else per_minute
    if not 0 < rate <= MAX_FAULTS:
        raise ValueError(f"--per-minute must be above 0 and at most {MAX_FAULTS}")
    return Faults(
        kinds=parse_kinds(kinds), per_minute=rate, start=Milliseconds(200), longest=Milliseconds(4000), vary=vary
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--seeds", default="0:100", show_default=True, metavar="A:B",
              help="The seeds from A up to B, without B; or one seed.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Worker processes.")
@click.option("--json", "json_to", metavar="FILE|-",
              help="The result as JSON; - prints it, and nothing else, on stdout.")  # fmt: skip
@click.option("--faults", "kinds", metavar="all|KIND=WEIGHT,...",
              help="Draw these faults in place of the files' own [faults].")  # fmt: skip
@click.option("--per-minute", type=float, help=f"With --faults: how many a minute.  [default: {PER_MINUTE}]")
@click.option("--vary", is_flag=True, help="With --faults: draw configuration, topology and load, too.")
@click.option("--dask", "cluster", metavar="tcp://HOST:PORT", help="Play on this Dask cluster (replicator[dask]).")
@click.option("--keep", type=click.Path(path_type=Path), default=Path("found"), show_default=True, metavar="FOLDER",
              help="Where shrunk failures are written, as scenario files.")  # fmt: skip
@click.option("--shrink/--no-shrink", "shrinking", default=True, show_default=True,
              help="Make the first failure of each kind small.")  # fmt: skip
@click.option("--shrink-runs", type=click.IntRange(1), default=RUNS_MOST, show_default=True,
              help="Runs to spend on that.")  # fmt: skip
@click.option("--stop-after", type=click.IntRange(1), metavar="N", help="End the search after N failing seeds.")
@click.option("--until", nargs=2, metavar="worst TIME",
              help='Go on behind the range for this long ("30s"), looking for a worse run.')  # fmt: skip
@click.option("--runs", "records", is_flag=True, help="With --json: one record for every run.")
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE.html", help="What the runs cost, as a page.")
def simulate(
    files: tuple[Path, ...], seeds: str, jobs: int, json_to: str | None, kinds: str | None, per_minute: float | None,
    vary: bool, cluster: str | None, keep: Path, shrinking: bool, shrink_runs: int, stop_after: int | None,
    until: tuple[str, str] | None, records: bool, report: Path | None,
) -> None:  # fmt: skip
    """Search seeds for a run of scenario FILEs in which something that must hold does not, and tell what runs cost.

    Every seed draws faults as the file's [faults] says (or --faults), plays in virtual time, heals everything and
    demands that all nodes agree. What the file expects is judged as well, unless the faults are those of --faults.
    At the end each file and variant has a line: writes lost and time without service as median, 99th percentile and
    worst, with the command that plays the worst.
    Exit 0: no seed failed; 1: one did; 2: a file or an option is wrong; 130: interrupted before one failed.
    """
    try:
        begin, end = parse_seeds(seeds)
        faults = _given(kinds, per_minute, vary)
        longer_s = 0.0 if until is None else parse_until(*until)
    except ValueError as problem:
        _refuse(f"replicator simulate: {problem}")
    if records and json_to is None:
        _refuse("replicator simulate: --runs goes with --json")
    texts = _texts(files)
    targets = [path for path in (Path(json_to) if json_to not in (None, "-") else None, report) if path is not None]
    for wrong in (*map(unwritable, targets), unusable(keep) if shrinking else ""):
        if wrong:
            _refuse(wrong)
    signal.signal(signal.SIGTERM, as_interrupt)
    console = Console(stderr=json_to == "-", highlight=False, soft_wrap=True)

    if cluster is not None:
        console.print(f"waiting for the Dask scheduler at {cluster} (at most {DASK_SECONDS} s)", markup=False)

    def played(tasks: Tasks) -> Iterator[list[Seed]]:
        return play_on_dask(tasks, cluster, texts) if cluster is not None else play_all(tasks, jobs)

    drawn = "" if faults is None else f" --faults {shlex.quote(kinds or '')} --per-minute {faults.per_minute:.17g}"
    drawing = {file for file in texts if any(script.faults.kinds for _, script in loaded(file, None))}
    sweep = Sweep(faults, drawn + " --vary" if vary else drawn, drawing, records)
    began = perf_counter()
    try:
        tasks = Tasks(list(texts), faults, begin, end)
        _gather(sweep, played(tasks), len(tasks), console, stop_after)
        if longer_s and (stop_after is None or sweep.failed < stop_after):
            _look_for_worse(sweep, played(Tasks(list(texts), faults, end, end + SEEDS_MOST)), console, longer_s)
    except NoDask as problem:
        _refuse(f"replicator simulate: {problem}")
    except KeyboardInterrupt:
        sweep.ended = "interrupted"
    except BrokenProcessPool:
        sweep.ended = "ended, for a worker process has died (was there memory enough?)"
    sweep.seconds = perf_counter() - began
    try:
        sweep.tell(console)
        _keep_failures(sweep, keep if shrinking else None, console, shrink_runs)
    except KeyboardInterrupt:
        sweep.ended = "interrupted"
        console.print("interrupted")
    sweep.tell_costs(console)
    if report is not None:
        report.write_text(page(sweep), "utf-8")
        console.print(f"report: {report}", markup=False)
    if json_to is not None:
        _write(json.dumps(sweep.plain(), indent=2), json_to)
    sys.exit(FAILED if sweep.groups else INTERRUPTED if sweep.ended else 0)


def parse_until(what: str, how_long: str) -> float:
    """"worst", "30s" -> 30.0. Raises ValueError."""
    if what != "worst":
        raise ValueError(f"--until {what}: allowed is `--until worst TIME`")
    try:
        seconds = Milliseconds.parse(how_long) / 1000
    except ValueError as problem:
        raise ValueError(f"--until worst {how_long}: {problem}") from None
    if not seconds:
        raise ValueError(f"--until worst {how_long}: is no time")
    return seconds


def _look_for_worse(sweep: Sweep, results: Iterator[list[Seed]], console: Console, seconds: float) -> None:
    """Further seeds for so long; says each time the worst so far is passed."""
    stop, before, begun = perf_counter() + seconds, sweep.ledger.worst(), sweep.runs
    for batch in results:
        for seed in batch:
            sweep.take(seed)
        now = sweep.ledger.worst()
        if now != before:
            lost, silence_ms = before = now
            console.print(f"worse, after {sweep.runs - begun} runs more: {lost} lost, {human_ms(silence_ms)} without "
                          "service", markup=False)  # fmt: skip
        if perf_counter() >= stop:
            break
    console.print(f"looked at {sweep.runs - begun} runs behind the range", markup=False)


def _texts(files: tuple[Path, ...]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for file in files:
        try:
            load(file)
            texts[str(file)] = file.read_text("utf-8")
        except ScriptError as wrong:
            _refuse(str(wrong))
    return texts


def _write(text: str, json_to: str) -> None:
    if json_to == "-":
        click.echo(text)
        return
    try:
        Path(json_to).write_text(text + "\n", "utf-8")
    except OSError as problem:
        _refuse(f"{json_to}: cannot be written: {problem.strerror}")


def _keep_failures(sweep: Sweep, keep: Path | None, console: Console, runs_most: int) -> None:
    """Says of each group how to play it again; keep: shrinks it first, into a file there."""
    for group in sweep.groups.values():
        group.command = sweep.replay(group.first)
    for group in sweep.groups.values():
        if keep is not None and not sweep.ended:
            console.print(f"{group.name}:", style="red", markup=False)
            try:
                _shrink(sweep, group, keep, console, runs_most)
            except OSError as problem:
                console.print(f"  not kept: {problem}", markup=False)
        console.print(f"  replay: {group.command}", markup=False)


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


def _shrink(sweep: Sweep, group: Group, keep: Path, console: Console, runs_most: int) -> None:
    """Make the group's first failure small and write it down, with the command that plays it."""
    first = group.first
    scripts = dict(loaded(first.file, sweep.given))
    said = scripts[first.variant]
    script = prepared(said, first.seed)

    def violated(candidate: Script) -> str | None:
        found = try_seed(candidate, first.file, first.variant, first.seed)
        return next((text for name, text in found.objections if name == group.name), None)

    def fails(candidate: Script) -> bool:
        return violated(candidate) is not None

    why_not = ""
    if Hangs.__name__ in group.name:
        why_not = "each try would take a minute"
    elif not fails(script):
        why_not = "it does not fail again"
    if why_not:
        console.print(f"  not shrunk: {why_not}")
        return
    before, clients = len(script.faults.plan), len(script.client_names())
    own = _of_the_file(script, group.name, first)
    small = shrink(script, fails, runs_most, said, steps_stay=bool(own))
    script = small.script
    text = f"Violated: {group.name}. Drawn from seed {first.seed} of {first.file} {first.variant}".strip()
    script = msgspec.structs.replace(
        script,
        title=f"Found by simulation: {group.name[:80]}",
        about=f"{text}.\n{(violated(script) or group.text).strip()[:1500]}",
        expect=_held_to(script, own),
        variants=[],
    )
    keep.mkdir(parents=True, exist_ok=True)
    words = "".join(letter if letter.isalnum() else "-" for letter in group.name.lower())[:60].strip("-")
    path = keep / f"{Path(first.file).stem}-{words}-{first.seed}.toml"
    path.write_text(as_toml(script), "utf-8")
    group.kept = str(path)
    if fails(load(path)[0]):
        group.command = f"replicator scenario run {shlex.quote(str(path))} --on sim --seed {first.seed}"
    console.print(
        f"  shrunk from {before} faults and {clients} clients to {len(script.faults.plan)} and "
        f"{len(script.client_names())} in {small.runs} runs: {path}", markup=False,
    )  # fmt: skip
    for fault in script.faults.plan:
        where = f"{fault.kind} {fault.node} {fault.other}".strip()
        told = f"    {int(fault.at)} ms: {where} lasts {int(fault.lasts)} amount {fault.amount}"
        console.print(told, markup=False)


def _of_the_file(script: Script, violated: str, first: Seed) -> list[Expect]:
    """The file's expectation that failed, if it is one of the file's."""
    if not script.expect:
        return []
    judged = of_file(play(script, first.variant, first.seed))
    return [
        msgspec.structs.replace(one, variant=None)
        for one, verdict in zip(script.expect, judged, strict=True)
        if verdict.name == violated
    ]


def _held_to(script: Script, own: list[Expect]) -> list[Expect]:
    """What an archived failure is held to when it is played again: the file's expectation that failed, and what must
    hold of any run. The simulation's own findings count always."""
    alone = len(script.upstreams()) == 1
    return own + [one for one in HELD_TO if one not in own and not (alone and one.consistent)]
