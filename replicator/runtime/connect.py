"""Outgoing connections: source address, timeout, names looked up beside the loop."""

from __future__ import annotations

import errno
import select
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import trio

from replicator.core import events as told
from replicator.core.effects import Connect
from replicator.runtime.names import NAME_ERRORS, host_name
from replicator.runtime.sockets import reason
from replicator.runtime.tls.channel import Channel

if TYPE_CHECKING:
    from replicator.runtime.hub import Hub

# The bind of a source address takes its port only when the connection is made, so that thousands of them may share one
# address (Linux; socket has no name for it).
_IP_BIND_ADDRESS_NO_PORT: Final = 24


class _Attempt:
    """One Connect effect under way."""

    def __init__(self, effect: Connect) -> None:
        self.conn = effect.conn
        self.source = effect.source
        self.tls = effect.tls
        self.channel: Channel | None = None
        self.sock: socket.socket | None = None
        self.targets: deque[tuple[int, Any]] = deque()
        self.why = "Name or service not known"


class Connector:
    """Makes the hub's outgoing connections."""

    def __init__(self, hub: Hub) -> None:
        self.nursery: trio.Nursery | None = None
        self._hub = hub
        self._attempts: dict[int, _Attempt] = {}

    def connect(self, effect: Connect) -> None:
        """Begin; Connected or ConnectFailed is told later, never from inside this call."""
        assert effect.conn < 0 and effect.conn not in self._attempts, effect
        attempt = self._attempts[effect.conn] = _Attempt(effect)
        self._hub.after(max(1, effect.timeout_ms), lambda: self._timed_out(attempt))
        try:
            found = socket.getaddrinfo(
                host_name(effect.host),
                effect.port,
                type=socket.SOCK_STREAM,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
        except NAME_ERRORS:
            assert self.nursery is not None
            self.nursery.start_soon(self._look_up, attempt, effect.host, effect.port)
            return
        attempt.targets.extend((int(entry[0]), entry[4]) for entry in found)
        self._next(attempt)

    async def _look_up(self, attempt: _Attempt, host: str, port: int) -> None:
        try:
            found = await trio.socket.getaddrinfo(host_name(host), port, type=socket.SOCK_STREAM)
        except NAME_ERRORS as error:
            attempt.why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        else:
            attempt.targets.extend((int(entry[0]), entry[4]) for entry in found)
        # Back in the loop's own time: a turn reads the clock and settles what follows.
        self._hub.after(0, lambda: self._next(attempt))
        self._hub.wake()

    def _next(self, attempt: _Attempt) -> None:
        """Try the next address; without one the attempt has failed."""
        while self._attempts.get(attempt.conn) is attempt:
            if not attempt.targets:
                self._fail(attempt, attempt.why)
                return
            family, address = attempt.targets.popleft()
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                if attempt.source:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    if family == socket.AF_INET:
                        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
                    sock.bind((host_name(attempt.source), 0))
                sock.connect(address)
            except BlockingIOError:
                attempt.sock = sock
                self._hub.watch(sock.fileno(), select.EPOLLOUT, lambda mask: self._ready(attempt))
                return
            except NAME_ERRORS as error:
                sock.close()
                attempt.why = reason(error) if isinstance(error, OSError) else str(error)
                continue
            self._stands(attempt, sock)

    def _ready(self, attempt: _Attempt) -> None:
        sock = attempt.sock
        assert sock is not None
        self._hub.unwatch(sock.fileno())
        attempt.sock = None
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self._hub.close_later(sock)
            attempt.why = reason(OSError(error, ""))
            self._next(attempt)
        else:
            self._stands(attempt, sock)

    def _stands(self, attempt: _Attempt, sock: socket.socket) -> None:
        try:
            # A connection to a port of the ephemeral range on which nobody listens may meet itself.
            itself = sock.getsockname() == sock.getpeername()
            why = reason(OSError(errno.ECONNREFUSED, ""))
        except OSError as error:
            itself, why = True, reason(error)
        if itself:
            self._hub.close_later(sock)
            attempt.why = why
            self._next(attempt)
            return
        if attempt.tls:
            self._encrypt(attempt, sock)
            return
        del self._attempts[attempt.conn]
        self._hub.links.connected(attempt.conn, sock)

    def _encrypt(self, attempt: _Attempt, sock: socket.socket) -> None:
        attempt.sock = sock
        context = self._hub.tls.client
        if context is None:
            self._fail(attempt, "no TLS is configured for it")
            return
        attempt.channel = Channel(sock, context, serves=False)
        self._shake_hands(attempt, readable=False)

    def _shake_hands(self, attempt: _Attempt, *, readable: bool) -> None:
        """A step of the handshake. It fails for all addresses of a name at once: they are one peer's."""
        sock, channel = attempt.sock, attempt.channel
        assert sock is not None and channel is not None
        self._hub.unwatch(sock.fileno())
        try:
            done = channel.handshake(readable)
        except (BlockingIOError, InterruptedError):
            done = False
        except OSError as error:
            self._fail(attempt, str(error) if error.errno is None else reason(error))
            return
        if done:
            del self._attempts[attempt.conn]
            self._hub.links.connected(attempt.conn, sock, channel)
            return
        mask = select.EPOLLOUT if channel.unsent else select.EPOLLIN
        self._hub.watch(
            sock.fileno(), mask, lambda mask: self._shake_hands(attempt, readable=bool(mask & ~select.EPOLLOUT))
        )

    def cancel(self, conn: int, why: str) -> bool:
        """Give up an attempt, if there is one of that number: ConnectFailed follows."""
        attempt = self._attempts.get(conn)
        if attempt is None:
            return False
        self._fail(attempt, why)
        return True

    def _timed_out(self, attempt: _Attempt) -> None:
        if self._attempts.get(attempt.conn) is attempt:
            self._fail(attempt, reason(OSError(errno.ETIMEDOUT, "")))

    def _fail(self, attempt: _Attempt, why: str) -> None:
        del self._attempts[attempt.conn]
        if attempt.sock is not None:
            self._hub.unwatch(attempt.sock.fileno())
            self._hub.close_later(attempt.sock)
            attempt.sock = None
        self._hub.tell(told.ConnectFailed(attempt.conn, why))

    def shut(self) -> None:
        """Close what is under way."""
        for attempt in self._attempts.values():
            if attempt.sock is not None:
                attempt.sock.close()
        self._attempts.clear()
