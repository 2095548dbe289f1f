"""How a client finds its primary through Sentinels, as client libraries do.

Without a primary it asks one Sentinel after the other where it is; the first that knows is believed, and put first in
the row for the next time. The connection to that primary is used until it breaks, or until the node says that it takes
no writes; then the Sentinels are asked again. Nothing tells a client whose connection lives on that there is a newer
primary elsewhere: that is how writes get lost in a partition.

Source: https://redis.io/docs/latest/develop/reference/sentinel-clients/
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import hiredis

from replicator.core.effects import Close, Connect, Effect, Send
from replicator.core.now import Now

# A Sentinel that does not answer for so long is passed over; between two rounds a client waits as long.
PATIENCE_MS = 300


@dataclass(slots=True)
class Finder:
    """One client's. sentinels: name and address of each. node_at: the node at an address. packed: encodes a question.

    primary: the node that was found; "": it has to be asked for.
    """

    master: str
    sentinels: deque[tuple[str, tuple[str, int]]]
    node_at: Callable[[str, int], str | None]
    packed: Callable[[tuple[str, ...]], bytes]
    new_conn: Callable[[], int]
    source: str = ""
    primary: str = ""
    asked: int = 0  # Sentinels asked in this round
    _conn: int = 0
    _due_ms: int = 0
    _reader: Any = field(default_factory=hiredis.Reader)

    def owns(self, conn: int) -> bool:
        """Whether it is the connection to a Sentinel."""
        return conn == self._conn and conn != 0

    def lost(self) -> None:
        """The primary is gone, or none any more."""
        self.primary = ""

    def deadline_ms(self) -> int:
        """When `advance` has work, while there is no primary."""
        return self._due_ms

    def advance(self, now: Now, effects: list[Effect]) -> None:
        """Ask, or give one up and ask the next."""
        if self.primary or now.mono_ms < self._due_ms:
            return
        if self._conn:
            effects.append(Close(self._conn, "no answer"))
            self._next(now)
            if self._due_ms > now.mono_ms:
                return
        self._conn = self.new_conn()
        self._reader = hiredis.Reader()
        self._due_ms = now.mono_ms + PATIENCE_MS
        host, port = self.sentinels[0][1]
        effects.append(Connect(self._conn, host, port, self.source, PATIENCE_MS))

    def _next(self, now: Now) -> None:
        """The one that is being asked does not know: the next in the row, after a whole round with a pause."""
        self._conn = 0
        self.sentinels.rotate(-1)
        self.asked += 1
        self._due_ms = now.mono_ms
        if self.asked >= len(self.sentinels):
            self.asked = 0
            self._due_ms += PATIENCE_MS

    def connected(self, effects: list[Effect]) -> None:
        """The Sentinel can be asked."""
        question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.master)
        effects.append(Send(self._conn, self.packed(question)))

    def gone(self, now: Now) -> None:
        """The connection to the Sentinel broke, or could not be made."""
        self._next(now)

    def received(self, data: bytes, now: Now, effects: list[Effect]) -> None:
        """Its answer."""
        self._reader.feed(data)
        answer = self._reader.gets()
        if answer is False:
            return
        effects.append(Close(self._conn, "answered"))
        node = None
        if isinstance(answer, list) and len(answer) == 2 and all(isinstance(word, bytes) for word in answer):
            node = self.node_at(answer[0].decode("utf-8", "replace"), int(answer[1]))
        if node is None:
            self._next(now)
            return
        self._conn = 0
        self.asked = 0
        self.primary = node
