"""What the node does for scripts (scripting.api.Host): their commands pass the same gates as a client's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.clients.access import AccessDenied
from replicator.core.clients.session import Caller
from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import ADMIN, DENY_OOM, STALE, WRITE, Command
from replicator.core.effects import Level
from replicator.core.errors import CommandError
from replicator.core.scripting import api
from replicator.core.scripting.api import Run

if TYPE_CHECKING:
    from replicator.core.node import Node

_NO_ACCESS = {"command": api.NO_ACCESS_COMMAND, "key": api.NO_ACCESS_KEY, "channel": api.NO_ACCESS_CHANNEL}
_LEVELS = (Level.DEBUG, Level.VERBOSE, Level.NOTICE, Level.WARNING)


class ScriptHost:
    """Runs and judges the commands of scripts."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._had_room = True  # maxmemory held when the running script began

    def run_script_command(self, ctx: Context, run: Run, argv: list[bytes]) -> bytes:
        """One command of the running script; its encoded reply, an error among them."""
        executor = self.node.executor
        entry = executor.resolve(argv)
        try:
            self._admit(ctx, run, entry, argv)
        except CommandError as problem:
            if entry is not None:
                entry.rejected += 1
            return executor.failed(None, str(problem))
        assert entry is not None
        if entry.flags & WRITE:
            run.wrote = True
        keyspace = self.node.keyspace
        before = keyspace.verbatim
        executor.total_commands += 1
        try:
            return executor.call(ctx, entry, argv, commit=False)
        finally:
            keyspace.verbatim = before
            if self.node.monitors and not entry.flags & ADMIN:
                self.node.watchers.feed(ctx, entry, argv)
            tracker = self.node.tracker
            if tracker.active and (session := self.node.by_id.get(ctx.id)) is not None:
                tracker.remember(session, entry, argv)

    def _admit(self, ctx: Context, run: Run, entry: Command | None, argv: list[bytes]) -> None:
        node = self.node
        assert isinstance(ctx, Caller)
        problem = api.refuse_in_script(run, entry, argv, lenient=node.services.lenient_scripts)
        if problem is not None:
            raise CommandError(problem)
        assert entry is not None
        if not ctx.is_primary_link:
            self.check_script_access(ctx, entry, argv)
            if node.cluster is not None:
                node.cluster.check_in_script(run, entry, argv)
            if entry.flags & WRITE:
                if node.replica.active and node.config["replica-read-only"]:
                    raise CommandError(api.READ_ONLY_REPLICA)
                node.check_write()
            if node.is_stale() and not entry.flags & STALE:
                raise CommandError(api.STALE_COMMAND)
        may_exceed = run.flags & api.ALLOW_OOM or run.wrote
        if entry.flags & DENY_OOM and not may_exceed and not self._had_room:
            raise CommandError(api.OUT_OF_MEMORY)

    def check_script_access(self, ctx: Caller, entry: Command, argv: list[bytes]) -> None:
        """The caller's access rules, in the words for scripts."""
        try:
            self.node.users.check(ctx, entry, argv)
        except AccessDenied as problem:
            raise CommandError(_NO_ACCESS[problem.denial.reason]) from None

    def script_may_run(self, ctx: Context, argv: list[bytes]) -> bool | None:
        """redis.acl_check_cmd."""
        entry = self.node.executor.resolve(argv)
        if entry is None:
            return None
        assert isinstance(ctx, Caller)
        return self.node.users.denial(ctx, entry, argv) is None

    def script_refusal(self, ctx: Context, flags: int, legacy: bool) -> str | None:
        """Why a script with these flags may not start now."""
        node = self.node
        self._had_room = node.memory.has_room(node.turn.now)
        cannot_write: str | None = None
        if not ctx.is_primary_link:
            try:
                node.check_write()
            except CommandError as problem:
                cannot_write = str(problem)
        return api.start_refusal(
            flags,
            legacy,
            read_only_replica=node.replica.active
            and bool(node.config["replica-read-only"])
            and not ctx.is_primary_link,
            cannot_write=cannot_write,
            stale=node.is_stale(),
            out_of_memory=not self._had_room,
            cluster=node.cluster is not None,
        )

    def busy_threshold_ms(self) -> int:
        """busy-reply-threshold."""
        return int(self.node.config["busy-reply-threshold"])

    def meter(self) -> int:
        """Microseconds of a clock that runs while a script does."""
        return self.node.meter()

    def script_log(self, level: int, message: bytes) -> None:
        """redis.log."""
        self.node.turn.log(_LEVELS[level], message.decode("utf-8", "replace"))
