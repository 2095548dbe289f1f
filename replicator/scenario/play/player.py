"""The player: a machine that plays one script on any stage.

Its course (set up, steps, convergence, read-back) is a generator that yields what it waits for, a Wait; everything else
is event-driven: answers, log lines and ends of processes come in by handle(), the sampling of all nodes and the bounds
of waits by advance(). Neither looks at a clock or a socket (stages/base.py says how a stage drives it).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from replicator.core.now import Now
from replicator.scenario.play import actions, conditions
from replicator.scenario.play.directory import Directory
from replicator.scenario.play.finding import Finder
from replicator.scenario.play.observe import Observer, View, parse_info, seen_by
from replicator.scenario.play.readback import read_back, written
from replicator.scenario.play.stage import (
    PASS,
    Answer,
    Ask,
    LogLine,
    NodeEnded,
    Report,
    Request,
    Rule,
    Stage,
    StageError,
    StartClient,
    StartNode,
    WakeClients,
)
from replicator.scenario.play.waiting import Wait
from replicator.scenario.play.watchers import NAME, Watchers
from replicator.scenario.play.workload import Client, packed
from replicator.scenario.script.script import Script, Step, action_of, shown
from replicator.scenario.script.units import human_ms
from replicator.scenario.verdict.history import OK, Digest, History, Milestone, Promotion, ReadBack

ASK_TIMEOUT_MS = 2000
SAMPLE_TIMEOUT_MS = 600
SETUP_MS = 20_000
# Sentinels see a primary that has come back with their next INFO, and wait for hellos before they make it a replica.
CONVERGE_WATCHED_MS = 60_000
# Laid below the script's own configuration: what a short play on one machine wants.
DEFAULTS: dict[str, str] = {"save": "", "repl-diskless-sync-delay": "0", "always-show-logo": "no"}


Course = Generator[Wait, bool, Any]


@dataclass(slots=True)
class Failover:
    """fault_at_ms: the last fault of the old primary, or of its links, before the promotion (None: a planned one)."""

    before: str
    promoted: str
    promoted_at_ms: int
    fault: str = ""
    fault_at_ms: int | None = None
    detected_at_ms: int | None = None
    writable_at_ms: int | None = None

    def plain(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class _Reply:
    answer: Answer | None = None
    then: Callable[[], None] | None = None


@dataclass(slots=True)
class StepResult:
    """How a step went. at_ms: when it was begun (its condition held); ok: its condition came in time, its action
    worked."""

    index: int
    text: str
    at_ms: int
    ok: bool
    problem: str = ""


@dataclass(slots=True)
class Results:
    """What a play leaves beside its history and events."""

    steps: list[StepResult] = field(default_factory=list)
    failovers: list[Failover] = field(default_factory=list)
    digests: list[Digest] = field(default_factory=list)
    converged: bool = False
    ended_at_ms: int = 0
    load_ended_at_ms: int = 0


class Player:
    """Plays the script once. rerun: seed for everything that is drawn."""

    def __init__(self, script: Script, stage: Stage, history: History, seed: int = 0) -> None:
        self.script, self.stage, self.history, self.seed = script, stage, history, seed
        self.upstream = script.upstreams()
        nodes = list(self.upstream)
        self._node_at = {"{}:{}".format(*stage.address(node)): node for node in nodes}
        self.observer = Observer(script.parties(), history, self._node_at.get)
        self.watchers = Watchers(self)
        primary = script.primary()
        self.directory = Directory(primary, {node: stage.address(node) for node in nodes})
        self.directory.password = str(script.config.get("requirepass", ""))
        self.results = Results()
        self.finished = False
        self.clients: list[Client] = []
        self.rules: dict[tuple[str, str], Rule] = {}
        self._requests: list[Request] = []
        self._now = Now(0, 0)
        self._zero: int | None = None
        self._next_tag = 1
        self._replies: dict[int, _Reply] = {}
        self._samples: dict[int, tuple[str, str, int]] = {}
        self._sampling: dict[str, dict[str, str]] = {}
        self._sample_due = 0
        self._unwritten: Failover | None = None
        self._wait = Wait(lambda: True)
        self._course: Course = self._play()

    # The surface of a machine.

    def begin(self, now: Now) -> list[Request]:
        self._now = now
        self.directory.zero_ms = now.mono_ms
        self._sample_due = now.mono_ms
        next_wait = next(self._course)
        self._wait = next_wait
        return self._turn(now)

    def handle(self, report: Report, now: Now) -> list[Request]:
        self._now = now
        match report:
            case Answer(tag=tag):
                if tag in self._samples:
                    self._sampled(report)
                elif tag in self._replies:
                    reply = self._replies.pop(tag)
                    reply.answer = report
                    if reply.then is not None:
                        reply.then()
            case LogLine(node=node, message=message):
                self.observer.logged(node, message, self.at())
                if node not in self.upstream:
                    self.watchers.heard(node, message)
            case NodeEnded(node=node, how=how, unsynced_ms=unsynced_ms):
                if unsynced_ms is not None:
                    self.history.milestone(self.at(), "unsynced", node, since_ms=self.at() - unsynced_ms)
                self._ended(node, how)
        return self._turn(now)

    @property
    def watches_clients(self) -> bool:
        """Whether what comes next depends on the clients' writes: a stage calls advance() soon after their turns."""
        return self._wait.of_clients or self._unwritten is not None

    def deadline_ms(self) -> int | None:
        until = self._wait.until_ms
        return self._sample_due if until is None else min(self._sample_due, until)

    def advance(self, now: Now) -> list[Request]:
        self._now = now
        if now.mono_ms >= self._sample_due:
            self._sample_due = now.mono_ms + self.stage.sample_ms
            self._sample()
        return self._turn(now)

    def _turn(self, now: Now) -> list[Request]:
        while not self.finished:
            if self._wait.ready():
                held = True
            elif self._wait.until_ms is not None and now.mono_ms >= self._wait.until_ms:
                held = False
            else:
                break
            try:
                self._wait = self._course.send(held)
            except StopIteration:
                self.finished = True
        self._notice_writable()
        requests, self._requests = self._requests, []
        return requests

    # What actions and conditions look at.

    def at(self) -> int:
        """Milliseconds since the play began; below 0 while it is being set up."""
        if self._zero is None:
            return self._now.mono_ms - self.directory.zero_ms - SETUP_MS
        return self._now.mono_ms - self._zero

    @property
    def now_ms(self) -> int:
        """The stage's mono_ms of this turn."""
        return self._now.mono_ms

    def named(self, node: str) -> str:
        return self.directory.primary if node == "primary" else node

    def view(self, node: str) -> View:
        return self.observer.views[node]

    def live(self) -> list[str]:
        """Nodes whose process runs and is not stopped."""
        views = self.observer.views
        return [node for node in self.upstream if views[node].running and not views[node].stopped]

    def node_at(self, host: str, port: int) -> str | None:
        """The node that others reach at this address."""
        return self._node_at.get(f"{host}:{port}")

    def followers(self) -> list[str]:
        """Live nodes that lead to the primary over live nodes, without the primary. A circle of nodes leads nowhere."""
        live = self.live()
        primary = self.directory.primary
        if primary not in live:
            return []
        reached = [primary]
        for above in reached:
            reached += [node for node in live if self.upstream[node] == above and node not in reached]
        return [node for node in live if node in reached and node != primary]

    def synced(self, node: str, since_ms: int) -> bool:
        """The replica streams from the node that it should follow, as seen after since_ms."""
        view, upstream = self.view(node), self.upstream[node]
        if view.sent_ms < since_ms or not view.answers or not view.link_up or upstream is None:
            return False
        return self._node_at.get(view.seen.upstream) == upstream and not view.seen.syncing

    def distance(self, node: str) -> int | None:
        """Bytes of the primary's history that the replica does not have yet, as last seen."""
        primary, view = self.view(self.directory.primary), self.view(node)
        return primary.offset - view.offset if primary.role and view.role else None

    def put(self, request: Request) -> None:
        self._requests.append(request)

    def record(self, kind: str, node: str, text: str, level: int = 1, **fields: Any) -> None:
        self.observer.record(self.at(), kind, node, text, level, **fields)

    def fault(self, kind: str, node: str, text: str, **fields: Any) -> None:
        """Something was done to a node or link: an event and a milestone of the history."""
        self.record(f"fault.{kind}", node, text, 2, **fields)
        self.history.milestone(self.at(), kind, node)

    def ask(self, node: str, argv: tuple[str, ...], timeout_ms: int = ASK_TIMEOUT_MS) -> Generator[Wait, bool, Answer]:
        """The node's answer; its error is set if none came."""
        reply = self.ask_later(node, argv, timeout_ms)
        yield Wait(lambda: reply.answer is not None)
        assert reply.answer is not None
        return reply.answer

    def ask_later(
        self, node: str, argv: tuple[str, ...], timeout_ms: int = ASK_TIMEOUT_MS,
        then: Callable[[], None] | None = None,
    ) -> _Reply:  # fmt: skip
        reply = _Reply(then=then)
        self._replies[self._next_tag] = reply
        self.put(Ask(self._next_tag, node, argv, timeout_ms, self.directory.password))
        self._next_tag += 1
        return reply

    def pause(self, ms: int) -> Wait:
        return Wait(lambda: False, self._now.mono_ms + ms)

    def directives(self, node: str, replica_of: str | None) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """All directives of a node's start; later ones of the same name replace earlier ones."""
        found: dict[str, tuple[str, ...]] = {name: actions.words(value) for name, value in DEFAULTS.items()}
        found.update(self.stage.directives(node))
        for values in (self.script.config, self.script.nodes[node].config if node in self.script.nodes else {}):
            found.update({name: actions.words(shown(value)) for name, value in values.items()})
        if self.directory.password and "masterauth" not in found:
            found["masterauth"] = (self.directory.password,)
        if replica_of is not None:
            host, port = self.stage.address(replica_of)
            found["replicaof"] = (host, str(port))
        return tuple(found.items())

    def start(self, node: str, wipe: bool) -> None:
        """Start the node's process as a replica of its upstream (a Sentinel: with its file)."""
        if node not in self.upstream:
            self.watchers.start(node, wipe)
            return
        self.observer.restarted(node)
        upstream = self.watchers.own.get(node, self.upstream[node])
        self.put(StartNode(node, self.directives(node, upstream), wipe))

    # The course.

    def _play(self) -> Course:
        yield from self._set_up()
        step_done = 0
        for index, step in enumerate(self.script.steps):
            ok = yield from self._step(index, step, step_done)
            step_done = self.at()
            if not ok and step.when is not None:
                # What comes after a condition that never held would be another scenario.
                self.record("play.stopped", "", f"the remaining steps are not played: step {index + 1} failed", 2)
                break
        if self.script.duration is not None and self.at() < self.script.duration:
            yield self.pause(self.script.duration - self.at())
        yield from self._end_load()
        yield from self._converge()
        yield from self._digest()
        found: list[ReadBack] = []
        keys = written(self.history)
        for node in [self.directory.primary, *self.followers()]:
            if self.view(node).answers:
                answer = yield from read_back(self, node, keys)
                if answer is not None:
                    found.append(answer)
        if not found or found[0].node != self.directory.primary:
            self.record("play.unreadable", self.directory.primary, "the primary cannot be read at the end", 2)
        self.results.ended_at_ms = self.at()
        max_lag, least = self._most("max-lag", 10), self._most("to-write", 0)
        self.history.close(self.at(), found, self.directory.primary, max_lag, least)
        self._note_writable()
        self.record("play.end", "", "read back and done", 0)

    def _most(self, name: str, standard: int) -> int:
        """The largest value that min-replicas-NAME has anywhere: what is advised must go beyond it."""
        values = self.script.configured(f"min-replicas-{name}", f"min-slaves-{name}")
        return max((int(value) for value in values if value.isdecimal()), default=standard)

    def _set_up(self) -> Course:
        """Start level by level, so that no replica meets an upstream that is not there yet."""
        started: list[str] = []
        while len(started) < len(self.upstream):
            level = [n for n, up in self.upstream.items() if n not in started and (up is None or up in started)]
            for node in level:
                self.start(node, wipe=True)
            started.extend(level)
            held = yield Wait(partial(self._level_ready, level), self._now.mono_ms + SETUP_MS)
            ended = [node for node in level if self.view(node).ended]
            if ended or not held:
                raise StageError(self._why_no_start(ended or level))
        problem = yield from self.watchers.set_up()
        if problem:
            raise StageError(problem)
        self._begin_zero()
        number = 0
        for group in self.script.workloads:
            for index in range(group.clients):
                name = f"{group.name}{index + 1}"
                random = Random(f"{self.seed}/client/{name}")
                client = Client(name, group, self.directory, self.history, random, self.stage.source(name))
                if self.watchers.names and group.discovery != "directory":
                    client.finder = self._finder(client, index)
                self.clients.append(client)
                self.put(StartClient(client))
                number += 1
        self.load("run")
        self.record("play.begin", "", f"{len(started)} nodes in sync, {number} clients begin", 1)

    def _finder(self, client: Client, index: int) -> Finder:
        """Clients do not all ask the same Sentinel first."""
        names = deque((name, self.stage.address(name)) for name in self.watchers.names)
        names.rotate(-index)
        return Finder(NAME, names, self.node_at, packed, client.new_conn, client.source)

    def _level_ready(self, level: list[str]) -> bool:
        """All of them serve and are in sync, or one of them has ended already."""
        if any(self.view(node).ended for node in level):
            return True
        return all(
            self.synced(node, -SETUP_MS * 2) if self.upstream[node] else self.view(node).answers for node in level
        )

    def _begin_zero(self) -> None:
        """From here on times count from 0; what was seen while setting up moves below it."""
        zero_at = self.at()
        self._zero = self.directory.zero_ms = self._now.mono_ms
        for event in self.observer.events:
            event.at_ms = min(-1, event.at_ms - zero_at)
        for sync in self.observer.syncs:
            sync.at_ms = min(-1, sync.at_ms - zero_at)
        for view in self.observer.views.values():
            view.sent_ms -= zero_at
        self.observer.lines = [(min(-1, at_ms - zero_at), node, line) for at_ms, node, line in self.observer.lines]

    def _why_no_start(self, nodes: list[str]) -> str:
        node = nodes[0]
        tail = [line for _, name, line in self.observer.lines if name == node and line.strip()][-3:]
        state = "ended at once" if self.view(node).ended else f"is not in sync after {human_ms(SETUP_MS)}"
        return f"node {node} {state}" + (f"; its log ends: {' | '.join(tail)}" if tail else "")

    def _step(self, index: int, step: Step, since_ms: int) -> Generator[Wait, bool, bool]:
        number = f"step {index + 1}"
        missing = ""
        if step.at is not None and self.at() < step.at:
            yield self.pause(step.at - self.at())
        if step.after is not None:
            yield self.pause(step.after)
        if step.when is not None:
            missing = yield from self.until(step, step.when, since_ms)
        text = step.name or actions.describe(step)
        result = StepResult(index, text, self.at(), not missing)
        self.results.steps.append(result)
        if missing:
            result.problem = f"after {human_ms(step.within)} still: {missing}"
            self.record("step.missed", "", f"{number} ({text}): {result.problem}", 2)
            return False
        name, action = action_of(step)
        problem = yield from actions.carry_out(self, name, action, step, since_ms)
        if problem:
            result.ok, result.problem = False, problem
            self.record("step.failed", "", f"{number} ({text}): {problem}", 2)
        return result.ok

    def until(self, step: Step, condition: Any, since_ms: int) -> Generator[Wait, bool, str]:
        """Waits for the condition as long as the step allows; what is missing then, "" if it held."""
        until_ms = self._now.mono_ms + step.within
        of_clients = conditions.of_clients(condition)
        held = yield Wait(lambda: conditions.holds(condition, self, since_ms), until_ms, of_clients)
        return "" if held else conditions.missing(condition, self, since_ms) or "the condition"

    def load(self, state: str) -> None:
        self.directory.load = state
        self.put(WakeClients())

    def _end_load(self) -> Course:
        """No new operations; those under way get their answer or their timeout."""
        self.results.load_ended_at_ms = self.at()
        self.load("stop")
        longest = max((group.timeout + group.wait_timeout for group in self.script.workloads), default=0)
        until_ms = self._now.mono_ms + longest + 500
        yield Wait(lambda: all(client.idle for client in self.clients), until_ms, of_clients=True)

    def _converge(self) -> Course:
        if self.script.end.heal:
            self.heal_all()
        since = self.at()

        def converged() -> bool:
            top = self.view(self.directory.primary)
            return self.stage.settled() and top.running and top.sent_ms >= since and all(
                self.synced(node, since)
                and (self.view(node).replid, self.view(node).offset) == (top.replid, top.offset)
                for node in self.followers()
            )

        limit_ms = int(self.script.end.converge)
        if self.watchers.names:
            limit_ms = max(limit_ms, CONVERGE_WATCHED_MS)
        self.results.converged = yield Wait(converged, self._now.mono_ms + limit_ms)
        primary = self.directory.primary
        if self.results.converged:
            self.record("play.converged", primary, f"{primary} and all that follow it stand at the same offset", 1)
        else:
            self.record("play.unconverged", primary, f"no agreement within {human_ms(limit_ms)}", 2)

    def heal_all(self) -> None:
        for (source, target), rule in list(self.rules.items()):
            if rule != PASS:
                actions.set_rule(self, source, target, PASS)

    def _digest(self) -> Course:
        """DEBUG DIGEST of every node that answers, kept if its id and offset were the same before and after."""
        for node in self.live():
            if not self.view(node).answers:
                continue
            for _ in range(5):
                before = yield from self.ask(node, ("INFO", "replication"))
                digest = yield from self.ask(node, ("DEBUG", "DIGEST"), 15_000)
                after = yield from self.ask(node, ("INFO", "replication"))
                if before.error or digest.error or after.error:
                    self.record("play.undigested", node, f"{node} gives no digest: {digest.error or after.error}", 1)
                    break
                first, last = parse_info(before.value), parse_info(after.value)
                place = (first.get("master_replid", ""), int(first.get("master_repl_offset", 0)))
                if place == (last.get("master_replid", ""), int(last.get("master_repl_offset", 0))):
                    value = digest.value.decode() if isinstance(digest.value, bytes) else str(digest.value)
                    self.results.digests.append(Digest(node, *place, value))
                    self.history.digested(self.results.digests[-1])
                    break

    def _notice_writable(self) -> None:
        """The first write that the newest primary acknowledges is told when it happens."""
        last = self.history.last_ok
        if self._unwritten is None or last is None or last.node != self._unwritten.promoted or last.end_ms is None:
            return
        if last.invoke_ms >= self._unwritten.promoted_at_ms:
            text = f"{last.node} acknowledges its first write"
            self.observer.record(last.end_ms, "writable", last.node, text, 2)
            self._unwritten.writable_at_ms, self._unwritten = last.end_ms, None

    def _note_writable(self) -> None:
        for failover in self.results.failovers:
            ends = [
                operation.end_ms
                for operation in self.history.operations
                if operation.node == failover.promoted and operation.writes and operation.status is OK
                and operation.end_ms is not None and operation.invoke_ms >= failover.promoted_at_ms
            ]  # fmt: skip
            failover.writable_at_ms = min(ends, default=None)
        self.observer.events.sort(key=lambda event: event.at_ms)

    # Watching the nodes.

    def _sample(self) -> None:
        at_ms = self.at()
        for node, view in self.observer.views.items():
            if node not in self.upstream:
                self._sample_sentinel(node, at_ms)
                continue
            if not view.running or node in self._sampling:
                if view.dark:
                    self.observer.silent(node, "silence", at_ms)
                continue
            seen = self.stage.look(node)
            if seen is not None:
                self.observer.answered(node, seen, at_ms, at_ms)
                continue
            self._sampling[node] = {}
            self.observer.asked(node, at_ms)
            for section in ("replication", "stats"):
                self._samples[self._next_tag] = (node, section, at_ms)
                self.put(Ask(self._next_tag, node, ("INFO", section), SAMPLE_TIMEOUT_MS, self.directory.password))
                self._next_tag += 1

    def _sample_sentinel(self, name: str, at_ms: int) -> None:
        """Whether a Sentinel answers; what it thinks is in its log."""
        view = self.view(name)
        if not view.running or view.stopped or name in self._sampling:
            return
        self._sampling[name] = {}
        reply = self.ask_later(name, ("PING",), SAMPLE_TIMEOUT_MS, lambda: answered())

        def answered() -> None:
            self._sampling.pop(name, None)
            assert reply.answer is not None
            if not reply.answer.error:
                self.observer.reachable(name, at_ms)

    def _sampled(self, answer: Answer) -> None:
        node, section, sent_ms = self._samples.pop(answer.tag)
        gathered = self._sampling.get(node, {})
        if section == "stats":
            self._sampling.pop(node, None)
        if answer.error or not isinstance(answer.value, bytes):
            if self.view(node).running:
                self.observer.silent(node, answer.error, self.at())
            return
        gathered.update(parse_info(answer.value))
        if section == "stats" and "role" in gathered and self.view(node).running:
            self.observer.answered(node, seen_by(gathered), sent_ms, self.at())

    def _ended(self, node: str, how: str) -> None:
        view = self.view(node)
        view.running, view.ended = False, True
        self.record("node.ended", node, f"{node}'s process has ended ({how})", 1, how=how)
        self.observer.silent(node, "silence" if view.dark else "connection refused", self.at())

    # Failovers.

    def promoted(self, promotion: Promotion) -> None:
        """Notes a promotion with what led to it."""
        self.history.promoted(promotion)
        failover = Failover(promotion.before, promotion.node, promotion.at_ms)
        fault = self._fault_before(promotion)
        failover.detected_at_ms = promotion.at_ms
        if fault is not None:
            failover.fault, failover.fault_at_ms = f"{fault.kind} {fault.node.replace('|', ' <-> ')}", fault.at_ms
            signs = [
                event.at_ms
                for event in self.observer.events
                if event.at_ms >= fault.at_ms and (
                    (event.kind == "node.down" and event.node == promotion.before)
                    or (event.kind == "link.down" and event.fields.get("upstream") == promotion.before)
                )
            ]  # fmt: skip
            failover.detected_at_ms = min([*signs, promotion.at_ms])
        self.results.failovers.append(failover)
        self._unwritten = failover

    def _fault_before(self, promotion: Promotion) -> Milestone | None:
        since = max((one.promoted_at_ms for one in self.results.failovers), default=-1)
        kinds = ("kill", "power-loss", "stop", "shutdown", "cut")
        for milestone in reversed(self.history.milestones):
            concerns = promotion.before in milestone.node.split("|")
            if milestone.kind in kinds and concerns and since <= milestone.at_ms <= promotion.at_ms:
                return milestone
        return None
