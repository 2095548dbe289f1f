"""Waiting for replicas: WAIT, CLIENT PAUSE, coordinated FAILOVER, and SHUTDOWN that lets them catch up.

A coordinated failover loses nothing: writes are paused, the chosen replica catches up to our offset, and only then do
we ask it, by PSYNC ... FAILOVER, to become the primary and follow it from that very offset.

    none --FAILOVER--> waiting-for-sync --target acknowledged our offset--> failover-in-progress --+CONTINUE--> none
             ^                |  timeout, ABORT                                     | refused, ABORT
             +----------------+-----------------------------------------------------+   (a primary again, writes go on)
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from replicator.core.clients.session import Blocked, Session
from replicator.core.command_table.context import PENDING
from replicator.core.command_table.registry import MAY_REPLICATE, WRITE, Command
from replicator.core.effects import Announce, Exit, Level
from replicator.core.errors import CommandError
from replicator.core.execution.script_flags import flags_of
from replicator.core.replication.primary import Link, LinkState
from replicator.core.wire import reply

if TYPE_CHECKING:
    from replicator.core.node import Node


class FailoverState(Enum):
    """As INFO's master_failover_state."""

    NONE = "no-failover"
    WAITING = "waiting-for-sync"
    IN_PROGRESS = "failover-in-progress"


