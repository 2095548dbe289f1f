"""HyperLogLog: PFADD, PFCOUNT, PFMERGE and what looks inside. The representation lives in keyspace/hyperloglog.py.

PFCOUNT of one key stores the count it has found in the value and so reaches replicas as PFCOUNT, as with stock servers.
A replica that computes a count for a client of its own does not store it: its data stays its primary's.

Source: https://redis.io/docs/latest/commands/?group=hyperloglog
"""

from __future__ import annotations

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import ADMIN, DENY_OOM, FAST, MAY_REPLICATE, READONLY, WRITE, command
from replicator.core.errors import CommandError
from replicator.core.keyspace import hyperloglog as hll
from replicator.core.keyspace.database import NOTIFY_STRING
from replicator.core.keyspace.encoding import marked
from replicator.core.wire import reply

_NOT_A_SKETCH = "WRONGTYPE Key is not a valid HyperLogLog string value."
_CORRUPT = "INVALIDOBJ Corrupted HLL object detected"


def _checked(value: bytes) -> bytes:
    if not hll.is_hyperloglog(value):
        raise CommandError(_NOT_A_SKETCH)
    return value


def _sketch(ctx: Context, value: bytes) -> hll.Sketch:
    return hll.Sketch(value, ctx.server.config["hll-sparse-max-bytes"])


@command(
    "pfadd",
    arity=-2,
    flags=WRITE | DENY_OOM | FAST,
    keys=(1, 1, 1),
    access="RW",
    group="hyperloglog",
    since="2.8.9",
    complexity="O(1) to add every element.",
    summary="Adds the specified elements to the specified HyperLogLog.",
    categories="hyperloglog",
    arguments="key [element [element ...]]",
    differs="Each element costs O(length of the sparse form), or a copy of the dense one (12 KiB) a call.",
)
def pfadd(ctx: Context, argv: list[bytes]) -> bytes:
    """PFADD key [element [element ...]]"""
    db = ctx.db
    key = argv[1]
    value = db.for_write(key, bytes)
    sketch = _sketch(ctx, hll.EMPTY if value is None else _checked(value))
    changes = int(value is None)
    try:
        for at in range(2, len(argv)):
            sketch.add(argv[at])
            if sketch.changed:
                changes += 1
                sketch.changed = False
    except hll.Corrupt:
        raise CommandError(_CORRUPT) from None
    if not changes:
        return reply.ZERO
    _keep(ctx, key, sketch.encoded(), b"pfadd")
    ctx.keyspace.dirty += changes - 1
    return reply.ONE


def _keep(ctx: Context, key: bytes, value: bytes, event: bytes) -> None:
    ctx.db.put(key, marked(ctx.keyspace, value))
    ctx.db.changed(key, event, NOTIFY_STRING)


@command(
    "pfcount",
    arity=-2,
    flags=READONLY | MAY_REPLICATE,
    keys=(1, -1, 1),
    access="RW",
    group="hyperloglog",
    since="2.8.9",
    complexity=(
        "O(1) with a very small average constant time when called with a single key. O(N) with N being "
        "the number of keys, and much bigger constant times, when called with multiple keys."
    ),
    summary="Return the approximated cardinality of the set(s) observed by the HyperLogLog at key(s).",
    categories="hyperloglog",
    arguments="key [key ...]",
)
def pfcount(ctx: Context, argv: list[bytes]) -> bytes:
    """PFCOUNT key [key ...]"""
    db = ctx.db
    try:
        if len(argv) > 2:
            return reply.integer(hll.estimate(_union(ctx, argv[1:])))
        key = argv[1]
        value = db.string(key)
        if value is None:
            return reply.ZERO
        count = hll.cached_count(_checked(value))
        if count is None:
            count = hll.estimate(hll.registers(value))
            # On a replica as well: the count is no part of what the key holds.
            db.put(key, hll.with_count(value, count))
            db.changed(key)
        return reply.integer(count)
    except hll.Corrupt:
        raise CommandError(_CORRUPT) from None


def _union(ctx: Context, keys: list[bytes], values: bytes = bytes(hll.REGISTERS)) -> bytes:
    """The registers of all these keys together."""
    for key in keys:
        value = ctx.db.string(key)
        if value is not None:
            values = hll.largest(values, hll.registers(_checked(value)))
    return values


