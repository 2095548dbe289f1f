"""The workload client as a machine: told events by hand, no socket, no clock."""

from __future__ import annotations

from random import Random
from typing import Any

import hiredis
import pytest

from replicator.core.effects import Close, Connect, Send
from replicator.core.events import Closed, Connected, ConnectFailed, Received, Started
from replicator.core.now import Now
from replicator.scenario.play.directory import Directory
from replicator.scenario.play.workload import Client, padded
from replicator.scenario.script.script import Workload
from replicator.scenario.verdict.history import History, Operation, Status

ZERO = 5000


class World:
    """One client, its directory and history; time moves by hand."""

    def __init__(self, **plan: Any) -> None:
        self.directory = Directory("a", {"a": ("127.9.9.1", 7001), "b": ("127.9.9.2", 7001)}, "run", ZERO)
        self.history = History()
        settings: dict[str, Any] = {"rate": 100.0, "value_size": 8, **plan}
        self.client = Client("app1", Workload(**settings), self.directory, self.history, Random(1), "127.9.9.151")
        self.ms = ZERO
        self.sent: list[Send] = []
        self.closed: list[int] = []
        self.connects: list[Connect] = []

    @property
    def now(self) -> Now:
        return Now(self.ms, self.ms)

    def take(self, effects: list[Any]) -> list[Any]:
        for effect in effects:
            match effect:
                case Send():
                    self.sent.append(effect)
                case Close(conn=conn):
                    self.closed.append(conn)
                case Connect():
                    self.connects.append(effect)
        return effects

    def tell(self, event: Any) -> list[Any]:
        return self.take(self.client.handle(event, self.now))

    def go_on(self) -> list[Any]:
        """To the client's next deadline."""
        deadline = self.client.deadline_ms()
        assert deadline is not None
        self.ms = max(self.ms, deadline)
        return self.take(self.client.advance(self.now))

    def connected(self) -> int:
        """Up to the first request on a standing connection."""
        self.tell(Started())
        if not self.connects:
            self.go_on()
        conn = self.connects[-1].conn
        self.tell(Connected(conn, "127.9.9.151", 4242))
        return conn

    def reply(self, conn: int, *replies: bytes) -> list[Any]:
        return self.tell(Received(conn, b"".join(replies)))

    @property
    def operation(self) -> Operation:
        return self.history.operations[0]


def commands(send: Send) -> list[list[bytes]]:
    reader = hiredis.Reader()
    reader.feed(send.data)
    found = []
    while (argv := reader.gets()) is not False:
        found.append(argv)
    return found


def role(offset: int, *replicas: int) -> bytes:
    inner = b"".join(b"*3\r\n$1\r\nx\r\n$1\r\n1\r\n$%d\r\n%d\r\n" % (len(str(at)), at) for at in replicas)
    return b"*3\r\n$6\r\nmaster\r\n:%d\r\n*%d\r\n" % (offset, len(replicas)) + inner


def test_a_write_asks_role_in_the_same_packet_and_notes_the_exact_offset() -> None:
    world = World()
    conn = world.connected()
    assert world.connects[0].source == "127.9.9.151"
    sent = commands(world.sent[0])
    assert sent == [[b"SET", b"reg:app1:0", b"app1.0~~"], [b"ROLE"]]
    world.reply(conn, b"+OK\r\n", role(120, 120, 40))
    done = world.operation
    assert (done.status, done.offset, done.acked, done.value) == (Status.OK, 120, 1, "app1.0")
    assert world.history.acknowledged == 1


def test_which_replicas_had_confirmed_a_write_is_noted_by_their_names() -> None:
    world = World()
    world.client.directory.addresses |= {"b": ("x", 1), "c": ("127.9.9.3", 7001)}
    conn = world.connected()
    unknown = b"*3\r\n$9\r\n127.9.9.9\r\n$4\r\n7001\r\n$3\r\n120\r\n"
    world.reply(conn, b"+OK\r\n", role(120, 120, 40).replace(b":120\r\n*2", b":120\r\n*3") + unknown)
    assert (world.operation.acked, world.operation.acked_by) == (2, ["b"])


def test_replies_may_come_in_pieces() -> None:
    world = World()
    conn = world.connected()
    for byte in b"+OK\r\n" + role(120, 100):
        assert world.operation.status is Status.OPEN
        world.reply(conn, bytes([byte]))
    assert world.operation.status is Status.OK and world.operation.acked == 0


def test_an_error_reply_is_a_failed_write_and_the_client_backs_off() -> None:
    world = World()
    conn = world.connected()
    world.reply(conn, b"-NOREPLICAS Not enough good replicas to write.\r\n", role(5))
    assert world.operation.status is Status.FAIL and world.operation.error.startswith("NOREPLICAS")
    assert world.operation.offset is None
    deadline = world.client.deadline_ms()
    assert deadline is not None and deadline >= world.ms + 20


def test_no_answer_in_time_is_unknown_and_closes_the_connection() -> None:
    world = World(timeout=300)
    conn = world.connected()
    asked = world.ms
    effects = world.go_on()
    assert asked + 290 <= world.ms <= asked + 300 and world.operation.status is Status.INFO
    assert Close(conn, "timeout") in effects


def test_a_connection_that_closes_before_the_answer_leaves_the_write_unknown() -> None:
    world = World()
    conn = world.connected()
    world.tell(Closed(conn, "reset"))
    assert world.operation.status is Status.INFO and "reset" in world.operation.error


def test_a_connection_that_closes_between_the_answer_and_role_leaves_it_acknowledged() -> None:
    world = World()
    conn = world.connected()
    world.reply(conn, b"+OK\r\n")
    world.tell(Closed(conn, "reset"))
    assert world.operation.status is Status.OK and world.operation.offset is None


