"""Words that are no text, no number and no name: a live server answers as Redis 7.0 does, and goes on serving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hiredis
import pytest

from tests.support.servers import Server

MANY = b"9" * 5000
LONG = b"a" * 120
CONFIGURED: tuple[tuple[str, bytes], ...] = (
    *(("masterauth", word) for word in (b"\xff\xfe", b"\xff\x00x")),
    *(("masteruser", word) for word in (b"\xff\xfe", b"a\x00b")),
    *(("requirepass", word) for word in (b"\xff\x00", b"")),
    *(("replica-announce-ip", word) for word in (b"\xff\xfe", b"a\x00b", LONG, b"")),
    *(("bind", word) for word in (b"127.0.0.1 \x00", b"\x00", b"\xff\xfe", LONG, b"a..b", b".", b"-", b"*a")),
    *(("bind-source-addr", word) for word in (b"1\x002", b"\xff", LONG, b"")),
    *(("dbfilename", word) for word in (b"a\x00b", b"a/b", b"a\xff", LONG * 3, b"..", b"\x00", b"dump.rdb")),
    *(("dir", word) for word in (b"\xff", b"", LONG * 50, b"/nowhere\x00")),
    *(("maxmemory-clients", word) for word in (MANY + b"%", "²%".encode(), b"-1%", b"101%", b"5%", b"0")),
    *(("maxmemory", word) for word in (MANY, MANY + b"gb", b"\xff", b"-1", b"0")),
    *((name, word) for name in ("maxclients", "hz", "unixsocketperm", "save", "loglevel") for word in (b"\xff", b"-x")),
    *((name, MANY) for name in ("maxclients", "hz", "unixsocketperm", "oom-score-adj-values", "port")),
    *((name, b"\xff") for name in ("proc-title-template", "notify-keyspace-events", "cluster-announce-ip", "\udcff")),
)
COMMANDS: tuple[tuple[bytes | str, ...], ...] = (
    *(("DEBUG", "SLEEP", word) for word in ("-1", "inf", "-inf", "nan", "1e30", "", "x", b"\xff", "-1e-400")),
    *(("REPLICAOF", host, "1") for host in (LONG, b"\xff\xfe", b"a\x00b", b"a\rb", b"", b"a." * 200, b"\x00")),
    *(("REPLICAOF", "127.0.0.1", port) for port in ("0", "65536", MANY, b"\xff", "-1", "")),
    ("REPLICAOF", "NO", "ONE"),
    ("SET", "k", "v"),
    *(("MIGRATE", host, "1", "k", "0", "100") for host in (LONG, b"\xff", b"a\x00", b"")),
    *(("FAILOVER", "TO", host, "1") for host in (LONG, b"\xff")),
    ("FAILOVER", "TIMEOUT", MANY),
    *(("CLIENT", *words) for words in (("SETNAME", b"\xff"), ("GETNAME",), ("KILL", b"\xff"), ("LIST", "ID", MANY))),
    *(("CLIENT", *words) for words in (("PAUSE", MANY), ("TRACKING", "on", "REDIRECT", MANY), ("REPLY", b"\xff"))),
    *(("ACL", "SETUSER", b"\xff", rule) for rule in (b">\xff", b"~\xff", b"&\xff", b"+\xff", b"+@\xff", b"\xff", b"")),
    *(("ACL", *words) for words in (("GETUSER", b"\xff"), ("CAT", b"\xff"), ("GENPASS", MANY), ("LOG", MANY))),
    *(("REPLCONF", *words) for words in (("listening-port", MANY), ("ip-address", b"\xff"))),
    *(("WAIT", *words) for words in ((MANY, "1"), ("0", MANY))),
    *((name, MANY, "0") for name in ("SELECT", "SWAPDB", "GETRANGE", "EXPIRE", "SLOWLOG", "LATENCY", "MEMORY")),
    *(("HELLO", *words) for words in ((MANY,), ("2", "AUTH", b"\xff", b"\xff"), ("2", "SETNAME", b"\xff"))),
    *(("DEBUG", "POPULATE", *words) for words in (("1", "p", "-5"), ("1", "p", b"\xff"))),
    ("CONFIG", "GET", b"\xff*"),
    ("PING",),
)


def shown(answer: Any) -> str:
    return repr(answer)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Any:
    servers = []
    for engine in ("ours", "redis7"):
        folder: Path = tmp_path_factory.mktemp("words") / engine
        servers.append(Server(engine, folder, "--enable-protected-configs", "yes").start())
    yield servers
    for server in servers:
        server.kill()


def test_configuration_takes_any_bytes_as_stock_does(both: list[Server]) -> None:
    ours, stock = both
    for name, word in CONFIGURED:
        key = name.encode("utf-8", "surrogateescape")
        for argv in ((b"CONFIG", b"SET", key, word), (b"CONFIG", b"GET", key)):
            answers = [server.wire.call(*argv) for server in (ours, stock)]
            if argv[1] == b"GET" and name == "dir":
                continue
            if name == "save" or (word == MANY and name == "port"):
                assert all(answers), argv
                continue
            assert shown(answers[0]) == shown(answers[1]), argv
        for server in both:
            assert server.wire.call("PING") == b"PONG", (server.engine, name, word)


def test_commands_take_any_words_as_stock_does(both: list[Server]) -> None:
    ours, stock = both
    for argv in COMMANDS:
        answers = [server.wire.call(*argv) for server in (ours, stock)]
        assert shown(answers[0]) == shown(answers[1]), argv
    assert isinstance(ours.wire.call("DEBUG", "STRINGMATCH-LEN", 2**62, 2**62), hiredis.ReplyError)
    assert isinstance(ours.wire.call("DEBUG", "STRINGMATCH-LEN", -1, 5), hiredis.ReplyError)
    assert ours.wire.call("PING") == b"PONG"


def test_a_replica_shows_its_primary_whatever_bytes_it_has_told(both: list[Server]) -> None:
    ours, _ = both
    for name, word in (("masterauth", b"\xff\xfe"), ("masteruser", b"\xfe"), ("replica-announce-ip", b"\xff")):
        assert ours.wire.call("CONFIG", "SET", name, word) == b"OK"
    ours.wire.call("REPLICAOF", "127.0.0.1", ours.port)  # the server itself: the handshake is spoken
    assert ours.wire.call("ROLE")[:2] == [b"slave", b"127.0.0.1"]
    ours.wire.call("REPLICAOF", b"\xff\xfe", 1)
    assert ours.wire.call("ROLE")[:3] == [b"slave", b"\xff\xfe", 1]
    assert b"master_host:\xff\xfe\r\n" in ours.wire.call("INFO", "replication")
    assert ours.wire.call("REPLICAOF", "NO", "ONE") == b"OK"
