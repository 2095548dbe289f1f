"""Coordinated FAILOVER: the role goes to a replica, and nothing is lost.

Writes are paused, the chosen replica catches up to our offset, and only then do we ask it, by PSYNC ... FAILOVER, to
become the primary and follow it from that very offset.

    none --FAILOVER--> waiting-for-sync --target acknowledged our offset--> failover-in-progress --+CONTINUE--> none
             ^                |  timeout, ABORT                                     | refused, ABORT
             +----------------+-----------------------------------------------------+   (a primary again, writes go on)
"""

from __future__ import annotations

from enum import Enum

from replicator.core.effects import Announce, Level
from replicator.core.errors import CommandError
from replicator.core.replication.outgoing import Outgoing
from replicator.core.replication.primary import Link, LinkState, Primary
from replicator.core.replication.replica import Replica
from replicator.core.roles.acknowledgements import Acknowledgements
from replicator.core.roles.pauses import Pauses
from replicator.core.roles.role import Role
from replicator.core.turn import Turn
from replicator.core.wire import reply

_REASON = "failover"  # for the pause of writes


class FailoverState(Enum):
    """As INFO's master_failover_state."""

    NONE = "no-failover"
    WAITING = "waiting-for-sync"
    IN_PROGRESS = "failover-in-progress"


_NEXT = {
    FailoverState.NONE: (FailoverState.WAITING,),
    FailoverState.WAITING: (FailoverState.NONE, FailoverState.IN_PROGRESS),
    FailoverState.IN_PROGRESS: (FailoverState.NONE,),
}


class Failover:
    """See the module."""

    def __init__(
        self,
        turn: Turn,
        outgoing: Outgoing,
        primary: Primary,
        replica: Replica,
        role: Role,
        acknowledgements: Acknowledgements,
        pauses: Pauses,
    ) -> None:
        self.turn = turn
        self.outgoing = outgoing
        self.primary = primary
        self.replica = replica
        self.role = role
        self.acknowledgements = acknowledgements
        self.pauses = pauses
        self.state = FailoverState.NONE
        self.target: tuple[str, int] | None = None
        self.force = False
        self.deadline_ms: int | None = None
        role.before_replica.append(self._role_changes)
        acknowledgements.on_change.append(self._go_on)

    def _enter(self, state: FailoverState) -> None:
        """The only way from one state to another."""
        assert state in _NEXT[self.state], (self.state, state)
        self.state = state

    @property
    def running(self) -> bool:
        """A failover is under way."""
        return self.state is not FailoverState.NONE

    def _role_changes(self) -> None:
        """A new role by other means: nothing that waited for the old one goes on waiting."""
        if self.state is FailoverState.WAITING:
            self._abort("the role changed")

    def begin(self, target: tuple[str, int] | None, timeout_ms: int | None, *, force: bool) -> bytes:
        """FAILOVER: begin."""
        if self.running:  # asked first: while it is in progress we are a replica
            raise CommandError("ERR FAILOVER already in progress.")
        if self.replica.active:
            raise CommandError("ERR FAILOVER is not valid when server is a replica.")
        if not self.primary.links:
            raise CommandError("ERR FAILOVER requires connected replicas.")
        if force and (target is None or timeout_ms is None):
            raise CommandError("ERR FAILOVER with force option requires both a timeout and target HOST and IP.")
        if target is not None:
            link = self._link_of(target)
            if link is None:
                raise CommandError("ERR FAILOVER target HOST and PORT is not a replica.")
            if link.state is not LinkState.ONLINE:
                raise CommandError("ERR FAILOVER target replica is not online.")
        self._enter(FailoverState.WAITING)
        self.target = target
        self.force = force
        self.deadline_ms = None if timeout_ms is None else self.turn.now.mono_ms + timeout_ms
        to = f" to {target[0]}:{target[1]}" if target else ""
        self.turn.log(Level.NOTICE, f"FAILOVER requested{to}.")
        self.turn.emit(Announce("failover.requested", (("target", to.strip()),)))
        self.outgoing.flush()
        self.pauses.hold(_REASON)
        self._go_on()
        if self.state is FailoverState.WAITING:
            self.acknowledgements.ask()
        return reply.OK

    def _link_of(self, target: tuple[str, int]) -> Link | None:
        for link in self.primary.links.values():
            if (link.announced_host or link.host) == target[0] and link.announced_port == target[1]:
                return link
        return None

    def abort(self) -> bytes:
        """FAILOVER ABORT."""
        if self.state is FailoverState.NONE:
            raise CommandError("ERR No failover in progress.")
        self._abort("Failover manually aborted")
        return reply.OK

    def _abort(self, why: str) -> None:
        to = f" to {self.target[0]}:{self.target[1]}" if self.target else ""
        self.turn.log(Level.NOTICE, f"FAILOVER{to} aborted: {why}")
        if self.replica.failover_unanswered:
            self.turn.log(Level.WARNING, "Whether the failover target took over is unknown: there may be two masters.")
        was = self.state
        self._enter(FailoverState.NONE)
        self.target = None
        self.deadline_ms = None
        self.replica.ask_failover = self.replica.failover_unanswered = False
        if was is FailoverState.IN_PROGRESS:
            self.role.become_primary(why=why)
        self.turn.emit(Announce("failover.aborted", (("why", why),)))
        self.pauses.drop(_REASON)

    def refused(self, why: str) -> None:
        """The target answered our PSYNC ... FAILOVER by an error, or turned out not to have our data."""
        if self.state is FailoverState.IN_PROGRESS:
            self._abort(why)

    def succeeded(self) -> None:
        """We follow the new primary: the failover is complete."""
        if self.state is FailoverState.IN_PROGRESS:
            self._enter(FailoverState.NONE)
            self.target = None
            self.deadline_ms = None
            self.turn.emit(Announce("failover.done", ()))
            self.pauses.drop(_REASON)

    def _go_on(self) -> None:
        """Acknowledgements, or the list of replicas, changed: go on with what waits for them."""
        if self.state is FailoverState.WAITING:
            chosen = self._caught_up()
            if chosen is not None:
                self.turn.log(Level.NOTICE, f"Failover target {chosen[0]}:{chosen[1]} is synced, failing over.")
                self._hand_over(chosen)

    def _caught_up(self) -> tuple[str, int] | None:
        if self.target is not None:
            wanted = self._link_of(self.target)
            return self.target if wanted is not None and self.acknowledgements.has_all(wanted) else None
        for link in self.primary.links.values():
            if self.acknowledgements.has_all(link) and link.announced_port:
                return (link.announced_host or link.host, link.announced_port)
        return None

    def _hand_over(self, target: tuple[str, int]) -> None:
        self._enter(FailoverState.IN_PROGRESS)
        self.target = target
        self.role.become_replica(target[0], target[1], why="failover")
        self.replica.ask_failover = True

    def advance(self) -> None:
        """The target was given so much time."""
        if self.deadline_ms is None or self.deadline_ms > self.turn.now.mono_ms:
            return
        self.deadline_ms = None
        if self.state is FailoverState.WAITING:
            if self.force and self.target is not None:
                host, port = self.target
                self.turn.log(Level.NOTICE, f"FAILOVER to {host}:{port} time out exceeded, failing over.")
                self._hand_over(self.target)
            else:
                self._abort("Replica never caught up before timeout")
