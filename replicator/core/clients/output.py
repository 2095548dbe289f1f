"""How much may wait for a client, and how long one may be silent."""

from __future__ import annotations

from replicator.core.clients.listing import Clients
from replicator.core.clients.roll import Roll
from replicator.core.clients.session import Session, Wait
from replicator.core.config.config import Config
from replicator.core.effects import Level
from replicator.core.limits import WEIGHED_BYTES, WEIGHED_COMMANDS
from replicator.core.replication.primary import Primary
from replicator.core.turn import Turn


class Output:
    """Closes clients that take too little, and (directive timeout) those that say nothing."""

    def __init__(self, turn: Turn, config: Config, roll: Roll, clients: Clients, primary: Primary) -> None:
        self.turn = turn
        self.config = config
        self.roll = roll
        self.clients = clients
        self.primary = primary
        self.over_soft: dict[Session, None] = {}  # clients with more output than a soft limit allows for long
        self.weighed_commands = WEIGHED_COMMANDS  # that run before their replies are weighed; 0: each is weighed
        roll.on_gone.append(self._forget)
        config.on_change("client-output-buffer-limit", lambda _value: self._bound())
        self._bound()

    def _bound(self) -> None:
        """Replies are weighed one by one where ordinary clients have a limit, and messages at the least of all."""
        limits = self.config["client-output-buffer-limit"]
        self.weighed_commands = 0 if any(limits["normal"][:2]) else WEIGHED_COMMANDS
        bounds = [bound for kind in ("normal", "pubsub") for bound in limits[kind][:2] if bound]
        self.roll.weighed_bytes = min([WEIGHED_BYTES, *bounds])

    def _forget(self, session: Session) -> None:
        self.over_soft.pop(session, None)

    def weigh(self, session: Session, more: int = 0) -> None:
        """client-output-buffer-limit for ordinary and subscribed clients. more: bytes that wait elsewhere for it."""
        now = self.turn.now.mono_ms
        kind = "pubsub" if session.channels or session.patterns or session.shard_channels else "normal"
        hard, soft, seconds = self.config["client-output-buffer-limit"][kind]
        waiting = session.pending_output + sum(map(len, session.out)) + more
        if session.late:
            waiting += sum(map(len, session.late))
        if not soft or waiting <= soft:
            session.soft_since_ms = -1
            self.over_soft.pop(session, None)
        elif session.soft_since_ms < 0:
            session.soft_since_ms = now
            self.over_soft[session] = None
        too_long = session.soft_since_ms >= 0 and now - session.soft_since_ms > 1000 * seconds
        if (hard and waiting > hard) or too_long:
            how = "closed" if too_long else "scheduled to be closed ASAP"
            self.turn.log(
                Level.WARNING,
                f"Client {self.clients.line(session)} {how} for overcoming of output buffer limits.",
            )
            session.out = []  # another one: what the command that runs answers is not sent either
            session.close("output buffer limit", after_reply=False)

    def close_idle(self) -> None:
        """Close clients that have been over a soft output limit for too long, and (timeout) those that are silent."""
        for session in list(self.over_soft):
            self.weigh(session)
        seconds = self.config["timeout"]
        if not seconds:
            return
        now = self.turn.now.mono_ms
        for session in list(self.roll.sessions.values()):
            if (
                now - session.last_ms > 1000 * seconds
                and session.conn not in self.primary.links
                and (session.blocked is None or session.blocked.kind is Wait.PARTS)
                and not (session.channels or session.patterns)
            ):
                self.turn.log(Level.VERBOSE, f"Closing idle client id={session.id} addr={session.peer}")
                session.close("idle", after_reply=False)
