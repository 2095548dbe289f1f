"""FCALL, FUNCTION: libraries, their errors, their payload, their place in the stream."""

from __future__ import annotations

from typing import Any

import pytest

from replicator.core.scripting import api
from replicator.core.scripting.state import ScriptError
from replicator.core.wire.rdb import format as rdb
from tests.support.harness import Harness
from tests.support.stock_wire import pair

LIBRARY = "#!lua name=mylib\nredis.register_function('f1', function(keys, args) return {keys[1], args[1]} end)\n"


def load(body: str, name: str = "lib") -> list[str]:
    return ["FUNCTION", "LOAD", "REPLACE", f"#!lua name={name}\n{body}"]


def payload(body: bytes, version: int = 10) -> bytes:
    data = body + version.to_bytes(2, "little")
    return data + rdb.CRC64.calc(data).to_bytes(8, "little")


BODIES = """
redis.register_function()
redis.register_function('a')
redis.register_function('a', 1)
redis.register_function(1, function() end)
redis.register_function({}, function() end)
redis.register_function('a', 'b', 'c')
redis.register_function('a b', function() end)
redis.register_function('', function() end)
redis.register_function{function_name='a1'}
redis.register_function{callback=function() end}
redis.register_function{function_name='a1', callback=1}
redis.register_function{function_name=1, callback=function() end}
redis.register_function{function_name={}, callback=function() end}
redis.register_function{function_name='a1', callback=function() end, flags={'no-writes'}}
redis.register_function{function_name='a1', callback=function() end, flags='no-writes'}
redis.register_function{function_name='a1', callback=function() end, flags={'bad'}}
redis.register_function{function_name='a1', callback=function() end, flags={1}}
redis.register_function{function_name='a1', callback=function() end, description=1}
redis.register_function{function_name='a1', callback=function() end, description={}}
redis.register_function{function_name='a1', callback=function() end, foo=1}
redis.register_function{function_name='a1', callback=function() end, [1]=1}
redis.register_function('z2', function() end) redis.register_function('z2', function() end)
redis.register_function('a1', string.rep)
local a = redis.REDIS_VERSION redis.register_function('q', function() end)
local a = _G
local a = redis.LOG_WARNING redis.log(a)
redis = 1
redis.x = 1
redis.foo()
redis.call('x')
local a = redis.setresp
x.y = 1
local x; x()
error('boom')
return 1
foo bar
x = 1
return x
local x
x.y = 1
""".strip().split("\n")

METADATA = (
    "return 1", "#!lua\n", "#!lua", "#!lua name=x", "#!lua name=x\n", "#!lua name=x\nreturn 1", "#!lua name=x y=z\nr()",
    "#!lua name=x name=y\nreturn 1", "#!js name=x\nreturn 1", "#!lua name=x-y\nreturn 1", "#!lua name=\nreturn 1",
    "#!lua name='q x'\nreturn 1", '#!lua name="x\nredis', "#!LUA name=x\nredis.register_function('up', function() end)",
)  # fmt: skip

FUNCTIONS = """redis.register_function('f', function(k, a) return redis.call('get') end)
redis.register_function('g', function(k, a)
 error('x') end)
redis.register_function('h', function() return redis.register_function('zz', function() end) end)
redis.register_function('i', function() return KEYS end)
redis.register_function('j', function() y = 1 end)
redis.register_function('k', function(...) return select('#', ...) end)
local w = function() return redis.call('set', 'a', 'b') end
redis.register_function{function_name='ro', callback=w, flags={'no-writes'}}
redis.register_function{function_name='rd', callback=function() return redis.call('get', 'a') end, flags={'no-writes'}}
local n = 0 redis.register_function('cnt', function() n = n + 1 return n end)
redis.register_function('setr', function() redis.setresp(3) return false end)
redis.register_function('m', function(k) k[1] = 2 return k end)
redis.register_function('ee', function() error({err='zz'}) end)
redis.register_function('ls', function() return loadstring('return yy')() end)
redis.register_function('gl', function() local t={} for k in pairs(_G) do t[#t+1]=k end table.sort(t) return t end)
redis.register_function('gr', function() local t={} for k in pairs(redis) do t[#t+1]=k end table.sort(t) return t end)
local r, reg = redis, redis.register_function
redis.register_function('cap', function() return r.call('ping') end)
redis.register_function('reg', function() return reg('x', function() end) end)
redis.register_function('ver', function() return r.REDIS_VERSION end)
redis.register_function('log', redis.log)"""

