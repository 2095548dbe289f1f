"""Geospatial commands, part two: searching an area.

A search looks for the finest grid in which the cell of the center and its eight neighbours cover the area, reads these
nine ranges of scores, and measures every position found.

Source: https://redis.io/docs/latest/commands/geosearch/ and https://redis.io/docs/latest/commands/georadius/
"""

from __future__ import annotations

from math import asin, cos, degrees, isinf, pi, sin, sqrt
from typing import NamedTuple

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import DENY_OOM, MOVABLE_KEYS, READONLY, WRITE
from replicator.core.commands.sorted_sets.geo import (
    EARTH_RADIUS_M,
    KEY,
    MAX_LATITUDE,
    RADIAN,
    STEPS,
    Position,
    decode,
    distance_m,
    distance_reply,
    geo_command,
    parse_position,
    parse_unit,
    position_reply,
    spread,
)
from replicator.core.commands.sorted_sets.sorted_sets import parse_score, store_result
from replicator.core.errors import NOT_AN_INTEGER, SYNTAX, CommandError
from replicator.core.keyspace.sorted_set import ScoreRange, SortedSet
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_float, parse_int


def _parse_length(data: bytes, what: str) -> float:
    value = parse_float(data)
    if value is None or isinf(value):
        try:
            value = parse_score(data)
        except CommandError:
            raise CommandError(f"ERR need numeric {what}") from None
    return value


class _Shape(NamedTuple):
    """The area searched. radius_m: of a circle; else width_m and height_m of a box. unit: in metres, of replies."""

    center: Position
    unit: float
    radius_m: float | None
    width_m: float = 0.0
    height_m: float = 0.0

    def measure(self, position: Position) -> float | None:
        """The distance of a position inside, None for one outside."""
        if self.radius_m is not None:
            metres = distance_m(self.center, position)
            return metres if metres <= self.radius_m else None
        if EARTH_RADIUS_M * abs(position[1] * RADIAN - self.center[1] * RADIAN) > self.height_m / 2:
            return None
        if distance_m(position, (self.center[0], position[1])) > self.width_m / 2:
            return None
        return distance_m(self.center, position)

    def reach_m(self) -> float:
        """No position inside is farther from the center than this."""
        if self.radius_m is not None:
            return self.radius_m
        return sqrt((self.width_m / 2) ** 2 + (self.height_m / 2) ** 2)


class _Found(NamedTuple):
    member: bytes
    score: float
    metres: float
    position: Position


def _extent(shape: _Shape) -> tuple[float, float]:
    """How many degrees of longitude and latitude the area reaches from its center, at the most."""
    _, latitude = shape.center
    angle = shape.reach_m() / EARTH_RADIUS_M
    up = degrees(angle)
    if angle >= pi / 2 or abs(latitude) + up >= 90.0:
        return 360.0, min(up, 180.0)
    return degrees(asin(min(1.0, sin(angle) / cos(latitude * RADIAN)))), up


def _cells(shape: _Shape) -> list[tuple[int, int, int]]:
    """(step, row, column) of the cells to be read: the center's, then north, south, east, west, and the corners."""
    longitude, latitude = shape.center
    wide, high = _extent(shape)
    step = STEPS
    while step > 0 and (360.0 / (1 << step) < wide or 2 * MAX_LATITUDE / (1 << step) < high):
        step -= 1
    side = 1 << step
    middle_row = min(side - 1, int((latitude + MAX_LATITUDE) / (2 * MAX_LATITUDE) * side))
    middle_column = min(side - 1, int((longitude + 180.0) / 360.0 * side))
    cells: dict[tuple[int, int, int], None] = {}
    for up, right in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)):
        row, column = middle_row + up, (middle_column + right) % side
        if not 0 <= row < side:
            continue
        # positions exactly on the eastern or northern edge have scores of their own, behind the grid's last
        rows = (row, side) if row == side - 1 else (row,)
        columns = (column, side) if column == side - 1 else (column,)
        for edge_row in rows:
            for edge_column in columns:
                cells[(step, edge_row, edge_column)] = None
    return list(cells)


