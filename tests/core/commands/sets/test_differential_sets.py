"""Sets answer, tell and replicate as stock servers do: the same random commands to both."""

from __future__ import annotations

import pytest

from tests.support.collections_commands import IntegerSetCommands, SetCommands
from tests.support.differential_runs import (
    ENGINES,
    against_others,
    against_redis_7,
    effects_alone_rebuild_the_data,
)


@pytest.mark.skipif("redis7" not in ENGINES, reason="no Redis 7.0 here")
def test_random_set_commands_get_the_replies_events_effects_and_data_of_redis_7() -> None:
    against_redis_7(SetCommands, 5000, 1)


@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine != "redis7"])
def test_random_set_commands_get_the_replies_events_and_data_of_other_stock_servers(engine: str) -> None:
    against_others(engine, SetCommands, 1500, 7000)


def test_the_effects_of_random_set_commands_alone_rebuild_the_data() -> None:
    effects_alone_rebuild_the_data(SetCommands, 10)


@pytest.mark.skipif("redis7" not in ENGINES, reason="no Redis 7.0 here")
def test_sets_of_integers_are_shown_in_the_order_of_redis_7() -> None:
    against_redis_7(IntegerSetCommands, 2000, 50_000)
