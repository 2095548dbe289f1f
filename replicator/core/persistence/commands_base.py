"""The data as commands: the base of an append-only file where aof-use-rdb-preamble is off.

Reads the keyspace's own dictionaries while it runs, as persistence/rdb.py does: nothing may change them meanwhile.

Source: what Redis 7.0.15 writes; large values come in commands of 64 elements each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import cast

from replicator.core.keyspace.database import Keyspace
from replicator.core.keyspace.serialize import neutral_value
from replicator.core.wire import rdb
from replicator.core.wire.aof import timestamp
from replicator.core.wire.numbers import format_float
from replicator.core.wire.rdb import RdbGroup, RdbStream
from replicator.core.wire.request import encode

CHUNK_BYTES = 64 * 1024
_AT_ONCE = 64


def command_chunks(
    keyspace: Keyspace, *, functions: Iterable[bytes], stamp_s: int | None, count_keys: bool
) -> Iterator[bytes | tuple[bytes, int]]:
    """The data in portions of about 64 KiB; count_keys: one portion a key, with its number (1).

    stamp_s: the time of a "#TS:" line at the beginning; None for none.
    """
    parts: list[bytes] = [] if stamp_s is None else [timestamp(stamp_s)]
    parts += [encode((b"FUNCTION", b"LOAD", code)) for code in functions]
    size = sum(map(len, parts))
    for database in keyspace.databases:
        if not database.values:
            continue
        parts.append(encode((b"SELECT", b"%d" % database.index)))
        expires = database.expires
        for key, value in database.values.items():
            before = len(parts)
            parts += _commands(key, *neutral_value(value))
            when = expires.get(key)
            if when is not None:
                parts.append(encode((b"PEXPIREAT", key, b"%d" % when)))
            size += sum(map(len, islice(parts, before, None)))
            if count_keys:
                yield b"".join(parts), 1
            elif size >= CHUNK_BYTES:
                yield b"".join(parts)
            else:
                continue
            parts = []
            size = 0
    yield (b"".join(parts), 0) if count_keys else b"".join(parts)


def _commands(key: bytes, kind: str, value: object) -> Iterator[bytes]:
    if kind == rdb.STRING:
        assert isinstance(value, bytes)
        yield encode((b"SET", key, value))
    elif kind == rdb.STREAM:
        assert isinstance(value, RdbStream)
        yield from _stream(key, value)
    else:
        verb, elements = _elements(kind, value)
        width = _AT_ONCE if kind in (rdb.LIST, rdb.SET) else 2 * _AT_ONCE
        while some := list(islice(elements, width)):
            yield encode((verb, key, *some))


def _elements(kind: str, value: object) -> tuple[bytes, Iterator[bytes]]:
    if kind == rdb.LIST:
        return b"RPUSH", iter(cast("Iterable[bytes]", value))
    if kind == rdb.SET:
        return b"SADD", iter(cast("Iterable[bytes]", value))
    assert isinstance(value, dict)
    if kind == rdb.HASH:
        return b"HMSET", (word for pair in value.items() for word in pair)
    assert kind == rdb.SORTED_SET, kind
    return b"ZADD", (word for member, score in value.items() for word in (format_float(score), member))


def _id(id: tuple[int, int]) -> bytes:
    return b"%d-%d" % id


def _stream(key: bytes, stream: RdbStream) -> Iterator[bytes]:
    empty = True
    for node in stream.nodes:
        for id, fields in node.entries:
            empty = False
            yield encode((b"XADD", key, _id(id), *fields))
    if empty:
        # A stream without entries is made by one that is trimmed away at once.
        yield encode((b"XADD", key, b"MAXLEN", b"0", b"0-1", b"x", b"y"))
    yield encode(
        (
            *(b"XSETID", key, _id(stream.last_id)),
            *(b"ENTRIESADDED", b"%d" % stream.entries_added, b"MAXDELETEDID", _id(stream.max_deleted_id)),
        )
    )
    for group in stream.groups:
        yield from _group(key, group)


def _group(key: bytes, group: RdbGroup) -> Iterator[bytes]:
    read = b"-1" if group.entries_read is None else b"%d" % group.entries_read
    yield encode((b"XGROUP", b"CREATE", key, group.name, _id(group.last_id), b"ENTRIESREAD", read))
    pending = {entry.consumer for entry in group.pending}
    for consumer in group.consumers:
        if consumer.name not in pending:
            yield encode((b"XGROUP", b"CREATECONSUMER", key, group.name, consumer.name))
    for entry in group.pending:
        claim: Sequence[bytes] = (
            *(b"XCLAIM", key, group.name, entry.consumer, b"0", _id(entry.id)),
            *(b"TIME", b"%d" % entry.delivered_ms, b"RETRYCOUNT", b"%d" % entry.deliveries, b"JUSTID", b"FORCE"),
        )
        yield encode(tuple(claim))
