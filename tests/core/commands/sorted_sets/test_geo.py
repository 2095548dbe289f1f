"""Geospatial commands: the documentation's examples, effects, and a search against measuring every member."""

from __future__ import annotations

from random import Random

import pytest

from replicator.core.commands.sorted_sets.geo import decode, distance_m, encode
from tests.support.harness import Harness


def sicily() -> Harness:
    node = Harness()
    node.call("GEOADD", "Sicily", "13.361389", "38.115556", "Palermo", "15.087269", "37.502669", "Catania")
    return node


def test_the_examples_of_the_documentation_come_out() -> None:
    node = sicily()
    assert node.call("GEODIST", "Sicily", "Palermo", "Catania") == b"166274.1516"
    assert node.call("GEODIST", "Sicily", "Palermo", "Catania", "mi") == b"103.3182"
    assert node.call("GEOHASH", "Sicily", "Palermo", "Catania", "x") == [b"sqc8b49rny0", b"sqdtr74hyu0", None]
    assert node.call("GEOPOS", "Sicily", "Palermo", "x") == [[b"13.36138933897018433", b"38.11555639549629859"], None]
    assert node.call("GEORADIUS", "Sicily", 15, 37, 100, "km") == [b"Catania"]
    assert node.call("ZSCORE", "Sicily", "Palermo") == b"3479099956230698"


def test_replicas_are_told_scores_instead_of_positions() -> None:
    node = Harness()
    node.call("GEOADD", "g", "NX", "CH", "13.361389", "38.115556", "Palermo")
    node.call("GEOADD", "g", "XX", "13.361389", "38.115556", "Palermo")
    node.call("GEORADIUSBYMEMBER", "g", "Palermo", 10, "km", "STOREDIST", "d")
    assert [argv for _, argv in node.drain_effects()] == [
        [b"zadd", b"g", b"NX", b"CH", b"3479099956230698", b"Palermo"],
        [b"GEORADIUSBYMEMBER", b"g", b"Palermo", b"10", b"km", b"STOREDIST", b"d"],
    ]


@pytest.mark.parametrize("seed", range(40))
def test_a_search_finds_exactly_the_members_that_measuring_them_all_finds(seed: int) -> None:
    chance = Random(seed)
    node = Harness()
    longitude, latitude = chance.choice(((0, 0), (179.99, 60), (-180, -84), (20, 85.0), (100, -45)))
    spread = chance.choice((0.01, 1, 30, 179))
    points: dict[bytes, tuple[float, float]] = {}
    for i in range(150):
        east = (longitude + chance.uniform(-spread, spread) + 180) % 360 - 180
        north = max(-85.05, min(85.05, latitude + chance.uniform(-spread, spread)))
        node.call("GEOADD", "g", f"{east:.9f}", f"{north:.9f}", f"m{i}")
        points[b"m%d" % i] = decode(node.first.db.values[b"g"].scores[b"m%d" % i])
    center = (float(longitude), float(latitude))
    for radius in (spread * 20_000, spread * 100_000, spread * 1_000_000):
        inside = [name for name, point in points.items() if distance_m(center, point) <= radius]
        found = node.call("GEOSEARCH", "g", "FROMLONLAT", longitude, latitude, "BYRADIUS", radius, "m")
        assert sorted(found) == sorted(inside)


def test_positions_on_the_very_edge_are_found() -> None:
    node = Harness()
    node.call("GEOADD", "g", 180, "85.05112878", "corner", 180, 10, "east", "-180", 10, "west")
    assert sorted(node.call("GEOSEARCH", "g", "FROMLONLAT", 180, 10, "BYRADIUS", 1, "km")) == [b"east", b"west"]
    assert node.call("GEOSEARCH", "g", "FROMMEMBER", "corner", "BYRADIUS", 1, "km") == [b"corner"]


def test_a_score_decodes_to_the_middle_of_its_cell() -> None:
    for point in ((0.0, 0.0), (-179.5, 84.9), (13.361389, 38.115556)):
        longitude, latitude = decode(encode(point))
        assert abs(longitude - point[0]) < 360 / 2**26
        assert abs(latitude - point[1]) < 171 / 2**26


def test_count_and_any_stop_early_and_count_alone_takes_the_nearest() -> None:
    node = sicily()
    assert node.call("GEOSEARCH", "Sicily", "FROMLONLAT", 15, 37, "BYRADIUS", 400, "km", "COUNT", 1) == [b"Catania"]
    assert len(node.call("GEOSEARCH", "Sicily", "FROMLONLAT", 15, 37, "BYRADIUS", 400, "km", "COUNT", 1, "ANY")) == 1
