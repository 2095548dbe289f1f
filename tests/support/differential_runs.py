"""Long streams of random commands against stock servers, and replayed effects; used by one file per family."""

from __future__ import annotations

import os
from random import Random

from replicator.core.keyspace.digest import digest_keyspace
from tests.support.collections_commands import Commands, IntegerSetCommands
from tests.support.harness import Harness
from tests.support.observed import answer_of, exact, observed, replay, unordered
from tests.support.stock import binary

ENGINES = [engine for engine in ("redis6", "redis7", "valkey9") if binary(engine)]
LONG = bool(os.environ.get("REPLICATOR_LONG"))
BATCH = 500


def against_redis_7(family: type[Commands], commands: int, first_seed: int) -> None:
    """Replies, keyspace events, effects and digests of so many commands (half of them in RESP3) are equal."""
    normalize = exact if family is IntegerSetCommands else unordered
    with observed("redis7") as watch:
        for at in range(max(2, (200_000 if LONG else commands) // BATCH)):
            stream = family(Random(first_seed + at)).take(BATCH)
            watch.compare(stream, Harness(), normalize, protocol=2 + at % 2)


def against_others(engine: str, family: type[Commands], commands: int, first_seed: int) -> None:
    """Replies, events and digests of commands that all versions answer alike are equal."""
    with observed(engine, effects=False) as watch:
        for at in range((20 if LONG else 1) * commands // BATCH):
            watch.compare(family(Random(first_seed + at), True).take(BATCH), Harness(), unordered)


def effects_alone_rebuild_the_data(family: type[Commands], rounds: int) -> None:
    """A node that is told only the effects of random commands holds the same data."""
    for seed in range(rounds * (20 if LONG else 1)):
        node = Harness(seed)
        for argv in family(Random(seed)).take(300):
            answer_of(node, argv)
        twin = replay(node.drain_effects())
        assert digest_keyspace(twin.keyspace) == digest_keyspace(node.keyspace)
        assert [*twin.keyspace.databases[0].values] and not twin.keyspace.databases[1].values
