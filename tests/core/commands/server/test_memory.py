"""MEMORY: estimates that grow with what they measure, and the shape of stock's answers."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.support.harness import Harness
from tests.support.stock import Wire, running


def usage(node: Harness, key: str, *options: str) -> int:
    answer = node.call("MEMORY", "USAGE", key, *options)
    assert isinstance(answer, int)
    return answer


def test_usage_follows_the_size_of_a_value() -> None:
    node = Harness()
    node.call("SET", "small", "x")
    node.call("SET", "large", "x" * 10_000)
    assert usage(node, "large") - usage(node, "small") == 9999
    for argv in (["RPUSH", "k"], ["SADD", "k"], ["HSET", "k"], ["ZADD", "k"], ["XADD", "k", "*"]):
        node.call("DEL", "k")
        node.call(*argv, "1", "m")
        few = usage(node, "k")
        for number in range(200):
            node.call(*argv, str(number), f"member:{number}")
        assert usage(node, "k") > few + 200 * len("member:")
        assert usage(node, "k", "SAMPLES", "0") > few + 200 * len("member:")


def test_usage_of_an_even_collection_is_the_same_whether_sampled_or_counted() -> None:
    node = Harness()
    node.call("SADD", "s", *(f"member:{number:05}" for number in range(1000)))
    assert usage(node, "s") == usage(node, "s", "SAMPLES", "0") == usage(node, "s", "SAMPLES", "50")


def test_stats_have_stocks_fields_and_add_up() -> None:
    node = Harness()
    for number in range(100):
        node.call("SET", f"key:{number}", "v" * 100)
    node.call("SELECT", "3")
    node.call("SET", "k", "v")
    flat = node.call("MEMORY", "STATS")
    stats = dict(zip(flat[::2], flat[1::2], strict=True))
    with running("redis7") as port, closing(Wire(port)) as wire:
        wire.call("SET", "k", "v")
        wire.call("SELECT", "3")
        wire.call("SET", "k", "v")
        theirs = wire.call("MEMORY", "STATS")
    assert flat[::2] == theirs[::2]
    assert stats[b"keys.count"] == 101
    assert stats[b"total.allocated"] == stats[b"overhead.total"] + stats[b"dataset.bytes"]
    assert stats[b"peak.allocated"] >= stats[b"total.allocated"]
    assert 200 < stats[b"keys.bytes-per-key"] < 500
    node.first.use_protocol(3)
    assert node.call("MEMORY", "STATS")[b"keys.count"] == 101


@pytest.mark.parametrize(
    "argv",
    ["MEMORY USAGE missing", "MEMORY USAGE k SAMPLES", "MEMORY USAGE k SAMPLES -1", "MEMORY USAGE k SAMPLES x",
     "MEMORY USAGE k FOO 1", "MEMORY PURGE", "MEMORY DOCTOR", "MEMORY HELP", "OBJECT HELP", "OBJECT FREQ k",
     "OBJECT FREQ missing", "OBJECT IDLETIME missing", "OBJECT ENCODING missing", "OBJECT REFCOUNT missing"],
)  # fmt: skip
def test_answers_are_stocks(argv: str, redis7: Wire) -> None:
    node = Harness()
    node.call("SET", "k", "v")
    redis7.call("SET", "k", "v")
    assert str(node.call(*argv.split())) == str(redis7.call(*argv.split()))


@pytest.fixture(scope="module")
def redis7():  # type: ignore[no-untyped-def]
    with running("redis7") as port, closing(Wire(port)) as wire:
        yield wire


def test_the_doctor_finds_a_high_peak() -> None:
    node = Harness()
    node.call("SET", "k", "x" * 100_000_000)
    assert b"can't find any memory issue" in node.call("MEMORY", "DOCTOR")
    node.call("SET", "k", "x" * 10_000_000)
    assert b"Peak memory" in node.call("MEMORY", "DOCTOR")
