"""The simulated driver passes the suite that the live one passes, with whole and with short reads."""

from __future__ import annotations

import pytest

from tests.conformance import streams
from tests.conformance.streams import Check
from tests.conformance.suite import checks_for, name_of
from tests.support.simulated_world import SimWorld


@pytest.mark.parametrize("check", checks_for(SimWorld.can), ids=name_of)
def test_the_simulated_driver(check: Check) -> None:
    check(SimWorld())  # type: ignore[arg-type] # its hosts are SimHosts


@pytest.mark.parametrize("seed", range(3))
def test_bytes_arrive_in_order_however_reads_are_split(seed: int) -> None:
    for check in (
        streams.bytes_come_back_whole_and_in_order,
        streams.a_pipeline_larger_than_the_sockets_is_answered_to_a_client_that_writes_before_it_reads,
    ):
        check(SimWorld(seed, short_reads=0.5))  # type: ignore[arg-type]
