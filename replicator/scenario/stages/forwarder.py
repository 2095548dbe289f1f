"""The network between the processes of a play: a TCP forwarder in the player's own process.

Every node is announced under an address of its own in 127.0.0.0/8, where the forwarder listens, and is bound to another
one that only the forwarder and the player know. Nodes and clients connect from their own addresses, so the forwarder
knows the caller by where it comes from, and a rule acts on the bytes between two parties alone, in one direction or
both.

Held bytes are held, never dropped: a cut link looks like one whose packets are retransmitted, and when it heals they
arrive. What a sender gets rid of meanwhile is bounded by the socket buffers and HELD_BYTES, as with a real link. Only
lose() drops bytes: the machine that sent them has lost power.

A caller behind a cut still gets its connection accepted by the kernel (somebody has to listen); it then hears nothing.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Callable
from enum import Enum
from random import Random

import trio

from replicator.scenario.play.stage import PASS, Rule

CHUNK = 64 * 1024
# What one direction of one connection holds back for a delay before it stops reading.
HELD_BYTES = 4 * 1024 * 1024
# A throttled direction moves in steps of this length.
THROTTLE_STEP_MS = 10
# Time that a throttled direction did not use (woken late, nothing to send) it may make up for, up to so much.
THROTTLE_BURST_MS = 40
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Link:
    """The bytes from one party to another: their rule, and the connections that carry them."""

    def __init__(self) -> None:
        self.rule = PASS
        self.changed = trio.Event()
        self.free_at = 0.0

    def set(self, rule: Rule) -> None:
        self.rule = rule
        changed, self.changed = self.changed, trio.Event()
        changed.set()


class Connection:
    """A caller's connection and the one to the node behind it."""

    def __init__(self, caller: str, callee: str, near: trio.SocketStream) -> None:
        self.caller, self.callee, self.near = caller, callee, near
        self.far: trio.SocketStream | None = None
        self.scope = trio.CancelScope()
        self.silent = False

    def reset(self) -> None:
        """Both ends see a reset."""
        for stream in (self.near, self.far):
            if stream is not None:
                try:
                    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                except OSError:
                    pass  # it is closed already
        self.scope.cancel()


class Forwarder:
    """party_of: the name of the party that has this address, or None for strangers (they pass)."""

    def __init__(self, party_of: Callable[[str], str | None], random: Random) -> None:
        self._party_of, self._random = party_of, random
        self._links: dict[tuple[str, str], Link] = {}
        self._connections: dict[Connection, None] = {}
        self._dark: dict[str, trio.Event] = {}
        self._serving: dict[str, trio.SocketListener] = {}
        self.moved = 0

    def link(self, source: str, target: str) -> Link:
        found = self._links.get((source, target))
        if found is None:
            found = self._links[(source, target)] = Link()
        return found

    def set(self, source: str, target: str, rule: Rule) -> None:
        """From now on this rule holds for bytes from source to target; "reset" breaks the standing connections of the
        two."""
        self.link(source, target).set(rule)
        if rule.mode == "reset":
            for connection in list(self._connections):
                if {connection.caller, connection.callee} == {source, target}:
                    connection.reset()

    def lose(self, party: str) -> None:
        """The party's machine has lost power: nothing that it sent and that is still here arrives, and no peer is
        told."""
        self._dark.setdefault(party, trio.Event())
        for connection in self._connections:
            if party in (connection.caller, connection.callee):
                connection.silent = True

    def end_silence(self, party: str) -> None:
        """The machine is back: connections that it does not remember are reset."""
        back = self._dark.pop(party, None)
        if back is not None:
            back.set()
            for connection in list(self._connections):
                if connection.silent and party in (connection.caller, connection.callee):
                    connection.reset()

    async def serve(self, listener: socket.socket, callee: str, target: tuple[str, int], nursery: trio.Nursery) -> None:
        """Accepts on the listener for the node `callee`, which is at `target`, until cancelled or shut(); closes it
        then.

        nursery: where the connections live; they outlast the listener.
        """
        accepting = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        self._serving[callee] = accepting
        while True:
            try:
                near = await accepting.accept()
            except trio.ClosedResourceError:
                return
            except OSError:
                continue  # the caller gave up before it was accepted
            nursery.start_soon(self.carry, near, callee, target)

    def shut(self, callee: str) -> None:
        """Nobody listens at the node's announced address any more: callers are refused."""
        accepting = self._serving.pop(callee, None)
        if accepting is not None:
            accepting.socket.close()

    def shut_all(self) -> None:
        for callee in list(self._serving):
            self.shut(callee)

    def connections(self) -> list[Connection]:
        """All that stand."""
        return list(self._connections)

    async def carry(self, near: trio.SocketStream, callee: str, target: tuple[str, int]) -> None:
        """Join a caller's accepted connection with the node `callee`, which is at `target`, until it ends."""
        try:
            source = near.socket.getpeername()[0]
        except OSError:
            near.socket.close()
            return
        caller = self._party_of(source) or source
        connection = Connection(caller, callee, near)
        self._connections[connection] = None
        try:
            with connection.scope:
                await self._joined(connection, source, target)
        finally:
            del self._connections[connection]
            for stream in (connection.near, connection.far):
                if stream is not None:
                    stream.socket.close()

    async def _joined(self, connection: Connection, source: str, target: tuple[str, int]) -> None:
        outward = self.link(connection.caller, connection.callee)
        inward = self.link(connection.callee, connection.caller)
        if "reset" in (outward.rule.mode, inward.rule.mode) or "refuse" in (outward.rule.mode, inward.rule.mode):
            connection.reset()
            return
        while outward.rule.mode == "blackhole":
            await outward.changed.wait()
        if connection.callee in self._dark:
            connection.silent = True
            await trio.sleep_forever()
        sock = trio.socket.socket()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self._party_of(source):
                await sock.bind((source, 0))
            await sock.connect(target)
        except OSError:
            sock.close()
            connection.reset()
            return
        except BaseException:
            sock.close()  # cancelled before anybody owned it
            raise
        connection.far = far = trio.SocketStream(sock)
        near = connection.near
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Pump(self, connection, connection.caller, near, far, outward).run)
            nursery.start_soon(Pump(self, connection, connection.callee, far, near, inward).run)

    def jitter(self, rule: Rule) -> float:
        return self._random.random() * rule.jitter_ms / 1000 if rule.jitter_ms else 0.0


