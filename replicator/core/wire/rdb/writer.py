"""Writing RDB: databases -> portions of a file.

Everything is written plainly (type 1 for lists, 2 for sets, 4 for hashes, 5 for sorted sets), which every server since
Redis 4 loads. Only streams have newer forms, used when the reader is said to take them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

from replicator.core.wire.rdb import format as rdb
from replicator.core.wire.rdb.lzf import compress as lzf_compress
from replicator.core.wire.rdb.lzf import repetitive
from replicator.core.wire.rdb.stream import RdbStream, raw_id, write_node

# (index, values by key, expiry times in unix ms by key)
DatabaseDump: TypeAlias = tuple[int, Mapping[bytes, Any], Mapping[bytes, int]]
# What a value object is: (kind, neutral value)
Accessor: TypeAlias = Callable[[Any], tuple[str, Any]]
Encode: TypeAlias = Callable[[bytes], bytes]
# (database, key) -> seconds since its last access, access counter (0 to 255); one of them, or neither
Accesses: TypeAlias = Callable[[int, bytes], tuple[int | None, int | None]]

CHUNK_BYTES = 64 * 1024
_UNKNOWN_READ = (1 << 64) - 1
_SHORTEST_COMPRESSED = 21
_INT64 = struct.Struct("<q").pack
_DOUBLE = struct.Struct("<d").pack


def length(number: int) -> bytes:
    """A length in its shortest encoding."""
    if number < 64:
        return _LENGTHS[number]
    if number < 16384:
        return bytes((0x40 | number >> 8, number & 0xFF))
    if number < 1 << 32:
        return b"\x80" + number.to_bytes(4, "big")
    return b"\x81" + number.to_bytes(8, "big")


_LENGTHS = tuple(bytes((n,)) for n in range(64)) + tuple(bytes((0x40 | n >> 8, n & 0xFF)) for n in range(64, 1024))
_COMMON = len(_LENGTHS)
_PLAIN_KEYS = tuple(b"\x00" + encoded for encoded in _LENGTHS)


def string(text: bytes) -> bytes:
    """A string behind its length."""
    size = len(text)
    return (_LENGTHS[size] if size < _COMMON else length(size)) + text


def compressed(text: bytes) -> bytes:
    """A string, compressed where that is cheap and makes it shorter."""
    if len(text) < _SHORTEST_COMPRESSED or not repetitive(text) or (packed := lzf_compress(text)) is None:
        return string(text)
    return b"\xc3%b%b%b" % (length(len(packed)), length(len(text)), packed)


def write(
    databases: Iterable[DatabaseDump],
    *,
    version: int = rdb.PLAIN_VERSION,
    aux: Iterable[tuple[bytes, bytes]] = (),
    functions: Iterable[bytes] = (),
    accessors: Mapping[type, Accessor] | None = None,
    compress: bool = False,
    checksum: bool = True,
    chunk_bytes: int = CHUNK_BYTES,
    on_keys: Callable[[int], None] | None = None,
    accesses: Accesses | None = None,
) -> Iterator[bytes]:
    """An RDB file in portions of about chunk_bytes (a larger string is a portion of its own).

    databases: strings are bytes; a value of any other type goes through accessors[type(value)], which tells its
    (kind, neutral value); without accessors it is that pair. Empty databases are left out. version: what the reader
    takes (80: it is Valkey 9; the file then says 11; functions need 10). aux: fields in their order. compress: strings
    that repeat themselves (lzf.repetitive). on_keys: is told the number of keys in each portion before it is yielded.
    accesses: how each key was used, to be written before it.
    """
    libraries = list(functions)
    if libraries:
        version = max(version, rdb.FUNCTIONS_VERSION)
    crc = 0
    calculate = rdb.CRC64.calc
    squeeze = compressed if compress else None
    portions = _body(databases, version, aux, libraries, accessors or {tuple: _pair}, squeeze, chunk_bytes, accesses)
    for keys, portion in portions:
        if checksum:
            crc = calculate(portion, crc)
        if on_keys is not None and keys:
            on_keys(keys)
        yield portion
    yield crc.to_bytes(8, "little")


def _pair(value: tuple[str, Any]) -> tuple[str, Any]:
    return value


def _body(
    databases: Iterable[DatabaseDump],
    version: int,
    aux: Iterable[tuple[bytes, bytes]],
    libraries: list[bytes],
    accessors: Mapping[type, Accessor],
    squeeze: Encode | None,
    chunk_bytes: int,
    accesses: Accesses | None,
) -> Iterator[tuple[int, bytes]]:
    """Everything before the checksum: (keys that end in the portion, portion)."""
    parts = [b"REDIS%04d" % min(version, rdb.NEWEST_WRITTEN_VERSION)]
    for name, value in aux:
        parts += (b"\xfa", string(name), string(value))
    for code in libraries:
        parts += (b"\xf5", (squeeze or string)(code))
    yield 0, b"".join(parts)
    for index, values, expires in databases:
        if values:
            yield 0, b"\xfe%b\xfb%b%b" % (length(index), length(len(values)), length(len(expires)))
            used = None if accesses is None else partial(_use, accesses, index)
            yield from _database(values, expires, version, accessors, squeeze, chunk_bytes, used)
    yield 0, b"\xff"


def _use(accesses: Accesses, index: int, key: bytes) -> bytes:
    idle, frequency = accesses(index, key)
    if idle is not None:
        return b"\xf8" + length(idle)
    return b"" if frequency is None else bytes((rdb.OP_FREQUENCY, frequency))


def _database(
    values: Mapping[bytes, Any],
    expires: Mapping[bytes, int],
    version: int,
    accessors: Mapping[type, Accessor],
    squeeze: Encode | None,
    chunk_bytes: int,
    used: Encode | None = None,
) -> Iterator[tuple[int, bytes]]:
    plain_keys, lengths, common = _PLAIN_KEYS, _LENGTHS, _COMMON
    expiry = expires.get
    parts: list[bytes] = []
    size = keys = 0
    for key, value in values.items():
        if expires and (when := expiry(key)) is not None:
            parts += (b"\xfc", _INT64(when))
        if used is not None:
            parts.append(used(key))
        keys += 1
        key_size = len(key)
        if type(value) is bytes:
            value_size = len(value)
            if squeeze is not None and value_size >= _SHORTEST_COMPRESSED and value.find(value[-8:]) != value_size - 8:
                parts += (b"\x00", string(key), squeeze(value))
                size += key_size + value_size
            elif key_size < common and value_size < common:
                parts += (plain_keys[key_size], key, lengths[value_size], value)
                size += key_size + value_size
                if size < chunk_bytes:
                    continue
            elif value_size >= chunk_bytes:
                parts += (b"\x00", string(key), length(value_size))
                yield 0, b"".join(parts)
                parts, size = [value], chunk_bytes
            else:
                parts += (b"\x00", string(key), string(value))
                size += key_size + value_size
        else:
            kind, neutral = accessors[type(value)](value)
            number, body = encode_value(kind, neutral, version, squeeze or string, chunk_bytes)
            parts += (bytes((number,)), string(key))
            size += key_size
            for block in filter(None, body):
                if size >= chunk_bytes:  # not behind the last block: the key ends with that
                    yield 0, b"".join(parts)
                    parts.clear()
                    size = 0
                parts.append(block)
                size += len(block)
        if size >= chunk_bytes:
            yield keys, b"".join(parts)
            parts.clear()
            size = keys = 0
    if keys:
        yield keys, b"".join(parts)


# -- values ------------------------------------------------------------------------------------------------------------


def encode_value(
    kind: str, value: Any, version: int = rdb.PLAIN_VERSION, encode: Encode = string, chunk_bytes: int = CHUNK_BYTES
) -> tuple[int, Iterator[bytes]]:
    """The type number and the body, in blocks, of a neutral value. Hashes and sorted sets may be mappings or pairs."""
    if kind == rdb.STRING:
        return rdb.TYPE_STRING, iter((encode(value),))
    if kind == rdb.LIST:
        return rdb.TYPE_LIST, _strings(value, len(value), encode, chunk_bytes)
    if kind == rdb.SET:
        return rdb.TYPE_SET, _strings(value, len(value), encode, chunk_bytes)
    if kind == rdb.HASH:
        return rdb.TYPE_HASH, _strings(_flat(value), len(value), encode, chunk_bytes)
    if kind == rdb.SORTED_SET:
        return rdb.TYPE_SORTED_SET_2, _scores(value, encode, chunk_bytes)
    if kind == rdb.STREAM:
        if version >= rdb.STREAM_3_VERSION:
            return rdb.TYPE_STREAM_3, _stream(value, 3, encode, version >= rdb.VALKEY_VERSION)
        if version >= rdb.STREAM_2_VERSION:
            return rdb.TYPE_STREAM_2, _stream(value, 2, encode)
        return rdb.TYPE_STREAM, _stream(value, 1, encode)
    raise ValueError(kind)


def _items(pairs: Any) -> Iterable[tuple[bytes, Any]]:
    items: Iterable[tuple[bytes, Any]] = pairs.items() if isinstance(pairs, Mapping) else pairs
    return items


def _flat(pairs: Any) -> Iterator[bytes]:
    for name, content in _items(pairs):
        yield name
        yield content


def _strings(texts: Iterable[bytes], count: int, encode: Encode, chunk_bytes: int) -> Iterator[bytes]:
    parts = [length(count)]
    size = 0
    if encode is string:
        for text in texts:
            text_size = len(text)
            parts += (_LENGTHS[text_size] if text_size < _COMMON else length(text_size), text)
            size += text_size + 1
            if size >= chunk_bytes:
                yield b"".join(parts)
                parts.clear()
                size = 0
    else:
        for text in texts:
            parts.append(encode(text))
            size += len(parts[-1])
            if size >= chunk_bytes:
                yield b"".join(parts)
                parts.clear()
                size = 0
    yield b"".join(parts)


def _scores(pairs: Any, encode: Encode, chunk_bytes: int) -> Iterator[bytes]:
    parts = [length(len(pairs))]
    size = 0
    for member, score in _items(pairs):
        parts += (encode(member), _DOUBLE(score))
        size += len(member) + 9
        if size >= chunk_bytes:
            yield b"".join(parts)
            parts.clear()
            size = 0
    yield b"".join(parts)


def _two(identifier: tuple[int, int]) -> bytes:
    return length(identifier[0]) + length(identifier[1])


def _stream(stream: RdbStream, form: int, encode: Encode, valkey: bool = False) -> Iterator[bytes]:
    yield length(len(stream.nodes))
    for node in stream.nodes:
        master, data = write_node(node, valkey=valkey)
        yield string(master) + encode(data)
    yield length(len(stream)) + _two(stream.last_id)
    if form >= 2:
        yield _two(stream.first_id) + _two(stream.max_deleted_id) + length(stream.entries_added)
    yield length(len(stream.groups))
    for group in stream.groups:
        parts = [string(group.name), _two(group.last_id)]
        if form >= 2:
            parts.append(length(_UNKNOWN_READ if group.entries_read is None else group.entries_read))
        parts.append(length(len(group.pending)))
        owned: dict[bytes, list[bytes]] = {consumer.name: [] for consumer in group.consumers}
        for entry in group.pending:
            identifier = raw_id(entry.id)
            owned[entry.consumer].append(identifier)
            parts += (identifier, _INT64(entry.delivered_ms), length(entry.deliveries))
        parts.append(length(len(group.consumers)))
        for consumer in group.consumers:
            parts += (string(consumer.name), _INT64(consumer.seen_ms))
            if form >= 3:
                parts.append(_INT64(consumer.active_ms))
            identifiers = owned[consumer.name]
            parts += (length(len(identifiers)), *identifiers)
        yield b"".join(parts)
