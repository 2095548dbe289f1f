"""What all parts of the bus work on, and what they ask of the node around them."""

from __future__ import annotations

from random import Random
from typing import Protocol

from replicator.core.cluster.topology import Topology
from replicator.core.effects import Announce, Effect, Level, Log
from replicator.core.now import Now
from replicator.core.wire.bus import PUBLISHSHARD


class Settings(Protocol):
    """The configuration as the bus reads it: directive name -> typed value."""

    def __getitem__(self, name: str) -> object: ...


class Host(Protocol):
    """What the bus needs of its node."""

    def allocate_connection(self) -> int:
        """A fresh negative connection number."""

    def follow(self, host: str, port: int) -> None:
        """Replicate from there from now on."""

    def lead(self) -> None:
        """Replicate from nobody: the data is this node's own."""

    def followed(self) -> tuple[str, int] | None:
        """Whom the node replicates from; None for nobody."""

    def offset(self) -> int:
        """The replication offset."""

    def data_age_ms(self) -> int | None:
        """For how long nothing has come from the primary; None if nothing ever did."""

    def count_keys(self, slot: int) -> int:
        """How many keys of that slot there are."""

    def list_keys(self, slot: int, count: int) -> list[bytes]:
        """Some keys of that slot, at most so many."""

    def delete_keys(self, slots: int) -> None:
        """Delete the keys of these slots: they belong to another node now."""

    def flush_all(self) -> None:
        """Delete all keys."""

    def has_data(self) -> bool:
        """Whether there is any key."""

    def pause_writes(self, until_ms: int) -> None:
        """Let clients that write wait until then (mono ms)."""

    def resume_writes(self) -> None:
        """Let them go on."""

    def publish(self, channel: bytes, message: bytes, shard: bool) -> None:
        """A message that a client of another node published."""

    def slots_changed(self) -> None:
        """Who serves which slot, or whether the cluster serves at all, may be different from before."""

    def fail(self, why: str) -> None:
        """End the process: nothing that it would say could be relied on."""


class Station:
    """The topology with what is needed to act on it. `now` is that of the event being handled."""

    def __init__(self, topology: Topology, settings: Settings, chance: Random, host: Host) -> None:
        self.topology = topology
        self.settings = settings
        self.chance = chance
        self.host = host
        self.now = Now(0, 0)
        self.effects: list[Effect] = []  # of this turn; what is to be durable goes before them
        self.unsaved = False  # nodes.conf must be written before anything is said
        self.promised = False  # and it must be durable
        self.late = False  # it must be written within a tick, or before a key leaves
        self.dated = False  # what was written last must become durable within a second
        self.changed = False  # the state of the cluster must be looked at
        self.sent = [0] * (PUBLISHSHARD + 1)  # messages by type
        self.received = [0] * (PUBLISHSHARD + 1)

    @property
    def node_timeout_ms(self) -> int:
        """cluster-node-timeout."""
        return self.number("cluster-node-timeout")

    def number(self, name: str) -> int:
        """A directive that is a number."""
        value = self.settings[name]
        assert isinstance(value, int)
        return value

    def text(self, name: str) -> str:
        """A directive that is a text."""
        return str(self.settings[name] or "")

    def is_on(self, name: str) -> bool:
        """A directive that is yes or no."""
        return bool(self.settings[name])

    def emit(self, effect: Effect) -> None:
        """Something to be done, behind what must be durable."""
        self.effects.append(effect)

    def log(self, level: Level, message: str) -> None:
        """One line for the log."""
        self.effects.append(Log(level, message))

    def announce(self, name: str, *fields: tuple[str, str | int | None]) -> None:
        """A domain event."""
        self.effects.append(Announce(name, fields))

    def save(self) -> None:
        """What was decided is written down, durably, before it is spoken: a vote, an epoch, a role."""
        self.unsaved = self.promised = True
        self.changed = True

    def save_soon(self) -> None:
        """What was learned, or ordered and can be ordered again, is written down before it is spoken; that it outlives
        the machine, and not only this process, is seen to within a second."""
        self.unsaved = self.dated = True
        self.changed = True

    def save_late(self) -> None:
        """What the others would teach us again, or what matters only once a key has moved, is written down within a
        tick."""
        self.late = self.dated = True
        self.changed = True

    def catch_up(self) -> None:
        """Write down what `save_late` has put off."""
        if self.late:
            self.save_soon()

    def random_id(self) -> str:
        """Forty random hex digits."""
        return f"{self.chance.getrandbits(160):040x}"
