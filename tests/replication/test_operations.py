"""Shutdown beside a lagging replica, output limits, the life of the backlog, users of the link: as stock.

Each is played with ours and with Redis 7.0.15; what is written down here is what stock answers and logs.
"""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hiredis
import pytest

from tests.support.fake_replica import FakeReplica
from tests.support.servers import Server, converge, servers, until
from tests.support.stock import Wire, binary

NEEDS_STOCK = pytest.mark.skipif(binary("redis7") is None, reason="redis-server is not installed")
ENGINES = ["ours", pytest.param("redis7", marks=NEEDS_STOCK)]
BOTH = pytest.mark.parametrize("engine", ENGINES)
ERRORS = "ERR Errors trying to SHUTDOWN. Check logs."
CLOSED = "closed"


class Asked:
    """A command on a connection of its own, whose answer may be long in coming."""

    def __init__(self, server: Server, *argv: str) -> None:
        self._wire = Wire(server.port)
        self.answer: Any = None
        self._thread = threading.Thread(target=self._ask, args=(argv,), daemon=True)
        self._thread.start()

    def _ask(self, argv: tuple[str, ...]) -> None:
        try:
            answer = self._wire.call(*argv)
            self.answer = answer.decode() if isinstance(answer, bytes) else str(answer)
        except (EOFError, ConnectionError):
            self.answer = CLOSED
        finally:
            self._wire.close()

    def wait(self) -> Any:
        self._thread.join(20)
        return self.answer


@contextmanager
def lagging(engine: str, folder: Path, *, timeout: int = 1) -> Iterator[tuple[Server, Server, Callable[[], list[str]]]]:
    """A primary, a replica that stands still with something to take, and what the primary has logged since."""
    directives = ("--shutdown-timeout", str(timeout))
    with servers(folder, engine, engine, directives=directives) as (primary, replica):
        replica.follow(primary)
        replica.wait_linked()
        primary.call("SET", "k", "v")
        assert primary.call("WAIT", 1, 5000) == 1
        replica.signal(signal.SIGSTOP)
        primary.call("SET", "k", "w" * 100)
        begin = len(primary.log())

        def said() -> list[str]:
            lines = primary.log()[begin:].splitlines()
            found = (re.search(r"\d+:[MS] .*?\d\.\d+ ([#*] .*)", line) for line in lines)
            texts = (re.sub(r"127.0.0.1:\d+|offset \d+", "_", line[1]) for line in found if line)
            return [text for text in texts if "rror moving temp" not in text and "rror saving DB" not in text]

        yield primary, replica, said


def end(server: Server) -> int:
    assert server.process is not None
    return server.process.wait(10)


REQUESTED = "# User requested shutdown..."
WAITING = "* Waiting for replicas before shutting down."
NOT_IN_SYNC = "* 0 of 1 replicas are in sync when shutting down."
IN_SYNC = "* 1 of 1 replicas are in sync when shutting down."
SAVING = ["* Saving the final RDB snapshot before exiting.", "* DB saved on disk"]
BYE = "# Redis is now ready to exit, bye bye..."


def lag(seconds: int) -> str:
    return f"# Lagging replica _ reported _ behind master, lag={seconds}, state=online."


@BOTH
@pytest.mark.parametrize("save", ["NOSAVE", "SAVE"])
def test_shutdown_waits_so_long_for_a_lagging_replica(engine: str, save: str, tmp_path: Path) -> None:
    with lagging(engine, tmp_path) as (primary, _, said):
        begin = time.monotonic()
        shutdown = Asked(primary, "SHUTDOWN", save)
        until(lambda: "shutdown_in_milliseconds" in primary.info("server"), "the shutdown is announced")
        assert 0 <= int(primary.info("server")["shutdown_in_milliseconds"]) <= 1000
        assert primary.call("GET", "k") == b"w" * 100
        write = Asked(primary, "SET", "k", "x")
        primary.reconnect()
        assert end(primary) == 0
        assert 0.9 < time.monotonic() - begin < 8
        assert (shutdown.wait(), write.wait()) == (CLOSED, CLOSED)
        lines = said()
        assert re.sub(r"lag=\d+", "lag=1", lines[2]) == lag(1)
        assert [*lines[:2], *lines[3:]] == [REQUESTED, WAITING, NOT_IN_SYNC, *(SAVING if save == "SAVE" else []), BYE]
        assert (primary.folder / "dump.rdb").exists() == (save == "SAVE")


