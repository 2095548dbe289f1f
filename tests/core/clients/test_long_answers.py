"""Answers in parts: SRANDMEMBER, HRANDFIELD and ZRANDMEMBER with counts far below zero."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from replicator.core import limits
from replicator.core.events import OutputPending
from tests.support.harness import Harness
from tests.support.nodes import NOTHING, LocalClient, LocalNode
from tests.support.servers import Server, until
from tests.support.stock import Wire, running

MANY = 3 * limits.PART_MEMBERS + 5
NAMES = ("SRANDMEMBER", "HRANDFIELD", "ZRANDMEMBER")
FORMS = [
    ("SRANDMEMBER", "s"),
    ("HRANDFIELD", "h"),
    ("HRANDFIELD", "h", "WITHVALUES"),
    ("ZRANDMEMBER", "z"),
    ("ZRANDMEMBER", "z", "WITHSCORES"),
]


def fill(client: Any) -> None:
    """Three collections of a, b, c with 1, 2, 3."""
    client("SADD", "s", "a", "b", "c")
    client("HSET", "h", "a", "1", "b", "2", "c", "3")
    client("ZADD", "z", "1", "a", "2", "b", "3", "c")


def node_with_data() -> tuple[LocalNode, LocalClient, LocalClient]:
    node = LocalNode()
    client, other = node.open(), node.open()
    fill(other.send)
    return node, client, other


def asked(form: tuple[str, ...], count: int) -> tuple[str | int, ...]:
    return (form[0], form[1], count, *form[2:])


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("form", FORMS)
def test_a_long_answer_is_whole_and_even(form: tuple[str, ...], protocol: int) -> None:
    node, client, _ = node_with_data()
    client.send("HELLO", protocol)
    assert client.send(*asked(form, -MANY)) is NOTHING
    node.advance(100)
    (answer,) = client.read()
    if len(form) > 2 and protocol == 2:
        answer = list(zip(answer[::2], answer[1::2], strict=True))
    members = Counter(one if len(form) == 2 else tuple(one) for one in answer)
    assert members.total() == MANY and len(members) == 3
    assert all(abs(seen - MANY / 3) < MANY / 30 for seen in members.values())  # ten deviations
    if form[-1] == "WITHVALUES" or (form[-1] == "WITHSCORES" and protocol == 2):
        assert set(members) == {(b"a", b"1"), (b"b", b"2"), (b"c", b"3")}
    elif form[-1] == "WITHSCORES":
        assert set(members) == {(b"a", 1.0), (b"b", 2.0), (b"c", 3.0)}
    else:
        assert set(members) == {b"a", b"b", b"c"}
    assert client.send("PING") == b"PONG"


@pytest.mark.parametrize("name", ["SRANDMEMBER", "HRANDFIELD", "ZRANDMEMBER"])
def test_a_collection_larger_than_a_part_is_answered_from_all_of_it(name: str) -> None:
    node = LocalNode()
    client = node.open()
    size = limits.PART_MEMBERS + 100
    for number in range(size):
        client.send("SADD", "SRANDMEMBER", number)
        client.send("HSET", "HRANDFIELD", number, 1)
        client.send("ZADD", "ZRANDMEMBER", 1, number)
    client.send(name, name, -10 * size)
    node.advance(200)
    (answer,) = client.read()
    assert len(answer) == 10 * size
    seen = set(answer)
    assert seen <= {b"%d" % number for number in range(size)} and len(seen) > 0.99 * size


def test_others_are_served_between_the_parts_and_see_what_they_write() -> None:
    node, client, other = node_with_data()
    client.send("ZRANDMEMBER", "z", -20_000_000, "WITHSCORES")
    for at in range(20):
        node.advance(1)
        assert client.reader.gets() is NOTHING
        assert other.send("ZADD", "z", at, f"new{at}") == 1
    assert other.send("FLUSHALL") == b"OK"
    assert node.node.long_answers.lines
    client.close()
    assert not node.node.long_answers.lines and not node.node.waiting.blocked
    node.advance(20)
    assert node.node.long_answers.due_ms is None


def test_a_client_that_is_killed_has_no_more_made_for_it() -> None:
    node, client, other = node_with_data()
    number = client.send("CLIENT", "ID")
    client.pipeline(("ZRANDMEMBER", "z", -20_000_000), ("SET", "mine", 1))
    node.advance(2)
    assert other.send("CLIENT", "KILL", "ID", number) == 1
    assert client.closed and not node.node.long_answers.lines and not node.node.waiting.blocked
    node.advance(20)
    assert other.send("GET", "mine") is None and node.node.long_answers.due_ms is None


def test_an_answer_is_of_the_collection_as_it_was() -> None:
    node, client, other = node_with_data()
    client.send("HRANDFIELD", "h", -MANY, "WITHVALUES")
    node.advance(1)
    other.send("HSET", "h", "a", "9", "new", "9")
    other.send("HDEL", "h", "b")
    node.advance(100)
    (answer,) = client.read()
    assert set(zip(answer[::2], answer[1::2], strict=True)) == {(b"a", b"1"), (b"b", b"2"), (b"c", b"3")}


def test_later_commands_and_messages_come_behind_the_answer() -> None:
    node, client, other = node_with_data()
    client.send("HELLO", 3)
    client.send("SUBSCRIBE", "news")
    client.send("CLIENT", "TRACKING", "ON", "BCAST")
    client.read()
    assert client.pipeline(("SRANDMEMBER", "s", -MANY), ("SET", "mine", 1), ("SRANDMEMBER", "s", -MANY)) == []
    node.advance(1)
    client.receive(b"GET mine\r\n")
    assert other.send("PUBLISH", "news", "first") == 1
    assert other.send("SET", "key", 1) == b"OK"
    assert other.send("GET", "mine") is None
    node.advance(200)
    told = client.read()
    kinds = [len(one) if isinstance(one, list) and len(one) == MANY else one for one in told]
    assert kinds[0] == MANY
    assert [b"message", b"news", b"first"] in kinds[1:3] and [b"invalidate", [b"key"]] in kinds[1:3]
    assert kinds[3] == b"OK"
    assert MANY in kinds[4:] and kinds[-1] == b"1"


def test_many_long_answers_share_the_turns() -> None:
    node, _, other = node_with_data()
    clients = [node.open() for _ in range(10)]
    for client in clients:
        client.send("SRANDMEMBER", "s", -MANY)
    for turn in range(1, 12):
        node.handle(OutputPending(clients[0].conn, 0))
        before = [client.session.total_sent for client in clients]
        node.advance(1)
        moved = [client for client, sent in zip(clients, before, strict=True) if client.session.total_sent > sent]
        assert len(moved) <= 2, turn  # at most one a turn: two fall into the first millisecond
    assert all(client.session.total_sent for client in clients)
    node.advance(200)
    assert [len(client.read()[0]) for client in clients] == [MANY] * 10
    assert other.send("PING") == b"PONG"


def test_nothing_is_made_for_who_has_not_taken_what_it_was_sent() -> None:
    node, client, _ = node_with_data()
    client.send("SRANDMEMBER", "s", -MANY)
    node.advance(1)
    node.handle(OutputPending(client.conn, limits.PARTS_AHEAD_BYTES + 1))
    sent = client.session.total_sent
    node.advance(1000)
    assert client.session.total_sent == sent
    node.handle(OutputPending(client.conn, 0))
    node.advance(100)
    assert len(client.read()[0]) == MANY


def test_who_takes_nothing_of_a_long_answer_is_idle() -> None:
    node, client, other = node_with_data()
    other.send("CONFIG", "SET", "timeout", 5)
    client.send("SRANDMEMBER", "s", -MANY)
    node.advance(1)
    node.handle(OutputPending(client.conn, limits.PARTS_AHEAD_BYTES + 1))
    node.advance(10_000)
    assert client.closed and not node.node.long_answers.lines


def test_long_members_make_small_parts() -> None:
    node = LocalNode()
    client = node.open()
    client.send("SADD", "s", "x" * 50_000, "y" * 50_000)
    client.send("SRANDMEMBER", "s", -limits.PART_MEMBERS - 1)
    sent = client.session.total_sent
    node.advance(0)
    assert 0 < client.session.total_sent - sent < limits.PART_BYTES + 50_100
    assert client.session.blocked is not None
    client.close()


@pytest.mark.parametrize("form", FORMS)
def test_where_an_answer_cannot_go_out_in_parts_the_bound_stays(form: tuple[str, ...]) -> None:
    _, client, _ = node_with_data()
    client.send("MULTI")
    client.send(*asked(form, -limits.MAX_RANDOM_MEMBERS - 1))
    client.send(*asked(form, -limits.PART_MEMBERS - 1))
    refused, answered = client.send("EXEC")
    assert str(refused) == "ERR value is out of range"
    assert len(answered) == (limits.PART_MEMBERS + 1) * (len(form) - 1)
    words = ", ".join(f"'{word}'" for word in asked(form, -limits.MAX_RANDOM_MEMBERS - 1))
    assert str(client.send("EVAL", f"return redis.call({words})", 0)).startswith("ERR value is out of range")
    words = ", ".join(f"'{word}'" for word in asked(form, -limits.PART_MEMBERS - 1))
    assert client.send("EVAL", f"return #redis.call({words})", 0) == (limits.PART_MEMBERS + 1) * (len(form) - 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_caller_that_takes_no_parts_has_the_bound(name: str) -> None:
    node = Harness()
    node.call("SADD", "SRANDMEMBER", "a")
    node.call("HSET", "HRANDFIELD", "a", "1")
    node.call("ZADD", "ZRANDMEMBER", "1", "a")
    for count in (-20_000_000, -limits.MAX_RANDOM_MEMBERS - 1, -(2**63) + 1):
        assert "out of range" in str(node.call(name, name, count))
    assert len(node.call(name, name, -1000)) == 1000


def test_nobody_hears_a_long_answer_after_client_reply_off() -> None:
    node, client, _ = node_with_data()
    assert client.pipeline(("CLIENT", "REPLY", "SKIP"), ("SRANDMEMBER", "s", -MANY), ("PING",)) == [b"PONG"]
    client.pipeline(("CLIENT", "REPLY", "OFF"), ("SRANDMEMBER", "s", -MANY), ("PING",))
    node.advance(100)
    assert client.read() == []
    assert client.send("CLIENT", "REPLY", "ON") == b"OK"


def test_within_a_hard_limit_a_long_answer_is_sent_whole() -> None:
    node, client, other = node_with_data()
    other.send("CONFIG", "SET", "client-output-buffer-limit", "normal 10000000 0 0")
    client.send("SRANDMEMBER", "s", -MANY)
    sent = client.session.total_sent
    node.advance(1)
    assert client.session.total_sent == sent
    node.advance(100)
    assert len(client.read()[0]) == MANY and not client.closed
    client.send("SRANDMEMBER", "s", -3_000_000)
    node.advance(2000)
    assert client.closed and client.read() == [] and not node.node.long_answers.lines


def test_counts_are_refused_as_stock_refuses_them() -> None:
    """Where the key is missing: with one, stock would answer for ever."""
    half = 2**62
    commands = [
        (*form[:1], "nokey", count, *form[2:])
        for form in FORMS
        for count in (-20_000_000, 1 - half, -half, -half - 1, half - 1, half, -(2**63) + 1, -(2**63), -(2**63) - 1)
    ]
    with running("redis7") as port:
        stock = Wire(port)
        client = LocalNode().open()
        for command in commands:
            assert repr(client.send(*command)) == repr(stock.call(*command)), command
        fill(stock.call)
        fill(client.send)
        for form in FORMS[2::2]:
            for count in (-half, -half - 1, half):
                assert repr(client.send(*asked(form, count))) == repr(stock.call(*asked(form, count)))
        stock.close()


# -- live --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    one = Server("ours", tmp_path).start()
    fill(one.call)
    yield one
    one.kill()


def memory(server: Server) -> int:
    """Resident, in bytes."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    assert found is not None
    return int(found[1]) * 1024


