"""Prints the trace hash of each seed of a range: run in a process of its own, with a PYTHONHASHSEED of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from replicator.search.run import prepared, scripts_of, try_seed

SHORT = Path(__file__).parent / "short.toml"


def main() -> None:
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
