"""Messages of the cluster bus: the binary protocol that the nodes of a cluster speak among themselves.

A message is a header of 2256 bytes and what its type adds. All integers are big-endian.

    offset  field                          offset  field
         0  "RCmb"                           2168  the sender's address as text (46), zeros: "as you see me"
         4  u32 whole length                 2214  u16 number of extensions
         8  u16 version, 1                   2216  30 bytes reserved
        10  u16 client port                  2246  u16 port without TLS where the other is one with it, else 0
        12  u16 type                         2248  u16 port of the bus
        14  u16 gossip entries               2250  u16 flags of the sender
        16  u64 current epoch                2252  u8  the cluster as the sender sees it: 0 ok, 1 fail
        24  u64 configuration epoch          2253  3 bytes of message flags, the first of them in use
        32  u64 replication offset           2256  the type's own data
        40  the sender's id (40)
        80  slots (2048): bit n % 8 of byte n / 8
      2128  the id of its primary (40)

`encode` and `Decoder` hold no opinion about who speaks. What cannot be a message is told apart by what is to be done
about it: a stream whose next message cannot be found (`Decoder.error`) has to be closed, a message that contradicts
itself is left out (`Decoder.dropped` counts them).

Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/, and captures of stock servers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from struct import Struct as Layout
from typing import Final

from msgspec import Struct

from replicator.core.limits import MAX_BUS_MESSAGE

PING, PONG, MEET, FAIL, PUBLISH, AUTH_REQUEST, AUTH_ACK, UPDATE, MFSTART, MODULE, PUBLISHSHARD = range(11)
TYPE_NAMES: Final = (
    "ping", "pong", "meet", "fail", "publish", "auth-req", "auth-ack", "update", "mfstart", "module", "publishshard",
)  # fmt: skip
WITH_GOSSIP: Final = (PING, PONG, MEET)

# Flags of a node, in headers and in gossip.
PRIMARY, REPLICA, PFAIL, FAILED, MYSELF, HANDSHAKE, NO_ADDRESS, MEETING, MIGRATE_TO, NO_FAILOVER = (
    1 << bit for bit in range(10)
)
# Flags of a message.
PAUSED, FORCE_ACK, EXTENSIONS = 1, 2, 4

SLOTS: Final = 16384
HEADER_BYTES: Final = 2256
_VERSION: Final = 1
_HEADER: Final = Layout(">4sIHHHHQQQ40s2048s40s46sH30xHHHBB2x")
_ENTRY: Final = Layout(">40sII46sHHHH2x")
_UPDATE: Final = Layout(">Q40s2048s")
_LENGTHS: Final = Layout(">II")
_EXTENSION: Final = Layout(">IHH")
_HOST_NAME, _SHARD_ID = 0, 3
_NOBODY: Final = bytes(40)
_ID: Final = re.compile(rb"[0-9a-f]{40}")
_ADDRESS: Final = re.compile(rb"[0-9a-fA-F.:]{0,45}")
_NAME: Final = re.compile(rb"[0-9A-Za-z.-]{0,255}")
assert _HEADER.size == HEADER_BYTES and _ENTRY.size == 104


class GossipEntry(Struct, frozen=True, gc=False):
    """What a node says of another one. ping_sent_s, pong_received_s: unix seconds, 0 for never."""

    id: str
    ping_sent_s: int
    pong_received_s: int
    host: str
    port: int
    bus_port: int
    flags: int
    plain_port: int = 0


class Message(Struct, kw_only=True, gc=False):
    """One message; the fields below `gossip` belong to single types.

    slots: as a number whose bit n stands for slot n. config_epoch, slots: a replica's are those of its primary.
    host: the sender's address, "" for the one it is seen with.
    """

    type: int
    sender: str
    port: int = 0
    bus_port: int = 0
    plain_port: int = 0
    current_epoch: int = 0
    config_epoch: int = 0
    offset: int = 0
    slots: int = 0
    primary: str = ""
    host: str = ""
    flags: int = 0
    failing: bool = False
    message_flags: int = 0
    gossip: tuple[GossipEntry, ...] = ()
    host_name: str | None = None  # PING, PONG, MEET: the sender's, if it said so
    shard_id: str = ""  # of later servers
    node: str = ""  # FAIL, UPDATE: whom it is about
    node_epoch: int = 0  # UPDATE
    node_slots: int = 0  # UPDATE
    channel: bytes = b""  # PUBLISH, PUBLISHSHARD
    payload: bytes = b""


def encode(message: Message) -> bytes:
    """The message's bytes."""
    data, extensions = _data(message)
    head = _HEADER.pack(
        b"RCmb",
        HEADER_BYTES + len(data),
        _VERSION,
        message.port,
        message.type,
        len(message.gossip),
        message.current_epoch,
        message.config_epoch,
        message.offset,
        message.sender.encode(),
        message.slots.to_bytes(2048, "little"),
        message.primary.encode(),
        message.host.encode(),
        extensions,
        message.plain_port,
        message.bus_port,
        message.flags,
        message.failing,
        message.message_flags,
    )
    return head + data


def _data(message: Message) -> tuple[bytes, int]:
    """What follows the header, and how many extensions are in it."""
    kind = message.type
    if kind in WITH_GOSSIP:
        parts = [
            _ENTRY.pack(
                one.id.encode(),
                one.ping_sent_s,
                one.pong_received_s,
                one.host.encode(),
                one.port,
                one.bus_port,
                one.flags,
                one.plain_port,
            )
            for one in message.gossip
        ]
        if not message.host_name:
            return b"".join(parts), 0
        body = message.host_name.encode() + b"\0"
        body += bytes(-len(body) % 8)
        parts.append(_EXTENSION.pack(_EXTENSION.size + len(body), _HOST_NAME, 0) + body)
        return b"".join(parts), 1
    if kind == FAIL:
        return message.node.encode(), 0
    if kind == UPDATE:
        slots = message.node_slots.to_bytes(2048, "little")
        return _UPDATE.pack(message.node_epoch, message.node.encode(), slots), 0
    if kind in (PUBLISH, PUBLISHSHARD):
        channel, payload = message.channel, message.payload
        # Stock's own structure has room for eight bytes of text, which the message takes up first.
        return _LENGTHS.pack(len(channel), len(payload)) + channel + payload, 0
    return b"", 0


