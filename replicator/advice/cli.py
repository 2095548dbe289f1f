"""The command `replicator explain`: asks, weighs, prints."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from replicator.advice.facts import Look, look
from replicator.advice.rules import Advice, advice
from replicator.cli import TargetType, encryption_options
from replicator.scenario.script.units import Milliseconds
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
    secure = None
    if tls or target.tls:
        try:
            secure = Encryption(**given).context()
        except ValueError as problem:
            raise click.UsageError(str(problem)) from None
    try:
        found = look(
            target.address, sample_s=sample_s, user=user or target.user, password=password or target.password,
            secure=secure, sni=given["sni"],
        )  # fmt: skip
    except Unreachable as problem:
        click.echo(f"replicator explain: {problem}", err=True)
        sys.exit(UNREACHABLE)
    told = advice(found)
    if as_json:
        click.echo(json.dumps({**found.plain(), "advice": [one.plain() for one in told]}, indent=2))
    else:
        _tell(found, told)


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
