"""A disk: what was written lies in the page cache until it is synced; power loss keeps what is durable and a torn rest.

A killed process loses nothing: the page cache is the kernel's. At power loss each file keeps its synced bytes and some
prefix of the rest (the last block may read as zeros), and of the changes to the directory that were not synced the
first few have happened, the others have not: they are journalled in order.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

NO_SPACE = "No space left on device"
IO_ERROR = "Input/output error"
MISSING = "No such file or directory"
BLOCK = 4096


class DiskError(Exception):
    """The system refuses; missing: there is no such file."""

    def __init__(self, why: str, *, missing: bool = False) -> None:
        super().__init__(why)
        self.why, self.missing = why, missing


class Inode:
    """One file's bytes: as read now, and as they would be after a power loss at the least.

    lost: ranges whose pages a failed sync has marked clean: they are read from the cache, and on the disk are zeros.
    """

    __slots__ = ("data", "durable", "lost")

    def __init__(self) -> None:
        self.data = bytearray()
        self.durable = b""
        self.lost: list[tuple[int, int]] = []

    def settle(self, data: bytes) -> None:
        """These bytes reach the disk, but for what is lost."""
        if self.lost:
            zeroed = bytearray(data)
            for begin, end in self.lost:
                zeroed[begin : min(end, len(zeroed))] = bytes(max(0, min(end, len(zeroed)) - begin))
            data = bytes(zeroed)
        self.durable = data

    def lose(self) -> None:
        """A sync has failed: what was dirty is on no disk, and no later sync will bring it there."""
        if len(self.data) > len(self.durable):
            self.lost.append((len(self.durable), len(self.data)))
            self.settle(bytes(self.data))


class Disk:
    """The files of one machine."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.entries: dict[str, Inode] = {}
        self._durable: dict[str, Inode] = {}
        self._journal: list[Callable[[dict[str, Inode]], None]] = []
        self.full = False
        self.failing_syncs = 0
        self.failing_reads = 0
        self.sync_us = 200
        self.syncs = 0
        self.errors = 0

    # -- files -------------------------------------------------------------------------------------------------------

    def read(self, name: str) -> bytes:
        """All bytes. Raises DiskError."""
        if self.failing_reads and name in self.entries:
            self.failing_reads -= 1
            self.errors += 1
            raise DiskError(IO_ERROR)
        return bytes(self._inode(name).data)

    def _inode(self, name: str) -> Inode:
        inode = self.entries.get(name)
        if inode is None:
            raise DiskError(MISSING, missing=True)
        return inode

    def append(self, name: str, data: bytes, first: bool) -> None:
        """Append (first: to an emptied or new file); all or nothing. Raises DiskError."""
        inode = self.entries.get(name)
        if self.full and data:
            self.errors += 1
            if inode is None or first:
                self._make(name)
            raise DiskError(NO_SPACE)
        if inode is None:
            inode = self._make(name)
        elif first:
            # Readers of the old bytes keep them; the file itself begins anew.
            inode = self._make(name)
        inode.data += data

    def _make(self, name: str) -> Inode:
        inode = Inode()
        self.entries[name] = inode
        self._journal.append(lambda entries: entries.__setitem__(name, inode))
        return inode

    def sync(self, name: str) -> None:
        """Make the file's bytes and its entry durable. Raises DiskError; the dirty bytes are dropped then."""
        inode = self._inode(name)
        self.syncs += 1
        if self.failing_syncs:
            self.failing_syncs -= 1
            self.errors += 1
            # The system marks the pages clean although they are on no disk: a second sync would "succeed".
            inode.lose()
            raise DiskError(IO_ERROR)
        inode.settle(bytes(inode.data))
        self.sync_directory()

    def begin_sync(self, name: str) -> Callable[[], str]:
        """A sync beside the process: what is written now will be durable when the returned function has been called,
        which answers "" or why not. Raises DiskError.
        """
        inode = self._inode(name)
        data = bytes(inode.data)
        self.syncs += 1

        def end() -> str:
            if self.failing_syncs:
                self.failing_syncs -= 1
                self.errors += 1
                inode.lose()
                return IO_ERROR
            if len(inode.durable) < len(data):
                inode.settle(data)
            self.sync_directory()
            return ""

        return end

    def truncate(self, name: str, length: int) -> None:
        """Cut the file back to so many bytes. Raises DiskError."""
        inode = self._inode(name)
        del inode.data[length:]
        inode.lost = [(begin, min(end, length)) for begin, end in inode.lost if begin < length]

    def sync_directory(self) -> None:
        """Make all entries durable."""
        for change in self._journal:
            change(self._durable)
        self._journal.clear()

    def rename(self, name: str, final: str) -> None:
        """Give the file another name, replacing what has it."""
        inode = self._inode(name)
        del self.entries[name]
        self.entries[final] = inode

        def change(entries: dict[str, Inode]) -> None:
            entries.pop(name, None)
            entries[final] = inode

        self._journal.append(change)

    def remove(self, name: str) -> None:
        """Delete the file if it is there."""
        if self.entries.pop(name, None) is not None:

            def change(entries: dict[str, Inode]) -> None:
                entries.pop(name, None)

            self._journal.append(change)

    # -- ends --------------------------------------------------------------------------------------------------------

    def lose_power(self) -> None:
        """What was not durable is torn."""
        chance = self.chance
        for change in self._journal[: chance.randrange(len(self._journal) + 1)]:
            change(self._durable)
        self._journal.clear()
        self.entries = {}
        for name in sorted(self._durable):
            inode = self._durable[name]
            self.entries[name] = self._torn(inode)
        self._durable = dict(self.entries)

    def _torn(self, inode: Inode) -> Inode:
        after = Inode()
        whole, durable = bytes(inode.data), inode.durable
        if len(whole) > len(durable) and whole.startswith(durable):
            kept = self.chance.randrange(len(durable), len(whole) + 1)
            data = bytearray(whole[:kept])
            if kept > len(durable) and self.chance.random() < 0.3:
                torn = max(len(durable), kept - self.chance.randrange(1, BLOCK))
                data[torn:] = bytes(kept - torn)
            after.data = data
        else:
            after.data = bytearray(durable)
        after.durable = bytes(after.data)
        return after

    def wipe(self) -> None:
        """An empty disk."""
        self.entries.clear()
        self._durable.clear()
        self._journal.clear()
