"""The bodies of all value types: bytes -> neutral values."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Generator
from typing import Any

from replicator.core.wire.rdb import format as rdb
from replicator.core.wire.rdb.compact import read_intset, read_listpack, read_ziplist, read_zipmap
from replicator.core.wire.rdb.cursor import INT64, Cursor, Machine
from replicator.core.wire.rdb.format import Corrupt
from replicator.core.wire.rdb.stream import RdbConsumer, RdbGroup, RdbPending, RdbStream, StreamId, read_id, read_node

_DOUBLE = struct.Struct("<d").unpack_from
_UNKNOWN_READ = (1 << 64) - 1


class ValueReader(Cursor):
    """Reads the value of any type number that can be held."""

    __slots__ = ()

    def whole_value(self) -> Generator[int, None, tuple[str, Any]]:
        """A type number that is in VALUE_TYPES, and the value that follows."""
        return (yield from self.value((yield from self._take(1))[0]))

    def value(self, mark: int) -> Generator[int, None, tuple[str, Any]]:
        """The value of a type number: (kind, neutral value)."""
        kind, read = VALUE_TYPES[mark]
        return kind, (yield from read(self))

    def _list(self) -> Machine:
        return (yield from self._strings((yield from self._count())))

    def _ziplist(self) -> Machine:
        return (yield from self._packed(read_ziplist))

    def _quicklist(self) -> Machine:
        out: list[bytes] = []
        nodes = yield from self._count()
        while nodes:
            out += yield from self._packed(read_ziplist)
            nodes -= 1
        return out

    def _quicklist_2(self) -> Machine:
        out: list[bytes] = []
        nodes = yield from self._count()
        while nodes:
            container = yield from self._count()
            if container == 1:
                out.append((yield from self._string()))
            elif container == 2:
                out += yield from self._packed(read_listpack)
            else:
                raise self._error(f"list node of unknown kind {container}")
            nodes -= 1
        return out

    def _set(self) -> Machine:
        return self._members((yield from self._strings((yield from self._count()))))

    def _intset(self) -> Machine:
        return self._members((yield from self._packed(read_intset)))

    def _set_listpack(self) -> Machine:
        return self._members((yield from self._packed(read_listpack)))

    def _members(self, members: list[bytes]) -> list[bytes]:
        if len(set(members)) != len(members):
            raise self._error("a set has a member twice")
        return members

    def _hash(self) -> Machine:
        return self._fields((yield from self._strings(2 * (yield from self._count()))))

    def _hash_zipmap(self) -> Machine:
        return self._fields((yield from self._packed(read_zipmap)))

    def _hash_ziplist(self) -> Machine:
        return self._fields((yield from self._packed(read_ziplist)))

    def _hash_listpack(self) -> Machine:
        return self._fields((yield from self._packed(read_listpack)))

    def _fields(self, flat: list[bytes]) -> dict[bytes, bytes]:
        pairs = dict(zip(flat[::2], flat[1::2], strict=False))
        if 2 * len(pairs) != len(flat):
            raise self._error("a hash has a field twice or without a value")
        return pairs

    def _sorted_set(self) -> Machine:
        """Scores as text behind their length; lengths above 252 are the numbers that have no digits."""
        count = yield from self._count()
        pairs: list[tuple[bytes, float]] = []
        while count:
            member = yield from self._string()
            length = (yield from self._take(1))[0]
            if length < 253:
                score = self._score((yield from self._take(length)))
            else:
                score = self._ordered(_SPECIAL_SCORES[length])
            pairs.append((member, score))
            count -= 1
        return self._pairs(pairs)

    def _sorted_set_2(self) -> Machine:
        count = yield from self._count()
        pairs: list[tuple[bytes, float]] = []
        push = pairs.append
        while count:
            buffer, at = self._buffer, self._at
            end = len(buffer) - 8
            while count and at < end and (length := buffer[at]) < 64:
                begin = at + 1
                stop = begin + length
                if stop > end:
                    break
                (score,) = _DOUBLE(buffer, stop)
                push((buffer[begin:stop], score))
                at = stop + 8
                count -= 1
            self._at = at
            if count:
                member = yield from self._string()
                (score,) = _DOUBLE((yield from self._take(8)))
                push((member, score))
                count -= 1
        if any(score != score for _, score in pairs):
            raise self._error("a score is not a number")
        return self._pairs(pairs)

    def _sorted_set_ziplist(self) -> Machine:
        return self._scored((yield from self._packed(read_ziplist)))

    def _sorted_set_listpack(self) -> Machine:
        return self._scored((yield from self._packed(read_listpack)))

    def _scored(self, flat: list[bytes]) -> list[tuple[bytes, float]]:
        if len(flat) & 1:
            raise self._error("a sorted set has a member without a score")
        return self._pairs([(member, self._score(text)) for member, text in zip(flat[::2], flat[1::2], strict=True)])

    def _score(self, text: bytes) -> float:
        try:
            return self._ordered(float(text))
        except ValueError:
            raise self._error(f"{text[:40]!r} is no score") from None

    def _ordered(self, score: float) -> float:
        if math.isnan(score):
            raise self._error("a score is not a number")
        return score

    def _pairs(self, pairs: list[tuple[bytes, float]]) -> list[tuple[bytes, float]]:
        if len(dict(pairs)) != len(pairs):
            raise self._error("a sorted set has a member twice")
        return pairs

    # -- streams -------------------------------------------------------------------------------------------------------

    def _stream_1(self) -> Machine:
        return (yield from self._stream(1))

    def _stream_2(self) -> Machine:
        return (yield from self._stream(2))

    def _stream_3(self) -> Machine:
        return (yield from self._stream(3))

    def _stream(self, form: int) -> Generator[int, None, RdbStream]:
        stream = RdbStream()
        count = yield from self._count()
        ids: list[StreamId] = []
        while count:
            master = yield from self._string()
            data = yield from self._string()
            try:
                node = read_node(master, data)
            except Corrupt as problem:
                raise self._error(str(problem)) from None
            if node.entries:
                if node.master > node.entries[0][0] or (ids and node.master <= ids[-1]):
                    raise self._error("a stream's nodes are out of order")
                stream.nodes.append(node)
                ids += [identifier for identifier, _ in node.entries]
            count -= 1
        length = yield from self._count()
        if length != len(ids):
            raise self._error("a stream has not the entries it claims")
        stream.last_id = yield from self._two_counts()
        if any(map(_not_before, ids, ids[1:])) or (ids and ids[-1] > stream.last_id):
            raise self._error("a stream's entries are out of order")
        if ids:
            stream.first_id = ids[0]
        stream.entries_added = length
        if form >= 2:
            yield from self._two_counts()  # the first id, which the entries tell
            stream.max_deleted_id = yield from self._two_counts()
            stream.entries_added = yield from self._count()
        groups = yield from self._count()
        while groups:
            stream.groups.append((yield from self._group(stream, form)))
            groups -= 1
        if len({group.name for group in stream.groups}) != len(stream.groups):
            raise self._error("a stream has a group twice")
        return stream

    def _two_counts(self) -> Generator[int, None, StreamId]:
        ms = yield from self._count()
        return ms, (yield from self._count())

    def _group(self, stream: RdbStream, form: int) -> Generator[int, None, RdbGroup]:
        name = yield from self._string()
        last_id = yield from self._two_counts()
        entries_read = _read_up_to(stream, last_id)
        if form >= 2:
            number = yield from self._count()
            entries_read = None if number == _UNKNOWN_READ else number
        group = RdbGroup(name, last_id, entries_read)
        pending: dict[StreamId, RdbPending] = {}
        count = yield from self._count()
        while count:
            identifier = read_id((yield from self._take(16)))
            (delivered,) = INT64((yield from self._take(8)))
            if identifier in pending:
                raise self._error("a group has a pending entry twice")
            pending[identifier] = RdbPending(identifier, b"", delivered, (yield from self._count()))
            count -= 1
        unowned = dict(pending)
        names: set[bytes] = set()
        count = yield from self._count()
        while count:
            consumer, identifiers = yield from self._consumer(form)
            if consumer.name in names:
                raise self._error("a group has a consumer twice")
            names.add(consumer.name)
            group.consumers.append(consumer)
            for identifier in identifiers:
                if (entry := unowned.pop(identifier, None)) is None:
                    raise self._error("a consumer has a pending entry that its group has not, or another has too")
                entry.consumer = consumer.name
            count -= 1
        if unowned:
            raise self._error("a pending entry has no consumer")
        group.pending = [pending[identifier] for identifier in sorted(pending)]
        return group

    def _consumer(self, form: int) -> Generator[int, None, tuple[RdbConsumer, list[StreamId]]]:
        name = yield from self._string()
        (seen,) = INT64((yield from self._take(8)))
        active = seen
        if form >= 3:
            (active,) = INT64((yield from self._take(8)))
        entries: list[StreamId] = []
        count = yield from self._count()
        while count:
            entries.append(read_id((yield from self._take(16))))
            count -= 1
        return RdbConsumer(name, seen, active), entries


def _read_up_to(stream: RdbStream, last_id: StreamId) -> int | None:
    """How many entries a group that stands at last_id has read, as servers guess it that load the oldest form."""
    if not stream.entries_added or last_id < stream.first_id:
        return 0
    if last_id == stream.last_id:
        return stream.entries_added
    return 1 if last_id == stream.first_id else None


def _not_before(one: StreamId, other: StreamId) -> bool:
    return one >= other


_SPECIAL_SCORES = {253: math.nan, 254: math.inf, 255: -math.inf}
_SINGLE: Callable[[ValueReader], Machine] = ValueReader._string
VALUE_TYPES: dict[int, tuple[str, Callable[[ValueReader], Machine]]] = {
    rdb.TYPE_STRING: (rdb.STRING, _SINGLE),
    rdb.TYPE_LIST: (rdb.LIST, ValueReader._list),
    rdb.TYPE_SET: (rdb.SET, ValueReader._set),
    rdb.TYPE_SORTED_SET: (rdb.SORTED_SET, ValueReader._sorted_set),
    rdb.TYPE_HASH: (rdb.HASH, ValueReader._hash),
    rdb.TYPE_SORTED_SET_2: (rdb.SORTED_SET, ValueReader._sorted_set_2),
    rdb.TYPE_HASH_ZIPMAP: (rdb.HASH, ValueReader._hash_zipmap),
    rdb.TYPE_LIST_ZIPLIST: (rdb.LIST, ValueReader._ziplist),
    rdb.TYPE_SET_INTSET: (rdb.SET, ValueReader._intset),
    rdb.TYPE_SORTED_SET_ZIPLIST: (rdb.SORTED_SET, ValueReader._sorted_set_ziplist),
    rdb.TYPE_HASH_ZIPLIST: (rdb.HASH, ValueReader._hash_ziplist),
    rdb.TYPE_LIST_QUICKLIST: (rdb.LIST, ValueReader._quicklist),
    rdb.TYPE_STREAM: (rdb.STREAM, ValueReader._stream_1),
    rdb.TYPE_HASH_LISTPACK: (rdb.HASH, ValueReader._hash_listpack),
    rdb.TYPE_SORTED_SET_LISTPACK: (rdb.SORTED_SET, ValueReader._sorted_set_listpack),
    rdb.TYPE_LIST_QUICKLIST_2: (rdb.LIST, ValueReader._quicklist_2),
    rdb.TYPE_STREAM_2: (rdb.STREAM, ValueReader._stream_2),
    rdb.TYPE_SET_LISTPACK: (rdb.SET, ValueReader._set_listpack),
    rdb.TYPE_STREAM_3: (rdb.STREAM, ValueReader._stream_3),
}
