"""A server process: start, signals, end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.runtime.conftest import Spawn
from tests.support.spawn import Lines, alive, until
from tests.support.stock import binary, free_port


def messages(log: str) -> list[str]:
    """The log's lines without process, date and level."""
    return [re.sub(r"^\d+:\w .*? [.\-*#] ", "", line) for line in log.splitlines()]


def test_it_serves_logs_in_the_format_and_ends_on_sigterm_with_zero(spawn: Spawn) -> None:
    server = spawn().ready()
    assert server.connect().call("PING") == "PONG"
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    pid = server.process.pid
    lines = server.log().splitlines()
    pattern = rf"{pid}:M \d\d [A-Z][a-z]{{2}} \d{{4}} \d\d:\d\d:\d\d\.\d{{3}} [#*] .+"
    assert re.fullmatch(pattern, lines[0]) and lines[0].endswith(f"PID: {pid}")
    assert re.fullmatch(pattern, lines[1])
    assert re.fullmatch(rf"{pid}:signal-handler \(\d+\) Received SIGTERM scheduling shutdown\.\.\.", lines[2])
    assert messages(server.log())[3] == "User requested shutdown..."


def test_it_ends_on_a_signal_under_full_load(spawn: Spawn) -> None:
    server = spawn().ready()
    socks = [server.connect().sock for _ in range(10)]
    for sock in socks:
        sock.setblocking(False)
    server.signal(signal.SIGINT)
    deadline_s = time.monotonic() + 10
    while server.process.poll() is None:
        assert time.monotonic() < deadline_s
        for sock in socks:
            try:
                sock.send(b"PING\n" * 500)
                sock.recv(1 << 20)
            except (BlockingIOError, ConnectionError):
                pass  # full, or gone as it should
    assert server.wait() == 0


def test_a_second_interrupt_ends_it_at_once_with_one(spawn: Spawn) -> None:
    server = spawn().ready()
    assert server.connect().call("DEAF") == "ok"
    server.signal(signal.SIGINT)
    until(lambda: "Received SIGINT" in server.log())
    assert alive(server.process.pid)
    server.signal(signal.SIGINT)
    assert server.wait() == 1
    assert "You insist... exiting now." in server.log()


def test_hangup_and_broken_pipe_do_nothing(spawn: Spawn) -> None:
    server = spawn().ready()
    server.signal(signal.SIGHUP)
    server.signal(signal.SIGPIPE)
    assert server.connect().call("PING") == "PONG"


def test_an_exit_has_its_code_and_a_crash_too(spawn: Spawn) -> None:
    for command, code in (("EXIT 3", 3), ("CRASH 11", 11)):
        server = spawn().ready()
        lines = server.connect()
        lines.send(command)
        assert server.wait() == code


def test_a_bug_of_the_machine_is_reported_and_ends_the_process_with_one(spawn: Spawn) -> None:
    server = spawn().ready()
    server.connect().send("RAISE")
    assert server.wait() == 1
    assert "BUG REPORT START" in server.log() and "ValueError: a bug of the machine" in server.log()


def test_a_bound_port_is_told_as_stock_tells_it(spawn: Spawn) -> None:
    redis = binary("redis7")
    if redis is None:
        pytest.skip("redis-server is not installed")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for address in ("127.0.0.1", "203.0.113.7"):
            server = spawn(port=port, addresses=[address])
            assert server.wait() == 1
            stock = subprocess.run(
                [redis, "--port", str(port), "--bind", address], capture_output=True, text=True, check=False
            )
            assert stock.returncode == 1
            assert messages(server.log())[-2:] == messages(stock.stdout)[-2:]
            assert "Ready" not in server.log()


def test_an_unusable_unix_socket_is_told_as_stock_tells_it(spawn: Spawn) -> None:
    server = spawn(port=0, unix_path="/nonexistent/socket")
    assert server.wait() == 1
    assert messages(server.log())[-1] == "Failed opening Unix socket: bind: No such file or directory"


