"""The string commands answer and store what stock servers answer and store."""

from __future__ import annotations

from random import Random

import pytest

from tests.support.random_streams import KEYS, NUMBERS, TEXTS, pick, replay, run_family, word

MAKERS = {
    "GET": 5, "SET": 10, "SETOPT": 8, "SETNX": 2, "SETEX": 2, "PSETEX": 1, "MSET": 2, "MSETNX": 2, "MGET": 2,
    "GETSET": 2, "GETDEL": 2, "GETEX": 4, "APPEND": 5, "STRLEN": 2, "SETRANGE": 4, "GETRANGE": 4, "SUBSTR": 1,
    "INCR": 4, "DECR": 3, "INCRBY": 4, "DECRBY": 3, "INCRBYFLOAT": 8, "LPUSH": 1, "DEL": 2, "PTTL": 3, "ENCODING": 4,
}  # fmt: skip
SEVEN_ONLY = {"LCS": 6}


def some_value(chance: Random) -> bytes:
    return chance.choice(NUMBERS if chance.random() < 0.5 else TEXTS)


def expiry(chance: Random, units: tuple[bytes, ...] = (b"EX", b"PX", b"EXAT", b"PXAT")) -> list[bytes]:
    unit = chance.choice(units)
    if chance.random() < 0.15:
        return [unit, chance.choice([b"0", b"-1", b"x", b"9223372036854775807", b"9223372036854775", b""])]
    amounts = {b"EX": b"5000", b"PX": b"5000000", b"EXAT": b"4000000000", b"PXAT": b"4000000000000"}
    return [word(chance, unit), amounts[unit]]


def set_options(chance: Random) -> list[bytes]:
    options = []
    for _ in range(chance.choice([1, 1, 2, 3])):
        which = chance.random()
        if which < 0.35:
            options += expiry(chance)
        elif which < 0.95:
            options.append(word(chance, chance.choice([b"NX", b"XX", b"GET", b"KEEPTTL"])))
        else:
            options.append(chance.choice([b"EX", b"FOO", b""]))
    return options


def place(chance: Random) -> bytes:
    return chance.choice(
        [b"0", b"1", b"-1", b"3", b"-3", b"10", b"-10", b"100", b"-100", b"50", b"x", b"4611686018427387904"]
    )


def make_string_command(chance: Random, makers: dict[str, int] = MAKERS) -> list[bytes]:
    name = pick(chance, makers)
    key, value = chance.choice(KEYS), some_value(chance)
    command = name.encode()
    if name in ("GET", "GETDEL", "STRLEN", "INCR", "DECR", "DEL", "PTTL"):
        return [command, key]
    if name in ("SET", "SETNX", "GETSET", "APPEND", "INCRBY", "DECRBY", "INCRBYFLOAT"):
        if name.startswith(("INCR", "DECR")):
            value = chance.choice(NUMBERS)
        # An empty string has no identity to remember: "" appended to "" is raw in stock servers and embstr here.
        return [command, key, value or b"some" if name == "APPEND" else value]
    if name == "SETOPT":
        return [b"SET", key, value, *set_options(chance)]
    if name in ("SETEX", "PSETEX"):
        return [command, key, chance.choice([b"4000", b"5000000", b"0", b"-1", b"x", b"9223372036854775807"]), value]
    if name in ("MSET", "MSETNX"):
        pairs = [part for _ in range(chance.choice([1, 2, 3])) for part in (chance.choice(KEYS), some_value(chance))]
        return [command, *pairs, *([b"odd"] if chance.random() < 0.05 else [])]
    if name == "MGET":
        return [command, *chance.choices([*KEYS, b"list"], k=3)]
    if name == "GETEX":
        option = chance.random()
        if option < 0.3:
            return [command, key]
        if option < 0.5:
            return [command, key, word(chance, b"PERSIST"), *([b"x"] if chance.random() < 0.1 else [])]
        if option < 0.55:
            return [command, key, chance.choice([b"PXAT", b"EXAT"]), b"1"]
        return [command, key, *expiry(chance)]
    if name == "SETRANGE":
        return [command, key, chance.choice([b"0", b"1", b"5", b"30", b"-1", b"x", b"536870912"]), value]
    if name in ("GETRANGE", "SUBSTR"):
        return [command, key, place(chance), place(chance)]
    if name == "LPUSH":
        return [command, chance.choice([b"list", key]), b"x"]
    if name == "ENCODING":
        return [b"OBJECT", b"ENCODING", key]
    assert name == "LCS"
    options = chance.sample([b"IDX", b"LEN", b"WITHMATCHLEN", b"MINMATCHLEN"], k=chance.choice([0, 1, 2, 3]))
    filled = [part for option in options for part in ([option, b"2"] if option == b"MINMATCHLEN" else [option])]
    return [command, key, chance.choice(KEYS), *filled]


@pytest.mark.parametrize("protocol", [2, 3])
def test_random_string_commands_answer_as_redis_7_does(protocol: int) -> None:
    makers = MAKERS | SEVEN_ONLY
    done = run_family(
        "redis7", lambda chance: make_string_command(chance, makers), 4000, seed=protocol, protocol=protocol
    )
    assert done >= 4000


def test_random_string_commands_store_what_redis_6_stores() -> None:
    # Left out is what Redis 7 does otherwise: options of SET, DECRBY of the smallest number, encodings.
    makers = {name: weight for name, weight in MAKERS.items() if name not in ("SETOPT", "ENCODING", "DECRBY")}
    assert run_family("redis6", lambda chance: make_string_command(chance, makers), 2000, seed=6) >= 2000


def test_the_longest_common_subsequence_of_random_strings_is_stocks_choice() -> None:
    def make(chance: Random) -> list[bytes]:
        if chance.random() < 0.6:
            text = bytes(chance.choice(b"abcd") for _ in range(chance.choice([0, 3, 10, 70, 300])))
            return [b"SET", chance.choice([b"a", b"b"]), text]
        return [
            b"LCS",
            b"a",
            b"b",
            *chance.choice([[], [b"LEN"], [b"IDX"], [b"IDX", b"WITHMATCHLEN", b"MINMATCHLEN", b"3"]]),
        ]

    assert run_family("redis7", make, 1500) >= 1500


def test_incrbyfloat_rounds_as_an_80_bit_float() -> None:
    def make(chance: Random) -> list[bytes]:
        digits = chance.choice([1, 3, 9, 17, 19, 25])
        number = b"%d" % chance.randrange(10**digits)
        at = chance.randrange(len(number) + 1)
        text = chance.choice([b"", b"-"]) + number[:at] + b"." + number[at:]
        if chance.random() < 0.3:
            text += b"e%d" % chance.choice([0, 1, -1, 5, -5, 17, -17, 30, -30, 300, -300, 4900, -4930, -4951])
        if chance.random() < 0.1:
            text = b"0x%x.%xp%d" % (chance.randrange(2**40), chance.randrange(2**60), chance.choice([0, -70, 60]))
        if chance.random() < 0.4:
            return [b"SET", b"f", text]
        return [b"INCRBYFLOAT", b"f", text]

    assert run_family("redis7", make, 3000) >= 3000


def test_effects_of_string_commands_give_a_replica_the_same_data() -> None:
    makers = MAKERS | SEVEN_ONLY
    assert replay(lambda chance: make_string_command(chance, makers), 4000) > 500
