"""One connection as the node sees it: what came in, what waits to go out, what it waits for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.core.clients.access import User
from replicator.core.clients.transaction import Transaction
from replicator.core.command_table.context import PENDING, Context
from replicator.core.command_table.registry import Command
from replicator.core.wire.request import Argv, RequestDecoder

if TYPE_CHECKING:
    from replicator.core.execution.executor import Executor
    from replicator.core.replication.primary import Link

# Reply modes of CLIENT REPLY.
REPLY_ON, REPLY_OFF, REPLY_SKIP, REPLY_SKIP_NEXT = range(4)
_UNREAD_PIECE = 4096  # bytes that came while a session waits are kept in pieces of at least about so many


@dataclass(slots=True)
class Blocked:
    """What a session waits for; its later commands wait with it.

    kind: "keys" (until one of them changes), "replicas" (WAIT), "pause" (CLIENT PAUSE), "save", "shutdown", "load".
    deadline_ms: mono ms, None for ever. on_timeout: the reply then, or a function that makes it.
    """

    kind: str
    argv: Argv
    command: Command | None
    deadline_ms: int | None
    on_timeout: bytes | Callable[[], bytes]
    keys: list[bytes] = field(default_factory=list)
    db_index: int = 0
    on_delete: bool = False
    since_ms: int = 0
    position: int = 0  # WAIT: the offset to be acknowledged
    wanted: int = 0  # WAIT: by how many
    local: int = 0  # WAITAOF: and whether it is to be durable here


@dataclass(slots=True)
class Tracking:
    """How one client wants to be told of changed keys (see tracking.py)."""

    redirect: int = 0  # id of the client that is told instead; 0: itself
    broadcast: bool = False
    prefixes: dict[bytes, None] = field(default_factory=dict)
    opt_in: bool = False
    opt_out: bool = False
    no_loop: bool = False  # not about the client's own changes
    caching: bool | None = None  # CLIENT CACHING for the next command
    broken: bool = False  # the client to be told instead is gone

    @property
    def remembers(self) -> bool:
        """Whether keys that are read now are remembered."""
        if self.opt_in:
            return self.caching is True
        return not self.broadcast and not (self.opt_out and self.caching is False)

    def flags(self) -> list[bytes]:
        """As CLIENT TRACKINGINFO shows them."""
        marks = (
            (True, b"on"),
            (self.broadcast, b"bcast"),
            (self.opt_in, b"optin"),
            (self.opt_out, b"optout"),
            (self.opt_in and self.caching is True, b"caching-yes"),
            (self.opt_out and self.caching is False, b"caching-no"),
            (self.no_loop, b"noloop"),
            (self.broken, b"broken_redirect"),
        )
        return [name for holds, name in marks if holds]


class Caller(Context):
    """A client's session, or the context of a script that runs in the name of one."""

    __slots__ = ()
    user: User | None


class Session(Caller):
    """A client's connection (or the link from our primary, whose replies go nowhere)."""

    __slots__ = (
        "argv",
        "asking",
        "closing",
        "command",
        "decoder",
        "executor",
        "gate",
        "link",
        "monitor",
        "no_evict",
        "no_touch",
        "out",
        "pending_output",
        "pushed",
        "queue",
        "reading",
        "readonly",
        "reply_mode",
        "soft_since_ms",
        "total_received",
        "total_sent",
        "unread",
        "unread_size",
        "write_position",
    )

    transaction: Transaction | None
    tracking: Tracking | None
    blocked: Blocked | None

    def __init__(self, executor: Executor, conn: int) -> None:
        super().__init__(executor.node.server, executor.keyspace)
        self.executor = executor
        self.conn = conn
        self.decoder = RequestDecoder()
        self.decoder.max_bulk = executor.node.config["proto-max-bulk-len"]
        self.out: list[bytes] = []
        self.queue: list[Argv] = []  # commands that came while blocked
        self.unread: deque[bytes] = deque()  # bytes that came while blocked
        self.unread_size = 0
        self.reading = 0  # bytes of the read whose commands run (or ran last)
        self.gate = 0  # command flags that need the careful path for this session
        self.reply_mode = REPLY_ON
        self.link: Link | None = None  # REPLCONF / PSYNC attributes, once it has spoken of them
        self.closing = False
        self.monitor = False
        self.no_evict = False
        self.no_touch = False
        self.pending_output = 0  # bytes that the driver could not hand on
        self.pushed = 0  # bytes of messages in `out` since they were last weighed
        self.soft_since_ms = -1
        self.argv: Argv = []
        self.command: Command | None = None
        self.write_position = 0  # replication offset after this session's last write (WAIT asks for it)
        self.asking = False  # ASKING: the next command may go to a slot that is being imported
        self.readonly = False  # READONLY: reads may go to this replica
        self.total_received = 0
        self.total_sent = 0

    def _block(self, keys: list[bytes], timeout_ms: int | None, on_timeout: bytes, on_delete: bool) -> bytes:
        if not self.retrying:
            now = self.executor.node.turn.now.mono_ms
            self.executor.block_on_keys(
                self,
                Blocked(
                    "keys",
                    self.argv,
                    self.command,
                    None if timeout_ms is None else now + timeout_ms,
                    on_timeout,
                    list(dict.fromkeys(keys)),
                    self.db.index,
                    on_delete,
                    now,
                ),
            )
        return PENDING

    def keep_unread(self, data: bytes) -> None:
        """Bytes that came while the session waits."""
        unread = self.unread
        if unread and len(unread[-1]) + len(data) <= _UNREAD_PIECE:
            unread[-1] += data  # a peer that sends byte by byte does not make a list of bytes
        else:
            unread.append(data)
        self.unread_size += len(data)

    def take_unread(self) -> bytes:
        """The oldest piece of what waits, b"" if nothing does."""
        if not self.unread:
            self.unread_size = 0
            return b""
        data = self.unread.popleft()
        self.unread_size -= len(data)
        return data

    def push(self, data: bytes) -> None:
        """Send encoded bytes outside any reply."""
        if self.closing:
            return
        if not self.out:
            self.executor.touched[self] = None
            self.pushed = 0
        self.out.append(data)
        self.pushed += len(data)
        if self.pushed > self.executor.weighed_bytes:
            self.pushed = 0
            self.executor.node.services.check_output_limit(self)

    def subscriptions_changed(self) -> None:
        """Let the executor look closely at the commands of a subscriber."""
        self.executor.regate(self)

    def close(self, why: str, *, after_reply: bool = True) -> None:
        """Close this connection: when its replies are out, or at once."""
        if not self.closing:
            self.closing = True
            self.executor.close_session(self, why, after_reply)
