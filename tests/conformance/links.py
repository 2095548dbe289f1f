"""Conformance: connections that a machine asks for, and time."""

from __future__ import annotations

from replicator.core import effects as do
from replicator.core import events as told
from replicator.core.now import Now
from tests.conformance.streams import Check
from tests.conformance.world import Answer, Toy, World, answering


def _connecting(address: tuple[str, int], timeout_ms: int = 5_000, source: str = "") -> Answer:
    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Started):
            return [do.Connect(-1, address[0], address[1], source, timeout_ms)]
        if isinstance(event, told.Connected):
            return [do.Send(event.conn, b"hello")]
        return []

    return answer


def a_machine_connects_to_another_and_both_speak(world: World) -> None:
    server = Toy(answering(lambda event: [do.Send(event.conn, event.data.upper())]))
    host = world.start(server)
    caller = Toy(_connecting(host.address))
    world.start(caller)
    world.run_until(lambda: caller.received(-1) == b"HELLO")
    connected = caller.of(told.Connected)
    opened = server.of(told.Opened)
    assert len(connected) == 1 and len(opened) == 1
    assert isinstance(connected[0], told.Connected) and isinstance(opened[0], told.Opened)
    assert (connected[0].local_host, connected[0].local_port) == (opened[0].peer_host, opened[0].peer_port)


def the_end_of_an_outgoing_connection_is_told(world: World) -> None:
    host = world.start(Toy(answering(lambda event: [do.Close(event.conn, "no")])))
    caller = Toy(_connecting(host.address))
    world.start(caller)
    world.run_until(lambda: bool(caller.closed()))
    assert caller.closed() == [(-1, "Client closed connection")]


def a_refused_connection_fails_with_the_systems_words(world: World) -> None:
    caller = Toy(_connecting(world.refusing_address()))
    world.start(caller)
    world.run_until(lambda: bool(caller.of(told.ConnectFailed)))
    assert caller.of(told.ConnectFailed, told.Connected) == [told.ConnectFailed(-1, "Connection refused")]


def a_connection_without_an_answer_fails_at_its_timeout(world: World) -> None:
    caller = Toy(_connecting(world.silent_address(), timeout_ms=80))
    world.start(caller)
    world.run_until(lambda: bool(caller.of(told.ConnectFailed)))
    assert caller.of(told.ConnectFailed, told.Connected) == [told.ConnectFailed(-1, "Connection timed out")]
    assert 80 <= caller.times[1].mono_ms - caller.times[0].mono_ms <= 3_000


def a_connection_that_stands_is_not_ended_by_its_connect_timeout(world: World) -> None:
    host = world.start(Toy())
    caller = Toy(_connecting(host.address, timeout_ms=30))
    world.start(caller)
    world.run_until(lambda: bool(caller.of(told.Connected)))
    world.run_for(80)
    assert not caller.of(told.ConnectFailed, told.Closed)


def closing_a_connection_being_made_fails_it_with_the_given_reason(world: World) -> None:
    address = world.silent_address()

    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Started):
            return [do.Connect(-1, *address, "", 10_000), do.Close(-1, "changed my mind")]
        return []

    caller = Toy(answer)
    world.start(caller)
    world.run_until(lambda: bool(caller.of(told.ConnectFailed)))
    assert caller.of(told.ConnectFailed, told.Closed) == [told.ConnectFailed(-1, "changed my mind")]


def a_failed_connection_can_be_tried_again_from_its_event(world: World) -> None:
    address = world.refusing_address()

    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Started):
            return [do.Connect(-1, *address, "", 1_000)]
        if isinstance(event, told.ConnectFailed) and event.conn > -5:
            return [do.Connect(event.conn - 1, *address, "", 1_000)]
        return []

    caller = Toy(answer)
    world.start(caller)
    world.run_until(lambda: len(caller.of(told.ConnectFailed)) == 5)
    failed = [event.conn for event in caller.seen if isinstance(event, told.ConnectFailed)]
    assert failed == [-1, -2, -3, -4, -5]


