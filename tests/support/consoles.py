"""A rich console that writes into memory, as plain text."""

from __future__ import annotations

import io
from collections.abc import Callable

from rich.console import Console


def recorded() -> tuple[Console, Callable[[], str]]:
    """A console without a terminal, and what was written to it so far."""
    sink = io.StringIO()
    return Console(file=sink, highlight=False, soft_wrap=True), sink.getvalue
