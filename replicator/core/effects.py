"""What is to be done: the vocabulary in which a machine answers. A driver carries effects out in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from msgspec import Struct


class Level(Enum):
    """Log levels, each with the mark that stock prints before the message."""

    DEBUG = "."
    VERBOSE = "-"
    NOTICE = "*"
    WARNING = "#"


# Like its kin, but there is one for every answer, and a frozen dataclass takes many times as long to make.
class Send(Struct, frozen=True, gc=False):
    """Put the bytes behind whatever else waits to go out to the connection. Never empty. Dropped if the connection is
    gone."""

    conn: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection: at once, or (flush) after what was sent to it has gone out. Closed follows.

    A flushing close reads nothing more; a peer that takes nothing for limits.CLOSE_FLUSH_MS is dropped. Of a connection
    that is still being made it is ConnectFailed that follows, with this `why`.
    """

    conn: int
    why: str
    flush: bool = False


@dataclass(frozen=True, slots=True)
class PauseReading:
    """Read no more from the connection (paused) or read again (not paused): for a client that waits or floods.

    While paused, a connection that its peer has ended or reset is told as Closed, unless unread bytes lie before that
    end.
    """

    conn: int
    paused: bool


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a connection to host:port; Connected or ConnectFailed follows.

    conn: a negative number that the machine has not used before. source: the address to bind first ("" for any).
    timeout_ms: after it the attempt counts as failed. tls: encrypt it; it stands when the handshake is done, and a peer
    that cannot be trusted is a failed attempt. Where nothing can be encrypted (a simulation) it is made all the same.
    """

    conn: int
    host: str
    port: int
    source: str
    timeout_ms: int
    tls: bool = False


@dataclass(frozen=True, slots=True)
class NoDelay:
    """Switch TCP_NODELAY of one connection (on by default for all)."""

    conn: int
    enabled: bool


@dataclass(frozen=True, slots=True)
class Stream:
    """From now on pull the connection's output: whenever all that was sent is with the system and the socket has room,
    call the machine's pull(conn, limits.PULL_BYTES) and send what it returns (b"" means nothing for now: ask again
    after the next event the machine has handled)."""

    conn: int


@dataclass(frozen=True, slots=True)
class StartSnapshot:
    """Make a snapshot of the data as it is at this instant. SnapshotStarted (or -Failed) follows, later SnapshotDone or
    -Failed.

    generation: names the snapshot; temporary files carry it. chunks: called once, in the forked child (or at this very
    instant, where there are no children): yields the snapshot's bytes, or (bytes, keys in them): from these come
    SnapshotDone.keys and the pace of key_delay_us; bytes alone count as one key for the pace. final_name: the file that
    the finished snapshot is renamed to, atomically and durably; "" for a snapshot that goes to `conns` only. conns:
    connections that receive the bytes as the child makes them (diskless), all of them the same bytes; the driver reads
    the child no faster than the slowest of them takes them, and tells SnapshotSent for each when its last byte is out.
    Exactly one of final_name and conns is given. One snapshot at a time: another gets SnapshotFailed, unless the first
    has been cancelled. A failed snapshot for conns leaves them with half a payload: the machine closes them.
    key_delay_us: per key while saving (negative: keys per microsecond), as rdb-key-save-delay.
    """

    generation: int
    chunks: Callable[[], Iterator[bytes | tuple[bytes, int]]]
    final_name: str
    conns: tuple[int, ...]
    key_delay_us: int = 0
    prefix: bytes = b""  # sent to each of conns before the payload
    suffix: bytes = b""  # and after it
    purpose: str = "RDB"  # what the child's log lines call it


@dataclass(frozen=True, slots=True)
class CancelSnapshot:
    """Kill the snapshot's child and drop its temporary file. SnapshotFailed follows."""

    generation: int


@dataclass(frozen=True, slots=True)
class SendSnapshot:
    """Send a finished snapshot file to the connection: first `prefix` (with the length put in for %d), then the file's
    bytes as they were when this effect was carried out, even if the name is replaced meanwhile. SnapshotSent follows;
    FileFailed if the file cannot be opened."""

    conn: int
    generation: int
    name: str
    prefix: bytes


