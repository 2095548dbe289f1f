"""One connection as the hub keeps it, and the queue of what waits to go out to it.

The queue's items, in the order in which they go out:

    bytes, memoryview    what effects.Send (or a pull) gave; counted in `pending`
    FileItem             a snapshot file, sent by sendfile in slices; not counted: it takes no memory here
    FeedItem             the bytes of a snapshot child, shared with the other connections of the feed; not counted
"""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from collections.abc import Callable
from typing import Final

from replicator.runtime.tls.channel import Channel

# One recv: enough for thousands of small commands, small enough to stay in the cache.
READ_BYTES: Final = 64 * 1024
# While reads come full (a snapshot payload, a large value) they grow to this.
READ_BYTES_MOST: Final = 1024 * 1024
# One sendfile call: about 1 ms of work, so that other connections wait no longer for their turn.
SLICE_BYTES: Final = 1024 * 1024
# Buffers gathered into one sendmsg call (the system's own bound is 1024).
GATHERED: Final = 64

OUT: Final = select.EPOLLOUT
IN: Final = select.EPOLLIN


class FileItem:
    """A file on its way to one connection: `left` bytes from `position` on."""

    __slots__ = ("fd", "generation", "left", "position")

    def __init__(self, fd: int, length: int, generation: int) -> None:
        self.fd = fd
        self.position = 0
        self.left = length
        self.generation = generation

    def close(self) -> None:
        """Give the descriptor back. Idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class FeedItem:
    """The place of a snapshot feed in one connection's queue: the chunks that this connection has not taken yet."""

    __slots__ = ("chunks", "finished", "generation")

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.chunks: deque[bytes | memoryview] = deque()
        self.finished = False

    def close(self) -> None:
        """Forget the chunks."""
        self.chunks.clear()


class Link:
    """One stream socket. `queue` is empty exactly when all that was sent is with the system."""

    __slots__ = (
        "accepted",
        "blocked",
        "closing",
        "conn",
        "ended",
        "fd",
        "held",
        "interest",
        "paused",
        "pending",
        "progress_ms",
        "queue",
        "read_bytes",
        "recv",
        "send",
        "sock",
        "streaming",
    )

    def __init__(self, conn: int, sock: socket.socket, accepted: bool) -> None:
        self.conn = conn
        self.sock = sock
        self.fd = sock.fileno()
        self.recv: Callable[..., bytes] = sock.recv
        self.send: Callable[[bytes | memoryview], int] = sock.send
        self.accepted = accepted
        self.queue: deque[bytes | memoryview | FileItem | FeedItem] = deque()
        self.pending = 0
        self.read_bytes = READ_BYTES
        self.interest = IN
        self.blocked = False  # the socket took less than we have: wait for room
        self.streaming = False
        self.paused = False  # by the machine
        self.held = False  # by back-pressure: too much output waits
        self.ended = False  # the peer has ended its side, and unread bytes lie before that end
        self.closing: str | None = None  # why, once a flushing close has begun
        self.progress_ms = 0  # when a closing link last took bytes

    def drain(self) -> list[int]:
        """Give the system what it takes without waiting; returns the generations of snapshots that went out whole.

        Sets `blocked`. Raises OSError when the connection is broken; items that are whole with the system are gone by
        then.
        """
        finished: list[int] = []
        queue = self.queue
        self.blocked = False
        while queue:
            item = queue[0]
            if type(item) is FileItem:
                if not self._send_slice(item):
                    self.blocked = True
                    return finished
                if item.left:
                    self.blocked = True  # there may be room yet: the others' turn comes first
                    return finished
                item.close()
                finished.append(item.generation)
                queue.popleft()
            elif type(item) is FeedItem:
                self._send_chunks(item.chunks)
                if item.chunks:
                    self.blocked = True
                    return finished
                if not item.finished:
                    return finished
                finished.append(item.generation)
                queue.popleft()
            elif not self._send_plain():
                self.blocked = True
                return finished
        return finished

    def _send_plain(self) -> bool:
        """Send the bytes at the head of the queue, up to the next item of another kind. False: the socket is full."""
        queue = self.queue
        if len(queue) == 1:
            head = queue[0]
            assert not isinstance(head, FileItem | FeedItem)
            buffers: list[bytes | memoryview] = [head]
        else:
            buffers = []
            for item in queue:
                if isinstance(item, FileItem | FeedItem) or len(buffers) == GATHERED:
                    break
                buffers.append(item)
        try:
            sent = self.send(buffers[0]) if len(buffers) == 1 else self.sendmsg(buffers)
        except (BlockingIOError, InterruptedError):
            return False
        self.pending -= sent
        for buffer in buffers:
            size = len(buffer)
            if sent < size:
                queue[0] = memoryview(buffer)[sent:]
                return False
            sent -= size
            queue.popleft()
        return True

    def _send_chunks(self, chunks: deque[bytes | memoryview]) -> None:
        """Send the head chunks of a feed until the socket is full or nothing is left."""
        while chunks:
            chunk = chunks[0]
            try:
                sent = self.send(chunk)
            except (BlockingIOError, InterruptedError):
                return
            if sent < len(chunk):
                chunks[0] = memoryview(chunk)[sent:]
                return
            chunks.popleft()

    def _send_slice(self, item: FileItem) -> bool:
        """One sendfile call; False: the socket is full. Raises OSError, also when the file is shorter than it was."""
        if not item.left:
            return True
        try:
            sent = self.sendfile(item.fd, item.position, min(item.left, SLICE_BYTES))
        except (BlockingIOError, InterruptedError):
            return False
        if sent == 0:
            raise OSError(0, "The snapshot file has been truncated")
        item.position += sent
        item.left -= sent
        return True

    def sendmsg(self, buffers: list[bytes | memoryview]) -> int:
        """Several buffers at once; how many bytes the system took."""
        return self.sock.sendmsg(buffers)

    def sendfile(self, fd: int, position: int, count: int) -> int:
        """A piece of a file; how many bytes the system took, 0 at its end."""
        return os.sendfile(self.fd, fd, position, count)

    def bid_farewell(self) -> None:
        """What is said before our side is ended: nothing."""

    def closer(self) -> socket.socket | Channel:
        """What to close at the end of the turn."""
        return self.sock

    def drop_queue(self) -> None:
        """Forget everything that waits, giving descriptors back."""
        for item in self.queue:
            if isinstance(item, FileItem | FeedItem):
                item.close()
        self.queue.clear()
        self.pending = 0


class TlsLink(Link):
    """A connection that is encrypted: the channel stands where the socket's functions stood."""

    __slots__ = ("channel",)

    def __init__(self, conn: int, sock: socket.socket, accepted: bool, channel: Channel) -> None:
        super().__init__(conn, sock, accepted)
        self.channel = channel
        self.recv = channel.recv
        self.send = channel.send

    def sendmsg(self, buffers: list[bytes | memoryview]) -> int:
        return self.channel.sendmsg(buffers)

    def sendfile(self, fd: int, position: int, count: int) -> int:
        return self.channel.sendfile(fd, position, count)

    def bid_farewell(self) -> None:
        self.channel.bid_farewell()

    def closer(self) -> socket.socket | Channel:
        return self.channel
