"""Looks at one machine's append-only file after every turn, over all lives of its node: what was promised is there.

    always      whenever no reply is held back, all that was written is durable: no reply came before its sync
    a start     finds at least what the end before it left as a promise: after a power loss what was durable (always)
                or is older than two seconds (everysec), after a kill all that had been written
    a start     is not refused, unless the disk has failed to read

A promise is told by the file's parts: so many bytes of this increment, under a base of this number. A later base
replaces it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from replicator.core.node import Node
from replicator.core.now import Now
from replicator.core.persistence.journal import State
from replicator.simulation.disk import Disk

# Stock's bound of everysec: a sync a second, and a write that waits for one no longer than this.
BOUND_MS = 2000
# Of a disk whose syncs take longer the bound is no promise.
SLOW_US = 400_000


@dataclass(slots=True)
class _Promise:
    """base: the number of the manifest's base. sizes: bytes of each increment."""

    base: int = 0
    sizes: dict[str, int] = field(default_factory=dict)


class Ledger:
    """See the module. object_to: takes each finding, in words."""

    def __init__(self, name: str, object_to: Callable[[str], None]) -> None:
        self._name = name
        self._object_to = object_to
        self._durable = _Promise()  # what outlives a power loss
        self._written = _Promise()  # what outlives the process
        self._recent: deque[tuple[int, str, int]] = deque()  # when, increment, its bytes
        self._owed: _Promise | None = None  # to the next start
        self._errors = 0
        self.checked = 0

    def watch(self, node: Node, disk: Disk, also: Callable[[Now], None]) -> Callable[[Now], None]:
        """What is to be called after every turn of this life; also: called first."""
        owed, self._owed = self._owed or self._durable, None
        self._errors = disk.errors
        started = False

        def stepped(now: Now) -> None:
            nonlocal started
            also(now)
            if node.ready and not started:
                started = True
                self._compare(node, owed)
            if started and node.journal.state is State.ON:
                self._look(node, disk, now)

        return stepped

    def wiped(self) -> None:
        """The disk is empty: nothing is promised any more."""
        self._durable, self._written, self._owed = _Promise(), _Promise(), None

    def killed(self) -> None:
        """The process was killed, and the machine is well: what it had written is there."""
        self._owed = self._written

    def lost_power(self) -> None:
        """What was not durable is torn."""
        self._written = _Promise(self._durable.base, dict(self._durable.sizes))

    def ended(self, node: Node | None, how: str, disk: Disk) -> None:
        """A process has ended by itself."""
        if node is not None and not node.ready and how == "exit 1" and disk.errors == self._errors:
            self._object_to(f"{self._name}: refuses to start from its own append-only file")
        self._recent.clear()

    def _look(self, node: Node, disk: Disk, now: Now) -> None:
        journal, manifest = node.journal, node.append_only.rewriter.manifest
        inode = disk.entries.get(journal.name)
        if inode is None or manifest is None:
            self._object_to(f"{self._name}: writes to {journal.name}, which is not there")
            return
        name = journal.name.rpartition("/")[2]
        if name not in [part.name for part in manifest.increments]:
            self._object_to(f"{self._name}: writes to {name}, which its manifest does not name")
        base = manifest.base.number if manifest.base is not None else 0
        for promise in (self._durable, self._written):
            if base != promise.base:
                promise.base = base
                promise.sizes = {part.name: promise.sizes.get(part.name, 0) for part in manifest.increments}
        self._written.sizes[name] = journal.size
        policy = node.config["appendfsync"]
        if policy == "always" and not node.config["no-appendfsync-on-rewrite"]:
            if not node.held and not journal.write_error:
                behind = len(inode.data) - len(inode.durable)
                if journal.buffer or behind > 0 or inode.lost:
                    self._object_to(f"{self._name}: replies have left, and {behind} bytes of {name} are not durable")
                self._durable.sizes[name] = journal.size
        elif policy == "everysec":
            self._age(name, journal.size, now, disk)

    def _age(self, name: str, size: int, now: Now, disk: Disk) -> None:
        recent = self._recent
        if not recent or recent[-1][1:] != (name, size):
            recent.append((now.mono_ms, name, size))
        while recent and now.mono_ms - recent[0][0] > BOUND_MS:
            _, older, bytes_then = recent.popleft()
            if disk.sync_us <= SLOW_US and older in self._durable.sizes:
                self._durable.sizes[older] = max(self._durable.sizes[older], bytes_then)
            elif older == name:
                self._durable.sizes[name] = bytes_then

    def _compare(self, node: Node, owed: _Promise) -> None:
        """A start has ended: what it was owed is there."""
        self._recent.clear()
        replay = node.append_only.replay
        if replay is None or not owed.sizes:
            return
        self.checked += 1
        base = replay.manifest.base.number if replay.manifest.base is not None else 0
        if base > owed.base:
            return
        for name, size in owed.sizes.items():
            found = replay.sizes.get(name)
            if found is None or found < size:
                self._object_to(
                    f"{self._name}: starts with {found or 0} bytes of {name}, and {size} of them were promised"
                )
        self._durable = _Promise(base, dict(replay.sizes))
        self._written = _Promise(base, dict(replay.sizes))
