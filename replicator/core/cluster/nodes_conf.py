"""nodes.conf: what a node knows of its cluster as text, the same that CLUSTER NODES shows.

A line a node:

    id ip:port@busport[,hostname] flags primary-id|- ping-sent pong-received config-epoch (dis)connected slots...

where slots are ranges ("0-5460", "77") and, on the node's own line, "[93->-id]" for a slot that moves away and
"[77-<-id]" for one that comes. The last line is "vars currentEpoch N lastVoteEpoch N".

Source: https://redis.io/docs/latest/commands/cluster-nodes/, and the files of Redis 7.0.15 and Valkey 9.1
"""

from __future__ import annotations

from replicator.core.cluster.slots import shown, span
from replicator.core.cluster.topology import ClusterNode, Topology, flag_text, flags_from
from replicator.core.now import Now
from replicator.core.wire.bus import FAILED, HANDSHAKE, PFAIL, SLOTS


class BadNodesConf(Exception):
    """The file is no nodes.conf: the text says which line and why."""


def node_line(topology: Topology, node: ClusterNode, now: Now, *, with_host_name: bool = True) -> str:
    """One node's line; times are told by the wall clock."""
    host_name = f",{node.host_name}" if with_host_name and node.host_name else ""
    shift = now.unix_ms - now.mono_ms
    primary = node.primary.id if node.primary is not None else "-"
    epoch = node.primary.config_epoch if node.primary is not None else node.config_epoch
    linked = "connected" if node.linked or node is topology.me else "disconnected"
    ping, pong = (when + shift if when else 0 for when in (node.ping_sent_ms, node.pong_received_ms))
    words = [
        node.id, f"{node.host}:{node.port}@{node.bus_port}{host_name}", flag_text(node.flags), primary,
        str(ping), str(pong), str(epoch), linked, *shown(node.slots),
    ]  # fmt: skip
    if node is topology.me:
        words += [f"[{slot}->-{other.id}]" for slot, other in sorted(topology.migrating.items())]
        words += [f"[{slot}-<-{other.id}]" for slot, other in sorted(topology.importing.items())]
    return " ".join(words)


def describe(topology: Topology, now: Now, *, leave_out: int = 0) -> str:
    """All nodes without one of the flags `leave_out`, a line each."""
    return "".join(
        node_line(topology, node, now) + "\n" for node in topology.nodes.values() if not node.flags & leave_out
    )


def write(topology: Topology, now: Now) -> str:
    """The whole file."""
    epochs = f"vars currentEpoch {topology.current_epoch} lastVoteEpoch {topology.last_vote_epoch}\n"
    return describe(topology, now, leave_out=HANDSHAKE) + epochs


def read(text: str, now: Now) -> Topology:
    """The topology that a file describes; raises BadNodesConf."""
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    own = [words for _, words in lines if len(words) > 2 and "myself" in words[2].split(",")]
    if len(own) != 1:
        raise BadNodesConf("no line, or more than one, is marked as this node's own")
    topology = Topology(_identity(own[0][0]))
    topology.me.flags = 0  # its own line says whether it is a primary
    numbered = None
    try:
        for numbered in lines:
            words = numbered[1]
            if words[0] == "vars":
                _read_epochs(topology, words)
            else:
                _read_node(topology, words, now)
    except (ValueError, KeyError, IndexError) as problem:
        assert numbered is not None
        raise BadNodesConf(f"line {numbered[0]}: {problem}") from None
    topology.current_epoch = topology.greatest_epoch()
    return topology


def _identity(word: str) -> str:
    if len(word) != 40 or set(word) - set("0123456789abcdef"):
        raise BadNodesConf(f"{word[:50]!r} is no node's id")
    return word


def _read_epochs(topology: Topology, words: list[str]) -> None:
    for name, value in zip(words[1::2], words[2::2], strict=True):
        if name == "currentEpoch":
            topology.current_epoch = int(value)
        elif name == "lastVoteEpoch":
            topology.last_vote_epoch = int(value)


def _node(topology: Topology, name: str) -> ClusterNode:
    """The node of that id; a line may speak of one whose own line comes later."""
    return topology.nodes.get(name) or topology.add(ClusterNode(_identity(name), 0))


def _read_node(topology: Topology, words: list[str], now: Now) -> None:
    node = _node(topology, words[0])
    _read_address(node, words[1])
    node.flags |= flags_from(words[2])
    if node.flags & FAILED:
        node.flags &= ~PFAIL
        node.failed_ms = now.mono_ms
    node.created_ms = now.mono_ms
    if words[3] != "-":
        topology.set_primary(node, _node(topology, words[3]))
    # What was sent before is answered to nobody: only that a ping or pong was seen is of interest.
    node.config_epoch = 0 if node.is_replica else int(words[6])
    if words[7] not in ("connected", "disconnected"):
        raise ValueError(f"{words[7]!r} is no state of a link")
    for word in words[8:]:
        if word.startswith("["):
            _read_moving(topology, word.strip("[]"))
            continue
        first, _, last = word.partition("-")
        begin, end = int(first), int(last or first)
        if not 0 <= begin <= end < SLOTS:
            raise ValueError(f"{word!r} is no range of slots")
        topology.assign(span(begin, end), node)


def _read_address(node: ClusterNode, word: str) -> None:
    """ip:port@busport,hostname,name=value ... (later servers write more behind the host name)"""
    address, *more = word.split(",")
    node.host_name = more[0] if more and "=" not in more[0] else ""
    for extra in more:
        name, _, value = extra.partition("=")
        if name == "shard-id":
            node.shard_id = value
    host_port, _, bus_port = address.partition("@")
    host, _, port = host_port.rpartition(":")
    node.host, node.port = host, int(port)
    node.bus_port = int(bus_port) if bus_port else node.port + 10000


def _read_moving(topology: Topology, word: str) -> None:
    mark = "->-" if "->-" in word else "-<-"
    slot, _, name = word.partition(mark)
    if not 0 <= int(slot) < SLOTS:
        raise ValueError(f"{word!r} is no slot that moves")
    moving = topology.migrating if mark == "->-" else topology.importing
    moving[int(slot)] = _node(topology, name)
