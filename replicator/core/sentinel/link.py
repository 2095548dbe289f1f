"""What a Sentinel keeps of its connections to one watched process (links.py makes them)."""

from __future__ import annotations

from dataclasses import dataclass, field

from replicator.core.wire.answers import Asks


@dataclass(slots=True)
class Wire:
    """One connection, made or being made."""

    conn: int
    since_ms: int
    up: bool = False
    local_host: str = ""  # our end of it
    asks: Asks = field(default_factory=Asks)
    unsent: list[bytes] = field(default_factory=list)  # while it is being made


class Link:
    """The connections to one watched process, and when it was heard of through them."""

    __slots__ = (
        "available_ms", "channel", "channel_heard_ms", "command", "dropped", "owed_since_ms", "owners", "ping_sent_ms",
        "pong_ms", "reconnect_ms",
    )  # fmt: skip

    def __init__(self, now_ms: int) -> None:
        self.command: Wire | None = None
        self.channel: Wire | None = None
        self.owners = 1
        self.available_ms = now_ms  # the last valid answer to a PING
        self.owed_since_ms: int | None = now_ms  # since when one is waited for; from the start, so that silence counts
        self.ping_sent_ms: int | None = None
        self.pong_ms = now_ms  # the last answer of any kind
        self.channel_heard_ms = now_ms
        self.reconnect_ms: int | None = None
        self.dropped = 0  # questions that went down with the connection

    @property
    def down(self) -> bool:
        """Nothing can be asked now."""
        return self.command is None

    @property
    def pending(self) -> int:
        """Questions without an answer."""
        return self.dropped if self.command is None else len(self.command.asks)
