"""What the suite needs of a driver under test, and the toy machine it drives.

A world holds machines on hosts, and clients that talk to them over byte streams. The live world is made of real sockets
and threads, a simulated one of an event heap; the suite's functions know only this Protocol. Calls are synchronous:
they let the world run until their condition holds, or raise TimeoutError after a bound.

Capabilities (`world.can`): "files", "snapshots", "silence" (an address that never answers). A check that needs one the
world lacks is not collected for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from replicator.core import effects as do
from replicator.core import events as told
from replicator.core.machine import Machine
from replicator.core.now import Now

# How long (in the world's own time) a condition may take before a check has failed.
LIMIT_MS = 10_000


class Client(Protocol):
    """One end of a byte stream whose other end is a machine."""

    def send(self, data: bytes) -> None:
        """Send, letting the world run until the system has taken all of it."""
        ...

    def offer(self, data: bytes) -> int:
        """Give the system what it takes at once; returns how many bytes that were."""
        ...

    def receive(self, length: int) -> bytes:
        """Exactly so many bytes, letting the world run until they have come. EOFError: the stream ended before."""
        ...

    def take(self) -> bytes:
        """What has come by now, perhaps nothing."""
        ...

    def receive_to_end(self) -> bytes:
        """All bytes to the end of the stream. ConnectionResetError: it was broken off instead of ended."""
        ...

    def end_writing(self) -> None:
        """Half-close: send no more, go on receiving."""
        ...

    def close(self) -> None:
        """Close both directions in order."""
        ...

    def reset(self) -> None:
        """Break the stream: the other end gets a reset."""
        ...


class Host(Protocol):
    """A machine with its listener and its disk."""

    address: tuple[str, int]

    def exit_code(self) -> int | None:
        """How the machine exited; None while it runs."""
        ...

    def read(self, name: str) -> bytes | None:
        """The file in its working directory; None if there is none."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Put a file there."""
        ...

    def names(self) -> list[str]:
        """The files in its working directory, sorted."""
        ...


class World(Protocol):
    """A driver with something to drive."""

    can: frozenset[str]

    def start(self, machine: Machine) -> Host:
        """Run a machine on a host of its own with one listener."""
        ...

    def connect(self, host: Host) -> Client:
        """A client connected to the host."""
        ...

    def run_until(self, condition: Callable[[], bool], limit_ms: int = LIMIT_MS) -> None:
        """Let the world run until the condition holds. TimeoutError after limit_ms of the world's time."""
        ...

    def run_for(self, duration_ms: int) -> None:
        """Let the world run for so long: for proofs that something does not happen."""
        ...

    def mono_ms(self) -> int:
        """The world's clock of deadlines now."""
        ...

    def refusing_address(self) -> tuple[str, int]:
        """Where nobody listens."""
        ...

    def silent_address(self) -> tuple[str, int]:
        """Where a connection attempt gets no answer at all."""
        ...


Answer = Callable[[told.Event, Now], list[do.Effect]]


class Toy:
    """A machine made of functions: notes all it is told and answers with what `answer` says.

    seen: every event in order, with its Now. alarms: the Now of every advance. plan: what pull hands out by connection.
    """

    def __init__(self, answer: Answer = lambda event, now: []) -> None:
        self.answer = answer
        self.seen: list[told.Event] = []
        self.times: list[Now] = []
        self.alarms: list[Now] = []
        self.deadlines: list[int] = []
        self.on_alarm: Callable[[Now], list[do.Effect]] = lambda now: []
        self.streams: dict[int, bytearray] = {}
        self.pulls: list[int] = []

    def handle(self, event: told.Event, now: Now) -> list[do.Effect]:
        self.seen.append(event)
        self.times.append(now)
        return self.answer(event, now)

    def deadline_ms(self) -> int | None:
        return min(self.deadlines) if self.deadlines else None

    def advance(self, now: Now) -> list[do.Effect]:
        self.alarms.append(now)
        self.deadlines = [deadline for deadline in self.deadlines if deadline > now.mono_ms]
        return self.on_alarm(now)

    def pull(self, conn: int, limit: int) -> bytes:
        waiting = self.streams.get(conn)
        if not waiting:
            return b""
        data = bytes(waiting[:limit])
        del waiting[: len(data)]
        self.pulls.append(len(data))
        return data

    def of(self, *kinds: type[told.Event]) -> list[told.Event]:
        """The events of these kinds, in order."""
        return [event for event in list(self.seen) if isinstance(event, kinds)]

    def received(self, conn: int | None = None) -> bytes:
        """All bytes that came in (on one connection)."""
        return b"".join(
            event.data
            for event in list(self.seen)
            if isinstance(event, told.Received) and (conn is None or event.conn == conn)
        )

    def closed(self) -> list[tuple[int, str]]:
        """Every Closed, as (conn, why)."""
        return [(event.conn, event.why) for event in list(self.seen) if isinstance(event, told.Closed)]


def answering(replies: Callable[[told.Received], list[do.Effect]]) -> Answer:
    """An answer function that speaks only to bytes."""
    return lambda event, now: replies(event) if isinstance(event, told.Received) else []


def pattern(length: int, seed: int = 1) -> bytes:
    """Bytes that show every loss, doubling and exchange: a numbered text."""
    line = b"".join(b"%06d:%010d\n" % (seed, number) for number in range(length // 18 + 1))
    return line[:length]
