"""A sink that keeps what it is told, for the tests of RDB."""

from __future__ import annotations

from typing import Any


class Collector:
    """Everything that a reader told, in plain attributes."""

    def __init__(self) -> None:
        self.number = 0
        self.fields: list[tuple[bytes, bytes]] = []
        self.sizes: list[tuple[int, int, int]] = []
        self.functions: list[bytes] = []
        self.database = 0
        self.data: dict[int, dict[bytes, tuple[str, Any]]] = {}
        self.extras: dict[tuple[int, bytes], tuple[int | None, int | None, int | None]] = {}
        self.ended = False

    def version(self, number: int) -> None:
        self.number = number

    def auxiliary(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def select(self, index: int) -> None:
        self.database = index

    def resize(self, keys: int, expires: int) -> None:
        self.sizes.append((self.database, keys, expires))

    def entry(
        self, key: bytes, kind: str, value: Any, expire_ms: int | None, idle: int | None, freq: int | None
    ) -> None:
        assert not self.ended
        self.data.setdefault(self.database, {})[key] = (kind, value)
        self.extras[self.database, key] = (expire_ms, idle, freq)

    def function(self, code: bytes) -> None:
        self.functions.append(code)

    def end(self) -> None:
        assert not self.ended
        self.ended = True


def comparable(kind: str, value: Any) -> Any:
    """A neutral value in a form in which equal contents are equal, whatever order the server chose."""
    if kind == "set":
        return sorted(value)
    if kind == "zset":
        return sorted(value.items() if isinstance(value, dict) else value)
    return dict(value) if kind == "hash" else value
