"""Lists: what a stock server cannot be asked beside us: time, order of service, effects, large lists."""

from __future__ import annotations

from collections import deque
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.core.keyspace.digest import digest_keyspace
from replicator.core.keyspace.values import List
from tests.support.harness import PENDING, Harness
from tests.support.nodes import LocalNode
from tests.support.observed import replay


@pytest.fixture
def node() -> Harness:
    return Harness()


def effects(node: Harness) -> list[list[bytes]]:
    return [argv for _, argv in node.drain_effects()]


def words(text: str) -> list[bytes]:
    return text.encode().split()


# -- the structure ---------------------------------------------------------------------------------------------------


@given(
    length=st.one_of(st.integers(1, 60), st.integers(500, 1500)),
    start=st.integers(0, 1500),
    count=st.integers(0, 1500),
)
@settings(max_examples=100, deadline=None)
def test_between_is_a_slice_and_leaves_the_list_as_it_was(length: int, start: int, count: int) -> None:
    plain = [b"%d" % n for n in range(length)]
    value = List(plain)
    start = min(start, length)
    count = min(count, length - start)
    assert value.between(start, count) == plain[start : start + count]
    assert list(value) == plain


@given(
    length=st.one_of(st.integers(1, 60), st.integers(500, 1500)),
    start=st.integers(0, 1500),
    count=st.integers(0, 1500),
)
@settings(max_examples=60, deadline=None)
def test_keep_is_a_slice_in_place(length: int, start: int, count: int) -> None:
    plain = [b"%d" % n for n in range(length)]
    value = List(plain)
    start = min(start, length)
    count = min(count, length - start)
    value.keep(start, count)
    assert list(value) == plain[start : start + count]


def test_ranges_of_a_long_list_are_those_of_a_plain_python_list(node: Harness) -> None:
    chance = Random(5)
    plain = [b"%d" % n for n in range(5000)]
    node.call("RPUSH", "l", *plain)
    for _ in range(300):
        start, stop = chance.randrange(-6000, 6000), chance.randrange(-6000, 6000)
        first = start if start >= 0 else max(0, start + 5000)
        last = stop if stop >= 0 else stop + 5000
        assert node.call("LRANGE", "l", start, stop) == plain[first : max(0, last + 1)]


def test_removal_from_a_long_list_takes_the_wanted_ones_from_the_wanted_end(node: Harness) -> None:
    plain = [b"%d" % (n % 7) for n in range(700)]
    for count in (1, -1, 3, -3, 99, -99, 100, -100, 101, 0):
        node.call("DEL", "l")
        node.call("RPUSH", "l", *plain)
        twin = plain if count >= 0 else plain[::-1]
        left = abs(count) or len(plain)
        kept = []
        for element in twin:
            if element == b"3" and left:
                left -= 1
            else:
                kept.append(element)
        assert node.call("LREM", "l", count, "3") == 700 - len(kept)
        assert node.call("LRANGE", "l", 0, -1) == (kept if count >= 0 else kept[::-1])


def test_a_new_list_has_no_dictionary_of_its_own() -> None:
    assert not hasattr(List(), "__dict__")
    assert isinstance(List(), deque)


# -- waiting ---------------------------------------------------------------------------------------------------------


def test_those_who_wait_are_served_in_the_order_of_their_coming(node: Harness) -> None:
    callers = [node.caller() for _ in range(3)]
    for ctx in callers:
        assert node.call("BLPOP", "q", 0, ctx=ctx) == PENDING
    assert node.call("RPUSH", "q", "1", "2") == 2
    assert [node.unblocked(ctx) for ctx in callers] == [[[b"q", b"1"]], [[b"q", b"2"]], []]
    assert node.call("RPUSH", "q", "3", "4") == 2
    assert node.unblocked(callers[2]) == [[b"q", b"3"]]
    assert node.call("LRANGE", "q", 0, -1) == [b"4"]


def test_one_who_was_served_and_waits_again_stands_at_the_end(node: Harness) -> None:
    first, second = node.caller(), node.caller()
    node.call("BLPOP", "q", 0, ctx=first)
    node.call("BLPOP", "q", 0, ctx=second)
    node.call("RPUSH", "q", "1")
    node.call("BLPOP", "q", 0, ctx=first)
    node.call("RPUSH", "q", "2")
    assert node.unblocked(second) == [[b"q", b"2"]]
    assert node.unblocked(first) == [[b"q", b"1"]]


