"""A stock Sentinel and ours watch the same primary: what they answer, and how they refuse, is the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import hiredis
import pytest

from tests.support.sentinel_processes import quorum
from tests.support.servers import servers, until
from tests.support.stock import Wire, binary

ASKED = (
    "PING", "PING a", "PING a b", "SENTINEL", "SENTINEL FOO", "SENTINEL MASTER", "SENTINEL MASTER x",
    "SENTINEL REPLICAS x", "SENTINEL SLAVES x", "SENTINEL SENTINELS x", "SENTINEL GET-MASTER-ADDR-BY-NAME ours",
    "SENTINEL GET-MASTER-ADDR-BY-NAME x", "SENTINEL CKQUORUM ours", "SENTINEL CKQUORUM x", "SENTINEL PENDING-SCRIPTS",
    "SENTINEL SET ours", "SENTINEL SET ours foo 1", "SENTINEL SET ours quorum 0", "SENTINEL SET ours quorum",
    "SENTINEL SET ours down-after-milliseconds x", "SENTINEL SET ours down-after-milliseconds 0",
    "SENTINEL SET ours failover-timeout 0", "SENTINEL SET x quorum 1", "SENTINEL SET ours parallel-syncs 2",
    "SENTINEL SET ours notification-script /nope", "SENTINEL SET ours auth-pass foo auth-user bar",
    "SENTINEL SET ours auth-pass", "SENTINEL MONITOR ours 127.0.0.1 1 1", "SENTINEL MONITOR a 127.0.0.1 x 1",
    "SENTINEL MONITOR a 127.0.0.1 1 0", "SENTINEL MONITOR a 127.0.0.1 1 x", "SENTINEL MONITOR a b.invalid 1 1",
    "SENTINEL MONITOR a 127.0.0.1 99999 1", "SENTINEL REMOVE x", "SENTINEL RESET x", "SENTINEL FAILOVER x",
    "SENTINEL DEBUG", "SENTINEL DEBUG foo 1", "SENTINEL DEBUG info-period x", "SENTINEL DEBUG ping-period 900",
    "SENTINEL CONFIG", "SENTINEL CONFIG GET foo", "SENTINEL CONFIG SET", "SENTINEL CONFIG SET foo x",
    "SENTINEL CONFIG SET announce-port x", "SENTINEL CONFIG GET announce-*",
    "SENTINEL CONFIG SET announce-ip 127.0.0.1",
    "SENTINEL SIMULATE-FAILURE help", "SENTINEL SIMULATE-FAILURE x", "SENTINEL FLUSHCONFIG",
    "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 1 0 *", "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 x 0 *",
    "SENTINEL INFO-CACHE x", "SENTINEL FAILOVER ours", "GET a", "SET a b", "SELECT 0", "MULTI", "ECHO a", "RESET",
    "CONFIG GET port", "TIME", "WAIT 0 0", "REPLICAOF NO ONE", "FAILOVER", "DBSIZE", "PUBLISH a b",
    "PUBLISH __sentinel__:hello x", "ROLE", "AUTH x", "ACL WHOAMI", "ACL LIST", "ACL USERS", "ACL GETUSER nobody",
    "CLIENT GETNAME", "CLIENT SETNAME", "CLIENT NO-TOUCH ON", "HELLO 9", "HELLO x", "SUBSCRIBE", "SHUTDOWN x",
    "COMMAND COUNT x", "CLIENT KILL 1.2.3.4:5", "CLIENT LIST TYPE x", "ACL CAT nonsense",
)  # fmt: skip
# Answers that differ on purpose: COORDINATED makes FAILOVER take more words, and CONFIG GET knows loglevel as Valkey's.
FIELDS_OF_TIME = re.compile(
    r"^(last-|info-refresh|slave-repl-offset|link-pending|role-reported-time|s-down-time|master-link-down-time|runid|port|name$)"
)


def plain(answer: Any) -> Any:
    return f"-{answer}" if isinstance(answer, hiredis.ReplyError) else answer


def linked(wire: Wire, asked: str) -> bool:
    """Whether the first that it lists has its links."""
    return b"disconnected" not in wire.call("SENTINEL", asked, "ours")[0][9]


@pytest.mark.interop
@pytest.mark.skipif(binary("redis7") is None, reason="redis7's server is not installed on this machine")
def test_replies_and_refusals_are_stocks(tmp_path: Path) -> None:
    with servers(tmp_path, "redis7", "redis7") as (primary, replica):
        replica.follow(primary)
        replica.wait_linked()
        with quorum(tmp_path, primary, ("redis7", "ours")) as watching:
            for one in watching:
                until(lambda one=one: one.knows(1, 1), "each knows the replica and the other")
            wires = [Wire(one.port) for one in watching]
            for wire in wires:
                for asked in ("REPLICAS", "SENTINELS"):
                    until(lambda wire=wire, asked=asked: linked(wire, asked), "its links are made")
            for asked in ("SENTINEL MASTER ours", "SENTINEL REPLICAS ours", "SENTINEL SENTINELS ours"):
                stock, ours = (wire.call(*asked.split()) for wire in wires)
                if asked != "SENTINEL MASTER ours":
                    stock, ours = stock[0], ours[0]
                assert ours[::2] == stock[::2], asked
                pairs = zip(stock[::2], stock[1::2], ours[1::2], strict=True)
                timeless = [one for one in pairs if not FIELDS_OF_TIME.match(one[0].decode())]
                assert {name: mine for name, _, mine in timeless} == {name: theirs for name, theirs, _ in timeless}
            for wire in wires:
                wire.close()
            differing = {}
            for asked in ASKED:
                stock, ours = (plain(one.call(*asked.split())) for one in watching)
                if stock != ours:
                    differing[asked] = (stock, ours)
            assert differing == {}
