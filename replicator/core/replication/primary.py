"""The primary's side: links to replicas, from REPLCONF to the stream.

A link's life:

    HANDSHAKE --PSYNC, history continues--------------------------------------------> ONLINE
        |                                                                               ^
        +--PSYNC refused / SYNC--> WAIT_START --snapshot begins--> WAIT_END --disk: done--> SENDING --all sent--+
                                       ^                             |  (diskless: sent while it is made)       |
                                       +------- snapshot failed: the link is closed, the replica comes again ---+

The moment a snapshot begins, each of its links gets a cursor into the window at that offset, and +FULLRESYNC with the
same offset. Nothing is copied while the snapshot lasts: the cursor waits, the window keeps what it needs. A diskless
payload has no length, so its receiver must first tell (by an ACK) that it has seen the end; only then does its stream
begin.

Full synchronizations are explained: each one logs why a partial one was refused (history.Verdict.explain).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from random import Random

from replicator.core import limits
from replicator.core.effects import Announce, Close, Level, NoDelay, SendSnapshot, Stream
from replicator.core.now import Now
from replicator.core.replication.backlog import Cursor
from replicator.core.replication.history import History, Refusal, Settings, Verdict
from replicator.core.turn import Turn
from replicator.core.wire import reply

CAPA_EOF = 1
CAPA_PSYNC2 = 2


class LinkState(Enum):
    """Where a link stands; the value is what INFO calls it."""

    HANDSHAKE = "handshake"
    WAIT_START = "wait_bgsave"
    WAIT_END = "wait_bgsave "
    SENDING = "send_bulk"
    ONLINE = "online"
    TRANSMITTED = "rdb_transmitted"

    def __init__(self, value: str) -> None:
        self.shown = value.rstrip()  # as INFO shows it


@dataclass(frozen=True, slots=True)
class Content:
    """What a snapshot holds (REPLCONF rdb-filter-only; redis-cli asks for nothing, or for functions alone)."""

    keys: bool = True
    functions: bool = True


WHOLE = Content()
_ONLINE = LinkState.ONLINE  # an enumeration's member takes long to look up


@dataclass(slots=True, eq=False)
class Link:
    """One connection that has said REPLCONF, PSYNC or SYNC."""

    conn: int
    host: str  # as connected
    state: LinkState = LinkState.HANDSHAKE
    announced_host: str = ""
    announced_port: int = 0
    capabilities: int = 0
    rdb_only: bool = False
    content: Content = WHOLE  # what it asked its snapshot to hold
    rdb_version: int = 9  # of snapshots that it can load, as far as it has told
    old_sync: bool = False  # came by SYNC: knows no offsets, sends no ACK
    cursor: Cursor | None = None
    generation: int = 0  # of the snapshot it waits for or receives
    diskless: bool = False
    streaming: bool = False  # the driver may pull
    acked: int = 0  # the last ACK; 0 before the first one, whatever the replica has asked for
    acked_ms: int = 0
    durable: int = -1  # how far its append-only file is durable, as far as it has told
    stalled_ms: int = -1  # since when a diskless payload waits for it; -1: it does not
    since_ms: int = 0  # when it began to wait for a snapshot
    started_ms: int = 0
    soft_limit_since_ms: int = -1
    pending: int = 0  # bytes pulled that the driver could not hand on yet
    listed: bytes = b""  # ROLE's line about it, good as long as `acked` is
    listed_acked: int = -1  # this one

    def announce(self, *, host: str | None = None, port: int | None = None) -> None:
        """REPLCONF: under which address others reach the replica."""
        if host is not None:
            self.announced_host = host
        if port is not None:
            self.announced_port = port
        self.listed_acked = -1

    def restrict(self, *, functions: bool) -> None:
        """REPLCONF rdb-filter-only: its snapshot holds no keys, and functions only if these are asked for."""
        self.content = Content(keys=False, functions=functions)

    def list_anew(self) -> bytes:
        """ROLE's line about the replica, encoded; it is kept."""
        host = (self.announced_host or self.host).encode("utf-8", "surrogateescape")
        self.listed = reply.bulks([host, b"%d" % self.announced_port, b"%d" % self.acked])
        self.listed_acked = self.acked
        return self.listed

    @property
    def address(self) -> str:
        """host:port as the replica announces itself, for logs."""
        host = self.announced_host or self.host
        port = self.announced_port or "<unknown-replica-port>"
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class SnapshotRequest:
    """A full synchronization wants a snapshot now."""

    diskless: bool
    links: tuple[Link, ...]
    content: Content


