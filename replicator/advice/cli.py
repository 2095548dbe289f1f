"""The commands `replicator explain` and `replicator forecast`: ask, weigh or play, print."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from replicator.advice.facts import Look, look
from replicator.advice.forecast import changes
from replicator.advice.forecast import forecast as written
from replicator.advice.playing import Failure, best_changes, play
from replicator.advice.rules import Advice, advice
from replicator.cli import TargetType, encryption_options
from replicator.output_paths import unwritable
from replicator.scenario.script.units import Milliseconds, human_ms
from replicator.status import Unreachable, duration_text, size_text
from replicator.targets import Encryption, Target

UNREACHABLE = 1
_MARKS = {"danger": ("✗", "red"), "warning": ("!", "yellow"), "note": ("·", None), "good": ("✓", "green")}


class Sample(click.ParamType[Any]):
    """A duration with a unit, at most an hour."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        try:
            seconds = Milliseconds.parse(value) / 1000
        except ValueError as problem:
            self.fail(str(problem), param, ctx)
        if not 0.1 <= seconds <= 3600:
            self.fail(f"{value!r} is not between 100ms and 60m", param, ctx)
        return seconds


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("target", metavar="HOST:PORT", type=TargetType())
@click.option("--sample", "sample_s", type=Sample(), default="10s", show_default=True,
              help="How long to watch the rate of writes.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--user", default="", help="The user to log in as, if not the default one.")
@click.option("--password", default="", envvar="REDISCLI_AUTH", help="Password of the nodes (or REDISCLI_AUTH).")
@encryption_options
def explain(
    target: Target, sample_s: float, as_json: bool, user: str, password: str, tls: bool, **given: Any
) -> None:
    """Ask the topology around the node at HOST:PORT what it would lose, why, and what would change it. It only reads.

    Every sentence names its evidence, and a scenario that shows it. A Sentinel may be asked as well: it names the
    primary. Exit code 0: told; 1: the node did not answer.
    """
    found = _looked("explain", target, sample_s, user, password, tls, given)
    told = advice(found)
    if as_json:
        click.echo(json.dumps({**found.plain(), "advice": [one.plain() for one in told]}, indent=2))
    else:
        _tell(found, told)


def _looked(
    command: str, target: Target, sample_s: float, user: str, password: str, tls: bool, given: dict[str, Any]
) -> Look:
    """Look, or end the command with what is wrong."""
    secure = None
    if tls or target.tls:
        try:
            secure = Encryption(**given).context()
        except ValueError as problem:
            raise click.UsageError(str(problem)) from None
    try:
        return look(
            target.address, sample_s=sample_s, user=user or target.user, password=password or target.password,
            secure=secure, sni=given["sni"],
        )  # fmt: skip
    except Unreachable as problem:
        click.echo(f"replicator {command}: {problem}", err=True)
        sys.exit(UNREACHABLE)


def _tell(found: Look, told: list[Advice]) -> None:
    primary = "nobody" if found.primary is None else found.primary.name
    rate = f"{size_text(found.bytes_per_second)} and {found.writes_per_second:.0f} writes a second"
    click.echo(f"{len(found.nodes)} nodes under {primary}; {rate} over {duration_text(found.sampled_s)}")
    for one in told:
        mark, colour = _MARKS[one.severity]
        click.echo()
        click.echo(click.style(f"{mark} {one.sentence}", fg=colour))
        shown = f"; see `replicator scenario copy {one.scenario.removesuffix('.toml')}`" if one.scenario else ""
        click.echo(click.style(f"  {one.evidence}{shown}", dim=True))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("target", metavar="HOST:PORT", type=TargetType())
@click.option("--seeds", type=click.IntRange(1, 1_000_000), default=1000, show_default=True,
              help="How many times each failure is played.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, show_default=True,
              help="Worker processes.")  # fmt: skip
@click.option("--sample", "sample_s", type=Sample(), default="10s", show_default=True,
              help="How long to watch the rate of writes.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--keep", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Keep the scenario that was written from what was seen.")  # fmt: skip
@click.option("--user", default="", help="The user to log in as, if not the default one.")
@click.option("--password", default="", envvar="REDISCLI_AUTH", help="Password of the nodes (or REDISCLI_AUTH).")
@encryption_options
def forecast(
    target: Target, seeds: int, jobs: int, sample_s: float, as_json: bool, keep: Path | None, user: str, password: str,
    tls: bool, **given: Any,
) -> None:  # fmt: skip
    """Play crash, partition, pause and restart of the topology around HOST:PORT in the simulation, many times each.

    The topology is only read; a scenario is written from it (--keep FILE) and played on seeds. Tells writes lost and
    time without service as median, 99th percentile and worst, and the two settings that would change it most, played
    to prove it. Exit code 0: told; 1: the node did not answer; 2: an option is wrong.
    """
    if keep is not None and (wrong := unwritable(keep)):
        raise click.UsageError(wrong)
    found = _looked("forecast", target, sample_s, user, password, tls, given)
    try:
        seen = written(found)
    except ValueError as problem:
        click.echo(f"replicator forecast: {problem}", err=True)
        sys.exit(UNREACHABLE)
    if keep is not None:
        keep.write_text(seen.text(), "utf-8")

    def progress(done: int) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{done} runs ", nl=False, err=True)

    failures = play(seen.script, seen.scale, seeds, jobs, progress)
    better = best_changes(seen, changes(found), seeds, jobs, progress)
    if as_json:
        told = {
            "seeds": seeds, "assumptions": seen.assumptions, "failures": [one.plain() for one in failures],
            "changes": [one.plain() for one in better], "scenario": None if keep is None else str(keep),
        }  # fmt: skip
        click.echo(json.dumps({**found.plain(), **told}, indent=2))
        return
    click.echo(f"{seen.script.title}, each failure {seeds} times:")
    _tell_failures(failures, "")
    for change in better:
        click.echo(f"with {change.setting}:")
        _tell_failures(change.failures, "  ")
    if not better:
        click.echo("no setting that was tried loses less")
    for text in seen.assumptions:
        click.echo(click.style(f"assumed: {text}", dim=True))
    if keep is not None:
        click.echo(f"scenario: {keep}; play one with `replicator scenario run {keep} --on sim --seed 0`")


def _tell_failures(failures: list[Failure], indent: str) -> None:
    for one in failures:
        lost, silence = one.lost, one.silence_ms
        click.echo(
            f"{indent}  {one.name:<9} writes lost: median {lost.median}, 99th {lost.p99}, worst {lost.max} (seed "
            f"{lost.worst_seed}); without service: median {human_ms(silence.median)}, 99th {human_ms(silence.p99)}, "
            f"worst {human_ms(silence.max)}"
        )
