"""The replica's side: the link to our primary, from REPLICAOF to the stream.

    state               what comes                    then
    ------------------  ----------------------------  ------------------------------------------------
    CONNECT             (the retry clock)             Connect                              -> CONNECTING
    CONNECTING          Connected                     PING                                 -> PING
    PING                +PONG, -NOAUTH, -NOPERM       AUTH?, REPLCONF port, ip?, capa      -> HANDSHAKE
    HANDSHAKE           one line for each             PSYNC <id> <offset> | PSYNC ? -1     -> PSYNC
    PSYNC               +CONTINUE [id]                                                     -> CONNECTED
                        +FULLRESYNC id offset         our own replicas are sent away       -> TRANSFER
                        -NOMASTERLINK, -LOADING       come again later                     -> CONNECT
                        any other error               SYNC                                 -> TRANSFER
    TRANSFER            $<length> or $EOF:<mark>,     to a file, or straight to the loader -> LOADING
                        payload, (mark)
    LOADING             the load has ended            ACK                                  -> CONNECTED
    CONNECTED           the stream                    applied, ACK every second
    any                 closed, timeout, bad reply    (cached: id and offset stay)         -> CONNECT

What survives every failure before a full payload has been loaded is the history (id, offset) together with the data it
stands for, so the next attempt may still continue partially. From the moment old data is dropped for a load until the load
has succeeded there is nothing to continue: `resumable` is False.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from random import Random
from typing import Protocol

from replicator.core.effects import (
    Announce,
    AppendFile,
    Close,
    CommitFile,
    Connect,
    Effect,
    Level,
    Log,
    NoDelay,
    PauseReading,
    RemoveFile,
    Send,
)
from replicator.core.now import Now
from replicator.core.replication.history import History, Settings, new_id
from replicator.core.wire.request import encode

_MARK = 40  # length of the end mark of a payload without a length
_LONGEST_LINE = 64 * 1024


class ReplicaState(Enum):
    """Where the link to the primary stands; the value is what ROLE calls it."""

    NONE = "none"
    CONNECT = "connect"
    CONNECTING = "connecting"
    PING = "handshake"
    HANDSHAKE = "handshake "
    PSYNC = "handshake  "
    TRANSFER = "sync"
    LOADING = "sync "
    CONNECTED = "connected"

    @property
    def shown(self) -> str:
        """As ROLE shows it."""
        return self.value.rstrip()


class Host(Protocol):
    """What the link needs of its node."""

    def allocate_connection(self) -> int:
        """A fresh negative connection number."""

    def handshake_lines(self) -> list[tuple[bytes, ...]]:
        """Requests between PING and PSYNC: AUTH, REPLCONF ..."""

    def load_in_memory(self) -> bool:
        """Whether a payload is loaded as it comes (repl-diskless-load) rather than from a file."""

    def load_file(self, name: str) -> None:
        """Drop the old data and load the file; payload_loaded or payload_failed follows."""

    def open_loader(self) -> None:
        """Begin a load of bytes that come by feed_loader."""

    def finish_load(self) -> None:
        """The payload came whole to the loader: its data becomes ours; payload_loaded follows."""

    def feed_loader(self, data: bytes) -> bytes | None:
        """Bytes of the payload; None while more are needed, otherwise the bytes behind its end. May raise LoadError."""

    def abandon_load(self, why: str) -> None:
        """The payload will not come to its end."""

    def full_sync_begins(self) -> None:
        """The primary refused to continue our history: our own replicas must ask anew."""

    def history_renamed(self) -> None:
        """The primary goes on under a new id: our own replicas must learn it."""

    def apply_stream(self, data: bytes) -> None:
        """Bytes of the replication stream."""

    def link_is_up(self) -> None:
        """The stream is about to flow (again): a context for it is needed."""

    def link_is_down(self) -> None:
        """The stream has stopped; half commands are dropped."""

    def failover_refused(self) -> None:
        """A PSYNC ... FAILOVER was answered by an error."""


class LoadError(Exception):
    """The payload could not be loaded; the text says why."""


class Replica:
    """The link from this node to its primary. NONE: the node is a primary."""

    def __init__(
        self, history: History, settings: Settings, chance: Random, emit: Callable[[Effect], None], host: Host
    ) -> None:
        self.history = history
        self.settings = settings
        self.chance = chance
        self.emit = emit
        self.host = host
        self.state = ReplicaState.NONE
        self.primary_host = ""
        self.primary_port = 0
        self.conn = 0
        self.resumable = False  # our data is that of history.id at history.end
        self.stream_db = 0  # database that the stream works on at our offset
        self.last_io_ms = 0
        self.down_since_ms = 0
        self.retry_ms = 0
        self.last_ack_ms = 0
        self.ask_failover = False  # our next PSYNC tells the primary-to-be that we hand over to it
        self.transfer_size = -1  # -1: unknown (EOF framing)
        self.transfer_read = 0
        self.transfer_io_ms = 0
        self._line = b""
        self._awaited: list[bytes] = []  # what the expected handshake answers belong to
        self._full_id = ""
        self._full_offset = 0
        self._knows_offsets = True  # the primary speaks PSYNC: it has ids, offsets, and wants ACKs
        self._loader_done = False
        self._mark = b""
        self._tail = b""
        self._file = ""
        self._in_memory = False
        self._header_seen = False
        self._behind = b""  # stream bytes that came with the payload's end
        self._restarts = 0
        self._sent_newline_ms = 0

    # -- orders ------------------------------------------------------------------------------------------------------

    def follow(self, host: str, port: int, now: Now) -> None:
        """Follow that primary from now on."""
        self._leave(now)
        self.primary_host, self.primary_port = host, port
        self.state = ReplicaState.CONNECT
        self.down_since_ms = now.mono_ms
        self.retry_ms = now.mono_ms

    def stop(self, now: Now) -> None:
        """Follow nobody."""
        self._leave(now)
        self.state = ReplicaState.NONE
        self.primary_host, self.primary_port = "", 0

    def _leave(self, now: Now) -> None:
        if self.conn:
            self._disconnect("the primary was changed", now)

    @property
    def active(self) -> bool:
        """This node is a replica."""
        return self.state is not ReplicaState.NONE

    @property
    def up(self) -> bool:
        """The stream flows."""
        return self.state is ReplicaState.CONNECTED

    @property
    def syncing(self) -> bool:
        """A payload is coming in or being loaded."""
        return self.state in (ReplicaState.TRANSFER, ReplicaState.LOADING)

    # -- clocks ------------------------------------------------------------------------------------------------------

    def deadline_ms(self) -> int | None:
        """When `advance` next has work (mono ms)."""
        if self.state is ReplicaState.NONE:
            return None
        if self.state is ReplicaState.CONNECT:
            return self.retry_ms
        timeout = self.last_io_ms + self._timeout_ms()
        if self.state is ReplicaState.CONNECTED:
            return min(timeout, self.last_ack_ms + 1000)
        return timeout

    def advance(self, now: Now) -> None:
        """Retry, acknowledge, give up on silence."""
        if self.state is ReplicaState.CONNECT:
            if now.mono_ms >= self.retry_ms:
                self._connect(now)
            return
        if self.state is ReplicaState.NONE:
            return
        if self.state is not ReplicaState.LOADING and now.mono_ms - self.last_io_ms >= self._timeout_ms():
            self._timed_out(now)
        elif self.state is ReplicaState.CONNECTED and now.mono_ms - self.last_ack_ms >= 1000:
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
        self._disconnect("timeout", now)

    def _timeout_ms(self) -> int:
        return 1000 * self._number("repl-timeout")

    def acknowledge(self, now: Now, position: int | None = None) -> None:
        """REPLCONF ACK <offset>."""
        if self.state is ReplicaState.CONNECTED:
            self.last_ack_ms = now.mono_ms
            if not self._knows_offsets:
                return
            position = self.history.end if position is None else position
            self._request(b"REPLCONF", b"ACK", b"%d" % position)

    def show_life(self, now: Now) -> None:
        """While we load, a line end now and then keeps the primary from giving up on us."""
        if self.conn and self.state in (ReplicaState.TRANSFER, ReplicaState.LOADING):
            self.last_io_ms = now.mono_ms
            if now.mono_ms - self._sent_newline_ms >= 1000:
                self._sent_newline_ms = now.mono_ms
                self._write(b"\n")

    # -- connection --------------------------------------------------------------------------------------------------

    def _connect(self, now: Now) -> None:
        self.conn = self.host.allocate_connection()
        self.state = ReplicaState.CONNECTING
        self.last_io_ms = now.mono_ms
        self._line = b""
        self._log(Level.NOTICE, f"Connecting to MASTER {self.primary_host}:{self.primary_port}")
        source = str(self.settings["bind-source-addr"] or "")
        self.emit(Connect(self.conn, self.primary_host, self.primary_port, source, self._timeout_ms()))
        self._log(Level.NOTICE, "MASTER <-> REPLICA sync started")

    def connected(self, now: Now) -> None:
        """The connection stands."""
        self._log(Level.NOTICE, "Non blocking connect for SYNC fired the event.")
        self.last_io_ms = now.mono_ms
        self.state = ReplicaState.PING
        self._request(b"PING")

    def connect_failed(self, why: str, now: Now) -> None:
        """The connection could not be made."""
        self._log(Level.WARNING, f"Error condition on socket for SYNC: {why}")
        self.conn = 0
        self._retry(now)

    def closed(self, why: str, now: Now) -> None:
        """The connection broke."""
        self.conn = 0
        if self.state is ReplicaState.CONNECTED:
            self._log(Level.NOTICE, "Connection with master lost.")
        elif self.state is ReplicaState.TRANSFER:
            self._log(Level.WARNING, f"I/O error trying to sync with MASTER: {why or 'connection lost'}")
        elif self.state is ReplicaState.LOADING:
            # The payload is whole: let the load end; the link is made anew then.
            return
        else:
            self._log(Level.WARNING, f"Error reading from MASTER during the handshake: {why or 'connection lost'}")
        self._after_end(now)

    def _disconnect(self, why: str, now: Now) -> None:
        conn, self.conn = self.conn, 0
        if conn:
            self.emit(Close(conn, why))
        if self.state is ReplicaState.CONNECTED:
            self._log(Level.NOTICE, "Connection with master lost.")
        self._after_end(now)

    def _after_end(self, now: Now) -> None:
        was, self.state = self.state, ReplicaState.CONNECT
        if was is ReplicaState.CONNECTED:
            self._log(Level.NOTICE, "Caching the disconnected master state.")
            self.down_since_ms = now.mono_ms
            self.host.link_is_down()
            self.emit(Announce("replication.link-lost", (("offset", self.history.end),)))
        elif was in (ReplicaState.TRANSFER, ReplicaState.LOADING):
            self._drop_transfer("the link to the primary was lost")
        self._retry(now, at_once=was is ReplicaState.CONNECTED)

    def _retry(self, now: Now, *, at_once: bool = False) -> None:
        self.state = ReplicaState.CONNECT
        self.retry_ms = now.mono_ms + (0 if at_once else 1000)
        if at_once:
            self._log(Level.NOTICE, f"Reconnecting to MASTER {self.primary_host}:{self.primary_port}")

    def _drop_transfer(self, why: str) -> None:
        if self._file:
            self.emit(RemoveFile(self._file))
            self._file = ""
        elif self._in_memory and self._header_seen:
            self.host.abandon_load(why)
        self._in_memory = self._header_seen = False

    # -- bytes -------------------------------------------------------------------------------------------------------

    def received(self, data: bytes, now: Now) -> None:
        """Bytes from the primary, in whatever state we are."""
        self.last_io_ms = now.mono_ms
        if self.state is ReplicaState.CONNECTED:
            self.host.apply_stream(data)
            return
        if self.state is ReplicaState.LOADING:
            self._behind += data
            return
        if self.state is ReplicaState.TRANSFER and self._header_seen:
            self._payload(data, now)
            return
        self._line += data
        while self._line and self.conn:
            if self.up:
                rest, self._line = self._line, b""
                self.host.apply_stream(rest)
                return
            end = self._line.find(b"\n")
            if end < 0:
                if len(self._line) > _LONGEST_LINE:
                    self._log(Level.WARNING, "The primary sent a line without an end during the handshake")
                    self._disconnect("protocol error", now)
                return
            line, self._line = self._line[:end].rstrip(b"\r"), self._line[end + 1 :]
            if not line:
                continue  # the primary shows life while it makes our snapshot
            if self.state is ReplicaState.TRANSFER:
                self._payload_header(line, now)
                if self._header_seen and self._line:
                    rest, self._line = self._line, b""
                    self._payload(rest, now)
                    return
            else:
                self._answer(line, now)

    def _answer(self, line: bytes, now: Now) -> None:
        if self.state is ReplicaState.PING:
            if line[:1] == b"+" or line.startswith((b"-NOAUTH", b"-NOPERM", b"-ERR operation not permitted")):
                self._log(Level.NOTICE, "Master replied to PING, replication can continue...")
                self._handshake()
            else:
                self._log(Level.WARNING, f"Error reply to PING from master: '{_text(line)}'")
                self._disconnect("error reply to PING", now)
        elif self.state is ReplicaState.HANDSHAKE:
            asked = self._awaited.pop(0)
            if line[:1] == b"-":
                if asked == b"AUTH":
                    self._log(Level.WARNING, f"Unable to AUTH to MASTER: {_text(line)}")
                    self._disconnect("authentication failed", now)
                    return
                self._log(Level.NOTICE, f"(Non critical) Master does not understand REPLCONF {_text(asked)}: {_text(line)}")
            if not self._awaited:
                self._psync()
        else:
            self._psync_answer(line, now)

    def _handshake(self) -> None:
        self.state = ReplicaState.HANDSHAKE
        self._awaited = []
        for request in self.host.handshake_lines():
            self._awaited.append(request[0] if request[0] == b"AUTH" else request[1])
            self._request(*request)

    def _psync(self) -> None:
        self.state = ReplicaState.PSYNC
        history = self.history
        if self.resumable:
            self._log(Level.NOTICE, f"Trying a partial resynchronization (request {history.id}:{history.end + 1}).")
            request = [b"PSYNC", history.id.encode(), b"%d" % (history.end + 1)]
        else:
            self._log(Level.NOTICE, "Partial resynchronization not possible (no cached master)")
            request = [b"PSYNC", b"?", b"-1"]
        if self.ask_failover:
            request.append(b"FAILOVER")
        self._request(*request)

    def _psync_answer(self, line: bytes, now: Now) -> None:
        words = line.split()
        if self.ask_failover:
            self.ask_failover = False
            if line[:1] == b"-":
                self.host.failover_refused()
                if not self.conn:
                    return
        if words[0] == b"+CONTINUE":
            self._continue(_text(words[1]) if len(words) > 1 and len(words[1]) == 40 else self.history.id, now)
        elif words[0] == b"+FULLRESYNC":
            if len(words) != 3 or len(words[1]) != 40 or not words[2].isdigit():
                self._log(Level.WARNING, "Master replied with wrong +FULLRESYNC syntax.")
                self._disconnect("wrong +FULLRESYNC", now)
                return
            self._full_id, self._full_offset = _text(words[1]), int(words[2])
            self._knows_offsets = True
            self._log(Level.NOTICE, f"Full resync from master: {self._full_id}:{self._full_offset}")
            self._begin_transfer()
        elif line.startswith((b"-NOMASTERLINK", b"-LOADING")):
            self._log(
                Level.NOTICE, f"Master is currently unable to PSYNC but should be in the future: {_text(line)}"
            )
            self._disconnect("the primary cannot serve us yet", now)
        else:
            if not line.startswith(b"-ERR"):
                self._log(Level.WARNING, f"Unexpected reply to PSYNC from master: {_text(line)}")
            else:
                self._log(
                    Level.NOTICE, f"Master does not support PSYNC or is in error state (reply: {_text(line)})"
                )
            self._log(Level.NOTICE, "Retrying with SYNC...")
            self._full_id, self._full_offset = "", -1
            self._knows_offsets = False
            self._request(b"SYNC")
            self._begin_transfer()

    def _continue(self, new_id: str, now: Now) -> None:
        history = self.history
        self._log(Level.NOTICE, "Successful partial resynchronization with master.")
        if new_id != history.id:
            self._log(Level.NOTICE, f"Master replication ID changed to {new_id}")
            history.follow(new_id)
            self.host.history_renamed()
        if history.window is None:
            history.open_window(self._number("repl-backlog-size"))
        self._log(Level.NOTICE, "MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.")
        self.emit(Announce("replication.partial-sync-done", (("offset", history.end),)))
        self._now_connected(now)

    def _now_connected(self, now: Now) -> None:
        self.state = ReplicaState.CONNECTED
        self.resumable = self._knows_offsets
        self.last_ack_ms = now.mono_ms
        self.last_io_ms = now.mono_ms
        if self.settings["repl-disable-tcp-nodelay"]:
            self.emit(NoDelay(self.conn, False))
        self.host.link_is_up()
        self.acknowledge(now)

    # -- the payload -------------------------------------------------------------------------------------------------

    def _begin_transfer(self) -> None:
        self.state = ReplicaState.TRANSFER
        self._header_seen = False
        self._tail = b""
        self.transfer_size, self.transfer_read = -1, 0
        self.host.full_sync_begins()

    def _payload_header(self, line: bytes, now: Now) -> None:
        if line[:1] == b"-":
            self._log(Level.WARNING, f"MASTER aborted replication with an error: {_text(line[1:])}")
            self._disconnect("the primary aborted", now)
            return
        if line.startswith(b"$EOF:") and len(line) >= 5 + _MARK:
            self._mark = line[5 : 5 + _MARK]
            self.transfer_size = -1
        elif line[:1] == b"$" and line[1:].isdigit() and len(line) < 20:
            self._mark = b""
            self.transfer_size = int(line[1:])
        else:
            self._log(
                Level.WARNING,
                f"Bad protocol from MASTER, the first byte is not '$' (we received '{_text(line[:64])}'), "
                "are you sure the host and port are right?",
            )
            self._disconnect("bad protocol", now)
            return
        self._header_seen = True
        self.transfer_io_ms = now.mono_ms
        self._in_memory = self.host.load_in_memory()
        target = "to parser" if self._in_memory else "to disk"
        if self._mark:
            self._log(Level.NOTICE, f"MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF {target}")
        else:
            self._log(Level.NOTICE, f"MASTER <-> REPLICA sync: receiving {self.transfer_size} bytes from master {target}")
        if self._in_memory:
            self._file = ""
            self._loader_done = False
            self.host.open_loader()
        else:
            self._restarts += 1
            self._file = f"temp-sync-{self._restarts}.rdb"
            self.emit(AppendFile(self._file, b"", first=True))

    def _payload(self, data: bytes, now: Now) -> None:
        self.transfer_io_ms = now.mono_ms
        self.transfer_read += len(data)
        if self._in_memory:
            self._payload_to_loader(data, now)
            return
        if not self._mark:
            excess = self.transfer_read - self.transfer_size
            if excess >= 0:
                keep = len(data) - excess
                self._behind = data[keep:]
                self._append(data[:keep])
                self._payload_whole(now)
            else:
                self._append(data)
            return
        data = self._tail + data
        self._tail = data[-_MARK:]
        self._append(data[:-_MARK])
        if self._tail == self._mark:
            self._behind = b""
            self._payload_whole(now)

    def _append(self, data: bytes) -> None:
        if data:
            self.emit(AppendFile(self._file, data, first=False))

    def _payload_whole(self, now: Now) -> None:
        """The file holds the payload: make it the dump file, then load it."""
        self.state = ReplicaState.LOADING
        self.emit(PauseReading(self.conn, True))
        self.emit(CommitFile(self._file, str(self.settings["dbfilename"])))

    def file_committed(self, name: str, final_name: str) -> None:
        """The payload's file stands under its final name."""
        if name == self._file and self.state is ReplicaState.LOADING:
            self._file = ""
            self.host.load_file(final_name)

    def file_failed(self, name: str, why: str, now: Now) -> None:
        """The payload's file could not be written."""
        if name and name == self._file:
            self._log(Level.WARNING, f"Write error or short write writing to the DB dump file needed for MASTER <-> REPLICA synchronization: {why}")
            self._disconnect("disk error", now)

    def _payload_to_loader(self, data: bytes, now: Now) -> None:
        if not self._loader_done:
            try:
                behind = self.host.feed_loader(data)
            except LoadError as problem:
                self._header_seen = False
                self._log(Level.WARNING, f"Failed trying to load the MASTER synchronization DB from socket: {problem}")
                self._disconnect("the payload could not be loaded", now)
                return
            if behind is None:
                return
            self._loader_done = True
            data = behind
        self._tail += data
        if self._mark:
            if len(self._tail) < _MARK:
                return
            if self._tail[:_MARK] != self._mark:
                self._log(Level.WARNING, "Replication stream EOF marker is broken")
                self._disconnect("broken end mark", now)
                return
        self._behind = self._tail[len(self._mark) :]
        self.state = ReplicaState.LOADING
        self.host.finish_load()

    def payload_loaded(self, stream_db: int, now: Now) -> None:
        """The node holds the primary's data of (full id, full offset), and the stream goes on at that database."""
        size = self._number("repl-backlog-size")
        if self._full_id:
            self.history.restart(self._full_id, self._full_offset, size)
        else:  # an old primary that knows no ids: nothing can ever continue this
            self.history.restart(new_id(self.chance), 0, size)
        self.stream_db = stream_db
        self._in_memory = self._header_seen = False
        self._log(Level.NOTICE, "MASTER <-> REPLICA sync: Finished with success")
        self.emit(Announce("replication.loaded", (("id", self._full_id), ("offset", self._full_offset))))
        if not self.conn:  # the link broke while we loaded
            self.down_since_ms = now.mono_ms
            self._retry(now)
            return
        self.emit(PauseReading(self.conn, False))
        behind, self._behind = self._behind, b""
        self._now_connected(now)
        if behind:
            self.host.apply_stream(behind)

    def payload_failed(self, why: str, now: Now) -> None:
        """The load failed."""
        self._log(Level.WARNING, f"Failed trying to load the MASTER synchronization DB from disk: {why}")
        self._in_memory = self._header_seen = False
        if self.conn:
            self._disconnect("the payload could not be loaded", now)
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
        self.emit(Send(self.conn, data))

    def _log(self, level: Level, message: str) -> None:
        self.emit(Log(level, message))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
