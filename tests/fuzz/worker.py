"""The process in which a target runs: an input may end it, or never come to an end, and the fuzzer goes on."""

from __future__ import annotations

import os
import sys
import time
import traceback

from tests.fuzz.table import TARGETS
from tests.fuzz.trial import attempt, input_of


def work(name: str, first: int, seconds: float, note: int) -> int:
    """Inputs from that seed on, for so long; the seed under trial stands in the file `note`. 1: one has failed."""
    target = TARGETS[name]
    end = time.monotonic() + seconds
    seed = first
    while time.monotonic() < end:
        os.pwrite(note, b"%20d" % seed, 0)
        try:
            attempt(target, input_of(name, seed))
        except Exception:
            traceback.print_exc()
            return 1
        seed += 1
    os.pwrite(note, b"%20d" % seed, 0)
    return 0


if __name__ == "__main__":
    sys.exit(work(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])))
