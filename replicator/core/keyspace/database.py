"""One database: keys, their values and expiry times; and the Keyspace that holds all databases of a node.

Theory of operation
- `values` maps key to value. A key whose expiry time has passed is *logically* gone at once: every look-up goes through
  `find` or `lookup`, which hide it. On a primary the look-up also deletes it and records the deletion as an effect; on
  a replica it stays until the primary's DEL arrives (so that both hold the same data at the same offset). Where a
  replica takes writes of its own, a write deletes what it meets of the kind: it must not inherit a dead expiry.
- Every change of a key's value ends with `changed(key, ...)`: it counts the change (the executor asks whether a command
  changed anything), and tells watchers, waiting clients and trackers when there are any.
- What must reach replicas and files is an *effect*: an argv for a database number. A write command that changed
  something is its own effect unless it said otherwise (Context.replicate).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import heapify, heappop, heappush
from typing import Any, TypeVar

from replicator.core.keyspace.index import Index
from replicator.core.keyspace.values import Hash, List, Set, Value

T = TypeVar("T")

# Nobody waits for these.
_NEVER_AWAITED = (bytes, Set, Hash, type(None))

# Classes of keyspace notifications, as the letters of notify-keyspace-events.
NOTIFY_GENERIC = 1  # g
NOTIFY_STRING = 2  # $
NOTIFY_LIST = 4  # l
NOTIFY_SET = 8  # s
NOTIFY_HASH = 16  # h
NOTIFY_SORTED_SET = 32  # z
NOTIFY_EXPIRED = 64  # x
NOTIFY_EVICTED = 128  # e
NOTIFY_STREAM = 256  # t
NOTIFY_KEY_MISS = 512  # m
NOTIFY_MODULE = 1024  # d
NOTIFY_NEW = 2048  # n


class WrongType(Exception):
    """A command met a key of another type than it works on."""


class Database:
    """One numbered database."""

    __slots__ = ("awaited", "expires", "hooked", "index", "key_index", "keyspace", "schedule", "values", "watched")

    def __init__(self, keyspace: Keyspace, index: int) -> None:
        self.keyspace = keyspace
        self.index = index
        self.values: dict[bytes, Value] = {}
        self.expires: dict[bytes, int] = {}  # key -> unix ms
        self.schedule: list[tuple[int, bytes]] = []  # heap of (unix ms, key); entries may be stale
        # key -> contexts that WATCH it; True: it had expired already, so that its going would be no change to them
        self.watched: dict[bytes, dict[Any, bool]] = {}
        self.awaited: dict[bytes, dict[Any, None]] = {}  # key -> contexts blocked on it, oldest first
        self.hooked = False  # someone watches, waits or tracks: `changed` must look closer
        self.key_index: Index | None = None  # for SCAN and RANDOMKEY, made when first asked for

    def __len__(self) -> int:
        return len(self.values)

    # -- reading ---------------------------------------------------------------------------------------------------

    def find(self, key: bytes) -> Value | None:
        """The value, or None if the key is not there (or logically expired). Leaves no trace in statistics."""
        value = self.values.get(key)
        if value is not None and key in self.expires and self._expired(key):
            return None
        return value

    def peek(self, key: bytes) -> Value | None:
        """`find` for commands that count a hit or miss but are no access to the value (EXISTS, TYPE, TTL)."""
        value = self.find(key)
        if value is None:
            return self.lookup(key)
        self.keyspace.hits += 1
        return value

    def lookup(self, key: bytes) -> Value | None:
        """`find` for read commands: counts hits and misses, and the access."""
        value = self.values.get(key)
        if value is None or (key in self.expires and self._expired(key)):
            self.keyspace.misses += 1
            if self.keyspace.notify_flags & NOTIFY_KEY_MISS:
                self.notify(NOTIFY_KEY_MISS, b"keymiss", key)
            return None
        keyspace = self.keyspace
        keyspace.hits += 1
        if keyspace.on_access is not None:
            keyspace.on_access(self, key)
        return value

    def string(self, key: bytes) -> bytes | None:
        """The string at key for reading, or None; raises WrongType."""
        value = self.lookup(key)
        if value is not None and type(value) is not bytes:
            raise WrongType
        return value

    def list(self, key: bytes) -> List | None:
        """The list at key for reading, or None; raises WrongType."""
        return self.typed(key, List)

    def set(self, key: bytes) -> Set | None:
        """The set at key for reading, or None; raises WrongType."""
        return self.typed(key, Set)

    def hash(self, key: bytes) -> Hash | None:
        """The hash at key for reading, or None; raises WrongType."""
        return self.typed(key, Hash)

    def typed(self, key: bytes, cls: type[T]) -> T | None:
        """The value of this class at key for reading, or None; raises WrongType."""
        value = self.lookup(key)
        if value is None:
            return None
        if type(value) is not cls:
            raise WrongType
        return value

    def for_write(self, key: bytes, cls: type[T]) -> T | None:
        """The value of this class at key, to be changed in place (then call `changed`), or None; raises WrongType."""
        value = self.values.get(key)
        if value is None or (key in self.expires and self._expired(key)):
            return None
        if type(value) is not cls:
            raise WrongType
        if self.keyspace.on_access is not None:
            self.keyspace.on_access(self, key)
        return value

    def expiry(self, key: bytes) -> int | None:
        """The key's expiry time in unix ms, or None if it has none."""
        return self.expires.get(key)

    def keys(self) -> Iterator[bytes]:
        """All keys that are not logically expired."""
        now = self.keyspace.now_ms
        expires = self.expires
        for key in self.values:
            if key not in expires or expires[key] > now:
                yield key

    def indexed_keys(self) -> Index:
        """The keys with places, for SCAN, RANDOMKEY and eviction (expired ones too); built on first use, then kept.

        Whoever switches NOTIFY_NEW on calls it for every database: the index is what tells that a key is new.
        """
        if self.key_index is None:
            self.key_index = self.keyspace.new_index(self.values)
        return self.key_index

    # -- writing ---------------------------------------------------------------------------------------------------

    def store(self, key: bytes, value: Value) -> None:
        """Set the key to a new value and clear its expiry. Call `changed` afterwards."""
        if self.expires:
            self.expires.pop(key, None)
        if self.key_index is not None and self.key_index.add(key) and self.keyspace.notify_flags & NOTIFY_NEW:
            self.notify(NOTIFY_NEW, b"new", key)
        self.values[key] = value

    def put(self, key: bytes, value: Value) -> None:
        """Set the key's value and keep its expiry if it has one. Call `changed` afterwards."""
        if self.key_index is not None and self.key_index.add(key) and self.keyspace.notify_flags & NOTIFY_NEW:
            self.notify(NOTIFY_NEW, b"new", key)
        self.values[key] = value

    def remove(self, key: bytes) -> bool:
        """Take the key away; whether it was there. Call `changed` afterwards."""
        if self.values.pop(key, None) is None:
            return False
        if self.expires:
            self.expires.pop(key, None)
        if self.key_index is not None:
            self.key_index.discard(key)
        return True

    def expire_at(self, key: bytes, when_ms: int) -> None:
        """Let the key, which is there, expire at this unix time. Call `changed` afterwards."""
        self.expires[key] = when_ms
        self.keyspace.scheduled = True
        if not self.keyspace.expires_keys and not self.keyspace.applying:
            self.keyspace.own_volatile[(self.index, key)] = None
        schedule = self.schedule
        heappush(schedule, (when_ms, key))
        if len(schedule) > 64 and len(schedule) > 2 * len(self.expires):
            schedule[:] = [(when, name) for name, when in self.expires.items()]
            heapify(schedule)

    def persist(self, key: bytes) -> bool:
        """Let the key live; whether it had an expiry. Call `changed` afterwards."""
        return self.expires.pop(key, None) is not None

    def clear(self) -> int:
        """Remove everything at once; how many keys there were. Watchers are told."""
        count = len(self.values)
        had = self.values
        self.values = {}
        self.expires = {}
        self.schedule = []
        if self.key_index is not None:
            self.key_index = self.keyspace.new_index(())
        self.tell_replaced(had)
        return count

    def changed(self, key: bytes, event: bytes = b"", kind: int = 0) -> None:
        """Say that the key's value, existence or expiry changed (after the fact), and under which notification name."""
        keyspace = self.keyspace
        keyspace.dirty += 1
        if self.hooked:
            self.tell(key)
        if keyspace.notify_flags & kind:
            self.notify(kind, event, key)

    def notify(self, kind: int, event: bytes, key: bytes) -> None:
        """Publish a keyspace notification, if its class is switched on."""
        keyspace = self.keyspace
        if keyspace.notify_flags & kind and keyspace.on_notify is not None:
            keyspace.on_notify(self, kind, event, key)

    # -- expiry ----------------------------------------------------------------------------------------------------

    def is_past(self, key: bytes) -> bool:
        """Whether the key is there although its time has come."""
        when = self.expires.get(key)
        return when is not None and when <= self.keyspace.now_ms

    def _expired(self, key: bytes) -> bool:
        """Whether the key, which has an expiry, is logically gone; a primary deletes it now."""
        keyspace = self.keyspace
        if self.expires[key] > keyspace.now_ms or keyspace.loading:
            return False
        if keyspace.applying:
            return False
        if keyspace.expires_keys or keyspace.writes:
            self.expire_now(key)
        return True

    def expire_now(self, key: bytes) -> None:
        """Delete a key whose time has come and record the deletion for replicas."""
        keyspace = self.keyspace
        self.remove(key)
        keyspace.expired += 1
        keyspace.recorded.append((self.index, [keyspace.delete_name, key]))
        if self.hooked:
            self.tell(key)
        if keyspace.notify_flags & NOTIFY_EXPIRED:
            self.notify(NOTIFY_EXPIRED, b"expired", key)

    def next_expiry(self) -> int | None:
        """When (unix ms) the next key expires, or None. Drops stale entries on the way."""
        schedule = self.schedule
        while schedule:
            when, key = schedule[0]
            if self.expires.get(key) == when:
                return when
            heappop(schedule)
        return None

    def purge_expired(self, limit: int) -> int:
        """Delete up to `limit` keys whose time has come; how many were."""
        done = 0
        now = self.keyspace.now_ms
        while done < limit and (when := self.next_expiry()) is not None and when <= now:
            self.expire_now(self.schedule[0][1])
            done += 1
        return done

    # -- those who look on -------------------------------------------------------------------------------------------

    def tell(self, key: bytes) -> None:
        """Tell all who look on that the key changed; `changed` does so when there are any."""
        keyspace = self.keyspace
        if self.watched and (watchers := self.watched.get(key)):
            for context, was_past in watchers.items():
                if was_past and key not in self.values:
                    watchers[context] = False
                else:
                    context.dirty_watch = True
        if self.awaited and key in self.awaited:
            self._make_ready(key)
        if keyspace.on_touch is not None:
            keyspace.on_touch(self, key)
        if keyspace.on_change is not None:
            keyspace.on_change(self, key)

    def tell_replaced(self, had: Mapping[bytes, Value]) -> None:
        """Tell all who look on that the whole data is another now; `had`: what was there.

        To who watches a key, one that has expired and none are the same.
        """
        for key, watchers in self.watched.items():
            if key not in had and key not in self.values:
                continue
            there = key in self.values and not self.is_past(key)
            for context, was_past in watchers.items():
                if there or (key in had and not was_past):
                    context.dirty_watch = True
                else:
                    watchers[context] = key in self.values
        for key in self.awaited:
            if key in had or key in self.values:
                self._make_ready(key)
        for told in self.keyspace.on_replaced:
            told(self)

    def _make_ready(self, key: bytes) -> None:
        """Let those who wait for the key be served, in the order in which keys came to hold what can be waited for.

        In one transaction "DEL a, LPUSH b, LPUSH a" makes b ready before a.
        """
        ready = self.keyspace.ready
        place = (self.index, key)
        holds = type(self.values.get(key)) not in _NEVER_AWAITED
        if holds and ready.get(place) is False:
            del ready[place]
        ready[place] = ready.get(place, False) or holds

    def rehook(self) -> None:
        """Recompute `hooked`; to be called when watched, awaited or the keyspace's on_touch or on_change changes."""
        keyspace = self.keyspace
        self.hooked = bool(
            self.watched or self.awaited or keyspace.on_touch is not None or keyspace.on_change is not None
        )


