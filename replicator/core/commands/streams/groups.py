"""Streams, part three: consumer groups and what they have pending (XGROUP, XACK, XPENDING, XCLAIM, XAUTOCLAIM)."""

from __future__ import annotations

from typing import NamedTuple

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import DENY_OOM, FAST, LOADING, READONLY, STALE, WRITE, container
from replicator.core.commands.streams.read import claim_effect, make_consumer, position_effect
from replicator.core.commands.streams.streams import (
    KEY,
    entry_reply,
    format_id,
    integer_of,
    parse_any_id,
    parse_id,
    parse_interval,
    quiet_change,
    stream_command,
)
from replicator.core.errors import SYNTAX, CommandError
from replicator.core.keyspace.database import NOTIFY_STREAM
from replicator.core.keyspace.stream import Consumer, Group, Id, Stream, next_id
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_int

KEY_NEEDED = (
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option "
    "to create an empty stream automatically."
)
SECOND = (2, 2, 1)


def text_of(data: bytes) -> str:
    """A name inside an error text."""
    return data.decode("utf-8", "surrogateescape")


def no_group(key: bytes, name: bytes) -> CommandError:
    """The error of commands that name key and group."""
    return CommandError(f"NOGROUP No such key '{text_of(key)}' or consumer group '{text_of(name)}'")


# -- XGROUP -----------------------------------------------------------------------------------------------------------

container(
    "xgroup", group="stream", since="5.0.0", summary="A container for consumer groups commands.", categories="stream"
)


def _stream_of(ctx: Context, key: bytes) -> Stream:
    stream = ctx.db.for_write(key, Stream)
    if stream is None:
        raise CommandError(KEY_NEEDED)
    return stream


def _group_of(stream: Stream, key: bytes, name: bytes) -> Group:
    group = stream.groups.get(name)
    if group is None:
        raise CommandError(f"NOGROUP No such consumer group '{text_of(name)}' for key name '{text_of(key)}'")
    return group


def _group_options(argv: list[bytes], create: bool) -> tuple[bool, int | None]:
    """MKSTREAM and ENTRIESREAD, from argv[5] on."""
    make, read = False, None
    at = 5
    while at < len(argv):
        word = argv[at].lower()
        if create and word == b"mkstream":
            make = True
            at += 1
        elif word == b"entriesread" and at + 1 < len(argv):
            read = integer_of(argv[at + 1])
            if read < -1:
                raise CommandError("ERR value for ENTRIESREAD must be positive or -1")
            at += 2
        else:
            raise CommandError(
                f"ERR unknown subcommand or wrong number of arguments for '{text_of(argv[1])}'. Try XGROUP HELP."
            )
    return make, None if read == -1 else read


@stream_command(
    "xgroup|create",
    arity=-5,
    flags=WRITE | DENY_OOM,
    keys=SECOND,
    access="RW",
    since="5.0.0",
    complexity="O(1)",
    summary="Creates a consumer group.",
    arguments="key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]",
    history=(("7.0.0", "Added the `entries_read` named argument."),),
)
def xgroup_create(ctx: Context, argv: list[bytes]) -> bytes:
    """XGROUP CREATE key group id|$ [MKSTREAM] [ENTRIESREAD entries-read]"""
    make, read = _group_options(argv, True)
    key, name = argv[2], argv[3]
    stream = ctx.db.for_write(key, Stream)
    if stream is None and not make:
        raise CommandError(KEY_NEEDED)
    if argv[4] == b"$":
        last: Id = (0, 0) if stream is None else stream.last_id
    else:
        last = parse_id(argv[4])
    if stream is None:
        stream = Stream()
        ctx.db.put(key, stream)
        stream.groups[name] = Group(last, read)
        ctx.db.changed(key, b"xgroup-create", NOTIFY_STREAM)
        return reply.OK
    if name in stream.groups:
        raise CommandError("BUSYGROUP Consumer Group name already exists")
    stream.groups[name] = Group(last, read)
    quiet_change(ctx, key, b"xgroup-create")
    return reply.OK


