"""Makes the golden RDB files: run `python -m tests.golden.rdb.make` from the project's root, all three servers there.

What the files hold is written down here, independently of any reader: `contents()` is what a reader must find. Each
server stores it by commands and saves it in whatever encodings it chooses; see `FILES` for the variants.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from random import Random
from typing import Any

from tests.support.stock import Wire, binary, running

HERE = Path(__file__).parent
LIBRARY = b"#!lua name=golden\nredis.register_function('f', function(keys, args) return 1 end)"
FAR = 4_102_444_800_000  # 2100-01-01, in unix ms
EXPIRING = {b"string:expiring": FAR, b"hash:small": FAR + 1}
ENGINES = ("redis6", "redis7", "valkey9")
# name of the variant -> directives
FILES = {
    "compressed": (),
    "plain": ("--rdbcompression", "no"),
    "no-checksum": ("--rdbchecksum", "no"),
    "lru": ("--maxmemory-policy", "allkeys-lru"),
    "lfu": ("--maxmemory-policy", "allkeys-lfu"),
    "cluster": ("--cluster-enabled", "yes"),
}

_WIDTHS = (0, 1, 12, 13, 127, 128, 255, 4095, 4096, 32767, 32768, 2**23 - 1, 2**23, 2**31 - 1, 2**31, 2**63 - 1)
NUMBERS = [b"%d" % n for width in _WIDTHS for n in (width, -width - 1)]


def contents() -> dict[int, dict[bytes, tuple[str, Any]]]:
    """All data but streams: database -> key -> (kind, neutral value)."""
    chance = Random(7)
    texts = {b"string:%d" % i: text for i, text in enumerate([*NUMBERS, b"", b"007", b"-0", b"9" * 19, b"hello"])}
    for size in (20, 21, 63, 64, 1000, 16383, 16384, 70000):
        texts[b"string:repeated:%d" % size] = b"abcdefg" * (size // 7) + b"x" * (size % 7)
    for size in (63, 64, 300):
        texts[b"string:random:%d" % size] = chance.randbytes(size)
    texts[b"string:expiring"] = b"soon"
    texts[bytes(range(256))] = bytes(range(256))
    data: dict[bytes, tuple[str, Any]] = {key: ("string", text) for key, text in texts.items()}
    sizes = (1, 62, 63, 64, 127, 128, 253, 254, 4090, 4095, 4096, 5000)
    data[b"list:numbers"] = ("list", NUMBERS)
    data[b"list:sizes"] = ("list", [b"l" * size for size in sizes])
    data[b"list:long"] = ("list", [b"element %d" % i for i in range(1000)])
    data[b"list:huge-element"] = ("list", [b"a", b"h" * 20_000, b"", b"b"])
    data[b"set:16"] = ("set", [b"%d" % n for n in (1, 2, -3, 32767)])
    data[b"set:32"] = ("set", [b"1", b"32768", b"-2147483648"])
    data[b"set:64"] = ("set", [b"1", b"2147483648", b"-9223372036854775808"])
    data[b"set:ints-over-limit"] = ("set", [b"%d" % n for n in range(513)])
    data[b"set:small"] = ("set", [b"a", b"b", b"10", b""])
    data[b"set:long"] = ("set", [b"member %d" % n for n in range(200)])
    data[b"hash:small"] = ("hash", {b"field": b"value", b"n": b"300000", b"": b""})
    data[b"hash:long-value"] = ("hash", {b"a": b"v" * 65, b"b": b"w" * 64})
    data[b"hash:many"] = ("hash", {b"f%d" % n: b"%d" % (n * n) for n in range(513)})
    scores = {b"a": 1.0, b"b": -2.5, b"c": math.inf, b"d": -math.inf}
    scores |= {b"e": 0.1, b"f": 1e300, b"g": 12345678901.0, b"h": 0.0}
    data[b"zset:small"] = ("zset", scores)
    data[b"zset:long-member"] = ("zset", {b"m" * 65: 3.0, **scores})
    data[b"zset:many"] = ("zset", {b"m%d" % n: n / 8 for n in range(129)})
    return {0: data, 1: {b"other": ("string", b"database")}, 15: {b"last": ("list", [b"x"])}}


def commands(data: dict[bytes, tuple[str, Any]]) -> list[list[bytes]]:
    """The commands that store the data."""
    out: list[list[bytes]] = []
    for key, (kind, value) in data.items():
        if kind == "string":
            out.append([b"SET", key, value])
        elif kind == "list":
            out += [[b"RPUSH", key, element] for element in value]
        elif kind == "set":
            out += [[b"SADD", key, member] for member in value]
        elif kind == "hash":
            out += [[b"HSET", key, field, text] for field, text in value.items()]
        else:
            out += [[b"ZADD", key, repr(score).encode(), member] for member, score in value.items()]
        if key in EXPIRING:
            out.append([b"PEXPIREAT", key, b"%d" % EXPIRING[key]])
    return out


STREAM_COMMANDS = [
    # one node: same fields, other fields, a time that steps over the sequence, a deleted entry
    b"XADD stream:small 1-5 a 1 b 2",
    b"XADD stream:small 1-6 a 3 b 4",
    b"XADD stream:small 2-0 a 5",
    b"XADD stream:small 18446744073709551615-1 a 6 b text",
    b"XDEL stream:small 1-6",
    b"XGROUP CREATE stream:small never 0",
    b"XGROUP CREATE stream:small end $",
    b"XGROUP CREATE stream:small reads 0",
    b"XREADGROUP GROUP reads alice COUNT 2 STREAMS stream:small >",
    b"XREADGROUP GROUP reads bob COUNT 1 STREAMS stream:small >",
    b"XACK stream:small reads 1-5",
    b"XGROUP CREATECONSUMER stream:small reads idle",
    # nothing left but a last id
    b"XADD stream:empty 7-7 a 1",
    b"XDEL stream:empty 7-7",
    # several nodes
    *[b"XADD stream:long %d-0 n %d text %s" % (i, i * 1000, b"t" * (i % 90)) for i in range(1, 251)],
    *[b"XDEL stream:long %d-0" % i for i in (1, 2, 130, 250)],
]
# What the streams hold afterwards: (entries, last id); groups: name -> (last id, consumer -> pending ids)
STREAMS: dict[bytes, tuple[list[Any], tuple[int, int]]] = {
    b"stream:small": (
        [
            ((1, 5), [b"a", b"1", b"b", b"2"]),
            ((2, 0), [b"a", b"5"]),
            ((2**64 - 1, 1), [b"a", b"6", b"b", b"text"]),
        ],
        (2**64 - 1, 1),
    ),
    b"stream:empty": ([], (7, 7)),
    b"stream:long": (
        [
            ((i, 0), [b"n", b"%d" % (i * 1000), b"text", b"t" * (i % 90)])
            for i in range(1, 251)
            if i not in (1, 2, 130, 250)
        ],
        (250, 0),
    ),
}
GROUPS = {
    b"never": ((0, 0), {}),
    b"end": ((2**64 - 1, 1), {}),
    b"reads": ((2**64 - 1, 1), {b"alice": [(2, 0)], b"bob": [(2**64 - 1, 1)], b"idle": []}),
}


def fill(wire: Wire, *, cluster: bool = False) -> None:
    """Store everything."""
    batch: list[list[bytes]] = []
    for index, data in contents().items():
        if index and cluster:
            continue
        if not cluster:
            batch.append([b"SELECT", b"%d" % index])
        batch += commands(data)
    if not cluster:
        batch.append([b"SELECT", b"0"])
    batch += [line.split(b" ") for line in STREAM_COMMANDS]
    for argv, answer in zip(batch, wire.pipeline(batch), strict=True):
        assert not isinstance(answer, Exception), (argv[:2], answer)


def main() -> None:
    for engine in ENGINES:
        assert binary(engine) is not None, f"{engine} is not installed"
        for variant, directives in FILES.items():
            with running(engine, *directives) as port:
                wire = Wire(port)
                if variant == "cluster":
                    for slot in range(0, 16384, 4096):
                        wire.call("CLUSTER", "ADDSLOTS", *range(slot, slot + 4096))
                    while b"cluster_state:ok" not in wire.call("CLUSTER", "INFO"):
                        pass
                if variant in ("compressed", "plain", "cluster"):
                    fill(wire, cluster=variant == "cluster")
                    if engine != "redis6":
                        assert wire.call("FUNCTION", "LOAD", LIBRARY) == b"golden"
                else:
                    wire.call("SET", "key", "value")
                    wire.call("SET", "expiring", "value", "PXAT", FAR) if engine != "redis6" else wire.pipeline(
                        [[b"SET", b"expiring", b"value"], [b"PEXPIREAT", b"expiring", b"%d" % FAR]]
                    )
                assert wire.call("SAVE") == b"OK"
                saved = Path(wire.call("CONFIG", "GET", "dir")[1].decode(), "dump.rdb").read_bytes()
                (HERE / f"{engine}-{variant}.rdb").write_bytes(saved)
                sys.stdout.write(f"{engine}-{variant}.rdb {len(saved)} bytes\n")


if __name__ == "__main__":
    main()
