"""The decoder of requests: whatever the mixture and whatever the cuts, it costs no more than a few times its bytes."""

from __future__ import annotations

import os
from random import Random

import pytest

from replicator.core import limits
from replicator.core.wire.request import CarefulDecoder, ProtocolError, RequestDecoder

PIECES = (
    b"*1\r\n$4\r\nPING\r\n",
    b"PING\r\n",
    b"\r\n",
    b"\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
    b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n",
    b"*2\r\n$4\r\nECHO\r\n$5\r\n>1234\r\n",
    b"*2\r\n$4\r\nECHO\r\n$7\r\n*123456\r\n",
    b"*2\r\n$4\r\nECHO\r\n$2\r\n\r\n\r\n",
    b"ECHO 'a b' \"\\x41\"\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2000\r\n" + b"v" * 2000 + b"\r\n",
)
ROUNDS = 400 if os.environ.get("REPLICATOR_LONG") else 25


def plainly(data: bytes) -> list[list[bytes]]:
    """The dumb twin: the careful decoder alone."""
    careful = CarefulDecoder()
    careful.feed(data)
    found = []
    while (argv := careful.next()) is not None:
        if argv:
            found.append(argv)
    return found


def fed(data: bytes, chance: Random, most: int) -> tuple[RequestDecoder, list[list[bytes]], int]:
    decoder = RequestDecoder()
    found, at, reads = [], 0, 0
    while at < len(data):
        size = chance.randint(1, most)
        found += decoder.feed(data[at : at + size])
        at += size
        reads += 1
    return decoder, found, reads


@pytest.mark.parametrize(
    "mixture", [b"*1\r\n$4\r\nPING\r\nPING\r\n", b"*1\r\n$4\r\nPING\r\n\r\n", b"*0\r\nPING\r\n*1\r\n$4\r\nPING\r\n"]
)
def test_a_megabyte_of_a_mixture_is_copied_a_few_times(mixture: bytes) -> None:
    data = mixture * (1024 * 1024 // len(mixture))
    decoder = RequestDecoder()
    found = decoder.feed(data)
    assert len(found) == sum(len(argv) > 0 for argv in plainly(mixture)) * (len(data) // len(mixture))
    assert decoder.copied <= (limits.DECODER_COPIES + 2) * len(data)
    assert decoder.consumed == len(data) and decoder.pending == 0


def test_random_mixtures_and_cuts_are_copied_a_few_times_and_decoded_alike() -> None:
    for seed in range(ROUNDS):
        chance = Random(seed)
        pieces = chance.sample(PIECES, chance.randint(2, 5))
        data = b"".join(chance.choice(pieces) for _ in range(chance.randint(10, 3000)))
        decoder, found, reads = fed(data, chance, chance.choice((3, 50, 1000, 65536, 10**7)))
        assert found == plainly(data), seed
        assert decoder.copied <= (limits.DECODER_COPIES + 2) * len(data) + 2 * reads, seed
        assert decoder.consumed == len(data) and decoder.error is None, seed


def test_a_line_with_a_nul_never_ends_and_is_given_up_when_it_is_too_long() -> None:
    decoder = RequestDecoder()
    assert decoder.feed(b"PING\0\r\nPING\r\n") == []
    for _ in range(limits.MAX_INLINE // 1000 + 2):
        assert decoder.feed(b"x" * 998 + b"\r\n") == []
    assert decoder.error == "too big inline request"
    decoder = RequestDecoder()
    assert decoder.feed(b"*1\0\r\n$4\r\nPING\r\n") == [] and decoder.error is None
    decoder = RequestDecoder()
    assert decoder.feed(b"*1\r\n$5\r\nPING\0\r\n") == [[b"PING\0"]]


def test_the_careful_decoder_survives_any_bytes() -> None:
    chance = Random(7)
    for _ in range(ROUNDS * 20):
        data = bytes(chance.choice(b"*$0123456789\r\n\0 PING\"'\\x-+>%~,") for _ in range(chance.randint(1, 60)))
        careful = CarefulDecoder()
        try:
            for at in range(len(data)):
                careful.feed(data[at : at + 1])
                while careful.next() is not None:
                    pass
        except ProtocolError:
            continue
