"""How much a node reads and writes: totals, rates of the last second, and the largest buffers of the last seconds.

The counts themselves stand where the bytes pass (sessions, the link to the primary, the links to replicas); here they
are added up. CONFIG RESETSTAT lets the totals begin anew, which is a matter of what was there before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from replicator.core.clients.session import Session
from replicator.core.replication.primary import Primary
from replicator.core.replication.replica import Replica

_REMEMBERED_S = 8  # for so long the largest buffers are told, as stock does


@dataclass(frozen=True, slots=True)
class Totals:
    """Bytes since the start or CONFIG RESETSTAT. What replication takes is part of input and output as well."""

    input: int = 0
    output: int = 0
    replication_input: int = 0
    replication_output: int = 0

    def less(self, other: Totals) -> Totals:
        """What was added since then."""
        return Totals(
            self.input - other.input,
            self.output - other.output,
            self.replication_input - other.replication_input,
            self.replication_output - other.replication_output,
        )


class Traffic:
    """All that INFO tells of bytes."""

    def __init__(self, sessions: dict[int, Session], primary: Primary, replica: Replica) -> None:
        self.sessions = sessions
        self.primary = primary
        self.replica = replica
        self.gone_received = 0  # bytes of connections that are gone
        self.gone_sent = 0
        self.kbps = (0.0, 0.0, 0.0, 0.0)  # input, output, and of these replication's: of the last second
        self._before = Totals()  # what had passed at CONFIG RESETSTAT
        self._sampled = Totals()
        self._sampled_ms = 0
        self._largest: dict[int, tuple[int, int]] = {}  # second -> largest input and output buffer then

    def forget(self, session: Session) -> None:
        """The session is gone; its bytes stay counted."""
        self.gone_received += session.total_received
        self.gone_sent += session.total_sent

    def reset(self) -> None:
        """CONFIG RESETSTAT."""
        self._before = self._passed()
        self._sampled = Totals()

    def _passed(self) -> Totals:
        came, went = self.replica.bytes_received, self.primary.bytes_sent
        sessions = self.sessions.values()
        return Totals(
            self.gone_received + came + sum(session.total_received for session in sessions),
            self.gone_sent + went + self.replica.bytes_sent + sum(session.total_sent for session in sessions),
            came,
            went,
        )

    def totals(self) -> Totals:
        """Since the start or CONFIG RESETSTAT."""
        return self._passed().less(self._before)

    def sample(self, now_ms: int) -> None:
        """Once a second: rates and the largest buffers."""
        elapsed = now_ms - self._sampled_ms
        if elapsed <= 0:
            return
        totals = self.totals()
        new = totals.less(self._sampled)
        self.kbps = (
            new.input / 1.024 / elapsed,
            new.output / 1.024 / elapsed,
            new.replication_input / 1.024 / elapsed,
            new.replication_output / 1.024 / elapsed,
        )
        self._sampled, self._sampled_ms = totals, now_ms
        second = now_ms // 1000
        self._largest = {at: sizes for at, sizes in self._largest.items() if second - at < _REMEMBERED_S}
        self._largest[second] = self._buffers()

    def _buffers(self) -> tuple[int, int]:
        sessions = self.sessions.values()
        largest_in = max((max(one.reading, one.decoder.pending + one.unread_size) for one in sessions), default=0)
        return largest_in, max((one.pending_output for one in sessions), default=0)

    def largest(self) -> tuple[int, int]:
        """The largest input and output buffer of a client in the last seconds."""
        seen: Iterable[tuple[int, int]] = [self._buffers(), *self._largest.values()]
        inputs, outputs = zip(*seen, strict=True)
        return max(inputs), max(outputs)
