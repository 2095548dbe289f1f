"""What the simulated network does to connections: never lost inside one, never reordered; cuts, resets, silence."""

from __future__ import annotations

import pytest

from replicator.simulation.kernel import Kernel
from replicator.simulation.network import (
    GIVE_UP_US,
    LONGEST_RETRY_US,
    REFUSED,
    RESET,
    TIMED_OUT,
    Attempt,
    Conduct,
    Network,
    Socket,
)
from tests.conformance.world import pattern


class End:
    """Takes everything that comes."""

    def __init__(self) -> None:
        self.data = b""
        self.ended = self.broken = ""
        self.sock: Socket | None = None

    def readable(self, sock: Socket) -> None:
        self.data += sock.take(1 << 20)
        self.ended = "ended" if sock.ended else ""
        self.broken = sock.broken

    def room(self, sock: Socket) -> None:
        pass

    def accepted(self, sock: Socket) -> None:
        self.sock = sock
        sock.sink = self


class Pair:
    """Two parties, one connection from client to server."""

    def __init__(self, seed: int = 0) -> None:
        self.kernel = Kernel(seed)
        self.net = Network(self.kernel)
        self.net.name("10.0.0.1", "server")
        self.net.name("10.0.0.2", "client")
        self.server, self.client = End(), End()
        self.net.listeners[("10.0.0.1", 1)] = self.server
        self.answers: list[str] = []

    def connect(self) -> Socket:
        self.attempt()
        self.run(10)
        assert self.client.sock is not None
        return self.client.sock

    def attempt(self) -> None:
        def done(sock: Socket | None, why: str) -> None:
            self.answers.append(why)
            if sock is not None:
                self.client.accepted(sock)

        Attempt(self.net, "client", "10.0.0.2", ("10.0.0.1", 1), done)

    def run(self, ms: int) -> None:
        self.kernel.run(self.kernel.now_us + ms * 1000)

    def rule(self, mode: str, source: str = "client", target: str = "server", **more: int) -> None:
        self.net.conduct(source, target, Conduct(mode, **more))


@pytest.mark.parametrize("seed", range(5))
def test_bytes_come_in_order_through_jitter_cuts_and_throttles(seed: int) -> None:
    pair = Pair(seed)
    sock = pair.connect()
    data = pattern(60_000)
    chance = pair.kernel.random("test")
    sent = 0
    while sent < len(data):
        part = data[sent : sent + chance.randrange(1, 3000)]
        sent += sock.send(part)
        pair.rule(chance.choice(("pass", "pass", "blackhole")), jitter_us=30_000, rate=chance.choice((0, 200_000)))
        pair.run(chance.randrange(30))
    pair.rule("pass")
    pair.run(20_000)
    assert pair.server.data == data


def test_a_dead_link_breaks_no_connection_and_its_bytes_come_late() -> None:
    pair = Pair()
    sock = pair.connect()
    pair.rule("blackhole")
    sock.send(b"held")
    pair.run(5000)
    assert pair.server.data == b"" and not sock.broken
    pair.rule("pass")
    pair.run(100)
    assert pair.server.data == b"", "nobody knows that the link is back before the next retry"
    pair.run(4000)
    assert pair.server.data == b"held"