class Handover:
    """Pauses, failover, shutdown and WAIT of one node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.client_pause_until = 0  # mono ms; CLIENT PAUSE
        self.client_pause_all = False
        self.state = FailoverState.NONE
        self.target: tuple[str, int] | None = None
        self.force = False
        self.failover_deadline: int | None = None
        self.shutting_down = False
        self.shutdown_deadline: int | None = None
        self.shutdown_save: bool | None = None
        self.shutdown_force = False
        self.shutdown_sessions: list[Session] = []
        self._saving_for_exit = False
        self._save_waiters: list[Session] = []
        self._asked = (0, -1)  # where the last GETACK lies in the stream: its begin and end

    # -- pauses ------------------------------------------------------------------------------------------------------

    @property
    def pausing_clients(self) -> bool:
        """CLIENT PAUSE holds commands back, those of our primary among them."""
        return self.client_pause_until > self.node.turn.now.mono_ms

    @property
    def pausing(self) -> bool:
        """Some commands have to wait."""
        return self.pausing_writes

    @property
    def pausing_writes(self) -> bool:
        """Writes have to wait, and with them everything else that changes data by itself (expiry, eviction)."""
        return (
            self.client_pause_until > self.node.turn.now.mono_ms
            or self.state is not FailoverState.NONE
            or (self.shutting_down and self.shutdown_deadline is not None)
        )

    def pauses(self, session: Session, command: Command) -> bool:
        """Whether this command waits."""
        if session.link is not None and session.conn in self.node.primary.links:
            return False
        if self.client_pause_all and self.client_pause_until > self.node.turn.now.mono_ms:
            return True
        if command.name == "exec" and session.transaction is not None:
            return bool(session.transaction.flags & (WRITE | MAY_REPLICATE))
        return bool(flags_of(command, session.argv, self.node.scripting) & (WRITE | MAY_REPLICATE))

    def pause(self, until_ms: int, *, everything: bool) -> None:
        """CLIENT PAUSE; a running pause is never shortened, nor weakened."""
        running = self.client_pause_until > self.node.turn.now.mono_ms
        self.client_pause_until = max(until_ms, self.client_pause_until if running else 0)
        self.client_pause_all = everything or (running and self.client_pause_all)
        self.node.regate()

    def unpause(self) -> None:
        """CLIENT UNPAUSE."""
        self.client_pause_until = 0
        self._release()

    def _release(self) -> None:
        """Let the parked commands run, unless another reason still holds them."""
        node = self.node
        node.regate()
        if self.pausing:
            return
        for session in list(node.executor.blocked):
            blocked = session.blocked
            if blocked is not None and blocked.kind == "pause":
                session.queue.insert(0, blocked.argv)
                node.executor.unpark(session)
        node.following.pause_ended()

    def resume_all_for_role_change(self) -> None:
        """A new role: nothing that waited for the old one goes on waiting."""
        if self.state is FailoverState.WAITING:
            self._abort("the role changed")

    # -- WAIT --------------------------------------------------------------------------------------------------------

    def wait(self, session: Session, wanted: int, timeout_ms: int) -> bytes:
        """WAIT: how many replicas have acknowledged the caller's last write; waits for more if they are too few."""
        node = self.node
        position = self.position_of(session)
        count = node.primary.acked_by(position)
        if count >= wanted or session.deny_blocking:
            return reply.integer(count)
        deadline = node.turn.now.mono_ms + timeout_ms if timeout_ms else None
        blocked = Blocked(
            "replicas",
            session.argv,
            session.command,
            deadline,
            lambda: reply.integer(node.primary.acked_by(position)),
            position=position,
            wanted=wanted,
        )
        node.executor.park(session, blocked)
        self.ask_acks()
        return PENDING

    def position_of(self, session: Session) -> int:
        """The offset behind the last write of the caller whose command runs now."""
        node = self.node
        node.outgoing.flush()
        if node.keyspace.dirty != node.executor.batch_dirty:
            # The write came in the same packet: its session learns its place after the batch.
            return node.history.end
        return session.write_position

    def ask_acks(self) -> None:
        """Ask all replicas for an ACK now, through the stream."""
        node = self.node
        if node.outgoing.windowed and node.primary.links:
            begin = node.outgoing.offset()
            node.outgoing.tell_replicas((b"REPLCONF", b"GETACK", b"*"))
            self._asked = (begin, node.history.end)

    def _has_all(self, link: Link) -> bool:
        """Whether the replica has acknowledged all there is.

        A GETACK is answered with the offset before itself, and who has answered it has read it: nothing is missing.
        """
        end = self.node.outgoing.offset()
        begin, asked = self._asked
        return link.state is LinkState.ONLINE and (link.acked == end or (asked == end and link.acked >= begin))

    def acks_changed(self) -> None:
        """A replica has acknowledged more."""
        node = self.node
        for session in list(node.executor.blocked):
            blocked = session.blocked
            if blocked is not None and blocked.kind == "replicas":
                count = node.primary.acked_by(blocked.position)
                if count >= blocked.wanted:
                    node.executor.unblock(session, reply.integer(count))
        self.replicas_changed()

    # -- coordinated failover ----------------------------------------------------------------------------------------

    def failover(self, target: tuple[str, int] | None, timeout_ms: int | None, *, force: bool) -> bytes:
        """FAILOVER: begin."""
        node = self.node
        if self.state is not FailoverState.NONE:  # asked first: while it is in progress we are a replica
            raise CommandError("ERR FAILOVER already in progress.")
        if node.replica.active:
            raise CommandError("ERR FAILOVER is not valid when server is a replica.")
        if not node.primary.links:
            raise CommandError("ERR FAILOVER requires connected replicas.")
        if force and (target is None or timeout_ms is None):
            raise CommandError("ERR FAILOVER with force option requires both a timeout and target HOST and IP.")
        if target is not None:
            link = self._link_of(target)
            if link is None:
                raise CommandError("ERR FAILOVER target HOST and PORT is not a replica.")
            if link.state is not LinkState.ONLINE:
                raise CommandError("ERR FAILOVER target replica is not online.")
        self.state = FailoverState.WAITING
        self.target = target
        self.force = force
        self.failover_deadline = None if timeout_ms is None else node.turn.now.mono_ms + timeout_ms
        to = f" to {target[0]}:{target[1]}" if target else ""
        node.turn.log(Level.NOTICE, f"FAILOVER requested{to}.")
        node.turn.emit(Announce("failover.requested", (("target", to.strip()),)))
        node.outgoing.flush()
        node.regate()
        self.replicas_changed()
        if self.state is FailoverState.WAITING:
            self.ask_acks()
        return reply.OK

    def _link_of(self, target: tuple[str, int]) -> Link | None:
        for link in self.node.primary.links.values():
            if (link.announced_host or link.host) == target[0] and link.announced_port == target[1]:
                return link
        return None

    def abort_failover(self) -> bytes:
        """FAILOVER ABORT."""
        if self.state is FailoverState.NONE:
            raise CommandError("ERR No failover in progress.")
        self._abort("Failover manually aborted")
        return reply.OK

    def _abort(self, why: str) -> None:
        node = self.node
        to = f" to {self.target[0]}:{self.target[1]}" if self.target else ""
        node.turn.log(Level.NOTICE, f"FAILOVER{to} aborted: {why}")
        if node.replica.failover_unanswered:
            node.turn.log(Level.WARNING, "Whether the failover target took over is unknown: there may be two masters.")
        was, self.state = self.state, FailoverState.NONE
        self.target = None
        self.failover_deadline = None
        node.replica.ask_failover = node.replica.failover_unanswered = False
        if was is FailoverState.IN_PROGRESS:
            node.become_primary(why=why)
        node.turn.emit(Announce("failover.aborted", (("why", why),)))
        self._release()

    def refused(self, why: str) -> None:
        """The target answered our PSYNC ... FAILOVER by an error, or turned out not to have our data."""
        if self.state is FailoverState.IN_PROGRESS:
            self._abort(why)

    def succeeded(self) -> None:
        """We follow the new primary: the failover is complete."""
        if self.state is FailoverState.IN_PROGRESS:
            self.state = FailoverState.NONE
            self.target = None
            self.failover_deadline = None
            self.node.turn.emit(Announce("failover.done", ()))
            self._release()

    def replicas_changed(self) -> None:
        """Acknowledgements, or the list of replicas, changed: go on with what waits for them."""
        if self.state is FailoverState.WAITING:
            chosen = self._caught_up()
            if chosen is not None:
                node = self.node
                node.turn.log(Level.NOTICE, f"Failover target {chosen[0]}:{chosen[1]} is synced, failing over.")
                self._begin(chosen)
        if self.shutting_down and self.shutdown_deadline is not None and not self._lagging():
            self._finish_shutdown()

    def _caught_up(self) -> tuple[str, int] | None:
        node = self.node
        if self.target is not None:
            wanted = self._link_of(self.target)
            return self.target if wanted is not None and self._has_all(wanted) else None
        for link in node.primary.links.values():
            if self._has_all(link) and link.announced_port:
                return (link.announced_host or link.host, link.announced_port)
        return None

    def _begin(self, target: tuple[str, int]) -> None:
        node = self.node
        self.state = FailoverState.IN_PROGRESS
        self.target = target
        node.become_replica(target[0], target[1], why="failover")
        node.replica.ask_failover = True

    # -- shutdown ----------------------------------------------------------------------------------------------------

    def shutdown(self, session: Session | None, *, save: bool | None, now: bool = False, force: bool = False) -> bytes:
        """SHUTDOWN, SIGTERM, SIGINT. save: None means if save points are configured."""
        node = self.node
        if session is not None:
            self.shutdown_sessions.append(session)
            node.executor.park(session, Blocked("shutdown", [], None, None, b""))
        if self.shutting_down:
            return PENDING  # whoever asks later waits with the first, and changes nothing, not even by NOW
        node.turn.log(Level.WARNING, "User requested shutdown...")
        self.shutting_down = True
        self.shutdown_save = save
        self.shutdown_force = force
        timeout_ms = 1000 * node.config["shutdown-timeout"]
        if not now and timeout_ms and not node.replica.active and self._lagging():
            self.shutdown_deadline = node.turn.now.mono_ms + timeout_ms
            node.turn.log(Level.NOTICE, "Waiting for replicas before shutting down.")
            node.regate()
            self.ask_acks()
            return PENDING
        self._finish_shutdown()
        return PENDING

    def _lagging(self) -> list[Link]:
        links = self.node.primary.links.values()
        return [link for link in links if link.state is LinkState.ONLINE and not self._has_all(link)]

    def abort_shutdown(self) -> bytes:
        """SHUTDOWN ABORT."""
        if not self.shutting_down:
            raise CommandError("ERR No shutdown in progress.")
        self.node.turn.log(Level.NOTICE, "Shutdown manually aborted.")
        self._cancel_shutdown()
        return reply.OK

    def _cancel_shutdown(self) -> None:
        self.shutting_down = False
        self.shutdown_deadline = None
        self._saving_for_exit = False
        for session in self.shutdown_sessions:
            if session.blocked is not None and session.blocked.kind == "shutdown":
                self.node.executor.unblock(session, reply.error("ERR Errors trying to SHUTDOWN. Check logs."))
        self.shutdown_sessions.clear()
        self._release()

    def _finish_shutdown(self) -> None:
        node = self.node
        self.shutdown_deadline = None
        lagging = self._lagging()
        for link in lagging:
            lag = (node.turn.now.mono_ms - link.acked_ms) // 1000
            node.turn.log(
                Level.WARNING,
                f"Lagging replica {link.address} reported offset {node.history.end - link.acked} behind master, "
                f"lag={lag}, state={link.state.shown}.",
            )
        online = sum(link.state is LinkState.ONLINE for link in node.primary.links.values())
        if online:
            node.turn.log(Level.NOTICE, f"{online - len(lagging)} of {online} replicas are in sync when shutting down.")
        if node.snapshots.running is not None and node.snapshots.saving:
            node.turn.log(Level.WARNING, "There is a child saving an .rdb. Killing it!")
        node.snapshots.cancel()
        save = bool(node.config["save"]) if self.shutdown_save is None else self.shutdown_save
        if not node.append_only.before_exit(force=self.shutdown_force):
            self._cancel_shutdown()
            return
        node.exiting = True
        node.regate()
        if save:
            node.turn.log(Level.NOTICE, "Saving the final RDB snapshot before exiting.")
            self._saving_for_exit = True
            node.snapshots.save_now()
            return
        self._exit()

    def _exit(self) -> None:
        self.node.turn.log(Level.WARNING, "Redis is now ready to exit, bye bye...")
        self.node.turn.last_effect(Exit(0))

    # -- saves -------------------------------------------------------------------------------------------------------

    def save(self, session: Session) -> bytes:
        """SAVE: the reply comes when the file is durable."""
        node = self.node
        if node.snapshots.running is not None:
            raise CommandError("ERR Background save already in progress")
        node.executor.park(session, Blocked("save", session.argv, session.command, None, b""))
        self._save_waiters.append(session)
        node.snapshots.save_now()
        return PENDING

    def saved(self, why: str) -> None:
        """A save in the foreground has ended; why: "" for success."""
        if self._saving_for_exit:
            self._saving_for_exit = False
            if why and not self.shutdown_force:
                self.node.turn.log(Level.WARNING, "Error trying to save the DB, can't exit.")
                self.node.turn.log(
                    Level.WARNING, "Errors trying to shut down the server. Check the logs for more information."
                )
                self.node.exiting = False
                self._cancel_shutdown()
            else:
                if why:
                    self.node.turn.log(Level.WARNING, "Error trying to save the DB. Exit anyway.")
                self._exit()
            return
        waiters, self._save_waiters = self._save_waiters, []
        for session in waiters:
            if session.blocked is not None and session.blocked.kind == "save":
                self.node.executor.unblock(session, reply.error("ERR") if why else reply.OK)

    # -- clocks ------------------------------------------------------------------------------------------------------

    def deadline_ms(self) -> int | None:
        """When `advance` has work (mono ms)."""
        soonest: int | None = self.client_pause_until or None
        if self.failover_deadline is None and self.shutdown_deadline is None:  # nearly always
            return soonest
        for other in (self.failover_deadline, self.shutdown_deadline):
            if other is not None and (soonest is None or other < soonest):
                soonest = other
        return soonest

    def advance(self) -> None:
        """End pauses and waits whose time has come."""
        node = self.node
        mono = node.turn.now.mono_ms
        if self.client_pause_until and self.client_pause_until <= mono:
            self.client_pause_until = 0
            self.client_pause_all = False
            self._release()
        if self.failover_deadline is not None and self.failover_deadline <= mono:
            self.failover_deadline = None
            if self.state is FailoverState.WAITING:
                if self.force and self.target is not None:
                    host, port = self.target
                    node.turn.log(Level.NOTICE, f"FAILOVER to {host}:{port} time out exceeded, failing over.")
                    self._begin(self.target)
                else:
                    self._abort("Replica never caught up before timeout")
        if self.shutdown_deadline is not None and self.shutdown_deadline <= mono:
            self._finish_shutdown()
