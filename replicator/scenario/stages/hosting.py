"""Hosts workload clients under trio: carries their effects out, tells them what happened."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

import trio

from replicator.core.effects import Close, Connect, Effect, Send
from replicator.core.events import Closed, Connected, ConnectFailed, Event, Received, Started
from replicator.core.now import Now
from replicator.scenario.play.workload import Client
from replicator.scenario.stages.encrypted import Speaker, encrypted

READ = 64 * 1024


class _Wire:
    """One connection of one client."""

    def __init__(self, host: Host, conn: int) -> None:
        self.host, self.conn = host, conn
        self.scope = trio.CancelScope()
        self.sock: trio.socket.SocketType | None = None
        self.waiting = bytearray()
        self.more = trio.Event()
        self._send: Callable[[bytes], int]

    def send(self, data: bytes) -> None:
        """Nothing of this waits: what the socket does not take now goes out by the flushing task."""
        if not self.waiting and self.sock is not None:
            try:
                sent = self._send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # the reading task sees the same and tells it
            data = data[sent:]
        if data:
            self.waiting += data
            self.more.set()

    async def run(self, effect: Connect) -> None:
        why = "closed by the client"
        connected = opened = False
        sock = trio.socket.socket()
        try:
            with self.scope:
                try:
                    with trio.fail_after(effect.timeout_ms / 1000):
                        if effect.source:
                            await sock.bind((effect.source, 0))
                        await sock.connect((effect.host, effect.port))
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        self._raw = socket.socket(fileno=sock.fileno())
                        opened = True
                        speaker: Speaker = sock
                        self._send = self._raw.send
                        if self.host.secure is not None:
                            speaker = await encrypted(self._raw, self.host.secure, effect.host)
                            self._send = speaker.channel.send
                    self.sock, connected = sock, True
                    host, port = sock.getsockname()[:2]
                    self.host.tell(Connected(self.conn, host, port))
                    why = await self._serve(speaker)
                except trio.TooSlowError:
                    why = f"timed out after {effect.timeout_ms} ms"
                except OSError as problem:
                    why = problem.strerror or str(problem)
        finally:
            if opened:
                self._raw.detach()
            sock.close()
            self.host.wires.pop(self.conn, None)
        self.host.tell(Closed(self.conn, why) if connected else ConnectFailed(self.conn, why))

    async def _serve(self, sock: Speaker) -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._flush, sock)
            while True:
                try:
                    data = await sock.recv(READ)
                except OSError as problem:
                    why = problem.strerror or str(problem)
                    break
                if not data:
                    why = "the server closed the connection"
                    break
                self.host.tell(Received(self.conn, data))
            nursery.cancel_scope.cancel()
        return why

    async def _flush(self, sock: Speaker) -> None:
        while True:
            while self.waiting:
                data = bytes(self.waiting)
                try:
                    sent = await sock.send(data)
                except OSError:
                    return  # the reading task sees the same and tells it
                del self.waiting[:sent]
            self.more = trio.Event()
            await self.more.wait()


class Host:
    """One client. acted: called after each turn, so that whoever watches the clients looks again. secure: its
    connections are encrypted."""

    def __init__(
        self,
        client: Client,
        now: Callable[[], Now],
        nursery: trio.Nursery,
        acted: Callable[[], None],
        secure: ssl.SSLContext | None = None,
    ) -> None:
        self.secure = secure
        self.client, self._now, self._nursery, self._acted = client, now, nursery, acted
        self.wires: dict[int, _Wire] = {}
        self._poke = trio.Event()
        self._deadline: int | None = None

    def tell(self, event: Event) -> None:
        self._carry_out(self.client.handle(event, self._now()))

    def wake(self) -> None:
        self._carry_out(self.client.advance(self._now()))

    async def run(self) -> None:
        """Keeps the client's one alarm, until cancelled."""
        self.tell(Started())
        while True:
            self._poke = trio.Event()
            self._deadline = self.client.deadline_ms()
            if self._deadline is None:
                await self._poke.wait()
                continue
            # Half a millisecond late, never early: now() counts whole milliseconds, rounded down.
            with trio.move_on_at(self._deadline / 1000 + 0.0005):
                await self._poke.wait()
            now = self._now()
            deadline = self.client.deadline_ms()
            if deadline is not None and now.mono_ms >= deadline:
                self._carry_out(self.client.advance(now))

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Connect():
                    wire = self.wires[effect.conn] = _Wire(self, effect.conn)
                    self._nursery.start_soon(wire.run, effect)
                case Send(conn=conn, data=data):
                    if conn in self.wires:
                        self.wires[conn].send(data)
                case Close(conn=conn):
                    if conn in self.wires:
                        self.wires[conn].scope.cancel()
                case _:
                    raise AssertionError(f"a client has no {type(effect).__name__}")
        if self.client.deadline_ms() != self._deadline:
            self._poke.set()
        self._acted()
