"""Conformance: byte streams between clients and machines."""

from __future__ import annotations

from collections.abc import Callable

from replicator.core import effects as do
from replicator.core import events as told
from replicator.core.limits import OUTPUT_HELD_BYTES, PULL_BYTES
from replicator.core.now import Now
from tests.conformance.world import Toy, World, answering, pattern

Check = Callable[[World], None]


def _echo(event: told.Received) -> list[do.Effect]:
    return [do.Send(event.conn, event.data)]


def started_is_the_first_event(world: World) -> None:
    toy = Toy()
    host = world.start(toy)
    world.connect(host)
    world.run_until(lambda: len(toy.seen) == 2)
    assert isinstance(toy.seen[0], told.Started)
    assert isinstance(toy.seen[1], told.Opened)


def accepted_connections_have_positive_numbers_and_both_addresses(world: World) -> None:
    toy = Toy()
    host = world.start(toy)
    world.connect(host)
    world.connect(host)
    world.run_until(lambda: len(toy.of(told.Opened)) == 2)
    opened = [event for event in toy.seen if isinstance(event, told.Opened)]
    assert len({event.conn for event in opened}) == 2
    for event in opened:
        assert event.conn > 0
        assert (event.local_host, event.local_port) == host.address
        assert event.peer_host and event.peer_port > 0


def bytes_come_back_whole_and_in_order(world: World) -> None:
    toy = Toy(answering(_echo))
    client = world.connect(world.start(toy))
    data = pattern(300_000)
    received = b""
    for begin in range(0, len(data), 60_000):
        part = data[begin : begin + 60_000]
        client.send(part)
        received += client.receive(len(part))
    assert received == data
    assert toy.received() == data
    assert all(event.data for event in toy.seen if isinstance(event, told.Received))


def each_connection_gets_its_own_bytes(world: World) -> None:
    host = world.start(Toy(answering(lambda event: [do.Send(event.conn, b"%d:" % event.conn + event.data)])))
    clients = [world.connect(host) for _ in range(20)]
    for number, client in enumerate(clients):
        client.send(b"%02d" % number)
    heads = {client.receive(3 if number < 9 else 4) for number, client in enumerate(clients)}
    assert len(heads) == 20, "every connection has its own number"


def sends_of_one_call_keep_their_order(world: World) -> None:
    def answer(event: told.Received) -> list[do.Effect]:
        return [do.Send(event.conn, b"%03d " % number) for number in range(500)]

    client = world.connect(world.start(Toy(answering(answer))))
    client.send(b"go")
    assert client.receive(2000) == b"".join(b"%03d " % number for number in range(500))


def a_send_reaches_another_connection(world: World) -> None:
    toy = Toy(answering(lambda event: [do.Send(1, b"to one"), do.Send(event.conn, b"to you"), do.Send(99, b"nobody")]))
    host = world.start(toy)
    first = world.connect(host)
    world.run_until(lambda: len(toy.of(told.Opened)) == 1)
    second = world.connect(host)
    second.send(b"x")
    assert second.receive(6) == b"to you"
    assert first.receive(6) == b"to one"


def a_large_reply_to_a_slow_reader_arrives_whole(world: World) -> None:
    data = pattern(20_000_000)
    toy = Toy(answering(lambda event: [do.Send(event.conn, data), do.Send(event.conn, b"END")]))
    client = world.connect(world.start(toy))
    client.send(b"go")
    world.run_until(lambda: bool(toy.of(told.OutputPending)))
    assert client.receive(len(data) + 3) == data + b"END"
    world.run_until(lambda: _pendings(toy)[-1] == 0)
    pendings = _pendings(toy)
    assert pendings == sorted(pendings, reverse=True), "what waits only shrinks while it drains"
    assert pendings.count(0) == 1


def _pendings(toy: Toy) -> list[int]:
    return [event.pending for event in list(toy.seen) if isinstance(event, told.OutputPending)]


def output_that_grows_behind_a_full_socket_is_told(world: World) -> None:
    toy = Toy(answering(lambda event: [do.Send(1, b"x" * 10_000_000)]))
    host = world.start(toy)
    world.connect(host)
    world.run_until(lambda: len(toy.of(told.Opened)) == 1)
    other = world.connect(host)
    other.send(b"1")
    world.run_until(lambda: len(_pendings(toy)) == 1)
    other.send(b"2")
    world.run_until(lambda: len(_pendings(toy)) == 2)
    assert _pendings(toy)[1] == _pendings(toy)[0] + 10_000_000


