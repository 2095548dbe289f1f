"""What only the live driver has: addresses, options of sockets, descriptors that run out."""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replicator.core import effects as do
from replicator.core import events as told
from replicator.core.now import Now
from replicator.runtime.links import PULLS_MOST
from replicator.runtime.listeners import ListenError, listen_tcp
from tests.conformance.live import LiveClient, LiveHost, LiveWorld
from tests.conformance.world import Toy, answering
from tests.runtime.conftest import Spawn
from tests.support.spawn import until


def calling(host: str, port: int, source: str = "", timeout_ms: int = 5_000) -> Toy:
    """A machine that connects there when it starts."""

    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        return [do.Connect(-1, host, port, source, timeout_ms)] if isinstance(event, told.Started) else []

    return Toy(answer)


def test_a_name_is_looked_up_beside_the_loop(world: LiveWorld) -> None:
    server = Toy()
    host = world.start(server)
    caller = calling("localhost", host.address[1])
    world.start(caller)
    world.run_until(lambda: bool(caller.of(told.Connected)))
    world.run_until(lambda: bool(server.of(told.Opened)))


@pytest.fixture
def look_up(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], OSError]]:
    """Names of this dictionary are looked up by its functions, which give the failure."""
    names: dict[str, Callable[[], OSError]] = {}
    real = socket.getaddrinfo

    def fake(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name in names and not flags & socket.AI_NUMERICHOST:
            raise names[name]()
        return real(host, port, family, type, proto, flags)

    monkeypatch.setattr(socket, "getaddrinfo", fake)
    return names


def test_an_unknown_name_fails_the_connection(world: LiveWorld, look_up: dict[str, Callable[[], OSError]]) -> None:
    look_up["nobody.invalid"] = lambda: socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    caller = calling("nobody.invalid", 1)
    world.start(caller)
    world.run_until(lambda: bool(caller.of(told.ConnectFailed)))
    assert caller.of(told.ConnectFailed) == [told.ConnectFailed(-1, "Name or service not known")]


def test_a_look_up_that_hangs_does_not_hold_the_loop_and_times_out(
    world: LiveWorld, look_up: dict[str, Callable[[], OSError]]
) -> None:
    released = threading.Event()

    def hang() -> OSError:
        released.wait(10)
        return socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    look_up["slow.invalid"] = hang
    caller = calling("slow.invalid", 1, timeout_ms=100)
    client = world.connect(world.start(caller))
    client.send(b"x")
    world.run_until(lambda: caller.received() == b"x")
    assert not caller.of(told.ConnectFailed)
    world.run_until(lambda: bool(caller.of(told.ConnectFailed)))
    assert caller.of(told.ConnectFailed) == [told.ConnectFailed(-1, "Connection timed out")]
    released.set()
    world.run_for(20)
    assert len(caller.of(told.ConnectFailed)) == 1


def test_an_outgoing_connection_comes_from_its_source_address(world: LiveWorld) -> None:
    server = Toy()
    host = world.start(server)
    world.start(calling(*host.address, source="127.0.0.9"))
    world.run_until(lambda: bool(server.of(told.Opened)))
    (opened,) = server.of(told.Opened)
    assert isinstance(opened, told.Opened) and opened.peer_host == "127.0.0.9"


def test_a_source_address_that_is_not_ours_fails_the_connection(world: LiveWorld) -> None:
    host = world.start(Toy())
    caller = calling(*host.address, source="203.0.113.7")
    world.start(caller)
    world.run_until(lambda: bool(caller.of(told.ConnectFailed)))
    assert caller.of(told.ConnectFailed) == [told.ConnectFailed(-1, "Cannot assign requested address")]


def test_connections_have_no_delay_and_keep_alive(world: LiveWorld) -> None:
    toy = Toy(answering(lambda event: [do.NoDelay(event.conn, False), do.Send(event.conn, b".")]))
    host = world.start(toy, keepalive_s=90)
    client = world.connect(host)
    world.run_until(lambda: bool(toy.of(told.Opened)))
    sock = host.hub.links.by_conn[1].sock
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 90
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 30
    client.send(b"x")
    client.receive(1)
    assert not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
def test_ipv6_is_served_and_called(world: LiveWorld) -> None:
    server = Toy()
    host = world.start(server)
    (listener,) = listen_tcp(("::1",), 0, 16)
    port = listener.sock.getsockname()[1]
    assert host.token is not None
    host.token.run_sync_soon(lambda: host.hub.listen([listener]))
    caller = calling("::1", port)
    world.start(caller)
    world.run_until(lambda: bool(server.of(told.Opened)))
    (opened,) = server.of(told.Opened)
    assert isinstance(opened, told.Opened) and (opened.peer_host, opened.local_host) == ("::1", "::1")


def test_when_no_address_can_be_bound_nothing_stays_bound() -> None:
    with pytest.raises(ListenError) as caught:
        listen_tcp(("127.0.0.1", "203.0.113.7"), 0, 16)
    assert "203.0.113.7:0: bind: Cannot assign requested address" in caught.value.lines[0]


def test_without_descriptors_the_listener_rests_and_does_not_spin(spawn: Spawn) -> None:
    server = spawn().ready()
    lines = server.connect()
    pid = server.process.pid
    used = len(os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 2, used + 2))
    socks = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
    until(lambda: "Accepting client connection: accept: Too many open files" in server.log())

    def busy_ns() -> int:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])

    before_ns = busy_ns()
    time.sleep(0.5)  # the time in which a loop would spin
    assert busy_ns() - before_ns < 50_000_000
    assert lines.call("PING") == "PONG"
    for sock in socks[:3]:
        sock.close()
    for sock in socks[3:]:
        sock.settimeout(5)
        sock.sendall(b"PING\n")
        assert sock.recv(100) == b"PONG\n", "they are accepted when descriptors are free again"
        sock.close()


