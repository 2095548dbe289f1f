"""The connections of a Sentinel to what it watches: one for questions, and one that listens to the hello channel.

A link is made when an instance becomes known, tried again once a ping period while it is down, and shared by all
instances that are one and the same other Sentinel. What is asked while the connection is being made waits for it.

    down --Connect--> connecting --Connected--> up --Closed--> down
                          +------ConnectFailed------------------^
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from replicator.core import limits
from replicator.core.effects import Close, Connect, Level, Send
from replicator.core.sentinel.belief import Instance, Peer, Timing
from replicator.core.sentinel.link import Link, Wire
from replicator.core.turn import Turn
from replicator.core.wire.answers import AnswerError, Then

HELLO_CHANNEL = b"__sentinel__:hello"
# How a hello message begins on the wire; nearly all that comes on these connections does.
_HEAD = b"*3\r\n$7\r\nmessage\r\n$18\r\n" + HELLO_CHANNEL + b"\r\n$"


@dataclass(slots=True)
class Credentials:
    """How to log in on a link; empty words: not at all."""

    user: str = ""
    password: str = ""


class Links:
    """All connections that a Sentinel has made.

    log_in: the credentials for an instance. heard: takes what was said on the hello channel. my_id: this Sentinel's.
    """

    def __init__(
        self,
        turn: Turn,
        timing: Timing,
        *,
        source: Callable[[], str],
        tls: Callable[[], bool],
        log_in: Callable[[Instance], Credentials],
        heard: Callable[[bytes], None],
        my_id: Callable[[], str],
    ) -> None:
        self._turn = turn
        self._timing = timing
        self._source = source
        self._tls = tls
        self._log_in = log_in
        self._heard = heard
        self._my_id = my_id
        self._last_conn = 0
        self._owners: dict[int, tuple[Link, Instance]] = {}  # by connection
        self._shared: dict[str, Link] = {}  # by the other Sentinel's id

    def owns(self, conn: int) -> bool:
        """Whether the connection is one of these."""
        return conn in self._owners

    # -- making and dropping -----------------------------------------------------------------------------------------

    def for_peer(self, run_id: str) -> Link:
        """The link to another Sentinel: the one that is there, or a new one."""
        link = self._shared.get(run_id)
        if link is None:
            link = self._shared[run_id] = Link(self._turn.now.mono_ms)
        else:
            link.owners += 1
        return link

    def release(self, instance: Instance) -> None:
        """The instance is forgotten; the link goes with its last owner."""
        link = instance.link
        link.owners -= 1
        if link.owners > 0:
            return
        if isinstance(instance, Peer) and self._shared.get(instance.run_id) is link:
            del self._shared[instance.run_id]
        self.close(link)

    def close(self, link: Link) -> None:
        """Close both connections of the link."""
        for wire in (link.command, link.channel):
            if wire is not None:
                self._drop(wire)
        self._went_down(link)
        link.channel = None

    def _drop(self, wire: Wire) -> None:
        del self._owners[wire.conn]
        self._turn.emit(Close(wire.conn, "closed by the Sentinel"))

    def _went_down(self, link: Link) -> None:
        if link.command is not None:
            link.dropped = len(link.command.asks)
            link.command = None

    def reconnect(self, instance: Instance) -> None:
        """Make what is missing of the instance's connections, at most once a ping period."""
        link, now = instance.link, self._turn.now.mono_ms
        listens = not isinstance(instance, Peer)
        if instance.address.port == 0 or (link.command is not None and (link.channel is not None or not listens)):
            return
        if link.reconnect_ms is not None and now - link.reconnect_ms < self._timing.ping_period:
            return
        link.reconnect_ms = now
        if link.command is None:
            link.command = self._connect(link, instance)
            if link.owed_since_ms is None:
                link.owed_since_ms = now
            self._introduce(link.command, instance, "cmd")
            self.ping(instance)
        if link.channel is None and listens:
            link.channel = self._connect(link, instance)
            link.channel_heard_ms = now
            self._introduce(link.channel, instance, "pubsub")
            self._put(link.channel, (self._named(instance, b"SUBSCRIBE"), HELLO_CHANNEL), None)

    def _connect(self, link: Link, instance: Instance) -> Wire:
        self._last_conn -= 1
        conn = self._last_conn
        self._owners[conn] = (link, instance)
        host = instance.address.ip
        timeout_ms = self._timing.min_link_reconnect_period
        self._turn.emit(Connect(conn, host, instance.address.port, self._source(), timeout_ms, self._tls()))
        return Wire(conn, self._turn.now.mono_ms)

    def _introduce(self, wire: Wire, instance: Instance, what: str) -> None:
        credentials = self._log_in(instance)
        if credentials.password:
            words = (credentials.user, credentials.password) if credentials.user else (credentials.password,)
            argv = (self._named(instance, b"AUTH"), *(word.encode("utf-8", "surrogateescape") for word in words))
            self._put(wire, argv, None)
        name = f"sentinel-{self._my_id()[:8]}-{what}".encode()
        self._put(wire, (self._named(instance, b"CLIENT"), b"SETNAME", name), None)

    def revalidate(self, instance: Instance) -> None:
        """Drop a connection that looks dead: it may be half open, or its address may be another process's now."""
        link, now, timing = instance.link, self._turn.now.mono_ms, self._timing
        half = instance.down_after_ms // 2
        wire = link.command
        if (
            wire is not None
            and now - wire.since_ms > timing.min_link_reconnect_period
            and link.owed_since_ms is not None
            and now - link.owed_since_ms > half
            and now - link.pong_ms > half
        ):
            self._went_down(link)
            self._drop(wire)
        wire = link.channel
        if (
            wire is not None
            and now - wire.since_ms > timing.min_link_reconnect_period
            and now - link.channel_heard_ms > 3 * timing.publish_period
        ):
            link.channel = None
            self._drop(wire)

    # -- asking ------------------------------------------------------------------------------------------------------

    @staticmethod
    def _named(instance: Instance, name: bytes) -> bytes:
        """The command's name at the instance, which its operator may have renamed."""
        if isinstance(instance, Peer):
            return name
        renamed = instance.owner.renames.get(name.decode().lower())
        return name if renamed is None else renamed.encode("utf-8", "surrogateescape")

    def _put(self, wire: Wire, argv: tuple[bytes, ...], then: Then | None) -> None:
        data = wire.asks.ask(argv, then)
        if wire.up:
            self._turn.emit(Send(wire.conn, data))
        else:
            wire.unsent.append(data)

    def ask(self, instance: Instance, argv: tuple[bytes, ...], then: Then | None = None) -> bool:
        """Ask; False: the link is down."""
        wire = instance.link.command
        if wire is None:
            return False
        self._put(wire, (self._named(instance, argv[0]), *argv[1:]), then)
        return True

    def local_host(self, link: Link) -> str:
        """Our own address as the link shows it; "" while it is not made."""
        return "" if link.command is None else link.command.local_host

    def crowded(self, link: Link) -> bool:
        """Too much waits for an answer: ask no more."""
        return link.pending >= limits.MAX_SENTINEL_ASKS * link.owners

    def ping(self, instance: Instance) -> bool:
        """PING; the answer shows whether the instance is available."""
        link = instance.link
        if not self.ask(instance, (b"PING",), lambda answer: self._pong(instance, answer)):
            return False
        now = self._turn.now.mono_ms
        link.ping_sent_ms = now
        if link.owed_since_ms is None:
            link.owed_since_ms = now
        return True

    def _pong(self, instance: Instance, answer: Any) -> None:
        link, now = instance.link, self._turn.now.mono_ms
        link.pong_ms = now
        text = answer if isinstance(answer, bytes) else getattr(answer, "text", "").encode("utf-8", "replace")
        if text.startswith((b"PONG", b"LOADING", b"MASTERDOWN")):
            link.available_ms = now
            link.owed_since_ms = None
            if text.startswith(b"PONG"):
                instance.reboot_since_ms = None  # it has loaded what it had
            if instance.sdown:
                instance.wake_ms = 0
            instance.script_kill_sent = False
        elif text.startswith(b"BUSY") and instance.sdown and not instance.script_kill_sent:
            # A script that never ends keeps it from answering: perhaps it has not written anything yet.
            instance.script_kill_sent = self.ask(instance, (b"SCRIPT", b"KILL"), None)

    # -- what happens ------------------------------------------------------------------------------------------------

    def connected(self, conn: int, local_host: str) -> None:
        """A connection stands: what waited for it goes out."""
        link, _ = self._owners[conn]
        wire = link.command if link.command is not None and link.command.conn == conn else link.channel
        assert wire is not None and wire.conn == conn
        wire.up = True
        wire.local_host = local_host
        if wire.unsent:
            self._turn.emit(Send(conn, b"".join(wire.unsent)))
            wire.unsent.clear()

    def closed(self, conn: int) -> None:
        """A connection is gone, or could not be made."""
        link, instance = self._owners.pop(conn)
        if link.command is not None and link.command.conn == conn:
            self._went_down(link)
        else:
            link.channel = None
        instance.wake_ms = 0

    def received(self, conn: int, data: bytes) -> None:
        """Answers, or messages of the hello channel."""
        link, instance = self._owners[conn]
        try:
            if link.command is not None and link.command.conn == conn:
                link.command.asks.receive(data)
            else:
                assert link.channel is not None
                self._messages(link, link.channel, data)
        except AnswerError as problem:
            # Perhaps the connection went down in the middle of what it said.
            if conn in self._owners:
                del self._owners[conn]
                self._turn.emit(Close(conn, str(problem)))
                if link.command is not None and link.command.conn == conn:
                    self._went_down(link)
                else:
                    link.channel = None
                where = f"{instance.address.ip}:{instance.address.port}"
                self._turn.log(Level.VERBOSE, f"Bad answer from {where}: {problem}")

    def _messages(self, link: Link, wire: Wire, data: bytes) -> None:
        at = 0
        while not wire.asks.decoder.pending and data.startswith(_HEAD, at):
            begin = data.find(b"\r\n", at + len(_HEAD), at + len(_HEAD) + 8)
            digits = data[at + len(_HEAD) : begin]
            if begin < 0 or not digits.isdigit() or data[begin + 2 + int(digits) :][:2] != b"\r\n":
                break
            end = begin + 2 + int(digits)
            link.channel_heard_ms = self._turn.now.mono_ms
            self._heard(data[begin + 2 : end])
            at = end + 2
        if at == len(data):
            return
        data = data[at:]
        for message in wire.asks.decoder.feed(data):
            if not isinstance(message, list) or len(message) != 3 or message[0] != b"message":
                continue
            link.channel_heard_ms = self._turn.now.mono_ms
            if message[1] == HELLO_CHANNEL and isinstance(message[2], bytes):
                self._heard(message[2])

