"""The flags of a command that runs a script: those that the script itself declares (`#!lua flags=...`)."""

from __future__ import annotations

from replicator.core.command_table.registry import DENY_OOM, MAY_REPLICATE, STALE, WRITE, Command
from replicator.core.scripting import api
from replicator.core.scripting.state import Scripting
from replicator.core.wire.request import Argv

_BY_BODY = frozenset(("eval", "eval_ro"))
_BY_DIGEST = frozenset(("evalsha", "evalsha_ro"))
_BY_NAME = frozenset(("fcall", "fcall_ro"))


def flags_of(command: Command, argv: Argv, scripting: Scripting) -> int:
    """The command's flags as the script that it names changes them.

    A script without a declaration, and one that is not there, leave them as they are: it may do anything.
    """
    declared: int | None = None
    if command.name in _BY_BODY:
        declared = scripting.declared_flags(body=argv[1])
    elif command.name in _BY_DIGEST:
        declared = scripting.declared_flags(digest=argv[1])
    elif command.name in _BY_NAME:
        declared = scripting.declared_flags(function=argv[1])
    if declared is None:
        return command.flags
    flags = command.flags & ~(STALE | DENY_OOM | WRITE | MAY_REPLICATE)
    if not declared & api.NO_WRITES:
        flags |= WRITE
    if not declared & (api.NO_WRITES | api.ALLOW_OOM):
        flags |= DENY_OOM
    if declared & api.ALLOW_STALE:
        flags |= STALE
    return flags
