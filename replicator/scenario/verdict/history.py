"""What every client asked for and what it was told: the evidence that the checkers judge.

An operation ends OK (the server confirmed it), FAIL (it certainly did not happen) or INFO (nobody knows: no answer
came). INFO is never counted as FAIL. Beside the operations a history holds the samples of every node's replication
state, the promotions and other milestones, and what was read back at the end, so that a file of it can be judged alone.

All times are milliseconds since the play began.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import MISSING, asdict, dataclass, field, fields
from enum import Enum
from typing import Any, Literal, get_type_hints

import msgspec


class Status(Enum):
    OPEN = "open"
    OK = "ok"
    FAIL = "fail"
    INFO = "info"


# By these names everything that is done for each operation: to look a member up in its Enum takes a tenth of a
# microsecond (Python 3.11), and there are several looks an operation.
OPEN, OK, FAIL, INFO = Status


@dataclass(slots=True)
class Operation:
    """kind: "set", "rpush", "incr" or "get". value: what was written ("" for incr), or for a get what came back.

    node: who was asked. offset: the node's replication offset right after the write, exact when the client asked ROLE
    in the same breath, otherwise None. acked: how many replicas had confirmed that offset when the answer was given;
    acked_by: which, if any (those that WAIT counted are not told by name).
    result: what incr returned. expected: for a get of a key that this client alone writes, the value it last saw
    confirmed.
    """

    id: int
    client: str
    kind: str
    key: str
    value: str
    node: str
    invoke_ms: int
    status: Status = OPEN
    end_ms: int | None = None
    error: str = ""
    offset: int | None = None
    acked: int | None = None
    acked_by: list[str] | None = None
    result: int | None = None
    expected: str | None = None
    waited: int | None = None

    @property
    def writes(self) -> bool:
        return self.kind != "get"

    @property
    def took_effect(self) -> bool:
        """By its end, for certain: it was confirmed, or answered and then WAIT fell short."""
        return self.status is OK or self.offset is not None or self.result is not None


# Not frozen like its kin: there are hundreds in a play, and to make a frozen one takes three times as long.
@dataclass(slots=True)
class Sample:
    """One look at a node: INFO replication asked at sent_ms, answered at received_ms.

    lag_s: of the replicas online, the least seconds since one was heard of; None: no replica is online.
    """

    node: str
    sent_ms: int
    received_ms: int
    role: str
    replid: str
    offset: int
    online_replicas: int = 0
    lag_s: int | None = None


@dataclass(frozen=True, slots=True)
class Promotion:
    """offset: where the promoted replica stood; everything its history has beyond it is its own. before: the old
    primary.

    others: the offsets of the other nodes that were reachable, as last seen.
    """

    at_ms: int
    node: str
    before: str
    offset: int
    replid: str
    others: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Milestone:
    """Something that was done to a node: "kill", "power-loss", "stop", "continue", "restart", "wipe", "repoint" ...

    "unsynced": it lost power, and what its append-only file had been given from since_ms on was not synced.
    """

    at_ms: int
    kind: str
    node: str
    since_ms: int | None = None


@dataclass(slots=True)
class ReadBack:
    """What one node holds at the end: registers (None: no such key), lists in order, counters."""

    node: str
    registers: dict[str, str | None] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Digest:
    """What DEBUG DIGEST said of a node while its replication id and offset stood still."""

    node: str
    replid: str
    offset: int
    digest: str

    def plain(self) -> dict[str, Any]:
        return {"node": self.node, "replid": self.replid, "offset": self.offset, "digest": self.digest}


class History:
    """Grows while a play runs. sink: is given each record as a plain dict once it is final (a line of the file)."""

    def __init__(self, sink: Callable[[dict[str, Any]], None] | None = None) -> None:
        self.operations: list[Operation] = []
        self.samples: list[Sample] = []
        self.promotions: list[Promotion] = []
        self.milestones: list[Milestone] = []
        self.read_backs: list[ReadBack] = []
        self.digests: list[Digest] = []
        self.primary = ""
        self.max_lag_s = 10
        self.min_replicas = 0
        self.acknowledged = 0
        self.last_ok: Operation | None = None
        self._sink = sink

    def invoke(self, client: str, kind: str, key: str, value: str, node: str, at_ms: int) -> Operation:
        """A client begins an operation."""
        operation = Operation(len(self.operations), client, kind, key, value, node, at_ms)
        self.operations.append(operation)
        return operation

    def end(self, operation: Operation, status: Status, at_ms: int, error: str = "") -> None:
        """The client knows how it went (or that it will never know)."""
        assert operation.status is OPEN and status is not OPEN
        operation.status, operation.end_ms, operation.error = status, at_ms, error
        if status is OK and operation.writes:
            self.acknowledged += 1
            self.last_ok = operation
        if self._sink:
            self._put("op", operation)

    def sample(self, sample: Sample) -> None:
        self.samples.append(sample)
        self._put("sample", sample)

    def promoted(self, promotion: Promotion) -> None:
        self.promotions.append(promotion)
        self._put("promotion", promotion)

    def milestone(self, at_ms: int, kind: str, node: str, since_ms: int | None = None) -> None:
        self.milestones.append(Milestone(at_ms, kind, node, since_ms))
        self._put("milestone", self.milestones[-1])

    def digested(self, digest: Digest) -> None:
        """What a node held when it stood at an offset of a history: any two of the same place must agree."""
        self.digests.append(digest)
        self._put("digest", digest)

    def close(
        self, at_ms: int, read_backs: Iterable[ReadBack], primary: str, max_lag_s: int = 10, min_replicas: int = 0
    ) -> None:
        """No more comes: what is open is unknown for good, and this is what the survivors hold.

        primary: whose data decide. max_lag_s, min_replicas: the largest min-replicas-max-lag and min-replicas-to-write
        of any node.
        """
        for operation in self.operations:
            if operation.status is OPEN:
                self.end(operation, INFO, at_ms, "the play ended before an answer came")
        self.read_backs = list(read_backs)
        self.primary, self.max_lag_s, self.min_replicas = primary, max_lag_s, min_replicas
        for read_back in self.read_backs:
            self._put("read", read_back)
        if self._sink:
            limits = {"max_lag_s": max_lag_s, "min_replicas": min_replicas}
            self._sink({"type": "end", "at_ms": at_ms, "primary": primary, **limits})

    def _put(self, kind: str, record: Any) -> None:
        if self._sink:
            self._sink({"type": kind, **_plain(record)})


def _plain(record: Any) -> dict[str, Any]:
    found = asdict(record)
    if isinstance(record, Operation):
        found["status"] = record.status.value
        return {key: value for key, value in found.items() if value is not None and value != ""}
    return found


class HistoryError(Exception):
    """A history file cannot be read: which line and why."""


@dataclass(frozen=True, slots=True)
class _End:
    primary: str
    at_ms: int = 0
    max_lag_s: int = 10
    min_replicas: int = 0


_RECORDS: dict[str, type] = {
    "op": Operation, "sample": Sample, "promotion": Promotion, "milestone": Milestone, "read": ReadBack,
    "digest": Digest, "end": _End,
}  # fmt: skip
_FIELDS = {kind: frozenset(one.name for one in fields(of)) for kind, of in _RECORDS.items()}
OPERATIONS = ("set", "rpush", "incr", "get")


def _line_of_operation() -> type[msgspec.Struct]:
    """The line of an operation as Operation has it, for the one decoder that reads nearly all lines of a long file."""
    hints = get_type_hints(Operation) | {"kind": Literal[OPERATIONS]}
    found: list[Any] = [("type", Literal["op"])]
    for one in fields(Operation):
        default = "" if one.name == "value" else one.default
        found.append((one.name, hints[one.name]) if default is MISSING else (one.name, hints[one.name], default))
    return msgspec.defstruct("_Written", found, kw_only=True, forbid_unknown_fields=True, gc=False)


_written: Callable[[str], Any] = msgspec.json.Decoder(_line_of_operation()).decode


def read_lines(lines: Iterable[str]) -> list[tuple[dict[str, Any], History]]:
    """The histories of a file, each with its "run" record (a file may hold several runs). Raises HistoryError."""
    found: list[tuple[dict[str, Any], History]] = []
    names: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        try:
            written = _written(line)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass  # another record; or something is wrong, and what follows says what
        else:
            if not found:
                found.append(({}, History()))
            history = found[-1][1]
            history.operations.append(_operation(written, names))
            if written.status is OK and written.kind != "get":
                history.acknowledged += 1
            continue
        if not line.strip():
            continue
        try:
            record = _decoded(line)
            if not isinstance(record, dict) or not isinstance(record.get("type"), str):
                raise ValueError('a record is an object with its "type"')
            kind = record.pop("type")
            if kind == "run":
                found.append((record, History()))
                continue
            if not found:
                found.append(({}, History()))
            _take(found[-1][1], kind, record)
        except (ValueError, RecursionError) as problem:
            raise HistoryError(f"line {number}: {problem}") from None
    return found


def _operation(written: Any, names: dict[str, str]) -> Operation:
    """names: each client and node once, for a million operations have but few."""
    written.client = names.setdefault(written.client, written.client)
    written.node = names.setdefault(written.node, written.node)
    return Operation(*msgspec.structs.astuple(written)[1:])


def _decoded(line: str) -> Any:
    try:
        return msgspec.json.decode(line)
    except msgspec.DecodeError:
        return json.loads(line)  # takes a few things more, and says better what is wrong


def _take(history: History, kind: str, record: dict[str, Any]) -> None:
    of = _RECORDS.get(kind)
    if of is None:
        raise ValueError(f"{kind!r} is no kind of record; there are: run, {', '.join(_RECORDS)}")
    if not record.keys() <= _FIELDS[kind]:
        strange = record.keys() - _FIELDS[kind]
        raise ValueError(f"{kind}: there is no field {', '.join(sorted(strange))}; allowed: {_known(kind)}")
    if kind == "op":
        record.setdefault("value", "")
    try:
        read: Any = msgspec.convert(record, of)
    except msgspec.ValidationError as problem:
        raise ValueError(f"{kind}: {str(problem).replace('`', '')}") from None
    match read:
        case Operation():
            if read.kind not in OPERATIONS:
                raise ValueError(f"op: {read.kind!r} is no kind of operation; there are: {', '.join(OPERATIONS)}")
            history.operations.append(read)
            if read.status is OK and read.writes:
                history.acknowledged += 1
        case Sample():
            history.samples.append(read)
        case Promotion():
            history.promotions.append(read)
        case Milestone():
            history.milestones.append(read)
        case ReadBack():
            history.read_backs.append(read)
        case Digest():
            history.digests.append(read)
        case _End():
            history.primary, history.max_lag_s, history.min_replicas = read.primary, read.max_lag_s, read.min_replicas
            history.operations.sort(key=lambda operation: operation.id)


def _known(kind: str) -> str:
    return ", ".join(sorted(_FIELDS[kind]))
