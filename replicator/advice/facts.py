"""What is asked of a running topology: INFO, CONFIG, CLIENT LIST and round trips of each node, at two moments."""

from __future__ import annotations

import re
import ssl
import time
from dataclasses import dataclass, field
from typing import Any

from replicator.status import Address, Client, NodeView, Unreachable, Walk, walk_nodes

# Commands that change data, for the rate of writes: those that nearly all applications' writes are.
_WRITES = frozenset([
    "set", "setex", "psetex", "setnx", "getset", "getdel", "getex", "mset", "msetnx", "append", "incr", "incrby",
    "incrbyfloat", "decr", "decrby", "del", "unlink", "expire", "pexpire", "lpush", "rpush", "lpop", "rpop", "lset",
    "lrem", "ltrim", "sadd", "srem", "spop", "hset", "hmset", "hsetnx", "hdel", "hincrby", "zadd", "zincrby",
    "zrem", "zpopmin", "zpopmax", "xadd", "xtrim", "xdel", "xack", "setrange", "setbit", "bitfield", "pfadd",
    "copy", "rename", "eval", "evalsha", "fcall",
])  # fmt: skip
PINGS = 5


@dataclass(slots=True)
class Facts:
    """One node. config: all directives ({} where CONFIG is forbidden). round_trip_ms: the median of a few PINGs."""

    view: NodeView
    info: dict[str, str] = field(default_factory=dict)
    config: dict[str, str] = field(default_factory=dict)
    clients: list[dict[str, str]] = field(default_factory=list)
    round_trip_ms: float = 0.0

    @property
    def name(self) -> str:
        return self.view.address

    def number(self, field_name: str, default: int = 0) -> int:
        """A whole number of INFO."""
        text = self.info.get(field_name, "")
        return int(text) if text.lstrip("-").isdigit() else default

    def setting(self, name: str, default: str = "") -> str:
        """A directive as CONFIG GET tells it."""
        return self.config.get(name, default)

    def sized(self, name: str, default: int = 0) -> int:
        """A directive that is a number."""
        text = self.config.get(name, "")
        return int(text) if text.lstrip("-").isdigit() else default


@dataclass(slots=True)
class Look:
    """The whole topology, and how much it writes.

    bytes_per_second: how fast the primary's history grew while it was sampled; writes_per_second: commands that write.
    """

    asked: str
    nodes: list[Facts]
    sampled_s: float
    bytes_per_second: float
    writes_per_second: float
    sentinels: list[dict[str, str]] = field(default_factory=list)

    @property
    def primary(self) -> Facts | None:
        """The node at the top, if it answers and is one."""
        top = self.nodes[0] if self.nodes else None
        return top if top is not None and top.view.role == "primary" and top.info else None

    @property
    def replicas(self) -> list[Facts]:
        """All nodes that follow somebody."""
        return [one for one in self.nodes if one.view.role == "replica"]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "asked": self.asked,
            "primary": None if self.primary is None else self.primary.name,
            "nodes": [
                {
                    "address": one.name,
                    "role": one.view.role,
                    "reachable": one.view.reachable,
                    "error": one.view.error,
                    "version": one.view.version,
                    "offset": one.view.offset,
                    "round_trip_ms": round(one.round_trip_ms, 3),
                }
                for one in self.nodes
            ],
            "sampled_seconds": round(self.sampled_s, 2),
            "bytes_per_second": round(self.bytes_per_second, 1),
            "writes_per_second": round(self.writes_per_second, 1),
            "sentinels": self.sentinels,
        }


