"""The parts of a node that commands about sessions, the server, scripts and commands see: Context.server.

The families of data see less of it (command_table/context.py). What stands in a higher room is described here, by what
commands ask of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from replicator.core.clients import session
from replicator.core.clients.listing import Clients
from replicator.core.clients.monitors import Monitors
from replicator.core.clients.pubsub import PubSub
from replicator.core.clients.tracking import Tracker
from replicator.core.clients.users import Users
from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import Command
from replicator.core.command_table.statistics import Statistics
from replicator.core.config.config import Config
from replicator.core.keyspace.eviction import Evictor
from replicator.core.keyspace.values import Value
from replicator.core.persistence.append_only import AppendOnly
from replicator.core.persistence.snapshots import Snapshots
from replicator.core.replication.history import History
from replicator.core.replication.outgoing import Outgoing
from replicator.core.replication.primary import Link, Primary
from replicator.core.replication.replica import Replica
from replicator.core.scripting.state import Scripting
from replicator.core.turn import Turn


class Table(Protocol):
    """All commands of the node (execution/executor.py)."""

    commands: dict[str, Command]

    def resolve(self, argv: list[bytes]) -> Command | None:
        """The command or subcommand that argv names, or None."""


class Orders(Protocol):
    """Roles, links, synchronizations, transactions (roles/syncing.py)."""

    def begin_transaction(self, session: session.Session) -> None:
        """MULTI."""

    def end_transaction(self, session: session.Session) -> None:
        """DISCARD, or an EXEC that does not run."""

    def unwatch(self, session: session.Session) -> None:
        """UNWATCH."""

    def execute_transaction(self, session: session.Session) -> bytes:
        """EXEC."""

    def handover_running(self) -> bool:
        """A coordinated failover is under way."""

    def promote(self, ctx: session.Session) -> None:
        """REPLICAOF NO ONE."""

    def follow(self, ctx: session.Session, host: str, port: int) -> bool:
        """REPLICAOF host port; whether we follow that one already."""

    def link_of(self, session: session.Session) -> Link:
        """The replication attributes of a connection, made when it first speaks of them."""

    def acknowledged(self, link: Link, position: int) -> None:
        """REPLCONF ACK."""

    def synchronize(
        self, session: session.Session, asked_id: str, position: int, *, failover: bool, old: bool
    ) -> None:
        """PSYNC and SYNC: continue, or have a snapshot made."""

    def log_wrong_offset(self, session: session.Session) -> None:
        """PSYNC with an offset that is no number."""

    def reset_session(self, session: session.Session) -> None:
        """RESET: the connection as if it were new."""


class Handover(Protocol):
    """Pauses, failover, shutdown and WAIT (roles/failover.py)."""

    def pause(self, until_ms: int, *, everything: bool) -> None:
        """CLIENT PAUSE."""

    def unpause(self) -> None:
        """CLIENT UNPAUSE."""

    def wait(self, session: session.Session, wanted: int, timeout_ms: int) -> bytes:
        """WAIT."""

    def failover(self, target: tuple[str, int] | None, timeout_ms: int | None, *, force: bool) -> bytes:
        """FAILOVER."""

    def abort_failover(self) -> bytes:
        """FAILOVER ABORT."""

    def shutdown(
        self, session: session.Session | None, *, save: bool | None, now: bool = False, force: bool = False
    ) -> bytes:
        """SHUTDOWN."""

    def abort_shutdown(self) -> bytes:
        """SHUTDOWN ABORT."""

    def save(self, session: session.Session) -> bytes:
        """SAVE."""


class Durability(Protocol):
    """WAITAOF (roles/durability.py)."""

    def wait(self, session: session.Session, local: int, replicas: int, timeout_ms: int) -> bytes:
        """WAITAOF local replicas timeout."""


class Services(Protocol):
    """What has no room of its own yet."""

    active_expire: bool
    lenient_scripts: bool
    skip_checksum: bool

    def serialized_length(self, value: Value) -> int:
        """How long the value is in a snapshot."""

    def reload(self, *, save: bool, flush: bool, merge: bool) -> None:
        """DEBUG RELOAD."""

    def reset_statistics(self) -> None:
        """CONFIG RESETSTAT."""

    def info(self, sections: list[str]) -> bytes:
        """INFO's text."""

    def memory_overheads(self) -> dict[str, int]:
        """Bytes in buffers outside the keyspace, as MEMORY STATS names them."""


class Transfers(Protocol):
    """Keys that become another node's (execution/transfers.py)."""

    def migrate(
        self,
        session: session.Session,
        place: tuple[str, int, int, int],
        keys: list[bytes],
        login: list[bytes],
        *,
        copy: bool,
        replace: bool,
    ) -> bytes:
        """MIGRATE. place: host, port, database, timeout in ms."""


class ClusterOrders(Protocol):
    """What changes the cluster (cluster/orders.py)."""

    def node(self, word: bytes) -> object:
        """The node of that id; raises CommandError."""


class ClusterViews(Protocol):
    """What is told of the cluster (cluster/views.py)."""

    def my_id(self) -> bytes:
        """CLUSTER MYID."""

    def replicas(self, word: bytes) -> bytes:
        """CLUSTER REPLICAS."""


class Cluster(Protocol):
    """The cluster that the node is a member of (membership.py)."""

    @property
    def orders(self) -> ClusterOrders:
        """Its subcommands that change something."""

    @property
    def views(self) -> ClusterViews:
        """Its subcommands that tell something."""


@dataclass(slots=True)
class Server:
    """See the module; node.py puts it together."""

    redis_version: str
    config: Config
    random: Random
    turn: Turn
    meter: Callable[[], int]
    evictor: Evictor
    sessions: dict[int, session.Session]  # by client id
    users: Users
    clients: Clients
    pubsub: PubSub
    tracker: Tracker
    monitors: Monitors
    statistics: Statistics
    scripting: Scripting
    snapshots: Snapshots
    append_only: AppendOnly
    durability: Durability
    history: History
    primary: Primary
    replica: Replica
    table: Table
    orders: Orders
    handover: Handover
    services: Services
    outgoing: Outgoing
    transfers: Transfers
    cluster: Cluster | None = None  # None: there is none
    cron_paused: bool = False  # DEBUG PAUSE-CRON

    def reads_all_keys(self, ctx: Context, argv: list[bytes], /) -> bool:
        """Whether the caller may read every key by this command (SORT's BY and GET)."""
        assert isinstance(ctx, session.Caller)
        return self.users.reads_all_keys(ctx, argv)


class Caller(session.Caller):
    """A view for the types only: how a command that scripts may run sees its Context."""

    __slots__ = ()
    server: Server


class Client(session.Session):
    """A view for the types only: how a command that scripts may not run sees its Context, which then is a Session."""

    __slots__ = ()
    server: Server
