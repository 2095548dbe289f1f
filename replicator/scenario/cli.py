"""The commands `scenario` and `history`: they parse, call and print."""

from __future__ import annotations

import gc
import json
import re
import signal
import sys
from collections import Counter
from contextlib import ExitStack
from operator import attrgetter
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console

from replicator.output_paths import as_interrupt, unusable, unwritable
from replicator.scenario.play.stage import Stage, StageError
from replicator.scenario.report.html import page
from replicator.scenario.report.terminal import Terminal
from replicator.scenario.running import MakeStage, run_file
from replicator.scenario.script.directives import without_effect
from replicator.scenario.script.load import ScriptError, load
from replicator.scenario.script.script import Script
from replicator.scenario.verdict.agreement import disagreements, same_place
from replicator.scenario.verdict.durability import Verdict
from replicator.scenario.verdict.durability import check as check_history
from replicator.scenario.verdict.history import HistoryError, read_lines
from replicator.scenario.verdict.jepsen.edn import EdnError
from replicator.scenario.verdict.jepsen.jepsen import check_text
from replicator.scenario.verdict.outcome import Outcome, joined
from replicator.scenario.verdict.reads import backward_reads, linearizability

FAILED, WRONG_FILE = 1, 2
# So many lost writes (and anomalies of a kind) `history check` tells one by one unless it is asked for all.
FIRST_LOST = 10
HELP = {"help_option_names": ["-h", "--help"]}


def _refuse(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(WRONG_FILE)


@click.group(context_settings=HELP)
def scenario() -> None:
    """Play scripted failovers, list them, check their files."""


@scenario.command("run", context_settings=HELP)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--on", type=click.Choice(["live", "sim", "stock"]), help="live: our nodes as processes (the default); "
              "sim: in virtual time; stock: Redis or Valkey servers.")  # fmt: skip
@click.option("--engine", metavar="redis|valkey|PATH", help="Which stock server; implies --on stock.")
@click.option("--seed", type=int, default=0, show_default=True, help="For all that is drawn.")
@click.option(
    "--json", "json_to", metavar="FILE|-", help="The result as JSON; - prints it, and nothing else, on stdout."
)
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE.html", help="A report to look at.")
@click.option("--history", "history_to", type=click.Path(path_type=Path), metavar="FILE",
              help="Every operation, one JSON line each, for `replicator history check`.")  # fmt: skip