class Primary:
    """All links to replicas of one node, whatever its role (a replica has replicas of its own)."""

    def __init__(
        self,
        history: History,
        settings: Settings,
        chance: Random,
        turn: Turn,
        send: Callable[[int, bytes], None],
    ) -> None:
        self.history = history
        self.settings = settings
        self.chance = chance
        self.turn = turn
        self.emit = turn.emit
        self.log = turn.log
        self.send = send
        self.links: dict[int, Link] = {}  # those past HANDSHAKE, in order of arrival
        self.waiting = False  # one of them may be in WAIT_START
        self.snapshot_generation = 0  # of a snapshot that is being made for replicas; 0: none
        self.snapshot_diskless = False
        self.bytes_sent = 0  # of the stream and of payloads, to all replicas
        self.payload_size = 0  # of the snapshot that was made last
        self.sync_full = 0
        self.sync_partial_ok = 0
        self.sync_partial_err = 0
        self.alone_since_ms: int | None = None  # no replica since, with a window kept
        self._limits_due = 0  # when our offset is here, the output of replicas is weighed
        self.refusals: list[tuple[int, Verdict]] = []  # the latest, for status and reports

    # -- settings ---------------------------------------------------------------------------------------------------

    def _number(self, name: str) -> int:
        value = self.settings[name]
        assert isinstance(value, int)
        return value

    @property
    def window_size(self) -> int:
        """repl-backlog-size."""
        return self._number("repl-backlog-size")

    # -- a replica arrives -------------------------------------------------------------------------------------------

    def psync(self, link: Link, asked_id: str, asked_position: int, now: Now) -> bool:
        """PSYNC: continue the stream if the histories allow; whether they do. If not, `full` must follow."""
        verdict = self.history.judge(asked_id, asked_position)
        if verdict.refusal is None:
            self._continue(link, asked_position, now)
            return True
        self._refuse(link, verdict, now)
        return False

    def _continue(self, link: Link, position: int, now: Now) -> None:
        window = self.history.window
        assert window is not None
        if link.capabilities & CAPA_PSYNC2:
            self.send(link.conn, f"+CONTINUE {self.history.id}\r\n".encode())
        else:
            self.send(link.conn, b"+CONTINUE\r\n")
        self.links[link.conn] = link
        self.alone_since_ms = None
        link.cursor = window.attach(position)
        link.acked_ms = now.mono_ms
        self._online(link)
        self.sync_partial_ok += 1
        self.log(
            Level.NOTICE,
            f"Partial resynchronization request from {link.address} accepted. "
            f"Sending {window.end - position} bytes of backlog starting from offset {position + 1}.",
        )
        fields = (("replica", link.address), ("offset", position), ("end", window.end))
        self.emit(Announce("replication.partial-sync", fields))

    def _refuse(self, link: Link, verdict: Verdict, now: Now) -> None:
        refusal = verdict.refusal
        if refusal is Refusal.UNKNOWN_ID:
            self.log(
                Level.NOTICE,
                "Partial resynchronization not accepted: Replication ID mismatch (Replica asked for "
                f"'{verdict.asked_id}', my replication IDs are '{self.history.id}' and '{self.history.id2}')",
            )
        elif refusal is Refusal.SECOND_ID_PAST_LIMIT:
            self.log(
                Level.NOTICE,
                "Partial resynchronization not accepted: Requested offset for second ID was "
                f"{verdict.asked_position + 1}, but I can reply up to {self.history.second_limit}",
            )
        elif refusal is Refusal.FIRST_TIME:
            self.log(Level.NOTICE, f"Full resync requested by replica {link.address}")
        else:
            self.log(
                Level.NOTICE,
                f"Unable to partial resync with replica {link.address} for lack of backlog "
                f"(Replica request was: {verdict.asked_position + 1}).",
            )
            if refusal is Refusal.FUTURE:
                self.log(
                    Level.WARNING,
                    f"Warning: replica {link.address} tried to PSYNC with an offset that is greater than the master "
                    "replication offset.",
                )
        if refusal is not Refusal.FIRST_TIME:
            self.sync_partial_err += 1
        self.log(Level.NOTICE, f"Full resynchronization of {link.address} because of {verdict.explain()}")
        self.refusals = [*self.refusals[-15:], (now.unix_ms, verdict)]
        assert refusal is not None
        self.emit(
            Announce(
                "replication.full-sync",
                (
                    ("replica", link.address),
                    ("reason", refusal.value),
                    ("asked", verdict.asked_position),
                    ("first", verdict.first),
                    ("end", verdict.end),
                    ("sufficient", verdict.sufficient),
                ),
            )
        )

    def full(self, link: Link, now: Now, *, busy: bool) -> None:
        """A replica needs the whole data set. busy: another child process runs (so no snapshot can begin now)."""
        self.sync_full += 1
        self.links[link.conn] = link
        self.alone_since_ms = None
        link.state = LinkState.WAIT_START
        self.waiting = True
        link.since_ms = now.mono_ms
        link.acked_ms = now.mono_ms
        if self.settings["repl-disable-tcp-nodelay"]:
            self.emit(NoDelay(link.conn, False))
        if self.history.window is None:
            # The first replica: from here on there is a stream, under an id nobody has seen before.
            self.history.forget(self.chance)
            self.history.open_window(self.window_size)
            self.log(
                Level.NOTICE,
                f"Replication backlog created, my new replication IDs are '{self.history.id}' and '{self.history.id2}'",
            )
        if self.snapshot_generation and not self.snapshot_diskless:
            donor = next(
                (
                    other
                    for other in self.links.values()
                    if other.state is LinkState.WAIT_END
                    and other.generation == self.snapshot_generation
                    and other.cursor is not None
                    and other.content == link.content
                    and other.rdb_version <= link.rdb_version
                ),
                None,
            )
            if donor is not None and donor.cursor is not None:
                self._begin(link, donor.generation, donor.cursor.position, diskless=False)
                self.log(Level.NOTICE, f"Waiting for end of BGSAVE for SYNC (replica {link.address} joins it)")
            else:
                self.log(
                    Level.NOTICE, "Can't attach the replica to the current BGSAVE. Waiting for next BGSAVE for SYNC"
                )
        elif self.snapshot_generation:
            self.log(Level.NOTICE, "Current BGSAVE has socket target. Waiting for next BGSAVE for SYNC")
        elif busy:
            self.log(
                Level.NOTICE,
                "No BGSAVE in progress, but another BG operation is active. BGSAVE for replication delayed",
            )
        elif self._wants_diskless(link) and self._number("repl-diskless-sync-delay"):
            self.log(Level.NOTICE, "Delay next BGSAVE for diskless SYNC")

    def _wants_diskless(self, link: Link) -> bool:
        # A snapshot with a part of the data only must never become the dump file.
        wanted = self.settings["repl-diskless-sync"] or link.content != WHOLE
        return bool(wanted) and bool(link.capabilities & CAPA_EOF)

    # -- snapshots ---------------------------------------------------------------------------------------------------

    def wanted_snapshot(self, now: Now) -> SnapshotRequest | None:
        """The snapshot that waiting replicas should get now, if no child runs.

        None: nobody waits, or not long enough.
        """
        waiting = self._waiting()
        if not waiting:
            return None
        # Those that asked for different contents do not share a snapshot.
        waiting = [link for link in waiting if link.content == waiting[0].content]
        diskless = all(self._wants_diskless(link) for link in waiting)
        if diskless:
            due = waiting[0].since_ms + 1000 * self._number("repl-diskless-sync-delay")
            most = self._number("repl-diskless-sync-max-replicas")
            if now.mono_ms < due and not (most and len(waiting) >= most):
                return None
        return SnapshotRequest(diskless, tuple(waiting), waiting[0].content)

    def snapshot_due_ms(self) -> int | None:
        """When `wanted_snapshot` will next say something new (mono ms), or None."""
        waiting = self._waiting()
        if not waiting:
            return None
        if not all(self._wants_diskless(link) for link in waiting):
            return 0
        return waiting[0].since_ms + 1000 * self._number("repl-diskless-sync-delay")

    def _waiting(self) -> list[Link]:
        """Those in WAIT_START, and whether there are any for whoever asks next."""
        if not self.waiting:
            return []
        found = [link for link in self.links.values() if link.state is LinkState.WAIT_START]
        self.waiting = bool(found)
        return found

    def begin_snapshot(self, request: SnapshotRequest, generation: int) -> None:
        """The snapshot for these links is taken at this very instant."""
        self.snapshot_generation = generation
        self.snapshot_diskless = request.diskless
        for link in request.links:
            self._begin(link, generation, self.history.end, diskless=request.diskless)

    def _begin(self, link: Link, generation: int, position: int, *, diskless: bool) -> None:
        window = self.history.window
        assert window is not None
        link.state = LinkState.WAIT_END
        link.generation = generation
        link.diskless = diskless
        link.cursor = window.attach(position)
        if not link.old_sync:
            self.send(link.conn, f"+FULLRESYNC {self.history.id} {position}\r\n".encode())

    def snapshot_done(self, generation: int, file_name: str, now: Now) -> None:
        """The snapshot for replicas is whole; a file is now sent to those who wait for it."""
        self.snapshot_generation = 0
        for link in self.links.values():
            if link.state is LinkState.WAIT_END and link.generation == generation and not link.diskless:
                link.state = LinkState.SENDING
                link.acked_ms = now.mono_ms
                self.emit(SendSnapshot(link.conn, generation, file_name, b"$%d\r\n"))

    def snapshot_failed(self, generation: int, *, failed: bool = True) -> None:
        """The snapshot came to nothing: its replicas are sent away, and will come again."""
        self.snapshot_generation = 0
        for link in list(self.links.values()):
            if link.generation == generation and link.state in (LinkState.WAIT_END, LinkState.SENDING):
                self.log(Level.WARNING, f"SYNC failed. BGSAVE child returned an error (replica {link.address})")
                self.emit(Close(link.conn, "the snapshot failed"))

    def snapshot_sent(self, conn: int, now: Now) -> None:
        """The link has been given the whole payload."""
        link = self.links.get(conn)
        if link is None or link.state not in (LinkState.WAIT_END, LinkState.SENDING):
            return
        link.acked_ms = now.mono_ms
        if not link.diskless:
            self.bytes_sent += self.payload_size
        if link.rdb_only:
            link.state = LinkState.TRANSMITTED
            self._release(link)
            self.log(
                Level.NOTICE,
                f"RDB transfer completed, rdb only replica ({link.address}) should be disconnected asap",
            )
            self.emit(Close(link.conn, "rdb-only replica has its snapshot", flush=True))
            return
        if link.diskless:
            # The stream begins with the first ACK: it tells that the payload's end mark was seen.
            link.state = LinkState.ONLINE
            self.log(
                Level.NOTICE,
                f"Streamed RDB transfer with replica {link.address} succeeded (socket). "
                "Waiting for REPLCONF ACK from slave to enable streaming",
            )
            return
        self._online(link)
        self.log(Level.NOTICE, f"Synchronization with replica {link.address} succeeded")
        self.emit(Announce("replication.full-sync-done", (("replica", link.address), ("offset", link.acked))))

    def snapshot_stalled(self, conn: int, stalled: bool, now: Now) -> None:
        """A diskless payload waits for this replica to take more (or no more)."""
        link = self.links.get(conn)
        if link is not None:
            link.stalled_ms = now.mono_ms if stalled else -1

    def has_full_syncs(self) -> bool:
        """Whether a replica waits for its snapshot, or is being sent it."""
        under_way = (LinkState.WAIT_START, LinkState.WAIT_END, LinkState.SENDING)
        return any(link.state in under_way for link in self.links.values())

    def has_receivers(self) -> bool:
        """Whether anyone still waits for the snapshot that is being made."""
        generation = self.snapshot_generation
        return any(link.generation == generation and link.state is LinkState.WAIT_END for link in self.links.values())

    def _online(self, link: Link) -> None:
        link.state = LinkState.ONLINE
        link.streaming = True
        self.emit(Stream(link.conn))

    # -- the stream --------------------------------------------------------------------------------------------------

    def pull(self, conn: int, limit: int) -> bytes:
        """The next bytes of the stream for a connection whose effects.Stream was emitted."""
        link = self.links.get(conn)
        if link is None or not link.streaming or link.cursor is None or (window := self.history.window) is None:
            return b""
        data = window.pull(link.cursor, limit)
        self.bytes_sent += len(data)
        return data

    def ack(self, link: Link, position: int, now: Now) -> None:
        """REPLCONF ACK: the replica has applied everything up to position."""
        if position > link.acked and position <= self.history.end:
            link.acked = position
        link.acked_ms = now.mono_ms
        if not link.streaming and link.state is LinkState.ONLINE:
            self._online(link)
            self.log(Level.NOTICE, f"Synchronization with replica {link.address} succeeded")
            self.emit(Announce("replication.full-sync-done", (("replica", link.address), ("offset", link.acked))))

    def good_replicas(self, now: Now, max_lag_s: int) -> int:
        """Online replicas whose last ACK is at most max_lag_s seconds old."""
        return sum(
            link.state is LinkState.ONLINE and (now.mono_ms - link.acked_ms) // 1000 <= max_lag_s
            for link in self.links.values()
        )

    def listed(self) -> list[bytes]:
        """The online replicas as ROLE lists them, encoded."""
        return [
            link.listed if link.listed_acked == link.acked else link.list_anew()  # once a second; ROLE comes more often
            for link in self.links.values()
            if link.state is _ONLINE
        ]

    def acked_by(self, position: int) -> int:
        """How many online replicas have acknowledged this position."""
        return sum(link.state is LinkState.ONLINE and link.acked >= position for link in self.links.values())

    # -- ends --------------------------------------------------------------------------------------------------------

    def closed(self, conn: int, now: Now) -> bool:
        """A connection is gone; whether it was a replica's."""
        link = self.links.pop(conn, None)
        if link is None:
            return False
        self._release(link)
        self.log(Level.WARNING, f"Connection with replica {link.address} lost.")
        self.emit(Announce("replication.replica-lost", (("replica", link.address), ("offset", link.acked))))
        if not self.links:
            self.alone_since_ms = now.mono_ms
        return True

    def _release(self, link: Link) -> None:
        if link.cursor is not None and self.history.window is not None:
            self.history.window.detach(link.cursor)
        link.cursor = None
        link.streaming = False

    def drop_all(self, why: str) -> None:
        """Send all replicas away (our own history changed under them); they come again and ask."""
        for link in self.links.values():
            self._release(link)
            self.emit(Close(link.conn, why))

    # -- clocks ------------------------------------------------------------------------------------------------------

    def keep_alive(self) -> None:
        """A line end to those who wait for a payload, so that they know we live (they ignore it)."""
        for link in self.links.values():
            if link.state is LinkState.WAIT_START or (link.state is LinkState.WAIT_END and not link.diskless):
                self.send(link.conn, b"\n")

    def check_timeouts(self, now: Now) -> None:
        """Send away replicas that have been silent for repl-timeout, and those beyond their output limits."""
        timeout_ms = 1000 * self._number("repl-timeout")
        for link in list(self.links.values()):
            if link.old_sync:
                continue
            silent = now.mono_ms - link.acked_ms
            if link.state is LinkState.ONLINE and silent > timeout_ms:
                kind = "streaming sync" if link.streaming else "full sync"
                self.log(Level.WARNING, f"Disconnecting timedout replica ({kind}): {link.address}")
                self.emit(Close(link.conn, "replica timed out"))
            elif 0 <= link.stalled_ms < now.mono_ms - timeout_ms and link.state is LinkState.WAIT_END:
                self.log(Level.WARNING, f"Disconnecting timedout replica (full sync): {link.address}")
                self.emit(Close(link.conn, "replica timed out"))

    def append(self, data: bytes | bytearray) -> None:
        """Bytes of our own stream, into the window (a replication.outgoing.Sink)."""
        self.history.append(data)
        if self.links and self.history.end >= self._limits_due:
            self.check_limits(self.turn.now)

    def check_limits(self, now: Now) -> None:
        """Hold replicas to client-output-buffer-limit: the distance between cursor and end is their output buffer."""
        self._limits_due = self.history.end + limits.WEIGHED_BYTES
        window = self.history.window
        if window is None:
            return
        by_kind = self.settings["client-output-buffer-limit"]
        assert isinstance(by_kind, dict)
        hard, soft, soft_s = by_kind["replica"]
        for link in list(self.links.values()):
            if link.cursor is None:
                continue
            waiting = window.end - link.cursor.position + link.pending
            # A limit below the backlog's size would cut off replicas that cost nothing.
            over_hard = hard and waiting > max(hard, window.size)
            over_soft = soft and waiting > max(soft, window.size)
            if not over_soft:
                link.soft_limit_since_ms = -1
            elif link.soft_limit_since_ms < 0:
                link.soft_limit_since_ms = now.mono_ms
            too_long = over_soft and now.mono_ms - link.soft_limit_since_ms > 1000 * soft_s
            if over_hard or too_long:
                self._release(link)
                how = "scheduled to be closed ASAP" if over_hard else "closed"
                self.log(
                    Level.WARNING,
                    f"Client replica {link.address} {how} for overcoming of output buffer limits "
                    f"({waiting} bytes wait).",
                )
                self.emit(Announce("replication.output-limit", (("replica", link.address), ("waiting", waiting))))
                self.emit(Close(link.conn, "output buffer limit"))

    def forget_backlog_if_alone(self, now: Now, *, is_primary: bool) -> None:
        """Free the backlog after repl-backlog-ttl seconds without replicas.

        A replica never does: it may be promoted.
        """
        ttl = self._number("repl-backlog-ttl")
        if not is_primary or not ttl or self.alone_since_ms is None or self.links or self.history.window is None:
            return
        if now.mono_ms - self.alone_since_ms >= 1000 * ttl:
            # Writes from here on are not counted: nobody who comes back may take this id for the same data.
            self.history.drop_window()
            self.history.forget(self.chance)
            self.alone_since_ms = None
            self.log(Level.NOTICE, f"Replication backlog freed after {ttl} seconds without connected replicas.")

    @property
    def buffer_memory(self) -> int:
        """Bytes of the shared window."""
        return 0 if self.history.window is None else self.history.window.memory
