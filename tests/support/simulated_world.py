"""The simulated driver as a World of the conformance suite: machines in one event heap, the clients raw ends of
connections."""

from __future__ import annotations

from collections.abc import Callable

from replicator.core.machine import Machine
from replicator.simulation.clocks import Clock
from replicator.simulation.disk import Disk, DiskError
from replicator.simulation.kernel import Kernel
from replicator.simulation.network import Attempt, Network, Socket
from replicator.simulation.parts import Costs, Hooks
from replicator.simulation.process import Process
from tests.conformance.world import LIMIT_MS


class SimClient:
    """A raw end of a connection."""

    def __init__(self, world: SimWorld, sock: Socket) -> None:
        self.world, self.sock = world, sock
        sock.sink = self

    def readable(self, sock: Socket) -> None:
        """Nothing: whoever waits looks."""

    def room(self, sock: Socket) -> None:
        """Nothing: whoever waits looks."""

    def send(self, data: bytes) -> None:
        while data:
            data = data[self.offer(data) :]
            if data:
                self.world.run_until(lambda: self.sock.outstanding < self.sock.window)

    def offer(self, data: bytes) -> int:
        # Whoever offers again and again lets the world go on, as a system call lets the other processes run.
        self.world.run_for(1)
        return self.sock.send(data)

    def receive(self, length: int) -> bytes:
        data = bytearray()
        deadline_us = self.world.kernel.now_us + LIMIT_MS * 1000
        while len(data) < length:
            self._wait(deadline_us)
            some = self.sock.take(length - len(data))
            if not some:
                raise EOFError(f"ended after {len(data)} of {length} bytes: {bytes(data[-60:])!r}")
            data += some
        return bytes(data)

    def _wait(self, deadline_us: int) -> None:
        sock = self.sock
        self.world.run_until(
            lambda: bool(sock.inbox or sock.ended or sock.broken), (deadline_us - self.world.kernel.now_us) // 1000
        )
        if sock.broken:
            raise ConnectionResetError(sock.broken)

    def take(self) -> bytes:
        self.world.run_for(1)
        return self.sock.take(1 << 20)

    def receive_to_end(self) -> bytes:
        deadline_us = self.world.kernel.now_us + LIMIT_MS * 1000
        data = bytearray()
        while True:
            self._wait(deadline_us)
            some = self.sock.take(1 << 20)
            if not some:
                return bytes(data)
            data += some

    def end_writing(self) -> None:
        self.sock.end_writing()

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        self.sock.reset()


class SimHost:
    """A process on a machine of its own."""

    def __init__(self, world: SimWorld, machine: Machine, number: int) -> None:
        name = f"host{number}"
        self.address = (f"10.0.0.{number}", 7000)
        kernel = world.kernel
        world.net.name(self.address[0], name)
        self.disk = Disk(kernel.random(f"disk/{name}"))
        self.errors: list[str] = []
        self.process = Process(
            kernel, world.net, name, self.address, machine,
            clock=Clock(kernel, drift_ppm=150, boot_us=5_000_123), disk=self.disk, chance=kernel.random(name),
            hooks=Hooks(broke=world.errors.append), costs=Costs(short_reads=world.short_reads), pid=100,
        )  # fmt: skip
        self.process.start()

    def exit_code(self) -> int | None:
        return None if self.process.ended is None else self.process.ended[0]

    def read(self, name: str) -> bytes | None:
        try:
            return self.disk.read(name)
        except DiskError:
            return None

    def write(self, name: str, data: bytes) -> None:
        self.disk.append(name, data, True)
        self.disk.sync(name)

    def names(self) -> list[str]:
        return sorted(self.disk.entries)


class SimWorld:
    """Virtual time, one thread."""

    can = frozenset({"files", "snapshots", "silence"})

    def __init__(self, seed: int = 0, short_reads: float = 0.0) -> None:
        self.kernel = Kernel(seed)
        # As large as the buffers of a loopback connection grow.
        self.net = Network(self.kernel, window=4 * 1024 * 1024)
        self.short_reads = short_reads
        self.errors: list[str] = []
        self.hosts = 0
        self.clients = 0

    def start(self, machine: Machine) -> SimHost:
        self.hosts += 1
        return SimHost(self, machine, self.hosts)

    def connect(self, host: SimHost) -> SimClient:
        self.clients += 1
        found: list[Socket | None] = []
        address = f"10.9.0.{self.clients}"
        self.net.name(address, f"client{self.clients}")
        Attempt(self.net, f"client{self.clients}", address, host.address, lambda sock, why: found.append(sock))
        self.run_until(lambda: bool(found))
        sock = found[0]
        assert sock is not None, "refused"
        return SimClient(self, sock)

    def check(self) -> None:
        if self.errors:
            raise AssertionError(f"a machine broke: {self.errors[0]}")

    def run_until(self, condition: Callable[[], bool], limit_ms: int = LIMIT_MS) -> None:
        until_us = self.kernel.now_us + limit_ms * 1000
        while not condition():
            self.check()
            next_us = self.kernel.next_us()
            if next_us is None or next_us > until_us:
                raise TimeoutError("the condition does not come true")
            self.kernel.step()
        self.check()

    def run_for(self, duration_ms: int) -> None:
        until_us = self.kernel.now_us + duration_ms * 1000
        self.kernel.run(until_us)
        self.check()

    def mono_ms(self) -> int:
        return self.kernel.now_us // 1000

    def refusing_address(self) -> tuple[str, int]:
        self.net.name("10.8.0.1", "nobody")
        return "10.8.0.1", 7000

    def silent_address(self) -> tuple[str, int]:
        return "10.8.0.2", 7000
