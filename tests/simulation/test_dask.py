"""Seeds mapped over a Dask cluster find what they find here."""

from __future__ import annotations

import distributed
import pytest

from replicator.search.workers import play_all, play_on_dask, tasks_of
from tests.simulation.hashes import SHORT

# Its own clean-up of loops and sockets is not ours to hold to our rule about warnings.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_cluster_finds_what_one_process_finds() -> None:
    tasks = tasks_of([str(SHORT)], None, 0, 12)
    alone = {seed.seed: seed.trace_hash for batch in play_all(tasks, 1) for seed in batch}
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        found = {
            seed.seed: (seed.trace_hash, seed.file)
            for batch in play_on_dask(tasks, cluster.scheduler_address, {str(SHORT): SHORT.read_text()})
            for seed in batch
        }
    assert found == {seed: (trace, str(SHORT)) for seed, trace in alone.items()}
