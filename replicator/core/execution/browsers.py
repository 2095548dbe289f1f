"""Browsers that were made to speak to us: they are sent away without a word, before they can do any harm.

A web page can let its visitor's browser POST to a server in the visitor's network; the words of HTTP are errors to us,
but the body that follows could be commands.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/security/
"""

from __future__ import annotations

from replicator.core.clients.session import Session
from replicator.core.effects import Level
from replicator.core.turn import Turn

_HTTP = frozenset((b"post", b"host:"))
_WARN_AGAIN_MS = 60_000


class Browsers:
    """See the module."""

    __slots__ = ("_next_warning_ms", "turn")

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self._next_warning_ms = 0

    def refuses(self, session: Session, name: bytes) -> bool:
        """Whether these are words of HTTP; then the session is closed."""
        if name.lower() not in _HTTP:
            return False
        now = self.turn.now.mono_ms
        if now >= self._next_warning_ms:
            self._next_warning_ms = now + _WARN_AGAIN_MS
            self.turn.log(
                Level.WARNING,
                "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to Redis. "
                "This is likely due to an attacker attempting to use Cross Protocol Scripting to compromise your Redis "
                f"instance. Connection from {session.peer} aborted.",
            )
        session.out.clear()
        session.close("HTTP", after_reply=False)
        return True
