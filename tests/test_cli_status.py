"""`replicator status`, pointed at stock topologies."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from click.testing import CliRunner

from replicator.cli import main
from replicator.status import Client, NodeView, Walk, duration_text, node_view, render, size_text, walk_nodes
from tests.support.stock import Wire, binary, free_port, running

ENGINE = next((engine for engine in ("redis7", "valkey9", "redis6") if binary(engine)), "")
pytestmark = pytest.mark.skipif(not ENGINE, reason="no stock server is installed")


def until(wire: Wire, field: str, value: str) -> None:
    """Wait, at most 20 s, until INFO replication says so."""
    deadline = time.monotonic() + 20
    while f"{field}:{value}" not in (text := wire.call("INFO", "replication").decode()):
        assert time.monotonic() < deadline, text
        time.sleep(0.02)


@contextmanager
def chain(*directives: str) -> Iterator[list[int]]:
    """A primary, two replicas of it, and a replica of the second one; their ports."""
    extra = ["--repl-diskless-sync-delay", "0", *directives]
    with ExitStack() as stack:
        primary = stack.enter_context(running(ENGINE, *extra))
        first = stack.enter_context(running(ENGINE, *extra, "--replicaof", "127.0.0.1", str(primary)))
        second = stack.enter_context(running(ENGINE, *extra, "--replicaof", "127.0.0.1", str(primary)))
        last = stack.enter_context(running(ENGINE, *extra, "--replicaof", "127.0.0.1", str(second)))
        for port in (first, second, last):
            wire = Wire(port)
            if "--requirepass" in directives:
                wire.call("AUTH", directives[directives.index("--requirepass") + 1])
            until(wire, "master_link_status", "up")
            wire.close()
        yield [primary, first, second, last]


def invoke(*arguments: str) -> tuple[int, Any]:
    result = CliRunner().invoke(main, ["status", *arguments])
    return result.exit_code, result.output


def test_every_node_tells_the_whole_topology() -> None:
    with chain("--min-replicas-to-write", "1", "--replica-priority", "7") as ports:
        wire = Wire(ports[0])
        until(wire, "min_slaves_good_slaves", "2")
        wire.close()
        primary, first, second, last = (f"127.0.0.1:{port}" for port in ports)
        for asked in (primary, first, last):
            code, output = invoke(asked, "--json")
            told = json.loads(output)
            assert code == 0
            assert (told["asked"], told["primary"]) == (asked, primary)
            nodes = {node["address"]: node for node in told["nodes"]}
            assert set(nodes) == {primary, first, second, last}
            assert {nodes[name]["primary"] for name in (first, second)} == {primary}
            assert nodes[last]["primary"] == second
            assert len({node["replication_id"] for node in nodes.values()}) == 1
            assert (nodes[primary]["good_replicas"], nodes[primary]["wanted_replicas"]) == (2, 1)
            assert nodes[second]["replicas"] == [last]
            assert nodes[first]["link"] == "up"
            assert nodes[first]["priority"] == 7
            assert nodes[primary]["backlog"]["size"] == 1 << 20
        code, output = invoke(last)
        assert code == 0
        assert f"└─ {last} *" in output
        assert "2 of 2 (needs 1)" in output


def test_a_gone_primary_is_shown_above_its_replica() -> None:
    with ExitStack() as stack:
        replica = stack.enter_context(running(ENGINE, "--replicaof", "127.0.0.1", str(gone := free_port())))
        code, output = invoke(f"127.0.0.1:{replica}", "--json")
        assert code == 0
        top, below = json.loads(output)["nodes"]
        assert (top["address"], top["reachable"], top["role"]) == (f"127.0.0.1:{gone}", False, "primary")
        assert (below["address"], below["link"]) == (f"127.0.0.1:{replica}", "down")
        assert "Connection refused" in invoke(str(replica))[1]


def test_a_replica_that_nobody_can_reach_is_listed_as_such() -> None:
    with ExitStack() as stack:
        primary = stack.enter_context(running(ENGINE, "--repl-diskless-sync-delay", "0"))
        hidden = free_port()
        of = ["--replicaof", "127.0.0.1", str(primary), "--replica-announce-port", str(hidden)]
        replica = stack.enter_context(running(ENGINE, *of))
        wire = Wire(replica)
        until(wire, "master_link_status", "up")
        wire.close()
        _, output = invoke(f"127.0.0.1:{primary}", "--json")
        _, listed = json.loads(output)["nodes"]
        assert (listed["address"], listed["reachable"]) == (f"127.0.0.1:{hidden}", False)
        # Asked itself, it is found by what it is, though the primary lists it under another address.
        _, output = invoke(f"127.0.0.1:{replica}", "--json")
        assert f"127.0.0.1:{replica}" in [node["address"] for node in json.loads(output)["nodes"]]


def test_nodes_that_follow_each_other_do_not_trap_it() -> None:
    with ExitStack() as stack:
        ports = [stack.enter_context(running(ENGINE)) for _ in range(2)]
        for port, other in zip(ports, reversed(ports), strict=True):
            wire = Wire(port)
            assert wire.call("REPLICAOF", "127.0.0.1", other) == b"OK"
            wire.close()
        code, output = invoke(f"127.0.0.1:{ports[0]}", "--json")
        assert code == 0
        assert json.loads(output)["primary"] is None


def test_nobody_there_is_exit_code_1() -> None:
    code, output = invoke(f"127.0.0.1:{free_port()}")
    assert code == 1
    assert "Connection refused" in output
    result = CliRunner().invoke(main, ["status", f"127.0.0.1:{free_port()}"])
    assert "Connection refused" in result.stderr and not result.stdout, "a failure is told on stderr"
    code, output = invoke(f"127.0.0.1:{free_port()}", "--json")
    assert code == 1 and not json.loads(output)["nodes"][0]["reachable"]


@pytest.mark.parametrize("interval", ["nan", "inf", "1e300", "-1", "0", "soon"])
def test_an_interval_that_is_none_is_refused(interval: str) -> None:
    code, output = invoke("127.0.0.1:1", "--watch", "--interval", interval)
    assert code == 2 and "is not a number from 0.1 to 86400" in output, output


def test_a_watch_into_a_pipe_prints_each_look_as_it_comes() -> None:
    with running(ENGINE) as port:
        words = [sys.executable, "-m", "replicator", "status", f"127.0.0.1:{port}", "--watch", "--interval", "0.2"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as watching:
            try:
                assert watching.stdout is not None
                heads = [line for line, _ in zip(watching.stdout, range(9), strict=False) if line.startswith("node")]
                assert len(heads) >= 2
            finally:
                watching.terminate()


def test_a_node_that_wants_a_password_is_there_and_a_sentinel_is_no_primary() -> None:
    with running(ENGINE, "--requirepass", "secret") as port:
        (told,) = json.loads(invoke(f"127.0.0.1:{port}", "--json")[1])["nodes"]
        assert (told["reachable"], told["role"]) == (True, "") and "NOAUTH" in told["error"]
    sentinel = {"redis_mode": "sentinel", "run_id": "x", "redis_version": "7.0.15", "sentinel_masters": "1",
                "master0": "name=mymaster,status=ok,address=127.0.0.1:6379,slaves=2,sentinels=3"}  # fmt: skip
    view = node_view(("127.0.0.1", 26379), sentinel)
    assert (view.role, view.backlog, view.monitored) == ("sentinel", None, ["mymaster 127.0.0.1:6379 ok"])


def test_a_replica_that_copies_has_no_distance_and_none_is_ever_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        primary = stack.enter_context(running(ENGINE, "--repl-diskless-sync-delay", "0"))
        replica = stack.enter_context(running(ENGINE, "--replicaof", "127.0.0.1", str(primary)))
        wire, writer = Wire(replica), Wire(primary)
        until(wire, "master_link_status", "up")
        asked = Client.info

        def info(client: Client) -> dict[str, str]:
            writer.pipeline([[b"SET", b"k", b"v" * 100] for _ in range(20)])
            found = asked(client)
            until(wire, "master_repl_offset", writer.call("INFO", "replication").decode().partition(
                "master_repl_offset:")[2].partition("\r")[0])  # fmt: skip
            return found

        monkeypatch.setattr(Client, "info", info)
        top = Walk(("127.0.0.1", primary), sample_seconds=0).run().root
        (below,) = top.replicas
        assert top.offset >= below.offset > 0 and below.behind_bytes is not None
        writer.call("DEBUG", "CHANGE-REPL-ID")
        monkeypatch.setattr(Client, "info", asked)
        (below,) = Walk(("127.0.0.1", primary), sample_seconds=0).run().root.replicas
        assert below.behind_bytes is None or below.replication_id == top.replication_id
        wire.close()
        writer.close()


def test_passwords_are_given_by_option_or_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(ENGINE, "--requirepass", "secret") as port:
        assert "NOAUTH" in invoke(f"127.0.0.1:{port}")[1]
        assert invoke(f"127.0.0.1:{port}")[0] == 1
        assert invoke(f"127.0.0.1:{port}", "--password", "wrong")[0] == 1
        assert invoke(f"127.0.0.1:{port}", "--password", "secret")[0] == 0
        monkeypatch.setenv("REDISCLI_AUTH", "secret")
        assert invoke(f"127.0.0.1:{port}")[0] == 0


def test_the_backlog_is_told_in_time_as_the_history_grows() -> None:
    with ExitStack() as stack:
        port = stack.enter_context(running(ENGINE, "--repl-diskless-sync-delay", "0"))
        replica = stack.enter_context(running(ENGINE, "--replicaof", "127.0.0.1", str(port)))
        wire = Wire(replica)
        until(wire, "master_link_status", "up")
        wire.close()
        writer = Wire(port)

        class Writing(Walk):
            """Writes between the two looks at the offset, as a client would."""

            def _measure(self, client: Any, node: NodeView, offset: int, since: float) -> None:
                writer.pipeline([[b"SET", b"k", b"v" * 1000] for _ in range(50)])
                super()._measure(client, node, offset, since)

        walk = Writing(("127.0.0.1", port), sample_seconds=0.05).run()
        writer.close()
        backlog = walk.root.backlog
        assert backlog is not None and backlog.bytes_per_second is not None and backlog.covers_seconds is not None
        assert backlog.bytes_per_second > 50_000
        assert backlog.covers_seconds == pytest.approx((1 << 20) / backlog.bytes_per_second, rel=0.05)
        assert [node.role for node in walk_nodes(walk.root)] == ["primary", "replica"]
        assert render(walk).renderables


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1 << 20, "1 MiB"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")]
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert size_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.42, "0.4 s"), (59, "59 s"), (600, "10 min"), (7300, "2.0 h"), (400_000, "4.6 days")]
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
