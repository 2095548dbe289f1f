"""ONE window of bytes addressed by replication offset: the backlog, and every replica's output buffer at once.

A replica's output buffer is a Cursor into the window: how far its bytes have been taken. Buffering during a full
synchronization is just a cursor that waits. The window keeps the last `size` bytes and whatever the slowest cursor
still needs, counted once however many replicas lag.

Positions count bytes from the begin of the history: position p is the border before byte number p + 1. A replica that
says `PSYNC <id> 101` has 100 bytes and asks to read from position 100.

    start              cursor            end
      |------------------|----------------|        length = end - start
      kept for PSYNC      not yet sent
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from replicator.core import limits

_SMALL = 2048  # bytes that are copied twice in less time than it takes to make a view of them


@dataclass(slots=True, eq=False)
class Cursor:
    """A reader's place in a window."""

    position: int


class Window:
    """The bytes of the replication stream from `start` up to `end`."""

    __slots__ = ("_blocks", "_cursors", "_first", "_last", "end", "size", "start")

    def __init__(self, size: int, position: int = 0) -> None:
        self.size = size  # bytes kept for partial resynchronization: repl-backlog-size
        self.start = position
        self.end = position
        self._first = position  # position of the first byte of the first block
        self._blocks: deque[bytearray] = deque()
        self._last: bytearray | None = None  # of the blocks: append and nearly every read need it alone
        self._cursors: list[Cursor] = []

    def __len__(self) -> int:
        return self.end - self.start

    @property
    def memory(self) -> int:
        """Bytes really held."""
        return self.end - self._first

    def append(self, data: bytes | bytearray) -> None:
        """Put bytes behind the end, and let go of what nobody needs."""
        last = self._last
        if last is not None and len(last) < limits.WINDOW_BLOCK:
            last += data
        else:
            self._last = last = bytearray(data)
            self._blocks.append(last)
        self.end += len(data)
        if self.end - self.start > self.size:
            self._trim()

    def resize(self, size: int) -> None:
        """Change how much is kept; what is there stays as far as it fits."""
        self.size = size
        self._trim()

    def attach(self, position: int) -> Cursor:
        """A new cursor at a position that the window holds."""
        assert self.start <= position <= self.end, (self.start, position, self.end)
        cursor = Cursor(position)
        self._cursors.append(cursor)
        return cursor

    def detach(self, cursor: Cursor) -> None:
        """The reader is gone; its bytes need not be kept."""
        self._cursors.remove(cursor)
        self._trim()

    def pull(self, cursor: Cursor, limit: int) -> bytes:
        """The next bytes for the cursor, at most about `limit`; b"" when it has all."""
        if cursor.position == self.end:
            return b""
        data = self.read(cursor.position, limit)
        cursor.position += len(data)
        if self.end - self.start > self.size:
            self._trim()
        return data

    def read(self, position: int, limit: int) -> bytes:
        """Up to `limit` bytes from a held position (one block at the most)."""
        assert self.start <= position <= self.end, (self.start, position, self.end)
        if position == self.end:
            return b""
        last = self._last
        assert last is not None
        into_last = position - (self.end - len(last))
        if into_last >= 0:  # nearly always: the reader is close to the end
            if self.end - position < _SMALL:
                return bytes(last[into_last : into_last + limit])
            return bytes(memoryview(last)[into_last : into_last + limit])
        at = position - self._first
        for block in self._blocks:
            if at < len(block):
                return bytes(memoryview(block)[at : at + limit])
            at -= len(block)
        raise AssertionError("blocks and positions disagree")

    def _trim(self) -> None:
        keep = self.end - self.size
        for cursor in self._cursors:
            if cursor.position < keep:
                keep = cursor.position
        if keep <= self.start:
            return
        self.start = keep
        blocks = self._blocks
        while blocks and self._first + len(blocks[0]) <= keep:
            self._first += len(blocks.popleft())
        if not blocks:
            self._last = None

    def check_invariants(self) -> None:
        """Assert what must always hold."""
        blocks = self._blocks
        held = len(self._last or b"") if len(blocks) < 2 else sum(map(len, blocks))
        assert self._first + held == self.end, (self._first, held, self.end)
        assert self._first <= self.start <= self.end
        for cursor in self._cursors:
            assert self.start <= cursor.position <= self.end
