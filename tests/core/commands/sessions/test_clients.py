"""CLIENT: lists, names, kills, pauses, reply modes, waking those who wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hiredis
import pytest

from tests.support import transcripts
from tests.support.nodes import NOTHING, LocalClient, LocalNode
from tests.support.servers import servers, until
from tests.support.stock import running


@pytest.fixture
def node() -> LocalNode:
    return LocalNode()


def fields(client: LocalClient, other: LocalClient | None = None) -> dict[str, str]:
    """CLIENT INFO, or another's line of CLIENT LIST, as a dictionary."""
    text = client.send("CLIENT", "LIST").decode()
    wanted = (other or client).session.id
    for line in text.splitlines():
        found = dict(word.split("=", 1) for word in line.split(" "))
        if int(found["id"]) == wanted:
            return found
    raise AssertionError(text)


DIALOGUE = """
    a> CLIENT LIST TYPE foo
    a> CLIENT LIST TYPE
    a> CLIENT LIST ID
    a> CLIENT LIST ID 99999
    a> CLIENT LIST ID a
    a> CLIENT LIST TYPE normal ID 1
    a> CLIENT LIST FOO
    a> CLIENT LIST TYPE replica
    a> CLIENT LIST TYPE master
    a> CLIENT KILL
    a> CLIENT KILL 1.2.3.4:5
    a> CLIENT KILL ID 99999
    a> CLIENT KILL ID a
    a> CLIENT KILL ID 0
    a> CLIENT KILL TYPE foo
    a> CLIENT KILL USER nobody
    a> CLIENT KILL USER default SKIPME foo
    a> CLIENT KILL SKIPME yes FOO
    a> CLIENT KILL ADDR
    a> CLIENT KILL ADDR 1:2 LADDR
    a> CLIENT KILL ADDR 1:2 LADDR 3:4 USER default TYPE normal
    a> CLIENT KILL FOO bar
    b> PING
    a> CLIENT KILL TYPE normal SKIPME yes
    b> PING
    a> CLIENT SETNAME "a b"
    a> CLIENT SETNAME ""
    a> CLIENT GETNAME
    a> CLIENT SETNAME abc
    a> CLIENT GETNAME
    a> CLIENT SETNAME
    a> CLIENT PAUSE a
    a> CLIENT PAUSE -1
    a> CLIENT PAUSE 1 foo
    a> CLIENT PAUSE 99999999999999999999
    a> CLIENT PAUSE 1.5
    a> CLIENT UNPAUSE
    a> CLIENT REPLY foo
    a> CLIENT NO-EVICT foo
    a> CLIENT NO-EVICT on
    a> CLIENT NO-EVICT
    a> CLIENT UNBLOCK 1 foo
    a> CLIENT UNBLOCK a
    a> CLIENT UNBLOCK 99999
    a> CLIENT FOO
    a> CLIENT INFO x
    a> CLIENT
    a> CLIENT KILL ID 99999 SKIPME no
"""


def test_client_answers_as_stock_does(node: LocalNode) -> None:
    with running("redis7") as port:
        transcripts.compare(DIALOGUE, port, node)


def test_the_list_has_the_fields_of_stock_in_their_order_and_two_of_later_versions(node: LocalNode) -> None:
    client = node.open()
    line = client.send("CLIENT", "INFO").decode()
    names = [word.split("=")[0] for word in line.split()]
    expected = (
        "id addr laddr fd name age idle flags db sub psub ssub multi qbuf qbuf-free argv-mem multi-mem rbs rbp obl oll",
        "omem tot-mem events cmd user redir resp lib-name lib-ver",
    )
    assert names == " ".join(expected).split(" ")


def test_the_list_shows_what_a_client_is_doing(node: LocalNode) -> None:
    watcher, client = node.open(), node.open()
    client.send("CLIENT", "SETNAME", "worker")
    client.send("CLIENT", "SETINFO", "LIB-NAME", "mine")
    client.send("CLIENT", "SETINFO", "lib-ver", "1.2")
    client.send("SELECT", 3)
    node.advance(5000)
    shown = fields(watcher, client)
    assert (shown["name"], shown["db"], shown["age"], shown["idle"]) == ("worker", "3", "5", "5")
    assert (shown["lib-name"], shown["lib-ver"], shown["cmd"], shown["flags"]) == ("mine", "1.2", "select", "N")
    client.send("MULTI")
    client.send("SET", "a", "b")
    shown = fields(watcher, client)
    assert (shown["flags"], shown["multi"], shown["cmd"]) == ("x", "1", "set")
    client.send("DISCARD")
    assert client.send("BLPOP", "nothing", 0) is NOTHING
    shown = fields(watcher, client)
    assert (shown["flags"], shown["cmd"], shown["argv-mem"]) == ("b", "blpop", str(len("BLPOPnothing0")))
    other = node.open()
    other.send("SUBSCRIBE", "a", "b")
    other.send("PSUBSCRIBE", "c*")
    shown = fields(watcher, other)
    assert (shown["flags"], shown["sub"], shown["psub"]) == ("P", "2", "1")
    assert watcher.send("CLIENT", "LIST", "TYPE", "pubsub").count(b"\n") == 1


def test_a_kill_by_address_closes_that_client_and_no_other(node: LocalNode) -> None:
    client, victim, bystander = node.open(), node.open(), node.open()
    address = fields(client, victim)["addr"]
    assert client.send("CLIENT", "KILL", address) == b"OK"
    assert victim.closed and not bystander.closed
    assert client.send("CLIENT", "KILL", "ID", bystander.session.id, "SKIPME", "yes") == 1
    assert bystander.closed


