"""Files that stock servers wrote are read as what was stored in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from replicator.core.wire.rdb import RdbReader, RdbStream
from tests.golden.rdb import make
from tests.support.rdb_collector import Collector, comparable

ENGINE_VERSION = {"redis6": 9, "redis7": 10, "valkey9": 80}


def content_of(path: Path, *, check_crc: bool = True) -> Collector:
    sink = Collector()
    reader = RdbReader(sink, check_crc=check_crc)
    reader.feed(path.read_bytes())
    reader.close()
    assert reader.done and sink.ended and reader.rest == b"" and reader.position == path.stat().st_size
    assert reader.skipped == 0
    return sink


def golden(engine: str, variant: str) -> Path:
    return make.HERE / f"{engine}-{variant}.rdb"


@pytest.mark.parametrize("variant", ["compressed", "plain", "cluster"])
@pytest.mark.parametrize("engine", make.ENGINES)
def test_every_encoding_of_every_server_is_read_as_what_was_stored(engine: str, variant: str) -> None:
    sink = content_of(golden(engine, variant))
    assert sink.number == ENGINE_VERSION[engine]
    expected = make.contents()
    if variant == "cluster":
        expected = {0: expected[0]}
    streams = {key: sink.data[0].pop(key)[1] for key in make.STREAMS}
    assert sink.data.keys() == expected.keys()
    for index, data in expected.items():
        assert sink.data[index].keys() == data.keys()
        for key, (kind, value) in data.items():
            found_kind, found = sink.data[index][key]
            assert (found_kind, comparable(kind, found)) == (kind, comparable(kind, value)), key
            expire = make.EXPIRING.get(key) if index == 0 else None
            assert sink.extras[index, key] == (expire, None, None)
    check_streams(engine, streams)
    assert sink.functions == ([] if engine == "redis6" else [make.LIBRARY])
    names = [name for name, _ in sink.fields]
    assert (b"valkey-ver" if engine == "valkey9" else b"redis-ver") in names
    assert [size for size in sink.sizes if size[0] == 0] == [(0, len(expected[0]) + len(make.STREAMS), 2)]


def check_streams(engine: str, streams: dict[bytes, Any]) -> None:
    for key, (entries, last_id) in make.STREAMS.items():
        stream = streams[key]
        assert isinstance(stream, RdbStream)
        assert [(identifier, list(fields)) for identifier, fields in stream.entries] == entries
        assert stream.last_id == last_id
        assert stream.first_id == (entries[0][0] if entries else (0, 0))
    small = streams[b"stream:small"]
    assert {group.name: group.last_id for group in small.groups} == {
        name: last_id for name, (last_id, _) in make.GROUPS.items()
    }
    for group in small.groups:
        owners = make.GROUPS[group.name][1]
        assert sorted(consumer.name for consumer in group.consumers) == sorted(owners)
        assert [(entry.id, entry.consumer, entry.deliveries) for entry in group.pending] == sorted(
            (identifier, owner, 1) for owner, ids in owners.items() for identifier in ids
        )
        for consumer in group.consumers:
            assert consumer.seen_ms > 1_600_000_000_000
            never = engine == "valkey9" and consumer.name == b"idle"
            assert consumer.active_ms == -1 if never else consumer.active_ms > 1_600_000_000_000
        assert all(entry.delivered_ms > 1_600_000_000_000 for entry in group.pending)
    long = streams[b"stream:long"]
    assert sum(node.deleted for node in long.nodes) == 4
    assert len(long.nodes) >= 3
    if engine != "redis6":
        assert small.entries_added == 4 and small.max_deleted_id == (1, 6)
        assert {group.name: group.entries_read for group in small.groups} == {b"never": None, b"end": None, b"reads": 4}
        assert streams[b"stream:empty"].entries_added == 1


@pytest.mark.parametrize("engine", make.ENGINES)
def test_a_file_without_a_checksum_is_read(engine: str) -> None:
    path = golden(engine, "no-checksum")
    assert path.read_bytes()[-8:] == bytes(8)
    sink = content_of(path)
    assert sink.data == {0: {b"key": ("string", b"value"), b"expiring": ("string", b"value")}}
    assert sink.extras[0, b"expiring"] == (make.FAR, None, None)


@pytest.mark.parametrize("engine", make.ENGINES)
def test_idle_times_and_frequencies_are_told(engine: str) -> None:
    lru = content_of(golden(engine, "lru"))
    assert lru.extras[0, b"key"] == (None, 0, None)
    assert lru.extras[0, b"expiring"] == (make.FAR, 0, None)
    lfu = content_of(golden(engine, "lfu"))
    expire, idle, frequency = lfu.extras[0, b"expiring"]
    assert (expire, idle) == (make.FAR, None) and frequency is not None and 0 < frequency <= 255


def test_the_golden_files_cover_the_value_types_that_these_servers_write() -> None:
    seen: set[int] = set()

    class Watching(RdbReader):
        def value(self, mark: int) -> Any:
            seen.add(mark)
            return super().value(mark)

    for engine in make.ENGINES:
        for variant in ("compressed", "plain"):
            reader = Watching(Collector())
            for byte in golden(engine, variant).read_bytes():
                reader.feed(bytes((byte,)))
            assert reader.done
    assert sorted(seen | {0}) == [0, 2, 4, 5, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21]
