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
from replicator.core.clients.roll import Roll
from replicator.core.clients.tracking import Tracker
from replicator.core.clients.users import Users
from replicator.core.command_table.context import Context
from replicator.core.command_table.statistics import Statistics
from replicator.core.command_table.table import Table
from replicator.core.config.config import Config
from replicator.core.keyspace.eviction import Evictor
from replicator.core.keyspace.expiry import Expiry
from replicator.core.persistence.append_only import AppendOnly
from replicator.core.persistence.loads import Loads
from replicator.core.persistence.reload import Reload
from replicator.core.persistence.saving import Saving
from replicator.core.persistence.snapshots import Snapshots
from replicator.core.replication.history import History
from replicator.core.replication.outgoing import Outgoing
from replicator.core.replication.primary import Link, Primary
from replicator.core.replication.replica import Replica
from replicator.core.scripting.state import Scripting
from replicator.core.turn import Turn


class Transactions(Protocol):
    """EXEC (execution/transactions.py)."""

    def execute(self, session: session.Session) -> bytes:
        """Run what was queued."""


class Role(Protocol):
    """Primary or replica (roles/role.py)."""

    def promote(self, session: session.Session) -> None:
        """REPLICAOF NO ONE."""

    def follow(self, session: session.Session, host: str, port: int) -> bool:
        """REPLICAOF host port; whether we follow that one already."""


class Syncing(Protocol):
    """A connection becomes a replica's (roles/syncing.py)."""

    def link_of(self, session: session.Session) -> Link:
        """The replication attributes of a connection, made when it first speaks of them."""

    def synchronize(
        self, session: session.Session, asked_id: str, position: int, *, failover: bool, old: bool
    ) -> None:
        """PSYNC and SYNC: continue, or have a snapshot made."""

    def log_wrong_offset(self, session: session.Session) -> None:
        """PSYNC with an offset that is no number."""


class Acknowledgements(Protocol):
    """What replicas have acknowledged (roles/acknowledgements.py)."""

    def acknowledged(self, link: Link, position: int) -> None:
        """REPLCONF ACK."""

    def wait(self, session: session.Session, wanted: int, timeout_ms: int) -> bytes:
        """WAIT."""


class Pauses(Protocol):
    """Commands that have to wait (roles/pauses.py)."""

    def pause(self, until_ms: int, *, everything: bool) -> None:
        """CLIENT PAUSE."""

    def unpause(self) -> None:
        """CLIENT UNPAUSE."""


class Failover(Protocol):
    """Coordinated failover (roles/failover.py)."""

    @property
    def running(self) -> bool:
        """One is under way."""

    def begin(self, target: tuple[str, int] | None, timeout_ms: int | None, *, force: bool) -> bytes:
        """FAILOVER."""

    def abort(self) -> bytes:
        """FAILOVER ABORT."""


class Shutdown(Protocol):
    """The end of the process (roles/shutdown.py)."""

    def begin(
        self, session: session.Session | None, *, save: bool | None, now: bool = False, force: bool = False
    ) -> bytes:
        """SHUTDOWN."""

    def abort(self) -> bytes:
        """SHUTDOWN ABORT."""


class Report(Protocol):
    """What tools read (report/info.py)."""

    def info(self, sections: list[str]) -> bytes:
        """INFO's text."""

    def overheads(self) -> dict[str, int]:
        """Bytes in buffers outside the keyspace, as MEMORY STATS names them."""


class Counters(Protocol):
    """What INFO counts (report/counters.py)."""

    def reset(self) -> None:
        """CONFIG RESETSTAT."""


class Durability(Protocol):
    """WAITAOF (roles/durability.py)."""

    def wait(self, session: session.Session, local: int, replicas: int, timeout_ms: int) -> bytes:
        """WAITAOF local replicas timeout."""


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

    config: Config
    random: Random
    turn: Turn
    meter: Callable[[], int]
    evictor: Evictor
    roll: Roll
    users: Users
    clients: Clients
    pubsub: PubSub
    tracker: Tracker
    monitors: Monitors
    statistics: Statistics
    scripting: Scripting
    snapshots: Snapshots
    append_only: AppendOnly
    history: History
    primary: Primary
    replica: Replica
    table: Table
    transactions: Transactions
    outgoing: Outgoing
    expiry: Expiry
    loads: Loads
    saving: Saving
    reload: Reload
    role: Role
    syncing: Syncing
    acknowledgements: Acknowledgements
    durability: Durability
    pauses: Pauses
    failover: Failover
    shutdown: Shutdown
    report: Report
    counters: Counters
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
