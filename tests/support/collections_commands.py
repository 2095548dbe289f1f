"""Seeded random commands on lists, hashes and sets, nasty ones among them, for differential and replication tests."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

Argv = list[bytes]
INTEGERS = (b"0", b"1", b"2", b"3", b"-1", b"-2", b"-3", b"5", b"-5", b"100", b"-100")
BAD_INTEGERS = (
    b"",
    b"x",
    b"1.5",
    b" 1",
    b"01",
    b"+1",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"99999999999999999999",
)
WORDS = (b"", b"a", b"b", b"c", b"d", b"e", b"10", b"-3", b"\x00\xff", b"Z", b"\r\n", b"a b", b"x" * 64)


class Commands:
    """Draws commands from a family's makers; polite: none whose answers differ from one version of stock to another."""

    keys: tuple[bytes, ...] = ()
    wrong: Argv = []

    def __init__(self, chance: Random, polite: bool = False) -> None:
        self.chance = chance
        self.polite = polite
        self.pick = chance.choice
        self.makers: list[Callable[[], Argv]] = []

    def take(self, count: int) -> list[Argv]:
        """So many commands; the first makes a key of another type."""
        return [[b"SET", b"str", b"text"], self.wrong, *(self.draw() for _ in range(count))]

    def draw(self) -> Argv:
        """One command; now and then with an argument too many or too few."""
        argv = self.pick(self.makers)()
        roll = self.chance.random()
        if self.polite:
            return argv
        if roll < 0.01:
            argv = argv[:-1] or argv
        elif roll < 0.02 and not argv[0].startswith((b"B", b"SRAND")):  # no long waits, no endless replies
            argv = [*argv, self.word()]
        if roll > 0.8:
            argv = [argv[0].lower(), *argv[1:]]
        return argv

    def key(self) -> bytes:
        roll = self.chance.random()
        if roll < 0.05:
            return self.pick((b"str", b"other"))
        return b"missing" if roll < 0.08 else self.pick(self.keys)

    def word(self) -> bytes:
        return self.pick(WORDS)

    def words(self, most: int = 4) -> list[bytes]:
        return [self.word() for _ in range(self.chance.randint(1, most))]

    def integer(self) -> bytes:
        return self.pick(INTEGERS) if self.polite or self.chance.random() < 0.95 else self.pick(BAD_INTEGERS)

    def maybe(self, *words: bytes, rate: float = 0.3) -> list[bytes]:
        return list(words) if self.chance.random() < rate else []


