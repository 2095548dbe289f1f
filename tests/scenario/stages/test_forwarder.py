"""Every rule of the forwarder on real sockets, between a caller and a callee that it tells apart by their addresses."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio
import trio.testing

from replicator.scenario.play.stage import Rule
from replicator.scenario.stages.addresses import Block
from replicator.scenario.stages.forwarder import Forwarder

BOUND_S = 10


class Net:
    """Node 0 ("n", an echo server) behind a forwarder; parties "x" and "y" call it."""

    def __init__(self, block: Block, forwarder: Forwarder, nursery: trio.Nursery, port: int) -> None:
        self.block, self.forwarder, self.nursery, self.port = block, forwarder, nursery, port
        self.accepted: list[trio.SocketStream] = []
        self.sockets: list[trio.socket.SocketType] = []

    async def call(self, party: int = 0) -> trio.SocketStream:
        sock = trio.socket.socket()
        self.sockets.append(sock)
        await sock.bind((self.block.client(party), 0))
        await sock.connect((self.block.announced(0), self.port))
        return trio.SocketStream(sock)


@asynccontextmanager
async def net(echo: bool = True) -> AsyncIterator[Net]:
    block = Block()
    names = {block.private(0): "n", block.client(0): "x", block.client(1): "y"}
    forwarder = Forwarder(names.get, Random(1))
    server = trio.socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    await server.bind((block.private(0), 0))
    server.listen()
    port = server.getsockname()[1]
    async with trio.open_nursery() as nursery:
        here = Net(block, forwarder, nursery, port)

        async def serve(stream: trio.SocketStream) -> None:
            here.accepted.append(stream)
            if not echo:
                await trio.sleep_forever()
            try:
                async for data in stream:
                    await stream.send_all(data)
                await stream.send_eof()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # the test broke it

        nursery.start_soon(trio.serve_listeners, serve, [trio.SocketListener(server)])
        nursery.start_soon(forwarder.serve, block.listener(0, port), "n", (block.private(0), port), nursery)
        await trio.testing.wait_all_tasks_blocked()
        try:
            with trio.fail_after(BOUND_S):
                yield here
        finally:
            forwarder.shut_all()
            block.close()
            for sock in (server, *here.sockets, *(stream.socket for stream in here.accepted)):
                sock.close()
            nursery.cancel_scope.cancel()


async def receive(stream: trio.SocketStream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        some = await stream.receive_some(65536)
        assert some, "the connection ended early"
        data += some
    return data


async def silent(stream: trio.SocketStream, seconds: float = 0.15) -> bool:
    """Nothing arrives for so long. (An absence can only be held against a clock.)"""
    with trio.move_on_after(seconds) as limit:
        await stream.receive_some(1)
    return limit.cancelled_caught


async def test_bytes_pass_both_ways_and_the_callee_sees_the_callers_address() -> None:
    async with net() as here:
        stream = await here.call()
        await stream.send_all(b"hello")
        assert await receive(stream, 5) == b"hello"
        assert here.accepted[0].socket.getpeername()[0] == here.block.client(0)
        await stream.send_eof()
        assert await stream.receive_some(1) == b""


async def test_a_blackhole_holds_bytes_and_healing_delivers_them_all() -> None:
    async with net() as here:
        stream = await here.call()
        await stream.send_all(b"a")
        await receive(stream, 1)
        for pair in (("x", "n"), ("n", "x")):
            here.forwarder.set(*pair, Rule("blackhole"))
        await stream.send_all(b"bcd")
        assert await silent(stream)
        for pair in (("x", "n"), ("n", "x")):
            here.forwarder.set(*pair, Rule())
        assert await receive(stream, 3) == b"bcd"


async def test_a_new_connection_into_a_blackhole_hears_nothing_until_it_heals() -> None:
    async with net() as here:
        here.forwarder.set("x", "n", Rule("blackhole"))
        stream = await here.call()
        await stream.send_all(b"a")
        assert await silent(stream) and here.accepted == []
        here.forwarder.set("x", "n", Rule())
        assert await receive(stream, 1) == b"a"


async def test_a_rule_is_between_two_parties_alone() -> None:
    async with net() as here:
        here.forwarder.set("x", "n", Rule("blackhole"))
        blocked, free = await here.call(0), await here.call(1)
        await blocked.send_all(b"a")
        await free.send_all(b"b")
        assert await receive(free, 1) == b"b" and await silent(blocked)


async def test_a_one_way_cut_lets_the_other_direction_pass() -> None:
    async with net(echo=False) as here:
        stream = await here.call()
        await stream.send_all(b"a")
        while not here.accepted:
            await trio.sleep(0.001)
        callee = here.accepted[0]
        assert await receive(callee, 1) == b"a"
        here.forwarder.set("n", "x", Rule("blackhole"))
        await callee.send_all(b"never mind")
        await stream.send_all(b"b")
        assert await receive(callee, 1) == b"b" and await silent(stream)


async def test_reset_breaks_standing_connections_and_new_ones() -> None:
    async with net() as here:
        stream, other = await here.call(0), await here.call(1)
        for one in (stream, other):
            await one.send_all(b"a")
            await receive(one, 1)
        here.forwarder.set("x", "n", Rule("reset"))
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some(1)
        again = await here.call(0)
        with pytest.raises(trio.BrokenResourceError):
            await again.receive_some(1)
        await other.send_all(b"b")
        assert await receive(other, 1) == b"b"


async def test_refuse_breaks_new_connections_alone() -> None:
    async with net() as here:
        stream = await here.call()
        await stream.send_all(b"a")
        await receive(stream, 1)
        here.forwarder.set("x", "n", Rule("refuse"))
        again = await here.call()
        with pytest.raises(trio.BrokenResourceError):
            await again.receive_some(1)
        await stream.send_all(b"b")
        assert await receive(stream, 1) == b"b"


async def test_a_delay_comes_once_for_a_train_of_chunks_and_keeps_their_order() -> None:
    async with net() as here:
        here.forwarder.set("x", "n", Rule(delay_ms=100, jitter_ms=20))
        stream = await here.call()
        await stream.send_all(b"0")
        await receive(stream, 1)
        begun = time.monotonic()
        for number in range(1, 10):
            await stream.send_all(b"%d" % number)
            await trio.sleep(0.005)
        assert await receive(stream, 9) == b"123456789"
        took = time.monotonic() - begun
        # 9 chunks one after the other would take 0.9 s; a line that is only long takes its delay and the train's
        # length.
        assert 0.1 <= took < 0.6


async def test_a_throttle_holds_the_rate_and_pushes_back() -> None:
    async with net() as here:
        here.forwarder.set("x", "n", Rule(rate=200_000))
        stream = await here.call()
        begun = time.monotonic()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, bytes(100_000))
            await receive(stream, 100_000)
        took = time.monotonic() - begun
        assert 0.4 <= took < 1.5


async def test_a_rule_can_be_taken_away_while_bytes_wait() -> None:
    async with net() as here:
        here.forwarder.set("x", "n", Rule(rate=1000))
        stream = await here.call()
        await stream.send_all(bytes(5000))
        here.forwarder.set("x", "n", Rule())
        begun = time.monotonic()
        await receive(stream, 5000)
        assert time.monotonic() - begun < 2


async def test_a_machine_without_power_says_nothing_and_its_bytes_under_way_are_gone() -> None:
    async with net(echo=False) as here:
        here.forwarder.set("n", "x", Rule(delay_ms=150))
        stream = await here.call()
        await stream.send_all(b"a")
        while not here.accepted:
            await trio.sleep(0.001)
        await here.accepted[0].send_all(b"under way")
        await trio.sleep(0.05)
        here.forwarder.lose("n")
        await here.accepted[0].aclose()
        assert await silent(stream, 0.3)
        later = await here.call()
        assert await silent(later)
        here.forwarder.end_silence("n")
        for one in (stream, later):
            with pytest.raises(trio.BrokenResourceError):
                await one.receive_some(1)


async def test_the_callers_of_a_dead_process_are_refused() -> None:
    async with net() as here:
        here.forwarder.shut("n")
        with pytest.raises(ConnectionRefusedError):
            await here.call()


async def test_the_end_of_a_connection_arrives_behind_its_last_bytes() -> None:
    async with net(echo=False) as here:
        here.forwarder.set("n", "x", Rule(delay_ms=60))
        stream = await here.call()
        await stream.send_all(b"a")
        while not here.accepted:
            await trio.sleep(0.001)
        await receive(here.accepted[0], 1)
        await here.accepted[0].send_all(b"last words")
        await here.accepted[0].aclose()
        assert await receive(stream, 10) == b"last words"
        assert await stream.receive_some(1) == b""


async def test_it_carries_twenty_megabytes_a_second() -> None:
    async with net() as here:
        stream = await here.call()
        size = 20_000_000
        begun = time.monotonic()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, bytes(size))
            received = 0
            while received < size:
                received += len(await stream.receive_some(1 << 18))
        # There and back through one process that is also both ends.
        assert time.monotonic() - begun < 2.0


def test_two_runs_have_different_addresses() -> None:
    first, second = Block(), Block()
    try:
        assert first.prefix != second.prefix
    finally:
        first.close()
        second.close()
