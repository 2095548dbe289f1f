"""Streams: effects, waiting and the clock, which random commands against a stock server cannot compare."""

from __future__ import annotations

from random import Random
from typing import Any

import hiredis
import pytest

from replicator.core.keyspace.digest import digest_keyspace
from tests.core.commands.streams.test_differential_streams import timeless
from tests.support.harness import PENDING, START, Harness
from tests.support.nodes import LocalNode
from tests.support.stream_commands import Commands

NOW = START.unix_ms


def effects(node: Harness) -> list[bytes]:
    return [b" ".join(argv) for _, argv in node.drain_effects()]


def prepared() -> Harness:
    node = Harness()
    for i in range(1, 6):
        node.call("XADD", "s", f"{i}-1", "f", "v")
    node.call("XGROUP", "CREATE", "s", "g", "0")
    node.drain_effects()
    return node


def test_an_automatic_id_is_the_clock_or_follows_the_last_one() -> None:
    node = Harness()
    assert node.call("XADD", "s", "*", "f", "v") == b"%d-0" % NOW
    assert node.call("XADD", "s", "*", "f", "v") == b"%d-1" % NOW
    node.advance(5)
    assert node.call("XADD", "s", "*", "f", "v") == b"%d-0" % (NOW + 5)
    node.advance(-1000)
    assert node.call("XADD", "s", "*", "f", "v") == b"%d-1" % (NOW + 5)
    assert effects(node)[0] == b"XADD s %d-0 f v" % NOW


@pytest.mark.parametrize(
    ("command", "effect"),
    [
        (b"XADD s 9-* f v", [b"XADD s 9-0 f v"]),
        (b"XADD s MAXLEN ~ 1 9-1 f v", [b"XADD s MAXLEN = 6 9-1 f v"]),
        (b"XADD s MAXLEN = 2 9-* f v", [b"XADD s MAXLEN = 2 9-0 f v"]),
        (b"XADD s MINID ~ 3 9-1 f v", [b"XADD s MINID = 1-1 9-1 f v"]),
        (b"XADD s MAXLEN ~ 5 LIMIT 10 9-1 f v", [b"XADD s MAXLEN = 6 LIMIT 10 9-1 f v"]),
        (b"XTRIM s MAXLEN 1", [b"XTRIM s MAXLEN 1"]),
        (b"XTRIM s MAXLEN ~ 1", []),
        (b"XTRIM s MAXLEN ~ 0", [b"XTRIM s MAXLEN = 0"]),
        (b"XTRIM s MINID ~ 99", [b"XTRIM s MINID = 18446744073709551615-18446744073709551615"]),
        (b"XDEL s 77", []),
        (b"XGROUP CREATE s h $", [b"XGROUP CREATE s h $"]),
        (b"XGROUP CREATECONSUMER s g c", [b"XGROUP CREATECONSUMER s g c"]),
        (b"XGROUP DESTROY s none", []),
        (
            b"XREADGROUP GROUP g c COUNT 2 STREAMS s >",
            [
                b"XCLAIM s g c 0 1-1 TIME %d RETRYCOUNT 1 FORCE JUSTID LASTID 1-1" % NOW,
                b"XCLAIM s g c 0 2-1 TIME %d RETRYCOUNT 1 FORCE JUSTID LASTID 2-1" % NOW,
            ],
        ),
        (
            b"XREADGROUP GROUP g c NOACK COUNT 2 STREAMS s >",
            [b"XGROUP CREATECONSUMER s g c", b"XGROUP SETID s g 2-1 ENTRIESREAD 2"],
        ),
        (b"XREADGROUP GROUP g c STREAMS s 0", []),
        (b"XCLAIM s g c 0 1-1 LASTID 6-0", [b"XGROUP SETID s g 6-0 ENTRIESREAD -1"]),
        (
            b"XCLAIM s g c 0 1-1 FORCE RETRYCOUNT 7 LASTID 3-0",
            [b"XCLAIM s g c 0 1-1 TIME %d RETRYCOUNT 7 FORCE JUSTID LASTID 3-0" % NOW],
        ),
    ],
)
def test_replicas_are_told_what_a_stock_primary_tells_them(command: bytes, effect: list[bytes]) -> None:
    node = prepared()
    node.call(*command.split())
    assert effects(node) == effect