def _search(zset: SortedSet, shape: _Shape, most: int) -> list[_Found]:
    """The members inside, cell by cell; at most `most` of them if that is not 0."""
    found: list[_Found] = []
    for step, row, column in _cells(shape):
        shift = 2 * (STEPS - step)
        least = (spread(row) | spread(column) << 1) << shift
        window = zset.score_window(ScoreRange(float(least), float(least + (1 << shift)), below=True))
        if window[0] >= window[1]:
            continue
        for score, member in zset.slice(*window):
            position = decode(score)
            metres = shape.measure(position)
            if metres is None:
                continue
            found.append(_Found(member, score, metres, position))
            if most and len(found) >= most:
                return found
    return found


class _Options:
    """What stands behind the fixed arguments of a search."""

    __slots__ = (
        "any",
        "box",
        "center",
        "count",
        "distances",
        "member",
        "order",
        "radius",
        "store",
        "unit",
        "with_coordinates",
        "with_distance",
        "with_hash",
        "zset",
    )

    def __init__(self, zset: SortedSet | None) -> None:
        self.zset = zset
        self.with_distance = self.with_hash = self.with_coordinates = False
        self.any = self.distances = False
        self.count = 0
        self.order = 0  # 1 ascending, -1 descending
        self.store: bytes | None = None
        self.center: Position | None = None
        self.member: bytes | None = None
        self.radius: float | None = None
        self.box: tuple[float, float] | None = None
        self.unit = 1.0

    def parse(self, argv: list[bytes], at: int, *, search: bool, storing: bool) -> None:
        """Options from argv[at] on. search: GEOSEARCH's own; storing: STORE (GEORADIUS), STOREDIST (GEOSEARCHSTORE)."""
        while at < len(argv):
            word, left = argv[at].lower(), len(argv) - 1 - at
            if word == b"withdist":
                self.with_distance = True
            elif word == b"withhash":
                self.with_hash = True
            elif word == b"withcoord":
                self.with_coordinates = True
            elif word == b"any":
                self.any = True
            elif word in (b"asc", b"desc"):
                self.order = 1 if word == b"asc" else -1
            elif word == b"count" and left:
                self._parse_count(argv[at + 1])
                at += 1
            elif not search and storing and word in (b"store", b"storedist") and left:
                self.store, self.distances = argv[at + 1], word == b"storedist"
                at += 1
            elif search and storing and word == b"storedist":
                self.distances = True
            elif search:
                at += self._parse_area(argv, at, word, left)
            else:
                raise CommandError(SYNTAX)
            at += 1

    def _parse_count(self, data: bytes) -> None:
        count = parse_int(data)
        if count is None:
            raise CommandError(NOT_AN_INTEGER)
        if count <= 0:
            raise CommandError("ERR COUNT must be > 0")
        self.count = count

    def _parse_area(self, argv: list[bytes], at: int, word: bytes, left: int) -> int:
        """FROMMEMBER, FROMLONLAT, BYRADIUS or BYBOX at argv[at]; how many arguments it has."""
        if word == b"frommember" and left >= 1 and self.center is None:
            self.member = argv[at + 1]
            if self.zset is not None:
                _member_position(self.zset, self.member)
            return 1
        if word == b"fromlonlat" and left >= 2 and self.member is None:
            self.center = parse_position(argv[at + 1], argv[at + 2])
            return 2
        if word == b"byradius" and left >= 2 and self.box is None:
            self.parse_radius(argv[at + 1], argv[at + 2])
            return 2
        if word == b"bybox" and left >= 3 and self.radius is None:
            width, height = _parse_length(argv[at + 1], "width"), _parse_length(argv[at + 2], "height")
            if width < 0 or height < 0:
                raise CommandError("ERR height or width cannot be negative")
            self.unit = parse_unit(argv[at + 3])
            self.box = width * self.unit, height * self.unit
            return 3
        raise CommandError(SYNTAX)

    def parse_radius(self, radius: bytes, unit: bytes) -> None:
        """BYRADIUS and the radius of the older commands."""
        value = _parse_length(radius, "radius")
        if value < 0:
            raise CommandError("ERR radius cannot be negative")
        self.unit = parse_unit(unit)
        self.radius = value * self.unit

    def shape(self, center: Position) -> _Shape:
        """The area around the center."""
        width, height = self.box or (0.0, 0.0)
        return _Shape(center, self.unit, self.radius, width, height)


