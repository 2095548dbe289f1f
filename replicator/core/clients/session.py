"""One connection as the node sees it: what came in, what waits to go out, what it waits for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from msgspec import Struct

from replicator.core.clients.access import User
from replicator.core.clients.transaction import NEVER_QUEUED, Transaction
from replicator.core.command_table.context import PENDING, Context, Server
from replicator.core.command_table.registry import Command
from replicator.core.effects import Close
from replicator.core.gates import ANY
from replicator.core.keyspace.database import Keyspace
from replicator.core.replication.primary import Link
from replicator.core.turn import Turn
from replicator.core.wire import reply
from replicator.core.wire.request import Argv, RequestDecoder

# Reply modes of CLIENT REPLY.
REPLY_ON, REPLY_OFF, REPLY_SKIP, REPLY_SKIP_NEXT = range(4)
_UNREAD_PIECE = 4096  # bytes that came while a session waits are kept in pieces of at least about so many


class Wait(Enum):
    """What a session can wait for."""

    KEYS = "that one of some keys changes"
    REPLICAS = "acknowledgements (WAIT)"
    DURABLE = "that its writes are durable (WAITAOF)"
    LOAD = "that the append-only file has been read (DEBUG LOADAOF)"
    PAUSE = "the end of a pause"
    SAVE = "a snapshot in the foreground"
    SHUTDOWN = "the end of the process"
    OUTPUT = "that it takes what it was sent"
    MIGRATE = "that another node has taken its keys"
    MOVED_KEY = "what becomes of a key that is being moved to another node (MIGRATE)"
    PARTS = "the end of its own answer, which is made in parts"
    STREAM = "the end of a pause, before more of the primary's stream is applied"


FAILS_AT_END = (Wait.KEYS, Wait.REPLICAS)  # whose command counts as failed when its waiting ends with an error


@dataclass(slots=True)
class Blocked:
    """What a session waits for; its later commands wait with it.

    deadline_ms: mono ms, None for ever. on_timeout: the reply then, or a function that makes it.
    """

    kind: Wait
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


class Asked(Struct, gc=False):
    """A command that asks to be let in, with what it would do if it ran now.

    flags: its own, or (a script) those that it declares; of EXEC those of all queued commands as well. lacks: flags
    that it, or one of those queued commands, has not.
    """

    command: Command
    argv: Argv
    flags: int
    lacks: int


class Host(Protocol):
    """What a session needs of the roll it is on (clients/roll.py)."""

    turn: Turn
    touched: dict[Session, None]
    weighed_bytes: int  # of output, before it is held against the limits

    def weigh(self, session: Session, /) -> None:
        """Close the session if more waits for it than may."""

    def wait_for_keys(self, session: Session, blocked: Blocked, /) -> None:
        """Let the session wait until one of the keys changes."""

    def send_parts(self, session: Session, parts: Iterator[bytes], /) -> None:
        """Answer the session's command with these parts, some in a turn."""


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
        "gate",
        "host",
        "late",
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

    def __init__(self, server: Server, keyspace: Keyspace, host: Host, conn: int) -> None:
        super().__init__(server, keyspace)
        self.host = host
        self.conn = conn
        self.decoder = RequestDecoder()
        self.out: list[bytes] = []
        self.late: list[bytes] | None = None  # while an answer goes out in parts: the messages that come behind it
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
            now = self.host.turn.now.mono_ms
            self.host.wait_for_keys(
                self,
                Blocked(
                    Wait.KEYS,
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

    def _answer_in_parts(self, parts: Iterator[bytes]) -> bytes | None:
        if self.reply_mode != REPLY_ON:
            return reply.EMPTY_ARRAY  # nobody hears it
        self.host.send_parts(self, parts)
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
        if self.late is not None:
            self.late.append(data)
        else:
            if not self.out:
                self.host.touched[self] = None
                self.pushed = 0
            self.out.append(data)
        self.pushed += len(data)
        if self.pushed > self.host.weighed_bytes:
            self.pushed = 0
            self.host.weigh(self)

    def described(self) -> str:
        """The client in a log line, as CLIENT LIST begins it."""
        return f"id={self.id} addr={self.peer} laddr={self.local} name={self.name.decode('utf-8', 'replace')}"

    def subscriptions_changed(self) -> None:
        """Let the executor look closely at the commands of a subscriber."""
        self.regate()

    def close(self, why: str, *, after_reply: bool = True) -> None:
        """Close this connection: when its replies are out, or at once."""
        if not self.closing:
            self.closing = True
            self.host.turn.emit(Close(self.conn, why, after_reply))

    # -- which commands need a closer look ---------------------------------------------------------------------------

    def regate(self) -> None:
        """Find out anew whether commands of this session need the careful path."""
        plain = (
            self.authenticated
            and self.transaction is None
            and self.reply_mode == REPLY_ON
            and not (self.channels or self.patterns or self.shard_channels)
            and self.tracking is None
            and not self.monitor
            and not self.no_touch
            and not self.asking
            and not self.is_replica
            and (self.user is None or self.user.unlimited)
        )
        self.gate = 0 if plain else ANY
        self.decoder.trusted = self.authenticated

    def answer(self, answer: bytes) -> bytes:
        """A reply as CLIENT REPLY wants it."""
        if self.reply_mode == REPLY_ON:
            return answer
        if self.reply_mode == REPLY_SKIP_NEXT:
            self.reply_mode = REPLY_SKIP
            return b""
        if self.reply_mode == REPLY_SKIP:
            self.reply_mode = REPLY_ON
            self.regate()
        return b""

    def reset(self) -> None:
        """RESET: the connection as if it were new (what others hold of it, its command drops)."""
        self.transaction = None
        self.unwatch()
        self.db = self.keyspace.databases[0]
        self.use_protocol(2)
        self.name = b""
        if self.reply_mode == REPLY_OFF:
            self.reply_mode = REPLY_ON  # SKIP is still about this very reply

    # -- transactions ------------------------------------------------------------------------------------------------

    def begin_transaction(self) -> None:
        """MULTI."""
        self.transaction = Transaction()
        self.gate = ANY

    def end_transaction(self) -> None:
        """Forget MULTI's queue and all watches."""
        self.transaction = None
        self.unwatch()
        self.regate()

    def unwatch(self) -> None:
        """Forget all watches."""
        for db, key in self.watching:
            watchers = db.watched.get(key)
            if watchers is not None:
                watchers.pop(self, None)
                if not watchers:
                    del db.watched[key]
                    db.rehook()
        self.watching.clear()
        self.dirty_watch = False

    def queues(self, command: Command) -> bool:
        """Whether MULTI queues the command in place of running it."""
        return self.transaction is not None and command.full_name not in NEVER_QUEUED
