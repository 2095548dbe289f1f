"""SLOWLOG, LATENCY, MONITOR and the times in INFO."""

from __future__ import annotations

import re

import pytest

from replicator.core.surroundings import Surroundings
from tests.support import transcripts
from tests.support.nodes import LocalClient, LocalNode
from tests.support.stock import Wire, running


class Clock:
    """A meter that moves on by `step` each time it is read."""

    def __init__(self) -> None:
        self.us = 0
        self.step = 0

    def __call__(self) -> int:
        self.us += self.step
        return self.us


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(clock: Clock) -> LocalClient:
    return LocalNode("--enable-debug-command", "yes", surroundings=Surroundings(meter=clock)).open()


ANSWERS = """
    a> SLOWLOG GET a
    a> SLOWLOG GET -2
    a> SLOWLOG GET 1 2
    a> SLOWLOG FOO
    a> SLOWLOG LEN x
    a> SLOWLOG RESET
    a> SLOWLOG LEN
    a> SLOWLOG HELP
    a> LATENCY LATEST
    a> LATENCY HISTORY command
    a> LATENCY HISTORY
    a> LATENCY GRAPH command
    a> LATENCY RESET
    a> LATENCY RESET foo
    a> LATENCY DOCTOR
    a> LATENCY HISTOGRAM nosuch
    a> LATENCY HELP
    a> MULTI
    a> MONITOR
    a> EXEC
    a> CONFIG SET latency-monitor-threshold 1
    a> LATENCY DOCTOR
    a> LOLWUT VERSION x
"""


def test_answers_are_as_stocks(client: LocalClient) -> None:
    with running("redis7") as port:
        transcripts.compare(ANSWERS, port, client.node)


def test_the_slow_log_holds_what_took_longer_than_the_threshold(client: LocalClient, clock: Clock) -> None:
    clock.step = 20_000
    client.send("KEYS", "*")
    clock.step = 10
    client.send("KEYS", "?")
    client.send("CLIENT", "SETNAME", "me")
    assert client.send("SLOWLOG", "GET") == [[0, 1_700_000_000, 20_000, [b"KEYS", b"*"], b"127.0.0.1:40001", b""]]
    assert client.send("SLOWLOG", "LEN") == 1
    client.send("SLOWLOG", "RESET")
    assert client.send("SLOWLOG", "LEN") == 0


def test_with_a_threshold_of_zero_every_command_is_logged_as_stock_logs_it(client: LocalClient) -> None:
    commands = [
        ["CONFIG", "SET", "slowlog-log-slower-than", "0"],
        ["SLOWLOG", "RESET"],
        ["SET", "k" * 140, "v"],
        ["MSET", *[word for n in range(40) for word in (f"k{n}", "v")]],
        ["AUTH", "x"],
        ["ACL", "SETUSER", "u", ">p"],
        ["CONFIG", "SET", "masterauth", "x"],
        ["GET", "a"],
        ["EVAL", "return redis.call('get','x')", "0"],
        ["MULTI"],
        ["GET", "a"],
        ["SET", "b", "c"],
        ["EXEC"],
        ["EXEC"],
        ["NOSUCH"],
        ["GET"],
        ["BLPOP", "k0x", "0.01"],
    ]
    with running("redis7") as port:
        wire = Wire(port)
        for argv in commands:
            wire.call(*argv)
            client.send(*argv)
            client.node.advance(20)
            client.read()
        expected = wire.call("SLOWLOG", "GET", -1)
        wire.close()
    actual = client.send("SLOWLOG", "GET", -1)
    assert [entry[3] for entry in actual] == [entry[3] for entry in expected]
    numbers = [entry[0] for entry in actual]
    assert numbers == list(range(numbers[0], numbers[-1] - 1, -1))


def test_the_slow_log_keeps_the_latest(client: LocalClient) -> None:
    client.send("CONFIG", "SET", "slowlog-log-slower-than", 0, "slowlog-max-len", 3)
    for n in range(10):
        client.send("GET", n)
    assert [entry[3][1] for entry in client.send("SLOWLOG", "GET")] == [b"9", b"8", b"7"]
    client.send("CONFIG", "SET", "slowlog-log-slower-than", -1)
    client.send("GET", "not logged")
    assert client.send("SLOWLOG", "GET", 1)[0][3][0] == b"SLOWLOG"


def test_a_sleep_counts_as_the_command_s_time(client: LocalClient) -> None:
    client.send("CONFIG", "SET", "latency-monitor-threshold", 10)
    client.send("DEBUG", "SLEEP", 0.02)
    assert client.send("SLOWLOG", "GET")[0][2] == 20_000
    assert client.send("LATENCY", "LATEST") == [[b"command", 1_700_000_000, 20, 20]]


def test_spikes_are_kept_one_a_second_the_worst(client: LocalClient) -> None:
    client.send("CONFIG", "SET", "latency-monitor-threshold", 10)
    for seconds in (0.02, 0.05, 0.03):
        client.send("DEBUG", "SLEEP", seconds)
    client.node.advance(2000)
    client.send("DEBUG", "SLEEP", 0.011)
    assert client.send("LATENCY", "HISTORY", "command") == [[1_700_000_000, 50], [1_700_000_002, 11]]
    assert client.send("LATENCY", "LATEST") == [[b"command", 1_700_000_002, 11, 50]]
    graph = client.send("LATENCY", "GRAPH", "command").decode().splitlines()
    assert graph[0] == "command - high 50 ms, low 11 ms (all time high 50 ms)"
    assert b"2 latency spikes (average 30ms" in client.send("LATENCY", "DOCTOR")
    assert client.send("LATENCY", "RESET", "command", "other") == 1
    assert client.send("LATENCY", "LATEST") == []


