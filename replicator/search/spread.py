"""How much can it be? What many runs of one variant cost, as smallest, median, 99th percentile and largest."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from replicator.scenario.script.units import human_ms
from replicator.search.run import Seed

_BARS = "▁▂▃▄▅▆▇█"
COLUMNS = 24


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over many runs. Percentiles are values that occurred (nearest rank). worst_seed: the first seed, in
    the order of seeds, that reached max."""

    min: int
    median: int
    p99: int
    max: int
    worst_seed: int


def percentile(ordered: Sequence[int], share: float) -> int:
    """The nearest-rank percentile of values in ascending order; share: above 0, at most 1."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(slots=True)
class Costs:
    """What every run of one variant of one file has cost, in the order in which results came."""

    file: str
    variant: str
    seeds: array[int] = field(default_factory=lambda: array("q"))
    lost: array[int] = field(default_factory=lambda: array("q"))
    silence_ms: array[int] = field(default_factory=lambda: array("q"))

    @property
    def name(self) -> str:
        """As a line begins: the file, with its variant where it has one."""
        return f"{self.file} [{self.variant}]" if self.variant else self.file

    def take(self, seed: Seed) -> None:
        """One more run."""
        self.seeds.append(seed.seed)
        self.lost.append(seed.lost)
        self.silence_ms.append(seed.silence_ms)

    def spread(self, values: Sequence[int]) -> Spread:
        """values: `lost` or `silence_ms` of this object."""
        ordered = sorted(values)
        most = ordered[-1]
        worst = min(seed for seed, value in zip(self.seeds, values, strict=True) if value == most)
        return Spread(ordered[0], percentile(ordered, 0.5), percentile(ordered, 0.99), most, worst)

    def plain(self) -> dict[str, Any]:
        """The entry of the JSON."""
        return {
            "file": self.file, "variant": self.variant, "runs": len(self.seeds),
            "lost": asdict(self.spread(self.lost)), "silence_ms": asdict(self.spread(self.silence_ms)),
        }  # fmt: skip

    def told(self) -> str:
        """The line of the terminal."""
        lost, silence = self.spread(self.lost), self.spread(self.silence_ms)
        runs = f"{len(self.seeds)} run" + "s" * (len(self.seeds) != 1)
        return (
            f"{self.name}: {runs}; writes lost: median {lost.median}, 99th {lost.p99}, worst {lost.max} "
            f"(seed {lost.worst_seed}); without service: median {human_ms(silence.median)}, "
            f"99th {human_ms(silence.p99)}, worst {human_ms(silence.max)} (seed {silence.worst_seed})"
        )


class Ledger:
    """The costs of all files and variants of a search."""

    def __init__(self) -> None:
        self._costs: dict[tuple[str, str], Costs] = {}

    def take(self, seed: Seed) -> None:
        """One more run. A play that broke has cost nothing that could be told."""
        if not seed.trace_hash:
            return
        key = (seed.file, seed.variant)
        if key not in self._costs:
            self._costs[key] = Costs(*key)
        self._costs[key].take(seed)

    def costs(self) -> list[Costs]:
        """In the order of their names: results of several processes come in any order."""
        return [self._costs[key] for key in sorted(self._costs)]

    def worst(self) -> tuple[int, int]:
        """The most writes lost and the longest silence so far, of any file."""
        return (
            max((max(one.lost) for one in self._costs.values()), default=0),
            max((max(one.silence_ms) for one in self._costs.values()), default=0),
        )


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of values in columns of equal width from `low` on; `high`: the largest value."""

    low: int
    high: int
    counts: list[int]

    def bars(self) -> str:
        """One character a column; an empty column is a space, and any run at all shows."""
        tallest = len(_BARS) / max(self.counts)
        return "".join(_BARS[math.ceil(count * tallest) - 1] if count else " " for count in self.counts)


def histogram(values: Sequence[int], columns: int = COLUMNS) -> Histogram:
    """At most so many columns; fewer where there are fewer different values to tell apart."""
    low, high = min(values), max(values)
    width = max(1, math.ceil((high - low + 1) / columns))
    counts = [0] * max(1, math.ceil((high - low + 1) / width))
    for value in values:
        counts[(value - low) // width] += 1
    return Histogram(low, high, counts)
