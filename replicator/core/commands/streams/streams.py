"""Streams, part one: ids, adding, trimming, deleting and ranges (XADD, XTRIM, XDEL, XLEN, XRANGE, XSETID).

Source: https://redis.io/docs/latest/develop/data-types/streams/ and the commands' pages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import DENY_OOM, FAST, READONLY, WRITE, command
from replicator.core.errors import NO_SUCH_KEY, NOT_AN_INTEGER, SYNTAX, CommandError
from replicator.core.keyspace.database import NOTIFY_STREAM
from replicator.core.keyspace.stream import (
    LARGEST_ID,
    LARGEST_PART,
    TRIM_LIMIT,
    ZERO_ID,
    Fields,
    Id,
    Stream,
    next_id,
    previous_id,
)
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_int

if TYPE_CHECKING:
    from replicator.core.command_table.registry import Run

stream_command: Callable[..., Callable[[Run], Run]] = partial(command, group="stream", categories="stream")
KEY = (1, 1, 1)

BAD_ID = "ERR Invalid stream ID specified as stream command argument"
NOT_LARGER = "ERR The ID specified in XADD is equal or smaller than the target stream top item"

_UNSIGNED = re.compile(rb"([ \t\n\v\f\r]*)([+-]?)([0-9]+)")


# -- ids --------------------------------------------------------------------------------------------------------------


def format_id(id: Id) -> bytes:
    """As the wire has it: ms-seq."""
    return b"%d-%d" % id


def _unsigned(text: bytes) -> int:
    """A part of an id. As lenient as C's strtoull where stock is: spaces before it, a plus, leading zeros."""
    if text.isdigit() and len(text) < 20:
        return int(text)
    found = _UNSIGNED.fullmatch(text)
    if found is None:
        raise CommandError(BAD_ID)
    value = int(found[3])
    canonical = not found[1] and not found[3].startswith(b"0")
    if value > LARGEST_PART or (found[2] == b"-" and canonical):
        raise CommandError(BAD_ID)
    return value if found[2] != b"-" else -value % 2**64


def parse_id(data: bytes, missing_seq: int = 0) -> Id:
    """The id that an argument spells, "ms-seq" or "ms" alone; raises CommandError."""
    if len(data) > 127:
        raise CommandError(BAD_ID)
    ms, dash, seq = data.partition(b"\0")[0].partition(b"-")
    return _unsigned(ms), _unsigned(seq) if dash else missing_seq


def parse_any_id(data: bytes, missing_seq: int = 0) -> Id:
    """`parse_id`, or the smallest id for "-" and the largest for "+"."""
    if data == b"-":
        return ZERO_ID
    if data == b"+":
        return LARGEST_ID
    return parse_id(data, missing_seq)


def parse_interval(first: bytes, last: bytes) -> tuple[Id, Id]:
    """The first and the last id inside an interval; "(" before an id leaves it out. Raises CommandError."""
    if first[:1] == b"(" and len(first) > 1:
        start = next_id(parse_id(first[1:], 0))
    else:
        start = parse_any_id(first, 0)
    if start is None:
        raise CommandError("ERR invalid start ID for the interval")
    if last[:1] == b"(" and len(last) > 1:
        end = previous_id(parse_id(last[1:], LARGEST_PART))
    else:
        end = parse_any_id(last, LARGEST_PART)
    if end is None:
        raise CommandError("ERR invalid end ID for the interval")
    return start, end


def integer_of(data: bytes) -> int:
    """The 64-bit integer that an argument spells; raises CommandError."""
    value = parse_int(data)
    if value is None:
        raise CommandError(NOT_AN_INTEGER)
    return value


def entry_reply(id: Id, fields: Fields) -> bytes:
    """[id, [name, value, ...]]"""
    return b"*2\r\n%b%b" % (reply.bulk(b"%d-%d" % id), reply.bulks(fields))


def entries_reply(entries: Iterable[tuple[Id, Fields]]) -> bytes:
    """An array of entries."""
    return reply.array([entry_reply(id, fields) for id, fields in entries])


# -- XADD and XTRIM ---------------------------------------------------------------------------------------------------