def test_a_claim_of_deleted_entries_is_told_as_a_claim_by_their_old_consumer() -> None:
    node = prepared()
    node.call("XREADGROUP", "GROUP", "g", "old", "COUNT", 2, "STREAMS", "s", ">")
    node.call("XDEL", "s", "1-1")
    node.drain_effects()
    node.advance(10)
    assert node.call("XAUTOCLAIM", "s", "g", "new", 5, 0) == [b"0-0", [[b"2-1", [b"f", b"v"]]], [b"1-1"]]
    assert effects(node) == [
        b"XCLAIM s g old 0 1-1 TIME %d RETRYCOUNT 1 FORCE JUSTID LASTID 2-1" % NOW,
        b"XCLAIM s g new 0 2-1 TIME %d RETRYCOUNT 2 FORCE JUSTID LASTID 2-1" % (NOW + 10),
    ]


def without_local_state(full: Any) -> Any:
    """XINFO STREAM FULL without what a stock 7.0 primary keeps to itself: how much was read, and idle consumers."""
    plain = timeless(full)
    groups = plain[plain.index(b"groups") + 1]
    for group in groups:
        group[group.index(b"entries-read") + 1] = group[group.index(b"lag") + 1] = None
        # deliveries that reading one's own history counts are not told either
        for entry in group[group.index(b"pending") + 1]:
            entry[-1] = 0
        at = group.index(b"consumers") + 1
        group[at] = [consumer[1] for consumer in group[at] if consumer[consumer.index(b"pel-count") + 1]]
    return plain


@pytest.mark.parametrize("seed", range(8))
def test_the_effects_of_random_commands_make_the_same_streams_and_groups_on_a_replica(seed: int) -> None:
    primary, replica = Harness(), Harness()
    primary.first.deny_blocking = True
    replica.first.is_primary_link = True
    for argv in [[b"SET", b"txt", b"1"], *Commands(Random(seed)).take(500)]:
        primary.call(*argv)
        for _, effect in primary.drain_effects():
            answer = replica.call(*effect)
            assert not isinstance(answer, hiredis.ReplyError), (argv, effect, answer)
    assert digest_keyspace(replica.keyspace) == digest_keyspace(primary.keyspace)
    for key in (b"s", b"t", b"u"):
        ours, theirs = (node.call("XINFO", "STREAM", key, "FULL", "COUNT", 0) for node in (primary, replica))
        if isinstance(ours, list):
            assert without_local_state(theirs)[14:] == without_local_state(ours)[14:]


def test_a_reader_waits_for_entries_behind_the_end_as_it_was() -> None:
    node = prepared()
    reader = node.caller()
    assert node.call("XREAD", "BLOCK", 0, "STREAMS", "s", "t", "$", "$", ctx=reader) == PENDING
    node.call("XDEL", "s", "5-1")
    assert node.unblocked(reader) == []
    node.call("XADD", "s", "6-1", "a", "b")
    assert node.unblocked(reader) == [[[b"s", [[b"6-1", [b"a", b"b"]]]]]]


def test_a_wait_for_entries_ends_with_a_null_array() -> None:
    node = prepared()
    assert node.call("XREAD", "BLOCK", 20, "STREAMS", "s", "$") == PENDING
    node.advance(20)
    assert node.unblocked(node.first) == [None]


def test_waiting_consumers_are_served_in_their_order() -> None:
    node = Harness()
    node.call("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    first, second = node.caller(), node.caller()
    for name, ctx in (("one", first), ("two", second)):
        assert node.call("XREADGROUP", "GROUP", "g", name, "BLOCK", 0, "STREAMS", "s", ">", ctx=ctx) == PENDING
    node.call("XADD", "s", "1-1", "f", "v")
    assert node.unblocked(first) == [[[b"s", [[b"1-1", [b"f", b"v"]]]]]]
    assert node.unblocked(second) == []
    node.call("XADD", "s", "2-1", "f", "v")
    assert node.unblocked(second) == [[[b"s", [[b"2-1", [b"f", b"v"]]]]]]
    assert [len(consumer.pending) for consumer in node.first.db.values[b"s"].groups[b"g"].consumers.values()] == [1, 1]


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        (("DEL", "s"), "UNBLOCKED the stream key no longer exists"),
        (("SET", "s", "x"), "UNBLOCKED the stream key no longer exists"),
        (
            ("XGROUP", "DESTROY", "s", "g"),
            "NOGROUP the consumer group this client was blocked on no longer exists",
        ),
    ],
)
def test_a_consumer_hears_why_its_wait_is_in_vain(ending: tuple[str, ...], text: str) -> None:
    node = prepared()
    node.call("XGROUP", "SETID", "s", "g", "$")
    consumer = node.caller()
    assert node.call("XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", "s", ">", ctx=consumer) == PENDING
    node.call(*ending)
    (answer,) = node.unblocked(consumer)
    assert isinstance(answer, hiredis.ReplyError)
    assert str(answer) == text


