"""Answers that are made in parts, as their clients take them, with the other clients served in between.

A client whose answer goes out in parts waits like one that is blocked: its later commands wait for the end of the
answer, and so does what others tell it meanwhile (messages, invalidations: Session.late). In one turn a single part is
made, for the client that has waited longest for one of those that have taken nearly all they were sent; so however many
there are, others wait a few milliseconds. A client that reads nothing costs PARTS_AHEAD_BYTES and a part.

Where a hard output limit stands for ordinary clients, an answer counts against it as a whole: it is kept until it is,
and a client whose answer is too long is closed before the first byte of it, as if it had been made at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from replicator.core.clients.session import Blocked, Session, Wait
from replicator.core.clients.waiting import Waiting
from replicator.core.command_table.context import Settings
from replicator.core.limits import OUTPUT_RETRY_MS, PARTS_AHEAD_BYTES, PARTS_LOOKED_AT
from replicator.core.turn import Turn


class Weigh(Protocol):
    """Output.weigh."""

    def __call__(self, session: Session, more: int = 0) -> None: ...


class LongAnswer:
    """One client's. kept: parts that may not go out before the last is made."""

    __slots__ = ("kept", "kept_size", "parts")

    def __init__(self, parts: Iterator[bytes]) -> None:
        self.parts = parts
        self.kept: list[bytes] = []
        self.kept_size = 0


class LongAnswers:
    """All of one node. due_ms: when the next part may be made (mono ms); None: there is none to make."""

    __slots__ = ("config", "due_ms", "lines", "turn", "waiting", "weigh")

    def __init__(self, turn: Turn, config: Settings, waiting: Waiting, weigh: Weigh) -> None:
        self.turn = turn
        self.config = config
        self.waiting = waiting
        self.weigh = weigh
        self.lines: dict[Session, LongAnswer] = {}  # in the order of their turns
        self.due_ms: int | None = None

    def begin(self, session: Session, parts: Iterator[bytes]) -> None:
        """Answer the command that runs with these parts."""
        now = self.turn.now.mono_ms
        self.lines[session] = LongAnswer(parts)
        session.late = []
        self.waiting.park(session, Blocked(Wait.PARTS, [], None, None, b"", since_ms=now))
        self.due_ms = now

    def drop(self, session: Session) -> None:
        """The client is gone, and with it what was still to be made."""
        self.lines.pop(session, None)
        session.late = None

    def advance(self) -> None:
        """Make a part for the next client that can take one."""
        now = self.turn.now.mono_ms
        if self.due_ms is None or now < self.due_ms:
            return
        made = False
        for _ in range(min(len(self.lines), PARTS_LOOKED_AT)):
            session = next(iter(self.lines))
            answer = self.lines.pop(session)
            if session.closing:
                continue
            self.lines[session] = answer  # behind all others
            if session.pending_output <= PARTS_AHEAD_BYTES:
                self._make_part(session, answer)
                made = True
                break
        # With the next millisecond, not at once: in between the driver looks at the other connections.
        self.due_ms = None if not self.lines else now + (1 if made else OUTPUT_RETRY_MS)

    def _make_part(self, session: Session, answer: LongAnswer) -> None:
        part = next(answer.parts, None)
        if part is None:
            self._end(session, answer)
        elif self.config["client-output-buffer-limit"]["normal"][0]:
            answer.kept.append(part)
            answer.kept_size += len(part)
            self.weigh(session, answer.kept_size)
        else:
            answer.kept.append(part)
            self._send(session, answer)

    def _send(self, session: Session, answer: LongAnswer) -> None:
        """What is kept goes out, before what is late."""
        late, session.late = session.late, None
        session.push(b"".join(answer.kept))
        session.late = late
        session.last_ms = self.turn.now.mono_ms
        answer.kept.clear()
        answer.kept_size = 0

    def _end(self, session: Session, answer: LongAnswer) -> None:
        del self.lines[session]
        if answer.kept:
            self._send(session, answer)
        late, session.late = session.late, None
        if late:
            session.push(b"".join(late))
        if session.blocked is not None:
            self.waiting.unblock(session, b"")
