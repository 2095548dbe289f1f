"""The operations of a Jepsen history, each with its end: what a client asked for, and how that went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from replicator.scenario.verdict.jepsen.edn import EdnError, Word, hashable

KINDS = ("invoke", "ok", "fail", "info")


@dataclass(slots=True)
class Pair:
    """An invocation and how it ended ("ok", "fail", "info"); completed: the ending operation's value.

    begin, end: places in the history. end None: nobody knows when, if ever. begin -1: nobody knows.
    """

    process: Any
    f: str
    value: Any
    begin: int
    how: str = "info"
    end: int | None = None
    completed: Any = None


def paired(values: list[Any]) -> list[Pair]:
    """Invocations with their ends, in the order of the invocations. What no client did (:nemesis) is left out.

    An end without a process is a whole operation of which nobody knows when it ran, as Elle's examples have them.
    Raises EdnError, which names the entry.
    """
    found: list[Pair] = []
    open_: dict[Any, Pair] = {}
    for place, operation in enumerate(values):
        if not isinstance(operation, dict) or ":type" not in operation:
            raise EdnError(f"entry {place + 1} is no operation (a map with :type)")
        kind = str(operation[":type"]).lstrip(":")
        if kind not in KINDS:
            raise EdnError(f"entry {place + 1}: :type {operation[':type']} is none of :invoke, :ok, :fail, :info")
        process, f, value = hashable(operation.get(":process")), str(operation.get(":f")), operation.get(":value")
        if isinstance(process, Word):
            continue
        if process is None:
            if kind == "invoke":
                raise EdnError(f"entry {place + 1} begins an operation and has no :process")
            found.append(Pair(None, f, value, -1, kind, None, value))
        elif kind == "invoke":
            if process in open_:
                raise EdnError(f"entry {place + 1}: process {process} begins anew before its last operation has ended")
            pair = open_[process] = Pair(process, f, value, place)
            found.append(pair)
        elif process in open_:
            pair = open_.pop(process)
            pair.how, pair.completed = kind, value
            if kind != "info":
                pair.end = place
        elif kind != "info":
            raise EdnError(f"entry {place + 1} ends what process {process} has not begun")
    return found
