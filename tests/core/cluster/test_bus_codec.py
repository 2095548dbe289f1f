"""Messages of the bus: what is encoded comes back, in whatever pieces, and nothing that is not a message does harm."""

from __future__ import annotations

import os
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.core.cluster.slots import ALL_SLOTS, union
from replicator.core.limits import MAX_BUS_MESSAGE
from replicator.core.wire import bus
from replicator.core.wire.bus import Decoder, GossipEntry, Message, decode, encode

LONG = "REPLICATOR_LONG" in os.environ
MUTATIONS = 1_000_000 if LONG else 5_000

ids = st.integers(0, (1 << 160) - 1).map(lambda number: f"{number:040x}")
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
u64 = st.integers(0, (1 << 64) - 1)
slots = st.lists(st.integers(0, bus.SLOTS - 1), max_size=4).map(union) | st.sampled_from((ALL_SLOTS, 1 << 16383))
hosts = st.sampled_from(["", "127.0.0.1", "10.0.0.255", "::1", "fe80::1:2:3:4"])
entries = st.builds(GossipEntry, ids, u32, u32, hosts, u16, u16, u16, u16)
head = {
    "sender": ids, "port": u16, "bus_port": u16, "plain_port": u16, "current_epoch": u64, "config_epoch": u64,
    "offset": u64, "slots": slots, "primary": ids | st.just(""), "host": hosts, "flags": u16, "failing": st.booleans(),
}  # fmt: skip
pings = st.builds(
    Message,
    type=st.sampled_from(bus.WITH_GOSSIP),
    gossip=st.lists(entries, max_size=5).map(tuple),
    host_name=st.none() | st.sampled_from(["a", "node-1.example.org", "x" * 255]),
    message_flags=st.just(bus.EXTENSIONS),
    **head,
)
fails = st.builds(Message, type=st.just(bus.FAIL), node=ids, **head)
updates = st.builds(Message, type=st.just(bus.UPDATE), node=ids, node_epoch=u64, node_slots=slots, **head)
published = st.builds(
    Message,
    type=st.sampled_from((bus.PUBLISH, bus.PUBLISHSHARD)),
    channel=st.binary(max_size=40),
    payload=st.binary(max_size=200),
    **head,
)
bare = st.builds(
    Message,
    type=st.sampled_from((bus.AUTH_REQUEST, bus.AUTH_ACK, bus.MFSTART)),
    message_flags=st.sampled_from((0, bus.FORCE_ACK, bus.PAUSED)),
    **head,
)
messages = st.one_of(pings, fails, updates, published, bare)


@settings(max_examples=100)
@given(messages)
def test_what_is_encoded_comes_back(message: Message) -> None:
    again = decode(encode(message))
    assert again is not None
    if message.type in bus.WITH_GOSSIP and message.host_name is None:
        message.host_name = ""  # that it has none is told as well
    assert again == message


@settings(max_examples=50)
@given(st.lists(messages, min_size=1, max_size=3), st.integers(0, 1000))
def test_a_stream_is_cut_into_the_same_messages_wherever_it_is_split(told: list[Message], seed: int) -> None:
    chance = Random(seed)
    stream = b"".join(map(encode, told))
    whole = list(Decoder().feed(stream))
    decoder = Decoder()
    pieces = []
    at = 0
    while at < len(stream):
        size = chance.choice((1, 3, 100, 2256, 5000))
        pieces += list(decoder.feed(stream[at : at + size]))
        at += size
    assert pieces == whole
    assert len(whole) == len(told)
    assert decoder.pending == 0


def _corpus() -> list[bytes]:
    """One message of every kind."""
    me, other = "a" * 40, "b" * 40
    entry = GossipEntry(other, 1, 2, "127.0.0.1", 7000, 17000, 1)
    common = {"sender": me, "port": 7001, "bus_port": 17001, "slots": (1 << 5461) - 1}
    return [
        encode(Message(type=bus.PING, gossip=(entry, entry), host_name="h.example", message_flags=4, **common)),
        encode(Message(type=bus.FAIL, node=other, **common)),
        encode(Message(type=bus.UPDATE, node=other, node_epoch=3, node_slots=7, **common)),
        encode(Message(type=bus.PUBLISH, channel=b"news", payload=b"hello", **common)),
        encode(Message(type=bus.AUTH_REQUEST, primary=other, **common)),
    ]


def _mutated(data: bytes, chance: Random) -> bytes:
    """The message with some bytes changed, mostly where they mean something, or cut, or longer."""
    bent = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        where = chance.choice((chance.randrange(80), chance.randrange(2128, len(bent)), chance.randrange(len(bent))))
        bent[where] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    what = chance.random()
    if what < 0.2:
        del bent[chance.randrange(len(bent)) :]
    elif what < 0.3:
        bent += chance.randbytes(chance.randrange(200))
    if what > 0.6:
        bent[4:8] = len(bent).to_bytes(4, "big")
    return bytes(bent)


def test_mutated_messages_do_no_harm_and_keep_nothing() -> None:
    """Whatever comes: messages, a count of what was left out, or an error that ends the stream; never an exception,
    and never more kept than the longest message that is allowed."""
    chance = Random(17)
    corpus = _corpus()
    decoder = Decoder()
    outcomes = {"message": 0, "dropped": 0, "error": 0}
    for _ in range(MUTATIONS):
        before = decoder.dropped
        for message in decoder.feed(_mutated(chance.choice(corpus), chance)):
            assert len(message.sender) == 40
            assert all(len(entry.id) == 40 and len(entry.host) <= 45 for entry in message.gossip)
            outcomes["message"] += 1
        outcomes["dropped"] += decoder.dropped > before
        assert decoder.pending <= MAX_BUS_MESSAGE
        if decoder.error or decoder.pending > 200_000:
            outcomes["error"] += bool(decoder.error)
            assert not decoder.error or decoder.pending == 0
            decoder = Decoder()
    assert all(count > MUTATIONS // 50 for count in outcomes.values()), outcomes


def test_a_length_that_no_stranger_may_use_ends_the_stream_at_once() -> None:
    decoder = Decoder()
    assert not list(decoder.feed(b"RCmb" + (MAX_BUS_MESSAGE + 1).to_bytes(4, "big")))
    assert "bytes" in decoder.error
    decoder = Decoder()
    assert not list(decoder.feed(b"GET / HTTP/1.0\r\n"))
    assert decoder.error


def test_an_unknown_type_version_or_extension_is_left_out_and_the_stream_goes_on() -> None:
    ping = _corpus()[0]
    later = bytearray(ping)
    later[8:10] = (2).to_bytes(2, "big")
    strange = bytearray(ping)
    strange[12:14] = (99).to_bytes(2, "big")
    extension = encode(Message(type=bus.PONG, sender="c" * 40, message_flags=bus.EXTENSIONS, host_name="h"))
    unknown = bytearray(extension)
    unknown[2256 + 4 : 2256 + 6] = (77).to_bytes(2, "big")
    decoder = Decoder()
    found = list(decoder.feed(bytes(later + strange + unknown) + ping))
    assert [message.type for message in found] == [bus.PONG, bus.PING]
    assert found[0].host_name == ""
    assert decoder.dropped == 2
    assert not decoder.error
