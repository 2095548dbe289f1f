"""The handshakes of accepted connections: bounded in number, time and work a turn. The machine hears of a connection
when its handshake is done, so a flood of them costs it nothing.
"""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING, Final

from replicator.core import events as told
from replicator.core import limits
from replicator.core.effects import Level
from replicator.runtime.tls.channel import Channel
from replicator.runtime.tls.texts import text_of

if TYPE_CHECKING:
    from replicator.runtime.hub import Hub

_TOO_SLOW: Final = "the handshake was not done in time"
_CROWDED_OUT: Final = "too many handshakes, and this one was the oldest"


class _Handshake:
    """One connection on its way. channel: made when the peer has spoken, a silent one costs no more than its socket."""

    __slots__ = ("begun_ms", "channel", "mask", "opened", "sock")

    def __init__(self, sock: socket.socket, opened: told.Opened, begun_ms: int) -> None:
        self.sock = sock
        self.opened = opened
        self.begun_ms = begun_ms
        self.channel: Channel | None = None
        self.mask = select.EPOLLIN


class Handshakes:
    """All accepted connections of one hub whose handshake is not done yet, the oldest first."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._under_way: dict[int, _Handshake] = {}
        self._sweeping = False
        self._turn = hub.now  # of the steps counted below
        self._steps = 0

    def __len__(self) -> int:
        return len(self._under_way)

    def has_room(self) -> bool:
        """Whether another connection may begin; the oldest makes room if it has had its time."""
        if len(self._under_way) < limits.TLS_HANDSHAKES:
            return True
        fd, oldest = next(iter(self._under_way.items()))
        if self._hub.now.mono_ms - oldest.begun_ms < limits.TLS_HANDSHAKE_ENOUGH_MS:
            return False
        self._fail(fd, oldest, _CROWDED_OUT)
        return True

    def begin(self, sock: socket.socket, opened: told.Opened) -> None:
        """Take over an accepted socket; `opened` is told when the handshake is done."""
        fd = sock.fileno()
        handshake = self._under_way[fd] = _Handshake(sock, opened, self._hub.now.mono_ms)
        self._watch(fd, handshake)
        if not self._sweeping:
            self._sweeping = True
            self._hub.after(limits.TLS_HANDSHAKE_MS, self._sweep)

    def _watch(self, fd: int, handshake: _Handshake) -> None:
        self._hub.watch(fd, handshake.mask, lambda mask: self._step(fd, handshake, mask))

    def _step(self, fd: int, handshake: _Handshake, mask: int) -> None:
        if self._turn is not self._hub.now:
            self._turn, self._steps = self._hub.now, 0
        if self._steps >= limits.TLS_STEPS:
            return  # the poll tells of it again in the next turn
        self._steps += 1
        channel = handshake.channel
        try:
            if channel is None:
                context = self._hub.tls.server
                assert context is not None, "a TLS listener stands without a context"
                channel = handshake.channel = Channel(handshake.sock, context, serves=True)
            done = channel.handshake(bool(mask & ~select.EPOLLOUT))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._fail(fd, handshake, str(error) if error.errno is None else text_of(error))
            return
        if done:
            self._done(fd, handshake, channel)
            return
        wanted = select.EPOLLOUT if channel.unsent else select.EPOLLIN
        if wanted != handshake.mask:
            handshake.mask = wanted
            self._hub.unwatch(fd)
            self._watch(fd, handshake)

    def _done(self, fd: int, handshake: _Handshake, channel: Channel) -> None:
        hub = self._hub
        del self._under_way[fd]
        hub.unwatch(fd)
        conn = handshake.opened.conn
        hub.links.adopt(conn, handshake.sock, accepted=True, channel=channel)
        hub.tell(handshake.opened)
        hub.links.read_early(conn, channel)

    def _fail(self, fd: int, handshake: _Handshake, why: str) -> None:
        hub = self._hub
        del self._under_way[fd]
        hub.unwatch(fd)
        hub.close_later(handshake.sock)
        opened = handshake.opened
        hub.log(
            Level.WARNING,
            f"Error accepting a client connection: {why} (addr={opened.peer_host}:{opened.peer_port} "
            f"laddr={opened.local_host}:{opened.local_port})",
        )

    def _sweep(self) -> None:
        """Cut those that are too slow; come again for the oldest that is left."""
        now_ms = self._hub.now.mono_ms
        for fd, handshake in list(self._under_way.items()):
            left_ms = handshake.begun_ms + limits.TLS_HANDSHAKE_MS - now_ms
            if left_ms > 0:
                self._hub.after(left_ms, self._sweep)
                return
            self._fail(fd, handshake, _TOO_SLOW)
        self._sweeping = False

    def shut(self) -> None:
        """Close everything at once."""
        for handshake in self._under_way.values():
            handshake.sock.close()
        self._under_way.clear()
