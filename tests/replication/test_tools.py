"""What tools see of a primary and its replica: beside stock servers in the same places."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.servers import Server, servers, until
from tests.support.stock import Wire, binary

pytestmark = pytest.mark.skipif(binary("redis7") is None, reason="redis7's server is not installed on this machine")


@dataclass
class Pair:
    primary: Server
    replica: Server


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Pair]]:
    """A primary and its replica of ours, and the same of stock's."""
    folder = Path(tmp_path_factory.mktemp("tools"))
    with servers(folder, "ours", "ours", "redis7", "redis7") as (a, b, c, d):
        b.follow(a)
        d.follow(c)
        b.wait_linked()
        d.wait_linked()
        yield {"ours": Pair(a, b), "stock": Pair(c, d)}


def both(pairs: dict[str, Pair], ask: Any) -> tuple[Any, Any]:
    return ask(pairs["ours"]), ask(pairs["stock"])


LIBRARY = "#!lua name=l\nredis.register_function('f', function() return 1 end)"


@pytest.mark.parametrize(
    "said",
    [
        ("rdb-filter-only", ""),
        ("rdb-filter-only", "functions"),
        ("rdb-filter-only", "FUNCTIONS"),
        ("rdb-filter-only", "'functions' functions"),
        ("rdb-filter-only", "nosuch"),
        ("rdb-filter-only", "functions nosuch"),
        ("rdb-filter-only", '"functions'),
        ("rdb-filter-only",),
        ("rdb-only", "x"),
        ("capa", "eof", "rdb-filter-only", ""),
        ("capa", "eof", "rdb-filter-only", "functions"),
        ("capa", "eof", "rdb-filter-only", "nosuch"),
        ("capa", "eof", "rdb-only", "1"),
    ],
)
def test_a_filtered_payload_holds_what_stocks_would(pairs: dict[str, Pair], said: tuple[str, ...]) -> None:
    def ask(pair: Pair) -> Any:
        pair.primary.call("FUNCTION", "LOAD", "REPLACE", LIBRARY)
        pair.primary.call("SET", "a-key", "its value")
        wire = Wire(pair.primary.port)
        answer = str(wire.call("REPLCONF", *said))
        wire.send("SYNC")
        payload = received(wire)
        wire.close()
        kind = payload[:60] if payload.startswith(b"-") else payload[:1]
        return answer, kind, b"register_function" in payload, b"a-key" in payload

    ours, stock = both(pairs, ask)
    assert ours == stock


def received(wire: Wire) -> bytes:
    """A whole answer to SYNC: an error, or a payload of either framing."""
    data = b""
    wire.sock.settimeout(20)
    while True:
        data = (data + wire.sock.recv(1 << 16)).lstrip(b"\n")
        head, found, rest = data.partition(b"\r\n")
        if not found:
            continue
        if head.startswith(b"-") or (head.startswith(b"$EOF:") and head[5:] in rest):
            return data
        if head.startswith(b"$") and not head.startswith(b"$EOF:") and len(rest) >= int(head[1:]):
            return data


def monitored(wire: Wire) -> list[str]:
    """The lines of a monitor up to the end mark, without times and addresses."""
    lines = []
    while "end mark" not in (line := wire.read().decode()):
        lines.append(re.sub(r'(127\.0\.0\.1:\d+|PXAT" "\d+)', "...", line.partition(" ")[2]))
    return lines


def test_monitor_on_a_replica_shows_what_its_link_executes(pairs: dict[str, Pair]) -> None:
    def ask(pair: Pair) -> Any:
        watcher, client = Wire(pair.replica.port), Wire(pair.primary.port)
        watcher.call("MONITOR")
        for line in (
            "SELECT 3",
            "SET x y",
            "MULTI",
            "SET p q",
            "INCR n",
            "EXEC",
            "SET e f PX 100000",
            "EVAL redis.call('set',KEYS[1],'1')redis.call('incr',KEYS[2]) 2 s t",
            "SETEX zz 100 v",
            "SPOP nokey",
            "PUBLISH c m",
            "FUNCTION FLUSH",
            "SCRIPT FLUSH",
            "CLIENT SETNAME x",
        ):
            client.call(*line.split(" "))
        client.call("ECHO", "x")
        client.call("SET", "x", "end mark")
        shown = [line for line in monitored(watcher) if '"PING"' not in line]
        watcher.close()
        client.close()
        return shown

    ours, stock = both(pairs, ask)
    assert ours == stock
    assert '[3 ...] "SELECT" "3"' in ours and '[3 ...] "EXEC"' in ours


