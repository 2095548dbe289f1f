"""The simulated stage: every node and every client a machine in one event heap, in virtual time
(replicator/simulation)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import hiredis

from replicator.core.config.config import Config, MemoryStore
from replicator.core.effects import Level
from replicator.core.node import Node
from replicator.core.now import Now
from replicator.core.replication.primary import LinkState
from replicator.core.sentinel.machine import Sentinel
from replicator.core.surroundings import Surroundings
from replicator.scenario.play.faults import Mischief
from replicator.scenario.play.observe import Seen
from replicator.scenario.play.player import Player
from replicator.scenario.play.stage import (
    Answer,
    Ask,
    ContinueNode,
    EndNode,
    KillNode,
    LogLine,
    NodeEnded,
    Report,
    Request,
    SetRule,
    StageError,
    StartClient,
    StartNode,
    StopNode,
    WakeClients,
)
from replicator.scenario.play.workload import Client, packed
from replicator.scenario.script.script import Script
from replicator.scenario.stages.sim_sentinel import build as build_sentinel
from replicator.simulation import guard
from replicator.simulation.clocks import Clock
from replicator.simulation.council import Council
from replicator.simulation.disk import Disk
from replicator.simulation.kernel import Kernel
from replicator.simulation.ledger import Ledger
from replicator.simulation.local import Local
from replicator.simulation.monitor import Monitor
from replicator.simulation.network import Conduct, Network
from replicator.simulation.parts import Costs, Hooks
from replicator.simulation.patience import patience
from replicator.simulation.process import Process

PORT = 6379
# How long a node's process needs until it listens.
BOOT_US = 40_000
# How long a node that was asked to end may take before it is killed (as the live stage has it).
END_WITHIN_US = 10_000_000
# The player's look at all nodes; live it is more often, but there it costs no seeds.
SAMPLE_MS = 200
# So much after a client's operation the player looks what has become of it.
NOTICE_US = 20_000
# A play that takes longer than this in virtual time hangs.
LONGEST_US = 3_600_000_000


MakeNode = Callable[[Config, Random, Surroundings], Node]


def seen(node: Node) -> Seen:
    """What the node would say of itself in INFO (observe.seen_by), without a turn of its own."""
    history, primary, replica = node.history, node.primary, node.replica
    offset = node.outgoing.offset()  # brings the history up to it
    online, lag_s = 0, None
    for link in primary.links.values():
        if link.state is LinkState.ONLINE:
            online += 1
            lag = (node.turn.now.mono_ms - link.acked_ms) // 1000
            lag_s = lag if lag_s is None else min(lag_s, lag)
    role, upstream, state = "master", "", ""
    if replica.active:
        role, upstream = "slave", f"{replica.primary_host}:{replica.primary_port}"
        state = "up" if replica.up else "down"
    counters = (primary.sync_full, primary.sync_partial_ok, primary.sync_partial_err)
    syncing = replica.active and replica.syncing
    return Seen(role, history.id, offset, upstream, state, syncing, online, lag_s, *counters)


@dataclass(slots=True)
class Machine:
    """A node's host: disk and clocks outlive its processes."""

    name: str
    address: tuple[str, int]
    disk: Disk
    clock: Clock
    lives: int = 0
    process: Process | None = None
    control: Control | None = None
    orders: Control | None = None  # of the faults: the player's commands may be waiting
    config: Config | None = None
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def node(self) -> Node | None:
        """The machine of the running process."""
        process = self.process
        return process.machine if process is not None and process.ended is None else None  # type: ignore[return-value]


