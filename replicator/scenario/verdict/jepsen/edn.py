"""Reads EDN, as far as Jepsen's histories use it: maps, vectors, lists, sets, keywords, strings, numbers, tags.

Keywords and symbols become Word (":ok" and "ok" differ), lists, vectors and sets lists, tagged values
(#jepsen.history.Op{...}) the value alone. Source: https://github.com/edn-format/edn
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

DEPTH_MOST = 100
_TOKEN = re.compile(
    r"""[\s,]+ | ;[^\n]* | (?P<string>"(?:[^"\\]|\\[\s\S])*") | (?P<open>\#\{|[\[({]) | (?P<close>[\])}])
      | (?P<tag>\#[A-Za-z][\w.*+!?<>=/-]*) | (?P<skip>\#_) | (?P<char>\\\S+) | (?P<atom>[^\s,;"()\[\]{}]+)""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_CLOSING = {"[": "]", "(": ")", "{": "}", "#{": "}"}


class EdnError(ValueError):
    """The text is no EDN; at which character."""


class Word(str):
    """A keyword (with its colon) or a symbol."""

    __slots__ = ()


def read_all(text: str) -> list[Any]:
    """All values of a text. Raises EdnError."""
    reader = _Reader(text)
    found = []
    while (value := reader.value(0)) is not _END:
        found.append(value)
    return found


_END = object()
_CLOSE = object()


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens = self._scan(text)
        self._closed = ""

    @staticmethod
    def _scan(text: str) -> Iterator[tuple[str, str, int]]:
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise EdnError(f"character {at + 1}: {text[at : at + 20]!r} is no EDN")
            if match.lastgroup is not None:
                yield match.lastgroup, match[0], at
            at = match.end()

    def value(self, depth: int) -> Any:
        """The next value; _CLOSE at a closing bracket, _END at the end."""
        if depth > DEPTH_MOST:
            raise EdnError(f"nested deeper than {DEPTH_MOST}")
        for kind, token, at in self._tokens:
            match kind:
                case "open":
                    return self._collection(token, depth, at)
                case "close":
                    if not depth:
                        raise EdnError(f"character {at + 1}: {token!r} closes nothing")
                    self._closed = token
                    return _CLOSE
                case "tag":
                    return self.value(depth)
                case "skip":
                    self.value(depth)
                case "string":
                    return _ESCAPE.sub(_unescaped, token[1:-1])
                case "char":
                    return token[1:]
                case _:
                    return _atom(token)
        return _END

    def _collection(self, opening: str, depth: int, at: int) -> Any:
        items = []
        while (item := self.value(depth + 1)) is not _CLOSE:
            if item is _END:
                raise EdnError(f"character {at + 1}: {opening!r} is never closed")
            items.append(item)
        if self._closed != _CLOSING[opening]:
            raise EdnError(f"character {at + 1}: {opening!r} is closed by {self._closed!r}")
        if opening == "{":
            if len(items) % 2:
                raise EdnError(f"character {at + 1}: a map with a key and no value")
            return {hashable(key): value for key, value in zip(items[::2], items[1::2], strict=True)}
        return items


def _unescaped(match: re.Match[str]) -> str:
    return chr(int(match[1], 16)) if match[1] else _ESCAPES.get(match[2], match[2])


def hashable(value: Any) -> Any:
    """The value as one that can be a key: equal values stay equal."""
    if isinstance(value, list):
        return tuple(map(hashable, value))
    if isinstance(value, dict):
        return frozenset((key, hashable(inner)) for key, inner in value.items())
    return value


def _atom(token: str) -> Any:
    if token in ("nil", "true", "false"):
        return {"nil": None, "true": True, "false": False}[token]
    if re.fullmatch(r"[+-]?\d+N?", token):
        return int(token.rstrip("N"))
    if re.fullmatch(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?M?", token):
        return float(token.rstrip("M"))
    return Word(token)