class _Trim:
    """What XADD and XTRIM say about trimming.

    strategy: b"" (none), b"maxlen" or b"minid". value_at: where in argv the threshold stands.
    """

    __slots__ = (
        "approximate",
        "at",
        "limit",
        "limit_given",
        "make",
        "mark_at",
        "most",
        "oldest",
        "strategy",
        "value_at",
    )

    def __init__(self, argv: list[bytes], adding: bool) -> None:
        self.strategy = b""
        self.approximate = self.limit_given = False
        self.limit = self.most = self.value_at = self.mark_at = 0
        self.oldest: Id = ZERO_ID
        self.make = True  # XADD makes the stream if it is not there
        at, size = 2, len(argv)
        while at < size:
            word, left = argv[at].lower(), size - 1 - at
            if adding and word == b"*":
                break
            if word in (b"maxlen", b"minid") and left:
                at = self._threshold(argv, at, word, left)
            elif word == b"limit" and left:
                self.limit = integer_of(argv[at + 1])
                if self.limit < 0:
                    raise CommandError("ERR The LIMIT argument must be >= 0.")
                self.limit_given = True
                at += 1
            elif adding and word == b"nomkstream":
                self.make = False
            elif adding:
                break
            else:
                raise CommandError(SYNTAX)
            at += 1
        self.at = at  # where XADD's id stands

    def _threshold(self, argv: list[bytes], at: int, word: bytes, left: int) -> int:
        if self.strategy:
            raise CommandError("ERR syntax error, MAXLEN and MINID options at the same time are not compatible")
        self.approximate = False
        if left >= 2 and argv[at + 1] in (b"~", b"="):
            self.approximate = argv[at + 1] == b"~"
            at += 1
            self.mark_at = at
        self.strategy, self.value_at = word, at + 1
        if word == b"maxlen":
            self.most = integer_of(argv[at + 1])
            if self.most < 0:
                raise CommandError("ERR The MAXLEN argument must be >= 0.")
        else:
            self.oldest = parse_id(argv[at + 1])
        return at + 1

    def check(self, ctx: Context) -> None:
        """Refuse a LIMIT that does not fit, and fill in the default one."""
        if self.limit_given and not self.strategy:
            raise CommandError("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy")
        if self.limit_given and not self.approximate and not ctx.is_primary_link:
            raise CommandError("ERR syntax error, LIMIT cannot be used without the special ~ option")
        if self.approximate and not self.limit_given:
            self.limit = 100 * node_limits(ctx)[0] or TRIM_LIMIT

    def apply(self, stream: Stream) -> int:
        """Trim; how many entries went."""
        limit = self.limit if self.approximate else 0
        if self.strategy == b"maxlen":
            return stream.trim_length(self.most, self.approximate, limit)
        return stream.trim_before(self.oldest, self.approximate, limit)

    def exact(self, argv: Sequence[bytes], stream: Stream) -> list[bytes]:
        """argv with what the approximate trimming came to, so that a replica trims alike whatever its nodes are."""
        effect = list(argv)
        if self.approximate:
            effect[self.mark_at] = b"="
            if self.strategy == b"maxlen":
                left = b"%d" % stream.length
            else:
                # the first node's first entry, be it deleted: nothing before it is left
                left = format_id(stream.nodes[0].master if stream.nodes else LARGEST_ID)
            effect[self.value_at] = left
        return effect


def node_limits(ctx: Context) -> tuple[int, int]:
    """The most entries and the most bytes of a node, as configured (0: no limit)."""
    config = ctx.server.config
    entries: int = config["stream-node-max-entries"]
    size: int = config["stream-node-max-bytes"]
    return entries, size


def _new_id(ctx: Context, stream: Stream, wanted: Id | None, any_seq: bool) -> Id:
    """The id of an entry to be added: wanted (its seq open if any_seq), or made from the clock. Raises CommandError."""
    last = stream.last_id
    if last == LARGEST_ID:
        raise CommandError("ERR The stream has exhausted the last possible ID, unable to add more items")
    if wanted is None:
        ms = ctx.keyspace.now_ms
        if ms > last[0]:
            return (ms, 0)
        following = next_id(last)
        assert following is not None
        return following
    if any_seq:
        if wanted[0] == last[0]:
            if last[1] == LARGEST_PART:
                raise CommandError(NOT_LARGER)
            wanted = (last[0], last[1] + 1)
        else:
            wanted = (wanted[0], 0)
    if wanted <= last:
        raise CommandError(NOT_LARGER)
    return wanted