def _member_position(zset: SortedSet, member: bytes) -> Position:
    score = zset.scores.get(member)
    if score is None:
        raise CommandError("ERR could not decode requested zset member")
    return decode(score)


def _answer(ctx: Context, zset: SortedSet | None, options: _Options, event: bytes) -> bytes:
    """Search, then reply or store."""
    if options.any and not options.count:
        raise CommandError("ERR the ANY argument requires COUNT argument")
    found: list[_Found] = []
    if zset is not None:
        center = options.center if options.member is None else _member_position(zset, options.member)
        assert center is not None
        found = _search(zset, options.shape(center), options.count if options.any else 0)
    if options.order or (options.count and not options.any):
        found.sort(key=lambda one: one.metres, reverse=options.order < 0)
    if options.count:
        del found[options.count :]
    if options.store is not None:
        if options.distances:
            pairs = [(one.member, one.metres / options.unit) for one in found]
        else:
            pairs = [(one.member, one.score) for one in found]
        ctx.keyspace.dirty += max(0, len(pairs) - 1)
        return store_result(ctx, options.store, pairs, event)
    if not (options.with_distance or options.with_hash or options.with_coordinates):
        return reply.bulks([one.member for one in found])
    items = []
    for one in found:
        parts = [reply.bulk(one.member)]
        if options.with_distance:
            parts.append(distance_reply(one.metres, options.unit))
        if options.with_hash:
            parts.append(reply.integer(int(one.score)))
        if options.with_coordinates:
            parts.append(position_reply(one.position, ctx.resp3))
        items.append(reply.array(parts))
    return reply.array(items)


def _geosearch(ctx: Context, argv: list[bytes], key: bytes, at: int, store: bytes | None) -> bytes:
    zset = ctx.db.typed(key, SortedSet)
    options = _Options(zset)
    options.parse(argv, at, search=True, storing=store is not None)
    name = argv[0].decode("latin-1").lower()
    if store is not None and (options.with_distance or options.with_hash or options.with_coordinates):
        raise CommandError("ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options")
    if options.center is None and options.member is None:
        raise CommandError(f"ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {name}")
    if options.radius is None and options.box is None:
        raise CommandError(f"ERR exactly one of BYRADIUS and BYBOX can be specified for {name}")
    options.store = store
    return _answer(ctx, zset, options, b"geosearchstore")


def _georadius(ctx: Context, argv: list[bytes], by_member: bool, storing: bool) -> bytes:
    zset = ctx.db.typed(argv[1], SortedSet)
    options = _Options(zset)
    if by_member:
        options.member = argv[2]
        at = 3
        if zset is not None:  # of a missing key's member stock does not even read the radius
            _member_position(zset, argv[2])
            options.parse_radius(argv[3], argv[4])
    else:
        options.center = parse_position(argv[2], argv[3])
        at = 4
        options.parse_radius(argv[4], argv[5])
    options.parse(argv, at + 2, search=False, storing=storing)
    if options.store is not None and (options.with_distance or options.with_hash or options.with_coordinates):
        raise CommandError(
            "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
        )
    return _answer(ctx, zset, options, b"georadiusstore")


def _stored_keys(argv: list[bytes]) -> list[int]:
    """The keys of GEORADIUS: the source, and what STORE or STOREDIST names last."""
    target = 0
    for at in range(5, len(argv) - 1):
        if argv[at].lower() in (b"store", b"storedist"):
            target = at + 1
    return [1, target] if target else [1]


_SEARCH_COST = "O(N+log(M)) with N being the elements in the nine grid cells around the area and M those of the index."
_RADIUS_OPTIONS = "[WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]"
_UPPERCASE = (("7.0.0", "Added support for uppercase unit names."),)
_AREA = (
    "<FROMMEMBER member | FROMLONLAT longitude latitude> "
    "<BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>> [ASC | DESC] [COUNT count [ANY]]"
)


