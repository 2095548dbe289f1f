"""Client-side caching: which client has read which key, and who must be told that a key has changed.

Two ways. By default the node remembers the keys that a client reads, tells it once when one changes, and forgets. A
broadcasting client is told of every change of a key with one of its prefixes; what changed is gathered for a turn.

A client is never told of a change before the reply of its own command that made it: the executor keeps such messages
until it has the reply.

Source: https://redis.io/docs/latest/develop/reference/client-side-caching/
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from replicator.core.clients.roll import Roll
from replicator.core.clients.session import Session, Tracking
from replicator.core.command_table.registry import READONLY, Command
from replicator.core.config.config import Config
from replicator.core.errors import CommandError
from replicator.core.keyspace.database import Database, Keyspace
from replicator.core.wire import reply

CHANNEL = b"__redis__:invalidate"


class Tracker:
    """The keys that clients of one node hold."""

    def __init__(self, config: Config, keyspace: Keyspace, roll: Roll, is_loading: Callable[[], bool]) -> None:
        self.config = config
        self.keyspace = keyspace
        self.roll = roll
        self.is_loading = is_loading
        roll.on_gone.append(self.disable)
        self.readers: dict[bytes, dict[int, None]] = {}  # key -> ids of the clients that have read it
        self.prefixes: dict[bytes, dict[Session, None]] = {}
        self.changed: dict[bytes, dict[bytes, Session | None]] = {}  # prefix -> key -> who changed it
        self.flushed = False  # everything has changed
        self.all_told = False  # everybody was told to forget all, and nobody has read since
        self._count = 0  # clients that track
        keyspace.on_replaced.append(self._replaced)

    @property
    def items(self) -> int:
        """Keys in the table, each counted for each of its readers."""
        return sum(map(len, self.readers.values()))

    @property
    def active(self) -> bool:
        """Whether any client tracks."""
        return self._count > 0

    # -- switching ---------------------------------------------------------------------------------------------------

    def new(self) -> Tracking:
        """How a client is told that says nothing more."""
        return Tracking()

    def enable(self, session: Session, wanted: Tracking, given: Sequence[bytes]) -> None:
        """CLIENT TRACKING ON; given prefixes are added to those that the client has. Raises CommandError."""
        there = session.tracking
        if there is not None:
            if there.broadcast != wanted.broadcast:
                raise CommandError(
                    "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then "
                    "re-enabling it with a different mode."
                )
            if (there.opt_in and wanted.opt_out) or (there.opt_out and wanted.opt_in):
                raise CommandError(
                    "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then "
                    "re-enabling it with a different mode."
                )
        if wanted.broadcast:
            wanted.prefixes = {} if there is None else there.prefixes
            self._check_prefixes(wanted.prefixes, given)
            for prefix in given or (b"",):
                wanted.prefixes[prefix] = None
                self.prefixes.setdefault(prefix, {})[session] = None
        session.tracking = wanted
        self.all_told = False
        if there is None:
            self._count += 1
            self._hook()
        session.regate()

    def _check_prefixes(self, there: dict[bytes, None], given: Sequence[bytes]) -> None:
        for at, prefix in enumerate(given):
            for other in there:
                if prefix.startswith(other) or other.startswith(prefix):
                    raise CommandError(_overlap(prefix, "an existing", other))
            for other in given[at + 1 :]:
                if prefix.startswith(other) or other.startswith(prefix):
                    raise CommandError(_overlap(prefix, "another provided", other))

    def disable(self, session: Session) -> None:
        """The client tracks no more; its keys are forgotten as they change."""
        tracking = session.tracking
        if tracking is None:
            return
        for prefix in tracking.prefixes:
            listeners = self.prefixes[prefix]
            listeners.pop(session, None)
            if not listeners:
                del self.prefixes[prefix]
                self.changed.pop(prefix, None)
        session.tracking = None
        self._count -= 1
        if not self._count:
            self.readers.clear()
            self._hook()
        session.regate()

    def _hook(self) -> None:
        keyspace = self.keyspace
        keyspace.on_touch = self._touched if self._count else None
        for database in keyspace.databases:
            database.rehook()

    # -- reading -----------------------------------------------------------------------------------------------------

    def after(self, session: Session, command: Command, argv: Sequence[bytes]) -> None:
        """A command of a tracking client has run."""
        tracking = session.tracking
        if tracking is None:
            return
        if command.flags & READONLY:
            self.all_told = False
        self.remember(session, command, argv)
        if session.transaction is None and command.parent != "client":
            tracking.caching = None

    def remember(self, session: Session, command: Command, argv: Sequence[bytes]) -> None:
        """The client has read the keys of this command, if it is a reading one."""
        tracking = session.tracking
        if tracking is None or not command.flags & READONLY or not tracking.remembers or command.group == "scripting":
            return
        readers = self.readers
        for at in command.key_positions(list(argv)):
            readers.setdefault(argv[at], {})[session.id] = None
        most = self.config["tracking-table-max-keys"]
        while most and len(readers) > most:
            self._invalidate(next(iter(readers)))

    # -- changes -----------------------------------------------------------------------------------------------------

    def _touched(self, db: Database, key: bytes) -> None:
        if key in self.readers:
            self._invalidate(key)
        for prefix in self.prefixes:
            if key.startswith(prefix):
                self.changed.setdefault(prefix, {})[key] = self.roll.current

    def _invalidate(self, key: bytes) -> None:
        current = self.roll.current
        for number in self.readers.pop(key):
            session = self.roll.by_id.get(number)
            if session is None or session.tracking is None or session.tracking.broadcast:
                continue
            if not (session.tracking.no_loop and session is current):
                self._tell(session, [key])

    def _replaced(self, db: Database) -> None:
        # A full copy drops the old data and adopts the new; nobody can have read anything in between.
        if self._count and not (self.all_told and self.is_loading()):
            self.flushed = True

    def settle(self) -> None:
        """A turn ends: tell what was gathered."""
        if self.flushed:
            self.flushed = False
            self.all_told = True
            self.readers.clear()
            self.changed.clear()
            for session in list(self.roll.by_id.values()):
                if session.tracking is not None:
                    self._tell(session, None)
        changed, self.changed = self.changed, {}
        for prefix, keys in changed.items():
            for session in list(self.prefixes.get(prefix, ())):
                tracking = session.tracking
                skip = session if tracking is not None and tracking.no_loop else None
                told = sorted(key for key, author in keys.items() if author is None or author is not skip)
                if told:
                    self._tell(session, told)

    # -- telling -----------------------------------------------------------------------------------------------------

    def _tell(self, session: Session, keys: list[bytes] | None) -> None:
        """The client, or the one it named instead, must forget these keys; None: all."""
        tracking = session.tracking
        assert tracking is not None
        receiver: Session | None = session
        if tracking.redirect:
            receiver = self.roll.by_id.get(tracking.redirect)
            if receiver is None or receiver.closing:
                tracking.broken = True
                if session.resp3:
                    broken = (reply.bulk(b"tracking-redir-broken"), reply.integer(tracking.redirect))
                    self.roll.tell(session, reply.push(broken, True))
                return
        assert receiver is not None
        shown = receiver.null if keys is None else reply.bulks(keys)
        if receiver.resp3:
            self.roll.tell(receiver, reply.push((reply.bulk(b"invalidate"), shown), True))
        elif tracking.redirect and CHANNEL in receiver.channels:
            message = (reply.bulk(b"message"), reply.bulk(CHANNEL), shown)
            self.roll.tell(receiver, reply.array(message))


def _overlap(prefix: bytes, which: str, other: bytes) -> str:
    first, second = prefix.decode("utf-8", "surrogateescape"), other.decode("utf-8", "surrogateescape")
    return (
        f"ERR Prefix '{first}' overlaps with {which} prefix '{second}'. Prefixes for a single client must not overlap."
    )
