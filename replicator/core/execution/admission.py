"""What is asked before a command that needs a closer look, in stock's order: node.py shows the order as one tuple.

A check raises CommandError with the refusal, or lets the command pass. Checks that belong to a part of the node (the
role, a load, memory, users) are methods of that part; those that only look at the session and the command stand here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from replicator.core.clients.roll import Roll
from replicator.core.clients.session import Asked, Session
from replicator.core.command_table.registry import ALLOW_BUSY, NO_AUTH, READONLY, WRITE, Command
from replicator.core.errors import CommandError, shown_in_error, unknown_command
from replicator.core.execution.script_flags import flags_of
from replicator.core.scripting.state import Scripting
from replicator.core.wire.request import Argv

Check: TypeAlias = Callable[[Session, Asked], None]

_ALLOWED_WHILE_SUBSCRIBED = frozenset(
    ("subscribe", "unsubscribe", "psubscribe", "punsubscribe", "ssubscribe", "sunsubscribe", "ping", "quit", "reset")
)


class Admission:
    """Asks the checks, each with a name, one after the other."""

    __slots__ = ("_ask", "checks", "scripting")

    def __init__(self, scripting: Scripting, checks: tuple[tuple[str, Check], ...]) -> None:
        self.scripting = scripting
        self.checks = checks
        self._ask = tuple(check for _, check in checks)

    def admit(self, session: Session, command: Command | None, argv: Argv) -> Command:
        """The command (a container's subcommand); raises CommandError with what forbids it now."""
        command = identify(command, argv)
        session.argv = argv
        session.command = command
        flags = flags_of(command, argv, self.scripting)
        lacks = ~flags
        transaction = session.transaction
        if transaction is not None and command.name == "exec":
            flags |= transaction.flags  # what one of the queued commands does, EXEC does
            lacks |= transaction.lacks
        asked = Asked(command, argv, flags, lacks)
        for ask in self._ask:
            ask(session, asked)
        return command


def identify(command: Command | None, argv: Argv) -> Command:
    """The command (a container's subcommand) with its arity checked, or the error that says what is wrong."""
    if command is None:
        raise CommandError(unknown_command(argv))
    if command.subcommands and len(argv) >= 2:
        sub = command.subcommands.get(argv[1].lower().decode("utf-8", "replace"))
        if sub is None:
            shown = shown_in_error(argv[1][:128])
            raise CommandError(f"ERR unknown subcommand '{shown}'. Try {command.name.upper()} HELP.")
        command = sub
    if not command.least <= len(argv) <= command.most:
        raise CommandError(f"ERR wrong number of arguments for '{command.full_name}' command")
    return command


def check_login(session: Session, asked: Asked) -> None:
    """Who has not logged in may only log in."""
    if not session.authenticated and not asked.command.flags & NO_AUTH:
        raise CommandError("NOAUTH Authentication required.")


def check_monitor(session: Session, asked: Asked) -> None:
    """A client that watches all others touches no data."""
    if session.monitor and asked.flags & (READONLY | WRITE):
        raise CommandError("ERR Replica can't interact with the keyspace")


def check_subscriber(session: Session, asked: Asked) -> None:
    """In RESP2 a subscriber's replies could not be told from messages."""
    subscribed = session.channels or session.patterns or session.shard_channels
    if subscribed and not session.resp3 and asked.command.name not in _ALLOWED_WHILE_SUBSCRIBED:
        raise CommandError(
            f"ERR Can't execute '{asked.command.full_name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
            "RESET are allowed in this context"
        )


class BusyScript:
    """While a script runs too long, only what may end it is let through."""

    __slots__ = ("roll", "scripting")

    def __init__(self, scripting: Scripting, roll: Roll) -> None:
        self.scripting = scripting
        self.roll = roll

    def check(self, session: Session, asked: Asked) -> None:
        """Raise BUSY for a command that has to wait for the script's end."""
        if self.scripting.running is None or (error := self.scripting.busy_error()) is None:
            return
        command = asked.command
        if not command.flags & ALLOW_BUSY:
            raise CommandError(error)
        current = self.roll.current
        words = [] if current is None else [word.lower() for word in current.argv[1:]]
        if command.name == "shutdown" and b"nosave" not in words and words != [b"abort"]:
            raise CommandError(error)
