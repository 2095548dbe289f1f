"""Histories made by hand, for what judges them."""

from __future__ import annotations

import json

from replicator.scenario.verdict.durability import Verdict, check
from replicator.scenario.verdict.history import History, Operation, ReadBack, Status

OK, FAIL, INFO = Status.OK, Status.FAIL, Status.INFO


class Made:
    """A history and what is read back from its primary."""

    def __init__(self, primary: str = "b", sink: list[str] | None = None) -> None:
        self.history = History(None if sink is None else lambda record: sink.append(json.dumps(record)))
        self.back = ReadBack(primary)
        self.ms = 0

    def did(
        self, kind: str, key: str, value: str, status: Status = OK, node: str = "a", *, client: str = "c1",
        at: tuple[int, int] | None = None, offset: int | None = None, result: int | None = None,
        expected: str | None = None,
    ) -> Operation:  # fmt: skip
        begin, end = at or (self.ms, self.ms + 5)
        self.ms = max(self.ms, end) + 5
        operation = self.history.invoke(client, kind, key, value, node, begin)
        operation.offset, operation.result, operation.expected = offset, result, expected
        self.history.end(operation, status, end, "" if status is OK else "why")
        return operation

    def verdict(self, **limits: int) -> Verdict:
        self.history.close(self.ms + 100, [self.back], self.back.node, **limits)
        return check(self.history)
