"""The `replicator` command. Each subcommand parses, calls and prints; what it calls is imported when it runs.

Start-up time is part of the promise (a server answers within 300 ms of its start), so this module imports click alone;
the help of the lazily imported commands stands here as text.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

# name -> (module, object in it, the line in --help)
LAZY_COMMANDS = {
    "scenario": ("replicator.scenario.cli", "scenario", "Play scripted failovers, list them, check their files."),
    "simulate": ("replicator.scenario.cli", "simulate", "Search seeds for a run in which an expectation fails."),
    "history": ("replicator.scenario.cli", "history", "Read the history that a scenario run has left."),
    "rdb": ("replicator.rdb_tool", "rdb", "Look into snapshot files."),
}


class LazyCommand(click.Command):
    """A command of another module that is imported only when it is run (or its own --help is asked for)."""

    def __init__(self, name: str, module: str, attribute: str, short_help: str) -> None:
        super().__init__(name, short_help=short_help, help=short_help, add_help_option=False)
        self._target = (module, attribute)

    def _load(self) -> click.Command:
        module, attribute = self._target
        loaded = getattr(import_module(module), attribute)
        assert isinstance(loaded, click.Command), loaded
        return loaded

    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any) -> click.Context:
        return self._load().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        return ctx.command.invoke(ctx)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="replicator", prog_name="replicator")
def main() -> None:
    """Redis-compatible replication, and the instrument that shows what a failover costs."""


for _name, (_module, _attribute, _help) in LAZY_COMMANDS.items():
    main.add_command(LazyCommand(_name, _module, _attribute, _help))

PASS_THROUGH = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}


@main.command(context_settings=PASS_THROUGH, short_help="Start a node with exactly the arguments of redis-server.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def server(arguments: tuple[str, ...]) -> None:
    """Start a node; takes exactly the arguments of redis-server."""
    from replicator.launch import start

    sys.exit(start(list(arguments)))
