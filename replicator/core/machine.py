"""The surface of a machine: what a driver (live or simulated) needs of a node, a sentinel or a workload client.

A driver holds to these rules, and the suite in tests/conformance proves them of each driver:

1. One call at a time, from one thread: the call is the lock. A machine never calls its driver back.
2. The effects of a call are carried out in their order before the machine is told anything else. What goes wrong or
   is finished meanwhile (Closed, FileFailed, FileCommitted ...) is told right behind them, before further bytes.
3. `now` never goes back between calls, and `advance` is called once for all that is due: after a pause of the
   process it comes once, with the new time.
4. A Send to a connection that is gone is dropped silently; its Closed is told, or has been.
"""

from __future__ import annotations

from typing import Protocol

from replicator.core.effects import Effect
from replicator.core.events import Event
from replicator.core.now import Now


class Machine(Protocol):
    """A deterministic machine: told what happened, it answers with what is to be done. It never blocks."""

    def handle(self, event: Event, now: Now) -> list[Effect]:
        """Take one event; return what is to be done, in order."""
        ...

    def deadline_ms(self) -> int | None:
        """When (Now.mono_ms) `advance` next has work; None: never, unless an event changes it. Asked after every
        turn.
        """
        ...

    def advance(self, now: Now) -> list[Effect]:
        """Do all that is due at `now`. Afterwards deadline_ms() lies ahead of now.mono_ms, or the driver calls
        again.
        """
        ...

    def pull(self, conn: int, limit: int) -> bytes:
        """The next bytes, at most `limit`, for a connection under effects.Stream; b"" when there are none for now."""
        ...
