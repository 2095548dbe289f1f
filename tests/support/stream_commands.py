"""Seeded random commands on streams, nasty values among them, for the differential and the replication tests."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

KEYS = (b"s", b"t", b"s", b"t", b"u", b"txt", b"missing")
GROUPS = (b"g", b"h", b"nogroup")
CONSUMERS = (b"c1", b"c2", b"c3", b"", b"Z")
BAD_IDS = (b"x", b"", b"1-", b"-1", b"1-1-1", b"99999999999999999999", b"1-x", b"(1", b"05", b" 5", b"+3", b"1--1")
NUMBERS = (b"0", b"1", b"2", b"3", b"10", b"-1", b"x", b"", b"1000")


class Commands:
    """Draws commands whose ids lie close together, so that they meet."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.ms = 1
        self.makers: list[Callable[[], list[bytes]]] = [
            *[self.add] * 10,
            *[self.burst] * 2,
            *[self.trim] * 3,
            *[self.delete] * 3,
            *[self.ranges] * 3,
            *[self.read] * 2,
            *[self.read_group] * 8,
            *[self.group] * 4,
            *[self.ack] * 3,
            *[self.claim] * 4,
            *[self.auto_claim] * 3,
            *[self.pending] * 3,
            *[self.info] * 4,
            self.set_id,
            self.malformed,
        ]
        self.queue: list[list[bytes]] = []

    def take(self, count: int) -> list[list[bytes]]:
        """So many commands."""
        taken = []
        for _ in range(count):
            taken.append(self.queue.pop() if self.queue else self.chance.choice(self.makers)())
        return taken

    def key(self) -> bytes:
        return self.chance.choice(KEYS[:5] if self.chance.random() < 0.9 else KEYS)

    def id(self) -> bytes:
        """An id that may well be in a stream."""
        draw = self.chance.random()
        if draw < 0.04:
            return self.chance.choice(BAD_IDS)
        ms = max(0, self.ms - int(self.chance.expovariate(0.1)))
        return b"%d" % ms if draw < 0.15 else b"%d-%d" % (ms, self.chance.choice((0, 0, 1, 2, 5)))

    def fresh(self) -> bytes:
        draw = self.chance.random()
        if draw < 0.06:
            return self.id()
        if draw < 0.1:
            return self.chance.choice((b"18446744073709551615-*", b"0-*", b"0-0", b"0", b"-", b"+", b"*-1", b"5-*-*"))
        self.ms += self.chance.choice((0, 1, 1, 1, 3))
        if draw < 0.25:
            return b"%d-*" % self.ms
        return b"%d-%d" % (self.ms, self.chance.choice((0, 1, 2, 2**63)))

    def trimming(self) -> list[bytes]:
        pick = self.chance.choice
        strategy = pick((b"MAXLEN", b"minid"))
        mark = pick(([], [b"="], [b"~"], [b"~"]))
        if strategy == b"MAXLEN":
            threshold = pick((b"0", b"1", b"5", b"50", b"120", b"200", b"300", b"-1", b"x"))
        else:
            threshold = self.id()
        limit = (
            [b"LIMIT", pick((b"0", b"1", b"100", b"150", b"1000", b"-1", b"x"))] if self.chance.random() < 0.25 else []
        )
        return [strategy, *mark, threshold, *limit]

    def fields(self) -> list[bytes]:
        pick = self.chance.choice
        size = pick((1, 1, 1, 2, 3))
        names = (b"f", b"g", b"", b"name", b"10") if self.chance.random() < 0.3 else (b"f",)
        values = (b"v", b"", b"12", b"-5000", b"x" * 70, b"y" * 700, b"123456789012", b"\x00\xff", b"0012")
        return [item for _ in range(size) for item in (pick(names), pick(values))]

    def add(self) -> list[bytes]:
        options = self.trimming() if self.chance.random() < 0.2 else []
        if self.chance.random() < 0.1:
            options.insert(0, b"NOMKSTREAM")
        return [b"XADD", self.key(), *options, self.fresh(), *self.fields()]

    def burst(self) -> list[bytes]:
        key, fields = self.key(), self.fields() if self.chance.random() < 0.5 else [b"f", b"v"]
        for _ in range(self.chance.choice((3, 20, 60))):
            self.ms += 1
            self.queue.insert(0, [b"XADD", key, b"%d-0" % self.ms, *fields])
        return [b"XLEN", key]

    def trim(self) -> list[bytes]:
        return [b"XTRIM", self.key(), *self.trimming()]

    def delete(self) -> list[bytes]:
        return [b"XDEL", self.key(), *[self.id() for _ in range(self.chance.choice((1, 2, 6)))]]

    def bounds(self) -> list[bytes]:
        pick = self.chance.choice
        low = pick((b"-", b"-", self.id(), b"(" + self.id(), b"+"))
        high = pick((b"+", b"+", self.id(), b"(" + self.id(), b"-", b"(0-0"))
        return [low, high]

    def count(self, rate: float = 0.5) -> list[bytes]:
        return [b"COUNT", self.chance.choice(NUMBERS)] if self.chance.random() < rate else []

    def ranges(self) -> list[bytes]:
        name, bounds = b"XRANGE", self.bounds()
        if self.chance.random() < 0.5:
            name, bounds = b"XREVRANGE", bounds[::-1]
        return [name, self.key(), *bounds, *self.count(0.7)]

    def read(self) -> list[bytes]:
        keys = [self.key() for _ in range(self.chance.choice((1, 2)))]
        ids = [self.chance.choice((self.id(), b"0", b"$", self.id(), b">")) for _ in keys]
        block = [b"BLOCK", self.chance.choice((b"1", b"1", b"-1", b"x"))] if self.chance.random() < 0.2 else []
        return [b"XREAD", *self.count(), *block, b"STREAMS", *keys, *ids]

    def read_group(self) -> list[bytes]:
        pick = self.chance.choice
        keys = [self.key() for _ in range(pick((1, 1, 2)))]
        ids = [pick((b">", b">", b">", b"0", self.id(), b"$")) for _ in keys]
        options = self.count(0.7)
        if self.chance.random() < 0.2:
            options.append(b"NOACK")
        if self.chance.random() < 0.1:
            options += [b"BLOCK", b"1"]
        return [b"XREADGROUP", b"GROUP", pick(GROUPS), pick(CONSUMERS), *options, b"STREAMS", *keys, *ids]

    def group(self) -> list[bytes]:
        pick = self.chance.choice
        name = pick((b"CREATE", b"CREATE", b"CREATE", b"SETID", b"DESTROY", b"CREATECONSUMER", b"DELCONSUMER"))
        key, group = self.key(), pick(GROUPS[:2])
        if name == b"CREATE" or name == b"SETID":
            options = [b"ENTRIESREAD", pick(NUMBERS)] if self.chance.random() < 0.2 else []
            if name == b"CREATE" and self.chance.random() < 0.4:
                options.append(b"MKSTREAM")
            return [b"XGROUP", name, key, group, pick((b"$", b"0", self.id(), b"-", b"+")), *options]
        if name == b"DESTROY":
            return [b"XGROUP", name, key, group if self.chance.random() < 0.5 else b"nogroup"]
        return [b"XGROUP", name, key, pick(GROUPS), pick(CONSUMERS)]

    def ack(self) -> list[bytes]:
        ids = [self.id() for _ in range(self.chance.choice((1, 3, 8)))]
        return [b"XACK", self.key(), self.chance.choice(GROUPS), *ids]

    def claim(self) -> list[bytes]:
        pick = self.chance.choice
        ids = [self.id() for _ in range(pick((1, 3, 6)))]
        options: list[bytes] = []
        for option in (
            [b"FORCE"],
            [b"JUSTID"],
            [b"RETRYCOUNT", pick(NUMBERS)],
            [b"LASTID", self.id()],
            [b"TIME", b"0"],
        ):
            if self.chance.random() < 0.2:
                options += option
        least = pick((b"0", b"0", b"0", b"99999999999999", b"x"))
        return [b"XCLAIM", self.key(), pick(GROUPS), pick(CONSUMERS), least, *ids, *options]

    def auto_claim(self) -> list[bytes]:
        pick = self.chance.choice
        start = pick((b"0", b"-", self.id(), b"(" + self.id(), b"+"))
        options = self.count()
        if self.chance.random() < 0.3:
            options.append(b"JUSTID")
        least = pick((b"0", b"0", b"0", b"99999999999999", b"x"))
        return [b"XAUTOCLAIM", self.key(), pick(GROUPS), pick(CONSUMERS), least, start, *options]

    def pending(self) -> list[bytes]:
        pick = self.chance.choice
        command = [b"XPENDING", self.key(), pick(GROUPS)]
        if self.chance.random() < 0.4:
            return command
        if self.chance.random() < 0.2:
            command += [b"IDLE", pick((b"0", b"99999999999999", b"x"))]
        command += [*self.bounds(), pick(NUMBERS)]
        return [*command, pick(CONSUMERS)] if self.chance.random() < 0.3 else command

    def info(self) -> list[bytes]:
        pick = self.chance.choice
        name, key = pick((b"STREAM", b"STREAM", b"GROUPS", b"CONSUMERS")), self.key()
        if name == b"GROUPS":
            return [b"XINFO", name, key]
        if name == b"CONSUMERS":
            return [b"XINFO", name, key, pick(GROUPS)]
        return [b"XINFO", name, key, *pick(([], [b"FULL"], [b"FULL", b"COUNT", pick(NUMBERS)], [b"foo"]))]

    def set_id(self) -> list[bytes]:
        pick = self.chance.choice
        self.ms += 1
        options: list[bytes] = []
        if self.chance.random() < 0.4:
            options += [b"ENTRIESADDED", pick((b"1000", b"10000", b"0", b"-1", b"x"))]
        if self.chance.random() < 0.4:
            options += [b"MAXDELETEDID", self.id()]
        return [b"XSETID", self.key(), pick((b"%d" % self.ms, b"%d" % self.ms, self.id())), *options]

    def malformed(self) -> list[bytes]:
        if self.chance.random() < 0.3:
            return [b"SET", b"txt", b"1"] if self.chance.random() < 0.5 else [b"DEL", self.key()]
        command = self.chance.choice(self.makers[:-1])()
        while command[0] == b"XLEN":
            command = self.chance.choice(self.makers[:-1])()
        at = self.chance.randrange(1, len(command))
        if command[0] in (b"XINFO", b"XGROUP") and at == 1:
            at = 2  # subcommands are the executor's business
        if self.chance.random() < 0.5:
            del command[at]
        else:
            command.insert(at, self.chance.choice((b"1", b"COUNT", b"a", b"", b"=", b"~", b"BLOCK", b"FORCE")))
        return command
