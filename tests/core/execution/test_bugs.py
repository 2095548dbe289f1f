"""A bug of ours comes out of a client's command: where no data can have been touched, the server goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hiredis import ReplyError

from replicator.core.command_table.context import Context
from tests.support.nodes import LocalNode


@contextmanager
def broken(node: LocalNode, name: str, run: Callable[[Context, list[bytes]], bytes]) -> Iterator[None]:
    """While inside, the node's command has this body."""
    command = node.node.table.resolve([name.encode()])
    assert command is not None
    sound, command.run = command.run, run
    try:
        yield
    finally:
        command.run = sound


def raises(ctx: Context, argv: list[bytes]) -> bytes:
    raise ZeroDivisionError(f"with {argv[-1]!r}")


def touches_and_raises(ctx: Context, argv: list[bytes]) -> bytes:
    ctx.db.put(b"half", b"done")
    ctx.db.changed(b"half")
    raise ZeroDivisionError("behind a change")


def test_a_reading_command_with_a_bug_is_answered_logged_and_counted_and_the_server_goes_on() -> None:
    node = LocalNode()
    client, other = node.open(), node.open()
    with broken(node, "GET", raises):
        answers = client.pipeline(("SET", "k", "1"), ("GET", "secret"), ("SET", "k", "2"))
    assert [answers[0], str(answers[1]), answers[2]] == [b"OK", "ERR internal error", b"OK"]
    assert other.send("GET", "k") == b"2"
    assert b"errorstat_ERR:count=1" in client.send("INFO", "errorstats")
    assert b"cmdstat_get:calls=2" in client.send("INFO", "commandstats")
    told = "\n".join(node.log)
    assert "BUG: ZeroDivisionError in get with 1 arguments (redacted)" in told
    assert "test_bugs.py" in told
    assert "in raises" in told
    assert "secret" not in told


@pytest.mark.parametrize("body", [raises, touches_and_raises])
def test_a_writing_command_with_a_bug_ends_the_process_whether_it_has_told_of_a_change_or_not(
    body: Callable[[Context, list[bytes]], bytes],
) -> None:
    node = LocalNode()
    client = node.open()
    with broken(node, "SET", body), pytest.raises(ZeroDivisionError):
        client.send("SET", "k", "1")


def test_a_reading_command_that_has_touched_data_before_its_bug_ends_the_process() -> None:
    node = LocalNode()
    client = node.open()
    with broken(node, "GET", touches_and_raises), pytest.raises(ZeroDivisionError):
        client.send("GET", "k")


def test_a_bug_inside_a_transaction_or_a_script_is_survived_if_nothing_was_written_before_it() -> None:
    node = LocalNode()
    client = node.open()
    with broken(node, "GET", raises):
        assert client.send("MULTI") == b"OK"
        assert client.send("GET", "k") == b"QUEUED"
        assert isinstance(client.send("EXEC"), ReplyError)
        assert str(client.send("EVAL", "return redis.call('get', 'k')", "0")) == "ERR internal error"
        assert client.send("PING") == b"PONG"
    assert client.send("EVAL", "return redis.call('set', 'k', '1')", "0") == b"OK"
    with broken(node, "GET", raises), pytest.raises(ZeroDivisionError):
        client.send("EVAL", "redis.call('set', 'k', '2') return redis.call('get', 'k')", "0")


def test_the_careful_path_survives_as_the_fast_one_does() -> None:
    node = LocalNode()
    client, watcher = node.open(), node.open()
    assert watcher.send("MONITOR") == b"OK"
    with broken(node, "GET", raises):
        assert str(client.send("GET", "k")) == "ERR internal error"
    assert client.send("GET", "k") is None