class _Contradiction(Exception):
    """The message's parts do not agree with each other."""


def _identity(raw: bytes) -> str:
    if not _ID.fullmatch(raw):
        raise _Contradiction
    return raw.decode()


def _text(raw: bytes, allowed: re.Pattern[bytes]) -> str:
    text = raw.partition(b"\0")[0]
    if not allowed.fullmatch(text):
        raise _Contradiction
    return text.decode()


def decode(data: bytes) -> Message | None:
    """The message that these bytes are, header and all; None if its parts contradict each other, or if its version or
    type is unknown."""
    try:
        return _decode(data)
    except _Contradiction:
        return None


def _decode(data: bytes) -> Message:
    (
        mark, _length, version, port, kind, count, current_epoch, config_epoch, offset, sender, slots, primary, host,
        extensions, plain_port, bus_port, flags, failing, message_flags,
    ) = _HEADER.unpack_from(data)  # fmt: skip
    if mark != b"RCmb" or version != _VERSION or kind > PUBLISHSHARD:
        raise _Contradiction
    message = Message(
        type=kind,
        sender=_identity(sender),
        port=port,
        bus_port=bus_port,
        plain_port=plain_port,
        current_epoch=current_epoch,
        config_epoch=config_epoch,
        offset=offset,
        slots=int.from_bytes(slots, "little"),
        primary="" if primary == _NOBODY else _identity(primary),
        host=_text(host, _ADDRESS),
        flags=flags,
        failing=failing != 0,
        message_flags=message_flags,
    )
    if kind in WITH_GOSSIP:
        message.gossip = tuple(_entries(data, count))
        if message_flags & EXTENSIONS:
            _take_extensions(message, data, HEADER_BYTES + count * _ENTRY.size, extensions)
    elif kind == FAIL:
        message.node = _identity(data[HEADER_BYTES : HEADER_BYTES + 40])
    elif kind == UPDATE:
        if len(data) < HEADER_BYTES + _UPDATE.size:
            raise _Contradiction
        message.node_epoch, node, claimed = _UPDATE.unpack_from(data, HEADER_BYTES)
        message.node, message.node_slots = _identity(node), int.from_bytes(claimed, "little")
    elif kind in (PUBLISH, PUBLISHSHARD):
        _take_published(message, data)
    return message


def _entries(data: bytes, count: int) -> Iterator[GossipEntry]:
    """The gossip section; an entry that names nobody is left out."""
    if len(data) < HEADER_BYTES + count * _ENTRY.size:
        raise _Contradiction
    for at in range(HEADER_BYTES, HEADER_BYTES + count * _ENTRY.size, _ENTRY.size):
        node, ping, pong, host, port, bus_port, flags, plain_port = _ENTRY.unpack_from(data, at)
        address = host.partition(b"\0")[0]
        if _ID.fullmatch(node) and _ADDRESS.fullmatch(address):
            yield GossipEntry(node.decode(), ping, pong, address.decode(), port, bus_port, flags, plain_port)


def _take_extensions(message: Message, data: bytes, at: int, count: int) -> None:
    message.host_name = ""
    for _ in range(count):
        if len(data) < at + _EXTENSION.size:
            raise _Contradiction
        length, kind, _unused = _EXTENSION.unpack_from(data, at)
        if length < _EXTENSION.size or length % 8 or len(data) < at + length:
            raise _Contradiction
        body = data[at + _EXTENSION.size : at + length]
        if kind == _HOST_NAME:
            message.host_name = _text(body, _NAME)
        elif kind == _SHARD_ID:
            message.shard_id = _identity(body[:40])
        at += length


def _take_published(message: Message, data: bytes) -> None:
    begin = HEADER_BYTES + _LENGTHS.size
    if len(data) < begin:
        raise _Contradiction
    channel, payload = _LENGTHS.unpack_from(data, HEADER_BYTES)
    if len(data) < begin + channel + payload:
        raise _Contradiction
    message.channel = data[begin : begin + channel]
    message.payload = data[begin + channel : begin + channel + payload]


class Decoder:
    """Cuts a stream of bytes into messages.

    longest: a longer message makes the stream unusable; its owner raises it once it knows who speaks. error: why
    nothing more can be read from this stream ("" while it can).
    """

    def __init__(self, longest: int = MAX_BUS_MESSAGE) -> None:
        self.longest = longest
        self.error = ""
        self.dropped = 0
        self.pending = 0
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are whole with these bytes, one after the other."""
        held = self._data
        held += data
        while not self.error and len(held) >= 8:
            length = int.from_bytes(held[4:8], "big")
            if held[:4] != b"RCmb":
                self.error = "a message without its signature"
            elif not HEADER_BYTES <= length <= self.longest:
                self.error = f"a message of {length} bytes"
            elif len(held) < length:
                break
            else:
                whole = bytes(memoryview(held)[:length])
                del held[:length]
                message = decode(whole)
                if message is None:
                    self.dropped += 1
                else:
                    yield message
        if not self.error and 4 <= len(held) < 8 and held[:4] != b"RCmb":
            self.error = "a message without its signature"
        if self.error:
            held.clear()
        self.pending = len(held)
