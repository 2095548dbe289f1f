"""Looks over the nodes' shoulders after every turn: same replication id and same offset, so same bytes and same data.

That sentence is the invariant of the whole system, and it is held to it three times: each byte that a node counts into
a history is compared with what any node has counted there before; at chosen offsets each node's data is compared with
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
from replicator.core.replication.backlog import Window

# A fingerprint costs as much as there are keys: they are at least so far apart, in bytes of the history.
EVERY_BYTES = 2048
EVERY_BYTES_A_KEY = 80
# Bytes that a node has counted are compared when they are so many; windows are never smaller.
BYTES_AT_ONCE = 1024


def fingerprint(keyspace: Keyspace) -> int:
    """A number that is equal for equal data, in this process only (it is made of hash()): never for a trace."""
    total = 0
    for database in keyspace.databases:
        if not database.values:
            continue
        if {bytes}.issuperset(map(type, database.values.values())):
            inner = sum(map(hash, database.values.items()))
        else:
            inner = sum(hash((key, _plain(value))) for key, value in database.values.items())
        for key in database.expires:
            inner += hash((key, "expires"))
        total += hash((database.index, inner))
    return total


def _plain(value: object) -> object:
    """What two equal values have in common, hashable."""
    if type(value) is bytes:
        return value
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


class _Watch:
    """One life of one node: how far it has been looked at."""

    __slots__ = (
        "acks", "address", "broken", "compared_to", "end", "generation", "history", "identity",
        "links", "monitor", "name", "node", "stream", "window",
    )  # fmt: skip

    def __init__(self, monitor: Monitor, name: str, node: Node, address: tuple[str, int]) -> None:
        self.monitor, self.name, self.node, self.address = monitor, name, node, address
        self.history, self.links = node.history, node.primary.links
        self.broken = False
        self.acks = 0
        self.generation = 0
        self.identity = ""
        self.window: Window | None = None
        self.stream: _Stream | None = None  # of the history; None: not met yet
        self.end = -1  # of the history, at the last look
        self.compared_to = -1  # its bytes have been compared up to here

    def stepped(self, now: Now) -> None:
        """Look at the node after a turn."""
        if not self.broken:
            try:
                self.node.check_invariants()
            except AssertionError as problem:
                self.broken = True
                self.monitor.object_to(f"{self.name}: an invariant does not hold at {now.mono_ms} ms: {problem!r}")
        if self.links:
            acks = 0
            for link in self.links.values():
                acks += link.acked
            if acks != self.acks:
                self.acks = acks
                self.monitor.check_acks(self.name, self.node, self.address)
        history = self.history
        end = history.end
        if history.window is not self.window or history.id != self.identity:
            self._turn_to_another_history()
        elif end == self.end:
            if self.node.snapshots.generation != self.generation:
                self._snapshot_begins()
            return
        elif end < self.end:
            # A full synchronization from a node further behind opens a new window; nothing else goes back.
            name, identity = self.name, self.identity
            self.monitor.object_to(f"{name}: its offset went back from {self.end} to {end} in history {identity}")
            self.compared_to = end
        self.end = end
        if end - self.compared_to >= BYTES_AT_ONCE:
            self.catch_up()
        if self.node.snapshots.generation != self.generation:
            self._snapshot_begins()
        # A node whose history has an open window at this offset stands for (id, offset). Only who counts further
        # than anybody before marks a place; the others are compared as they pass it.
        if self.window is not None and self.node.loads.loading is None:
            stream = self.stream
            if stream is None:
                stream = self.stream = self.monitor.stream(self.identity, end)
            if end in stream.prints:
                self._compare_data(stream, end)
            elif end >= stream.next_print:
                self.catch_up()
                if end >= stream.base + len(stream.data):
                    stream.prints[end] = (fingerprint(self.node.keyspace), self.name)
                    keys = sum(len(database.values) for database in self.node.keyspace.databases)
                    stream.next_print = end + EVERY_BYTES + EVERY_BYTES_A_KEY * keys

    def _turn_to_another_history(self) -> None:
        """Or to another window of the same one: what the node has counted meanwhile is compared if it is there."""
        self.catch_up()
        history = self.history
        before, self.identity = self.identity, history.id
        self.stream = None
        self.window = history.window
        self.compared_to = min(self.end, history.end) if self.identity == before else history.end

    def _snapshot_begins(self) -> None:
        """Whoever loads this snapshot stands at this very offset."""
        self.generation = self.node.snapshots.generation
        if self.window is not None and self.node.loads.loading is None:
            stream = self.monitor.stream(self.identity, self.end)
            if self.end not in stream.prints:
                stream.prints[self.end] = (fingerprint(self.node.keyspace), self.name)

    def catch_up(self) -> None:
        """Compare the bytes that the node has counted since the last time with those that others counted there; the
        first to count them brings them.
        """
        window, end = self.window, self.end
        begin, self.compared_to = self.compared_to, end
        if window is None:
            return
        stream = self.monitor.stream(self.identity, max(begin, window.start))
        begin = max(begin, window.start, stream.base)
        if begin >= end:
            return
        data = window.read(begin, end - begin)
        while len(data) < end - begin:
            data += window.read(begin + len(data), end - begin - len(data))
        at = begin - stream.base
        known = len(stream.data) - at
        if known < 0:
            self.monitor.catch_up()
            known = len(stream.data) - at
        if known < 0:
            return  # a gap that nobody has been seen to count
        if known < len(data):
            stream.data += data[known:]
        else:
            known = len(data)
        if not stream.data.startswith(data, at):
            theirs = bytes(stream.data[at : at + known])
            differs = next(index for index, (one, other) in enumerate(zip(theirs, data, strict=False)) if one != other)
            self.monitor.object_to(
                f"{self.name}: history {self.identity} has other bytes at offset {begin + differs} than another "
                f"node's: {data[differs : differs + 80]!r} instead of {theirs[differs : differs + 80]!r}"
            )
            return
        self.monitor.bytes_compared += known

    def _compare_data(self, stream: _Stream, offset: int) -> None:
        """Another node has stood here: it had the same data."""
        print_, whose = stream.prints[offset]
        if whose != self.name:
            self.monitor.compared += 1
            if print_ != fingerprint(self.node.keyspace):
                text = f"its data differs from {whose}'s at the same offset {offset} of {self.identity}"
                self.monitor.object_to(f"{self.name}: {text}")


class Monitor:
    """One run's memory of all histories. object_to: takes each finding, in words."""

    def __init__(self, object_to: Callable[[str], None]) -> None:
        self.object_to = object_to
        self._streams: dict[str, _Stream] = {}
        self._watches: list[_Watch] = []
        self._lives: dict[tuple[str, int], Node] = {}  # by address: the latest life
        self._acked_too_far = -1
        self.bytes_compared = 0
        self.compared = 0

    def watch(self, name: str, node: Node, address: tuple[str, int]) -> Callable[[Now], None]:
        """What is to be called after every turn of this life of the node."""
        self._lives[address] = node
        watch = _Watch(self, name, node, address)
        self._watches.append(watch)
        return watch.stepped

    def stream(self, identity: str, offset: int) -> _Stream:
        """What is known of a history; at first, that it was met at this offset."""
        stream = self._streams.get(identity)
        if stream is None:
            stream = self._streams[identity] = _Stream(offset)
        return stream

    def catch_up(self) -> None:
        """Compare what has been counted and not compared yet."""
        for watch in self._watches:
            watch.catch_up()

    def check_acks(self, name: str, node: Node, address: tuple[str, int]) -> None:
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
                self.object_to(
                    f"{name}: counts {link.acked} as acknowledged by {link.address}, acked ahead of its data: "
                    f"{replica.history.end}"
                )

    def compare(self, nodes: dict[str, Node]) -> None:
        """At the end of a run: whoever stands where another stands has its data, key for key."""
        self.catch_up()
        standing: dict[tuple[str, int], tuple[int, str]] = {}
        for name, node in nodes.items():
            if node.history.window is None or node.loads.loading is not None:
                continue
            place = (node.history.id, node.history.end)
            print_ = fingerprint(node.keyspace)
            other = standing.setdefault(place, (print_, name))
            if other[0] != print_:
                self.object_to(f"{name}: at the end its data differs from {other[1]}'s at the same offset {place[1]}")