@stream_command(
    "xgroup|setid",
    arity=-5,
    flags=WRITE,
    keys=SECOND,
    access="RW",
    since="5.0.0",
    complexity="O(1)",
    summary="Sets the last-delivered id of a consumer group.",
    arguments="key group <id | $> [ENTRIESREAD entries-read]",
    history=(("7.0.0", "Added the optional `entries_read` argument."),),
)
def xgroup_setid(ctx: Context, argv: list[bytes]) -> bytes:
    """XGROUP SETID key group id|$ [ENTRIESREAD entries-read]"""
    _, read = _group_options(argv, False)
    stream = _stream_of(ctx, argv[2])
    group = _group_of(stream, argv[2], argv[3])
    last = stream.last_id if argv[4] == b"$" else parse_any_id(argv[4])
    group.last_id = last
    group.entries_read = read
    quiet_change(ctx, argv[2], b"xgroup-setid")
    return reply.OK


@stream_command(
    "xgroup|destroy",
    arity=4,
    flags=WRITE,
    keys=SECOND,
    access="RW",
    since="5.0.0",
    complexity="O(N) where N is the number of entries in the group's pending entries list (PEL).",
    summary="Destroys a consumer group.",
    arguments="key group",
)
def xgroup_destroy(ctx: Context, argv: list[bytes]) -> bytes:
    """XGROUP DESTROY key group"""
    key = argv[2]
    stream = _stream_of(ctx, key)
    if stream.groups.pop(argv[3], None) is None:
        return reply.ZERO
    quiet_change(ctx, key, b"xgroup-destroy")
    if key in ctx.db.awaited:
        ctx.keyspace.ready.setdefault((ctx.db.index, key), False)  # who waits for the group must hear that it is gone
    return reply.ONE


@stream_command(
    "xgroup|createconsumer",
    arity=5,
    flags=WRITE | DENY_OOM,
    keys=SECOND,
    access="RW",
    since="6.2.0",
    complexity="O(1)",
    summary="Creates a consumer in a consumer group.",
    arguments="key group consumer",
)
def xgroup_createconsumer(ctx: Context, argv: list[bytes]) -> bytes:
    """XGROUP CREATECONSUMER key group consumer"""
    group = _group_of(_stream_of(ctx, argv[2]), argv[2], argv[3])
    if argv[4] in group.consumers:
        return reply.ZERO
    make_consumer(ctx, argv[2], group, argv[4])
    return reply.ONE


@stream_command(
    "xgroup|delconsumer",
    arity=5,
    flags=WRITE,
    keys=SECOND,
    access="RW",
    since="5.0.0",
    complexity="O(N) where N is the number of entries that the consumer has pending.",
    summary="Deletes a consumer from a consumer group; replies how many entries it had pending.",
    arguments="key group consumer",
)
def xgroup_delconsumer(ctx: Context, argv: list[bytes]) -> bytes:
    """XGROUP DELCONSUMER key group consumer"""
    group = _group_of(_stream_of(ctx, argv[2]), argv[2], argv[3])
    if argv[4] not in group.consumers:
        return reply.ZERO
    pending = group.remove_consumer(argv[4])
    quiet_change(ctx, argv[2], b"xgroup-delconsumer")
    return reply.integer(pending)


_GROUP_HELP = (
    "XGROUP <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CREATE <key> <groupname> <id|$> [option]",
    "    Create a new consumer group. Options are:",
    "    * MKSTREAM",
    "      Create the empty stream if it does not exist.",
    "    * ENTRIESREAD entries_read",
    "      Set the group's entries_read counter (internal use).",
    "CREATECONSUMER <key> <groupname> <consumer>",
    "    Create a new consumer in the specified group.",
    "DELCONSUMER <key> <groupname> <consumer>",
    "    Remove the specified consumer.",
    "DESTROY <key> <groupname>",
    "    Remove the specified group.",
    "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
    "    Set the current group ID and entries_read counter.",
    "HELP",
    "    Prints this help.",
)


@stream_command(
    "xgroup|help",
    arity=2,
    flags=LOADING | STALE,
    since="5.0.0",
    complexity="O(1)",
    summary="Returns helpful text about the different subcommands.",
)
def xgroup_help(ctx: Context, argv: list[bytes]) -> bytes:
    """XGROUP HELP"""
    return reply.array([reply.simple(line) for line in _GROUP_HELP])


