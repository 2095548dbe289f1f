"""A seeded mixture of write commands that Redis 6.2, 7.0, Valkey 9.1 and we all understand, over few keys of every
type.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random


def every_type(chance: Random) -> list[list[bytes]]:
    """Values of every type, under and over each limit at which stock servers change the encoding."""
    commands: list[list[bytes]] = []
    long = b"x" * 70
    for size, tag in ((5, b"small"), (200, b"large")):
        members = [b"m%d" % n for n in range(size)]
        commands += [
            [b"RPUSH", b"list:" + tag, *members],
            [b"SADD", b"set:" + tag, *members],
            [b"SADD", b"intset:" + tag, *[b"%d" % (n * n - 50) for n in range(size * 3)]],
            [b"HSET", b"hash:" + tag, *[part for m in members for part in (m, m * 2)]],
            [b"ZADD", b"zset:" + tag, *[part for n, m in enumerate(members) for part in (b"%d" % (n * 7 % 31), m)]],
            [b"PFADD", b"hll:" + tag, *members],
        ]
        for n in range(size):
            commands.append([b"XADD", b"stream:" + tag, b"%d-%d" % (n // 3 + 1, n % 3 + 1), b"field", b"%d" % n])
    commands += [
        [b"SET", b"int", b"12345"],
        [b"SET", b"negative", b"-9223372036854775808"],
        [b"SET", b"embedded", b"a" * 44],
        [b"SET", b"raw", b"a" * 45],
        [b"SET", b"binary", bytes(range(256)) * 10],
        [b"SET", b"compressible", b"abcabcabc" * 5000],
        [b"SET", b"random", chance.randbytes(20000)],
        [b"SET", b"empty", b""],
        [b"HSET", b"hash:long", b"f", long, long, b"v"],
        [b"SADD", b"set:long", long, b"s"],
        [b"ZADD", b"zset:long", b"1", long, b"-inf", b"low", b"+inf", b"high"],
        [b"RPUSH", b"list:long", *[long * 200] * 5],
        [b"GEOADD", b"geo", b"13.361389", b"38.115556", b"Palermo", b"15.087269", b"37.502669", b"Catania"],
        [b"SETBIT", b"bits", b"1000", b"1"],
        [b"XGROUP", b"CREATE", b"stream:small", b"group", b"0"],
        [b"XREADGROUP", b"GROUP", b"group", b"reader", b"COUNT", b"3", b"STREAMS", b"stream:small", b">"],
        [b"XACK", b"stream:small", b"group", b"1-1"],
        [b"XDEL", b"stream:large", b"2-1", b"5-2"],
        [b"SET", b"volatile", b"v", b"PX", b"100000000"],
        [b"EXPIRE", b"hash:small", b"100000"],
        [b"SELECT", b"9"],
        [b"SET", b"other", b"database"],
        [b"SELECT", b"0"],
    ]
    return commands


def mixture(seed: int, count: int) -> Iterator[list[bytes]]:
    """`count` random commands; the same for the same seed. Transactions and changes of database are among them."""
    chance = Random(seed)
    for _ in range(count):
        roll = chance.random()
        if roll < 0.01:
            yield [b"SELECT", b"%d" % chance.randrange(3)]
        elif roll < 0.04:
            yield [b"MULTI"]
            for _ in range(chance.randrange(1, 5)):
                yield _one(chance)
            yield [b"EXEC"]
        else:
            yield _one(chance)


def _one(chance: Random) -> list[bytes]:
    def key(kind: str) -> bytes:
        # now and then a key of another type: error replies must change nothing on either side
        if chance.random() < 0.02:
            kind = chance.choice("slhztq")
        return f"{kind}{chance.randrange(12)}".encode()

    s, l_, h, z, t, q = (key(kind) for kind in "slhztq")
    families = (_strings(chance, s), _lists(chance, l_), _hashes_and_sets(chance, h, t), _ordered(chance, z, q))
    table = [command for family in families for command in family] + _keys(chance, [s, l_, h, z, t, q])
    return chance.choice(table)


def _member(chance: Random) -> bytes:
    return b"e%d" % chance.randrange(40)


def _number(chance: Random) -> bytes:
    return b"%d" % chance.randrange(-20, 20)


def _value(chance: Random) -> bytes:
    return b"v%d" % chance.randrange(1000)


def _strings(chance: Random, s: bytes) -> list[list[bytes]]:
    value, number = _value(chance), _number(chance)
    return [
        [b"SET", s, value],
        [b"SET", s, value, b"EX", b"10000"],
        [b"SET", s, value, b"KEEPTTL"],
        [b"SETNX", s, value],
        [b"GETSET", s, value],
        [b"GETEX", s, b"PX", b"9999999"],
        [b"GETDEL", s],
        [b"APPEND", s, value],
        [b"SETRANGE", s, b"%d" % chance.randrange(20), value],
        [b"SETBIT", s, b"%d" % chance.randrange(200), b"1"],
        [b"MSET", s, value, b"s0", value],
        [b"INCR", b"n%d" % chance.randrange(4)],
        [b"INCRBY", b"n%d" % chance.randrange(4), number],
        [b"DECRBY", b"n%d" % chance.randrange(4), number],
        [b"INCRBYFLOAT", b"f%d" % chance.randrange(4), b"0.25"],
    ]


def _lists(chance: Random, l_: bytes) -> list[list[bytes]]:
    value, member = _value(chance), _member(chance)
    return [
        [b"LPUSH", l_, value, member],
        [b"RPUSH", l_, value],
        [b"LPOP", l_],
        [b"RPOP", l_, b"2"],
        [b"LTRIM", l_, b"0", b"30"],
        [b"LREM", l_, b"0", value],
        [b"LINSERT", l_, b"BEFORE", value, member],
        [b"LSET", l_, b"0", member],
        [b"LMOVE", l_, b"l0", b"LEFT", b"RIGHT"],
        [b"RPOPLPUSH", l_, b"l1"],
    ]


def _hashes_and_sets(chance: Random, h: bytes, t: bytes) -> list[list[bytes]]:
    value, member, number = _value(chance), _member(chance), _number(chance)
    return [
        [b"HSET", h, member, value],
        [b"HSETNX", h, member, value],
        [b"HDEL", h, member],
        [b"HINCRBY", h, b"count", number],
        [b"HINCRBYFLOAT", h, b"float", b"0.5"],
        [b"SADD", t, member, member],
        [b"SREM", t, member],
        [b"SPOP", t],
        [b"SPOP", t, b"3"],
        [b"SMOVE", t, b"t0", member],
        [b"SINTERSTORE", b"t1", t, b"t2"],
        [b"SUNIONSTORE", b"t3", t, b"t4"],
        [b"SDIFFSTORE", b"t5", t, b"t6"],
    ]


def _ordered(chance: Random, z: bytes, q: bytes) -> list[list[bytes]]:
    value, member, number = _value(chance), _member(chance), _number(chance)
    return [
        [b"ZADD", z, number, member],
        [b"ZADD", z, b"GT", number, member],
        [b"ZINCRBY", z, number, member],
        [b"ZREM", z, member],
        [b"ZPOPMIN", z],
        [b"ZPOPMAX", z, b"2"],
        [b"ZREMRANGEBYRANK", z, b"0", b"1"],
        [b"ZREMRANGEBYSCORE", z, b"-5", b"-3"],
        [b"ZUNIONSTORE", b"z1", b"2", z, b"z2", b"WEIGHTS", b"2", b"3"],
        [b"ZINTERSTORE", b"z3", b"2", z, b"z4"],
        [b"ZRANGESTORE", b"z5", z, b"0", b"5"],
        [b"XADD", q, b"*", b"f", value],
        [b"XADD", q, b"MAXLEN", b"~", b"50", b"*", b"f", value],
        [b"XTRIM", q, b"MAXLEN", b"40"],
    ]


def _keys(chance: Random, keys: list[bytes]) -> list[list[bytes]]:
    s, l_, h, *_ = keys
    value, member = _value(chance), _member(chance)
    return [
        [b"PFADD", b"p%d" % chance.randrange(3), member, value],
        [b"PFMERGE", b"p9", b"p0", b"p1"],
        [b"EXPIRE", s, b"5000"],
        [b"PEXPIRE", l_, b"7000000"],
        [b"PERSIST", s],
        [b"EXPIREAT", h, b"4102444800"],
        [b"DEL", chance.choice(keys)],
        [b"UNLINK", chance.choice(keys)],
        [b"RENAME", s, b"s5"],
        [b"RENAMENX", l_, b"l9"],
        [b"COPY", h, b"h9", b"REPLACE"],
        [b"MOVE", s, b"2"],
        [b"SORT", l_, b"ALPHA", b"STORE", b"sorted"],
        [b"BITOP", b"XOR", b"bits", s, b"s1"],
        [b"BITFIELD", b"bits", b"INCRBY", b"u8", b"100", b"7"],
        [b"GEOADD", b"geo", b"13.3%d" % chance.randrange(100), b"38.1", member],
        [b"PUBLISH", b"channel", value],
    ]
