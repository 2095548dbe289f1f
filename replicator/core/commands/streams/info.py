"""Streams, part four: XINFO."""

from __future__ import annotations

from itertools import islice

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import LOADING, READONLY, STALE, container
from replicator.core.commands.streams.groups import SECOND, text_of
from replicator.core.commands.streams.streams import entries_reply, entry_reply, format_id, integer_of, stream_command
from replicator.core.errors import NO_SUCH_KEY, CommandError
from replicator.core.keyspace.stream import LARGEST_ID, ZERO_ID, Consumer, Group, Stream
from replicator.core.wire import reply

# How many entries and pending entries XINFO STREAM FULL shows unless COUNT says otherwise.
DEFAULT_COUNT = 10

container(
    "xinfo",
    group="stream",
    since="5.0.0",
    summary="A container for stream introspection commands.",
    categories="stream",
)


def _stream_of(ctx: Context, key: bytes) -> Stream:
    stream = ctx.db.typed(key, Stream)
    if stream is None:
        raise CommandError(NO_SUCH_KEY)
    return stream


def _mapping(ctx: Context, *pairs: tuple[bytes, bytes]) -> bytes:
    return reply.mapping([item for name, value in pairs for item in (reply.bulk(name), value)], ctx.resp3)


def _number(ctx: Context, value: int | None) -> bytes:
    return ctx.null if value is None else reply.integer(value)


def tree_nodes(stream: Stream) -> int:
    """How many nodes stock's radix tree of the stream's node ids has: chains, branches and leaves."""
    keys = [node.master[0].to_bytes(8, "big") + node.master[1].to_bytes(8, "big") for node in stream.nodes]
    if not keys:
        return 1
    count = 0
    work = [(0, len(keys), 0)]  # (first key, behind the last, bytes they have in common by their place in the tree)
    while work:
        first, stop, depth = work.pop()
        low, high = keys[first], keys[stop - 1]
        shared = depth
        while shared < 16 and low[shared] == high[shared]:
            shared += 1
        count += 1 + (shared > depth)
        if shared == 16:
            continue
        begin = first
        for at in range(first + 1, stop + 1):
            if at == stop or keys[at][shared] != keys[begin][shared]:
                work.append((begin, at, shared + 1))
                begin = at
    return count


@stream_command(
    "xinfo|stream",
    arity=-3,
    flags=READONLY,
    keys=SECOND,
    access="RO",
    since="5.0.0",
    complexity="O(N) with N being the number of the stream's nodes (a hundred entries each).",
    summary="Returns information about a stream.",
    arguments="key [FULL [COUNT count]]",
    history=(
        ("6.0.0", "Added the `FULL` modifier."),
        (
            "7.0.0",
            "Added ids and counts of deleted and added entries, `entries-read` and `lag`.",
        ),
    ),
)
def xinfo_stream(ctx: Context, argv: list[bytes]) -> bytes:
    """XINFO STREAM key [FULL [COUNT count]]"""
    full = len(argv) > 3
    count = DEFAULT_COUNT
    stream = _stream_of(ctx, argv[2])
    if full and (
        argv[3].lower() != b"full" or len(argv) not in (4, 6) or (len(argv) == 6 and argv[4].lower() != b"count")
    ):
        raise CommandError(
            f"ERR unknown subcommand or wrong number of arguments for '{text_of(argv[1])}'. Try XINFO HELP."
        )
    if len(argv) == 6:
        count = integer_of(argv[5])
        count = DEFAULT_COUNT if count < 0 else count
    common = (
        (b"length", reply.integer(stream.length)),
        (b"radix-tree-keys", reply.integer(len(stream.nodes))),
        (b"radix-tree-nodes", reply.integer(tree_nodes(stream))),
        (b"last-generated-id", reply.bulk(format_id(stream.last_id))),
        (b"max-deleted-entry-id", reply.bulk(format_id(stream.max_deleted_id))),
        (b"entries-added", reply.integer(stream.entries_added)),
        (b"recorded-first-entry-id", reply.bulk(format_id(stream.first_id))),
    )
    if full:
        most = count or None
        groups = [_full_group(ctx, name, stream, group, most) for name, group in sorted(stream.groups.items())]
        entries = entries_reply(islice(stream.range(ZERO_ID, LARGEST_ID), most))
        return _mapping(ctx, *common, (b"entries", entries), (b"groups", reply.array(groups)))
    first = next(stream.range(ZERO_ID, LARGEST_ID), None)
    last = next(stream.range_back(ZERO_ID, LARGEST_ID), None)
    return _mapping(
        ctx,
        *common,
        (b"groups", reply.integer(len(stream.groups))),
        (b"first-entry", ctx.null if first is None else entry_reply(*first)),
        (b"last-entry", ctx.null if last is None else entry_reply(*last)),
    )