def test_idle_times_count_from_the_last_delivery() -> None:
    node = prepared()
    node.call("XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "STREAMS", "s", ">")
    node.advance(300)
    assert node.call("XPENDING", "s", "g", "-", "+", 10) == [[b"1-1", b"c", 300, 1]]
    assert node.call("XPENDING", "s", "g", "IDLE", 301, "-", "+", 10) == []
    assert node.call("XCLAIM", "s", "g", "d", 301, "1-1") == []
    assert node.call("XCLAIM", "s", "g", "d", 300, "1-1", "JUSTID") == [b"1-1"]
    assert node.call("XPENDING", "s", "g", "-", "+", 10) == [[b"1-1", b"d", 0, 1]]
    assert node.call("XINFO", "CONSUMERS", "s", "g")[0] == [b"name", b"c", b"pending", 0, b"idle", 300]


def test_reading_groups_wakes_no_watcher_but_adding_does() -> None:
    node = prepared()
    watcher = node.caller()
    node.first.db.watched[b"s"] = {watcher: None}
    node.first.db.rehook()
    node.call("XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">")
    node.call("XACK", "s", "g", "1-1")
    node.call("XGROUP", "DESTROY", "s", "g")
    assert not watcher.dirty_watch
    node.call("XDEL", "s", "1-1")
    assert watcher.dirty_watch


def test_a_replica_obeys_a_limit_with_exact_trimming_that_a_client_may_not_send() -> None:
    node = prepared()
    command = ("XADD", "s", "MAXLEN", "=", 2, "LIMIT", 100, "9-1", "f", "v")
    assert isinstance(node.call(*command), hiredis.ReplyError)
    node.first.is_primary_link = True
    assert node.call(*command) == b"9-1"
    assert node.call("XLEN", "s") == 2


def test_a_lag_is_what_there_is_to_read_or_unknown() -> None:
    known = 0
    for seed in range(60):
        chance = Random(seed)
        client = LocalNode(seed=seed).open()
        client.send("XADD", "s", "1-1", "f", "v")
        client.send("XGROUP", "CREATE", "s", "g", chance.choice(["0", "$", "1-1"]))
        newest = 1
        for _ in range(chance.randint(3, 25)):
            some = f"{chance.randint(1, newest)}-1"
            step = chance.choice(["add", "add", "read", "read", "delete", "delete", "length", "before", "set"])
            if step == "add":
                newest += 1
                client.send("XADD", "s", f"{newest}-1", "f", "v")
            elif step == "read":
                client.send("XREADGROUP", "GROUP", "g", "c", "COUNT", chance.randint(1, 4), "STREAMS", "s", ">")
            elif step == "delete":
                client.send("XDEL", "s", some)
            elif step == "length":
                client.send("XTRIM", "s", "MAXLEN", chance.randint(0, newest))
            elif step == "before":
                client.send("XTRIM", "s", "MINID", some)
            else:
                client.send("XGROUP", "SETID", "s", "g", chance.choice(["0", "$", some]))
            (group,) = client.send("XINFO", "GROUPS", "s")
            told = dict(zip(group[::2], group[1::2], strict=True))
            left = client.send("XRANGE", "s", b"(" + told[b"last-delivered-id"], "+")
            assert told[b"lag"] in (None, len(left))
            known += told[b"lag"] is not None
    assert known > 300


def test_a_lag_of_deleted_entries_is_not_what_was_added_and_not_read() -> None:
    client = LocalNode().open()
    for number in range(1, 5):
        client.send("XADD", "s", f"{number}-1", "f", "v")
    client.send("XGROUP", "CREATE", "s", "g", "0")
    client.send("XREADGROUP", "GROUP", "g", "c", "COUNT", 2, "STREAMS", "s", ">")
    client.send("XDEL", "s", "1-1", "2-1", "3-1")
    (group,) = client.send("XINFO", "GROUPS", "s")
    assert group[group.index(b"lag") + 1] in (None, 1)  # Redis 7.0: 2
