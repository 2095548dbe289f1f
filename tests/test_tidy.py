"""House rules that a machine can hold: sizes, marks of unfinished work, silenced checks."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("replicator", "tests", "benchmarks")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
MOST_FILE_LINES = 600
MOST_FUNCTION_LINES = 70
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
BARE_IGNORE = re.compile(r"# type: ignore(?!\[)|# noqa(?!: ?[A-Z])")


def named(path: Path, line: int) -> str:
    """Where it is, as a person would look it up."""
    return f"{path.relative_to(ROOT)}:{line}"


def test_a_file_is_a_sitting() -> None:
    counts = {path: len(path.read_text().splitlines()) for path in FILES}
    assert not {named(path, 1): count for path, count in counts.items() if count > MOST_FILE_LINES}


def test_a_function_fits_a_screen() -> None:
    long = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MOST_FUNCTION_LINES:
                    long[named(path, node.lineno)] = f"{node.name}: {length} lines"
    assert not long


def test_nothing_is_left_unfinished() -> None:
    marks = [
        named(path, number)
        for path in FILES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert not marks


def test_a_silenced_check_says_which() -> None:
    silenced = [
        named(path, number)
        for path in FILES
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if BARE_IGNORE.search(line)
    ]
    assert not silenced


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        named(path, 1)
        for path in FILES
        if path.is_relative_to(ROOT / "replicator") and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent
