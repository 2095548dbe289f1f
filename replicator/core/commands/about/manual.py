"""The manual of commands, made from the registry: python -m replicator.core.commands.about.manual > docs/commands.md"""

from __future__ import annotations

import sys

import replicator.core.commands.catalog  # noqa: F401 # fills the registry
from replicator.core.command_table.registry import REGISTRY, Command
from replicator.core.commands.about.command import DEPRECATED

_HEAD = """# Commands

Made by `python -m replicator.core.commands.about.manual`; a test fails when it is not what the registry says. Names,
arguments, replies and errors are those of Redis 7.0; what differs is said in the last column.
"""
_TITLES = {
    "bitmap": "Bitmaps",
    "cluster": "The cluster",
    "connection": "Connections",
    "generic": "Keys",
    "geo": "Geospatial indexes",
    "hash": "Hashes",
    "hyperloglog": "HyperLogLog",
    "list": "Lists",
    "pubsub": "Publish and subscribe",
    "scripting": "Scripts and functions",
    "server": "The server",
    "set": "Sets",
    "sorted-set": "Sorted sets",
    "stream": "Streams",
    "string": "Strings",
    "transactions": "Transactions",
}


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _row(entry: Command) -> str:
    name = entry.full_name.replace("|", " ").upper()
    synopsis = f"{name} {entry.arguments}".strip()
    notes = [entry.differs] if entry.differs else []
    if entry.full_name in DEPRECATED:
        since, instead = DEPRECATED[entry.full_name]
        notes.insert(0, f"Deprecated since {since}: {instead}.")
    cells = (f"`{_cell(synopsis)}`", entry.since, _cell(entry.complexity), _cell(" ".join(notes)))
    return f"| {' | '.join(cells)} |"


def manual() -> str:
    """The whole page."""
    groups: dict[str, list[Command]] = {}
    for entry in REGISTRY.values():
        shown = list(entry.subcommands.values())
        if not shown or entry.arity != -2:
            shown.insert(0, entry)
        groups.setdefault(entry.group, []).extend(shown)
    parts = [_HEAD]
    for group in sorted(groups, key=lambda name: _TITLES.get(name, name)):
        parts.append(f"\n## {_TITLES.get(group, group)}\n")
        parts.append("| command | since | complexity | what differs |\n| --- | --- | --- | --- |")
        parts += [_row(entry) for entry in sorted(groups[group], key=lambda entry: entry.full_name)]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(manual())
