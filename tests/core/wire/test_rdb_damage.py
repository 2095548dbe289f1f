"""Damaged, truncated and hostile files raise RdbError with an offset and nothing else, quickly and in little memory."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from random import Random
from typing import Any

import pytest

from replicator.core.keyspace.database import Keyspace
from replicator.core.keyspace.serialize import value_from
from replicator.core.persistence.rdb import KeyspaceLoader, snapshot_chunks
from replicator.core.wire.rdb import RdbError, RdbReader, Refused, dump_payload, nodes_of, restore_payload, write
from replicator.core.wire.rdb.format import CRC64
from replicator.core.wire.rdb.lzf import compress
from replicator.core.wire.rdb.payload import read_value
from replicator.core.wire.rdb.stream import RdbConsumer, RdbGroup, RdbNode, RdbPending, RdbStream, write_node
from tests.golden.rdb import make
from tests.support.rdb_collector import Collector

ROUNDS = 20 if os.environ.get("REPLICATOR_LONG") else 1
MODULE = b"\x81" + (12345 << 10 | 7).to_bytes(8, "big")


def small_file() -> bytes:
    """Every type, an expiry, auxiliary fields, functions, two databases."""
    stream = RdbStream(nodes_of([((1, 1), [b"f", b"v"]), ((2, 1), [b"f", b"12"])]), (2, 1), (1, 1))
    stream.entries_added = 2
    stream.groups = [RdbGroup(b"g", (1, 1), 1, [RdbConsumer(b"c", 5, 6)], [RdbPending((1, 1), b"c", 7, 1)])]
    data: dict[bytes, Any] = {
        b"string": b"value",
        b"packed": b"x" * 100,
        b"list": ("list", [b"a", b"b" * 70]),
        b"set": ("set", [b"a", b"b"]),
        b"hash": ("hash", {b"f": b"v"}),
        b"zset": ("zset", {b"m": 1.5}),
        b"stream": ("stream", stream),
    }
    databases: list[Any] = [(0, data, {b"string": make.FAR}), (3, {b"k": b"v"}, {})]
    return b"".join(write(databases, version=11, aux=[(b"name", b"value")], functions=[b"code"], compress=True))


def file_of(body: bytes, version: int = 10, magic: bytes = b"REDIS") -> bytes:
    data = b"%b%0*d%b\xff" % (magic, 9 - len(magic), version, body)
    return data + CRC64.calc(data).to_bytes(8, "little")


def feed(sink: Any, data: bytes, *, check_crc: bool = True, portion: int = 0) -> None:
    reader = RdbReader(sink, check_crc=check_crc)
    for start in range(0, len(data), portion or len(data) or 1):
        reader.feed(data[start : start + (portion or len(data))])
    reader.close()


def read(data: bytes, *, check_crc: bool = True, portion: int = 0) -> Collector:
    sink = Collector()
    feed(sink, data, check_crc=check_crc, portion=portion)
    return sink


def error_of(data: bytes) -> RdbError:
    with pytest.raises(RdbError) as caught:
        read(data)
    return caught.value


@pytest.mark.parametrize("check_crc", [True, False])
@pytest.mark.parametrize("portion", [0, 1])
def test_a_file_cut_anywhere_is_told_to_end_too_early(check_crc: bool, portion: int) -> None:
    whole = small_file()
    read(whole, check_crc=check_crc, portion=portion)
    for size in range(len(whole)):
        with pytest.raises(RdbError, match="ends too early") as caught:
            read(whole[:size], check_crc=check_crc, portion=portion)
        assert caught.value.offset == size


def damaged(whole: bytes, chance: Random) -> bytes:
    data = bytearray(whole)
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        at = chance.randrange(len(data))
        action = chance.random()
        if action < 0.7:
            data[at] = chance.choice((chance.randrange(256), 0, 0xFF, data[at] ^ (1 << chance.randrange(8))))
        elif action < 0.85:
            del data[at : at + chance.randrange(1, 9)]
        else:
            data[at:at] = chance.randbytes(chance.randrange(1, 9))
        if not data:
            break
    return bytes(data)


@pytest.mark.parametrize("engine", [None, *make.ENGINES])
def test_a_damaged_file_raises_rdb_error_or_nothing(engine: str | None) -> None:
    whole = small_file() if engine is None else (make.HERE / f"{engine}-compressed.rdb").read_bytes()
    chance = Random(f"damage {engine}")
    outcomes = {"refused": 0, "read": 0}
    for number in range((1500 if engine is None else 150) * ROUNDS):
        data = damaged(whole, chance)
        try:
            keyspace = Keyspace()
            loader = KeyspaceLoader(keyspace, keep_expired=True)
            feed(loader, data, check_crc=False, portion=chance.choice((0, 7, 1000)))
            outcomes["read"] += 1
            assert b"".join(snapshot_chunks(keyspace, version=11))
        except RdbError as problem:
            outcomes["refused"] += 1
            assert 0 <= problem.offset <= len(data)
        if data[: len(whole)] != whole and number % 10 == 0 and data[-8:] != bytes(8):
            with pytest.raises(RdbError):
                read(data)
    assert outcomes["refused"] and outcomes["read"]


@pytest.mark.parametrize("engine", make.ENGINES)
def test_a_damaged_payload_raises_rdb_error_or_nothing(engine: str) -> None:
    """Values of every compact encoding, each damaged by itself, without a checksum that would hide the decoders."""
    found: list[bytes] = []

    class Watching(RdbReader):
        def value(self, mark: int) -> Any:
            start = self.position
            result = yield from super().value(mark)
            if self.position - start < 3000:
                found.append(bytes((mark,)) + whole[start : self.position])
            return result

    whole = (make.HERE / f"{engine}-plain.rdb").read_bytes()
    Watching(Collector()).feed(whole)
    assert len({body[0] for body in found}) >= 6
    chance = Random(f"payload {engine}")
    refused = 0
    for body in found:
        for _ in range(40 * ROUNDS):
            try:
                value_from(*read_value(damaged(body, chance), 11))
            except RdbError:
                refused += 1
    assert refused > len(found)


def test_a_wrong_checksum_is_an_error_unless_it_is_not_checked() -> None:
    whole = small_file()
    wrong = whole[:-1] + bytes((whole[-1] ^ 1,))
    assert "CRC error" in error_of(wrong).message
    assert error_of(wrong).offset == len(whole) - 8
    assert read(wrong, check_crc=False).ended
    assert read(whole[:-8] + bytes(8)).ended


@pytest.mark.parametrize(
    "body",
    [
        b"\x00\x81" + b"\xff" * 8,  # a key
        b"\x00\x01k\x81\x7f" + b"\xff" * 7,  # a value
        b"\x00\x01k\xc3\x05\x81\x7f" + b"\xff" * 7 + b"abcde",  # a compressed value that claims to be long
        b"\x01\x01k\x81" + b"\xff" * 8 + b"\x01a",  # a list
        b"\x02\x01k\x81" + b"\xff" * 8 + b"\x01a",
        b"\x04\x01k\x81" + b"\xff" * 8 + b"\x01a\x01b",
        b"\x05\x01k\x81" + b"\xff" * 8 + b"\x01a" + bytes(8),
        b"\x0e\x01k\x81" + b"\xff" * 8,
        b"\x0f\x01k\x81" + b"\xff" * 8,
        b"\x15\x01k\x00\x00\x00\x00\x00\x00\x00\x00\x00\x81" + b"\xff" * 8,
        b"\xfb\x81" + b"\xff" * 8 + b"\x81" + b"\xff" * 8 + b"\x01\x01k\x81" + b"\xff" * 8,
        b"\xf7" + MODULE + b"\x05\x81" + b"\xff" * 8,
    ],
)
def test_a_claimed_length_costs_no_memory(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(RdbError):
            read(b"REDIS0011" + body)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_large_value_is_joined_once() -> None:
    """Twelve megabytes in portions of 200 bytes: joining at each would move 400 gigabytes."""
    value = bytes(12_000_000)
    whole = b"".join(write([(0, {b"k": value, b"l": ("list", [value])}, {})]))
    assert read(whole, portion=200).data == {0: {b"k": ("string", value), b"l": ("list", [value])}}


@pytest.mark.parametrize(
    ("data", "message", "offset"),
    [
        (b"RADIS0009", "no RDB file", 0),
        (b"REDISabcd", "no RDB file", 0),
        (b"REDIS0000", "version 0 is not supported", 0),
        (b"REDIS0013", "version 13 is not supported", 0),
        (b"REDIS0079", "version 79 is not supported", 0),
        (b"VALKEY081", "version 81 is not supported", 0),
        (file_of(b"\x99\x01k"), "unknown value type 153 of RDB version 10", 9),
        (file_of(b"\x08\x01k"), "unknown value type 8 of RDB version 10", 9),
        (file_of(b"\x06\x01k"), "value type 6 of RDB version 10, a module's value in its pre-release form", 9),
        (file_of(b"\x07\x03key" + MODULE), "a module's value (AAAAAADA5 version 7), is not supported: key b'key'", 9),
        (file_of(b"\x16\x03key\x01\x01f\x01v" + bytes(8), 80, b"VALKEY"), "of RDB version 80, a hash with expiring", 9),
        (file_of(b"\x19\x03key", 12), "value type 25 of RDB version 12, a hash with expiring fields", 9),
        (file_of(b"\xf3\x01a\x00", 12), "unknown value type 243", 9),
        (file_of(b"\xf6\x01a\x01b\x00\x01c"), "functions in their pre-release form", 9),
        (file_of(b"\xfc" + bytes(8)), "the file ends where a key must follow", 18),
        (file_of(b"\xf7" + MODULE + b"\x09"), "module data of unknown kind 9", 20),
        (file_of(b"\x00\x01k\xc5"), "unknown string encoding 5", 13),
        (file_of(b"\x00\x01k\x90"), "unknown length encoding 0x90", 13),
        (file_of(b"\x02\x01k\xc0\x01"), "a string's encoding where a number must be", 13),
        (file_of(b"\x02\x01k\x02\x01a\x01a"), "a set has a member twice", 17),
        (file_of(b"\x04\x01k\x02\x01a\x01b\x01a\x01c"), "a hash has a field twice", 21),
        (file_of(b"\x03\x01k\x01\x01m\xfd"), "a score is not a number", 16),
        (file_of(b"\x03\x01k\x01\x01m\x02ab"), "b'ab' is no score", 18),
        (file_of(b"\x12\x01k\x01\x03\x01a"), "list node of unknown kind 3", 14),
    ],
)
def test_errors_say_what_and_where(data: bytes, message: str, offset: int) -> None:
    problem = error_of(data)
    assert message in problem.message
    assert problem.offset == offset
    assert f"(at byte {offset})" in str(problem)


def test_what_servers_skip_is_skipped() -> None:
    module = b"\xf7" + MODULE + b"\x02\x01\x05\x02ab\x02\x07\x01\x07\x03" + bytes(4) + b"\x04" + bytes(8) + b"\x00"
    slots = b"\xf4\x01\x02\x00"
    migration = b"\xf3\x28" + b"a" * 40 + b"\x02\x00\x05\x07\x09"
    key = b"\x00\x01k\x01v"
    assert read(file_of(module + slots + key)).data == {0: {b"k": ("string", b"v")}}
    assert read(file_of(module + slots + migration + key, 80, b"VALKEY")).data == {0: {b"k": ("string", b"v")}}
    sink = Collector()
    reader = RdbReader(sink)
    reader.feed(file_of(b"\x01\x01e\x00" + key + b"\x02\x01s\x00"))
    assert reader.done and reader.skipped == 2 and sink.data == {0: {b"k": ("string", b"v")}}


def test_old_forms_are_read() -> None:
    seconds = b"\xfd" + (1_000_000_000).to_bytes(4, "little") + b"\x00\x01k\x01v"
    sink = read(file_of(seconds))
    assert sink.extras == {(0, b"k"): (1_000_000_000_000, None, None)}
    scores = b"\x03\x01z\x05\x01a\x011\x01b\x03-.5\x01c\xfe\x01d\xff\x01e\x041e10"
    pairs = [(b"a", 1.0), (b"b", -0.5), (b"c", float("inf")), (b"d", float("-inf")), (b"e", 1e10)]
    assert read(file_of(scores)).data == {0: {b"z": ("zset", pairs)}}
    assert read(b"REDIS0003\x00\x01k\x01v\xff").data == {0: {b"k": ("string", b"v")}}


def test_a_reader_that_has_failed_stays_failed() -> None:
    reader = RdbReader(Collector())
    with pytest.raises(RdbError) as first:
        reader.feed(b"REDIS0009\x99")
    for again in (lambda: reader.feed(b"more"), reader.close):
        with pytest.raises(RdbError) as second:
            again()
        assert second.value is first.value


def test_a_sink_that_refuses_ends_the_reading_with_the_offset() -> None:
    class Choosy(Collector):
        def select(self, index: int) -> None:
            raise Refused(f"no database {index}")

        def entry(self, *parts: Any) -> None:
            raise Refused("no keys")

    for body, message, offset in ((b"\xfe\x07", "no database 7", 11), (b"\x00\x01k\x01v", "no keys", 9)):
        reader = RdbReader(Choosy())
        with pytest.raises(RdbError, match=message) as caught:
            reader.feed(file_of(body))
        assert caught.value.offset == offset


def test_what_a_sink_raises_by_mistake_is_not_hidden() -> None:
    class Broken(Collector):
        def entry(self, *parts: Any) -> None:
            raise IndexError("a bug of the sink")

    reader = RdbReader(Broken())
    with pytest.raises(IndexError):
        reader.feed(file_of(b"\x00\x01k\x01v"))
    with pytest.raises(RdbError):
        reader.feed(b"")


def test_a_payload_with_a_wrong_footer_is_told_apart_from_a_bad_value() -> None:
    good = dump_payload("string", b"value")
    for wrong in (b"", good[:9], good[:-1] + b"?", good[:-10] + b"\x63\x00" + good[-8:], b"\x01" + good[1:]):
        with pytest.raises(RdbError) as caught:
            restore_payload(wrong)
        assert caught.value.message == "DUMP payload version or checksum are wrong"
    for body in (b"\x00\x09a", b"\x99", b"\x01\x00", b"\x07"):
        data = body + b"\x09\x00"
        with pytest.raises(RdbError) as caught:
            restore_payload(data + CRC64.calc(data).to_bytes(8, "little"))
        assert "wrong" not in caught.value.message


def test_compressed_data_that_lies_about_its_length_is_refused() -> None:
    packed = compress(b"x" * 1000)
    assert packed is not None
    for claimed in (999, 1001, 10**9):
        length = b"\x80" + claimed.to_bytes(4, "big")
        error_of(file_of(b"\x00\x01k\xc3" + bytes((len(packed),)) + length + packed))


def test_the_golden_files_lie_beside_their_maker() -> None:
    assert len(list(Path(make.HERE).glob("*.rdb"))) == len(make.ENGINES) * len(make.FILES)


def stream_file(*groups: bytes) -> bytes:
    """A stream without entries whose last id is 9-0, with these groups as the file has them."""
    return file_of(b"\x0f" + b"\x01s\x00\x00\x09\x00" + bytes((len(groups),)) + b"".join(groups))


def raw(ms: int) -> bytes:
    return ms.to_bytes(8, "big") + bytes(8)


def consumer(name: bytes, *pending: int) -> bytes:
    return bytes((len(name),)) + name + bytes(8) + bytes((len(pending),)) + b"".join(map(raw, pending))


def group(name: bytes, pending: list[int], *consumers: bytes) -> bytes:
    entries = b"".join(raw(ms) + bytes(8) + b"\x01" for ms in pending)
    head = bytes((len(name),)) + name + b"\x00\x00" + bytes((len(pending),)) + entries
    return head + bytes((len(consumers),)) + b"".join(consumers)


def test_pending_entries_that_do_not_fit_their_consumers_are_refused() -> None:
    fine = read(stream_file(group(b"g", [1, 2], consumer(b"", 2), consumer(b"b", 1)))).data[0][b"s"][1]
    assert [(entry.id, entry.consumer) for entry in fine.groups[0].pending] == [((1, 0), b"b"), ((2, 0), b"")]
    for bad, message in (
        (group(b"g", [1, 1], consumer(b"a", 1)), "a group has a pending entry twice"),
        (group(b"g", [1], consumer(b"a", 1), consumer(b"a")), "a group has a consumer twice"),
        (group(b"g", [1, 2], consumer(b"a", 1), consumer(b"b", 1)), "a consumer has a pending entry that its"),
        (group(b"g", [1], consumer(b"a", 2)), "a consumer has a pending entry that its group has not"),
        (group(b"g", [1, 2], consumer(b"a", 2)), "a pending entry has no consumer"),
        (group(b"g", []) + group(b"g", []), "a stream has a group twice"),
    ):
        count = 2 if message.startswith("a stream") else 1
        data = b"\x0f\x01s\x00\x00\x09\x00" + bytes((count,)) + bad
        assert message in error_of(file_of(data)).message


def test_many_consumers_are_read_in_no_more_than_linear_time() -> None:
    """With a comparison of each with each this would take minutes."""
    many = [consumer(b"%06d" % number) for number in range(60_000)]
    body = b"\x01g\x00\x00\x00\x80" + len(many).to_bytes(4, "big") + b"".join(many)
    stream = read(file_of(b"\x0f\x01s\x00\x00\x09\x00\x01" + body)).data[0][b"s"][1]
    assert len(stream.groups[0].consumers) == 60_000


def test_nodes_out_of_order_are_refused() -> None:
    def node(master: int, *entries: int) -> bytes:
        made = RdbNode((master, 0), [b"f"], [((ms, 0), [b"f", b"v"]) for ms in entries])
        name, data = write_node(made)
        return b"\x10" + name + bytes((len(data),)) + data

    def file(*nodes: bytes, length: int) -> bytes:
        return file_of(b"\x0f\x01s" + bytes((len(nodes),)) + b"".join(nodes) + bytes((length,)) + b"\x09\x00\x00")

    assert len(read(file(node(1, 2), node(3, 3), length=2)).data[0][b"s"][1]) == 2
    for nodes in ((node(3, 2),), (node(1, 1, 2), node(2, 3)), (node(3, 3), node(1, 1))):
        assert "nodes are out of order" in error_of(file(*nodes, length=2)).message
    assert "entries are out of order" in error_of(file(node(1, 2, 1), length=2)).message
    assert "not the entries it claims" in error_of(file(node(1, 1), length=2)).message
    assert "entries are out of order" in error_of(file(node(1, 1, 12), length=2)).message


@pytest.mark.parametrize("portion", [0, 1])
@pytest.mark.parametrize(
    ("between", "expected"),
    [
        (b"", 5),
        (b"\xfa\x01n\x01v", 5),  # KeyDB writes auxiliary fields there
        (b"\xf8\x07\xfa\x01n\x01v", 5),
        (b"\xf9\x07\xfe\x00\xfb\x01\x01", 5),
    ],
)
def test_what_is_said_of_a_key_holds_until_the_key_comes(between: bytes, expected: int, portion: int) -> None:
    first = b"\xfc" + (5).to_bytes(8, "little") + between + b"\x00\x01k\x01v"
    for more in (b"\x00\x01l\x01v", b"\x01\x01l\x01\x01v"):  # and no longer
        sink = read(file_of(b"\xfe\x00" + first + more), portion=portion)
        assert [told[0] for told in sink.extras.values()] == [expected, None]
    unknown = b"\xfc" + b"\xff" * 8 + between + b"\x00\x01k\x01v"
    assert [told[0] for told in read(file_of(b"\xfe\x00" + unknown), portion=portion).extras.values()] == [None]


def test_damage_in_compressed_strings_is_told_where_it_is() -> None:
    chance = Random(14)
    packed: list[bytes] = []
    for number in range(400):
        text = bytes(chance.choices(b"ab", k=300))
        squeezed = compress(text)
        assert squeezed is not None
        size, whole = len(squeezed), len(text)
        head = bytes((0x40 | size >> 8, size & 255, 0x40 | whole >> 8, whole & 255))
        packed.append(b"\x00\x04%04d\xc3%b%b" % (number, head, squeezed))
    data = file_of(b"\xfe\x00" + b"".join(packed))
    told = 0
    for place in range(100, len(data) - 100, 997):
        damaged = data[:place] + bytes((data[place] ^ 0x80,)) + data[place + 1 :]
        try:
            read(damaged, check_crc=False)
        except RdbError as problem:
            told += 1
            assert abs(problem.offset - place) < 400, (place, problem.offset)
    assert told > 20
