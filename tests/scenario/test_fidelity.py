"""What a story loses in the simulation covers what it was seen to lose on stock servers (docs/fidelity.json)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.fidelity import DATA, FIGURES, PAGE, outside, page, simulated, spread

ROWS = {
    name: row
    for name, row in json.loads(DATA.read_text())["rows"].items()
    if "Redis 7.0" in row and "Valkey 9.1" in row and "simulated" in row
}
PLAYED = sorted(ROWS)[:10]


@pytest.mark.parametrize("name", PLAYED)
def test_the_simulated_range_covers_what_stock_servers_did(name: str) -> None:
    stem, _, variant = name.partition(" [")
    file = Path(__file__).parents[2] / "scenarios" / f"{stem}.toml"
    found = spread(simulated(file, variant.rstrip("]"), range(8)))
    for stage in ("Redis 7.0", "Valkey 9.1"):
        for figure in FIGURES:
            if figure in ROWS[name].get("why", {}):
                continue  # the row says why not
            assert not outside(figure, found[figure], ROWS[name][stage][figure]), (figure, found[figure], ROWS[name])


def test_the_page_is_what_the_figures_say() -> None:
    assert PAGE.read_text() == page(json.loads(DATA.read_text())), "make it anew: make fidelity"
    assert len(PLAYED) == 10
