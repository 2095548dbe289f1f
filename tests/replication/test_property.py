"""Same id and same offset, same data: after every step of random writes, cuts, promotions and restarts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random

import pytest

from tests.interop.mixture import mixture
from tests.support.replication_world import Member, World

LONG = bool(os.environ.get("REPLICATOR_LONG"))
SEEDS = range(400 if LONG else 10)
STEPS = 250


def volatile(chance: Random) -> list[bytes]:
    """A key that lives for a moment."""
    key = b"v%d" % chance.randrange(5)
    return chance.choice(
        [
            [b"SET", key, b"x", b"PX", b"%d" % chance.randrange(1, 3000)],
            [b"PEXPIRE", key, b"%d" % chance.randrange(-5, 3000)],
            [b"INCR", key],
            [b"GET", key],
            [b"GETEX", key, b"PX", b"10"],
        ]
    )


class Story:
    """A random run of a world."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(f"{seed}/story")
        self.world = World(seed, self.chance.choice((2, 3, 3)))
        self.writes = 0
        self.leaderless = 0  # writes that found no primary: all follow somebody, load, or are down
        self.world.start(
            ("repl-diskless-sync-delay", "0"),
            ("repl-backlog-size", self.chance.choice(("16kb", "64kb", "1mb"))),
            ("repl-diskless-sync", self.chance.choice(("yes", "no"))),
            ("repl-diskless-load", self.chance.choice(("disabled", "on-empty-db", "swapdb"))),
            ("key-load-delay", self.chance.choice(("0", "0", "20000"))),
            ("repl-timeout", self.chance.choice(("60", "5"))),
            ("repl-backlog-ttl", self.chance.choice(("3600", "3"))),
            ("save", '""'),
            ("enable-debug-command", "yes"),
        )

    def write(self) -> None:
        primaries = [m for m in self.world.members if m.running and m.node.ready and not m.node.replica.active]
        if not primaries:
            self.leaderless += 1
            return
        self.writes += 1
        commands = list(mixture(self.chance.randrange(1 << 30), self.chance.randrange(1, 15)))
        commands += [volatile(self.chance) for _ in range(3)]
        self.chance.choice(primaries).pipeline(commands)

    def ready(self) -> list[Member]:
        return [m for m in self.world.members if m.running and m.node.ready]

    def repoint(self) -> None:
        ready = self.ready()
        if len(ready) > 1:
            one, other = self.chance.sample(ready, 2)
            one.call("REPLICAOF", "127.0.0.1", other.port)

    def promote(self) -> None:
        ready = self.ready()
        if ready:
            self.chance.choice(ready).call("REPLICAOF", "NO", "ONE")

    def fail_over(self) -> None:
        ready = self.ready()
        if ready:
            member = self.chance.choice(ready)
            member.call(*self.chance.choice((("FAILOVER",), ("FAILOVER", "TIMEOUT", "500"), ("FAILOVER", "ABORT"))))

    def save(self) -> None:
        ready = self.ready()
        if ready:
            self.chance.choice(ready).call("BGSAVE")

    def change_id(self) -> None:
        ready = [m for m in self.ready() if not m.node.replica.active]
        if ready:
            self.chance.choice(ready).call("DEBUG", "CHANGE-REPL-ID")

    def restart(self) -> None:
        """Ended in good order, with or without a save, or killed; then started again from whatever dump there is."""
        running = [m for m in self.world.members if m.running]
        if not running:
            return
        member = self.chance.choice(running)
        primary = member.node.replica.primary_host and str(member.node.replica.primary_port)
        how = self.chance.random()
        if member.node.ready and how < 0.7:
            member.call("SHUTDOWN", "SAVE" if how < 0.5 else "NOSAVE", "NOW")
        member.stop()
        member.directives = [pair for pair in member.directives if pair[0] != "replicaof"]
        if primary and self.chance.random() < 0.9:
            member.directives.append(("replicaof", f"127.0.0.1 {primary}"))
        member.start()

    def grow(self) -> None:
        ready = self.ready()
        if ready:
            size = self.chance.choice(("16kb", "20kb", "1mb"))
            self.chance.choice(ready).call("CONFIG", "SET", "repl-backlog-size", size)

    def step(self) -> None:
        chance = self.chance
        roll = chance.random()
        if roll < 0.35:
            self.write()
        elif roll < 0.75:
            for _ in range(chance.randrange(1, 60)):
                self.world.step()
        elif roll < 0.88:
            self.world.pass_time(chance.choice((1, 50, 1000, 1000, 7000)))
        else:
            actions = [self.world.cut, self.repoint, self.promote, self.fail_over, self.save, self.restart, self.grow]
            weights = [4, 4, 2, 4, 1, 2, 1]
            chance.choices([*actions, self.change_id], [*weights, 1])[0]()
        self.world.check()

    def obey(self, member: Member, host: str, port: str | int) -> None:
        """REPLICAOF, repeated while the member loads."""
        for _ in range(30):
            if "OK" in str(member.call("REPLICAOF", host, port)):
                return
            self.world.settle(1000)
        raise AssertionError("the member does not obey")

    def finish(self) -> None:
        """Everyone follows the first: all must come to the same data."""
        first, *others = self.world.members
        self.world.settle(3000)
        for member in self.world.members:
            member.call("FAILOVER", "ABORT")
        self.obey(first, "NO", "ONE")
        for other in others:
            self.obey(other, "127.0.0.1", first.port)
        self.world.settle(10_000)
        while self.world.cut():  # a new id (DEBUG CHANGE-REPL-ID) is learnt with the next handshake
            continue
        self.world.settle(3_000)
        self.write()
        first.call("SELECT", 0)
        first.call("SET", "last", "word")
        self.world.settle(3_000)
        for other in others:
            assert other.node.replica.up, other.log[-10:]
            assert other.node.history.id == first.node.history.id
            assert other.node.outgoing.offset() == first.node.outgoing.offset()
            assert other.pipeline([(b"SELECT", b"0"), (b"GET", b"last")])[1] == b"word"


@pytest.fixture(scope="module")
def written() -> Iterator[list[int]]:
    """How much each story wrote. One alone may be without a primary for long (a circle of replicas, until somebody is
    promoted); together they must have written, or they have shown nothing.
    """
    counts: list[int] = []
    yield counts
    assert len(counts) < 10 or sum(counts) / len(counts) > STEPS / 5, counts


@pytest.mark.parametrize("seed", SEEDS)
def test_same_id_and_same_offset_is_the_same_data(seed: int, written: list[int]) -> None:
    story = Story(seed)
    for _ in range(STEPS):
        story.step()
    written.append(story.writes)
    assert story.writes + story.leaderless > STEPS / 5
    story.finish()