def a_client_that_never_reads_is_read_no_more(world: World) -> None:
    reply = b"r" * 1_000_000
    toy = Toy(answering(lambda event: [do.Send(event.conn, reply)]))
    host = world.start(toy)
    deaf = world.connect(host)
    other = world.connect(host)
    sent = 0
    for _ in range(OUTPUT_HELD_BYTES // len(reply) + 200):
        if not deaf.offer(b"?" * 1000):
            break
        sent += 1
        other.send(b"!")
        assert len(other.receive(len(reply))) == len(reply), "the others are served"
    most = max(_pendings(toy))
    assert OUTPUT_HELD_BYTES // 2 < most <= OUTPUT_HELD_BYTES + 2 * len(reply)
    # It begins to read: it is served again, to the last request.
    asked = sum(isinstance(event, told.Received) and event.conn == 1 for event in list(toy.seen))
    deaf.receive(asked * len(reply))
    world.run_until(lambda: len(toy.received(1)) >= sent * 1000)


def a_pipeline_larger_than_the_sockets_is_answered_to_a_client_that_writes_before_it_reads(world: World) -> None:
    toy = Toy(answering(_echo))
    client = world.connect(world.start(toy))
    data = pattern(16_000_000)
    client.send(data)
    assert client.receive(len(data)) == data


def a_close_by_the_client_is_told_once(world: World) -> None:
    toy = Toy(answering(_echo))
    client = world.connect(world.start(toy))
    client.send(b"x")
    client.receive(1)
    client.close()
    world.run_until(lambda: bool(toy.closed()))
    world.run_for(30)
    assert toy.closed() == [(1, "Client closed connection")]


def a_reset_is_told_with_the_systems_words(world: World) -> None:
    toy = Toy(answering(_echo))
    client = world.connect(world.start(toy))
    client.send(b"x")
    client.receive(1)
    client.reset()
    world.run_until(lambda: bool(toy.closed()))
    assert toy.closed() == [(1, "Connection reset by peer")]


def a_request_before_a_half_close_is_answered(world: World) -> None:
    toy = Toy(answering(_echo))
    client = world.connect(world.start(toy))
    client.send(b"question")
    client.end_writing()
    assert client.receive_to_end() == b"question"
    world.run_until(lambda: bool(toy.closed()))
    assert toy.closed() == [(1, "Client closed connection")]


def a_close_at_once_ends_the_stream_and_is_told(world: World) -> None:
    toy = Toy(answering(lambda event: [do.Close(event.conn, "had enough"), do.Send(event.conn, b"late")]))
    client = world.connect(world.start(toy))
    client.send(b"x")
    assert client.receive_to_end() == b""
    assert toy.closed() == [(1, "had enough")]


def what_was_sent_before_a_close_at_once_has_been_tried(world: World) -> None:
    toy = Toy(answering(lambda event: [do.Send(event.conn, b"bye"), do.Close(event.conn, "done")]))
    client = world.connect(world.start(toy))
    client.send(b"x")
    assert client.receive_to_end() == b"bye"


def a_flushing_close_waits_for_the_output(world: World) -> None:
    data = pattern(12_000_000)
    toy = Toy(answering(lambda event: [do.Send(event.conn, data), do.Close(event.conn, "quit", flush=True)]))
    client = world.connect(world.start(toy))
    client.send(b"x")
    world.run_until(lambda: bool(toy.of(told.OutputPending)))
    assert not toy.closed()
    assert client.receive_to_end() == data
    world.run_until(lambda: bool(toy.closed()))
    assert toy.closed() == [(1, "quit")]


def a_flushing_close_is_not_destroyed_by_unread_requests(world: World) -> None:
    def answer(event: told.Received) -> list[do.Effect]:
        return [do.Send(event.conn, b"-ERR Protocol error\r\n"), do.Close(event.conn, "protocol", flush=True)]

    host = world.start(Toy(answering(answer)))
    for _ in range(5):
        client = world.connect(host)
        client.send(b"x" * 200_000)
        assert client.receive_to_end() == b"-ERR Protocol error\r\n"


def a_peer_that_vanishes_during_a_flushing_close_is_closed_once(world: World) -> None:
    toy = Toy(
        answering(lambda event: [do.Send(event.conn, b"z" * 12_000_000), do.Close(event.conn, "quit", flush=True)])
    )
    client = world.connect(world.start(toy))
    client.send(b"x")
    world.run_until(lambda: bool(toy.of(told.OutputPending)))
    client.reset()
    world.run_until(lambda: bool(toy.closed()))
    assert toy.closed() == [(1, "quit")]


def nothing_is_read_while_paused(world: World) -> None:
    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Received) and event.data.startswith(b"pause"):
            return [do.PauseReading(event.conn, True), do.Send(event.conn, b"P")]
        if isinstance(event, told.Received) and event.conn == 2:
            return [do.PauseReading(1, False)]
        return []

    toy = Toy(answer)
    host = world.start(toy)
    client = world.connect(host)
    client.send(b"pause")
    client.receive(1)
    other = world.connect(host)
    client.send(b"more")
    world.run_for(50)
    assert toy.received(1) == b"pause"
    other.send(b"go on")
    world.run_until(lambda: toy.received(1) == b"pausemore")