def _full_group(ctx: Context, name: bytes, stream: Stream, group: Group, most: int | None) -> bytes:
    pending = []
    for id in islice(group.pending.ids(), most):
        entry = group.pending.by_id[id]
        pending.append(
            reply.array(
                [
                    reply.bulk(format_id(id)),
                    reply.bulk(entry.consumer.name),
                    reply.integer(entry.delivered_ms),
                    reply.integer(entry.deliveries),
                ]
            )
        )
    consumers = [_full_consumer(ctx, consumer, most) for _, consumer in sorted(group.consumers.items())]
    return _mapping(
        ctx,
        (b"name", reply.bulk(name)),
        (b"last-delivered-id", reply.bulk(format_id(group.last_id))),
        (b"entries-read", _number(ctx, group.entries_read)),
        (b"lag", _number(ctx, stream.lag(group))),
        (b"pel-count", reply.integer(len(group.pending))),
        (b"pending", reply.array(pending)),
        (b"consumers", reply.array(consumers)),
    )


def _full_consumer(ctx: Context, consumer: Consumer, most: int | None) -> bytes:
    pending = []
    for id in islice(consumer.pending.ids(), most):
        entry = consumer.pending.by_id[id]
        pending.append(b"*3\r\n%b:%d\r\n:%d\r\n" % (reply.bulk(format_id(id)), entry.delivered_ms, entry.deliveries))
    return _mapping(
        ctx,
        (b"name", reply.bulk(consumer.name)),
        (b"seen-time", reply.integer(consumer.seen_ms)),
        (b"pel-count", reply.integer(len(consumer.pending))),
        (b"pending", reply.array(pending)),
    )


@stream_command(
    "xinfo|groups",
    arity=3,
    flags=READONLY,
    keys=SECOND,
    access="RO",
    since="5.0.0",
    complexity="O(N) with N being the number of groups.",
    summary="Returns a list of the consumer groups of a stream.",
    arguments="key",
    history=(("7.0.0", "Added the `entries-read` and `lag` fields."),),
)
def xinfo_groups(ctx: Context, argv: list[bytes]) -> bytes:
    """XINFO GROUPS key"""
    stream = _stream_of(ctx, argv[2])
    return reply.array(
        [
            _mapping(
                ctx,
                (b"name", reply.bulk(name)),
                (b"consumers", reply.integer(len(group.consumers))),
                (b"pending", reply.integer(len(group.pending))),
                (b"last-delivered-id", reply.bulk(format_id(group.last_id))),
                (b"entries-read", _number(ctx, group.entries_read)),
                (b"lag", _number(ctx, stream.lag(group))),
            )
            for name, group in sorted(stream.groups.items())
        ]
    )


@stream_command(
    "xinfo|consumers",
    arity=4,
    flags=READONLY,
    keys=SECOND,
    access="RO",
    since="5.0.0",
    complexity="O(N) with N being the number of consumers.",
    summary="Returns a list of the consumers in a consumer group.",
    arguments="key group",
)
def xinfo_consumers(ctx: Context, argv: list[bytes]) -> bytes:
    """XINFO CONSUMERS key group"""
    stream = _stream_of(ctx, argv[2])
    group = stream.groups.get(argv[3])
    if group is None:
        raise CommandError(f"NOGROUP No such consumer group '{text_of(argv[3])}' for key name '{text_of(argv[2])}'")
    now = ctx.keyspace.now_ms
    return reply.array(
        [
            _mapping(
                ctx,
                (b"name", reply.bulk(name)),
                (b"pending", reply.integer(len(consumer.pending))),
                (b"idle", reply.integer(max(0, now - consumer.seen_ms))),
            )
            for name, consumer in sorted(group.consumers.items())
        ]
    )


_INFO_HELP = (
    "XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CONSUMERS <key> <groupname>",
    "    Show consumers of <groupname>.",
    "GROUPS <key>",
    "    Show the stream consumer groups.",
    "STREAM <key> [FULL [COUNT <count>]",
    "    Show information about the stream.",
    "HELP",
    "    Prints this help.",
)


@stream_command(
    "xinfo|help",
    arity=2,
    flags=LOADING | STALE,
    since="5.0.0",
    complexity="O(1)",
    summary="Returns helpful text about the different subcommands.",
)
def xinfo_help(ctx: Context, argv: list[bytes]) -> bytes:
    """XINFO HELP"""
    return reply.array([reply.simple(line) for line in _INFO_HELP])