# -- XACK and XPENDING ------------------------------------------------------------------------------------------------


@stream_command(
    "xack",
    arity=-4,
    flags=WRITE | FAST,
    keys=KEY,
    access="RW",
    since="5.0.0",
    complexity="O(1) for each id processed.",
    summary="Marks entries as processed by their consumers; replies how many were pending.",
    arguments="key group id [id ...]",
)
def xack(ctx: Context, argv: list[bytes]) -> bytes:
    """XACK key group id [id ...]"""
    stream = ctx.db.typed(argv[1], Stream)  # counted as a read
    group = None if stream is None else stream.groups.get(argv[2])
    if group is None:
        return reply.ZERO
    ids = [parse_id(text) for text in argv[3:]]
    done = sum([group.acknowledge(id) for id in ids])
    if done:
        quiet_change(ctx, argv[1])
        ctx.keyspace.dirty += done - 1
    return reply.integer(done)


@stream_command(
    "xpending",
    arity=-3,
    flags=READONLY,
    keys=KEY,
    access="RO",
    since="5.0.0",
    complexity="O(log(P)+N) with P pending entries and N returned or, with IDLE, looked at; the summary: O(consumers).",
    summary="Returns what a consumer group has pending.",
    arguments="key group [[IDLE min-idle-time] start end count [consumer]]",
    history=(("6.2.0", "Added the `IDLE` option and exclusive range intervals."),),
)
def xpending(ctx: Context, argv: list[bytes]) -> bytes:
    """XPENDING key group [[IDLE min-idle-time] start end count [consumer]]"""
    size, at, idle = len(argv), 3, 0
    if size != 3 and not 6 <= size <= 9:
        raise CommandError(SYNTAX)
    if size >= 6:
        if argv[3].lower() == b"idle":
            idle = integer_of(argv[4])
            if size < 8:
                raise CommandError(SYNTAX)
            at = 5
        count = max(0, integer_of(argv[at + 2]))
        start, end = parse_interval(argv[at], argv[at + 1])
    stream = ctx.db.typed(argv[1], Stream)
    group = None if stream is None else stream.groups.get(argv[2])
    if group is None:
        raise no_group(argv[1], argv[2])
    if size == 3:
        return _pending_summary(ctx, group)
    pending = group.pending
    if at + 3 < size:
        consumer = group.consumers.get(argv[at + 3])
        if consumer is None:
            return reply.EMPTY_ARRAY
        pending = consumer.pending
    now = ctx.keyspace.now_ms
    items: list[bytes] = []
    for id in pending.ids(start, end):
        if len(items) >= count:
            break
        entry = pending.by_id[id]
        waited = max(0, now - entry.delivered_ms)
        if idle and waited < idle:
            continue
        name = reply.bulk(entry.consumer.name)
        items.append(b"*4\r\n%b%b:%d\r\n:%d\r\n" % (reply.bulk(format_id(id)), name, waited, entry.deliveries))
    return reply.array(items)


def _pending_summary(ctx: Context, group: Group) -> bytes:
    if not len(group.pending):
        return reply.array([reply.ZERO, ctx.null, ctx.null, ctx.null_array])
    first, last = group.pending.edges()
    consumers = [
        b"*2\r\n%b%b" % (reply.bulk(name), reply.bulk(b"%d" % len(consumer.pending)))
        for name, consumer in sorted(group.consumers.items())
        if len(consumer.pending)
    ]
    return reply.array(
        [
            reply.integer(len(group.pending)),
            reply.bulk(format_id(first)),
            reply.bulk(format_id(last)),
            reply.array(consumers),
        ]
    )


# -- XCLAIM and XAUTOCLAIM --------------------------------------------------------------------------------------------


class _Claim(NamedTuple):
    """An XCLAIM's arguments. time_ms: the delivery time to note; retries: the count to note, None to count on."""

    ids: list[Id]
    min_idle_ms: int
    time_ms: int
    retries: int | None
    force: bool
    just_id: bool
    last_id: Id | None


