"""The one alarm of a simulated machine: never early, never late, and few calls for a deadline that moves a lot."""

from __future__ import annotations

from random import Random

from replicator.core.effects import Effect
from replicator.core.events import Event
from replicator.core.now import Now
from replicator.simulation.clocks import Clock
from replicator.simulation.disk import Disk
from replicator.simulation.kernel import Kernel
from replicator.simulation.network import Network
from replicator.simulation.parts import Costs, Hooks
from replicator.simulation.process import Process


class Asking:
    """Asks every 100 ms and waits up to a second for each answer, as a client does; an answer takes 5 ms."""

    def __init__(self) -> None:
        self.process: Process | None = None
        self.next_ms = 100
        self.waits_until_ms: int | None = None
        self.asked_at: list[int] = []
        self.answers = True

    def handle(self, event: Event, now: Now) -> list[Effect]:
        return []

    def deadline_ms(self) -> int:
        return self.next_ms if self.waits_until_ms is None else self.waits_until_ms

    def advance(self, now: Now) -> list[Effect]:
        if self.waits_until_ms is not None and (self.answers or now.mono_ms >= self.waits_until_ms):
            self.waits_until_ms = None
            return []
        if self.waits_until_ms is None and now.mono_ms >= self.next_ms:
            self.asked_at.append(now.mono_ms)
            self.next_ms = now.mono_ms + 100
            self.waits_until_ms = now.mono_ms + 1000
            if self.answers:
                assert self.process is not None
                self.process.kernel.after(5_000, self.process.poke)
        return []

    def pull(self, conn: int, limit: int) -> bytes:
        return b""


def started(machine: Asking) -> Kernel:
    kernel = Kernel(0)
    process = Process(
        kernel, Network(kernel), "one", ("10.0.0.1", 0), machine, clock=Clock(kernel), disk=Disk(Random(0)),
        chance=Random(0), hooks=Hooks(), costs=Costs(),
    )  # fmt: skip
    machine.process = process
    process.start()
    return kernel


def test_a_deadline_that_moves_to_and_fro_is_met_each_time_with_hardly_a_call_in_vain() -> None:
    machine = Asking()
    kernel = started(machine)
    kernel.run(60_050_000)
    assert machine.asked_at == list(range(100, 60_001, 100))
    # Two calls for each round, the question's alarm and the answer, and one a second for a timeout that never comes.
    assert kernel.events < 2 * 600 + 70


def test_what_is_given_up_is_given_up_at_its_time() -> None:
    machine = Asking()
    machine.answers = False
    kernel = started(machine)
    kernel.run(5_050_000)
    assert machine.asked_at == [100, 1100, 2100, 3100, 4100]