def test_a_replica_far_behind_does_not_keep_clients_waiting(world: LiveWorld) -> None:
    """One turn pulls a bounded number of times for a stream, however much waits for it."""
    pulls_of_turn: list[int] = []

    class Endless(Toy):
        def pull(self, conn: int, limit: int) -> bytes:
            pulls_of_turn[-1] += 1
            return b"x" * 1000

    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Received):
            pulls_of_turn.append(0)
            return [do.Send(event.conn, b".")]
        pulls_of_turn.append(0)
        return [do.Stream(event.conn)] if isinstance(event, told.Opened) and event.conn == 1 else []

    host = world.start(Endless(answer))
    replica = world.connect(host)
    assert isinstance(replica, LiveClient)
    client = world.connect(host)
    stop = threading.Event()

    def take() -> None:
        while not stop.is_set():
            try:
                replica.sock.recv(1 << 16)
            except BlockingIOError:
                stop.wait(0.0005)

    taker = threading.Thread(target=take)
    taker.start()
    try:
        for _ in range(50):
            client.send(b"x")
            assert client.receive(1) == b"."
    finally:
        stop.set()
        taker.join()
    assert sum(pulls_of_turn) > PULLS_MOST, "the stream went on meanwhile"


def test_a_flushing_close_that_nobody_reads_is_given_up(world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replicator.runtime.links.CLOSE_FLUSH_MS", 100)
    toy = Toy(
        answering(lambda event: [do.Send(event.conn, b"z" * 12_000_000), do.Close(event.conn, "quit", flush=True)])
    )
    client = world.connect(world.start(toy))
    client.send(b"x")
    world.run_until(lambda: bool(toy.closed()))
    assert toy.closed() == [(1, "quit")]


def test_a_client_in_the_midst_of_writing_gets_the_error_that_closes_its_connection(world: LiveWorld) -> None:
    """A close with unread bytes would be a reset, which fails the client's write before it reads the reason."""

    def answer(event: told.Received) -> list[do.Effect]:
        return [do.Send(event.conn, b"-ERR Protocol error\r\n"), do.Close(event.conn, "protocol", flush=True)]

    host = world.start(Toy(answering(answer)))
    host.hub.door.listeners[0].sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with socket.socket() as sock:
        sock.settimeout(10)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sock.connect(host.address)
        sock.sendall(b"x" * 800_000)
        assert sock.makefile("rb").readline() == b"-ERR Protocol error\r\n"
        assert sock.recv(1) == b""


def test_everything_is_closed_when_a_hub_is_cancelled(world: LiveWorld) -> None:
    def inventory() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = inventory()
    host = world.start(Toy())
    clients = [world.connect(host) for _ in range(5)]
    for client in clients:
        client.close()
    host.stop()
    until(lambda: inventory() == before)


def test_a_hub_that_breaks_lets_the_error_out(world: LiveWorld) -> None:
    def answer(event: told.Received) -> list[do.Effect]:
        raise ZeroDivisionError

    host: LiveHost = world.start(Toy(answering(answer)))
    client = world.connect(host)
    client.send(b"x")
    until(lambda: host.error is not None)
    assert isinstance(client, LiveClient) and client.sock.recv(1) == b""
    assert _leaves(host.error) == [ZeroDivisionError]
    world.hosts.remove(host)


def _leaves(error: BaseException | None) -> list[type[BaseException]]:
    if isinstance(error, BaseExceptionGroup):
        return [kind for inner in error.exceptions for kind in _leaves(inner)]
    return [] if error is None else [type(error)]


def test_posted_events_wake_a_sleeping_loop(world: LiveWorld) -> None:
    toy = Toy()
    host = world.start(toy)
    world.run_until(lambda: bool(toy.seen))
    post: Callable[[told.Event], None] = host.hub.post
    post(told.Signalled("SIGTERM"))
    world.run_until(lambda: toy.seen[-1:] == [told.Signalled("SIGTERM")], 1_000)
