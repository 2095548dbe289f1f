"""What stands between MULTI and EXEC."""

from __future__ import annotations

from replicator.core.command_table.registry import Command
from replicator.core.wire.request import Argv

NEVER_QUEUED = frozenset(("exec", "discard", "multi", "watch", "quit", "reset"))


class Transaction:
    """The queue of one client."""

    __slots__ = ("aborted", "commands", "flags")

    def __init__(self) -> None:
        self.commands: list[tuple[Command, Argv]] = []
        self.aborted = False  # a command could not be queued: EXEC will refuse
        self.flags = 0  # of all queued commands together
