"""maxmemory: how much memory the data takes, and which keys go when it is too much.

Theory of operation
- While there is no limit and nobody has asked for idle times, nothing is installed and nothing is paid.
- With a limit, every change of a key re-estimates that key (`Keyspace.on_change`); the sum is the data's size.
  Estimates look at a few elements of a collection, never at all of them, so a change costs O(1).
- Policies that need to know accesses (LRU, LFU) also listen to `Keyspace.on_access` and keep one number a key: the time
  of the last access, or a logarithmic counter with the minute of its last decay.
- A victim is the best of a few keys drawn at random (maxmemory-samples), as stock does it; the good candidates of
  earlier draws are kept in a small pool, which comes close to the exact order. volatile-ttl needs no draw: the expiry
  schedule is a heap.

The estimate speaks of this process: a Python object has another size than stock's, so a limit holds fewer keys here.

Source: https://redis.io/docs/latest/develop/reference/eviction/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from random import Random
from typing import Any, Protocol

from replicator.core.keyspace.database import NOTIFY_EVICTED, Database, Keyspace
from replicator.core.keyspace.sorted_set import SortedSet
from replicator.core.keyspace.stream import Stream
from replicator.core.keyspace.values import Hash, List, Set, Value

# What a node without a key counts as used, against the limit too: what stock's takes. The interpreter with our modules
# takes more (used_memory_rss tells it), but a limit is meant for the data, and was chosen with stock's figure in mind.
BASELINE = 1024 * 1024
# A bytes object beside its payload, and a key's share of the dictionary (entry and index at the usual fill).
_BYTES = 33
_ENTRY = 72
_EXPIRY = 150
# What an empty collection takes, and what each element takes beside its bytes.
_SHELL = {List: 700, Set: 200, Hash: 130, SortedSet: 160, Stream: 600}
_LINK = {List: 8, Set: 100, Hash: 72, SortedSet: 96}
# Elements that stand for all others when a change is accounted.
_SAMPLES = 3
_POOL = 16
# Evictions in one go: a lowered limit must not stop the server for long; the rest follows with the next calls.
MAX_EVICTIONS = 1000
# How often a random look at the expiry schedule may meet a stale entry before the oldest expiry is taken instead.
_DRAWS = 256
# How many keys of a database an estimate without a limit looks at.
_SURVEY = 64

_FIRST_COUNT = 5  # a new key's frequency: it must not be the next victim at once


class Settings(Protocol):
    """The configuration, as far as it is needed here: maxmemory, maxmemory-policy, maxmemory-samples, lfu-*."""

    def __getitem__(self, name: str, /) -> Any: ...


def _spread(items: Sequence[bytes], samples: int) -> Iterator[bytes]:
    """Up to so many elements at equal distances (0: all)."""
    count = len(items)
    if samples <= 0 or samples >= count:
        yield from items
    else:
        for at in range(samples):
            yield items[at * count // samples]


def _average(sizes: list[int], count: int) -> int:
    return sum(sizes) * count // len(sizes) if sizes else 0


def value_size(value: Value, samples: int = _SAMPLES) -> int:
    """About how many bytes the value takes; of a collection's elements only so many are looked at (0: all)."""
    if isinstance(value, bytes):
        return _BYTES + len(value)
    taken = samples if samples > 0 else None
    if isinstance(value, List):
        ends = value if taken is None else [value[0], value[-1], value[len(value) // 2]] if len(value) > 3 else value
        sizes = [len(item) + _BYTES for item in islice(ends, taken)]
    elif isinstance(value, Set):
        sizes = [len(item) + _BYTES for item in _spread(value.items, samples)]
    elif isinstance(value, Hash):
        sizes = [len(name) + len(content) + 2 * _BYTES for name, content in islice(value.items(), taken)]
    elif isinstance(value, SortedSet):
        sizes = [len(member) + _BYTES + 24 for member in islice(value.scores, taken)]
        if value.order is not None:
            return 200 + _SHELL[SortedSet] + _average([size + 70 for size in sizes], len(value)) + 96 * len(value)
    elif isinstance(value, Stream):
        entries = islice(value.entries(), taken)
        sizes = [sum(len(item) + _BYTES + 8 for item in fields) + 120 for _, fields in entries]
        return _SHELL[Stream] + _average(sizes, len(value))
    else:
        raise AssertionError(type(value))
    return _SHELL[type(value)] + _average(sizes, len(value)) + _LINK[type(value)] * len(value)


def key_size(db: Database, key: bytes, value: Value, samples: int = _SAMPLES) -> int:
    """About how many bytes the key with its value and expiry takes."""
    expiry = _EXPIRY if key in db.expires else 0
    return _BYTES + len(key) + _ENTRY + expiry + value_size(value, samples)


class Evictor:
    """The memory account of a keyspace and the choice of victims. Call `reconfigure` when its directives change."""

    def __init__(self, keyspace: Keyspace, config: Settings, random: Random) -> None:
        self.keyspace = keyspace
        self.config = config
        self.random = random
        self.baseline = BASELINE  # bytes in use before the first key; counts against the limit
        self.limit = 0  # maxmemory in force
        self.policy = "noeviction"
        self.counts_frequency = False  # an LFU policy is configured
        self.buffers = 0  # bytes in the buffers of clients, as they were last counted
        self.total = 0  # estimated bytes of all keys, while there is a limit
        self.peak = 0
        self._clocked = False  # accesses are being recorded
        # Keys of a database without a record were last used then, as far as anybody knows.
        self._idle_from = [keyspace.now_ms for _ in keyspace.databases]
        self._sizes: list[dict[bytes, int]] = [{} for _ in keyspace.databases]
        self._clocks: list[dict[bytes, int]] = [{} for _ in keyspace.databases]
        self._pool: list[tuple[int, int, bytes]] = []  # (score, database, key), the best victim last
        self._last: bytes | None = None  # the key object of the last recorded access
        keyspace.on_replaced.append(self.replaced)

    # -- switching on and off --------------------------------------------------------------------------------------

    def reconfigure(self) -> None:
        """Follow maxmemory and maxmemory-policy."""
        self.policy = self.config["maxmemory-policy"]
        frequency = self.policy.endswith("-lfu")
        if frequency != self.counts_frequency:
            self.counts_frequency = frequency
            for clocks in self._clocks:
                clocks.clear()
        if self.policy.endswith(("-lru", "-lfu")):
            self.watch_accesses()
        if self.config["maxmemory"]:
            self.enable()
        else:
            self.disable()

    def enable(self) -> None:
        """Account every change from now on, and record accesses if the policy needs them."""
        fresh = not self.limit
        self.limit = self.config["maxmemory"]
        self._pool.clear()
        if fresh:
            self.total = 0
            self._sizes = [{} for _ in self.keyspace.databases]
            for db in self.keyspace.databases:
                self._survey(db)
        self._install()

    def disable(self) -> None:
        """There is no limit any more: pay nothing (recording accesses goes on only for OBJECT IDLETIME and FREQ)."""
        self.limit = 0
        self.total = 0
        self._pool.clear()
        self._sizes = [{} for _ in self.keyspace.databases]
        self._install()

    def watch_accesses(self) -> None:
        """Record accesses from now on."""
        if not self._clocked:
            self._clocked = True
            self._idle_from = [self.keyspace.now_ms for _ in self.keyspace.databases]
            self._install()

    def _install(self) -> None:
        keyspace = self.keyspace
        keyspace.on_access = self._accessed if self._clocked else None
        keyspace.on_change = self._changed if self._clocked or self.limit else None
        for db in keyspace.databases:
            db.rehook()

    # -- what happens in the keyspace ------------------------------------------------------------------------------

    def _accessed(self, db: Database, key: bytes) -> None:
        clocks = self._clocks[db.index]
        if self.counts_frequency:
            clocks[key] = self._counted(clocks.get(key))
            self._last = key
        else:
            clocks[key] = self.keyspace.now_ms

    def _changed(self, db: Database, key: bytes) -> None:
        value = db.values.get(key)
        if self.limit:
            sizes = self._sizes[db.index]
            before = sizes.get(key, 0)
            if value is None:
                if before:
                    del sizes[key]
                    self.total -= before
            else:
                after = sizes[key] = key_size(db, key, value)
                self.total += after - before
        if self._clocked:
            if value is None:
                self._clocks[db.index].pop(key, None)
            elif not self.counts_frequency:
                self._clocks[db.index][key] = self.keyspace.now_ms
            elif key not in self._clocks[db.index]:
                self._clocks[db.index][key] = self._minute() << 8 | _FIRST_COUNT
            elif self._last is not key:
                # Not the second half of an access that is counted already: a blind write such as SET.
                self._accessed(db, key)
            self._last = None

    def replaced(self, db: Database) -> None:
        """All keys of the database went or came at once."""
        self._clocks[db.index] = {}
        self._idle_from[db.index] = self.keyspace.now_ms
        if self.limit:
            self._survey(db)

    def _survey(self, db: Database) -> None:
        self.total -= sum(self._sizes[db.index].values())
        sizes = self._sizes[db.index] = {key: key_size(db, key, value) for key, value in db.values.items()}
        self.total += sum(sizes.values())

    # -- clocks ----------------------------------------------------------------------------------------------------

    def _minute(self) -> int:
        return self.keyspace.now_ms // 60_000

    def _decayed(self, record: int) -> int:
        """The frequency counter as it is by now: one less for every lfu-decay-time minutes."""
        pace = self.config["lfu-decay-time"]
        count = record & 255
        return max(0, count - (self._minute() - (record >> 8)) // pace) if pace else count

    def _counted(self, record: int | None) -> int:
        """The record after one more access: the counter grows with a probability that falls as it grows."""
        count = _FIRST_COUNT if record is None else self._decayed(record)
        if count < 255:
            above = max(0, count - _FIRST_COUNT)
            if self.random.random() < 1.0 / (above * self.config["lfu-log-factor"] + 1):
                count += 1
        return self._minute() << 8 | count

    def idle_ms(self, db: Database, key: bytes) -> int:
        """Milliseconds since the key's last access, as far as it is known. From the first question on accesses are
        recorded."""
        self.watch_accesses()
        return self._idle_ms(db.index, key)

    def _idle_ms(self, index: int, key: bytes) -> int:
        return max(0, self.keyspace.now_ms - self._clocks[index].get(key, self._idle_from[index]))

    def frequency(self, db: Database, key: bytes) -> int:
        """The key's logarithmic access counter (0 to 255)."""
        return self._frequency(db.index, key)

    def _frequency(self, index: int, key: bytes) -> int:
        record = self._clocks[index].get(key)
        return _FIRST_COUNT if record is None else self._decayed(record)

    @property
    def tells_uses(self) -> bool:
        """Whether snapshots tell how keys were used: under an LRU or LFU policy."""
        return self.policy.endswith(("-lru", "-lfu"))

    def use_of(self, index: int, key: bytes) -> tuple[int | None, int | None]:
        """What a snapshot tells of a key: the seconds since its last access, or its access counter."""
        if self.counts_frequency:
            return None, self._frequency(index, key)
        return self._idle_ms(index, key) // 1000, None

    def adopt_uses(self, uses: Mapping[tuple[int, bytes], tuple[int | None, int | None]]) -> None:
        """How the keys of a snapshot were used; to be called when they are there."""
        databases = self.keyspace.databases
        for (index, key), (idle, count) in uses.items():
            if count is not None:
                self.set_frequency(databases[index], key, count)
            if idle is not None:
                self.set_idle(databases[index], key, 1000 * idle)

    def set_idle(self, db: Database, key: bytes, idle_ms: int) -> None:
        """Let the key have been idle so long (RESTORE IDLETIME, a snapshot's hint)."""
        if not self.counts_frequency:
            self.watch_accesses()
            self._clocks[db.index][key] = self.keyspace.now_ms - idle_ms

    def set_frequency(self, db: Database, key: bytes, count: int) -> None:
        """Let the key have this access counter (RESTORE FREQ, a snapshot's hint)."""
        if self._clocked and self.counts_frequency:
            self._clocks[db.index][key] = self._minute() << 8 | count

    # -- the account -----------------------------------------------------------------------------------------------

    def used_memory(self) -> int:
        """Estimated bytes in use: exact bookkeeping of estimates under a limit, an extrapolation without one."""
        used = self.baseline + self.buffers + (self.total if self.limit else self.data_size())
        self.peak = max(self.peak, used)
        return used

    def data_size(self) -> int:
        """An estimate of all data from a few keys at both ends of each database."""
        return sum(self.database_size(db) for db in self.keyspace.databases if db.values)

    def database_size(self, db: Database) -> int:
        """An estimate of one database from a few keys at both ends of its dictionary."""
        values = db.values
        looked_at = dict.fromkeys(islice(values, _SURVEY))
        looked_at.update(dict.fromkeys(islice(reversed(values), _SURVEY)))
        return _average([key_size(db, key, values[key]) for key in looked_at], len(values))

    def within_limit(self) -> bool:
        """Whether the limit holds."""
        return not self.limit or self.total + self.baseline + self.buffers <= self.limit

    def make_room(self) -> bool:
        """Evict until the limit holds again. False: it does not hold and nothing may be evicted.

        At most MAX_EVICTIONS keys go in one call; True then means that it is getting better.
        """
        if self.within_limit():
            return True
        if self.policy == "noeviction":
            return False
        evicted = 0
        while not self.within_limit() and evicted < MAX_EVICTIONS:
            victim = self._victim()
            if victim is None:
                return False
            self._evict(*victim)
            evicted += 1
        return True

    def _evict(self, db: Database, key: bytes) -> None:
        keyspace = self.keyspace
        db.remove(key)
        keyspace.evicted += 1
        keyspace.recorded.append((db.index, [keyspace.delete_name, key]))
        db.tell(key)
        db.notify(NOTIFY_EVICTED, b"evicted", key)

    # -- the choice ------------------------------------------------------------------------------------------------

    def _victim(self) -> tuple[Database, bytes] | None:
        policy = self.policy
        databases = self.keyspace.databases
        if policy == "volatile-ttl":
            soonest = min(
                ((when, db.index) for db in databases if (when := db.next_expiry()) is not None),
                default=None,
            )
            if soonest is None:
                return None
            db = databases[soonest[1]]
            return db, db.schedule[0][1]
        volatile = policy.startswith("volatile-")
        if policy.endswith("-random"):
            return self._any(volatile)
        return self._from_pool(volatile)

    def _any(self, volatile: bool) -> tuple[Database, bytes] | None:
        """Any key, each with the same chance (of all databases together)."""
        candidates = [db for db in self.keyspace.databases if (db.expires if volatile else db.values)]
        if not candidates:
            return None
        weights = [len(db.expires if volatile else db.values) for db in candidates]
        db = self.random.choices(candidates, weights)[0] if len(candidates) > 1 else candidates[0]
        return db, self._draw(db, volatile)

    def _draw(self, db: Database, volatile: bool) -> bytes:
        if not volatile:
            return db.indexed_keys().choose(self.random)
        # Every expiry has an entry in the schedule, which has at most twice as many stale ones (or 64) as live ones.
        schedule = db.schedule
        for _ in range(_DRAWS):
            when, key = schedule[int(self.random.random() * len(schedule))]
            if db.expires.get(key) == when:
                return key
        return next(iter(db.expires))

    def _score(self, db: Database, key: bytes) -> int:
        """How good a victim the key is; more is better."""
        if self.counts_frequency:
            return 255 - self.frequency(db, key)
        return self.keyspace.now_ms - self._clocks[db.index].get(key, self._idle_from[db.index])

    def _from_pool(self, volatile: bool) -> tuple[Database, bytes] | None:
        pool = self._pool
        databases = self.keyspace.databases
        known = {(index, key) for _, index, key in pool}
        for _ in range(max(1, self.config["maxmemory-samples"])):
            drawn = self._any(volatile)
            if drawn is None:
                return None
            db, key = drawn
            if (db.index, key) not in known:
                known.add((db.index, key))
                pool.append((self._score(db, key), db.index, key))
        pool.sort()
        del pool[:-_POOL]
        while pool:
            score, index, key = pool.pop()
            db = databases[index]
            if key in (db.expires if volatile else db.values) and self._score(db, key) >= score:
                return db, key
        return self._any(volatile)
