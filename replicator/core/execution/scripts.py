"""What the node does for scripts (scripting.api.Host): their commands pass the same gates as a client's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from replicator.core.clients.access import AccessDenied
from replicator.core.clients.memory import Memory
from replicator.core.clients.monitors import Monitors
from replicator.core.clients.roll import Roll
from replicator.core.clients.session import Caller
from replicator.core.clients.tracking import Tracker
from replicator.core.clients.users import Users
from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import ADMIN, DENY_OOM, STALE, WRITE, Command
from replicator.core.command_table.table import Table
from replicator.core.config.config import Config
from replicator.core.effects import Level
from replicator.core.errors import CommandError
from replicator.core.execution.calling import Calling
from replicator.core.keyspace.database import Keyspace
from replicator.core.scripting import api
from replicator.core.scripting.api import Run
from replicator.core.scripting.state import ScriptError, Scripting
from replicator.core.turn import Turn
from replicator.core.wire.rdb import RdbError

_NO_ACCESS = {"command": api.NO_ACCESS_COMMAND, "key": api.NO_ACCESS_KEY, "channel": api.NO_ACCESS_CHANNEL}
_LEVELS = (Level.DEBUG, Level.VERBOSE, Level.NOTICE, Level.WARNING)


def built_functions(scripting: Scripting, codes: list[bytes], offset: int) -> Callable[[], None]:
    """Build the libraries of a snapshot; what puts them in place of ours. Raises RdbError, which names the one that
    does not load. offset: where the snapshot ends.
    """
    try:
        built = scripting.built_libraries(codes)
    except ScriptError as problem:
        raise RdbError(f"functions cannot be loaded: {problem}", offset) from None
    return lambda: scripting.adopt_libraries(built)


class Role(Protocol):
    """What scripts ask of the node's role (roles/role.py)."""

    def is_read_only(self) -> bool:
        """A replica that takes no writes."""

    def is_stale(self) -> bool:
        """A replica cut off from its primary that must not serve what it has."""

    def check_write(self) -> None:
        """Raise what forbids a write now."""


class ScriptHost:
    """Runs and judges the commands of scripts."""

    def __init__(
        self,
        turn: Turn,
        meter: Callable[[], int],
        config: Config,
        keyspace: Keyspace,
        table: Table,
        calling: Calling,
        users: Users,
        roll: Roll,
        monitors: Monitors,
        tracker: Tracker,
        memory: Memory,
        scripting: Scripting,
        role: Role,
        redirect: Callable[[Run, Command, list[bytes]], None] | None,
    ) -> None:
        """redirect: in a cluster, raises CommandError for a command that does not belong to this node."""
        self.turn = turn
        self.meter = meter
        self.config = config
        self.keyspace = keyspace
        self.table = table
        self.calling = calling
        self.users = users
        self.roll = roll
        self.monitors = monitors
        self.tracker = tracker
        self.memory = memory
        self.scripting = scripting
        self.role = role
        self.redirect = redirect
        self._had_room = True  # maxmemory held when the running script began

    def run_script_command(self, ctx: Context, run: Run, argv: list[bytes]) -> bytes:
        """One command of the running script; its encoded reply, an error among them."""
        entry = self.table.resolve(argv)
        try:
            self._admit(ctx, run, entry, argv)
        except CommandError as problem:
            if entry is not None:
                entry.rejected += 1
            return self.calling.failed(None, str(problem))
        assert entry is not None
        if entry.flags & WRITE:
            run.wrote = True
        keyspace = self.keyspace
        before = keyspace.verbatim
        self.calling.total += 1
        try:
            return self.calling.call(ctx, entry, argv, commit=False)
        finally:
            keyspace.verbatim = before
            if self.monitors.sessions and not entry.flags & ADMIN:
                self.monitors.feed(ctx, entry, argv)
            if self.tracker.active and (session := self.roll.by_id.get(ctx.id)) is not None:
                self.tracker.remember(session, entry, argv)

    def _admit(self, ctx: Context, run: Run, entry: Command | None, argv: list[bytes]) -> None:
        assert isinstance(ctx, Caller)
        problem = api.refuse_in_script(run, entry, argv, lenient=self.scripting.lenient)
        if problem is not None:
            raise CommandError(problem)
        assert entry is not None
        if not ctx.is_primary_link:
            self._check_access(ctx, entry, argv)
            if self.redirect is not None:
                self.redirect(run, entry, argv)
            if entry.flags & WRITE:
                if self.role.is_read_only():
                    raise CommandError(api.READ_ONLY_REPLICA)
                self.role.check_write()
            if self.role.is_stale() and not entry.flags & STALE:
                raise CommandError(api.STALE_COMMAND)
        may_exceed = run.flags & api.ALLOW_OOM or run.wrote
        if entry.flags & DENY_OOM and not may_exceed and not self._had_room:
            raise CommandError(api.OUT_OF_MEMORY)

    def _check_access(self, ctx: Caller, entry: Command, argv: list[bytes]) -> None:
        """The caller's access rules, in the words for scripts."""
        try:
            self.users.check(ctx, entry, argv)
        except AccessDenied as problem:
            raise CommandError(_NO_ACCESS[problem.denial.reason]) from None

    def script_may_run(self, ctx: Context, argv: list[bytes]) -> bool | None:
        """redis.acl_check_cmd."""
        assert isinstance(ctx, Caller)
        entry = self.table.resolve(argv)
        return None if entry is None else self.users.denial(ctx, entry, argv) is None

    def script_refusal(self, ctx: Context, flags: int, legacy: bool) -> str | None:
        """Why a script with these flags may not start now."""
        self._had_room = self.memory.has_room(self.turn.now)
        cannot_write: str | None = None
        if not ctx.is_primary_link:
            try:
                self.role.check_write()
            except CommandError as problem:
                cannot_write = str(problem)
        return api.start_refusal(
            flags,
            legacy,
            read_only_replica=self.role.is_read_only() and not ctx.is_primary_link,
            cannot_write=cannot_write,
            stale=self.role.is_stale(),
            out_of_memory=not self._had_room,
            cluster=self.redirect is not None,
        )

    def busy_threshold_ms(self) -> int:
        """busy-reply-threshold."""
        return int(self.config["busy-reply-threshold"])

    def script_log(self, level: int, message: bytes) -> None:
        """redis.log."""
        self.turn.log(_LEVELS[level], message.decode("utf-8", "replace"))
