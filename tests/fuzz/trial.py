"""One input: made from a target's name and a seed, or taken from the corpus; and what counts as a failure."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.table import TARGETS
from tests.fuzz.target import Target

CORPUS = Path(__file__).parent / "corpus.txt"


def input_of(name: str, seed: int) -> Any:
    """The input of that seed."""
    return TARGETS[name].make(Random(f"{name}/{seed}"))


def attempt(target: Target, value: Any) -> None:
    """Run one input; what it refuses is no failure, everything else is raised."""
    try:
        target.run(value)
    except target.refusals:
        pass


def corpus() -> Iterator[tuple[str, Any]]:
    """(target, input) of all that has failed once."""
    for line in CORPUS.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, _, literal = line.partition(" ")
            yield name, ast.literal_eval(literal)
