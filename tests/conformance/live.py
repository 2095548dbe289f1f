"""The live driver as a World: each machine's hub runs in a thread of its own, the clients are sockets of the test's
thread."""

from __future__ import annotations

import os
import select
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import trio

from replicator.core.machine import Machine
from replicator.runtime.hub import Ended, Hub
from replicator.runtime.listeners import listen_tcp
from tests.conformance.world import LIMIT_MS, Client, Host


class LiveClient:
    """A non-blocking socket; waiting is polling the socket itself."""

    def __init__(self, world: LiveWorld, address: tuple[str, int]) -> None:
        self.world = world
        self.sock = socket.create_connection(address, timeout=10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)

    def _wait(self, mask: int, deadline_s: float) -> None:
        poller = select.poll()
        poller.register(self.sock, mask)
        if not poller.poll(max(0.0, deadline_s - time.monotonic()) * 1000):
            raise TimeoutError("the stream stands still")
        self.world.check()

    def send(self, data: bytes) -> None:
        deadline_s = time.monotonic() + LIMIT_MS / 1000
        view = memoryview(data)
        while view:
            view = view[self.offer(view) :]
            if view:
                self._wait(select.POLLOUT, deadline_s)

    def offer(self, data: bytes | memoryview) -> int:
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0

    def _some(self, most: int, deadline_s: float) -> bytes:
        while True:
            try:
                return self.sock.recv(most)
            except BlockingIOError:
                self._wait(select.POLLIN, deadline_s)

    def receive(self, length: int) -> bytes:
        deadline_s = time.monotonic() + LIMIT_MS / 1000
        data = bytearray()
        while len(data) < length:
            some = self._some(min(length - len(data), 1 << 20), deadline_s)
            if not some:
                raise EOFError(f"ended after {len(data)} of {length} bytes: {bytes(data[-60:])!r}")
            data += some
        return bytes(data)

    def take(self) -> bytes:
        try:
            return self.sock.recv(1 << 20)
        except BlockingIOError:
            return b""

    def receive_to_end(self) -> bytes:
        deadline_s = time.monotonic() + LIMIT_MS / 1000
        data = bytearray()
        while some := self._some(1 << 20, deadline_s):
            data += some
        return bytes(data)

    def end_writing(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class LiveHost:
    """A hub in a thread."""

    def __init__(self, machine: Machine, directory: str, **options: Any) -> None:
        """options: of the Hub; with tls its listener speaks TLS."""
        self.directory = directory
        self.hub = Hub(machine, directory=directory, **options)
        listeners = listen_tcp(("127.0.0.1",), 0, 128, tls="tls" in options)
        self.address = ("127.0.0.1", int(listeners[0].sock.getsockname()[1]))
        self.hub.listen(listeners)
        self.ended: Ended | None = None
        self.error: BaseException | None = None
        self.scope = trio.CancelScope()
        self.token: trio.lowlevel.TrioToken | None = None
        self.running = threading.Event()
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()
        self.running.wait(10)

    def _work(self) -> None:
        async def run() -> None:
            self.token = trio.lowlevel.current_trio_token()
            self.running.set()
            with self.scope:
                self.ended = await self.hub.run()

        try:
            trio.run(run)
        except BaseException as error:
            self.error = error

    def stop(self) -> None:
        """Cancel the hub and wait for its thread."""
        assert self.token is not None
        try:
            self.token.run_sync_soon(self.scope.cancel)
        except trio.RunFinishedError:
            pass
        self.thread.join(10)
        assert not self.thread.is_alive(), "the hub does not end"

    def exit_code(self) -> int | None:
        return None if self.ended is None else self.ended.code

    def read(self, name: str) -> bytes | None:
        try:
            with open(os.path.join(self.directory, name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        with open(os.path.join(self.directory, name), "wb") as file:
            file.write(data)

    def names(self) -> list[str]:
        return sorted(os.listdir(self.directory))


class LiveWorld:
    """Real sockets, real files, real forks."""

    can = frozenset({"files", "snapshots", "silence"})

    def __init__(self) -> None:
        self.hosts: list[LiveHost] = []
        self.clients: list[LiveClient] = []
        self.folders: list[tempfile.TemporaryDirectory[str]] = []
        self.others: list[socket.socket] = []

    def start(self, machine: Machine, **options: Any) -> LiveHost:
        folder = tempfile.TemporaryDirectory()
        self.folders.append(folder)
        host = LiveHost(machine, folder.name, **options)
        self.hosts.append(host)
        return host

    def connect(self, host: Host) -> Client:
        client = LiveClient(self, host.address)
        self.clients.append(client)
        return client

    def check(self) -> None:
        """A machine or a hub that raised fails the test at once."""
        for host in self.hosts:
            if host.error is not None:
                raise AssertionError("the hub broke") from host.error

    def run_until(self, condition: Callable[[], bool], limit_ms: int = LIMIT_MS) -> None:
        deadline_s = time.monotonic() + limit_ms / 1000
        while not condition():
            self.check()
            if time.monotonic() > deadline_s:
                raise TimeoutError("the condition does not come true")
            time.sleep(0.001)  # the poll of the condition: the hubs run meanwhile
        self.check()

    def run_for(self, duration_ms: int) -> None:
        time.sleep(duration_ms / 1000)  # time itself is what is asked for
        self.check()

    def mono_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    def refusing_address(self) -> tuple[str, int]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return "127.0.0.1", int(probe.getsockname()[1])

    def silent_address(self) -> tuple[str, int]:
        """A listener whose queue is full drops what asks to connect."""
        listener = socket.socket()
        self.others.append(listener)
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = ("127.0.0.1", int(listener.getsockname()[1]))
        for _ in range(8):
            filler = socket.socket()
            self.others.append(filler)
            filler.setblocking(False)
            filler.connect_ex(address)
        return address

    def close(self) -> None:
        """End everything that was started; raises what a hub raised."""
        for client in self.clients:
            client.close()
        for host in self.hosts:
            host.stop()
        for sock in self.others:
            sock.close()
        for folder in self.folders:
            folder.cleanup()
        self.check()
