"""The player of a test: it has no script, it does what it is told while it watches the nodes as any player does.

Orders come from other threads. Each is a generator of waits, like a step of a script, and all that are under way go on
side by side; whoever gave one waits for its end, or does not.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from typing import Any

from replicator.scenario.play import actions
from replicator.scenario.play.player import SETUP_MS, Player
from replicator.scenario.play.stage import Stage, StageError
from replicator.scenario.play.waiting import Wait
from replicator.scenario.script.script import Promote, Repoint, Script, Step
from replicator.scenario.verdict.history import History
from replicator.testing.seeded import Seeded

Doing = Generator[Wait, bool, Any]
# How often the director looks at what it has seen.
LOOK_MS = 20
CLIENTS = "clients"


class Watched(Script, frozen=True):
    """A script without a load of its own: all clients, whoever they are, are one party."""

    def client_names(self) -> list[str]:
        return [CLIENTS]


class Order:
    """Something to be done. result: what came of it, once `done`; error: what it raised."""

    def __init__(self, make: Callable[[Ward], Doing]) -> None:
        self.make = make
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None


class _Running:
    """An order under way, and what it waits for."""

    def __init__(self, order: Order, doing: Doing) -> None:
        self.order, self.doing = order, doing
        self.wait = Wait(lambda: True)

    def go_on(self, held: bool | None) -> bool:
        """Up to its next wait; False: it has ended. held: how the last wait ended, None at the beginning."""
        try:
            self.wait = next(self.doing) if held is None else self.doing.send(held)
            return True
        except StopIteration as end:
            self.order.result = end.value
        except Exception as problem:
            self.order.error = problem
        self.order.done.set()
        return False


class Ward(Player):
    """started: the nodes are in sync, or the play has ended. down_after_ms: how long a primary may be out of reach
    before the director promotes another (None: somebody else does, or nobody)."""

    def __init__(self, script: Script, stage: Stage, history: History, down_after_ms: int | None) -> None:
        super().__init__(script, stage, history)
        self.watchers = Seeded(self)
        self.started = threading.Event()
        self.closing = False
        self._down_after_ms = down_after_ms
        self._inbox: deque[Order] = deque()
        self._running: list[_Running] = []
        self._out_of_reach_since: int | None = None
        self._told: dict[str, int] = {}  # when a node was last told whom to follow

    def give(self, order: Order) -> None:
        """From any thread; the stage's loop must be woken behind it."""
        self._inbox.append(order)

    def _play(self) -> Doing:
        yield from self._set_up()
        if self._down_after_ms is not None:
            self.give(Order(lambda _: self._direct()))
        self.started.set()
        while not self.closing:
            while self._inbox:
                order = self._inbox.popleft()
                one = _Running(order, order.make(self))
                if one.go_on(None):
                    self._running.append(one)
            bounds = [one.wait.until_ms for one in self._running if one.wait.until_ms is not None]
            yield Wait(self._something, min(bounds, default=None))
            self._running = [one for one in self._running if self._step_on(one)]
        self.results.ended_at_ms = self.results.load_ended_at_ms = self.at()
        for one in self._running:
            one.doing.close()

    def _set_up(self) -> Doing:
        """Start all nodes at once and tell them then whom to follow: a replica that meets nobody would try again only a
        second later, and most of a start is the same work in each of them."""
        wanted = dict(self.upstream)
        self.upstream.update(dict.fromkeys(wanted))
        for node in wanted:
            self.start(node, wipe=True)
        yield from self._until_ready(list(wanted))
        self.upstream.update(wanted)
        told = []
        for node, upstream in wanted.items():
            if upstream is not None:
                host, port = self.stage.address(upstream)
                told.append(self.ask_later(node, ("REPLICAOF", host, str(port))))
        yield Wait(lambda: all(reply.answer is not None for reply in told))
        problem = yield from self.watchers.set_up()
        if problem:
            raise StageError(problem)
        yield from self._until_ready(list(wanted))
        self._begin_zero()
        self.load("run")
        self.record("play.begin", "", f"{len(wanted)} nodes in sync", 1)

    def _until_ready(self, nodes: list[str]) -> Doing:
        held = yield Wait(lambda: self._level_ready(nodes), self.now_ms + SETUP_MS)
        ended = [node for node in nodes if self.view(node).ended]
        if ended or not held:
            raise StageError(self._why_no_start(ended or nodes))

    def _something(self) -> bool:
        return bool(self._inbox) or self.closing or any(one.wait.ready() for one in self._running)

    def _step_on(self, one: _Running) -> bool:
        """False: it has ended."""
        if one.wait.ready():
            return one.go_on(True)
        if one.wait.until_ms is not None and self.now_ms >= one.wait.until_ms:
            return one.go_on(False)
        return True

    # -- orders ------------------------------------------------------------------------------------------------------

    def act(self, name: str, action: Any) -> Doing:
        """An action of a step; what went wrong, "": nothing."""
        return actions.carry_out(self, name, action, Step(), self.at())

    def hold(self, ready: Callable[[], bool], timeout_ms: int) -> Doing:
        """Whether it held within that time."""
        held = yield Wait(ready, self.now_ms + timeout_ms)
        return held

    def all_synced(self, since_ms: int) -> bool:
        """Every live replica stands where the primary stands, as seen after since_ms."""
        primary = self.view(self.directory.primary)
        return primary.answers and primary.sent_ms >= since_ms and all(
            self.synced(node, since_ms) and (self.view(node).replid, self.view(node).offset)
            == (primary.replid, primary.offset)
            for node in self.live() if node != self.directory.primary
        )  # fmt: skip

    # -- the director ------------------------------------------------------------------------------------------------

    def _direct(self) -> Doing:
        """Promote the best replica when the primary is out of reach; then everybody who is there follows it."""
        assert self._down_after_ms is not None
        while True:
            yield self.pause(LOOK_MS)
            if self._out_of_reach():
                self._out_of_reach_since = self._out_of_reach_since or self.now_ms
            else:
                self._out_of_reach_since = None
            since = self._out_of_reach_since
            if since is not None and self.now_ms - since >= self._down_after_ms:
                problem = yield from self.act("promote", Promote("best", self._led()))
                if problem:
                    continue  # nobody is there to be promoted: perhaps somebody comes back
                self._out_of_reach_since = None
            lost = self._astray()
            if lost:
                yield from self.act("repoint", Repoint(lost))
                self._told.update(dict.fromkeys(lost, self.at()))

    def _out_of_reach(self) -> bool:
        """The primary does not answer, or it is cut off from all its replicas: what Sentinels beside these would see.
        The director's own connections pass every rule."""
        primary = self.directory.primary
        view = self.view(primary)
        if view.stopped or not view.running or view.down_since(self.at()) is not None:
            return True
        replicas = [node for node in self.live() if node != primary and self.view(node).role == "replica"]
        return bool(replicas) and all(self._cut_off(node) for node in replicas)

    def _cut_off(self, node: str) -> bool:
        primary = self.directory.primary
        return any(self.rules[pair].mode != "pass" for pair in ((node, primary), (primary, node)) if pair in self.rules)

    def _led(self) -> list[str]:
        """Who may be promoted: replicas that have had data of this topology."""
        return [node for node in self.live() if node != self.directory.primary and self.view(node).replid]

    def _astray(self) -> list[str]:
        """Live nodes within reach that follow another than the primary, or nobody, as seen since they were told."""
        primary = self.directory.primary
        if not self.view(primary).answers or primary not in self.live():
            return []
        return [
            node
            for node in self.live()
            if node != primary and self.view(node).answers and self.view(node).role and not self._cut_off(node)
            and self.view(node).sent_ms > self._told.get(node, -1)
            and self._follows(node) != primary and self._was_direct(node)
        ]  # fmt: skip

    def _follows(self, node: str) -> str | None:
        return self._node_at.get(self.view(node).seen.upstream)

    def _was_direct(self, node: str) -> bool:
        """Not one of a chain whose upstream is there: that one is meant."""
        above = self._follows(node)
        return above is None or above not in self.followers()