class _Ending(Enum):
    """What stands in a queue behind the last bytes."""

    CLOSED = "the sender has closed its side"
    BROKEN = "the sender's connection broke"


class Pump:
    """One direction of one connection. With nothing to hold back, a chunk read is a chunk sent; otherwise chunks wait
    in a queue for their time, and a second task sends them."""

    def __init__(
        self, forwarder: Forwarder, connection: Connection, sender: str,
        source: trio.SocketStream, target: trio.SocketStream, link: Link,
    ) -> None:  # fmt: skip
        self.forwarder, self.connection, self.sender = forwarder, connection, sender
        self.source, self.target, self.link = source, target, link
        self._queue: deque[tuple[float, bytes | _Ending]] = deque()
        self._held = 0
        self._last_due = 0.0
        self._news = trio.Event()
        self._room = trio.Event()
        self._sending = False

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_queue)
            ending = _Ending.BROKEN
            try:
                await self._read()
                ending = _Ending.CLOSED
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            await self._unless_silent()
            rule = self.link.rule
            self._push(trio.current_time() + rule.delay_ms / 1000, ending)

    async def _read(self) -> None:
        """Until the sender has closed its side; errors mean that the connection broke."""
        while True:
            rule = self.link.rule
            if rule.mode == "blackhole":
                await self.link.changed.wait()
                continue
            size = CHUNK
            if rule.rate:
                size = min(CHUNK, max(1, rule.rate * THROTTLE_STEP_MS // 1000))
                await self._wait_for_rate(rule)
                if self.link.rule is not rule:
                    continue
            data = await self.source.socket.recv(size)
            await self._unless_silent()
            if not data:
                return
            self.forwarder.moved += len(data)
            rule = self.link.rule
            if rule.rate:
                earliest = trio.current_time() - THROTTLE_BURST_MS / 1000
                self.link.free_at = max(earliest, self.link.free_at) + len(data) / rule.rate
            if rule.mode == "pass" and not (rule.delay_ms or rule.jitter_ms or self._queue or self._sending):
                await self._send(data)
                continue
            self._push(trio.current_time() + rule.delay_ms / 1000 + self.forwarder.jitter(rule), data)
            while self._held > HELD_BYTES:
                self._room = trio.Event()
                await self._room.wait()

    async def _wait_for_rate(self, rule: Rule) -> None:
        """All connections of a link share its rate."""
        while self.link.rule is rule and (left := self.link.free_at - trio.current_time()) > 0:
            with trio.move_on_after(left):
                await self.link.changed.wait()

    def _push(self, due: float, what: bytes | _Ending) -> None:
        self._last_due = max(self._last_due, due)
        self._queue.append((self._last_due, what))
        if isinstance(what, bytes):
            self._held += len(what)
        self._news.set()

    async def _send_queue(self) -> None:
        while True:
            while not self._queue:
                self._sending = False
                self._news = trio.Event()
                await self._news.wait()
            self._sending = True
            due, what = self._queue.popleft()
            await trio.sleep_until(due)
            while self.link.rule.mode == "blackhole":
                await self.link.changed.wait()
            await self._unless_silent()
            if isinstance(what, bytes):
                self._held -= len(what)
                self._room.set()
                await self._send(what)
            elif what is _Ending.BROKEN:
                self.connection.reset()
                return
            else:
                try:
                    await self.target.send_eof()
                except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._unless_silent()
                    self.connection.reset()
                return

    async def _send(self, data: bytes) -> None:
        try:
            await self.target.send_all(data)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            await self._unless_silent()
            self.connection.reset()
            await trio.sleep_forever()

    async def _unless_silent(self) -> None:
        """Never returns once one end's machine has lost power: it says nothing any more, and nothing reaches it."""
        if self.connection.silent:
            await trio.sleep_forever()
