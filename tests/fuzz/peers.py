"""Lying peers: a primary that lies to its replica in every state, and replicas that lie to their primary."""

from __future__ import annotations

from random import Random
from typing import Any

import hiredis

from replicator.core.events import Received
from tests.fuzz.commands import command, fresh
from tests.fuzz.steps import Steps
from tests.fuzz.target import Target, mutated
from tests.replication.test_hostile import HONEST, ID, Liar
from tests.replication.test_hostile_payloads import BROKEN, GOOD, snapshot

_PAYLOADS = (
    HONEST,
    snapshot(GOOD),
    *(snapshot(code) for code in BROKEN.values()),
    snapshot(aux={b"repl-id": b"\xff" * 40}),
)
_STREAM = tuple(
    hiredis.pack_command(argv)
    for argv in (
        ("SELECT", "0"), ("SET", "k1", "v"), ("MULTI",), ("EXEC",), ("PING",), ("REPLCONF", "GETACK", "*"),
        ("EVAL", "return redis.call('set','k','v')", "0"), ("SELECT", "99"), ("FLUSHALL",),
        ("XADD", "x", "*", "f", "v"),
        ("REPLCONF",), ("SCRIPT", "LOAD", "return 1"), ("FUNCTION", "LOAD", GOOD), ("PUBLISH", "c", "m"),
    )
)  # fmt: skip


def _primary_says(chance: Random) -> list[tuple[str, bytes]]:
    """What a primary says, state by state, with at least one lie."""
    payload = chance.choice(_PAYLOADS)
    if chance.random() < 0.5:
        payload = mutated(chance, payload, _PAYLOADS)
    head = b"$%d\r\n" % len(payload) if chance.random() < 0.6 else b"$EOF:" + b"m" * 40 + b"\r\n"
    tail = b"m" * 40 if head[1:2] == b"E" else b""
    stream = b"".join(chance.choice(_STREAM) for _ in range(chance.randrange(12)))
    if chance.random() < 0.6:
        stream += b"".join(hiredis.pack_command(tuple(command(chance))) for _ in range(chance.randrange(6)))
    if chance.random() < 0.4:
        stream = mutated(chance, stream, _STREAM)
    answer = b"+FULLRESYNC " + ID + b" 5\r\n"
    if chance.random() < 0.3:
        answer = mutated(chance, answer, (b"+CONTINUE\r\n", b"-NOMASTERLINK\r\n", b"-LOADING x\r\n"))
    steps = [("shake", b""), ("say", answer), ("say", head + payload + tail), ("say", stream), ("pass", b"")]
    if chance.random() < 0.3:
        steps[0] = ("say", mutated(chance, b"+PONG\r\n+OK\r\n+OK\r\n"))
    while chance.random() < 0.3:
        steps.insert(chance.randrange(len(steps) + 1), chance.choice((("drop", b""), ("pass", b""), ("say", stream))))
    modes = (b"disabled", b"swapdb", b"on-empty-db")
    return [("mode", chance.choice(modes)), *steps, ("again", b"")]


def _lie(steps: list[tuple[str, bytes]]) -> None:
    liar = Liar(("repl-diskless-load", steps[0][1].decode()), ("save", '""'))
    for verb, data in steps[1:]:
        if not liar.member.running:
            break
        with Steps(len(data) + 10_000):
            _one(liar, verb, data)
    assert liar.member.running, "the node has ended"
    assert not [name for name in liar.member.files if name.startswith("temp")] or liar.connected, "a file is left"


def _one(liar: Liar, verb: str, data: bytes) -> None:
    if verb == "shake":  # whatever state a lie before it has led to
        liar.say(b"+PONG\r\n" + b"+OK\r\n" * len(liar.member.node.applying.handshake_lines()))
    elif verb == "say":
        for at in range(0, len(data), 700):
            liar.say(data[at : at + 700])
    elif verb == "pass":
        liar.world.pass_time(1200)
    elif verb == "drop" and liar.connected and liar.end is not None:
        liar.member.drop(liar.end, tell=True)
    elif verb == "again":
        liar.world.pass_time(7000)
        assert liar.member.call("PING") is not None


_REPLICA = (
    ("PING",), ("REPLCONF", "listening-port", "1"), ("REPLCONF", "capa", "eof", "capa", "psync2"), ("PSYNC", "?", "-1"),
    ("PSYNC", ID, "1"), ("PSYNC", ID, "9" * 30), ("REPLCONF", "ACK", "0"), ("REPLCONF", "ACK", "9" * 30), ("SYNC",),
    ("REPLCONF", "ip-address", b"\xff"), ("REPLCONF", "rdb-only", "1"), ("REPLCONF", "rdb-filter-only", "functions"),
    ("REPLCONF", "version", "7"), ("PSYNC", "?", "-1", "FAILOVER"), ("REPLCONF", "GETACK", "*"), ("WAIT", "1", "10"),
    ("SET", "k", "v"), ("MULTI",), ("EXEC",), ("REPLCONF",), ("CLIENT", "KILL", "TYPE", "replica"), ("ROLE",),
)  # fmt: skip


def _replica_says(chance: Random) -> bytes:
    wanted = [chance.choice(_REPLICA) for _ in range(chance.choice((2, 5, 12)))]
    data = b"".join(hiredis.pack_command(argv) for argv in wanted)
    return mutated(chance, data) if chance.random() < 0.6 else data


def _listen(data: bytes) -> None:
    node = fresh()
    client = node.open()
    for at in range(0, len(data), 200):
        if not client.closed and node.exit_code is None:
            with Steps(1000):
                node.handle(Received(client.conn, data[at : at + 200]))
    if node.exit_code is None:
        with Steps(10_000):
            node.advance(3000)
            if not client.closed:
                client.close()
            node.advance(3000)
    assert node.exit_code is None, "the node has ended"


TARGETS: dict[str, Any] = {"primaries": Target(_primary_says, _lie), "replicas": Target(_replica_says, _listen)}
