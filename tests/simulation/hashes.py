"""Prints the trace hash of each seed of a range: run in a process of its own, with a PYTHONHASHSEED of its own.

    PYTHONHASHSEED=0 python -m tests.simulation.hashes --library     every scenario file, variant and seed 0-9: equal
                                                                     before and after a change of structure
"""

from __future__ import annotations

import sys
from pathlib import Path

from replicator.search.run import prepared, scripts_of, try_seed

SHORT = Path(__file__).parent / "short.toml"


def library() -> None:
    """File, variant, seed, hash of the trace, and how many objections there were."""
    for file in sorted((Path(__file__).parents[2] / "scenarios").glob("*.toml")):
        for variant, script in scripts_of(file, None):
            for seed in range(10):
                run = try_seed(prepared(script, seed), str(file), variant, seed)
                print(file.name, variant, seed, run.trace_hash, len(run.objections), flush=True)


def main() -> None:
    if sys.argv[1:] == ["--library"]:
        library()
        return
    begin, end, stride = map(int, sys.argv[1:4])
    ((variant, script),) = scripts_of(SHORT, None)
    order = list(range(begin, end))
    if stride < 0:
        order.reverse()  # what ran before in this process does not matter either
    found = {}
    for seed in order:
        result = try_seed(prepared(script, seed), str(SHORT), variant, seed)
        found[seed] = f"{result.trace_hash} {len(result.objections)}"
    for seed in range(begin, end):
        print(seed, found[seed])


if __name__ == "__main__":
    main()
