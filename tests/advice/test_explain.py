"""`replicator explain`: sentences with figures about a topology that runs, ours or stock; it only reads."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from replicator.advice.facts import Facts, Look
from replicator.advice.rules import advice, needed_backlog
from replicator.cli import main
from replicator.status import NodeView
from tests.support.stock import Wire, binary, free_port, running

SCENARIOS = Path(__file__).parents[2] / "scenarios"
CONFIG = {
    "min-replicas-to-write": "1", "min-replicas-max-lag": "1", "appendonly": "yes", "appendfsync": "always", "save": "",
    "client-output-buffer-limit": "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
    "repl-ping-replica-period": "10", "repl-timeout": "60", "replica-read-only": "yes",
}  # fmt: skip
INFO = {"repl_backlog_active": "1", "repl_backlog_size": "1073741824", "uptime_in_seconds": "100"}


def topology(*, rate: float = 1000.0, replicas: int = 2, sentinels: int = 0, info: dict[str, str] | None = None,
             **config: str) -> Look:  # fmt: skip
    """A sound topology but for what is given."""
    settings = CONFIG | {name.replace("_", "-"): value for name, value in config.items()}
    top = Facts(NodeView("a:1", True, role="primary", version="redis 7.0.15"), INFO | (info or {}), settings)
    below = [
        Facts(NodeView(f"{name}:1", True, role="replica", version="redis 7.0.15", primary="a:1", link="up",
                       behind_bytes=0), dict(INFO), dict(settings))
        for name in "bcdef"[:replicas]
    ]  # fmt: skip
    watched = [{"quorum": "2", "down-after-milliseconds": "5000", "address": f"s{n}:1"} for n in range(sentinels)]
    return Look("a:1", [top, *below], 10.0, rate, 10.0, watched)


def told(look: Look, topic: str) -> list[tuple[str, str]]:
    return [(one.severity, one.sentence) for one in advice(look) if one.topic == topic]


def test_a_sound_topology_is_in_no_danger_and_nobody_is_warned() -> None:
    found = advice(topology(sentinels=3))
    assert [one for one in found if one.severity in ("danger", "warning")] == []
    assert any(one.severity == "good" for one in found)
    assert all(one.evidence for one in found)
    assert all(not one.scenario or (SCENARIOS / one.scenario).is_file() for one in found)


@pytest.mark.parametrize(
    ("changed", "topic", "severity", "words"),
    [
        ({"rate": 1e6, "info": {"repl_backlog_size": "1048576"}}, "backlog", "danger",
         ["covers an absence of 1.0 s", f"repl-backlog-size {573 << 20}"]),
        ({"rate": 1e4, "info": {"repl_backlog_size": "1048576"}}, "backlog", "warning", ["105 s", str(6 << 20)]),
        ({"info": {"repl_backlog_active": "0"}}, "backlog", "warning", ["keeps no backlog"]),
        ({"min_replicas_to_write": "0"}, "min-replicas", "warning", ["min-replicas-to-write 1"]),
        ({"min_replicas_to_write": "2"}, "min-replicas", "warning", ["one replica less and every write is refused"]),
        ({"min_replicas_to_write": "3"}, "min-replicas", "danger", ["writes are refused now"]),
        ({"min_replicas_max_lag": "10"}, "min-replicas", "warning", ["10 to 12 seconds"]),
        ({"appendonly": "no"}, "persistence", "danger", ["copy the emptiness"]),
        ({"appendonly": "no", "save": "3600 1", "info": {"rdb_changes_since_last_save": "77"}}, "persistence",
         "warning", ["77 changes"]),
        ({"appendfsync": "everysec"}, "persistence", "note", ["up to two seconds"]),
        ({"rate": 1e6}, "output", "note", ["cut off after", "soft limit"]),
        ({"rate": 1e7, "info": {"rdb_last_bgsave_time_sec": "40"}}, "output", "danger", ["would never end"]),
        ({"replicas": 0}, "crash", "danger", ["There is no replica"]),
        ({"replica_priority": "0"}, "crash", "danger", ["promote none"]),
        ({"repl_timeout": "5"}, "timeouts", "danger", ["break again and again"]),
        ({"sentinels": 2}, "sentinels", "danger", ["three at least"]),
        ({"info": {"sync_full": "3", "sync_partial_err": "2"}}, "copies", "warning", ["3 times", "2 times a replica"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_figure(changed: Any, topic: str, severity: str, words: list[str]) -> None:
    found = told(topology(**changed), topic)
    assert any(grade == severity and all(word in text for word in words) for grade, text in found), found


def test_what_differs_between_nodes_is_named_with_each_value() -> None:
    look = topology()
    look.nodes[2].config["maxmemory"], look.nodes[0].config["maxmemory"] = "100", "0"
    ((severity, text),) = told(look, "differences")
    assert severity == "warning" and '"0" on a:1' in text and '"100" on c:1' in text


def test_the_backlog_that_covers_ten_minutes_is_whole_mebibytes() -> None:
    assert needed_backlog(0) == 1 << 20 and needed_backlog(1 << 20) == 600 << 20


@pytest.mark.skipif(not binary("redis7"), reason="no Redis 7 is installed")
def test_a_stock_pair_whose_backlog_is_too_small_is_told_the_number_that_is_needed() -> None:
    with (
        running("redis7", "--repl-backlog-size", "16384", "--repl-diskless-sync-delay", "0") as port,
        running("redis7", "--replicaof", "127.0.0.1", str(port)) as other,
    ):
        wire = Wire(other)
        deadline = time.monotonic() + 20
        while b"master_link_status:up" not in wire.call("INFO", "replication"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        before = wire.call("CONFIG", "GET", "*")
        done = threading.Event()

        def write() -> None:
            writer = Wire(port)
            while not done.wait(0.01):
                writer.pipeline([[b"SET", b"k", b"v" * 1000]] * 10)
            writer.close()

        writing = threading.Thread(target=write)
        writing.start()
        try:
            result = CliRunner().invoke(main, ["explain", f"127.0.0.1:{other}", "--sample", "1s", "--json"])
        finally:
            done.set()
            writing.join()
        assert result.exit_code == 0, result.output
        found = json.loads(result.output)
        assert found["primary"] == f"127.0.0.1:{port}" and found["bytes_per_second"] > 50_000
        (backlog,) = [one for one in found["advice"] if one["topic"] == "backlog"]
        needed = needed_backlog(found["bytes_per_second"])
        assert backlog["severity"] == "danger" and f"repl-backlog-size {needed}" in backlog["sentence"]
        assert wire.call("CONFIG", "GET", "*") == before, "it only reads"
        wire.close()


def test_nobody_there_and_a_sample_that_is_none_are_one_line() -> None:
    gone = CliRunner().invoke(main, ["explain", f"127.0.0.1:{free_port()}"])
    assert gone.exit_code == 1 and "Connection refused" in gone.stderr and not gone.stdout
    for wrong in ("soon", "0s", "2"):
        refused = CliRunner().invoke(main, ["explain", "127.0.0.1:1", "--sample", wrong])
        assert refused.exit_code == 2, refused.output
