"""How many failovers a minute: a primary, two replicas and four clients with ten writes a second each, a crash of the
primary and a promotion, 30 virtual seconds, the whole player and all checks included. And the loss check of a
million writes.

    python -m benchmarks.simulation [SEEDS]

Aims (a core of this class of machine): 15 seeds, 500 virtual seconds, 50,000 events a CPU second; the check in 10 s.
"""

from __future__ import annotations

import sys
import time

from replicator.scenario.script.load import loads
from replicator.scenario.verdict.durability import check
from replicator.scenario.verdict.history import History, ReadBack, Status
from replicator.search.workers import play_seeds

WARM_UP = 8

SCENARIO = """
title = "crash and promotion"
about = "what the benchmark plays"
duration = "30s"
[topology]
replicas = 2
[workload]
clients = 4
rate = 10
[[steps]]
at = "10s"
kill = "a"
[[steps]]
when = { down = "a" }
promote = "best"
[[steps]]
repoint = "others"
[[expect]]
failovers = 1
[[expect]]
consistent = true
"""


def seeds_a_second(count: int) -> dict[str, float]:
    """Plays so many seeds as a worker of the search does; figures a CPU second."""
    _, scripts = loads(SCENARIO)
    # Warm, as a worker is for all but its first second: imports, tables, patterns, and the interpreter's own learning.
    play_seeds(scripts, "benchmark", range(-WARM_UP, 0))
    began = time.process_time()
    played = play_seeds(scripts, "benchmark", range(1, count + 1))
    seconds = time.process_time() - began
    for found in played:
        assert found.ok, found.objections
    return {
        "seeds_a_second": count / seconds,
        "virtual_seconds_a_second": sum(found.virtual_ms for found in played) / 1000 / seconds,
        "events_a_second": sum(found.events for found in played) / seconds,
    }


def million_writes() -> dict[str, float]:
    """Checks a history of a million acknowledged writes, a few hundred of them lost."""
    history = History()
    registers: dict[str, str | None] = {}
    lists: dict[str, list[str]] = {f"list:{number}": [] for number in range(4)}
    for number in range(500_000):
        client, value = f"app{number % 50}", f"app{number % 50}.{number}"
        key = f"reg:{client}:{number}"
        history.end(history.invoke(client, "set", key, value, "a", number // 100), Status.OK, number // 100 + 1)
        registers[key] = None if number % 1009 == 0 else value
        name = f"list:{number % 4}"
        history.end(history.invoke(client, "rpush", name, value, "a", number // 100), Status.OK, number // 100 + 1)
        lists[name].append(value)
    history.close(10_000, [ReadBack("a", registers, lists)], "a")
    began = time.process_time()
    verdict = check(history)
    seconds = time.process_time() - began
    assert verdict.acknowledged == 1_000_000 and len(verdict.lost) == len(range(0, 500_000, 1009))
    return {"million_writes_checked_in_seconds": seconds}


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    for name, value in {**seeds_a_second(count), **million_writes()}.items():
        print(f"{name:36} {value:10.1f}")


if __name__ == "__main__":
    main()
