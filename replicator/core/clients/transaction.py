"""What stands between MULTI and EXEC."""

from __future__ import annotations

from replicator.core.command_table.registry import Command
from replicator.core.wire.request import Argv

NEVER_QUEUED = frozenset(("exec", "discard", "multi", "watch", "quit", "reset"))


class Transaction:
    """The queue of one client."""

    __slots__ = ("aborted", "commands", "flags", "lacks")

    def __init__(self) -> None:
        self.commands: list[tuple[Command, Argv]] = []
        self.aborted = False  # a command could not be queued: EXEC will refuse
        self.flags = 0  # of all queued commands together
        self.lacks = 0  # flags that at least one of them has not

    def add(self, command: Command, argv: Argv, flags: int) -> None:
        """Queue a command, with its flags (those of a script are what the script declares)."""
        self.commands.append((command, argv))
        self.flags |= flags
        self.lacks |= ~flags