@command(
    "pfmerge",
    arity=-2,
    flags=WRITE | DENY_OOM,
    keys=(1, -1, 1),
    access="RW",
    group="hyperloglog",
    since="2.8.9",
    complexity="O(N) to merge N HyperLogLogs, but with high constant times.",
    summary="Merge N different HyperLogLogs into a single one.",
    categories="hyperloglog",
    arguments="destkey sourcekey [sourcekey ...]",
)
def pfmerge(ctx: Context, argv: list[bytes]) -> bytes:
    """PFMERGE destkey [sourcekey [sourcekey ...]]"""
    db = ctx.db
    target = argv[1]
    try:
        values = _union(ctx, argv[1:])
        dense = any(type(value := db.find(key)) is bytes and value[4] == hll.DENSE for key in argv[1:])
        sketch = _sketch(ctx, db.for_write(target, bytes) or hll.EMPTY)
        if dense:
            sketch.make_dense()
        for index, rank in enumerate(values):
            if rank:
                sketch.raise_register(index, rank)
    except hll.Corrupt:
        raise CommandError(_CORRUPT) from None
    _keep(ctx, target, sketch.encoded(), b"pfadd")
    return reply.OK


@command(
    "pfdebug",
    arity=3,
    flags=WRITE | DENY_OOM | ADMIN,
    keys=(2, 2, 1),
    access="RW",
    group="hyperloglog",
    since="2.8.9",
    complexity="N/A",
    summary="Internal commands for debugging HyperLogLog values",
    categories="hyperloglog",
    arguments="subcommand key",
)
def pfdebug(ctx: Context, argv: list[bytes]) -> bytes:
    """PFDEBUG GETREG | DECODE | ENCODING | TODENSE key"""
    db = ctx.db
    word, key = argv[1].upper(), argv[2]
    value = db.for_write(key, bytes)
    if value is None:
        raise CommandError("ERR The specified key does not exist")
    _checked(value)
    try:
        if word == b"ENCODING":
            return reply.simple("dense" if value[4] == hll.DENSE else "sparse")
        if word == b"DECODE":
            return _decode(value)
        if word == b"GETREG":
            answer = reply.array([reply.integer(rank) for rank in hll.registers(value)])
            _to_dense(ctx, key, value)
            return answer
        if word == b"TODENSE":
            return reply.ONE if _to_dense(ctx, key, value) else reply.ZERO
    except hll.Corrupt:
        raise CommandError(_CORRUPT) from None
    raise CommandError(f"ERR Unknown PFDEBUG subcommand '{argv[1].decode('utf-8', 'surrogateescape')}'")


def _to_dense(ctx: Context, key: bytes, value: bytes) -> bool:
    if value[4] == hll.DENSE:
        return False
    sketch = _sketch(ctx, value)
    sketch.make_dense()
    ctx.db.put(key, bytes(sketch.header + sketch.payload))
    ctx.db.changed(key)
    return True


def _decode(value: bytes) -> bytes:
    if value[4] == hll.DENSE:
        raise CommandError("ERR HLL encoding is not sparse")
    shown = []
    for rank, length, size in hll.runs(value):
        if rank:
            shown.append(b"v:%d,%d" % (rank, length))
        else:
            shown.append(b"%b:%d" % (b"z" if size == 1 else b"Z", length))
    return reply.bulk(b" ".join(shown))


@command(
    "pfselftest",
    arity=1,
    flags=ADMIN,
    group="hyperloglog",
    since="2.8.9",
    complexity="N/A",
    summary="An internal command for testing HyperLogLog values",
    categories="hyperloglog",
    differs="Checks a smaller number of elements.",
)
def pfselftest(ctx: Context, argv: list[bytes]) -> bytes:
    """PFSELFTEST"""
    chance = ctx.server.random
    sketch = hll.Sketch(hll.EMPTY, 0)
    sketch.make_dense()
    expected = bytearray(hll.REGISTERS)
    for _ in range(2000):
        index, rank = chance.randrange(hll.REGISTERS), chance.randrange(1, 52)
        expected[index] = max(expected[index], rank)
        sketch.raise_register(index, rank)
    for index, rank in enumerate(hll.registers(sketch.encoded())):
        if rank != expected[index]:
            raise CommandError(f"TESTFAILED Register {index} should be {expected[index]} but is {rank}")
    count = 1000
    sketch, both = hll.Sketch(hll.EMPTY, 3000), hll.Sketch(hll.EMPTY, 0)
    prefix = chance.randbytes(8)
    for number in range(count):
        element = prefix + number.to_bytes(8, "little")
        sketch.add(element)
        both.add(element)
    if hll.registers(sketch.encoded()) != hll.registers(both.encoded()):
        raise CommandError("TESTFAILED dense/sparse disagree")
    # Five times the standard error of 1.04 / sqrt(16384) is not met by chance.
    error = abs(hll.estimate(hll.registers(both.encoded())) - count) / count
    if error > 5 * 1.04 / 128:
        raise CommandError(f"TESTFAILED Too big error. card:{count} abserr:{error:.6f}")
    return reply.OK
