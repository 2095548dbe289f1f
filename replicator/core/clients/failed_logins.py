"""Failed logins in the log: one line a minute and source, with how many there were since the last."""

from __future__ import annotations

from dataclasses import dataclass

from replicator.core import limits

_PERIOD_MS = 60_000


@dataclass(slots=True)
class _Source:
    told_ms: int
    untold: int = 0


class FailedLogins:
    """Counts by source; a source is forgotten when limits.MAX_FAILED_LOGIN_SOURCES others have come since."""

    def __init__(self) -> None:
        self._sources: dict[str, _Source] = {}

    def line(self, peer: str, user: bytes, now_ms: int) -> str | None:
        """What to log of a failure of this peer (host:port) now; None: nothing, it has been told of in this minute."""
        host = peer.rpartition(":")[0] or peer or "a local client"
        source = self._sources.get(host)
        if source is not None and now_ms - source.told_ms < _PERIOD_MS:
            source.untold += 1
            return None
        count = 1 if source is None else source.untold + 1
        self._sources.pop(host, None)
        self._sources[host] = _Source(now_ms)
        if len(self._sources) > limits.MAX_FAILED_LOGIN_SOURCES:
            del self._sources[next(iter(self._sources))]
        shown = user[:64].decode("utf-8", "backslashreplace")
        times = "once" if count == 1 else f"{count} times"
        return f"Failed authentication from {host}: {times} since the last such line, now as user '{shown}'"
