"""EVAL and its kin, SCRIPT, effects of scripts, time limits and killing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hiredis
import pytest

from replicator.core.scripting import api
from replicator.core.scripting.api import Kind
from replicator.core.scripting.state import ScriptError
from tests.support.harness import Harness
from tests.support.stock_wire import pair

SHA = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"  # of "return 1"

# Commands for both servers, one after the other.
SESSION: list[list[str]] = [
    ["EVAL", "return 1", "x"],
    ["EVAL", "return 1", "-1"],
    ["EVAL", "return 1", "2", "a"],
    ["EVAL", "return 1", "1.0"],
    ["EVAL", "x y", "-1"],
    ["EVALSHA", "ffff", "0"],
    ["EVALSHA", "f" * 40, "0"],
    ["EVALSHA", SHA, "0"],
    ["EVALSHA", SHA, "x"],
    ["SCRIPT", "LOAD", "return 1"],
    ["EVALSHA", SHA, "0"],
    ["EVALSHA", SHA.upper(), "0"],
    ["EVALSHA_RO", SHA, "0"],
    ["SCRIPT", "EXISTS", SHA, SHA.upper(), "x", "f" * 40],
    ["SCRIPT", "LOAD", "x y"],
    ["SCRIPT", "HELP"],
    ["SCRIPT", "FLUSH", "X"],
    ["SCRIPT", "FLUSH", "SYNC", "X"],
    ["SCRIPT", "FLUSH", "ASYNC"],
    ["EVALSHA", SHA, "0"],
    ["SCRIPT", "FLUSH", "sync"],
    ["SCRIPT", "FLUSH"],
    ["SCRIPT", "KILL"],
    ["SCRIPT", "DEBUG", "X"],
    ["SCRIPT", "DEBUG", "NO"],
    ["EVAL", "return {KEYS, ARGV}", "2", "a", "b", "c", "d"],
    ["EVAL", "return {KEYS, ARGV}", "0", "c"],
    ["EVAL_RO", "return redis.call('set', 'a', 'b')", "0"],
    ["EVAL_RO", "return redis.pcall('set', 'a', 'b')", "0"],
    ["EVAL_RO", "return redis.call('get', 'a')", "0"],
    ["EVAL_RO", "return redis.call('pfcount', 'a')", "0"],
    ["EVAL_RO", "#!lua\nreturn redis.call('get', 'a')", "0"],
    ["EVAL_RO", "#!lua flags=no-writes\nreturn redis.call('get', 'a')", "0"],
    ["EVAL", "#!lua flags=no-writes\nreturn redis.call('set', 'a', 'b')", "0"],
    ["EVAL", "#!lua flags=no-writes,allow-stale,allow-oom,no-cluster,allow-cross-slot-keys\nreturn 1", "0"],
    ["SCRIPT", "LOAD", "#!lua flags=nope\nreturn 1"],
    ["EVAL", "#!lua 'flags=no-writes\nreturn 1", "0"],
    ["EVAL", "redis.call('select', 3) return redis.call('set', 'x', 'in three')", "0"],
    ["GET", "x"],
    ["EVAL", "return redis.call('get', 'x')", "0"],
    ["SET", "s", "1"],
    ["EVAL", "redis.call('set', 's', '2') error('after a write')", "0"],
    ["GET", "s"],
    ["EVAL", "return redis.call('blpop', 's', 0)", "0"],
    ["EVAL", "return redis.call('eval', 'return 1', 0)", "0"],
    ["EVAL", "return redis.call('function', 'list')", "0"],
    ["EVAL", "return redis.call('multi')", "0"],
]


@pytest.fixture
def node() -> Harness:
    return Harness()


@pytest.mark.parametrize("protocol", [2, 3])
def test_script_commands_answer_as_redis_7_does(protocol: int) -> None:
    with pair(protocol) as both:
        for argv in SESSION:
            both.same(*argv)


def test_arity_and_flags_are_those_of_redis_7(node: Harness) -> None:
    with pair() as both:
        for name in ("eval", "evalsha", "eval_ro", "evalsha_ro", "fcall", "fcall_ro", "script", "function"):
            (theirs,) = both.wire.call("COMMAND", "INFO", name)
            _same_entry(node, name, theirs)
            for sub in theirs[9]:
                _same_entry(node, sub[0].decode(), sub)


def _same_entry(node: Harness, name: str, theirs: list[Any]) -> None:
    from replicator.core.command_table.registry import FLAG_NAMES, MAY_REPLICATE

    parent, _, own = name.rpartition("|")
    entry = node.table[parent.encode()].subcommands[own] if parent else node.table[own.encode()]
    assert entry.arity == theirs[1]
    flags = entry.flags & ~MAY_REPLICATE  # which stock has too and does not show
    assert sorted(text for flag, text in FLAG_NAMES if flags & flag) == sorted(map(str, _texts(theirs[2]))), name
    if not parent:
        assert len(theirs[9]) == len(entry.subcommands)


def _texts(items: list[bytes]) -> list[str]:
    return [item.decode() for item in items]


def test_keys_are_found_where_the_count_says(node: Harness) -> None:
    entry = node.table[b"eval"]
    assert list(entry.key_positions([b"EVAL", b"s", b"2", b"a", b"b", b"c"])) == [3, 4]
    assert list(entry.key_positions([b"EVAL", b"s", b"0", b"a"])) == []
    assert list(entry.key_positions([b"EVAL", b"s", b"9", b"a"])) == []


# -- effects ---------------------------------------------------------------------------------------------------------


def effects_of(node: Harness, script: str, *arguments: str) -> list[tuple[int, list[bytes]]]:
    node.drain_effects()
    node.call("EVAL", script, 0, *arguments)
    return node.drain_effects()


def test_a_script_replicates_its_writes_in_order_and_never_itself(node: Harness) -> None:
    assert effects_of(node, "return 1") == []
    assert effects_of(node, "return redis.call('get', 'x')") == []
    assert effects_of(node, "redis.call('set', 'x', 1) redis.call('incr', 'x') redis.call('del', 'nokey')") == [
        (0, [b"set", b"x", b"1"]),
        (0, [b"incr", b"x"]),
    ]


def test_inner_commands_replicate_by_their_own_effects(node: Harness) -> None:
    effects = effects_of(node, "redis.call('setex', 'k', 10, 'v') redis.call('sadd', 's', 'a') redis.call('spop', 's')")
    now_ms = node.server.now.unix_ms
    assert [argv for _, argv in effects] == [
        [b"SET", b"k", b"v", b"PXAT", b"%d" % (now_ms + 10_000)],
        [b"sadd", b"s", b"a"],
        [b"SREM", b"s", b"a"],
    ]


def test_writes_of_a_failing_script_replicate(node: Harness) -> None:
    assert effects_of(node, "redis.call('set', 'x', 1) error('x')") == [(0, [b"set", b"x", b"1"])]


def test_effects_carry_the_database_the_script_selected(node: Harness) -> None:
    script = "redis.call('select', 3) redis.call('set', 'x', 3) redis.call('select', 0) redis.call('set', 'z', 3)"
    assert effects_of(node, script) == [(3, [b"set", b"x", b"3"]), (0, [b"set", b"z", b"3"])]
    assert node.first.db.index == 0


def test_set_repl_keeps_writes_from_replicas_but_not_expiry(node: Harness) -> None:
    none, aof, replicas = (
        f"redis.set_repl(redis.{name}) redis.call('set', 'x', 1)" for name in ("REPL_NONE", "REPL_AOF", "REPL_REPLICA")
    )
    assert effects_of(node, none) == []
    assert effects_of(node, aof) == []
    assert effects_of(node, replicas) == [(0, [b"set", b"x", b"1"])]
    node.call("SET", "old", "1", "PX", 10)
    node.advance(20)
    assert effects_of(node, "redis.set_repl(redis.REPL_NONE) redis.call('append', 'old', 'y')") == [
        (0, [b"DEL", b"old"])
    ]
    assert effects_of(node, "redis.call('set', 'x', 2)") == [(0, [b"set", b"x", b"2"])]


def test_script_load_and_flush_do_not_replicate(node: Harness) -> None:
    node.call("SCRIPT", "LOAD", "return 1")
    node.call("SCRIPT", "FLUSH")
    assert node.drain_effects() == []


def test_a_blocking_command_inside_a_script_answers_at_once(node: Harness) -> None:
    assert (
        node.call("EVAL", "return redis.call('brpoplpush', 'a', 'b', 0)", 0)
        .args[0]
        .startswith("ERR This Redis command is not allowed from script")
    )


# -- the cache -------------------------------------------------------------------------------------------------------


def test_scripts_that_eval_left_are_dropped_oldest_first(node: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    from replicator.core import limits

    monkeypatch.setattr(limits, "MAX_EVAL_SCRIPTS", 50)
    kept = node.call("SCRIPT", "LOAD", "return 'kept'")
    for i in range(200):
        node.call("EVAL", f"return {i}", 0)
    assert len(node.server.scripting.scripts) <= 52
    assert node.call("EVALSHA", kept, 0) == b"kept"
    assert node.call("EVAL", "return 0", 0) == 0


# -- time ------------------------------------------------------------------------------------------------------------

Look = Callable[[], bool]


def run_slowly(node: Harness, script: str, look: Look, *, step_ms: int = 1000) -> Any:
    """Run a script while the meter moves by step_ms at each look at the clock; `look` is the driver's on_slow."""

    def meter() -> int:
        node.meter_us += 1000 * step_ms
        return node.meter_us

    node.server.meter = meter
    node.server.scripting.on_slow = look
    return node.call("EVAL", script, 0)


