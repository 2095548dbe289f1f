"""What the link to a primary (replica.py) can be doing, and what it asks of its node."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from replicator.core.replication.transfer import Loader


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

    def __init__(self, value: str) -> None:
        self.shown = value.rstrip()  # as ROLE shows it


# Every state may also end: in NONE (follow nobody) or in CONNECT (begin anew).
NEXT = {
    ReplicaState.NONE: (ReplicaState.CONNECTING,),
    ReplicaState.CONNECT: (ReplicaState.CONNECTING,),
    ReplicaState.CONNECTING: (ReplicaState.PING,),
    ReplicaState.PING: (ReplicaState.HANDSHAKE,),
    ReplicaState.HANDSHAKE: (ReplicaState.PSYNC,),
    ReplicaState.PSYNC: (ReplicaState.PSYNC, ReplicaState.TRANSFER, ReplicaState.CONNECTED),
    ReplicaState.TRANSFER: (ReplicaState.LOADING,),
    ReplicaState.LOADING: (ReplicaState.CONNECTED, ReplicaState.CONNECTING),
    ReplicaState.CONNECTED: (),
}
ENDS = (ReplicaState.NONE, ReplicaState.CONNECT)


class Payloads(Loader, Protocol):
    """What the link needs of its node for a payload (roles/payload.py)."""

    def before_dump_is_replaced(self) -> None:
        """The payload is about to become the dump file: no child may put old data in its place."""

    def load_file(self, name: str) -> None:
        """Drop the old data and load the file; payload_loaded or payload_failed follows."""

    def finish_load(self) -> None:
        """The payload came whole to the loader: its data becomes ours; payload_loaded follows."""

    def full_sync_begins(self) -> None:
        """The primary refused to continue our history: a payload will come."""


class Host(Protocol):
    """What the link needs of its node for the stream (roles/applying.py)."""

    def process_id(self) -> int:
        """The process's id, for names of temporary files."""

    def handshake_lines(self) -> list[tuple[bytes, ...]]:
        """Requests between PING and PSYNC: AUTH, REPLCONF ..."""

    def history_renamed(self) -> None:
        """The primary goes on under a new id: our own replicas must learn it."""

    def apply_stream(self, data: bytes) -> None:
        """Bytes of the replication stream."""

    def link_is_up(self) -> None:
        """The stream is about to flow (again): a context for it is needed."""

    def link_is_down(self) -> None:
        """The stream has stopped; half commands are dropped."""

    def failover_refused(self, why: str) -> None:
        """A PSYNC ... FAILOVER was answered by an error, or by a node that has not our data."""
