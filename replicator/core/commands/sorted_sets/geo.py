"""Geospatial commands, part one: positions and members, in sorted sets whose scores are 52-bit grid positions.

Theory of operation
- A position is a cell of a grid of 2**26 by 2**26 over longitude -180..180 and latitude -85.05112878..85.05112878 (the
  latitudes of web maps). Its score interleaves the bits of row and column, the column's being the higher of each pair:
  so the cells of a coarser grid are ranges of scores. Searching them is geo_search.py's.

Source: https://redis.io/docs/latest/commands/geoadd/, https://en.wikipedia.org/wiki/Geohash,
https://en.wikipedia.org/wiki/Haversine_formula
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from math import asin, cos, pi, sin, sqrt
from typing import TYPE_CHECKING, TypeAlias

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import DENY_OOM, READONLY, WRITE, command
from replicator.core.commands.sorted_sets.sorted_sets import parse_score, zadd
from replicator.core.errors import SYNTAX, CommandError
from replicator.core.keyspace.sorted_set import SortedSet
from replicator.core.wire import reply

if TYPE_CHECKING:
    from replicator.core.command_table.registry import Run

geo_command: Callable[..., Callable[[Run], Run]] = partial(command, group="geo", categories="geo")
KEY = (1, 1, 1)

EARTH_RADIUS_M = 6372797.560856
MAX_LATITUDE = 85.05112878
STEPS = 26  # the grid's finest division: 2**STEPS rows and columns
_UNITS = {b"m": 1.0, b"km": 1000.0, b"ft": 0.3048, b"mi": 1609.34}
_BASE32 = b"0123456789bcdefghjkmnpqrstuvwxyz"
RADIAN = pi / 180.0

Position: TypeAlias = tuple[float, float]  # longitude, latitude in degrees


# -- positions and scores ----------------------------------------------------------------------------------------------


def spread(value: int) -> int:
    """The bits of a 32-bit number, each followed (upwards) by a zero."""
    value = (value | value << 16) & 0x0000FFFF0000FFFF
    value = (value | value << 8) & 0x00FF00FF00FF00FF
    value = (value | value << 4) & 0x0F0F0F0F0F0F0F0F
    value = (value | value << 2) & 0x3333333333333333
    return (value | value << 1) & 0x5555555555555555


def _gather(value: int) -> int:
    """Every second bit of a number, the inverse of `spread`."""
    value &= 0x5555555555555555
    value = (value | value >> 1) & 0x3333333333333333
    value = (value | value >> 2) & 0x0F0F0F0F0F0F0F0F
    value = (value | value >> 4) & 0x00FF00FF00FF00FF
    value = (value | value >> 8) & 0x0000FFFF0000FFFF
    return (value | value >> 16) & 0x00000000FFFFFFFF


def _encode(position: Position, step: int, most_latitude: float) -> int:
    """The interleaved cell of the position in the grid of 2**step rows and columns."""
    longitude, latitude = position
    column = int((longitude + 180.0) / 360.0 * (1 << step))
    row = int((latitude + most_latitude) / (2 * most_latitude) * (1 << step))
    return spread(row) | spread(column) << 1


def encode(position: Position) -> int:
    """The score of a position."""
    return _encode(position, STEPS, MAX_LATITUDE)


def decode(score: float) -> Position:
    """The middle of the cell that the score names."""
    bits = int(score)
    row, column = _gather(bits), _gather(bits >> 1)
    cells = 1 << STEPS
    west, east = -180.0 + column / cells * 360.0, -180.0 + (column + 1) / cells * 360.0
    height = 2 * MAX_LATITUDE
    south, north = -MAX_LATITUDE + row / cells * height, -MAX_LATITUDE + (row + 1) / cells * height
    longitude = min(180.0, max(-180.0, (west + east) / 2))
    latitude = min(MAX_LATITUDE, max(-MAX_LATITUDE, (south + north) / 2))
    return longitude, latitude


def distance_m(one: Position, other: Position) -> float:
    """The great-circle distance in metres (haversine)."""
    longitude1, latitude1 = one[0] * RADIAN, one[1] * RADIAN
    longitude2, latitude2 = other[0] * RADIAN, other[1] * RADIAN
    v = sin((longitude2 - longitude1) / 2)
    if v == 0.0:
        return EARTH_RADIUS_M * abs(latitude2 - latitude1)
    u = sin((latitude2 - latitude1) / 2)
    return 2.0 * EARTH_RADIUS_M * asin(sqrt(u * u + cos(latitude1) * cos(latitude2) * v * v))


def _coordinate(value: float, resp3: bool) -> bytes:
    """A coordinate with up to 17 decimals, trailing zeros left out."""
    text = f"{Decimal(value):.17f}".rstrip("0").rstrip(".").encode()
    text = b"0" if text == b"-0" else text
    return b",%b\r\n" % text if resp3 else reply.bulk(text)


def position_reply(position: Position, resp3: bool) -> bytes:
    return b"*2\r\n%b%b" % (_coordinate(position[0], resp3), _coordinate(position[1], resp3))


def distance_reply(metres: float, unit: float) -> bytes:
    return reply.bulk(b"%.4f" % (metres / unit))


def parse_position(longitude: bytes, latitude: bytes) -> Position:
    position = parse_score(longitude), parse_score(latitude)
    if not (-180 <= position[0] <= 180 and -MAX_LATITUDE <= position[1] <= MAX_LATITUDE):
        raise CommandError(f"ERR invalid longitude,latitude pair {position[0]:f},{position[1]:f}")
    return position


def parse_unit(data: bytes) -> float:
    unit = _UNITS.get(data.lower())
    if unit is None:
        raise CommandError("ERR unsupported unit provided. please use M, KM, FT, MI")
    return unit


# -- members -----------------------------------------------------------------------------------------------------------


@geo_command(
    "geoadd",
    arity=-5,
    flags=WRITE | DENY_OOM,
    keys=KEY,
    access="RW",
    since="3.2.0",
    complexity="O(log(N)) for each item added, where N is the number of elements in the sorted set.",
    summary="Adds members with their positions to a geospatial index.",
    arguments="key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]",
    history=(("6.2.0", "Added the `CH`, `NX` and `XX` options."),),
)
def geoadd(ctx: Context, argv: list[bytes]) -> bytes:
    """GEOADD key [NX|XX] [CH] longitude latitude member [...]"""
    at = 2
    options: dict[bytes, None] = {}
    while at < len(argv) and argv[at].lower() in (b"nx", b"xx", b"ch"):
        options[argv[at].lower()] = None
        at += 1
    if (len(argv) - at) % 3 or (b"nx" in options and b"xx" in options):
        raise CommandError(SYNTAX)
    effect = [b"zadd", argv[1], *argv[2:at]]
    for i in range(at, len(argv), 3):
        position = parse_position(argv[i], argv[i + 1])
        effect += [b"%d" % encode(position), argv[i + 2]]
    before = ctx.keyspace.dirty
    answer = zadd(ctx, effect)
    if ctx.keyspace.dirty != before:
        ctx.replicate(*effect)
    return answer


def _positions(ctx: Context, argv: list[bytes]) -> Iterator[float | None]:
    zset = ctx.db.typed(argv[1], SortedSet)
    for member in argv[2:]:
        yield None if zset is None else zset.scores.get(member)


@geo_command(
    "geopos",
    arity=-2,
    flags=READONLY,
    keys=KEY,
    access="RO",
    since="3.2.0",
    complexity="O(1) for each member requested.",
    summary="Returns the longitude and latitude of members of a geospatial index.",
    arguments="key [member [member ...]]",
)
def geopos(ctx: Context, argv: list[bytes]) -> bytes:
    """GEOPOS key [member ...]"""
    return reply.array(
        [
            ctx.null_array if score is None else position_reply(decode(score), ctx.resp3)
            for score in _positions(ctx, argv)
        ]
    )


@geo_command(
    "geohash",
    arity=-2,
    flags=READONLY,
    keys=KEY,
    access="RO",
    since="3.2.0",
    complexity="O(1) for each member requested.",
    summary="Returns members of a geospatial index as geohash strings.",
    arguments="key [member [member ...]]",
)
def geohash(ctx: Context, argv: list[bytes]) -> bytes:
    """GEOHASH key [member ...]"""
    items = []
    for score in _positions(ctx, argv):
        if score is None:
            items.append(ctx.null)
            continue
        # the standard's grid spans the latitudes from pole to pole; 52 bits give ten letters and a zero
        bits = _encode(decode(score), STEPS, 90.0)
        letters = [_BASE32[bits >> (52 - 5 * (i + 1)) & 31] for i in range(10)]
        items.append(reply.bulk(bytes([*letters, _BASE32[0]])))
    return reply.array(items)


@geo_command(
    "geodist",
    arity=-4,
    flags=READONLY,
    keys=KEY,
    access="RO",
    since="3.2.0",
    complexity="O(1)",
    summary="Returns the distance between two members of a geospatial index.",
    arguments="key member1 member2 [M | KM | FT | MI]",
)
def geodist(ctx: Context, argv: list[bytes]) -> bytes:
    """GEODIST key member1 member2 [M|KM|FT|MI]"""
    if len(argv) > 5:
        raise CommandError(SYNTAX)
    unit = parse_unit(argv[4]) if len(argv) == 5 else 1.0
    zset = ctx.db.typed(argv[1], SortedSet)
    one = None if zset is None else zset.scores.get(argv[2])
    other = None if zset is None else zset.scores.get(argv[3])
    if one is None or other is None:
        return ctx.null
    return distance_reply(distance_m(decode(one), decode(other)), unit)
