"""A Sentinel: joins beliefs, links, election, failover, commands and its file into a machine (core/machine.py).

    handle(event)  ->  its part acts on it  ->  what was changed is written  ->  replies whose state is durable go out
    advance        ->  monitor.tick, every 100 ms: who is asked, who is down, what a failover does next

Nobody holds this object: each part is given what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from replicator.core import limits
from replicator.core.config.config import Config, Directive
from replicator.core.effects import Close, Effect, Exit, Level, Send
from replicator.core.events import (
    Closed,
    Connected,
    ConnectFailed,
    Event,
    FileCommitted,
    FileFailed,
    Opened,
    OutputPending,
    Received,
    ScriptEnded,
    ScriptStarted,
    Signalled,
    Started,
)
from replicator.core.now import Now
from replicator.core.sentinel.accounts import Accounts
from replicator.core.sentinel.belief import Address, Instance, Peer, Primary
from replicator.core.sentinel.bulletin import WARNING, Bulletin
from replicator.core.sentinel.commands import Commands
from replicator.core.sentinel.discovery import Discovery
from replicator.core.sentinel.election import Election
from replicator.core.sentinel.failover import Failover
from replicator.core.sentinel.family import Family
from replicator.core.sentinel.file import Reader, render
from replicator.core.sentinel.links import Credentials, Links
from replicator.core.sentinel.monitor import Monitor
from replicator.core.sentinel.report import Information, Surroundings
from replicator.core.sentinel.roster import Roster
from replicator.core.sentinel.scripts import Scripts
from replicator.core.sentinel.sessions import Room, Session
from replicator.core.sentinel.settings import Settings
from replicator.core.sentinel.store import Store
from replicator.core.turn import Turn
from replicator.core.wire import reply

__all__ = ["Sentinel", "Surroundings"]

# A tick comes so many milliseconds after the last at the latest, less a random part: Sentinels that were started
# together shall not do everything together.
TICK_MS = 100
TICK_LEAST_MS = 60


class Sentinel:
    """One Sentinel. directives: the lines of its file that begin with "sentinel" (see file.separate); text: the file.

    Raises ConfigFileError or ValueError for a configuration that forbids the start.
    """

    def __init__(
        self, config: Config, directives: Sequence[Directive], chance: Random, surroundings: Surroundings,
        text: str = "",
    ) -> None:  # fmt: skip
        self.config = config
        self.settings = Settings()
        self._chance = chance
        self._surroundings = surroundings
        self._text = text
        self.turn = Turn()
        self.room = Room(self.turn)
        self.store = Store(self.turn, surroundings.config_file, self._render)
        self.scripts = Scripts(self.turn, self.settings.timing)
        self.bulletin = self.scripts.bulletin = Bulletin(
            self.turn,
            publish=self.room.subscriptions.publish,
            notify=lambda primary, event, message: self.scripts.schedule(primary.notification_script, event, message),
            shown=self._shown,
        )
        self.links = Links(
            self.turn, self.settings.timing, source=lambda: str(config["bind-source-addr"]),
            tls=lambda: bool(config["tls-replication"]), log_in=self._log_in,
            heard=lambda data: self.discovery.hello(data), my_id=lambda: self.settings.my_id,
        )  # fmt: skip
        self.roster = Roster(
            self.turn, self.settings, self.links, self.bulletin, self.store, surroundings.resolve
        )  # fmt: skip
        self.election = Election(self.turn, self.settings, self.links, self.bulletin, self.store, chance)
        self.failover = Failover(
            self.turn, self.settings, self.roster, self.links, self.election, self.bulletin, self.store,
            reconfigured=self._reconfigured, crash=self._crash, calendar=surroundings.calendar,
        )  # fmt: skip
        self.monitor = Monitor(
            self.turn, self.settings, self.roster, self.links, self.store, self.failover, self.bulletin,
            self._listening,
        )  # fmt: skip
        self.discovery = self.monitor.discovery = Discovery(
            self.turn, self.settings, self.roster, self.election, self.failover, self.bulletin, self.store,
            tilted=self._tilted, reconfigured=self._reconfigured,
        )  # fmt: skip
        family = Family(
            self.turn, self.settings, self.roster, self.election, self.failover, self.discovery, self.bulletin,
            self.store, self.scripts, tilted=self._tilted, may_run=surroundings.may_run,
            log_level=(lambda: config.text("loglevel"), self._set_log_level),
        )  # fmt: skip
        self.information = Information(
            self.turn, self.settings, self.roster, self.scripts, self.room, surroundings,
            run_id=f"{chance.getrandbits(160):040x}", tilted_since=lambda: self.monitor.tilt_since_ms,
            max_clients=config["maxclients"],
        )  # fmt: skip
        self.commands = Commands(self.room, self.roster, family, self.information, shut_down=self._shut_down)
        self.accounts = self.commands.accounts = Accounts(config, self.commands.table, chance)
        Reader(self.settings, self.roster, surroundings.may_run).read(directives)
        self._tick_ms = 0
        self._exiting = False
        self._handlers: dict[type, Callable[[Any], None]] = {
            Started: self._started,
            Opened: self._opened,
            Received: self._received,
            Closed: self._closed,
            Connected: lambda event: self.links.connected(event.conn, event.local_host),
            ConnectFailed: lambda event: self.links.closed(event.conn) if self.links.owns(event.conn) else None,
            OutputPending: self._output_pending,
            FileCommitted: lambda event: self._file_event(self.store.committed, event.name),
            FileFailed: lambda event: self._file_event(self.store.failed, event.name, event.why),
            ScriptStarted: self.scripts.started,
            ScriptEnded: self.scripts.ended,
            Signalled: self._signalled,
        }

    # -- the surface -------------------------------------------------------------------------------------------------

    def handle(self, event: Event, now: Now) -> list[Effect]:
        """Take one event."""
        self.turn.now = now
        self._handlers[type(event)](event)
        return self._finish()

    def advance(self, now: Now) -> list[Effect]:
        """Do all that is due."""
        self.turn.now = now
        if now.mono_ms >= self._tick_ms:
            self._tick_ms = now.mono_ms + self._chance.randrange(TICK_LEAST_MS, TICK_MS + 1)
            self.store.advance()
            self.monitor.tick()
            self.scripts.tick()
            self._check_soft_limits()
        return self._finish()

    def deadline_ms(self) -> int | None:
        """When `advance` next has work."""
        return self._tick_ms

    def pull(self, conn: int, limit: int) -> bytes:
        """A Sentinel has no streams."""
        return b""

    def _finish(self) -> list[Effect]:
        self.store.flush()
        turn, room = self.turn, self.room
        if room.touched:
            for session in list(room.touched):
                data = session.take()
                if data:
                    session.sent += len(data)
                    room.counters.sent += len(data)
                    room.counters.writes += 1
                    turn.emit(Send(session.conn, data))
                if session.closing and not session.held:
                    turn.emit(Close(session.conn, session.closing, flush=True))
            room.touched.clear()
        return turn.take()

    def _hurry(self) -> None:
        """Something that a failover waits for has come: look at it now, not with the next tick."""
        self._tick_ms = min(self._tick_ms, self.turn.now.mono_ms)

    # -- start and end -----------------------------------------------------------------------------------------------

    def _started(self, event: Started) -> None:
        now = self.turn.now
        self.information.started_ms = now.mono_ms
        self._tick_ms = now.mono_ms
        self.turn.log(Level.NOTICE, f"Running mode=sentinel, port={self._surroundings.port}.")
        if not self.settings.my_id:
            self.settings.my_id = f"{self._chance.getrandbits(160):040x}"
        for primary in self.roster.primaries.values():
            for instance in primary.everybody():
                _begin(instance, now.mono_ms)
        self.store.changed(spoken_of=True)
        self.store.when_durable(self._ready, self._ready)

    def _ready(self) -> None:
        self.turn.log(WARNING, f"Sentinel ID is {self.settings.my_id}")
        for primary in self.roster.primaries.values():
            self.bulletin.tell(WARNING, "+monitor", primary, f"quorum {primary.quorum}")

    def _signalled(self, event: Signalled) -> None:
        self._shut_down()

    def _shut_down(self) -> None:
        if self._exiting:
            return
        self._exiting = True
        self.turn.log(WARNING, "User requested shutdown...")
        self.scripts.abandon()
        self.turn.log(WARNING, "Sentinel is now ready to exit, bye bye...")
        self.turn.emit(Exit(0))

    def _crash(self, why: str) -> None:
        """SENTINEL SIMULATE-FAILURE: die as by a fault, at the worst moment."""
        self.turn.log(WARNING, f"Sentinel CRASH because of SENTINEL simulate-failure ({why})")
        self.turn.emit(Exit(99, crash=True))

    # -- connections that come in ------------------------------------------------------------------------------------

    def _opened(self, event: Opened) -> None:
        session = self.room.open(event.conn)
        session.peer = _address(event.peer_host, event.peer_port)
        session.local = _address(event.local_host, event.local_port)
        self.accounts.greet(session)
        self.turn.log(Level.VERBOSE, f"Accepted {session.peer}")
        if len(self.room.sessions) > self.config["maxclients"]:
            self.room.counters.rejected += 1
            session.push(reply.error("ERR max number of clients reached"))
            session.closing = "rejected"

    def _received(self, event: Received) -> None:
        session = self.room.sessions.get(event.conn)
        if session is None:
            if self.links.owns(event.conn):
                self.links.received(event.conn, event.data)
            return
        if session.closing:
            return
        session.last_ms = self.turn.now.mono_ms
        session.received += len(event.data)
        self.room.counters.received += len(event.data)
        self.room.counters.reads += 1
        self._run(session, event.data)

    def _run(self, session: Session, data: bytes) -> None:
        decoder = session.decoder
        if not decoder.trusted:
            argv = decoder.next_small(data)
            data = b""
            while argv is not None:
                self.commands.run(session, argv)
                if session.closing:
                    return
                if decoder.trusted:
                    data = decoder.trust()
                    break
                argv = decoder.next_small()
        if decoder.trusted and data:
            for argv in decoder.feed(data):
                self.commands.run(session, argv)
                if session.closing:
                    return
        if decoder.error is not None:
            session.push(reply.error(f"ERR Protocol error: {decoder.error}"))
            session.closing = "protocol error"
        elif decoder.pending > limits.MAX_SENTINEL_REQUEST:
            self.turn.emit(Close(session.conn, "request too large"))

    def _closed(self, event: Closed) -> None:
        session = self.room.sessions.get(event.conn)
        if session is not None:
            self.turn.log(Level.VERBOSE, f"Client closed connection id={session.id} addr={session.peer}")
            self.room.forget(session)
        elif self.links.owns(event.conn):
            self.links.closed(event.conn)
            self._hurry()

    def _output_pending(self, event: OutputPending) -> None:
        session = self.room.sessions.get(event.conn)
        if session is None:
            return
        session.pending_output = event.pending
        hard, soft, _ = self._output_limit(session)
        if hard and event.pending > hard:
            self._drop_slow(session)
        elif not soft or event.pending <= soft:
            session.soft_since_ms = None
        elif session.soft_since_ms is None:
            session.soft_since_ms = self.turn.now.mono_ms

    def _output_limit(self, session: Session) -> tuple[int, int, int]:
        kind = "pubsub" if session.channels or session.patterns else "normal"
        limit: tuple[int, int, int] = self.config["client-output-buffer-limit"][kind]
        return limit

    def _check_soft_limits(self) -> None:
        now = self.turn.now.mono_ms
        for session in list(self.room.sessions.values()):
            since = session.soft_since_ms
            if since is not None and now - since > 1000 * self._output_limit(session)[2]:
                self._drop_slow(session)

    def _drop_slow(self, session: Session) -> None:
        self.turn.log(
            WARNING, f"Client id={session.id} addr={session.peer} closed for overcoming of output buffer limits."
        )
        session.soft_since_ms = None
        self.turn.emit(Close(session.conn, "output buffer limit"))

    # -- what the parts ask ------------------------------------------------------------------------------------------

    def _file_event(self, told: Callable[..., None], *words: str) -> None:
        told(*words)
        self._hurry()

    def _tilted(self) -> bool:
        return self.monitor.tilt_since_ms is not None

    def _shown(self, address: Address) -> str:
        return self.roster.shown(address)

    def _log_in(self, instance: Instance) -> Credentials:
        if not isinstance(instance, Peer):
            return Credentials(instance.owner.auth_user, instance.owner.auth_pass)
        if self.settings.sentinel_pass:
            return Credentials(self.settings.sentinel_user, self.settings.sentinel_pass)
        return Credentials("", str(self.config["requirepass"]))

    def _listening(self, local_host: str) -> tuple[str, int]:
        return self.settings.announce_ip or local_host, self.settings.announce_port or self._surroundings.port

    def _reconfigured(self, primary: Primary, role: str, old: Address, new: Address) -> None:
        if primary.client_script:
            self.scripts.schedule(
                primary.client_script, primary.name, role, "start",
                self._shown(old), str(old.port), self._shown(new), str(new.port),
            )  # fmt: skip

    def _set_log_level(self, level: str) -> None:
        self.config.set_many([("loglevel", level)])

    def _render(self) -> str:
        present = self._surroundings.read_file()
        self._text = render(
            self._text if present is None else present, self.config, self.settings, self.roster, self.accounts.lines()
        )
        return self._text


def _begin(instance: Instance, now_ms: int) -> None:
    """What the file told was read before there was a clock."""
    link = instance.link
    link.available_ms = link.pong_ms = link.channel_heard_ms = now_ms
    link.owed_since_ms = now_ms
    instance.hello_sent_ms = instance.role_since_ms = now_ms
    if isinstance(instance, Primary):
        instance.state_changed_ms = now_ms


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


