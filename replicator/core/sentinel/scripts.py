"""The operator's scripts: told of events, and of a new primary for clients. Queued, a few at a time, with retries.

A script that ends with code 1, or by a signal, is run again later: after 30 seconds, then after twice that, and so on,
ten times at most. Any other code but 0 means that it does not want to be run again. One that runs longer than a minute
is killed (and run again).

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/#sentinel-api (notification scripts)
"""

from __future__ import annotations

from dataclasses import dataclass

from replicator.core import limits
from replicator.core.effects import KillScript, RunScript
from replicator.core.events import ScriptEnded, ScriptStarted
from replicator.core.sentinel.belief import Timing
from replicator.core.sentinel.bulletin import DEBUG, WARNING, Bulletin
from replicator.core.turn import Turn

MAX_RETRIES = 10


@dataclass(slots=True)
class Job:
    """One script that waits or runs."""

    number: int
    argv: tuple[str, ...]
    start_ms: int  # when it began, or may begin (0: at once)
    running: bool = False
    killed: bool = False
    pid: int = 0
    retries: int = 0


class Scripts:
    """The queue of scripts."""

    def __init__(self, turn: Turn, timing: Timing) -> None:
        self._turn = turn
        self._timing = timing
        self.bulletin: Bulletin
        self.jobs: dict[int, Job] = {}
        self._last = 0

    @property
    def running(self) -> int:
        """How many run now."""
        return sum(job.running for job in self.jobs.values())

    def schedule(self, *argv: str) -> None:
        """Run a script with these arguments as soon as its turn comes."""
        self._last += 1
        self.jobs[self._last] = Job(self._last, argv, 0)
        if len(self.jobs) > limits.MAX_SENTINEL_SCRIPTS:
            oldest = next((job for job in self.jobs.values() if not job.running), None)
            if oldest is not None:
                del self.jobs[oldest.number]

    def tick(self) -> None:
        """Start what may start, kill what has run for too long."""
        if not self.jobs:
            return
        now, running = self._turn.now.mono_ms, self.running
        for job in list(self.jobs.values()):
            if job.running:
                if now - job.start_ms > self._timing.script_max_runtime and not job.killed:
                    job.killed = True
                    self.bulletin.say(WARNING, "-script-timeout", f"{job.argv[0]} {job.pid}")
                    self._turn.emit(KillScript(job.number))
            elif running < limits.MAX_SENTINEL_RUNNING_SCRIPTS and job.start_ms <= now:
                job.running = True
                job.start_ms = now
                running += 1
                self._turn.emit(RunScript(job.number, job.argv))

    def started(self, event: ScriptStarted) -> None:
        """A script runs."""
        job = self.jobs.get(event.number)
        if job is not None:
            job.pid = event.pid
            self.bulletin.say(DEBUG, "+script-child", str(event.pid))

    def ended(self, event: ScriptEnded) -> None:
        """A script is gone: forget it, or run it again later."""
        job = self.jobs.get(event.number)
        if job is None:
            return
        if event.why:
            self.bulletin.say(WARNING, "-script-error", f"{job.argv[0]} 99 0")
        else:
            self.bulletin.say(DEBUG, "-script-child", f"{job.pid} {event.code} {event.signal}")
        again = event.code == 1 or event.signal != 0 or bool(event.why)
        if again and job.retries < MAX_RETRIES:
            job.running = job.killed = False
            job.pid = 0
            job.start_ms = self._turn.now.mono_ms + self._timing.script_retry_delay * 2**job.retries
            job.retries += 1
            return
        if event.signal != 0 or event.code != 0:
            self.bulletin.say(WARNING, "-script-error", f"{job.argv[0]} {event.signal} {event.code}")
        del self.jobs[event.number]

    def abandon(self) -> None:
        """Kill all that runs: the process ends."""
        for job in self.jobs.values():
            if job.running:
                self._turn.emit(KillScript(job.number))
