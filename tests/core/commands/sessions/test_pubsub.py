"""Publish and subscribe: who hears what, in which form, and how it is confirmed; keyspace notifications."""

from __future__ import annotations

import os
from random import Random
from typing import Any

import pytest

from replicator.core.keyspace.database import NOTIFY_GENERIC, NOTIFY_KEY_MISS, NOTIFY_NEW, NOTIFY_STRING
from replicator.core.keyspace.notifications import (
    NOTIFY_KEYEVENT,
    NOTIFY_KEYSPACE,
    configure,
    format_classes,
    notify,
    parse_classes,
)
from tests.support.harness import Harness, HarnessContext
from tests.support.observed import TypedWire, parse
from tests.support.stock import Wire, binary, running

LONG = bool(os.environ.get("REPLICATOR_LONG"))


class Client(HarnessContext):
    """A caller whose replies and pushes lie in one row, with their types."""

    def __init__(self, node: Harness, protocol: int = 2) -> None:
        super().__init__(node.server, node.keyspace)
        self.node = node
        self.use_protocol(protocol)
        self.changes = 0
        self.sent = b""

    def push(self, data: bytes) -> None:
        self.sent += data

    def subscriptions_changed(self) -> None:
        self.changes += 1

    def call(self, *argv: bytes | str) -> list[Any]:
        """All that came since the last look, the reply to this command at its end."""
        answer = self.node.raw(*argv, ctx=self)  # which may push first
        self.sent += answer
        return self.take()

    def take(self) -> list[Any]:
        found = []
        while self.sent:
            value, end = parse(self.sent)
            self.sent = self.sent[end:]
            found.append(value)
        return found


@pytest.fixture
def node() -> Harness:
    return Harness()


def line(kind: bytes, *items: bytes | int | None) -> Any:
    """A confirmation or message as the client gets it."""
    return kind, [(b":", b"%d" % item) if isinstance(item, int) else (b"$", item) for item in items]


# -- confirmations ---------------------------------------------------------------------------------------------------


def test_each_channel_is_confirmed_with_the_number_of_channels_and_patterns(node: Harness) -> None:
    client = Client(node)
    assert client.call("SUBSCRIBE", "a", "b", "a") == [
        line(b"*", b"subscribe", b"a", 1),
        line(b"*", b"subscribe", b"b", 2),
        line(b"*", b"subscribe", b"a", 2),
    ]
    assert client.call("PSUBSCRIBE", "x*") == [line(b"*", b"psubscribe", b"x*", 3)]
    assert client.call("SSUBSCRIBE", "s") == [line(b"*", b"ssubscribe", b"s", 1)]
    assert client.call("UNSUBSCRIBE") == [
        line(b"*", b"unsubscribe", b"a", 2),
        line(b"*", b"unsubscribe", b"b", 1),
    ]
    assert client.call("PUNSUBSCRIBE", "x*", "none") == [
        line(b"*", b"punsubscribe", b"x*", 0),
        line(b"*", b"punsubscribe", b"none", 0),
    ]
    assert client.call("SUNSUBSCRIBE") == [line(b"*", b"sunsubscribe", b"s", 0)]
    assert client.changes == 6


@pytest.mark.parametrize("command", ["unsubscribe", "punsubscribe", "sunsubscribe"])
def test_ending_no_subscription_at_all_is_confirmed_with_a_null(node: Harness, command: str) -> None:
    name = command.encode()
    head = b"$%d\r\n%b\r\n" % (len(name), name)
    assert node.raw(command) == b"*3\r\n" + head + b"$-1\r\n:0\r\n"
    node.first.use_protocol(3)
    assert node.raw(command) == b">3\r\n" + head + b"_\r\n:0\r\n"


# -- messages --------------------------------------------------------------------------------------------------------


def test_a_message_reaches_its_channel_then_the_patterns_in_the_order_of_subscribing(node: Harness) -> None:
    first, second, other = Client(node), Client(node, 3), Client(node)
    second.call("PSUBSCRIBE", "n?ws", "*")
    first.call("SUBSCRIBE", "news")
    second.call("SUBSCRIBE", "news")
    other.call("SUBSCRIBE", "weather")
    assert node.call("PUBLISH", "news", "hello") == 4
    assert first.take() == [line(b"*", b"message", b"news", b"hello")]
    assert second.take() == [
        line(b">", b"message", b"news", b"hello"),
        line(b">", b"pmessage", b"n?ws", b"news", b"hello"),
        line(b">", b"pmessage", b"*", b"news", b"hello"),
    ]
    assert other.take() == []


def test_a_publisher_that_listens_gets_its_message_before_the_reply(node: Harness) -> None:
    client = Client(node, 3)
    client.call("SUBSCRIBE", "a")
    assert client.call("PUBLISH", "a", "x") == [line(b">", b"message", b"a", b"x"), (b":", b"1")]


