"""SHUTDOWN and the signals that ask for it: replicas may catch up, the data is saved, the process ends.

    none --asked, replicas lag--> waiting --they have everything, or shutdown-timeout--> saving --saved--> exiting
      |                              |                                                     |
      |                              +-- ABORT --> none                 cannot save: none <-+ (unless by force)
      +--asked, nobody lags--> saving, or exiting without save points
"""

from __future__ import annotations

from enum import Enum

from replicator.core.clients.session import Blocked, Session, Wait
from replicator.core.clients.waiting import Waiting
from replicator.core.command_table.context import PENDING
from replicator.core.config.config import Config
from replicator.core.effects import Exit, Level
from replicator.core.errors import CommandError
from replicator.core.gates import ANY, Gates
from replicator.core.persistence.append_only import AppendOnly
from replicator.core.persistence.saving import Saving
from replicator.core.persistence.snapshots import Snapshots
from replicator.core.replication.primary import Link, LinkState, Primary
from replicator.core.replication.replica import Replica
from replicator.core.roles.acknowledgements import Acknowledgements
from replicator.core.roles.pauses import Pauses
from replicator.core.turn import Turn
from replicator.core.wire import reply

_REASON = "shutdown"  # for the pause of writes, and the gate


class ShutdownState(Enum):
    """How far the end has come."""

    NONE = "nobody has asked"
    WAITING = "replicas may catch up"
    SAVING = "the last snapshot is being written"
    EXITING = "the process ends"


_NEXT = {
    ShutdownState.NONE: (ShutdownState.WAITING, ShutdownState.SAVING, ShutdownState.EXITING),
    ShutdownState.WAITING: (ShutdownState.NONE, ShutdownState.SAVING, ShutdownState.EXITING),
    ShutdownState.SAVING: (ShutdownState.NONE, ShutdownState.EXITING),
    ShutdownState.EXITING: (),
}


class Shutdown:
    """See the module."""

    def __init__(
        self,
        turn: Turn,
        config: Config,
        gates: Gates,
        waiting: Waiting,
        primary: Primary,
        replica: Replica,
        snapshots: Snapshots,
        saving: Saving,
        append_only: AppendOnly,
        acknowledgements: Acknowledgements,
        pauses: Pauses,
    ) -> None:
        self.turn = turn
        self.config = config
        self.gates = gates
        self.waiting = waiting
        self.primary = primary
        self.replica = replica
        self.snapshots = snapshots
        self.saving = saving
        self.append_only = append_only
        self.acknowledgements = acknowledgements
        self.pauses = pauses
        self.state = ShutdownState.NONE
        self.deadline_ms: int | None = None  # while WAITING
        self.save: bool | None = None
        self.force = False
        self.sessions: list[Session] = []  # that have asked, and wait
        acknowledgements.on_change.append(self._go_on)

    def _enter(self, state: ShutdownState) -> None:
        """The only way from one state to another."""
        assert state in _NEXT[self.state], (self.state, state)
        self.state = state

    def under_way(self) -> bool:
        """Whether somebody has asked for the end."""
        return self.state is not ShutdownState.NONE

    def begin(self, session: Session | None, *, save: bool | None, now: bool = False, force: bool = False) -> bytes:
        """SHUTDOWN, SIGTERM, SIGINT. save: None means if save points are configured."""
        if session is not None:
            self.sessions.append(session)
            self.waiting.park(session, Blocked(Wait.SHUTDOWN, [], None, None, b""))
        if self.under_way():
            return PENDING  # whoever asks later waits with the first, and changes nothing, not even by NOW
        self.turn.log(Level.WARNING, "User requested shutdown...")
        self.save = save
        self.force = force
        timeout_ms = 1000 * self.config["shutdown-timeout"]
        if not now and timeout_ms and not self.replica.active and self._lagging():
            self._enter(ShutdownState.WAITING)
            self.deadline_ms = self.turn.now.mono_ms + timeout_ms
            self.turn.log(Level.NOTICE, "Waiting for replicas before shutting down.")
            self.pauses.hold(_REASON)
            self.acknowledgements.ask()
            return PENDING
        self._finish()
        return PENDING

    def _lagging(self) -> list[Link]:
        has_all = self.acknowledgements.has_all
        return [link for link in self.primary.links.values() if link.state is LinkState.ONLINE and not has_all(link)]

    def abort(self) -> bytes:
        """SHUTDOWN ABORT."""
        if self.state in (ShutdownState.NONE, ShutdownState.EXITING):
            raise CommandError("ERR No shutdown in progress.")
        self.turn.log(Level.NOTICE, "Shutdown manually aborted.")
        self._cancel()
        return reply.OK

    def _cancel(self) -> None:
        self._enter(ShutdownState.NONE)
        self.deadline_ms = None
        for session in self.sessions:
            if session.blocked is not None and session.blocked.kind is Wait.SHUTDOWN:
                self.waiting.unblock(session, reply.error("ERR Errors trying to SHUTDOWN. Check logs."))
        self.sessions.clear()
        self.pauses.drop(_REASON)

    def _go_on(self) -> None:
        """Acknowledgements, or the list of replicas, changed."""
        if self.state is ShutdownState.WAITING and not self._lagging():
            self._finish()

    def _finish(self) -> None:
        self.deadline_ms = None
        lagging = self._lagging()
        for link in lagging:
            lag = (self.turn.now.mono_ms - link.acked_ms) // 1000
            behind = self.primary.history.end - link.acked
            self.turn.log(
                Level.WARNING,
                f"Lagging replica {link.address} reported offset {behind} behind master, "
                f"lag={lag}, state={link.state.shown}.",
            )
        online = sum(link.state is LinkState.ONLINE for link in self.primary.links.values())
        if online:
            self.turn.log(Level.NOTICE, f"{online - len(lagging)} of {online} replicas are in sync when shutting down.")
        if self.snapshots.running is not None and self.snapshots.saving:
            self.turn.log(Level.WARNING, "There is a child saving an .rdb. Killing it!")
        self.snapshots.cancel()
        save = bool(self.config["save"]) if self.save is None else self.save
        if not self.append_only.before_exit(force=self.force):
            self._cancel()
            return
        self.gates.hold(_REASON, ANY)
        if not save:
            self._exit()
            return
        self.turn.log(Level.NOTICE, "Saving the final RDB snapshot before exiting.")
        self._enter(ShutdownState.SAVING)
        self.saving.begin(self._saved)

    def _saved(self, why: str) -> None:
        """The last save has ended; why: "" for success."""
        if self.state is not ShutdownState.SAVING:
            return  # aborted meanwhile
        if why and not self.force:
            self.turn.log(Level.WARNING, "Error trying to save the DB, can't exit.")
            self.turn.log(Level.WARNING, "Errors trying to shut down the server. Check the logs for more information.")
            self.gates.drop(_REASON)
            self._cancel()
            return
        if why:
            self.turn.log(Level.WARNING, "Error trying to save the DB. Exit anyway.")
        self._exit()

    def _exit(self) -> None:
        self._enter(ShutdownState.EXITING)
        self.turn.log(Level.WARNING, "Redis is now ready to exit, bye bye...")
        self.turn.last_effect(Exit(0))

    def advance(self) -> None:
        """Replicas were given so much time."""
        if self.deadline_ms is not None and self.deadline_ms <= self.turn.now.mono_ms:
            self._finish()