@click.option("--keep", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Keep the nodes' data and logs there (live and stock).")  # fmt: skip
@click.option("--variant", "only", metavar="NAME", help="Play this variant alone.")
@click.option("--quiet", is_flag=True, help="Tell the verdicts alone.")
def run(
    files: tuple[Path, ...], on: str | None, engine: str | None, seed: int, json_to: str | None, report: Path | None,
    history_to: Path | None, keep: Path | None, only: str | None, quiet: bool,
) -> None:  # fmt: skip
    """Play scenario FILEs. Exit 0: every expectation held; 1: one failed; 2: a file is wrong."""
    if engine is not None and on not in (None, "stock"):
        _refuse(f"--engine {engine} goes with --on stock, not with --on {on}")
    make_stage = stage_maker(on or ("stock" if engine else "live"), engine, keep)
    for file in files:
        try:
            names = [name for name, _ in load(file)[1]]
        except ScriptError as wrong:
            _refuse(str(wrong))
        if only is not None and only not in names:
            known = ", ".join(filter(None, names)) or "it has none"
            _refuse(f"{file}: --variant {only}: there is no such variant; allowed: {known}")
    targets = [path for path in (Path(json_to) if json_to != "-" and json_to else None, report, history_to) if path]
    for target in (*map(unwritable, targets), unusable(keep) if keep is not None else ""):
        if target:
            _refuse(target)
    signal.signal(signal.SIGTERM, as_interrupt)
    terminal = Terminal(Console(stderr=json_to == "-", highlight=False, soft_wrap=True), quiet)
    scenarios: list[list[Outcome]] = []
    with ExitStack() as stack:
        lines = stack.enter_context(history_to.open("w", encoding="utf-8")) if history_to else None
        for file in files:
            try:
                scenarios.append(run_file(file, make_stage, seed, terminal, lines, only))
            except StageError as problem:
                _refuse(f"{file}: {problem}")
            except KeyboardInterrupt:
                click.echo("interrupted; all nodes are ended", err=True)
                sys.exit(130)
    _write(scenarios, json_to, report)
    if report is not None:
        terminal.console.print(f"  report: {report}")
    sys.exit(0 if all(one.ok for outcomes in scenarios for one in outcomes) else FAILED)


def _write(scenarios: list[list[Outcome]], json_to: str | None, report: Path | None) -> None:
    if json_to is not None:
        results: list[dict[str, Any]] = [joined(outcomes) for outcomes in scenarios]
        text = json.dumps(results[0] if len(results) == 1 else results, indent=2)
        if json_to == "-":
            click.echo(text)
        else:
            Path(json_to).write_text(text + "\n", "utf-8")
    if report is not None:
        report.write_text(page(scenarios), "utf-8")


def stage_maker(on: str, engine: str | None, keep: Path | None) -> MakeStage:
    """What makes the stages of a run. Exits 2 where there is no such stage here."""
    if on == "sim":
        from replicator.scenario.stages.simulated import SimulatedStage

        def simulated(script: Script, variant: str, seed: int) -> Stage:
            return SimulatedStage(script, seed)

        return simulated
    from replicator.scenario.stages import engines
    from replicator.scenario.stages.processes import ProcessStage

    try:
        program = engines.ours() if on == "live" else engines.stock(engine or "redis")
    except StageError as problem:
        _refuse(str(problem))

    def processes(script: Script, variant: str, seed: int) -> Stage:
        folder = keep / variant.replace(" ", "-").replace("/", "-") if keep is not None and variant else keep
        return ProcessStage(on, program, script, seed, folder)

    return processes


def library() -> Path:
    """The scenarios that come with the package: inside it where it is installed, beside it in a clone."""
    inside = Path(__file__).resolve().parent / "library"
    return inside if inside.is_dir() else Path(__file__).resolve().parents[2] / "scenarios"


@scenario.command("list", context_settings=HELP)
@click.argument("folder", required=False, type=click.Path(path_type=Path))
def list_(folder: Path | None) -> None:
    """The scenarios of a FOLDER, a line each; without one those of scenarios/ here, or those that came along."""
    if folder is None:
        folder = Path("scenarios") if any(Path("scenarios").glob("*.toml")) else library()
    files = sorted(folder.glob("*.toml"))
    if not files:
        _refuse(f"{folder}: there are no scenarios (*.toml)")
    # What came along is called by its name, which `scenario copy` takes.
    names = {file: file.stem if folder == library() else str(file) for file in files}
    width = max(map(len, names.values()))
    wrong = False
    for file in files:
        try:
            script, variants = load(file)
        except ScriptError as problem:
            click.echo(str(problem), err=True)
            wrong = True
            continue
        more = f" ({len(variants)} variants)" if script.variants else ""
        click.echo(f"{names[file]:<{width}}  {script.title}{more}")
    if wrong:
        sys.exit(WRONG_FILE)


@scenario.command("copy", context_settings=HELP)
@click.argument("name")
@click.argument("target", required=False, type=click.Path(path_type=Path))
def copy(name: str, target: Path | None) -> None:
    """Copy the scenario NAME that came along to TARGET, a file or a folder (here, unless it is said)."""
    source = library() / f"{Path(name).name.removesuffix('.toml')}.toml"
    if not source.is_file():
        known = ", ".join(sorted(file.stem for file in library().glob("*.toml")))
        _refuse(f"there is no scenario {name!r}; there are: {known}")
    if target is None or target.is_dir():
        target = (target or Path()) / source.name
    if target.exists():
        _refuse(f"{target}: is there already")
    if wrong := unwritable(target):
        _refuse(wrong)
    target.write_bytes(source.read_bytes())
    click.echo(f"{target}: play it with `replicator scenario run {target}`")


@scenario.command("check", context_settings=HELP)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def check(files: tuple[Path, ...]) -> None:
    """Check scenario FILEs without playing them. Exit 0: all can be played; 2: one is wrong."""
    wrong = False
    for file in files:
        try:
            script, variants = load(file)
        except ScriptError as problem:
            click.echo(str(problem), err=True)
            wrong = True
            continue
        nodes, clients = len(script.upstreams()), len(script.client_names())
        more = f", {len(variants)} variants" if script.variants else ""
        click.echo(f"{file}: fine ({nodes} nodes, {clients} clients, {len(script.steps)} steps{more})")
        if idle := list(dict.fromkeys(name for _, each in variants for name in without_effect(each))):
            click.echo(f"{file}: without effect in our nodes (on live and sim): {', '.join(idle)}")
    if wrong:
        sys.exit(WRONG_FILE)


@click.group(context_settings=HELP)
def history() -> None:
    """Read the history that a scenario run has left."""


def _unreadable(problem: Exception) -> str:
    """Why a file cannot be read, in words."""
    if isinstance(problem, OSError):
        return f"cannot be read: {problem.strerror}"
    return "is not UTF-8 text" if isinstance(problem, UnicodeDecodeError) else str(problem)


def _check_edn(file: Path, as_json: bool) -> NoReturn:
    try:
        judged = check_text(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, EdnError) as problem:
        _refuse(f"{file}: {_unreadable(problem)}")
    if as_json:
        click.echo(json.dumps(judged.plain(), indent=2))
    else:
        click.echo(f"{judged.kind} history: {judged.operations} operations, {judged.keys} keys")
        for text in judged.problems:
            click.echo(f"  {text}")
        for name in judged.unknown:
            click.echo(f"  {name}: unknown, there are too many orders to try")
        if judged.ok:
            click.echo("  nothing is wrong with it")
    sys.exit(FAILED if judged.problems else 0)


@history.command("check", context_settings=HELP)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The verdict as JSON.")
@click.option("--all", "each", is_flag=True, help=f"Tell each lost write, not the first {FIRST_LOST} alone.")
def history_check(file: Path, as_json: bool, each: bool) -> None:
    """Judge a history FILE alone: JSON lines of `scenario run --history`, or Jepsen's EDN (registers, list appends).

    Exit 0: no acknowledged write is lost and nothing is out of place; 1: otherwise; 2: the file cannot be read.
    """
    if file.suffix == ".edn":
        _check_edn(file, as_json)
    gc.disable()  # a million operations are looked through again and again, and none of them is garbage
    try:
        clean = _check_lines(file, as_json, each)
    finally:
        gc.enable()
    sys.exit(0 if clean else FAILED)


def _check_lines(file: Path, as_json: bool, each: bool) -> bool:
    """Tells the verdicts of all runs of the file; whether nothing is wrong with any."""
    try:
        with file.open(encoding="utf-8") as lines:
            runs = read_lines(lines)
    except (OSError, UnicodeDecodeError, HistoryError) as problem:
        _refuse(f"{file}: {_unreadable(problem)}")
    plains: list[dict[str, Any]] = []
    for about, found in runs:
        try:
            verdict = check_history(found)
        except ValueError as problem:
            _refuse(f"{file}: {problem}")
        pairs = same_place(found.digests)
        problems = {"backward_reads": backward_reads(found), "disagreements": disagreements(pairs)}
        answers = Counter(map(attrgetter("answer"), linearizability(found).values()))
        orders = Counter({answer.value: count for answer, count in answers.items()})
        ok = not verdict.lost and not any(verdict.anomalies().values()) and not any(problems.values())
        compared = {"pairs_compared": len(pairs), "registers": dict(orders), "ok": ok}
        plains.append({**about, **verdict.plain(), **problems, **compared})
        if not as_json:
            _tell_history(about, verdict, problems, orders, each)
    if not runs:
        _refuse(f"{file}: holds no run")
    if as_json:
        click.echo(json.dumps(plains[0] if len(plains) == 1 else plains, indent=2))
    return all(plain["ok"] for plain in plains)


def _tell_history(
    about: dict[str, Any], verdict: Verdict, problems: dict[str, list[str]], orders: Counter[str], each: bool
) -> None:
    name = " ".join(str(word) for word in (about.get("scenario", "history"), about.get("variant", "")) if word)
    figures = ", ".join(f"{value} {key.replace('_', ' ')}" for key, value in verdict.writes().items())
    click.echo(f"{name}: {figures}")
    for key, texts in {**verdict.anomalies(), **problems}.items():
        for text in texts if each else texts[:FIRST_LOST]:
            click.echo(f"  {key.replace('_', ' ')}: {text}")
        _tell_rest(len(texts), key.replace("_", " "), each)
    told = ", ".join(f"{count} {answer}" for answer, count in sorted(orders.items()))
    click.echo(f"  registers: {told or 'none'}")
    for write in verdict.lost if each else verdict.lost[:FIRST_LOST]:
        click.echo(f"  lost: {write.told()}")
    _tell_rest(len(verdict.lost), "lost", each)
    if len(verdict.lost) > FIRST_LOST:
        for why, count in Counter(re.sub(r"\d+", "N", write.why) for write in verdict.lost).most_common(FIRST_LOST):
            click.echo(f"  lost, by reason: {count} times: {why}")


def _tell_rest(count: int, what: str, each: bool) -> None:
    if count > FIRST_LOST and not each:
        click.echo(f"  {what}: and {count - FIRST_LOST} more (--all tells each)")
