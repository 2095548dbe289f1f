"""ACL categories: what the registry says of a command, and what its flags imply."""

from __future__ import annotations

from replicator.core.commands.registry import ADMIN, BLOCKING, FAST, PUBSUB, READONLY, WRITE, Command

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
    found = set(command.categories)
    found.add("fast" if command.flags & FAST else "slow")
    found.update(name for flag, name in _IMPLIED if command.flags & flag)
    if command.flags & BLOCKING:
        found.add("blocking")
    found.discard(_EXCEPT.get(command.full_name, ""))
    return [name for name in CATEGORIES if name in found]
