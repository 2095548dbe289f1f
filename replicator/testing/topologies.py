"""A primary, its replicas and perhaps Sentinels, as processes of one test.

All methods may be called from any thread, and wait until what they ask for is done. In a test that runs under asyncio
or trio, `ha.in_thread` calls them without holding the loop up: `await ha.in_thread(ha.wait_for_failover)`.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from replicator.scenario.play.player import Failover
from replicator.scenario.play.stage import StageError
from replicator.scenario.script.script import Between, Cut, Delay, Kill, Promote, Restart, Throttle, Workload
from replicator.scenario.script.script import Topology as Shape
from replicator.scenario.script.units import Bytes, Milliseconds
from replicator.scenario.stages import engines
from replicator.scenario.verdict.durability import Verdict
from replicator.scenario.verdict.history import History
from replicator.scenario.verdict.outcome import outcome_of
from replicator.testing import clients
from replicator.testing.grounds import Grounds
from replicator.testing.readback import LostWrites, judge, look
from replicator.testing.record import Recorder
from replicator.testing.ward import CLIENTS, Doing, Order, Ward, Watched

START_S = 30.0
# How long a primary may be out of reach before another is promoted.
DOWN_AFTER = "500ms"
# What the plugin and a failing test's report know of: topologies of this process, the newest last.
made: list[Topology] = []


class TopologyError(Exception):
    """Something could not be done; the text says what and why."""


class Node:
    """One node of a topology."""

    def __init__(self, topology: Topology, name: str) -> None:
        self.name = name
        self._topology = topology

    def __repr__(self) -> str:
        host, port = self.address
        return f"<{self.name} {self.role or 'down'} at {host}:{port}>"

    @property
    def address(self) -> tuple[str, int]:
        """Where clients and other nodes reach it."""
        return self._topology.stage.address(self.name)

    @property
    def pid(self) -> int | None:
        """Its process; None while it does not run."""
        return self._topology.stage.pid(self.name)

    @property
    def role(self) -> str:
        """ "primary" or "replica", as it said last; "" while it is not known or does not answer."""
        view = self._topology.ward.view(self.name)
        return view.role if view.answers else ""

    @property
    def log(self) -> str:
        """What it has logged so far, without times and levels."""
        return "".join(f"{line}\n" for _, name, line in list(self._topology.ward.observer.lines) if name == self.name)

    def call(self, *words: str | int | float, timeout: float = 5.0) -> Any:
        """A command, past all rules of links. Its answer as bytes, int, list or None. Raises TopologyError for an error
        reply, or without an answer."""
        argv, timeout_ms = tuple(map(str, words)), int(timeout * 1000)
        answer = self._topology.do(lambda ward: ward.ask(self.name, argv, timeout_ms), timeout + 5)
        if answer.error:
            raise TopologyError(f"{self.name}: {' '.join(argv)}: {answer.error}")
        return answer.value

    def kill(self, *, power_loss: bool = False) -> None:
        """SIGKILL. power_loss: its peers hear nothing, and what had not left it is gone."""
        self._topology.act("kill", Kill(self.name, power_loss))

    def stop(self) -> None:
        """SIGSTOP: it stands still, its connections stay open."""
        self._topology.act("stop", self.name)

    def continue_(self) -> None:
        """SIGCONT: it goes on and knows nothing of what happened."""
        self._topology.act("go_on", self.name)

    def shutdown(self) -> None:
        """SIGTERM: it ends in good order."""
        self._topology.act("shutdown", self.name)

    def restart(self, *, wipe: bool = False) -> None:
        """Start it again (ending it first, if it runs), as a replica of the primary unless it is that itself. wipe:
        without its data."""
        self._topology.act("restart", Restart(self.name, "wipe" if wipe else "keep", "primary"))

    def promote(self) -> None:
        """REPLICAOF NO ONE, and everybody is sent there."""
        self._topology.act("promote", Promote(self.name))


class Topology:
    """Made by `topology(...)`; use it as a context manager."""

    def __init__(
        self,
        replicas: int = 2,
        sentinels: int = 0,
        engine: str = "replicator",
        *,
        config: dict[str, str | int | float | bool] | None = None,
        down_after: str = DOWN_AFTER,
        director: bool = True,
        tls: bool = False,
        keep: Path | None = None,
    ) -> None:
        """engine: "replicator", "redis", "valkey" or the path of a server. config: directives of every node.
        director: without Sentinels, promote the best replica when the primary is out of reach for down_after. keep: a
        folder for the nodes' data and logs, which are else removed.
        """
        shape: dict[str, Any] = {"replicas": replicas, "tls": tls}
        if sentinels:
            if "sentinels" not in Shape.__struct_fields__:
                raise TopologyError("sentinels: there are none in topologies of this version")
            shape |= {"sentinels": sentinels, "down_after": Milliseconds.parse(down_after)}
        self._script = Watched(
            title="a topology of a test", config=config or {}, topology=Shape(**shape), workload=Workload(clients=0)
        )
        try:
            program = engines.ours() if engine == "replicator" else engines.stock(engine)
        except StageError as problem:
            raise TopologyError(str(problem)) from None
        self._on = "live" if engine == "replicator" else "stock"
        self._program, self._keep = program, keep
        directs = director and not sentinels
        self._down_after_ms = int(Milliseconds.parse(down_after)) if directs else None
        self.sentinel_count = sentinels
        self.history = History()
        self._thread: threading.Thread | None = None
        self._problem: BaseException | None = None
        self._zero_s = 0.0
        self._clients: list[Any] = []
        self._verdict: Verdict | None = None
        self._awaited = 0  # failovers that were waited for
        self.stage: Grounds
        self.ward: Ward
        self.recorder = Recorder(self.history, self._at_ms)

    # -- beginning and end -------------------------------------------------------------------------------------------

    def __enter__(self) -> Topology:
        made.append(self)
        try:
            self.stage = Grounds(self._on, self._program, self._script, 0, self._keep)
            self.ward = Ward(self._script, self.stage, self.history, self._down_after_ms)
        except StageError as problem:
            raise TopologyError(str(problem)) from None
        self._thread = threading.Thread(target=self._run, name="replicator.testing", daemon=True)
        self._thread.start()
        if not self.ward.started.wait(START_S) or self._problem is not None:
            self.close()
            raise TopologyError(str(self._problem or f"the topology is not there after {START_S:.0f} s"))
        self._zero_s = time.monotonic() - self.do(_moment) / 1000
        return self

    def _run(self) -> None:
        try:
            self.stage.play(self.ward)
        except BaseException as problem:
            self._problem = problem
        finally:
            self.ward.started.set()

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all that was started. Idempotent."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        if self._thread is not None:
            self.ward.closing = True
            self.stage.wake()
            self._thread.join()
            self._thread = None

    @property
    def is_running(self) -> bool:
        """It was started and has not been ended."""
        return self._thread is not None

    @property
    def was_started(self) -> bool:
        """It has been ready once, so there is something to tell of it."""
        return self._zero_s > 0

    def _at_ms(self) -> int:
        return int((time.monotonic() - self._zero_s) * 1000)

    # -- who is there ------------------------------------------------------------------------------------------------

    @property
    def nodes(self) -> dict[str, Node]:
        """All nodes by name: a, b, c ..."""
        return {name: Node(self, name) for name in self._script.upstreams()}

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    @property
    def primary(self) -> Node:
        """Who is the primary by the word of the director or of the Sentinels."""
        return Node(self, self.ward.directory.primary)

    @property
    def replicas(self) -> list[Node]:
        """All nodes but the primary, whether they run or not."""
        return [node for name, node in self.nodes.items() if name != self.ward.directory.primary]

    @property
    def address(self) -> tuple[str, int]:
        """An address that leads to whoever is the primary; connections to one that is replaced are reset."""
        return self.stage.door

    @property
    def url(self) -> str:
        """The same as client libraries have it."""
        host, port = self.address
        return f"{'rediss' if self._script.topology.tls else 'redis'}://{host}:{port}/0"

    @property
    def failovers(self) -> list[Failover]:
        """Every promotion so far, with what led to it."""
        return list(self.ward.results.failovers)

    # -- clients -----------------------------------------------------------------------------------------------------

    def client(self, library: str = "redis", **options: Any) -> Any:
        """A client of redis-py ("redis") or valkey-py ("valkey"), at the address of the primary, or asking the
        Sentinels where they are. It is closed with the topology."""
        options.setdefault("socket_timeout", 5)
        if self._script.topology.tls:
            options = {"ssl": True, **{f"ssl_{name}": path for name, path in self.tls_files.items()}, **options}
        if self.sentinel_count:
            names = [name for name in self.ward.observer.views if name not in self._script.upstreams()]
            addresses = [self.stage.address(name) for name in names]
            made_one = clients.from_sentinels(library, addresses, "mymaster", options)
        else:
            made_one = clients.make(library, self.address, options)
        self._clients.append(made_one)
        return made_one

    @property
    def tls_files(self) -> dict[str, str]:
        """With tls=True: paths of ca_certs (whom to trust), certfile and keyfile (what to show)."""
        names = {"ca_certs": "ca.crt", "certfile": "client.crt", "keyfile": "client.key"}
        return {name: self.stage.tls_file(file) for name, file in names.items()}

    def record(self, client: Any) -> Any:
        """The same client; its writes are accounted for from now on (see lost_writes)."""
        return clients.record(client, self.recorder, self.stage.asked, lambda: self.ward.directory.primary)

    def lost_writes(self) -> LostWrites:
        """Acknowledged writes of recorded clients that the primary does not hold now: empty is good. Each knows who
        confirmed it, why it is gone, and what would have kept it."""
        places = [place for place in self.recorder.found.values() if place.key not in self.recorder.unjudged]
        found = self.do(lambda ward: look(ward, ward.directory.primary, places), 60)
        self._verdict = judge(self.history, self.recorder, found)
        return LostWrites(self._verdict.lost)

    # -- faults ------------------------------------------------------------------------------------------------------

    def cut(
        self, one: Node | str, other: Node | str = "everyone", *, mode: str = "blackhole", one_way: bool = False
    ) -> None:
        """Cut the link between two parties: nodes, "clients", "others" (nodes), "everyone". mode: "blackhole" (bytes
        are held), "reset", "refuse". one_way: only what `one` sends is cut."""
        if mode not in ("blackhole", "reset", "refuse"):
            raise TopologyError(f"mode {mode!r} is not allowed; allowed: blackhole, reset, refuse")
        between, direction = _between(one, other, one_way)
        self.act("cut", Cut(between, mode, direction))  # type: ignore[arg-type]  # checked above

    def heal(self, one: Node | str | None = None, other: Node | str = "everyone") -> None:
        """Take every rule from a link; without parties from all links."""
        self.act("heal", "all" if one is None else Between(_between(one, other, False)[0]))

    def delay(
        self, one: Node | str, other: Node | str = "everyone", *, delay: str, jitter: str = "0s", one_way: bool = False
    ) -> None:
        """Everything between the two comes so much later ("50ms"), and up to `jitter` more."""
        between, direction = _between(one, other, one_way)
        self.act("delay", Delay(between, Milliseconds.parse(delay), Milliseconds.parse(jitter), direction))

    def throttle(
        self, one: Node | str, other: Node | str = "everyone", *, rate: str | int, one_way: bool = False
    ) -> None:
        """So many bytes a second ("100kb") between the two; 0: as many as there are."""
        between, direction = _between(one, other, one_way)
        self.act("throttle", Throttle(between, Bytes.parse(rate), direction))

    # -- waiting -----------------------------------------------------------------------------------------------------

    def wait_synced(self, timeout: float = 20.0) -> None:
        """Until every replica that runs stands where the primary stands. Raises TopologyError."""

        def wait(ward: Ward) -> Doing:
            since_ms = ward.at()
            return ward.hold(lambda: ward.all_synced(since_ms), int(timeout * 1000))

        if not self.do(wait, timeout + 5):
            raise TopologyError(f"the replicas are not in sync after {timeout:g} s: {self._state()}")

    def wait_for_failover(self, timeout: float = 30.0, *, since: int = 0) -> Failover:
        """Until another node than at the last call has been promoted and says that it is a primary. since: how many
        failovers to pass over (those that were waited for are passed over anyway). Raises TopologyError."""
        since = max(since, self._awaited)

        def done(ward: Ward) -> bool:
            if len(ward.results.failovers) <= since:
                return False
            view = ward.view(ward.directory.primary)
            return view.role == "primary" and view.answers

        if not self.do(lambda ward: ward.hold(lambda: done(ward), int(timeout * 1000)), timeout + 5):
            raise TopologyError(f"nobody was promoted within {timeout:g} s: {self._state()}")
        failover = self.ward.results.failovers[since]
        self._awaited = since + 1
        return failover

    async def in_thread(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call one of these methods from a coroutine of asyncio or trio, in a thread of its own."""
        import sniffio

        if sniffio.current_async_library() == "trio":
            import trio

            return await trio.to_thread.run_sync(lambda: call(*arguments, **options))
        import asyncio

        return await asyncio.to_thread(call, *arguments, **options)

    # -- orders ------------------------------------------------------------------------------------------------------

    def act(self, name: str, action: Any) -> None:
        """An action as a scenario's steps have them. Raises TopologyError with what went wrong."""
        problem = self.do(lambda ward: ward.act(name, action), 30)
        if problem:
            raise TopologyError(problem)

    def do(self, make: Callable[[Ward], Doing], timeout: float = 30.0) -> Any:
        """Let the ward do something; what comes of it."""
        order = Order(make)
        self.ward.give(order)
        self.stage.wake()
        deadline_s = time.monotonic() + timeout
        while not order.done.wait(0.2):
            if self._thread is None or not self._thread.is_alive():
                raise TopologyError(f"the topology has ended: {self._problem}" if self._problem else "it has ended")
            if time.monotonic() > deadline_s:
                raise TopologyError(f"it is not done after {timeout:g} s")
        if order.error is not None:
            raise TopologyError(str(order.error)) from order.error
        return order.result

    def _state(self) -> str:
        return ", ".join(repr(node) for node in self.nodes.values())

    # -- what happened -----------------------------------------------------------------------------------------------

    def timeline(self) -> str:
        """What happened so far, a line each."""
        from rich.console import Console

        from replicator.scenario.report.terminal import Terminal

        text = io.StringIO()
        terminal = Terminal(Console(file=text, width=160, highlight=False))
        for event in list(self.ward.observer.events):
            terminal.watch(event)
        return text.getvalue()

    def report(self, path: str | Path) -> None:
        """Write the HTML page of a scenario's report."""
        from replicator.scenario.report.html import page

        outcome = outcome_of(self.ward, self.stage, "")
        if self._verdict is not None:  # as it was judged last
            outcome.verdict, outcome.unjudged = self._verdict, ""
        outcome.ended_at_ms = max(outcome.ended_at_ms, self._at_ms() if self._thread is not None else 0)
        Path(path).write_text(page([[outcome]]), "utf-8")


def _moment(ward: Ward) -> Doing:
    """An order: the time of the play."""
    yield from ward.hold(lambda: True, 0)
    return ward.at()


def _between(one: Node | str, other: Node | str, one_way: bool) -> tuple[tuple[str, str], str]:
    first, second = (party.name if isinstance(party, Node) else party for party in (one, other))
    if first == second:
        raise TopologyError(f"a link has two ends, and {first} is both")
    return (first, second), f"{first}->{second}" if one_way else "both"


def topology(replicas: int = 2, sentinels: int = 0, engine: str = "replicator", **options: Any) -> Topology:
    """A topology for a `with` statement; the options are Topology's."""
    return Topology(replicas, sentinels, engine, **options)


__all__ = ["CLIENTS", "Node", "Topology", "TopologyError", "topology"]
