"""`python -m tests.interop`: the whole matrix in its long form, printed and kept in docs/interop.md with versions."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.stock import binary

PAGE = Path(__file__).parents[2] / "docs" / "interop.md"
NAMES = {"redis6": "Redis", "redis7": "Redis", "valkey9": "Valkey"}
# What the page is about; clients have tests of their own beside these.
SERVERS = ("tests/interop/test_matrix.py", "tests/interop/test_sentinel.py")
# What stands below the matrix: the programs of test_programs.py and test_operators_tools.py.
PROGRAMS = (
    "Programs of others run unchanged: rq, celery, dramatiq, huey, arq, BullMQ, and queues made with redis-py,",
    "valkey-py, coredis and ioredis each put in, retry, schedule and finish 200 jobs; Django's cache keeps 200",
    "entries; HAProxy's check of the role follows a promotion; the exporter for Prometheus makes the metrics that it",
    "makes of a stock server.",
)
PARAMETERS = ("redis6", "redis7", "valkey9")


def versions() -> dict[str, str]:
    """engine -> what its binary calls itself, of those that are installed."""
    found = {}
    for engine, name in NAMES.items():
        path = binary(engine)
        if path is not None:
            text = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
            match = re.search(r"v=(\S+)", text)
            assert match is not None, text
            found[engine] = f"{name} {match.group(1)}"
    return found


class Collector:
    """A pytest plugin: what became of each test, by its sentence and engine."""

    def __init__(self) -> None:
        self.cells: dict[str, dict[str, str]] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Called by pytest for each phase of each test."""
        if (report.when != "call" and report.passed) or not report.nodeid.startswith(SERVERS):
            return
        name, _, parameters = report.nodeid.partition("::")[2].rpartition("::")[2].partition("[")
        words = parameters.rstrip("]").split("-")
        engine = next((word for word in words if word in PARAMETERS), "")
        others = [{"yes": "diskless", "no": "disk"}.get(word, word) for word in words if word and word != engine]
        sentence = name.removeprefix("test_").replace("_", " ")
        row = sentence + (f" ({', '.join(others)})" if others else "")
        figures = ", ".join(f"{value:,} {key}" for key, value in report.user_properties)
        outcome = "skipped" if report.skipped else "yes" if report.passed else "NO"
        self.cells.setdefault(row, {})[engine] = outcome + (f": {figures}" if figures else "")


def page(cells: Mapping[str, Mapping[str, str]], known: Mapping[str, str]) -> str:
    """The matrix as Markdown."""
    lines = [
        "# Interoperability",
        "",
        "What `make interop` found: each stock server as primary and as replica of a node of ours. At the end of each",
        "test offsets and `DEBUG DIGEST` of all servers are equal; the figures are full and partial synchronizations",
        "that the primary counted (one full one is the first).",
        "",
        "| | " + " | ".join(known.values()) + " |",
        "| --- |" + " --- |" * len(known),
    ]
    for row, outcomes in sorted(cells.items()):
        figures = (outcomes.get(engine, "-") for engine in known)
        lines.append(f"| {row} | " + " | ".join(figures) + " |")
    lines += ["", *PROGRAMS]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Run, print, write the page; pytest's exit code."""
    os.environ.setdefault("REPLICATOR_LONG", "1")
    collector = Collector()
    code = int(pytest.main([str(Path(__file__).parent), *arguments], plugins=[collector]))
    text = page(collector.cells, versions())
    print(text)
    if code == 0 and not arguments:
        PAGE.write_text(text)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
