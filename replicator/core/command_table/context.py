"""What a command sees of its caller, of the data and of the node."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, Protocol

from replicator.core.keyspace.database import Database, Keyspace
from replicator.core.keyspace.eviction import Evictor
from replicator.core.wire import reply

# A command that cannot answer yet (BLPOP on an empty list) returns this instead of a reply; see Context.block.
PENDING = b""


class Settings(Protocol):
    """The configuration: the value of a directive."""

    def __getitem__(self, name: str, /) -> Any: ...


class Server(Protocol):
    """What commands on data see of the node. Others see more of it (commands/parts.py)."""

    @property
    def config(self) -> Settings:
        """The directives."""

    @property
    def random(self) -> Random:
        """The node's one source of chance, seeded by the driver."""

    @property
    def evictor(self) -> Evictor:
        """The memory account."""

    def reads_all_keys(self, ctx: Context, argv: list[bytes], /) -> bool:
        """Whether the caller may read every key by this command."""


class Context:
    """A caller: a client's session, the link from our primary, or a running script. One object for its whole life.

    Commands read and change the fields below; everything else about connections belongs to Session
    (core/clients/session.py), which also knows the types of what stands here as an object: no command on data looks
    into it.
    """

    __slots__ = (
        "authenticated",
        "blocked",
        "channels",
        "conn",
        "created_ms",
        "db",
        "deny_blocking",
        "dirty_watch",
        "id",
        "is_primary_link",
        "is_replica",
        "keyspace",
        "last_ms",
        "lib_name",
        "lib_ver",
        "local",
        "name",
        "null",
        "null_array",
        "patterns",
        "peer",
        "ready_key",
        "resp3",
        "retrying",
        "script",
        "server",
        "shard_channels",
        "tracking",
        "transaction",
        "user",
        "watching",
    )

    def __init__(self, server: Server, keyspace: Keyspace) -> None:
        self.server = server
        self.keyspace = keyspace
        self.db: Database = keyspace.databases[0]
        self.id = 0
        self.conn = 0
        self.peer = ""
        self.local = ""
        self.name = b""
        self.lib_name = b""
        self.lib_ver = b""
        self.user: object = None  # the ACL user
        self.authenticated = False
        self.resp3 = False
        self.null = reply.NULL2  # the null of this caller's protocol
        self.null_array = reply.NULL_ARRAY2
        self.created_ms = 0
        self.last_ms = 0  # mono ms of the last command
        self.transaction: object = None  # queued commands between MULTI and EXEC
        self.watching: list[tuple[Database, bytes]] = []
        self.dirty_watch = False  # a watched key was changed: EXEC answers null
        self.channels: dict[bytes, None] = {}
        self.patterns: dict[bytes, None] = {}
        self.shard_channels: dict[bytes, None] = {}
        self.tracking: object = None  # client-side caching state
        self.blocked: object = None  # what the caller waits for
        self.retrying = False  # the command runs again because a key it waits for changed
        self.ready_key = b""  # while retrying: that key
        self.deny_blocking = False  # inside MULTI or a script: answer as if the timeout had passed
        self.script: object = None  # the running script, if this is one's context
        self.is_primary_link = False  # commands come from our primary: apply them, whatever role and limits say
        self.is_replica = False  # the connection is a replica's

    @property
    def comes_from_here(self) -> bool:
        """The caller speaks from this very machine, or over no connection at all."""
        return self.peer.startswith(("127.0.0.1:", "[::1]:", "/", ":")) or not self.peer

    def use_protocol(self, version: int) -> None:
        """Speak RESP 2 or 3 from now on."""
        self.resp3 = version == 3
        self.null = reply.null(self.resp3)
        self.null_array = reply.null_array(self.resp3)

    # -- effects ---------------------------------------------------------------------------------------------------

    def replicate(self, *argv: bytes, db: Database | None = None) -> None:
        """Record an effect instead of the command as sent; several calls make several effects, kept together."""
        self.keyspace.verbatim = False
        self.keyspace.recorded.append(((db or self.db).index, list(argv)))

    def replicate_nothing(self) -> None:
        """The command changed something that replicas need not know (or recorded all they need by `replicate`)."""
        self.keyspace.verbatim = False

    def let_stand_apart(self) -> None:
        """What the command has recorded so far (expired keys that it met) needs no MULTI; in one it stays in it."""
        if self.keyspace.recorded and not self.deny_blocking:
            self.keyspace.apart = True

    def force_replication(self) -> None:
        """The command goes to replicas as it was sent although it changed no key (PUBLISH, SCRIPT LOAD ...)."""
        self.keyspace.dirty += 1

    # -- waiting ---------------------------------------------------------------------------------------------------

    def block(self, keys: list[bytes], timeout_ms: int | None, on_timeout: bytes, *, on_delete: bool = False) -> bytes:
        """Wait until one of the keys changes (then the same argv runs again with `retrying` set), or the timeout
        passes.

        timeout_ms: from now; None waits for ever. on_timeout: the reply then. on_delete: run again also when a key
        went away. Returns PENDING, which the command must return; or on_timeout at once where waiting is not allowed.
        While retrying, calling block again keeps the place in the queue and the first deadline.
        """
        if self.deny_blocking:
            return on_timeout
        return self._block(keys, timeout_ms, on_timeout, on_delete)

    def _block(self, keys: list[bytes], timeout_ms: int | None, on_timeout: bytes, on_delete: bool) -> bytes:
        return on_timeout

    # -- long answers ----------------------------------------------------------------------------------------------

    def answer_in_parts(self, parts: Iterator[bytes]) -> bytes | None:
        """Answer with these parts, which are made as the caller takes them, some in a turn; its later commands wait.

        The iterator holds all that it needs: the data may change meanwhile. Returns PENDING, which the command must
        return; or None where an answer has to be whole at once (MULTI, scripts).
        """
        return None if self.deny_blocking else self._answer_in_parts(parts)

    def _answer_in_parts(self, parts: Iterator[bytes]) -> bytes | None:
        return None

    # -- out of band -----------------------------------------------------------------------------------------------

    def push(self, data: bytes) -> None:
        """Send encoded bytes to this caller outside any reply (messages, invalidations, monitor lines)."""

    def subscriptions_changed(self) -> None:
        """The caller has begun or ended subscriptions: which commands it may send can be another matter now."""

    def close(self, why: str, *, after_reply: bool = True) -> None:
        """Close the caller's connection."""