def test_another_client_is_served_while_twenty_million_are_answered(server: Server) -> None:
    wire = Wire(server.port)
    wire.send("ZRANDMEMBER", "z", -20_000_000)
    got = len(wire.sock.recv(1 << 16))
    whole = len(b"*20000000\r\n") + 20_000_000 * len(b"$1\r\na\r\n")
    for _ in range(100):
        assert server.call("PING") == b"PONG"  # each before the answer is out: most of it is still to be made
        got += len(wire.sock.recv(1 << 16))
    assert got < whole / 2
    wire.close()
    until(lambda: server.info("clients")["blocked_clients"] == "0", "the answer is dropped with its client")


def test_the_whole_of_a_million_and_a_half_comes_over_a_socket(server: Server) -> None:
    wire = Wire(server.port)
    wire.send("ZRANDMEMBER", "z", -1_500_000, "WITHSCORES")
    wire.send("ECHO", "behind")
    answer = wire.read()
    assert len(answer) == 3_000_000
    assert Counter(zip(answer[::2], answer[1::2], strict=True)).keys() == {(b"a", b"1"), (b"b", b"2"), (b"c", b"3")}
    assert wire.read() == b"behind"
    wire.close()


def test_who_reads_nothing_of_long_answers_costs_little(server: Server) -> None:
    before = memory(server)
    silent = [Wire(server.port) for _ in range(20)]
    for wire in silent:
        wire.send("SRANDMEMBER", "s", -(2**62))
        wire.send("HRANDFIELD", "h", -20_000_000, "WITHVALUES")

    def stuck() -> bool:
        lines = server.call("CLIENT", "LIST").decode().splitlines()
        waiting = [int(found[1]) for line in lines if (found := re.search(r" omem=(\d+)", line))]
        return sum(one > limits.PARTS_AHEAD_BYTES for one in waiting) == len(silent)

    until(stuck, "all have as much waiting for them as they may")
    for _ in range(200):  # and no more is made, however many turns there are
        assert server.call("PING") == b"PONG"
    assert memory(server) - before < len(silent) * 4 * limits.PARTS_AHEAD_BYTES
    for wire in silent:
        wire.close()
    until(lambda: server.info("clients")["blocked_clients"] == "0", "all are gone")