def test_the_link_to_the_primary_is_listed_as_stock_lists_it(pairs: dict[str, Pair]) -> None:
    def ask(pair: Pair) -> Any:
        pair.primary.call("SET", "k", "v")
        assert pair.primary.call("WAIT", 1, 5000) == 1  # by a REPLCONF GETACK
        (line,) = pair.replica.call("CLIENT", "LIST", "TYPE", "master").decode().splitlines()
        fields = dict(field.split("=", 1) for field in line.split())
        assert fields["addr"] == f"127.0.0.1:{pair.primary.port}" and fields["laddr"].startswith("127.0.0.1:")
        clients = until(
            lambda: pair.replica.info("clients")["connected_clients"] == "2", "only we and the link are there"
        )
        return fields["cmd"], fields["user"], fields["flags"], clients

    ours, stock = both(pairs, ask)
    assert ours == stock == ("replconf", "(superuser)", "M", True)


def test_what_a_replica_counts_of_a_transaction_in_the_stream(pairs: dict[str, Pair]) -> None:
    def ask(pair: Pair) -> Any:
        pair.replica.call("CONFIG", "RESETSTAT")
        pair.primary.call("MULTI")
        pair.primary.call("SET", "k", "v")
        pair.primary.call("SET", "k", "v")
        pair.primary.call("EXEC")
        pair.primary.call("WAIT", 1, 5000)
        counted = pair.replica.info("commandstats")
        return {name: counted[f"cmdstat_{name}"].partition(",")[0] for name in ("multi", "set", "exec", "replconf")}

    ours, stock = both(pairs, ask)
    assert ours == stock == {"multi": "calls=1", "set": "calls=2", "exec": "calls=1", "replconf": "calls=1"}


FIELDS = ("flags", "multi", "qbuf", "argv-mem", "multi-mem", "cmd", "user")


def fields_of(line: bytes) -> tuple[str, ...]:
    found = dict(field.split("=", 1) for field in line.decode().split())
    return tuple(found[name] for name in FIELDS)


def test_a_client_and_a_refusal_show_the_command_that_runs_and_its_memory(pairs: dict[str, Pair]) -> None:
    def ask(pair: Pair) -> Any:
        admin, client = Wire(pair.primary.port), Wire(pair.primary.port)
        admin.call("ACL", "SETUSER", "u", "reset", "on", ">p", "+ping", "+multi", "+exec", "+eval", "+get", "~k*")
        admin.call("ACL", "LOG", "RESET")
        shown: list[Any] = []

        def logged() -> None:
            shown.append([(entry[3], entry[5], entry[7], fields_of(entry[13])) for entry in admin.call("ACL", "LOG")])
            admin.call("ACL", "LOG", "RESET")

        client.call("AUTH", "u", "wrong")
        client.call("HELLO", "2", "AUTH", "u", "wrong too")
        client.call("AUTH", "u", "p")
        client.call("GET", "bbb")
        client.call("SET", "a", "x" * 100)
        logged()
        client.pipeline([[b"PING"], [b"SET", b"a", b"b"], [b"PING"]])
        logged()
        client.sock.sendall(b"SET a b\r\n")
        client.read()
        logged()
        client.call("EVAL", "return redis.call('get','zz')", 0)
        logged()
        admin.call("ACL", "SETUSER", "u", "+set", "~*")
        client.pipeline([[b"MULTI"], [b"PING"], [b"SET", b"a", b"b"]])
        listed = admin.call("CLIENT", "LIST").splitlines()
        shown.append([fields_of(line) for line in listed if b"user=u " in line])
        admin.call("ACL", "SETUSER", "u", "-set")
        client.call("EXEC")
        logged()
        shown.append(fields_of(admin.call("CLIENT", "INFO")))
        answers = admin.pipeline([[b"MULTI"], [b"CLIENT", b"INFO"], [b"SET", b"a", b"x"], [b"EXEC"]])
        shown.append(fields_of(answers[-1][0]))
        admin.close()
        client.close()
        return shown

    ours, stock = both(pairs, ask)
    assert ours == stock


def test_redis_cli_as_a_replica_is_sent_no_data_first(pairs: dict[str, Pair]) -> None:
    primary = pairs["ours"].primary
    primary.call("SET", "held-back", "x" * 1000)
    with socket.create_connection(("127.0.0.1", primary.port), timeout=20) as sock:
        sock.sendall(b"REPLCONF capa eof\r\n" + b'REPLCONF rdb-filter-only ""\r\n')
        data = b""
        while data.count(b"+OK\r\n") < 2:
            data += sock.recv(1 << 16)
        sock.sendall(b"SYNC\r\n")
        data = b""
        while not (data.startswith(b"$EOF:") and data.count(data[5:45]) == 2):
            data = (data + sock.recv(1 << 16)).lstrip(b"\n")
        assert b"held-back" not in data
        sock.sendall(b"REPLCONF ACK 0\r\n")
        primary.call("SET", "after", "it")
        while b"after" not in data:
            data += sock.recv(1 << 16)


