"""Scripts where it matters what the node is just now, what time it is and how much they hand over: beside stock."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import Server, servers, until
from tests.support.stock import Wire, binary

pytestmark = pytest.mark.skipif(binary("redis7") is None, reason="redis7's server is not installed on this machine")

READS = "#!lua flags=no-writes\nreturn 1"
WRITES = "#!lua\nreturn 2"
STALE = "#!lua flags=no-writes,allow-stale\nreturn 3"
PUSH = "local a = {} for i = 1, %d do a[i] = tostring(i) end return redis.call('rpush', KEYS[1], unpack(a))"
PROTOCOLS = (
    "string",
    "integer",
    "double",
    "null",
    "array",
    "attrib",
    "push",
    "verbatim",
    "true",
    "false",
    "bignum",
    "x",
)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """One of ours, one of stock's, and a primary for both."""
    with servers(Path(tmp_path_factory.mktemp("scripts")), "ours", "redis7", "redis7") as started:
        yield started


def shown(answer: Any) -> str:
    return re.sub(r"\b[0-9a-f]{40}\b", "SHA", repr(answer))


def both(nodes: list[Server], ask: Any) -> tuple[Any, Any]:
    return ask(nodes[0]), ask(nodes[1])


@pytest.mark.parametrize("count", [6999, 7000, 7995, 7999, 8000, 9000])
def test_a_command_of_a_script_takes_as_many_arguments_as_stocks_stack_holds(nodes: list[Server], count: int) -> None:
    def ask(node: Server) -> Any:
        node.call("DEL", "l")
        answers = [node.call("EVAL", PUSH % count, 1, "l"), node.call("LINDEX", "l", -1)]
        answers.append(node.call("EVAL", PUSH.replace("call(", "pcall(") % count, 1, "l"))
        wrong = f"local a = {{}} for i = 1, {count} do a[i] = i end a[{count - 5}] = {{}} "
        wrong += "return redis.pcall('del', unpack(a))"
        return shown([*answers, node.call("EVAL", wrong, 0)])

    ours, stock = both(nodes, ask)
    assert ours == stock


def test_time_moves_while_a_script_runs(nodes: list[Server]) -> None:
    waits = """
        local function ms() local t = redis.call('time') return t[1] * 1000 + math.floor(t[2] / 1000) end
        local begin = ms()
        while ms() - begin < 200 do end
        return redis.call('time')
    """
    for node in nodes[:2]:
        before = node.call("TIME")
        after = node.call("EVAL", waits, 0)
        passed = (int(after[0]) - int(before[0])) * 1000 + (int(after[1]) - int(before[1])) / 1000
        assert 199 < passed < 5000  # the script counts whole milliseconds, and its first one had begun


def test_debug_opens_scripts_to_commands_that_they_may_not_call(nodes: list[Server]) -> None:
    def ask(node: Server) -> Any:
        node.call("CONFIG", "RESETSTAT")
        asked = ["redis.call('debug', 'protocol', 'string')"]
        answers = [node.call("EVAL", f"return {asked[0]}", 0), node.call("DEBUG", "SET-DISABLE-DENY-SCRIPTS", 1)]
        for kind in PROTOCOLS:
            for setup in ("", "redis.setresp(3) "):
                answers.append(node.call("EVAL", f"{setup}return redis.call('debug', 'protocol', '{kind}')", 0))
        for argv in ("'blpop', 'nokey', 0", "'acl', 'whoami'", "'config', 'get', 'port'", "'cluster', 'reset'"):
            answer = node.call("EVAL", f"return redis.call({argv})", 0)
            answers.append([b"port", b"?"] if isinstance(answer, list) else answer)
        answers += [node.call("DEBUG", "SET-DISABLE-DENY-SCRIPTS", 0), node.call("EVAL", f"return {asked[0]}", 0)]
        answers.append(node.call("EVAL", "return redis.call('cluster', 'reset')", 0))
        return shown(answers)

    ours, stock = both(nodes, ask)
    assert ours == stock


def test_the_debugger_of_scripts_is_refused_in_one_sentence(nodes: list[Server]) -> None:
    ours = nodes[0]
    for mode in ("YES", "SYNC"):
        assert "debugger" in str(ours.call("SCRIPT", "DEBUG", mode))
        assert ours.call("EVAL", "return 1", 0) == 1
    for mode in ("NO", "nosuch"):
        assert shown(ours.call("SCRIPT", "DEBUG", mode)) == shown(nodes[1].call("SCRIPT", "DEBUG", mode))


def test_what_scripts_declare_counts_when_a_queue_is_run_on_another_role(nodes: list[Server]) -> None:
    primary = nodes[2]

    def queued(node: Server, *commands: tuple[str, ...]) -> Wire:
        wire = Wire(node.port)
        wire.call("MULTI")
        for argv in commands:
            assert wire.call(*argv) == b"QUEUED"
        return wire

    def executed(wires: list[Wire]) -> list[str]:
        answers = [shown(wire.call("EXEC")) for wire in wires]
        for wire in wires:
            wire.close()
        return answers

    reads, writes, stale = ("EVAL", READS, "0"), ("EVAL", WRITES, "0"), ("EVAL", STALE, "0")

    def ask(node: Server) -> Any:
        everything = [(reads, writes), (reads,), (("EVAL", "return 4", "0"),), (("SET", "a", "b"),), (("GET", "a"),)]
        wires = [queued(node, *commands) for commands in everything]
        node.follow(primary)
        node.wait_linked()
        answers = executed(wires)
        wire = Wire(node.port)
        for argv in (reads, writes, ("EVAL", "return 4", "0"), ("EVAL_RO", "return 5", "0"), ("PFCOUNT", "p")):
            answers += [shown(wire.call(*words)) for words in (("MULTI",), argv, ("EXEC",))]
        answers += [shown(wire.call(*reads)), shown(wire.call(*writes))]
        wire.close()
        wires = [
            queued(node, *commands) for commands in ((("GET", "a"),), (("PING",),), (reads,), (stale,), (stale, reads))
        ]
        node.call("CONFIG", "SET", "replica-serve-stale-data", "no")
        node.call("REPLICAOF", "127.0.0.1", 1)
        until(lambda: not node.linked(), "the link is down")
        answers += executed(wires)
        node.call("CONFIG", "SET", "replica-serve-stale-data", "yes")
        node.call("REPLICAOF", "NO", "ONE")
        return answers

    ours, stock = both(nodes, ask)
    assert ours == stock
    assert any("EXECABORT Transaction discarded because of: MASTERDOWN" in answer for answer in ours)
