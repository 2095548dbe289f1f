"""OBJECT ENCODING answers what stock servers answer, also for collections that were larger once."""

from __future__ import annotations

from contextlib import closing
from random import Random

from tests.support.harness import Harness
from tests.support.random_streams import amount
from tests.support.stock import Wire, running

LIMITS = {
    "hash-max-listpack-entries": 4,
    "set-max-intset-entries": 4,
    "zset-max-listpack-entries": 128,
}
LONG = b"x" * 65
SHORT = b"y" * 64


def collection_command(chance: Random) -> list[bytes]:
    number = b"%d" % chance.randrange(7)
    text = chance.choice([number, number, number, number, b"text", b"007", b"-3", b"9223372036854775808", LONG, SHORT])
    return chance.choice(
        [
            [b"SADD", b"s", text],
            [b"SADD", b"s", number],
            [b"SREM", b"s", text],
            [b"SREM", b"s", number],
            [b"SMOVE", b"s", b"s2", number],
            [b"HSET", b"h", number, text if text != LONG else b"v"],
            [b"HSET", b"h", number, text if text != LONG else b"v"],
            [b"HSETNX", b"h", text, b"v"],
            [b"HDEL", b"h", text],
            [b"HDEL", b"h", number],
            [b"ZADD", b"z", b"1", text],
            [b"ZREM", b"z", text],
            [b"ZREM", b"z", number],
            [b"COPY", chance.choice([b"s", b"h", b"z"]), b"copy", b"REPLACE"],
            [b"RENAME", chance.choice([b"s", b"h", b"z"]), chance.choice([b"s2", b"h2", b"z2"])],
            [b"DEL", chance.choice([b"s", b"h", b"z"])] if chance.random() < 0.1 else [b"TYPE", b"s"],
            [b"SUNIONSTORE", b"s3", b"s", b"s2"],
            [b"ZUNIONSTORE", b"z3", b"2", b"z", b"z2"],
        ]
    )


def test_encodings_of_growing_and_shrinking_collections_are_stocks() -> None:
    chance = Random(11)
    node = Harness()
    node.server.config.update(LIMITS)
    directives = [part for name, limit in LIMITS.items() for part in (f"--{name}", str(limit))]
    keys = (b"s", b"h", b"z", b"s2", b"h2", b"z2", b"s3", b"z3", b"copy")
    with running("redis7", *directives) as port, closing(Wire(port)) as wire:
        for _ in range(amount(3000) // 100):
            commands: list[list[bytes]] = [[b"FLUSHALL"]]
            for _ in range(100):
                commands.append(collection_command(chance))
                if chance.random() < 0.3:
                    commands.append([b"OBJECT", b"ENCODING", chance.choice(keys)])
            for at, (argv, expected) in enumerate(zip(commands, wire.pipeline(commands), strict=True)):
                assert str(node.call(*argv)) == str(expected), (argv, commands[:at])


def test_the_limits_of_the_encodings_are_the_configured_ones() -> None:
    node = Harness()
    for size in (127, 128, 129):
        for name, argv in (("h", ["HSET", "h"]), ("z", ["ZADD", "z"])):
            node.call("DEL", name)
            node.call(*argv, *(part for i in range(size) for part in ((i, i) if name == "h" else (i, f"m{i}"))))
            large = "hashtable" if name == "h" else "skiplist"
            assert node.call("OBJECT", "ENCODING", name).decode() == ("listpack" if size <= 128 else large)
    for size in (512, 513):
        node.call("DEL", "s")
        node.call("SADD", "s", *range(size))
        assert node.call("OBJECT", "ENCODING", "s") == (b"intset" if size == 512 else b"hashtable")
    node.call("RPUSH", "l", "a")
    assert node.call("OBJECT", "ENCODING", "l") == b"quicklist"
    node.call("XADD", "x", "*", "a", "1")
    assert node.call("OBJECT", "ENCODING", "x") == b"stream"


def test_a_collection_seen_in_its_large_encoding_keeps_it_when_the_limit_is_raised() -> None:
    node = Harness()
    node.server.config["hash-max-listpack-entries"] = 0
    node.call("HSET", "h", "f", "v")
    assert node.call("OBJECT", "ENCODING", "h") == b"hashtable"
    node.server.config["hash-max-listpack-entries"] = 128
    assert node.call("OBJECT", "ENCODING", "h") == b"hashtable"


def test_marks_of_short_strings_do_not_pile_up() -> None:
    node = Harness()
    for number in range(10_000):
        node.call("SETRANGE", f"k{number}", "0", "ab")
    assert len(node.keyspace.marked_strings) <= 4096
    assert node.call("OBJECT", "ENCODING", "k9999") == b"raw"


def test_reference_counts_of_small_integers_are_stocks() -> None:
    node = Harness()
    for text, count in (("5", 2**31 - 1), ("9999", 2**31 - 1), ("10000", 1), ("-1", 1), ("text", 1)):
        node.call("SET", "k", text)
        assert node.call("OBJECT", "REFCOUNT", "k") == count
