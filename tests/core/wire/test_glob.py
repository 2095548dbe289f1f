"""Glob patterns match what stock servers match, and no pattern takes more than its length times the subject's."""

from __future__ import annotations

from contextlib import closing
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.core.wire.glob import MAX_COMPILED, matcher
from tests.support.random_streams import amount
from tests.support.stock import Wire, running

ALPHABET = b"abAz]-\\^[*?\n\x00\xff"


def walk(pattern: bytes, text: bytes) -> bool:
    """The obvious recursive matcher, for patterns without classes and backslashes."""
    if not pattern:
        return not text
    if pattern[:1] == b"*":
        return any(walk(pattern[1:], text[at:]) for at in range(len(text) + 1))
    return bool(text) and pattern[:1] in (b"?", text[:1]) and walk(pattern[1:], text[1:])


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        (b"h?llo", [b"hello", b"h\nllo", b"h\xffllo"], [b"hllo", b"heello"]),
        (b"h*llo", [b"hllo", b"heeeello", b"h\r\nllo"], [b"hllx"]),
        (b"h[ae]llo", [b"hello", b"hallo"], [b"hillo"]),
        (b"h[^e]llo", [b"hallo", b"hbllo"], [b"hello", b"hllo"]),
        (b"h[a-b]llo", [b"hallo", b"hbllo"], [b"hcllo"]),
        (b"h[b-a]llo", [b"hallo", b"hbllo"], [b"hcllo"]),
        (b"\\*\\?\\[", [b"*?["], [b"a?[", b"\\*\\?\\["]),
        (b"plain", [b"plain"], [b"Plain", b"plain ", b""]),
        (b"*", [b"", b"anything"], []),
        (b"**", [b"anything"], [b""]),
        (b"", [b""], [b"a"]),
        (b"[a-", [b"a", b"-"], [b"b"]),
        (b"[]", [], [b"", b"]", b"[]"]),
        (b"a\\", [b"a\\"], [b"a"]),
        (b"news.*.??", [b"news.a.de", b"news..xx.en"], [b"news.de", b"news.a.b"]),
    ],
)
def test_the_documented_patterns(pattern: bytes, matching: list[bytes], other: list[bytes]) -> None:
    match = matcher(pattern)
    assert [text for text in matching if not match(text)] == []
    assert [text for text in other if match(text)] == []


def test_case_is_ignored_where_asked() -> None:
    match = matcher(b"MAX*[a-c]\\X", ignore_case=True)
    assert match(b"maxmemoryBx")
    assert not match(b"maxmemorydx")
    assert matcher(b"PORT", ignore_case=True)(b"port")
    assert not matcher(b"PORT")(b"port")


@given(st.text(alphabet="ab*?", max_size=12), st.text(alphabet="ab", max_size=10))
def test_it_agrees_with_the_obvious_matcher(pattern: str, text: str) -> None:
    expected = walk(pattern.encode(), text.encode())
    if not text and pattern.strip("*") == "" and pattern not in ("", "*"):
        expected = False  # stock's oddity
    assert matcher(pattern.encode())(text.encode()) is expected


@given(st.lists(st.sampled_from([bytes((byte,)) for byte in ALPHABET]), max_size=9).map(b"".join), st.data())
@settings(max_examples=200)
def test_long_patterns_that_are_not_compiled_match_the_same(pattern: bytes, data: st.DataObject) -> None:
    text = data.draw(st.lists(st.sampled_from([bytes((byte,)) for byte in ALPHABET]), max_size=9).map(b"".join))
    # A tail that both have makes the pattern too long to be compiled, and changes nothing (a class closes before it).
    tail = b"x" * MAX_COMPILED
    assert matcher(b"y" + pattern + b"]" + tail)(b"y" + text + b"]" + tail) == matcher(b"y" + pattern + b"]x")(
        b"y" + text + b"]x"
    )


def test_random_patterns_match_what_keys_finds_in_redis_7() -> None:
    chance = Random(4)
    names = {bytes(chance.choices(ALPHABET, k=chance.randrange(7))) for _ in range(300)}
    with running("redis7") as port, closing(Wire(port)) as wire:
        wire.pipeline([[b"SET", name, b""] for name in sorted(names)])
        patterns = [bytes(chance.choices(ALPHABET + b"**[", k=chance.randrange(9))) for _ in range(amount(2000))]
        for at in range(0, len(patterns), 500):
            chunk = patterns[at : at + 500]
            for pattern, found in zip(chunk, wire.pipeline([[b"KEYS", pattern] for pattern in chunk]), strict=True):
                assert {name for name in names if matcher(pattern)(name)} == set(found), pattern


def test_a_hostile_pattern_does_not_try_everything_twice() -> None:
    text = b"a" * 20_000
    # With backtracking these would outlive the universe.
    assert not matcher(b"a*" * 100 + b"b")(text)
    assert not matcher(b"*a" * 120 + b"*b")(text)
    assert not matcher(b"a*" * 1000 + b"b")(text)
    assert not matcher(b"*?*?*?*?*?*?*?*?*[^a]*[^a]*c")(text)
