"""What a simulated disk keeps: everything through a kill, what was synced through a power loss, torn rests of the
rest."""

from __future__ import annotations

import pytest

from replicator.simulation.disk import IO_ERROR, NO_SPACE, Disk, DiskError
from replicator.simulation.kernel import Kernel


def disk(seed: int = 0) -> Disk:
    return Disk(Kernel(seed).random("disk"))


def test_synced_bytes_survive_a_power_loss() -> None:
    for seed in range(50):
        store = disk(seed)
        store.append("log", b"durable", True)
        store.sync("log")
        store.append("log", b" and more", False)
        store.lose_power()
        kept = store.read("log")
        assert kept.startswith(b"durable") and len(kept) <= len(b"durable and more")


def test_what_was_not_synced_is_kept_lost_or_torn() -> None:
    seen = set()
    for seed in range(200):
        store = disk(seed)
        store.append("log", b"one", True)
        store.sync("log")
        store.append("log", b"two", False)
        store.lose_power()
        seen.add(store.read("log"))
    assert {b"one", b"onetwo"} < seen and any(b"\0" in kept for kept in seen)


def test_a_rename_that_was_not_synced_leaves_the_old_file_or_the_new_one() -> None:
    seen = set()
    for seed in range(50):
        store = disk(seed)
        store.append("final", b"old", True)
        store.sync("final")
        store.append("temp", b"new", True)
        store.sync("temp")
        store.rename("temp", "final")
        store.lose_power()
        seen.add(store.read("final"))
    assert seen == {b"old", b"new"}


def test_a_failed_sync_drops_the_dirty_bytes_for_good() -> None:
    store = disk()
    store.append("log", b"hole", True)
    store.failing_syncs = 1
    with pytest.raises(DiskError, match=IO_ERROR):
        store.sync("log")
    store.append("log", b"behind", False)
    assert store.read("log") == b"holebehind", "the page cache still shows them"
    store.lose_power()
    assert b"hole" not in (store.read("log") if "log" in store.entries else b"")


def test_a_full_disk_takes_nothing_and_keeps_what_it_has() -> None:
    store = disk()
    store.append("log", b"there", True)
    store.full = True
    with pytest.raises(DiskError, match=NO_SPACE):
        store.append("log", b"more", False)
    assert store.read("log") == b"there"


def test_a_reader_of_a_file_that_is_begun_anew_has_the_old_bytes() -> None:
    store = disk()
    store.append("f", b"old", True)
    data = store.read("f")
    store.append("f", b"n", True)
    assert (data, store.read("f")) == (b"old", b"n")
