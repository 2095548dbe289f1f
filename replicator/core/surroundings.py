"""What a machine cannot know by itself, and what it asks of the world beside its effects: the driver fills it in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from replicator.core.effects import Effect
from replicator.core.events import Event

REDIS_VERSION = "7.0.15"  # whose words and ways these are


class TextFile(Protocol):
    """One named text file of the world. Methods raise config.ConfigError with the system's reason."""

    def read(self) -> str:
        """All of it."""

    def write(self, text: str) -> None:
        """Replace it, durably and as a whole."""


@dataclass(slots=True)
class Surroundings:
    """What a node cannot know by itself; the driver fills it in.

    meter: microseconds of a monotonic clock (for slow log and statistics only); None: nothing takes time. resident:
    bytes of memory of the process. memory: bytes that it may have at most; 0: nobody knows.
    """

    pid: int = 1
    executable: str = "replicator"
    config_file: str = ""
    meter: Callable[[], int] | None = None
    resident: Callable[[], int] = field(default=lambda: 0)
    memory: int = 0
    disk_room: Callable[[], int] | None = None  # bytes free where payloads are written; None: nobody knows
    cpu_seconds: Callable[[], tuple[float, float, float, float]] = field(default=lambda: (0.0, 0.0, 0.0, 0.0))
    system: str = ""
    set_role: Callable[[str], None] = field(default=lambda _mark: None)  # the role's letter in the log
    acl_file: TextFile | None = None  # of the directive aclfile
    entropy: Callable[[int], bytes] | None = None  # so many bytes that nobody can guess
    # For the inside of a call that takes long (core/execution/busy.py): events that came meanwhile; carry effects out
    # at once; tell an event once more when the call has returned.
    arrivals: Callable[[], list[Event]] | None = None
    carry_out: Callable[[list[Effect]], None] = field(default=lambda _effects: None)
    tell_again: Callable[[Event], None] = field(default=lambda _event: None)


def standing_still() -> int:
    """The meter of a world where nothing takes time."""
    return 0
