"""What each action of a step does: a generator that yields what it waits for and returns what went wrong ("":
nothing)."""

from __future__ import annotations

import shlex
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from replicator.scenario.play.observe import parse_info
from replicator.scenario.play.stage import (
    PASS,
    Answer,
    ContinueNode,
    EndNode,
    KillNode,
    Rule,
    SetRule,
    StopNode,
)
from replicator.scenario.play.waiting import Wait
from replicator.scenario.script.script import (
    Between,
    Cut,
    Delay,
    Kill,
    Promote,
    Repoint,
    Restart,
    RunCommand,
    SetConfig,
    Step,
    Throttle,
    action_of,
    shown,
)
from replicator.scenario.script.units import human_bytes, human_ms
from replicator.scenario.verdict.history import Promotion

if TYPE_CHECKING:
    from replicator.scenario.play.player import Player

    Doing = Generator[Wait, bool, str]

END_MS = 12_000
BEST_WITHIN_MS = 400


def words(text: str) -> tuple[str, ...]:
    """A directive's value as separate arguments: 'replica 1mb 1mb 60' is four, "" is one empty one."""
    return tuple(shlex.split(text)) or ("",)


def describe(step: Step) -> str:
    """A step in a few words, for the timeline."""
    name, action = action_of(step)
    match action:
        case str():
            word = {"go_on": "continue", "load": "load:", "note": ""}.get(name, name)
            return f"{word} {action}".strip()
        case Cut(between=between, mode=mode):
            return f"cut {' and '.join(between)} ({mode})"
        case Between(between=between):
            return f"heal {' and '.join(between)}"
        case Delay(between=between, delay=delay):
            return f"delay between {' and '.join(between)}: {human_ms(delay)}"
        case Throttle(between=between, rate=rate):
            return f"throttle {' and '.join(between)} to {human_bytes(rate)}/s"
        case RunCommand(argv=argv):
            return f"command {' '.join(str(one) for one in argv)}"
        case Kill() | Restart() | Promote():
            return f"{name} {action.node}"
        case Repoint(nodes=nodes):
            return f"repoint {nodes if isinstance(nodes, str) else ', '.join(nodes)}"
        case SetConfig():
            return "config " + " ".join(f"{key} {shown(value)}" for key, value in action.set.items())
        case list():
            return f"{name} {', '.join(action)}"
        case _:
            return name


def carry_out(player: Player, name: str, action: Any, step: Step, since_ms: int) -> Doing:
    """Dispatches to the action of that name."""
    match name:
        case "wait":
            missing = yield from player.until(step, action, player.at())
            return f"after {human_ms(step.within)} still: {missing}" if missing else ""
        case "note":
            player.record("note", "", action, 1)
        case "load":
            player.load({"resume": "run"}.get(action, action))
            player.record("load", "", f"load: {action}", 1)
        case "kill":
            return (yield from _kill(player, Kill(action) if isinstance(action, str) else action))
        case "stop" | "go_on":
            return _stop_or_go_on(player, name, action)
        case "shutdown":
            player.fault("shutdown", action, f"{action} is asked to shut down (SIGTERM)")
            return (yield from _end(player, action))
        case "restart":
            return (yield from _restart(player, Restart(action) if isinstance(action, str) else action))
        case "cut" | "heal" | "delay" | "throttle":
            _change_links(player, name, action)
        case "promote":
            return (yield from _promote(player, Promote(action) if isinstance(action, str) else action))
        case "repoint":
            return (yield from _repoint(player, action if isinstance(action, Repoint) else Repoint(action)))
        case "config":
            return (yield from _config(player, action))
        case "command":
            return (yield from _command(player, action))
        case _:
            raise AssertionError(name)
    return ""


# Processes.


def _kill(player: Player, action: Kill) -> Doing:
    node = action.node
    if not player.view(node).running:
        return f"{node} does not run"
    kind = "power-loss" if action.power_loss else "kill"
    text = f"{node}'s machine loses power" if action.power_loss else f"{node} is killed (SIGKILL)"
    distances = ", ".join(
        f"{other} is {human_bytes(max(0, behind))} behind"
        for other in player.followers()
        if node == player.directory.primary and (behind := player.distance(other)) is not None
    )
    player.fault(kind, node, text + (f"; {distances}" if distances else ""))
    player.put(KillNode(node, action.power_loss))
    player.view(node).stopped, player.view(node).dark = False, action.power_loss
    yield _until_ended(player, node)
    return ""


