"""A run that does not come on is noticed: in a machine, between machines, and not where it only takes long."""

from __future__ import annotations

from threading import Thread

import pytest

from replicator.core.effects import Effect
from replicator.core.events import Event
from replicator.core.node import Node
from replicator.core.now import Now
from replicator.scenario.script.load import load
from replicator.scenario.stages import simulated
from replicator.search.run import try_seed
from replicator.simulation.kernel import Kernel
from replicator.simulation.patience import Hangs, patience
from tests.simulation.hashes import SHORT


def test_an_instant_without_end_is_ended() -> None:
    kernel = Kernel(0)

    def endless() -> None:
        kernel.after(0, endless)

    kernel.after(5, endless)
    with pytest.raises(Hangs, match="at 5 us"), patience(kernel, 0.05):
        kernel.run(10)


def test_a_run_that_takes_long_and_comes_on_is_left_alone() -> None:
    kernel = Kernel(0)

    def working() -> None:
        sum(range(20_000))
        kernel.after(1, working)

    working()
    with patience(kernel, 0.05):
        kernel.run(1000)
    assert kernel.now_us == 1000


def test_another_thread_plays_without_being_watched() -> None:
    ended: list[int] = []

    def play() -> None:
        kernel = Kernel(0)
        with patience(kernel, 0.05):
            kernel.run(10)
        ended.append(kernel.now_us)

    thread = Thread(target=play)
    thread.start()
    thread.join()
    assert ended == [10]


class Endless(Node):
    """Falls into an endless loop when it has become a primary in a replica's stead."""

    def handle(self, event: Event, now: Now) -> list[Effect]:
        while self.history.second_limit >= 0:
            pass
        return super().handle(event, now)


def test_a_node_in_an_endless_loop_is_a_finding_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated, "patience", lambda kernel: patience(kernel, 0.1))
    _, ((variant, script),) = load(SHORT)
    found = try_seed(script, str(SHORT), variant, 0, Endless)
    assert "exception: replicator.simulation.patience.Hangs in handle" in [kind for kind, _ in found.objections]
