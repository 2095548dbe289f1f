"""One payload of a full synchronization on its way from the primary: header, bytes, end.

    $<length>\\r\\n          then exactly so many bytes, then the stream
    $EOF:<mark>\\r\\n        then bytes until the mark (40 random bytes) comes; nothing follows it before our first ACK

A payload goes to a file (made durable and renamed when it is whole, then loaded) or straight to the loader. Only the
loader knows where the data itself ends: there the mark must follow, or the announced length must be used up. To a file
the end is told by the length, or by the last 40 bytes of what has come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from replicator.core import limits
from replicator.core.effects import AppendFile, CommitFile, Effect, Level, Log, RemoveFile
from replicator.core.now import Now

MARK = 40  # length of the end mark of a payload without a length
_LONGEST_LENGTH = 20  # digits


class LoadError(Exception):
    """The payload could not be loaded; the text says why."""


class TransferError(Exception):
    """The payload cannot be used. message: for the log. why: for the connection's end, in a few words."""

    def __init__(self, message: str, why: str) -> None:
        super().__init__(message)
        self.message = message
        self.why = why


class Loader(Protocol):
    """Where a payload can go other than to a file."""

    def load_in_memory(self) -> bool:
        """Whether a payload is loaded as it comes (repl-diskless-load) rather than from a file."""

    def disk_room(self) -> int | None:
        """Bytes free where a file would go; None: nobody knows."""

    def open_loader(self) -> None:
        """Begin a load of bytes that come by feed_loader."""

    def feed_loader(self, data: bytes) -> bytes | None:
        """Bytes of the payload; None while more are needed, otherwise the bytes behind its end. May raise LoadError."""

    def loader_waits(self) -> bool:
        """Whether the loader holds bytes back for a while; `take` must be called again (with nothing) when it goes
        on.
        """

    def abandon_load(self, why: str) -> None:
        """The payload will not come to its end, or is not wanted any more."""


class Transfer:
    """A payload being received."""

    __slots__ = (
        "_data_ended",
        "_emit",
        "_loader",
        "_look_at",
        "_mark",
        "_name",
        "_tail",
        "behind",
        "file",
        "header_seen",
        "in_memory",
        "io_ms",
        "read",
        "size",
    )

    def __init__(self, emit: Callable[[Effect], None], loader: Loader, name: str) -> None:
        """name: of the file, should one be needed."""
        self._emit = emit
        self._loader = loader
        self._name = name
        self._mark = b""
        self._look_at = limits.DISK_LOOK_BYTES  # when so much has been read, the room is looked at again
        self._tail = b""  # the last bytes, which may be the mark or its begin
        self._data_ended = False  # the loader has seen the end of the data
        self.file = ""  # the file that holds what has come, until it has its final name
        self.in_memory = False
        self.header_seen = False
        self.size = -1  # -1: unknown (end mark)
        self.read = 0
        self.io_ms = 0
        self.behind = b""  # stream bytes that came with the payload's end

    def header(self, line: bytes, now: Now) -> None:
        """The payload's first line. Raises TransferError."""
        if line[:1] == b"-":
            raise TransferError(f"MASTER aborted replication with an error: {text(line[1:])}", "the primary aborted")
        if line.startswith(b"$EOF:") and len(line) >= 5 + MARK:
            self._mark = line[5 : 5 + MARK]
        elif line[:1] == b"$" and line[1:].isdigit() and len(line) <= _LONGEST_LENGTH:
            self.size = int(line[1:])
        else:
            raise TransferError(
                f"Bad protocol from MASTER, the first byte is not '$' (we received '{text(line[:64])}'), "
                "are you sure the host and port are right?",
                "bad protocol",
            )
        self.in_memory = self._loader.load_in_memory()
        self._check_room(max(self.size, 0))
        self.header_seen = True
        self.io_ms = now.mono_ms
        what = "streamed RDB from master with EOF" if self._mark else f"{self.size} bytes from master"
        target = "to parser" if self.in_memory else "to disk"
        self._emit(Log(Level.NOTICE, f"MASTER <-> REPLICA sync: receiving {what} {target}"))
        if self.in_memory:
            self._loader.open_loader()
        else:
            self.file = self._name
            self._emit(AppendFile(self.file, b"", first=True))

    def take(self, data: bytes, now: Now) -> bool:
        """More bytes; whether the payload is whole now (`behind` then holds what came after it).

        Raises TransferError.
        """
        self.io_ms = now.mono_ms
        if self.size >= 0:
            left = self.size - self.read
            if len(data) > left:
                self.behind = data[left:]
                data = data[:left]
        self.read += len(data)
        if self.read >= self._look_at:
            self._look_at = self.read + limits.DISK_LOOK_BYTES
            self._check_room(0)
        return self._to_loader(data) if self.in_memory else self._to_file(data)

    def _check_room(self, wanted: int) -> None:
        """Raise TransferError for a payload that is too large, or for which the disk has no room."""
        if max(wanted, self.read) > limits.MAX_PAYLOAD:
            raise TransferError(
                f"The payload of the master is larger than {limits.MAX_PAYLOAD} bytes, more than can be loaded here",
                "the payload is too large",
            )
        room = None if self.in_memory else self._loader.disk_room()
        if room is not None and room < wanted + limits.DISK_RESERVE:
            raise TransferError(
                f"No room on the disk for the payload of the master: {room} bytes are free, {wanted or 'more'} are "
                f"wanted and {limits.DISK_RESERVE} have to stay, with {self.read} bytes of the payload received",
                "no room on the disk",
            )

    def _to_file(self, data: bytes) -> bool:
        if not self._mark:
            self._append(data)
            return self.read == self.size
        data = self._tail + data
        self._tail = data[-MARK:]
        self._append(data[:-MARK])
        return self._tail == self._mark

    def _append(self, data: bytes) -> None:
        if data:
            self._emit(AppendFile(self.file, data, first=False))

    def _to_loader(self, data: bytes) -> bool:
        if self._data_ended:
            self._tail += data
        else:
            try:
                rest = self._loader.feed_loader(data)
            except LoadError as problem:
                raise _unloadable(str(problem)) from None
            if rest is None:
                if self.read == self.size and not self._loader.loader_waits():
                    raise _unloadable(f"the data does not end within its {self.size} bytes")
                return False
            self._data_ended = True
            self._tail = rest
        if not self._mark:
            if self._tail or self.read != self.size:
                raise _unloadable(f"the data ends before its {self.size} bytes")
            return True
        if not self._mark.startswith(self._tail[:MARK]):
            raise TransferError("Replication stream EOF marker is broken", "broken end mark")
        self.behind = self._tail[MARK:]
        return len(self._tail) >= MARK

    def commit(self, final_name: str) -> None:
        """The file is whole: make it durable under its final name; `committed` is asked when that is done."""
        self._emit(CommitFile(self.file, final_name))

    def committed(self, name: str) -> bool:
        """A file has its final name; whether it was this payload's."""
        if not name or name != self.file:
            return False
        self.file = ""
        return True

    def drop(self, why: str) -> None:
        """The payload is not wanted any more, or will not come to its end."""
        if self.file:
            self._emit(RemoveFile(self.file))
            self.file = ""
        elif self.header_seen:
            self._loader.abandon_load(why)
        self.header_seen = False
        self._tail = self.behind = b""


def _unloadable(why: str) -> TransferError:
    return TransferError(
        f"Failed trying to load the MASTER synchronization DB from socket: {why}", "the payload could not be loaded"
    )


def text(data: bytes) -> str:
    """Bytes of a peer for a log line."""
    return data.decode("utf-8", "backslashreplace")
