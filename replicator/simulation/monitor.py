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
        check_invariants = node.check_invariants
        links = node.primary.links
        snapshots = node.snapshots
        seen_id = ""
        seen_end = -1
        seen_acks = 0
        seen_window = history.window
        seen_generation = 0
        stream: _Stream | None = None
        broken = False

        def stepped(now: Now) -> None:
            nonlocal seen_id, seen_end, seen_acks, seen_window, seen_generation, stream, broken
            if not broken:
                try:
                    check_invariants()
                except AssertionError as problem:
                    broken = True
                    self._object(f"{name}: an invariant does not hold at {now.mono_ms} ms: {problem!r}")
            if links:
                acks = 0
                for link in links.values():
                    acks += link.acked
                if acks != seen_acks:
                    seen_acks = acks
                    self._check_acks(name, node, address)
            window = history.window
            end = history.end
            identity = history.id
            if snapshots.generation != seen_generation:
                # Whoever loads this snapshot stands at this very offset.
                seen_generation = snapshots.generation
                if window is not None and node.loading is None:
                    self._mark(name, node, self._stream(identity, end), end)
            if identity != seen_id:
                stream = None
                seen_id, seen_end = identity, end
            elif end == seen_end:
                return
            elif end > seen_end:
                if window is not None and seen_end >= window.start:
                    if stream is None:
                        stream = self._stream(identity, seen_end)
                    self._compare_bytes(name, window, identity, stream, seen_end, end)
                seen_end = end
            else:
                # A full synchronization from a node further behind opens a new window; nothing else goes back.
                if window is seen_window:
                    self._object(f"{name}: its offset went back from {seen_end} to {end} in history {identity}")
                seen_end = end
            seen_window = window
            # A node whose history has an open window at this offset stands for (id, offset). Only who counts further
            # than anybody before marks a place; the others are compared as they pass it.
            if window is not None and node.loading is None:
                if stream is None:
                    stream = self._stream(identity, end)
                if end in stream.prints:
                    self._compare_data(name, node, identity, stream, end)
                elif end >= stream.next_print and end >= stream.base + len(stream.data):
                    self._mark(name, node, stream, end)
                    keys = sum(len(database.values) for database in node.keyspace.databases)
                    stream.next_print = end + EVERY_BYTES + EVERY_BYTES_A_KEY * keys

        return stepped

    def _stream(self, identity: str, offset: int) -> _Stream:
        """What is known of a history; at first, that it was met at this offset."""
        stream = self._streams.get(identity)
        if stream is None:
            stream = self._streams[identity] = _Stream(offset)
        return stream

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

    def _compare_bytes(
        self, name: str, window: Window, identity: str, stream: _Stream, begin: int, end: int
    ) -> None:
        """The bytes that a node has counted, with those that others have counted there; the first brings them."""
        data = window.read(begin, end - begin)
        while len(data) < end - begin:
            data += window.read(begin + len(data), end - begin - len(data))
        at = begin - stream.base
        known = len(stream.data) - at
        if at < 0 or known < 0:
            return  # a gap that nobody has been seen to count
        if known == 0:
            stream.data += data
            return
        if known < len(data):
            stream.data += data[known:]
        else:
            known = len(data)
        if not stream.data.startswith(data, at):
            theirs = bytes(stream.data[at : at + known])
            differs = next(index for index, (one, other) in enumerate(zip(theirs, data, strict=False)) if one != other)
            self._object(
                f"{name}: history {identity} has other bytes at offset {begin + differs} than another node's: "
                f"{data[differs : differs + 80]!r} instead of {theirs[differs : differs + 80]!r}"
            )
            return
        self.bytes_compared += known

    def _mark(self, name: str, node: Node, stream: _Stream, offset: int) -> None:
        """Remember the node's data at this offset, for those who will pass it."""
        if offset not in stream.prints:
            stream.prints[offset] = (fingerprint(node.keyspace), name)

    def _compare_data(self, name: str, node: Node, identity: str, stream: _Stream, offset: int) -> None:
        """Another node has stood here: it had the same data."""
        print_, whose = stream.prints[offset]
        if whose != name:
            self.compared += 1
            if print_ != fingerprint(node.keyspace):
                self._object(f"{name}: its data differs from {whose}'s at the same offset {offset} of {identity}")

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
