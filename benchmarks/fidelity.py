"""Does the same story lose the same everywhere? The library on our nodes, on stock servers, and simulated.

    python -m benchmarks.fidelity [--plays 20] [--seeds 200] [--only primary-crash ...]

Writes docs/fidelity.json (all figures) and docs/fidelity.md (the table). A run that is limited to some files replaces
their figures alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from replicator.scenario.script.load import alone, load
from replicator.search.run import play, prepared

ROOT = Path(__file__).parents[1]
DATA, PAGE = ROOT / "docs" / "fidelity.json", ROOT / "docs" / "fidelity.md"
STAGES = {
    "live": ["--on", "live"],
    "Redis 7.0": ["--on", "stock", "--engine", "redis-server"],
    "Valkey 9.1": ["--on", "stock", "--engine", "valkey"],
}
FIGURES = ("lost", "failed", "silence_ms", "full", "partial")
WORDS = {"lost": "writes lost", "failed": "writes refused", "silence_ms": "without service, ms", "full": "full copies",
         "partial": "partial copies"}  # fmt: skip
# A simulated range is stretched by so much before a stock median is called outside: a play on real processes has a
# scheduler and a player of its own (docs/fidelity.md says so).
TOLERANCE = {"lost": (0.10, 12), "failed": (0.25, 25), "silence_ms": (0.25, 250), "full": (0.0, 1), "partial": (0.0, 1)}


def played(file: Path, variant: str, words: list[str]) -> dict[str, int] | None:
    """One play's figures; None where the stage cannot be had."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as told:
        only = ["--variant", variant] if variant else []
        command = [sys.executable, "-m", "replicator", "scenario", "run", str(file), *only, *words, "--quiet"]
        done = subprocess.run([*command, "--json", told.name], cwd=ROOT, capture_output=True, text=True)
        if done.returncode not in (0, 1):
            print(done.stderr.strip()[-300:], file=sys.stderr)
            return None
        found = json.load(told)
    return {
        "lost": found["writes"]["lost"], "failed": found["writes"]["failed"], "silence_ms": found["silence_ms"],
        "full": sum(sync["at_ms"] >= 0 for sync in found["syncs"]["full"]),
        "partial": sum(sync["at_ms"] >= 0 for sync in found["syncs"]["partial"]),
    }  # fmt: skip


def simulated(file: Path, variant: str, seeds: Iterable[int]) -> list[dict[str, int]]:
    """The figures of seeds, played in this process."""
    script = dict(load(file)[1])[variant]
    found = []
    for seed in seeds:
        outcome = play(prepared(alone(script, variant), seed), variant, seed)
        found.append({
            "lost": len(outcome.verdict.lost), "failed": outcome.verdict.writes()["failed"],
            "silence_ms": outcome.silence_ms, "full": len(outcome.synced("full")),
            "partial": len(outcome.synced("partial")),
        })  # fmt: skip
    return found


def spread(plays: list[dict[str, int]]) -> dict[str, list[int]]:
    """figure -> least, median, most."""
    columns = {name: sorted(play[name] for play in plays) for name in FIGURES}
    return {name: [values[0], round(statistics.median(values)), values[-1]] for name, values in columns.items()}


def outside(figure: str, simulated: list[int], stock: list[int]) -> bool:
    """Whether a stock median lies outside what was simulated, the tolerance added."""
    share, least = TOLERANCE[figure]
    slack = max(least, share * stock[1])
    return not simulated[0] - slack <= stock[1] <= simulated[2] + slack


def rows(files: list[Path]) -> list[tuple[Path, str]]:
    """Every file and variant that a plain replication play can tell about: no Sentinels, no cluster."""
    return [(file, name) for file in files for name, _ in load(file)[1]]


def page(data: dict[str, Any]) -> str:
    """The document."""
    head = (ROOT / "docs" / "fidelity.head.md").read_text("utf-8")
    lines = [head.rstrip(), ""]
    for figure in FIGURES:
        heads = ["story", *STAGES, "simulated", ""]
        lines += [f"## {WORDS[figure]}", "", f"| {' | '.join(heads)} |", "| --- |" + " --- |" * 5]
        for name, row in sorted(data["rows"].items()):
            cells = [_cell(row.get(stage, {}).get(figure)) for stage in (*STAGES, "simulated")]
            mark = row.get("why", {}).get(figure, "")
            if not mark and any(
                stage in row and "simulated" in row and outside(figure, row["simulated"][figure], row[stage][figure])
                for stage in ("Redis 7.0", "Valkey 9.1")
            ):
                mark = "outside"
            lines.append(f"| {name} | {' | '.join(cells)} | {mark} |")
        lines.append("")
    return "\n".join(lines)


def _cell(found: list[int] | None) -> str:
    if found is None:
        return "not played"
    low, median, high = found
    return str(median) if low == high else f"{median} ({low}–{high})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plays", type=int, default=20, help="plays on processes, each stage (20)")
    parser.add_argument("--seeds", type=int, default=200, help="simulated seeds (200)")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="files of the library, by name")
    parser.add_argument("--stages", nargs="*", default=[*STAGES, "simulated"], help="which to play")
    given = parser.parse_args()
    data = json.loads(DATA.read_text()) if DATA.exists() else {"rows": {}}
    files = sorted((ROOT / "scenarios").glob("*.toml"))
    if given.only:
        files = [file for file in files if file.stem in given.only]
    for file, variant in rows(files):
        name = f"{file.stem} [{variant}]" if variant else file.stem
        row = data["rows"].setdefault(name, {})
        for stage in given.stages:
            if stage == "simulated":
                plays = simulated(file, variant, range(given.seeds))
            else:
                plays = [one for _ in range(given.plays) if (one := played(file, variant, STAGES[stage])) is not None]
            if plays:
                row[stage] = spread(plays)
                row.setdefault("plays", {})[stage] = len(plays)
                print(f"{name}, {stage}: {row[stage]}", flush=True)
        DATA.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")
        PAGE.write_text(page(data))
    print(f"written: {DATA.relative_to(ROOT)}, {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