class Control:
    """The player's own connection to one process: commands in order, answers in order."""

    def __init__(self, stage: SimulatedStage, process: Process, password: str) -> None:
        self.stage, self.process = stage, process
        self.pending: deque[tuple[Ask, int]] = deque()
        self._reader = hiredis.Reader()
        self._skip = 0
        self._watching = False
        self.local = Local(process, self._answered)
        if password:
            self._skip = 1
            self.local.say(packed(("AUTH", password)))

    def ask(self, ask: Ask) -> None:
        """Send one command."""
        self.pending.append((ask, self.stage.kernel.now_us + ask.timeout_ms * 1000))
        if not self._watching:
            self._watch()
        self.local.say(packed(ask.argv))

    def _watch(self) -> None:
        if self.pending:
            self._watching = True
            self.stage.kernel.at(self.pending[0][1], self._late)

    def _late(self) -> None:
        self._watching = False
        if self.pending and self.pending[0][1] <= self.stage.kernel.now_us:
            self.local.close()
            self.drop(f"no answer within {self.pending[0][0].timeout_ms} ms")
        else:
            self._watch()

    def drop(self, why: str) -> None:
        """No answer comes any more."""
        self.stage.forget(self)
        pending, self.pending = self.pending, deque()
        for ask, _ in pending:
            self.stage.report(Answer(ask.tag, None, why))

    def _answered(self, data: bytes | None) -> None:
        if data is None:
            self.drop("the node closed the connection")
            return
        self._reader.feed(data)
        while self.pending and (answer := self._reader.gets()) is not False:
            if self._skip:
                self._skip -= 1
                continue
            ask, _ = self.pending.popleft()
            failed = isinstance(answer, Exception)
            self.stage.report(Answer(ask.tag, None if failed else answer, str(answer) if failed else "", failed))