def test_a_unix_socket_has_its_permissions_and_is_removed(spawn: Spawn, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    server = spawn(port=0, unix_path=str(path), unix_permissions=0o700).ready()
    lines = Lines(str(path))
    assert lines.call("PING") == "PONG"
    lines.close()
    assert path.stat().st_mode & 0o777 == 0o700
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert not path.exists()


def test_an_optional_address_may_be_missing_and_all_others_are_served(spawn: Spawn) -> None:
    server = spawn(addresses=["127.0.0.1", "127.0.0.2", "-203.0.113.7", "-::1"]).ready()
    for host in ("127.0.0.1", "127.0.0.2"):
        lines = Lines((host, server.port))
        assert lines.call("PING") == "PONG"
        lines.close()


def test_the_pid_file_stands_while_it_runs(spawn: Spawn, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    server = spawn(pid_path=str(path)).ready()
    assert path.read_text() == f"{server.process.pid}\n"
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert not path.exists()
    assert messages(server.log())[-1] == "Removing the pid file."


def test_a_daemon_leaves_its_starter_and_its_terminal(spawn: Spawn, tmp_path: Path) -> None:
    pid_path, log_path = tmp_path / "pid", tmp_path / "log"
    server = spawn(daemonize=True, pid_path=str(pid_path), log_path=str(log_path))
    assert server.wait() == 0
    until(lambda: log_path.exists() and "Ready" in log_path.read_text())
    pid = int(pid_path.read_text())
    try:
        assert pid != server.process.pid
        assert os.getsid(pid) not in (os.getsid(0), pid), "a session of its own, and not its leader"
        assert os.readlink(f"/proc/{pid}/fd/1") == os.devnull
        assert server.connect().call("PING") == "PONG"
    finally:
        os.kill(pid, signal.SIGTERM)
        until(lambda: not alive(pid))
    assert not pid_path.exists()


def test_an_unusable_log_file_is_told_on_the_error_output(spawn: Spawn) -> None:
    server = spawn(log_path="/nonexistent/log")
    assert server.wait() == 1
    assert server.log() == "Can't open the log file: No such file or directory\n"


def test_a_renamed_log_file_is_left_and_a_new_one_begun(spawn: Spawn, tmp_path: Path) -> None:
    path = tmp_path / "log"
    server = spawn(log_path=str(path))
    until(lambda: path.exists() and "Ready" in path.read_text())
    path.rename(tmp_path / "log.1")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert "Ready" in (tmp_path / "log.1").read_text()
    assert "User requested shutdown" in path.read_text()


def test_the_port_can_be_changed_and_stays_when_the_new_one_is_taken(spawn: Spawn) -> None:
    server = spawn().ready()
    lines = server.connect()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = lines.call(f"LISTEN {taken.getsockname()[1]}")
        assert answer == "Unable to listen on this port. Check server logs."
    assert "Possibly related to new port setting. Restoring previous settings." in server.log()
    assert server.connect().call("PING") == "PONG"
    old, new = server.port, free_port()
    assert lines.call(f"LISTEN {new}") == "None"
    server.port = new
    assert server.connect().call("PING") == "PONG"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", old))
    assert lines.call("PING") == "PONG", "connections through the old port stay"


def test_the_addresses_can_be_changed_and_come_back_when_one_cannot_be_had(spawn: Spawn) -> None:
    server = spawn().ready()
    lines = server.connect()
    assert lines.call("BIND 127.0.0.1,203.0.113.7") == "Failed to bind to specified addresses."
    server.connect().close()
    assert lines.call("BIND 127.0.0.2") == "None"
    other = Lines(("127.0.0.2", server.port))
    assert other.call("PING") == "PONG"
    other.close()
    with pytest.raises(ConnectionRefusedError):
        server.connect()


def test_the_working_directory_can_be_changed(spawn: Spawn, tmp_path: Path) -> None:
    server = spawn().ready()
    lines = server.connect()
    assert lines.call("DIR /nonexistent") == "No such file or directory"
    assert lines.call(f"DIR {tmp_path}") == "None"
    assert lines.call("SNAP 0").startswith("started")
    assert lines.read() == "done 0 0"
    assert (tmp_path / "dump.rdb").exists()


def test_after_a_stop_there_is_no_storm_of_alarms(spawn: Spawn) -> None:
    server = spawn().ready()
    lines = server.connect()
    assert lines.call("TICK 5") == "ok"
    until(lambda: int(lines.call("TICKS")) >= 3)
    server.signal(signal.SIGSTOP)
    until(lambda: Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(") ", 1)[1][0] == "T")
    before_s = time.monotonic()
    lines.send("TICKS")
    time.sleep(0.4)  # the stopped time itself is what is tested
    server.signal(signal.SIGCONT)
    at_stop = int(lines.read())
    after = int(lines.call("TICKS"))
    gone_ms = (time.monotonic() - before_s) * 1000
    assert gone_ms >= 400
    assert after - at_stop <= (gone_ms - 400) / 5 + 2, "one alarm for all that fell due"


def test_an_idle_server_uses_less_than_one_percent(spawn: Spawn) -> None:
    server = spawn().ready()
    lines = server.connect()
    assert lines.call("TICK 100") == "ok"

    def busy_ns() -> int:
        return int(Path(f"/proc/{server.process.pid}/schedstat").read_text().split()[0])

    before_ns, begin_s = busy_ns(), time.monotonic()
    time.sleep(1)  # the idle time itself is what is measured
    used = (busy_ns() - before_ns) / 1e9 / (time.monotonic() - begin_s)
    assert used < 0.01, f"{used:.2%}"


def test_the_watchdog_shows_where_it_hangs_and_nothing_when_it_does_not(spawn: Spawn) -> None:
    server = spawn(watchdog_ms=200).ready()
    lines = server.connect()
    assert lines.call("TICK 50") == "ok"
    until(lambda: int(lines.call("TICKS")) >= 8)
    assert "WATCHDOG" not in server.log()
    assert lines.call("SPIN 300") == "ok"
    assert server.log().count("--- WATCHDOG TIMER EXPIRED ---") == 1
    assert "toyserver.py" in server.log() and "in command" in server.log()
    assert lines.call("SLEEP 300") == "ok"
    assert server.log().count("--- WATCHDOG TIMER EXPIRED ---") == 2
    assert lines.call("WATCH 0") == "ok"
    assert lines.call("SPIN 300") == "ok"
    assert server.log().count("--- WATCHDOG TIMER EXPIRED ---") == 2