def test_a_client_that_kills_itself_gets_its_reply_first(node: LocalNode) -> None:
    client = node.open()
    assert client.send("CLIENT", "KILL", "ID", client.session.id) == 0
    assert not client.closed
    assert client.send("CLIENT", "KILL", "ID", client.session.id, "SKIPME", "no") == 1
    assert client.closed


def test_a_killed_client_that_waited_takes_nothing_any_more(node: LocalNode) -> None:
    client, victim = node.open(), node.open()
    victim.send("BLPOP", "list", 0)
    answers = client.pipeline(("CLIENT", "KILL", "ID", victim.session.id), ("RPUSH", "list", "x"), ("LLEN", "list"))
    assert answers == [1, 1, 1]


def test_kill_maxage_spares_the_young(node: LocalNode) -> None:
    old = node.open()
    node.advance(10_000)
    young, client = node.open(), node.open()
    assert client.send("CLIENT", "KILL", "MAXAGE", 5) == 1
    assert old.closed and not young.closed


def test_unblock_ends_a_wait_as_its_timeout_or_by_an_error(node: LocalNode) -> None:
    client, waiter = node.open(), node.open()
    assert waiter.send("BLPOP", "list", 0) is NOTHING
    assert client.send("CLIENT", "UNBLOCK", waiter.session.id) == 1
    assert waiter.read() == [None]
    waiter.send("BLPOP", "list", 0)
    assert client.send("CLIENT", "UNBLOCK", waiter.session.id, "ERROR") == 1
    assert [str(answer) for answer in waiter.read()] == ["UNBLOCKED client unblocked via CLIENT UNBLOCK"]
    assert waiter.send("WAIT", 1, 0) is NOTHING
    assert client.send("CLIENT", "UNBLOCK", waiter.session.id) == 1
    assert waiter.read() == [0]
    assert client.send("CLIENT", "UNBLOCK", waiter.session.id) == 0


def test_a_command_that_a_pause_holds_back_is_not_unblocked(node: LocalNode) -> None:
    client, writer = node.open(), node.open()
    client.send("CLIENT", "PAUSE", 1000, "WRITE")
    assert writer.send("SET", "a", "b") is NOTHING
    assert client.send("CLIENT", "UNBLOCK", writer.session.id) == 0
    assert client.send("CLIENT", "UNPAUSE") == b"OK"
    assert writer.read() == [b"OK"]


def test_a_pause_of_writes_lets_reads_through_and_one_of_everything_holds_all(node: LocalNode) -> None:
    client, other = node.open(), node.open()
    client.send("CLIENT", "PAUSE", 1000, "WRITE")
    assert other.send("GET", "a") is None
    assert other.send("PUBLISH", "c", "m") is NOTHING
    node.advance(1000)
    assert other.read() == [0]
    client.send("CLIENT", "PAUSE", 500)
    assert client.send("PING") is NOTHING
    node.advance(499)
    assert client.read() == []
    node.advance(1)
    assert client.read() == [b"PONG"]


def test_reply_modes_silence_what_they_should(node: LocalNode) -> None:
    client = node.open()
    answers = client.pipeline(
        ("CLIENT", "REPLY", "SKIP"), ("PING",), ("ECHO", "hi"), ("CLIENT", "REPLY", "OFF"), ("PING",),
        ("CLIENT", "REPLY", "SKIP"), ("ECHO", "1"), ("CLIENT", "REPLY", "ON"), ("ECHO", "2"),
        ("CLIENT", "REPLY", "SKIP"), ("CLIENT", "REPLY", "ON"), ("PING",),
    )  # fmt: skip
    assert answers == [b"hi", b"OK", b"2", b"OK", b"PONG"]


def test_commands_of_a_no_touch_client_do_not_count_as_uses(node: LocalNode) -> None:
    client = node.open()
    client.send("CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "maxmemory", "1gb")
    client.send("SET", "a", "b")
    node.advance(10_000)
    client.send("CLIENT", "NO-TOUCH", "on")
    client.send("GET", "a")
    assert client.send("OBJECT", "IDLETIME", "a") == 10
    assert fields(client)["flags"] == "T"
    client.send("CLIENT", "NO-TOUCH", "off")
    client.send("GET", "a")
    assert client.send("OBJECT", "IDLETIME", "a") == 0


def test_a_killed_link_to_the_primary_comes_back_partially(tmp_path: Path) -> None:
    with servers(tmp_path, "ours", "ours") as (primary, replica):
        replica.follow(primary)
        replica.wait_linked()
        assert b"flags=M" in replica.call("CLIENT", "LIST", "TYPE", "master")
        assert b"flags=S" in primary.call("CLIENT", "LIST", "TYPE", "slave")
        assert replica.call("CLIENT", "KILL", "TYPE", "master") == 1
        until(lambda: primary.info("stats")["sync_partial_ok"] == "1", "the replica has resumed")


def test_reset_makes_the_connection_as_if_it_were_new(node: LocalNode) -> None:
    client = node.open()
    client.send("CLIENT", "SETNAME", "x")
    client.send("HELLO", 3)
    client.send("CLIENT", "TRACKING", "ON")
    client.send("SELECT", 2)
    assert client.send("RESET") == b"RESET"
    shown = fields(client)
    assert (shown["name"], shown["db"], shown["resp"], shown["redir"], shown["flags"]) == ("", "0", "2", "-1", "N")


def test_help_lists_every_subcommand(node: LocalNode) -> None:
    client = node.open()
    for name in ("CLIENT", "ACL", "SLOWLOG", "LATENCY", "COMMAND"):
        lines: Any = client.send(name, "HELP")
        assert isinstance(lines, list) and not isinstance(lines[0], hiredis.ReplyError)
        shown = " ".join(line.decode() for line in lines)
        for sub in node.node.table.commands[name.lower()].subcommands:
            assert sub.upper() in shown
