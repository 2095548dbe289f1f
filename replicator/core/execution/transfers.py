"""MIGRATE: keys of this node become another one's.

Stock does it while everybody else waits. Here the client waits, and with it whoever would change one of the keys, so
that what is deleted at the end is what was sent:

    dump the keys -> RESTORE to the other node, a pipeline -> its answers -> delete those that it has taken

A key is deleted when the other node has said that it has it, and not before. When the connection breaks or the time is
over, keys whose answers are missing stay; they may be there as well then, and nowhere is none. In a cluster the slot's
owner decides which copy counts.

Connections are kept for a while, because whoever moves a slot calls MIGRATE for some keys at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from replicator.core.clients.session import Blocked, Session, Wait
from replicator.core.command_table.context import PENDING
from replicator.core.command_table.registry import MAY_REPLICATE, PUBSUB, WRITE, Command
from replicator.core.effects import Close, Connect, Send
from replicator.core.errors import CommandError
from replicator.core.events import Closed, Connected, ConnectFailed, Received
from replicator.core.keyspace.database import NOTIFY_GENERIC, Database
from replicator.core.keyspace.serialize import neutral_value
from replicator.core.keyspace.stream import Stream
from replicator.core.now import Now
from replicator.core.peers import Owner
from replicator.core.replication.outgoing import Outgoing
from replicator.core.turn import Turn
from replicator.core.wire import reply
from replicator.core.wire.rdb import dump_payload
from replicator.core.wire.request import Argv, encode

_KEPT_MS = 10_000  # an idle connection is closed after so long
_LONGEST_LINE = 64 * 1024
_IO_ERROR = "IOERR error or timeout {} to target instance"


@dataclass(slots=True)
class Order:
    """What a MIGRATE asks for. keys: those to be moved. login: the words of AUTH, none for no login."""

    host: str
    port: int
    db: int
    timeout_ms: int
    keys: list[bytes]
    copy: bool = False
    replace: bool = False
    login: list[bytes] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Line:
    """A connection to another node. db: what is selected there."""

    conn: int
    place: tuple[str, int]
    up: bool = False
    db: int = -1
    used_ms: int = 0
    rest: bytes = b""  # of an answer that is not whole
    transfer: Transfer | None = None


@dataclass(slots=True, eq=False)
class Transfer:
    """A MIGRATE under way. awaited: what the answers to come are about: a key, or None for AUTH and SELECT."""

    session: Session
    db: Database
    order: Order
    line: Line
    deadline_ms: int
    awaited: list[bytes | None] = field(default_factory=list)
    begun: bool = False  # the requests are out
    error: str = ""  # the first that the other node answered
    moved: list[bytes] = field(default_factory=list)
    refused: bool = False  # a login or selection failed: no key counts


class Transfers(Owner):
    """All of one node. may_delete(): whether this node still decides about its data. before_leaving(): whatever must be
    written down before a key is at another node. encrypts(): whether other nodes are spoken to over TLS."""

    def __init__(
        self,
        turn: Turn,
        outgoing: Outgoing,
        *,
        allocate: Callable[[Owner], int],
        release: Callable[[int], None],
        park: Callable[[Session, Blocked], None],
        unpark: Callable[[Session], Blocked],
        unblock: Callable[[Session, bytes], None],
        blocked: Callable[[], Iterable[Session]],
        hold: Callable[[bool], None],
        may_delete: Callable[[], bool],
        in_cluster: bool,
        before_leaving: Callable[[], None],
        encrypts: Callable[[], bool],
    ) -> None:
        self.outgoing = outgoing
        self.turn = turn
        self.allocate = allocate
        self.release = release
        self.park = park
        self.unpark = unpark
        self.unblock = unblock
        self.blocked = blocked
        self.hold = hold
        self.may_delete = may_delete
        self.restore = b"RESTORE-ASKING" if in_cluster else b"RESTORE"
        self.before_leaving = before_leaving
        self.encrypts = encrypts
        self.lines: dict[int, Line] = {}
        self.under_way: list[Transfer] = []
        self.keys: set[tuple[int, bytes]] = set()  # of all transfers under way: (database, key)

    # -- orders ------------------------------------------------------------------------------------------------------

    def migrate(
        self,
        session: Session,
        place: tuple[str, int, int, int],
        keys: list[bytes],
        login: list[bytes],
        *,
        copy: bool,
        replace: bool,
    ) -> bytes:
        """MIGRATE; the reply, or PENDING. place: host, port, database, timeout in ms."""
        return self.begin(session, Order(*place, keys, copy, replace, login), self.turn.now)

    def begin(self, session: Session, order: Order, now: Now) -> bytes:
        """Begin; the reply, or PENDING."""
        order.keys = [key for key in dict.fromkeys(order.keys) if session.db.find(key) is not None]
        if not order.keys:
            return reply.simple("NOKEY")
        if session.deny_blocking:
            raise CommandError("ERR MIGRATE has to wait for another node, which a transaction or script cannot")
        line = self._line(order, now)
        transfer = Transfer(session, session.db, order, line, now.mono_ms + order.timeout_ms)
        line.transfer = transfer
        self.under_way.append(transfer)
        self.keys.update((session.db.index, key) for key in order.keys)
        self.hold(True)
        blocked = Blocked(Wait.MIGRATE, session.argv, session.command, None, b"", since_ms=now.mono_ms)
        self.park(session, blocked)
        if line.up:
            self._request(transfer)
        return PENDING

    def _line(self, order: Order, now: Now) -> Line:
        """A connection that is free, or a new one."""
        place = (order.host, order.port)
        for line in self.lines.values():
            if line.place == place and line.up and line.transfer is None:
                line.used_ms = now.mono_ms
                return line
        conn = self.allocate(self)
        line = self.lines[conn] = Line(conn, place, used_ms=now.mono_ms)
        self.turn.emit(Connect(conn, order.host, order.port, "", order.timeout_ms, self.encrypts()))
        return line

    def _request(self, transfer: Transfer) -> None:
        """All requests in one packet."""
        order, line = transfer.order, transfer.line
        transfer.begun = True
        self.before_leaving()
        data: list[bytes] = []
        if order.login:
            data.append(encode((b"AUTH", *order.login)))
            transfer.awaited.append(None)
        if line.db != order.db:
            data.append(encode((b"SELECT", b"%d" % order.db)))
            transfer.awaited.append(None)
        more = (b"REPLACE",) if order.replace else ()
        db = transfer.db
        for key in order.keys:
            value = db.find(key)
            if value is None:
                continue  # its time has come meanwhile
            expiry = db.expiry(key)
            left = 0 if expiry is None else max(1, expiry - db.keyspace.now_ms)
            payload = dump_payload(*neutral_value(value), 10 if isinstance(value, Stream) else 9)
            data.append(encode((self.restore, key, b"%d" % left, payload, *more)))
            transfer.awaited.append(key)
        self.turn.emit(Send(line.conn, b"".join(data) or encode((b"PING",))))
        if not data:
            transfer.awaited.append(None)

    # -- what comes back ---------------------------------------------------------------------------------------------

    def connected(self, event: Connected, now: Now) -> None:
        """The other node can be spoken to."""
        line = self.lines[event.conn]
        line.up = True
        if line.transfer is not None:
            self._request(line.transfer)

    def connect_failed(self, event: ConnectFailed, now: Now) -> None:
        """It cannot: nothing was moved."""
        line = self._gone(event.conn)
        if line.transfer is not None:
            refused = "refused" in event.why.lower()  # stock hears of that when it writes
            problem = _IO_ERROR.format("writing") if refused else "IOERR error or timeout connecting to the client"
            self._fail(line.transfer, problem)

    def closed(self, event: Closed, now: Now) -> None:
        """The connection broke: what was not confirmed stays."""
        line = self._gone(event.conn)
        if line.transfer is not None:
            self._fail(line.transfer, _IO_ERROR.format("reading" if line.transfer.begun else "writing"))

    def _gone(self, conn: int) -> Line:
        self.release(conn)
        return self.lines.pop(conn)

    def received(self, event: Received, now: Now) -> None:
        """Answers, each a line."""
        line = self.lines[event.conn]
        transfer = line.transfer
        *answers, line.rest = (line.rest + event.data).split(b"\r\n")
        if transfer is None or len(line.rest) > _LONGEST_LINE or len(answers) > len(transfer.awaited):
            self._hang_up(line, "said what nobody asked for")
            return
        for answer in answers:
            self._take(transfer, answer)
        if not transfer.awaited:
            line.used_ms = now.mono_ms
            self._end(transfer)

    def _take(self, transfer: Transfer, answer: bytes) -> None:
        key = transfer.awaited.pop(0)
        if answer.startswith(b"-"):
            if not transfer.error:
                transfer.error = answer[1:].decode("utf-8", "replace")
            transfer.refused = transfer.refused or key is None
            if key is None:
                transfer.line.db = -1
        elif key is None:
            transfer.line.db = transfer.order.db
        elif not transfer.refused:
            transfer.moved.append(key)

    # -- the end of one ----------------------------------------------------------------------------------------------

    def _end(self, transfer: Transfer) -> None:
        """All answers are there."""
        if transfer.error:
            answer = reply.error(f"ERR Target instance replied with error: {transfer.error}")
        else:
            answer = reply.OK
        transfer.line.transfer = None
        self._finish(transfer, answer)

    def _fail(self, transfer: Transfer, why: str) -> None:
        """Answers are missing and will not come."""
        self._finish(transfer, reply.error(why))

    def _finish(self, transfer: Transfer, answer: bytes) -> None:
        """Delete what has been moved, let go of those who waited, and answer."""
        self.under_way.remove(transfer)
        for key in transfer.order.keys:
            self.keys.discard((transfer.db.index, key))
        if transfer.moved and not transfer.order.copy:
            if self.may_delete():
                self._delete(transfer.db, transfer.moved)
            else:
                answer = reply.error("UNBLOCKED the role of this node has changed while keys were moved")
        session = transfer.session
        blocked = session.blocked
        if blocked is not None and blocked.kind == Wait.MIGRATE:
            self.unblock(session, answer)
        if not self.under_way:
            self.hold(False)
        for waiting in list(self.blocked()):
            parked = waiting.blocked
            if parked is not None and parked.kind == Wait.MOVED_KEY:
                waiting.queue.insert(0, parked.argv)
                self.unpark(waiting)

    def _delete(self, db: Database, keys: list[bytes]) -> None:
        keyspace = db.keyspace
        gone = []
        for key in keys:
            if db.remove(key):
                db.changed(key, b"del", NOTIFY_GENERIC)
                gone.append(key)
        if gone:
            keyspace.recorded.append((db.index, [b"DEL", *gone]))
        self.outgoing.commit()

    def _hang_up(self, line: Line, why: str) -> None:
        """Close a connection of ours; a transfer on it has failed."""
        transfer = line.transfer
        self._gone(line.conn)
        self.turn.emit(Close(line.conn, why))
        if transfer is not None:
            self._fail(transfer, _IO_ERROR.format("reading" if transfer.begun else "writing"))

    # -- those who wait ----------------------------------------------------------------------------------------------

    def holds(self, session: Session, command: Command, argv: Argv) -> bool:
        """Whether the command would change a key that is being moved, or might (a script): then it waits."""
        if not self.under_way:
            return False
        if command.name == "exec":
            transaction = session.transaction
            calls = [] if transaction is None else transaction.commands
        else:
            calls = [(command, argv)]
        return any(self._touches(session, one, words) for one, words in calls)

    def _touches(self, session: Session, command: Command, argv: Argv) -> bool:
        if not command.flags & (WRITE | MAY_REPLICATE) or command.flags & PUBSUB:
            return False
        positions = command.key_positions(argv)
        if not positions or command.flags & MAY_REPLICATE:
            return command.name != "migrate"
        index = session.db.index
        return any((index, argv[at]) in self.keys for at in positions)

    # -- clocks ------------------------------------------------------------------------------------------------------

    def deadline_ms(self) -> int | None:
        """When `advance` next has work (mono ms)."""
        times = [transfer.deadline_ms for transfer in self.under_way]
        times += [line.used_ms + _KEPT_MS for line in self.lines.values() if line.transfer is None]
        return min(times, default=None)

    def advance(self, now: Now) -> None:
        """Give up what takes too long, and connections that nobody uses."""
        for transfer in list(self.under_way):
            if now.mono_ms >= transfer.deadline_ms:
                self._hang_up(transfer.line, "MIGRATE takes too long")
        for line in list(self.lines.values()):
            if line.transfer is None and now.mono_ms >= line.used_ms + _KEPT_MS:
                self._hang_up(line, "idle")
