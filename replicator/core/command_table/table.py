"""The commands of one node: copies of the registry's, which count their calls, found in any spelling."""

from __future__ import annotations

from collections.abc import Callable

from replicator.core.command_table.registry import REGISTRY, Command
from replicator.core.gates import ANY
from replicator.core.limits import MAX_SPELLINGS
from replicator.core.wire.request import Argv


class Table:
    """See the module. measure: told of each command that is called for the first time."""

    __slots__ = ("commands", "known", "measure")

    def __init__(self, measure: Callable[[Command], None]) -> None:
        self.measure = measure
        # All commands; each is the registry's own until it is first called for, then this node's copy, which counts.
        self.commands = dict(REGISTRY)
        self.known: dict[bytes, Command] = {}  # those called for, by name as spelled by clients; always the same one

    def _own(self, name: str, entry: Command) -> Command:
        """This node's copy of a command, from now on found under the name.

        Made when it is first called for: a node uses a few of hundreds, and a simulation starts thousands of nodes.
        """
        entry = entry.copy()
        entry.flags |= ANY
        for sub in entry.subcommands.values():
            sub.flags |= ANY
        self.measure(entry)
        self.commands[name] = entry
        self.known[name.encode()] = entry
        self.known[name.upper().encode()] = entry
        return entry

    def rename(self, old: str, new: str) -> bool:
        """rename-command; an empty new name removes the command. Whether the old name was there."""
        entry = self.commands.pop(old, None)
        if entry is None:
            return False
        for name in [name for name, known in self.known.items() if known is entry]:
            del self.known[name]
        if new:
            self.commands[new.lower()] = entry
        return True

    def find(self, name: bytes) -> Command | None:
        """The command of that name in any spelling."""
        known_as = name.lower().decode("utf-8", "replace")
        entry = self.commands.get(known_as)
        if entry is not None and entry is REGISTRY.get(entry.name):
            entry = self._own(known_as, entry)
        if entry is not None and len(self.known) < MAX_SPELLINGS:
            self.known[name] = entry
        return entry

    def resolve(self, argv: Argv) -> Command | None:
        """The command or subcommand that argv names, or None."""
        entry = self.known.get(argv[0]) or self.find(argv[0])
        if entry is not None and entry.subcommands:
            if len(argv) < 2:
                return entry
            return entry.subcommands.get(argv[1].lower().decode("utf-8", "replace"))
        return entry
