"""Reads back what the clients wrote, from one node."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from replicator.scenario.history import ReadBack
from replicator.scenario.waiting import Wait
from replicator.scenario.workload import unpadded

if TYPE_CHECKING:
    from replicator.scenario.play import Player

KEYS_AT_ONCE = 500
ELEMENTS_AT_ONCE = 2000
READ_TIMEOUT_MS = 10_000


def read_back(player: Player, node: str) -> Generator[Wait, bool, ReadBack | None]:
    """None if the node stops answering meanwhile."""
    keys: dict[str, dict[str, None]] = {"set": {}, "rpush": {}, "incr": {}}
    for operation in player.history.operations:
        if operation.kind in keys:
            keys[operation.kind][operation.key] = None
    found = ReadBack(node)
    registers, counters = list(keys["set"]), list(keys["incr"])
    for names, put in ((registers, _put_register), (counters, _put_counter)):
        for start in range(0, len(names), KEYS_AT_ONCE):
            some = names[start : start + KEYS_AT_ONCE]
            answer = yield from player.ask(node, ("MGET", *some), READ_TIMEOUT_MS)
            if answer.error or not isinstance(answer.value, list):
                _unreadable(player, node, answer.error)
                return None
            for name, value in zip(some, answer.value, strict=True):
                put(found, name, value)
    for name in keys["rpush"]:
        elements: list[str] = []
        while True:
            first, last = str(len(elements)), str(len(elements) + ELEMENTS_AT_ONCE - 1)
            answer = yield from player.ask(node, ("LRANGE", name, first, last), READ_TIMEOUT_MS)
            if answer.error or not isinstance(answer.value, list):
                _unreadable(player, node, answer.error)
                return None
            elements.extend(unpadded(_text(value)) for value in answer.value)
            if len(answer.value) < ELEMENTS_AT_ONCE:
                break
        found.lists[name] = elements
    return found


def _unreadable(player: Player, node: str, error: str) -> None:
    player.record("play.unreadable", node, f"{node} cannot be read back: {error}", 2)


def _put_register(found: ReadBack, name: str, value: Any) -> None:
    found.registers[name] = None if value is None else unpadded(_text(value))


def _put_counter(found: ReadBack, name: str, value: Any) -> None:
    found.counters[name] = 0 if value is None else int(value)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
