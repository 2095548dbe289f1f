"""Which history a node's data belongs to: replication ids and offsets; and whether a replica may continue it.

A replication id names one history; with an offset it names one data set. A node that takes over from its primary opens
a new history (a new id) but keeps the old id as its second, valid up to the offset of the take-over: whoever followed
the old primary no further than that can follow the new one without copying the data.

    A (id=a)  ... 1000                         a's replicas B and C both stand at 1000
    B promoted: id=b, id2=a valid up to 1000   C asks B: PSYNC a 1001 -> +CONTINUE b

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/replication/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Protocol

from replicator.core.replication.backlog import Window

NO_ID = "0" * 40


class Settings(Protocol):
    """The configuration as replication reads it: directive name -> typed value."""

    def __getitem__(self, name: str) -> object: ...


_ID = re.compile(rb"[0-9a-fA-F]{40}\Z")


def is_id(word: bytes) -> bool:
    """Whether a peer's word has the form of a replication id."""
    return _ID.match(word) is not None


def new_id(chance: Random) -> str:
    """Forty random hex digits."""
    return f"{chance.getrandbits(160):040x}"


class Refusal(Enum):
    """Why a partial resynchronization is not possible. The value is the reason's public name."""

    FIRST_TIME = "first synchronization"
    UNKNOWN_ID = "unknown replication id"
    SECOND_ID_PAST_LIMIT = "second replication id past its limit"
    NO_BACKLOG = "no backlog"
    BEFORE_BACKLOG = "offset before the backlog"
    FUTURE = "offset in the future"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to a PSYNC: position to continue from, or the refusal with its figures.

    sufficient: the backlog size that would have allowed a partial resynchronization, or None if none would.
    """

    refusal: Refusal | None
    asked_id: str
    asked_position: int
    first: int
    end: int
    sufficient: int | None

    def explain(self) -> str:
        """One line for the log: the reason, both offsets, the backlog's range and what would have sufficed."""
        assert self.refusal is not None
        if self.first == self.end:
            held = "the backlog is empty" if self.refusal is not Refusal.NO_BACKLOG else "there is no backlog"
        else:
            held = f"the backlog holds {self.first + 1}-{self.end}"
        asked = f"{self.asked_id}:{self.asked_position + 1}"
        text = f"{self.refusal.value}: asked for {asked}, our offset is {self.end}, {held}"
        if self.sufficient is not None:
            missing = self.first - self.asked_position
            return f"{text}; {missing} bytes too late, repl-backlog-size {self.sufficient} would have sufficed"
        return f"{text}; no backlog size would have sufficed"


class History:
    """A node's ids and offset. end: the replication offset, bytes of this history so far; the window ends there."""

    __slots__ = ("end", "id", "id2", "second_limit", "window")

    def __init__(self, chance: Random) -> None:
        self.id = new_id(chance)
        self.id2 = NO_ID
        self.second_limit = -1  # id2 is valid for requests of a first byte up to this (INFO: second_repl_offset)
        self.end = 0
        self.window: Window | None = None

    def open_window(self, size: int) -> None:
        """Begin to keep a backlog from the current offset on."""
        assert self.window is None
        self.window = Window(size, self.end)

    def drop_window(self) -> None:
        """Keep no backlog any more; the offset stays."""
        self.window = None

    def append(self, data: bytes | bytearray) -> None:
        """More bytes of the stream."""
        self.end += len(data)
        if self.window is not None:
            self.window.append(data)

    def judge(self, asked_id: str, asked_position: int) -> Verdict:
        """May a replica that has `asked_position` bytes of history `asked_id` continue with ours?"""
        first = self.end if self.window is None else self.window.start
        end = self.end
        refusal: Refusal | None = None
        sufficient: int | None = None
        if asked_id == "?":
            refusal = Refusal.FIRST_TIME
        elif asked_id not in (self.id, self.id2) or asked_id == NO_ID:
            refusal = Refusal.UNKNOWN_ID
        elif asked_id != self.id and asked_position + 1 > self.second_limit:
            refusal = Refusal.SECOND_ID_PAST_LIMIT
        elif asked_position > end:
            refusal = Refusal.FUTURE
        elif self.window is None:
            refusal = Refusal.NO_BACKLOG
        elif asked_position < first or asked_position < 0:
            refusal = Refusal.BEFORE_BACKLOG
            sufficient = end - asked_position
        return Verdict(refusal, asked_id, asked_position, first, end, sufficient)

    def branch(self, chance: Random) -> None:
        """Open a new history here (promotion): our id becomes the second one, valid up to this offset."""
        self.id2 = self.id
        self.second_limit = self.end + 1
        self.id = new_id(chance)

    def forget(self, chance: Random) -> None:
        """A new id, and no second one: what was before can no longer be continued."""
        self.id = new_id(chance)
        self.id2 = NO_ID
        self.second_limit = -1

    def follow(self, new: str) -> None:
        """Our primary goes on under a new id: remember the old one for our own replicas."""
        self.id2 = self.id
        self.second_limit = self.end + 1
        self.id = new

    def restart(self, new: str, offset: int, size: int | None) -> None:
        """The data is now that of another history at this offset (after a full synchronization).

        size: of the new backlog; None keeps none.
        """
        self.id = new
        self.id2 = NO_ID
        self.second_limit = -1
        self.window = None
        self.end = offset
        if size is not None:
            self.open_window(size)