def test_a_slow_script_is_killed_by_script_kill_whatever_it_catches(node: Harness) -> None:
    def look() -> bool:
        assert node.server.scripting.busy_error() == api.BUSY_EVAL
        assert node.call("SCRIPT", "KILL", ctx=node.caller()) == b"OK"
        return False

    for script in (
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "while true do xpcall(function() while true do end end, function(e) while true do end end) end",
        "local co = coroutine.wrap(function() while true do end end) co()",
        "while true do local co = coroutine.create(function() while true do end end) coroutine.resume(co) end",
        "local t = setmetatable({}, {__index = function(t, k) while true do end end}) return t.x",
        "local function f() return f() end return f()",
        "table.sort({3, 2, 1}, function() while true do end end)",
        "return (('x'):gsub('x', function() while true do end end))",
        "return loadstring('while true do end')()",
    ):
        answer = run_slowly(node, script, look)
        assert str(answer).startswith("ERR Script killed by user with SCRIPT KILL... script: "), (script, answer)
        assert node.server.scripting.busy_error() is None
        node.server.meter = lambda: 0
        assert node.call("EVAL", "local s = 0 for i = 1, 300000 do s = s + i end return s", 0) == 45000150000


def test_the_driver_may_kill_by_answering_true(node: Harness) -> None:
    assert "Script killed by user" in str(run_slowly(node, "while true do end", lambda: True))


