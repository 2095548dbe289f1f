"""What happened: the vocabulary in which a driver tells a machine of the world.

Every machine (node, sentinel, workload client) is driven by handle(event, now). `conn` is a number that names one
connection for as long as the process lives: positive numbers are given by the driver (accepted connections),
negative ones by the machine itself (connections it asked for by effects.Connect).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from msgspec import Struct


@dataclass(frozen=True, slots=True)
class Started:
    """The process is up and its listeners are bound; the first event of every machine."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A client connected to us. peer and local are "ip:port" ("[v6]:port"), or the path of the unix socket and 0."""

    conn: int
    peer_host: str
    peer_port: int
    local_host: str
    local_port: int


# Like its kin, but there is one for every read, and a frozen dataclass takes many times as long to make.
class Received(Struct, frozen=True, gc=False):
    """Bytes came in: one read of the socket, never empty."""

    conn: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection is gone, for whatever reason; nothing more comes from it and nothing can be sent to it.

    It follows an effects.Close as well: each opened or connected number is closed exactly once.
    """

    conn: int
    why: str


@dataclass(frozen=True, slots=True)
class Connected:
    """The connection asked for by effects.Connect stands."""

    conn: int
    local_host: str
    local_port: int


@dataclass(frozen=True, slots=True)
class ConnectFailed:
    """The connection asked for by effects.Connect could not be made; its number is dead."""

    conn: int
    why: str


@dataclass(frozen=True, slots=True)
class OutputPending:
    """How many bytes of what was sent to the connection still wait in the driver (0: all is with the system).

    Told after a send that did not go out whole and as it drains, so that a machine can hold clients to their limits.
    Counts what Send and pull gave; a snapshot on its way (SendSnapshot, StartSnapshot to conns) takes no memory and is
    not counted. A connection with more than limits.OUTPUT_HELD_BYTES pending is not read from until half of it has gone
    (a Stream's is).
    """

    conn: int
    pending: int


@dataclass(frozen=True, slots=True)
class SnapshotStarted:
    """The snapshot asked for by effects.StartSnapshot is being made: the data is that of this instant.

    pid: the child process. fork_us: how long the process stood still for it.
    """

    generation: int
    pid: int
    fork_us: int


@dataclass(frozen=True, slots=True)
class SnapshotFailed:
    """The snapshot could not be started, or its child died or reported an error. Its temporary file is gone."""

    generation: int
    why: str


@dataclass(frozen=True, slots=True)
class SnapshotDone:
    """The snapshot is whole: in its final file (durable), or handed to the connections (all bytes read from the child).

    cow_bytes: memory that the child did not share with its parent. keys: how many keys it holds.
    """

    generation: int
    length: int
    cow_bytes: int
    keys: int


@dataclass(frozen=True, slots=True)
class SnapshotSent:
    """The whole snapshot has been given to this connection (see effects.SendSnapshot)."""

    conn: int
    generation: int


@dataclass(frozen=True, slots=True)
class SnapshotStalled:
    """The feed of a snapshot (StartSnapshot to conns) waits for this connection's peer, or (not stalled) no more.

    Told again, stalled, each time the peer has taken something but not all.
    """

    conn: int
    stalled: bool


@dataclass(frozen=True, slots=True)
class FileChunk:
    """The next bytes of a file that effects.ReadFile asked for. eof: these (perhaps none) are the last.

    offset: where in the file the chunk begins. size: the file's whole length.
    """

    name: str
    offset: int
    data: bytes
    size: int
    eof: bool


@dataclass(frozen=True, slots=True)
class FileFailed:
    """A file operation failed. missing: the file does not exist. syncing: what was to be made durable is not, and
    nobody knows how much of it is; it had been appended well."""

    name: str
    why: str
    missing: bool
    syncing: bool = False


@dataclass(frozen=True, slots=True)
class FileSynced:
    """effects.SyncLater has ended. why: "" if the bytes are durable; else what went wrong, and then nobody knows which
    of the bytes since the last good sync are on the disk, whatever a later sync says."""

    name: str
    ticket: int
    why: str


@dataclass(frozen=True, slots=True)
class FileCommitted:
    """effects.CommitFile is done: the bytes are durable under their final name."""

    name: str
    final_name: str


@dataclass(frozen=True, slots=True)
class Signalled:
    """The process was asked to end by a signal ("SIGTERM", "SIGINT")."""

    name: str


@dataclass(frozen=True, slots=True)
class ScriptStarted:
    """effects.RunScript is under way as the process `pid`."""

    number: int
    pid: int


@dataclass(frozen=True, slots=True)
class ScriptEnded:
    """The script of effects.RunScript is gone: by itself with `code`, or by the signal `signal` (0: by itself).

    why: what the system said when it could not be started at all (then no ScriptStarted came before).
    """

    number: int
    code: int
    signal: int
    why: str = ""


Event: TypeAlias = (
    Started
    | Opened
    | Received
    | Closed
    | Connected
    | ConnectFailed
    | OutputPending
    | SnapshotStarted
    | SnapshotFailed
    | SnapshotDone
    | SnapshotSent
    | SnapshotStalled
    | FileChunk
    | FileFailed
    | FileSynced
    | FileCommitted
    | Signalled
    | ScriptStarted
    | ScriptEnded
)