def _stop_or_go_on(player: Player, name: str, node: str) -> str:
    view = player.view(node)
    if not view.running:
        return f"{node} does not run"
    if name == "stop":
        view.stopped = True
        player.fault("stop", node, f"{node} stands still (SIGSTOP)")
        player.put(StopNode(node))
    else:
        view.stopped = False
        player.fault("continue", node, f"{node} goes on (SIGCONT), unaware of what happened")
        player.put(ContinueNode(node))
    return ""


def _until_ended(player: Player, node: str) -> Wait:
    return Wait(lambda: player.view(node).ended, player.now_ms + END_MS)


def _end(player: Player, node: str) -> Doing:
    if not player.view(node).running:
        return f"{node} does not run"
    player.put(EndNode(node))
    held = yield _until_ended(player, node)
    return "" if held else f"{node} has not ended within {human_ms(END_MS)}"


def _restart(player: Player, action: Restart) -> Doing:
    node = action.node
    if player.view(node).running:
        problem = yield from _end(player, node)
        if problem:
            return problem
    if action.replica_of is not None:
        target = player.named(action.replica_of)
        player.upstream[node] = None if target in ("none", node) else target
        player.watchers.own.pop(node, None)
    wipe = action.data == "wipe"
    upstream = player.watchers.own.get(node, player.upstream.get(node))
    how = f"as a replica of {upstream}" if upstream else "as a primary" if node in player.upstream else "again"
    player.fault("wipe" if wipe else "restart", node, f"{node} is started {'with no data ' if wipe else ''}{how}")
    player.start(node, wipe)
    return ""


# Links.


def parties(player: Player, name: str, other_than: str) -> list[str]:
    """The parties that a word of a script stands for."""
    nodes = [node for node in player.script.parties() if node != other_than]
    clients = player.script.client_names()
    groups = {
        group.name: [f"{group.name}{number + 1}" for number in range(group.clients)]
        for group in player.script.workloads
    }
    match name:
        case "others":
            return nodes
        case "clients":
            return clients
        case "everyone":
            return nodes + clients
    return groups.get(name, [name])


def rule_between(player: Player, source: str, target: str) -> Rule:
    return player.rules.get((source, target), PASS)


def set_rule(player: Player, source: str, target: str, rule: Rule) -> None:
    player.rules[(source, target)] = rule
    player.put(SetRule(source, target, rule))


def _change_links(player: Player, name: str, action: Any) -> None:
    if action == "all":
        player.heal_all()
        player.record("heal", "", "all links are healed", 2)
        return
    first, second = action.between
    towards = "both"
    if action.direction != "both":
        source = action.direction.split("->")[0].strip()
        towards = "out" if source == first else "in"
    arrow = {"both": "<->", "out": "->", "in": "<-"}[towards]
    for one in parties(player, first, second):
        for other in parties(player, second, first):
            if one == other:
                continue
            if towards in ("both", "out"):
                set_rule(player, one, other, _changed(rule_between(player, one, other), name, action))
            if towards in ("both", "in"):
                set_rule(player, other, one, _changed(rule_between(player, other, one), name, action))
    label = f"{first} {arrow} {second}"
    match action:
        case Cut(mode=mode):
            player.fault("cut", f"{first}|{second}", f"{label} cut ({mode})", between=label)
        case Delay(delay=delay, jitter=jitter):
            more = f" to {human_ms(delay + jitter)}" if jitter else ""
            player.record("link.delay", "", f"{label} delayed by {human_ms(delay)}{more}", 1, between=label)
        case Throttle(rate=rate):
            text = f"{label} carries {human_bytes(rate)}/s at most" if rate else f"{label} is not throttled any more"
            player.record("link.throttle", "", text, 1, between=label)
        case _:
            player.record("heal", "", f"{label} healed", 2, between=label)


def _changed(rule: Rule, name: str, action: Any) -> Rule:
    match name:
        case "cut":
            return Rule(action.mode, rule.delay_ms, rule.jitter_ms, rule.rate)
        case "heal":
            return PASS
        case "delay":
            return Rule(rule.mode, action.delay, action.jitter, rule.rate)
        case _:
            return Rule(rule.mode, rule.delay_ms, rule.jitter_ms, action.rate)


# Roles.


