"""Seeded random geospatial commands for the differential test."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

KEYS = (b"g", b"g", b"g", b"h", b"far", b"txt", b"missing")
MEMBERS = (*[b"m%d" % i for i in range(40)], b"", b"\xff\x00")
UNITS = (b"m", b"km", b"KM", b"ft", b"mi", b"foo")


class Commands:
    """Draws points in clusters: a town, a country, the date line, the far north."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.makers: list[Callable[[], list[bytes]]] = [
            *[self.add] * 5,
            *[self.members] * 3,
            *[self.search] * 6,
            *[self.radius] * 4,
            self.malformed,
        ]

    def take(self, count: int) -> list[list[bytes]]:
        """So many commands."""
        return [self.chance.choice(self.makers)() for _ in range(count)]

    def point(self) -> list[bytes]:
        chance = self.chance
        longitude, latitude, spread = chance.choice(
            ((13.4, 52.5, 0.2), (10.0, 50.0, 5.0), (-74.0, -33.0, 0.01), (179.9, 10.0, 0.5), (0.0, 0.0, 1.0))
        )
        draw = chance.random()
        if draw < 0.03:
            return chance.choice(
                ([b"181", b"0"], [b"0", b"86"], [b"x", b"1"], [b"nan", b"1"], [b"-180", b"85.05112878"])
            )
        longitude += chance.uniform(-spread, spread)
        if longitude > 179.9999:
            longitude -= 360
        digits = chance.choice((7, 15))  # fewer make equal distances, whose order is nobody's promise
        return [b"%.*f" % (digits, longitude), b"%.*f" % (digits, latitude + chance.uniform(-spread, spread))]

    def key(self) -> bytes:
        return self.chance.choice(KEYS[:5] if self.chance.random() < 0.9 else KEYS)

    def add(self) -> list[bytes]:
        pick = self.chance.choice
        options = [word for word in (b"NX", b"xx", b"CH") if self.chance.random() < 0.1]
        points = [item for _ in range(pick((1, 1, 3, 10))) for item in (*self.point(), pick(MEMBERS))]
        return [b"GEOADD", self.key(), *options, *points]

    def members(self) -> list[bytes]:
        pick = self.chance.choice
        name = pick((b"GEOPOS", b"GEOHASH", b"GEODIST"))
        if name == b"GEODIST":
            unit = [pick(UNITS)] if self.chance.random() < 0.6 else []
            return [name, self.key(), pick(MEMBERS), pick(MEMBERS), *unit]
        return [name, self.key(), *[pick(MEMBERS) for _ in range(pick((0, 1, 4)))]]

    def length(self) -> bytes:
        return self.chance.choice((b"0", b"10", b"500", b"2500.5", b"30", b"3", b"1e2", b"-1", b"x", b"50", b"100"))

    def options(self) -> list[bytes]:
        pick = self.chance.choice
        found = [word for word in (b"WITHDIST", b"withcoord", b"WITHHASH") if self.chance.random() < 0.25]
        order = pick(([b"ASC"], [b"desc"], [b"ASC"], []))
        count = [b"COUNT", pick((b"1", b"3", b"10", b"0", b"x"))] if self.chance.random() < 0.3 else []
        if count and self.chance.random() < 0.2:
            count.append(b"ANY")
        parts = [found, order, count]
        self.chance.shuffle(parts)
        return [word for part in parts for word in part]

    def search(self) -> list[bytes]:
        pick = self.chance.choice
        center = [b"FROMLONLAT", *self.point()] if self.chance.random() < 0.6 else [b"FROMMEMBER", pick(MEMBERS)]
        unit = pick(UNITS[:4]) if self.chance.random() < 0.95 else b"foo"
        if self.chance.random() < 0.5:
            area = [b"BYRADIUS", self.length(), unit]
        else:
            area = [b"bybox", self.length(), self.length(), unit]
        parts = [center, area] if self.chance.random() < 0.5 else [area, center]
        if self.chance.random() < 0.25:
            # distances are no positions: nobody searches the key that they are stored at
            by_distance = self.chance.random() < 0.4
            options = self.options() + ([b"STOREDIST"] if by_distance else [])
            return [b"GEOSEARCHSTORE", b"d" if by_distance else b"h", self.key(), *parts[0], *parts[1], *options]
        return [b"GEOSEARCH", self.key(), *parts[0], *parts[1], *self.options()]

    def radius(self) -> list[bytes]:
        pick = self.chance.choice
        name = pick((b"GEORADIUS", b"GEORADIUS_RO", b"GEORADIUSBYMEMBER", b"GEORADIUSBYMEMBER_RO"))
        center = [pick(MEMBERS)] if b"MEMBER" in name else self.point()
        options = self.options()
        if self.chance.random() < 0.2:
            options += pick(([b"STORE", b"h"], [b"STOREDIST", b"d"]))
        return [name, self.key(), *center, self.length(), pick(UNITS[:5]), *options]

    def malformed(self) -> list[bytes]:
        command = self.chance.choice(self.makers[:-1])()
        at = self.chance.randrange(1, len(command))
        if self.chance.random() < 0.5:
            del command[at]
        else:
            command.insert(
                at, self.chance.choice((b"1", b"COUNT", b"ASC", b"", b"FROMMEMBER", b"STORE", b"km", b"ANY"))
            )
        return command
