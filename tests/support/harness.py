"""One node without a driver: callers send argv, time is moved by hand, effects lie open.

    node = Harness()
    assert node.call("SET", "k", "1") == b"OK"
    other = node.caller()                     # a second client
    node.advance(1500)                        # 1.5 s pass
    node.drain_effects() == [(0, [b"SET", b"k", b"1"])]
"""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

import hiredis

import replicator.core.commands.catalog  # noqa: F401 # fills the registry
from replicator.core.clients.pubsub import PubSub
from replicator.core.command_table.context import PENDING, Context
from replicator.core.command_table.registry import REGISTRY, WRITE, Command
from replicator.core.errors import SYNTAX, WRONG_TYPE, CommandError
from replicator.core.keyspace.database import Keyspace, WrongType
from replicator.core.keyspace.eviction import Evictor
from replicator.core.now import Now
from replicator.core.scripting.api import Run, refuse_in_script
from replicator.core.scripting.state import Scripting
from replicator.core.wire import reply

# What commands ask of the configuration, at stock's defaults; a test may change node.server.config.
DIRECTIVES = {
    "busy-reply-threshold": 5000,
    "cluster-enabled": False,
    "hash-max-listpack-entries": 128,
    "hash-max-listpack-value": 64,
    "hll-sparse-max-bytes": 3000,
    "lfu-decay-time": 1,
    "lfu-log-factor": 10,
    "maxmemory": 0,
    "maxmemory-policy": "noeviction",
    "maxmemory-samples": 5,
    "proto-max-bulk-len": 512 * 1024 * 1024,
    "set-max-intset-entries": 512,
    "stream-node-max-bytes": 4096,
    "stream-node-max-entries": 100,
    "zset-max-listpack-entries": 128,
    "zset-max-listpack-value": 64,
}
START = Now(1_000_000, 1_700_000_000_000)


def _bytes(argument: bytes | str | int | float) -> bytes:
    return argument if isinstance(argument, bytes) else str(argument).encode()


class HarnessContext(Context):
    """A context whose blocked calls and pushed bytes lie open."""

    def __init__(self, server: Any, keyspace: Keyspace) -> None:
        super().__init__(server, keyspace)
        self.pushed: list[Any] = []
        self.waiting: tuple[list[bytes], int | None, bytes, bool] | None = None
        self.argv: list[bytes] = []

    def _block(self, keys: list[bytes], timeout_ms: int | None, on_timeout: bytes, on_delete: bool) -> bytes:
        if self.waiting is None:
            deadline = None if timeout_ms is None else self.server.now.mono_ms + timeout_ms
            self.waiting = (keys, deadline, on_timeout, on_delete)
            for key in keys:
                self.db.awaited.setdefault(key, {})[self] = None
            self.db.rehook()
        return PENDING

    def push(self, data: bytes) -> None:
        self.pushed.append(decode(data))


def decode(data: bytes) -> Any:
    """Decoded RESP; errors are values."""
    reader = hiredis.Reader()
    reader.feed(data)
    return reader.gets()


