"""The table of mutants of the cluster's room: each breaks one rule, and seeds must find it.

    python -m tests.cluster.bus_mutations [SEEDS]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from replicator.core.cluster import nodes_conf
from replicator.core.cluster.bus import Bus
from replicator.core.cluster.claims import Claims
from replicator.core.cluster.elections import Elections
from replicator.core.cluster.failures import Failures
from replicator.core.cluster.station import Station
from replicator.core.cluster.topology import Topology
from tests.support.bus_world import FakeHost, play

Patch = tuple[Any, str, Any]
_REFUSAL = Elections._refusal
_READ = nodes_conf.read
_TAKE = Claims.take


def _votes_twice(self: Elections, message: Any, sender: Any) -> str:
    self.station.topology.last_vote_epoch = 0
    if sender.primary is not None:
        sender.primary.voted_ms = 0
    return _REFUSAL(self, message, sender)


def _votes_for_the_living(self: Elections, message: Any, sender: Any) -> str:
    message.message_flags |= 2
    return _REFUSAL(self, message, sender)


def _forgets_its_vote(text: str, now: Any) -> Topology:
    topology = _READ(text, now)
    topology.last_vote_epoch = 0
    return topology


def _promoted_without_an_epoch(self: Elections) -> None:
    self.take_over()


def _late(self: Station) -> None:
    self.save_late()


def _believes_every_claim(self: Claims, claimant: Any, epoch: int, slots: int) -> None:
    _TAKE(self, claimant, 1 << 60, slots)


def _wins_with_one_vote(self: Elections, message: Any, sender: Any) -> None:
    self.votes.add(sender.id)
    if self.asked:
        self._won()


def _nothing(*arguments: Any, **named: Any) -> None:
    pass


MUTANTS: dict[str, list[Patch]] = {
    "a primary votes twice in an epoch": [(Elections, "_refusal", _votes_twice)],
    "lastVoteEpoch is forgotten at a restart": [(nodes_conf, "read", _forgets_its_vote)],
    "a vote is spoken before it is durable": [(Station, "save", _late)],
    "a promotion keeps the old configuration epoch": [(Elections, "_won", _promoted_without_an_epoch)],
    "one vote is enough": [(Elections, "got_vote", _wins_with_one_vote)],
    "one opinion is enough for FAIL": [(Topology, "quorum", property(lambda self: 1))],
    "every claim is believed, whatever its epoch": [(Claims, "take", _believes_every_claim)],
    "claims are not believed": [(Claims, "take", _nothing)],
    "keys of a lost slot are kept": [(FakeHost, "delete_keys", _nothing)],
    "equal configuration epochs are left alone": [(Claims, "collide", _nothing)],
    "a stale claimant is not told": [(Claims, "stale_owner", lambda self, message, claimant: None),
                                     (Bus, "_update", _nothing)],
    "FAIL never ends": [(Failures, "_absolve", _nothing)],
    "PFAIL never ends": [(Failures, "answered", lambda self, node: self._absolve(node) if node.failed else None)],
    "nobody is suspected": [(Failures, "suspect", _nothing)],
    "a loser does not follow the winner": [(Claims, "follow", _nothing)],
    "replicas never ask for votes": [(Elections, "_ask", _nothing)],
}  # fmt: skip


# Those that show only where two replicas of one primary stand for election.
WITH_RIVALS = ("a primary votes twice in an epoch", "lastVoteEpoch is forgotten at a restart")


@contextmanager
def applied(patches: list[Patch]) -> Iterator[None]:
    """The code with these attributes replaced."""
    before = [(owner, name, owner.__dict__[name]) for owner, name, _ in patches]
    try:
        for owner, name, value in patches:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def found_by(name: str, seeds: range, tell: Callable[[str], None] = lambda text: None) -> int | None:
    """The first of the seeds that finds the mutant, None if none does."""
    with applied(MUTANTS[name]):
        for seed in seeds:
            try:
                play(seed, replicas=2 if name in WITH_RIVALS else 1, duration_ms=40_000)
            except AssertionError as problem:
                tell(f"{name}: seed {seed}: {str(problem)[:90]}")
                return seed
    return None


def main(arguments: list[str]) -> int:
    """Try all mutants; the exit code says whether all were found."""
    seeds = range(int(arguments[0]) if arguments else 60)
    missed = [name for name in MUTANTS if found_by(name, seeds, print) is None]
    for name in missed:
        print(f"NOT FOUND in {len(seeds)} seeds: {name}")
    print(f"{len(MUTANTS) - len(missed)} of {len(MUTANTS)} mutants found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