class Keyspace:
    """All databases of a node, and what their changes have caused so far."""

    def __init__(self, count: int = 16) -> None:
        self.now_ms = 0  # the unix time of the event being handled
        self.late_ms = 0  # how much later it is by now (DEBUG SLEEP)
        self.dirty = 0  # grows with every change, by as many elements as were changed
        self.uncounted = 0  # how much of it is no change of data (what goes to replicas for other reasons)
        self.scheduled = False  # a database may have an expiry in its schedule
        self.recorded: list[tuple[int, list[bytes]]] = []  # what replicas must be told, not yet handed on
        self.verbatim = True  # the running command is its own effect
        self.apart = False  # what the running command has recorded is independent of each other (expiry met by a SCAN)
        # awaited keys that changed; whether they have held a list, a sorted set or a stream since
        self.ready: dict[tuple[int, bytes], bool] = {}
        self.expires_keys = True  # a primary deletes expired keys; a replica only hides them
        self.writes = 0  # set while a write runs that a client sent (and the executor had a closer look at)
        self.applying = False  # commands come from our primary: logically expired keys are still there for them
        # Keys to which a client of a writable replica gave an expiry: no DEL for them will come from the primary.
        self.own_volatile: dict[tuple[int, bytes], None] = {}
        self.loading = False  # a snapshot is being loaded
        self.delete_name = b"DEL"
        self.notify_flags = 0
        self.on_notify: Callable[[Database, int, bytes, bytes], None] | None = None
        self.on_touch: Callable[[Database, bytes], None] | None = None  # client-side caching
        self.on_access: Callable[[Database, bytes], None] | None = None  # LRU / LFU clocks, when a policy needs them
        self.on_change: Callable[[Database, bytes], None] | None = None  # memory accounting, when there is a limit
        self.new_index: Callable[[Iterable[bytes]], Index] = Index  # a cluster's node wants the keys of each slot
        self.keeps_index = False  # every database has its index from the beginning
        # all keys of a database went or came at once (FLUSHDB, SWAPDB, a load): memory accounting, client-side caching
        self.on_replaced: list[Callable[[Database], None]] = []
        self.list_fill = -2  # list-max-listpack-size
        self.flat_bounds = (128, 64)  # zset-max-listpack-entries, zset-max-listpack-value
        self.on_flushed: Callable[[], None] | None = None  # FLUSHALL has been called: snapshots
        # id -> (short string, its encoding), of those whose text does not tell it; see encoding.py
        self.marked_strings: dict[int, tuple[bytes, bytes]] = {}
        self.hits = 0
        self.misses = 0
        self.expired = 0
        self.evicted = 0
        self.databases = [Database(self, i) for i in range(count)]

    def tables_size(self) -> int:
        """Bytes of the tables that lead from keys to values and expiries."""
        return sum(db.values.__sizeof__() + db.expires.__sizeof__() for db in self.databases if db.values)

    @property
    def changes(self) -> int:
        """Changes of data ever made, as save points count them."""
        return self.dirty - self.uncounted

    def catch_up(self) -> None:
        """The time that has passed within this turn counts from here on (a transaction sees one instant)."""
        self.now_ms += self.late_ms
        self.late_ms = 0

    def next_expiry(self) -> int | None:
        """When (unix ms) the next key of any database expires, or None."""
        if not self.scheduled:  # asked after every turn
            return None
        soonest: int | None = None
        for database in self.databases:
            if database.schedule:
                when = database.next_expiry()
                if when is not None and (soonest is None or when < soonest):
                    soonest = when
        self.scheduled = soonest is not None
        return soonest

    def purge_own(self) -> None:
        """Delete those of `own_volatile` whose time has come; nobody is told but who looks on here."""
        for index, key in list(self.own_volatile):
            database = self.databases[index]
            when = database.expires.get(key)
            if when is None:
                del self.own_volatile[(index, key)]
            elif when <= self.now_ms:
                del self.own_volatile[(index, key)]
                database.expire_now(key)
                self.recorded.pop()

    def adopt(self, other: Keyspace) -> None:
        """Take over the data of another keyspace (a finished load), keeping our own hooks; watchers are told."""
        self.own_volatile.clear()
        self.scheduled = any(theirs.schedule for theirs in other.databases)
        for mine, theirs in zip(self.databases, other.databases, strict=True):
            had = mine.values
            mine.values, mine.expires, mine.schedule = theirs.values, theirs.expires, theirs.schedule
            keeps_index = self.keeps_index or self.notify_flags & NOTIFY_NEW
            mine.key_index = self.new_index(mine.values) if keeps_index else None
            mine.tell_replaced(had)