class Harness:
    """A keyspace, a registry and callers."""

    def __init__(self, seed: int = 1, databases: int = 16) -> None:
        self.keyspace = Keyspace(databases)
        self.server = SimpleNamespace(keyspace=self.keyspace, random=Random(seed), now=START, config=dict(DIRECTIVES))
        self.table = {name.encode(): entry.copy() for name, entry in REGISTRY.items()}
        self.keyspace.now_ms = START.unix_ms
        self.server.evictor = Evictor(self.keyspace, self.server.config, self.server.random)
        self.server.report = SimpleNamespace(overheads=dict)
        self.meter_us = 0  # what server.meter reads
        self.logged: list[tuple[int, bytes]] = []  # by redis.log
        self.server.meter = lambda: self.meter_us
        self.server.script_log = lambda level, message: self.logged.append((level, message))
        self.server.script_refusal = lambda ctx, flags, legacy: None
        self.server.script_may_run = lambda ctx, argv: None if self._resolve(argv) is None else True
        self.server.run_script_command = self._run_script_command
        self.server.busy_threshold_ms = lambda: self.server.config["busy-reply-threshold"]
        self.server.scripting = Scripting()
        self.server.scripting.host = self.server
        self.server.pubsub = PubSub()
        self.replies: dict[HarnessContext, list[Any]] = {}
        self.first = self.caller()

    def caller(self) -> HarnessContext:
        return HarnessContext(self.server, self.keyspace)

    def advance(self, ms: int) -> None:
        now = self.server.now
        self.server.now = Now(now.mono_ms + ms, now.unix_ms + ms)
        self.keyspace.now_ms = self.server.now.unix_ms
        for db in self.keyspace.databases:
            for contexts in list(db.awaited.values()):
                for ctx in list(contexts):
                    if ctx.waiting and ctx.waiting[1] is not None and ctx.waiting[1] <= self.server.now.mono_ms:
                        self._unblock(ctx, ctx.waiting[2])

    def call(self, *argv: bytes | str | int | float, ctx: HarnessContext | None = None) -> Any:
        """The decoded reply; harness.PENDING (b"") while the command waits. Errors come as hiredis.ReplyError
        values.
        """
        raw = self.raw(*argv, ctx=ctx)
        return PENDING if raw == PENDING else decode(raw)

    def raw(self, *argv: bytes | str | int | float, ctx: HarnessContext | None = None) -> bytes:
        """The encoded reply."""
        ctx = ctx or self.first
        answer = self._run(ctx, [_bytes(a) for a in argv])
        self._serve_ready()
        return answer

    def drain_effects(self) -> list[tuple[int, list[bytes]]]:
        effects = self.keyspace.recorded[:]
        self.keyspace.recorded.clear()
        return effects

    def unblocked(self, ctx: HarnessContext) -> list[Any]:
        """Replies that blocked commands of this caller have got since."""
        return self.replies.pop(ctx, [])

    def _run(self, ctx: HarnessContext, argv: list[bytes]) -> bytes:
        entry = self.table.get(argv[0].lower())
        if entry is None:
            return reply.error(f"ERR unknown command '{argv[0].decode()}'")
        if entry.subcommands:
            sub = entry.subcommands.get(argv[1].lower().decode()) if len(argv) > 1 else None
            if sub is None:
                return reply.error("ERR unknown subcommand")
            entry = sub
        if not entry.least <= len(argv) <= entry.most:
            return reply.error(f"ERR wrong number of arguments for '{entry.full_name}' command")
        ctx.argv = argv
        return self._execute(ctx, entry, argv)

    def _execute(self, ctx: Context, entry: Command, argv: list[bytes]) -> bytes:
        keyspace = self.keyspace
        keyspace.verbatim = True
        before, db = keyspace.dirty, ctx.db
        try:
            answer = entry.run(ctx, argv)
        except CommandError as problem:
            # A script may have changed something before it failed.
            assert keyspace.dirty == before or entry.group == "scripting", "an error reply after a change"
            answer = reply.error(str(problem))
        except WrongType:
            assert keyspace.dirty == before, "an error reply after a change"
            answer = reply.error(WRONG_TYPE)
        if keyspace.dirty != before and keyspace.verbatim:
            assert entry.flags & WRITE or entry.name in ("pfcount", "publish", "spublish"), argv
            keyspace.recorded.append((db.index, argv))
        return answer

    def _resolve(self, argv: list[bytes]) -> Command | None:
        """The command or subcommand; a container alone stands for itself."""
        entry = self.table.get(argv[0].lower())
        if entry is not None and entry.subcommands and len(argv) > 1:
            return entry.subcommands.get(argv[1].lower().decode("utf-8", "replace"))
        return entry

    def _run_script_command(self, ctx: Context, run: Run, argv: list[bytes]) -> bytes:
        entry = self._resolve(argv)
        problem = refuse_in_script(run, entry, argv)
        if problem is not None:
            return reply.error(problem)
        assert entry is not None
        if entry.flags & WRITE:
            run.wrote = True
        verbatim = self.keyspace.verbatim
        try:
            return self._execute(ctx, entry, argv)
        finally:
            self.keyspace.verbatim = verbatim

    def _unblock(self, ctx: HarnessContext, answer: bytes) -> None:
        assert ctx.waiting is not None
        for key in ctx.waiting[0]:
            waiters = ctx.db.awaited.get(key, {})
            waiters.pop(ctx, None)
            if not waiters:
                ctx.db.awaited.pop(key, None)
        ctx.waiting = None
        ctx.db.rehook()
        self.replies.setdefault(ctx, []).append(decode(answer))

    def _serve_ready(self) -> None:
        while self.keyspace.ready:
            index, key = next(iter(self.keyspace.ready))
            del self.keyspace.ready[(index, key)]
            db = self.keyspace.databases[index]
            for ctx in list(db.awaited.get(key, {})):
                if ctx.waiting is None or (key not in db.values and not ctx.waiting[3]):
                    continue
                ctx.retrying = True
                ctx.ready_key = key
                answer = self._run(ctx, ctx.argv)
                ctx.retrying = False
                if answer != PENDING:
                    self._unblock(ctx, answer)


__all__ = ["PENDING", "START", "SYNTAX", "Harness", "HarnessContext", "decode"]
