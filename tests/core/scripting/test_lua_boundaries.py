"""Numbers and counts at which C goes wrong: the process lives, and the answers are Redis 7.0's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from random import Random
from typing import Any

import pytest

from replicator.core import limits
from tests.support.harness import Harness
from tests.support.lua_boundaries import boundary_scripts
from tests.support.stock_wire import pair

SEED = int(os.environ.get("REPLICATOR_SEED", "11"))
COUNT = 40_000 if os.environ.get("REPLICATOR_LONG") else 1_000


def evaluate(script: str, command: str = "EVAL", node: Harness | None = None) -> Any:
    return (node or Harness()).call(command, script, 0)


def in_a_process(script: str) -> str:
    """What the script answers in a process of its own: its end by a signal is a failure of the test and no more."""
    code = (
        "import sys; from tests.support.harness import Harness; node = Harness()\n"
        "for command in ('EVAL', 'EVAL_RO'): print(node.call(command, sys.argv[1], 0)); print(node.call('PING'))"
    )
    done = subprocess.run([sys.executable, "-c", code, script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (script, done.returncode, done.stderr[-500:])
    return done.stdout


@pytest.mark.parametrize("bounds", ["0,2147483647", "-1,2147483646", "-2147483648,2147483647", "1,2^31-1"])
@pytest.mark.parametrize(
    "script",
    [
        "return unpack({{}},{0})",
        "local f = unpack return f({{}},{0})",
        "return coroutine.wrap(function() return unpack({{}},{0}) end)()",
        "return select('#', unpack({{}},{0}))",
    ],
)
def test_unpack_of_more_than_the_stack_holds_is_an_error(script: str, bounds: str) -> None:
    assert in_a_process(script.format(bounds)).count("too many results to unpack") == 2


@pytest.mark.parametrize("call", ["find", "match", "gsub", "gmatch", "gfind"])
@pytest.mark.parametrize("item", ["a?", "a-"])
def test_a_pattern_that_would_recurse_too_deep_is_an_error(call: str, item: str) -> None:
    script = (
        f"local s, p = string.rep('a', 300000), string.rep('{item}', 300000) "
        f"return s:{call}(p, {'1' if call == 'find' else repr('x')})"
    )
    assert in_a_process(script).count("pattern too complex") == 2


def test_the_deepest_pattern_that_is_let_through_does_not_end_the_process() -> None:
    most = limits.MAX_PATTERN_ITEMS
    script = f"return #string.match(string.rep('a', {most}), string.rep('a?', {most}))"
    assert in_a_process(script).count(str(most)) == 2


def test_plain_text_of_any_length_is_searched_for() -> None:
    most = limits.MAX_PATTERN_ITEMS + 1
    script = f"local s = string.rep('a?', {most}) return {{s:find(s, 1, true)}}"
    assert evaluate(script) == [1, 2 * most]


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("return #string.rep('', 2147483647)", 0),
        ("return string.rep('x', 2147483647)", "not enough memory"),
        ("return string.rep(string.rep('x', 1000), 2000000)", "not enough memory"),
        ("return #string.rep('abc', 1234567)", 3703701),
        ("return string.rep('abc', 2001):sub(-4)", b"cabc"),
        ("local t = {1, 2} table.insert(t, -2000, 'x') return {t[-2000], t[2], t[3]}", [b"x", 1, 2]),
    ],
)
def test_a_count_costs_no_more_than_its_result(script: str, answer: Any) -> None:
    found = evaluate(script)
    if isinstance(answer, str):
        assert answer in str(found)
    else:
        assert found == answer


@pytest.mark.parametrize("name", ["randomseed(0/0)", "randomseed(1/0)", "random(0/0, 0/0)", "randomseed(1e300)"])
def test_no_script_poisons_the_generator_for_others(name: str) -> None:
    node = Harness()
    evaluate(f"math.{name} return 1", node=node)
    assert evaluate("local r = math.random() return r >= 0 and r < 1", node=node) == 1


@pytest.mark.parametrize("number", ["0/0", "-(0/0)", "1/0", "-1/0", "1e300", "2^63", "-1", "4"])
def test_a_log_level_or_a_mask_that_is_none_is_refused(number: str) -> None:
    assert "Invalid debug level" in str(evaluate(f"redis.log({number}, 'x')"))
    assert "Invalid replication flags" in str(evaluate(f"redis.set_repl({number})"))


def test_what_python_raises_under_a_script_never_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from replicator.core.scripting import engine

    for value in (0.0, float("nan"), float("inf"), 1e300, None, b"x", True):
        for name in ("_sha1", "_flag", "_float"):
            getattr(engine, name)(value)
    for left in (1, float("nan"), float("-inf"), 2.0, 1e300):
        for name in ("_and", "_or", "_xor"):
            assert type(getattr(engine, name)(left, 3)) is int
        assert len(engine._pack_float(b">d", left)) == 8
    assert engine._unpack_float(b">d", b"short") != engine._unpack_float(b">d", b"short")


@pytest.mark.parametrize("protocol", [2, 3])
def test_functions_given_such_numbers_answer_as_redis_7_does(protocol: int) -> None:
    def shown(answer: bytes) -> bytes:
        # what is called by pcall itself has no name in C
        return re.sub(rb"to '[a-z_]+' \(|to '\?' \(", b"to '' (", answer)

    with pair(protocol) as both:
        for number, script in enumerate(boundary_scripts(Random(SEED + protocol), COUNT)):
            ours, theirs = both.raw("EVAL", script, "0")
            assert shown(ours) == shown(theirs), (SEED, number, script)
