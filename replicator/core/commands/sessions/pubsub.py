"""Publish and subscribe: channels, patterns, and the channels of a cluster's shards.

The confirmations of (un)subscribing are the command's reply, one after the other, so that they keep their place in a
pipeline. Who listens to what is in core/clients/pubsub.py.

Source: https://redis.io/docs/latest/develop/pubsub/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from replicator.core.clients.pubsub import Subscribers, channel_matcher, confirmation
from replicator.core.command_table.registry import (
    FAST,
    LOADING,
    MAY_REPLICATE,
    NO_SCRIPT,
    PUBSUB,
    STALE,
    command,
    container,
)
from replicator.core.commands.parts import Caller
from replicator.core.errors import CommandError
from replicator.core.wire import reply


def subscription_count(ctx: Caller) -> int:
    """To how many channels and patterns the caller listens (channels of shards are counted apart)."""
    return len(ctx.channels) + len(ctx.patterns)


def _shard_count(ctx: Caller) -> int:
    return len(ctx.shard_channels)


# -- subscribing -----------------------------------------------------------------------------------------------------

pubsub_command = partial(command, group="pubsub", categories="pubsub")
_FLAGS = PUBSUB | NO_SCRIPT | LOADING | STALE


def _each(
    ctx: Caller,
    kind: bytes,
    names: Sequence[bytes],
    change: Callable[[Caller, bytes], None],
    count: Callable[[Caller], int],
) -> bytes:
    """Change the subscription to each name; the confirmations (one even if there is no name)."""
    confirmations = []
    for name in names:
        change(ctx, name)
        confirmations.append(confirmation(ctx, kind, name, count(ctx)))
    ctx.subscriptions_changed()
    return b"".join(confirmations) or confirmation(ctx, kind, None, count(ctx))


@pubsub_command(
    "subscribe",
    arity=-2,
    flags=_FLAGS,
    since="2.0.0",
    complexity="O(N) where N is the number of channels to subscribe to.",
    summary="Listen for messages published to the given channels",
    arguments="channel [channel ...]",
)
def subscribe(ctx: Caller, argv: list[bytes]) -> bytes:
    """SUBSCRIBE channel [channel ...]"""
    return _each(ctx, b"subscribe", argv[1:], ctx.server.pubsub.subscribe, subscription_count)


@pubsub_command(
    "unsubscribe",
    arity=-1,
    flags=_FLAGS,
    since="2.0.0",
    complexity="O(N) where N is the number of clients already subscribed to a channel.",
    summary="Stop listening for messages posted to the given channels",
    arguments="[channel [channel ...]]",
)
def unsubscribe(ctx: Caller, argv: list[bytes]) -> bytes:
    """UNSUBSCRIBE [channel [channel ...]]"""
    names = argv[1:] or list(ctx.channels)
    return _each(ctx, b"unsubscribe", names, ctx.server.pubsub.unsubscribe, subscription_count)


@pubsub_command(
    "psubscribe",
    arity=-2,
    flags=_FLAGS,
    since="2.0.0",
    complexity="O(N) where N is the number of patterns the client is already subscribed to.",
    summary="Listen for messages published to channels matching the given patterns",
    arguments="pattern [pattern ...]",
)
def psubscribe(ctx: Caller, argv: list[bytes]) -> bytes:
    """PSUBSCRIBE pattern [pattern ...]"""
    return _each(ctx, b"psubscribe", argv[1:], ctx.server.pubsub.subscribe_pattern, subscription_count)


@pubsub_command(
    "punsubscribe",
    arity=-1,
    flags=_FLAGS,
    since="2.0.0",
    complexity="O(N+M) where N is the number of patterns the client is already subscribed and M is the number of total "
    "patterns subscribed in the system (by any client).",
    summary="Stop listening for messages posted to channels matching the given patterns",
    arguments="[pattern [pattern ...]]",
)
def punsubscribe(ctx: Caller, argv: list[bytes]) -> bytes:
    """PUNSUBSCRIBE [pattern [pattern ...]]"""
    names = argv[1:] or list(ctx.patterns)
    return _each(ctx, b"punsubscribe", names, ctx.server.pubsub.unsubscribe_pattern, subscription_count)


@pubsub_command(
    "ssubscribe",
    arity=-2,
    flags=_FLAGS,
    keys=(1, -1, 1),
    since="7.0.0",
    complexity="O(N) where N is the number of shard channels to subscribe to.",
    summary="Listen for messages published to the given shard channels",
    arguments="shardchannel [shardchannel ...]",
)
def ssubscribe(ctx: Caller, argv: list[bytes]) -> bytes:
    """SSUBSCRIBE shardchannel [shardchannel ...]"""
    return _each(ctx, b"ssubscribe", argv[1:], ctx.server.pubsub.subscribe_shard, _shard_count)


@pubsub_command(
    "sunsubscribe",
    arity=-1,
    flags=_FLAGS,
    keys=(1, -1, 1),
    since="7.0.0",
    complexity="O(N) where N is the number of clients already subscribed to a shard channel.",
    summary="Stop listening for messages posted to the given shard channels",
    arguments="[shardchannel [shardchannel ...]]",
)
def sunsubscribe(ctx: Caller, argv: list[bytes]) -> bytes:
    """SUNSUBSCRIBE [shardchannel [shardchannel ...]]"""
    names = argv[1:] or list(ctx.shard_channels)
    return _each(ctx, b"sunsubscribe", names, ctx.server.pubsub.unsubscribe_shard, _shard_count)


# -- publishing ------------------------------------------------------------------------------------------------------


def _publish(ctx: Caller, argv: list[bytes], shard: bool) -> bytes:
    pubsub = ctx.server.pubsub
    count = pubsub.publish(argv[1], argv[2], shard)
    if pubsub.spread is None:
        ctx.force_replication()
        ctx.keyspace.uncounted += 1
    else:
        pubsub.spread(argv[1], argv[2], shard)
    return reply.integer(count)


@pubsub_command(
    "publish",
    arity=3,
    flags=PUBSUB | LOADING | STALE | FAST | MAY_REPLICATE,
    since="2.0.0",
    complexity="O(N+M) where N is the number of clients subscribed to the receiving channel and M is the total number "
    "of subscribed patterns (by any client).",
    summary="Post a message to a channel",
    arguments="channel message",
)
def publish(ctx: Caller, argv: list[bytes]) -> bytes:
    """PUBLISH channel message"""
    return _publish(ctx, argv, False)


@pubsub_command(
    "spublish",
    arity=3,
    flags=PUBSUB | LOADING | STALE | FAST | MAY_REPLICATE,
    keys=(1, 1, 1),
    since="7.0.0",
    complexity="O(N) where N is the number of clients subscribed to the receiving shard channel.",
    summary="Post a message to a shard channel",
    arguments="shardchannel message",
)
def spublish(ctx: Caller, argv: list[bytes]) -> bytes:
    """SPUBLISH shardchannel message"""
    return _publish(ctx, argv, True)


# -- asking ----------------------------------------------------------------------------------------------------------

container("pubsub", group="pubsub", since="2.8.0", summary="A container for Pub/Sub commands")


def _active(argv: list[bytes], channels: Iterable[bytes]) -> bytes:
    if len(argv) > 3:
        shown = argv[1][:128].decode("utf-8", "surrogateescape")
        raise CommandError(f"ERR unknown subcommand or wrong number of arguments for '{shown}'. Try PUBSUB HELP.")
    if len(argv) == 2:
        return reply.bulks(channels)
    return reply.bulks(filter(channel_matcher(argv[2]), channels))


def _numbers(argv: list[bytes], channels: dict[bytes, Subscribers]) -> bytes:
    items = []
    for channel in argv[2:]:
        items += [reply.bulk(channel), reply.integer(len(channels.get(channel, ())))]
    return reply.array(items)


@pubsub_command(
    "pubsub|channels",
    arity=-2,
    flags=PUBSUB | LOADING | STALE,
    since="2.8.0",
    complexity="O(N) where N is the number of active channels, and assuming constant time pattern matching (relatively "
    "short channels and patterns)",
    summary="List active channels",
    arguments="[pattern]",
)
def pubsub_channels(ctx: Caller, argv: list[bytes]) -> bytes:
    """PUBSUB CHANNELS [pattern]"""
    return _active(argv, ctx.server.pubsub.channels)


@pubsub_command(
    "pubsub|numsub",
    arity=-2,
    flags=PUBSUB | LOADING | STALE,
    since="2.8.0",
    complexity="O(N) for the NUMSUB subcommand, where N is the number of requested channels",
    summary="Get the count of subscribers for channels",
    arguments="[channel [channel ...]]",
)
def pubsub_numsub(ctx: Caller, argv: list[bytes]) -> bytes:
    """PUBSUB NUMSUB [channel [channel ...]]"""
    return _numbers(argv, ctx.server.pubsub.channels)


@pubsub_command(
    "pubsub|numpat",
    arity=2,
    flags=PUBSUB | LOADING | STALE,
    since="2.8.0",
    complexity="O(1)",
    summary="Get the count of unique patterns pattern subscriptions",
)
def pubsub_numpat(ctx: Caller, argv: list[bytes]) -> bytes:
    """PUBSUB NUMPAT"""
    return reply.integer(len(ctx.server.pubsub.patterns))


@pubsub_command(
    "pubsub|shardchannels",
    arity=-2,
    flags=PUBSUB | LOADING | STALE,
    since="7.0.0",
    complexity="O(N) where N is the number of active shard channels, and assuming constant time pattern matching "
    "(relatively short shard channels).",
    summary="List active shard channels",
    arguments="[pattern]",
)
def pubsub_shardchannels(ctx: Caller, argv: list[bytes]) -> bytes:
    """PUBSUB SHARDCHANNELS [pattern]"""
    return _active(argv, ctx.server.pubsub.shard_channels)


@pubsub_command(
    "pubsub|shardnumsub",
    arity=-2,
    flags=PUBSUB | LOADING | STALE,
    since="7.0.0",
    complexity="O(N) for the SHARDNUMSUB subcommand, where N is the number of requested shard channels",
    summary="Get the count of subscribers for shard channels",
    arguments="[shardchannel [shardchannel ...]]",
)
def pubsub_shardnumsub(ctx: Caller, argv: list[bytes]) -> bytes:
    """PUBSUB SHARDNUMSUB [shardchannel [shardchannel ...]]"""
    return _numbers(argv, ctx.server.pubsub.shard_channels)


_HELP = (
    "PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CHANNELS [<pattern>]",
    "    Return the currently active channels matching a <pattern> (default: '*').",
    "NUMPAT",
    "    Return number of subscriptions to patterns.",
    "NUMSUB [<channel> ...]",
    "    Return the number of subscribers for the specified channels, excluding",
    "    pattern subscriptions(default: no channels).",
    "SHARDCHANNELS [<pattern>]",
    "    Return the currently active shard level channels matching a <pattern> (default: '*').",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    Return the number of subscribers for the specified shard level channel(s)",
    "HELP",
    "    Prints this help.",
)


@command(
    "pubsub|help",
    arity=2,
    flags=LOADING | STALE,
    group="pubsub",
    since="6.2.0",
    complexity="O(1)",
    summary="Show helpful text about the different subcommands",
)
def pubsub_help(ctx: Caller, argv: list[bytes]) -> bytes:
    """PUBSUB HELP"""
    return reply.array([reply.simple(line) for line in _HELP])