def test_a_connection_is_given_up_after_a_quarter_of_an_hour_of_silence() -> None:
    pair = Pair()
    sock = pair.connect()
    pair.rule("blackhole")
    sock.send(b"held")
    begin_us = pair.kernel.now_us
    pair.run(GIVE_UP_US // 1000)
    assert not sock.broken, "the retries are a while apart"
    pair.run(LONGEST_RETRY_US // 1000)
    assert (sock.broken, pair.client.broken) == (TIMED_OUT, TIMED_OUT)
    assert pair.kernel.now_us - begin_us < GIVE_UP_US + 2 * LONGEST_RETRY_US
    pair.rule("pass")
    pair.run(1000)
    assert pair.server.data == b"" and pair.server.broken == "", "its peer has heard nothing of it"
    # Its process closes it; what the peer says then meets nobody.
    sock.close()
    assert pair.server.sock is not None
    pair.server.sock.send(b"still there?")
    pair.run(1000)
    assert (pair.server.broken, pair.client.data) == (RESET, b"")


def test_silence_that_ends_in_time_breaks_no_connection_and_the_next_is_measured_anew() -> None:
    pair = Pair()
    sock = pair.connect()
    for text in (b"one ", b"two"):
        pair.rule("blackhole")
        sock.send(text)
        pair.run(GIVE_UP_US // 1000 * 2 // 3)
        pair.rule("pass")
        pair.run(2 * LONGEST_RETRY_US // 1000)
    assert (pair.server.data, sock.broken) == (b"one two", "")


def test_a_connection_with_nothing_to_say_outlives_any_silence() -> None:
    pair = Pair()
    sock = pair.connect()
    pair.rule("blackhole")
    pair.run(3 * GIVE_UP_US // 1000)
    pair.rule("pass")
    sock.send(b"here")
    pair.run(10)
    assert (pair.server.data, sock.broken) == (b"here", "")


def test_a_link_cut_one_way_carries_the_other() -> None:
    pair = Pair()
    sock = pair.connect()
    pair.rule("blackhole", "server", "client")
    sock.send(b"there")
    assert pair.server.sock is not None
    pair.server.sock.send(b"back")
    pair.run(1000)
    assert (pair.server.data, pair.client.data) == (b"there", b"")


def test_a_reset_breaks_both_ends_and_a_refusal_only_new_connections() -> None:
    pair = Pair()
    sock = pair.connect()
    pair.rule("refuse")
    pair.attempt()
    pair.run(10)
    assert pair.answers[-1] == REFUSED and not sock.broken
    pair.rule("reset")
    assert (pair.client.broken, pair.server.broken) == (RESET, RESET)


def test_an_attempt_meets_silence_and_is_repeated() -> None:
    pair = Pair()
    pair.rule("blackhole")
    pair.attempt()
    pair.run(1500)
    assert pair.answers == []
    pair.rule("pass")
    pair.run(2000)
    assert pair.answers == [""]


def test_a_machine_without_power_is_silent_and_resets_what_comes_after_it_is_back() -> None:
    pair = Pair()
    sock = pair.connect()
    assert pair.server.sock is not None
    pair.server.sock.send(b"x" * 100_000)
    pair.net.power("server", on=False)
    pair.server.sock.lose_power()
    del pair.net.listeners[("10.0.0.1", 1)]
    sock.send(b"anybody?")
    pair.run(3000)
    assert not sock.broken and pair.server.data == b""
    pair.net.power("server", on=True)
    pair.run(4000)
    assert pair.client.broken == RESET


def test_what_had_not_left_a_machine_is_gone_with_its_power() -> None:
    pair = Pair()
    pair.connect()
    assert pair.server.sock is not None
    pair.rule("pass", "server", "client", rate=10_000)
    for _ in range(20):
        pair.server.sock.send(b"y" * 500)
    pair.run(300)
    pair.net.power("server", on=False)
    pair.server.sock.lose_power()
    pair.run(3000)
    assert 0 < len(pair.client.data) < 10_000


def test_a_reader_that_takes_nothing_stops_its_sender() -> None:
    pair = Pair()
    sock = pair.connect()
    assert pair.server.sock is not None
    pair.server.sock.sink = None
    taken = sum(sock.send(b"z" * 10_000) for _ in range(100))
    assert taken == sock.window < 1_000_000


def test_unread_bytes_turn_a_close_into_a_reset() -> None:
    pair = Pair()
    sock = pair.connect()
    assert pair.server.sock is not None
    pair.server.sock.sink = None
    sock.send(b"unread")
    pair.run(10)
    pair.server.sock.close()
    pair.run(10)
    assert pair.client.broken == RESET
