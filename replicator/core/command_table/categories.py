"""ACL categories: what the registry says of a command, and what its flags imply."""

from __future__ import annotations

from functools import lru_cache

from replicator.core.command_table.registry import ADMIN, BLOCKING, FAST, PUBSUB, READONLY, WRITE, Command

# In the order in which ACL CAT names them.
CATEGORIES = (
    *("keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "hyperloglog", "geo"),
    *("stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous", "connection", "transaction", "scripting"),
)
_IMPLIED = ((WRITE, "write"), (READONLY, "read"), (ADMIN, "admin"), (ADMIN, "dangerous"), (PUBSUB, "pubsub"))
# Commands whose flags imply more than stock's categories say.
_EXCEPT = {
    "eval_ro": "read",
    "evalsha_ro": "read",
    "fcall_ro": "read",
    "wait": "blocking",
    "xgroup": "stream",
    "xinfo": "stream",
}


def categories_of(command: Command) -> list[str]:
    """The ACL categories of a command, in the order of CATEGORIES."""
    return list(_categories(command.full_name, command.categories, command.flags))


@lru_cache(maxsize=2048)  # every node of a process asks for the same commands
def _categories(full_name: str, categories: tuple[str, ...], flags: int) -> tuple[str, ...]:
    found = set(categories)
    found.add("fast" if flags & FAST else "slow")
    found.update(name for flag, name in _IMPLIED if flags & flag)
    if flags & BLOCKING:
        found.add("blocking")
    found.discard(_EXCEPT.get(full_name, ""))
    return tuple(name for name in CATEGORIES if name in found)
