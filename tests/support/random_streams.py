"""Random streams of commands over a few keys, told to a stock server and to a harness node; both must answer alike.

A stream is made from a seed; a family of commands is a function Random -> argv. The short amount runs with the test
suite, REPLICATOR_LONG=1 runs 200,000 commands a family.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from random import Random
from typing import Any

import hiredis

from replicator.core.keyspace.digest import digest_keyspace
from replicator.core.now import Now
from tests.support.differential import compare, unordered
from tests.support.harness import Harness
from tests.support.stock import Wire, running

Make = Callable[[Random], list[bytes]]
BATCH = 400
LONG = 200_000

KEYS = [b"k0", b"k1", b"k2", b"k3", b"", b"k\x00\r\n\xff"]
NUMBERS = [
    b"0", b"1", b"-1", b"7", b"10", b"-5", b"42", b"100", b"3.25", b"-0.1", b"1e3", b"0x1f", b" 1", b"1 ", b"+3",
    b"007",
    b"-0", b"", b"abc", b"9223372036854775807", b"-9223372036854775808", b"9223372036854775808", b"1e17", b"1e19",
    b"12345678901234567890.5", b"inf", b"-inf", b"nan", b"1e-20", b"0.30000000000000004", b"5.0e-18", b"1e400",
]  # fmt: skip
TEXTS = [
    b"", b"a", b"hello world", b"\x00\x01\x02", b"\xff" * 9, b"line\r\nend", b"x" * 44, b"x" * 45, b"0", b"12", b"-7",
    b"abcabcbdab", b"bdcabaxyz", b"\x80\x00\x00\x01",
]  # fmt: skip


def amount(short: int) -> int:
    """How many commands to run."""
    return LONG if os.environ.get("REPLICATOR_LONG") == "1" else short


def word(chance: Random, text: bytes) -> bytes:
    """An option in some spelling."""
    return text.lower() if chance.random() < 0.2 else text


def pick(chance: Random, makers: dict[str, int]) -> str:
    return chance.choices(list(makers), list(makers.values()))[0]


def normalize(argv: list[bytes], answer: Any) -> Any:
    """Take away what no two servers share: the order of keys, and the milliseconds that pass between both answers."""
    name = argv[0].upper()
    if name in (b"TTL", b"PTTL") and isinstance(answer, int) and answer > 0:
        return round(answer / (100 if name == b"TTL" else 100_000))
    if name in (b"EXPIRETIME", b"PEXPIRETIME") and isinstance(answer, int) and answer > 0:
        return round(answer / (100 if name == b"EXPIRETIME" else 100_000))
    if argv[1:2] == [b"IDLETIME"] and isinstance(answer, int):
        return answer > 100
    if name == b"SCAN" and isinstance(answer, list):
        return sorted(answer[1])
    if name == b"SORT" and isinstance(answer, list) and b"nosort" in argv:
        return sorted(answer, key=lambda item: item or b"")
    return unordered(argv, answer)


def codes_only(argv: list[bytes], answer: Any) -> Any:
    """For a server of another generation: of an error only its code counts, the words have changed since."""
    if isinstance(answer, hiredis.ReplyError):
        return ("error", str(answer).split(" ")[0])
    return normalize(argv, answer)


def set_clock(node: Harness) -> None:
    """The harness node's wall clock shows the real time, as the stock server's does."""
    unix_ms = int(time.time() * 1000)
    node.server.now = Now(unix_ms, unix_ms)
    node.keyspace.now_ms = unix_ms


def run_family(engine: str, make: Make, short: int, *, seed: int = 1, protocol: int = 2, prepare: Any = None) -> int:
    """Compare batches of the stream made from the seed; how many commands were compared."""
    chance = Random(seed)
    node = Harness(seed)
    node.first.use_protocol(protocol)
    done = 0
    total = amount(short)
    with running(engine) as port, closing(Wire(port)) as wire:
        wire.call("HELLO", protocol)
        if prepare is not None:
            prepare(wire, node)
        while done < total:
            commands = [make(chance) for _ in range(min(BATCH, total - done))]
            set_clock(node)
            # Each batch begins in database 0 on both sides.
            wire.call("SELECT", 0)
            node.first.db = node.keyspace.databases[0]
            compare(commands, wire, node, codes_only if engine == "redis6" else normalize)
            done += len(commands)
    return done


def replay(make: Make, short: int, *, seed: int = 7) -> int:
    """What a node's commands cause as effects, applied by a second node, must give the same data after every batch.

    Returns how many effects there were.
    """
    chance = Random(seed)
    first, second = Harness(seed), Harness(seed + 1)
    second.keyspace.expires_keys = False
    second.keyspace.applying = True
    link = second.caller()
    link.is_primary_link = True
    applied = 0
    for _ in range(0, amount(short), BATCH):
        for _ in range(BATCH):
            first.call(*make(chance))
            if chance.random() < 0.01:
                first.advance(500)
                second.advance(500)
            for index, argv in first.drain_effects():
                applied += 1
                link.db = second.keyspace.databases[index]
                answer = second.call(*argv, ctx=link)
                assert not isinstance(answer, Exception), (argv, answer)
        assert digest_keyspace(first.keyspace) == digest_keyspace(second.keyspace)
        for mine, theirs in zip(first.keyspace.databases, second.keyspace.databases, strict=True):
            assert mine.expires == theirs.expires
    return applied
