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


LONG = "0123456789012345678901234567890"  # 31 bytes
# Per command what Redis 7.0.15 makes of a hash with 21 fields, one of them long, and of a set of 20 integers that were
# made under the default limits: with at most 10 entries now, and with at most 10 bytes (which sets have no limit for).
LOWERED = (
    ("HGET h f1", "listpack", "listpack"),
    ("HDEL h f1", "listpack", "listpack"),
    ("HSETNX h f1 1", "listpack", "listpack"),
    ("HSET h f1 1", "hashtable", "listpack"),
    ("HSET h new 2", "hashtable", "listpack"),
    ("HINCRBY h f1 1", "hashtable", "listpack"),
    ("HINCRBYFLOAT h f1 1", "hashtable", "listpack"),
    (f"HSET h new {LONG}", "hashtable", "hashtable"),
    ("HDEL h long", "listpack", "listpack"),
    ("SADD s 1", "intset", "intset"),
    ("SREM s 1", "intset", "intset"),
    ("SPOP s", "intset", "intset"),
    ("SMOVE s t 1", "intset", "intset"),
    ("SADD s 99", "hashtable", "intset"),
    ("SADD s x", "hashtable", "hashtable"),
)


@pytest.mark.parametrize(("line", "fewer", "shorter"), LOWERED)
@pytest.mark.parametrize("lowered", ["entries", "value"])
def test_under_lowered_thresholds_a_hash_and_a_set_stay_small_until_a_write_goes_beyond(
    line: str, fewer: str, shorter: str, lowered: str
) -> None:
    client = LocalNode().open()
    for number in range(1, 21):
        client.send("HSET", "h", f"f{number}", number)
        client.send("SADD", "s", number)
    client.send("HSET", "h", "long", LONG)
    names = ["hash-max-listpack-value"]
    if lowered == "entries":
        names = ["hash-max-listpack-entries", "set-max-intset-entries"]
    for name in names:
        assert client.send("CONFIG", "SET", name, 10) == b"OK"
    key = line.split()[1]
    small = b"listpack" if key == "h" else b"intset"
    assert client.send("OBJECT", "ENCODING", key) == small
    client.send("COPY", key, "copy")
    client.send(*line.split())
    assert client.send("OBJECT", "ENCODING", key).decode() == (fewer if lowered == "entries" else shorter)
    assert client.send("OBJECT", "ENCODING", "copy") == small


def test_what_falls_below_a_lowered_threshold_may_be_written_to() -> None:
    client = LocalNode().open()
    fill(client, "a", 20)
    settings(client, h=10, i=10)
    for number in range(15):
        client.send("HDEL", "ha", f"f{number:03d}")
        client.send("SREM", "ia", number)
    client.send("HSET", "ha", "new", "v")
    client.send("SADD", "ia", 99)
    assert encodings(client, "a")[1:] == ["listpack", "intset"]
    for number in range(6):
        client.send("HSET", "ha", f"x{number}", "v")
        client.send("SADD", "ia", 200 + number)
    assert encodings(client, "a")[1:] == ["hashtable", "hashtable"]


def test_raised_again_the_thresholds_find_what_was_written_to_in_between_large() -> None:
    client = LocalNode().open()
    fill(client, "kept", 20)
    fill(client, "grown", 20)
    settings(client, h=10, i=10)
    client.send("HSET", "hgrown", "new", "v")
    client.send("SADD", "igrown", 99)
    settings(client, h=128, i=512)
    client.send("HSET", "hkept", "new", "v")
    client.send("SADD", "ikept", 99)
    assert encodings(client, "kept")[1:] == ["listpack", "intset"]
    assert encodings(client, "grown")[1:] == ["hashtable", "hashtable"]


def test_a_reload_makes_everything_as_the_thresholds_are_now() -> None:
    client = LocalNode("--enable-debug-command", "yes").open()
    fill(client, "a", 20)
    settings(client, z=10, h=10, i=10)
    assert encodings(client, "a") == SMALL
    assert client.send("DEBUG", "RELOAD") == b"OK"
    assert encodings(client, "a") == LARGE


def test_a_list_keeps_the_node_size_that_it_was_made_with() -> None:
    # The values are those of Redis 7.0.15.
    node = LocalNode("--enable-debug-command", "yes")
    client = node.open()

    def shown(key: str) -> str:
        return str(client.send("DEBUG", "OBJECT", key).decode().split(" ql_", 1)[1].split(" ql_compressed")[0])

    def resize(size: int) -> None:
        assert client.send("CONFIG", "SET", "list-max-listpack-size", size) == b"OK"

    resize(4)
    client.send("RPUSH", "l", *range(10))
    assert shown("l") == "nodes:3 ql_avg_node:3.33 ql_listpack_max:4"
    resize(100)
    client.send("RPUSH", "l", 11, 12, 13)
    assert shown("l") == "nodes:4 ql_avg_node:3.25 ql_listpack_max:4"
    client.send("RPUSH", "n", *range(10))
    assert shown("n") == "nodes:1 ql_avg_node:10.00 ql_listpack_max:100"
    client.send("COPY", "l", "copy")
    assert shown("copy") == "nodes:4 ql_avg_node:3.25 ql_listpack_max:4"
    resize(0)
    client.send("RPUSH", "q", 1, 2, 3)
    assert shown("q") == "nodes:3 ql_avg_node:1.00 ql_listpack_max:0"
    resize(4)
    assert client.send("DEBUG", "RELOAD") == b"OK"
    assert shown("n") == "nodes:3 ql_avg_node:3.33 ql_listpack_max:4"
