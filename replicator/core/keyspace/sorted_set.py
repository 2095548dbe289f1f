"""Sorted sets: members with scores, ordered by score and then by member.

Theory of operation
- `scores` is the truth. Adding, reading and removing by member are dictionary operations.
- `order` holds the same pairs sorted. It is made by the first access that needs an order and then kept up with each
  change (O(log n)); a set that only ever sees ZADD and ZSCORE never pays for it. Making it costs O(n log n) once.
- `index` numbers the members for random choice and scanning; it too is made on first use and then kept up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf, nextafter
from typing import Any, NamedTuple

from sortedcontainers import SortedList

from replicator.core.keyspace.index import Index
from replicator.core.keyspace.kinds import Kind

# Stock keeps a set of at most so many members of at most so many bytes as one flat list (OBJECT ENCODING "listpack"),
# until it first outgrows that. It shows in two places: a flat list has no negative zero, and a lexicographic range over
# members with different scores (unspecified by the documentation) finds what a walk from the low end meets.
FLAT_LENGTH = 128
FLAT_MEMBER = 64


class ScoreRange(NamedTuple):
    """Scores from `least` to `most`; either end may be excluded."""

    least: float
    most: float
    above: bool = False  # least itself is excluded
    below: bool = False  # most itself is excluded


class LexRange(NamedTuple):
    """Members from `least` to `most` (None: no bound); either end may be excluded. `empty`: nothing can be inside."""

    least: bytes | None
    most: bytes | None
    above: bool = False
    below: bool = False
    empty: bool = False

    def reaches(self, member: bytes) -> bool:
        """Whether the member is not before the range."""
        return self.least is None or (member > self.least if self.above else member >= self.least)

    def holds_back(self, member: bytes) -> bool:
        """Whether the member is not behind the range."""
        return self.most is None or (member < self.most if self.below else member <= self.most)


class SortedSet:
    """Members (bytes) with scores (floats, never nan)."""

    __slots__ = ("flat", "index", "order", "scores")
    kind = Kind.SORTED_SET

    def __init__(self) -> None:
        self.scores: dict[bytes, float] = {}
        self.order: Any = None  # SortedList of (score, member), or None while nobody has asked for the order
        self.index: Index | None = None
        self.flat = True  # has never outgrown FLAT_LENGTH and FLAT_MEMBER

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[bytes, float]]) -> SortedSet:
        """A set of these (member, score) pairs; of a member that comes twice the last score holds."""
        made = cls()
        scores = made.scores = dict(pairs)
        if len(scores) > FLAT_LENGTH or max(map(len, scores), default=0) > FLAT_MEMBER:
            made.flat = False
        else:
            for member, score in scores.items():
                if score == 0:
                    scores[member] = 0.0
        return made

    def __len__(self) -> int:
        return len(self.scores)

    def __contains__(self, member: bytes) -> bool:
        return member in self.scores

    # -- changing --------------------------------------------------------------------------------------------------

    def add(self, member: bytes, score: float) -> bool:
        """Give the member this score; whether the member is new."""
        scores = self.scores
        before = scores.get(member)
        if before == score:
            return False
        if self.flat:
            if before is None and (len(scores) >= FLAT_LENGTH or len(member) > FLAT_MEMBER):
                self.flat = False
            elif score == 0:
                score = 0.0
        scores[member] = score
        if self.order is not None:
            if before is not None:
                self.order.remove((before, member))
            self.order.add((score, member))
        if before is not None:
            return False
        if self.index is not None:
            self.index.add(member)
        return True

    def remove(self, member: bytes) -> bool:
        """Take the member away; whether it was there."""
        score = self.scores.pop(member, None)
        if score is None:
            return False
        if self.order is not None:
            self.order.remove((score, member))
        if self.index is not None:
            self.index.discard(member)
        return True

    def remove_slice(self, start: int, stop: int) -> int:
        """Take away the members at the places start ... stop-1 (counted from the lowest); how many they were."""
        order = self.ordered()
        gone = list(order.islice(start, stop))
        if not gone:
            return 0
        del order[start:stop]
        for _, member in gone:
            del self.scores[member]
            if self.index is not None:
                self.index.discard(member)
        return len(gone)

    def pop(self, highest: bool) -> tuple[float, bytes]:
        """Take away and return the (score, member) that comes last (highest) or first; there must be one."""
        pair: tuple[float, bytes] = self.ordered().pop(-1 if highest else 0)
        del self.scores[pair[1]]
        if self.index is not None:
            self.index.discard(pair[1])
        return pair

    # -- order -----------------------------------------------------------------------------------------------------

    def ordered(self) -> Any:
        """The SortedList of (score, member); not to be changed by the caller."""
        if self.order is None:
            self.order = SortedList([(score, member) for member, score in self.scores.items()])
        return self.order

    def rank(self, member: bytes) -> int | None:
        """How many pairs come before the member's, or None if it is not there."""
        score = self.scores.get(member)
        if score is None:
            return None
        place: int = self.ordered().bisect_left((score, member))
        return place

    def slice(self, start: int, stop: int, reverse: bool = False) -> Iterator[tuple[float, bytes]]:
        """The (score, member) pairs at the places start ... stop-1, or the same from the last to the first."""
        pairs: Iterator[tuple[float, bytes]] = self.ordered().islice(start, stop, reverse)
        return pairs

    def score_window(self, wanted: ScoreRange) -> tuple[int, int]:
        """The places (start, stop) of the pairs whose scores lie in the range; start >= stop if there are none."""
        order = self.ordered()
        least, most = wanted.least, wanted.most
        if wanted.above:
            start = len(order) if least == inf else order.bisect_left((nextafter(least, inf),))
        else:
            start = order.bisect_left((least,))
        if wanted.below:
            stop = order.bisect_left((most,))
        else:
            stop = len(order) if most == inf else order.bisect_left((nextafter(most, inf),))
        return start, stop

    def lex_window(self, wanted: LexRange) -> tuple[int, int]:
        """The places (start, stop) of the members in the range, if all scores are equal; start >= stop: there are none.

        With different scores stock's answer is what its search happens to meet: for short sets the first run of members
        inside, seen from the low end. That is reproduced for short sets.
        """
        order = self.ordered()
        if not len(order) or wanted.empty:
            return 0, 0
        score, last = order[0][0], order[-1][0]
        if score != last:
            return self._mixed_window(wanted)
        start, stop = 0, len(order)
        if wanted.least is not None:
            find = order.bisect_right if wanted.above else order.bisect_left
            start = find((score, wanted.least))
        if wanted.most is not None:
            find = order.bisect_left if wanted.below else order.bisect_right
            stop = find((score, wanted.most))
        return start, stop

    def _mixed_window(self, wanted: LexRange) -> tuple[int, int]:
        order = self.ordered()
        size = len(order)
        if not self.flat:
            return _search(order, wanted.reaches), _search(order, lambda member: not wanted.holds_back(member))
        start = next((at for at in range(size) if wanted.reaches(order[at][1])), size)
        stop = next((at for at in range(start, size) if not wanted.holds_back(order[at][1])), size)
        return start, stop

    def numbered(self) -> Index:
        """The members with places, for random choice and scanning; made on first use, then kept up."""
        if self.index is None:
            self.index = Index(self.scores)
        return self.index


def _search(order: Any, turned: Any) -> int:
    """The first place at which turned(member) holds, if it holds for all places behind it too (else some place)."""
    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        if turned(order[middle][1]):
            high = middle
        else:
            low = middle + 1
    return low