def test_an_element_that_is_there_is_taken_at_once_from_the_first_key_that_has_one(node: Harness) -> None:
    node.call("RPUSH", "second", "x")
    node.call("RPUSH", "third", "y")
    assert node.call("BRPOP", "first", "second", "third", 0) == [b"second", b"x"]


@pytest.mark.parametrize(
    ("seconds", "wait_ms"), [("0.001", 1), ("0.0001", 1), ("0.5", 500), ("1.2345", 1235), ("2", 2000), ("0x1", 1000)]
)
def test_a_timeout_is_in_seconds_with_fractions_rounded_up_to_milliseconds(
    node: Harness, seconds: str, wait_ms: int
) -> None:
    ctx = node.caller()
    assert node.call("BLPOP", "q", seconds, ctx=ctx) == PENDING
    node.advance(wait_ms - 1)
    assert node.unblocked(ctx) == []
    node.advance(1)
    assert node.unblocked(ctx) == [None]


@pytest.mark.parametrize("seconds", ["0", "0.0", "-0", "-0.0001"])
def test_a_timeout_of_zero_is_for_ever(node: Harness, seconds: str) -> None:
    ctx = node.caller()
    assert node.call("BLPOP", "q", seconds, ctx=ctx) == PENDING
    node.advance(10**12)
    assert node.unblocked(ctx) == []
    node.call("RPUSH", "q", "x")
    assert node.unblocked(ctx) == [[b"q", b"x"]]


@pytest.mark.parametrize("seconds", ["", "x", "nan", "1 ", "1,5", "1_0"])
def test_a_timeout_that_is_no_number_is_refused(node: Harness, seconds: str) -> None:
    assert str(node.call("BLPOP", "q", seconds)) == "ERR timeout is not a float or out of range"
    assert str(node.call("BLMOVE", "q", "r", "LEFT", "LEFT", seconds)) == "ERR timeout is not a float or out of range"


@pytest.mark.parametrize("seconds", ["-1", "-0.001", "-inf", "inf", "1e300", "9223372036854776"])
def test_a_negative_or_immense_timeout_is_refused(node: Harness, seconds: str) -> None:
    assert str(node.call("BRPOP", "q", seconds)) == "ERR timeout is negative"
    assert str(node.call("BLMPOP", seconds, 1, "q", "LEFT")) == "ERR timeout is negative"


@pytest.mark.parametrize(
    ("argv", "effect", "answer"),
    [
        ("BLPOP q r 0", "LPOP q", [b"q", b"1"]),
        ("BRPOP r q 0", "RPOP q", [b"q", b"3"]),
        ("BLMOVE q d LEFT RIGHT 0", "LMOVE q d LEFT RIGHT", b"1"),
        ("BRPOPLPUSH q d 0", "RPOPLPUSH q d", b"3"),
        ("BLMPOP 0 2 r q LEFT COUNT 2", "LPOP q 2", [b"q", [b"1", b"2"]]),
        ("BLMPOP 0 1 q RIGHT COUNT 9", "RPOP q 3", [b"q", [b"3", b"2", b"1"]]),
    ],
)
def test_replicas_are_told_of_the_plain_command_whether_one_waited_or_not(
    node: Harness, argv: str, effect: str, answer: object
) -> None:
    push = words("RPUSH q 1 2 3")
    node.call(*push)
    assert node.call(*words(argv)) == answer
    assert effects(node) == [push, words(effect)]
    node.call("DEL", "q", "d")
    node.drain_effects()

    ctx = node.caller()
    assert node.call(*words(argv), ctx=ctx) == PENDING
    node.call(*push)
    assert node.unblocked(ctx) == [answer]
    assert effects(node) == [push, words(effect)]


