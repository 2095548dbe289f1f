"""What happens in the forked child of a snapshot, from its first instruction to os._exit.

The child says how it ended in one line on its status pipe:

    done <length> <keys> <cow bytes>
    fail <reason>

An end without a line means that it died.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator

from replicator.core.effects import Level

_PR_SET_PDEATHSIG = 1
# Bytes gathered before a write: fewer system calls for a snapshot of small keys.
_WRITE_BYTES = 128 * 1024
# Sleeps shorter than this are put together: the system cannot sleep a microsecond.
_SLEEP_LEAST_US = 200

# Loaded before any fork: a child must not depend on the loader's locks.
_libc = ctypes.CDLL(None, use_errno=True)


def copied_bytes() -> int:
    """Memory that this process shares with no other (Private_Dirty of /proc/self/smaps_rollup); 0 where it is not
    told."""
    try:
        with open("/proc/self/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Private_Dirty:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass  # no such file here: the number is for information only
    return 0


def die_with_parent(parent_pid: int) -> None:
    """The kernel kills this process when its parent ends; if that has happened already, end now."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)


class _Pace:
    """rdb-key-save-delay: microseconds a key, or (negative) keys a microsecond."""

    def __init__(self, key_delay_us: int) -> None:
        self._us_per_key = float(key_delay_us) if key_delay_us >= 0 else 1 / -key_delay_us
        self._owed_us = 0.0

    def keys(self, count: int) -> bool:
        """So many keys were saved; True: it is time to sleep."""
        self._owed_us += count * self._us_per_key
        return self._owed_us >= _SLEEP_LEAST_US

    def sleep(self) -> None:
        """Sleep what is owed. What a sleep takes too long is taken off the next."""
        begun_ns = time.monotonic_ns()
        time.sleep(self._owed_us / 1_000_000)
        self._owed_us -= (time.monotonic_ns() - begun_ns) / 1000


def _write_all(fd: int, data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_chunks(chunks: Iterable[bytes | tuple[bytes, int]], fd: int, key_delay_us: int) -> tuple[int, int]:
    """Write every chunk to the descriptor; returns (length, keys).

    An item is bytes, or (bytes, number of keys in it). With a delay, bytes alone count as one key.
    """
    pace = _Pace(key_delay_us) if key_delay_us else None
    waiting = bytearray()
    length = keys = 0
    for item in chunks:
        if isinstance(item, tuple):
            data, count = item
            keys += count
        else:
            data, count = item, 1
        length += len(data)
        waiting += data
        due = pace is not None and pace.keys(count)
        if due or len(waiting) >= _WRITE_BYTES:
            _write_all(fd, waiting)
            waiting.clear()
        if due:
            assert pace is not None
            pace.sleep()
    _write_all(fd, waiting)
    return length, keys


def run(
    parent_pid: int,
    chunks: Callable[[], Iterator[bytes | tuple[bytes, int]]],
    output_fd: int,
    status_fd: int,
    durable: bool,
    key_delay_us: int,
    log: Callable[[Level, str], None],
    purpose: str,
) -> None:
    """The child's whole life; never returns. durable: the output is a file that must be synced. purpose: what it is
    for, as its log lines say."""
    code = 1
    try:
        gc.disable()  # a collection would touch, and so copy, every container
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        die_with_parent(parent_pid)
        _close_inherited(output_fd, status_fd)
        length, keys = write_chunks(chunks(), output_fd, key_delay_us)
        if durable:
            os.fsync(output_fd)
        copied = copied_bytes()
        if durable:
            log(Level.NOTICE, "DB saved on disk" if purpose == "RDB" else f"The file of the {purpose} is written")
        megabytes = copied >> 20
        shown = f"current {megabytes} MB, peak {megabytes} MB, average {megabytes} MB"
        log(Level.NOTICE, f"Fork CoW for {purpose}: {shown}")
        os.close(output_fd)
        _write_all(status_fd, b"done %d %d %d\n" % (length, keys, copied))
        code = 0
    except BaseException as error:
        try:
            why = (error.strerror if isinstance(error, OSError) else None) or repr(error)
            _write_all(status_fd, b"fail " + why.replace("\n", " ").encode("utf-8", "replace") + b"\n")
        except OSError:
            pass  # nobody listens
    finally:
        os._exit(code)


def _close_inherited(*kept: int) -> None:
    """Close every descriptor but the standard three and those kept: a peer must see the end of a connection when the
    server closes it, not when its child ends."""
    low = 3
    for fd in sorted(kept):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))
