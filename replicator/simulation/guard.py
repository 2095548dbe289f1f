"""Seals the real world off while a simulation runs: clocks, chance, files, sockets, threads, processes.

A simulated run that touched any of them would not be a function of its seed. The seal holds for the thread that
simulates (a progress display may go on in another); it raises Leak, a BaseException, so that no machine's error
handling hides it.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

_NAMES: Final[tuple[tuple[Any, tuple[str, ...]], ...]] = (
    (
        time,
        ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "sleep",
         "localtime", "gmtime"),
    ),
    (
        random,
        ("random", "randrange", "randint", "choice", "choices", "shuffle", "sample", "uniform", "getrandbits",
         "randbytes", "seed", "gauss", "expovariate"),
    ),
    (os, ("urandom", "getpid", "fork", "getrandom")),
    (uuid, ("uuid1", "uuid4")),
    (threading.Thread, ("start",)),
)  # fmt: skip
_EVENTS: Final = (
    "socket.", "subprocess.", "os.fork", "os.exec", "os.posix_spawn", "os.system", "_thread.start", "os.remove",
    "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "shutil.", "tempfile.", "glob.",
)  # fmt: skip


class Leak(BaseException):
    """A simulated machine, or the simulation itself, reached for the real world."""


_sealed: dict[int, int] = {}  # thread -> how many seals are open
_hooked = False


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _sealed or threading.get_ident() not in _sealed:
        return
    if event == "open":
        path, mode, flags = (*arguments, None, None, None)[:3]
        writes = isinstance(mode, str) and any(letter in mode for letter in "wax+")
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            writes = True
        if writes and "__pycache__" not in str(path):
            raise Leak(f"open({path!r}) for writing")
        return
    if event.startswith(_EVENTS):
        raise Leak(event)


def _sealing(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def sealed(*arguments: Any, **named: Any) -> Any:
        if threading.get_ident() in _sealed:
            raise Leak(name)
        return original(*arguments, **named)

    return sealed


@contextmanager
def sealed() -> Iterator[None]:
    """While inside, this thread reaches no clock, chance, file or socket: Leak is raised where it tries."""
    global _hooked
    if not _hooked:
        _hooked = True
        sys.addaudithook(_audit)
    own = threading.get_ident()
    if own in _sealed:
        yield
        return
    originals: list[tuple[Any, str, Any]] = []
    for module, names in _NAMES:
        for name in names:
            original = getattr(module, name, None)
            if original is not None:
                originals.append((module, name, original))
                setattr(module, name, _sealing(f"{module.__name__}.{name}", original))
    _sealed[own] = 1
    try:
        yield
    finally:
        del _sealed[own]
        for module, name, original in originals:
            setattr(module, name, original)