NAMES = (
    *("f", "g", "h", "i", "j", "k", "ro", "rd", "cnt", "cnt", "setr", "m", "ee", "ls", "gl", "gr", "cap", "reg", "ver"),
    "log",
)
CALLS = [["FCALL", name, "0"] for name in NAMES] + [
    ["FCALL_RO", "ro", "0"],
    ["FCALL_RO", "rd", "0"],
    ["FCALL_RO", "k", "0"],
    ["FCALL", "k", "x"],
    ["FCALL", "k", "-1"],
    ["FCALL", "k", "3", "a"],
    ["FCALL", "nope", "0"],
    ["FCALL", "nope", "x"],
    ["FCALL", "F", "0"],
]

MANAGEMENT: list[list[str]] = [
    ["FUNCTION", "LIST"],
    ["FUNCTION", "LOAD", LIBRARY],
    ["FUNCTION", "LOAD", LIBRARY],
    ["FUNCTION", "LOAD", "replace", LIBRARY],
    ["FUNCTION", "LOAD", "REPLACE", "REPLACE", LIBRARY],
    ["FUNCTION", "LOAD", "BAD", LIBRARY],
    ["FUNCTION", "LOAD", "REPLACE"],
    ["FCALL", "f1", "1", "k", "a"],
    ["FCALL", "f1", "0"],
    ["FUNCTION", "LIST"],
    ["FUNCTION", "LIST", "WITHCODE"],
    ["FUNCTION", "LIST", "LIBRARYNAME", "my*"],
    ["FUNCTION", "LIST", "libraryname", "MY*"],
    ["FUNCTION", "LIST", "LIBRARYNAME", "x*", "WITHCODE"],
    ["FUNCTION", "LIST", "LIBRARYNAME"],
    ["FUNCTION", "LIST", "X"],
    ["FUNCTION", "LIST", "WITHCODE", "WITHCODE"],
    ["FUNCTION", "LIST", "LIBRARYNAME", "a", "LIBRARYNAME", "b"],
    ["FUNCTION", "STATS"],
    ["FUNCTION", "HELP"],
    ["FUNCTION", "KILL"],
    load("redis.register_function('f1', function() end)", "other"),
    load(
        "redis.register_function{function_name='a', callback=function() end, description='d', "
        "flags={'allow-oom','no-writes'}}",
        "mylib",
    ),
    ["FUNCTION", "LIST"],
    ["FCALL", "f1", "0"],
    ["FUNCTION", "DELETE", "x"],
    ["FUNCTION", "DELETE", "mylib"],
    ["FUNCTION", "STATS"],
    ["FUNCTION", "FLUSH", "x"],
    ["FUNCTION", "FLUSH", "SYNC", "x"],
    ["FUNCTION", "FLUSH", "ASYNC"],
    ["FUNCTION", "RESTORE", "xx"],
    ["FUNCTION", "RESTORE", "x" * 20, "BAD"],
    ["FUNCTION", "RESTORE", "a", "FLUSH", "x"],
]  # fmt: skip


@pytest.fixture
def node() -> Harness:
    return Harness()


@pytest.mark.parametrize("protocol", [2, 3])
def test_function_commands_answer_as_redis_7_does(protocol: int) -> None:
    with pair(protocol) as both:
        for argv in MANAGEMENT:
            both.same(*argv)


def test_loading_a_library_answers_as_redis_7_does() -> None:
    with pair() as both:
        for body in BODIES:
            both.same("FUNCTION", "FLUSH")
            both.same(*load(body))
            both.same("FUNCTION", "LIST", "WITHCODE")
        for code in METADATA:
            both.same("FUNCTION", "FLUSH")
            both.same("FUNCTION", "LOAD", code)


@pytest.mark.parametrize("protocol", [2, 3])
def test_functions_answer_as_redis_7_does(protocol: int) -> None:
    with pair(protocol) as both:
        both.same(*load(FUNCTIONS))
        for argv in CALLS:
            both.same(*argv)


