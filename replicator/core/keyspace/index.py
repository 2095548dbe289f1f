"""Numbered members: constant-time random choice and stateless scanning over a dict's keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from random import Random


class Index:
    """A set of byte strings, each with a place in an array; a removal moves the last one into the hole.

    The array is what makes two things cheap: choosing at random, and SCAN. A scan goes from the end to the begin and
    its cursor is the number of places still to visit. A removal moves a member only from a higher place to a lower
    one, that is from a visited (or just added) place: so a member that is there during the whole scan is never
    missed; it may come twice. The order is defined by the history of operations alone, never by a hash seed.
    """

    __slots__ = ("items", "place")

    def __init__(self, members: Iterable[bytes] = ()) -> None:
        self.items: list[bytes] = list(dict.fromkeys(members))
        self.place: dict[bytes, int] = {member: i for i, member in enumerate(self.items)}

    def __len__(self) -> int:
        return len(self.items)

    def __contains__(self, member: bytes) -> bool:
        return member in self.place

    def add(self, member: bytes) -> bool:
        """Add; whether it is new."""
        if member in self.place:
            return False
        self.place[member] = len(self.items)
        self.items.append(member)
        return True

    def discard(self, member: bytes) -> bool:
        """Remove; whether it was there."""
        at = self.place.pop(member, None)
        if at is None:
            return False
        last = self.items.pop()
        if at < len(self.items):
            self.items[at] = last
            self.place[last] = at
        return True

    def choose(self, chance: Random) -> bytes:
        """One member at random; there must be one."""
        return self.items[int(chance.random() * len(self.items))]

    def draw(self, chance: Random, count: int) -> list[bytes]:
        """`count` different members at random (all, if there are no more); with a negative count each is drawn anew."""
        items = self.items
        if count >= 0:
            return chance.sample(items, min(count, len(items)))
        size = len(items)
        random = chance.random
        return [items[int(random() * size)] for _ in range(-count)]

    def scan(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        """The next `count` members and the cursor for the rest; cursor 0 begins, a returned 0 ends."""
        end = len(self.items) if cursor == 0 else min(cursor, len(self.items))
        start = max(0, end - count)
        return start, self.items[start:end][::-1]


class SlotIndex(Index):
    """An index that also knows the members of each slot of a cluster. slot_of: the slot of a member."""

    __slots__ = ("_slot_of", "_slots")

    def __init__(self, slot_of: Callable[[bytes], int], members: Iterable[bytes] = ()) -> None:
        super().__init__(members)
        self._slot_of = slot_of
        self._slots: dict[int, dict[bytes, None]] = {}
        for member in self.items:
            self._slots.setdefault(slot_of(member), {})[member] = None

    def add(self, member: bytes) -> bool:
        """Add; whether it is new."""
        place = self.place
        if member in place:
            return False
        place[member] = len(self.items)
        self.items.append(member)
        slot = self._slot_of(member)
        members = self._slots.get(slot)
        if members is None:
            members = self._slots[slot] = {}
        members[member] = None
        return True

    def discard(self, member: bytes) -> bool:
        """Remove; whether it was there."""
        if not super().discard(member):
            return False
        slot = self._slot_of(member)
        members = self._slots[slot]
        del members[member]
        if not members:
            del self._slots[slot]
        return True

    def count(self, slot: int) -> int:
        """How many members are in the slot."""
        return len(self._slots.get(slot, ()))

    def list(self, slot: int, count: int) -> list[bytes]:
        """Some members of the slot, at most so many; they keep their order while they stay."""
        return list(islice(self._slots.get(slot, ()), count))