def test_bytes_of_replication_are_counted_about_as_stock_counts_them(pairs: dict[str, Pair]) -> None:
    def ask(pair: Pair) -> Any:
        for one in (pair.primary, pair.replica):
            one.call("CONFIG", "RESETSTAT")
        for number in range(100):
            pair.primary.call("SET", f"key-{number}", "x" * 1000)
        pair.primary.call("WAIT", 1, 5000)
        primary, replica = pair.primary.info("stats"), pair.replica.info("stats")
        return [
            int(primary["total_net_repl_output_bytes"]),
            int(replica["total_net_repl_input_bytes"]),
            int(replica["total_net_input_bytes"]) - int(replica["total_net_repl_input_bytes"]),
            int(primary["total_net_output_bytes"]) - int(primary["total_net_repl_output_bytes"]),
            int(primary["total_reads_processed"]),
            int(primary["total_writes_processed"]),
        ]

    ours, stock = both(pairs, ask)
    for mine, theirs in zip(ours, stock, strict=True):
        assert abs(mine - theirs) <= max(200, theirs // 10), (ours, stock)


def test_a_full_copy_counts_as_replication_and_tells_how_long_it_took(pairs: dict[str, Pair]) -> None:
    def ask(pair: Pair) -> Any:
        pair.primary.call("CONFIG", "SET", "repl-diskless-sync", "yes")
        pair.primary.call("FLUSHALL")
        pair.primary.call("SET", "random", Random(1).randbytes(100_000))
        pair.primary.call("CONFIG", "RESETSTAT")
        pair.primary.call("CLIENT", "KILL", "TYPE", "replica")
        pair.replica.call("REPLICAOF", "NO", "ONE")
        pair.replica.call("SET", "own", "history")
        pair.replica.call("CONFIG", "RESETSTAT")
        pair.replica.follow(pair.primary)
        pair.replica.wait_linked()
        sent = lambda: int(pair.primary.info("stats")["total_net_repl_output_bytes"])  # noqa: E731
        until(lambda: sent() > 100_000, "the copy is counted")
        took = until(lambda: pair.primary.info("persistence")["rdb_last_bgsave_time_sec"] == "0", "it is told")
        return took, int(pair.replica.info("stats")["total_net_repl_input_bytes"]) > 100_000

    ours, stock = both(pairs, ask)
    assert ours == stock == (True, True)


@pytest.mark.parametrize("mode", ["disabled", "on-empty-db", "swapdb"])
def test_a_full_copy_tells_clients_once_to_forget_all(pairs: dict[str, Pair], mode: str) -> None:
    def ask(pair: Pair) -> Any:
        pair.replica.call("CONFIG", "SET", "repl-diskless-load", mode)
        pair.replica.call("REPLICAOF", "NO", "ONE")
        pair.replica.call("SET", "own", "history")
        reads, hears = Wire(pair.replica.port), Wire(pair.replica.port)
        for wire, option in ((reads, ()), (hears, ("BCAST",))):
            wire.call("HELLO", 3)
            wire.call("CLIENT", "TRACKING", "ON", *option)
            wire.call("GET", "own")
            wire.call("GET", "none")
        before = int(pair.primary.info("stats")["sync_full"])
        pair.replica.follow(pair.primary)
        until(lambda: pair.replica.linked() and pair.replica.call("EXISTS", "own") == 0, "the copy is there")
        assert int(pair.primary.info("stats")["sync_full"]) == before + 1
        told = []
        for wire in (reads, hears):
            wire.send("PING")
            while (answer := wire.read()) != b"PONG":
                told.append(answer)
            wire.close()
        return told

    ours, stock = both(pairs, ask)
    assert ours == stock == [[b"invalidate", None]] * 2


def test_a_history_continues_for_who_writes_its_id_in_capitals(pairs: dict[str, Pair]) -> None:
    def ask(pair: Pair) -> Any:
        info = pair.primary.info("replication")
        wire = Wire(pair.primary.port)
        wire.call("REPLCONF", "capa", "psync2")
        answer = wire.call("PSYNC", info["master_replid"].upper(), int(info["master_repl_offset"]) + 1)
        wire.close()
        return answer

    for pair in pairs.values():
        assert ask(pair).startswith(b"CONTINUE")
