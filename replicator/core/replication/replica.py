"""The replica's side: the link to our primary, from REPLICAOF to the stream.

    state               what comes                    then
    ------------------  ----------------------------  ------------------------------------------------
    CONNECT             (the retry clock)             Connect                              -> CONNECTING
    CONNECTING          Connected                     PING                                 -> PING
    PING                +PONG, -NOAUTH, -NOPERM       AUTH?, REPLCONF port, ip?, capa      -> HANDSHAKE
    HANDSHAKE           one line for each             PSYNC <id> <offset> | PSYNC ? -1     -> PSYNC
    PSYNC               +CONTINUE [id]                                                     -> CONNECTED
                        +FULLRESYNC id offset                                              -> TRANSFER
                        -NOMASTERLINK, -LOADING       come again later                     -> CONNECT
                        an error to PSYNC FAILOVER    the coordinated failover is aborted
                        any other error               SYNC                                 -> TRANSFER
    TRANSFER            $<length> or $EOF:<mark>,     to a file, or straight to the loader -> LOADING
                        payload, (mark)               our own replicas are sent away
    LOADING             the load has ended            ACK                                  -> CONNECTED
    CONNECTED           the stream                    applied, ACK every second
    any                 closed, timeout, bad reply    (cached: id and offset stay)         -> CONNECT

What survives every failure before a full payload has been loaded is the history (id, offset) together with the data it
stands for, so the next attempt may still continue partially. From the moment old data is dropped for a load until the
load has succeeded there is nothing to continue: `resumable` is False.

A PSYNC ... FAILOVER whose answer is lost with its connection may have been obeyed. It is asked again; a target that
says it is a master by now took over at our request if it continues our history, and only then do we follow it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from replicator.core.effects import Announce, Close, Connect, Level, Log, NoDelay, PauseReading, Send
from replicator.core.events import Closed, Connected, ConnectFailed, Received
from replicator.core.now import Now
from replicator.core.peers import Peers
from replicator.core.replication.history import History, Settings, is_id, new_id
from replicator.core.replication.link import ENDS, NEXT, Host, Payloads, ReplicaState
from replicator.core.replication.transfer import Transfer, TransferError, text
from replicator.core.turn import Turn
from replicator.core.wire.numbers import parse_int
from replicator.core.wire.request import encode

_LONGEST_LINE = 64 * 1024
_RETRY_MS = 1000
_RETRY_FAILOVER_MS = 100  # nobody takes writes until the target is reached
_IS_A_MASTER = b"-ERR PSYNC FAILOVER can't be sent to a master"


class Replica:
    """The link from this node to its primary. NONE: the node is a primary."""

    host: Host
    payloads: Payloads
    transfer: Transfer  # of the full synchronization under way, or the last one

    def __init__(self, history: History, settings: Settings, chance: Random, turn: Turn, peers: Peers) -> None:
        self.durable_offset: Callable[[int], int | None] = lambda applied: None  # of so much, how much is durable here
        self.history = history
        self.settings = settings
        self.chance = chance
        self.emit = turn.emit
        self.peers = peers
        self.on_link: Callable[[], None] = _nobody  # told when the state has changed
        self.state = ReplicaState.NONE
        self.active = False  # this node is a replica
        self.up = False  # the stream flows
        self.syncing = False  # a payload is coming in or being loaded
        self.primary_host = ""
        self.primary_port = 0
        self.conn = 0
        self.local = ("", 0)  # our end of the connection: address and port
        self.resumable = False  # our data is that of history.id at history.end
        self.stream_db = 0  # database that the stream works on at our offset
        self.last_io_ms = 0
        self.down_since_ms = 0
        self.retry_ms = 0
        self.last_ack_ms = 0
        self.bytes_received = 0  # of payloads and of the stream
        self.bytes_sent = 0
        self.ask_failover = False  # our next PSYNC tells the primary-to-be that we hand over to it
        self.failover_unanswered = False  # it was told, and the answer was lost: it may have taken over
        self._failover_confirming = False  # it is a master: whether of our history, a plain PSYNC asks
        self._line = b""
        self._awaited: list[bytes] = []  # what the expected handshake answers belong to
        self.full_id = ""  # of the history that a payload belongs to
        self._full_offset = 0
        self._knows_offsets = True  # the primary speaks PSYNC: it has ids, offsets, and wants ACKs
        self._transfers = 0
        self._leaving = False  # the link is being given up for good
        self._reconnecting = False
        self._life_shown_ms = 0

    # -- orders ------------------------------------------------------------------------------------------------------

    def attach(self, host: Host, payloads: Payloads) -> None:
        """The node stands: whom the link asks. (These parts need the link to be made.)"""
        self.host, self.payloads = host, payloads
        self.transfer = Transfer(self.emit, payloads, "")

    def follow(self, host: str, port: int, now: Now) -> None:
        """Follow that primary from now on."""
        self._leave(now)
        self.primary_host, self.primary_port = host, port
        self._enter(ReplicaState.CONNECT)
        self.down_since_ms = now.mono_ms
        self._connect(now)

    def stop(self, now: Now) -> None:
        """Follow nobody."""
        self._leave(now)
        if self.resumable:
            self._log(Level.NOTICE, "Discarding previously cached master state.")
        self._enter(ReplicaState.NONE)
        self.primary_host, self.primary_port = "", 0
        self.ask_failover = self.failover_unanswered = False

    def _leave(self, now: Now) -> None:
        if self.conn:
            self._leaving = True
            self.disconnect("the primary was changed", now)
            self._leaving = False
        elif self.state is ReplicaState.LOADING:  # the link broke while the payload was being loaded
            self.transfer.drop("the primary was changed")

    def _enter(self, state: ReplicaState) -> None:
        """The only way from one state to another."""
        assert state in ENDS or state in NEXT[self.state], (self.state, state)
        self.state = state
        self.active = state is not ReplicaState.NONE
        self.up = state is ReplicaState.CONNECTED
        self.syncing = state is ReplicaState.TRANSFER or state is ReplicaState.LOADING
        self.on_link()

    # -- clocks ------------------------------------------------------------------------------------------------------

    def deadline_ms(self) -> int | None:
        """When `advance` next has work (mono ms)."""
        if self.up:  # nearly always, and asked after every turn
            timeout: int = self.last_io_ms + 1000 * self.settings["repl-timeout"]  # type: ignore[operator]
            acknowledge = self.last_ack_ms + 1000
            return acknowledge if acknowledge < timeout else timeout
        if not self.active:
            return None
        if self.state is ReplicaState.CONNECT:
            return self.retry_ms
        if self.state is ReplicaState.LOADING:
            return self._life_shown_ms + 1000 if self.conn else None
        return self.last_io_ms + self._timeout_ms()

    def advance(self, now: Now) -> None:
        """Retry, acknowledge, give up on silence."""
        if not self.active:
            return
        if self.state is ReplicaState.CONNECT:
            if now.mono_ms >= self.retry_ms:
                self._connect(now)
        elif self.state is ReplicaState.LOADING:
            self.show_life(now)
        elif now.mono_ms - self.last_io_ms >= self._timeout_ms():
            self._timed_out(now)
        elif self.up and now.mono_ms - self.last_ack_ms >= 1000:
            self.acknowledge(now)

    def _timed_out(self, now: Now) -> None:
        if self.state is ReplicaState.CONNECTED:
            self._log(Level.WARNING, "MASTER timeout: no data nor PING received...")
        elif self.state is ReplicaState.TRANSFER:
            self._log(
                Level.WARNING,
                "Timeout receiving bulk data from MASTER... If the problem persists try to set the 'repl-timeout' "
                "parameter in redis.conf to a larger value.",
            )
        else:
            self._log(Level.WARNING, "Timeout connecting to the MASTER...")
        self.disconnect("timeout", now)

    def _timeout_ms(self) -> int:
        return 1000 * self._number("repl-timeout")

    def acknowledge(self, now: Now, position: int | None = None) -> None:
        """REPLCONF ACK <offset> [FACK <offset>]."""
        if self.state is ReplicaState.CONNECTED:
            self.last_ack_ms = now.mono_ms
            if not self._knows_offsets:
                return
            position = self.history.end if position is None else position
            durable = self.durable_offset(position)
            fack = () if durable is None else (b"FACK", b"%d" % durable)
            self._request(b"REPLCONF", b"ACK", b"%d" % position, *fack)

    def show_life(self, now: Now) -> None:
        """While we load, a line end every second keeps the primary from giving up on us."""
        if self.conn and self.syncing and now.mono_ms - self._life_shown_ms >= 1000:
            self._life_shown_ms = now.mono_ms
            self._write(b"\n")

    # -- connection --------------------------------------------------------------------------------------------------

    def _connect(self, now: Now) -> None:
        self.conn = self.peers.new(self)
        self._enter(ReplicaState.CONNECTING)
        self.last_io_ms = now.mono_ms
        self._line = b""
        if not self._reconnecting:  # otherwise that has been said
            self._log(Level.NOTICE, f"Connecting to MASTER {self.primary_host}:{self.primary_port}")
        self._reconnecting = False
        source = str(self.settings["bind-source-addr"] or "")
        tls = bool(self.settings["tls-replication"])
        self.emit(Connect(self.conn, self.primary_host, self.primary_port, source, self._timeout_ms(), tls))
        self._log(Level.NOTICE, "MASTER <-> REPLICA sync started")

    def connected(self, event: Connected, now: Now) -> None:
        """The connection stands."""
        self.local = (event.local_host, event.local_port)
        self._log(Level.NOTICE, "Non blocking connect for SYNC fired the event.")
        self.last_io_ms = now.mono_ms
        self._enter(ReplicaState.PING)
        self._request(b"PING")

    def connect_failed(self, event: ConnectFailed, now: Now) -> None:
        """The connection could not be made."""
        self._log(Level.WARNING, f"Error condition on socket for SYNC: {event.why}")
        self.conn = 0
        self._retry(now)

    def closed(self, event: Closed, now: Now) -> None:
        """The connection broke."""
        why = event.why
        self.conn = 0
        if self.state is ReplicaState.CONNECTED:
            self._log(Level.WARNING, "Connection with master lost.")
        elif self.state is ReplicaState.TRANSFER:
            self._log(Level.WARNING, f"I/O error trying to sync with MASTER: {why or 'connection lost'}")
        elif self.state is ReplicaState.LOADING:
            # The payload is whole: let the load end; the link is made anew then.
            return
        else:
            self._log(Level.WARNING, f"Failed to read response from the server: {why or 'connection lost'}")
            self._log(Level.WARNING, "Master did not respond to command during SYNC handshake")
        self._after_end(now)

    def disconnect(self, why: str, now: Now) -> None:
        """End the connection; another attempt follows."""
        conn, self.conn = self.conn, 0
        if conn:
            self.peers.drop(conn)
            self.emit(Close(conn, why))
        if self.state is ReplicaState.CONNECTED:
            self._log(Level.WARNING, "Connection with master lost.")
        self._after_end(now)

    def _after_end(self, now: Now) -> None:
        was = self.state
        self._enter(ReplicaState.CONNECT)
        if was is ReplicaState.PSYNC and self.ask_failover and not self._leaving:
            self.failover_unanswered = True
            self._log(
                Level.WARNING,
                "The answer to PSYNC FAILOVER was lost, and the target may have taken over: asking again.",
            )
        if was is ReplicaState.CONNECTED:
            self._log(Level.NOTICE, "Caching the disconnected master state.")
            self.down_since_ms = now.mono_ms
            self.host.link_is_down()
            self.emit(Announce("replication.link-lost", (("offset", self.history.end),)))
        elif was in (ReplicaState.TRANSFER, ReplicaState.LOADING):
            self.transfer.drop("the link to the primary was lost")
        self._retry(now, at_once=was is ReplicaState.CONNECTED and not self._leaving)

    def _retry(self, now: Now, *, at_once: bool = False) -> None:
        self._enter(ReplicaState.CONNECT)
        self.retry_ms = now.mono_ms + (0 if at_once else _RETRY_FAILOVER_MS if self.ask_failover else _RETRY_MS)
        self._reconnecting = at_once
        if at_once:
            self._log(Level.NOTICE, f"Reconnecting to MASTER {self.primary_host}:{self.primary_port}")

    # -- bytes -------------------------------------------------------------------------------------------------------

    def received(self, event: Received, now: Now) -> None:
        """Bytes from the primary, in whatever state we are."""
        data = event.data
        self.last_io_ms = now.mono_ms
        if self.up:
            self.bytes_received += len(data)
            self.host.apply_stream(data)
            return
        if self.state is ReplicaState.LOADING:
            self.bytes_received += len(data)
            self.transfer.behind += data
            return
        if self.state is ReplicaState.TRANSFER and self.transfer.header_seen:
            self._payload(data, now)
            return
        self._lines(self._line + data, now)

    def _lines(self, data: bytes, now: Now) -> None:
        """Lines of the handshake; what stands behind them belongs to the payload or the stream."""
        self._line = b""
        at = 0
        while self.conn:
            # Empty lines: the primary shows life while it makes our snapshot.
            while data[at : at + 1] in (b"\n", b"\r"):
                at += 1
            end = data.find(b"\n", at)
            if end < 0:
                self._line = data[at:]
                if len(self._line) > _LONGEST_LINE:
                    self._log(Level.WARNING, "The primary sent a line without an end during the handshake")
                    self.disconnect("protocol error", now)
                return
            line = data[at:end].rstrip()
            at = end + 1
            if self.state is not ReplicaState.TRANSFER:
                self._answer(line, now)
            else:
                self._payload_header(line, now)
            if self.up or (self.state is ReplicaState.TRANSFER and self.transfer.header_seen):
                break
        rest = data[at:]
        if rest and self.up:
            self.bytes_received += len(rest)
            self.host.apply_stream(rest)
        elif rest and self.conn:
            self._payload(rest, now)

    def _answer(self, line: bytes, now: Now) -> None:
        if self.state is ReplicaState.PING:
            if line[:1] == b"+" or line.startswith((b"-NOAUTH", b"-NOPERM", b"-ERR operation not permitted")):
                self._log(Level.NOTICE, "Master replied to PING, replication can continue...")
                self._handshake()
            else:
                self._log(Level.WARNING, f"Error reply to PING from master: '{text(line)}'")
                self.disconnect("error reply to PING", now)
        elif self.state is ReplicaState.HANDSHAKE:
            asked = self._awaited.pop(0)
            if line[:1] == b"-":
                if asked == b"AUTH":
                    self._log(Level.WARNING, f"Unable to AUTH to MASTER: {text(line)}")
                    self.disconnect("authentication failed", now)
                    return
                refused = f"(Non critical) Master does not understand REPLCONF {text(asked)}: {text(line)}"
                self._log(Level.NOTICE, refused)
            if not self._awaited:
                self._psync()
        else:
            self._psync_answer(line, now)

    def _handshake(self) -> None:
        self._enter(ReplicaState.HANDSHAKE)
        self._awaited = []
        for request in self.host.handshake_lines():
            self._awaited.append(request[0] if request[0] == b"AUTH" else request[1])
            self._request(*request)

    def _psync(self, *, confirming: bool = False) -> None:
        self._enter(ReplicaState.PSYNC)
        self._failover_confirming = confirming
        history = self.history
        if self.resumable:
            self._log(Level.NOTICE, f"Trying a partial resynchronization (request {history.id}:{history.end + 1}).")
            request = [b"PSYNC", history.id.encode(), b"%d" % (history.end + 1)]
        else:
            self._log(Level.NOTICE, "Partial resynchronization not possible (no cached master)")
            request = [b"PSYNC", b"?", b"-1"]
        if self.ask_failover and not confirming:
            request.append(b"FAILOVER")
        self._request(*request)

    def _psync_answer(self, line: bytes, now: Now) -> None:
        words = line.split() or [b""]
        if self.ask_failover and not self._failover_answer(line, now):
            return
        if words[0] == b"+CONTINUE":
            if not self.resumable:
                self._log(Level.WARNING, "Master continues a history that was not asked for.")
                self.disconnect("+CONTINUE of nothing", now)
                return
            self._continue(text(words[1]) if len(words) > 1 and is_id(words[1]) else self.history.id, now)
        elif words[0] == b"+FULLRESYNC":
            offset = parse_int(words[2]) if len(words) == 3 and is_id(words[1]) else None
            if offset is None or offset < 0:
                self._log(Level.WARNING, "Master replied with wrong +FULLRESYNC syntax.")
                self.disconnect("wrong +FULLRESYNC", now)
                return
            self.full_id, self._full_offset = text(words[1]), offset
            self._knows_offsets = True
            self._log(Level.NOTICE, f"Full resync from master: {self.full_id}:{self._full_offset}")
            self._begin_transfer()
        elif self._psync_refused(line):
            self.disconnect("the primary cannot serve us yet", now)
        else:
            self._log(Level.NOTICE, "Retrying with SYNC...")
            self.full_id, self._full_offset = "", -1
            self._knows_offsets = False
            self._request(b"SYNC")
            self._begin_transfer()

    def _psync_refused(self, line: bytes) -> bool:
        """Log what was answered to PSYNC; whether to come again later."""
        later = line.startswith((b"-NOMASTERLINK", b"-LOADING"))
        shown = text(line)
        if later:
            self._log(Level.NOTICE, f"Master is currently unable to PSYNC but should be in the future: {shown}")
        elif line.startswith(b"-ERR"):
            self._log(Level.NOTICE, f"Master does not support PSYNC or is in error state (reply: {shown})")
        else:
            self._log(Level.WARNING, f"Unexpected reply to PSYNC from master: {shown}")
        return later

    def _failover_answer(self, line: bytes, now: Now) -> bool:
        """The answer to PSYNC ... FAILOVER, or to the question whether its lost answer was a yes; whether to go on."""
        refused = ""
        if line.startswith((b"+CONTINUE", b"+FULLRESYNC")):
            if self._failover_confirming and line.startswith(b"+FULLRESYNC"):
                refused = "Failover target is a master of another history"
        else:
            refused = "Failover target rejected psync request"
            later = self._psync_refused(line)
            if self.failover_unanswered and later:
                self.disconnect("the failover target cannot answer yet", now)
                return False
            if self.failover_unanswered and line.startswith(_IS_A_MASTER) and not self._failover_confirming:
                self._psync(confirming=True)
                return False
        self.ask_failover = self.failover_unanswered = False
        if refused:
            self.host.failover_refused(refused)
        return not refused

    def _continue(self, new_id: str, now: Now) -> None:
        history = self.history
        self._knows_offsets = True  # an earlier attempt may have tried SYNC, in vain
        self._log(Level.NOTICE, "Successful partial resynchronization with master.")
        if new_id != history.id:
            self._log(Level.WARNING, f"Master replication ID changed to {new_id}")
            history.follow(new_id)
            self.host.history_renamed()
        if history.window is None:
            history.open_window(self._number("repl-backlog-size"))
        self._log(Level.NOTICE, "MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.")
        self.emit(Announce("replication.partial-sync-done", (("offset", history.end),)))
        self._now_connected(now)

    def _now_connected(self, now: Now) -> None:
        self._enter(ReplicaState.CONNECTED)
        self.resumable = self._knows_offsets
        self.last_ack_ms = now.mono_ms
        self.last_io_ms = now.mono_ms
        if self.settings["repl-disable-tcp-nodelay"]:
            self.emit(NoDelay(self.conn, False))
        self.host.link_is_up()
        self.acknowledge(now)

    # -- the payload -------------------------------------------------------------------------------------------------

    def _begin_transfer(self) -> None:
        self._enter(ReplicaState.TRANSFER)
        self._transfers += 1
        self.transfer = Transfer(self.emit, self.payloads, f"temp-sync-{self.host.process_id()}-{self._transfers}.rdb")
        self.payloads.full_sync_begins()

    def _payload_header(self, line: bytes, now: Now) -> None:
        try:
            self.transfer.header(line, now)
        except TransferError as problem:
            self._log(Level.WARNING, problem.message)
            self.disconnect(problem.why, now)

    def _payload(self, data: bytes, now: Now) -> None:
        self.bytes_received += len(data)
        try:
            whole = self.transfer.take(data, now)
        except TransferError as problem:
            self._log(Level.WARNING, problem.message)
            self.disconnect(problem.why, now)
            return
        if whole:
            self._enter(ReplicaState.LOADING)
            if self.transfer.in_memory:
                self.payloads.finish_load()
            else:
                self.emit(PauseReading(self.conn, True))
                self.payloads.before_dump_is_replaced()
                self.transfer.commit(str(self.settings["dbfilename"]))

    def load_goes_on(self, now: Now) -> None:
        """The loader held bytes back and goes on."""
        self.last_io_ms = now.mono_ms
        self.show_life(now)
        if self.state is ReplicaState.TRANSFER:
            self._payload(b"", now)

    def file_committed(self, name: str, final_name: str) -> None:
        """The payload's file stands under its final name."""
        if self.state is ReplicaState.LOADING and self.transfer.committed(name):
            self.payloads.load_file(final_name)

    def file_failed(self, name: str, why: str, now: Now) -> None:
        """The payload's file could not be written."""
        if name and name == self.transfer.file:
            self._log(
                Level.WARNING,
                "Write error or short write writing to the DB dump file needed for MASTER <-> REPLICA synchronization: "
                f"{why}",
            )
            self.disconnect("disk error", now)

    def payload_loaded(self, stream_db: int, now: Now) -> None:
        """The node holds the primary's data of (full id, full offset), and the stream goes on at that database."""
        size = self._number("repl-backlog-size")
        if self.full_id:
            self.history.restart(self.full_id, self._full_offset, size)
        else:  # an old primary that knows no ids: nothing can ever continue this
            self.history.restart(new_id(self.chance), 0, size)
        self.stream_db = stream_db
        self.transfer.header_seen = False
        self._log(Level.NOTICE, "MASTER <-> REPLICA sync: Finished with success")
        self.emit(Announce("replication.loaded", (("id", self.full_id), ("offset", self._full_offset))))
        if not self.conn:  # the link broke while we loaded
            self.down_since_ms = now.mono_ms
            self._retry(now)
            return
        self.emit(PauseReading(self.conn, False))
        behind, self.transfer.behind = self.transfer.behind, b""
        self._now_connected(now)
        if behind:
            self.host.apply_stream(behind)

    def payload_failed(self, why: str, now: Now) -> None:
        """The load failed."""
        self._log(Level.WARNING, f"Failed trying to load the MASTER synchronization DB from disk: {why}")
        self.transfer.header_seen = False
        if self.conn:
            self.disconnect("the payload could not be loaded", now)
        else:
            self._retry(now)

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _number(self, name: str) -> int:
        value = self.settings[name]
        assert isinstance(value, int)
        return value

    def _request(self, *argv: bytes) -> None:
        self._write(encode(argv))

    def _write(self, data: bytes) -> None:
        self.bytes_sent += len(data)
        self.emit(Send(self.conn, data))

    def _log(self, level: Level, message: str) -> None:
        self.emit(Log(level, message))


def _nobody() -> None:
    pass
