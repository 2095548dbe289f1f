"""The keyspace in snapshots: what is loaded, what is left out, and portions that follow the keys."""

from __future__ import annotations

from typing import Any

import pytest

from replicator.core.keyspace.database import Keyspace
from replicator.core.keyspace.digest import digest_keyspace
from replicator.core.persistence.rdb import KeyspaceLoader, snapshot_chunks
from replicator.core.wire.rdb import RdbError, RdbReader, write
from tests.golden.rdb import make

NOW = 1_700_000_000_000


def loaded(data: bytes, into: Keyspace | None = None, **options: Any) -> KeyspaceLoader:
    keyspace = into or Keyspace()
    keyspace.now_ms = NOW
    loader = KeyspaceLoader(keyspace, **{"keep_expired": False, **options})
    reader = RdbReader(loader)
    reader.feed(data)
    reader.close()
    return loader


def test_a_primary_leaves_out_what_has_expired_and_a_replica_keeps_it() -> None:
    values = {b"past": b"1", b"now": b"2", b"soon": b"3", b"ever": b"4"}
    expires = {b"past": NOW - 1, b"now": NOW, b"soon": NOW + 1}
    data = b"".join(write([(2, values, expires)]))
    primary = loaded(data)
    database = primary.keyspace.databases[2]
    assert database.values == {b"soon": b"3", b"ever": b"4"}
    assert database.expires == {b"soon": NOW + 1} and database.schedule == [(NOW + 1, b"soon")]
    assert (primary.keys, primary.expired) == (2, 2)
    replica = loaded(data, keep_expired=True)
    database = replica.keyspace.databases[2]
    assert database.values == values and database.expires == expires
    assert database.next_expiry() == NOW - 1
    assert (replica.keys, replica.expired) == (4, 0)


def test_expiry_goes_on_after_a_load() -> None:
    keys = [b"k%d" % number for number in range(200)]
    expires = {key: NOW + (number * 7919) % 200 for number, key in enumerate(keys)}
    keyspace = loaded(b"".join(write([(0, dict.fromkeys(keys, b"v"), expires)]))).keyspace
    keyspace.now_ms = NOW + 100
    assert keyspace.databases[0].purge_expired(1000) == 101 - sum(when == NOW for when in expires.values())
    left = [when for when in expires.values() if when > NOW + 100]
    assert sorted(keyspace.databases[0].expires.values()) == sorted(left)


def test_the_auxiliary_fields_and_functions_are_reported() -> None:
    keyspace = Keyspace()
    chunks = snapshot_chunks(keyspace, aux={b"repl-id": b"a" * 40, b"repl-offset": b"7"}, functions=[make.LIBRARY])
    loader = loaded(b"".join(chunks))
    assert loader.aux == {b"repl-id": b"a" * 40, b"repl-offset": b"7"}
    assert loader.functions == [make.LIBRARY] and loader.rdb_version == 10 and loader.ended and loader.keys == 0


def test_a_key_that_comes_twice_is_an_error_unless_data_is_merged() -> None:
    data = b"".join(write([(0, {b"k": b"new"}, {}), (0, {b"k": b"newer"}, {b"k": NOW + 5})]))
    with pytest.raises(RdbError, match="key b'k' is there twice in database 0"):
        loaded(data)
    keyspace = Keyspace()
    keyspace.databases[0].values.update({b"k": b"old", b"other": b"kept"})
    assert loaded(data, keyspace, merge=True).keyspace.databases[0].values == {b"k": b"newer", b"other": b"kept"}
    assert keyspace.databases[0].expires == {b"k": NOW + 5}
    loaded(b"".join(write([(0, {b"k": b"newest"}, {})])), keyspace, merge=True)
    assert keyspace.databases[0].expires == {} and keyspace.databases[0].schedule == []


def test_data_for_more_databases_than_there_are_is_refused() -> None:
    data = b"".join(write([(16, {b"k": b"v"}, {})]))
    with pytest.raises(RdbError, match="the data needs database 16, and there are 16"):
        loaded(data)


@pytest.mark.parametrize("compress", [False, True])
def test_portions_can_be_counted_as_keys(compress: bool) -> None:
    keyspace = loaded((make.HERE / "redis7-compressed.rdb").read_bytes()).keyspace
    keys = sum(len(database) for database in keyspace.databases)
    plain = b"".join(snapshot_chunks(keyspace, compress=compress))
    portions = list(snapshot_chunks(keyspace, compress=compress, count_keys=True))
    assert len(portions) == keys
    assert b"".join(portions) == plain
    assert len(list(snapshot_chunks(Keyspace(), count_keys=True))) == 1


def test_a_snapshot_without_a_checksum_ends_with_zeros() -> None:
    keyspace = loaded((make.HERE / "redis7-compressed.rdb").read_bytes()).keyspace
    data = b"".join(snapshot_chunks(keyspace, checksum=False))
    assert data[-8:] == bytes(8)
    assert digest_keyspace(loaded(data).keyspace) == digest_keyspace(keyspace)