def test_a_served_chain_of_movers_hands_one_element_round(node: Harness) -> None:
    callers = [node.caller() for _ in range(3)]
    for ctx, (source, destination) in zip(callers, ("ab", "bc", "ca"), strict=True):
        assert node.call("BRPOPLPUSH", source, destination, 0, ctx=ctx) == PENDING
    node.call("LPUSH", "a", "x")
    assert [node.unblocked(ctx) for ctx in callers] == [[b"x"], [b"x"], [b"x"]]
    assert node.call("LRANGE", "a", 0, -1) == [b"x"]
    assert effects(node) == [words("LPUSH a x"), *map(words, ("RPOPLPUSH a b", "RPOPLPUSH b c", "RPOPLPUSH c a"))]


def test_one_who_rotates_a_list_that_two_wait_for_serves_both(node: Harness) -> None:
    callers = [node.caller() for _ in range(2)]
    for ctx in callers:
        node.call("BRPOPLPUSH", "a", "a", 0, ctx=ctx)
    node.call("RPUSH", "a", "x")
    assert [node.unblocked(ctx) for ctx in callers] == [[b"x"], [b"x"]]
    assert node.call("LRANGE", "a", 0, -1) == [b"x"]


def transaction(node: Harness, *commands: str) -> None:
    """Run commands as EXEC does: who waits is served when all have run."""
    node.first.deny_blocking = True
    for text in commands:
        node._run(node.first, words(text))
    node.first.deny_blocking = False
    node._serve_ready()


def test_of_several_lists_that_one_transaction_fills_the_one_filled_first_serves(node: Harness) -> None:
    ctx = node.caller()
    node.call("BLPOP", "a", "b", "c", 0, ctx=ctx)
    transaction(node, "RPUSH c 3", "RPUSH b 2", "RPUSH a 1")
    assert node.unblocked(ctx) == [[b"c", b"3"]]


@pytest.mark.parametrize("first", ["DEL a", "SET a text", "SADD a member"])
def test_a_key_that_is_deleted_or_overwritten_before_it_is_filled_is_ready_when_it_is_filled(
    node: Harness, first: str
) -> None:
    ctx = node.caller()
    node.call("BLPOP", "a", "b", 0, ctx=ctx)
    transaction(node, first, "RPUSH b 2", "DEL a", "RPUSH a 1")
    assert node.unblocked(ctx) == [[b"b", b"2"]]


def test_an_emptied_list_serves_nobody_and_the_next_one_does(node: Harness) -> None:
    ctx = node.caller()
    node.call("BLPOP", "a", "b", 0, ctx=ctx)
    transaction(node, "RPUSH a 1", "RPUSH b 2", "LPOP a")
    assert node.unblocked(ctx) == [[b"b", b"2"]]


def test_something_else_than_a_list_ends_no_waiting_and_a_list_after_it_does(node: Harness) -> None:
    ctx = node.caller()
    node.call("BLPOP", "q", "r", 0, ctx=ctx)
    node.call("SET", "q", "text")
    assert ctx.waiting is not None
    node.call("DEL", "q")
    node.call("RPUSH", "q", "x")
    assert node.unblocked(ctx) == [[b"q", b"x"]]


def test_a_key_of_another_type_is_refused_only_where_no_list_comes_before_it(node: Harness) -> None:
    node.call("SET", "text", "x")
    assert str(node.call("BLPOP", "q", "text", 0)).startswith("WRONGTYPE")
    node.call("RPUSH", "q", "x")
    assert node.call("BLPOP", "q", "text", 0) == [b"q", b"x"]


def test_a_waiting_mover_whose_destination_is_no_list_gets_the_error_and_the_next_one_the_element(
    node: Harness,
) -> None:
    mover, popper = node.caller(), node.caller()
    node.call("BLMOVE", "q", "d", "LEFT", "LEFT", 0, ctx=mover)
    node.call("BLPOP", "q", 0, ctx=popper)
    node.call("SET", "d", "text")
    node.call("RPUSH", "q", "x")
    assert str(node.unblocked(mover)[0]).startswith("WRONGTYPE")
    assert node.unblocked(popper) == [[b"q", b"x"]]


