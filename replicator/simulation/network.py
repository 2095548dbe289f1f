"""A network of byte streams as TCP gives them, with everything that can go wrong with them.

What holds, whatever the rules between two parties are: inside one direction of one connection bytes are never lost or
reordered. A dead link holds them back; they are sent again after 0.2 s, 0.4 s, 0.8 s ... and given up with
"Connection timed
out" after GIVE_UP_US. Bytes that had not left a machine when its power went are gone; its peers hear nothing until they
send something to the machine after it came back, which answers with a reset.

    Socket.send -> (window) -> Path: rate, delay, jitter, mode -> in order -> peer.inbox -> sink.readable -> Socket.take
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Protocol

from replicator.simulation.kernel import Kernel

# Sent and not yet taken by the reader: the sender's and the receiver's buffers together.
WINDOW: Final = 512 * 1024
FIRST_RETRY_US: Final = 200_000
LONGEST_RETRY_US: Final = 3_200_000
GIVE_UP_US: Final = 900_000_000
# A connection attempt is repeated after 1, 3, 7, 15 ... seconds.
SYN_RETRY_US: Final = 1_000_000

REFUSED: Final = "Connection refused"
RESET: Final = "Connection reset by peer"
TIMED_OUT: Final = "Connection timed out"

DATA, OPEN, FIN = range(3)


class Sink(Protocol):
    """Who holds an end of a connection."""

    def readable(self, sock: Socket) -> None:
        """Bytes, an end or a break has come; take() and the fields tell."""

    def room(self, sock: Socket) -> None:
        """A send that was not taken whole may be tried again."""


class Listener(Protocol):
    """Who accepts connections at an address."""

    def accepted(self, sock: Socket) -> None:
        """A connection stands; set its sink."""


@dataclass(frozen=True, slots=True)
class Conduct:
    """What happens to bytes from one party to another; the modes are those of scenarios (stages/base.py Rule)."""

    mode: str = "pass"
    delay_us: int = 0
    jitter_us: int = 0
    rate: int = 0


class Path:
    """One direction between two parties; all their connections share its rate."""

    __slots__ = (
        "base_us", "chance", "conduct", "cut", "free_us", "jitter_us", "net", "sockets", "source",
        "target", "travel_us",
    )  # fmt: skip

    def __init__(self, net: Network, source: str, target: str) -> None:
        self.net, self.source, self.target = net, source, target
        self.chance = net.kernel.random(f"net/{source}>{target}")
        self.base_us = net.base_us + self.chance.randrange(net.base_us + 1)
        self.free_us = 0
        self.sockets: dict[Socket, None] = {}
        self.set(Conduct())

    def set(self, conduct: Conduct) -> None:
        """From now on this holds."""
        self.conduct = conduct
        self.cut = conduct.mode == "blackhole"
        self.travel_us = self.base_us + conduct.delay_us
        self.jitter_us = float(self.net.jitter_us + conduct.jitter_us)
        if not conduct.rate:
            self.free_us = 0

    def departure_us(self, length: int) -> int:
        """When so many bytes, handed over now, have left over a path with a rate."""
        self.free_us = max(self.free_us, self.net.kernel.now_us) + length * 1_000_000 // self.conduct.rate
        return self.free_us

    def delay(self) -> int:
        """How long the next packet is under way."""
        return self.travel_us + int(self.jitter_us * self.chance.random())


class Socket:
    """One end of a connection, with the direction of bytes that it sends."""

    __slots__ = (
        "_arrives",
        "_deferred",
        "_early",
        "_expected",
        "_last_us",
        "_retry_us",
        "_sequence",
        "_stalled",
        "_stalled_since_us",
        "broken",
        "closed",
        "dead",
        "ended",
        "inbox",
        "inbox_bytes",
        "local",
        "lost_us",
        "net",
        "outstanding",
        "owner",
        "path",
        "peer",
        "remote",
        "sink",
        "wants_room",
        "window",
    )

    peer: Socket

    def __init__(self, net: Network, path: Path, local: tuple[str, int], remote: tuple[str, int]) -> None:
        self.net, self.path, self.local, self.remote = net, path, local, remote
        self.sink: Sink | None = None
        self.owner: Any = None  # what its sink knows it by
        self.inbox: list[bytes] = []
        self.inbox_bytes = 0
        self.ended = False  # the peer sends no more
        self.broken = ""  # why the connection is no more
        self.closed = False  # we have given it up
        self.dead = False  # our machine lost its power: nothing comes from here any more
        self.lost_us = -1
        self.window = net.window
        self.outstanding = 0
        self.wants_room = False
        self._sequence = 0
        self._expected = 0  # of what we send: the number that the peer takes next
        self._early: dict[int, tuple[int, bytes]] = {}
        self._stalled: list[tuple[int, int, bytes]] = []
        self._stalled_since_us = 0
        self._retry_us = FIRST_RETRY_US
        self._last_us = 0
        self._deferred = 0
        self._arrives = self._arrive  # bound once, and not for each packet

    # -- sending -----------------------------------------------------------------------------------------------------

    def send(self, data: bytes | memoryview) -> int:
        """Hand bytes to the system; how many it took (0: no room now). A broken connection takes all and drops it."""
        length = len(data)
        if self.broken or self.closed or self.dead:
            return length
        room = self.window - self.outstanding
        if room < length:
            self.wants_room = True
            if room <= 0:
                return 0
            data, length = data[:room], room
        self.outstanding += length
        self._emit(DATA, data if type(data) is bytes else bytes(data))
        return length

    def _emit(self, kind: int, data: bytes) -> None:
        number = self._sequence
        self._sequence = number + 1
        if self._stalled or self.path.cut:
            self._stall(number, kind, data)
        else:
            self._fly(number, kind, data)

    def _fly(self, number: int, kind: int, data: bytes) -> None:
        path, kernel = self.path, self.net.kernel
        departure = path.departure_us(len(data)) if path.conduct.rate else kernel.now_us
        arrival = departure + path.delay()
        if arrival < self._last_us:
            arrival = self._last_us
        self._last_us = arrival
        kernel.at(arrival, self._arrives, number, kind, data, departure)

    def _stall(self, number: int, kind: int, data: bytes) -> None:
        """Bytes that do not get through: sent again later."""
        if not self._stalled:
            self._stalled_since_us = self.net.kernel.now_us
            self._retry_us = FIRST_RETRY_US
            self.net.kernel.after(FIRST_RETRY_US, self._retry)
        self._stalled.append((number, kind, data))

    def _retry(self) -> None:
        if not self._stalled or self.dead:
            return
        if self.path.cut or (self.peer.dead and not self.net.powered(self.path.target)):
            if self.net.kernel.now_us - self._stalled_since_us >= GIVE_UP_US:
                self._break(TIMED_OUT)
                return
            self._retry_us = min(LONGEST_RETRY_US, self._retry_us * 2)
            self.net.kernel.after(self._retry_us, self._retry)
            return
        stalled, self._stalled = sorted(self._stalled), []
        for number, kind, data in stalled:
            self._fly(number, kind, data)

    # -- arriving ----------------------------------------------------------------------------------------------------

    def _arrive(self, number: int, kind: int, data: bytes, departure: int) -> None:
        if self.dead and departure > self.lost_us:
            return  # it never left the machine
        if self._stalled or self.path.cut:
            if not self.dead:
                self._stall(number, kind, data)
            return
        if number != self._expected:
            self._early[number] = (kind, data)
            return
        peer = self.peer
        if kind == DATA and not (self._early or peer.dead or peer.closed or peer.broken):  # nearly always
            self._expected = number + 1
            peer.inbox.append(data)
            peer.inbox_bytes += len(data)
            if peer.sink is not None:
                peer.sink.readable(peer)
            return
        self._deliver(number, kind, data)
        while self._early and self._expected in self._early:
            number = self._expected
            kind, data = self._early.pop(number)
            self._deliver(number, kind, data)

    def _deliver(self, number: int, kind: int, data: bytes) -> None:
        peer = self.peer
        if peer.dead and not self.net.powered(self.path.target):
            self._stall(number, kind, data)
            return
        self._expected = number + 1
        if kind == OPEN:
            self.net.accept(self)
            return
        if peer.dead or peer.closed:
            if not (peer.closed and kind == FIN):
                peer.answer_reset()
            return
        if peer.broken:
            return
        if kind == DATA:
            peer.inbox.append(data)
            peer.inbox_bytes += len(data)
        else:
            peer.ended = True
        if peer.sink is not None:
            peer.sink.readable(peer)

    def answer_reset(self) -> None:
        """Tell the peer that nobody is here. A reset that meets a dead link is lost; on a thin one it comes behind the
        bytes that are under way."""
        path, kernel = self.path, self.net.kernel
        if not path.cut:
            departure = path.departure_us(0) if path.conduct.rate else kernel.now_us
            kernel.at(max(departure + path.delay(), self._last_us), self._reset_arrives)

    def _reset_arrives(self) -> None:
        if not self.path.cut:
            self.peer._break(RESET)

    def _break(self, why: str) -> None:
        if self.broken or self.closed or self.dead:
            return
        self.broken = why
        self.inbox.clear()
        self.inbox_bytes = 0
        self._forget()
        if self.sink is not None:
            self.sink.readable(self)

    def _forget(self) -> None:
        self._stalled.clear()
        self.path.sockets.pop(self, None)

    # -- reading -----------------------------------------------------------------------------------------------------

    def take(self, most: int) -> bytes:
        """Up to so many bytes that have come; b"": none now."""
        inbox = self.inbox
        if not inbox:
            return b""
        if self.inbox_bytes <= most:
            data = inbox[0] if len(inbox) == 1 else b"".join(inbox)
            inbox.clear()
        else:
            whole = b"".join(inbox)
            data = whole[:most]
            inbox[:] = (whole[most:],)
        length = len(data)
        self.inbox_bytes -= length
        self._consumed(length)
        return data

    def _consumed(self, length: int) -> None:
        """The peer may send so much more, once it knows."""
        if self.path.cut:
            self._deferred += length
            return
        peer = self.peer
        peer.outstanding -= length + self._deferred
        self._deferred = 0
        if peer.wants_room and peer.window - peer.outstanding >= peer.window // 4:
            peer.wants_room = False
            self.net.kernel.after(self.path.base_us, peer._has_room)

    def _has_room(self) -> None:
        if self.sink is not None and not (self.broken or self.closed or self.dead):
            self.sink.room(self)

    def healed(self) -> None:
        """Our path carries again: what we had to tell of the window gets through."""
        if self._deferred:
            self._consumed(0)

    # -- ends --------------------------------------------------------------------------------------------------------

    def end_writing(self) -> None:
        """Send no more (a half-close)."""
        if not (self.broken or self.closed or self.dead):
            self._emit(FIN, b"")

    def close(self) -> None:
        """Give the connection up. Unread bytes make the system answer with a reset, as TCP does."""
        if self.closed:
            return
        if not self.broken and not self.dead:
            if self.inbox_bytes:
                self.closed = True
                self.answer_reset()
                self._forget()
                return
            self._emit(FIN, b"")
        self.closed = True
        self.inbox.clear()
        self.inbox_bytes = 0

    def reset(self) -> None:
        """Break the connection: the peer gets a reset."""
        if not (self.closed or self.broken or self.dead):
            self.closed = True
            self.answer_reset()
            self._forget()

    def lose_power(self) -> None:
        """The machine of this end is gone from this instant on."""
        self.dead = True
        self.lost_us = self.net.kernel.now_us
        self._stalled.clear()
        self.path.sockets.pop(self, None)


class Attempt:
    """A connection being made. done(sock, why): sock is None when it failed."""

    __slots__ = ("_done", "_net", "_over", "_retry_us", "back", "local", "path", "remote")

    def __init__(
        self,
        net: Network,
        source: str,
        local_host: str,
        remote: tuple[str, int],
        done: Callable[[Socket | None, str], None],
    ) -> None:
        self._net, self._done = net, done
        self._over = False
        self._retry_us = SYN_RETRY_US
        target = net.party_at(remote[0])
        self.path = net.path(source, target)
        self.back = net.path(target, source)
        self.local = (local_host, net.next_port())
        self.remote = remote
        self._try()

    def cancel(self) -> None:
        """Give up silently."""
        self._over = True

    def _try(self) -> None:
        if self._over:
            return
        mode = self.path.conduct.mode
        net = self._net
        kernel = net.kernel
        if mode in ("refuse", "reset") or self.back.conduct.mode in ("refuse", "reset"):
            kernel.after(self.path.delay(), self._fail, REFUSED)
            return
        if not self.path.cut and net.powered(self.path.target):
            kernel.after(self.path.delay(), self._at_target)
        kernel.after(self._retry_us, self._try)
        self._retry_us *= 2

    def _at_target(self) -> None:
        if self._over or self.back.cut or not self._net.powered(self.path.target):
            return
        known = self.remote in self._net.listeners
        self._net.kernel.after(self.back.delay(), self._stands if known else self._refused)

    def _refused(self) -> None:
        self._fail(REFUSED)

    def _fail(self, why: str) -> None:
        if not self._over:
            self._over = True
            self._done(None, why)

    def _stands(self) -> None:
        if self._over:
            return
        self._over = True
        net = self._net
        near = Socket(net, self.path, self.local, self.remote)
        far = Socket(net, self.back, self.remote, self.local)
        near.peer, far.peer = far, near
        self.path.sockets[near] = None
        self.back.sockets[far] = None
        near._emit(OPEN, b"")
        self._done(near, "")


class Network:
    """Parties (machines and clients, each with an address), and the rules between them."""

    def __init__(self, kernel: Kernel, *, base_us: int = 80, jitter_us: int = 40, window: int = WINDOW) -> None:
        """base_us, jitter_us: how long a packet is under way where no rule says more."""
        self.kernel = kernel
        self.base_us, self.jitter_us, self.window = base_us, jitter_us, window
        self.listeners: dict[tuple[str, int], Listener] = {}
        self._paths: dict[tuple[str, str], Path] = {}
        self._parties: dict[str, str] = {}
        self._dark: dict[str, None] = {}
        self._port = 40_000

    def name(self, address: str, party: str) -> None:
        """The party that has this address."""
        self._parties[address] = party

    def party_at(self, address: str) -> str:
        """Whose address it is; an address of nobody is a party of its own, without power."""
        party = self._parties.get(address)
        if party is None:
            party = self._parties[address] = address
            self._dark[party] = None
        return party

    def next_port(self) -> int:
        """A fresh port for an outgoing connection."""
        self._port += 1
        return self._port

    def path(self, source: str, target: str) -> Path:
        """The direction from one party to another."""
        path = self._paths.get((source, target))
        if path is None:
            path = self._paths[(source, target)] = Path(self, source, target)
        return path

    def powered(self, party: str) -> bool:
        """Whether the party's machine has power (its process may be down nevertheless)."""
        return party not in self._dark

    def power(self, party: str, *, on: bool) -> None:
        """Switch a machine's power."""
        if on:
            self._dark.pop(party, None)
        else:
            self._dark[party] = None

    def conduct(self, source: str, target: str, conduct: Conduct) -> None:
        """From now on this holds for bytes from one party to the other."""
        path = self.path(source, target)
        was = path.cut
        path.set(conduct)
        if conduct.mode == "reset":
            for sock in [*path.sockets, *self.path(target, source).sockets]:
                sock._break(RESET)
        elif was and not path.cut:
            for sock in list(path.sockets):
                sock.healed()

    def accept(self, near: Socket) -> None:
        """The first packet of an established connection has come to its listener."""
        far = near.peer
        listener = self.listeners.get(near.remote)
        if listener is None:
            far.closed = True
            far.answer_reset()
            return
        listener.accepted(far)


def draw_short(chance: Random, length: int) -> int:
    """Where a short read ends: anywhere, the first and last bytes more often than others."""
    kind = chance.random()
    if kind < 0.2:
        return 1
    if kind < 0.4:
        return length - 1
    return chance.randrange(1, length)
