"""Primary or replica: the one place where the role changes.

What changes with it, changes here: whether our clock deletes keys, whether what clients write goes to the window, the
history, our own replicas, the gates. Whoever has more to do at a change is in `before_replica`.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from replicator.core.clients.session import Asked, Session
from replicator.core.clients.waiting import Waiting
from replicator.core.command_table.registry import STALE, WRITE
from replicator.core.config.config import Config
from replicator.core.effects import Level, StopReading
from replicator.core.errors import CommandError
from replicator.core.gates import ANY, Gates
from replicator.core.keyspace.database import Keyspace
from replicator.core.persistence.loads import Loads
from replicator.core.replication.outgoing import Outgoing
from replicator.core.replication.primary import Primary
from replicator.core.replication.replica import Replica
from replicator.core.roles.pauses import Pauses
from replicator.core.turn import Turn

_CANNOT_PERSIST = (
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that "
    "may modify the data set are disabled, because this instance is configured to report errors during writes if "
    "RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the "
    "RDB error."
)
# Directives on which a gate of the role depends.
_DIRECTIVES = ("min-replicas-to-write", "replica-serve-stale-data")


class Role:
    """See the module."""

    def __init__(
        self,
        turn: Turn,
        config: Config,
        chance: Random,
        set_mark: Callable[[str], None],
        gates: Gates,
        keyspace: Keyspace,
        outgoing: Outgoing,
        primary: Primary,
        replica: Replica,
        waiting: Waiting,
        loads: Loads,
        pauses: Pauses,
    ) -> None:
        self.turn = turn
        self.config = config
        self.random = chance
        self.set_mark = set_mark
        self.gates = gates
        self.keyspace = keyspace
        self.outgoing = outgoing
        self.history = primary.history
        self.primary = primary
        self.replica = replica
        self.waiting = waiting
        self.loads = loads
        self.snapshots = loads.snapshots
        self.append_only = loads.append_only
        self.pauses = pauses
        self.before_replica: list[Callable[[], None]] = []
        replica.on_link = self.settle
        for name in _DIRECTIVES:
            config.on_change(name, lambda _value: self.settle())

    def settle(self) -> None:
        """The gates, and whether our own clock deletes keys, follow the role."""
        self.gates.set("stale", ANY if self.is_stale() else 0)
        # Read-only or not: a write of its own meets expired keys in another way.
        self.gates.set("replica", WRITE if self.replica.active else 0)
        self.gates.set("min-replicas", WRITE if self.config["min-replicas-to-write"] else 0)
        self.pauses.settle()

    # -- changes -----------------------------------------------------------------------------------------------------

    def become_replica(self, host: str, port: int, *, why: str) -> None:
        """Follow host:port from now on."""
        history, replica = self.history, self.replica
        self.outgoing.flush()
        if not replica.active:
            for told in self.before_replica:
                told()
            if why or replica.resumable or history.window is not None:
                if why or replica.resumable:
                    self.turn.log(
                        Level.NOTICE,
                        "Before turning into a replica, using my own master parameters to synthesize a cached master: "
                        "I may be able to synchronize with the new master with just a partial transfer.",
                    )
                if not replica.resumable and why:
                    replica.resumable = True
                    replica.stream_db = max(0, self.outgoing.db)
                if history.window is None:
                    history.open_window(self.config["repl-backlog-size"])
        self.keyspace.expires_keys = False
        self.outgoing.follow_window(is_primary=False)
        replica.follow(host, port, self.turn.now)
        self.primary.alone_since_ms = None
        self.waiting.end_for_role_change()
        self.settle()
        self.set_mark("S")
        self.turn.announce("role.replica", ("primary_host", host), ("primary_port", port))

    def become_primary(self, *, why: str) -> None:
        """Follow nobody: open a new history that continues the old one."""
        history, replica = self.history, self.replica
        if not replica.active:
            return
        loading = self.loads.loading
        if loading is not None and loading.source.is_payload:
            self.turn.emit(StopReading(loading.name))
            self.loads.end()
        replica.stop(self.turn.now)
        if history.window is None:
            history.open_window(self.config["repl-backlog-size"])
        old = history.id
        history.branch(self.random)
        self.turn.log(
            Level.WARNING,
            f"Setting secondary replication ID to {old}, valid up to offset: {history.second_limit}. "
            f"New replication ID is {history.id}",
        )
        replica.resumable = False
        self.keyspace.own_volatile.clear()
        self.outgoing.db = -1
        self.primary.drop_all("a new history begins")
        self.primary.alone_since_ms = self.turn.now.mono_ms
        self.outgoing.follow_window(is_primary=True)
        self.settle()
        if not self.append_only.journal.takes and self.loads.loading is None:
            self.append_only.restart()
        self.set_mark("M")
        self.turn.announce("role.primary", ("id", history.id), ("offset", history.end), ("why", why))

    # -- by order ----------------------------------------------------------------------------------------------------

    def promote(self, session: Session) -> None:
        """REPLICAOF NO ONE."""
        if not self.replica.active:
            return
        self.become_primary(why="user request")
        self.config.assign("replicaof", ())
        self.turn.log(Level.NOTICE, f"MASTER MODE enabled (user request from '{session.described()}')")

    def follow(self, session: Session, host: str, port: int) -> bool:
        """REPLICAOF host port; whether we follow that one already."""
        replica = self.replica
        if replica.active and (replica.primary_host, replica.primary_port) == (host, port):
            self.turn.log(
                Level.NOTICE,
                "REPLICAOF would result into synchronization with the master we are already connected with. "
                "No operation performed.",
            )
            return True
        self.become_replica(host, port, why="user request")
        self.config.assign("replicaof", (host, str(port)))
        self.turn.log(Level.NOTICE, f"REPLICAOF {host}:{port} enabled (user request from '{session.described()}')")
        return False

    def take_over(self, session: Session, asked_id: str) -> None:
        """PSYNC ... FAILOVER: our primary hands over to us."""
        self.turn.log(Level.WARNING, f"Failover request received for replid {asked_id}.")
        if not self.replica.active:
            raise CommandError("ERR PSYNC FAILOVER can't be sent to a master.")
        if asked_id != self.history.id:
            raise CommandError("ERR PSYNC FAILOVER replid must match my replid.")
        self.become_primary(why="failover")
        self.config.assign("replicaof", ())
        self.turn.log(Level.NOTICE, f"MASTER MODE enabled (failover request from '{session.described()}')")

    # -- what the role forbids ---------------------------------------------------------------------------------------

    def is_stale(self) -> bool:
        """A replica cut off from its primary that must not serve what it has."""
        return self.replica.active and not self.replica.up and not self.config["replica-serve-stale-data"]

    def is_read_only(self) -> bool:
        """A replica that takes no writes."""
        return self.replica.active and bool(self.config["replica-read-only"])

    def check_stale(self, session: Session, asked: Asked) -> None:
        """Raise MASTERDOWN on a stale replica (execution.admission.Check)."""
        if asked.lacks & STALE and self.is_stale():
            raise CommandError("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.")

    def check(self, session: Session, asked: Asked) -> None:
        """Raise what forbids a write now, if the command is one (execution.admission.Check)."""
        if asked.flags & WRITE:
            self.check_write()
        elif asked.command.name == "ping":
            self.check_persistence()

    def check_persistence(self) -> None:
        """Raise MISCONF while a failure to persist forbids writes; PING tells of it as well."""
        if self.replica.active:
            return
        config = self.config
        if not self.snapshots.last_ok and config["stop-writes-on-bgsave-error"] and config["save"]:
            raise CommandError(_CANNOT_PERSIST)
        if trouble := self.append_only.journal.refuses:
            raise CommandError(f"MISCONF Errors writing to the AOF file: {trouble}")

    def check_write(self) -> None:
        """Raise what forbids a write now."""
        config, is_primary = self.config, not self.replica.active
        self.check_persistence()
        wanted, max_lag = config["min-replicas-to-write"], config["min-replicas-max-lag"]
        counts = wanted and max_lag and is_primary
        if counts and self.primary.good_replicas(self.turn.now, max_lag) < wanted:
            raise CommandError("NOREPLICAS Not enough good replicas to write.")
        if self.is_read_only():
            raise CommandError("READONLY You can't write against a read only replica.")
