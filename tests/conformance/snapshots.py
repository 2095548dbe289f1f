"""Conformance: snapshots to a file and to connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from replicator.core import effects as do
from replicator.core import events as told
from replicator.core.now import Now
from tests.conformance.streams import Check
from tests.conformance.world import Answer, Toy, World, pattern

Chunks = Callable[[], Iterator[bytes | tuple[bytes, int]]]


def _of(*items: bytes | tuple[bytes, int]) -> Chunks:
    return lambda: iter(items)


def _on(words: dict[bytes, Callable[[int], list[do.Effect]]]) -> Answer:
    """Answers to words that clients say: what the function gives for their connection."""

    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        return words[event.data](event.conn) if isinstance(event, told.Received) and event.data in words else []

    return answer


def _ended(toy: Toy) -> bool:
    return bool(toy.of(told.SnapshotDone, told.SnapshotFailed))


def a_snapshot_to_a_file_is_the_data_of_its_instant(world: World) -> None:
    store = {b"k": b"old"}

    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Received):
            chunks = lambda: iter([(b"%s=%s;" % item, 1) for item in store.items()])  # noqa: E731
            return [do.StartSnapshot(3, chunks, "dump.rdb", ())]
        if isinstance(event, told.SnapshotStarted):
            store[b"k"] = b"new"
        return []

    toy = Toy(answer)
    host = world.start(toy)
    world.connect(host).send(b"save")
    world.run_until(lambda: _ended(toy))
    started, done = toy.of(told.SnapshotStarted, told.SnapshotDone, told.SnapshotFailed)
    assert isinstance(started, told.SnapshotStarted) and isinstance(done, told.SnapshotDone)
    assert started.generation == done.generation == 3
    assert started.pid > 0 and started.fork_us >= 0
    assert (done.length, done.keys) == (6, 1)
    assert host.read("dump.rdb") == b"k=old;"
    assert host.names() == ["dump.rdb"]


def a_snapshot_that_fails_leaves_the_old_file(world: World) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ValueError("a broken value")

    toy = Toy(_on({b"save": lambda conn: [do.StartSnapshot(1, broken, "dump.rdb", ())]}))
    host = world.start(toy)
    host.write("dump.rdb", b"old")
    world.connect(host).send(b"save")
    world.run_until(lambda: _ended(toy))
    (failed,) = toy.of(told.SnapshotDone, told.SnapshotFailed)
    assert isinstance(failed, told.SnapshotFailed) and "a broken value" in failed.why
    assert host.read("dump.rdb") == b"old"
    assert host.names() == ["dump.rdb"]


def _endless() -> Iterator[bytes]:
    while True:
        yield b"x" * 1000


def a_cancelled_snapshot_fails_and_the_next_may_follow_at_once(world: World) -> None:
    toy = Toy(
        _on(
            {
                b"save": lambda conn: [do.StartSnapshot(1, _endless, "dump.rdb", (), key_delay_us=1000)],
                b"again": lambda conn: [do.CancelSnapshot(1), do.StartSnapshot(2, _of(b"second"), "dump.rdb", ())],
            }
        )
    )
    host = world.start(toy)
    client = world.connect(host)
    client.send(b"save")
    world.run_until(lambda: bool(toy.of(told.SnapshotStarted)))
    client.send(b"again")
    world.run_until(lambda: bool(toy.of(told.SnapshotDone)))
    events = toy.of(told.SnapshotStarted, told.SnapshotFailed, told.SnapshotDone)
    assert [(type(event).__name__, event.generation) for event in events] == [  # type: ignore[union-attr]
        ("SnapshotStarted", 1),
        ("SnapshotFailed", 1),
        ("SnapshotStarted", 2),
        ("SnapshotDone", 2),
    ]
    assert host.read("dump.rdb") == b"second"
    assert host.names() == ["dump.rdb"]


def a_second_snapshot_beside_a_running_one_is_refused(world: World) -> None:
    def both(conn: int) -> list[do.Effect]:
        return [
            do.StartSnapshot(1, _endless, "dump.rdb", (), key_delay_us=1000),
            do.StartSnapshot(2, _of(b"x"), "dump.rdb", ()),
        ]

    toy = Toy(_on({b"save": both, b"stop": lambda conn: [do.CancelSnapshot(1)]}))
    host = world.start(toy)
    client = world.connect(host)
    client.send(b"save")
    world.run_until(lambda: _ended(toy))
    (failed,) = toy.of(told.SnapshotDone, told.SnapshotFailed)
    assert isinstance(failed, told.SnapshotFailed) and failed.generation == 2
    client.send(b"stop")
    world.run_until(lambda: len(toy.of(told.SnapshotFailed)) == 2)


def a_finished_snapshot_is_sent_as_it_was_even_if_its_name_is_replaced(world: World) -> None:
    data = pattern(9_000_000)
    toy = Toy(
        _on(
            {
                b"send": lambda conn: [
                    do.SendSnapshot(conn, 5, "dump.rdb", b"$%d\r\n"),
                    do.Send(conn, b"behind"),
                    do.AppendFile("temp", b"another", True),
                    do.CommitFile("temp", "dump.rdb"),
                ]
            }
        )
    )
    host = world.start(toy)
    host.write("dump.rdb", data)
    clients = [world.connect(host) for _ in range(2)]
    clients[0].send(b"send")
    world.run_until(lambda: bool(toy.of(told.FileCommitted)))
    assert not toy.of(told.SnapshotSent), "the sockets cannot have taken everything"
    whole = b"$9000000\r\n" + data + b"behind"
    assert clients[0].receive(len(whole)) == whole
    world.run_until(lambda: bool(toy.of(told.SnapshotSent)))
    assert toy.of(told.SnapshotSent) == [told.SnapshotSent(1, 5)]
    clients[1].send(b"send")
    assert clients[1].receive(17) == b"$7\r\nanotherbehind"


def a_snapshot_file_that_is_missing_is_told_before_what_was_sent_behind_it_leaves(world: World) -> None:
    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Received):
            return [do.SendSnapshot(event.conn, 5, "dump.rdb", b"$%d\r\n"), do.Send(event.conn, b"behind")]
        if isinstance(event, told.FileFailed):
            return [do.Close(1, event.why)]
        return []

    toy = Toy(answer)
    client = world.connect(world.start(toy))
    client.send(b"send")
    assert client.receive_to_end() == b""
    assert toy.of(told.FileFailed) == [told.FileFailed("dump.rdb", "No such file or directory", True)]
    assert toy.closed() == [(1, "No such file or directory")]


def a_client_that_leaves_while_a_snapshot_is_sent_is_closed(world: World) -> None:
    toy = Toy(_on({b"send": lambda conn: [do.SendSnapshot(conn, 5, "dump.rdb", b"")]}))
    host = world.start(toy)
    host.write("dump.rdb", b"z" * 9_000_000)
    client = world.connect(host)
    client.send(b"send")
    client.receive(1000)
    client.reset()
    world.run_until(lambda: bool(toy.closed()))
    assert not toy.of(told.SnapshotSent)
    assert [conn for conn, _ in toy.closed()] == [1]


def _feeding(chunks: Chunks, conns: tuple[int, ...]) -> Callable[[int], list[do.Effect]]:
    return lambda conn: [do.StartSnapshot(4, chunks, "", conns, prefix=b"$EOF:mark\r\n", suffix=b"mark")]


def a_snapshot_to_connections_reaches_each_with_prefix_and_suffix(world: World) -> None:
    data = pattern(3_000_000)
    parts = [(data[begin : begin + 100_000], 10) for begin in range(0, len(data), 100_000)]
    toy = Toy(_on({b"go": _feeding(_of(*parts), (1, 2))}))
    host = world.start(toy)
    clients = [world.connect(host) for _ in range(2)]
    world.run_until(lambda: len(toy.of(told.Opened)) == 2)
    world.connect(host).send(b"go")
    whole = b"$EOF:mark\r\n" + data + b"mark"
    for client in clients:
        assert client.receive(len(whole)) == whole
    world.run_until(lambda: len(toy.of(told.SnapshotSent)) == 2)
    (done,) = toy.of(told.SnapshotDone)
    assert isinstance(done, told.SnapshotDone) and (done.length, done.keys) == (len(data), 300)
    assert {event.conn for event in toy.seen if isinstance(event, told.SnapshotSent)} == {1, 2}
    assert host.names() == []


def what_is_sent_during_a_feed_goes_behind_it(world: World) -> None:
    data = pattern(2_000_000)
    toy = Toy(_on({b"go": lambda conn: [*_feeding(_of(data), (1,))(conn), do.Send(1, b"behind"), do.Stream(1)]}))
    toy.streams[1] = bytearray(b" streamed")
    host = world.start(toy)
    client = world.connect(host)
    world.run_until(lambda: len(toy.of(told.Opened)) == 1)
    world.connect(host).send(b"go")
    whole = b"$EOF:mark\r\n" + data + b"markbehind streamed"
    assert client.receive(len(whole)) == whole


def the_slowest_connection_holds_the_child_and_one_that_vanishes_does_not(world: World) -> None:
    data = pattern(30_000_000)
    parts = [data[begin : begin + 100_000] for begin in range(0, len(data), 100_000)]
    toy = Toy(_on({b"go": _feeding(_of(*parts), (1, 2, 3))}))
    host = world.start(toy)
    quick, slow, vanishing = (world.connect(host) for _ in range(3))
    world.run_until(lambda: len(toy.of(told.Opened)) == 3)
    other = world.connect(host)
    other.send(b"go")
    received = [b"", b""]
    vanishing.receive(1000)
    for _ in range(100):
        received[0] += quick.take()
        world.run_for(3)
    assert len(received[0]) < len(data) * 2 // 3 and not _ended(toy), "the child waits for the slow ones"
    vanishing.reset()
    world.run_until(lambda: bool(toy.closed()))
    whole = b"$EOF:mark\r\n" + data + b"mark"

    def all_came() -> bool:
        received[0] += quick.take()
        received[1] += slow.take()
        return len(received[0]) >= len(whole) and len(received[1]) >= len(whole)

    world.run_until(all_came)
    assert received == [whole, whole]
    world.run_until(lambda: len(toy.of(told.SnapshotSent)) == 2)
    assert [conn for conn, _ in toy.closed()] == [3]
    assert sorted(event.conn for event in toy.seen if isinstance(event, told.SnapshotSent)) == [1, 2]


def a_feed_that_waits_for_its_peer_is_told_and_told_again_when_the_peer_takes_some(world: World) -> None:
    data = pattern(60_000_000)
    parts = [data[begin : begin + 100_000] for begin in range(0, len(data), 100_000)]
    toy = Toy(_on({b"go": _feeding(_of(*parts), (1,))}))
    host = world.start(toy)
    slow = world.connect(host)
    world.run_until(lambda: len(toy.of(told.Opened)) == 1)
    world.connect(host).send(b"go")

    def stalls() -> list[told.Event]:
        return toy.of(told.SnapshotStalled)

    def rest() -> int:
        """Until nothing more is told, for the system takes no more. How often it was told."""
        for _ in range(30):
            count = len(stalls())
            world.run_for(200)
            if len(stalls()) == count and stalls()[-1] == told.SnapshotStalled(1, True):
                return count
        raise AssertionError(f"the feed never comes to rest: {stalls()[-5:]} {len(stalls())}")

    world.run_until(lambda: bool(stalls()))
    silent = rest()
    whole = b"$EOF:mark\r\n" + data + b"mark"
    received = slow.receive(len(data) // 10)
    world.run_until(lambda: len(stalls()) > silent)
    assert rest() > silent, "it waits again"
    received += slow.receive(len(whole) - len(received))
    world.run_until(lambda: bool(toy.of(told.SnapshotSent)))
    assert received == whole
    assert {event.conn for event in toy.seen if isinstance(event, told.SnapshotStalled)} == {1}
    sent = toy.seen.index(toy.of(told.SnapshotSent)[0])
    assert not [event for event in toy.seen[sent:] if isinstance(event, told.SnapshotStalled)]


def a_connection_that_vanishes_no_longer_holds_the_child(world: World) -> None:
    data = pattern(20_000_000)
    parts = [data[begin : begin + 100_000] for begin in range(0, len(data), 100_000)]
    toy = Toy(_on({b"go": _feeding(_of(*parts), (1, 2))}))
    host = world.start(toy)
    reading, deaf = world.connect(host), world.connect(host)
    world.run_until(lambda: len(toy.of(told.Opened)) == 2)
    world.connect(host).send(b"go")
    received = reading.receive(1_000)
    for _ in range(30):
        received += reading.take()
        world.run_for(3)
    assert len(received) < len(data) and not _ended(toy)
    deaf.reset()
    whole = b"$EOF:mark\r\n" + data + b"mark"
    assert received + reading.receive(len(whole) - len(received)) == whole


def a_feed_without_connections_waits_for_its_cancellation(world: World) -> None:
    toy = Toy(_on({b"go": _feeding(_endless, (1,)), b"stop": lambda conn: [do.CancelSnapshot(4)]}))
    host = world.start(toy)
    client = world.connect(host)
    world.run_until(lambda: len(toy.of(told.Opened)) == 1)
    other = world.connect(host)
    other.send(b"go")
    client.receive(100_000)
    client.close()
    world.run_until(lambda: bool(toy.closed()))
    world.run_for(30)
    assert not _ended(toy)
    other.send(b"stop")
    world.run_until(lambda: _ended(toy))
    assert toy.of(told.SnapshotFailed) == [told.SnapshotFailed(4, "cancelled")]


def a_feed_whose_child_fails_sends_no_suffix(world: World) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ValueError("a broken value")

    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Received):
            return _feeding(broken, (event.conn,))(event.conn)
        if isinstance(event, told.SnapshotFailed):
            return [do.Close(1, "half a payload")]
        return []

    toy = Toy(answer)
    client = world.connect(world.start(toy))
    client.send(b"go")
    assert b"mark" not in client.receive_to_end().removeprefix(b"$EOF:mark\r\n")
    assert not toy.of(told.SnapshotDone, told.SnapshotSent)


def a_key_delay_slows_the_snapshot_down(world: World) -> None:
    toy = Toy(_on({b"save": lambda conn: [do.StartSnapshot(1, _of((b"x", 50), b"y"), "f", (), key_delay_us=4000)]}))
    host = world.start(toy)
    world.connect(host).send(b"save")
    world.run_until(lambda: _ended(toy))
    begin, end = (
        now.mono_ms
        for event, now in zip(toy.seen, toy.times, strict=True)
        if isinstance(event, told.SnapshotStarted | told.SnapshotDone)
    )
    assert 200 <= end - begin <= 2_000
    assert host.read("f") == b"xy"


CHECKS: list[Check] = [
    a_snapshot_to_a_file_is_the_data_of_its_instant,
    a_snapshot_that_fails_leaves_the_old_file,
    a_cancelled_snapshot_fails_and_the_next_may_follow_at_once,
    a_second_snapshot_beside_a_running_one_is_refused,
    a_finished_snapshot_is_sent_as_it_was_even_if_its_name_is_replaced,
    a_snapshot_file_that_is_missing_is_told_before_what_was_sent_behind_it_leaves,
    a_client_that_leaves_while_a_snapshot_is_sent_is_closed,
    a_snapshot_to_connections_reaches_each_with_prefix_and_suffix,
    what_is_sent_during_a_feed_goes_behind_it,
    the_slowest_connection_holds_the_child_and_one_that_vanishes_does_not,
    a_feed_that_waits_for_its_peer_is_told_and_told_again_when_the_peer_takes_some,
    a_connection_that_vanishes_no_longer_holds_the_child,
    a_feed_without_connections_waits_for_its_cancellation,
    a_feed_whose_child_fails_sends_no_suffix,
    a_key_delay_slows_the_snapshot_down,
]