def test_shard_channels_are_a_world_of_their_own(node: Harness) -> None:
    client = Client(node)
    client.call("SUBSCRIBE", "a")
    client.call("PSUBSCRIBE", "*")
    client.call("SSUBSCRIBE", "a")
    assert node.call("SPUBLISH", "a", "x") == 1
    assert client.take() == [line(b"*", b"smessage", b"a", b"x")]
    assert node.call("PUBLISH", "a", "x") == 2
    assert node.call("PUBSUB", "CHANNELS") == [b"a"]
    assert node.call("PUBSUB", "SHARDNUMSUB", "a", "b") == [b"a", 1, b"b", 0]


def test_messages_are_replicated_as_sent_unless_a_cluster_spreads_them(node: Harness) -> None:
    node.call("PUBLISH", "a", "x")
    node.call("SPUBLISH", "b", "y")
    assert [argv for _, argv in node.drain_effects()] == [[b"PUBLISH", b"a", b"x"], [b"SPUBLISH", b"b", b"y"]]
    spread: list[tuple[bytes, bytes, bool]] = []
    node.server.pubsub.spread = lambda *message: spread.append(message)
    node.call("PUBLISH", "a", "x")
    node.call("SPUBLISH", "b", "y")
    assert node.drain_effects() == []
    assert spread == [(b"a", b"x", False), (b"b", b"y", True)]


# -- the end of subscriptions ----------------------------------------------------------------------------------------


def test_a_caller_that_is_gone_leaves_nothing_behind(node: Harness) -> None:
    pubsub = node.server.pubsub
    gone, stays = Client(node), Client(node)
    for client in (gone, stays):
        client.call("SUBSCRIBE", "a")
    gone.call("SUBSCRIBE", "b")
    gone.call("PSUBSCRIBE", "p*")
    gone.call("SSUBSCRIBE", "s")
    pubsub.drop(gone)
    assert gone.take() == []
    assert (gone.channels, gone.patterns, gone.shard_channels) == ({}, {}, {})
    assert pubsub.channels == {b"a": {stays: None}}
    assert pubsub.patterns == {}
    assert pubsub.shard_channels == {}
    assert node.call("PUBLISH", "a", "x") == 1


def test_a_slot_that_moves_away_ends_the_subscriptions_to_its_channels(node: Harness) -> None:
    client = Client(node, 3)
    client.call("SSUBSCRIBE", "a", "b")
    node.server.pubsub.drop_shard_channels(lambda channel: channel == b"a")
    assert client.take() == [line(b">", b"sunsubscribe", b"a", 1)]
    assert client.changes == 2
    assert node.call("SPUBLISH", "a", "x") == 0
    assert node.call("SPUBLISH", "b", "x") == 1


def test_a_push_that_closes_its_connection_disturbs_no_other_receiver(node: Harness) -> None:
    class Closing(Client):
        def push(self, data: bytes) -> None:
            self.server.pubsub.drop(self)

    closing, other = Closing(node), Client(node)
    for client in (closing, other):
        client.call("SUBSCRIBE", "a")
        client.call("PSUBSCRIBE", "*")
    assert node.call("PUBLISH", "a", "x") == 3
    assert len(other.take()) == 2


# -- keyspace notifications ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", ""),
        ("KEA", "AKE"),
        ("g$lshzxetmdnKE", "AKEm"),
        ("Elg", "glE"),
        ("Kg$lshzxet", "g$lshzxetK"),
        ("AKn", "AK"),
        ("mAd", "Am"),
        ("KEmnxetd", "xetdnKEm"),
        ("K", "K"),
    ],
)
def test_event_classes_are_written_in_the_order_of_redis_7(text: str, canonical: str) -> None:
    flags = parse_classes(text)
    assert flags is not None
    assert format_classes(flags) == canonical


def test_an_unknown_event_class_is_refused() -> None:
    assert parse_classes("KEQ") is None


def test_a_notification_goes_to_the_channels_of_the_key_and_of_the_event() -> None:
    sent: list[tuple[bytes, bytes]] = []

    def publish(channel: bytes, message: bytes) -> None:
        sent.append((channel, message))

    notify(publish, NOTIFY_KEYSPACE | NOTIFY_KEYEVENT | NOTIFY_STRING, 3, NOTIFY_STRING, b"set", b"k")
    assert sent == [(b"__keyspace@3__:k", b"set"), (b"__keyevent@3__:set", b"k")]
    sent.clear()
    notify(publish, NOTIFY_KEYEVENT | NOTIFY_STRING, 0, NOTIFY_STRING, b"set", b"k")
    notify(publish, NOTIFY_KEYEVENT | NOTIFY_STRING, 0, NOTIFY_GENERIC, b"del", b"k")
    assert sent == [(b"__keyevent@0__:set", b"k")]