@BOTH
def test_shutdown_goes_on_as_soon_as_the_replica_has_caught_up(engine: str, tmp_path: Path) -> None:
    with lagging(engine, tmp_path, timeout=30) as (primary, replica, said):
        begin = time.monotonic()
        Asked(primary, "SHUTDOWN", "NOSAVE")
        until(lambda: WAITING in said(), "it waits")
        replica.signal(signal.SIGCONT)
        assert end(primary) == 0
        assert time.monotonic() - begin < 10
        assert said() == [REQUESTED, WAITING, IN_SYNC, BYE]


@BOTH
def test_shutdown_now_does_not_wait(engine: str, tmp_path: Path) -> None:
    with lagging(engine, tmp_path, timeout=30) as (primary, _, said):
        shutdown = Asked(primary, "SHUTDOWN", "NOSAVE", "NOW")
        assert end(primary) == 0
        assert shutdown.wait() == CLOSED
        assert [re.sub(r"lag=\d+", "lag=0", line) for line in said()] == [REQUESTED, lag(0), NOT_IN_SYNC, BYE]


@BOTH
def test_shutdown_abort_answers_who_waits_and_lets_writes_go_on(engine: str, tmp_path: Path) -> None:
    with lagging(engine, tmp_path, timeout=30) as (primary, _, said):
        assert str(primary.call("SHUTDOWN", "ABORT")) == "ERR No shutdown in progress."
        shutdown = Asked(primary, "SHUTDOWN", "NOSAVE")
        until(lambda: WAITING in said(), "it waits")
        write = Asked(primary, "SET", "k", "x")
        until(lambda: primary.info("clients")["blocked_clients"] == "2", "the write waits")
        assert primary.call("SHUTDOWN", "ABORT") == b"OK"
        assert (shutdown.wait(), write.wait()) == (ERRORS, "OK")
        assert "shutdown_in_milliseconds" not in primary.info("server")
        assert str(primary.call("SHUTDOWN", "ABORT")) == "ERR No shutdown in progress."
        assert said() == [REQUESTED, WAITING, "* Shutdown manually aborted."]


@BOTH
def test_whoever_asks_for_a_shutdown_later_changes_nothing(engine: str, tmp_path: Path) -> None:
    with lagging(engine, tmp_path, timeout=30) as (primary, _, said):
        first = Asked(primary, "SHUTDOWN", "NOSAVE")
        until(lambda: WAITING in said(), "it waits")
        left = int(primary.info("server")["shutdown_in_milliseconds"])
        second = Asked(primary, "SHUTDOWN", "SAVE", "NOW")
        until(lambda: primary.info("clients")["blocked_clients"] == "2", "the second waits as well")
        primary.signal(signal.SIGTERM)
        until(lambda: "Received SIGTERM" in primary.log(), "the signal has come")
        until(lambda: int(primary.info("server")["shutdown_in_milliseconds"]) < left - 300, "its end stays")
        assert primary.call("SHUTDOWN", "ABORT") == b"OK"
        assert (first.wait(), second.wait()) == (ERRORS, ERRORS)
        assert said() == [REQUESTED, WAITING, "* Shutdown manually aborted."]


@BOTH
@pytest.mark.parametrize("force", [False, True])
def test_a_shutdown_that_cannot_save_stays_unless_it_is_forced(engine: str, force: bool, tmp_path: Path) -> None:
    with lagging(engine, tmp_path) as (primary, _, said):
        (primary.folder / "dump.rdb" / "in the way").mkdir(parents=True)
        shutdown = Asked(primary, "SHUTDOWN", "SAVE", "NOW", *(["FORCE"] if force else []))
        begun = [REQUESTED, lag(0), NOT_IN_SYNC, SAVING[0]]
        if force:
            assert end(primary) == 0
            assert shutdown.wait() == CLOSED
            ending = ["# Error trying to save the DB. Exit anyway.", BYE]
        else:
            assert shutdown.wait() == ERRORS
            assert primary.call("SET", "k", "x") == b"OK"
            ending = [
                "# Error trying to save the DB, can't exit.",
                "# Errors trying to shut down the server. Check the logs for more information.",
            ]
        assert [re.sub(r"lag=\d+", "lag=0", line) for line in said()] == [*begun, *ending]


@BOTH
def test_what_shutdown_refuses(engine: str, tmp_path: Path) -> None:
    with servers(tmp_path, engine) as (server,):
        for words in ("SAVE NOSAVE", "ABORT NOW", "SAVE ABORT", "FORCE ABORT", "NOW NOW X", "X"):
            assert str(server.call("SHUTDOWN", *words.split())) == "ERR syntax error", words
        assert server.call("MULTI") == b"OK"
        assert str(server.call("SHUTDOWN", "NOSAVE")) == "ERR Command not allowed inside a transaction"


