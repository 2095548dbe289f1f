"""Clients that want too much: what they may make a node keep, and what they are told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from replicator.core import limits
from replicator.core.clients.failed_logins import FailedLogins
from replicator.core.wire.request import split_words
from tests.support.nodes import LocalNode
from tests.support.servers import Server, until
from tests.support.stock import Wire


@pytest.fixture
def both(tmp_path: Path) -> Iterator[list[Server]]:
    servers = [Server(engine, tmp_path / engine).start() for engine in ("ours", "redis7")]
    yield servers
    for server in servers:
        server.kill()


def test_who_does_not_authenticate_and_reads_nothing_is_cut(tmp_path: Path) -> None:
    server = Server("ours", tmp_path)
    server.launch("--requirepass", "secret")
    until(lambda: "Ready to accept connections" in server.log(), "the server is ready")
    silent = Wire(server.port)
    other = Wire(server.port)
    try:
        silent.sock.setblocking(False)
        sent = 0
        cut = False
        deadline = time.monotonic() + 30
        while not cut and time.monotonic() < deadline:
            try:
                sent += silent.sock.send(b"GET x\r\n" * 5000)
            except BlockingIOError:
                time.sleep(0.001)
            except OSError:
                cut = True
        assert cut and "does not read its replies" in server.log()
        assert other.call("AUTH", "secret") == b"OK"
        # what all connections of that kind may hold together is a fraction of what one held before
        assert int(server_info(other, "used_memory")) < 200_000_000
        for _ in range(100):  # an honest one that has many refusals is let be, for it reads
            assert "NOAUTH" in str(silent_call(server))
    finally:
        silent.close()
        other.close()
        server.kill()


def silent_call(server: Server) -> object:
    wire = Wire(server.port)
    try:
        return wire.call("GET", "x")
    finally:
        wire.close()


def server_info(wire: Wire, name: str) -> str:
    text = wire.call("INFO", "everything").decode()
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)[name]


def test_thousands_of_rules_of_one_command_cost_no_more_than_their_number() -> None:
    node = LocalNode().open()
    calls = 0
    from replicator.core.clients.access import Permissions

    step = Permissions._step

    def counted(self: Permissions, sign: str, text: str) -> None:
        nonlocal calls
        calls += 1
        step(self, sign, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Permissions, "_step", counted)
        for rules in (
            [f"+get|word{number}" for number in range(2000)],
            ["+get", "-get"] * 1000,
            [f"+get|word{number % 7}" for number in range(500)],
            ["+@all", *["-get", "+get"] * 500],
        ):
            calls = 0
            assert node.send("ACL", "SETUSER", "u", "reset", *rules) == b"OK"
            assert calls <= 20 * len(rules) + 100, rules[:3]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"PING\0x", [b"PING"]),
        (b"\0PING", []),
        (b"ECHO a\x0bb", [b"ECHO", b"a\x0bb"]),
        (b"ECHO\x0ca", [b"ECHO\x0ca"]),
        (b"\x0b ECHO", [b"ECHO"]),
        (b'"a\0b"', None),
    ],
)
def test_a_line_is_split_as_c_splits_it(line: bytes, words: list[bytes] | None) -> None:
    assert split_words(line) == words


WORDS: tuple[tuple[str | bytes, ...], ...] = (
    ("ACL", "SETUSER", "u", ""),
    ("ACL", "SETUSER", "u2", "on", "nopass", "resetkeys", "%R~*", "", "+@all"),
    *(("ACL", "DRYRUN", "u2", *words) for words in (("get", ""), ("get", "x"), ("command",), ("config",), ("xgroup",))),
    *(("ACL", "DRYRUN", "u2", *words) for words in (("sort", "", "by", "x*"), ("nonsense",), ("",), ("get",))),
    ("ACL", "SETUSER", "u3", "on", "nopass", "%W~*", "~**", "~a*", "+@all"),
    *(("ACL", "DRYRUN", "u3", *words) for words in (("set", "", "1"), ("get", "a"), ("get", ""))),
    ("ACL", "SETUSER", "u4", "on", "nopass", "-@all", "+command|count", "~*"),
    *(("ACL", "DRYRUN", "u4", *words) for words in (("command",), ("command", "count"), ("command", "docs"))),
    *(
        ("COMMAND", "GETKEYS", name, "f", count, "a")
        for name in ("fcall", "eval", "evalsha_ro")
        for count in ("1e309", "1", "0", "-1", "x", " 1", "1x", "1.9", "0x1", "nan", "9" * 5000, "4294967297", "\t1")
    ),
    *(("COMMAND", "GETKEYS", "zdiffstore", "d", count, "a") for count in ("0", "1", "-1", "x", "2", "1e309")),
    *(("COMMAND", "GETKEYS", "zinterstore", "d", count, "a") for count in ("0", "1")),
    *(("COMMAND", "GETKEYS", name, count, "a", "left") for name in ("zdiff", "lmpop") for count in ("0", "1e309")),
    *(("COMMAND", "GETKEYS", "pfdebug", *words) for words in (("todense", "k"), ("k",), ("a", "b", "c"))),
    ("COMMAND", "GETKEYSANDFLAGS", "pfdebug", "todense", "k"),
)


def test_words_are_judged_as_redis_7_judges_them(both: list[Server]) -> None:
    for argv in WORDS:
        ours, theirs = [repr(server.wire.call(*argv)) for server in both]
        assert ours == theirs, argv


def test_shutdown_abort_is_answered_while_a_script_runs(both: list[Server]) -> None:
    answers = []
    for server in both:
        server.call("CONFIG", "SET", "busy-reply-threshold", "20")
        runner = Wire(server.port)
        runner.send("EVAL", "while true do end", "0")
        until(lambda server=server: "BUSY" in str(server.call("PING")), "the script is slow")
        words = (("SHUTDOWN", "ABORT"), ("SHUTDOWN",), ("SHUTDOWN", "NOW"))
        answers.append([repr(server.call(*argv)) for argv in words])
        assert server.call("SCRIPT", "KILL") == b"OK"
        runner.close()
    assert answers[0] == answers[1] and "No shutdown" in answers[0][0]


def test_ping_tells_of_a_failed_save(both: list[Server]) -> None:
    answers = []
    for server in both:
        server.call("CONFIG", "SET", "save", "3600 1")
        (server.folder / "dump.rdb").mkdir()
        server.call("SET", "k", "v")
        server.call("BGSAVE")
        until(lambda server=server: server.info()["rdb_last_bgsave_status"] == "err", "the save has failed")
        words = (("PING",), ("PING", "x"), ("GET", "k"), ("SET", "k", "w"), ("ECHO", "x"), ("SELECT", "0"))
        found = [repr(server.call(*argv)) for argv in words]
        server.call("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
        answers.append([*found, repr(server.call("PING"))])
    assert answers[0] == answers[1]
    assert "MISCONF" in answers[0][0] and "MISCONF" not in answers[0][2]


def test_protected_mode_knows_two_addresses_of_this_machine() -> None:
    from replicator.core.command_table.context import Context

    told = Context.comes_from_here.fget
    assert told is not None

    class Peer:
        def __init__(self, peer: str) -> None:
            self.peer = peer

    assert all(told(Peer(peer)) for peer in ("127.0.0.1:5", "[::1]:5", "/tmp/s:0", ""))  # type: ignore[arg-type]
    assert not any(told(Peer(peer)) for peer in ("127.0.0.5:5", "127.0.0.11:5", "[::2]:5"))  # type: ignore[arg-type]


def test_the_slow_log_hides_what_debug_and_dryrun_were_given(tmp_path: Path) -> None:
    server = Server("ours", tmp_path).start("--slowlog-log-slower-than", "0")
    try:
        server.call("DEBUG", "LOG", "secret")
        server.call("ACL", "SETUSER", "u", "on", "nopass", "+@all", "~*")
        server.call("ACL", "DRYRUN", "u", "auth", "secret")
        server.call("MIGRATE", "127.0.0.1", "1", "k", "0", "10", "AUTH", "secret")
        shown = [entry[3] for entry in server.call("SLOWLOG", "GET", "100")]
        assert [b"ACL", b"DRYRUN", b"(redacted)", b"(redacted)", b"(redacted)"] in shown
        assert "secret" not in repr(shown)
    finally:
        server.kill()


def test_failed_logins_are_one_line_a_minute_and_source() -> None:
    failed = FailedLogins()
    lines = [failed.line(f"10.0.0.1:{port}", b"u", port * 10) for port in range(1000)]
    assert [line for line in lines if line] == ["Failed authentication from 10.0.0.1: once since the last such line, "
                                                "now as user 'u'"]  # fmt: skip
    assert "from 10.0.0.2: once" in str(failed.line("10.0.0.2:5", b"\xff\n", 20_000))
    line = failed.line("10.0.0.1:7", b"v", 60_000)
    assert line is not None and "1000 times" in line and "\n" not in line
    for number in range(3 * limits.MAX_FAILED_LOGIN_SOURCES):
        failed.line(f"source{number}:1", b"u", 60_000)
    assert len(failed._sources) == limits.MAX_FAILED_LOGIN_SOURCES


def test_a_thousand_wrong_passwords_are_one_line_and_an_entry_of_the_acl_log() -> None:
    node = LocalNode("--requirepass", "secret")
    client = node.open()
    for _ in range(1000):
        assert "WRONGPASS" in str(client.send("AUTH", "wrong"))
    assert sum("Failed authentication" in line for line in node.log) == 1
    assert client.send("AUTH", "secret") == b"OK"
    (entry,) = client.send("ACL", "LOG")
    assert entry[entry.index(b"count") + 1] == 1000
