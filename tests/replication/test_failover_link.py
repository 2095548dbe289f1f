"""FAILOVER whose link to the target breaks or is refused: the same conversation with stock and with ours.

The one difference is deliberate (docs/replication.md): stock gives up when the answer to its PSYNC FAILOVER is lost,
and is a primary beside the one it has just made.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_replica import FakeReplica
from tests.support.servers import Server, servers, until
from tests.support.stock import Wire, binary

NEEDS_STOCK = pytest.mark.skipif(binary("redis7") is None, reason="redis-server is not installed")
ENGINES = ["ours", pytest.param("redis7", marks=NEEDS_STOCK)]
NEW_ID = b"c" * 40
IS_A_MASTER = b"-ERR PSYNC FAILOVER can't be sent to a master.\r\n"


@contextmanager
def failing_over(engine: str, folder: Path, *, listens: bool = True) -> Iterator[tuple[Server, FakeReplica]]:
    """A primary that has been told to fail over to a replica played by the test."""
    with servers(folder, engine) as (primary,):
        primary.call("SET", "k", "v")
        target = FakeReplica(primary)
        try:
            if not listens:
                target.listener.close()
            assert primary.call("FAILOVER", "TO", "127.0.0.1", target.port) == b"OK"
            yield primary, target
        finally:
            target.leave()


def state(server: Server) -> tuple[str, str]:
    info = server.info("replication")
    return info["role"], info["master_failover_state"]


def request(target: FakeReplica) -> list[bytes]:
    return [b"PSYNC", target.id, b"%d" % (target.offset + 1), b"FAILOVER"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("answer", "logged"),
    [
        (IS_A_MASTER, "Master does not support PSYNC or is in error state (reply: -ERR PSYNC FAILOVER can't be sent"),
        (b"-LOADING busy\r\n", "Master is currently unable to PSYNC but should be in the future: -LOADING busy"),
        (b"-NOMASTERLINK no\r\n", "Master is currently unable to PSYNC but should be in the future: -NOMASTERLINK no"),
        (b"nonsense\r\n", "Unexpected reply to PSYNC from master: nonsense"),
        (b"-WEIRD hm\r\n", "Unexpected reply to PSYNC from master: -WEIRD hm"),
    ],
    ids=["error", "loading", "no master link", "nonsense", "weird"],
)
def test_a_target_that_refuses_leaves_the_old_primary_a_primary(
    engine: str, answer: bytes, logged: str, tmp_path: Path
) -> None:
    with failing_over(engine, tmp_path) as (primary, target):
        _, psync = target.asked(answer)
        assert psync == request(target)
        until(lambda: state(primary) == ("master", "no-failover"), "it is a primary again")
        assert primary.info("replication")["master_replid2"] == target.id.decode()
        assert primary.call("SET", "k", "w") == b"OK"
        assert logged in primary.log()
        assert f"FAILOVER to 127.0.0.1:{target.port} aborted: Failover target rejected psync request" in primary.log()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_target_that_is_not_there_is_tried_again_ten_times_a_second_until_abort(engine: str, tmp_path: Path) -> None:
    with failing_over(engine, tmp_path, listens=False) as (primary, target):
        refused = "Error condition on socket for SYNC: Connection refused"
        until(lambda: primary.log().count(refused) >= 4, "it tries again and again", bound=2.5)
        assert state(primary) == ("slave", "failover-in-progress")
        assert "READONLY" in str(primary.call("SET", "k", "w"))
        assert "not allowed while failing over" in str(primary.call("REPLICAOF", "NO", "ONE"))
        assert primary.call("FAILOVER", "ABORT") == b"OK"
        assert state(primary) == ("master", "no-failover")
        assert primary.call("SET", "k", "w") == b"OK"
        assert f"FAILOVER to 127.0.0.1:{target.port} aborted: Failover manually aborted" in primary.log()
        assert "two masters" not in primary.log()  # it was never asked


@pytest.mark.parametrize("engine", ENGINES)
def test_a_link_that_breaks_before_the_request_is_made_again(engine: str, tmp_path: Path) -> None:
    with failing_over(engine, tmp_path) as (primary, target):
        for _ in range(2):
            conn, _ = target.listener.accept()
            assert b"PING" in conn.recv(100)
            conn.close()
        _, psync = target.asked(b"+CONTINUE " + NEW_ID + b"\r\n")
        assert psync == request(target)
        until(lambda: state(primary) == ("slave", "no-failover"), "it follows")
        assert primary.info("replication")["master_replid"] == NEW_ID.decode()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_target_that_takes_over_with_a_full_synchronization_ends_the_failover(engine: str, tmp_path: Path) -> None:
    with failing_over(engine, tmp_path) as (primary, target):
        target.asked(b"+FULLRESYNC " + NEW_ID + b" 5\r\n")
        until(lambda: state(primary) == ("slave", "no-failover"), "the failover is over, the load is to come")
        assert "aborted" not in primary.log()


@NEEDS_STOCK
def test_stock_is_a_primary_again_at_once_when_the_answer_is_lost(tmp_path: Path) -> None:
    with failing_over("redis7", tmp_path) as (primary, target):
        target.asked(None)
        until(lambda: state(primary) == ("master", "no-failover"), "it gave up")
        assert "Master did not reply to PSYNC, will try later" in primary.log()
        assert "aborted: Failover target rejected psync request" in primary.log()


class TestOursWhenTheAnswerIsLost:
    """Ours asks again, and is a replica meanwhile."""

    @pytest.fixture
    def lost(self, tmp_path: Path) -> Iterator[tuple[Server, FakeReplica]]:
        with failing_over("ours", tmp_path) as (primary, target):
            for _ in range(2):
                _, psync = target.asked(None)
                assert psync == request(target)
            yield primary, target

    def test_it_takes_no_writes_while_it_does_not_know(self, lost: tuple[Server, FakeReplica]) -> None:
        primary, _ = lost
        assert state(primary) == ("slave", "failover-in-progress")
        assert "READONLY" in str(primary.call("SET", "k", "w"))
        assert "the target may have taken over: asking again." in primary.log()

    def test_it_follows_a_target_that_had_not_heard_of_it(self, lost: tuple[Server, FakeReplica]) -> None:
        primary, target = lost
        _, psync = target.asked(b"+CONTINUE " + NEW_ID + b"\r\n")
        assert psync == request(target)
        until(lambda: state(primary) == ("slave", "no-failover"), "it follows")

    def test_it_follows_a_target_that_took_over_and_continues_its_history(
        self, lost: tuple[Server, FakeReplica]
    ) -> None:
        primary, target = lost
        conn, psync = target.asked(IS_A_MASTER)
        assert psync == request(target)
        assert target.asked_on(conn, b"+CONTINUE " + NEW_ID + b"\r\n") == request(target)[:-1]
        until(lambda: state(primary) == ("slave", "no-failover"), "it follows")
        info = primary.info("replication")
        assert (info["master_replid"], info["master_replid2"]) == (NEW_ID.decode(), target.id.decode())
        assert primary.call("GET", "k") == b"v"

    def test_it_asks_anew_when_the_second_answer_is_lost_too(self, lost: tuple[Server, FakeReplica]) -> None:
        primary, target = lost
        conn, _ = target.asked(IS_A_MASTER)
        target.asked_on(conn, None)
        conn, psync = target.asked(b"-LOADING not yet\r\n")
        assert psync == request(target)
        conn, psync = target.asked(IS_A_MASTER)
        assert psync == request(target)
        target.asked_on(conn, b"+CONTINUE " + NEW_ID + b"\r\n")
        until(lambda: state(primary) == ("slave", "no-failover"), "it follows")

    def test_it_never_drops_its_data_for_a_master_of_another_history(self, lost: tuple[Server, FakeReplica]) -> None:
        primary, target = lost
        conn, _ = target.asked(IS_A_MASTER)
        target.asked_on(conn, b"+FULLRESYNC " + NEW_ID + b" 5\r\n")
        until(lambda: state(primary) == ("master", "no-failover"), "it is a primary again")
        assert primary.call("GET", "k") == b"v"
        assert "aborted: Failover target is a master of another history" in primary.log()

    def test_abort_says_that_there_may_be_two_primaries(self, lost: tuple[Server, FakeReplica]) -> None:
        primary, _ = lost
        assert primary.call("FAILOVER", "ABORT") == b"OK"
        assert state(primary) == ("master", "no-failover")
        assert "Whether the failover target took over is unknown: there may be two masters." in primary.log()


class Gate:
    """A forwarder that cuts a connection when the first answer to a PSYNC ... FAILOVER comes by, once."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.cuts = 0
        self._threads: list[threading.Thread] = []
        self._sockets = [self.listener]
        self._start(self._accept)

    def _start(self, function: Callable[..., None], *arguments: Any) -> None:
        self._threads.append(threading.Thread(target=function, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
                self._sockets += [near, far]
                asked = threading.Event()
                self._start(self._pump, near, far, asked, True)
                self._start(self._pump, far, near, asked, False)

    def _pump(self, source: socket.socket, sink: socket.socket, asked: threading.Event, requests: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if requests and b"FAILOVER" in data:
                    asked.set()
                elif not requests and asked.is_set() and not self.cuts:
                    self.cuts += 1
                    break
                sink.sendall(data)
        _shut(source)
        _shut(sink)

    def close(self) -> None:
        """End all connections."""
        for one in list(self._sockets):
            _shut(one)
        for thread in self._threads:
            thread.join(10)
        for one in self._sockets:
            one.close()


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("engine", ENGINES)
def test_one_primary_remains_when_the_answer_of_a_real_target_is_lost(engine: str, tmp_path: Path) -> None:
    with servers(tmp_path, "ours", engine) as (old, new):
        gate = Gate(new.port)
        try:
            new.call("CONFIG", "SET", "replica-announce-port", gate.port)
            old.call("SET", "k", "v")
            new.follow(old)
            new.wait_linked()
            until(lambda: f"port={gate.port}" in old.info("replication").get("slave0", ""), "it is announced")
            assert old.call("FAILOVER", "TO", "127.0.0.1", gate.port) == b"OK"
            until(lambda: state(old) == ("slave", "no-failover"), "the old primary follows")
            assert gate.cuts == 1
            assert state(new) == ("master", "no-failover")
            new.call("SET", "after", "1")
            until(lambda: old.call("GET", "after") == b"1", "it follows the new one")
            assert new.info("stats")["sync_full"] == "0"
        finally:
            gate.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_target_answers_to_psync_failover(engine: str, tmp_path: Path) -> None:
    with servers(tmp_path, engine, engine) as (primary, target):

        def ask(*argv: str | int) -> str:
            wire = Wire(target.port)
            try:
                return str(wire.call("PSYNC", *argv))
            finally:
                wire.close()

        primary.call("SET", "k", "v")
        history = primary.info("replication")["master_replid"]
        assert ask(history, 15, "FAILOVER") == "ERR PSYNC FAILOVER can't be sent to a master."
        assert ask("?", -1, "failover") == "ERR PSYNC FAILOVER can't be sent to a master."
        target.follow(primary)
        target.wait_linked()
        assert ask("x" * 40, 15, "FAILOVER") == "ERR PSYNC FAILOVER replid must match my replid."
        assert target.call("ROLE")[0] == b"slave"
        history = primary.info("replication")["master_replid"]
        primary.call("SET", "k", "w")
        place = until(target.offset, "the stream has begun") + 1
        assert "CONTINUE" in ask(history, place, "FAILOVER")
        assert target.call("ROLE")[0] == b"master"
        for asked in (history, "x" * 40, "?"):
            assert f"Failover request received for replid {asked}." in target.log()
        assert ask(history, place, "FAILOVER") == "ERR PSYNC FAILOVER can't be sent to a master."
        assert "CONTINUE" in ask(history, place, "nonsense")
