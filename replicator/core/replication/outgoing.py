"""What is to be propagated: every change of the data set, on its way from its command to those who keep it.

    command -> keyspace.recorded -> commit -> stream (encoded) -> flush -> sinks

A command records what it has changed; `commit` encodes that as commands, with a SELECT where the database is another
than the last one's, and with MULTI and EXEC around what belongs together. At the end of a turn, and whenever the
node's offset is asked for, `flush` hands the bytes to the sinks. The replication window is one sink, open while this
node is a primary that keeps one; the append-only file is another. Without a sink nothing is encoded.

On a replica the window's bytes are its primary's own, verbatim (`verbatim`), and the window is no sink: what a
client writes there goes to nobody who reads the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from replicator.core.replication.history import History
from replicator.core.wire.request import encode

Sink: TypeAlias = Callable[[bytes | bytearray], None]

_MULTI = encode((b"MULTI",))
_EXEC = encode((b"EXEC",))


class Recorder(Protocol):
    """Where commands record what they change (keyspace.database.Keyspace)."""

    recorded: list[tuple[int, list[bytes]]]  # (database, command), not yet committed
    apart: bool  # what is recorded does not belong together


class Writer(Protocol):
    """A caller that has written in this turn (clients.session.Session)."""

    write_position: int


class Outgoing:
    """See the module."""

    __slots__ = (
        "_window", "batch_dirty", "db", "feeding", "history", "recorder", "sinks", "stream", "windowed", "writers",
    )  # fmt: skip

    def __init__(self, history: History, recorder: Recorder, window: Sink) -> None:
        self.history = history
        self.recorder = recorder
        self.stream: list[bytes] = []  # encoded, not yet with the sinks
        self.sinks: list[Sink] = []
        self.feeding = False  # there is a sink
        self.windowed = False  # the replication window is one
        self.db = -1  # the database the stream is at; -1: what comes next begins with SELECT
        self.writers: dict[Writer, None] = {}
        self.batch_dirty = 0  # how often data had been changed when the batch of commands that runs now began
        self._window = window

    # -- sinks -------------------------------------------------------------------------------------------------------

    def open(self, sink: Sink) -> None:
        """From now on the sink is given everything, beginning with a SELECT."""
        self.flush()
        self.sinks.append(sink)
        self.db = -1
        self.feeding = True

    def close(self, sink: Sink) -> None:
        """The sink is given nothing more."""
        self.flush()
        self.sinks.remove(sink)
        self.feeding = bool(self.sinks)

    def follow_window(self, *, is_primary: bool) -> None:
        """The window is a sink while this node is a primary that keeps one."""
        self.feed_window(is_primary and self.history.window is not None)

    def feed_window(self, on: bool) -> None:
        """Whether the replication window is a sink."""
        if on == self.windowed:
            return
        self.windowed = on
        if on:
            if self.sinks:
                self.flush()
                self.db = -1
            self.sinks.append(self._window)
        else:
            self.flush()
            self.sinks.remove(self._window)
        self.feeding = bool(self.sinks)

    # -- what has changed --------------------------------------------------------------------------------------------

    def commit(self, *, together: bool = True) -> None:
        """Encode what was recorded; several changes are kept together by MULTI and EXEC (unless independent)."""
        recorder = self.recorder
        recorded = recorder.recorded
        recorder.recorded = []
        if not self.feeding or not recorded:
            return
        stream = self.stream
        wrapped = together and len(recorded) > 1 and not recorder.apart
        recorder.apart = False
        if wrapped:
            if recorded[0][0] != self.db:
                self.select(recorded[0][0])
            stream.append(_MULTI)
        for index, argv in recorded:
            if index != self.db:
                self.select(index)
            stream.append(encode(tuple(argv)))
        if wrapped:
            stream.append(_EXEC)

    def select(self, index: int) -> None:
        """What comes next is about this database."""
        self.stream.append(encode((b"SELECT", b"%d" % index)))
        self.db = index

    def tell_replicas(self, argv: Sequence[bytes]) -> None:
        """Put a command of our own into the replication window alone (PING, REPLCONF GETACK)."""
        if self.windowed:
            self.flush()
            self._window(encode(tuple(argv)))

    def verbatim(self, data: bytes | bytearray) -> None:
        """Bytes of our primary's stream, now applied: verbatim into the window. Other sinks are given what they did, as
        `commit` encodes it (a TTL in the stream of an old primary counts from when it is read)."""
        assert not self.windowed
        if self.stream:
            self.flush()
        self.history.append(data)

    # -- handing over ------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Give the sinks what waits; afterwards history.end is this node's offset."""
        stream = self.stream
        if stream:
            data = stream[0] if len(stream) == 1 else b"".join(stream)
            stream.clear()
            for sink in self.sinks:
                sink(data)
        if self.writers:
            end = self.history.end
            for writer in self.writers:
                writer.write_position = end
            self.writers.clear()

    def offset(self) -> int:
        """This node's offset, with everything done so far."""
        self.flush()
        return self.history.end
