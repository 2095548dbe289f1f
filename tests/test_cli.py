"""The `replicator` command: what it passes on, what it prints, how it ends."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from replicator import cli
from tests.support.stock import Wire, binary, free_port


def run(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own."""
    command = [sys.executable, "-m", "replicator", *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)


@contextmanager
def serving(port: int, *arguments: str) -> Iterator[Wire]:
    """A node started by these arguments, ended by SIGTERM; a client of it."""
    command = [sys.executable, "-m", "replicator", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            assert process.poll() is None, "the node ended"
            assert time.monotonic() < deadline, "the node does not answer"
            try:
                wire = Wire(port)
                break
            except OSError:
                time.sleep(0.01)
        yield wire
        wire.close()
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def passed_on(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The arguments that commands hand to the server."""
    calls: list[list[str]] = []

    def server(arguments: list[str]) -> int:
        calls.append(list(arguments))
        return 0

    monkeypatch.setattr(cli, "run_server", server)
    return calls


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "7000", "--replicaof", "127.0.0.1", "6379", "--save", ""],
        ["a.conf", "--help", "x", "-h", "--", "--json"],
        ["-"],
        [],
    ],
)
def test_server_hands_every_argument_on_as_it_came(passed_on: list[list[str]], arguments: list[str]) -> None:
    assert CliRunner().invoke(cli.main, ["server", *arguments]).exit_code == 0
    assert passed_on == [arguments]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("primary", ""),
        ("primary --port 7000 --no-save", "--port 7000 --save|"),
        ("primary --save --bind 127.0.0.1 --bind ::1", "--bind 127.0.0.1 ::1 --save 3600|1|300|100|60|10000"),
        (
            "primary --min-replicas-to-write 1 --min-replicas-max-lag 5 --backlog-size 64mb --password p",
            "--requirepass p --repl-backlog-size 64mb --min-replicas-to-write 1 --min-replicas-max-lag 5",
        ),
        ("primary --appendonly yes --hz=50 --log-level debug", "--loglevel debug --appendonly yes --hz 50"),
        ("replica localhost:6379", "--replicaof localhost 6379 --replica-read-only yes"),
        (
            "replica [::1]:7 --writable --primary-password p --announce-ip 10.0.0.9 --announce-port 7 --hz 5",
            "--replica-announce-ip 10.0.0.9 --replica-announce-port 7 --masterauth p --hz 5 "
            "--replicaof ::1 7 --replica-read-only no",
        ),
    ],
)
def test_the_friendly_forms_say_it_in_directives(passed_on: list[list[str]], arguments: str, expected: str) -> None:
    result = CliRunner().invoke(cli.main, arguments.split())
    assert result.exit_code == 0, result.output
    # in `expected` a bar stands for a space inside a word, and "--save|" for an empty word behind --save
    words = [word.replace("|", " ") for word in expected.split()]
    words = [part for word in words for part in (["--save", ""] if word == "--save " else [word])]
    assert passed_on == [words]


@pytest.mark.parametrize("address", ["nowhere", "host:", "host:0", "host:70000", "::1:6379", "host:x"])
def test_an_address_that_is_none_is_refused(passed_on: list[list[str]], address: str) -> None:
    result = CliRunner().invoke(cli.main, ["replica", address])
    assert result.exit_code == 2
    assert f"'{address}' is not HOST:PORT" in result.output
    assert passed_on == []


def test_every_option_explains_itself() -> None:
    for name in ("primary", "replica", "status"):
        command = cli.main.commands[name]
        context = click.Context(command, info_name=name)
        records = [p.get_help_record(context) for p in command.get_params(context) if isinstance(p, click.Option)]
        assert all(record and record[1] for record in records)


def test_help_lists_lazy_commands_without_importing_them() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from replicator.cli import main\n"
        "print(CliRunner().invoke(main, ['--help']).output)\n"
        "print([m for m in sys.modules if m.startswith('replicator.scenario')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Play scripted failovers" in done.stdout
    assert done.stdout.rstrip().endswith("[]")


def test_a_lazy_command_is_the_real_one_when_it_runs() -> None:
    result = CliRunner().invoke(cli.main, ["scenario", "--help"])
    assert result.exit_code == 0, result.output
    for name in ("run", "list", "check"):
        assert name in result.output


def test_a_server_starts_without_the_heavy_imports() -> None:
    code = (
        "import sys, replicator.cli, replicator.config_file, replicator.server\n"
        "print(sorted({'rich', 'lupa', 'asyncio', 'replicator.status'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version_is_what_tools_look_for() -> None:
    for flag in ("-v", "--version"):
        done = run("server", flag)
        assert done.returncode == 0
        assert done.stdout.startswith("Redis server v=7.0.")
        assert f"replicator-{cli.__version__}" in done.stdout
    assert run("--version").stdout == f"replicator, version {cli.__version__}\n"


def test_help_of_the_server_shows_its_own_usage() -> None:
    for flag in ("-h", "--help"):
        done = run("server", flag)
        assert done.returncode == 0
        assert "replicator server /etc/redis/6379.conf" in done.stdout


def test_a_bad_directive_is_told_with_file_and_line_and_nothing_starts(tmp_path: Path) -> None:
    file = tmp_path / "redis.conf"
    file.write_text("# head\ntimeout 5\n  repl-timeout  soon  \n")
    done = run("server", str(file), "--port", "0")
    assert done.returncode == 1
    assert done.stdout == ""
    reason = "argument couldn't be parsed into an integer"
    assert done.stderr.splitlines() == [
        "",
        "*** FATAL CONFIG FILE ERROR ***",
        "Reading the configuration file, at line 3",
        ">>> 'repl-timeout  soon'",
        reason,
        f"replicator: {file}, line 3: repl-timeout: {reason}",
    ]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["/nowhere/redis.conf"], "can't open config file '/nowhere/redis.conf': No such file or directory"),
        (["--include", "/nowhere/other.conf"], "can't open config file '/nowhere/other.conf'"),
        (["--logfile", "/nowhere/a.log"], "Can't open the log file: No such file or directory"),
        (["--cluster-enabled", "yes", "--replicaof", "a", "1"], "replicaof directive not allowed in cluster mode"),
        (["--rename-command", "NOTHING", "x"], "No such command in rename-command"),
        (["--bogus"], "Bad directive or wrong number of arguments"),
    ],
)
def test_a_configuration_that_cannot_be_used_ends_the_start(arguments: list[str], reason: str) -> None:
    done = run("server", *arguments)
    assert done.returncode == 1
    assert reason in done.stderr
    assert done.stdout == ""


def test_configuration_comes_from_standard_input_too() -> None:
    done = run("server", "-", "--bogus", "1", text="timeout 5\n")
    assert "at line 3\n>>> 'bogus \"1\"'" in done.stderr
    done = run("server", "--timeout", "5", "-", text="bogus 1\n")
    assert "at line 1\n>>> 'bogus 1'" in done.stderr


def test_a_primary_serves_what_its_options_say(tmp_path: Path) -> None:
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--no-save", "--dir", str(tmp_path)]
    with serving(port, "primary", *options, "--backlog-size", "2mb") as wire:
        assert wire.call("PING") == b"PONG"
        assert wire.call("CONFIG", "GET", "repl-backlog-size") == [b"repl-backlog-size", str(2 << 20).encode()]
        assert wire.call("CONFIG", "GET", "save") == [b"save", b""]
        assert wire.call("CONFIG", "GET", "dir") == [b"dir", str(tmp_path).encode()]


def test_a_node_rewrites_its_file_and_resets_its_statistics(tmp_path: Path) -> None:
    port = free_port()
    file = tmp_path / "redis.conf"
    file.write_text(f"# kept\nport {port}\nbind 127.0.0.1\nsave 900 1\ndir {tmp_path}\nslave-priority 5\n")
    with serving(port, "server", str(file), "--timeout", "77") as wire:
        assert wire.call("CONFIG", "SET", "replica-priority", "6", "save", "", "maxmemory", "1gb") == b"OK"
        assert wire.call("CONFIG", "REWRITE") == b"OK"
        wire.call("NOSUCH")
        wire.call("GET", "nothing")
        assert b"keyspace_misses:1" in wire.call("INFO", "stats")
        assert wire.call("CONFIG", "RESETSTAT") == b"OK"
        stats = wire.call("INFO", "everything")
        assert b"keyspace_misses:0" in stats
        assert b"total_connections_received:0" in stats
        assert b"errorstat" not in stats
        assert b"cmdstat_get" not in stats
    kept, changed, generated = file.read_text().partition("# Generated by CONFIG REWRITE\n")
    assert changed
    assert kept.startswith(f'# kept\nport {port}\nbind 127.0.0.1\nsave ""\ndir "{tmp_path}"\nreplica-priority 6\n')
    assert {"timeout 77", "maxmemory 1gb"} <= set(generated.splitlines())


def test_a_replica_follows_and_status_sees_both(tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    common = ["--bind", "127.0.0.1", "--no-save", "--dir", str(tmp_path), "--repl-diskless-sync-delay", "0"]
    with (
        serving(ports[0], "primary", "--port", str(ports[0]), *common) as primary,
        serving(ports[1], "replica", f"127.0.0.1:{ports[0]}", "--port", str(ports[1]), *common) as replica,
    ):
        deadline = time.monotonic() + 20
        assert primary.call("SET", "key", "value") == b"OK"
        while replica.call("GET", "key") != b"value":
            assert time.monotonic() < deadline, replica.call("INFO", "replication")
            time.sleep(0.02)
        done = run("status", f"127.0.0.1:{ports[1]}")
        assert done.returncode == 0
        assert f"127.0.0.1:{ports[0]} " in done.stdout
        assert f"└─ 127.0.0.1:{ports[1]} * " in done.stdout


@pytest.mark.skipif(binary("redis7") is None, reason="Redis 7.0 is not installed")
def test_the_configuration_file_that_stock_ships_is_accepted() -> None:
    shipped = Path("/etc/redis/redis.conf")
    if not shipped.exists():
        pytest.skip("the package came without its configuration file")
    done = run("server", "-", "--bogus", "1", text=shipped.read_text().replace("/var/", "/tmp/"))
    assert ">>> 'bogus \"1\"'" in done.stderr or "No such file or directory" in done.stderr
