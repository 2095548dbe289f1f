"""When the append-only file is written and synced, and what leaves before that (core/persistence/journal.py)."""

from __future__ import annotations

import pytest

from replicator.core.config.config import Config
from replicator.core.effects import AppendFile, Effect, Exit, Log, Sleep, SyncFile, SyncLater, TruncateFile
from replicator.core.now import Now
from replicator.core.persistence.journal import HELD_MS, POSTPONED_MS, Journal, State
from replicator.core.turn import Turn


class World:
    """A journal in use, and a clock."""

    def __init__(self, policy: str, *more: str) -> None:
        config = Config()
        config.load("", ["--appendfsync", policy, *more])
        self.turn = Turn()
        self.turn.now = Now(10_000, 1_700_000_000_000)
        self.offset = 0
        self.told: list[str] = []
        self.journal = Journal(self.turn, config, lambda: self.offset, lambda: False)
        self.journal.on_trouble = lambda: self.told.append("trouble")
        self.journal.on_distrust = lambda: self.told.append("distrust")
        self.journal.switch("incr", 0, State.ON)

    def later(self, ms: int) -> None:
        now = self.turn.now
        self.turn.now = Now(now.mono_ms + ms, now.unix_ms + ms)

    def write(self, data: bytes) -> bool:
        """One turn that writes, and the end of the driver's; whether replies are held even then."""
        self.record(data)
        assert self.journal.holds(may_wait=True) or not self.journal.buffer
        return bool(self.journal.buffer) and self.journal.holds(may_wait=False)

    def record(self, data: bytes) -> None:
        self.offset += len(data)
        self.journal.record(data)

    def effects(self) -> list[Effect]:
        return [effect for effect in self.turn.take() if not isinstance(effect, Log)]

    def sync_ends(self, why: str = "") -> None:
        self.journal.synced("incr", self.journal._ticket, why)


def test_with_always_one_sync_serves_all_turns_of_the_driver() -> None:
    world = World("always")
    for data in (b"one", b"two", b"three"):
        world.record(data)
        assert world.journal.holds(may_wait=True)
        assert world.effects() == []
    assert world.journal.deadline_ms() == world.turn.now.mono_ms
    assert not world.journal.holds(may_wait=False)
    assert world.effects() == [AppendFile("incr", b"onetwothree", False), SyncFile("incr")]
    assert world.journal.durable_offset() == 11


def test_with_always_a_failure_ends_the_process_and_leaves_only_what_was_durable() -> None:
    for syncing in (True, False):
        world = World("always")
        world.write(b"good")
        world.effects()
        world.write(b"in doubt")
        world.effects()
        world.journal.failed("No space left on device", syncing=syncing)
        assert world.effects() == [TruncateFile("incr", 4), Exit(1, crash=True)]


def test_with_everysec_a_sync_begins_a_second_after_the_last() -> None:
    world = World("everysec")
    assert not world.write(b"one")
    assert world.effects() == [AppendFile("incr", b"one", False), SyncLater("incr", 1)]
    world.sync_ends()
    world.later(400)
    assert not world.write(b"two")
    assert world.effects() == [AppendFile("incr", b"two", False)]
    assert world.journal.durable_offset() == 3
    assert world.journal.deadline_ms() == world.turn.now.mono_ms + 600
    world.later(600)
    world.journal.advance()
    assert world.effects() == [SyncLater("incr", 2)]
    world.sync_ends()
    assert world.journal.durable_offset() == 6
    assert world.journal.deadline_ms() is None


def test_a_write_that_waits_for_a_sync_holds_its_replies_a_moment_then_lets_them_go_then_is_made() -> None:
    world = World("everysec")
    world.write(b"one")
    world.effects()
    assert world.write(b"two")  # the sync is under way
    assert world.journal.deadline_ms() == world.turn.now.mono_ms + HELD_MS
    world.later(HELD_MS)
    assert not world.journal.holds(may_wait=False)
    assert world.effects() == [] and world.journal.buffer == [b"two"]
    world.later(POSTPONED_MS - HELD_MS - 1)
    assert not world.journal.holds(may_wait=False)
    assert world.effects() == [] and world.journal.delayed == 0
    world.later(1)
    assert not world.journal.holds(may_wait=False)
    assert world.effects() == [AppendFile("incr", b"two", False)]
    assert world.journal.delayed == 1


def test_a_sync_that_ends_soon_lets_the_write_be_made_before_its_replies() -> None:
    world = World("everysec")
    world.write(b"one")
    world.effects()
    assert world.write(b"two")
    world.later(5)
    world.sync_ends()
    assert not world.journal.holds(may_wait=False)
    assert world.effects() == [AppendFile("incr", b"two", False)]


@pytest.mark.parametrize("policy", ["everysec", "no"])
def test_a_failed_write_is_made_again_every_second_and_writes_are_refused_meanwhile(policy: str) -> None:
    world = World(policy)
    world.journal.last_sync_ms = world.turn.now.mono_ms
    world.write(b"one")
    world.effects()
    world.journal.failed("No space left on device", syncing=False)
    assert world.journal.refuses == "No space left on device"
    assert world.journal.size == 0
    world.record(b"two")  # a key has expired
    assert not world.journal.holds(may_wait=False)
    assert world.effects() == []
    world.later(1000)
    world.journal.advance()
    assert world.effects() == [AppendFile("incr", b"onetwo", False)]
    world.journal.failed("No space left on device", syncing=False)
    world.later(1000)
    world.journal.advance()
    assert world.effects() == [AppendFile("incr", b"onetwo", False)]
    assert world.journal.refuses
    world.journal.advance()  # nobody has told of a failure
    assert not world.journal.refuses
    assert world.journal.size == 6


def test_a_failed_sync_is_never_believed() -> None:
    world = World("everysec")
    world.write(b"one")
    world.sync_ends("Input/output error")
    assert world.journal.refuses == "Input/output error"
    assert "distrust" in world.told


def test_timestamps_stand_before_the_first_write_of_a_second() -> None:
    world = World("no", "--aof-timestamp-enabled", "yes")
    world.write(b"one")
    world.write(b"two")
    world.later(1000)
    world.write(b"three")
    written = [effect.data for effect in world.effects() if isinstance(effect, AppendFile)]
    assert written == [b"#TS:1700000000\r\none", b"two", b"#TS:1700000001\r\nthree"]


def test_the_process_sleeps_before_each_write_when_asked_to() -> None:
    world = World("everysec")
    world.journal.flush_sleep_us = 300_000
    world.write(b"one")
    world.sync_ends()
    world.write(b"two")
    written = [effect for effect in world.effects() if not isinstance(effect, SyncLater)]
    assert written == [
        Sleep(300_000), AppendFile("incr", b"one", False), Sleep(300_000), AppendFile("incr", b"two", False)
    ]  # fmt: skip
