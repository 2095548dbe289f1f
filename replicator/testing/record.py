"""A user's own client, recorded: what it was told of each write, so that lost ones can be named.

Recorded are writes whose trace can be found again:

    SET GETSET MSET SETNX DEL UNLINK    the key's value (or that it is gone)
    HSET HMSET HSETNX HDEL              the field's value
    SADD SREM, ZADD ZREM                whether the member is there, with which score
    RPUSH                               each element
    INCR (INCRBY 1)                     the count
    XADD                                the entry, by the id that was answered

Any other write makes its keys unjudged (an expiry, a pop, LTRIM, a script): `Recorder.unjudged` says which and why.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

from replicator.core.command_table.registry import REGISTRY, WRITE
from replicator.core.commands import catalog
from replicator.scenario.verdict.history import FAIL, INFO, OK, History, Operation

assert catalog  # importing it fills the registry
GONE = "(deleted)"
LONGEST = 80
_REGISTERS = frozenset(("SET", "GETSET", "SETNX", "MSET"))
_NOTHING_SAID = (None, 0, False, b"0")


def text_of(value: Any) -> str:
    """A value as the history has it: text, the long ones by their beginning and a checksum."""
    if isinstance(value, bytes | bytearray | memoryview):
        whole = bytes(value)
    elif isinstance(value, float):
        whole = repr(value).encode()
    else:
        whole = str(value).encode()
    text = whole.decode("utf-8", "backslashreplace")
    if len(text) <= LONGEST:
        return text
    return f"{text[:40]}...{len(whole)} bytes {hashlib.sha1(whole).hexdigest()[:12]}"


def score_text(value: Any) -> str:
    """A score, however it is spelled."""
    return repr(float(value))


class Place:
    """What a write leaves, and how to find it again. kind: of the operation ("set", "rpush", "incr")."""

    __slots__ = ("find", "key", "kind", "name", "value")

    def __init__(self, kind: str, key: str, name: str, value: str, find: tuple[Any, ...]) -> None:
        self.kind, self.key, self.name, self.value, self.find = kind, key, name, value, find


class Unjudged(Exception):
    """A write that cannot be found again; the text says why. keys: those that it spoils."""

    def __init__(self, keys: Sequence[str], why: str) -> None:
        super().__init__(why)
        self.keys = list(keys)


def places(words: Sequence[Any]) -> list[Place]:
    """What the command writes; nothing if it only reads. Raises Unjudged."""
    name = str(text_of(words[0])).upper()
    if not _writes(name):
        return []
    keys = [text_of(words[1])] if len(words) > 1 else []
    handler = _HANDLERS.get(name)
    if handler is None or len(words) < 2:
        raise Unjudged(keys, f"{name} is not followed")
    return handler(name, words)


def _writes(name: str) -> bool:
    """Whether a command of that name writes, by our own table of commands."""
    command = REGISTRY.get(name.split(" ")[0].lower())
    return command is not None and bool(command.flags & WRITE or name in ("EVAL", "EVALSHA", "FCALL"))


def _register(key: Any, value: str) -> Place:
    return Place("set", text_of(key), text_of(key), value, ("GET", key))


def _set(name: str, words: Sequence[Any]) -> list[Place]:
    if name in ("DEL", "UNLINK"):
        return [_register(key, GONE) for key in words[1:]]
    if name == "MSET":
        return [_register(key, text_of(value)) for key, value in zip(words[1::2], words[2::2], strict=False)]
    options = [text_of(word).upper() for word in words[3:]] if name == "SET" else []
    if any(option in ("EX", "PX", "EXAT", "PXAT", "KEEPTTL") for option in options):
        raise Unjudged([text_of(words[1])], "it may expire")
    return [_register(words[1], text_of(words[2]))]


def _hash(name: str, words: Sequence[Any]) -> list[Place]:
    key = words[1]
    pairs = [(field, GONE) for field in words[2:]] if name == "HDEL" else [
        (field, text_of(value)) for field, value in zip(words[2::2], words[3::2], strict=False)
    ]  # fmt: skip
    return [
        Place("set", text_of(key), f"{text_of(key)}[{text_of(field)}]", value, ("HGET", key, field))
        for field, value in pairs
    ]


def _members(name: str, words: Sequence[Any]) -> list[Place]:
    key = words[1]
    value = GONE if name in ("SREM", "ZREM") else "1"
    ask = "ZSCORE" if name == "ZREM" else "SISMEMBER"
    return [
        Place("set", text_of(key), f"{text_of(key)}{{{text_of(member)}}}", value, (ask, key, member))
        for member in words[2:]
    ]


def _scores(name: str, words: Sequence[Any]) -> list[Place]:
    key = words[1]
    if any(text_of(word).upper() in ("NX", "XX", "GT", "LT", "INCR", "CH") for word in words[2:3]):
        raise Unjudged([text_of(key)], "ZADD with options is not followed")
    return [
        Place("set", text_of(key), f"{text_of(key)}{{{text_of(member)}}}", score_text(score), ("ZSCORE", key, member))
        for score, member in zip(words[2::2], words[3::2], strict=False)
    ]


def _push(name: str, words: Sequence[Any]) -> list[Place]:
    key = words[1]
    return [Place("rpush", text_of(key), text_of(key), text_of(value), ("LRANGE", key, 0, -1)) for value in words[2:]]


def _count(name: str, words: Sequence[Any]) -> list[Place]:
    if name == "INCRBY" and text_of(words[2]) != "1":
        raise Unjudged([text_of(words[1])], "INCRBY of more than 1 is not followed")
    return [Place("incr", text_of(words[1]), text_of(words[1]), "", ("GET", words[1]))]


_HANDLERS: dict[str, Callable[[str, Sequence[Any]], list[Place]]] = {
    **dict.fromkeys((*_REGISTERS, "DEL", "UNLINK"), _set),
    **dict.fromkeys(("HSET", "HMSET", "HSETNX", "HDEL"), _hash),
    **dict.fromkeys(("SADD", "SREM", "ZREM"), _members),
    "ZADD": _scores,
    "RPUSH": _push,
    **dict.fromkeys(("INCR", "INCRBY"), _count),
}


class Recorder:
    """What all recorded clients of one topology have written. Clients may be used from several threads.

    clock: milliseconds since the play began. node_of: the node that a connection leads to.
    """

    def __init__(self, history: History, clock: Callable[[], int]) -> None:
        self.history = history
        self.unjudged: dict[str, str] = {}
        self.found: dict[tuple[str, str], Place] = {}  # by kind and name
        self._clock = clock
        self._lock = threading.Lock()
        self._spoiled: set[str] = set()

    def begin(self, client: str, words: Sequence[Any], node: str) -> list[Operation]:
        """A command is about to be sent."""
        try:
            wanted = places(words)
        except Unjudged as problem:
            with self._lock:
                for key in problem.keys:
                    self.unjudged.setdefault(key, str(problem))
            return []
        with self._lock:
            now_ms = self._clock()
            operations = []
            for place in wanted:
                known = self.found.setdefault((place.kind, place.name), place)
                if known.find[0] != place.find[0]:
                    self.unjudged.setdefault(place.key, "it changed its type")
                operations.append(self.history.invoke(client, place.kind, place.name, place.value, node, now_ms))
            return operations

    def end(self, words: Sequence[Any], operations: Sequence[Operation], answer: Any) -> None:
        """It was answered; or `answer` is the exception that came instead."""
        if not operations:
            return
        name = text_of(words[0]).upper()
        options = [text_of(word).upper() for word in words[3:]]
        conditional = name in ("SETNX", "HSETNX") or (name == "SET" and ("NX" in options or "XX" in options))
        with self._lock:
            now_ms = self._clock()
            for operation in operations:
                if isinstance(answer, BaseException):
                    status = FAIL if _is_refusal(answer) else INFO
                    self.history.end(operation, status, now_ms, f"{type(answer).__name__}: {answer}")
                elif conditional and "GET" not in options and answer in _NOTHING_SAID:
                    self.history.end(operation, FAIL, now_ms, "the condition did not hold")
                else:
                    if operation.kind == "incr" and isinstance(answer, int):
                        operation.result = answer
                    self.history.end(operation, OK, now_ms)


def _is_refusal(problem: BaseException) -> bool:
    """An error reply: the server has said that it did nothing. Lost connections and timeouts tell nothing."""
    return any(kind.__name__ in ("ResponseError", "CommandError") for kind in type(problem).__mro__)
