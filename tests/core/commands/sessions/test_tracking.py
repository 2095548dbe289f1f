"""Client-side caching: what is remembered, who is told, in which order."""

from __future__ import annotations

import pytest

from tests.support import transcripts
from tests.support.nodes import LocalClient, LocalNode
from tests.support.stock import running

SWITCHES = """
    a> CLIENT GETREDIR
    a> CLIENT TRACKINGINFO
    a> CLIENT CACHING yes
    a> CLIENT TRACKING foo
    a> CLIENT TRACKING on REDIRECT 99999
    a> CLIENT TRACKING on REDIRECT a
    a> CLIENT TRACKING on REDIRECT 0
    a> CLIENT TRACKING on REDIRECT
    a> CLIENT TRACKING off REDIRECT 99999
    a> CLIENT TRACKING on FOO
    a> CLIENT TRACKING on PREFIX a
    a> CLIENT TRACKING on BCAST OPTIN
    a> CLIENT TRACKING on OPTIN OPTOUT
    a> CLIENT TRACKING on BCAST PREFIX a PREFIX ab
    a> CLIENT TRACKING on BCAST PREFIX a PREFIX a
    a> CLIENT TRACKING on
    a> CLIENT TRACKINGINFO
    a> CLIENT TRACKING on BCAST
    a> CLIENT TRACKING on OPTIN
    a> CLIENT CACHING no
    a> CLIENT CACHING yes
    a> CLIENT TRACKINGINFO
    a> CLIENT TRACKINGINFO
    a> PING
    a> CLIENT TRACKINGINFO
    a> CLIENT TRACKING on OPTOUT
    a> CLIENT TRACKING off
    a> CLIENT TRACKING on OPTOUT
    a> CLIENT CACHING yes
    a> CLIENT CACHING no
    a> CLIENT TRACKINGINFO
    a> CLIENT TRACKING off
    a> CLIENT TRACKING on NOLOOP
    a> CLIENT TRACKINGINFO
    a> CLIENT TRACKING off
    a> CLIENT TRACKING on BCAST PREFIX foo PREFIX bar
    a> CLIENT TRACKING on BCAST PREFIX fooo
    a> CLIENT TRACKING on BCAST PREFIX baz
    a> CLIENT TRACKINGINFO
    a> CLIENT TRACKING off foo
    a> CLIENT TRACKING off
    a> CLIENT TRACKINGINFO
    a> CLIENT TRACKING
"""

MESSAGES = """
    a> HELLO 3
    a> CLIENT TRACKING on
    a> GET a
    a> SET a 1
    a?
    a> GET a
    b> SET a 2
    b> SET a 3
    a?
    a> GET a
    a> MULTI
    a> SET a 1
    a> GET c
    a> SET c 2
    a> EXEC
    a?
    a> MGET a b c d
    b> FLUSHALL
    a?
    a> EVAL "return redis.call('get',KEYS[1])" 1 q
    b> SET q 1
    a?
    a> SORT l BY w_* GET v_*
    a> EXISTS e
    a> TYPE t
    a> KEYS *
    b> RPUSH l 1
    b> SET w_1 1
    b> SET e 1
    b> SET t 1
    a?
    a> GET p
    a> RENAME t p
    a?
    a> GET n
    a> CLIENT TRACKING off
    a> CLIENT TRACKING on NOLOOP
    a> GET n
    a> SET n 1
    a?
    b> SET n 2
    a?
    a> CLIENT TRACKING off
    a> CLIENT TRACKING on BCAST PREFIX u: PREFIX v:
    b> MSET u:2 2 u:1 1 w 1
    a?
    a> SET v:1 1
    a?
    b> FLUSHALL
    a?
    a> CLIENT TRACKING off
    a> CLIENT TRACKING on OPTIN
    a> GET o1
    a> CLIENT CACHING yes
    a> GET o2
    a> GET o3
    a> CLIENT CACHING yes
    a> MULTI
    a> GET o4
    a> GET o5
    a> EXEC
    a> GET o6
    b> MSET o1 1 o2 1 o3 1 o4 1 o5 1 o6 1
    a?
    a> CLIENT TRACKING off
    a> CLIENT TRACKING on OPTOUT
    a> GET o1
    a> CLIENT CACHING no
    a> GET o2
    a> GET o3
    b> MSET o1 1 o2 1 o3 1
    a?
    a> RESET
    a> CLIENT TRACKINGINFO
"""


@pytest.fixture
def node() -> LocalNode:
    return LocalNode()


@pytest.mark.parametrize("dialogue", [SWITCHES, MESSAGES], ids=["switches", "messages"])
def test_tracking_is_as_stock_has_it(node: LocalNode, dialogue: str) -> None:
    with running("redis7") as port:
        transcripts.compare(
            dialogue, port, node, lambda argv, answer: answer if argv[:1] != [b"HELLO"] else None
        )


