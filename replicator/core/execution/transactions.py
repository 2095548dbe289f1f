"""EXEC: what MULTI has queued runs as one, and what it changes is handed on together."""

from __future__ import annotations

from replicator.core.clients.monitors import Monitors
from replicator.core.clients.session import Session
from replicator.core.clients.tracking import Tracker
from replicator.core.clients.users import Users
from replicator.core.command_table.registry import ADMIN, SKIP_MONITOR, Command
from replicator.core.errors import CommandError
from replicator.core.execution.calling import Calling
from replicator.core.keyspace.database import Keyspace
from replicator.core.wire import reply
from replicator.core.wire.request import Argv


class Transactions:
    """See the module."""

    def __init__(
        self, keyspace: Keyspace, calling: Calling, users: Users, monitors: Monitors, tracker: Tracker
    ) -> None:
        self.keyspace = keyspace
        self.calling = calling
        self.users = users
        self.monitors = monitors
        self.tracker = tracker

    def execute(self, session: Session) -> bytes:
        """Run what was queued."""
        transaction = session.transaction
        assert transaction is not None
        session.unwatch()
        answers: list[bytes] = []
        session.deny_blocking = True
        try:
            answers += [self._one(session, command, argv) for command, argv in transaction.commands]
        finally:
            session.deny_blocking = False
            session.end_transaction()  # until here the client is shown as one that runs it
        self.keyspace.verbatim = False
        return reply.array(answers)

    def _one(self, session: Session, command: Command, argv: Argv) -> bytes:
        if not session.is_primary_link:
            try:
                self.users.check_queued(session, command, argv)
            except CommandError as problem:
                return self.calling.failed(command, str(problem))
        self.calling.total += 1
        answer = self.calling.call(session, command, argv, commit=False)
        if self.monitors.sessions and not command.flags & (ADMIN | SKIP_MONITOR):
            self.monitors.feed(session, command, argv)
        if session.tracking is not None:
            self.tracker.remember(session, command, argv)
        return answer
