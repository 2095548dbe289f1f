"""One node driven by its events, without sockets: open clients, send them commands, let time pass, look at the effects.

    node = LocalNode()
    client = node.open()
    assert client.send("SET", "k", "1") == b"OK"
    node.advance(1500)                        # 1.5 s pass
    client.read()                             # whatever else came: messages, late replies
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import hiredis

from replicator.core.config.config import Config, ConfigStore
from replicator.core.effects import Close, Effect, Exit, Log, ReadFile, Send
from replicator.core.events import Closed, Event, FileFailed, Opened, Received, Started
from replicator.core.node import Node
from replicator.core.now import Now
from replicator.core.surroundings import Surroundings

NOTHING = object()  # no reply (yet)


class LocalClient:
    """One connection to a LocalNode."""

    def __init__(self, node: LocalNode, conn: int) -> None:
        self.node = node
        self.conn = conn
        self.reader = hiredis.Reader(notEnoughData=NOTHING)
        self.closed = False
        node.clients[conn] = self
        node.handle(Opened(conn, "127.0.0.1", 40000 + conn, "127.0.0.1", 6379))

    @property
    def session(self) -> Any:
        """What the node knows of it."""
        return self.node.node.roll.sessions[self.conn]

    def send(self, *argv: bytes | str | int | float) -> Any:
        """One command's reply (an error as a hiredis.ReplyError value); NOTHING while there is none."""
        self.node.handle(Received(self.conn, hiredis.pack_command(tuple(argv))))
        return self.reader.gets()

    def receive(self, data: bytes) -> None:
        """Bytes as they are, a half request among them."""
        self.node.handle(Received(self.conn, data))

    def pipeline(self, *commands: Sequence[bytes | str | int | float]) -> list[Any]:
        """Several commands in one read; all that came back."""
        self.node.handle(Received(self.conn, b"".join(hiredis.pack_command(tuple(argv)) for argv in commands)))
        return self.read()

    def read(self) -> list[Any]:
        """All replies and messages that have come and were not read."""
        found = []
        while (answer := self.reader.gets()) is not NOTHING:
            found.append(answer)
        return found

    def close(self) -> None:
        """Hang up."""
        if not self.closed:
            self.closed = True
            self.node.handle(Closed(self.conn, "the peer hung up"))


class LocalNode:
    """A node at work: started, with an empty data set."""

    def __init__(
        self,
        *arguments: str,
        seed: int = 1,
        surroundings: Surroundings | None = None,
        store: ConfigStore | None = None,
    ) -> None:
        config = Config(store)
        config.load((store and store.read()) or "", ["--save", "", *arguments])
        self.node = Node(config, Random(seed), surroundings)
        self.now = Now(1_000_000, 1_700_000_000_000)
        self.clients: dict[int, LocalClient] = {}
        self.log: list[str] = []
        self.effects: list[Effect] = []  # those that are neither sent bytes nor log lines
        self.exit_code: int | None = None
        self._conns = 0
        self.handle(Started())
        self.handle(FileFailed(str(config["dbfilename"]), "No such file or directory", True))
        self.advance(0)

    def open(self) -> LocalClient:
        """A new client."""
        self._conns += 1
        return LocalClient(self, self._conns)

    def handle(self, event: Event) -> None:
        """Tell the node what happened and carry out what it answers."""
        self._carry_out(self.node.handle(event, self.now))
        self.node.check_invariants()

    def advance(self, ms: int) -> None:
        """Let time pass; the node does what is due at every deadline on the way."""
        end = self.now.mono_ms + ms
        while True:
            deadline = self.node.deadline_ms()
            step = end if deadline is None else min(end, max(deadline, self.now.mono_ms))
            self.now = Now(step, self.now.unix_ms + step - self.now.mono_ms)
            self._carry_out(self.node.advance(self.now))
            if step >= end:
                return

    def _carry_out(self, effects: list[Effect]) -> None:
        closes = []
        for effect in effects:
            if isinstance(effect, Send):
                client = self.clients.get(effect.conn)
                if client is not None and not client.closed:
                    client.reader.feed(effect.data)
            elif isinstance(effect, Log):
                self.log.append(effect.message)
            elif isinstance(effect, Close):
                closes.append(effect)
            elif isinstance(effect, Exit):
                self.exit_code = effect.code
            elif not isinstance(effect, ReadFile):
                self.effects.append(effect)
        for close in closes:
            client = self.clients.get(close.conn)
            if client is not None and not client.closed:
                client.closed = True
                self.handle(Closed(close.conn, close.why))
