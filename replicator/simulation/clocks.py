"""The clocks of one machine: they drift, and the wall clock may step."""

from __future__ import annotations

from replicator.core.now import Now
from replicator.simulation.kernel import Kernel

EPOCH_MS = 1_700_000_000_000
_MILLION = 1_000_000
_BILLION = 1_000_000_000


class Clock:
    """drift_ppm: microseconds gained in a second. boot_us: what the monotonic clock shows at the run's begin.
    wall_off_ms: how wrong the wall clock is then. Both pass to their next millisecond at the same instant.
    """

    __slots__ = ("_ahead_ms", "_boot", "_drift", "_kernel")

    def __init__(self, kernel: Kernel, *, drift_ppm: int = 0, boot_us: int = 0, wall_off_ms: int = 0) -> None:
        self._kernel = kernel
        self._drift = _MILLION + drift_ppm
        self._boot = boot_us * _MILLION
        self._ahead_ms = EPOCH_MS + wall_off_ms - boot_us // 1000  # the wall clock, of the monotonic one

    def now(self) -> Now:
        """Both clocks, in whole milliseconds, rounded down."""
        mono_ms = (self._boot + self._kernel.now_us * self._drift) // _BILLION
        return Now(mono_ms, mono_ms + self._ahead_ms)

    def kernel_us(self, mono_ms: int) -> int:
        """The first microsecond of the run at which the monotonic clock shows that many milliseconds."""
        run = mono_ms * _BILLION - self._boot
        return -(-run // self._drift) if run > 0 else 0

    def step_wall(self, delta_ms: int) -> None:
        """Somebody sets the clock; deadlines do not notice."""
        self._ahead_ms += delta_ms
