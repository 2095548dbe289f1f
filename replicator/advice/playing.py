"""Plays a forecast: four failures, many seeds each; then the settings that would change it, played to prove it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from replicator.advice.forecast import Change, Forecast
from replicator.scenario.script.dump import as_toml
from replicator.scenario.script.script import Script
from replicator.search.spread import Costs, Ledger, Spread
from replicator.search.workers import Tasks, play_all

# A setting is tried on so small a share of the seeds before two of them are played whole.
TRIED_SHARE = 0.05
TRIED_LEAST = 5
BEST = 2


@dataclass(frozen=True, slots=True)
class Failure:
    """What one failure costs over all seeds; lost writes are those of the real load."""

    name: str
    runs: int
    lost: Spread
    silence_ms: Spread

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Changed:
    """The same failures with one more setting."""

    setting: str
    failures: list[Failure]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"setting": self.setting, "failures": [one.plain() for one in self.failures]}


def _scaled(costs: Costs, scale: float) -> Failure:
    lost = costs.spread(costs.lost)
    low, median, high, most = (round(scale * value) for value in (lost.min, lost.median, lost.p99, lost.max))
    real = Spread(low, median, high, most, lost.worst_seed)
    return Failure(costs.variant, len(costs.seeds), real, costs.spread(costs.silence_ms))


def play(script: Script, scale: float, seeds: int, jobs: int, told: Callable[[int], None]) -> list[Failure]:
    """Every failure of the script on seeds 0 up to `seeds`. told: how many runs are done."""
    ledger, done = Ledger(), 0
    with TemporaryDirectory(prefix="forecast-") as folder:
        file = Path(folder, "forecast.toml")
        file.write_text(as_toml(script), "utf-8")
        for batch in play_all(Tasks([str(file)], None, 0, seeds), jobs):
            for seed in batch:
                ledger.take(seed)
            done += len(batch)
            told(done)
    order = [variant.name for variant in script.variants]
    return sorted((_scaled(costs, scale) for costs in ledger.costs()), key=lambda one: order.index(one.name))


def best_changes(
    forecast: Forecast, candidates: list[Change], seeds: int, jobs: int, told: Callable[[int], None]
) -> list[Changed]:
    """The two settings that lose the fewest writes (then: the least time), each played on all seeds."""
    few = min(seeds, max(TRIED_LEAST, round(seeds * TRIED_SHARE)))

    def cost(failures: list[Failure]) -> tuple[int, int]:
        return sum(one.lost.median for one in failures), sum(one.silence_ms.median for one in failures)

    before = cost(play(forecast.script, forecast.scale, few, jobs, told))
    tried = [
        (cost(play(change.applied(forecast.script), forecast.scale, few, jobs, told)), index, change)
        for index, change in enumerate(candidates)
    ]
    better = sorted((one for one in tried if one[0] < before), key=lambda one: one[:2])
    return [
        Changed(change.name, play(change.applied(forecast.script), forecast.scale, seeds, jobs, told))
        for _, _, change in better[:BEST]
    ]
