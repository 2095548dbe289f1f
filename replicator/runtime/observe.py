"""What a machine may be told of the process it lives in: clocks, memory, entropy. Injected, never read by the core
itself."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

from replicator.core.now import Now

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Resident memory is read from the kernel at most this often: INFO may be asked thousands of times a second.
_MEMORY_CACHE_NS = 100_000_000
# As a process in a container sees its own group: cgroup v2, then v1.
_GROUP_BOUNDS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def clock() -> Now:
    """The instant, in whole milliseconds of the monotonic and of the wall clock."""
    return Now(time.monotonic_ns() // 1_000_000, time.time_ns() // 1_000_000)


def meter() -> int:
    """Microseconds of a monotonic clock, to measure how long something took (slow log, latency, command statistics)."""
    return time.monotonic_ns() // 1_000


def entropy() -> int:
    """A fresh seed of 128 bits from the operating system, for a machine's Random."""
    return int.from_bytes(os.urandom(16), "big")


def read_resident_bytes() -> int:
    """Resident memory of this process as the kernel counts it now (/proc/self/statm); 0 where there is no such file."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0


def read_memory_bound() -> int:
    """Bytes of memory that this process may have: the machine's, or less where its control group says so."""
    bounds = [os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES]
    for path in _GROUP_BOUNDS:
        with contextlib.suppress(OSError, ValueError), open(path, "rb") as file:  # no such group, or "max"
            bounds.append(int(file.read()))
    return min(bounds)


def memory_meter() -> Callable[[], int]:
    """A function that gives resident bytes, at most 100 ms old."""
    read_at_ns = -_MEMORY_CACHE_NS
    value = 0

    def memory() -> int:
        nonlocal read_at_ns, value
        now_ns = time.monotonic_ns()
        if now_ns - read_at_ns >= _MEMORY_CACHE_NS:
            read_at_ns, value = now_ns, read_resident_bytes()
        return value

    return memory
