"""A workload client is a machine too: told what happened, it answers with what to do. The same one runs live and
simulated.

It has one operation under way at a time. Beside each write it asks ROLE in the same packet (unless the plan says
"sampled"): both are executed back to back, so ROLE's offset is the replication offset right behind the write, and its
list says which replicas had confirmed that much. ROLE changes nothing and is not replicated.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import Any

import hiredis

from replicator.core.effects import Close, Connect, Effect, Send
from replicator.core.events import Closed, Connected, ConnectFailed, Event, Received
from replicator.core.now import Now
from replicator.scenario.play.directory import Directory
from replicator.scenario.play.finding import Finder
from replicator.scenario.script.script import Workload
from replicator.scenario.verdict.history import FAIL, INFO, OK, History, Operation, Status

# After a failure a client tries again so much later, twice as much after the next one, at most the second number.
BACKOFF_MS, MOST_BACKOFF_MS = 20, 160
# A client that fell behind its rate by more does not make up for it.
MOST_DEBT_US = 200_000
SHARED_LISTS = 4
READS_OF_MIXED = 0.25
PADDING = "~"
# What a node answers that is no primary any more, or not yet.
NO_PRIMARY_ANY_MORE = ("READONLY", "MASTERDOWN", "LOADING")
_COMMANDS = {"set": "SET", "rpush": "RPUSH", "incr": "INCR"}
# Above this size ROLE might be read from another packet than its write, so another client's write could come between.
LARGEST_WITH_ROLE = 8192


def padded(value: str, size: int) -> str:
    """The value as it is sent: its identity, filled up to the plan's value_size."""
    return value.ljust(size, PADDING)


def unpadded(value: str) -> str:
    """What was given to padded(): names and numbers, with no padding among them."""
    return value.partition(PADDING)[0]


def packed(argv: tuple[str, ...]) -> bytes:
    """A request as it goes over the wire."""
    whole: bytes = hiredis.pack_command(argv)  # type: ignore[arg-type]  # its stub takes a tuple of one
    return whole


def _beside_writes(plan: Workload) -> tuple[bytes, tuple[str, ...]]:
    """What follows each write in its packet, and what the answers of the packet are to."""
    data, questions = b"", ["main"]
    if plan.offsets == "role" and plan.value_size <= LARGEST_WITH_ROLE:
        data += packed(("ROLE",))
        questions.append("role")
    if plan.wait_replicas:
        data += packed(("WAIT", str(plan.wait_replicas), str(int(plan.wait_timeout))))
        questions.append("wait")
    return data, tuple(questions)


@dataclass(slots=True)
class _Link:
    """One connection of a client to one node. awaited: what the next replies answer."""

    conn: int
    node: str
    up: bool = False
    reader: Any = field(default_factory=hiredis.Reader)
    awaited: deque[str] = field(default_factory=deque)


