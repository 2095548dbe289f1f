"""The bit commands answer and store what stock servers answer and store."""

from __future__ import annotations

from random import Random

import pytest

from tests.support.random_streams import KEYS, pick, replay, run_family, word

MAKERS = {
    "SET": 6, "SETBIT": 8, "GETBIT": 5, "BITCOUNT": 8, "BITPOS": 10, "BITOP": 8, "BITFIELD": 12, "BITFIELD_RO": 3,
    "GET": 2,
    "LPUSH": 1, "DEL": 2, "ENCODING": 2,
}  # fmt: skip
OFFSETS = [b"0", b"1", b"7", b"8", b"9", b"31", b"63", b"64", b"100", b"799", b"-1", b"x", b"4294967296", b""]
PLACES = [b"0", b"1", b"2", b"-1", b"-2", b"5", b"-5", b"8", b"-8", b"17", b"-17", b"40", b"-40", b"1000", b"-1000"]


def some_bits(chance: Random) -> bytes:
    kind = chance.random()
    if kind < 0.3:
        return chance.choice(
            [b"", b"\x00", b"\xff", b"\x00" * 9, b"\xff" * 9, b"\xff\xf0\x00", b"\x00\x0f\xff", b"foobar"]
        )
    return chance.randbytes(chance.choice([1, 3, 8, 20]))


def make_bit_command(chance: Random, *, bit_ranges: bool = True) -> list[bytes]:
    name = pick(chance, MAKERS)
    key = chance.choice(KEYS)
    command = name.encode()
    if name == "SET":
        return [command, key, some_bits(chance)]
    if name == "SETBIT":
        return [command, key, chance.choice(OFFSETS), chance.choice([b"0", b"1", b"1", b"2"])]
    if name == "GETBIT":
        return [command, key, chance.choice(OFFSETS)]
    if name in ("BITCOUNT", "BITPOS"):
        bit = [chance.choice([b"0", b"1", b"0", b"1", b"2", b"x"])] if name == "BITPOS" else []
        edges = [chance.choice(PLACES), chance.choice(PLACES)]
        if chance.random() < 0.05:
            edges[chance.randrange(2)] = b"x"
        unit = [word(chance, chance.choice([b"BIT", b"BYTE", b"BIT", b"FOO"]))] if bit_ranges else []
        return [command, key, *bit, *(edges + unit)[: chance.choice([0, 1, 2, 3])]]
    if name == "BITOP":
        operation = chance.choice([b"AND", b"OR", b"XOR", b"NOT", b"NOPE"])
        sources = chance.choices([*KEYS, b"list"], k=1 if operation == b"NOT" else chance.choice([1, 2, 3]))
        return [command, word(chance, operation), key, *sources]
    if name in ("BITFIELD", "BITFIELD_RO"):
        return [command, key, *bitfield_steps(chance, reading=name == "BITFIELD_RO")]
    if name == "LPUSH":
        return [command, chance.choice([key, b"list"]), b"x"]
    return [b"OBJECT", b"ENCODING", key] if name == "ENCODING" else [command, key]


def bitfield_steps(chance: Random, *, reading: bool) -> list[bytes]:
    steps = []
    for _ in range(chance.choice([1, 1, 2, 4])):
        shape = chance.choice([b"u8", b"i8", b"u1", b"i1", b"u63", b"i64", b"i5", b"u4", b"i16", b"u13", b"u64", b"x"])
        place = chance.choice([b"0", b"1", b"7", b"8", b"#0", b"#1", b"#3", b"65", b"100", b"-1", b"#x"])
        amount = chance.choice([b"0", b"1", b"-1", b"127", b"255", b"-300", b"9223372036854775807", b"y"])
        which = chance.random()
        if reading or which < 0.25:
            steps += [word(chance, b"GET"), shape, place]
        elif which < 0.5:
            steps += [word(chance, b"SET"), shape, place, amount]
        elif which < 0.8:
            steps += [b"INCRBY", shape, place, amount]
        elif which < 0.98:
            steps += [word(chance, b"OVERFLOW"), chance.choice([b"WRAP", b"sat", b"SAT", b"FAIL", b"FAIL"])]
        else:
            steps += [b"WHAT"]
    return steps


@pytest.mark.parametrize("protocol", [2, 3])
def test_random_bit_commands_answer_as_redis_7_does(protocol: int) -> None:
    assert run_family("redis7", make_bit_command, 5000, seed=protocol, protocol=protocol) >= 5000


def test_random_bit_commands_store_what_redis_6_stores() -> None:
    def make(chance: Random) -> list[bytes]:
        argv = make_bit_command(chance, bit_ranges=False)
        # Redis 6 looks at a range before it looks for the key, and shows other encodings.
        return [b"GET", argv[1]] if argv[0] in (b"BITCOUNT", b"BITPOS", b"OBJECT") and b"x" in argv else argv

    assert run_family("redis6", make, 2000, seed=6) >= 2000


def test_effects_of_bit_commands_give_a_replica_the_same_data() -> None:
    assert replay(make_bit_command, 4000) > 500
