"""client-output-buffer-limit closes a client during the command that goes beyond it. Asked of Redis 7.0.15."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.nodes import NOTHING, LocalNode

HARD = "normal 100000 0 0"


def node_with_data() -> LocalNode:
    node = LocalNode()
    client = node.open()
    for number in range(1000):
        client.send("SET", f"key{number}" + "x" * 150, "v" * 500)
    client.send("HSET", "h", "f", "v" * 100)
    client.send("SET", "marker", 0)
    return node


KEY = "key1" + "x" * 150


@pytest.mark.parametrize(
    ("commands", "marker"),
    [
        ([("KEYS", "*"), ("SET", "marker", 1)], b"0"),
        ([("PING",), ("KEYS", "*"), ("SET", "marker", 1)], b"0"),
        ([("HRANDFIELD", "h", -100000), ("SET", "marker", 1)], b"0"),
        ([*[("GET", KEY)] * 300, ("SET", "marker", 1)], b"0"),
        ([("MULTI",), ("KEYS", "*"), ("SET", "marker", 1), ("EXEC",), ("SET", "marker", 2)], b"1"),
        ([("EVAL", "local k = redis.call('keys', '*') redis.call('set', 'marker', 5) return k", 0)], b"5"),
    ],
)
def test_a_reply_beyond_the_limit_closes_the_client_and_is_not_sent(commands: list[Any], marker: bytes) -> None:
    node = node_with_data()
    other = node.open()
    assert other.send("CONFIG", "SET", "client-output-buffer-limit", HARD) == b"OK"
    client = node.open()
    assert client.pipeline(*commands) == []
    node.advance(100)  # an answer that is made in parts takes its turns
    assert client.read() == []
    assert client.closed
    assert other.send("GET", "marker") == marker
    assert any("for overcoming of output buffer limits" in line for line in node.log)


def test_a_soft_limit_takes_its_time() -> None:
    node = node_with_data()
    client = node.open()
    client.send("CONFIG", "SET", "client-output-buffer-limit", "normal 0 100000 1")
    assert len(client.send("KEYS", "*")) == 1002
    assert not client.closed


def test_a_message_beyond_the_limit_closes_the_subscriber_be_it_the_publisher_itself() -> None:
    node = node_with_data()
    publisher = node.open()
    publisher.send("CONFIG", "SET", "client-output-buffer-limit", "pubsub 100000 0 0")
    subscriber, both = node.open(), node.open()
    subscriber.send("SUBSCRIBE", "c")
    assert publisher.send("PUBLISH", "c", "x" * 200_000) == 1
    assert subscriber.closed
    assert subscriber.reader.gets() is NOTHING
    both.send("HELLO", 3)
    both.send("SUBSCRIBE", "c")
    assert both.pipeline(("PUBLISH", "c", "x" * 200_000), ("SET", "marker", 1)) == []
    assert both.closed
    assert publisher.send("GET", "marker") == b"0"


def test_what_a_waiting_client_is_served_counts_too() -> None:
    node = node_with_data()
    client, waiting = node.open(), node.open()
    client.send("CONFIG", "SET", "client-output-buffer-limit", HARD)
    waiting.send("BLPOP", "l", 0)
    client.send("RPUSH", "l", "x" * 200_000)
    assert waiting.closed
    assert waiting.reader.gets() is NOTHING
    assert client.send("LLEN", "l") == 0
