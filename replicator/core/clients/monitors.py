"""What clients see that have said MONITOR."""

from __future__ import annotations

from collections.abc import Sequence

from replicator.core.clients.roll import Roll
from replicator.core.clients.session import Session
from replicator.core.command_table.context import Context
from replicator.core.command_table.key_specs import redacted
from replicator.core.command_table.registry import Command
from replicator.core.gates import ANY, Gates
from replicator.core.turn import Turn

_ESCAPES = {0x5C: "\\\\", 0x22: '\\"', 0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x07: "\\a", 0x08: "\\b"}
_SHOWN = [_ESCAPES.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}") for byte in range(256)]


def quoted(word: bytes) -> str:
    """As MONITOR shows an argument."""
    return '"' + "".join(map(_SHOWN.__getitem__, word)) + '"'


class Monitors:
    """The clients of one node that watch it."""

    def __init__(self, turn: Turn, roll: Roll, gates: Gates) -> None:
        self.turn = turn
        self.roll = roll
        self.gates = gates
        self.sessions: dict[Session, None] = {}
        roll.on_gone.append(self.remove)

    def add(self, session: Session) -> bool:
        """MONITOR; False if the client watches already."""
        if session.monitor:
            return False
        session.monitor = True
        self.sessions[session] = None
        session.regate()
        self.gates.hold("monitors", ANY)
        return True

    def remove(self, session: Session) -> None:
        """The client watches no more."""
        if session.monitor:
            session.monitor = False
            self.sessions.pop(session, None)
            if not self.sessions:
                self.gates.drop("monitors")

    def feed(self, ctx: Context, command: Command, argv: Sequence[bytes]) -> None:
        """A command has run (or, a script, is about to)."""
        if ctx.script is not None:
            where = "lua"
        else:
            where = f"unix:{ctx.peer.rpartition(':')[0]}" if ctx.peer.startswith("/") else ctx.peer
        ms = self.turn.now.unix_ms
        words = " ".join(map(quoted, redacted(command.full_name, argv)))
        line = f"+{ms // 1000}.{ms % 1000:03d}000 [{ctx.db.index} {where}] {words}\r\n".encode()
        for session in list(self.sessions):
            self.roll.tell(session, line)
