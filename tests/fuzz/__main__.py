"""make fuzz: every target in turn for its share of the time; seeds are printed, and a failure with what repeats it."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time

from tests.fuzz.table import TARGETS
from tests.fuzz.trial import attempt, corpus, input_of

STALL_S = 60  # no input takes so long; one that does has failed
MOST_FAILURES = 5  # of one target in one run


def main() -> int:
    """The exit code: 0 if nothing has failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--first", type=int, default=None, help="the first seed; without it the clock gives one")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS))
    parser.add_argument("--seed", type=int, help="one input of --target, shown and run")
    options = parser.parse_args()
    names = options.target or list(TARGETS)
    if options.seed is not None:
        value = input_of(names[0], options.seed)
        print(names[0], repr(value))
        attempt(TARGETS[names[0]], value)
        return 0
    tried = 0
    for name, value in corpus():
        if name in names:
            attempt(TARGETS[name], value)
            tried += 1
    print(f"the corpus: {tried} inputs, none has failed", flush=True)
    first = int(time.time()) % 1_000_000 * 1_000_000 if options.first is None else options.first
    failed = 0
    inputs = 0
    for name in names:
        bad, count = fuzz(name, first, options.seconds / len(names))
        failed += bad
        inputs += count
    print(f"{inputs} inputs of {len(names)} targets, {failed} failed", flush=True)
    return 1 if failed else 0


def fuzz(name: str, first: int, seconds: float) -> tuple[int, int]:
    """One target for so long: failures, inputs."""
    end = time.monotonic() + seconds
    seed, failures = first, 0
    while failures < MOST_FAILURES and time.monotonic() < end:
        reached, why = _run(name, seed, end - time.monotonic())
        if why:
            failures += 1
            print(f"FAILED: python -m tests.fuzz --target {name} --seed {reached}\n{why}", flush=True)
            reached += 1
        seed = reached
    print(f"{name}: seeds {first} to {seed - 1}, {seed - first} inputs, {failures} failed", flush=True)
    return failures, seed - first


def _run(name: str, first: int, seconds: float) -> tuple[int, str]:
    """A process of its own until the time is over or an input fails: the seed it reached, and why it failed."""
    with tempfile.TemporaryFile() as note, tempfile.TemporaryFile() as said:
        os.pwrite(note.fileno(), b"%20d" % first, 0)
        command = [sys.executable, "-m", "tests.fuzz.worker", name, str(first), str(seconds), str(note.fileno())]
        process = subprocess.Popen(command, stdout=said, stderr=said, pass_fds=[note.fileno()])
        last, since, stalled = -1, time.monotonic(), False
        while process.poll() is None:
            now = int(os.pread(note.fileno(), 20, 0))
            if now != last:
                last, since = now, time.monotonic()
            elif time.monotonic() - since > STALL_S:
                stalled = True
                process.kill()
            time.sleep(0.05)
        reached = int(os.pread(note.fileno(), 20, 0))
        if process.returncode == 0:
            return reached, ""
        said.seek(0)
        text = said.read().decode("utf-8", "replace")[-3000:]
        how = f"no end within {STALL_S} s" if stalled else f"exit {process.returncode}"
        return reached, f"{how}\n{text}"


if __name__ == "__main__":
    sys.exit(main())
