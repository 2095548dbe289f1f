"""The way of a change from its command to those who keep it: replication window, log of changes."""

from __future__ import annotations

from random import Random

from replicator.core.keyspace.database import Keyspace
from replicator.core.replication.history import History
from replicator.core.replication.outgoing import Outgoing
from replicator.core.wire.request import encode

SET = [b"SET", b"k", b"1"]
DEL = [b"DEL", b"k"]
SELECT0 = encode((b"SELECT", b"0"))


class World:
    """An Outgoing, the window's bytes, and a log's."""

    def __init__(self) -> None:
        self.keyspace = Keyspace(2)
        self.history = History(Random(1))
        self.window = bytearray()
        self.log = bytearray()
        self.outgoing = Outgoing(self.history, self.keyspace, self._append)

    def _append(self, data: bytes | bytearray) -> None:
        self.window += data

    def to_log(self, data: bytes | bytearray) -> None:
        self.log += data

    def record(self, *changes: tuple[int, list[bytes]], together: bool = True) -> None:
        self.keyspace.recorded += changes
        self.outgoing.commit(together=together)

    def flushed(self) -> bytes:
        self.outgoing.flush()
        data = bytes(self.window)
        self.window.clear()
        return data


def test_without_a_sink_nothing_is_encoded() -> None:
    world = World()
    world.record((0, SET))
    assert not world.outgoing.feeding
    assert not world.outgoing.stream
    assert world.keyspace.recorded == []


def test_a_change_goes_to_every_sink_and_each_database_is_named_once() -> None:
    world = World()
    world.outgoing.feed_window(True)
    world.outgoing.open(world.to_log)
    world.record((0, SET))
    world.record((0, DEL))
    world.record((1, SET))
    expected = SELECT0 + encode(tuple(SET)) + encode(tuple(DEL)) + encode((b"SELECT", b"1")) + encode(tuple(SET))
    assert world.flushed() == expected
    assert world.log == expected


def test_changes_that_belong_together_are_a_transaction_and_independent_ones_are_not() -> None:
    world = World()
    world.outgoing.feed_window(True)
    both = encode(tuple(SET)) + encode(tuple(DEL))
    world.record((0, SET), (0, DEL))
    assert world.flushed() == SELECT0 + encode((b"MULTI",)) + both + encode((b"EXEC",))
    world.record((0, SET), (0, DEL), together=False)
    assert world.flushed() == both


def test_a_sink_that_is_opened_later_begins_with_a_select_of_its_own() -> None:
    world = World()
    world.outgoing.feed_window(True)
    world.record((0, SET))
    world.outgoing.open(world.to_log)
    world.record((0, DEL))
    assert world.flushed() == SELECT0 + encode(tuple(SET)) + SELECT0 + encode(tuple(DEL))
    assert world.log == SELECT0 + encode(tuple(DEL))


def test_what_is_said_to_replicas_goes_to_the_window_alone_and_keeps_its_place() -> None:
    world = World()
    world.outgoing.feed_window(True)
    world.outgoing.open(world.to_log)
    world.record((0, SET))
    world.outgoing.tell_replicas((b"PING",))
    world.record((0, DEL))
    change, ping = encode(tuple(SET)), encode((b"PING",))
    assert world.flushed() == SELECT0 + change + ping + encode(tuple(DEL))
    assert world.log == SELECT0 + change + encode(tuple(DEL))


def test_a_closed_sink_has_what_came_before_and_gets_nothing_more() -> None:
    world = World()
    world.outgoing.feed_window(True)
    world.outgoing.open(world.to_log)
    world.record((0, SET))
    world.outgoing.close(world.to_log)
    world.record((0, DEL))
    assert world.log == SELECT0 + encode(tuple(SET))
    assert world.flushed().endswith(encode(tuple(DEL)))
    world.outgoing.feed_window(False)
    assert not world.outgoing.feeding


def test_a_primarys_bytes_go_verbatim_into_the_window_and_a_log_is_told_what_they_did() -> None:
    world = World()
    world.history.open_window(1 << 16)
    world.outgoing.open(world.to_log)
    begin = world.outgoing.offset()
    world.outgoing.verbatim(b"*1\r\n$4\r\nPING\r\n")
    assert world.outgoing.offset() == begin + 14
    assert not world.log
    assert not world.window
    world.record((0, SET))
    world.outgoing.flush()
    assert world.log == SELECT0 + encode(tuple(SET))


def test_who_wrote_learns_its_place_when_the_stream_is_flushed() -> None:
    class Writer:
        write_position = -1

    world = World()
    world.outgoing.feed_window(True)
    writer = Writer()
    world.outgoing.writers[writer] = None
    world.record((0, SET))
    assert writer.write_position == -1
    world.outgoing.flush()
    assert writer.write_position == world.history.end
    assert not world.outgoing.writers