@stream_command(
    "xadd",
    arity=-5,
    flags=WRITE | DENY_OOM | FAST,
    keys=KEY,
    access="RW",
    since="5.0.0",
    complexity="O(1) when adding a new entry, O(N) when trimming where N being the number of entries evicted.",
    summary="Appends a new entry to a stream.",
    arguments="key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> "
    "field value [field value ...]",
    history=(
        ("6.2.0", "Added the `NOMKSTREAM` option, `MINID` trimming strategy and the `LIMIT` option."),
        ("7.0.0", "Added support for the `<ms>-*` explicit ID form."),
    ),
)
def xadd(ctx: Context, argv: list[bytes]) -> bytes:
    """XADD key [NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT count]] *|id field value [field value ...]"""
    key = argv[1]
    trim = _Trim(argv, True)
    at = trim.at
    text = argv[at] if at < len(argv) else b""
    wanted, any_seq = None, False
    if at < len(argv) and text != b"*":
        any_seq = text.endswith(b"-*")
        wanted = parse_id(text[:-2]) if any_seq and b"-" not in text[:-2] else parse_id(text)
    trim.check(ctx)
    if len(argv) - at - 1 < 2 or (len(argv) - at - 1) % 2:
        raise CommandError("ERR wrong number of arguments for 'xadd' command")
    if wanted == ZERO_ID and not any_seq:
        raise CommandError("ERR The ID specified in XADD must be greater than 0-0")
    db = ctx.db
    stream = db.for_write(key, Stream)
    if stream is None and not trim.make:
        return ctx.null
    id = _new_id(ctx, Stream() if stream is None else stream, wanted, any_seq)
    if stream is None:
        if any_seq and wanted is not None and wanted[0] == 0:
            id = (0, 1)
        stream = Stream()
        db.put(key, stream)
    stream.append(id, tuple(argv[at + 1 :]), *node_limits(ctx))
    trimmed = trim.apply(stream) if trim.strategy else 0
    db.changed(key, b"xadd", NOTIFY_STREAM)
    if trimmed:
        db.notify(NOTIFY_STREAM, b"xtrim", key)
    name = format_id(id)
    if wanted is None or any_seq or trim.approximate:
        effect = trim.exact(argv, stream)
        if wanted is None or any_seq:
            effect[at] = name
        ctx.replicate(*effect)
    return reply.bulk(name)


@stream_command(
    "xtrim",
    arity=-4,
    flags=WRITE,
    keys=KEY,
    access="RW",
    since="5.0.0",
    complexity="O(N), with N being the number of evicted entries; whole nodes go in constant time.",
    summary="Trims the stream to a certain size or to ids from a certain one on.",
    arguments="key <MAXLEN | MINID> [= | ~] threshold [LIMIT count]",
    history=(("6.2.0", "Added the `MINID` trimming strategy and the `LIMIT` option."),),
)
def xtrim(ctx: Context, argv: list[bytes]) -> bytes:
    """XTRIM key MAXLEN|MINID [=|~] threshold [LIMIT count]"""
    key = argv[1]
    trim = _Trim(argv, False)
    trim.check(ctx)
    db = ctx.db
    stream = db.for_write(key, Stream)
    if stream is None:
        return reply.ZERO
    trimmed = trim.apply(stream)
    if trimmed:
        db.changed(key, b"xtrim", NOTIFY_STREAM)
        ctx.keyspace.dirty += trimmed - 1
        if trim.approximate:
            ctx.replicate(*trim.exact(argv, stream))
    return reply.integer(trimmed)


# -- other changes ----------------------------------------------------------------------------------------------------


@stream_command(
    "xdel",
    arity=-3,
    flags=WRITE | FAST,
    keys=KEY,
    access="RW",
    since="5.0.0",
    complexity="O(log(N)) for each entry to delete, regardless of what the stream holds besides.",
    summary="Removes entries from a stream; replies how many there were.",
    arguments="key id [id ...]",
)
def xdel(ctx: Context, argv: list[bytes]) -> bytes:
    """XDEL key id [id ...]"""
    key = argv[1]
    db = ctx.db
    stream = db.for_write(key, Stream)
    if stream is None:
        return reply.ZERO
    ids = [parse_id(text) for text in argv[2:]]
    deleted = sum([stream.delete(id) for id in ids])
    if deleted:
        db.changed(key, b"xdel", NOTIFY_STREAM)
        ctx.keyspace.dirty += deleted - 1
    return reply.integer(deleted)


