"""A run is a function of its seed: whatever the hash seed, the process, and what ran before in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from replicator.search.run import prepared, scripts_of, try_seed
from tests.simulation.hashes import SHORT

ROOT = Path(__file__).parents[2]
SEEDS = 200


def _process(hash_seed: str, stride: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.simulation.hashes", "0", str(SEEDS), str(stride)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )  # fmt: skip


def test_two_processes_with_other_hash_seeds_and_orders_leave_the_same_traces() -> None:
    runs = [_process("1", 1), _process("27182", -1)]
    first, second = (run.communicate(timeout=120)[0].splitlines() for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    assert len(first) == SEEDS
    assert first == second
    assert len({line.split()[1] for line in first}) == SEEDS, "every seed has a trace of its own"


def test_the_same_seed_again_in_this_process_leaves_the_same_trace() -> None:
    ((variant, script),) = scripts_of(SHORT, None)
    traces = {try_seed(prepared(script, 5), "short", variant, 5).trace_hash for _ in range(3)}
    assert len(traces) == 1
