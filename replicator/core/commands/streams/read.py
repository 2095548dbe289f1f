"""Streams, part two: XREAD and XREADGROUP, which may wait for entries.

A consumer group changes when it is read. Replicas are told the outcome: XCLAIM for every entry that became pending, and
XGROUP SETID where nothing became pending (NOACK), as stock servers of version 7.0 do.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import BLOCKING, MOVABLE_KEYS, READONLY, WRITE
from replicator.core.commands.streams.streams import (
    entries_reply,
    entry_reply,
    format_id,
    integer_of,
    parse_id,
    quiet_change,
    stream_command,
)
from replicator.core.errors import SYNTAX, CommandError
from replicator.core.keyspace.stream import LARGEST_ID, ZERO_ID, Consumer, Group, Id, Pending, Stream, next_id
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_int

KEY_GONE = "UNBLOCKED the stream key no longer exists"
GROUP_GONE = "NOGROUP the consumer group this client was blocked on no longer exists"
NEW = b">"


class _Read:
    """The arguments of an XREAD or XREADGROUP. timeout: None if it must not wait, 0 for ever (ms)."""

    __slots__ = ("at", "consumer", "count", "group", "keys", "no_ack", "timeout")

    def __init__(self, argv: list[bytes], grouped: bool) -> None:
        self.count: int | None = None
        self.timeout: int | None = None
        self.group: bytes | None = None
        self.consumer = b""
        self.no_ack = False
        self.at = 0  # where the keys begin
        at, size = 1, len(argv)
        while at < size:
            word, left = argv[at].lower(), size - 1 - at
            if word == b"block" and left:
                self.timeout = _block_ms(argv[at + 1])
                at += 1
            elif word == b"count" and left:
                count = integer_of(argv[at + 1])
                self.count = count if count > 0 else None
                at += 1
            elif word == b"streams" and left:
                self.at = at + 1
                break
            elif word == b"group" and left >= 2:
                if not grouped:
                    raise CommandError(
                        "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead."
                    )
                self.group, self.consumer = argv[at + 1], argv[at + 2]
                at += 2
            elif word == b"noack":
                if not grouped:
                    raise CommandError(
                        "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead."
                    )
                self.no_ack = True
            else:
                raise CommandError(SYNTAX)
            at += 1
        if not self.at:
            raise CommandError(SYNTAX)
        if (size - self.at) % 2:
            raise CommandError(
                "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified."
            )
        if grouped and self.group is None:
            raise CommandError("ERR Missing GROUP option for XREADGROUP")
        self.keys = argv[self.at : self.at + (size - self.at) // 2]


def _no_waiting_in_scripts(ctx: Context, argv: list[bytes], read: _Read) -> None:
    if ctx.script is not None and read.timeout is not None:
        raise CommandError(f"ERR {argv[0].decode().lower()} command is not allowed with BLOCK option from scripts")


def _block_ms(data: bytes) -> int:
    value = parse_int(data)
    if value is None:
        raise CommandError("ERR timeout is not an integer or out of range")
    if value < 0:
        raise CommandError("ERR timeout is negative")
    return value


def _wait_or_nothing(ctx: Context, read: _Read, on_delete: bool) -> bytes:
    if read.timeout is None:
        return ctx.null_array
    return ctx.block(read.keys, read.timeout or None, ctx.null_array, on_delete=on_delete)


def _streams_reply(ctx: Context, parts: list[tuple[bytes, bytes]]) -> bytes:
    """[[key, entries], ...], or a map of the same in RESP3."""
    if ctx.resp3:
        return reply.mapping([item for key, entries in parts for item in (reply.bulk(key), entries)], True)
    return reply.array([b"*2\r\n%b%b" % (reply.bulk(key), entries) for key, entries in parts])


def _stream_keys(argv: list[bytes]) -> Sequence[int]:
    """Where XREAD's and XREADGROUP's keys are: the first half of what follows STREAMS."""
    at = 1
    while at < len(argv):
        word = argv[at].lower()
        if word == b"streams":
            return range(at + 1, at + 1 + (len(argv) - at - 1) // 2)
        at += 3 if word == b"group" else 2 if word in (b"block", b"count") else 1
    return ()


# -- XREAD -------------------------------------------------------------------------------------------------------------


@stream_command(
    "xread",
    arity=-4,
    flags=READONLY | BLOCKING | MOVABLE_KEYS,
    find_keys=_stream_keys,
    access="RO",
    since="5.0.0",
    complexity="O(log(S)+N) for each stream, with S being its size and N the number of entries returned.",
    summary="Returns entries from several streams with ids greater than those given; can wait for them.",
    arguments="[COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]",
)
def xread(ctx: Context, argv: list[bytes]) -> bytes:
    """XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]"""
    read = _Read(argv, False)
    _no_waiting_in_scripts(ctx, argv, read)
    after: list[Id] = []
    for i, key in enumerate(read.keys):
        at = read.at + len(read.keys) + i
        if ctx.retrying:
            after.append(parse_id(argv[at]))
            continue
        stream = ctx.db.typed(key, Stream)
        if argv[at] == b"$":
            after.append(ZERO_ID if stream is None else stream.last_id)
        elif argv[at] == NEW:
            raise CommandError(
                "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option."
            )
        else:
            after.append(parse_id(argv[at]))
    parts = []
    for key, id in zip(read.keys, after, strict=True):
        value = ctx.db.find(key) if ctx.retrying else ctx.db.lookup(key)  # stock looks twice, and counts both
        start = next_id(id)
        if type(value) is Stream and value.length and start is not None and value.top_id >= start:
            parts.append((key, entries_reply(islice(value.range(start, LARGEST_ID), read.count))))
            if ctx.retrying:
                break  # who has waited gets the stream that ended the wait
    if parts:
        return _streams_reply(ctx, parts)
    for i, id in enumerate(after):
        # "$" means the end as it was when the wait began, not when the command is tried again
        argv[read.at + len(read.keys) + i] = format_id(id)
    return _wait_or_nothing(ctx, read, False)


# -- XREADGROUP --------------------------------------------------------------------------------------------------------


def claim_effect(ctx: Context, key: bytes, group: tuple[bytes, Group], id: bytes, entry: Pending) -> None:
    """Tell replicas that the entry is pending for its consumer, delivered so often and at that time."""
    ctx.replicate(
        b"XCLAIM",
        key,
        group[0],
        entry.consumer.name,
        b"0",
        id,
        b"TIME",
        b"%d" % entry.delivered_ms,
        b"RETRYCOUNT",
        b"%d" % entry.deliveries,
        b"FORCE",
        b"JUSTID",
        b"LASTID",
        format_id(group[1].last_id),
    )


def position_effect(ctx: Context, key: bytes, name: bytes, group: Group) -> None:
    """Tell replicas how far the group has read."""
    read = -1 if group.entries_read is None else group.entries_read
    ctx.replicate(b"XGROUP", b"SETID", key, name, format_id(group.last_id), b"ENTRIESREAD", b"%d" % read)


def make_consumer(ctx: Context, key: bytes, group: Group, name: bytes) -> Consumer:
    """A new consumer of the group."""
    consumer = group.consumers[name] = Consumer(name, ctx.keyspace.now_ms)
    quiet_change(ctx, key, b"xgroup-createconsumer")
    return consumer


def _find_group(ctx: Context, key: bytes, name: bytes) -> tuple[Stream, Group]:
    """The stream and its group; raises CommandError with the text for who asks, or for who has waited."""
    if ctx.retrying:
        value = ctx.db.find(key)
        if type(value) is not Stream:
            raise CommandError(KEY_GONE)
        stream: Stream | None = value
    else:
        stream = ctx.db.typed(key, Stream)
    group = None if stream is None else stream.groups.get(name)
    if stream is None or group is None:
        if ctx.retrying:
            raise CommandError(GROUP_GONE)
        raise CommandError(
            f"NOGROUP No such key '{key.decode('utf-8', 'surrogateescape')}' or consumer group "
            f"'{name.decode('utf-8', 'surrogateescape')}' in XREADGROUP with GROUP option"
        )
    return stream, group


@stream_command(
    "xreadgroup",
    arity=-7,
    flags=WRITE | BLOCKING | MOVABLE_KEYS,
    find_keys=_stream_keys,
    access="RO",
    since="5.0.0",
    complexity="O(log(S)+M) for each stream, with S being its size and M the number of entries returned.",
    summary="Returns new or historical entries from streams for a consumer in a group; can wait for them.",
    arguments="GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key ...] id [id ...]",
)
def xreadgroup(ctx: Context, argv: list[bytes]) -> bytes:
    """XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key ...] id [id ...]"""
    read = _Read(argv, True)
    _no_waiting_in_scripts(ctx, argv, read)
    assert read.group is not None
    plan: list[tuple[bytes, Stream, Group, Id | None]] = []
    for i, key in enumerate(read.keys):
        text = argv[read.at + len(read.keys) + i]
        stream, group = _find_group(ctx, key, read.group)
        if text == b"$":
            raise CommandError(
                "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this "
                "consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just "
                "return an empty result set."
            )
        plan.append((key, stream, group, None if text == NEW else parse_id(text)))
    if not ctx.retrying:
        ctx.keyspace.hits += len(plan)  # stock looks for each a second time, and counts it
    parts = []
    for key, stream, group, after in plan:
        if after is not None:
            parts.append((key, _history(ctx, key, stream, group, read, after)))
        elif stream.length and stream.top_id > group.last_id:
            parts.append((key, _deliver(ctx, key, stream, group, read)))
            if ctx.retrying:
                break  # who has waited gets the stream that ended the wait
    if parts:
        return _streams_reply(ctx, parts)
    return _wait_or_nothing(ctx, read, True)


def _reader(ctx: Context, key: bytes, group: Group, read: _Read) -> Consumer:
    """The consumer that reads, made if need be."""
    consumer = group.consumers.get(read.consumer)
    if consumer is None:
        assert read.group is not None
        consumer = make_consumer(ctx, key, group, read.consumer)
        ctx.replicate_nothing()
        if read.no_ack:
            ctx.replicate(b"XGROUP", b"CREATECONSUMER", key, read.group, read.consumer)
    consumer.seen_ms = ctx.keyspace.now_ms
    return consumer


def _history(ctx: Context, key: bytes, stream: Stream, group: Group, read: _Read, after: Id) -> bytes:
    """What the consumer has pending behind `after`; entries deleted meanwhile have no fields."""
    consumer = _reader(ctx, key, group, read)
    start = next_id(after)
    items = []
    now = ctx.keyspace.now_ms
    for id in islice(consumer.pending.ids(start), read.count) if start is not None else ():
        fields = stream.get(id)
        if fields is None:
            items.append(b"*2\r\n%b%b" % (reply.bulk(format_id(id)), ctx.null_array))
            continue
        entry = consumer.pending.by_id[id]
        entry.delivered_ms = now
        entry.deliveries += 1
        items.append(entry_reply(id, fields))
    return reply.array(items)


def _deliver(ctx: Context, key: bytes, stream: Stream, group: Group, read: _Read) -> bytes:
    """The entries that nobody in the group has got yet; they become pending, unless nobody will acknowledge them."""
    assert read.group is not None
    consumer = _reader(ctx, key, group, read)
    consumer.active_ms = now = ctx.keyspace.now_ms
    start = next_id(group.last_id)
    assert start is not None
    items = []
    for id, fields in islice(stream.range(start, LARGEST_ID), read.count):
        if group.entries_read is not None and not stream.has_gap_after(id):
            group.entries_read += 1
        elif stream.entries_added:
            group.entries_read = stream.read_up_to(id)
        group.last_id = id
        items.append(entry_reply(id, fields))
        if not read.no_ack:
            entry = group.add_pending(id, consumer, now, 1)
            claim_effect(ctx, key, (read.group, group), format_id(id), entry)
    if items:
        quiet_change(ctx, key)
        ctx.replicate_nothing()
        if read.no_ack:
            position_effect(ctx, key, read.group, group)
    return reply.array(items)
