"""Seeded random commands on sorted sets, nasty values among them, for the differential and the replication tests."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

KEYS = (b"a", b"b", b"c", b"lex", b"big", b"str", b"txt", b"missing")
MEMBERS = (b"", b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"10", b"-3", b"\x00\xff", b"x" * 70, b"Z", b"\r\n")
EXACT_SCORES = (b"0", b"1", b"2", b"3", b"-1", b"1.5", b"-2.25", b"inf", b"-inf", b"+inf", b"1000000")
ODD_SCORES = (
    b"0x10",
    b"0.1",
    b"0.2",
    b"-0",
    b"1e17",
    b"3.0e5",
    b"1e300",
    b"5e-324",
    b"123456789.123456789",
    b".5",
    b"-0.3",
)
BAD_SCORES = (b"nan", b"abc", b"", b"1e400", b" 5", b"1_0", b"1e-400", b"0x", b"--1", b"1.2.3")
INTEGERS = (b"0", b"1", b"2", b"-1", b"-2", b"5", b"100", b"-100", b"3", b"x", b"1.5", b"9223372036854775807", b"")
LEX = (b"-", b"+", b"[a", b"(c", b"[", b"(", b"[\xff", b"(Z", b"[e", b"x", b"[g", b"+x", b"")
SCORE_BOUNDS = (b"0", b"1", b"(1", b"2", b"(3", b"-inf", b"+inf", b"(inf", b"(-inf", b"1.5", b"x")
LENIENT_BOUNDS = (b"(", b"", b" 2", b"1e400")


class Commands:
    """Draws commands; odd: also what differs between servers: the digits of some scores, leniency about bounds."""

    def __init__(self, chance: Random, odd: bool = True) -> None:
        self.chance = chance
        self.scores = EXACT_SCORES * 3 + (ODD_SCORES * 2 if odd else ()) + BAD_SCORES
        self.offsets = INTEGERS if odd else tuple(text for text in INTEGERS if not text.startswith(b"-"))
        self.bounds = SCORE_BOUNDS + (LENIENT_BOUNDS if odd else ())
        self.makers: list[Callable[[], list[bytes]]] = [
            *[self.zadd] * 8,
            *[self.lexical] * 2,
            self.big,
            self.zincrby,
            *[self.simple] * 5,
            *[self.zrange] * 4,
            *[self.ranges] * 3,
            *[self.remove] * 3,
            *[self.pops] * 3,
            *[self.algebra] * 3,
            self.malformed,
        ]

    def take(self, count: int) -> list[list[bytes]]:
        """So many commands."""
        return [self.chance.choice(self.makers)() for _ in range(count)]

    def key(self) -> bytes:
        return self.chance.choice(KEYS[:5] if self.chance.random() < 0.85 else KEYS)

    def case(self, word: bytes) -> bytes:
        return word.upper() if self.chance.random() < 0.5 else word

    def some(self, *words: bytes, rate: float = 0.2) -> list[bytes]:
        return [self.case(word) for word in words if self.chance.random() < rate]

    def pairs(self) -> list[bytes]:
        pick = self.chance.choice
        count = pick((1, 1, 1, 2, 3, 6))
        return [item for _ in range(count) for item in (pick(self.scores), pick(MEMBERS))]

    def zadd(self) -> list[bytes]:
        key = self.key()
        if key == b"lex":
            return self.lexical()
        options = self.some(b"nx", b"xx", b"gt", b"lt", b"ch", b"incr", rate=0.12)
        return [b"ZADD", key, *options, *self.pairs()]

    def lexical(self) -> list[bytes]:
        pick = self.chance.choice
        if self.chance.random() < 0.5:
            return [b"ZADD", b"lex", b"0", pick(MEMBERS), b"0", pick(MEMBERS)]
        name = pick((b"ZLEXCOUNT", b"ZRANGEBYLEX", b"ZREVRANGEBYLEX", b"ZREMRANGEBYLEX", b"ZRANGE", b"ZRANGESTORE"))
        key = b"lex" if self.chance.random() < 0.9 else pick((b"txt", b"nowhere"))
        bounds = [pick(LEX), pick(LEX)]
        if name == b"ZREMRANGEBYLEX" and self.chance.random() < 0.8:
            bounds = [b"[a", b"(b"]
        limit = [b"LIMIT", pick(self.offsets), pick(INTEGERS)] if self.chance.random() < 0.3 else []
        if name == b"ZRANGE":
            return [name, key, *bounds, b"BYLEX", *self.some(b"rev", b"withscores"), *limit]
        if name == b"ZRANGESTORE":
            return [name, b"c", key, *bounds, b"BYLEX", *self.some(b"rev"), *limit]
        return [name, key, *bounds, *(limit if name.endswith(b"RANGEBYLEX") and b"REM" not in name else [])]

    def big(self) -> list[bytes]:
        start = self.chance.randrange(400)
        pairs = [item for at in range(start, start + 90) for item in (b"%d" % (at % 37), b"m%d" % at)]
        return [b"ZADD", b"big", *pairs]

    def zincrby(self) -> list[bytes]:
        return [b"ZINCRBY", self.chance.choice((b"a", b"b", b"big")), self.chance.choice(self.scores), self.member()]

    def member(self) -> bytes:
        return self.chance.choice((*MEMBERS, b"m7", b"m123"))

    def simple(self) -> list[bytes]:
        name = self.chance.choice((b"ZCARD", b"ZSCORE", b"ZMSCORE", b"ZRANK", b"ZREVRANK", b"ZRANDMEMBER", b"ZSCAN"))
        key = self.key()
        if name == b"ZCARD":
            return [name, key]
        if name == b"ZMSCORE":
            return [name, key, self.member(), self.member()]
        if name == b"ZRANDMEMBER":
            count = self.chance.choice((b"0", b"1", b"3", b"-5", b"1000", b"x", b"-9223372036854775808"))
            return [name, key, *([count, *self.some(b"withscores", b"foo")] if self.chance.random() < 0.8 else [])]
        if name == b"ZSCAN":
            cursor = self.chance.choice((b"0", b"0", b"0", b"x"))
            return [name, key, cursor, *self.scan_options()]
        return [name, key, self.member()]

    def scan_options(self) -> list[bytes]:
        pick = self.chance.choice
        # a step smaller than the set shows the order of stock's hash table, which is nobody's promise
        count = [b"COUNT", pick((b"5000", b"9999", b"5000", b"0", b"x"))]
        return [*count, b"MATCH", pick((b"*", b"[a-d]*", b"x*"))] if self.chance.random() < 0.5 else count

    def zrange(self) -> list[bytes]:
        pick = self.chance.choice
        options = self.some(b"rev", b"withscores", rate=0.4)
        if self.chance.random() < 0.25:
            options += [b"LIMIT", pick(self.offsets), pick(INTEGERS)]
        if self.chance.random() < 0.5:
            bounds, options = [pick(self.bounds), pick(self.bounds)], [*options, b"byscore"]
        else:
            bounds = [pick(INTEGERS), pick(INTEGERS)]
        if self.chance.random() < 0.2:
            return [b"ZRANGESTORE", pick((b"a", b"b", b"c", b"str")), self.key(), *bounds, *options]
        return [b"ZRANGE", self.key(), *bounds, *options]

    def ranges(self) -> list[bytes]:
        pick = self.chance.choice
        name = pick((b"ZREVRANGE", b"ZRANGEBYSCORE", b"ZREVRANGEBYSCORE", b"ZCOUNT"))
        key = self.key()
        if name == b"ZREVRANGE":
            return [name, key, pick(INTEGERS), pick(INTEGERS), *self.some(b"withscores", b"rev")]
        bounds = [pick(self.bounds), pick(self.bounds)]
        if name == b"ZCOUNT":
            return [name, key, *bounds]
        limit = [b"limit", pick(self.offsets), pick(INTEGERS)] if self.chance.random() < 0.4 else []
        return [name, key, *bounds, *limit, *self.some(b"withscores", b"byscore")]

    def remove(self) -> list[bytes]:
        pick = self.chance.choice
        name = pick((b"ZREM", b"ZREM", b"ZREM", b"ZREMRANGEBYRANK", b"ZREMRANGEBYSCORE"))
        key = self.key()
        if name == b"ZREM":
            return [name, key, *[self.member() for _ in range(pick((1, 2, 5)))]]
        if name == b"ZREMRANGEBYRANK":
            return [name, key, pick((b"0", b"1", b"-1", b"x")), pick((b"0", b"1", b"-1", b"2"))]
        return [name, key, pick(self.bounds), pick(self.bounds)]

    def pops(self) -> list[bytes]:
        pick = self.chance.choice
        name = pick((b"ZPOPMIN", b"ZPOPMAX", b"ZMPOP", b"BZPOPMIN", b"BZPOPMAX", b"BZMPOP"))
        if name in (b"ZPOPMIN", b"ZPOPMAX"):
            return [name, self.key(), *([pick(INTEGERS[:5])] if self.chance.random() < 0.5 else [])]
        keys = [self.key() for _ in range(pick((1, 2, 3)))]
        timeout = pick((b"0.001", b"0.002", b"-1", b"x", b"nan"))
        if name in (b"BZPOPMIN", b"BZPOPMAX"):
            return [name, *keys, timeout]
        number = b"%d" % len(keys) if self.chance.random() < 0.9 else pick((b"0", b"9", b"x", b"1"))
        options = [b"COUNT", pick((b"1", b"2", b"5", b"0", b"x"))] if self.chance.random() < 0.4 else []
        end = [pick((b"MIN", b"max", b"MID")) if self.chance.random() < 0.3 else b"min", *options]
        return [name, *([timeout] if name == b"BZMPOP" else []), number, *keys, *end]

    def algebra(self) -> list[bytes]:
        pick = self.chance.choice
        name = pick((b"ZUNION", b"ZINTER", b"ZDIFF", b"ZUNIONSTORE", b"ZINTERSTORE", b"ZDIFFSTORE", b"ZINTERCARD"))
        keys = [self.key() for _ in range(pick((1, 2, 2, 3, 4)))]
        number = b"%d" % len(keys) if self.chance.random() < 0.95 else pick((b"0", b"9", b"x", b"-1"))
        options: list[bytes] = []
        if name == b"ZINTERCARD":
            options = [b"LIMIT", pick((b"0", b"1", b"3", b"-1", b"x"))] if self.chance.random() < 0.5 else []
            return [name, number, *keys, *options]
        if self.chance.random() < 0.4:
            weights = [pick((b"1", b"2", b"0", b"-1", b"inf", b"0.5")) for _ in keys]
            options += [b"WEIGHTS", *weights]
        if self.chance.random() < 0.4:
            options += [b"AGGREGATE", pick((b"SUM", b"min", b"MAX", b"avg"))]
        if name.endswith(b"STORE"):
            return [name, pick((b"a", b"b", b"c", b"str")), number, *keys, *options]
        return [name, number, *keys, *options, *self.some(b"withscores", rate=0.6)]

    def malformed(self) -> list[bytes]:
        command = self.chance.choice(self.makers[:-1])()
        at = self.chance.randrange(1, len(command))
        change = self.chance.random()
        if change < 0.4:
            del command[at]
        elif change < 0.7:
            command.insert(at, self.chance.choice((b"1", b"LIMIT", b"WITHSCORES", b"a", b"NX", b"", b"REV")))
        else:
            return [b"SET", b"txt", b"1"]
        return command
