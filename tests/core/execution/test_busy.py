"""A script that runs too long: others are told so and may end it. With real processes, whose clients wait meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.servers import Server, servers, until
from tests.support.stock import Wire

BUSY = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
BUSY_FUNCTION = "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with servers(tmp_path, "ours", directives=("--busy-reply-threshold", "50")) as (one,):
        yield one


Connect = Callable[[Server], Wire]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes connections that are closed at the end."""
    made: list[Wire] = []

    def one(server: Server) -> Wire:
        made.append(Wire(server.port))
        return made[-1]

    yield one
    for wire in made:
        wire.close()


def endless(connect: Connect, server: Server, body: str = "") -> tuple[Wire, Wire]:
    """A client whose script does not end, and another that has been told so."""
    caller, other = connect(server), connect(server)
    caller.send("EVAL", f"{body} while true do end", 0)
    until(lambda: str(other.call("PING")) == BUSY, "the script is slow")
    return caller, other


def test_others_are_told_that_the_server_is_busy_and_may_kill_the_script(server: Server, connect: Connect) -> None:
    caller, other = endless(connect, server)
    late = connect(server)  # connections are accepted meanwhile
    assert str(late.call("GET", "x")) == BUSY
    assert str(late.call("SHUTDOWN")) == BUSY
    assert str(late.call("NOSUCH")).startswith("ERR unknown command")
    assert late.call("MULTI") == b"OK"
    assert str(late.call("SET", "a", "b")) == BUSY
    assert late.call("DISCARD") == b"OK"
    assert late.call("SCRIPT", "KILL") == b"OK"
    assert str(caller.read()).startswith("ERR Script killed by user with SCRIPT KILL...")
    assert other.call("PING") == b"PONG"
    assert "Slow script detected: still in execution after" in server.log()


def test_what_the_caller_sent_meanwhile_runs_afterwards(server: Server, connect: Connect) -> None:
    caller, other = endless(connect, server)
    caller.send("SET", "later", "1")
    caller.send("INCR", "later")
    Wire(server.port).close()
    assert str(other.call("PING")) == BUSY
    assert other.call("SCRIPT", "KILL") == b"OK"
    assert str(caller.read()).startswith("ERR Script killed")
    assert [caller.read(), caller.read()] == [b"OK", 2]


def test_a_script_that_has_written_cannot_be_killed_but_the_server_shut_down(server: Server, connect: Connect) -> None:
    _, other = endless(connect, server, "redis.call('set', 'x', '1')")
    assert str(other.call("SCRIPT", "KILL")).startswith("UNKILLABLE Sorry the script already executed write commands")
    assert server.process is not None
    other.send("SHUTDOWN", "NOSAVE")
    assert server.process.wait(10) == 0
    server.process = None


def test_a_function_is_killed_by_its_own_command(server: Server, connect: Connect) -> None:
    code = "#!lua name=l\nredis.register_function{function_name='f', callback=function() while true do end end}"
    caller, other = connect(server), connect(server)
    assert caller.call("FUNCTION", "LOAD", code) == b"l"
    caller.send("FCALL", "f", 0)
    until(lambda: str(other.call("PING")) == BUSY_FUNCTION, "the function is slow")
    assert str(other.call("SCRIPT", "KILL")) == BUSY_FUNCTION
    assert other.call("FUNCTION", "KILL") == b"OK"
    assert str(caller.read()).startswith("ERR Script killed by user with SCRIPT KILL...")


def test_sigterm_ends_a_server_whose_script_does_not_end(server: Server, connect: Connect) -> None:
    endless(connect, server)
    begun = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begun < 10


def test_replicas_stay_while_a_script_of_their_primary_is_slow(tmp_path: Path, connect: Connect) -> None:
    with servers(tmp_path, "ours", "ours", directives=("--busy-reply-threshold", "50")) as (primary, replica):
        replica.follow(primary)
        replica.wait_linked()
        caller, other = endless(connect, primary)
        assert other.call("SCRIPT", "KILL") == b"OK"
        caller.read()
        primary.call("SET", "after", "1")
        assert primary.call("WAIT", 1, 5000) == 1
        assert primary.info("stats")["sync_full"] == "1"