class ListCommands(Commands):
    keys = (b"a", b"b", b"c")
    wrong = [b"SADD", b"other", b"x"]

    def __init__(self, chance: Random, polite: bool = False) -> None:
        super().__init__(chance, polite)
        self.makers = [
            *[lambda: [self.pick((b"LPUSH", b"RPUSH")), self.key(), *self.words(6)]] * 8,
            lambda: [self.pick((b"LPUSHX", b"RPUSHX")), self.key(), *self.words()],
            *[lambda: [self.pick((b"LPOP", b"RPOP")), self.key(), *self.maybe(self.integer())]] * 3,
            lambda: [b"LLEN", self.key()],
            *[lambda: [b"LRANGE", self.key(), self.integer(), self.integer()]] * 3,
            lambda: [b"LINDEX", self.key(), self.integer()],
            *[lambda: [b"LSET", self.key(), self.integer(), self.word()]] * 2,
            *[lambda: [b"LINSERT", self.key(), self.pick((b"BEFORE", b"after", b"at")), self.word(), self.word()]] * 2,
            *[lambda: [b"LREM", self.key(), self.integer(), self.word()]] * 3,
            *[lambda: [b"LTRIM", self.key(), self.integer(), self.integer()]] * 2,
            *[self.lpos] * 3,
            *[lambda: [b"LMOVE", self.key(), self.key(), self.side(), self.side()]] * 2,
            lambda: [b"RPOPLPUSH", self.key(), self.key()],
            lambda: [b"BLMOVE", self.key(), self.key(), self.side(), self.side(), self.timeout()],
            lambda: [b"BRPOPLPUSH", self.key(), self.key(), self.timeout()],
            *[lambda: [self.pick((b"BLPOP", b"BRPOP")), *self.some_keys(), self.timeout()]] * 2,
            *([] if polite else [self.lmpop, self.blmpop]),
            lambda: [b"DEL", self.key()] if self.chance.random() < 0.1 else [b"LLEN", self.key()],
        ]

    def key(self) -> bytes:
        key = super().key()
        return key if key not in (b"str", b"other") or self.chance.random() < 0.6 else b"a"

    def side(self) -> bytes:
        return self.pick((b"LEFT", b"RIGHT", b"left", b"right")) if self.chance.random() < 0.97 else b"UP"

    def timeout(self) -> bytes:
        """Short enough to pass at once where nobody waits; or none at all."""
        return (
            b"0.003"
            if self.polite or self.chance.random() < 0.8
            else self.pick((b"-1", b"x", b"", b"nan", b"1e400", b"0x", b"-0.002", b"1e300"))
        )

    def some_keys(self) -> list[bytes]:
        return [self.key() for _ in range(self.chance.randint(1, 3))]

    def lpos(self) -> Argv:
        rank = self.integer()
        if rank == b"-9223372036854775808":  # Redis 7.0 negates it without looking
            rank = b"-9223372036854775807"
        if self.polite and rank == b"0":  # worded otherwise in Redis 6.2
            rank = b"1"
        options = [
            *self.maybe(b"RANK", rank),
            *self.maybe(b"COUNT", self.integer()),
            *self.maybe(b"maxlen", self.integer()),
        ]
        return [b"LPOS", self.key(), self.word(), *options, *self.maybe(b"FOO", rate=0.02)]

    def lmpop(self) -> Argv:
        keys = self.some_keys()
        number = b"%d" % len(keys) if self.chance.random() < 0.9 else self.integer()
        return [
            b"LMPOP",
            number,
            *keys,
            self.side(),
            *self.maybe(b"COUNT", self.integer()),
            *self.maybe(b"COUNT", rate=0.03),
        ]

    def blmpop(self) -> Argv:
        return [b"BLMPOP", self.timeout(), *self.lmpop()[1:]]


class HashCommands(Commands):
    keys = (b"a", b"b", b"big")
    wrong = [b"RPUSH", b"other", b"x"]
    numbers = (
        b"0",
        b"1",
        b"-7",
        b"10",
        b"0.1",
        b"3.0e5",
        b"-0.25",
        b"1e17",
        b"9223372036854775807",
        b"-9223372036854775808",
        b"0x10",
    )
    bad_numbers = (b"", b"x", b"nan", b"inf", b"-inf", b"1e5000", b"1e-5000", b" 1", b"1 ", b"1_0", b"infinity", b"0x")

    def __init__(self, chance: Random, polite: bool = False) -> None:
        super().__init__(chance, polite)
        self.makers = [
            *[lambda: [self.pick((b"HSET", b"HSET", b"HMSET")), *self.some_pairs()]] * 8,
            *[lambda: [b"HSETNX", self.key(), self.word(), self.content()]] * 2,
            *[lambda: [b"HDEL", self.key(), *self.words(5)]] * 3,
            *[lambda: [self.pick((b"HGET", b"HEXISTS", b"HSTRLEN")), self.key(), self.word()]] * 3,
            lambda: [b"HMGET", self.key(), *self.words()],
            *[lambda: [self.pick((b"HGETALL", b"HKEYS", b"HVALS", b"HLEN")), self.key()]] * 3,
            *[lambda: [b"HINCRBY", self.key(), self.word(), self.integer()]] * 3,
            *[lambda: [b"HINCRBYFLOAT", self.key(), self.word(), self.number()]] * 3,
            *[self.hrandfield] * 2,
            *[self.hscan] * 2,
            lambda: [b"DEL", self.key()] if self.chance.random() < 0.2 else [b"HLEN", self.key()],
        ]

    def content(self) -> bytes:
        return self.number() if self.chance.random() < 0.6 else self.word()

    def number(self) -> bytes:
        return self.pick(self.numbers) if self.chance.random() < 0.93 else self.pick(self.bad_numbers)

    def some_pairs(self) -> list[bytes]:
        key = self.key()
        pairs = [item for _ in range(self.chance.choice((1, 1, 1, 2, 3))) for item in (self.word(), self.content())]
        if key == b"big" and self.chance.random() < 0.3:
            pairs += [b"%d" % self.chance.randrange(300), b"y" * self.chance.choice((1, 65, 200))]
        return [key, *pairs, *self.maybe(self.word(), rate=0.03)]

    def hrandfield(self) -> Argv:
        if self.chance.random() < 0.3:
            return [b"HRANDFIELD", self.key()]
        count = self.pick(
            (*INTEGERS, b"x", b"", b"-9223372036854775808", b"9223372036854775807", b"4611686018427387904")
        )
        return [b"HRANDFIELD", self.key(), count, *self.maybe(b"WITHVALUES"), *self.maybe(b"FOO", rate=0.03)]

    def hscan(self) -> Argv:
        cursor = b"0" if self.polite or self.chance.random() < 0.95 else self.pick((b"x", b"", b"18446744073709551616"))
        count = b"1000" if self.chance.random() < 0.95 else self.pick((b"0", b"-1", b"x"))
        return [
            b"HSCAN",
            self.key(),
            cursor,
            b"COUNT",
            count,
            *self.maybe(b"MATCH", self.pick((b"*", b"a*", b"[a-c]", b"?"))),
            *self.maybe(b"FOO", rate=0.03),
        ]


