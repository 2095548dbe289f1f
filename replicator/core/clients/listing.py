"""The clients of a node: how CLIENT LIST shows them, which of them a filter means, how they are sent away or woken."""

from __future__ import annotations

from collections.abc import Iterator

from replicator.core.clients.roll import Roll
from replicator.core.clients.session import REPLY_OFF, REPLY_ON, REPLY_SKIP_NEXT, Session, Wait
from replicator.core.clients.waiting import Waiting
from replicator.core.replication.primary import Primary
from replicator.core.replication.replica import Replica
from replicator.core.turn import Turn
from replicator.core.wire import reply

# What one client takes beside its buffers, in bytes: a Session with its decoder and dictionaries.
_BASE = 1800
_QUEUED = 8  # and each argument of a queued command beside its bytes
_UNBLOCKABLE = (Wait.KEYS, Wait.REPLICAS)
_MODES = {b"on": REPLY_ON, b"off": REPLY_OFF, b"skip": REPLY_SKIP_NEXT}


class Clients:
    """What CLIENT asks of the node."""

    def __init__(self, turn: Turn, roll: Roll, waiting: Waiting, primary: Primary, replica: Replica) -> None:
        self.turn = turn
        self.roll = roll
        self.waiting = waiting
        self.primary = primary
        self.replica = replica

    # -- who is there ------------------------------------------------------------------------------------------------

    def all(self) -> Iterator[Session]:
        """All clients in the order of their ids; the link from our primary among them."""
        return (session for session in list(self.roll.by_id.values()) if not session.closing)

    def kind(self, session: Session) -> str:
        """As TYPE names it: normal, master, slave, pubsub."""
        if session.is_primary_link:
            return "master"
        if session.conn in self.primary.links:
            return "slave"
        if session.channels or session.patterns or session.shard_channels:
            return "pubsub"
        return "normal"

    def matching(
        self,
        caller: Session,
        *,
        skip: bool = True,
        id: int | None = None,
        kind: str = "",
        user: bytes | None = None,
        address: str | None = None,
        local_address: str | None = None,
        max_age: int | None = None,
    ) -> list[Session]:
        """The clients that fit; None and "" fit all. skip: not the caller. max_age: in seconds, at least."""
        now = self.turn.now.mono_ms
        return [
            session
            for session in self.all()
            if not (skip and session is caller)
            and id in (None, session.id)
            and kind in ("", self.kind(session))
            and user in (None, self.user_name(session))
            and address in (None, session.peer)
            and local_address in (None, session.local)
            and (max_age is None or now - session.created_ms >= 1000 * max_age)
        ]

    def user_name(self, session: Session) -> bytes:
        """The ACL user of a client."""
        if session.is_primary_link:
            return b"(superuser)"
        name: bytes = b"default" if session.user is None else session.user.name
        return name

    # -- how they look -----------------------------------------------------------------------------------------------

    def line(self, session: Session, caller: Session | None = None) -> str:
        """One client as CLIENT LIST shows it (without the line end). caller: the client whose command runs."""
        now = self.turn.now.mono_ms
        argv_memory, queued_memory, pending, spare, out = parts = self._memory(session, caller)
        queued = [] if session.transaction is None else session.transaction.commands
        tracking = session.tracking
        fields = (
            ("id", session.id),
            ("addr", session.peer),
            ("laddr", session.local),
            ("fd", abs(session.conn)),
            ("name", session.name.decode("utf-8", "surrogateescape")),
            ("age", (now - session.created_ms) // 1000),
            ("idle", (now - session.last_ms) // 1000),
            ("flags", self._flags(session)),
            ("db", session.db.index),
            ("sub", len(session.channels)),
            ("psub", len(session.patterns)),
            ("ssub", len(session.shard_channels)),
            ("multi", -1 if session.transaction is None else len(queued)),
            ("qbuf", pending),
            ("qbuf-free", spare),
            ("argv-mem", argv_memory),
            ("multi-mem", queued_memory),
            ("rbs", 0),
            ("rbp", 0),
            ("obl", 0),
            ("oll", int(out > 0)),  # one queue, whatever it is made of
            ("omem", out),
            ("tot-mem", _BASE + sum(parts)),
            ("events", "rw" if out else "r"),
            ("cmd", "NULL" if session.command is None else session.command.full_name),
            ("user", self.user_name(session).decode("utf-8", "surrogateescape")),
            ("redir", -1 if tracking is None else tracking.redirect),
            ("resp", 3 if session.resp3 else 2),
            ("lib-name", session.lib_name.decode("utf-8", "surrogateescape")),
            ("lib-ver", session.lib_ver.decode("utf-8", "surrogateescape")),
        )
        return " ".join(f"{name}={value}" for name, value in fields)

    def _memory(self, session: Session, caller: Session | None) -> tuple[int, int, int, int, int]:
        """Bytes in the arguments of what runs, in queued commands, in the input, free there, in the output."""
        argv = session.blocked.argv if session.blocked is not None else session.argv if session is caller else []
        queued = [] if session.transaction is None else session.transaction.commands
        queued_memory = sum(sum(map(len, words)) + _QUEUED * len(words) for _, words in queued)
        link = self.primary.links.get(session.conn)
        out = link.pending if link is not None else session.pending_output
        pending = session.decoder.pending + sum(map(len, session.unread))
        if session is self.roll.current:
            pending = max(pending, session.reading)  # what runs now is in the buffer until all of the read has run
        return sum(map(len, argv)), queued_memory, pending, session.decoder.spare, out

    def memory(self, session: Session) -> int:
        """Bytes that a client takes, as its line tells them in tot-mem."""
        return sum(self._memory(session, None)) + _BASE

    def _flags(self, session: Session) -> str:
        tracking = session.tracking
        marks = (
            ("O", session.monitor),
            ("S", session.conn in self.primary.links),
            ("M", session.is_primary_link),
            ("P", bool(session.channels or session.patterns or session.shard_channels)),
            ("x", session.transaction is not None),
            ("b", session.blocked is not None),
            ("t", tracking is not None),
            ("R", tracking is not None and tracking.broken),
            ("B", tracking is not None and tracking.broadcast),
            ("d", session.dirty_watch),
            ("c", session.closing),
            ("U", session.peer.startswith("/")),
            ("e", session.no_evict),
            ("T", session.no_touch),
        )
        return "".join(mark for mark, holds in marks if holds) or "N"

    # -- what is done to them ----------------------------------------------------------------------------------------

    def kill(self, session: Session, caller: Session | None = None) -> None:
        """Close a client's connection: the caller's own behind the reply, the link from our primary comes back."""
        if session.is_primary_link:
            self.replica.disconnect("killed by a client", self.turn.now)
            return
        self.waiting.abandon(session)
        session.close("killed by a client", after_reply=session is caller)

    def unblock(self, session: Session, *, error: bool) -> bool:
        """End a client's waiting as by its timeout, or by an error; whether it waited."""
        blocked = session.blocked
        if blocked is None or blocked.kind not in _UNBLOCKABLE:
            return False
        if error:
            answer = reply.error("UNBLOCKED client unblocked via CLIENT UNBLOCK")
        else:
            answer = blocked.on_timeout() if callable(blocked.on_timeout) else blocked.on_timeout
            if blocked.command is not None:
                blocked.command.failed += 1  # stock counts whoever is unblocked by a command
        self.waiting.unblock(session, answer)
        return True

    def set_reply_mode(self, session: Session, mode: bytes) -> bool:
        """CLIENT REPLY; False for a mode that does not exist. SKIP means nothing to a client whose replies are off."""
        wanted = _MODES.get(mode)
        if wanted is None:
            return False
        if not (wanted == REPLY_SKIP_NEXT and session.reply_mode == REPLY_OFF):
            session.reply_mode = wanted
            session.regate()
        return True

    def set_no_evict(self, session: Session, on: bool) -> None:
        """CLIENT NO-EVICT."""
        session.no_evict = on

    def set_no_touch(self, session: Session, on: bool) -> None:
        """CLIENT NO-TOUCH."""
        session.no_touch = on
        session.regate()
