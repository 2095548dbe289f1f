"""Full synchronization in its harder moments, with real processes."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import hiredis
import pytest

from tests.support.servers import Server, converge, servers, until
from tests.support.stock import Wire


def children(server: Server) -> list[int]:
    """Process ids of a server's children."""
    assert server.process is not None
    path = f"/proc/{server.process.pid}/task/{server.process.pid}/children"
    return [int(word) for word in Path(path).read_text().split()]


def saving(server: Server) -> bool:
    return server.info("persistence")["rdb_bgsave_in_progress"] == "1"


@pytest.mark.parametrize("diskless", ["yes", "no"])
def test_the_child_is_killed_when_its_last_replica_leaves(tmp_path: Path, diskless: str) -> None:
    with servers(tmp_path, "ours", "ours", directives=("--repl-diskless-sync", diskless)) as (primary, replica):
        primary.call("CONFIG", "SET", "rdb-key-save-delay", 10_000)
        primary.call("DEBUG", "POPULATE", 5000)
        replica.follow(primary)
        until(lambda: saving(primary), "the snapshot is under way")
        (child,) = until(lambda: children(primary), "the child is the primary's")
        replica.kill()
        until(lambda: not saving(primary), "the snapshot is given up")
        until(lambda: not os.path.exists(f"/proc/{child}"), "the child is gone")
        if diskless == "yes":
            assert "Diskless rdb transfer, last replica dropped, killing fork child." in primary.log()


def test_a_disk_snapshot_is_shared_with_a_replica_that_comes_late(tmp_path: Path) -> None:
    with servers(tmp_path, "ours", "ours", "ours", directives=("--repl-diskless-sync", "no")) as (primary, first, late):
        primary.call("CONFIG", "SET", "rdb-key-save-delay", 500)
        primary.call("DEBUG", "POPULATE", 2000)
        first.follow(primary)
        until(lambda: saving(primary), "the snapshot is under way")
        primary.call("SET", "while", "saving")
        late.follow(primary)
        converge(primary, first, late)
        assert primary.info("stats")["total_forks"] == "1"
        assert late.call("GET", "while") == b"saving"


def test_a_diskless_snapshot_is_not_joined_late(tmp_path: Path) -> None:
    directives = ("--repl-diskless-sync", "yes")
    with servers(tmp_path, "ours", "ours", "ours", directives=directives) as (primary, first, late):
        primary.call("CONFIG", "SET", "rdb-key-save-delay", 500)
        primary.call("DEBUG", "POPULATE", 2000)
        first.follow(primary)
        until(lambda: saving(primary), "the snapshot is under way")
        late.follow(primary)
        converge(primary, first, late)
        assert primary.info("stats")["total_forks"] == "2"
        assert "Current BGSAVE has socket target. Waiting for next BGSAVE for SYNC" in primary.log()


def test_replicas_that_wait_together_share_one_diskless_snapshot(tmp_path: Path) -> None:
    with servers(tmp_path, "ours", "ours", "ours") as (primary, one, two):
        primary.call("CONFIG", "SET", "repl-diskless-sync-delay", 60, "repl-diskless-sync-max-replicas", 2)
        primary.call("DEBUG", "POPULATE", 1000)
        one.follow(primary)
        until(lambda: "asks for synchronization" in primary.log(), "the first waits")
        two.follow(primary)
        converge(primary, one, two)
        assert primary.info("stats")["total_forks"] == "1"


def test_writes_during_the_snapshot_reach_the_replica(tmp_path: Path) -> None:
    with servers(tmp_path, "ours", "ours") as (primary, replica):
        primary.call("CONFIG", "SET", "rdb-key-save-delay", 300)
        primary.call("DEBUG", "POPULATE", 3000)
        replica.follow(primary)
        until(lambda: saving(primary), "the snapshot is under way")
        written = 0
        while saving(primary):
            primary.call("SET", f"during:{written}", "x" * 1000)
            written += 1
        assert written > 10
        converge(primary, replica)
        assert replica.call("EXISTS", f"during:{written - 1}") == 1