@geo_command(
    "geosearch",
    arity=-7,
    flags=READONLY,
    keys=KEY,
    access="RO",
    since="6.2.0",
    complexity=_SEARCH_COST,
    summary="Queries a geospatial index for members inside an area of a box or a circle.",
    arguments=f"key {_AREA} [WITHCOORD] [WITHDIST] [WITHHASH]",
    history=_UPPERCASE,
)
def geosearch(ctx: Context, argv: list[bytes]) -> bytes:
    """GEOSEARCH key FROMMEMBER ...|FROMLONLAT ... BYRADIUS ...|BYBOX ... [options]"""
    return _geosearch(ctx, argv, argv[1], 2, None)


@geo_command(
    "geosearchstore",
    arity=-8,
    flags=WRITE | DENY_OOM,
    keys=(1, 2, 1),
    access="OW",
    since="6.2.0",
    complexity=_SEARCH_COST,
    summary="Queries a geospatial index for members inside an area and stores the result.",
    arguments=f"destination source {_AREA} [STOREDIST]",
    history=_UPPERCASE,
)
def geosearchstore(ctx: Context, argv: list[bytes]) -> bytes:
    """GEOSEARCHSTORE destination source FROMMEMBER ...|FROMLONLAT ... BYRADIUS ...|BYBOX ... [options] [STOREDIST]"""
    return _geosearch(ctx, argv, argv[2], 3, argv[1])


@geo_command(
    "georadius",
    arity=-6,
    flags=WRITE | DENY_OOM | MOVABLE_KEYS,
    keys=KEY,
    find_keys=_stored_keys,
    access="RO",
    since="3.2.0",
    complexity=_SEARCH_COST,
    summary="Queries a geospatial index for members within a distance from a point, optionally stores the result.",
    arguments=f"key longitude latitude radius <M | KM | FT | MI> {_RADIUS_OPTIONS} [STORE key | STOREDIST key]",
    history=(("6.2.0", "Added the `ANY` option for `COUNT`."), *_UPPERCASE),
)
def georadius(ctx: Context, argv: list[bytes]) -> bytes:
    """GEORADIUS key longitude latitude radius unit [options] [STORE key|STOREDIST key]"""
    return _georadius(ctx, argv, False, True)


@geo_command(
    "georadius_ro",
    arity=-6,
    flags=READONLY,
    keys=KEY,
    access="RO",
    since="3.2.10",
    complexity=_SEARCH_COST,
    summary="Returns members from a geospatial index that are within a distance from a point.",
    arguments=f"key longitude latitude radius <M | KM | FT | MI> {_RADIUS_OPTIONS}",
    history=(("6.2.0", "Added the `ANY` option for `COUNT`."),),
)
def georadius_ro(ctx: Context, argv: list[bytes]) -> bytes:
    """GEORADIUS_RO key longitude latitude radius unit [options]"""
    return _georadius(ctx, argv, False, False)


@geo_command(
    "georadiusbymember",
    arity=-5,
    flags=WRITE | DENY_OOM | MOVABLE_KEYS,
    keys=KEY,
    find_keys=_stored_keys,
    access="RO",
    since="3.2.0",
    complexity=_SEARCH_COST,
    summary="Queries a geospatial index for members within a distance from a member, optionally stores the result.",
    arguments=f"key member radius <M | KM | FT | MI> {_RADIUS_OPTIONS} [STORE key | STOREDIST key]",
    history=_UPPERCASE,
)
def georadiusbymember(ctx: Context, argv: list[bytes]) -> bytes:
    """GEORADIUSBYMEMBER key member radius unit [options] [STORE key|STOREDIST key]"""
    return _georadius(ctx, argv, True, True)


@geo_command(
    "georadiusbymember_ro",
    arity=-5,
    flags=READONLY,
    keys=KEY,
    access="RO",
    since="3.2.10",
    complexity=_SEARCH_COST,
    summary="Returns members from a geospatial index that are within a distance from a member.",
    arguments=f"key member radius <M | KM | FT | MI> {_RADIUS_OPTIONS}",
)
def georadiusbymember_ro(ctx: Context, argv: list[bytes]) -> bytes:
    """GEORADIUSBYMEMBER_RO key member radius unit [options]"""
    return _georadius(ctx, argv, True, False)
