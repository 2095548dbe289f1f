"""Looks for the traces of recorded writes in one node, and judges them as they stand now."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from typing import Any

from replicator.scenario.play.player import Player
from replicator.scenario.verdict.durability import LostWrite, Verdict, check
from replicator.scenario.verdict.history import History, Operation, ReadBack
from replicator.testing.record import GONE, Place, Recorder, score_text, text_of
from replicator.testing.ward import Doing

_READ_MS = 10_000


class Unreadable(Exception):
    """The node does not answer what it is asked; the text says which node and why."""


class LostWrites(list[LostWrite]):
    """Acknowledged writes that are gone. Shown with their reasons, a line each."""

    def __repr__(self) -> str:
        return f"{len(self)} lost" + "".join(f"\n  {one.told()}" for one in self)


def look(player: Player, node: str, places: Iterable[Place]) -> Doing:
    """An order: what the node holds of these places, as a ReadBack."""
    found = ReadBack(node)
    for place in places:
        argv = tuple(_word(word) for word in place.find)
        answer = yield from player.ask(node, argv, _READ_MS)
        # What is of another type now holds nothing of what was written there.
        if answer.error and not answer.error.startswith("WRONGTYPE"):
            raise Unreadable(f"{node} cannot be read back: {answer.error}")
        value: Any = None if answer.error else answer.value
        if place.kind == "rpush":
            found.lists[place.name] = [text_of(element) for element in value or ()]
        elif place.kind == "incr":
            found.counters[place.name] = int(value or 0)
        elif value is None or (place.find[0] == "SISMEMBER" and not value):
            found.registers[place.name] = None
        else:
            ask = place.find[0]
            found.registers[place.name] = "1" if ask == "SISMEMBER" else (
                score_text(value) if ask == "ZSCORE" else text_of(value)
            )  # fmt: skip
    return found


def _word(word: Any) -> str:
    """As the player's questions take words. Bytes that are no text cannot be asked for by them."""
    if isinstance(word, bytes):
        return word.decode("utf-8", "surrogateescape")
    return str(word)


def judge(history: History, recorder: Recorder, read_back: ReadBack) -> Verdict:
    """What the history comes to, if nothing more happened. It stays open itself."""
    now = copy(history)
    judged = [one for one in history.operations if _key(recorder, one) not in recorder.unjudged]
    moments = [promotion.at_ms for promotion in history.promotions]
    counted = sorted(
        (one for one in judged if one.kind == "incr"),
        key=lambda one: (sum(at_ms <= one.invoke_ms for at_ms in moments), one.result or 0),
    )
    # Answers of several clients come in another order than the server gave them; a count tells which was first.
    now.operations = [one for one in judged if one.kind != "incr"] + counted
    deleted = {one.key for one in judged if one.value == GONE}
    registers = {
        name: GONE if value is None and name in deleted else value for name, value in read_back.registers.items()
    }
    now.read_backs = [ReadBack(read_back.node, registers, read_back.lists, read_back.counters)]
    now.primary = read_back.node
    return check(now)


def _key(recorder: Recorder, operation: Operation) -> str:
    place = recorder.found.get((operation.kind, operation.key))
    return operation.key if place is None else place.key
