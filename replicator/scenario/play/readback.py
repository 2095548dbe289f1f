"""Reads back what the clients wrote, from one node."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from replicator.scenario.play.waiting import Wait
from replicator.scenario.play.workload import unpadded
from replicator.scenario.verdict.history import History, ReadBack

if TYPE_CHECKING:
    from replicator.scenario.play.player import Player

KEYS_AT_ONCE = 500
ELEMENTS_AT_ONCE = 2000
READ_TIMEOUT_MS = 10_000


def written(history: History) -> dict[str, list[str]]:
    """By kind of write, its keys in the order of their first use."""
    keys: dict[str, dict[str, None]] = {"set": {}, "rpush": {}, "incr": {}, "get": {}}
    for operation in history.operations:
        keys[operation.kind][operation.key] = None
    return {kind: list(names) for kind, names in keys.items()}


def read_back(player: Player, node: str, keys: dict[str, list[str]]) -> Generator[Wait, bool, ReadBack | None]:
    """What the node holds of these keys (written()); None if the node stops answering meanwhile."""
    found = ReadBack(node)
    # Clients write to database 0; a step's SELECT may have led the player's own connection elsewhere.
    answer = yield from player.ask(node, ("SELECT", "0"), READ_TIMEOUT_MS)
    if answer.error:
        _unreadable(player, node, answer.error)
        return None
    for kind in ("set", "incr"):
        names = keys[kind]
        for start in range(0, len(names), KEYS_AT_ONCE):
            some = names[start : start + KEYS_AT_ONCE]
            answer = yield from player.ask(node, ("MGET", *some), READ_TIMEOUT_MS)
            if answer.error or not isinstance(answer.value, list):
                _unreadable(player, node, answer.error)
                return None
            pairs = zip(some, answer.value, strict=True)
            if kind == "set":
                found.registers.update({name: None if value is None else _text(value) for name, value in pairs})
            else:
                found.counters.update({name: int(value or 0) for name, value in pairs})
    for name in keys["rpush"]:
        elements: list[str] = []
        while True:
            first, last = str(len(elements)), str(len(elements) + ELEMENTS_AT_ONCE - 1)
            answer = yield from player.ask(node, ("LRANGE", name, first, last), READ_TIMEOUT_MS)
            if answer.error or not isinstance(answer.value, list):
                _unreadable(player, node, answer.error)
                return None
            elements.extend(map(_text, answer.value))
            if len(answer.value) < ELEMENTS_AT_ONCE:
                break
        found.lists[name] = elements
    return found


def _unreadable(player: Player, node: str, error: str) -> None:
    player.record("play.unreadable", node, f"{node} cannot be read back: {error}", 2)


def _text(value: bytes) -> str:
    return unpadded(value.decode("utf-8", "replace"))
