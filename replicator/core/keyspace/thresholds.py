"""The thresholds of compact encodings (OBJECT ENCODING), as they change at run time.

What a value is under the old ones it stays under the new ones: what has outgrown them for good, what is small until a
write makes stock look again. A sorted set knows what it is; a hash or a set is looked at here, before the change.
"""

from __future__ import annotations

from itertools import chain
from typing import Any, Protocol

from replicator.core.keyspace.database import Keyspace
from replicator.core.keyspace.encoding import is_intset, is_listpack_hash
from replicator.core.keyspace.values import Hash, Set

COMPACT = (
    "hash-max-listpack-entries",
    "hash-max-listpack-value",
    "set-max-intset-entries",
    "zset-max-listpack-entries",
    "zset-max-listpack-value",
    "list-max-listpack-size",
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
        """What has outgrown the old thresholds stays large, what has not stays small until it is written to."""
        config, keyspace = self.config, self.keyspace
        before, self._now = self._now, {name: config[name] for name in COMPACT}
        keyspace.list_fill = config["list-max-listpack-size"]
        keyspace.flat_bounds = (config["zset-max-listpack-entries"], config["zset-max-listpack-value"])
        if not before or before == self._now:
            return
        for database in keyspace.databases:
            for value in database.values.values():
                if isinstance(value, Set):
                    self._keep_set(value, before)
                elif isinstance(value, Hash):
                    self._keep_hash(value, before)

    def outgrown(self, fields: int, length: int) -> bool:
        """Whether a hash of so many fields is beyond the thresholds of now, or a field or value of that length."""
        now = self._now
        return fields > now["hash-max-listpack-entries"] or length > now["hash-max-listpack-value"]

    def _keep_set(self, value: Set, before: dict[str, int]) -> None:
        if is_intset(value, before) and max(value.peak, len(value)) > self._now["set-max-intset-entries"]:
            value.peak = -len(value)

    def _keep_hash(self, value: Hash, before: dict[str, int]) -> None:
        if is_listpack_hash(value, before) and value.kept is None:
            longest = max(map(len, chain(value, value.values())), default=0)
            if self.outgrown(max(value.peak, len(value)), longest):
                value.kept = self
