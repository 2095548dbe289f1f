"""Many members of a collection at random, with repetition: SRANDMEMBER, HRANDFIELD and ZRANDMEMBER with a count far
below zero. The answer may be a thousand times larger than the collection; it is made in parts as the client takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

from replicator.core.command_table.context import Context
from replicator.core.errors import CommandError
from replicator.core.limits import MAX_RANDOM_MEMBERS, PART_BYTES, PART_MEMBERS
from replicator.core.wire import reply


def many(
    ctx: Context, count: int, members: Sequence[bytes], beside: Sequence[bytes] | Sequence[float] | None = None
) -> bytes | None:
    """The answer in parts; None where it has to be whole at once and is not too long for that (else CommandError).

    members: a copy, for the collection may change before the answer is out. beside: the values or scores that are
    wanted with them, in the same order.
    """
    resp3 = ctx.resp3
    head = b"*%d\r\n" % (count if beside is None or resp3 else 2 * count)
    item = _maker(members, beside, resp3)
    if len(members) <= PART_MEMBERS and sum(map(len, members)) <= PART_BYTES and beside is None:
        item = [reply.bulk(member) for member in members].__getitem__  # each is encoded once
    answer = ctx.answer_in_parts(_parts(ctx.server.random, head, count, len(members), item))
    if answer is None and count > MAX_RANDOM_MEMBERS:
        raise CommandError("ERR value is out of range")
    return answer


def _maker(
    members: Sequence[bytes], beside: Sequence[bytes] | Sequence[float] | None, resp3: bool
) -> Callable[[int], bytes]:
    """What encodes the member at a place."""
    bulk = reply.bulk
    if beside is None:
        return lambda place: bulk(members[place])

    def pair(place: int) -> bytes:
        other = beside[place]
        second = bulk(other) if isinstance(other, bytes) else reply.double(other, resp3)
        return b"%b%b%b" % (b"*2\r\n" if resp3 else b"", bulk(members[place]), second)

    return pair


def _parts(chance: Random, head: bytes, count: int, size: int, item: Callable[[int], bytes]) -> Iterator[bytes]:
    """The head, then the members by PART_MEMBERS or PART_BYTES."""
    draw = chance.random
    part = [head]
    while count:
        length = 0
        most = min(count, PART_MEMBERS)
        drawn = 0
        while drawn < most and length < PART_BYTES:
            one = item(int(draw() * size))
            part.append(one)
            length += len(one)
            drawn += 1
        count -= drawn
        yield b"".join(part)
        part = []
