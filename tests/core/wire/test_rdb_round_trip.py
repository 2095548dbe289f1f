"""What is written is read back, however the bytes are split; LZF and listpacks alone; the shape of portions."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.core.wire.rdb import (
    RdbConsumer,
    RdbGroup,
    RdbPending,
    RdbReader,
    RdbStream,
    dump_payload,
    nodes_of,
    restore_payload,
    write,
)
from replicator.core.wire.rdb.compact import read_listpack, write_listpack
from replicator.core.wire.rdb.lzf import compress, decompress, repetitive
from tests.support.rdb_collector import Collector, comparable

EXAMPLES = 400 if os.environ.get("REPLICATOR_LONG") else 60
thorough = settings(max_examples=EXAMPLES, deadline=None)

texts = st.one_of(
    st.binary(max_size=80),
    st.integers(-(2**63), 2**63 - 1).map(lambda n: b"%d" % n),
    st.tuples(st.binary(min_size=1, max_size=9), st.integers(0, 4000)).map(lambda pair: (pair[0] * pair[1])[:20_000]),
)
ids = st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
times = st.integers(0, 2**62)


@st.composite
def streams(draw: st.DrawFn) -> RdbStream:
    places = sorted(draw(st.sets(ids, max_size=12)))
    fields = st.lists(texts, min_size=1, max_size=3).map(lambda some: some + some)
    entries = [(place, draw(fields)) for place in places]
    stream = RdbStream(nodes_of(entries), max([*places, draw(ids)]), places[0] if places else (0, 0))
    stream.max_deleted_id, stream.entries_added = draw(ids), len(entries) + draw(st.integers(0, 1000))
    for node in stream.nodes:
        node.deleted = draw(st.integers(0, 3))
    for name in sorted(draw(st.sets(st.binary(max_size=4), max_size=3))):
        group = RdbGroup(name, draw(ids), draw(st.none() | st.integers(0, 2**40)))
        for reader in sorted(draw(st.sets(st.binary(max_size=4), max_size=3))):
            group.consumers.append(RdbConsumer(reader, draw(times), draw(times)))
        for place in places if group.consumers else ():
            owner = draw(st.sampled_from(group.consumers)).name
            group.pending.append(RdbPending(place, owner, draw(times), draw(st.integers(0, 2**40))))
        stream.groups.append(group)
    return stream


def scores() -> st.SearchStrategy[float]:
    return st.floats(allow_nan=False)


values = st.one_of(
    texts.map(lambda text: ("string", text)),
    st.lists(texts, min_size=1, max_size=20).map(lambda some: ("list", some)),
    st.sets(texts, min_size=1, max_size=20).map(lambda some: ("set", sorted(some))),
    st.dictionaries(texts, texts, min_size=1, max_size=20).map(lambda some: ("hash", some)),
    st.dictionaries(texts, scores(), min_size=1, max_size=20).map(lambda some: ("zset", list(some.items()))),
    streams().map(lambda stream: ("stream", stream)),
)
databases = st.dictionaries(st.integers(0, 20), st.dictionaries(texts, values, min_size=1, max_size=8), max_size=3)


def feed_in_portions(reader: RdbReader, data: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, stop in pairwise(places):
        reader.feed(data[start:stop])


def strings_as_bytes(data: dict[bytes, tuple[str, Any]]) -> dict[bytes, Any]:
    """As a keyspace has it: a string is its bytes, everything else (kind, value)."""
    return {key: value if kind == "string" else (kind, value) for key, (kind, value) in data.items()}


@thorough
@given(
    databases,
    st.lists(st.integers(0, 1 << 20), max_size=12),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 100, 65536]),
    st.lists(st.tuples(texts, texts), max_size=3),
    st.lists(texts, max_size=2),
    st.data(),
)
def test_what_is_written_is_read_back_from_any_split(
    content: dict[int, dict[bytes, tuple[str, Any]]],
    cuts: list[int],
    squeeze: bool,
    checksum: bool,
    chunk: int,
    fields: list[tuple[bytes, bytes]],
    functions: list[bytes],
    data: st.DataObject,
) -> None:
    expires = {
        index: {key: data.draw(st.integers(-(2**63), 2**63 - 1)) for key in keys if data.draw(st.booleans())}
        for index, keys in content.items()
    }
    counted: list[int] = []
    written = b"".join(
        write(
            [(index, strings_as_bytes(keys), expires[index]) for index, keys in content.items()],
            version=11,
            aux=fields,
            functions=functions,
            compress=squeeze,
            checksum=checksum,
            chunk_bytes=chunk,
            on_keys=counted.append,
        )
    )
    assert sum(counted) == sum(map(len, content.values()))
    assert (written[-8:] == bytes(8)) is not checksum
    sink = Collector()
    reader = RdbReader(sink)
    feed_in_portions(reader, written + b"behind", cuts)
    assert reader.done and sink.ended and reader.rest == b"behind" and reader.position == len(written)
    assert (sink.number, sink.fields, sink.functions) == (11, fields, functions)
    assert sink.data == content
    for index, keys in content.items():
        assert {key: sink.extras[index, key][0] for key in keys} == {key: expires[index].get(key) for key in keys}


@thorough
@given(values, st.sampled_from([9, 10, 11]))
def test_a_dump_payload_is_restored(value: tuple[str, Any], version: int) -> None:
    kind, content = value
    payload = dump_payload(kind, content, version)
    found_kind, found = restore_payload(payload)
    assert found_kind == kind
    if kind != "stream":
        assert comparable(kind, found) == comparable(kind, content)
        return
    assert (found.nodes, found.last_id) == (content.nodes, content.last_id)
    for ours, theirs in zip(content.groups, found.groups, strict=True):
        assert (theirs.name, theirs.last_id, theirs.pending) == (ours.name, ours.last_id, ours.pending)
        assert [reader.seen_ms for reader in theirs.consumers] == [reader.seen_ms for reader in ours.consumers]
    if version >= 10:
        assert (found.max_deleted_id, found.entries_added) == (content.max_deleted_id, content.entries_added)
        assert [group.entries_read for group in found.groups] == [group.entries_read for group in content.groups]
    else:
        assert (found.max_deleted_id, found.entries_added) == ((0, 0), len(content))
    if version >= 11:
        assert found == content


def test_a_file_fed_byte_by_byte_is_read() -> None:
    content = {b"k%d" % i: b"v" * size for i, size in enumerate((0, 63, 64, 16383, 16384, 70_000))}
    written = b"".join(write([(0, content, {b"k1": 5})]))
    sink = Collector()
    reader = RdbReader(sink)
    for at in range(len(written)):
        assert not reader.done
        reader.feed(written[at : at + 1])
    assert reader.done and reader.position == len(written)
    assert sink.data == {0: {key: ("string", value) for key, value in content.items()}}


def test_portions_stay_near_their_size_and_a_large_string_is_never_copied() -> None:
    huge = b"h" * 1_000_000
    content: dict[bytes, Any] = {b"k%d" % i: b"v" * 500 for i in range(1000)}
    content[b"huge"] = huge
    content[b"list"] = ("list", [b"e" * 50] * 20_000)
    content[b"zset"] = ("zset", {b"%d" % i: float(i) for i in range(20_000)})
    plain = list(write([(0, content, {})]))
    assert any(portion is huge for portion in plain)
    assert max(len(portion) for portion in plain if portion is not huge) < 2 * 65536 + 600
    assert len(plain) < 60
    packed = list(write([(0, content, {})], compress=True))
    assert max(map(len, packed)) < 2 * 65536 + 600
    assert sum(map(len, packed)) < sum(map(len, plain)) / 2


def test_functions_ask_for_a_version_that_has_them() -> None:
    assert next(write([])) == b"REDIS0009"
    assert next(write([], functions=[b"code"])).startswith(b"REDIS0010")
    assert next(write([], version=80)) == b"REDIS0011"


def test_a_hash_may_be_given_as_pairs_and_a_sorted_set_as_a_mapping() -> None:
    assert dump_payload("hash", [(b"a", b"1")]) == dump_payload("hash", {b"a": b"1"})
    assert dump_payload("zset", [(b"a", 1.0)]) == dump_payload("zset", {b"a": 1.0})
    with pytest.raises(ValueError, match="tree"):
        dump_payload("tree", b"")


@thorough
@given(st.one_of(texts, st.lists(st.sampled_from([b"abcdefgh", b"xyz", b"\x00" * 300]), max_size=40).map(b"".join)))
def test_lzf_gives_back_what_it_was_given(data: bytes) -> None:
    packed = compress(data)
    if packed is not None:
        assert len(packed) <= len(data) - 4
        assert decompress(packed, len(data)) == data


def test_only_texts_that_repeat_their_end_are_worth_compressing() -> None:
    assert repetitive(b"x" * 64) and repetitive(b"value:1" + bytes(500)) and repetitive(b"abcdefgh" * 4)
    assert not repetitive(bytes(range(64))) and not repetitive(b"xxxxxxxxxxxxxxxxxxxxxxxxx" + bytes(range(100)))


@thorough
@given(st.lists(st.one_of(st.binary(max_size=200), st.integers(-(2**63), 2**63 - 1), st.sampled_from([b"l" * 5000]))))
def test_a_listpack_gives_back_what_it_was_given(elements: list[bytes | int]) -> None:
    expected = [element if isinstance(element, bytes) else b"%d" % element for element in elements]
    assert read_listpack(write_listpack(elements)) == expected


@pytest.mark.parametrize("size", [63, 64, 124, 125, 126, 4095, 4096, 16377, 16378, 16379, 2097145, 2097146, 2097147])
@pytest.mark.parametrize("valkey", [False, True])
def test_a_listpack_entry_of_any_size_is_followed_by_its_length(size: int, valkey: bool) -> None:
    written = write_listpack([b"a" * size, b"b"], valkey=valkey)
    assert read_listpack(written) == [b"a" * size, b"b"]
    differs = written != write_listpack([b"a" * size, b"b"], valkey=not valkey)
    assert differs is (size in (16378, 2097146))


def test_a_listpack_of_more_than_65535_elements_leaves_its_count_open() -> None:
    data = write_listpack([1] * 70_000)
    assert data[4:6] == b"\xff\xff" and len(read_listpack(data)) == 70_000