def test_the_child_does_not_outlive_a_killed_primary(tmp_path: Path) -> None:
    with servers(tmp_path, "ours", "ours") as (primary, replica):
        primary.call("CONFIG", "SET", "rdb-key-save-delay", 10_000)
        primary.call("DEBUG", "POPULATE", 5000)
        replica.follow(primary)
        (child,) = until(lambda: saving(primary) and children(primary), "the child runs")
        primary.kill()
        until(lambda: not os.path.exists(f"/proc/{child}"), "the child is gone with its parent")


def test_a_child_that_dies_sends_its_replicas_away_and_they_come_again(tmp_path: Path) -> None:
    with servers(tmp_path, "ours", "ours") as (primary, replica):
        primary.call("CONFIG", "SET", "rdb-key-save-delay", 10_000)
        primary.call("DEBUG", "POPULATE", 5000)
        replica.follow(primary)
        (child,) = until(lambda: saving(primary) and children(primary), "the child runs")
        primary.call("CONFIG", "SET", "rdb-key-save-delay", 0)
        os.kill(child, signal.SIGKILL)
        converge(primary, replica)
        assert primary.call("PING") == b"PONG"
        assert "Background transfer terminated" in primary.log()


def test_a_slow_diskless_payload_is_not_taken_for_a_silent_replica(tmp_path: Path) -> None:
    with servers(tmp_path, "ours", "ours", directives=("--repl-timeout", "2")) as (primary, replica):
        primary.call("CONFIG", "SET", "rdb-key-save-delay", 20_000)
        primary.call("DEBUG", "POPULATE", 200, "key", 1000)
        replica.follow(primary)
        converge(primary, replica)
        assert primary.info("stats")["sync_full"] == "1"


def test_a_replica_that_takes_no_more_of_a_diskless_payload_is_sent_away_after_repl_timeout(tmp_path: Path) -> None:
    with servers(tmp_path, "ours", "ours") as (primary, replica):
        primary.call("DEBUG", "POPULATE", 400, "key", 50_000)
        primary.call("CONFIG", "SET", "rdb-key-save-delay", 500)
        replica.follow(primary)
        until(lambda: saving(primary), "the snapshot is under way")
        replica.signal(signal.SIGSTOP)
        primary.call("CONFIG", "SET", "repl-timeout", 1)
        until(lambda: "Disconnecting timedout replica (full sync)" in primary.log(), "the stopped replica is sent away")
        until(lambda: not saving(primary), "nobody needs the snapshot any more")
        primary.call("CONFIG", "SET", "repl-timeout", 60, "rdb-key-save-delay", 0)
        replica.signal(signal.SIGCONT)
        converge(primary, replica)


def fall_behind(primary: Server, replica: Server) -> None:
    """The replica's place in the history leaves the backlog: it needs a full synchronization of the same history."""
    primary.call("CONFIG", "SET", "repl-backlog-size", "16kb")
    replica.signal(signal.SIGSTOP)
    primary.call("CLIENT", "KILL", "TYPE", "replica")
    primary.call("CONFIG", "SET", "rdb-key-save-delay", 1000)
    primary.call("DEBUG", "POPULATE", 2000, "key", 500)
    primary.call("SET", "old", "x" * 50_000)
    primary.call("SET", "old", "new")
    replica.signal(signal.SIGCONT)


def test_swapdb_serves_the_old_data_of_the_same_history_until_the_new_is_whole(tmp_path: Path) -> None:
    with servers(tmp_path, "ours", "ours", directives=("--repl-diskless-load", "swapdb")) as (primary, replica):
        primary.call("SET", "old", "data")
        replica.follow(primary)
        converge(primary, replica)
        fall_behind(primary, replica)
        until(lambda: replica.info("persistence")["async_loading"] == "1", "the load is under way")
        assert replica.call("GET", "old") == b"data"
        assert replica.call("GET", "key:0") is None
        assert str(replica.call("REPLICAOF", "NO", "ONE")).startswith("LOADING ")
        converge(primary, replica)
        assert replica.call("GET", "old") == b"new"