# -- output limits -----------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_a_replica_beyond_its_output_limit_is_sent_away(engine: str, kind: str, tmp_path: Path) -> None:
    with servers(tmp_path, engine, engine) as (primary, replica):
        replica.follow(primary)
        replica.wait_linked()
        limit = "replica 0 4000000 1" if kind == "soft" else "replica 4000000 0 0"
        primary.call("CONFIG", "SET", "repl-backlog-size", "16kb", "client-output-buffer-limit", limit)
        replica.signal(signal.SIGSTOP)
        written = 0

        def gone() -> bool:
            return primary.info("replication")["connected_slaves"] == "0"

        begin = time.monotonic()
        while written < 300 and not gone():
            primary.call("SET", f"k{written % 20}", "x" * 100_000)
            written += 1
            if kind == "soft" and written == 150:
                break
        if kind == "soft":
            until(gone, "the limit has been passed for too long", bound=10)
            assert time.monotonic() - begin > 1
        # Forty are beyond the limit; what the buffers of the system hold of them is not counted: some MB, or nothing.
        assert gone() and 40 <= written < 150 + (kind == "soft")
        how = "closed for" if kind == "soft" else "scheduled to be closed ASAP for"
        assert re.search(rf"# Client .* {how} overcoming of output buffer limits", primary.log())
        replica.signal(signal.SIGCONT)


@BOTH
@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_a_subscriber_beyond_its_output_limit_is_sent_away(engine: str, kind: str, tmp_path: Path) -> None:
    with servers(tmp_path, engine) as (server,):
        limit = "pubsub 0 4000000 1" if kind == "soft" else "pubsub 4000000 0 0"
        server.call("CONFIG", "SET", "client-output-buffer-limit", limit)
        subscriber = Wire(server.port)
        try:
            subscriber.call("SUBSCRIBE", "c")
            begin = time.monotonic()
            heard = 0
            while heard < 150 and server.call("PUBLISH", "c", "x" * 100_000):
                heard += 1
            if kind == "soft":
                assert heard == 150
                until(lambda: server.call("PUBSUB", "NUMSUB", "c") == [b"c", 0], "it is sent away", bound=10)
                assert time.monotonic() - begin > 1
            assert 40 <= heard < 150 + (kind == "soft")
        finally:
            subscriber.close()
        how = "closed for" if kind == "soft" else "scheduled to be closed ASAP for"
        line = rf"# Client id=\d+ addr=127\S+ laddr=\S+ fd=.* flags=P .* sub=1 .* {how} overcoming of output buffer"
        assert re.search(line, server.log())


# -- the backlog's life ------------------------------------------------------------------------------------------------


@BOTH
def test_a_backlog_without_replicas_is_freed_in_time_and_the_history_with_it(engine: str, tmp_path: Path) -> None:
    with servers(tmp_path, engine, engine, directives=("--repl-backlog-ttl", "1")) as (primary, replica):
        replica.follow(primary)
        replica.wait_linked()
        primary.call("SET", "k", "v")
        assert primary.call("WAIT", 1, 5000) == 1
        before = primary.info("replication")
        assert (before["repl_backlog_active"], before["repl_backlog_first_byte_offset"]) == ("1", "1")
        replica.call("REPLICAOF", "NO", "ONE")
        until(lambda: primary.info("replication")["connected_slaves"] == "0", "the replica has left")
        begin = time.monotonic()
        kept = primary.info("replication")
        assert (kept["repl_backlog_active"], kept["master_replid"]) == ("1", before["master_replid"])
        until(lambda: primary.info("replication")["repl_backlog_active"] == "0", "the backlog is freed", bound=10)
        assert time.monotonic() - begin > 0.5
        freed = primary.info("replication")
        assert freed["master_replid"] != before["master_replid"]
        assert (freed["master_replid2"], freed["second_repl_offset"]) == ("0" * 40, "-1")
        assert freed["repl_backlog_size"] == before["repl_backlog_size"]
        assert (freed["repl_backlog_first_byte_offset"], freed["repl_backlog_histlen"]) == ("0", "0")
        assert "* Replication backlog freed after 1 seconds without connected replicas." in primary.log()
        primary.call("SET", "uncounted", "1")
        offset = int(freed["master_repl_offset"])
        assert int(primary.info("replication")["master_repl_offset"]) == offset
        replica.follow(primary)
        replica.wait_linked()
        again = primary.info("replication")
        assert again["master_replid"] not in (before["master_replid"], freed["master_replid"])
        assert again["repl_backlog_first_byte_offset"] == str(offset + 1)
        assert replica.call("GET", "uncounted") == b"1"
        # A replica keeps its own, whoever follows it.
        assert replica.info("replication")["repl_backlog_active"] == "1"


