"""CONFIG as a client uses it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import hiredis
import pytest

from replicator.core.config.config import Config, ConfigError, MemoryStore
from tests.support.harness import Harness
from tests.support.stock import Wire, binary, running

needs_redis7 = pytest.mark.skipif(binary("redis7") is None, reason="Redis 7.0 is not installed")


def node_with(config: Config) -> Harness:
    node = Harness()
    node.server.config = config
    return node


def plain(answer: Any) -> Any:
    """Comparable: errors by text, maps without the order of their names."""
    if isinstance(answer, hiredis.ReplyError):
        return str(answer)
    if isinstance(answer, list) and len(answer) % 2 == 0:
        return dict(zip(answer[::2], answer[1::2], strict=True))
    return answer


CALLS = [
    "GET timeout",
    "GET timeout TIMEOUT time*",
    "GET TimeOut",
    "GET nothing",
    "GET",
    "GET slave-pri* replica-pri*",
    "GET *-DELAY",
    "GET key-load-delay KEY-load-delay",
    "GET key-l*",
    "GET [st]ave* replicaof",
    "GET \\*",
    "SET",
    "SET timeout",
    "SET timeout 1 port",
    "SET timeout 5 hz 20",
    "SET nothing 1",
    "SET timeout abc",
    "SET user x",
    "SET include x",
    "SET dir /",
    "SET client-output-buffer-limit x",
    "RESETSTAT x",
    "REWRITE",
    "REWRITE x",
    "HELP",
    "HELP x",
]


@needs_redis7
def test_answers_are_those_of_redis_7() -> None:
    config = Config()
    config.set_many([("save", "")])  # as tests.support.stock starts its servers
    node = node_with(config)
    with running("redis7") as port:
        wire = Wire(port)
        for call in CALLS:
            ours, theirs = node.call("CONFIG", *call.split()), wire.call("CONFIG", *call.split())
            if call == "HELP":
                assert ours == theirs
            else:
                assert plain(ours) == plain(theirs), call
        wire.close()


def test_get_is_a_map_in_resp3() -> None:
    node = node_with(Config())
    node.first.use_protocol(3)
    assert node.raw("CONFIG", "GET", "timeout") == b"%1\r\n$7\r\ntimeout\r\n$1\r\n0\r\n"


def test_any_bytes_survive_set_and_get() -> None:
    node = node_with(Config())
    secret = bytes(range(256))
    assert node.call("CONFIG", "SET", "masterauth", secret) == b"OK"
    assert node.call("CONFIG", "GET", "masterauth") == [b"masterauth", secret]


def test_a_refused_change_is_an_error_and_changes_nothing() -> None:
    config = Config()

    def refuse(value: object) -> None:
        raise ConfigError("Unable to listen on this port")

    config.on_change("port", refuse)
    answer = node_with(config).call("CONFIG", "SET", "port", "1")
    assert str(answer).endswith("(possibly related to argument 'port') - Unable to listen on this port")
    assert config["port"] == 6379


@pytest.mark.parametrize(
    ("allowed", "peer", "answer"),
    [
        ("yes", "10.0.0.1:5", b"OK"),
        ("local", "127.0.0.1:5", b"OK"),
        ("local", "10.0.0.1:5", "can't set protected config"),
        ("no", "127.0.0.1:5", "can't set protected config"),
    ],
)
def test_protected_directives_need_permission(allowed: str, peer: str, answer: bytes | str) -> None:
    config = Config()
    config.load(f"enable-protected-configs {allowed}")
    node = node_with(config)
    node.first.peer = peer
    reply = node.call("CONFIG", "SET", "dbfilename", "other.rdb")
    assert reply == answer or str(reply).endswith(str(answer))


def test_resetstat_and_rewrite_do_their_work() -> None:
    store = MemoryStore("port 1\n", "/etc/redis.conf")
    config = Config(store)
    config.load(store.text or "")
    node, called = node_with(config), list[str]()
    node.server.counters = SimpleNamespace(reset=lambda: called.append("reset"))
    config.assign("port", 2)
    assert node.call("CONFIG", "RESETSTAT") == b"OK"
    assert node.call("CONFIG", "REWRITE") == b"OK"
    assert called == ["reset"]
    assert (store.text or "").startswith("port 2\n")
