"""The player as a machine, on a stage without processes, sockets and clock: what it asks for, when, and what it
concludes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from replicator.core.events import Started
from replicator.core.now import Now
from replicator.scenario.play.player import Player
from replicator.scenario.play.stage import (
    Answer,
    Ask,
    ContinueNode,
    EndNode,
    KillNode,
    LogLine,
    NodeEnded,
    Request,
    SetRule,
    StageError,
    StartClient,
    StartNode,
    StopNode,
    WakeClients,
)
from replicator.scenario.script.load import loads
from replicator.scenario.script.script import Script
from replicator.scenario.verdict import expect
from replicator.scenario.verdict.history import History
from replicator.scenario.verdict.outcome import Outcome, outcome_of

HEAD = 'title = "t"\nabout = "a"\n[topology]\nreplicas = 2\n[workload]\nclients = 1\n'


class Node:
    """What a node of this stage answers; offsets are set by the tests."""

    def __init__(self) -> None:
        self.running = self.stopped = False
        self.upstream: str | None = None
        self.link = "up"
        self.offset = 100
        self.replid = "1" * 40
        self.second = -1
        self.digest = b"d" * 40


class FakeStage:
    """Virtual time in steps of a millisecond; answers come one millisecond after the question."""

    on, engine, seed, sample_ms = "sim", "fake", 0, 25

    def __init__(self, script: Script) -> None:
        self.nodes = {node: Node() for node in script.upstreams()}
        self.requests: list[tuple[int, Request]] = []
        self.mono_ms = 1000
        self.due: list[tuple[int, Any]] = []
        self.at: dict[int, Callable[[], None]] = {}
        self.clients: list[Any] = []

    def address(self, node: str) -> tuple[str, int]:
        return f"10.0.0.{list(self.nodes).index(node) + 1}", 7001

    def source(self, client: str) -> str:
        return ""

    def directives(self, node: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return (("port", ("7001",)),)

    def now_ms(self) -> int:
        return self.mono_ms

    def look(self, node: str) -> None:
        return None

    def settled(self) -> bool:
        return True

    def details(self) -> dict[str, Any]:
        return {"trace_hash": "none"}

    def play(self, player: Player) -> None:
        self.player = player
        self._carry_out(player.begin(self._now()))
        while not player.finished:
            assert self.mono_ms < 200_000, "the play does not end"
            self.mono_ms += 1
            began = player._zero
            if began is not None and (act := self.at.pop(self.mono_ms - began, None)):
                act()
            ready = [report for ms, report in self.due if ms <= self.mono_ms]
            self.due = [one for one in self.due if one[0] > self.mono_ms]
            for report in ready:
                self._carry_out(player.handle(report, self._now()))
            deadline = player.deadline_ms()
            if deadline is not None and self.mono_ms >= deadline:
                self._carry_out(player.advance(self._now()))

    def tell(self, report: Any, after_ms: int = 1) -> None:
        self.due.append((self.mono_ms + after_ms, report))

    def _now(self) -> Now:
        return Now(self.mono_ms, self.mono_ms)

    def _carry_out(self, requests: list[Request]) -> None:
        for request in requests:
            self.requests.append((self.mono_ms, request))
            match request:
                case StartNode(node=node, directives=directives):
                    self.nodes[node].running, self.nodes[node].stopped = True, False
                    host = dict(directives).get("replicaof", ("",))[0]
                    self.nodes[node].upstream = next((n for n in self.nodes if self.address(n)[0] == host), None)
                case KillNode(node=node) | EndNode(node=node):
                    self.nodes[node].running = False
                    self.tell(NodeEnded(node, "signal 9"))
                case StopNode(node=node):
                    self.nodes[node].stopped = True
                case ContinueNode(node=node):
                    self.nodes[node].stopped = False
                case Ask():
                    self._ask(request)
                case StartClient(client=client):
                    self.clients.append(client)
                    client.handle(Started(), self._now())
                case SetRule() | WakeClients():
                    pass

    def _ask(self, ask: Ask) -> None:
        node = self.nodes[ask.node]
        if not node.running:
            self.tell(Answer(ask.tag, None, "connection refused"))
        elif node.stopped:
            self.tell(Answer(ask.tag, None, f"no answer within {ask.timeout_ms} ms"), ask.timeout_ms)
        else:
            self.tell(self._answer(ask, node))

    def _answer(self, ask: Ask, node: Node) -> Answer:
        match ask.argv:
            case ("INFO", "replication"):
                role = "slave" if node.upstream else "master"
                fields = {"role": role, "master_replid": node.replid, "master_repl_offset": node.offset}
                if node.upstream:
                    host, port = self.address(node.upstream)
                    fields |= {"master_host": host, "master_port": port, "master_link_status": node.link}
                else:
                    fields["second_repl_offset"] = node.second
                text = "# Replication\r\n" + "".join(f"{name}:{value}\r\n" for name, value in fields.items())
                return Answer(ask.tag, text.encode())
            case ("INFO", _):
                return Answer(ask.tag, b"sync_full:0\r\nredis_version:7.0.0\r\n")
            case ("REPLICAOF", "NO", "ONE"):
                node.upstream, node.second, node.replid = None, node.offset + 1, "2" * 40
                return Answer(ask.tag, b"OK")
            case ("REPLICAOF", host, _):
                node.upstream = next(n for n in self.nodes if self.address(n)[0] == host)
                node.replid, node.offset = self.nodes[node.upstream].replid, self.nodes[node.upstream].offset
                return Answer(ask.tag, b"OK")
            case ("DEBUG", "DIGEST"):
                return Answer(ask.tag, node.digest)
            case ("CONFIG", "SET", "hz", _):
                return Answer(ask.tag, None, "ERR no such thing", True)
            case ("MGET", *keys):
                return Answer(ask.tag, [None] * len(keys))
            case _:
                return Answer(ask.tag, b"OK")


def play(steps: str, prepare: Callable[[FakeStage], None] | None = None) -> tuple[FakeStage, Player, Outcome]:
    script, _ = loads(HEAD + steps)
    stage = FakeStage(script)
    if prepare is not None:
        prepare(stage)
    player = Player(script, stage, History(), 0)
    stage.play(player)
    outcome = outcome_of(player, stage, "")
    expect.judge([outcome])
    return stage, player, outcome


def said(stage: FakeStage, kind: type) -> list[Any]:
    return [request for _, request in stage.requests if isinstance(request, kind)]


def asked(stage: FakeStage, name: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(one.node, one.argv) for one in said(stage, Ask) if one.argv[0] == name]


def test_nodes_start_in_the_order_of_the_topology_with_their_directives() -> None:
    stage, _, outcome = play('[config]\nsave = "900 1"\n[[steps]]\nnote = "x"\n')
    starts = said(stage, StartNode)
    assert [one.node for one in starts] == ["a", "b", "c"]
    assert dict(starts[1].directives)["replicaof"] == ("10.0.0.1", "7001")
    assert dict(starts[0].directives)["save"] == ("900", "1") and "replicaof" not in dict(starts[0].directives)
    assert outcome.converged and outcome.ok


def test_at_and_after_are_kept_to_the_millisecond() -> None:
    _, player, _ = play('[[steps]]\nat = "700ms"\nnote = "x"\n[[steps]]\nafter = "250ms"\nnote = "y"\n')
    assert [step.at_ms for step in player.results.steps] == [700, 950]


def test_a_crash_is_detected_and_the_best_replica_promoted() -> None:
    def prepare(stage: FakeStage) -> None:
        stage.at[400] = lambda: setattr(stage.nodes["b"], "offset", 170)
        stage.at[401] = lambda: setattr(stage.nodes["c"], "offset", 190)

    stage, player, outcome = play(
        '[[steps]]\nat = "500ms"\nkill = "a"\n[[steps]]\nwhen = { down = "a", for = "300ms" }\npromote = "best"\n'
        '[[steps]]\nrepoint = "others"\n[[expect]]\npromoted = "c"\n',
        prepare,
    )
    assert asked(stage, "REPLICAOF") == [("c", ("REPLICAOF", "NO", "ONE")), ("b", ("REPLICAOF", "10.0.0.3", "7001"))]
    (promotion,) = player.history.promotions
    assert (promotion.node, promotion.before, promotion.offset, promotion.others) == ("c", "a", 190, {"b": 170})
    (failover,) = outcome.failovers
    assert (failover.fault, failover.fault_at_ms) == ("kill a", 500)
    assert failover.detected_at_ms is not None and 500 <= failover.detected_at_ms <= 510
    assert 800 <= failover.promoted_at_ms <= 830 and failover.writable_at_ms is None
    assert player.directory.primary == "c" and outcome.ok
    assert outcome.nodes == {"a": "down", "b": "replica", "c": "primary"}


def test_best_may_be_limited_to_some() -> None:
    def prepare(stage: FakeStage) -> None:
        stage.nodes["c"].offset = 900

    _, player, _ = play('[[steps]]\npromote = { node = "best", among = ["b"] }\n', prepare)
    assert player.history.promotions[0].node == "b"


def test_a_condition_that_never_holds_fails_the_play_and_says_what_is_missing() -> None:
    _, _, outcome = play('[[steps]]\nwhen = { down = "a" }\nwithin = "1s"\npromote = "b"\n[[steps]]\nnote = "never"\n')
    assert not outcome.ok and len(outcome.steps) == 1
    assert "a still answers" in outcome.expectations[0].actual
    assert outcome.expectations[1].name == "all steps are played"


def test_a_wait_for_links_and_roles_ends_when_they_are_seen() -> None:
    def prepare(stage: FakeStage) -> None:
        stage.at[300] = lambda: setattr(stage.nodes["b"], "link", "down")
        stage.at[600] = lambda: setattr(stage.nodes["b"], "link", "up")

    _, player, outcome = play(
        '[[steps]]\nwait = { link = { node = "b", is = "down" } }\n[[steps]]\nwait = { synced = ["b"] }\n'
        '[[steps]]\nwait = { role = { node = "b", is = "replica" }, offsets_equal = "all", up = "a" }\n',
        prepare,
    )
    kinds = [event.kind for event in outcome.events if event.node == "b" and event.at_ms >= 0]
    assert kinds == ["link.down", "link.up"]
    assert 300 <= player.results.steps[1].at_ms <= 340 and outcome.ok
    assert 600 <= player.results.steps[2].at_ms <= 640


def test_a_stopped_node_counts_as_down_when_it_has_been_silent_long_enough() -> None:
    _, player, outcome = play(
        '[[steps]]\nat = "200ms"\nstop = "a"\n[[steps]]\nwhen = { down = "a", for = "400ms" }\npromote = "b"\n'
        '[[steps]]\ncontinue = "a"\n[[steps]]\nrepoint = { nodes = "a" }\n'
    )
    assert 600 <= player.history.promotions[0].at_ms <= 640
    assert outcome.failovers[0].fault == "stop a"
    assert outcome.nodes["a"] == "replica"


def test_links_are_ruled_pair_by_pair_and_healed_at_the_end() -> None:
    stage, _, _ = play(
        '[[steps]]\ncut = { between = ["a", "others"], direction = "a->others" }\n'
        '[[steps]]\ndelay = { between = ["a", "b"], delay = "30ms", jitter = "5ms" }\n'
        '[[steps]]\nthrottle = { between = ["b", "clients"], rate = "1kb", direction = "clients->b" }\n'
    )
    rules = [(one.source, one.target, one.rule) for one in said(stage, SetRule)]
    assert [(source, target, rule.mode) for source, target, rule in rules[:2]] == [
        ("a", "b", "blackhole"), ("a", "c", "blackhole"),
    ]  # fmt: skip
    assert (rules[2][2].mode, rules[2][2].delay_ms, rules[2][2].jitter_ms) == ("blackhole", 30, 5)
    assert rules[3][:2] == ("b", "a") and rules[3][2].mode == "pass"
    assert rules[4][:2] == ("app1", "b") and rules[4][2].rate == 1024
    last = {(source, target): rule for source, target, rule in rules}
    assert all(rule.mode == "pass" and not rule.delay_ms and not rule.rate for rule in last.values())


def test_log_lines_become_resynchronizations_with_their_reasons() -> None:
    lines = [
        "Replica 10.0.0.2:7001 asks for synchronization",
        "Full resync requested by replica 10.0.0.2:7001",
        "Replica 10.0.0.2:7001 asks for synchronization",
        "Unable to partial resync with replica 10.0.0.2:7001 for lack of backlog (Replica request was: 117394).",
        "Replica 10.0.0.3:7001 asks for synchronization",
        "Partial resynchronization not accepted: Replication ID mismatch (Replica asked for 'x', my IDs are 'y')",
        "Replica 10.0.0.3:7001 asks for synchronization",
        "Full resync requested by replica 10.0.0.3:7001",
        "Full resynchronization of 10.0.0.3:7001 because of offset before the backlog: asked for x:1",
        "Replica 10.0.0.3:7001 asks for synchronization",
        "Partial resynchronization request from 10.0.0.3:7001 accepted. "
        "Sending 42 bytes of backlog starting from offset 7.",
    ]

    def prepare(stage: FakeStage) -> None:
        for index, line in enumerate(lines):
            stage.at[100 + index] = lambda line=line: stage.tell(LogLine("a", line))  # type: ignore[misc]

    _, _, outcome = play(
        '[[steps]]\nwait = { event = { kind = "sync.partial", node = "c" } }\n[[steps]]\nat = "200ms"\nnote = "x"\n'
        '[[expect]]\nfull_syncs = 4\n[[expect]]\nnode = "c"\nfull_syncs = 2\n[[expect]]\npartial_syncs = 1\n'
        '[[expect]]\nlog = { node = "a", matches = "Sending \\\\d+ bytes" }\n',
        prepare,
    )
    assert outcome.ok, outcome.expectations
    reasons = [sync.reason for sync in outcome.synced("full")]
    assert "first synchronization" in reasons[0] and "117394" in reasons[1]
    assert "ID mismatch" in reasons[2] and reasons[3].startswith("offset before the backlog")
    assert outcome.synced("partial")[0].reason == "42 bytes of backlog from offset 7"


def test_same_offset_and_other_data_is_inconsistent() -> None:
    def prepare(stage: FakeStage) -> None:
        stage.nodes["c"].digest = b"e" * 40

    _, _, outcome = play(
        '[[steps]]\nnote = "x"\n[[expect]]\nconsistent = true\n[[expect]]\nequal_digests = ["a", "b"]\n', prepare
    )
    assert len(outcome.pairs) == 3 and not outcome.consistent
    assert [one.ok for one in outcome.expectations] == [False, True]


def test_an_action_that_fails_is_a_failed_expectation() -> None:
    _, _, outcome = play('[[steps]]\nconfig = { node = "a", set = { hz = 5 } }\n[[steps]]\ncontinue = "b"\n')
    assert not outcome.ok and "ERR no such thing" in outcome.expectations[0].actual


@pytest.mark.parametrize(
    ("setting", "limits"),
    [
        ("[config]\nmin-replicas-to-write = 1\n[[steps]]\nnote = 'x'\n", (1, 10)),
        ("[nodes.c.config]\nmin-slaves-max-lag = 20\n[[steps]]\nnote = 'x'\n", (0, 20)),
        ("[[steps]]\nconfig = { node = 'b', set = { min-replicas-to-write = 2 } }\n", (2, 10)),
    ],
)
def test_what_is_advised_goes_beyond_what_any_node_is_given(setting: str, limits: tuple[int, int]) -> None:
    _, player, _ = play(setting)
    assert (player.history.min_replicas, player.history.max_lag_s) == limits


def test_a_command_is_held_to_its_expected_reply() -> None:
    _, _, outcome = play('[[steps]]\ncommand = { node = "primary", argv = ["PING", 1], expect = "PONG" }\n')
    assert not outcome.ok and "'OK', not 'PONG'" in outcome.expectations[0].actual


def test_a_node_that_ends_while_it_starts_is_told_with_its_last_words() -> None:
    def prepare(stage: FakeStage) -> None:
        stage.tell(LogLine("a", "Failed listening on port 7001"))
        stage.tell(NodeEnded("a", "exit 1"))

    with pytest.raises(StageError, match="node a ended at once; its log ends: Failed listening on port 7001"):
        play('[[steps]]\nnote = "x"\n', prepare)


def test_nodes_that_follow_each_other_lead_to_no_primary() -> None:
    _, player, _ = play('[[steps]]\nnote = "x"\n')
    assert player.followers() == ["b", "c"]
    player.upstream.update(b="c", c="b")
    assert player.followers() == []
    player.upstream["c"] = "a"
    assert player.followers() == ["b", "c"]
    player.view("a").running = False
    assert player.followers() == []
