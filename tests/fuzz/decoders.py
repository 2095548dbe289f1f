"""Decoders of what comes from outside: each with honest bytes to spoil. A new decoder is a line of DECODERS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random

from replicator.core.wire.aof import AofDamage, CommandReader, ManifestError, parse_manifest
from replicator.core.wire.bus import Decoder as BusDecoder
from replicator.core.wire.bus import GossipEntry, Message
from replicator.core.wire.bus import encode as encode_bus
from replicator.core.wire.rdb import RdbError, RdbReader, restore_payload
from replicator.core.wire.rdb.format import CRC64
from replicator.core.wire.request import CarefulDecoder, ProtocolError, RequestDecoder, split_words
from tests.core.wire.test_rdb_damage import small_file
from tests.fuzz.steps import Steps
from tests.fuzz.target import Target, mutated
from tests.support.rdb_collector import Collector


@dataclass(frozen=True)
class Decoder:
    """honest: examples. decode: takes them apart. seal: makes a checksum right after a mutation."""

    honest: Callable[[], tuple[bytes, ...]]
    decode: Callable[[bytes], object]
    refusals: tuple[type[BaseException], ...]
    seal: Callable[[bytes], bytes] | None = None


def _requests() -> tuple[bytes, ...]:
    return (
        b"*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n",
        b"PING\r\n\r\nECHO 'a b' \"\\x41\"\r\n*1\r\n$4\r\nPING\r\n",
        b"*2\r\n$4\r\nECHO\r\n$2000\r\n" + b"v" * 2000 + b"\r\n",
        b"*1\r\n$4\r\nPING\r\nPING\r\n" * 50,
    )


def _decode_requests(data: bytes) -> object:
    """Both ways through the decoder, in cuts that follow from the bytes: the same commands."""
    chance = Random(len(data))
    found: list[list[list[bytes]]] = []
    for trusted in (True, False):
        decoder = RequestDecoder(trusted=trusted)
        at, commands = 0, []
        while at < len(data) and decoder.error is None:
            size = chance.choice((1, 7, 100, 10_000))
            if trusted:
                commands += decoder.feed(data[at : at + size])
            else:
                argv = decoder.next_small(data[at : at + size])
                while argv is not None:
                    commands.append(argv)
                    argv = decoder.next_small()
            at += size
        found.append(commands)
    careful = CarefulDecoder()
    careful.feed(data)
    plain = []
    try:
        while (argv := careful.next()) is not None:
            if argv:
                plain.append(argv)
    except ProtocolError:
        pass
    assert found[0] == plain, "both decoders agree"
    return found


@cache
def _rdb_files() -> tuple[bytes, ...]:
    return (small_file(),)


def _seal_rdb(data: bytes) -> bytes:
    return data[:-8] + CRC64.calc(data[:-8]).to_bytes(8, "little") if len(data) > 8 else data


def _decode_rdb(data: bytes) -> object:
    sink = Collector()
    reader = RdbReader(sink)
    for at in range(0, len(data), 997):
        reader.feed(data[at : at + 997])
    reader.close()
    return sink


@cache
def _dumps() -> tuple[bytes, ...]:
    from tests.support.nodes import LocalNode

    client = LocalNode().open()
    for argv in (
        ("SET", "s", "value"), ("RPUSH", "l", "a", "b", "1"), ("SADD", "t", "1", "2"), ("SADD", "u", "a", "b"),
        ("HSET", "h", "f", "v"), ("ZADD", "z", "1.5", "m"), ("XADD", "x", "1-1", "f", "v"),
        ("XGROUP", "CREATE", "x", "g", "0"), ("XREADGROUP", "GROUP", "g", "c", "STREAMS", "x", ">"),
        ("PFADD", "p", "a", "b"), ("SET", "n", "12345"), ("HSET", "big", *[b"%d" % n for n in range(2000)]),
    ):  # fmt: skip
        client.send(*argv)
    return tuple(client.send("DUMP", key) for key in ("s", "l", "t", "u", "h", "z", "x", "p", "n", "big"))


def _aof() -> tuple[bytes, ...]:
    return (
        b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n",
        b"#TS:1700000000\r\n*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n*1\r\n$4\r\nEXEC\r\n",
    )


def _decode_aof(data: bytes) -> object:
    reader = CommandReader()
    found = []
    for at in range(0, len(data), 61):
        found += reader.feed(data[at : at + 61])
    return found, reader.ending, reader.sound


def _manifests() -> tuple[bytes, ...]:
    return (
        b"file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n",
        b'file "a b.aof" seq 12 type h\nfile appendonly.aof.2.incr.aof seq 2 type i\n',
    )


def _bus() -> tuple[bytes, ...]:
    one, two = "a" * 40, "b" * 40
    gossip = (GossipEntry(two, 1, 2, "127.0.0.1", 7000, 17000, 1), GossipEntry("c" * 40, 0, 0, "::1", 7001, 17001, 4))
    kinds = [Message(type=kind, sender=one, port=7000, bus_port=17000, gossip=gossip) for kind in range(3)]
    kinds.append(Message(type=0, sender=one, host_name="host.example", primary=two, slots=(1 << 16384) - 1))
    kinds += [
        Message(type=kind, sender=one, node=two, node_epoch=7, channel=b"c", payload=b"m") for kind in range(3, 11)
    ]
    return tuple(encode_bus(message) for message in kinds)


def _seal_bus(data: bytes) -> bytes:
    """A length that is the message's own."""
    return data[:4] + len(data).to_bytes(4, "big") + data[8:]


def _decode_bus(data: bytes) -> object:
    decoder = BusDecoder()
    return [message for at in range(0, len(data), 900) for message in decoder.feed(data[at : at + 900])]


DECODERS: dict[str, Decoder] = {
    "request": Decoder(_requests, _decode_requests, ()),
    "inline": Decoder(lambda: (b"ECHO 'a b' \"\\x41\\n\"", b"a\\ b 'c\\'d'"), split_words, ()),
    "rdb": Decoder(_rdb_files, _decode_rdb, (RdbError,), _seal_rdb),
    "dump": Decoder(_dumps, restore_payload, (RdbError,), _seal_rdb),
    "aof": Decoder(_aof, _decode_aof, (AofDamage,)),
    "manifest": Decoder(_manifests, parse_manifest, (ManifestError,)),
    "bus": Decoder(_bus, _decode_bus, (), _seal_bus),
}


def target(decoder: Decoder) -> Target:
    """Honest bytes, spoiled; in every second input the checksum is right all the same."""

    def make(chance: Random) -> bytes:
        honest = decoder.honest()
        data = mutated(chance, chance.choice(honest), honest)
        return decoder.seal(data) if decoder.seal is not None and chance.random() < 0.7 else data

    def run(data: bytes) -> None:
        with Steps(len(data)):
            decoder.decode(data)

    return Target(make, run, decoder.refusals)
