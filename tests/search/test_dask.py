"""Seeds mapped over a Dask cluster find what they find here."""

from __future__ import annotations

from typing import Any

import distributed
import pytest

from replicator.search.workers import AHEAD, Tasks, play_all, play_on_dask
from tests.simulation.hashes import SHORT

# Its own clean-up of loops and sockets is not ours to hold to our rule about warnings.
pytestmark = pytest.mark.filterwarnings("ignore")


class Watched(Tasks):
    """Counts how many tasks were handed out."""

    taken = 0

    def __getitem__(self, index: Any) -> Any:
        task = super().__getitem__(index)
        self.taken += 1
        return task


def test_a_cluster_finds_what_one_process_finds() -> None:
    tasks = Watched([str(SHORT)], None, 0, 84)
    alone = {seed.seed: seed.trace_hash for batch in play_all(tasks, 1) for seed in batch}
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        room = AHEAD * 2
        assert len(tasks) == 11 > room
        tasks.taken = 0
        found: dict[int, tuple[str, str]] = {}
        played = play_on_dask(tasks, cluster.scheduler_address, {str(SHORT): SHORT.read_text()})
        for results, batch in enumerate(played):
            assert tasks.taken - results <= room
            found |= {seed.seed: (seed.trace_hash, seed.file) for seed in batch}
        assert tasks.taken == len(tasks)
    assert found == {seed: (trace, str(SHORT)) for seed, trace in alone.items()}
