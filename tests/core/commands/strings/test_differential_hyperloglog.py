"""HyperLogLogs have the same bytes as in stock servers after the same commands, and the same counts."""

from __future__ import annotations

from contextlib import closing
from random import Random

import pytest

from replicator.core.keyspace.hyperloglog import EMPTY
from tests.support.harness import Harness
from tests.support.random_streams import amount, pick, replay, run_family
from tests.support.stock import Wire, running

KEYS = [b"h0", b"h1", b"h2", b"h3"]
MAKERS = {
    "PFADD": 20, "PFCOUNT": 6, "PFMERGE": 2, "GET": 6, "SET": 1, "DEL": 1, "LPUSH": 1, "DECODE": 2, "ENCODING": 2,
    "TODENSE": 1, "GETREG": 1,
}  # fmt: skip
BROKEN = [
    b"", b"HYLL", EMPTY[:-1], EMPTY + b"\x00", b"HYLL\x00" + bytes(11), b"HYLL\x02" + bytes(12300), b"HYLM" + EMPTY[4:],
    EMPTY[:16], EMPTY[:16] + b"\x84\x7f\xff", EMPTY[:-2] + b"\x7f\xfe\x00",
]  # fmt: skip


def some_elements(chance: Random, most: int) -> list[bytes]:
    return [chance.randbytes(chance.choice([0, 1, 2, 3, 7, 8, 9, 16, 33])) for _ in range(chance.randrange(most))]


def make_command(chance: Random) -> list[bytes]:
    name = pick(chance, MAKERS)
    key = chance.choice(KEYS)
    command = name.encode()
    if name == "PFADD":
        return [command, key, *some_elements(chance, chance.choice([2, 5, 60]))]
    if name in ("PFCOUNT", "PFMERGE"):
        return [command, *chance.choices([*KEYS, b"missing"], k=chance.choice([1, 1, 2, 3]))]
    if name == "SET":
        # A broken value may be refused at another point than stock's, so it only goes where PFADD does not follow.
        return [command, key, chance.choice([EMPTY, b"text", b""])]
    if name in ("DECODE", "ENCODING", "TODENSE", "GETREG"):
        return [b"PFDEBUG", command, key]
    return [command, key, *([b"x"] if name == "LPUSH" else [])]


@pytest.mark.parametrize("protocol", [2, 3])
def test_random_hyperloglog_commands_answer_as_redis_7_does(protocol: int) -> None:
    assert run_family("redis7", make_command, 1600, seed=protocol, protocol=protocol) >= 1600


def test_random_hyperloglog_commands_store_what_redis_6_stores() -> None:
    assert run_family("redis6", make_command, 1000, seed=6) >= 1000


@pytest.mark.parametrize("limit", [16, 20, 60, 300, 3000])
def test_the_sparse_form_changes_byte_by_byte_as_stock_changes_it(limit: int) -> None:
    chance = Random(limit)
    node = Harness()
    node.server.config["hll-sparse-max-bytes"] = limit
    with running("redis7", "--hll-sparse-max-bytes", str(limit)) as port, closing(Wire(port)) as wire:
        for number in range(amount(600) // 10):
            # A few registers are hit again and again, which splits and joins runs.
            elements = [b"%d" % chance.randrange(200 if number % 2 else 100_000) for _ in range(10)]
            key = b"h%d" % chance.randrange(3)
            commands = [argv for element in elements for argv in ([b"PFADD", key, element], [b"GET", key])]
            expected = wire.pipeline(commands)
            assert [node.call(*argv) for argv in commands] == expected


def test_a_merge_of_sparse_values_has_stocks_bytes() -> None:
    chance = Random(3)
    node = Harness()
    with running("redis7") as port, closing(Wire(port)) as wire:
        for round in range(0, 25, 4):
            commands = [[b"FLUSHALL"]]
            for key in KEYS:
                commands.append([b"PFADD", key, *(b"%d" % chance.randrange(10**6) for _ in range(round * 20))])
            commands += [
                [b"PFMERGE", b"h0", b"h1", b"h2"],
                [b"GET", b"h0"],
                [b"PFMERGE", b"new", *KEYS],
                [b"GET", b"new"],
            ]
            commands += [[b"PFCOUNT", b"new"], [b"GET", b"new"], [b"PFCOUNT", b"h1", b"h2", b"missing"]]
            assert [node.call(*argv) for argv in commands] == wire.pipeline(commands)


def test_estimates_are_stocks_from_one_element_to_a_hundred_thousand() -> None:
    node = Harness()
    with running("redis7") as port, closing(Wire(port)) as wire:
        size = 1
        while size <= 100_000:
            elements = [b"element:%d" % number for number in range(size // 2, size)]
            commands = [[b"PFADD", b"h", *elements], [b"PFCOUNT", b"h"], [b"GET", b"h"]]
            assert [node.call(*argv) for argv in commands] == wire.pipeline(commands)
            size *= 3


def test_broken_values_get_stocks_errors() -> None:
    node = Harness()
    commands: list[list[bytes]] = []
    for value in BROKEN:
        commands += [[b"SET", b"b", value], [b"PFCOUNT", b"b"], [b"SET", b"b", value], [b"PFADD", b"b", b"x"]]
        commands += [[b"SET", b"b", value], [b"PFMERGE", b"b", b"b"], [b"PFDEBUG", b"GETREG", b"b"]]
    with running("redis7") as port, closing(Wire(port)) as wire:
        for argv, expected in zip(commands, wire.pipeline(commands), strict=True):
            assert str(node.call(*argv)) == str(expected), argv


def test_pfselftest_finds_nothing() -> None:
    assert Harness().call("PFSELFTEST") == b"OK"


def test_effects_of_hyperloglog_commands_give_a_replica_the_same_bytes() -> None:
    assert replay(make_command, 800) > 100


def test_a_replica_that_counts_for_its_own_client_keeps_the_count_as_stock_does() -> None:
    node = Harness()
    node.call("PFADD", "h", "a", "b")
    assert node.call("GET", "h")[8:16] == bytes(7) + b"\x80"
    node.keyspace.expires_keys = False
    assert node.call("PFCOUNT", "h") == 2
    assert node.call("GET", "h")[8:16] == b"\x02" + bytes(7)
