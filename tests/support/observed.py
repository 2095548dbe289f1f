"""A stock server watched from all sides: replies with their RESP types, keyspace events, the replication stream.

`Observed.compare` sends the same commands to it and to a harness node and asserts that all of these are equal, and the
data in the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import hiredis

from replicator.core.keyspace.database import NOTIFY_KEY_MISS, NOTIFY_NEW, Database
from replicator.core.keyspace.digest import digest_keyspace
from replicator.core.keyspace.values import Set
from tests.support.harness import PENDING, Harness
from tests.support.stock import Wire, running

Argv = list[bytes]
ALL_EVENTS = 4095 & ~NOTIFY_KEY_MISS & ~NOTIFY_NEW


class Incomplete(Exception):
    """More bytes are needed."""


def parse(data: bytes, at: int = 0) -> tuple[Any, int]:
    """One reply with its types, as (type, value): (b":", 1), (b"*", [..]), null forms as (b"$", None); and its end."""
    end = data.find(b"\r\n", at)
    if end < 0:
        raise Incomplete
    kind, text = data[at : at + 1], data[at + 1 : end]
    at = end + 2
    if kind in b"$=":
        size = int(text)
        if size < 0:
            return (kind, None), at
        if len(data) < at + size + 2:
            raise Incomplete
        return (kind, data[at : at + size]), at + size + 2
    if kind in b"*~>%":
        size = int(text)
        if size < 0:
            return (kind, None), at
        items = []
        for _ in range(2 * size if kind == b"%" else size):
            item, at = parse(data, at)
            items.append(item)
        return (kind, items), at
    assert kind in b"+-:_,#(", data[at : at + 100]
    return (kind, text), at


def whole(data: bytes) -> Any:
    """The one reply that the bytes are."""
    value, end = parse(data)
    assert end == len(data), data
    return value


class TypedWire:
    """A client of a stock server that keeps the types of replies."""

    def __init__(self, port: int) -> None:
        self.wire = Wire(port)
        self.buffer = b""

    def send(self, commands: Sequence[Sequence[bytes]]) -> None:
        self.wire.sock.sendall(b"".join(hiredis.pack_command(tuple(argv)) for argv in commands))

    def read(self) -> Any:
        while True:
            try:
                value, end = parse(self.buffer)
            except Incomplete:
                data = self.wire.sock.recv(1 << 20)
                assert data, "the stock server closed the connection"
                self.buffer += data
            else:
                self.buffer = self.buffer[end:]
                return value

    def waiting(self) -> list[Any]:
        """The replies that have come."""
        self.wire.sock.setblocking(False)
        try:
            self.buffer += self.wire.sock.recv(1 << 20)
        except BlockingIOError:
            pass  # nothing came
        finally:
            self.wire.sock.settimeout(20)
        found = []
        while self.buffer:
            value, end = parse(self.buffer)
            self.buffer = self.buffer[end:]
            found.append(value)
        return found

    def call(self, *argv: bytes) -> Any:
        self.send([argv])
        return self.read()

    def pipeline(self, commands: Sequence[Argv]) -> list[Any]:
        self.send(commands)
        answers: list[Any] = []
        at, data = 0, self.buffer
        while len(answers) < len(commands):
            try:
                value, at = parse(data, at)
            except Incomplete:
                more = self.wire.sock.recv(1 << 20)
                assert more, "the stock server closed the connection"
                data, at = data[at:] + more, 0
            else:
                answers.append(value)
        self.buffer = data[at:]
        return answers

    def close(self) -> None:
        self.wire.close()


def sorted_items(answer: Any) -> Any:
    """The reply with its items in one order, for replies whose order nobody promises."""
    return (answer[0], sorted(answer[1], key=repr)) if isinstance(answer[1], list) else answer


def sorted_pairs(answer: Any) -> Any:
    """As sorted_items, for flat field, value, field, value ..."""
    if not isinstance(answer[1], list):
        return answer
    return answer[0], sorted(zip(answer[1][::2], answer[1][1::2], strict=True), key=repr)


def unordered(argv: Argv, answer: Any) -> Any:
    """Sort the replies of commands on sets, and on hashes whose name says that they are large."""
    name = argv[0].upper()
    if name in (b"SMEMBERS", b"SINTER", b"SUNION", b"SDIFF", b"SPOP"):
        return sorted_items(answer)
    large = len(argv) > 1 and argv[1].startswith(b"big")
    if name in (b"HKEYS", b"HVALS") and large:
        return sorted_items(answer)
    if name == b"HGETALL" and large:
        return sorted_pairs(answer)
    if name in (b"SSCAN", b"HSCAN") and answer[0] == b"*" and (name == b"SSCAN" or large):
        cursor, found = answer[1]
        return cursor, (sorted_items if name == b"SSCAN" else sorted_pairs)(found)
    return answer


def exact(argv: Argv, answer: Any) -> Any:
    """The reply as it is."""
    return answer


class Observed:
    """One stock server with a client, a subscriber to all keyspace events and a replica link."""

    def __init__(self, port: int, *, effects: bool = True) -> None:
        self.port = port
        self.client = TypedWire(port)
        self.listener = TypedWire(port)
        self.client.call(b"CONFIG", b"SET", b"notify-keyspace-events", b"KEA")
        self.listener.call(b"PSUBSCRIBE", b"__keyevent@*")
        self.listener.call(b"SUBSCRIBE", b"mark")
        self.replica: hiredis.Reader | None = None
        self.marks = 0
        if effects:
            self._follow()

    def _follow(self) -> None:
        self.link = Wire(self.port)
        self.link.sock.sendall(hiredis.pack_command(("PSYNC", "?", "-1")))
        data = b""
        while True:
            lines = data.lstrip(b"\n").split(b"\r\n", 2)
            if len(lines) == 3 and lines[0].startswith(b"+FULLRESYNC"):
                start = lines[1].lstrip(b"\n")
                size = int(start[1:])
                if len(lines[2]) >= size:
                    break
            data += self.link.sock.recv(1 << 16)
        self.replica = hiredis.Reader()
        self.replica.feed(lines[2][size:])

    def mark(self) -> tuple[list[tuple[bytes, bytes]], list[Argv]]:
        """The keyspace events (event, key) and the effects since the last mark."""
        self.marks += 1
        mark = b"%d" % self.marks
        self.client.call(b"PUBLISH", b"mark", mark)
        events = []
        while True:
            _, items = self.listener.read()
            texts = [item[1] for item in items]
            if texts[0] == b"message":
                assert texts[2] == mark
                break
            events.append((texts[2].split(b":", 1)[1], texts[3]))
        effects: list[Argv] = []
        while self.replica is not None:
            argv = self.replica.gets()
            if argv is False:
                self.replica.feed(self.link.sock.recv(1 << 20))
            elif argv == [b"PUBLISH", b"mark", mark]:
                break
            elif argv[0].upper() not in (b"SELECT", b"PING", b"MULTI", b"EXEC"):
                effects.append(argv)
        return events, effects

    def compare(
        self,
        commands: list[Argv],
        node: Harness,
        normalize: Callable[[Argv, Any], Any] = unordered,
        *,
        protocol: int = 2,
        events: bool = True,
    ) -> None:
        """Send all commands to both, which then hold no keys but these, and assert that nothing differs."""
        self.client.call(b"FLUSHALL")
        self.client.call(b"HELLO", b"%d" % protocol)
        for db in node.keyspace.databases:
            db.clear()
        node.first.use_protocol(protocol)
        node.drain_effects()
        self.mark()
        told: list[tuple[bytes, bytes]] = []
        node.keyspace.notify_flags = ALL_EVENTS
        node.keyspace.on_notify = lambda db, kind, event, key: told.append((event, key))
        theirs = self.client.pipeline(commands)
        for at, (argv, expected) in enumerate(zip(commands, theirs, strict=True)):
            actual = whole(answer_of(node, argv))
            if argv[0].upper() in (b"SPOP", b"SRANDMEMBER", b"HRANDFIELD"):
                ours, stock = same_chance(node, argv, actual, expected)
            else:
                ours, stock = normalize(argv, actual), normalize(argv, expected)
            assert ours == stock, (
                f"{at} {argv!r}: ours {ours!r}, stock {stock!r}; before: {commands[max(0, at - 8) : at]!r}"
            )
        stock_events, stock_effects = self.mark()
        effects = [argv for _, argv in node.drain_effects()]
        if events:
            assert_equal_lists(told, stock_events, "event")
        if self.replica is not None:
            assert_equal_lists(_comparable(effects), _comparable(stock_effects), "effect")
        assert (b"+", digest_keyspace(node.keyspace).encode()) == self.client.call(b"DEBUG", b"DIGEST")

    def close(self) -> None:
        self.client.close()
        self.listener.close()
        if self.replica is not None:
            self.link.close()


def answer_of(node: Harness, argv: Argv) -> bytes:
    """The encoded reply; of a command that waits, the one that it gets when its (short) time is over."""
    answer = node.raw(*argv)
    if answer == PENDING:
        assert node.first.waiting is not None
        answer = node.first.waiting[2]
        node.advance(10)
        assert node.first.waiting is None
        node.unblocked(node.first)
    return answer


def assert_equal_lists(ours: list[Any], stock: list[Any], what: str) -> None:
    """Say where two long lists part."""
    for at, (left, right) in enumerate(zip(ours, stock, strict=False)):
        assert left == right, f"{what} {at}: ours {left!r}, stock {right!r}; before: {stock[max(0, at - 5) : at]!r}"
    assert len(ours) == len(stock), f"{what}s: {ours[len(stock) :]!r} against {stock[len(ours) :]!r}"


def _comparable(effects: list[Argv]) -> list[Argv]:
    """Names in one case; SREM of several members (SPOP's, which stock tells one by one) as several."""
    plain: list[Argv] = []
    for argv in effects:
        name = argv[0].upper()
        plain += [[name, argv[1], member] for member in argv[2:]] if name == b"SREM" else [[name, *argv[1:]]]
    return plain


def same_chance(node: Harness, argv: Argv, actual: Any, expected: Any) -> tuple[Any, Any]:
    """What must be equal of two replies drawn at random; after SPOP our set is given stock's members."""
    name = argv[0].upper()
    if actual[0] != expected[0] or expected[0] in (b"-", b"_") or expected[1] is None:
        return actual, expected
    if isinstance(expected[1], list):
        shape = (actual[0], [item[0] for item in actual[1]]), (expected[0], [item[0] for item in expected[1]])
    else:
        shape = actual[0], expected[0]
    if name != b"SPOP":
        count = int(argv[2]) if len(argv) > 2 else -1
        value = node.keyspace.databases[0].values.get(argv[1])
        if value is not None and count >= len(value):  # type: ignore[arg-type] # it has a length
            return sorted_items(actual), sorted_items(expected)
        return shape
    db = node.keyspace.databases[0]
    ours = _members(actual)
    theirs = _members(expected)
    if argv[1] in db.values:
        value = db.values[argv[1]]
        assert isinstance(value, Set)
        for member in theirs:
            value.discard(member)
        for member in ours:
            if member not in theirs:
                value.add(member)
        _put_in_last_effect(node, theirs)
    else:
        assert sorted(ours) == sorted(theirs)
        _put_in_last_effect(node, theirs)
    return shape


def _members(answer: Any) -> list[bytes]:
    return [item[1] for item in answer[1]] if isinstance(answer[1], list) else [answer[1]]


def _put_in_last_effect(node: Harness, members: list[bytes]) -> None:
    if members and node.keyspace.recorded and node.keyspace.recorded[-1][1][0] == b"SREM":
        node.keyspace.recorded[-1][1][2:] = members


@contextmanager
def observed(engine: str, *, effects: bool = True) -> Iterator[Observed]:
    """A stock server of that engine, watched."""
    with running(
        engine, "--repl-diskless-sync-delay", "0", "--repl-diskless-sync", "no", "--repl-timeout", "3600"
    ) as port:
        watch = Observed(port, effects=effects)
        try:
            yield watch
        finally:
            watch.close()


def until(condition: Callable[[], bool], what: str, within_s: float = 10) -> None:
    """Poll until it holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.002)


def replay(effects: list[tuple[int, Argv]]) -> Harness:
    """A second node that has been told these effects."""
    node = Harness()
    node.first.is_primary_link = True
    for index, argv in effects:
        node.first.db = node.keyspace.databases[index]
        answer = node.raw(*argv)
        assert not answer.startswith(b"-"), (argv, answer)
    return node


def database(node: Harness) -> Database:
    """The node's database 0."""
    return node.keyspace.databases[0]
