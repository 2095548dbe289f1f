"""What a script cannot do: reach Python, change what others see, eat all memory, run for ever."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import hiredis
import pytest

from replicator.core import limits
from tests.support.harness import Harness

REACH_EVERYTHING = """
local seen, odd, tables = {}, {}, 0
local function walk(value, path)
  if seen[value] then return end
  local kind = type(value)
  if kind == 'userdata' and value ~= cjson.null then odd[#odd + 1] = path end
  if kind ~= 'table' and kind ~= 'userdata' then return end
  seen[value] = true
  tables = tables + 1
  if kind == 'table' then
    for k, v in pairs(value) do walk(k, path .. '.key') walk(v, path .. '.' .. tostring(k)) end
  end
  walk(getmetatable(value), path .. '.metatable')
end
walk(_G, '_G') walk(getmetatable(''), 'string metatable')
odd[#odd + 1] = tables > 10 and 'walked' or 'not walked'
return odd
"""

FORBIDDEN = (
    *("python", "io", "os", "package", "debug", "require", "module", "dofile", "loadfile", "print", "newproxy"),
    *("setfenv", "getfenv", "host", "engine", "lupa"),
)


@pytest.fixture
def node() -> Harness:
    return Harness()


def evaluate(node: Harness, script: str, *arguments: bytes | str) -> Any:
    return node.call("EVAL", script, 0, *arguments)


def test_no_object_of_ours_is_reachable_from_the_globals(node: Harness) -> None:
    assert evaluate(node, REACH_EVERYTHING) == [b"walked"]


@pytest.mark.parametrize("name", FORBIDDEN)
@pytest.mark.parametrize(
    "script",
    [
        "return {0}",
        "return loadstring('return {0}')()",
        "local f = coroutine.wrap(function() return {0} end) return f()",
    ],
)
def test_a_dangerous_global_does_not_exist(node: Harness, name: str, script: str) -> None:
    answer = evaluate(node, script.format(name))
    assert f"Script attempted to access nonexistent global variable '{name}'" in str(answer)


def test_an_error_of_ours_reaches_a_script_as_a_plain_value(node: Harness) -> None:
    kinds = (
        "return {type(select(2, pcall(redis.call, {}))), type(select(2, xpcall(redis.call, function(e) return e end)))}"
    )
    assert evaluate(node, kinds) == [b"string", b"table"]


def test_an_exception_in_a_command_ends_the_script_whatever_it_catches(node: Harness) -> None:
    def broken(ctx: Any, run: Any, argv: list[bytes]) -> bytes:
        raise ZeroDivisionError("a bug of ours")

    node.server.run_script_command = broken
    with pytest.raises(ZeroDivisionError):
        evaluate(node, "local ok, e = pcall(redis.call, 'get', 'x') return 'caught'")
    node.server.run_script_command = node._run_script_command
    assert evaluate(node, "return redis.call('get', 'x')") is None


def test_a_library_cannot_be_changed_for_the_scripts_behind(node: Harness) -> None:
    for change in (
        "string.rep = nil",
        "rawset(string, 'rep', nil)",
        "getmetatable('').__index.rep = nil",
        "getmetatable(_G).__index = nil",
        "setmetatable(_G, nil)",
        "table.insert(redis, 1)",
        "for _, v in pairs(_G) do if type(v) == 'table' and v ~= KEYS and v ~= ARGV then v.x = 1 end end",
        "local x = setmetatable({}, getmetatable('')) getmetatable(x).__index = 1",
        "local _, t = pairs(math) t.random = nil",
        "local f = coroutine.create(function() redis.call = nil end) error(select(2, coroutine.resume(f)))",
    ):
        assert "Attempt to modify a readonly table" in str(evaluate(node, change)), change
    probe = "return {('x'):rep(2), #redis, type(redis.call), type(math.random), #_G}"
    assert evaluate(node, probe) == [b"xx", 0, b"function", b"function", 0]


def test_bytecode_is_not_loaded(node: Harness) -> None:
    assert evaluate(node, "return loadstring(string.dump(function() return 1 end)) == nil") == 1
    stepwise = (
        "local c = string.dump(function() return 1 end) "
        "local i = 0 return load(function() i = i + 1 return c:sub(i, i) end)"
    )
    assert evaluate(node, stepwise) is None
    assert "Error compiling script" in str(evaluate(node, "\x1bLua"))


def test_the_collector_cannot_be_stopped(node: Harness) -> None:
    evaluate(node, "collectgarbage('stop')")
    evaluate(node, "for i = 1, 300000 do local t = {i, i, i, i} end")
    assert evaluate(node, "return collectgarbage('count')") < 20_000


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Harness:
    """A node whose scripts may hold 16 MiB."""
    monkeypatch.setattr(limits, "MAX_SCRIPT_MEMORY", 16 * 1024 * 1024)
    return Harness()


@pytest.mark.parametrize(
    "bomb",
    [
        "return string.rep('x', 200 * 1024 * 1024)",
        "local s = 'x' while true do s = s .. s end",
        "local t = {} for i = 1, 1e9 do t[i] = i end",
        "local t = {} while true do t = {t, t, {}, {}} end",
        "local s, t = string.rep('x', 1e6), {} for i = 1, 32 do t[i] = s end return table.concat(t)",
        "return #cjson.encode(string.rep('\\1', 1e6)) + #cjson.encode(string.rep('\\1', 4e6))",
    ],
)
def test_a_script_that_wants_all_memory_fails_alone(small: Harness, bomb: str) -> None:
    assert str(evaluate(small, bomb)).startswith("ERR not enough memory")
    assert evaluate(small, "return 'fine'") == b"fine"
    assert evaluate(small, "return #string.rep('x', 1024 * 1024)") == 1024 * 1024


@pytest.mark.parametrize(
    "call",
    [
        *("redis.call('set', 'a', 'b')", "redis.call({})", "redis.sha1hex('a')", "redis.acl_check_cmd('get', 'a')"),
        *("bit.bor(i, 2)", "redis.log(1, 'x')", "struct.pack('d', i)", "cmsgpack.pack(i + 0.3)", "redis.setresp(3)"),
    ],
)
def test_calls_into_the_node_are_safe_when_memory_is_full(small: Harness, call: str) -> None:
    script = (
        f"local f = function(i) {call} end local t, n = {{}}, 0 "
        "pcall(function() local i = 0 while true do i = i + 1 t[i] = {i, i} end end) "
        "for i = 1, 300 do if not pcall(f, i) then n = n + 1 end end t = nil return n"
    )
    answer = evaluate(small, script)  # pcall itself may find no room for its frame
    assert answer in range(301) or str(answer).startswith("ERR not enough memory")
    assert evaluate(small, "return redis.call('set', 'k', 'v')") == b"OK"


def test_arguments_and_replies_larger_than_the_limit_are_refused(small: Harness) -> None:
    large = b"x" * (20 * 1024 * 1024)
    assert str(evaluate(small, "return 1", large)).startswith("ERR not enough memory")
    small.call("SET", "large", large)
    assert "not enough memory" in str(evaluate(small, "return #redis.call('get', 'large')"))
    assert evaluate(small, "return redis.call('strlen', 'large')") == len(large)


def test_many_arguments_arrive_whole(node: Harness) -> None:
    arguments = [f"a{i}" for i in range(100_000)]
    answer = node.call("EVAL", "return {#KEYS, #ARGV, KEYS[1], ARGV[1], ARGV[#ARGV]}", 40_000, *arguments)
    assert answer == [40_000, 60_000, b"a0", b"a40000", b"a99999"]


def test_deep_recursion_is_an_error(node: Harness) -> None:
    assert "stack overflow" in str(evaluate(node, "local function f() return f() + 1 end return f()"))
    assert evaluate(node, "local function f(n) return pcall(f, n) end return tostring(f(1))") == b"true"
    nested = "local s = string.rep('(', 300) .. '1' .. string.rep(')', 300) return {loadstring('return ' .. s)}"
    assert evaluate(node, nested) == []


def test_deep_tail_recursion_works(node: Harness) -> None:
    assert evaluate(node, "local function f(n) if n == 0 then return 7 end return f(n - 1) end return f(300000)") == 7


def test_the_interpreter_is_not_loaded_before_the_first_script() -> None:
    code = (
        "import sys\n"
        "from tests.support.harness import Harness\n"
        "node = Harness()\n"
        "node.call('SET', 'a', '1'), node.call('SCRIPT', 'EXISTS', 'x'), node.call('FUNCTION', 'LIST')\n"
        "assert not any(name.startswith('lupa') for name in sys.modules)\n"
        "node.call('EVAL', 'return 1', 0)\n"
        "assert any(name.startswith('lupa') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_errors_are_values_of_the_protocol(node: Harness) -> None:
    assert isinstance(evaluate(node, "return redis.call('nosuch')"), hiredis.ReplyError)
