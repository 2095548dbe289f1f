"""Accepting, socket options, parting: the small handles of sockets."""

from __future__ import annotations

import errno
import os
import select
import socket
from typing import TYPE_CHECKING, Final

from replicator.core import events as told
from replicator.core.effects import Level
from replicator.runtime.listeners import Listener

if TYPE_CHECKING:
    from replicator.runtime.hub import Hub

# Accepted from one listener in one turn.
ACCEPTS_MOST: Final = 64
# How long a listener rests when the process has no descriptor left (a closed connection ends the rest early).
REST_MS: Final = 100
# A parting connection is read away for so long and so far at most.
PART_MS: Final = 1_000
PART_BYTES: Final = 1024 * 1024
_EXHAUSTED: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


def reason(error: OSError) -> str:
    """The system's text for a socket error ("Connection reset by peer")."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)


def tune(sock: socket.socket, *, no_delay: bool) -> None:
    """Set TCP_NODELAY; a socket that is broken already says so at its next read."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, no_delay)
    except OSError:
        pass


class Door:
    """The listeners of a hub: accepts connections and sees the parting ones off."""

    def __init__(self, hub: Hub, keepalive_s: int) -> None:
        self.keepalive_s = keepalive_s
        self._hub = hub
        self._listeners: dict[int, Listener] = {}
        self._resting = 0
        self._parting: dict[int, tuple[socket.socket, list[int]]] = {}

    @property
    def listeners(self) -> list[Listener]:
        """All that are open."""
        return list(self._listeners.values())

    def open(self, listener: Listener) -> None:
        """Accept from the listener."""
        self._listeners[listener.sock.fileno()] = listener
        self._watch(listener)

    def close(self, listener: Listener) -> None:
        """Accept no more from it. Its address is free at once; its descriptor's number at the end of the turn."""
        fd = listener.sock.fileno()
        del self._listeners[fd]
        self._hub.unwatch(fd)
        if listener.resting:
            self._resting -= 1
        listener.sock.shutdown(socket.SHUT_RDWR)
        self._hub.close_later(listener.sock)

    def tune(self, sock: socket.socket) -> None:
        """Options of every TCP connection: no delay, keep-alive probes as tcp-keepalive says."""
        if sock.family == socket.AF_UNIX:
            return
        tune(sock, no_delay=True)
        if self.keepalive_s <= 0:
            return
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, self.keepalive_s)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, self.keepalive_s // 3))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        except OSError:
            pass  # broken already: the next read says so

    def _accept(self, listener: Listener) -> None:
        hub = self._hub
        for _ in range(ACCEPTS_MOST):
            if listener.tls and not hub.handshakes.has_room():
                self._rest(listener)
                return
            try:
                sock, address = listener.sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    hub.log(Level.WARNING, f"Accepting client connection: accept: {reason(error)}")
                    self._rest(listener)
                    return
                continue  # this one connection was given up by its peer before we took it
            sock.setblocking(False)
            self.tune(sock)
            conn = hub.next_conn()
            if listener.unix_path:
                opened = told.Opened(conn, listener.unix_path, 0, listener.unix_path, 0)
            else:
                local = sock.getsockname()
                opened = told.Opened(conn, str(address[0]), int(address[1]), str(local[0]), int(local[1]))
            if listener.tls:
                hub.handshakes.begin(sock, opened)
                continue
            hub.links.adopt(conn, sock, accepted=True)
            hub.tell(opened)

    def _rest(self, listener: Listener) -> None:
        """No descriptor is left, or no room for another handshake: a listener that stayed in the poll would spin. It
        comes back with the next closed connection, or after REST_MS."""
        hub = self._hub
        hub.unwatch(listener.sock.fileno())
        listener.resting = True
        self._resting += 1
        hub.after(REST_MS, self.reopen)

    def reopen(self) -> None:
        """Let resting listeners accept again."""
        if not self._resting:
            return
        for listener in self._listeners.values():
            if listener.resting:
                listener.resting = False
                self._watch(listener)
        self._resting = 0

    def _watch(self, listener: Listener) -> None:
        self._hub.watch(listener.sock.fileno(), select.EPOLLIN, lambda mask: self._accept(listener))

    def part(self, sock: socket.socket, epoll: select.epoll) -> None:
        """Close a socket whose output is all with the system, without a reset that would destroy it on its way."""
        fd = sock.fileno()
        epoll.unregister(fd)
        try:
            sock.shutdown(socket.SHUT_WR)
            data = sock.recv(65536)
        except BlockingIOError:
            data = b""  # nothing unread lies there: the close sends no reset
        except OSError:
            data = b""  # broken
        if not data:
            self._hub.close_later(sock)
            return
        self._parting[fd] = (sock, [len(data)])
        self._hub.watch(fd, select.EPOLLIN, lambda mask: self._read_away(fd))
        self._hub.after(PART_MS, lambda: self._parted(fd, sock))

    def _read_away(self, fd: int) -> None:
        sock, seen = self._parting[fd]
        try:
            data = sock.recv(65536)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""  # broken: nothing more to save
        seen[0] += len(data)
        if not data or seen[0] > PART_BYTES:
            self._parted(fd, sock)

    def _parted(self, fd: int, sock: socket.socket) -> None:
        if fd in self._parting and self._parting[fd][0] is sock:
            del self._parting[fd]
            self._hub.unwatch(fd)
            self._hub.close_later(sock)

    def shut(self) -> None:
        """Close everything at once."""
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        for sock, _ in self._parting.values():
            sock.close()
        self._parting.clear()