class Client:
    """name: as histories and reports have it. source: the address to connect from ("" for any)."""

    def __init__(
        self, name: str, plan: Workload, directory: Directory, history: History, random: Random, source: str = ""
    ) -> None:
        self.name, self.plan, self.directory, self.history = name, plan, directory, history
        self.random, self.source = random, source
        self._behind, self._questions = _beside_writes(plan)
        self._reads = plan.reads or (READS_OF_MIXED if plan.kind == "mixed" else 0.0)
        self._writes_to = "" if plan.target == "primary" else plan.target
        self._reads_from = self._writes_to if plan.read_from == "primary" else plan.read_from
        self._followed = directory.primary
        self.finder: Finder | None = None  # with one, the client finds its primary by itself
        self._links: dict[str, _Link] = {}
        self._by_conn: dict[int, _Link] = {}
        self._next_conn = 0
        self._operation: Operation | None = None
        self._sent = False
        self._refusal: str | None = None  # what the packet's first answer was: "" a confirmation; None: not there yet
        self._deadline_ms = 0
        self._patience_ms = int(plan.timeout) + (int(plan.wait_timeout) if plan.wait_replicas else 0)
        self._interval_us = int(1_000_000 / plan.rate)
        self._due_us: int | None = None
        self._backoff_ms = 0
        self._written = 0
        self._mine: list[str] = []
        self._confirmed: dict[str, str] = {}

    # The surface of a machine.

    def handle(self, event: Event, now: Now) -> list[Effect]:
        """What to do after this happened. Events that are not of its connections change nothing."""
        effects: list[Effect] = []
        if type(event) is Received:
            link = self._by_conn.get(event.conn)
            if link is not None:
                self._received(link, event.data, now, effects)
            elif self.finder is not None and self.finder.owns(event.conn):
                self.finder.received(event.data, now, effects)
        elif self.finder is not None and self.finder.owns(getattr(event, "conn", 0)):
            if type(event) is Connected:
                self.finder.connected(effects)
            else:
                self.finder.gone(now)
        else:
            self._told(event, now, effects)
        self._advance(now, effects)
        return effects

    def deadline_ms(self) -> int | None:
        """When advance() next has work; None while it may not begin anything."""
        if self._operation is not None:
            return self._deadline_ms
        if self._due_us is None or self.directory.load != "run":
            return None
        due_ms = -(-self._due_us // 1000)
        if self.finder is not None and not self.finder.primary:
            return max(due_ms, self.finder.deadline_ms())
        return due_ms

    def advance(self, now: Now) -> list[Effect]:
        """Does what is due: ends an operation that took too long, follows the directory, begins the next operation."""
        effects: list[Effect] = []
        self._advance(now, effects)
        return effects

    def _advance(self, now: Now, effects: list[Effect]) -> None:
        directory = self.directory
        if directory.primary != self._followed and self.finder is None:
            self._follow_directory(now, effects)
        if self._operation is not None and now.mono_ms >= self._deadline_ms:
            node = self._operation.node
            self._lost_sight(f"no answer within {self.plan.timeout} ms", now)
            self._drop(node, "timeout", effects)
            self._lost_primary(node)
        if self._operation is not None or directory.load != "run":
            return
        if self._due_us is None:
            begin_us = max(now.mono_ms, directory.zero_ms + self.plan.start) * 1000
            self._due_us = begin_us + self.random.randrange(max(1, self._interval_us))
        stop = self.plan.stop
        if stop is not None and now.mono_ms >= directory.zero_ms + stop:
            self._due_us = None
        elif self._due_us < (now.mono_ms + 1) * 1000:
            if self.finder is not None and not self.finder.primary:
                self.finder.advance(now, effects)
                if not self.finder.primary:
                    return
            self._begin(self._due_us, now, effects)

    def _told(self, event: Event, now: Now, effects: list[Effect]) -> None:
        """What became of a connection."""
        match event:
            case Connected(conn=conn):
                link = self._by_conn.get(conn)
                if link is not None:
                    self._connected(link, effects)
            case ConnectFailed(conn=conn, why=why):
                link = self._forget(conn)
                self._lost_primary("" if link is None else link.node)
                if link is not None and self._waits_for(link):
                    self._end(FAIL, f"no connection: {why}", now)
            case Closed(conn=conn, why=why):
                link = self._forget(conn)
                self._lost_primary("" if link is None else link.node)
                if link is not None and self._waits_for(link):
                    self._lost_sight(f"connection closed: {why}", now)
            case _:
                pass

    @property
    def idle(self) -> bool:
        """Nothing is under way."""
        return self._operation is None

    # Operations.

    def _node_for(self, reading: bool) -> str:
        named = self._reads_from if reading else self._writes_to
        return named or (self.directory.primary if self.finder is None else self.finder.primary)

    def _lost_primary(self, node: str) -> None:
        """The connection to the node is gone: was it the primary's, the Sentinels are asked anew."""
        if self.finder is not None and node == self.finder.primary:
            self.finder.lost()

    def _begin(self, due_us: int, now: Now, effects: list[Effect]) -> None:
        self._due_us = max(due_us + self._interval_us, now.mono_ms * 1000 - MOST_DEBT_US)
        kind, key, value = self._draw()
        mono_ms = now.mono_ms
        operation = self.history.invoke(
            self.name, kind, key, value, self._node_for(kind == "get"), mono_ms - self.directory.zero_ms
        )
        if kind == "get":
            operation.expected = self._confirmed.get(key)
        self._operation, self._sent, self._refusal = operation, False, None
        self._deadline_ms = mono_ms + self._patience_ms
        link = self._links.get(operation.node)
        if link is None:
            self._connect(operation.node, effects)
        elif link.up:
            self._ask(link, operation, effects)

    def _draw(self) -> tuple[str, str, str]:
        plan = self.plan
        mixed = plan.kind == "mixed"
        if self._reads and self._mine and self.random.random() < self._reads:
            return "get", self._mine[self.random.randrange(len(self._mine))], ""
        kind = self.random.choice(("register", "append", "counter")) if mixed else plan.kind
        number = self._written
        self._written += 1
        if kind == "counter":
            return "incr", f"count:{self.name}", ""
        value = f"{self.name}.{number}"
        if kind == "append":
            lists = plan.keys if plan.keys and not mixed else SHARED_LISTS
            return "rpush", f"list:{self.random.randrange(lists)}", value
        slot = number % plan.keys if plan.keys else number
        return "set", f"reg:{self.name}:{slot}", value

    def _ask(self, link: _Link, operation: Operation, effects: list[Effect]) -> None:
        kind = operation.kind
        if kind == "get":
            link.awaited.append("main")
            data = packed(("GET", operation.key))
        else:
            link.awaited.extend(self._questions)
            argv: tuple[str, ...] = (_COMMANDS[kind], operation.key)
            if kind != "incr":
                argv = (*argv, padded(operation.value, self.plan.value_size))
            data = packed(argv) + self._behind
        self._sent = True
        effects.append(Send(link.conn, data))

    def _end(self, status: Status, error: str, now: Now) -> None:
        operation = self._operation
        assert operation is not None
        self._operation = None
        self.history.end(operation, status, now.mono_ms - self.directory.zero_ms, error)
        if status is OK:
            self._backoff_ms = 0
            if operation.kind == "set" and self._reads:
                if operation.key not in self._confirmed:
                    self._mine.append(operation.key)
                self._confirmed[operation.key] = operation.value
            return
        if operation.kind == "set":
            # What such a key holds is open from now on, so no read of it can be called stale.
            self._confirmed.pop(operation.key, None)
            if operation.key in self._mine:
                self._mine.remove(operation.key)
        self._backoff_ms = min(MOST_BACKOFF_MS, max(BACKOFF_MS, self._backoff_ms * 2))
        if self._due_us is not None:
            self._due_us = max(self._due_us, (now.mono_ms + self._backoff_ms) * 1000)

    def _lost_sight(self, why: str, now: Now) -> None:
        """The operation under way gets no answer: certainly not done if it was never sent, otherwise nobody knows."""
        if self._refusal == "" and not self.plan.wait_replicas:
            self._end(OK, "", now)
        else:
            self._end(INFO if self._sent else FAIL, why, now)

    # Connections.

    def _waits_for(self, link: _Link) -> bool:
        return self._operation is not None and self._operation.node == link.node

    def new_conn(self) -> int:
        """A number for a connection."""
        self._next_conn -= 1
        return self._next_conn

    def _connect(self, node: str, effects: list[Effect]) -> None:
        host, port = self.directory.addresses[node]
        link = _Link(self.new_conn(), node)
        self._links[node] = self._by_conn[link.conn] = link
        effects.append(Connect(link.conn, host, port, self.source, int(self.plan.timeout)))

    def _connected(self, link: _Link, effects: list[Effect]) -> None:
        link.up = True
        if self.directory.password:
            effects.append(Send(link.conn, packed(("AUTH", self.directory.password))))
            link.awaited.append("auth")
        if self._operation is not None and self._waits_for(link) and not self._sent:
            self._ask(link, self._operation, effects)

    def _forget(self, conn: int) -> _Link | None:
        link = self._by_conn.pop(conn, None)
        if link is not None and self._links.get(link.node) is link:
            del self._links[link.node]
        return link

    def _drop(self, node: str, why: str, effects: list[Effect]) -> None:
        link = self._links.pop(node, None)
        if link is not None:
            del self._by_conn[link.conn]
            effects.append(Close(link.conn, why))

    def _follow_directory(self, now: Now, effects: list[Effect]) -> None:
        """Connections to a node that is not asked any more are given up, with the operation that waits there."""
        self._followed = self.directory.primary
        wanted = (self._node_for(False), self._node_for(True))
        for node in [node for node in self._links if node not in wanted]:
            if self._operation is not None and self._operation.node == node:
                self._lost_sight("the directory names another primary", now)
                self._backoff_ms = 0
            self._drop(node, "the directory names another primary", effects)

    def _received(self, link: _Link, data: bytes, now: Now, effects: list[Effect]) -> None:
        reader, awaited = link.reader, link.awaited
        try:
            reader.feed(data)
            while (answer := reader.gets()) is not False:
                if not awaited:
                    raise hiredis.ProtocolError("a reply that nothing was asked for")
                question = awaited.popleft()
                operation = self._operation
                if operation is None or question == "auth":
                    continue
                if question == "main":
                    self._note_main(operation, answer)
                elif question == "role":
                    self._note_role(operation, answer)
                elif isinstance(answer, int):
                    operation.waited = answer
                if not awaited:
                    self._judge(operation, now)
        except hiredis.ProtocolError as problem:
            if self._waits_for(link):
                self._lost_sight(f"not a reply: {problem}", now)
            if self._links.get(link.node) is link:
                self._drop(link.node, "protocol error", effects)

    def _note_main(self, operation: Operation, answer: Any) -> None:
        if isinstance(answer, Exception):
            self._refusal = str(answer) or "an error"
            return
        self._refusal = ""
        if operation.kind == "incr" and isinstance(answer, int):
            operation.result = answer
        elif operation.kind == "get":
            operation.value = unpadded(answer.decode("utf-8", "replace")) if isinstance(answer, bytes) else ""

    def _judge(self, operation: Operation, now: Now) -> None:
        """All answers are there."""
        waited, wanted = operation.waited, self.plan.wait_replicas
        if self._refusal:
            if self._refusal.startswith(NO_PRIMARY_ANY_MORE):
                self._lost_primary(operation.node)
            self._end(FAIL, self._refusal, now)
        elif wanted and operation.writes and (waited or 0) < wanted:
            self._end(INFO, f"WAIT {wanted} answered {waited}", now)
        else:
            if waited is not None:
                operation.acked = max(operation.acked or 0, waited)
            self._end(OK, "", now)

    def _note_role(self, operation: Operation, answer: Any) -> None:
        """["master", offset, [[host, port, offset], ...]]; any other role says nothing of a write."""
        if isinstance(answer, list) and len(answer) == 3 and answer[0] == b"master" and self._refusal == "":
            offset = int(answer[1])
            operation.offset = offset
            operation.acked = 0
            for replica in answer[2]:
                if int(replica[2]) >= offset:
                    self._note_acked(operation, replica)

    def _note_acked(self, operation: Operation, replica: Any) -> None:
        """replica: [host, port, offset] of ROLE."""
        address = (replica[0].decode("utf-8", "replace"), int(replica[1]))
        names = [node for node, where in self.directory.addresses.items() if where == address]
        operation.acked = (operation.acked or 0) + 1
        operation.acked_by = [*(operation.acked_by or ()), *names]