class SimulatedStage:
    """One play in virtual time. make_node: builds the machine of a node (tests put broken ones in)."""

    on = "sim"
    engine = "replicator"
    sample_ms = SAMPLE_MS

    def __init__(
        self, script: Script, seed: int, *, make_node: MakeNode = Node, monitored: bool = True,
        make_sentinel: Callable[..., Sentinel] = Sentinel,
    ) -> None:  # fmt: skip
        self.script, self.seed, self.make_node, self.make_sentinel = script, seed, make_node, make_sentinel
        self.plan = list(script.faults.plan)
        self.mischief: Mischief | None = None
        self._beside: dict[int, Callable[[Answer], None]] = {}
        self._tags = 0
        self.kernel = Kernel(seed)
        chance = self.kernel.random("world")
        self.net = Network(
            self.kernel,
            base_us=chance.randrange(30, 300),
            jitter_us=chance.randrange(0, 200),
            window=chance.choice((2_000, 8_000, 64_000, 512_000)),
        )
        self.costs = Costs(
            short_reads=chance.choice((0.0, 0.01, 0.05, 0.3) if script.faults.plan else (0.0, 0.01, 0.02, 0.05)),
            snapshot_us=chance.randrange(500, 40_000),
        )
        if script.faults.plan:
            # Loads that last long enough for something to happen meanwhile; without faults a file's times are held to.
            self.costs.read_us = chance.choice((50, 500, 5000, 20_000))
            self.costs.read_bytes = chance.choice((100, 1000, 1 << 20))
        self.findings: list[str] = []  # what the monitors and the machines themselves objected to
        self.monitor = Monitor(self.findings.append) if monitored else None
        self.council = Council(self.findings.append) if monitored and script.sentinels() else None
        self._dark: set[str] = set()  # machines that are losing their power just now
        self.ledgers: dict[str, Ledger] = {}  # of machines whose nodes keep an append-only file
        self.machines: dict[str, Machine] = {}
        self.clients: dict[str, Process] = {}
        self.counts: dict[str, int] = {}
        self._reports: deque[Report] = deque()
        self._planned_report = False
        self._player_due_us = -1
        self._client_names = script.client_names()
        self.sentinels = frozenset(script.sentinels())
        for index, name in enumerate(script.parties()):
            address = (f"10.0.0.{index + 1}", PORT)
            self.net.name(address[0], name)
            self.machines[name] = Machine(name, address, Disk(self.kernel.random(f"disk/{name}")), self._clock(name))
        for name in self._client_names:
            self.net.name(self.source(name), name)

    def _clock(self, name: str) -> Clock:
        chance = self.kernel.random(f"clock/{name}")
        return Clock(
            self.kernel,
            drift_ppm=chance.randrange(-200, 201),
            boot_us=chance.randrange(1_000_000_000),
            wall_off_ms=chance.randrange(-50, 51),
        )

    # What the player asks for.

    def address(self, node: str) -> tuple[str, int]:
        """Where the node listens."""
        return self.machines[node].address

    def source(self, client: str) -> str:
        """Where the client connects from."""
        index = self._client_names.index(client)
        return f"10.1.{index // 250}.{index % 250 + 1}"

    def directives(self, node: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What a node needs here."""
        host, port = self.address(node)
        if node in self.sentinels:
            return (("port", (str(port),)), ("sentinel", ("announce-ip", host)))
        return (
            ("port", (str(port),)), ("bind", (host,)), ("protected-mode", ("no",)), ("replica-announce-ip", (host,)),
            ("replica-announce-port", (str(port),)), ("enable-debug-command", ("yes",)),
        )  # fmt: skip

    def now_ms(self) -> int:
        """Virtual milliseconds since the run began."""
        return self.kernel.now_us // 1000

    def details(self) -> dict[str, Any]:
        """What only this stage knows."""
        return {
            "trace_hash": self.kernel.trace_hash(),
            "events": self.kernel.events,
            "virtual_ms": self.now_ms(),
            "findings": list(self.findings),
            "counts": dict(self.counts),
            "faults": dict(self.mischief.counts) if self.mischief is not None else {},
            "compared_bytes": self.monitor.bytes_compared if self.monitor is not None else 0,
            "compared_data": self.monitor.compared if self.monitor is not None else 0,
        }

    def look(self, node: str) -> Seen | None:
        """What the player asks all the time it may see at once: an observer that costs the machine no turn."""
        machine = self.machines[node]
        process, control, running = machine.process, machine.control, machine.node
        if process is None or running is None or process.address not in self.net.listeners:
            return None
        if process.held_up or (control is not None and control.pending):
            return None
        return seen(running)

    def settled(self) -> bool:
        """Whether the drawn faults are mended and everybody is told whom to follow."""
        return self.mischief is None or not self.script.end.heal or self.mischief.settled()

    def play(self, player: Player) -> None:
        """Run to the player's end, sealed off from the real world."""
        self._player = player
        with patience(self.kernel), guard.sealed():
            self._carry_out(player.begin(self._now()))
            try:
                self.kernel.run(LONGEST_US)
            except StageError as problem:
                if not self.findings:
                    raise
                raise StageError(f"{problem}\n{self.findings[0]}") from None
            if not player.finished:
                raise StageError(f"the simulation of seed {self.seed} has not ended after {self.now_ms()} ms")
            self._judge_end()

    def _judge_end(self) -> None:
        if self.monitor is not None:
            nodes = {name: one.node for name, one in self.machines.items() if name not in self.sentinels}
            self.monitor.compare({name: node for name, node in nodes.items() if node is not None})

    # The player.

    def _now(self) -> Now:
        now_ms = self.now_ms()
        return Now(now_ms, now_ms)

    def report(self, report: Report) -> None:
        """Tell the player, as soon as the present call has ended."""
        self._reports.append(report)
        if not self._planned_report:
            self._planned_report = True
            self.kernel.after(0, self._hand_on)

    def _hand_on(self) -> None:
        self._planned_report = False
        while self._reports and not self._player.finished:
            report = self._reports.popleft()
            if isinstance(report, Answer) and report.tag < 0:
                then = self._beside.pop(report.tag, None)
                if then is not None:
                    then(report)
                    self.go_on()
                continue
            self._carry_out(self._player.handle(report, self._now()))

    def _advance_player(self) -> None:
        if not self._player.finished:
            self._carry_out(self._player.advance(self._now()))

    def _carry_out(self, requests: list[Request]) -> None:
        for request in requests:
            self._do(request)
        if self._player.finished:
            self.kernel.halt()
            return
        deadline_ms = self._player.deadline_ms()
        if deadline_ms is not None:
            self._plan_player(deadline_ms * 1000)

    def _plan_player(self, when_us: int) -> None:
        when_us = max(when_us, self.kernel.now_us)
        if self._player_due_us < 0 or when_us < self._player_due_us:
            self._player_due_us = when_us
            self.kernel.at(when_us, self._player_alarm, when_us)

    def _player_alarm(self, planned_us: int) -> None:
        if planned_us == self._player_due_us:
            self._player_due_us = -1
            self._advance_player()

    def _do(self, request: Request) -> None:
        match request:
            case Ask():
                self._ask(request)
            case StartNode():
                self.start_node(request)
            case KillNode(node=node, power_loss=power_loss):
                self.kill(node, power_loss=power_loss)
            case StopNode(node=node):
                self._process(node).stop()
            case ContinueNode(node=node):
                self._process(node).go_on()
            case EndNode(node=node):
                process = self._process(node)
                process.signal("SIGTERM")
                self.kernel.after(END_WITHIN_US, process.kill)
            case SetRule(source=source, target=target, rule=rule):
                conduct = Conduct(rule.mode, rule.delay_ms * 1000, rule.jitter_ms * 1000, rule.rate)
                self.net.conduct(source, target, conduct)
                self.kernel.note(f"rule {source}>{target} {conduct}")
            case StartClient(client=client):
                self._start_client(client)
            case WakeClients():
                self._load_changed()
                for process in self.clients.values():
                    process.poke()

    def _load_changed(self) -> None:
        """The load begins: the plan's time counts from here. It stops: what was broken is mended."""
        state = self._player.directory.load
        if state == "run" and self.mischief is None and self.plan:
            self.mischief = Mischief(self, self._player, self.plan)
        elif state == "stop" and self.mischief is not None and self.script.end.heal:
            self.kernel.after(0, self.mischief.mend)

    def go_on(self) -> None:
        """Let the player look at what was done beside it, and carry out what it was given to do."""
        if not self._player.finished:
            self._plan_player(self.kernel.now_us)

    def command(self, ask: Ask, then: Callable[[Answer], None] | None) -> None:
        """A command of a fault: its answer goes to `then`, not to the player."""
        self._tags -= 1
        if then is not None:
            self._beside[self._tags] = then
        self._ask(Ask(self._tags, ask.node, ask.argv, ask.timeout_ms, ask.password))

    # Nodes.

    def _process(self, node: str) -> Process:
        process = self.machines[node].process
        assert process is not None, node
        return process

    def start_node(self, request: StartNode) -> None:
        """Switch the machine on and start the node's process."""
        machine = self.machines[request.node]
        self.net.power(request.node, on=True)
        if request.wipe:
            machine.disk.wipe()
            if request.node in self.ledgers:
                self.ledgers[request.node].wiped()
        machine.lives += 1
        life = f"node/{machine.name}/{machine.lives}"
        node = self._sentinel(request, machine, life) if request.sentinel else self._node(request, machine, life)
        hooks = Hooks(
            log=lambda level, message: self._logged(machine, level, message),
            announce=lambda name, fields: self._announced(machine, name, fields),
            ended=lambda code, how: self._ended(machine, how),
            broke=lambda text: self.findings.append(f"{machine.name}: an exception left the node\n{text}"),
        )
        if isinstance(node, Sentinel):
            if self.council is not None:
                hooks.stepped = self.council.watch(machine.name, node)
        elif self.monitor is not None:
            hooks.stepped = self.monitor.watch(machine.name, node, machine.address)
            if node.config["appendonly"]:
                ledger = self.ledgers.setdefault(machine.name, Ledger(machine.name, self.findings.append))
                hooks.stepped = ledger.watch(node, machine.disk, hooks.stepped)
        machine.process = Process(
            self.kernel, self.net, machine.name, machine.address, node,
            clock=machine.clock, disk=machine.disk, chance=self.kernel.random(f"{life}/process"), hooks=hooks,
            costs=self.costs, pid=1000 + machine.lives,
        )  # fmt: skip
        machine.process.busy_until_us = self.kernel.now_us + BOOT_US
        machine.process.later(machine.process.start)

    def _node(self, request: StartNode, machine: Machine, life: str) -> Node:
        config = machine.config = Config(MemoryStore())
        argv: list[str] = []
        for name, arguments in request.directives:
            argv += [f"--{name}", *arguments]
        config.load("", argv)
        surroundings = Surroundings(pid=1000 + machine.lives)  # no meter: time stands still while a machine works
        return self.make_node(config, self.kernel.random(life), surroundings)

    def _sentinel(self, request: StartNode, machine: Machine, life: str) -> Sentinel:
        chance = self.kernel.random(life)
        port = machine.address[1]
        return build_sentinel(request, machine.disk, port, 1000 + machine.lives, chance, self.make_sentinel)

    def kill(self, node: str, *, power_loss: bool = False) -> None:
        """End the node's process at once."""
        machine = self.machines[node]
        process = self._process(node)
        if power_loss:
            self.net.power(node, on=False)
            self._dark.add(node)
            process.lose_power()
            self._dark.discard(node)
            if node in self.ledgers:
                self.ledgers[node].lost_power()
            machine.disk.lose_power()
        else:
            if node in self.ledgers:
                self.ledgers[node].killed()
            process.kill()

    def _ended(self, machine: Machine, how: str) -> None:
        unsynced_ms = None
        process = machine.process
        if process is not None and isinstance(ended := process.machine, Node):
            if machine.name in self.ledgers:
                self.ledgers[machine.name].ended(ended, how, machine.disk)
            if machine.name in self._dark and ended.append_only.promises:
                unsynced_ms = machine.clock.now().mono_ms - ended.journal.durable_ms
        self.report(NodeEnded(machine.name, how, unsynced_ms))

    def _logged(self, machine: Machine, level: Level, message: str) -> None:
        if level is not Level.DEBUG and level is not Level.VERBOSE:
            self.report(LogLine(machine.name, message))

    def _announced(self, machine: Machine, name: str, fields: tuple[tuple[str, str | int | None], ...]) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1
        if name == "role.primary" and self.mischief is not None:
            told = dict(fields)
            if told.get("why") == "failover":
                node, identity, offset = machine.name, str(told.get("id")), int(told.get("offset") or 0)
                self.kernel.after(0, self.mischief.took_over, node, identity, offset)

    def _ask(self, ask: Ask) -> None:
        machine = self.machines[ask.node]
        process = machine.process
        if process is None or process.ended is not None or process.address not in self.net.listeners:
            self.report(Answer(ask.tag, None, "connection refused"))
            return
        if ask.tag < 0:
            if machine.orders is None or machine.orders.process is not process:
                machine.orders = Control(self, process, ask.password)
            machine.orders.ask(ask)
            return
        if machine.control is None or machine.control.process is not process:
            machine.control = Control(self, process, ask.password)
        machine.control.ask(ask)

    def forget(self, control: Control) -> None:
        """Its connection is gone; the next command makes a new one."""
        for machine in self.machines.values():
            if machine.control is control:
                machine.control = None
            if machine.orders is control:
                machine.orders = None

    # Clients.

    def _start_client(self, client: Client) -> None:
        name = client.name
        clock = Clock(self.kernel)
        acknowledged = -1

        def stepped(now: Now) -> None:
            # The player looks again when a write was acknowledged, or when the last operation has ended.
            nonlocal acknowledged
            player = self._player
            if not player.watches_clients:
                return
            if player.history.acknowledged != acknowledged or (client.idle and player.directory.load != "run"):
                acknowledged = player.history.acknowledged
                self._plan_player(self.kernel.now_us + NOTICE_US)

        process = Process(
            self.kernel, self.net, name, (client.source, 0), client,  # type: ignore[arg-type] # a client streams nothing
            clock=clock, disk=Disk(Random(0)), chance=self.kernel.random(f"client/{name}/process"),
            hooks=Hooks(stepped=stepped, broke=lambda text: self.findings.append(f"{name}: {text}")), costs=self.costs,
        )  # fmt: skip
        self.clients[name] = process
        process.start()