@pytest.mark.parametrize("protocol", [2, 3])
def test_where_waiting_is_not_allowed_the_answer_is_that_of_the_plain_command(protocol: int) -> None:
    node = Harness()
    node.first.use_protocol(protocol)
    node.first.deny_blocking = True
    null, null_array = (b"$-1\r\n", b"*-1\r\n") if protocol == 2 else (b"_\r\n", b"_\r\n")
    assert node.raw("BLPOP", "q", 0) == null_array
    assert node.raw("BLMPOP", 0, 1, "q", "LEFT") == null_array
    assert node.raw("BLMOVE", "q", "d", "LEFT", "LEFT", 0) == null
    assert node.raw("BRPOPLPUSH", "q", "d", 0) == null


@pytest.mark.parametrize(
    "argv", ["BLPOP q 1", "BRPOP q 1", "BLMPOP 1 1 q LEFT", "BLMOVE q d LEFT LEFT 1", "BRPOPLPUSH q d 1"]
)
def test_the_answer_after_a_timeout_is_a_null_array(node: Harness, argv: str) -> None:
    assert node.raw(*words(argv)) == PENDING
    assert node.first.waiting is not None
    assert node.first.waiting[2] == b"*-1\r\n"


# -- keys that come and go -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv",
    ["LPOP q", "RPOP q 5", "LREM q 0 x", "LTRIM q 1 0", "LMOVE q d LEFT LEFT", "LMPOP 1 q LEFT COUNT 3", "BLPOP q 0"],
)
def test_the_last_element_takes_its_key_and_the_expiry_with_it(node: Harness, argv: str) -> None:
    told: list[tuple[bytes, bytes]] = []
    node.keyspace.notify_flags = 4095
    node.keyspace.on_notify = lambda db, kind, event, key: told.append((event, key))
    db = node.keyspace.databases[0]
    node.call("RPUSH", "q", "x")
    db.expire_at(b"q", node.keyspace.now_ms + 1000)
    node.call(*words(argv))
    assert db.find(b"q") is None
    assert db.expiry(b"q") is None
    assert (b"del", b"q") in told


def test_a_push_to_an_expired_list_makes_a_new_one_without_expiry(node: Harness) -> None:
    db = node.keyspace.databases[0]
    node.call("RPUSH", "q", "old")
    db.expire_at(b"q", node.keyspace.now_ms + 10)
    node.advance(10)
    assert node.call("LPUSH", "q", "new") == 1
    assert db.expiry(b"q") is None
    assert effects(node)[1:] == [words("DEL q"), words("LPUSH q new")]


def test_a_trim_that_removes_nothing_is_not_replicated(node: Harness) -> None:
    node.call("RPUSH", "q", "1", "2")
    node.drain_effects()
    assert node.call("LTRIM", "q", 0, -1) == b"OK"
    assert node.drain_effects() == []


def test_effects_of_waiting_and_plain_commands_rebuild_the_lists(node: Harness) -> None:
    chance = Random(11)
    callers = [node.caller() for _ in range(4)]
    for step in range(400):
        ctx = chance.choice(callers)
        if ctx.waiting is not None:
            node.call("RPUSH", chance.choice("abc"), step)
        elif chance.random() < 0.5:
            node.call("BLMOVE", chance.choice("abc"), chance.choice("abc"), "LEFT", "RIGHT", 0, ctx=ctx)
        else:
            node.call("BLPOP", *chance.sample("abc", 2), 0, ctx=ctx)
    assert digest_keyspace(replay(node.drain_effects()).keyspace) == digest_keyspace(node.keyspace)


def test_a_trim_that_keeps_everything_breaks_no_watch_and_is_announced() -> None:
    node = LocalNode("--notify-keyspace-events", "KEA")
    client, other, listener = node.open(), node.open(), node.open()
    client.send("RPUSH", "l", "a", "b", "c")
    listener.send("PSUBSCRIBE", "__keyevent@*")
    for range_ in ((0, -1), (0, 100), (-100, -1)):
        client.send("WATCH", "l")
        assert other.send("LTRIM", "l", *range_) == b"OK"
        client.send("MULTI")
        client.send("PING")
        assert client.send("EXEC") == [b"PONG"]
    assert [message[3] for message in listener.read()] == [b"l"] * 3  # as stock tells it
    client.send("WATCH", "l")
    other.send("LTRIM", "l", 0, 1)
    client.send("MULTI")
    assert client.send("EXEC") is None
