"""The append-only file's manifest and commands (core/wire/aof.py)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.core.wire.aof import (
    AofDamage,
    CommandReader,
    Ending,
    Manifest,
    ManifestError,
    Part,
    parse_manifest,
    timestamp,
)
from replicator.core.wire.request import encode

TRICKY = [b"\r\n*1\r\n$4\r\nEXEC\r\n", b"\r\n#TS:1", b"\0\0\0"]
commands = st.lists(
    st.lists(st.binary(max_size=40) | st.sampled_from(TRICKY), min_size=1)
    .filter(lambda argv: argv[0].upper() not in (b"MULTI", b"EXEC"))
    | st.just([b"MULTI", b"EXEC"]),
    max_size=8,
)


def read_all(data: bytes, sizes: list[int]) -> tuple[list[list[bytes]], CommandReader]:
    """Feed the data in portions of these sizes, again and again."""
    reader = CommandReader()
    found: list[list[bytes]] = []
    at = turn = 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        found += reader.feed(data[at : at + size])
        at += size
        turn += 1
    return found, reader


def flat(made: list[list[bytes]]) -> list[list[bytes]]:
    """The commands, with a transaction for each [MULTI, EXEC]."""
    transaction = [[b"MULTI"], [b"SET", b"k", b"v"], [b"EXEC"]]
    return [one for argv in made for one in (transaction if argv == [b"MULTI", b"EXEC"] else [argv])]


@given(commands, st.lists(st.integers(1, 70), min_size=1, max_size=5), st.booleans())
def test_what_was_written_is_read_whatever_the_portions(
    made: list[list[bytes]], sizes: list[int], stamped: bool
) -> None:
    wanted = flat(made)
    pieces = [encode(tuple(argv)) for argv in wanted]
    if stamped:
        pieces = [timestamp(1000 + i) + piece for i, piece in enumerate(pieces)]
    data = b"".join(pieces)
    found, reader = read_all(data, sizes)
    assert found == wanted
    assert reader.ending is Ending.WHOLE
    assert reader.end == reader.sound == len(data)
    assert reader.stamps == (len(pieces) if stamped else 0)


@given(commands, st.lists(st.integers(1, 70), min_size=1, max_size=5), st.data())
@settings(max_examples=300)
def test_cut_off_anywhere_what_stands_before_is_believed(
    made: list[list[bytes]], sizes: list[int], data: st.DataObject
) -> None:
    wanted = flat(made)
    whole = b"".join(encode(tuple(argv)) for argv in wanted)
    cut = data.draw(st.integers(0, len(whole)))
    zeros = data.draw(st.integers(0, 30))
    found, reader = read_all(whole[:cut], sizes)
    borders, at = [0], 0
    for argv in wanted:
        at += len(encode(tuple(argv)))
        borders.append(at)
    end = max(border for border in borders if border <= cut)
    assert reader.end == end
    assert found == wanted[: borders.index(end)]
    if b"*1\r\n$4\r\nEXEC\r\n" not in whole[end:cut]:
        ending = reader.ending
        if cut != end:
            assert ending is Ending.SHORT
        elif found.count([b"MULTI"]) > found.count([b"EXEC"]):
            assert ending is Ending.OPEN
            assert whole[reader.sound :].startswith(encode((b"MULTI",)))
        else:
            assert ending is Ending.WHOLE
    torn, reader = read_all(whole[:cut] + bytes(zeros), sizes)
    assert torn[: len(found)] == found  # zeros may complete an argument, as they may have stood there
    assert reader.sound <= reader.end <= cut + zeros


@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (b"*1\r\n$4\r\nPING\r\nX1\r\n$4\r\nPING\r\n", 14),
        (b"*1\r\n$4\r\nPING\r\n*1\r\n+4\r\nPING\r\n", 18),
        (b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n", 12),
        (b"SET k v\r\n", 0),
        (b"*0\r\n*1\r\n$4\r\nPING\r\n", 0),
        (b"*1\r\n$4\r\nPING\r\n" + bytes(50) + b"*1\r\n$4\r\nPING\r\n", 14),
        (b"*x\r\n$4\r\nPING\r\n", 1),
        (b"*1\r\n$4x\r\nPING\r\n", 6),
        (b"*1\r\n$4\r\rPING\r\n", 7),
        (b"*1\r\n$99999999999\r\nPING\r\n", 4),
    ],
)
def test_damage_is_refused_with_its_offset(data: bytes, offset: int) -> None:
    for size in (1, 7, 1000):
        with pytest.raises(AofDamage) as refused:
            read_all(data, [size])
        assert refused.value.offset == offset, size


def test_a_damaged_length_that_swallows_whole_commands_is_not_taken_for_a_cut_write() -> None:
    one = encode((b"SET", b"key", b"value"))
    data = one + one.replace(b"$5", b"$5000") + one * 20
    _, reader = read_all(data, [100])
    with pytest.raises(AofDamage) as refused:
        assert reader.ending
    assert refused.value.offset == len(one)


def test_zeros_behind_a_command_are_a_torn_tail() -> None:
    one = encode((b"SET", b"key", b"value"))
    for cut in (0, 1, 3, 9):
        data = one + one[:cut] + bytes(5000)
        _, reader = read_all(data, [4096])
        assert reader.ending in (Ending.ZEROS, Ending.SHORT)
        assert reader.sound == len(one)


def test_the_place_of_every_command_can_be_told() -> None:
    made = [(b"SET", b"k", b"%d" % i) for i in range(50)]
    data = b"".join(encode(argv) for argv in made)
    reader = CommandReader(100)
    batch = reader.feed(data)
    at = 100
    for index, argv in enumerate(made):
        assert reader.offset_of(index, batch) == at
        at += len(encode(argv))


MANIFEST = b"file appendonly.aof.2.base.rdb seq 2 type b\nfile appendonly.aof.2.incr.aof seq 2 type i\n"


def test_a_manifest_reads_and_writes_as_stock_has_it() -> None:
    manifest = parse_manifest(MANIFEST)
    assert manifest.base == Part("appendonly.aof.2.base.rdb", 2, "b")
    assert [part.name for part in manifest.parts] == ["appendonly.aof.2.base.rdb", "appendonly.aof.2.incr.aof"]
    assert manifest.encode() == MANIFEST
    assert parse_manifest(b"# a comment\n" + MANIFEST) == manifest


@pytest.mark.parametrize(
    ("text", "why", "line"),
    [
        (b"", "Found an empty AOF manifest", 0),
        (MANIFEST + b"file x seq\n", "Invalid AOF manifest file format", 3),
        (MANIFEST + b"file ../x.aof seq 3 type i\n", "File can't be a path, just a filename", 3),
        (MANIFEST + b"file appendonly.aof.2.incr.aof seq 2 type i\n", "Found a non-monotonic sequence number", 3),
        (MANIFEST + b"file b seq 3 type b\n", "Found duplicate base file information", 3),
        (MANIFEST + b"file b seq 3 type q\n", "Unknown AOF file type", 3),
        (MANIFEST[:-1], "The AOF manifest file contains a line without its end", 2),
        (b"file x seq 1 type b\nfile x seq 1 type i\n", "The file x is there twice", 0),
        (MANIFEST + b"file " + b"x" * 2000 + b" seq 3 type i\n", "The AOF manifest file contains too long line", 3),
        (b"file h seq 1 type h\n", "Found an empty AOF manifest", 0),
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_refused_with_its_line(text: bytes, why: str, line: int) -> None:
    with pytest.raises(ManifestError) as refused:
        parse_manifest(text)
    assert (refused.value.why, refused.value.line) == (why, line)


@given(st.text(st.characters(exclude_characters="/\n\0", exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_any_file_name_survives_a_manifest(name: str) -> None:
    if name in (".", ".."):
        return
    manifest = Manifest(Part(name, 3, "b"), (Part(f"{name}.i", 4, "i"),), (Part("h", 1, "h"),))
    assert parse_manifest(manifest.encode()) == manifest


def test_a_rewrite_makes_history_of_what_it_replaces() -> None:
    manifest = parse_manifest(MANIFEST).with_increment("appendonly.aof", 3)
    after = manifest.rewritten(Part("appendonly.aof.3.base.rdb", 3, "b"), manifest.increments[-1:])
    assert [part.name for part in after.parts] == ["appendonly.aof.3.base.rdb", "appendonly.aof.3.incr.aof"]
    assert [part.name for part in after.history] == ["appendonly.aof.2.base.rdb", "appendonly.aof.2.incr.aof"]
    assert parse_manifest(after.encode()) == after
