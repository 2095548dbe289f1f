"""Where the primary is, as the scenario's own directory says: what clients ask before each operation."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Directory:
    """Shared by the player, who writes it, and the clients, who read it; after a change the player wakes the clients.

    addresses: node -> (host, port) under which clients reach it. load: "run", "pause" or "stop" for all clients.
    zero_ms: the mono_ms at which the play began; times in a history count from it.
    """

    primary: str
    addresses: dict[str, tuple[str, int]] = field(default_factory=dict)
    load: str = "pause"
    zero_ms: int = 0
    password: str = ""