def times(client: LocalClient) -> dict[str, tuple[int, int]]:
    text = client.send("INFO", "commandstats").decode()
    found = re.findall(r"cmdstat_(\S+):calls=(\d+),usec=(\d+)", text)
    return {name: (int(calls), int(usec)) for name, calls, usec in found}


def test_times_of_quick_commands_are_estimated_from_a_sample_and_those_of_others_are_exact(
    client: LocalClient, clock: Clock
) -> None:
    clock.step = 7
    for n in range(1000):
        client.send("GET", n)
    for _ in range(100):
        client.send("KEYS", "*")
    shown = times(client)
    assert shown["get"] == (1000, 7000)
    assert shown["keys"] == (100, 700)
    measured = client.node.node.statistics.measured
    assert measured["get"].calls == 64 and measured["keys"].calls == 100
    client.node.advance(1000)
    clock.step = 70
    for n in range(1000):
        client.send("GET", n)
    assert measured["get"].calls == 128
    assert times(client)["get"] == (2000, 2000 * (64 * 7 + 64 * 70) // 128)
    client.send("CONFIG", "RESETSTAT")
    assert "get" not in times(client)


def test_short_thresholds_measure_every_call(client: LocalClient, clock: Clock) -> None:
    client.send("CONFIG", "SET", "slowlog-log-slower-than", 100)
    clock.step = 50
    for n in range(200):
        client.send("GET", n)
    clock.step = 150
    client.send("GET", "slow")
    assert [entry[3] for entry in client.send("SLOWLOG", "GET")][-1] == [b"GET", b"slow"]


def test_histograms_count_all_calls(client: LocalClient, clock: Clock) -> None:
    clock.step = 7
    for n in range(100):
        client.send("SET", n, n)
    clock.step = 3
    answer = client.send("LATENCY", "HISTOGRAM", "set", "nosuch")
    assert answer == [b"set", [b"calls", 100, b"histogram_usec", [8, 100]]]
    text = client.send("INFO", "latencystats").decode()
    assert "latency_percentiles_usec_set:p50=7.001,p99=7.001,p99.9=7.001" in text


MONITORED = [
    "auth foo", "auth default foo", "hello 2 auth default x", "set a 1", "SeT a 2", "multi", "set b 1", "get b", "exec",
    "eval \"return redis.call('get',KEYS[1])\" 1 q", "foo bar", "get", "client list", "select 3", "get x",
    "acl setuser x >y", "acl deluser x", "config set masterauth x", 'echo "a\\"\\\\\\n\\r\\t\\xff\\x01"', "ping",
    "info replication", "exec", "lpush list 1", "blpop list 0", "slowlog get", "client getname", "subscribe x",
    "unsubscribe x", "fcall f 0", "publish a b", "object encoding a",
]  # fmt: skip


def test_monitors_see_what_they_see_on_stock(client: LocalClient) -> None:
    watcher = client.node.open()
    assert watcher.send("MONITOR") == b"OK"
    with running("redis7") as port:
        wire, stock_watcher = Wire(port), Wire(port)
        assert stock_watcher.call("MONITOR") == b"OK"
        for line in MONITORED:
            argv = transcripts.words(line)
            wire.call(*argv)
            client.send(*argv)
            client.read()
        wire.call("ECHO", "the end")
        expected = []
        while b"the end" not in (line := stock_watcher.read()):
            expected.append(line)
        wire.close()
        stock_watcher.close()
    actual = watcher.read()

    def shown(line: bytes) -> bytes:
        return re.sub(rb"^[0-9.]+ \[(\d+) (lua|[0-9.:]+)\]", lambda found: found[1] + b" " + found[2][:3], line)

    assert [shown(line) for line in actual] == [shown(line) for line in expected]
    assert re.fullmatch(rb'1700000000\.000000 \[0 127\.0\.0\.1:40001\] "auth" "\(redacted\)"', actual[0])


def test_a_monitor_sees_its_own_commands_behind_their_replies_and_touches_no_keys(client: LocalClient) -> None:
    client.send("MONITOR")
    assert client.pipeline(("PING",), ("MONITOR",), ("ECHO", "x"))[::2] == [b"PONG", b"x"]
    assert "Replica can't interact with the keyspace" in str(client.send("GET", "a"))
    assert client.send("RESET") == b"RESET"
    client.read()
    assert client.send("GET", "a") is None
    assert client.read() == []
    assert not client.node.node.monitors.sessions


def test_without_monitors_the_fast_path_is_open_again(client: LocalClient) -> None:
    watcher = client.node.open()
    before = client.node.node.gates.bits
    watcher.send("MONITOR")
    assert client.node.node.gates.bits != before
    watcher.close()
    assert client.node.node.gates.bits == before


def test_lolwut_names_the_version(client: LocalClient) -> None:
    assert client.send("LOLWUT").endswith(b"\nRedis ver. 7.0.15\n")
    assert client.send("LOLWUT", "VERSION", 5, 1, 2, 3).endswith(b"\nRedis ver. 7.0.15\n")
