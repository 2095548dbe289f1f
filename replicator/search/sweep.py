"""All results of a search, gathered: what failed, what was done, and what the runs have cost."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Container
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape

from replicator.scenario.script.script import Faults
from replicator.scenario.script.units import human_ms
from replicator.search.run import Seed
from replicator.search.spread import Costs, Ledger, histogram


class Group:
    """Failures of one kind. seeds: those of each file."""

    def __init__(self, name: str, first: Seed, text: str) -> None:
        self.name, self.first, self.text = name, first, text
        self.count = 0
        self.seeds: dict[str, set[int]] = {}
        self.kept = ""
        self.command = ""

    def take(self, seed: Seed, text: str) -> None:
        self.count += 1
        self.seeds.setdefault(seed.file, set()).add(seed.seed)
        if (seed.seed, seed.file) < (self.first.seed, self.first.file):
            self.first, self.text = seed, text

    def told(self) -> str:
        """Which seeds failed, of which file where there are several."""
        parts = []
        for file, seeds in sorted(self.seeds.items()):
            more = ", ..." if len(seeds) > 10 else ""
            shown = ", ".join(map(str, sorted(seeds)[:10])) + more
            parts.append(f"seeds {shown}" + (f" of {file}" if len(self.seeds) > 1 else ""))
        return f"{self.count} times; " + "; ".join(parts)

    def plain(self) -> dict[str, Any]:
        return {
            "violated": self.name, "count": self.count, "first": asdict(self.first),
            "seeds": sorted(set[int]().union(*self.seeds.values()))[:100],
            "files": {file: sorted(seeds)[:100] for file, seeds in sorted(self.seeds.items())},
            "scenario_file": self.kept, "replay": self.command,
        }  # fmt: skip


class Sweep:
    """All results of a search. drawn: the options by which its faults were drawn, if not as the files say.

    drawing: files with faults of their own to draw. records: whether every run is remembered, for the JSON. ended: why
    it is over although seeds are left, "" if it is not.
    """

    def __init__(
        self, faults: Faults | None, drawn: str = "", drawing: Container[str] = (), records: bool = False
    ) -> None:
        self.given, self._drawn, self._drawing = faults, drawn, drawing
        self.ledger = Ledger()
        self.records: list[dict[str, Any]] | None = [] if records else None
        self.groups: dict[str, Group] = {}
        self.faults: Counter[str] = Counter()
        self.paths: Counter[str] = Counter()
        self.sums: Counter[str] = Counter()
        self.ended = ""
        self.runs = self.failed = 0
        self.seconds = 0.0

    def take(self, seed: Seed) -> None:
        """One more result."""
        self.runs += 1
        self.failed += not seed.ok
        self.faults.update(seed.faults)
        self.paths.update(seed.paths)
        self.ledger.take(seed)
        if self.records is not None:
            self.records.append(_record(seed))
        for name in ("events", "virtual_ms", "writes", "lost", "compared_bytes", "compared_data"):
            self.sums[name] += getattr(seed, name)
        for name, text in seed.objections:
            self.groups.setdefault(name, Group(name, seed, text)).take(seed, text)

    def replay(self, seed: Seed) -> str:
        """The command that plays one seed again."""
        file = shlex.quote(seed.file)
        return f"replicator simulate {file}{self._drawn} --seeds {seed.seed}:{seed.seed + 1} --no-shrink"

    def tell(self, console: Console) -> None:
        seconds, sums = max(0.001, self.seconds), self.sums
        console.print(
            f"{self.runs} runs in {seconds:.1f} s ({self.runs / seconds:.1f} a second, "
            f"{sums['virtual_ms'] / 1000 / seconds:.0f} virtual seconds and "
            f"{sums['events'] / seconds:.0f} events a second); {sums['writes']} writes acknowledged; "
            f"{sums['compared_bytes']} bytes and {sums['compared_data']} data sets compared"
        )
        if self.faults:
            console.print("faults: " + ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items())))
        console.print("paths: " + ", ".join(f"{name} {count}" for name, count in sorted(self.paths.items())))
        if self.ended:
            console.print(self.ended)
        if not self.groups:
            console.print("no seed failed" + (" so far" if self.ended else ""))
        for group in self.groups.values():
            console.print(f"[red]{escape(group.name)}[/red]: {escape(group.told())}")
            console.print(group.text.strip()[-2000:], markup=False)

    def worst(self, costs: Costs) -> str:
        """The command that plays the run again which lost the most, or was silent the longest where none has lost."""
        lost, silence = costs.spread(costs.lost), costs.spread(costs.silence_ms)
        seed = lost.worst_seed if lost.max else silence.worst_seed
        if self._drawn or costs.file in self._drawing:
            return self.replay(Seed(costs.file, costs.variant, seed))
        variant = f" --variant {shlex.quote(costs.variant)}" if costs.variant else ""
        return f"replicator scenario run {shlex.quote(costs.file)}{variant} --on sim --seed {seed}"

    def tell_costs(self, console: Console) -> None:
        """How much it can be: for each file and variant a line, a picture, and the command of the worst run."""
        for costs in self.ledger.costs():
            console.print(costs.told(), markup=False)
            if len(costs.seeds) > 1:
                lost, silence = histogram(costs.lost), histogram(costs.silence_ms)
                console.print(
                    f"  lost {lost.low} {lost.bars()} {lost.high}   without service {human_ms(silence.low)} "
                    f"{silence.bars()} {human_ms(silence.high)}", markup=False, style="dim",
                )  # fmt: skip
            console.print(f"  worst: {self.worst(costs)}", markup=False)

    def plain(self) -> dict[str, Any]:
        files = [{**costs.plain(), "worst": self.worst(costs)} for costs in self.ledger.costs()]
        records = {} if self.records is None else {"records": self.records}
        return {
            "runs": self.runs, "failed": self.failed, "seconds": round(self.seconds, 3), **self.sums,
            "faults": dict(sorted(self.faults.items())), "paths": dict(sorted(self.paths.items())),
            "failures": [group.plain() for group in self.groups.values()], "ended": self.ended,
            "ok": not self.groups and not self.ended, "files": files, **records,
        }  # fmt: skip


def _record(seed: Seed) -> dict[str, Any]:
    return {
        "file": seed.file, "variant": seed.variant, "seed": seed.seed, "ok": seed.ok, "acknowledged": seed.writes,
        "lost": seed.lost, "silence_ms": seed.silence_ms, "trace_hash": seed.trace_hash,
        "violated": [name for name, _ in seed.objections],
    }  # fmt: skip
