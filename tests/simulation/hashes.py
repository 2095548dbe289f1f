"""What the simulation makes of the scenario files, as one line a run: equal before and after a change of structure.

    PYTHONHASHSEED=0 python -m tests.simulation.hashes --library > before.txt     every file, variant and seed 0-9
    python -m tests.simulation.hashes scenarios/primary-crash.toml                 one file
"""

from __future__ import annotations

import sys
from pathlib import Path

from replicator.search.run import prepared, scripts_of, try_seed

SEEDS = range(10)
LIBRARY = Path(__file__).parents[2] / "scenarios"


def lines(file: Path) -> list[str]:
    """File, variant, seed, hash of the trace, and how many objections there were."""
    found = []
    for variant, script in scripts_of(file, None):
        for seed in SEEDS:
            run = try_seed(prepared(script, seed), str(file), variant, seed)
            found.append(f"{file.name} {variant} {seed} {run.trace_hash} {len(run.objections)}")
    return found


def main() -> None:
    """See the module's head."""
    files = sorted(LIBRARY.glob("*.toml")) if sys.argv[1:] == ["--library"] else [Path(name) for name in sys.argv[1:]]
    for file in files:
        print("\n".join(lines(file)), flush=True)


if __name__ == "__main__":
    main()