def test_a_subscriber_hears_of_the_changes_that_are_configured(node: Harness) -> None:
    client = Client(node)
    client.call("PSUBSCRIBE", "__key*")
    configure(node.keyspace, node.server.pubsub.publish, "KEl")
    node.call("SET", "s", "x")
    node.call("RPUSH", "l", "x")
    assert client.take() == [
        line(b"*", b"pmessage", b"__key*", b"__keyspace@0__:l", b"rpush"),
        line(b"*", b"pmessage", b"__key*", b"__keyevent@0__:rpush", b"l"),
    ]
    configure(node.keyspace, node.server.pubsub.publish, "A")
    assert node.keyspace.notify_flags == 0
    node.call("RPUSH", "l", "x")
    assert client.take() == []
    configure(node.keyspace, node.server.pubsub.publish, "Enm")
    assert node.keyspace.notify_flags == NOTIFY_NEW | NOTIFY_KEY_MISS
    node.call("RPUSH", "l", "x")
    node.call("RPUSH", "fresh", "x")
    node.call("LLEN", "missing")
    assert [items[2:] for _, items in client.take()] == [
        [(b"$", b"__keyevent@0__:new"), (b"$", b"fresh")],
        [(b"$", b"__keyevent@0__:keymiss"), (b"$", b"missing")],
    ]


# -- beside a stock server -------------------------------------------------------------------------------------------

CHANNELS = (b"a", b"ab", b"b", b"news.x", b"", b"\r\n")
PATTERNS = (b"a*", b"*", b"?", b"news.[xy]", b"b", b"")


class Pair:
    """The same clients on a stock server and on a harness node."""

    def __init__(self, port: int, clients: int) -> None:
        self.control = Wire(port)
        node = Harness()
        self.ours = [Client(node, 2 + at % 2) for at in range(clients)]
        self.theirs = [TypedWire(port) for _ in range(clients)]
        for client, wire in zip(self.ours, self.theirs, strict=True):
            wire.call(b"HELLO", b"%d" % (3 if client.resp3 else 2))

    def step(self, at: int, argv: list[bytes]) -> None:
        self.theirs[at].send([argv])
        answer = self.ours[at].node.raw(*argv, ctx=self.ours[at])
        self.ours[at].sent += answer
        self.control.call("PING")
        self.control.call("PING")
        for who, (client, wire) in enumerate(zip(self.ours, self.theirs, strict=True)):
            ours, theirs = _settled(client.take()), _settled(wire.waiting())
            assert ours == theirs, f"client {who} after {at}: {argv!r}: ours {ours!r}, stock {theirs!r}"

    def close(self) -> None:
        for wire in self.theirs:
            wire.close()
        while self.control.call("PUBSUB", "NUMPAT") or self.control.call("PUBSUB", "CHANNELS"):
            pass  # the server has not yet noticed that its clients are gone
        self.control.close()


def _settled(answers: list[Any]) -> Any:
    """What stock tells in the order of its hash tables (patterns, channels of UNSUBSCRIBE) in one order."""
    names = [answer[1][0][1] for answer in answers if answer[0] in b"*>" and answer[1] and answer[1][0][0] == b"$"]
    if len(answers) > 1 and any(name and name.endswith(b"unsubscribe") for name in names):
        return sorted(repr(answer[1][:2]) for answer in answers), [answer[1][2:] for answer in answers]
    if b"pmessage" in names:
        return sorted(map(repr, answers))
    if len(answers) == 1 and answers[0][0] == b"*" and names and names[0] in CHANNELS and len(names) == 1:
        return sorted(map(repr, answers[0][1]))
    return answers


def _draw(chance: Random, client: Client) -> list[bytes]:
    pick = chance.choice
    some = [pick(CHANNELS) for _ in range(chance.randint(1, 3))]
    patterns = [pick(PATTERNS) for _ in range(chance.randint(1, 2))]
    changes: list[list[bytes]] = [
        [b"SUBSCRIBE", *some],
        [b"PSUBSCRIBE", *patterns],
        [b"SSUBSCRIBE", *some],
        [b"UNSUBSCRIBE", *(some if chance.random() < 0.6 else ())],
        [b"PUNSUBSCRIBE", *(patterns if chance.random() < 0.6 else ())],
        [b"SUNSUBSCRIBE", *(some if chance.random() < 0.6 else ())],
    ]
    if (client.channels or client.patterns or client.shard_channels) and not client.resp3:
        return pick(changes)
    asking: list[list[bytes]] = [
        *[[b"PUBLISH", pick(CHANNELS), b"message"]] * 6,
        *[[b"SPUBLISH", pick(CHANNELS), b"message"]] * 2,
        [b"PUBSUB", b"NUMSUB", *some],
        [b"PUBSUB", b"shardnumsub", *some],
        [b"PUBSUB", b"NUMPAT"],
        [b"PUBSUB", b"CHANNELS", pick((b"a*", b"*", b"zz"))],
        [b"PUBSUB", b"SHARDCHANNELS"],
        [b"PUBSUB", b"channels", b"a", b"b"],
        [b"PUBSUB", b"HELP"],
    ]
    return pick(changes) if chance.random() < 0.35 else pick(asking)


@pytest.mark.skipif(not binary("redis7"), reason="no Redis 7.0 here")
def test_clients_that_publish_and_subscribe_at_random_hear_what_those_of_redis_7_hear() -> None:
    with running("redis7") as port:
        for seed in range(200 if LONG else 8):
            pair = Pair(port, 5)
            chance = Random(seed)
            try:
                for _ in range(150):
                    at = chance.randrange(5)
                    pair.step(at, _draw(chance, pair.ours[at]))
            finally:
                pair.close()
