"""What is recorded of a user's writes, and how it is judged."""

from __future__ import annotations

from typing import Any

import pytest

from replicator.scenario.verdict.history import FAIL, INFO, OK, History, Promotion, ReadBack, Sample
from replicator.testing.readback import LostWrites, judge
from replicator.testing.record import GONE, Recorder, Unjudged, places, text_of


def found(*words: Any) -> list[tuple[str, str, str]]:
    return [(place.kind, place.name, place.value) for place in places(words)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("SET", "a", 1), [("set", "a", "1")]),
        (("set", b"a", b"x", "NX"), [("set", "a", "x")]),
        (("MSET", "a", 1, "b", 2), [("set", "a", "1"), ("set", "b", "2")]),
        (("DEL", "a", "b"), [("set", "a", GONE), ("set", "b", GONE)]),
        (("HSET", "h", "f", 1, "g", 2), [("set", "h[f]", "1"), ("set", "h[g]", "2")]),
        (("HDEL", "h", "f"), [("set", "h[f]", GONE)]),
        (("SADD", "s", "m"), [("set", "s{m}", "1")]),
        (("ZADD", "z", 1, "m"), [("set", "z{m}", "1.0")]),
        (("ZREM", "z", "m"), [("set", "z{m}", GONE)]),
        (("RPUSH", "l", 1, 2), [("rpush", "l", "1"), ("rpush", "l", "2")]),
        (("INCR", "n"), [("incr", "n", "")]),
        (("GET", "a"), []),
        (("PING",), []),
        (("CLIENT SETINFO", "a", "b"), []),
    ],
)
def test_a_write_leaves_these_traces(words: tuple[Any, ...], expected: list[tuple[str, str, str]]) -> None:
    assert found(*words) == expected


@pytest.mark.parametrize(
    "words",
    [
        ("SET", "a", 1, "EX", 10), ("SETEX", "a", 10, 1), ("EXPIRE", "a", 10), ("LPOP", "a"), ("INCRBY", "a", 2),
        ("ZADD", "a", "GT", 1, "m"), ("EVAL", "a", 0), ("APPEND", "a", "x"), ("GETDEL", "a"), ("FLUSHALL",),
    ],
)  # fmt: skip
def test_a_write_without_a_lasting_trace_is_not_judged(words: tuple[Any, ...]) -> None:
    with pytest.raises(Unjudged):
        places(words)


def test_long_values_are_told_apart_by_a_checksum() -> None:
    one, other = text_of(b"x" * 1000 + b"1"), text_of(b"x" * 1000 + b"2")
    assert one != other and len(one) < 100 and "1001 bytes" in one


class ResponseError(Exception):
    pass


class Clock:
    def __init__(self) -> None:
        self.now_ms = 0

    def __call__(self) -> int:
        self.now_ms += 1
        return self.now_ms


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(History(), Clock())


def wrote(recorder: Recorder, answer: Any, *words: Any, node: str = "a") -> None:
    recorder.end(words, recorder.begin("app", words, node), answer)


def lost(recorder: Recorder, node: str = "b", **held: Any) -> list[str]:
    verdict = judge(recorder.history, recorder, ReadBack(node, **held))
    return [f"{one.key} = {one.value}" for one in verdict.lost]


def test_an_error_reply_is_a_refusal_and_a_lost_connection_is_unknown(recorder: Recorder) -> None:
    wrote(recorder, ResponseError("READONLY ..."), "SET", "a", 1)
    wrote(recorder, ConnectionError("reset"), "SET", "b", 1)
    wrote(recorder, None, "SET", "c", 1, "NX")
    wrote(recorder, True, "SET", "d", 1)
    assert [one.status for one in recorder.history.operations] == [FAIL, INFO, FAIL, OK]
    assert lost(recorder, registers={"a": None, "b": None, "c": None, "d": None}) == ["d = 1"]


def test_a_deletion_that_is_undone_is_a_lost_write_and_one_that_holds_is_none(recorder: Recorder) -> None:
    for key in ("a", "b"):
        wrote(recorder, True, "SET", key, 1)
        wrote(recorder, 1, "DEL", key)
    assert lost(recorder, registers={"a": None, "b": "1"}) == [f"b = {GONE}"]


def test_elements_and_counts_are_judged_whoever_was_answered_first(recorder: Recorder) -> None:
    wrote(recorder, 1, "RPUSH", "l", "x")
    wrote(recorder, 2, "RPUSH", "l", "y")
    first, second = recorder.begin("one", ("INCR", "n"), "a"), recorder.begin("other", ("INCR", "n"), "a")
    recorder.end(("INCR", "n"), second, 1)
    recorder.end(("INCR", "n"), first, 2)
    assert lost(recorder, lists={"l": ["x", "y"]}, counters={"n": 2}) == []
    assert lost(recorder, lists={"l": ["x"]}, counters={"n": 1}) == ["l = y", "n = 2"]


def test_keys_that_are_not_judged_are_named_with_the_reason_and_lose_nothing(recorder: Recorder) -> None:
    wrote(recorder, True, "SET", "a", 1)
    wrote(recorder, True, "EXPIRE", "a", 1)
    wrote(recorder, 1, "HSET", "h", "f", 1)
    wrote(recorder, 1, "SADD", "h", "m")
    assert recorder.unjudged == {"a": "EXPIRE is not followed"}
    assert lost(recorder, registers={"a": None, "h[f]": None, "h{m}": "1"}) == ["h[f] = 1"]


def test_a_lost_write_is_told_with_its_reason(recorder: Recorder) -> None:
    recorder.history.sample(Sample("a", 0, 0, "master", "x" * 40, 100, 1, 0))
    wrote(recorder, True, "SET", "a", 1)
    recorder.history.promoted(Promotion(10, "b", "a", 100, "y" * 40, {}))
    verdict = judge(recorder.history, recorder, ReadBack("b", registers={"a": None}))
    shown = repr(LostWrites(verdict.lost))
    assert shown.startswith("1 lost\n  app a = 1: acknowledged by a")
    assert "would have prevented it: WAIT 1" in shown
    assert recorder.history.read_backs == [], "the history stays open"
