"""One connection of a simulated process, and the queue of what waits to go out to it (as runtime/link.py has it live).

The queue's items: bytes (from effects.Send or a pull; counted as pending), Parcel (a snapshot file) and Feed (the
bytes of a snapshot child); the latter two take no memory of the process and are not counted.
"""

from __future__ import annotations

from collections import deque

from replicator.simulation.network import Socket


class Parcel:
    """A file on its way: what is left of it."""

    __slots__ = ("data", "generation")

    def __init__(self, data: bytes, generation: int) -> None:
        self.data = memoryview(data)
        self.generation = generation


class Feed:
    """The chunks of a snapshot child that this connection has not taken yet."""

    __slots__ = ("behind", "chunks", "finished", "generation")

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.chunks: deque[bytes | memoryview] = deque()
        self.behind = 0
        self.finished = False

    def put(self, data: bytes) -> None:
        """One more chunk."""
        self.chunks.append(data)
        self.behind += len(data)


class Wire:
    """A socket under its number. `queue` is empty exactly when all that was sent is with the system."""

    __slots__ = (
        "blocked", "closing", "conn", "held", "paused", "pending", "progress_us", "queue", "reading_planned", "sock",
        "streaming",
    )  # fmt: skip

    def __init__(self, conn: int, sock: Socket) -> None:
        self.conn = conn
        self.sock = sock
        self.queue: deque[bytes | memoryview | Parcel | Feed] = deque()
        self.pending = 0
        self.blocked = False  # the socket took less than there is
        self.streaming = False
        self.paused = False  # by the machine
        self.held = False  # by back-pressure
        self.reading_planned = False  # the rest of a short read will be read
        self.closing: str | None = None  # why, once a flushing close has begun
        self.progress_us = 0

    def drain(self) -> list[int]:
        """Give the socket what it takes; the generations of snapshots that went out whole. Sets `blocked`."""
        finished: list[int] = []
        queue, sock = self.queue, self.sock
        self.blocked = False
        while queue:
            item = queue[0]
            if isinstance(item, Parcel):
                item.data = item.data[sock.send(item.data) :]
                if item.data:
                    self.blocked = True
                    return finished
                finished.append(item.generation)
            elif isinstance(item, Feed):
                while item.chunks:
                    chunk = item.chunks[0]
                    taken = sock.send(chunk)
                    item.behind -= taken
                    if taken < len(chunk):
                        item.chunks[0] = memoryview(chunk)[taken:]
                        self.blocked = True
                        return finished
                    item.chunks.popleft()
                if not item.finished:
                    return finished
                finished.append(item.generation)
            else:
                taken = sock.send(item)
                self.pending -= taken
                if taken < len(item):
                    queue[0] = memoryview(item)[taken:]
                    self.blocked = True
                    return finished
            queue.popleft()
        return finished