# -- users of the link -------------------------------------------------------------------------------------------------


@BOTH
def test_the_link_is_made_as_the_user_that_is_configured(engine: str, tmp_path: Path) -> None:
    with servers(tmp_path, engine, engine) as (primary, replica):
        for user, rights in (
            ("repl", "+psync +replconf +ping"),
            ("unsynced", "+replconf +ping"),
            ("silent", "+psync"),
        ):
            primary.call("ACL", "SETUSER", user, "on", ">secret", *rights.split())
        primary.call("CONFIG", "SET", "requirepass", "pw")
        primary.reconnect()
        assert primary.call("AUTH", "pw") == b"OK"
        primary.call("SET", "k", "v")

        def said(text: str, *settings: str, linked: bool | None = False) -> None:
            """With these settings the replica comes to log that line, and its link is up or not (None: either)."""
            begin = len(replica.log())
            if settings:
                assert replica.call("CONFIG", "SET", *settings) == b"OK"
                primary.call("CLIENT", "KILL", "TYPE", "replica")
            until(lambda: text in replica.log()[begin:], f"{text} is logged", bound=10)
            if linked:
                replica.wait_linked()
            elif linked is not None:
                assert not replica.linked()

        replica.follow(primary)
        said("Unexpected reply to PSYNC from master: -NOAUTH Authentication required.")
        said("MASTER aborted replication with an error: NOAUTH Authentication required.")
        said("Unable to AUTH to MASTER: -WRONGPASS invalid username-password pair", "masterauth", "bad")
        said("Unable to AUTH to MASTER: -WRONGPASS invalid username-password pair", "masteruser", "repl")
        said("Finished with success", "masterauth", "secret", linked=True)
        assert replica.call("GET", "k") == b"v"
        assert " user=repl " in primary.call("CLIENT", "LIST", "TYPE", "replica").decode()
        refused = "-NOPERM this user has no permissions to run the '%s' command"
        said(f"Unexpected reply to PSYNC from master: {refused % 'psync'}", "masteruser", "unsynced")
        said("MASTER aborted replication with an error: NOPERM this user has no permissions to run the 'sync' command")
        understood = f"(Non critical) Master does not understand REPLCONF listening-port: {refused % 'replconf'}"
        said(understood, "masteruser", "silent", linked=None)
        # It may follow, but not acknowledge; that it is refused must not get into its stream.
        said("Successful partial resynchronization", linked=None)
        until(lambda: "Replica generated a reply to command 'replconf'" in primary.log(), "it is sent away")
        # Without a user the password is the default user's. The silent one, taken and sent away again and again, may
        # be what the log and INFO still tell of: only the primary's list says who follows it now.
        said("Successful partial resynchronization", "masteruser", "", "masterauth", "pw", linked=None)
        until(
            lambda: " user=default " in primary.call("CLIENT", "LIST", "TYPE", "replica").decode(),
            "it follows as the default user",
            bound=10,
        )
        replica.wait_linked()
        converge(primary, replica)
        assert primary.info("stats")["sync_full"] == "1"


# -- what a replica says -----------------------------------------------------------------------------------------------


@BOTH
def test_no_answer_ever_gets_into_a_replicas_stream(engine: str, tmp_path: Path) -> None:
    with servers(tmp_path, engine) as (primary,):
        answered = ("REPLCONF nonsense x", "REPLCONF listening-port 1", "REPLCONF listening-port x", "REPLCONF x")
        more = ("PSYNC ?", "SYNC x", "PING", "NOSUCH", "MULTI", "QUIT", "GET k")
        raw = (b"*1\r\nx\r\n", b"*x\r\n", b"y" * 100_000)
        silent = ("REPLCONF GETACK *", "REPLCONF ACK x", "REPLCONF ACK 99999999", "PSYNC ? -1", "PSYNC ? x", "SYNC")
        for words in (*answered, *more, *raw, *silent):
            until(lambda: primary.info("replication")["connected_slaves"] == "0", "no replica is there")
            replica = FakeReplica(primary, acknowledges=False)
            try:
                before = replica.offset
                replica.say(words if isinstance(words, bytes) else hiredis.pack_command(tuple(words.split())))
                if words in silent:
                    primary.call("SET", "k", "v")
                    until(lambda one=replica: one.offset == primary.offset(), f"the stream goes on behind {words!r}")
                    assert not replica.ended.is_set()
                else:
                    assert replica.ended.wait(10), words
                    assert replica.offset == before, words
            finally:
                replica.leave()
        assert "Replica generated a reply to command 'replconf', disconnecting it" in primary.log()