def look(
    start: Address,
    *,
    sample_s: float,
    user: str = "",
    password: str = "",
    secure: ssl.SSLContext | None = None,
    sni: str = "",
) -> Look:
    """Ask everybody. A Sentinel is asked for its primary first. Raises Unreachable."""
    options: dict[str, Any] = {"user": user, "password": password, "secure": secure, "sni": sni}
    walk = Walk(start, sample_seconds=0, **options).run()
    sentinels: list[dict[str, str]] = []
    if walk.asked.role == "sentinel":
        start, sentinels = _through_sentinel(start, options)
        walk = Walk(start, sample_seconds=0, **options).run()
    if not walk.asked.role:
        raise Unreachable(f"{walk.asked.address}: {walk.asked.error}")
    nodes = [_facts(view, options) for view in walk_nodes(walk.root)]
    found = Look(walk.asked.address, nodes, 0.0, 0.0, 0.0, sentinels)
    _sample(found, sample_s, options)
    return found


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _through_sentinel(start: Address, options: dict[str, Any]) -> tuple[Address, list[dict[str, str]]]:
    client = Client(start, **options)
    try:
        masters = client.call("SENTINEL", "MASTERS")
        if not isinstance(masters, list) or not masters:
            raise Unreachable("this Sentinel watches nobody")
        first = _pairs(masters[0])
        others = client.call("SENTINEL", "SENTINELS", first["name"])
        mine = {
            "name": first["name"],
            "quorum": first.get("quorum", ""),
            "down-after-milliseconds": first.get("down-after-milliseconds", ""),
            "address": f"{start[0]}:{start[1]}",
        }
        peers = [_pairs(one) for one in others] if isinstance(others, list) else []
        known = [mine, *({**mine, "address": f"{one.get('ip')}:{one.get('port')}"} for one in peers)]
        return (first["ip"], int(first["port"])), known
    finally:
        client.close()


def _pairs(reply: Any) -> dict[str, str]:
    """A reply of names and values, flat as RESP2 has it or a map."""
    if isinstance(reply, dict):
        return {str(name): str(value) for name, value in reply.items()}
    words = [str(word) for word in reply] if isinstance(reply, list) else []
    return dict(zip(words[::2], words[1::2], strict=False))


def _facts(view: NodeView, options: dict[str, Any]) -> Facts:
    found = Facts(view)
    if not view.reachable or not view.role:
        return found
    try:
        client = Client(_address(view.address), **options)
    except Unreachable as problem:
        view.error = str(problem)
        return found
    try:
        found.info = client.info()
        found.config = _pairs(client.call("CONFIG", "GET", "*"))
        listed = client.call("CLIENT", "LIST")
        if isinstance(listed, str):
            lines = [dict(re.findall(r"([a-z-]+)=(\S*)", line)) for line in listed.splitlines()]
            found.clients = [line for line in lines if line]
        trips = sorted(_round_trip_ms(client) for _ in range(PINGS))
        found.round_trip_ms = trips[PINGS // 2]
    except Unreachable as problem:
        view.error = str(problem)
    finally:
        client.close()
    return found


def _round_trip_ms(client: Client) -> float:
    begun = time.perf_counter()
    client.call("PING")
    return (time.perf_counter() - begun) * 1000


def _write_calls(info: dict[str, str]) -> int:
    """Calls of writing commands so far, from commandstats."""
    total = 0
    for name, value in info.items():
        if name.startswith("cmdstat_") and name.removeprefix("cmdstat_") in _WRITES:
            calls = re.search(r"calls=(\d+)", value)
            total += int(calls[1]) if calls else 0
    return total


def _sample(found: Look, sample_s: float, options: dict[str, Any]) -> None:
    """Two moments of the primary's history."""
    primary = found.primary
    if primary is None:
        return
    client = Client(_address(primary.name), **options)
    try:
        before, begun = client.info(), time.monotonic()
        time.sleep(sample_s)
        after = client.info()
        found.sampled_s = time.monotonic() - begun
    finally:
        client.close()
    grown = int(after.get("master_repl_offset", 0)) - int(before.get("master_repl_offset", 0))
    found.bytes_per_second = max(0, grown) / found.sampled_s
    found.writes_per_second = max(0, _write_calls(after) - _write_calls(before)) / found.sampled_s
    primary.info = after
