"""Thresholds of compact encodings that change at run time: what was made keeps its form, as in Redis 7.0.15."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.nodes import LocalClient, LocalNode


def fill(client: LocalClient, mark: str, count: int) -> None:
    for number in range(count):
        client.send("ZADD", "z" + mark, number, f"m{number:03d}")
        client.send("HSET", "h" + mark, f"f{number:03d}", "v")
        client.send("SADD", "i" + mark, number)


def encodings(client: LocalClient, mark: str) -> list[Any]:
    return [client.send("OBJECT", "ENCODING", kind + mark).decode() for kind in "zhi"]


def settings(client: LocalClient, **values: int) -> None:
    names = {"z": "zset-max-listpack-entries", "h": "hash-max-listpack-entries", "i": "set-max-intset-entries"}
    for name, value in values.items():
        assert client.send("CONFIG", "SET", names[name], value) == b"OK"


SMALL = ["listpack", "listpack", "intset"]
LARGE = ["skiplist", "hashtable", "hashtable"]


def test_raised_thresholds_hold_for_what_is_made_from_now_on() -> None:
    client = LocalNode().open()
    settings(client, z=128, h=100, i=100)
    fill(client, "old", 130)
    settings(client, z=256, h=256, i=256)
    fill(client, "new", 130)
    assert encodings(client, "old") == LARGE
    assert encodings(client, "new") == SMALL


def test_lowered_thresholds_hold_for_what_is_written_to() -> None:
    client = LocalNode().open()
    settings(client, z=256)
    fill(client, "a", 130)
    settings(client, z=10)
    assert client.send("OBJECT", "ENCODING", "za") == b"listpack"
    client.send("ZADD", "za", 5, "m005")
    assert client.send("OBJECT", "ENCODING", "za") == b"listpack"
    client.send("ZADD", "za", 5, "new")
    assert client.send("OBJECT", "ENCODING", "za") == b"skiplist"
    fill(client, "b", 11)
    assert client.send("OBJECT", "ENCODING", "zb") == b"skiplist"


@pytest.mark.parametrize(("size", "form"), [(10, b"listpack"), (11, b"skiplist")])
def test_the_length_of_members_counts_as_configured(size: int, form: bytes) -> None:
    client = LocalNode("--zset-max-listpack-value", "10").open()
    client.send("ZADD", "z", 1, "x" * size)
    assert client.send("OBJECT", "ENCODING", "z") == form


def test_every_way_to_make_a_sorted_set_knows_the_thresholds() -> None:
    node = LocalNode("--enable-debug-command", "yes")
    client = node.open()
    settings(client, z=256)
    fill(client, "a", 130)
    client.send("ZUNIONSTORE", "union", 1, "za")
    client.send("COPY", "za", "copy")
    client.send("ZRANGESTORE", "range", "za", 0, -1)
    client.send("RESTORE", "restored", 0, client.send("DUMP", "za"))
    client.send("SORT", "za", "BY", "nosort", "STORE", "list")
    names = ("union", "copy", "range", "restored")
    assert [client.send("OBJECT", "ENCODING", name) for name in names] == [b"listpack"] * 4
    assert client.send("DEBUG", "RELOAD") == b"OK"
    assert [client.send("OBJECT", "ENCODING", name) for name in (*names, "za")] == [b"listpack"] * 5
