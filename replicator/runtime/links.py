"""The connections of a hub: what goes out to them, how they end.

How a connection ends, and what its machine is told (always exactly one Closed):

    the peer ended its side, nothing unread    "Client closed connection"; output that waits is dropped, as stock does
    the system reports an error                its text ("Connection reset by peer")
    effects.Close                              its `why`; output that waits is dropped
    effects.Close(flush=True)                  its `why`, when all output is with the system, or the peer has
                                               taken nothing of it for CLOSE_FLUSH_MS
"""

from __future__ import annotations

import os
import select
import socket
from typing import TYPE_CHECKING, Final

from replicator.core import effects as do
from replicator.core import events as told
from replicator.core.limits import CLOSE_FLUSH_MS, OUTPUT_HELD_BYTES, PULL_BYTES
from replicator.runtime.link import IN, OUT, READ_BYTES, FeedItem, Link, TlsLink
from replicator.runtime.sockets import reason, tune
from replicator.runtime.tls.channel import Channel

if TYPE_CHECKING:
    from replicator.runtime.hub import Hub

# Pulls for one stream in one turn; a replica far behind shares the loop with the clients.
PULLS_MOST: Final = 8
# A machine that reads nothing from a connection yet is asked again so often about what lies decrypted.
EARLY_RETRY_MS: Final = 5
GONE_BY_PEER: Final = "Client closed connection"


