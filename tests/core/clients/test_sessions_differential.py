"""Whole conversations through real sockets: the same bytes come from a node of ours and from Redis 7.0.

What differs on purpose stands in test_sessions.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from tests.support import conversations
from tests.support.servers import servers
from tests.support.sessions import CLOSE, Step, Talk, command, differences
from tests.support.stock import binary

pytestmark = pytest.mark.skipif(binary("redis7") is None, reason="redis-server is not installed")
MANY = 400 if os.environ.get("REPLICATOR_LONG") else 25
PASSWORD = "secret"


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Talk, Talk]]:
    """Ours and stock."""
    folder = Path(tmp_path_factory.mktemp("sessions"))
    with (
        servers(folder, "ours", "redis7") as (ours, stock),
        closing(Talk(ours.port)) as left,
        closing(Talk(stock.port)) as right,
    ):
        yield left, right


@pytest.fixture(scope="module")
def guarded_sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Talk, Talk]]:
    """Ours and stock, with a password."""
    with servers(Path(tmp_path_factory.mktemp("guarded")), "ours", "redis7") as pair:
        for server in pair:
            assert server.call("CONFIG", "SET", "requirepass", PASSWORD) == b"OK"
        ours, stock = pair
        with closing(Talk(ours.port, PASSWORD)) as left, closing(Talk(stock.port, PASSWORD)) as right:
            yield left, right


def _hold(sides: tuple[Talk, Talk], steps: list[Step]) -> None:
    ours, stock = sides
    assert not (found := differences(steps, ours.play(steps), stock.play(steps))), found


@pytest.mark.parametrize("name", conversations.TRANSACTIONS)
def test_a_transaction_goes_as_stock_s(sides: tuple[Talk, Talk], name: str) -> None:
    _hold(sides, conversations.TRANSACTIONS[name])


@pytest.mark.parametrize("name", conversations.SUBSCRIPTIONS)
def test_a_subscriber_is_told_what_stock_tells(sides: tuple[Talk, Talk], name: str) -> None:
    _hold(sides, conversations.SUBSCRIPTIONS[name])


@pytest.mark.parametrize("name", conversations.WAITING)
def test_clients_wait_and_are_served_as_by_stock(sides: tuple[Talk, Talk], name: str) -> None:
    _hold(sides, conversations.WAITING[name])


@pytest.mark.parametrize("name", conversations.LIMITS)
def test_pauses_and_limits_are_those_of_stock(sides: tuple[Talk, Talk], name: str) -> None:
    _hold(sides, conversations.LIMITS[name])


@pytest.mark.parametrize("name", conversations.CONNECTIONS)
def test_a_connection_is_answered_as_by_stock(sides: tuple[Talk, Talk], name: str) -> None:
    _hold(sides, conversations.CONNECTIONS[name])


@pytest.mark.parametrize("name", conversations.FRAMES)
def test_a_frame_is_taken_or_refused_as_by_stock(sides: tuple[Talk, Talk], name: str) -> None:
    _hold(sides, conversations.FRAMES[name])


@pytest.mark.parametrize("name", conversations.UNAUTHENTICATED)
def test_a_client_without_password_is_answered_as_by_stock(guarded_sides: tuple[Talk, Talk], name: str) -> None:
    _hold(guarded_sides, conversations.UNAUTHENTICATED[name])


@pytest.mark.parametrize("seed", range(MANY))
def test_conversations_drawn_at_random_go_as_stock_s(sides: tuple[Talk, Talk], seed: int) -> None:
    _hold(sides, _draw(Random(seed)))


_KEYS = ("a", "b", "c")
_DRAWN = (
    *(
        "SET {k} {n}",
        "GET {k}",
        "INCR {k}",
        "APPEND {k} x",
        "DEL {k}",
        "RPUSH {k} {n} y",
        "LPOP {k}",
        "LLEN {k}",
        "LRANGE {k} 0 -1",
        "EXISTS {k}",
    ),
    *(
        "RENAME {k} {l}",
        "COPY {k} {l}",
        "LMOVE {k} {l} LEFT RIGHT",
        "SADD {k} {n}",
        "ZADD {k} {n} m",
        "ZPOPMIN {k}",
        "XADD {k} * f",
        "FLUSHALL",
        "SWAPDB 0 1",
    ),
    *(
        "MULTI",
        "MULTI",
        "EXEC",
        "EXEC",
        "EXEC",
        "DISCARD",
        "WATCH {k}",
        "WATCH {k} {l}",
        "UNWATCH",
        "SELECT {d}",
        "MOVE {k} 1",
        "DBSIZE",
    ),
    *(
        "BLPOP {k} {l} 0",
        "BRPOP {k} 0",
        "BLMOVE {k} {l} LEFT RIGHT 0",
        "BZPOPMIN {k} 0",
        "BLMPOP 0 2 {k} {l} LEFT COUNT 2",
        "BZMPOP 0 1 {k} MAX",
    ),
    *(
        "SUBSCRIBE {k}",
        "UNSUBSCRIBE {k}",
        "PSUBSCRIBE {k}*",
        "PUNSUBSCRIBE {k}*",
        "PUBLISH {k} {n}",
        "PING",
        "PING x",
        "ECHO {n}",
        "RESET",
        "HELLO 3",
        "HELLO 2",
    ),
    *(
        "NOSUCH {k}",
        "GET",
        "INCR {k} {k}",
        "OBJECT NOSUCH",
        "CLIENT REPLY SKIP",
        "CLIENT REPLY ON",
        "CLIENT UNBLOCK {id}",
        "CLIENT UNBLOCK {id} ERROR",
    ),
    *(
        "EVAL 'return redis.call(\"rpush\",KEYS[1],ARGV[1])' 1 {k} {n}",
        'EVAL \'redis.call("set",KEYS[1],1) return redis.call("nosuch")\' 1 {k}',
    ),
    *(
        "PEXPIRE {k} 100000",
        "PERSIST {k}",
        "EXPIRE {k} 0",
        "SORT {k} STORE {l}",
        "GETDEL {k}",
        "TYPE {k}",
        "SETNX {k} {n}",
        "WAIT 0 0",
        "QUIT",
    ),
)


def _draw(chance: Random) -> list[Step]:
    """A conversation of three clients. Nothing in it hangs on chance or time; who publishes is in no transaction and
    speaks RESP2, since what stock tells a publisher of itself inside EXEC is no protocol.
    """
    names = ("p", "q", "r")
    steps: list[Step] = []
    queueing: set[str] = set()
    silenced: set[str] = set()  # stock keeps a connection open whose QUIT is not answered

    def words(name: str) -> str:
        text = chance.choice(_DRAWN)
        while (
            (text.startswith("PUBLISH") and name in queueing)
            or (text.startswith("XADD") and name in queueing)
            or (text.startswith("CLIENT REPLY") and name in queueing)
            or (text == "QUIT" and (name in silenced or chance.random() < 0.8))
        ):
            text = chance.choice(_DRAWN)
        if text == "CLIENT REPLY SKIP":
            silenced.add(name)
        if text == "MULTI":
            queueing.add(name)
        return text.format(
            k=chance.choice(_KEYS),
            l=chance.choice(_KEYS),
            n=chance.randrange(5),
            d=chance.randrange(2),
            id="{id:" + chance.choice(names) + "}",
        )

    for _ in range(40):
        name = chance.choice(names)
        text = words(name)
        if "{id:" in text or chance.random() < 0.5:
            steps.append((name, text))
        else:
            several = [one for one in (text, *(words(name) for _ in range(chance.randrange(6)))) if "{id:" not in one]
            data = b"".join(map(command, several))
            cut = chance.randrange(len(data)) if chance.random() < 0.5 else 0
            steps += [(name, data[:cut])] * bool(cut) + [(name, data[cut:])]
    if chance.random() < 0.3:
        steps.append((chance.choice(names), CLOSE))
    return steps