class SetCommands(Commands):
    keys = (b"a", b"b", b"c", b"n", b"m")
    wrong = [b"RPUSH", b"other", b"x"]
    members: tuple[bytes, ...] = (*WORDS, *INTEGERS, b"9223372036854775807", b"9223372036854775808", b"007")

    def __init__(self, chance: Random, polite: bool = False) -> None:
        super().__init__(chance, polite)
        algebra = (b"SINTER", b"SUNION", b"SDIFF")
        self.makers = [
            *[lambda: [b"SADD", self.key(), *self.words(6)]] * 9,
            *[lambda: [b"SREM", self.key(), *self.words(4)]] * 3,
            *[lambda: [b"SMOVE", self.key(), self.key(), self.word()]] * 2,
            *[lambda: [b"SISMEMBER", self.key(), self.word()]] * 2,
            lambda: [b"SMISMEMBER", self.key(), *self.words()],
            *[lambda: [self.pick((b"SMEMBERS", b"SCARD")), self.key()]] * 3,
            *[lambda: [b"SPOP", self.key(), *self.maybe(self.integer(), rate=0.6)]] * 2,
            *[lambda: [b"SRANDMEMBER", self.key(), *self.maybe(self.chances())]] * 2,
            *[lambda: [self.pick(algebra), *self.some_keys()]] * 4,
            *[lambda: [self.pick(algebra) + b"STORE", self.key(), *self.some_keys()]] * 4,
            *([] if polite else [self.sintercard] * 2),
            *[self.sscan] * 2,
            lambda: [b"DEL", self.key()] if self.chance.random() < 0.2 else [b"SCARD", self.key()],
        ]

    def word(self) -> bytes:
        return self.pick(self.members)

    def key(self) -> bytes:
        key = super().key()
        return key if key not in (b"str", b"other") or self.chance.random() < 0.6 else b"a"

    def chances(self) -> bytes:
        return self.pick((*INTEGERS, b"x", b"", b"-9223372036854775808", b"9223372036854775807"))

    def some_keys(self) -> list[bytes]:
        return [self.key() for _ in range(self.chance.randint(1, 4))]

    def sintercard(self) -> Argv:
        keys = self.some_keys()
        number = b"%d" % len(keys) if self.chance.random() < 0.9 else self.integer()
        return [
            b"SINTERCARD",
            number,
            *keys,
            *self.maybe(b"LIMIT", self.integer(), rate=0.5),
            *self.maybe(b"LIMIT", rate=0.03),
        ]

    def sscan(self) -> Argv:
        cursor = b"0" if self.polite or self.chance.random() < 0.95 else self.pick((b"x", b"", b"18446744073709551616"))
        count = b"1000" if self.chance.random() < 0.95 else self.pick((b"0", b"-1", b"x"))
        return [
            b"SSCAN",
            self.key(),
            cursor,
            b"COUNT",
            count,
            *self.maybe(b"MATCH", self.pick((b"*", b"a*", b"[a-c]", b"?"))),
        ]


class IntegerSetCommands(SetCommands):
    """Sets that stock holds as sorted arrays: the order of every reply is defined."""

    members = tuple(b"%d" % n for n in (0, 1, -1, 5, 10, 127, 128, -32768, 65536, 2**31, -(2**40), 2**63 - 1, -(2**63)))

    def key(self) -> bytes:
        return self.pick(self.keys)