@dataclass(frozen=True, slots=True)
class ReadFile:
    """Read the file from `offset` to its end: FileChunk events of about `chunk` bytes, one per turn, other events
    between them; or FileFailed."""

    name: str
    chunk: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class StopReading:
    """Give up an effects.ReadFile; no more chunks come."""

    name: str


@dataclass(frozen=True, slots=True)
class AppendFile:
    """Append bytes to the (new, if `first`) file. Not durable before CommitFile or SyncFile. On trouble FileFailed
    follows.

    All or nothing: a failed append leaves the file as it was. After a failed file effect, later file effects of the
    same call with that name fail as well, and what the same call sends behind it waits until the machine has handled
    FileFailed; then an unflushed Close, or Exit with crash, drops it.
    """

    name: str
    data: bytes
    first: bool


@dataclass(frozen=True, slots=True)
class SyncFile:
    """Make all that was appended to the file durable before any later effect is carried out."""

    name: str


@dataclass(frozen=True, slots=True)
class SyncLater:
    """Begin to make all that was appended to the file so far durable, beside the loop: FileSynced with this ticket
    follows. What is appended meanwhile may or may not be durable then."""

    name: str
    ticket: int


@dataclass(frozen=True, slots=True)
class TruncateFile:
    """Cut the file back to its first `length` bytes. Not durable before SyncFile. On trouble FileFailed follows."""

    name: str
    length: int


@dataclass(frozen=True, slots=True)
class CommitFile:
    """Make the file durable, then rename it to final_name (durably). FileCommitted or FileFailed follows.

    Not durable: it is renamed, and outlives this process; whether it outlives the machine is left to the system.
    """

    name: str
    final_name: str
    durable: bool = True


@dataclass(frozen=True, slots=True)
class RemoveFile:
    """Delete the file if it is there."""

    name: str


@dataclass(frozen=True, slots=True)
class Log:
    """One line for the log. message: without its ending newline."""

    level: Level
    message: str


@dataclass(frozen=True, slots=True)
class Announce:
    """A domain event (role change, full resynchronization begun, link lost ...), told once: it feeds tests, reports and
    the simulation's trace. name: dotted lower case ("replication.full-sync"). fields: plain values, in a fixed
    order."""

    name: str
    fields: tuple[tuple[str, str | int | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Listen:
    """Rebind the TCP listener to another port (CONFIG SET port). Errors are answered by the driver's `try_listen`."""

    port: int


@dataclass(frozen=True, slots=True)
class Sleep:
    """The whole process stands still for so long (DEBUG SLEEP); effects before it have been carried out."""

    duration_us: int


@dataclass(frozen=True, slots=True)
class Exit:
    """The process ends with this code once all effects before it are carried out and what was sent, and what
    streams have to be pulled, has been flushed as far as sockets take it without waiting. crash: end at once as by a
    crash (DEBUG SEGFAULT), flushing nothing."""

    code: int
    crash: bool = False


@dataclass(frozen=True, slots=True)
class RunScript:
    """Run a program of the operator's with these arguments (argv[0] is its path), and nothing of ours: no descriptor,
    no input. ScriptStarted follows, and ScriptEnded when it is gone. number: names it, given by the machine."""

    number: int
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KillScript:
    """Kill the script of that number, if it still runs; ScriptEnded follows."""

    number: int


Effect: TypeAlias = (
    Send
    | Close
    | PauseReading
    | Connect
    | NoDelay
    | Stream
    | StartSnapshot
    | CancelSnapshot
    | SendSnapshot
    | ReadFile
    | StopReading
    | AppendFile
    | SyncFile
    | SyncLater
    | TruncateFile
    | CommitFile
    | RemoveFile
    | Log
    | Announce
    | Listen
    | Sleep
    | RunScript
    | KillScript
    | Exit
)