def test_a_failed_replacement_leaves_the_old_library(node: Harness) -> None:
    node.call("FUNCTION", "LOAD", LIBRARY)
    assert "Error compiling function" in str(node.call(*load("x y", "mylib")))
    assert "No functions registered" in str(node.call(*load("", "mylib")))
    assert node.call("FCALL", "f1", 1, "k", "a") == [b"k", b"a"]


def test_a_replaced_library_takes_its_functions_along(node: Harness) -> None:
    node.call("FUNCTION", "LOAD", LIBRARY)
    node.call(*load("redis.register_function('f2', function() return 2 end)", "mylib"))
    assert "Function not found" in str(node.call("FCALL", "f1", 0))
    assert node.call("FCALL", "f2", 0) == 2


def test_function_names_ignore_case_and_library_names_do_not() -> None:
    lower = "#!lua name=lib\nredis.register_function('one', function() return 1 end)"
    with pair() as both:
        both.same("FUNCTION", "LOAD", lower)
        both.same("FCALL", "ONE", "0")
        both.same("FUNCTION", "LOAD", lower.replace("lib", "LIB"))
        both.same("FUNCTION", "LOAD", lower.replace("lib", "LIB").replace("one", "ONE"))
        both.same("FUNCTION", "LOAD", lower.replace("lib", "LIB").replace("one", "two"))
        both.same("FUNCTION", "DELETE", "Lib")
        both.same("FUNCTION", "DELETE", "lib")
        both.same("FCALL", "one", "0")
        both.same("FCALL", "Two", "0")


# -- payloads --------------------------------------------------------------------------------------------------------


def test_payloads_cross_between_redis_7_and_us_both_ways() -> None:
    with pair() as both:
        for number in range(3):
            body = (
                f"redis.register_function('f{number}', function() return {number} end) -- {'repeated ' * 20 * number}"
            )
            both.same(*load(body, f"lib{number}"))
        theirs, ours = both.wire.call("FUNCTION", "DUMP"), both.node.call("FUNCTION", "DUMP")
        for given in (theirs, ours):
            for answer in both.raw(
                "FUNCTION", "RESTORE", given
            ):  # which of the three is named first is nobody's promise
                assert answer.startswith(b"-ERR Library lib") and answer.endswith(b" already exists\r\n")
            both.same("FUNCTION", "FLUSH")
            both.same("FUNCTION", "RESTORE", given)
            for number in range(3):
                assert both.same("FCALL", f"f{number}", "0") == b":%d\r\n" % number
            both.same("FUNCTION", "RESTORE", given, "REPLACE")
            both.same("FUNCTION", "RESTORE", given, "flush")
            both.same("FUNCTION", "RESTORE", given[:-1] + b"!")
            listed = [sorted(row[1] for row in side.call("FUNCTION", "LIST")) for side in (both.wire, both.node)]
            assert listed == [[b"lib0", b"lib1", b"lib2"]] * 2


def test_an_empty_payload_is_redis_7s() -> None:
    with pair() as both:
        empty = both.same("FUNCTION", "DUMP")
        assert empty == b"$10\r\n\n\x00\x5d\x9b\x5c\x40\x0f\x7f\xa2\xda\r\n"


@pytest.mark.parametrize(
    ("body", "version"),
    [
        (b"\x00\x01a", 10),
        (b"\xf5\x03abc", 10),
        (b"\xf5\x0c#!lua name=z", 10),
        (b"\xf5\x11#!lua name=z\nx y ", 10),
        (b"\xf5", 10),
        (b"", 9),
        (b"", 12),
        (b"\xf5\x3b#!lua name=zz\nredis.register_function('f1',function() end)  ", 10),
    ],
)
def test_a_bad_payload_is_refused_as_redis_7_does(body: bytes, version: int) -> None:
    with pair() as both:
        both.same("FUNCTION", "LOAD", LIBRARY)
        if version != 12:  # we read what newer servers write
            both.same("FUNCTION", "RESTORE", payload(body, version))
        both.same("FUNCTION", "LIST")


