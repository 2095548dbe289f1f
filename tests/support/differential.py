"""The same commands to a stock server and to a harness node: replies and data must be equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hiredis

from replicator.core.keyspace.digest import digest_keyspace, digest_value
from tests.support.harness import Harness
from tests.support.stock import Wire

Normalize = Callable[[list[bytes], Any], Any]


def unordered(argv: list[bytes], answer: Any) -> Any:
    """Sort the replies of commands whose order is nobody's promise."""
    name = argv[0].upper()
    if isinstance(answer, list):
        if name in (b"SMEMBERS", b"SINTER", b"SUNION", b"SDIFF", b"HKEYS", b"HVALS", b"KEYS"):
            return sorted(answer)
        if name == b"HGETALL":
            return sorted(zip(answer[::2], answer[1::2], strict=True))
    return answer


def comparable(answer: Any) -> Any:
    """Errors compared by text, everything else by value."""
    if isinstance(answer, hiredis.ReplyError):
        return ("error", str(answer))
    if isinstance(answer, list):
        return [comparable(item) for item in answer]
    return answer


def compare(commands: list[list[bytes]], wire: Wire, node: Harness, normalize: Normalize = unordered) -> None:
    """Send all commands to both (after FLUSHALL on both) and assert equal replies, then equal digests."""
    wire.call("FLUSHALL")
    for db in node.keyspace.databases:
        db.clear()
    theirs = wire.pipeline(commands)
    for at, (argv, expected) in enumerate(zip(commands, theirs, strict=True)):
        actual = node.call(*argv)
        left, right = comparable(normalize(argv, actual)), comparable(normalize(argv, expected))
        assert left == right, (
            f"command {at} {argv!r}: ours {left!r}, stock {right!r}; before it: {commands[max(0, at - 10) : at]!r}"
        )
    if digest_keyspace(node.keyspace).encode() != wire.call("DEBUG", "DIGEST"):
        for db in node.keyspace.databases:
            wire.call("SELECT", db.index)
            for key in list(db.keys()):
                stock_digest = wire.call("DEBUG", "DIGEST-VALUE", key)[0]
                assert digest_value(db, key).encode() == stock_digest, f"db {db.index} key {key!r} differs"
        raise AssertionError("the digests differ: a key is missing on one side")
