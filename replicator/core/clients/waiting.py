"""Sessions that wait: for keys, for replicas, for the end of a pause. What they send meanwhile waits with them."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from replicator.core.clients.session import FAILS_AT_END, Blocked, Session, Wait
from replicator.core.command_table.registry import Command
from replicator.core.keyspace.database import Keyspace
from replicator.core.wire import reply

_ROLE_CHANGED = reply.error(
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"
)


class Waiting:
    """All waiting sessions of one node. failed: counts an error reply."""

    __slots__ = ("_count", "blocked", "failed", "keyspace", "resumed", "timeouts")

    def __init__(self, keyspace: Keyspace, failed: Callable[[Command, str], object]) -> None:
        self.keyspace = keyspace
        self.failed = failed
        self.blocked: dict[Session, None] = {}  # in the order in which they began to wait
        self.timeouts: list[tuple[int, int, Session, Blocked]] = []  # a heap; those who were served stay a while
        self.resumed: list[Session] = []  # wait no more, with commands still to run
        self._count = 0

    def wait_for_keys(self, session: Session, blocked: Blocked) -> None:
        """Register a session that waits for keys (from Context.block)."""
        db = self.keyspace.databases[blocked.db_index]
        for key in blocked.keys:
            db.awaited.setdefault(key, {})[session] = None
        db.rehook()
        self.park(session, blocked)

    def park(self, session: Session, blocked: Blocked) -> None:
        """Let a session wait."""
        session.blocked = blocked
        self.blocked[session] = None
        if blocked.deadline_ms is not None:
            self._count += 1
            timeouts = self.timeouts
            if len(timeouts) > 64 and len(timeouts) > 2 * len(self.blocked):  # most of them were served in time
                timeouts[:] = [entry for entry in timeouts if entry[2].blocked is entry[3]]
                heapify(timeouts)
            heappush(timeouts, (blocked.deadline_ms, self._count, session, blocked))

    def unpark(self, session: Session) -> Blocked:
        """The session waits no more; its further commands will run at the end of this turn."""
        blocked = session.blocked
        assert blocked is not None
        session.blocked = None
        self.blocked.pop(session, None)
        if blocked.keys:
            db = self.keyspace.databases[blocked.db_index]
            for key in blocked.keys:
                waiters = db.awaited.get(key)
                if waiters is not None:
                    waiters.pop(session, None)
                    if not waiters:
                        del db.awaited[key]
            db.rehook()
        if session.queue or session.unread or session.decoder.error is not None:
            self.resumed.append(session)
        return blocked

    def unblock(self, session: Session, answer: bytes, *, counted: bool = False) -> None:
        """End a session's waiting with this reply. counted: of a call whose failing has been counted."""
        blocked = self.unpark(session)
        if not counted and blocked.kind in FAILS_AT_END and blocked.command is not None and answer[:1] == b"-":
            self.failed(blocked.command, answer[1:-2].decode())
        if answer and (answer := session.answer(answer)):
            session.push(answer)

    def abandon(self, session: Session) -> None:
        """A session that waits is sent away, or gone: neither it nor its further commands wait for anything."""
        if session.blocked is not None:
            session.queue.clear()
            session.unread.clear()
            self.unpark(session)

    def end_for_role_change(self) -> None:
        """Writes that wait cannot be served by a replica."""
        for session in list(self.blocked):
            if session.blocked is not None and session.blocked.kind in (Wait.KEYS, Wait.REPLICAS, Wait.DURABLE):
                self.unblock(session, _ROLE_CHANGED)
                session.close("role changed")

    def expire(self, now_ms: int) -> None:
        """Answer those whose timeout has passed."""
        timeouts = self.timeouts
        while timeouts and timeouts[0][0] <= now_ms:
            _, _, session, blocked = heappop(timeouts)
            if session.blocked is blocked:
                answer = blocked.on_timeout
                self.unblock(session, answer() if callable(answer) else answer)

    def next_timeout(self) -> int | None:
        """When the next waiting session gives up (mono ms)."""
        timeouts = self.timeouts
        while timeouts and timeouts[0][2].blocked is not timeouts[0][3]:
            heappop(timeouts)
        return timeouts[0][0] if timeouts else None
