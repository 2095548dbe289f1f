"""How long commands take: statistics for INFO, the slow log and the latency monitor.

Reading a clock costs a tenth of a simple command, so not every call is measured. Commands whose work can be large
(whose complexity is not O(1)) always are. Of the others a sample is: the first calls of every second; what the rest
took is estimated from it. While the slow log or the latency monitor asks for short times, every call is measured.

Measuring is a wrapper around a command's function; where it is off, it costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from replicator.core.command_table.context import Context, Settings
from replicator.core.command_table.key_specs import redacted
from replicator.core.command_table.registry import FAST, REGISTRY, SKIP_SLOWLOG, Command, Run
from replicator.core.effects import Sleep
from replicator.core.turn import Turn

_SAMPLE = 64  # calls of a quick command that are measured each second
_ALL = 1 << 62  # that no command is called so often
_EXACT_BELOW_US = 5000  # thresholds below this need every call measured
_BUCKETS = 32  # of the histograms: microseconds below 1, 2, 4, 8 ...
_LAST_BUCKET_US = 1 << _BUCKETS - 1
_LATENCY_SAMPLES = 160  # seconds with a spike that are kept for each event
_SHOWN_ARGUMENTS = 32
_SHOWN_BYTES = 128


class Watched(Protocol):
    """The configuration, which tells of changes."""

    def on_change(self, name: str, told: Callable[[Any], None], /) -> None:
        """Call `told` with each new value of the directive."""


@dataclass(slots=True)
class Measured:
    """What is known of one command's times, in microseconds."""

    entry: Command
    run: Run  # without the clock
    always: bool
    calls: int = 0
    usec: int = 0
    left: int = _SAMPLE  # calls to be measured yet
    buckets: list[int] = field(default_factory=lambda: [0] * _BUCKETS)

    @property
    def total_usec(self) -> int:
        """Of all calls, those that were not measured estimated."""
        if not self.calls:
            return 0
        return self.usec + max(0, self.entry.calls - self.calls) * self.usec // self.calls

    def reset(self) -> None:
        """Begin at zero."""
        self.calls = self.usec = 0
        self.buckets = [0] * _BUCKETS

    def percentile(self, share: float) -> float:
        """Microseconds that this share of the calls did not exceed (the upper edge of a bucket)."""
        wanted = self.calls * share / 100
        counted = 0
        for at, count in enumerate(self.buckets):
            counted += count
            if counted and counted >= wanted:
                return float((1 << at) - 1) + 0.001 if at else 0.001
        return 0.0

    def histogram(self) -> list[tuple[int, int]]:
        """(upper edge in microseconds, calls up to it), scaled to all calls."""
        found = []
        counted = 0
        for at, count in enumerate(self.buckets):
            if count:
                counted += count
                found.append((1 << at, self.entry.calls * counted // self.calls))
        return found


@dataclass(frozen=True, slots=True)
class SlowEntry:
    """One line of the slow log."""

    id: int
    at_s: int
    usec: int
    argv: tuple[bytes, ...]
    peer: str
    name: bytes


@dataclass(slots=True)
class Spikes:
    """Latency samples of one event: (unix seconds, ms), one a second, the latest last."""

    samples: list[tuple[int, int]] = field(default_factory=list)
    worst_ms: int = 0


class Statistics:
    """Times of one node's commands."""

    def __init__(self, turn: Turn, config: Settings, meter: Callable[[], int] | None) -> None:
        self.turn = turn
        self.config = config
        self.meter = meter
        self.slow: list[SlowEntry] = []  # the latest first
        self.spikes: dict[str, Spikes] = {}
        self._next_id = 0
        self._exact = False
        self._noted_us = _ALL  # from here on a call is looked at closer: for the slow log or the latency monitor
        self._spent: list[Measured] = []  # whose sample of this second has been taken
        self.measured: dict[str, Measured] = {}  # by full name, in the order of their first call

    def measure(self, command: Command) -> None:
        """Begin to measure a command and its subcommands."""
        for entry in (command, *command.subcommands.values()):
            always = not entry.flags & FAST and not entry.complexity.startswith("O(1)")
            one = self.measured[entry.full_name] = Measured(entry, entry.run, always)
            self._wrap(one)

    def ordered(self) -> dict[str, Measured]:
        """All that are measured, in the order of the table of commands."""
        measured = self.measured
        names = [one.full_name for entry in REGISTRY.values() for one in (entry, *entry.subcommands.values())]
        return {name: measured[name] for name in names if name in measured}

    def install(self, config: Watched) -> None:
        """Follow the configuration."""
        for name in ("slowlog-log-slower-than", "latency-monitor-threshold"):
            config.on_change(name, lambda _value: self._configured())
        config.on_change("slowlog-max-len", lambda _value: self._trim())
        self._configured()

    def _configured(self) -> None:
        config = self.config
        slow, spike = config["slowlog-log-slower-than"], 1000 * config["latency-monitor-threshold"]
        self._exact = 0 <= slow < _EXACT_BELOW_US or 0 < spike < _EXACT_BELOW_US
        self._noted_us = min(slow if slow >= 0 else _ALL, spike or _ALL)
        for one in self.measured.values():
            self._renew(one)
            if self._exact:
                self._wrap(one)

    # -- measuring ---------------------------------------------------------------------------------------------------

    def _renew(self, one: Measured) -> None:
        one.left = _ALL if one.always or self._exact else _SAMPLE

    def _wrap(self, one: Measured) -> None:
        entry, run, meter = one.entry, one.run, self.meter
        if meter is None or entry.run is not run:  # nothing takes time here, or it is measured already
            return
        self._renew(one)
        sleeps = entry.name == "debug"

        def measured(ctx: Context, argv: list[bytes]) -> bytes:
            started = meter()
            try:
                return run(ctx, argv)
            finally:
                usec = meter() - started
                if sleeps:
                    usec += self._slept()
                one.calls += 1
                one.usec += usec
                one.buckets[usec.bit_length() if usec < _LAST_BUCKET_US else _BUCKETS - 1] += 1
                if usec >= self._noted_us:
                    self._note(entry, usec, ctx, argv)
                one.left -= 1
                if not one.left:
                    entry.run = run
                    self._spent.append(one)

        entry.run = measured

    def _slept(self) -> int:
        """Microseconds that the driver will sleep when the command (DEBUG SLEEP) has run."""
        effects = self.turn.effects
        return last.duration_us if effects and isinstance(last := effects[-1], Sleep) else 0

    def _note(self, entry: Command, usec: int, ctx: Context, argv: Sequence[bytes]) -> None:
        config = self.config
        if usec >= config["slowlog-log-slower-than"] >= 0 and not entry.flags & SKIP_SLOWLOG and ctx.blocked is None:
            self._note_slow(entry, usec, ctx, argv)
        threshold = config["latency-monitor-threshold"]
        if threshold and usec >= 1000 * threshold:
            self.spike("fast-command" if entry.flags & FAST else "command", usec // 1000)

    def tick(self) -> None:
        """Once a second: take new samples of the commands whose last one is taken."""
        spent, self._spent = self._spent, []
        for one in spent:
            self._wrap(one)

    def reset(self) -> None:
        """CONFIG RESETSTAT."""
        for one in self.measured.values():
            one.reset()

    # -- the slow log ------------------------------------------------------------------------------------------------

    def _note_slow(self, entry: Command, usec: int, ctx: Context, argv: Sequence[bytes]) -> None:
        shown = redacted(entry.full_name, argv)
        if entry.full_name in ("debug", "acl|dryrun"):  # these hold anything: data, commands with passwords
            shown = [*shown[:2], *[b"(redacted)"] * (len(shown) - 2)]
        words = [_shortened(word) for word in shown[:_SHOWN_ARGUMENTS]]
        if len(shown) > _SHOWN_ARGUMENTS:
            words[-1] = b"... (%d more arguments)" % (len(shown) - _SHOWN_ARGUMENTS + 1)
        second = self.turn.now.unix_ms // 1000
        self.slow.insert(0, SlowEntry(self._next_id, second, usec, tuple(words), ctx.peer, ctx.name))
        self._next_id += 1
        self._trim()

    def _trim(self) -> None:
        del self.slow[self.config["slowlog-max-len"] :]

    # -- the latency monitor -----------------------------------------------------------------------------------------

    def spike(self, event: str, ms: int) -> None:
        """Something took so long; of one second the worst is kept."""
        spikes = self.spikes.setdefault(event, Spikes())
        second = self.turn.now.unix_ms // 1000
        spikes.worst_ms = max(spikes.worst_ms, ms)
        if spikes.samples and spikes.samples[-1][0] == second:
            spikes.samples[-1] = (second, max(ms, spikes.samples[-1][1]))
            return
        spikes.samples.append((second, ms))
        del spikes.samples[:-_LATENCY_SAMPLES]

    def forked(self, usec: int) -> None:
        """A snapshot's child was made."""
        threshold = self.config["latency-monitor-threshold"]
        if threshold and usec >= 1000 * threshold:
            self.spike("fork", usec // 1000)


def _shortened(word: bytes) -> bytes:
    if len(word) <= _SHOWN_BYTES:
        return word
    return b"%b... (%d more bytes)" % (word[:_SHOWN_BYTES], len(word) - _SHOWN_BYTES)
