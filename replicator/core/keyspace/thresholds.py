"""The thresholds of compact encodings (OBJECT ENCODING), as they change at run time."""

from __future__ import annotations

from typing import Any, Protocol

from replicator.core.keyspace.database import Keyspace
from replicator.core.keyspace.encoding import encoding
from replicator.core.keyspace.values import Hash, Set

COMPACT = (
    "hash-max-listpack-entries",
    "hash-max-listpack-value",
    "set-max-intset-entries",
    "zset-max-listpack-entries",
    "zset-max-listpack-value",
)


class Settings(Protocol):
    """The configuration, as far as it is needed here."""

    def __getitem__(self, name: str, /) -> Any: ...


class Thresholds:
    """Those of one keyspace; `changed` after any of them was set."""

    def __init__(self, keyspace: Keyspace, config: Settings) -> None:
        self.keyspace = keyspace
        self.config = config
        self._now: dict[str, int] = {}
        self.changed()

    def changed(self) -> None:
        """What has outgrown the old thresholds stays large under higher ones."""
        config, keyspace = self.config, self.keyspace
        before, self._now = self._now, {name: config[name] for name in COMPACT}
        keyspace.flat_bounds = (config["zset-max-listpack-entries"], config["zset-max-listpack-value"])
        if before and any(before[name] < self._now[name] for name in COMPACT):
            for database in keyspace.databases:
                for value in database.values.values():
                    if isinstance(value, (Hash, Set)):
                        encoding(keyspace, value, before)