def test_a_broken_swapdb_load_leaves_the_old_data(tmp_path: Path) -> None:
    with servers(tmp_path, "ours", "ours", directives=("--repl-diskless-load", "swapdb")) as (primary, replica):
        replica.call("SET", "old", "data")
        primary.call("CONFIG", "SET", "rdb-key-save-delay", 1000)
        primary.call("DEBUG", "POPULATE", 5000, "key", 500)
        replica.follow(primary)
        until(lambda: replica.info("persistence")["loading"] == "1", "the load is under way")
        # Of another history: nobody should take it for the primary's.
        assert str(replica.call("GET", "old")).startswith("LOADING ")
        primary.kill()
        until(lambda: replica.info("persistence")["loading"] == "0", "the load is given up")
        assert replica.call("GET", "old") == b"data"
        assert replica.call("DBSIZE") == 1


@pytest.mark.parametrize("load", ["disabled", "swapdb"])
def test_key_load_delay_makes_a_load_last_and_the_node_serves_meanwhile(tmp_path: Path, load: str) -> None:
    with servers(tmp_path, "ours", "ours", directives=("--repl-diskless-load", load)) as (primary, replica):
        primary.call("DEBUG", "POPULATE", 1000, "key", 200)
        replica.call("CONFIG", "SET", "key-load-delay", 1000)
        replica.follow(primary)
        until(lambda: replica.info("persistence")["loading"] == "1", "the load is under way")
        begun = time.monotonic()
        assert str(replica.call("PING")).startswith("LOADING ")
        halfway = until(lambda: int(replica.info("persistence").get("loading_loaded_bytes", 0)), "the load goes on")
        assert halfway < 200_000
        replica.wait_linked()
        assert time.monotonic() - begun > 0.5
        converge(primary, replica)


def test_key_load_delay_holds_at_the_start_too(tmp_path: Path) -> None:
    with servers(tmp_path, "ours") as (server,):
        server.call("DEBUG", "POPULATE", 300, "key", 200)
        assert server.call("SAVE") == b"OK"
        server.kill()
        server.answers_loading = True
        server.start("--key-load-delay", "2000")
        assert server.info("persistence")["loading"] == "1"
        assert str(server.call("GET", "key:0")).startswith("LOADING ")
        until(lambda: server.call("DBSIZE") == 300, "the load is over")
        assert "DB loaded from disk" in server.log()


def test_loading_answers_loading_but_serves_ping_info_and_config(tmp_path: Path) -> None:
    directives = ("--repl-diskless-load", "on-empty-db", "--repl-diskless-sync", "yes")
    with servers(tmp_path, "ours", "ours", directives=directives) as (primary, replica):
        primary.call("CONFIG", "SET", "rdb-key-save-delay", 1000)
        primary.call("DEBUG", "POPULATE", 2000, "key", 500)
        replica.follow(primary)
        until(lambda: replica.info("persistence")["loading"] == "1", "the load is under way")
        assert str(replica.call("GET", "key:0")).startswith("LOADING ")
        assert replica.call("CONFIG", "GET", "port") == [b"port", b"%d" % replica.port]
        assert replica.info("replication")["master_sync_in_progress"] == "1"
        converge(primary, replica)


opened: list[socket.socket] = []


@pytest.fixture(autouse=True)
def close_sockets():
    yield
    while opened:
        opened.pop().close()


