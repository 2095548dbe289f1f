"""Lists answer, tell and replicate as stock servers do: the same random commands to both."""

from __future__ import annotations

from random import Random

import pytest

from tests.support.blocked_world import BlockedWorld, Steps
from tests.support.collections_commands import ListCommands
from tests.support.differential_runs import (
    ENGINES,
    LONG,
    against_others,
    against_redis_7,
    effects_alone_rebuild_the_data,
)
from tests.support.observed import observed


@pytest.mark.skipif("redis7" not in ENGINES, reason="no Redis 7.0 here")
def test_random_list_commands_get_the_replies_events_effects_and_data_of_redis_7() -> None:
    against_redis_7(ListCommands, 5000, 1)


@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine != "redis7"])
def test_random_list_commands_get_the_replies_events_and_data_of_other_stock_servers(engine: str) -> None:
    against_others(engine, ListCommands, 1500, 7000)


def test_the_effects_of_random_list_commands_alone_rebuild_the_data() -> None:
    effects_alone_rebuild_the_data(ListCommands, 10)


@pytest.mark.skipif("redis7" not in ENGINES, reason="no Redis 7.0 here")
def test_clients_that_wait_for_lists_are_served_in_the_order_of_redis_7() -> None:
    with observed("redis7") as watch:
        for seed in range(4000 if LONG else 60):
            world = BlockedWorld(watch, clients=6)
            steps = Steps(Random(seed))
            try:
                for _ in range(50):
                    steps.step(world)
                world.check_rest()
            finally:
                world.close()
