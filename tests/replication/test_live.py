"""Real processes: a primary and its replicas, from the first synchronization to the failover."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from tests.support.servers import Server, converge, servers, until
from tests.support.stock import Wire


@pytest.fixture
def pair(tmp_path: Path):
    with servers(tmp_path, "ours", "ours") as (primary, replica):
        yield primary, replica


def test_a_replica_follows_its_primary(pair: tuple[Server, Server]) -> None:
    primary, replica = pair
    primary.call("SET", "before", "1")
    replica.follow(primary)
    replica.wait_linked()
    primary.call("SELECT", 3)
    primary.call("HSET", "h", "f", "v")
    primary.call("SELECT", 0)
    converge(primary, replica)
    assert replica.call("GET", "before") == b"1"
    assert str(replica.call("SET", "x", "y")) == "READONLY You can't write against a read only replica."
    assert primary.call("ROLE")[0] == b"master"
    assert replica.call("ROLE")[:2] == [b"slave", b"127.0.0.1"]


@pytest.mark.parametrize("diskless", ["yes", "no"])
@pytest.mark.parametrize("load", ["disabled", "on-empty-db", "swapdb"])
def test_a_full_synchronization_carries_everything_every_way(tmp_path: Path, diskless: str, load: str) -> None:
    directives = ("--repl-diskless-sync", diskless, "--repl-diskless-load", load)
    with servers(tmp_path, "ours", "ours", directives=directives) as (primary, replica):
        primary.call("DEBUG", "POPULATE", 20000, "key", 100)
        primary.call("RPUSH", "list", *range(300))
        primary.call("SADD", "set", *range(300))
        primary.call("ZADD", "zset", *[x for n in range(300) for x in (n, f"m{n}")])
        primary.call("XADD", "stream", "*", "a", "b")
        primary.call("SET", "volatile", "x", "PX", 10_000_000)
        replica.call("SET", "old", "data")
        replica.follow(primary)
        replica.wait_linked()
        for n in range(100):
            primary.call("SET", f"after:{n}", n)
        converge(primary, replica)
        assert replica.call("GET", "old") is None
        assert "Finished with success" in replica.log()


def test_a_killed_link_under_load_resumes_by_a_partial_resynchronization(pair: tuple[Server, Server]) -> None:
    primary, replica = pair
    replica.follow(primary)
    replica.wait_linked()
    stop = threading.Event()

    def load() -> None:
        wire = Wire(primary.port)
        n = 0
        while not stop.is_set():
            wire.pipeline([[b"SET", b"key:%d" % (n % 1000), b"%d" % n], [b"INCR", b"counter"]])
            n += 1
        wire.close()

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for cut in range(20):
            killer = Wire(primary.port)
            killer.call("CLIENT", "KILL", "TYPE", "replica")
            killer.close()
            until(lambda cut=cut: int(primary.info("stats")["sync_partial_ok"]) > cut, "the replica has resumed")
            replica.wait_linked()
    finally:
        stop.set()
        thread.join()
    converge(primary, replica)
    stats = primary.info("stats")
    # The one error is the first synchronization: as stock's, a fresh replica asks to continue its own history.
    assert (stats["sync_full"], stats["sync_partial_ok"], stats["sync_partial_err"]) == ("1", "20", "1")


def test_a_promoted_replica_keeps_its_siblings_and_its_old_primary_partially(tmp_path: Path) -> None:
    with servers(tmp_path, "ours", "ours", "ours") as (a, b, c):
        b.follow(a)
        c.follow(a)
        b.wait_linked()
        c.wait_linked()
        for n in range(200):
            a.call("SET", f"k{n}", n)
        converge(a, b, c)
        b.call("REPLICAOF", "NO", "ONE")
        c.follow(b)
        a.follow(b)
        a.wait_linked()
        b.call("SET", "after", "promotion")
        converge(b, a, c)
        stats = b.info("stats")
        assert (stats["sync_full"], stats["sync_partial_ok"]) == ("0", "2")


def test_min_replicas_to_write_refuses_writes_without_good_replicas(pair: tuple[Server, Server]) -> None:
    primary, replica = pair
    primary.call("CONFIG", "SET", "min-replicas-to-write", 1, "min-replicas-max-lag", 2)
    assert str(primary.call("SET", "a", 1)) == "NOREPLICAS Not enough good replicas to write."
    replica.follow(primary)
    replica.wait_linked()
    until(lambda: primary.call("SET", "a", 1) == b"OK", "the replica counts as good")
    assert primary.info("replication")["min_slaves_good_slaves"] == "1"
    replica.signal(signal.SIGSTOP)
    until(lambda: "NOREPLICAS" in str(primary.call("SET", "a", 2)), "the stopped replica counts no more")
    replica.signal(signal.SIGCONT)
    until(lambda: primary.call("SET", "a", 3) == b"OK", "the replica counts again")


def test_wait_counts_replicas_that_have_acknowledged(pair: tuple[Server, Server]) -> None:
    primary, replica = pair
    primary.call("SET", "a", 1)
    assert primary.call("WAIT", 1, 50) == 0
    replica.follow(primary)
    replica.wait_linked()
    primary.call("SET", "a", 2)
    assert primary.call("WAIT", 1, 5000) == 1
    replica.signal(signal.SIGSTOP)
    primary.call("SET", "a", 3)
    assert primary.call("WAIT", 1, 100) == 0
    replica.signal(signal.SIGCONT)
    assert primary.call("WAIT", 1, 5000) == 1


def test_a_chain_shares_one_history(tmp_path: Path) -> None:
    with servers(tmp_path, "ours", "ours", "ours") as (a, b, c):
        b.follow(a)
        b.wait_linked()
        c.follow(b)
        c.wait_linked()
        a.call("SET", "k", "v")
        a.call("MULTI")
        a.call("INCR", "n")
        a.call("INCR", "n")
        a.call("EXEC")
        converge(a, b, c)
        assert {s.info("replication")["master_replid"] for s in (a, b, c)} == {a.info("replication")["master_replid"]}
        assert int(b.info("stats")["sync_full"]) == 1


def test_a_node_restarted_after_a_clean_shutdown_resumes_partially(tmp_path: Path) -> None:
    with servers(tmp_path, "ours", "ours") as (primary, replica):
        replica.follow(primary)
        replica.wait_linked()
        primary.call("SET", "k", "v")
        converge(primary, replica)
        replica.call("CONFIG", "SET", "save", "3600 1")
        assert replica.stop() == 0
        primary.call("SET", "while", "away")
        replica.start("--replicaof", "127.0.0.1", str(primary.port))
        converge(primary, replica)
        assert primary.info("stats")["sync_full"] == "1"
        assert primary.info("stats")["sync_partial_ok"] == "1"
        primary.call("CONFIG", "SET", "save", "3600 1")
        assert primary.stop() == 0
        primary.start()
        primary.call("SET", "after", "restart")
        converge(primary, replica)
        assert primary.info("stats")["sync_full"] == "0"
        assert primary.info("stats")["sync_partial_ok"] == "1"


def test_a_coordinated_failover_swaps_roles_and_loses_nothing(pair: tuple[Server, Server]) -> None:
    primary, replica = pair
    replica.follow(primary)
    replica.wait_linked()
    stop = threading.Event()
    acknowledged: list[int] = []

    def load() -> None:
        wire = Wire(primary.port)
        n = 0
        while not stop.is_set():
            if wire.call("SET", f"key:{n}", n) == b"OK":
                acknowledged.append(n)
            n += 1
        wire.close()

    thread = threading.Thread(target=load)
    thread.start()
    try:
        until(lambda: len(acknowledged) > 200, "writes flow")
        assert primary.call("FAILOVER", "TO", "127.0.0.1", replica.port) == b"OK"
        until(lambda: replica.call("ROLE")[0] == b"master", "the replica has taken over")
    finally:
        stop.set()
        thread.join()
    converge(replica, primary)
    assert all(replica.call("GET", f"key:{n}") == b"%d" % n for n in acknowledged)
    assert replica.info("stats")["sync_full"] == "0"


def test_expired_keys_leave_replicas_by_the_primarys_del(pair: tuple[Server, Server]) -> None:
    primary, replica = pair
    replica.follow(primary)
    replica.wait_linked()
    primary.call("SET", "k", "v", "PX", 100)
    assert primary.call("WAIT", 1, 5000) == 1
    until(lambda: replica.call("GET", "k") is None, "the key has expired for readers")
    until(lambda: primary.info("stats")["expired_keys"] == "1", "the primary has deleted it")
    converge(primary, replica)
    assert replica.call("DBSIZE") == 0
