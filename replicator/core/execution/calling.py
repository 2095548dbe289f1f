"""One command that has passed its checks: what it changes is recorded, what it fails at is counted.

A CommandError is an error reply. Any other exception is a bug of ours: if nothing of the data can have been touched,
its client is told so and the node goes on; else the process ends, for a primary that differs from its stream is worse
than a dead one. A writing command counts as having touched the data whatever it says: it may have changed a value
before it told of it.
"""

from __future__ import annotations

from types import TracebackType

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import WRITE, Command
from replicator.core.effects import Level
from replicator.core.errors import WRONG_TYPE, CommandError, CountedError
from replicator.core.keyspace.database import Keyspace, WrongType
from replicator.core.replication.outgoing import Outgoing
from replicator.core.turn import Turn
from replicator.core.wire import reply
from replicator.core.wire.request import Argv

INTERNAL_ERROR = "ERR internal error"
_MAX_CODES = 128  # different error codes that are counted: a script can make up any


class Calling:
    """Runs single commands. errors: INFO errorstats, by code."""

    __slots__ = ("at_risk", "errors", "keyspace", "outgoing", "total", "turn")

    def __init__(self, turn: Turn, keyspace: Keyspace, outgoing: Outgoing) -> None:
        self.turn = turn
        self.keyspace = keyspace
        self.outgoing = outgoing
        self.errors: dict[str, int] = {}
        self.total = 0  # commands that were run
        self.at_risk = False  # an exception has come out of a writing command

    def call(self, ctx: Context, command: Command, argv: Argv, *, commit: bool = True) -> bytes:
        """Run one command; what it changes is recorded (and handed on, if commit)."""
        command.calls += 1
        keyspace = self.keyspace
        keyspace.verbatim = True
        before = keyspace.dirty
        index = ctx.db.index
        writes = keyspace.writes = command.flags & WRITE
        try:
            answer = command.run(ctx, argv)
        except CommandError as problem:
            answer = self.failed(command, problem)
        except WrongType:
            answer = self.failed(command, WRONG_TYPE)
        except Exception:
            self.at_risk = self.at_risk or bool(writes)
            raise
        keyspace.writes = 0
        if keyspace.dirty != before and keyspace.verbatim:
            keyspace.recorded.append((index, argv))
        if commit and keyspace.recorded:
            self.outgoing.commit()
        return answer

    def failed(self, command: Command | None, problem: str | CommandError) -> bytes:
        """The error reply, counted."""
        if command is not None:
            command.failed += 1
        return reply.error(str(problem)) if type(problem) is CountedError else self.error(str(problem))

    def error(self, text: str) -> bytes:
        """The error reply, counted by its code alone."""
        code = text.split(" ", 1)[0]
        if code in self.errors or len(self.errors) < _MAX_CODES:
            self.errors[code] = self.errors.get(code, 0) + 1
        return reply.error(text)

    def bug(self, bug: Exception, command: Command | None, argv: Argv, dirty_before: int) -> bytes:
        """An exception has come out of a client's command: log it, and answer; or raise it, if data may be touched.

        dirty_before: keyspace.dirty when the command began.
        """
        keyspace = self.keyspace
        at_risk, self.at_risk = self.at_risk, False
        writes = command is not None and bool(command.flags & WRITE)
        if at_risk or writes or keyspace.dirty != dirty_before or keyspace.recorded:
            raise bug
        keyspace.writes = 0
        keyspace.apart = False
        name = "a command" if command is None else command.full_name
        # Neither the arguments nor the exception's words, which may quote them, are for the log.
        self.turn.log(
            Level.WARNING, f"=== BUG: {type(bug).__name__} in {name} with {len(argv) - 1} arguments (redacted)"
        )
        for line in where(bug.__traceback__):
            self.turn.log(Level.WARNING, line)
        self.turn.log(Level.WARNING, "=== Nothing of the data was touched: its client is told, and the server goes on.")
        return self.failed(command, INTERNAL_ERROR)


def where(traceback: TracebackType | None) -> list[str]:
    """The way into an exception, outermost first; without the lines themselves, which nobody here may read."""
    lines = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        lines.append(f"  {code.co_filename}:{traceback.tb_lineno} in {code.co_qualname}")
        traceback = traceback.tb_next
    return lines
