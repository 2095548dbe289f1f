"""Looks over the nodes' shoulders after every turn: same replication id and same offset, so same bytes and same data.

That sentence is the invariant of the whole system, and it is held to it three times: each byte that a node counts
into a
history is compared with what any node has counted there before; at chosen offsets each node's data is compared with
that of the first node that stood there; and a node's own check_invariants() runs.
"""

from __future__ import annotations

from collections.abc import Callable

from replicator.core.keyspace.database import Keyspace
from replicator.core.keyspace.sorted_set import SortedSet
from replicator.core.keyspace.stream import Stream
from replicator.core.keyspace.values import Hash, List, Set
from replicator.core.node import Node
from replicator.core.now import Now

# A fingerprint costs as much as there are keys: they are at least so far apart, in bytes of the history.
EVERY_BYTES = 2048
EVERY_BYTES_A_KEY = 40


def fingerprint(keyspace: Keyspace) -> int:
    """A number that is equal for equal data, in this process only (it is made of hash()): never for a trace."""
    total = 0
    for database in keyspace.databases:
        if not database.values:
            continue
        inner = 0
        for item in database.values.items():
            value = item[1]
            inner += hash(item) if type(value) is bytes else hash((item[0], _plain(value)))
        for key in database.expires:
            inner += hash((key, "expires"))
        total += hash((database.index, inner))
    return total


def _plain(value: object) -> object:
    """What two equal values have in common, hashable."""
    if isinstance(value, List):
        return tuple(value)
    if isinstance(value, Set):
        return frozenset(value.items)
    if isinstance(value, Hash):
        return frozenset(value.items())
    if isinstance(value, SortedSet):
        return frozenset(value.scores.items())
    assert isinstance(value, Stream)
    return tuple((place, tuple(fields)) for place, fields in value.entries())


class _Stream:
    """The bytes of one history as the first node counted them, from `base` on."""

    __slots__ = ("base", "data", "next_print", "prints")

    def __init__(self, base: int) -> None:
        self.base = base
        self.data = bytearray()
        self.prints: dict[int, tuple[int, str]] = {}  # offset -> fingerprint, and whose
        self.next_print = base


class Monitor:
    """One run's memory of all histories. object_to: takes each finding, in words."""

    def __init__(self, object_to: Callable[[str], None]) -> None:
        self._object = object_to
        self._streams: dict[str, _Stream] = {}
        self._lives: dict[tuple[str, int], Node] = {}  # by address: the latest life
        self._acked_too_far = -1
        self.bytes_compared = 0
        self.compared = 0

    def watch(self, name: str, node: Node, address: tuple[str, int]) -> Callable[[Now], None]:
        """What is to be called after every turn of this life of the node."""
        self._lives[address] = node
        history = node.history
        seen_id = ""
        seen_end = -1
        seen_window = history.window
        snapshots = 0
        broken = False

        def stepped(now: Now) -> None:
            nonlocal seen_id, seen_end, seen_window, snapshots, broken
            if not broken:
                try:
                    node.check_invariants()
                except AssertionError as problem:
                    broken = True
                    self._object(f"{name}: an invariant does not hold at {now.mono_ms} ms: {problem!r}")
            if node.primary.links:
                self._check_acks(name, node, address)
            end = history.end
            identity = history.id
            if node.snapshots.generation != snapshots:
                # Whoever loads this snapshot stands at this very offset.
                snapshots = node.snapshots.generation
                if history.window is not None and node.loading is None:
                    self._mark(name, node, identity, end)
            if identity != seen_id:
                seen_id, seen_end = identity, end
            elif end != seen_end:
                if end < seen_end:
                    # A full synchronization from a node further behind opens a new window; nothing else goes back.
                    if history.window is seen_window:
                        self._object(f"{name}: its offset went back from {seen_end} to {end} in history {identity}")
                else:
                    self._compare_bytes(name, node, identity, seen_end, end)
                seen_end = end
            else:
                return
            seen_window = history.window
            # A node whose history has an open window at this offset stands for (id, offset).
            if history.window is not None and node.loading is None:
                self._compare_at(name, node, identity, end)

        return stepped

    def _check_acks(self, name: str, node: Node, address: tuple[str, int]) -> None:
        """No replica has acknowledged more than it has. (Looked at through its latest link alone.)"""
        latest = {(link.announced_host, link.announced_port): link for link in node.primary.links.values()}
        for link in latest.values():
            replica = self._lives.get((link.announced_host, link.announced_port))
            if replica is None or not replica.replica.up or not link.streaming:
                continue
            upstream = (replica.replica.primary_host, replica.replica.primary_port)
            if upstream != address or replica.history.id != node.history.id:
                continue
            if link.acked > replica.history.end and link.acked > self._acked_too_far:
                self._acked_too_far = link.acked
                self._object(
                    f"{name}: counts {link.acked} as acknowledged by {link.address}, acked ahead of its data: "
                    f"{replica.history.end}"
                )

    def _compare_bytes(self, name: str, node: Node, identity: str, begin: int, end: int) -> None:
        window = node.history.window
        if window is None or begin < window.start:
            return
        data = window.read(begin, end - begin)
        while len(data) < end - begin:
            data += window.read(begin + len(data), end - begin - len(data))
        stream = self._streams.get(identity)
        if stream is None:
            stream = self._streams[identity] = _Stream(begin)
        at = begin - stream.base
        if at < 0 or at > len(stream.data):
            return  # a gap that nobody has been seen to count
        known = bytes(stream.data[at : at + len(data)])
        if known != data[: len(known)]:
            differs = next(index for index, (one, other) in enumerate(zip(known, data, strict=False)) if one != other)
            self._object(
                f"{name}: history {identity} has other bytes at offset {begin + differs} than another node's: "
                f"{data[differs : differs + 80]!r} instead of {known[differs : differs + 80]!r}"
            )
            return
        self.bytes_compared += len(known)
        stream.data += data[len(known) :]

    def _mark(self, name: str, node: Node, identity: str, offset: int) -> None:
        stream = self._streams.get(identity)
        if stream is None:
            stream = self._streams[identity] = _Stream(offset)
        stream.prints.setdefault(offset, (fingerprint(node.keyspace), name))

    def _compare_at(self, name: str, node: Node, identity: str, offset: int) -> None:
        """Compare the data if another node has stood here, or remember it every so often."""
        stream = self._streams.get(identity)
        if stream is None:
            stream = self._streams[identity] = _Stream(offset)
        known = stream.prints.get(offset)
        if known is None:
            # Only who counts further than anybody before marks a place; the others are compared as they pass it.
            if offset < stream.next_print or offset < stream.base + len(stream.data):
                return
            stream.prints[offset] = (fingerprint(node.keyspace), name)
            keys = sum(len(database.values) for database in node.keyspace.databases)
            stream.next_print = offset + EVERY_BYTES + EVERY_BYTES_A_KEY * keys
        elif known[1] != name:
            self.compared += 1
            if known[0] != fingerprint(node.keyspace):
                self._object(f"{name}: its data differs from {known[1]}'s at the same offset {offset} of {identity}")

    def compare(self, nodes: dict[str, Node]) -> None:
        """At the end of a run: whoever stands where another stands has its data, key for key."""
        standing: dict[tuple[str, int], tuple[int, str]] = {}
        for name, node in nodes.items():
            if node.history.window is None or node.loading is not None:
                continue
            place = (node.history.id, node.history.end)
            print_ = fingerprint(node.keyspace)
            other = standing.setdefault(place, (print_, name))
            if other[0] != print_:
                self._object(f"{name}: at the end its data differs from {other[1]}'s at the same offset {place[1]}")
