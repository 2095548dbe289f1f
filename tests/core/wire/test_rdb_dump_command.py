"""DUMP and RESTORE against stock servers, and what RESTORE tells replicas."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import hiredis
import pytest

from replicator.core.keyspace.digest import digest_value
from replicator.core.wire.rdb.format import CRC64
from tests.golden.rdb import make
from tests.support.harness import START, Harness
from tests.support.stock import Wire, binary, running


def payload(body: bytes, version: int = 9) -> bytes:
    data = body + version.to_bytes(2, "little")
    return data + CRC64.calc(data).to_bytes(8, "little")


STRING = payload(b"\x00\x01a")


def zipmap(size: int) -> bytes:
    """The payload of a hash in the oldest encoding: field f, a value of that size and two unused bytes."""
    length = bytes((size,)) if size < 254 else b"\xfe" + size.to_bytes(4, "little")
    data = b"\x01\x01f" + length + b"\x02" + b"v" * size + b"??\xff"
    return payload(b"\x09\x80" + len(data).to_bytes(4, "big") + data)


ZIPMAPS = (0, 1, 252, 253, 254, 300)


class Evictor:
    """Records what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bytes, int]] = []

    def set_idle(self, db: Any, key: bytes, idle_ms: int) -> None:
        self.told.append(("idle", key, idle_ms))

    def set_frequency(self, db: Any, key: bytes, count: int) -> None:
        self.told.append(("frequency", key, count))


@pytest.fixture
def node() -> Harness:
    made = Harness()
    made.server.evictor = Evictor()
    return made


@pytest.fixture(scope="module")
def redis7() -> Iterator[Wire]:
    if binary("redis7") is None:
        pytest.skip("redis7 is not installed")
    with running("redis7") as port, closing(Wire(port)) as wire:
        yield wire


BOTH = [
    *[["RESTORE", "k", "0", data, *extra] for data in (STRING, b"bad") for extra in ([], ["REPLACE"], ["FOO"])],
    *[["RESTORE", key, ttl, data] for key in ("k", "n") for ttl in ("-1", "x", "1.5") for data in (STRING, b"bad")],
    *[
        ["RESTORE", "n", "0", STRING, *extra]
        for extra in (
            ["IDLETIME"],
            ["IDLETIME", "-1"],
            ["IDLETIME", "x"],
            ["FREQ"],
            ["FREQ", "256"],
            ["FREQ", "-1"],
            ["FREQ", "x"],
            ["FREQ", "5", "IDLETIME", "5"],
            ["IDLETIME", "5", "FREQ", "5"],
            ["idletime", "5", "replace", "absttl"],
            ["FREQ", "5", "REPLACE", "REPLACE"],
        )
    ],
    ["RESTORE", "past", "1", STRING, "ABSTTL"],
    ["GET", "past"],
    ["RESTORE", "k", "1", STRING, "ABSTTL", "REPLACE"],
    ["GET", "k"],
    ["RESTORE", "overflow", "9223372036854775807", STRING],
    ["GET", "overflow"],
    ["RESTORE", "far", "9223372036854775807", STRING, "ABSTTL"],
    ["GET", "far"],
    *[["RESTORE", f"v{version}", "0", payload(b"\x00\x01a", version)] for version in (0, 1, 9, 10, 13, 79, 81, 65535)],
    ["RESTORE", "behind", "0", payload(b"\x00\x01abehind")],
    ["GET", "behind"],
    ["RESTORE", "type", "0", payload(b"\x99\x01a")],
    ["RESTORE", "opcode", "0", payload(b"\xfc" + bytes(8) + b"\x00\x01a")],
    ["RESTORE", "empty-list", "0", payload(b"\x01\x00")],
    ["RESTORE", "empty-set", "0", payload(b"\x02\x00")],
    ["RESTORE", "twice", "0", payload(b"\x02\x02\x01a\x01a")],
    ["RESTORE", "none", "0", b""],
    ["DUMP", "missing"],
    *[["RESTORE", f"zipmap{size}", "0", zipmap(size)] for size in ZIPMAPS],
    *[["HSTRLEN", f"zipmap{size}", "f"] for size in ZIPMAPS],
]