class Links:
    """All connections of one hub."""

    def __init__(self, hub: Hub, epoll: select.epoll) -> None:
        self.by_fd: dict[int, Link] = {}
        self.by_conn: dict[int, Link] = {}
        self.streams: dict[int, Link] = {}
        self.dirty: dict[int, Link] = {}  # sends of this call that have not been tried yet
        self.withheld = False  # a file operation of this call failed: what was sent behind it waits for the machine
        self._hub = hub
        self._epoll = epoll
        self._tell = hub.tell

    def get(self, conn: int) -> Link | None:
        """The connection of that number, if it stands and is not being closed."""
        link = self.by_conn.get(conn)
        return None if link is None or link.closing is not None else link

    def flush_soon(self, link: Link) -> None:
        """Flush the link with the sends of the call whose effects are being carried out."""
        if not link.blocked:
            self.dirty[link.conn] = link

    def adopt(self, conn: int, sock: socket.socket, accepted: bool, channel: Channel | None = None) -> Link:
        """Serve a connected non-blocking socket under that number. channel: it is encrypted, and shaken hands."""
        link = Link(conn, sock, accepted) if channel is None else TlsLink(conn, sock, accepted, channel)
        self.by_fd[link.fd] = self.by_conn[conn] = link
        self._epoll.register(link.fd, IN)
        return link

    def send(self, effect: do.Send) -> None:
        link = self.by_conn.get(effect.conn)
        if link is None or link.closing is not None:
            return
        link.queue.append(effect.data)
        link.pending += len(effect.data)
        self.dirty[link.conn] = link

    def send_now(self, effect: do.Send) -> None:
        """The hot path: the only effect of a call, for a connection with nothing in the queue."""
        link = self.by_conn.get(effect.conn)
        if link is None or link.closing is not None:
            return
        data = effect.data
        if link.queue or self.withheld:
            self.send(effect)
            if not self.withheld:
                self.flush_dirty()
            return
        try:
            sent = link.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self.lose(link, reason(error))
            return
        if sent != len(data):
            link.queue.append(memoryview(data)[sent:])
            link.pending = len(data) - sent
            link.blocked = True
            self._tell(told.OutputPending(link.conn, link.pending))
            self._mind(link)

    def flush_dirty(self) -> None:
        if self.withheld:
            return
        dirty = list(self.dirty.values())
        self.dirty.clear()
        for link in dirty:
            if self.by_conn.get(link.conn) is not link:
                continue
            if link.blocked:
                self._tell(told.OutputPending(link.conn, link.pending))
                self._mind(link)
            else:
                self.flush(link)

    def flush(self, link: Link) -> None:
        """Give the system what it takes of the link's queue, and tell what came of it."""
        pending = link.pending
        was_blocked = link.blocked
        try:
            finished = link.drain()
        except OSError as error:
            self.lose(link, reason(error))
            return
        for generation in finished:
            self._tell(told.SnapshotSent(link.conn, generation))
            self._hub.snapshots.served(link.conn)
        if (link.blocked or was_blocked) and link.queue and type(link.queue[0]) is FeedItem:
            self._tell(told.SnapshotStalled(link.conn, link.blocked))
        if link.pending and (link.pending != pending or not was_blocked):
            self._tell(told.OutputPending(link.conn, link.pending))
        elif was_blocked and pending and not link.pending:
            self._tell(told.OutputPending(link.conn, 0))
        if link.closing is not None:
            if not link.queue:
                self._finish_close(link)
                return
            link.progress_ms = self._hub.now.mono_ms
        if link.blocked or was_blocked or link.held:
            self._mind(link)
        head = link.queue[0] if link.queue else None
        if type(head) is FeedItem and not head.chunks:
            self._hub.snapshots.hungry()

    def _mind(self, link: Link) -> None:
        """Make the poll's interest in a link fit its state."""
        if link.pending > OUTPUT_HELD_BYTES:
            link.held = not link.streaming and not link.closing
        elif link.held and link.pending <= OUTPUT_HELD_BYTES // 2:
            link.held = False
        if link.closing is not None:
            mask = 0
        elif not link.paused and not link.held:
            mask = IN
            link.ended = False
        else:
            mask = 0 if link.ended else select.EPOLLRDHUP
        if link.blocked:
            mask |= OUT
        if mask != link.interest:
            link.interest = mask
            self._epoll.modify(link.fd, mask)

    def unusual(self, link: Link, mask: int) -> None:
        """A link is ready for more than a plain read."""
        if mask & OUT:
            self.flush(link)
            if self.by_fd.get(link.fd) is not link:
                return
        broken = mask & (select.EPOLLERR | select.EPOLLHUP)
        if link.interest & IN or not (broken or mask & select.EPOLLRDHUP):
            return  # the read will tell
        error = link.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error or broken:
            self.lose(link, os.strerror(error) if error else GONE_BY_PEER)
            return
        try:
            unread = link.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as failure:
            self.lose(link, reason(failure))
            return
        if unread:
            # What it said before it ended its side is still to be read: that end is told behind it.
            link.ended = True
            self._mind(link)
        elif not link.held:
            self.lose(link, GONE_BY_PEER)
        else:
            link.ended = True  # it said all it wanted and takes its replies: not gone
            self._mind(link)

    def lose(self, link: Link, why: str) -> None:
        """The connection is gone: forget it and tell the machine. What waited for it is dropped."""
        if self.by_fd.pop(link.fd, None) is None:
            return
        self.by_conn.pop(link.conn, None)
        self.streams.pop(link.conn, None)
        self._epoll.unregister(link.fd)
        link.drop_queue()
        self._hub.close_later(link.closer())
        self._tell(told.Closed(link.conn, why if link.closing is None else link.closing))
        self._hub.snapshots.dropped(link.conn)

    def close(self, effect: do.Close) -> None:
        if self._hub.connector.cancel(effect.conn, effect.why):
            return
        link = self.by_conn.get(effect.conn)
        if link is None:
            return
        if not self.withheld and link.conn in self.dirty:
            del self.dirty[link.conn]
            self.flush(link)
        if not effect.flush:
            link.closing = effect.why
            self.lose(link, effect.why)
        elif link.closing is None and self.by_conn.get(effect.conn) is link:
            link.closing = effect.why
            self.streams.pop(link.conn, None)
            if not link.queue:
                self._finish_close(link)
                return
            link.progress_ms = self._hub.now.mono_ms
            self._mind(link)
            self._hub.after(CLOSE_FLUSH_MS, lambda: self._check_closing(link))

    def _finish_close(self, link: Link) -> None:
        """A flushing close has sent everything. Unread bytes would make the system answer with a reset that destroys
        what the peer has not read yet, so they are read away first, within bounds."""
        assert link.closing is not None
        self.by_fd.pop(link.fd)
        link.bid_farewell()
        self._hub.door.part(link.sock, self._epoll)
        self.by_conn.pop(link.conn, None)
        self._tell(told.Closed(link.conn, link.closing))
        self._hub.snapshots.dropped(link.conn)

    def _check_closing(self, link: Link) -> None:
        """A closing connection whose peer takes nothing for CLOSE_FLUSH_MS is given up."""
        if self.by_fd.get(link.fd) is not link:
            return
        left_ms = link.progress_ms + CLOSE_FLUSH_MS - self._hub.now.mono_ms
        if left_ms > 0:
            self._hub.after(left_ms, lambda: self._check_closing(link))
        else:
            assert link.closing is not None
            self.lose(link, link.closing)

    def pause_reading(self, effect: do.PauseReading) -> None:
        link = self.by_conn.get(effect.conn)
        if link is not None:
            link.paused = effect.paused
            self._mind(link)

    def connected(self, conn: int, sock: socket.socket, channel: Channel | None = None) -> None:
        """An outgoing connection stands."""
        self._hub.door.tune(sock)
        self.adopt(conn, sock, accepted=False, channel=channel)
        local = sock.getsockname()
        self._tell(told.Connected(conn, str(local[0]), int(local[1])))
        if channel is not None:
            self.read_early(conn, channel)

    def read_early(self, conn: int, channel: Channel) -> None:
        """Read what came with the end of a handshake, once the machine knows of the connection: no poll tells of it."""
        if channel.early:
            self._hub.after(0, lambda: self._read_early(conn, channel))

    def _read_early(self, conn: int, channel: Channel) -> None:
        link = self.by_conn.get(conn)
        if link is None or not channel.early:
            return
        if link.interest & IN:
            self._tell(told.Received(conn, channel.recv(READ_BYTES)))
        else:
            self._hub.after(EARLY_RETRY_MS, lambda: self._read_early(conn, channel))

    def no_delay(self, effect: do.NoDelay) -> None:
        link = self.by_conn.get(effect.conn)
        if link is not None and link.sock.family != socket.AF_UNIX:
            tune(link.sock, no_delay=effect.enabled)

    def stream(self, effect: do.Stream) -> None:
        link = self.by_conn.get(effect.conn)
        if link is not None and link.closing is None:
            link.streaming = True
            self.streams[link.conn] = link
            if link.held:
                link.held = False
                self._mind(link)

    def pull(self, link: Link) -> None:
        pull = self._hub.machine.pull
        for _ in range(PULLS_MOST):
            data = pull(link.conn, PULL_BYTES)
            if not data:
                return
            link.queue.append(data)
            link.pending += len(data)
            self.flush(link)
            if link.queue or self.by_fd.get(link.fd) is not link:
                return
        self._hub.more = True
