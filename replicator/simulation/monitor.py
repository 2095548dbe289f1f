"""Looks over the nodes' shoulders after every turn: same replication id and same offset, so same bytes and same data.

That sentence is the invariant of the whole system, and it is held to it three times: each byte that a node counts into a
history is compared with what any node has counted there before; at chosen offsets each node's data is compared with that of
the first node that stood there; and a node's own check_invariants() runs.
"""

from __future__ import annotations

from collections.abc import Callable

from replicator.core.digest import digest_keyspace
from replicator.core.node import Node
from replicator.core.now import Now

# A digest costs as much as there are keys: this far apart in bytes of a history, and only of small data sets.
DIGEST_EVERY = 4096
DIGEST_KEYS_MOST = 3000


class _Stream:
    """The bytes of one history as the first node counted them, from `base` on."""

    __slots__ = ("base", "data", "digests")

    def __init__(self, base: int) -> None:
        self.base = base
        self.data = bytearray()
        self.digests: dict[int, tuple[str, str]] = {}  # offset -> digest, and whose


class Monitor:
    """One run's memory of all histories. object_to: takes each finding, in words."""

    def __init__(self, object_to: Callable[[str], None]) -> None:
        self._object = object_to
        self._streams: dict[str, _Stream] = {}
        self.bytes_compared = 0
        self.digests_compared = 0

    def watch(self, name: str, node: Node) -> Callable[[Now], None]:
        """What is to be called after every turn of this life of the node."""
        history = node.history
        seen_id = ""
        seen_end = -1
        seen_digest = -1
        broken = False

        def stepped(now: Now) -> None:
            nonlocal seen_id, seen_end, seen_digest, broken
            if not broken:
                try:
                    node.check_invariants()
                except AssertionError as problem:
                    broken = True
                    self._object(f"{name}: an invariant does not hold at {now.mono_ms} ms: {problem!r}")
            end = history.end
            identity = history.id
            if identity != seen_id:
                seen_id, seen_end, seen_digest = identity, end, -1
            elif end != seen_end:
                if end < seen_end:
                    if node.loading is None:
                        self._object(f"{name}: its offset went back from {seen_end} to {end} in history {identity}")
                else:
                    self._compare_bytes(name, node, identity, seen_end, end)
                seen_end = end
            else:
                return
            # A node whose history has an open window at this offset stands for (id, offset).
            if history.window is not None and node.loading is None:
                self._compare_at(name, node, identity, end)

        return stepped

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

    def _compare_at(self, name: str, node: Node, identity: str, offset: int) -> None:
        """Compare the data if another node has stood here, or remember it every so often."""
        stream = self._streams.get(identity)
        if stream is None:
            stream = self._streams[identity] = _Stream(offset)
        known = stream.digests.get(offset)
        if known is None:
            last = next(reversed(stream.digests), None)
            if last is not None and abs(offset - last) < DIGEST_EVERY:
                return
        if sum(len(database.values) for database in node.keyspace.databases) > DIGEST_KEYS_MOST:
            return
        if known is not None and known[1] == name:
            return
        digest = digest_keyspace(node.keyspace)
        if known is None:
            stream.digests[offset] = (digest, name)
            return
        self.digests_compared += 1
        if known[0] != digest:
            self._object(f"{name}: its data differs from that of {known[1]} at the same offset {offset} of {identity}")

    def compare(self, name: str, node: Node) -> None:
        """At the end of a run: whoever stands where another stands has its data."""
        if node.history.window is not None and node.loading is None:
            identity, offset = node.history.id, node.history.end
            stream = self._streams.setdefault(identity, _Stream(offset))
            known = stream.digests.get(offset)
            digest = digest_keyspace(node.keyspace)
            if known is None:
                stream.digests[offset] = (digest, name)
            elif known[0] != digest:
                self._object(f"{name}: at the end its data differs from that of {known[1]} at offset {offset}")
