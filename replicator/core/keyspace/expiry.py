"""Keys whose time has come, deleted without anybody's asking for them: a few at a time, others are served between."""

from __future__ import annotations

from collections.abc import Callable

from replicator.core.keyspace.database import Keyspace
from replicator.core.now import Now

_AT_ONCE = 200  # keys that are deleted in one turn


class Expiry:
    """See the module. commit: hands on what was recorded. held_back: asked whether data must stand still now."""

    __slots__ = ("active", "commit", "held_back", "keyspace", "loading")

    def __init__(
        self,
        keyspace: Keyspace,
        commit: Callable[[], None],
        held_back: Callable[[], bool],
        loading: Callable[[], bool],
    ) -> None:
        self.keyspace = keyspace
        self.commit = commit
        self.held_back = held_back
        self.loading = loading
        self.active = True  # DEBUG SET-ACTIVE-EXPIRE

    def _works(self) -> bool:
        return self.keyspace.expires_keys and self.active and not self.loading() and not self.held_back()

    def advance(self) -> None:
        """Delete what is due."""
        keyspace = self.keyspace
        if keyspace.own_volatile and not self.loading():
            keyspace.purge_own()
        if not keyspace.scheduled or not self._works():
            return
        left = _AT_ONCE
        for database in keyspace.databases:
            if database.schedule and left:
                left -= database.purge_expired(left)
        if keyspace.recorded:
            self.commit()

    def deadline_ms(self, now: Now) -> int | None:
        """When `advance` has work (mono ms)."""
        if not self._works():
            return None
        when = self.keyspace.next_expiry()
        return None if when is None else now.mono_ms + max(0, when - now.unix_ms)