def test_before_the_threshold_nobody_is_asked(node: Harness) -> None:
    def look() -> bool:
        raise AssertionError("too early")

    node.server.config["busy-reply-threshold"] = 10_000_000
    assert run_slowly(node, "local n = 0 for i = 1, 1000000 do n = n + 1 end return n", look) == 1_000_000
    node.server.config["busy-reply-threshold"] = 0
    assert (
        run_slowly(node, "local n = 0 for i = 1, 1000000 do n = n + 1 end return n", look, step_ms=10**9) == 1_000_000
    )


def test_after_the_threshold_the_driver_is_asked_again_and_again(node: Harness) -> None:
    looks: list[None] = []

    def look() -> bool:
        looks.append(None)
        return False

    assert run_slowly(node, "local n = 0 for i = 1, 1000000 do n = n + 1 end return n", look) == 1_000_000
    assert 10 <= len(looks) <= 60


def test_a_script_that_has_written_cannot_be_killed(node: Harness) -> None:
    problems: list[str] = []

    def look() -> bool:
        problems.append(str(node.call("SCRIPT", "KILL", ctx=node.caller())))
        return True

    script = "redis.call('set', 'a', 1) local n = 0 for i = 1, 1000000 do n = n + 1 end return n"
    assert run_slowly(node, script, look) == 1_000_000
    assert set(problems) == {api.UNKILLABLE}