def _option_int(argv: list[bytes], at: int, name: str) -> int:
    value = parse_int(argv[at])
    if value is None:
        raise CommandError(f"ERR Invalid {name} option argument for XCLAIM")
    return value


def _parse_claim(ctx: Context, argv: list[bytes]) -> _Claim:
    min_idle = parse_int(argv[4])
    if min_idle is None:
        raise CommandError("ERR Invalid min-idle-time argument for XCLAIM")
    ids: list[Id] = []
    at, size = 5, len(argv)
    while at < size:
        try:
            ids.append(parse_id(argv[at]))
        except CommandError:
            break
        at += 1
    now = ctx.keyspace.now_ms
    time, retries, force, just_id = now, -1, False, False
    last: Id | None = None
    while at < size:
        word, left = argv[at].lower(), size - 1 - at
        if word == b"force":
            force = True
        elif word == b"justid":
            just_id = True
        elif word == b"idle" and left:
            time = now - _option_int(argv, at + 1, "IDLE")
            at += 1
        elif word == b"time" and left:
            time = _option_int(argv, at + 1, "TIME")
            at += 1
        elif word == b"retrycount" and left:
            retries = _option_int(argv, at + 1, "RETRYCOUNT")
            at += 1
        elif word == b"lastid" and left:
            last = parse_id(argv[at + 1])
            at += 1
        else:
            raise CommandError(f"ERR Unrecognized XCLAIM option '{text_of(argv[at])}'")
        at += 1
    if not 0 <= time <= now:
        time = now
    return _Claim(ids, max(0, min_idle), time, retries if retries >= 0 else None, force, just_id, last)


@stream_command(
    "xclaim",
    arity=-6,
    flags=WRITE | FAST,
    keys=KEY,
    access="RW",
    since="5.0.0",
    complexity="O(log N) with N being the number of messages in the PEL of the consumer group.",
    summary="Takes over pending entries for a consumer, as if they had been delivered to it.",
    arguments="key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] [RETRYCOUNT count] "
    "[FORCE] [JUSTID] [LASTID lastid]",
)
def xclaim(ctx: Context, argv: list[bytes]) -> bytes:
    """XCLAIM key group consumer min-idle-time id ... [IDLE ms] [TIME ms] [RETRYCOUNT n] [FORCE] [JUSTID] [LASTID id]"""
    key, name = argv[1], argv[2]
    stream = ctx.db.typed(key, Stream)  # counted as a read
    group = None if stream is None else stream.groups.get(name)
    if stream is None or group is None:
        raise no_group(key, name)
    claim = _parse_claim(ctx, argv)
    moved = claim.last_id is not None and claim.last_id > group.last_id
    if claim.last_id is not None and moved:
        group.last_id = claim.last_id
        quiet_change(ctx, key)
        ctx.replicate_nothing()
    consumer = group.consumers.get(argv[3])
    if consumer is not None:
        consumer.seen_ms = ctx.keyspace.now_ms
    items = []
    for at, id in enumerate(claim.ids, 5):
        entry = group.pending.get(id)
        fields = stream.get(id)
        if fields is None:
            if entry is not None:
                _forget_deleted(ctx, key, (name, group), id, argv[at])
                moved = False
            continue
        if entry is None and not claim.force:
            continue
        if entry is not None and claim.min_idle_ms and ctx.keyspace.now_ms - entry.delivered_ms < claim.min_idle_ms:
            continue
        if consumer is None:
            consumer = make_consumer(ctx, key, group, argv[3])
        deliveries = 1 if entry is None else entry.deliveries
        if claim.retries is not None:
            deliveries = claim.retries
        elif not claim.just_id:
            deliveries += 1
        taken = group.add_pending(id, consumer, claim.time_ms, deliveries)
        consumer.active_ms = ctx.keyspace.now_ms
        items.append(reply.bulk(format_id(id)) if claim.just_id else entry_reply(id, fields))
        claim_effect(ctx, key, (name, group), argv[at], taken)  # the id as it was sent
        quiet_change(ctx, key)
        moved = False
    if moved:
        position_effect(ctx, key, name, group)
    return reply.array(items)


