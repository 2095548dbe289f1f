"""Clusters of buses in virtual time: safe at every step under faults, of one mind after healing."""

from __future__ import annotations

import os

import pytest

from tests.cluster.bus_mutations import MUTANTS, found_by
from tests.cluster.gossip_figures import measure
from tests.support.bus_world import BusWorld, play

LONG = "REPLICATOR_LONG" in os.environ
SEEDS = range(5_000 if LONG else 4)


def test_seeds_of_a_three_by_two_cluster_stay_safe_and_converge() -> None:
    counts: dict[str, int] = {}
    for seed in SEEDS:
        for name, count in play(seed).counts.items():
            counts[name] = counts.get(name, 0) + count
    for name in ("votes", "promotions", "fails"):  # a fault that never came to anything has tried nothing
        assert counts[name] > len(SEEDS), counts


def test_a_seed_plays_the_same_twice() -> None:
    one, two = play(3, duration_ms=20_000), play(3, duration_ms=20_000)
    assert one.log == two.log
    assert one.views() == two.views()


def test_a_minority_stops_to_serve_and_the_majority_goes_on_without_it() -> None:
    world = BusWorld(5, 3, 1)
    alone = world.members[0]
    world.split({0})
    world.run_until(lambda: not alone.topology.ok, 6_000)
    others = world.members[1:]
    heir = world.members[3]
    world.run_until(lambda: heir.topology.me.is_primary, 20_000)
    world.run_until(lambda: all(member.topology.ok for member in others), 20_000)
    world.heal()
    world.run_until(lambda: alone.topology.me.primary is not None, 20_000)
    assert alone.topology.me.primary is not None
    assert alone.topology.me.primary.id == heir.topology.me.id
    world.check_converged()


def test_a_primary_whose_replicas_die_is_given_one_by_a_primary_that_has_two() -> None:
    world = BusWorld(6, 3, 2)
    orphan = world.members[2].topology.me
    for number in (5, 8):
        world.kill(number)
    world.run_until(lambda: not orphan.working_replicas(), 10_000)
    took = world.run_until(lambda: bool(orphan.working_replicas()), 30_000)
    assert took >= 5_000  # one that comes back by itself would be better
    [given] = [node for node in orphan.replicas if not node.failing]
    assert given.id in {member.topology.me.id for member in world.members if member.number not in (5, 8)}


def test_manual_failover_hands_over_at_precisely_the_primarys_offset() -> None:
    world = BusWorld(7, 3, 1)
    primary, replica = world.members[0], world.members[3]
    replica.act(lambda: replica.bus.elections.begin_manual(""))
    world.run_until(lambda: replica.topology.me.is_primary, 6_000)
    promoted_at = next(when for when, number, name, _ in world.log if name == "cluster.promoted" and number == 3)
    assert primary.host.data_offset <= replica.host.data_offset
    assert promoted_at <= world.now_ms
    world.check_converged()


def test_what_gossip_costs_and_how_soon_a_failure_is_known_in_a_cluster_of_ten() -> None:
    sent, first, last = measure(10)
    assert 3_000 < sent < 10_000
    assert 15_000 <= first <= last <= 20_000


@pytest.mark.parametrize("name", ["one opinion is enough for FAIL", "claims are not believed"])
def test_the_monitors_find_what_they_are_there_for(name: str) -> None:
    assert found_by(name, range(6)) is not None


@pytest.mark.skipif(not LONG, reason="a long search")
@pytest.mark.parametrize("name", list(MUTANTS))
def test_every_mutant_is_found(name: str) -> None:
    assert found_by(name, range(200)) is not None
