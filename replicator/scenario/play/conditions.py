"""When a condition of a script holds, by what the player has seen since the step before was done."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from replicator.scenario.play.observe import SILENT_MS
from replicator.scenario.script.script import Condition, LogLine
from replicator.scenario.verdict.history import Status

if TYPE_CHECKING:
    from replicator.scenario.play.player import Player


def holds(condition: Condition, player: Player, since_ms: int) -> bool:
    """since_ms: when the step before was done (time of the play); only what was seen after it counts."""
    return not missing(condition, player, since_ms)


def of_clients(condition: Condition) -> bool:
    """Whether it looks at the clients' writes."""
    return condition.acknowledged is not None or condition.writable is not None


def missing(condition: Condition, player: Player, since_ms: int) -> str:
    """What does not hold yet, in words; "" if all does."""
    lasting = condition.lasting
    checks: list[tuple[bool, str]] = []
    if condition.synced is not None:
        for node in _replicas(condition.synced, player):
            checks.append((player.synced(node, since_ms), f"{node} is not in sync"))
    if condition.link is not None:
        node, state = condition.link.node, condition.link.state
        view = player.observer.views[node]
        known = view.sent_ms >= since_ms and view.role == "replica"
        checks.append((known and view.link_up == (state == "up"), f"the link of {node} is not {state}"))
    if condition.offsets_equal is not None:
        names = condition.offsets_equal
        nodes = player.live() if isinstance(names, str) else names
        views = [player.observer.views[node] for node in nodes]
        fresh = all(view.answers and view.sent_ms >= since_ms for view in views)
        equal = len({(view.replid, view.offset) for view in views}) == 1
        checks.append((fresh and equal, f"the offsets of {', '.join(nodes)} differ"))
    if condition.role is not None:
        node, role = condition.role.node, condition.role.role
        view = player.observer.views[node]
        checks.append((view.sent_ms >= since_ms and view.role == role, f"{node} is not a {role}"))
    if condition.acknowledged is not None:
        count = player.history.acknowledged
        checks.append((count >= condition.acknowledged, f"{count} of {condition.acknowledged} writes are acknowledged"))
    if condition.down is not None:
        node = player.named(condition.down)
        since = player.observer.views[node].unanswered_since
        gone = since is not None and player.at() - since >= (SILENT_MS if lasting is None else lasting)
        checks.append((gone, f"{node} still answers"))
    if condition.up is not None:
        node = player.named(condition.up)
        view = player.observer.views[node]
        checks.append((view.answers and view.sent_ms >= since_ms, f"{node} does not answer"))
    if condition.log is not None:
        checks.append((logged(condition.log, player, since_ms), f"{condition.log.node} has not logged it"))
    if condition.event is not None:
        checks.append((_happened(condition, player, since_ms), f"no event {condition.event.kind}"))
    if condition.behind is not None:
        node, wanted = condition.behind.node, condition.behind.by
        distance = player.distance(node)
        checks.append((distance is not None and distance >= wanted, f"{node} is {distance} bytes behind"))
    if condition.writable is not None:
        last = player.history.last_ok
        written = last is not None and last.node == player.directory.primary and last.invoke_ms >= since_ms
        checks.append((written == condition.writable, "no write was acknowledged"))
        assert last is None or last.status is Status.OK
    return "; ".join(text for held, text in checks if not held)


def logged(wanted: LogLine, player: Player, since_ms: int) -> bool:
    for at_ms, node, line in reversed(player.observer.lines):
        if at_ms < since_ms:
            return False
        if node == wanted.node and _matches(wanted, line):
            return True
    return False


def _matches(wanted: LogLine, line: str) -> bool:
    if wanted.contains is not None:
        return wanted.contains in line
    return re.search(wanted.matches or "", line) is not None


def _replicas(synced: str | list[str] | bool, player: Player) -> list[str]:
    if isinstance(synced, list):
        return synced
    if isinstance(synced, str) and synced != "all":
        return [synced]
    return player.followers()


def _happened(condition: Condition, player: Player, since_ms: int) -> bool:
    wanted = condition.event
    assert wanted is not None
    for event in player.observer.events:
        if event.at_ms < since_ms:
            continue
        same_kind = event.kind == wanted.kind or event.kind.startswith(wanted.kind + ".")
        if same_kind and wanted.node in (None, event.node):
            return True
    return False