def _forget_deleted(ctx: Context, key: bytes, group: tuple[bytes, Group], id: Id, text: bytes) -> None:
    """The pending entry is no longer in the stream: nobody can process it. Replicas find that out by the same claim."""
    claim_effect(ctx, key, group, text, group[1].pending.by_id[id])
    group[1].acknowledge(id)
    quiet_change(ctx, key)


class _AutoClaim(NamedTuple):
    min_idle_ms: int
    start: Id
    most: int
    just_id: bool


def _parse_auto_claim(argv: list[bytes]) -> _AutoClaim:
    min_idle = parse_int(argv[4])
    if min_idle is None:
        raise CommandError("ERR Invalid min-idle-time argument for XAUTOCLAIM")
    if argv[5][:1] == b"(" and len(argv[5]) > 1:
        start = next_id(parse_id(argv[5][1:]))
        if start is None:
            raise CommandError("ERR invalid start ID for the interval")
    else:
        start = parse_any_id(argv[5])
    count, just_id, at = 100, False, 6
    while at < len(argv):
        word = argv[at].lower()
        if word == b"count" and at + 1 < len(argv):
            wanted = parse_int(argv[at + 1])
            if wanted is None or not 0 < wanted <= (2**63 - 1) // 16:
                raise CommandError("ERR COUNT must be > 0")
            count = wanted
            at += 2
        elif word == b"justid":
            just_id = True
            at += 1
        else:
            raise CommandError(SYNTAX)
    return _AutoClaim(max(0, min_idle), start, count, just_id)


@stream_command(
    "xautoclaim",
    arity=-6,
    flags=WRITE | FAST,
    keys=KEY,
    access="RW",
    since="6.2.0",
    complexity="O(log(P)+COUNT) with P being the number of pending entries.",
    summary="Takes over, for a consumer, entries that have been pending for long.",
    arguments="key group consumer min-idle-time start [COUNT count] [JUSTID]",
    history=(("7.0.0", "Added an element to the reply array, containing deleted entries cleared from the PEL."),),
)
def xautoclaim(ctx: Context, argv: list[bytes]) -> bytes:
    """XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]"""
    wanted = _parse_auto_claim(argv)
    key, name = argv[1], argv[2]
    stream = ctx.db.typed(key, Stream)  # counted as a read
    group = None if stream is None else stream.groups.get(name)
    if stream is None or group is None:
        raise no_group(key, name)
    now = ctx.keyspace.now_ms
    consumer = group.consumers.get(argv[3])
    if consumer is not None:
        consumer.seen_ms = now
    items: list[bytes] = []
    deleted: list[bytes] = []
    attempts, room = 10 * wanted.most, wanted.most
    cursor: Id = (0, 0)
    for id in _first(group, wanted.start, attempts + 1):
        if not attempts or not room:
            cursor = id
            break
        attempts -= 1
        entry = group.pending.by_id[id]
        fields = stream.get(id)
        if fields is None:
            _forget_deleted(ctx, key, (name, group), id, format_id(id))
            deleted.append(reply.bulk(format_id(id)))
            room -= 1
            continue
        if wanted.min_idle_ms and now - entry.delivered_ms < wanted.min_idle_ms:
            continue
        if consumer is None:
            consumer = make_consumer(ctx, key, group, argv[3])
        _take(group, id, consumer, now, wanted.just_id)
        claim_effect(ctx, key, (name, group), format_id(id), entry)
        quiet_change(ctx, key)
        items.append(reply.bulk(format_id(id)) if wanted.just_id else entry_reply(id, fields))
        room -= 1
    return reply.array([reply.bulk(format_id(cursor)), reply.array(items), reply.array(deleted)])


def _first(group: Group, start: Id, most: int) -> list[Id]:
    """The first pending ids from start on, as a list: the loop over them changes what is pending."""
    found = []
    for id in group.pending.ids(start):
        found.append(id)
        if len(found) >= most:
            break
    return found


def _take(group: Group, id: Id, consumer: Consumer, now: int, just_id: bool) -> None:
    entry = group.pending.by_id[id]
    group.add_pending(id, consumer, now, entry.deliveries + (not just_id))
    consumer.active_ms = now
