"""Payloads and files that are well formed and still cannot be had, or say nonsense about themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from replicator.core import limits
from replicator.core.keyspace.database import Keyspace
from replicator.core.persistence.rdb import snapshot_chunks
from replicator.core.replication.replica import ReplicaState
from tests.replication.test_hostile import HONEST, ID, Liar
from tests.support.stock import free_port

GOOD = b"#!lua name=good\nredis.register_function('f', function() return 1 end)\n"
VALKEYS = b"#!lua name=theirs\nserver.register_function('g', function() return server.call('PING') end)\n"
BROKEN = {
    "of an unknown API": b"#!lua name=broken\nmodule.register_function('f', function() end)\n",
    "that is no Lua": b"#!lua name=broken\nreturn return\n",
    "without a name": b"#!lua\n",
    "of another engine": b"#!wasm name=broken\nx",
    "that registers nothing": b"#!lua name=broken\nlocal x = 1\n",
    "that is there twice": b"#!lua name=good\nredis.register_function('h', function() return 1 end)\n",
    "that calls unpack": b"#!lua name=broken\nreturn unpack({}, 0, 2147483647)\n",
    "of bytes": b"#!lua name=\xff\xfe\n\xff",
    "of nothing": b"",
}


def snapshot(*functions: bytes, aux: dict[bytes, bytes] | None = None) -> bytes:
    keyspace = Keyspace()
    keyspace.databases[0].values[b"new"] = b"data"
    return b"".join(snapshot_chunks(keyspace, functions=functions, aux=aux, version=10))


def offer(liar: Liar, payload: bytes, offset: bytes = b"5", identity: bytes = ID) -> None:
    liar.shake_hands()
    liar.say(b"+FULLRESYNC " + identity + b" " + offset + b"\r\n$%d\r\n" % len(payload) + payload)


@pytest.mark.parametrize("load", ["disabled", "swapdb"])
@pytest.mark.parametrize("what", BROKEN)
def test_a_payload_with_a_library_that_does_not_load_is_refused_whole_and_asked_for_again(what: str, load: str) -> None:
    liar = Liar(("repl-diskless-load", load))
    liar.member.call("FUNCTION", "LOAD", "REPLACE", GOOD.replace(b"good", b"own"))
    offer(liar, snapshot(GOOD, BROKEN[what]))
    liar.world.pass_time(100)
    assert liar.member.running and not liar.connected and liar.member.node.loads.loading is None
    assert any("functions cannot be loaded: library '" in line for line in liar.member.log)
    assert liar.holds() == ({b"old": b"data"} if load == "swapdb" else {})
    assert liar.member.node.history.id != ID.decode()
    liar.connect()
    offer(liar, snapshot(GOOD, VALKEYS))
    assert liar.state is ReplicaState.CONNECTED
    assert liar.holds() == {b"new": b"data"}
    assert liar.member.call("FCALL_RO", "f", 0) is not None
    assert list(liar.member.node.scripting.libraries) == [b"good", b"theirs"]


AUXILIARY = {
    "a database of 5000 digits": {b"repl-stream-db": b"9" * 5000},
    "a database below none": {b"repl-stream-db": b"-1"},
    "no database": {b"repl-stream-db": b"\xff"},
    "a database that we have not": {b"repl-stream-db": b"16"},
    "an id of bytes": {b"repl-id": b"\xff" * 40, b"repl-offset": b"7"},
    "a long id": {b"repl-id": b"a" * 4000, b"repl-offset": b"7"},
    "an offset of 5000 digits": {b"repl-id": ID, b"repl-offset": b"9" * 5000},
    "an offset that is none": {b"repl-id": ID, b"repl-offset": b"x"},
    "an offset below none": {b"repl-id": ID, b"repl-offset": b"-7"},
    "an offset beyond int64": {b"repl-id": ID, b"repl-offset": b"9" * 19},
    "an offset in other digits": {b"repl-id": ID, b"repl-offset": "\u0667".encode()},
    "an absurd age": {b"ctime": b"9" * 19, b"used-mem": b"9" * 19, b"redis-ver": b"\xff" * 300},
    "an age of 5000 digits": {b"ctime": b"9" * 5000, b"used-mem": b"-" * 5000},
    "thousands of fields": {b"field %d" % number: b"x" for number in range(5000)},
}


@pytest.mark.parametrize("load", ["disabled", "swapdb"])
@pytest.mark.parametrize("what", AUXILIARY)
def test_auxiliary_fields_of_absurd_form_are_ignored_and_the_data_loads(what: str, load: str) -> None:
    payload = snapshot(aux=AUXILIARY[what])
    liar = Liar(("repl-diskless-load", load))
    offer(liar, payload)
    assert liar.state is ReplicaState.CONNECTED
    assert liar.holds() == {b"new": b"data"}
    assert liar.member.node.replica.stream_db == 0
    # The same as the dump at a start.
    member = liar.member
    member.stop()
    member.files["dump.rdb"] = payload
    member.start()
    while member.running and member.work(liar.world.chance):
        continue
    assert member.running and liar.holds() == {b"new": b"data"}
    assert member.node.history.id != ID.decode() and len(member.node.history.id) == 40


WRONG = {
    "beyond int64": b"9" * 19,
    "just beyond int64": b"%d" % 2**63,
    "with a sign": b"+5",
    "below none": b"-5",
    "with zeros": b"007",
    "in other digits": "\u0667".encode(),
    "a word": b"x",
}


@pytest.mark.parametrize("what", WRONG)
def test_an_offset_that_is_none_is_refused(what: str) -> None:
    liar = Liar()
    offer(liar, HONEST, WRONG[what])
    assert not liar.connected and liar.holds() == {b"old": b"data"}
    assert any("wrong +FULLRESYNC syntax" in line for line in liar.member.log)


def test_the_largest_offset_is_one() -> None:
    liar = Liar()
    offer(liar, HONEST, b"%d" % (2**63 - 1))
    assert liar.state is ReplicaState.CONNECTED


@pytest.mark.parametrize("identity", [b"\xff" * 40, b"z" * 40, b"a" * 39, b"a" * 41, b"a" * 39 + b"\x00"])
def test_an_id_that_is_none_is_refused(identity: bytes) -> None:
    liar = Liar()
    offer(liar, HONEST, b"5", identity)
    assert not liar.connected and liar.holds() == {b"old": b"data"}


# Three starts of a process are enough: the others differ in the library alone.
@pytest.mark.parametrize("what", ["of an unknown API", "that is there twice", "of bytes"])
def test_a_start_from_a_file_with_such_a_library_ends_with_a_line_that_names_it(what: str, tmp_path: Path) -> None:
    (tmp_path / "dump.rdb").write_bytes(snapshot(GOOD, BROKEN[what]))
    command = [sys.executable, "-m", "replicator", "server", "--port", str(free_port()), "--dir", str(tmp_path)]
    done = subprocess.run([*command, "--bind", "127.0.0.1"], capture_output=True, timeout=60)
    lines = [line for line in done.stdout.splitlines() if b"cannot be loaded" in line]
    assert done.returncode == 1 and len(lines) == 1 and b"Traceback" not in done.stdout + done.stderr
    assert b"name=" in lines[0] and b"dump.rdb" in lines[0]


@pytest.mark.parametrize("header", [b"$EOF:" + b"m" * 40, b"$%d" % 10**12, b"$%d" % 10**11])
@pytest.mark.parametrize("room", [None, 10**9])
def test_a_payload_without_end_is_left_before_it_fills_the_disk(
    header: bytes, room: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_PAYLOAD", 400_000)
    monkeypatch.setattr(limits, "DISK_LOOK_BYTES", 50_000)
    liar = Liar(("repl-diskless-load", "disabled"))
    if room is not None:
        monkeypatch.setattr(limits, "MAX_PAYLOAD", 1 << 40)
        surroundings = liar.member.node.surroundings
        surroundings.disk_room = lambda: limits.DISK_RESERVE + 400_000 - sum(map(len, liar.member.files.values()))
    liar.shake_hands()
    liar.say(b"+FULLRESYNC " + ID + b" 5\r\n" + header + b"\r\n")
    said = 0
    while liar.connected and said < 2_000_000:
        liar.say(b"REDIS0010" + b"x" * 991)
        said += 1000
    assert not liar.connected and said <= 500_000
    why = "No room on the disk" if room is not None else "larger than 400000 bytes"
    assert any(why in line for line in liar.member.log)
    assert liar.holds() == {b"old": b"data"}
    assert not [name for name in liar.member.files if name.startswith("temp")]
