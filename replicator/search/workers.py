"""Many seeds at once: in this process, in processes of this machine, or on a Dask cluster."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import active_children, get_context
from typing import Any

from replicator.scenario.script.script import Faults, Script
from replicator.search.run import Seed, prepared, scripts_of, try_seed

# Seeds that one worker plays before it reports.
BATCH = 8
# Tasks that are handed out for each worker's thread, at most: a range may be far larger than memory.
AHEAD = 3
# How long a Dask scheduler may take to answer.
DASK_SECONDS = 10
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)

Task = tuple[str, Faults | None, int, int]  # a file, the faults in place of its own, seeds from, to

_scripts: dict[tuple[str, str], list[tuple[str, Script]]] = {}


def loaded(file: str, faults: Faults | None) -> list[tuple[str, Script]]:
    """scripts_of(), once a process."""
    key = (file, repr(faults))
    if key not in _scripts:
        _scripts[key] = scripts_of(file, faults)
    return _scripts[key]


def play_batch(task: Task) -> list[Seed]:
    """All seeds and variants of one task."""
    file, faults, begin, end = task
    return play_seeds(loaded(file, faults), file, range(begin, end))


def play_seeds(scripts: Sequence[tuple[str, Script]], file: str, seeds: Iterable[int]) -> list[Seed]:
    """Plays each seed of each (variant, script). file: what the results are called by."""
    found: list[Seed] = []
    # A run leaves nearly all of its garbage behind when it ends, in cycles. They are looked for between runs alone, and
    # not among what was there before: modules and scripts are most of what would be walked.
    gc.disable()
    gc.freeze()
    try:
        for seed in seeds:
            for variant, script in scripts:
                found.append(try_seed(prepared(script, seed), file, variant, seed))
            gc.collect()
    finally:
        gc.unfreeze()
        gc.enable()
    return found


class Tasks(Sequence[Task]):
    """Batches, the files taken in turns so that all of them are under way early. None is made before it is asked for:
    a search may be over before its range is."""

    def __init__(self, files: Sequence[str], faults: Faults | None, begin: int, end: int) -> None:
        self._files, self._faults, self._end = files, faults, end
        self._firsts = range(begin, end, BATCH)

    def __len__(self) -> int:
        return len(self._firsts) * len(self._files)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        first = self._firsts[index // len(self._files)]
        return self._files[index % len(self._files)], self._faults, first, min(self._end, first + BATCH)


def play_all(tasks: Sequence[Task], jobs: int) -> Iterator[list[Seed]]:
    """Results as they come. jobs 1: in this very process."""
    if jobs == 1:
        yield from map(play_batch, tasks)
        return
    others = set(active_children())
    # A fresh interpreter each: nothing is inherited that a seed could depend on.
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_live_with, initargs=(os.getpid(),)) as pool:
        pending = set()
        upcoming = iter(tasks)
        try:
            for task in upcoming:
                pending.add(pool.submit(play_batch, task))
                if len(pending) < AHEAD * jobs:
                    continue
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for one in done:
                    yield one.result()
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for one in done:
                    yield one.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in set(active_children()) - others:
                worker.terminate()  # a seed may take long, and nobody waits for it any more
            raise


def _live_with(parent: int) -> None:
    """In a worker: Ctrl-C is for the parent to answer, and where it is killed the kernel ends the worker, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


class NoDask(Exception):
    """The optional extra is not installed, or there is no cluster at the address."""


def play_on_dask(tasks: Sequence[Task], address: str, texts: dict[str, str]) -> Iterator[list[Seed]]:
    """Results as they come from a Dask cluster whose workers have replicator installed. texts: file name -> its text,
    for the workers have no such files. Few tasks are under way at a time, however many there are. Raises NoDask."""
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise NoDask("--dask needs the extra: pip install 'replicator[dask]'") from None
    try:
        client = Client(address, timeout=DASK_SECONDS)
    except (OSError, ValueError) as problem:
        raise NoDask(f"--dask {address}: {problem}") from None
    with client:
        make: Callable[..., Any] = client.submit
        upcoming = iter(tasks)
        under_way: Any = as_completed(loop=client.loop)
        room = _room(client)
        results = 0
        while True:
            for task in islice(upcoming, max(0, room - under_way.count())):
                under_way.add(make(play_shipped, task, texts[task[0]], pure=False))
            if not under_way.count():
                return
            # Not kept in a name: the cluster forgets a result that no future is left of.
            yield next(under_way).result()
            results += 1
            if results % room == 0:
                room = _room(client)  # workers come and go


def _room(client: Any) -> int:
    """How many tasks a cluster may have at a time: enough that no thread waits for this process."""
    threads: int = sum(client.nthreads().values())
    return AHEAD * max(1, threads)


def play_shipped(task: Task, text: str) -> list[Seed]:
    """play_batch for a worker that has the file's text alone."""
    from tempfile import NamedTemporaryFile

    file, faults, begin, end = task
    with NamedTemporaryFile("w", suffix=".toml", encoding="utf-8") as copy:
        copy.write(text)
        copy.flush()
        found = play_batch((copy.name, faults, begin, end))
    for seed in found:
        seed.file = file
    return found