def test_a_refused_connection_is_a_failed_write_and_is_tried_again() -> None:
    world = World()
    world.tell(Started())
    if not world.connects:
        world.go_on()
    world.tell(ConnectFailed(world.connects[-1].conn, "connection refused"))
    assert world.operation.status is Status.FAIL
    world.go_on()
    assert len(world.connects) == 2 and world.connects[1].conn != world.connects[0].conn


def test_the_client_follows_the_directory_and_gives_up_what_the_old_primary_owes() -> None:
    world = World()
    conn = world.connected()
    world.directory.primary = "b"
    world.take(world.client.advance(world.now))
    assert world.closed == [conn] and world.operation.status is Status.INFO
    world.go_on()
    assert (world.connects[-1].host, world.history.operations[1].node) == ("127.9.9.2", "b")


def test_a_client_that_sticks_to_a_node_stays_there() -> None:
    world = World(target="a")
    conn = world.connected()
    world.directory.primary = "b"
    world.take(world.client.advance(world.now))
    assert world.closed == [] and world.operation.status is Status.OPEN
    world.reply(conn, b"+OK\r\n", role(1))
    assert world.operation.node == "a"


@pytest.mark.parametrize(("answer", "status"), [(1, Status.OK), (0, Status.INFO)])
def test_with_wait_a_write_counts_only_if_enough_replicas_confirmed(answer: int, status: Status) -> None:
    world = World(wait_replicas=1)
    conn = world.connected()
    assert [argv[0] for argv in commands(world.sent[0])] == [b"SET", b"ROLE", b"WAIT"]
    world.reply(conn, b"+OK\r\n", role(9), b":%d\r\n" % answer)
    assert world.operation.status is status
    if status is Status.OK:
        assert world.operation.acked == 1


def test_with_wait_a_connection_lost_after_the_answer_leaves_the_write_unknown() -> None:
    world = World(wait_replicas=1)
    conn = world.connected()
    world.reply(conn, b"+OK\r\n", role(9))
    world.tell(Closed(conn, "reset"))
    assert world.operation.status is Status.INFO


def test_nothing_is_begun_while_the_load_is_held_back() -> None:
    world = World()
    world.directory.load = "pause"
    world.tell(Started())
    assert world.client.deadline_ms() is None and world.history.operations == []
    world.directory.load = "run"
    world.take(world.client.advance(world.now))
    world.go_on()
    assert len(world.history.operations) == 1


def test_the_rate_is_kept_and_debt_is_bounded() -> None:
    world = World(rate=100.0)
    conn = world.connected()
    for _ in range(50):
        world.reply(conn, b"+OK\r\n", role(1))
        if world.client.idle:
            world.go_on()
    took = world.ms - ZERO
    assert 450 <= took <= 530
    world.ms += 10_000
    begun = len(world.history.operations)
    for _ in range(200):
        world.reply(conn, b"+OK\r\n", role(1))
    assert len(world.history.operations) - begun <= 22


def test_appends_share_lists_and_counters_are_the_clients_own() -> None:
    world = World(kind="append", offsets="sampled")
    world.connected()
    (push,) = commands(world.sent[0])
    assert push[0] == b"RPUSH" and push[1].startswith(b"list:") and push[2] == b"app1.0~~"
    world = World(kind="counter", offsets="sampled")
    conn = world.connected()
    assert commands(world.sent[0]) == [[b"INCR", b"count:app1"]]
    world.reply(conn, b":7\r\n")
    assert world.operation.result == 7


def test_a_read_knows_what_the_client_last_saw_confirmed() -> None:
    world = World(reads=0.9, offsets="sampled", keys=1)
    conn = world.connected()
    world.reply(conn, b"+OK\r\n")
    while world.history.operations[-1].kind != "get" or world.history.operations[-1].status is not Status.OPEN:
        if world.client.idle:
            world.go_on()
        elif world.history.operations[-1].kind != "get":
            world.reply(conn, b"+OK\r\n")
    read = world.history.operations[-1]
    world.reply(conn, b"$8\r\nsomebody\r\n")
    assert read.status is Status.OK and read.value == "somebody"
    assert read.expected is not None and read.expected.startswith("app1.")


def test_bytes_that_are_no_reply_close_the_connection() -> None:
    world = World()
    conn = world.connected()
    effects = world.reply(conn, b"what\r\n")
    assert Close(conn, "protocol error") in effects and world.operation.status is Status.INFO


def test_the_password_is_said_first() -> None:
    world = World()
    world.directory.password = "secret"
    conn = world.connected()
    assert commands(world.sent[0]) == [[b"AUTH", b"secret"]]
    world.reply(conn, b"+OK\r\n", b"+OK\r\n", role(3))
    assert world.operation.status is Status.OK


def test_the_same_seed_gives_the_same_client() -> None:
    def play() -> list[tuple[str, str, str]]:
        world = World(kind="mixed")
        conn = world.connected()
        for _ in range(60):
            kind = world.history.operations[-1].kind
            if world.client.idle:
                world.go_on()
            elif kind == "get":
                world.reply(conn, b"$1\r\nx\r\n")
            else:
                world.reply(conn, b"+OK\r\n" if kind == "set" else b":1\r\n", role(1))
        return [(one.kind, one.key, one.value) for one in world.history.operations]

    assert play() == play()
    assert {kind for kind, _, _ in play()} == {"set", "rpush", "incr", "get"}


def test_values_are_padded_to_their_size() -> None:
    assert padded("app1.0", 10) == "app1.0~~~~" and padded("app1.0", 2) == "app1.0"