def test_restore_answers_as_stock_does(node: Harness, redis7: Wire) -> None:
    redis7.call("FLUSHALL")
    for caller in (node.call, redis7.call):
        caller("SET", "k", "v")
    for argv in BOTH:
        ours = node.call(*argv)
        theirs = redis7.call(*argv)
        if isinstance(theirs, hiredis.ReplyError):
            assert str(ours) == str(theirs) and isinstance(ours, hiredis.ReplyError), argv
        else:
            assert ours == theirs, argv


def test_restore_with_a_time_to_live_reaches_replicas_as_an_absolute_time(node: Harness) -> None:
    assert node.call("RESTORE", "a", 5000, STRING, "IDLETIME", 7) == b"OK"
    when = START.unix_ms + 5000
    assert node.drain_effects() == [(0, [b"RESTORE", b"a", b"%d" % when, STRING, b"IDLETIME", b"7", b"ABSTTL"])]
    assert node.keyspace.databases[0].expiry(b"a") == when
    assert node.server.evictor.told == [("idle", b"a", 7000)]
    assert node.call("RESTORE", "b", 0, STRING, "FREQ", 3) == b"OK"
    assert node.drain_effects() == [(0, [b"RESTORE", b"b", b"0", STRING, b"FREQ", b"3"])]
    assert node.server.evictor.told[1:] == [("frequency", b"b", 3)]
    later = b"%d" % (START.unix_ms + 1)
    assert node.call("RESTORE", "b", later, STRING, "ABSTTL", "REPLACE") == b"OK"
    assert node.drain_effects() == [(0, [b"RESTORE", b"b", later, STRING, b"ABSTTL", b"REPLACE"])]


def test_restore_of_what_has_expired_is_a_deletion(node: Harness) -> None:
    assert node.call("RESTORE", "a", 1, STRING, "ABSTTL") == b"OK"
    assert node.drain_effects() == []
    node.call("SET", "a", "1")
    node.drain_effects()
    assert node.call("RESTORE", "a", 1, STRING, "ABSTTL", "REPLACE") == b"OK"
    assert node.drain_effects() == [(0, [b"DEL", b"a"])]
    assert node.keyspace.databases[0].values == {}


def test_a_replica_keeps_what_its_primary_restored_even_if_it_has_expired(node: Harness) -> None:
    node.keyspace.expires_keys = False
    assert node.call("RESTORE", "a", 1, STRING, "ABSTTL") == b"OK"
    assert node.keyspace.databases[0].values == {b"a": b"a"}
    assert node.keyspace.databases[0].expiry(b"a") == 1


@pytest.mark.parametrize("engine", make.ENGINES)
def test_payloads_travel_between_us_and_stock_both_ways(engine: str, node: Harness) -> None:
    if binary(engine) is None:
        pytest.skip(f"{engine} is not installed")
    with running(engine) as port, closing(Wire(port)) as wire:
        make.fill(wire)
        if engine != "redis6":
            wire.call("CONFIG", "SET", "sanitize-dump-payload", "yes")
        for key in make.EXPIRING:  # a payload has no expiry, and a digest tells of it
            assert wire.call("PERSIST", key) == 1
        keys = sorted(wire.call("KEYS", "*"))
        assert len(keys) == len(make.contents()[0]) + len(make.STREAMS)
        for key in keys:
            theirs = wire.call("DUMP", key)
            assert node.call("RESTORE", key, 0, theirs) == b"OK", key
            ours = node.call("DUMP", key)
            if engine == "redis6" and key.startswith(b"stream:"):
                continue  # the form of Redis 7
            before = wire.call("DEBUG", "DIGEST-VALUE", key)
            assert wire.call("RESTORE", key, 0, ours, "REPLACE") == b"OK", key
            assert wire.call("DEBUG", "DIGEST-VALUE", key) == before
            scores_differ = engine == "valkey9" and key in (b"zset:small", b"zset:long-member")
            if not scores_differ:
                assert digest_value(node.keyspace.databases[0], key).encode() == before[0], key
