"""Sentinels of the simulated stage: built from the file on their simulated disk."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from replicator.core.config.config import Config, MemoryStore
from replicator.core.sentinel.file import DEFAULT_PORT, separate
from replicator.core.sentinel.machine import Sentinel, Surroundings
from replicator.scenario.play.sentinel_file import NAME, text_of
from replicator.scenario.play.stage import StartNode
from replicator.simulation.disk import Disk

MakeSentinel = Callable[[Config, list[object], Random, Surroundings, str], Sentinel]

def build(
    request: StartNode, disk: Disk, port: int, pid: int, chance: Random, make: Callable[..., Sentinel] = Sentinel
) -> Sentinel:
    """The Sentinel that the file on the disk describes; a disk without one gets the request's."""
    if NAME not in disk.entries:
        disk.append(NAME, text_of(request).encode(), True)
        disk.sync(NAME)
    text = bytes(disk.entries[NAME].data).decode("utf-8", "surrogateescape")
    config = Config(MemoryStore(text, NAME))
    config.assign("port", DEFAULT_PORT)
    config.assign("protected-mode", False)
    rest, given, own = separate(text, [], NAME)
    config.load("\n".join((rest, *given)))
    return make(config, own, chance, Surroundings(pid=pid, port=port, config_file=NAME), text)
