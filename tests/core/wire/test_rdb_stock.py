"""Stock servers load what we write and we load what they write: equal digests, both ways."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from replicator.core.keyspace.database import Keyspace
from replicator.core.keyspace.digest import digest_keyspace
from replicator.core.keyspace.serialize import value_from
from replicator.core.keyspace.stream import LARGEST_ID, Consumer, Group, Stream
from replicator.core.keyspace.values import Hash, List, Set
from replicator.core.persistence.rdb import KeyspaceLoader, snapshot_chunks
from replicator.core.wire.rdb import RdbNode, RdbReader, RdbStream
from tests.golden.rdb import make
from tests.support.stock import Wire, binary, running

ROUNDS = 15 if os.environ.get("REPLICATOR_LONG") else 2
NOW = 1_700_000_000_000
VERSIONS = {"redis6": (9,), "redis7": (9, 10), "valkey9": (9, 10, 11, 80)}


@contextmanager
def stock(engine: str, *directives: str) -> Iterator[Wire]:
    if binary(engine) is None:
        pytest.skip(f"{engine} is not installed")
    with running(engine, *directives) as port, closing(Wire(port)) as wire:
        yield wire


def dump_file(wire: Wire) -> Path:
    return Path(wire.call("CONFIG", "GET", "dir")[1].decode(), "dump.rdb")


def load(data: bytes, portion: int = 65536) -> tuple[Keyspace, KeyspaceLoader]:
    keyspace = Keyspace()
    keyspace.now_ms = NOW
    loader = KeyspaceLoader(keyspace, keep_expired=False)
    reader = RdbReader(loader)
    for start in range(0, len(data), portion):
        reader.feed(data[start : start + portion])
    reader.close()
    assert loader.ended
    return keyspace, loader


def text(chance: Random) -> bytes:
    kind = chance.randrange(6)
    if kind == 0:
        return b"%d" % chance.choice((0, 1, -1, 127, 128, 4096, 2**31, -(2**31), 2**63 - 1, chance.getrandbits(60)))
    if kind == 1:
        return chance.choice((b"a", b"xyz", b"\x00")) * chance.choice((1, 20, 63, 64, 65, 200, 4095, 4096))
    if kind == 2 and chance.random() < 0.1:
        return b"t" * chance.choice((16377, 16379, 16380, 16383, 16384, 70_000))
    return chance.randbytes(chance.choice((0, 1, 5, 20, 64, 130)))


def stream_value(chance: Random) -> Stream:
    stream = Stream()
    ms = chance.choice((0, 1, 1_700_000_000_000))
    names = [b"a", b"field", b"12"]
    for _ in range(chance.choice((0, 1, 3, 120, 300))):
        ms, seq = (ms + chance.choice((1, 1, 5, 10**6)), chance.randrange(3)) if chance.random() < 0.9 else (ms, 2**63)
        if (ms, seq) <= stream.last_id:
            ms += 1
        used = names[: chance.choice((1, 2, 2, 3))]
        stream.append((ms, seq), [part for name in used for part in (name, text(chance))])
    for identifier in [identifier for identifier, _ in stream.entries() if chance.random() < 0.1]:
        stream.delete(identifier)
    if not stream.length:
        stream.last_id = max(stream.last_id, (5, 5))
    for number in range(chance.randrange(3)):
        group = stream.groups.setdefault(b"g%d" % number, _group(stream, chance))
        for name in (b"alice", b"bob"):
            group.consumers[name] = _consumer(name)
        for identifier, _ in stream.entries():
            if identifier <= group.last_id and chance.random() < 0.3:
                group.add_pending(identifier, group.consumers[chance.choice((b"alice", b"bob"))], NOW - 5, 2)
    return stream


def _group(stream: Stream, chance: Random) -> Group:
    last = chance.choice([(0, 0), stream.last_id, *[identifier for identifier, _ in stream.entries()][:3]])
    return Group(last, stream.read_up_to(last))


def _consumer(name: bytes) -> Consumer:
    return Consumer(name, NOW - 1000, NOW - 900)


def random_keyspace(chance: Random) -> Keyspace:
    keyspace = Keyspace()
    keyspace.now_ms = NOW
    for index in (0, 3, 15):
        database = keyspace.databases[index]
        for number in range(42):
            key = b"k%d:" % number + text(chance)[:100]
            some = [text(chance) for _ in range(chance.choice((1, 3, 20, 140)))]
            value: Any = [
                lambda: text(chance),
                lambda some=some: List(some),
                lambda some=some: Set(some),
                lambda some=some: Hash((part, text(chance)) for part in some),
                lambda some=some: value_from("zset", [(part, chance.randrange(-(10**6), 10**6)) for part in some]),
                lambda: stream_value(chance),
            ][number % 6]()
            database.values[key] = value
            if chance.random() < 0.3:
                database.expire_at(key, make.FAR + chance.randrange(1000))
    return keyspace


@pytest.mark.parametrize("engine", make.ENGINES)
def test_a_stock_server_loads_what_we_write_and_we_load_what_it_saves(engine: str) -> None:
    chance = Random(f"stock {engine}")
    with stock(engine) as wire:
        path = dump_file(wire)
        for number in range(ROUNDS):
            keyspace = random_keyspace(chance)
            for version in VERSIONS[engine] if number == 0 else [chance.choice(VERSIONS[engine])]:
                squeeze, checksum = chance.random() < 0.5, chance.random() < 0.8
                functions = [make.LIBRARY] if version >= 10 and number == 0 else []
                written = b"".join(
                    snapshot_chunks(
                        keyspace,
                        aux={b"redis-ver": b"7.0.15", b"repl-stream-db": b"0"},
                        functions=functions,
                        version=version,
                        compress=squeeze,
                        checksum=checksum,
                    )
                )
                path.write_bytes(written)
                wire.call("FUNCTION", "FLUSH")
                assert wire.call("DEBUG", "RELOAD", "NOSAVE") == b"OK"
                digest = digest_keyspace(keyspace).encode()
                assert wire.call("DEBUG", "DIGEST") == digest
                assert wire.call("CONFIG", "SET", "rdbcompression", chance.choice(("yes", "no"))) == b"OK"
                assert wire.call("SAVE") == b"OK"
                back, loader = load(path.read_bytes(), chance.choice((1000, 65536)))
                assert digest_keyspace(back).encode() == digest
                assert loader.functions == functions
                for ours, theirs in zip(keyspace.databases, back.databases, strict=True):
                    assert theirs.expires == ours.expires
                    assert sorted(theirs.schedule) == sorted((when, key) for key, when in ours.expires.items())
                    for key, value in ours.values.items():
                        if isinstance(value, Stream):
                            assert stream_facts(theirs.values[key], version) == stream_facts(value, version), key


def stream_facts(stream: Any, version: int) -> Any:
    """All that the form of a version keeps."""
    facts = [stream.last_id, stream.first_id, [(node.master, len(node.ids), node.deleted) for node in stream.nodes]]
    if version >= 10:
        facts += [stream.max_deleted_id, stream.entries_added]
    for name, group in sorted(stream.groups.items()):
        facts.append((name, group.last_id, group.entries_read if version >= 10 else None))
        facts.append([(c.name, c.seen_ms, c.active_ms if version >= 11 else None) for c in group.consumers.values()])
        facts.append(
            [
                (identifier, entry.consumer.name, entry.delivered_ms, entry.deliveries)
                for identifier, entry in sorted(group.pending.by_id.items(), key=lambda item: item[0])
            ]
        )
    return facts


@pytest.mark.parametrize("engine", ["redis7", "valkey9"])
def test_what_we_write_passes_the_servers_own_sanitizing(engine: str) -> None:
    chance = Random(f"sanitize {engine}")
    with stock(engine, "--sanitize-dump-payload", "yes") as wire:
        path = dump_file(wire)
        for _ in range(ROUNDS):
            keyspace = random_keyspace(chance)
            path.write_bytes(b"".join(snapshot_chunks(keyspace, version=10)))
            assert wire.call("DEBUG", "RELOAD", "NOSAVE") == b"OK"
            assert wire.call("DEBUG", "DIGEST") == digest_keyspace(keyspace).encode()


@pytest.mark.parametrize(("engine", "version"), [("redis6", 9), ("redis7", 10), ("valkey9", 80)])
def test_long_entries_of_a_stream_node_are_found_from_both_ends(engine: str, version: int) -> None:
    """Where the length behind an entry grows by a byte, Redis and Valkey differ: each gets, and gives, its own form."""
    with stock(engine) as wire:
        for size in (16377, 16378, 16379, 2097145, 2097146, 2097147):
            entries: list[Any] = [((number, 0), [b"f", b"x" * size]) for number in (1, 2, 3)]
            stream = RdbStream([RdbNode((1, 0), [b"f"], entries)], (3, 0), (1, 0))
            keyspace = Keyspace()
            keyspace.databases[0].values[b"s"] = value_from("stream", stream)
            dump_file(wire).write_bytes(b"".join(snapshot_chunks(keyspace, version=version)))
            assert wire.call("DEBUG", "RELOAD", "NOSAVE") == b"OK"
            expected = [[b"%d-0" % ms, fields] for (ms, _), fields in entries]
            assert wire.call("XREVRANGE", "s", "+", "-") == expected[::-1]
            assert wire.call("XRANGE", "s", "-", "+") == expected
            assert wire.call("SAVE") == b"OK"
            assert digest_keyspace(load(dump_file(wire).read_bytes())[0]) == digest_keyspace(keyspace)


def test_groups_of_the_oldest_form_get_the_counts_that_redis_7_guesses() -> None:
    with stock("redis6") as old:
        for number in range(1, 6):
            old.call("XADD", "s", f"{number}-0", "a", "b")
        old.call("XDEL", "s", "1-0")
        for last in ("0", "1-0", "2-0", "3-0", "5-0", "9-9"):
            assert old.call("XGROUP", "CREATE", "s", f"g{last}", last) == b"OK"
        old.call("XADD", "e", "7-0", "a", "b")
        old.call("XDEL", "e", "7-0")
        for last in ("0", "7-0", "8-0"):
            assert old.call("XGROUP", "CREATE", "e", f"g{last}", last) == b"OK"
        assert old.call("SAVE") == b"OK"
        saved = dump_file(old).read_bytes()
    keyspace, _ = load(saved)
    with stock("redis7") as new:
        dump_file(new).write_bytes(saved)
        assert new.call("DEBUG", "RELOAD", "NOSAVE") == b"OK"
        for key in (b"s", b"e"):
            stream = keyspace.databases[0].values[key]
            assert isinstance(stream, Stream)
            told = new.call("XINFO", "STREAM", key)
            facts = dict(zip(told[::2], told[1::2], strict=True))
            assert facts[b"entries-added"] == stream.entries_added
            assert facts[b"max-deleted-entry-id"] == b"%d-%d" % stream.max_deleted_id
            groups = [dict(zip(group[::2], group[1::2], strict=True)) for group in new.call("XINFO", "GROUPS", key)]
            theirs = {group[b"name"]: (group[b"entries-read"], group[b"lag"]) for group in groups}
            ours = {name: (group.entries_read, stream.lag(group)) for name, group in stream.groups.items()}
            assert ours == theirs


@pytest.mark.parametrize("target", make.ENGINES)
def test_every_combination_of_servers_passes_the_golden_data_on(target: str) -> None:
    """Its scores are printed differently by the servers: what they save again is compared instead."""
    with stock(target) as wire:
        path = dump_file(wire)
        for engine in make.ENGINES:
            keyspace, loader = load((make.HERE / f"{engine}-compressed.rdb").read_bytes())
            assert loader.keys == sum(map(len, make.contents().values())) + len(make.STREAMS)
            digest = digest_keyspace(keyspace)
            again, _ = load(b"".join(snapshot_chunks(keyspace, version=11, compress=True)))
            assert digest_keyspace(again) == digest
            path.write_bytes(b"".join(snapshot_chunks(keyspace, version=VERSIONS[target][-1])))
            assert wire.call("DEBUG", "RELOAD", "NOSAVE") == b"OK"
            if target != "valkey9":
                assert wire.call("DEBUG", "DIGEST") == digest.encode()
            assert wire.call("SAVE") == b"OK"
            assert digest_keyspace(load(path.read_bytes())[0]) == digest


def test_a_random_stream_has_its_last_entry_where_stock_finds_it() -> None:
    """The helper above makes streams as the commands do: no node is empty, every id can be found."""
    stream = stream_value(Random(3))
    assert stream.length == sum(len(node.ids) for node in stream.nodes)
    assert [identifier for identifier, _ in stream.range((0, 0), LARGEST_ID)] == [i for i, _ in stream.entries()]