def alarms_come_in_order_and_never_early(world: World) -> None:
    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Started):
            toy.deadlines = [now.mono_ms + delay for delay in (90, 20, 50, 50)]
            planned.extend(sorted(set(toy.deadlines)))
        return []

    planned: list[int] = []
    toy = Toy(answer)
    world.start(toy)
    world.run_until(lambda: bool(planned) and not toy.deadlines)
    world.run_for(20)
    before_ms = 0
    for alarm in toy.alarms:
        served = [deadline for deadline in planned if before_ms < deadline <= alarm.mono_ms]
        assert served, "no alarm before its time, none without a reason"
        before_ms = alarm.mono_ms
    assert before_ms >= planned[-1]


def an_event_may_move_the_deadline_forward(world: World) -> None:
    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Started):
            toy.deadlines = [now.mono_ms + 3_600_000]
        if isinstance(event, told.Received):
            toy.deadlines.append(now.mono_ms + 30)
        return []

    toy = Toy(answer)
    client = world.connect(world.start(toy))
    world.run_for(20)
    client.send(b"x")
    world.run_until(lambda: len(toy.alarms) == 1)
    assert 30 <= toy.alarms[0].mono_ms - toy.times[-1].mono_ms <= 2_000


def an_alarm_is_served_under_full_load(world: World) -> None:
    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Started):
            toy.deadlines = [now.mono_ms + 10]
        if isinstance(event, told.Received):
            return [do.Send(event.conn, event.data)]
        return []

    def on_alarm(now: Now) -> list[do.Effect]:
        toy.deadlines = [now.mono_ms + 10]
        return []

    toy = Toy(answer)
    toy.on_alarm = on_alarm
    host = world.start(toy)
    clients = [world.connect(host) for _ in range(5)]
    begin_ms = world.mono_ms()
    received = 0
    while world.mono_ms() - begin_ms < 250 or len(toy.alarms) < 6:
        for client in clients:
            client.send(b"x" * 1000)
        for client in clients:
            received += len(client.receive(1000))
    assert received >= 5000
    gaps = [later.mono_ms - sooner.mono_ms for sooner, later in zip(toy.alarms, toy.alarms[1:], strict=False)]
    assert len(gaps) >= 5 and max(gaps) <= 500


def the_clock_never_goes_back(world: World) -> None:
    toy = Toy(answering(lambda event: [do.Send(event.conn, event.data)]))
    client = world.connect(world.start(toy))
    for _ in range(100):
        client.send(b"x")
        client.receive(1)
    times = [now.mono_ms for now in toy.times]
    assert times == sorted(times)


def a_sleep_comes_behind_the_effects_before_it_and_stops_everything(world: World) -> None:
    def answer(event: told.Received) -> list[do.Effect]:
        if event.data == b"sleep":
            return [do.Send(event.conn, b"before"), do.Sleep(120_000), do.Send(event.conn, b"after")]
        return [do.Send(event.conn, b"served")]

    toy = Toy(answering(answer))
    host = world.start(toy)
    sleeper, other = world.connect(host), world.connect(host)
    begin_ms = world.mono_ms()
    sleeper.send(b"sleep")
    assert sleeper.receive(6) == b"before"
    other.send(b"x")
    assert other.receive(6) == b"served"
    assert 120 <= world.mono_ms() - begin_ms <= 5_000
    assert sleeper.receive(5) == b"after"


def after_a_sleep_all_that_is_due_comes_in_one_alarm(world: World) -> None:
    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Received):
            toy.deadlines = [now.mono_ms + delay for delay in range(5, 100, 5)]
            return [do.Sleep(120_000)]
        return []

    toy = Toy(answer)
    client = world.connect(world.start(toy))
    client.send(b"x")
    world.run_until(lambda: bool(toy.alarms))
    world.run_for(30)
    assert len(toy.alarms) == 1


CHECKS: list[Check] = [
    a_machine_connects_to_another_and_both_speak,
    the_end_of_an_outgoing_connection_is_told,
    a_refused_connection_fails_with_the_systems_words,
    a_connection_that_stands_is_not_ended_by_its_connect_timeout,
    a_failed_connection_can_be_tried_again_from_its_event,
    alarms_come_in_order_and_never_early,
    an_event_may_move_the_deadline_forward,
    an_alarm_is_served_under_full_load,
    the_clock_never_goes_back,
    a_sleep_comes_behind_the_effects_before_it_and_stops_everything,
    after_a_sleep_all_that_is_due_comes_in_one_alarm,
]
SILENCE_CHECKS: list[Check] = [
    a_connection_without_an_answer_fails_at_its_timeout,
    closing_a_connection_being_made_fails_it_with_the_given_reason,
]
