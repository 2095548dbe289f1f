"""The data side of a cluster's node: what clients are answered, side by side with a stock node in the same place.

Each engine has a cluster of two of its own nodes: the first owns slots 0-8191 (foo lies elsewhere), the second the
rest; one slot moves from the first to the second, one the other way.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from replicator.core.cluster.slots import key_slot
from tests.support.clusters import Member, members, wait_ok
from tests.support.servers import until
from tests.support.stock import binary

_LEAVES, _COMES, _ELSEWHERE, _MINE = b"{2}", b"{foo}", b"{12}", b"{3}"  # hash tags of slots with that fate


def _tagged(text: str) -> bytes:
    """"leaves:a" -> a key whose slot leaves the first node."""
    fates = {"leaves": _LEAVES, "comes": _COMES, "elsewhere": _ELSEWHERE, "mine": _MINE}
    fate, colon, rest = text.partition(":")
    return fates[fate] + rest.encode() if colon and fate in fates else text.encode()


_TALK = """
SET mine:a 1
GET mine:a
GET elsewhere:a
MGET mine:a elsewhere:a
MGET mine:a mine:b
MSET mine:a 1 mine:b 2
GET leaves:there
GET leaves:gone
MGET leaves:there leaves:there2
MGET leaves:there leaves:gone
MGET leaves:gone leaves:gone2
SET leaves:new 1
DEL leaves:there2
GET comes:a
ASKING
GET comes:a
ASKING
SET comes:a 1
GET comes:a
ASKING
MGET comes:a comes:b
ASKING
MGET comes:a comes:a
ASKING
PING
GET comes:a
READONLY
GET elsewhere:a
READWRITE
MULTI
SET mine:a 5
GET elsewhere:a
EXEC
MULTI
SET mine:a 6
GET mine:a
EXEC
MULTI
GET mine:a
SET leaves:gone 1
EXEC
DISCARD
EVAL "return redis.call('get', KEYS[1])" 1 mine:a
EVAL "return redis.call('get', KEYS[1])" 1 elsewhere:a
EVAL "return redis.call('get', ARGV[1])" 1 mine:a elsewhere:a
EVAL "return redis.call('get', ARGV[1])" 0 elsewhere:a
EVAL "return redis.call('get', ARGV[1])" 1 mine:a leaves:there
EVAL "#!lua\\nreturn redis.call('get', ARGV[1])" 1 mine:a leaves:there
EVAL "#!lua flags=allow-cross-slot-keys\\nreturn redis.call('get', ARGV[1])" 1 mine:a leaves:there
EVAL "#!lua flags=no-cluster\\nreturn 1" 0
EVAL "return 1" 2 mine:a elsewhere:a
SPUBLISH mine:ch hello
SPUBLISH elsewhere:ch hello
SSUBSCRIBE elsewhere:ch
PUBLISH elsewhere:ch hello
SELECT 1
SELECT 0
MOVE mine:a 1
COPY mine:a mine:c DB 1
SWAPDB 0 1
REPLICAOF 127.0.0.1 1
FAILOVER
WATCH mine:a mine:b
WATCH mine:a elsewhere:b
SORT mine:list
XREAD COUNT 1 STREAMS mine:s elsewhere:s 0 0
RENAME mine:a elsewhere:a
BITOP AND mine:d elsewhere:a mine:a
DBSIZE
KEYS *
CLUSTER KEYSLOT mine:a
CLUSTER COUNTKEYSINSLOT 0
CLUSTER SETSLOT 0 STABLE x
CLUSTER SETSLOT 99999 STABLE
CLUSTER SETSLOT 0 IMPORTING nobody
CLUSTER ADDSLOTS 0
CLUSTER ADDSLOTS 16384
CLUSTER ADDSLOTSRANGE 9 3
CLUSTER ADDSLOTSRANGE 9
CLUSTER DELSLOTS a
CLUSTER FLUSHSLOTS
CLUSTER FAILOVER
CLUSTER FAILOVER NOW
CLUSTER FORGET nobody
CLUSTER REPLICATE nobody
CLUSTER REPLICAS nobody
CLUSTER COUNT-FAILURE-REPORTS nobody
CLUSTER MEET nohost 1
CLUSTER MEET 127.0.0.1 x
CLUSTER MEET 127.0.0.1 99999
CLUSTER MEET 127.0.0.1 7000 x
CLUSTER SET-CONFIG-EPOCH 7
CLUSTER RESET NOW
CLUSTER RESET
CLUSTER GETKEYSINSLOT 0 -1
CLUSTER COUNTKEYSINSLOT 99999
CLUSTER NOSUCH
CLUSTER HELP
CLUSTER BUMPEPOCH
"""


def _words(line: str) -> list[bytes]:
    quoted = re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', line)
    return [
        code.replace("\\n", "\n").encode() if code else _tagged(word) for code, word in quoted
    ]


def _neutral(answer: Any, nodes: list[Member]) -> Any:
    """Ports and ids by the node's number, a script's sha left out."""
    if isinstance(answer, list):
        items = [_neutral(item, nodes) for item in answer]
        return sorted(items, key=str) if all(isinstance(item, str) for item in items) else items
    text = answer.decode() if isinstance(answer, bytes) else str(answer)
    for number, node in enumerate(nodes):
        text = text.replace(f":{node.port}", f":<{number}>")
    return re.sub(r" script: [0-9a-f]{40}, on .*", "", text)


def _pair(nodes: list[Member]) -> None:
    first, second = nodes
    assert first.call("CLUSTER", "ADDSLOTSRANGE", 0, 8191) == b"OK"
    assert second.call("CLUSTER", "ADDSLOTSRANGE", 8192, 16383) == b"OK"
    assert first.call("CLUSTER", "SET-CONFIG-EPOCH", 1) == second.call("CLUSTER", "SET-CONFIG-EPOCH", 2) == b"OK"
    assert first.call("CLUSTER", "MEET", "127.0.0.1", second.port) == b"OK"
    wait_ok(nodes)
    until(lambda: all(len(node.nodes()) == 2 for node in nodes), "both know each other")
    for key in (b"there", b"there2"):
        assert first.call("SET", _LEAVES + key, "v") == b"OK"
    assert first.call("CLUSTER", "SETSLOT", key_slot(_LEAVES), "MIGRATING", second.my_id()) == b"OK"
    assert first.call("CLUSTER", "SETSLOT", key_slot(_COMES), "IMPORTING", second.my_id()) == b"OK"


@pytest.mark.skipif(binary("redis7") is None, reason="Redis 7 is not installed on this machine")
def test_every_answer_of_a_clusters_node_is_stocks(tmp_path: Path) -> None:
    assert key_slot(_LEAVES) < 8192 > key_slot(_MINE)
    assert key_slot(_COMES) >= 8192 <= key_slot(_ELSEWHERE)
    with members(tmp_path / "ours", "ours", "ours") as ours, members(tmp_path / "stock", "redis7", "redis7") as stock:
        _pair(ours)
        _pair(stock)
        differences = []
        for line in _TALK.strip().splitlines():
            mine = _neutral(ours[0].call(*_words(line)), ours)
            theirs = _neutral(stock[0].call(*_words(line)), stock)
            if mine != theirs:
                differences.append((line, mine, theirs))
        assert not differences, "\n".join(map(str, differences))
