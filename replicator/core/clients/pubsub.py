"""Publish and subscribe: who of a node listens to which channels, patterns and channels of a cluster's shards.

A caller's subscriptions stand twice: in its Context (channels, patterns, shard_channels) and here by channel. Messages
go out of band (Context.push). Order is always that of subscribing.

Source: https://redis.io/docs/latest/develop/pubsub/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from replicator.core.command_table.context import Context
from replicator.core.wire import reply
from replicator.core.wire.glob import Matcher, matcher

Subscribers: TypeAlias = dict[Context, None]


class PubSub:
    """Who listens to what on one node.

    spread: set where the node belongs to a cluster: called with (channel, message, shard) for each message that a
    client publishes, to hand it to other nodes; it then is not replicated.
    """

    def __init__(self) -> None:
        self.channels: dict[bytes, Subscribers] = {}
        self.patterns: dict[bytes, tuple[Matcher, Subscribers]] = {}
        self.shard_channels: dict[bytes, Subscribers] = {}
        self.spread: Callable[[bytes, bytes, bool], None] | None = None

    # -- messages ----------------------------------------------------------------------------------------------------

    def publish(self, channel: bytes, message: bytes, shard: bool = False) -> int:
        """Send the message to all who listen to the channel; how many times it was sent."""
        subscribers = (self.shard_channels if shard else self.channels).get(channel)
        count = 0
        if subscribers:
            kind = b"smessage" if shard else b"message"
            count += _send(subscribers, b"3\r\n" + b"".join(map(reply.bulk, (kind, channel, message))))
        if shard:
            return count
        for pattern, (matches, listeners) in self.patterns.items():
            if matches(channel):
                items = (b"pmessage", pattern, channel, message)
                count += _send(listeners, b"4\r\n" + b"".join(map(reply.bulk, items)))
        return count

    # -- subscriptions -----------------------------------------------------------------------------------------------

    def subscribe(self, ctx: Context, channel: bytes) -> None:
        """Let the caller listen to a channel; to one that it listens to already, nothing happens."""
        ctx.channels[channel] = None
        self.channels.setdefault(channel, {})[ctx] = None

    def unsubscribe(self, ctx: Context, channel: bytes) -> None:
        """The caller listens to the channel no more."""
        ctx.channels.pop(channel, None)
        _leave(self.channels, channel, ctx)

    def subscribe_pattern(self, ctx: Context, pattern: bytes) -> None:
        """Let the caller listen to all channels that match."""
        ctx.patterns[pattern] = None
        entry = self.patterns.get(pattern)
        if entry is None:
            entry = self.patterns[pattern] = (channel_matcher(pattern), {})
        entry[1][ctx] = None

    def unsubscribe_pattern(self, ctx: Context, pattern: bytes) -> None:
        """The caller listens to the pattern no more; to other patterns and channels it does."""
        ctx.patterns.pop(pattern, None)
        entry = self.patterns.get(pattern)
        if entry is not None:
            entry[1].pop(ctx, None)
            if not entry[1]:
                del self.patterns[pattern]

    def subscribe_shard(self, ctx: Context, channel: bytes) -> None:
        """Let the caller listen to a channel of this node's shard."""
        ctx.shard_channels[channel] = None
        self.shard_channels.setdefault(channel, {})[ctx] = None

    def unsubscribe_shard(self, ctx: Context, channel: bytes) -> None:
        """The caller listens to the shard's channel no more."""
        ctx.shard_channels.pop(channel, None)
        _leave(self.shard_channels, channel, ctx)

    def drop(self, ctx: Context) -> None:
        """End all subscriptions of a caller that is gone (or that resets its connection) without a word."""
        for channel in list(ctx.channels):
            self.unsubscribe(ctx, channel)
        for pattern in list(ctx.patterns):
            self.unsubscribe_pattern(ctx, pattern)
        for channel in list(ctx.shard_channels):
            self.unsubscribe_shard(ctx, channel)

    def drop_shard_channels(self, gone: Callable[[bytes], bool]) -> None:
        """End the subscriptions to the shard channels of which `gone` says so (their slot moved away), and say so."""
        for channel in [channel for channel in self.shard_channels if gone(channel)]:
            for ctx in list(self.shard_channels[channel]):
                self.unsubscribe_shard(ctx, channel)
                ctx.push(confirmation(ctx, b"sunsubscribe", channel, len(ctx.shard_channels)))
                ctx.subscriptions_changed()


def channel_matcher(pattern: bytes) -> Matcher:
    """As for keys, but a star alone does not match the channel with the empty name; so it is in stock servers."""
    return bool if pattern == b"*" else matcher(pattern)


def _send(subscribers: Iterable[Context], body: bytes) -> int:
    array, push = b"*" + body, b">" + body
    count = 0
    for ctx in list(subscribers):  # a push may close its connection, which ends the subscription
        ctx.push(push if ctx.resp3 else array)
        count += 1
    return count


def _leave(channels: dict[bytes, Subscribers], channel: bytes, ctx: Context) -> None:
    subscribers = channels.get(channel)
    if subscribers is not None:
        subscribers.pop(ctx, None)
        if not subscribers:
            del channels[channel]


def confirmation(ctx: Context, kind: bytes, channel: bytes | None, count: int) -> bytes:
    """What a caller is told of a subscription that has begun or ended."""
    shown = ctx.null if channel is None else reply.bulk(channel)
    return reply.push((reply.bulk(kind), shown, reply.integer(count)), ctx.resp3)