def a_paused_client_that_goes_away_is_told(world: World) -> None:
    for end, why in (("close", "Client closed connection"), ("reset", "Connection reset by peer")):
        toy = Toy(answering(lambda event: [do.PauseReading(event.conn, True), do.Send(event.conn, b"P")]))
        client = world.connect(world.start(toy))
        client.send(b"wait")
        client.receive(1)
        getattr(client, end)()
        world.run_until(lambda: bool(toy.closed()))  # noqa: B023 # run at once
        assert toy.closed() == [(1, why)]


def what_a_paused_client_said_before_it_went_is_read_afterwards(world: World) -> None:
    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Received) and event.data == b"pause":
            return [do.PauseReading(event.conn, True), do.Send(event.conn, b"P")]
        if isinstance(event, told.Received) and event.conn == 2:
            return [do.PauseReading(1, False)]
        return []

    toy = Toy(answer)
    host = world.start(toy)
    client = world.connect(host)
    client.send(b"pause")
    client.receive(1)
    client.send(b"last words")
    client.close()
    other = world.connect(host)
    world.run_for(30)
    assert not toy.closed()
    other.send(b"go on")
    world.run_until(lambda: bool(toy.closed()))
    assert toy.received(1) == b"pauselast words"
    assert toy.closed() == [(1, "Client closed connection")]


def a_connection_paused_or_closed_by_anothers_request_is_read_no_more(world: World) -> None:
    """Even when its bytes had come in already: both requests wait while the machine sleeps, the first to be told stops
    the other."""
    for stop in (
        lambda conn: do.PauseReading(conn, True),
        lambda conn: do.Close(conn, "out", flush=True),
        lambda conn: do.Close(conn, "out"),
    ):

        def answer(event: told.Event, now: Now) -> list[do.Effect]:
            if isinstance(event, told.Received):
                return [do.Sleep(100_000)] if event.conn == 1 else [stop(5 - event.conn)]  # noqa: B023 # used at once
            return []

        toy = Toy(answer)
        host = world.start(toy)
        clients = [world.connect(host) for _ in range(3)]
        world.run_until(lambda: len(toy.of(told.Opened)) == 3)  # noqa: B023
        for client in clients:
            client.send(b"x")
        world.run_until(lambda: len(toy.of(told.Received)) == 2)  # noqa: B023
        world.run_for(30)
        assert len(toy.of(told.Received)) == 2


def _streaming(event: told.Event, now: Now) -> list[do.Effect]:
    return [do.Stream(event.conn)] if isinstance(event, told.Opened) and event.conn == 1 else []


def a_stream_is_pulled_after_every_event(world: World) -> None:
    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Received):
            toy.streams.setdefault(1, bytearray()).extend(event.data)
        return _streaming(event, now)

    toy = Toy(answer)
    host = world.start(toy)
    replica = world.connect(host)
    world.run_until(lambda: len(toy.of(told.Opened)) == 1)
    writer = world.connect(host)
    for number in range(50):
        data = b"write %d;" % number
        writer.send(data)
        assert replica.receive(len(data)) == data