def tracking(node: LocalNode, *options: str | int) -> LocalClient:
    client = node.open()
    client.send("HELLO", 3)
    assert client.send("CLIENT", "TRACKING", "ON", *options) == b"OK"
    return client


def test_a_client_is_told_once_and_only_of_what_it_has_read(node: LocalNode) -> None:
    client, writer = tracking(node), node.open()
    client.send("GET", "a")
    writer.send("SET", "b", "1")
    assert client.read() == []
    writer.pipeline(("SET", "a", "1"), ("SET", "a", "2"))
    assert client.read() == [[b"invalidate", [b"a"]]]


def test_an_expiry_and_an_eviction_invalidate(node: LocalNode) -> None:
    client, writer = tracking(node), node.open()
    writer.send("SET", "a", "1", "PX", 50)
    client.send("GET", "a")
    node.advance(100)
    assert client.read() == [[b"invalidate", [b"a"]]]
    writer.send("SET", "b", "1")
    client.send("GET", "b")
    writer.send("CONFIG", "SET", "maxmemory", 1, "maxmemory-policy", "allkeys-random")
    writer.send("SET", "c", "1")
    assert client.read() == [[b"invalidate", [b"b"]]]


def test_messages_go_to_the_client_that_was_named_instead(node: LocalNode) -> None:
    listener, client, writer = node.open(), node.open(), node.open()
    number = listener.send("CLIENT", "ID")
    listener.send("SUBSCRIBE", "__redis__:invalidate")
    client.send("CLIENT", "TRACKING", "ON", "REDIRECT", number)
    assert client.send("CLIENT", "GETREDIR") == number
    client.send("GET", "a")
    writer.send("SET", "a", "1")
    assert listener.read() == [[b"message", b"__redis__:invalidate", [b"a"]]]
    writer.send("FLUSHALL")
    assert listener.read() == [[b"message", b"__redis__:invalidate", None]]


def test_a_listener_that_writes_itself_is_told_too(node: LocalNode) -> None:
    listener, client = node.open(), node.open()
    listener.send("HELLO", 3)
    client.send("CLIENT", "TRACKING", "ON", "REDIRECT", listener.send("CLIENT", "ID"))
    client.send("GET", "a")
    assert listener.send("SET", "a", "1") == b"OK"
    assert listener.read() == [[b"invalidate", [b"a"]]]


def test_the_end_of_the_listener_is_told(node: LocalNode) -> None:
    listener, client, writer = node.open(), node.open(), node.open()
    number = listener.send("CLIENT", "ID")
    client.send("HELLO", 3)
    client.send("CLIENT", "TRACKING", "ON", "REDIRECT", number)
    client.send("GET", "a")
    listener.close()
    writer.send("SET", "a", "1")
    assert client.read() == [[b"tracking-redir-broken", number]]
    assert b"broken_redirect" in client.send("CLIENT", "TRACKINGINFO")[b"flags"]


def test_a_client_of_resp2_that_named_nobody_is_told_nothing(node: LocalNode) -> None:
    client, writer = node.open(), node.open()
    client.send("CLIENT", "TRACKING", "ON")
    client.send("GET", "a")
    writer.send("SET", "a", "1")
    assert client.read() == []


def test_a_full_table_forgets_and_says_so(node: LocalNode) -> None:
    client = tracking(node)
    client.send("CONFIG", "SET", "tracking-table-max-keys", 10)
    told = [client.pipeline(("GET", f"k{n}")) for n in range(15)]
    assert told[:10] == [[None]] * 10
    assert told[10:] == [[None, [b"invalidate", [b"k%d" % n]]] for n in range(5)]
    assert len(node.node.tracker.readers) == 10


def test_the_table_empties_when_nobody_tracks(node: LocalNode) -> None:
    client, other = tracking(node), tracking(node, "BCAST", "PREFIX", "p")
    client.send("GET", "a")
    info = client.send("INFO", "stats")
    assert b"tracking_total_keys:1\r\n" in info and b"tracking_total_prefixes:1\r\n" in info
    assert b"tracking_clients:2\r\n" in client.send("INFO", "clients")
    client.close()
    other.close()
    assert not node.node.tracker.readers and node.node.keyspace.on_touch is None
    assert not any(database.hooked for database in node.node.keyspace.databases)


def test_a_full_synchronization_invalidates_everything(node: LocalNode) -> None:
    client = tracking(node)
    client.send("GET", "a")
    for database in node.node.keyspace.databases:
        database.clear()
    client.node.advance(0)
    assert client.read() == [[b"invalidate", None]]