class RawReplica:
    """A hand-made replica: says what it wants and reads what comes."""

    def __init__(self, port: int, *capabilities: str) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.buffer = b""
        opened.append(self.sock)
        for capability in capabilities:
            self.send("REPLCONF", "capa", capability)
            assert self.line() == b"+OK"

    def send(self, *argv: str) -> None:
        self.sock.sendall(hiredis.pack_command(tuple(argv)))

    def fill(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        self.buffer += data

    def line(self) -> bytes:
        while b"\n" not in self.buffer:
            self.fill()
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.rstrip(b"\r")

    def until_not_empty(self) -> bytes:
        while not (line := self.line()):
            continue
        return line


def test_line_ends_keep_a_waiting_replica_alive_while_the_child_works(tmp_path: Path) -> None:
    with servers(tmp_path, "ours", directives=("--repl-diskless-sync", "no")) as (primary,):
        primary.call("CONFIG", "SET", "rdb-key-save-delay", 1000)
        primary.call("DEBUG", "POPULATE", 3000)
        raw = RawReplica(primary.port, "psync2")
        raw.send("PSYNC", "?", "-1")
        assert raw.until_not_empty().startswith(b"+FULLRESYNC ")
        assert raw.line() == b""
        assert raw.until_not_empty().startswith(b"$")


def test_the_stream_of_a_diskless_sync_begins_with_the_first_acknowledgement(tmp_path: Path) -> None:
    with servers(tmp_path, "ours") as (primary,):
        primary.call("SET", "a", "b")
        raw = RawReplica(primary.port, "eof", "psync2")
        raw.send("PSYNC", "?", "-1")
        offset = raw.until_not_empty().split()[2].decode()
        header = raw.until_not_empty()
        assert header.startswith(b"$EOF:")
        mark = header[5:]
        while mark not in raw.buffer:
            raw.fill()
        assert raw.buffer.endswith(mark)
        raw.buffer = b""
        primary.call("SET", "c", "d")
        raw.send("REPLCONF", "ACK", offset)
        while b"$1\r\nd\r\n" not in raw.buffer:
            raw.fill()
        assert raw.buffer.startswith(b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n")


def test_an_rdb_only_replica_gets_the_snapshot_and_is_sent_away(tmp_path: Path) -> None:
    with servers(tmp_path, "ours", directives=("--repl-diskless-sync", "no")) as (primary,):
        primary.call("SET", "a", "b")
        raw = RawReplica(primary.port)
        raw.send("REPLCONF", "rdb-only", "1")
        assert raw.line() == b"+OK"
        raw.send("SYNC")
        length = int(raw.until_not_empty()[1:])
        with pytest.raises(EOFError):
            while True:
                raw.fill()
        assert len(raw.buffer) == length
        assert raw.buffer.startswith(b"REDIS0009")


def test_a_wrong_end_mark_or_garbage_from_the_primary_never_becomes_data(tmp_path: Path) -> None:
    payloads = [
        b"+FULLRESYNC " + b"a" * 40 + b" 0\r\n$EOF:" + b"m" * 40 + b"\r\nREDIS0009garbage" + b"m" * 40,
        b"+FULLRESYNC " + b"a" * 40 + b" 0\r\n$11\r\nnot an rdb!",
        b"+FULLRESYNC nonsense\r\n",
        b"+FULLRESYNC " + b"a" * 40 + b" 0\r\nwhat is this\r\n",
        b"x" * 100_000,
    ]
    listener = socket.create_server(("127.0.0.1", 0))
    with servers(tmp_path, "ours") as (replica,):
        replica.call("SET", "old", "data")
        replica.call("REPLICAOF", "127.0.0.1", listener.getsockname()[1])
        for payload in payloads:
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(20)
                for _ in range(3):
                    request = sock.recv(65536)
                    if b"PSYNC" in request:
                        break
                    sock.sendall(b"+OK\r\n" * request.count(b"*"))
                sock.sendall(payload)
                while sock.recv(65536):
                    pass
        assert replica.call("PING") == b"PONG"
        assert replica.call("DBSIZE") in (0, 1)
        listener.close()


def test_a_replica_that_does_not_read_is_cut_at_the_output_limit_and_memory_is_let_go(tmp_path: Path) -> None:
    with servers(tmp_path, "ours") as (primary,):
        primary.call("CONFIG", "SET", "client-output-buffer-limit", "replica 2mb 0 0", "repl-backlog-size", "1mb")
        raw = RawReplica(primary.port, "psync2")
        raw.send("PSYNC", "?", "-1")
        raw.until_not_empty()
        until(lambda: "state=online" in primary.info("replication").get("slave0", ""), "the replica is online")
        writer = Wire(primary.port)
        for _ in range(40):
            writer.pipeline([[b"SET", b"big", b"x" * 100_000]] * 20)
            if primary.info("replication")["connected_slaves"] == "0":
                break
        writer.close()
        until(lambda: primary.info("replication")["connected_slaves"] == "0", "the slow replica has been cut off")
        assert "overcoming of output buffer limits" in primary.log()
        assert int(primary.info("memory")["mem_total_replication_buffers"]) < 2_000_000