def a_stream_is_pulled_until_nothing_is_left(world: World) -> None:
    """Without any further event, however little a pull gives."""

    class Sparing(Toy):
        def pull(self, conn: int, limit: int) -> bytes:
            return super().pull(conn, 10)

    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Received):
            toy.streams[1] = bytearray(data)
        return _streaming(event, now)

    data = pattern(2_000)
    toy = Sparing(answer)
    host = world.start(toy)
    replica = world.connect(host)
    world.run_until(lambda: len(toy.of(told.Opened)) == 1)
    world.connect(host).send(b"x")
    assert replica.receive(len(data)) == data


def a_slow_stream_waits_in_the_machine_and_its_acks_are_read(world: World) -> None:
    data = pattern(30_000_000)

    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Received) and event.conn == 2:
            toy.streams[1] = bytearray(data)
        return _streaming(event, now)

    toy = Toy(answer)
    host = world.start(toy)
    replica = world.connect(host)
    world.run_until(lambda: len(toy.of(told.Opened)) == 1)
    writer = world.connect(host)
    writer.send(b"write")
    world.run_until(lambda: bool(toy.of(told.OutputPending)))
    world.run_for(50)
    assert len(toy.streams[1]) > 0, "the sockets cannot have taken everything"
    assert max(toy.pulls) <= PULL_BYTES
    assert max(_pendings(toy)) <= PULL_BYTES, "the driver holds one pull at most"
    replica.send(b"ack")
    world.run_until(lambda: toy.received(1) == b"ack")
    assert replica.receive(len(data)) == data


def a_stream_goes_behind_what_was_sent(world: World) -> None:
    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Received):
            toy.streams[1] = bytearray(b"streamed")
            return [do.Stream(1), do.Send(1, b"a" * 9_000_000), do.Send(1, b"sent ")]
        return []

    toy = Toy(answer)
    client = world.connect(world.start(toy))
    client.send(b"go")
    assert client.receive(9_000_013)[-13:] == b"sent streamed"


def what_streams_have_to_be_pulled_goes_out_before_an_exit(world: World) -> None:
    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Received):
            toy.streams[1] = bytearray(b"the last write")
            return [do.Exit(0)]
        return _streaming(event, now)

    toy = Toy(answer)
    host = world.start(toy)
    replica = world.connect(host)
    world.run_until(lambda: len(toy.of(told.Opened)) == 1)
    world.connect(host).send(b"x")
    assert replica.receive_to_end() == b"the last write"


def an_exit_gives_the_code_and_what_was_sent_before_goes_out(world: World) -> None:
    toy = Toy(answering(lambda event: [do.Send(event.conn, b"bye"), do.Exit(7), do.Send(event.conn, b"never")]))
    host = world.start(toy)
    client = world.connect(host)
    client.send(b"x")
    assert client.receive_to_end() == b"bye"
    world.run_until(lambda: host.exit_code() is not None)
    assert host.exit_code() == 7


CHECKS: list[Check] = [
    started_is_the_first_event,
    accepted_connections_have_positive_numbers_and_both_addresses,
    bytes_come_back_whole_and_in_order,
    each_connection_gets_its_own_bytes,
    sends_of_one_call_keep_their_order,
    a_send_reaches_another_connection,
    a_large_reply_to_a_slow_reader_arrives_whole,
    output_that_grows_behind_a_full_socket_is_told,
    a_client_that_never_reads_is_read_no_more,
    a_pipeline_larger_than_the_sockets_is_answered_to_a_client_that_writes_before_it_reads,
    a_close_by_the_client_is_told_once,
    a_reset_is_told_with_the_systems_words,
    a_request_before_a_half_close_is_answered,
    a_close_at_once_ends_the_stream_and_is_told,
    what_was_sent_before_a_close_at_once_has_been_tried,
    a_flushing_close_waits_for_the_output,
    a_flushing_close_is_not_destroyed_by_unread_requests,
    a_peer_that_vanishes_during_a_flushing_close_is_closed_once,
    nothing_is_read_while_paused,
    a_paused_client_that_goes_away_is_told,
    what_a_paused_client_said_before_it_went_is_read_afterwards,
    a_connection_paused_or_closed_by_anothers_request_is_read_no_more,
    a_stream_is_pulled_after_every_event,
    a_stream_is_pulled_until_nothing_is_left,
    a_slow_stream_waits_in_the_machine_and_its_acks_are_read,
    a_stream_goes_behind_what_was_sent,
    what_streams_have_to_be_pulled_goes_out_before_an_exit,
    an_exit_gives_the_code_and_what_was_sent_before_goes_out,
]