def test_a_reading_command_leaves_a_script_killable(node: Harness) -> None:
    script = "redis.call('get', 'a') while true do end"
    assert "killed" in str(run_slowly(node, script, lambda: True))


def test_the_wrong_kill_is_refused(node: Harness) -> None:
    problems: list[str] = []

    def look() -> bool:
        problems.append(str(node.call("FUNCTION", "KILL", ctx=node.caller())))
        problems.append(str(node.call("FUNCTION", "STATS", ctx=node.caller())))
        return True

    run_slowly(node, "while true do end", look)
    assert problems == [api.BUSY_EVAL, api.BUSY_EVAL]


def test_a_script_of_the_primary_cannot_be_killed(node: Harness) -> None:
    node.first.is_primary_link = True
    problems: list[str] = []

    def look() -> bool:
        problems.append(str(node.call("SCRIPT", "KILL", ctx=node.caller())))
        return False

    assert run_slowly(node, "for i = 1, 1000000 do end return 1", look) == 1
    assert set(problems) == {api.UNKILLABLE_PRIMARY}


def test_no_script_no_kill(node: Harness) -> None:
    with pytest.raises(ScriptError, match="NOTBUSY"):
        node.server.scripting.kill(Kind.EVAL)


# -- the host --------------------------------------------------------------------------------------------------------


def test_log_lines_reach_the_host(node: Harness) -> None:
    node.call("EVAL", "redis.log(redis.LOG_WARNING, 'a', 1, true, 'b') redis.log(0, 'c')", 0)
    assert node.logged == [(3, b"a 1  b"), (0, b"c")]


def test_the_host_can_refuse_the_start(node: Harness) -> None:
    seen: list[tuple[int, bool]] = []

    def refuse(ctx: Any, flags: int, legacy: bool) -> str | None:
        seen.append((flags, legacy))
        return None if legacy else "READONLY You can't write against a read only replica."

    node.server.script_refusal = refuse
    assert node.call("EVAL", "return 1", 0) == 1
    assert isinstance(node.call("EVAL", "#!lua flags=allow-oom\nreturn 1", 0), hiredis.ReplyError)
    assert seen == [(0, True), (api.ALLOW_OOM, False)]


def test_who_may_start_in_which_state() -> None:
    def start(flags: int, legacy: bool = False, **state: Any) -> str | None:
        quiet = {
            "read_only_replica": False,
            "cannot_write": None,
            "stale": False,
            "out_of_memory": False,
            "cluster": False,
        }
        return api.start_refusal(flags, legacy, **(quiet | state))

    assert start(0) is None
    assert start(0, read_only_replica=True) == api.READ_ONLY_REPLICA
    assert start(api.NO_WRITES, read_only_replica=True) is None
    assert start(0, True, read_only_replica=True, out_of_memory=True, cannot_write="NOREPLICAS x") is None
    assert start(0, cannot_write="NOREPLICAS x") == "NOREPLICAS x"
    assert start(0, True, stale=True) == api.STALE
    assert start(api.NO_WRITES, stale=True) == api.STALE
    assert start(api.NO_WRITES | api.ALLOW_STALE, stale=True) is None
    assert start(api.ALLOW_STALE, stale=True, read_only_replica=True) == api.READ_ONLY_REPLICA
    assert start(0, out_of_memory=True) == api.OUT_OF_MEMORY
    assert start(api.ALLOW_OOM, out_of_memory=True) is None
    assert start(api.NO_WRITES, out_of_memory=True) is None
    assert start(api.NO_CLUSTER, cluster=True) == api.NOT_ON_CLUSTER


def test_the_scripts_protocol_does_not_change_the_callers(node: Harness) -> None:
    node.call("HSET", "h", "f", "v")
    assert node.call("EVAL", "redis.setresp(3) return redis.call('hgetall', 'h').map.f", 0) == b"v"
    assert not node.first.resp3
    assert node.call("EVAL", "return redis.call('hgetall', 'h')", 0) == [b"f", b"v"]
