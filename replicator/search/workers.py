"""Many seeds at once: in this process, in processes of this machine, or on a Dask cluster."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from multiprocessing import get_context
from typing import Any

from replicator.scenario.script import Faults, Script
from replicator.search.run import Seed, prepared, scripts_of, try_seed

# Seeds that one worker plays before it reports.
BATCH = 8

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


def tasks_of(files: Sequence[str], faults: Faults | None, begin: int, end: int) -> list[Task]:
    """Batches, the files taken in turns so that all of them are under way early."""
    return [
        (file, faults, first, min(end, first + BATCH)) for first in range(begin, end, BATCH) for file in files
    ]


def play_all(tasks: Sequence[Task], jobs: int) -> Iterator[list[Seed]]:
    """Results as they come. jobs 1: in this very process."""
    if jobs == 1:
        yield from map(play_batch, tasks)
        return
    # A fresh interpreter each: nothing is inherited that a seed could depend on.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        pending = set()
        upcoming = iter(tasks)
        try:
            for task in upcoming:
                pending.add(pool.submit(play_batch, task))
                if len(pending) < 3 * jobs:
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
            raise


class NoDask(Exception):
    """The optional extra is not installed."""


def play_on_dask(tasks: Sequence[Task], address: str, texts: dict[str, str]) -> Iterator[list[Seed]]:
    """Results as they come from a Dask cluster whose workers have replicator installed. texts: file name -> its text,
    for the workers have no such files. Raises NoDask."""
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise NoDask("--dask needs the extra: pip install 'replicator[dask]'") from None
    with Client(address) as client:
        make: Callable[..., Any] = client.submit
        futures = [make(play_shipped, task, texts[task[0]], pure=False) for task in tasks]
        for future in as_completed(futures):
            yield future.result()


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