def _promote(player: Player, action: Promote) -> Doing:
    before = player.directory.primary
    standing: dict[str, int] = {}
    asked = {
        node: player.ask_later(node, ("INFO", "replication"), BEST_WITHIN_MS)
        for node in player.live()
        if node != before and (node == action.node or action.among is None or node in action.among)
    }
    yield Wait(lambda: all(reply.answer is not None for reply in asked.values()))
    for node, reply in asked.items():
        info = _info(reply.answer)
        if info.get("role") == "slave" or node == action.node:
            standing[node] = int(info.get("master_repl_offset", 0)) if info else -1
    if action.node == "best":
        reachable = {node: offset for node, offset in standing.items() if offset >= 0}
        if not reachable:
            return "no replica is reachable"
        chosen = max(reachable, key=lambda node: reachable[node])
    else:
        chosen = action.node
        if chosen == before:
            return f"{chosen} is the primary already"
    answer = yield from player.ask(chosen, ("REPLICAOF", "NO", "ONE"))
    if answer.error:
        return f"{chosen} refuses to become primary: {answer.error}"
    after = yield from player.ask(chosen, ("INFO", "replication"))
    info = _info(after)
    offset = int(info.get("second_repl_offset", 0)) - 1
    if offset < 0:
        offset = standing.get(chosen, 0)
    others = {node: stood for node, stood in standing.items() if node != chosen and stood >= 0}
    player.upstream[chosen] = None
    if action.announce:
        player.directory.primary = chosen
        player.load(player.directory.load)
    promotion = Promotion(player.at(), chosen, before, offset, info.get("master_replid", ""), others)
    reason = f"at offset {offset}" + (f" (others: {_listed(others)})" if others else "")
    player.record("promote", chosen, f"{chosen} is promoted {reason}", 2, offset=offset, others=others, before=before)
    player.promoted(promotion)
    return ""


def _listed(offsets: dict[str, int]) -> str:
    return ", ".join(f"{node} {offset}" for node, offset in offsets.items())


def _info(answer: Answer | None) -> dict[str, str]:
    return parse_info(answer.value) if answer is not None and isinstance(answer.value, bytes) else {}


def _repoint(player: Player, action: Repoint) -> Doing:
    target = player.named(action.to)
    if action.nodes == "others":
        nodes = [
            node for node in player.live() if node not in (target, *player.followers()) and player.view(node).answers
        ]
    else:
        nodes = [action.nodes] if isinstance(action.nodes, str) else list(action.nodes)
    host, port = player.stage.address(target)
    problems: list[str] = []
    for node in nodes:
        answer = yield from player.ask(node, ("REPLICAOF", host, str(port)))
        if answer.error:
            problems.append(f"{node} does not follow: {answer.error}")
            continue
        player.upstream[node] = target
        player.fault("repoint", node, f"{node} is told to replicate {target}", to=target)
    return "; ".join(problems)


# Configuration and commands.


def _config(player: Player, action: SetConfig) -> Doing:
    names = [action.node] if isinstance(action.node, str) else action.node
    nodes = player.live() if names == ["all"] else [player.named(name) for name in names]
    problems: list[str] = []
    for node in nodes:
        for name, value in action.set.items():
            answer = yield from player.ask(node, ("CONFIG", "SET", name, shown(value)))
            if answer.error:
                problems.append(f"{node}: {answer.error}")
    told = " ".join(f"{name} {shown(value)}" for name, value in action.set.items())
    player.record("config", nodes[0] if len(nodes) == 1 else "", f"{', '.join(nodes)}: {told}", 1)
    return "; ".join(problems)


def _command(player: Player, action: RunCommand) -> Doing:
    node = player.named(action.node)
    argv = tuple(shown(one) for one in action.argv)
    text = " ".join(argv)
    if action.background:
        player.history.milestone(player.at(), argv[0].upper(), node)
        player.ask_later(node, argv, 60_000)
        player.record("command", node, f"{node}: {text}", 1)
        return ""
    answer = yield from player.ask(node, argv, 10_000)
    player.history.milestone(player.at(), argv[0].upper(), node)
    said = answer.error or _shown(answer.value)
    player.record("command", node, f"{node}: {text} -> {said[:200]}", 1)
    if action.expect is not None:
        return "" if action.expect in said else f"{text} answered {said[:200]!r}, not {action.expect!r}"
    return answer.error


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list):
        return "[" + ", ".join(_shown(one) for one in value) + "]"
    return "nil" if value is None else str(value)