def test_a_restore_that_fails_changes_nothing(node: Harness) -> None:
    good = b"#!lua name=good\nredis.register_function('good', function() end)"
    both = payload(b"".join(b"\xf5" + bytes((len(code),)) + code for code in (good, b"#!lua name=bad\nx y")))
    node.call("FUNCTION", "LOAD", LIBRARY)
    for policy in ("APPEND", "REPLACE", "FLUSH"):
        assert "Error compiling function" in str(node.call("FUNCTION", "RESTORE", both, policy))
        assert node.call("FCALL", "f1", 1, "k", "a") == [b"k", b"a"]
        assert "Function not found" in str(node.call("FCALL", "good", 0))


def test_snapshots_take_libraries_out_and_in(node: Harness) -> None:
    node.call("FUNCTION", "LOAD", LIBRARY)
    codes = node.server.scripting.library_codes()
    other = Harness()
    other.call(*load("redis.register_function('gone', function() end)"))
    other.server.scripting.load_libraries(codes)
    assert other.call("FCALL", "f1", 1, "k", "a") == [b"k", b"a"]
    assert "Function not found" in str(other.call("FCALL", "gone", 0))
    with pytest.raises(ScriptError):
        other.server.scripting.load_libraries([b"#!lua name=x\nx y"])
    assert other.call("FCALL", "f1", 1, "k", "a") == [b"k", b"a"]


# -- effects and time ------------------------------------------------------------------------------------------------


def test_changes_of_libraries_replicate_verbatim(node: Harness) -> None:
    node.call("FUNCTION", "LOAD", LIBRARY)
    dump = node.call("FUNCTION", "DUMP")
    node.call("FUNCTION", "LOAD", "REPLACE", LIBRARY)
    node.call("FUNCTION", "LOAD", "bad")
    node.call("FUNCTION", "DELETE", "mylib")
    node.call("FUNCTION", "DELETE", "mylib")
    node.call("FUNCTION", "RESTORE", dump)
    node.call("FUNCTION", "FLUSH")
    node.call("FUNCTION", "FLUSH", "ASYNC")
    code = LIBRARY.encode()
    assert [argv[1:] for _, argv in node.drain_effects()] == [
        [b"LOAD", code],
        [b"LOAD", b"REPLACE", code],
        [b"DELETE", b"mylib"],
        [b"RESTORE", dump],
        [b"FLUSH"],
        [b"FLUSH", b"ASYNC"],
    ]


def test_a_function_replicates_by_its_effects(node: Harness) -> None:
    node.call(
        *load("redis.register_function('w', function(k, a) redis.call('set', k[1], a[1]) redis.call('incr', k[1]) end)")
    )
    node.drain_effects()
    node.call("FCALL", "w", 1, "n", "1")
    assert node.drain_effects() == [(0, [b"set", b"n", b"1"]), (0, [b"incr", b"n"])]


def slow_meter(node: Harness) -> None:
    def meter() -> int:
        node.meter_us += 1_000_000
        return node.meter_us

    node.server.meter = meter


def test_a_slow_function_is_killed_by_function_kill(node: Harness) -> None:
    node.call(*load("redis.register_function('slow', function() while true do end end)"))
    seen: list[Any] = []

    def look() -> bool:
        other = node.caller()
        assert node.server.scripting.busy_error() == api.BUSY_FUNCTION
        seen.append(str(node.call("SCRIPT", "KILL", ctx=other)))
        seen.append(node.call("FUNCTION", "STATS", ctx=other)[1][:4])
        seen.append(node.call("FUNCTION", "KILL", ctx=other))
        return False

    slow_meter(node)
    node.server.scripting.on_slow = look
    answer = node.call("FCALL", "slow", 0)
    assert str(answer) == "ERR Script killed by user with SCRIPT KILL... script: slow, on @user_function:2."
    assert seen == [api.BUSY_FUNCTION, [b"name", b"slow", b"command", [b"FCALL", b"slow", b"0"]], b"OK"]
    assert node.call("FUNCTION", "STATS")[1] is None


def test_loading_a_library_takes_half_a_second_at_most(node: Harness) -> None:
    slow_meter(node)
    assert str(node.call(*load("while true do end"))) == "ERR Error registering functions: ERR FUNCTION LOAD timeout"
    assert node.call("FUNCTION", "LIST") == []
    node.server.meter = lambda: 0
    assert node.call(*load("for i = 1, 1000000 do end redis.register_function('f', function() return 1 end)")) == b"lib"
    assert node.call("FCALL", "f", 0) == 1
