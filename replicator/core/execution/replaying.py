"""Commands of an append-only file, applied as they stand in it: nobody is answered and nothing is propagated."""

from __future__ import annotations

from collections.abc import Callable

from replicator.core.clients.roll import Roll
from replicator.core.clients.session import Session
from replicator.core.command_table.table import Table
from replicator.core.effects import Level
from replicator.core.errors import WRONG_TYPE, CommandError, UnknownCommand, shown_in_error
from replicator.core.keyspace.database import Keyspace, WrongType
from replicator.core.wire.request import Argv


class _Silent(Session):
    """The caller in whose name the file is applied."""

    __slots__ = ()

    def push(self, data: bytes) -> None:
        """Nobody listens."""


class Replayer:
    """Runs the commands of one file. Meanwhile no key is taken for expired: the file deletes what has expired."""

    def __init__(self, table: Table, keyspace: Keyspace, roll: Roll, log: Callable[[Level, str], None]) -> None:
        self._table = table
        self._keyspace = keyspace
        self._log = log
        session = self._session = roll.make(_Silent, 0)
        session.is_primary_link = True
        session.authenticated = True
        session.deny_blocking = True

    def apply(self, batch: list[Argv]) -> None:
        """Run them all. Raises UnknownCommand with its place in the batch; those before it have been run."""
        keyspace, session = self._keyspace, self._session
        table = self._table
        keyspace.loading = True
        try:
            for at, argv in enumerate(batch):
                command = table.known.get(argv[0]) or table.find(argv[0])
                if command is not None and command.subcommands:
                    command = table.resolve(argv)
                if command is None:
                    raise UnknownCommand(at, shown_in_error(argv[0][:128]))
                if not command.least <= len(argv) <= command.most:
                    self._complain(argv, b"-ERR wrong number of arguments\r\n")
                    continue
                run = command.run  # a local name: 3.11 finds what is called of an attribute slowly
                try:
                    answer = run(session, argv)
                except CommandError as problem:
                    answer = b"-%s\r\n" % str(problem).encode("utf-8", "surrogateescape")
                except WrongType:
                    answer = b"-%s\r\n" % WRONG_TYPE.encode()
                if answer[:1] == b"-":
                    self._complain(argv, answer)
                if keyspace.recorded:
                    keyspace.recorded.clear()
        finally:
            keyspace.loading = False

    def _complain(self, argv: Argv, answer: bytes) -> None:
        """As stock, which loads on: its own writers make such a file when a command has failed halfway."""
        name = argv[0][:128].decode("utf-8", "backslashreplace").lower()
        self._log(
            Level.WARNING,
            "== CRITICAL == This server is sending an error to its AOF-loading-client: "
            f"'{answer[:-2].decode('utf-8', 'backslashreplace')}' after processing the command '{name}'",
        )
