"""What a simulated process is given: whom to tell, and what takes time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from replicator.core import effects as do
from replicator.core.now import Now


@dataclass(slots=True)
class Hooks:
    """What the world is told of a process. broke: an exception left the machine (its traceback)."""

    log: Callable[[do.Level, str], None] = lambda level, message: None
    announce: Callable[[str, tuple[tuple[str, str | int | None], ...]], None] = lambda name, fields: None
    ended: Callable[[int, str], None] = lambda code, how: None
    broke: Callable[[str], None] = lambda text: None
    stepped: Callable[[Now], None] | None = None  # after every turn


@dataclass(slots=True)
class Costs:
    """What takes virtual time (microseconds), and how often reads are short.

    read_us: one chunk of a file; read_bytes: its size at the most (a small one makes loads of little data long).
    """

    fork_us: int = 300
    snapshot_us: int = 2_000
    snapshot_rate: int = 50_000_000
    short_reads: float = 0.02
    read_us: int = 50
    read_bytes: int = 1 << 30
    script_us: int = 20_000
    script_code: int = 0  # with which scripts end