@stream_command(
    "xsetid",
    arity=-3,
    flags=WRITE | DENY_OOM | FAST,
    keys=KEY,
    access="RW",
    since="5.0.0",
    complexity="O(1)",
    summary="Sets the last id of a stream; an internal command for replicating streams.",
    arguments="key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]",
    history=(("7.0.0", "Added the `entries_added` and `max_deleted_entry_id` arguments."),),
)
def xsetid(ctx: Context, argv: list[bytes]) -> bytes:
    """XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]"""
    last = parse_id(argv[2])
    added: int | None = None
    max_deleted: Id | None = None
    at = 3
    while at < len(argv):
        word = argv[at].lower()
        if word == b"entriesadded" and at + 1 < len(argv):
            added = integer_of(argv[at + 1])
            if added < 0:
                raise CommandError("ERR entries_added must be positive")
        elif word == b"maxdeletedid" and at + 1 < len(argv):
            max_deleted = parse_id(argv[at + 1])
            if last < max_deleted:
                raise CommandError("ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id")
        else:
            raise CommandError(SYNTAX)
        at += 2
    key = argv[1]
    stream = ctx.db.for_write(key, Stream)
    if stream is None:
        raise CommandError(NO_SUCH_KEY)
    _check_set_id(stream, last, added)
    stream.last_id = last
    if added is not None:
        stream.entries_added = added
    if max_deleted is not None and max_deleted != ZERO_ID:
        stream.max_deleted_id = max_deleted
    quiet_change(ctx, key, b"xsetid")
    return reply.OK


def _check_set_id(stream: Stream, last: Id, added: int | None) -> None:
    if stream.length:
        if last < stream.top_id:
            raise CommandError("ERR The ID specified in XSETID is smaller than the target stream top item")
        if added is not None and stream.length > added:
            raise CommandError("ERR The entries_added specified in XSETID is smaller than the target stream length")


def quiet_change(ctx: Context, key: bytes, event: bytes = b"") -> None:
    """Count a change of groups or counters. Stock wakes no watcher for it, since no entry changed."""
    ctx.keyspace.dirty += 1
    if event:
        ctx.db.notify(NOTIFY_STREAM, event, key)


# -- reading ----------------------------------------------------------------------------------------------------------


@stream_command(
    "xlen",
    arity=2,
    flags=READONLY | FAST,
    keys=KEY,
    access="RO",
    since="5.0.0",
    complexity="O(1)",
    summary="Returns the number of entries in a stream.",
    arguments="key",
)
def xlen(ctx: Context, argv: list[bytes]) -> bytes:
    """XLEN key"""
    stream = ctx.db.typed(argv[1], Stream)
    return reply.ZERO if stream is None else reply.integer(stream.length)


def _range(ctx: Context, argv: list[bytes], first: bytes, last: bytes, reverse: bool) -> bytes:
    start, end = parse_interval(first, last)
    count: int | None = None
    at = 4
    while at < len(argv):
        if argv[at].lower() != b"count" or at + 1 >= len(argv):
            raise CommandError(SYNTAX)
        count = max(0, integer_of(argv[at + 1]))
        at += 2
    stream = ctx.db.typed(argv[1], Stream)
    if stream is None:
        return reply.EMPTY_ARRAY
    if count == 0:
        return ctx.null_array
    found = stream.range_back(start, end) if reverse else stream.range(start, end)
    return entries_reply(islice(found, count))


@stream_command(
    "xrange",
    arity=-4,
    flags=READONLY,
    keys=KEY,
    access="RO",
    since="5.0.0",
    complexity="O(log(S)+N) with S being the size of the stream and N the number of entries returned.",
    summary="Returns the entries of a stream within a range of ids.",
    arguments="key start end [COUNT count]",
    history=(("6.2.0", "Added exclusive ranges."),),
)
def xrange(ctx: Context, argv: list[bytes]) -> bytes:
    """XRANGE key start end [COUNT count]"""
    return _range(ctx, argv, argv[2], argv[3], False)


@stream_command(
    "xrevrange",
    arity=-4,
    flags=READONLY,
    keys=KEY,
    access="RO",
    since="5.0.0",
    complexity="O(log(S)+N) with S being the size of the stream and N the number of entries returned.",
    summary="Returns the entries of a stream within a range of ids, the last first.",
    arguments="key end start [COUNT count]",
    history=(("6.2.0", "Added exclusive ranges."),),
)
def xrevrange(ctx: Context, argv: list[bytes]) -> bytes:
    """XREVRANGE key end start [COUNT count]"""
    return _range(ctx, argv, argv[3], argv[2], True)
