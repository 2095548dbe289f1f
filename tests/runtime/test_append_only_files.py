"""Append-only files: stock's and ours, read by each other; and what a start makes of a file that is not whole."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.runtime.test_append_only_crash import wait_ready
from tests.support.brood import Brood
from tests.support.servers import Server, servers, until
from tests.support.stock import Wire, binary, free_port

LIBRARY = "#!lua name=lib\nredis.register_function('f', function(keys) return redis.call('SET', keys[1], 'fn') end)"
SCRIPT = "redis.call('SET', KEYS[1], 'by a script'); redis.call('DEL', KEYS[2]); return 1"
ALL_TYPES: list[list[str]] = [
    ["SET", "string", "value"],
    ["SET", "volatile", "value", "EX", "100000"],
    ["SETEX", "volatile2", "100000", "1"],
    ["INCRBYFLOAT", "float", "1.25"],
    ["RPUSH", "list", *map(str, range(200))],
    ["LPOP", "list", "3"],
    ["SADD", "set", "a", "b", "1", "2"],
    ["SPOP", "set"],
    ["SADD", "ints", *map(str, range(100))],
    ["ZADD", "zset", "1", "a", "2.5", "b", "inf", "c", "-inf", "d"],
    ["ZINCRBY", "zset", "1.5", "a"],
    ["HSET", "hash", "f", "v", "g", "w"],
    ["HINCRBYFLOAT", "hash", "n", "1.5"],
    ["XADD", "stream", "1-1", "f", "v"],
    ["XADD", "stream", "*", "f", "v", "g", "w"],
    ["XADD", "stream", "MAXLEN", "2", "*", "x", "y"],
    ["XGROUP", "CREATE", "stream", "group", "0"],
    ["XREADGROUP", "GROUP", "group", "reader", "COUNT", "1", "STREAMS", "stream", ">"],
    ["XGROUP", "CREATECONSUMER", "stream", "group", "lonely"],
    ["XADD", "emptied", "5-5", "a", "b"],
    ["XTRIM", "emptied", "MAXLEN", "0"],
    ["PFADD", "hll", "a", "b", "c"],
    ["SETBIT", "bits", "100", "1"],
    ["GETEX", "float", "PX", "1000000"],
    ["EXPIRE", "list", "5000"],
    ["PERSIST", "list"],
    ["SELECT", "3"],
    ["SET", "elsewhere", "1"],
    ["COPY", "elsewhere", "copied", "DB", "5"],
    ["SELECT", "0"],
    ["MULTI"],
    ["SET", "x", "1"],
    ["INCR", "x"],
    ["EXEC"],
    ["EVAL", SCRIPT, "2", "script", "nothing"],
    ["SET", "binary", "\r\n*1\r\n$4\r\nPING\r\n#TS:1\r\n"],
    ["FLUSHDB"],
    ["SET", "after", "flush"],
]  # fmt: skip


def fill(server: Server, *, flush: bool) -> None:
    """Every kind of effect; with flush, all of database 0 goes again."""
    for command in ALL_TYPES:
        if flush or command[0] != "FLUSHDB":
            answer = server.call(*command)
            assert not isinstance(answer, Exception), (command, answer)
    if server.engine != "redis6":
        assert server.call("FUNCTION", "LOAD", LIBRARY) == b"lib"
        assert server.call("FCALL", "f", "1", "by-function") == b"OK"


def options(**given: str) -> list[str]:
    words = ["--appendonly", "yes"]
    for name, value in given.items():
        words += [f"--{name.replace('_', '-')}", value]
    return words


@pytest.mark.parametrize("preamble", ["yes", "no"])
@pytest.mark.parametrize("writer,reader", [pair for e in ("redis7", "valkey9") for pair in (("ours", e), (e, "ours"))])
def test_a_directory_starts_the_other_engine_with_the_same_data(
    writer: str, reader: str, preamble: str, tmp_path: Path
) -> None:
    for engine in (writer, reader):
        if engine != "ours" and binary(engine) is None:
            pytest.skip(f"no {engine} here")
    words = options(aof_use_rdb_preamble=preamble, aof_timestamp_enabled="yes")
    if writer == "ours" and reader == "redis7":
        words += ["--auto-aof-rewrite-percentage", "0"]
    first = Server(writer, tmp_path, *words).start()
    fill(first, flush=False)
    assert b"rewriting started" in first.call("BGREWRITEAOF")
    until(lambda: first.info("persistence")["aof_rewrite_in_progress"] == "0", "the rewrite ends")
    assert first.info("persistence")["aof_last_bgrewrite_status"] == "ok"
    fill_again = [command for command in ALL_TYPES if command[0] not in ("XGROUP", "XADD", "FLUSHDB", "XTRIM")]
    for command in fill_again:
        first.call(*command)
    digest = first.digest()
    functions = first.call("FUNCTION", "LIST")
    first.kill()
    if writer == "ours" and (checker := shutil.which("redis-check-aof")) is not None:
        manifest = tmp_path / "appendonlydir" / "appendonly.aof.manifest"
        checked = subprocess.run([checker, str(manifest)], capture_output=True, text=True, timeout=60)
        assert checked.returncode == 0, checked.stdout[-2000:] + checked.stderr
        assert "All AOF files and manifest are valid" in checked.stdout
    second = Server(reader, tmp_path, *words).start()
    assert second.digest() == digest, second.log()[-3000:]
    assert len(second.call("FUNCTION", "LIST")) == len(functions) == 1
    assert second.call("FCALL", "f", "1", "again") == b"OK"
    digest = second.digest()
    second.kill()
    third = Server(writer, tmp_path, *words).start()
    assert third.digest() == digest, third.log()[-3000:]
    third.kill()


@pytest.mark.skipif(binary("redis6") is None, reason="no Redis 6.2 here")
def test_the_single_file_of_6_2_is_taken_over(tmp_path: Path) -> None:
    old = Server("redis6", tmp_path, *options()).start()
    fill(old, flush=False)
    old.call("BGREWRITEAOF")
    until(lambda: old.info("persistence")["aof_rewrite_in_progress"] == "0", "the rewrite ends")
    old.call("SET", "later", "1")
    digest = old.digest()
    old.kill()
    assert (tmp_path / "appendonly.aof").exists()
    ours = Server("ours", tmp_path, *options()).start()
    assert ours.digest() == digest
    assert "Successfully migrated an old-style AOF file" in ours.log()
    ours.call("SET", "new", "1")
    digest = ours.digest()
    ours.kill()
    assert not (tmp_path / "appendonly.aof").exists()
    again = Server("ours", tmp_path, *options()).start()
    assert again.digest() == digest
    again.kill()


# -- files that are not whole ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def brood() -> Iterator[Brood]:
    made = Brood()
    yield made
    made.end()


@pytest.fixture(scope="module")
def written(brood: Brood, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a base of one key and an increment of three."""
    folder = tmp_path_factory.mktemp("written")
    port = free_port()
    pid = brood.start(folder / "log", *arguments(folder, port))
    wire = wait_ready(port, folder / "log")
    wire.call("SET", "a", "1")
    wire.call("BGREWRITEAOF")
    deadline = time.monotonic() + 20
    while b"aof_rewrites:1" not in wire.call("INFO", "persistence"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for key in ("b", "c", "d"):
        wire.call("SET", key, "2")
    wire.close()
    brood.kill(pid)
    return folder


def arguments(folder: Path, port: int) -> list[str]:
    return ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--appendonly", "yes"]


class Case:
    """A copy of the directory, to be damaged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = folder / "appendonlydir" / "appendonly.aof.2.base.rdb"
        self.increment = folder / "appendonlydir" / "appendonly.aof.2.incr.aof"
        self.manifest = folder / "appendonlydir" / "appendonly.aof.manifest"

    def more(self, data: bytes) -> None:
        with open(self.increment, "ab") as file:
            file.write(data)

    def cut(self, less: int) -> None:
        with open(self.increment, "ab") as file:
            file.truncate(self.increment.stat().st_size - less)

    def poke(self, at: int, data: bytes) -> None:
        with open(self.increment, "r+b") as file:
            file.seek(at)
            file.write(data)


SET_Z = b"*3\r\n$3\r\nSET\r\n$1\r\nz\r\n$1\r\n1\r\n"


def _third(case: Case) -> None:
    case.cut(5)
    (case.folder / "appendonlydir" / "appendonly.aof.3.incr.aof").write_bytes(SET_Z)
    with open(case.manifest, "a") as file:
        file.write("file appendonly.aof.3.incr.aof seq 3 type i\n")


def _line(text: str) -> Callable[[Case], None]:
    def append(case: Case) -> None:
        with open(case.manifest, "a") as file:
            file.write(text)

    return append


def _swallow(case: Case) -> None:
    data = case.increment.read_bytes()
    case.increment.write_bytes(data.replace(b"$1\r\nb", b"$9\r\nb", 1))


BELIEVED: dict[str, tuple[Callable[[Case], object], int, str]] = {
    "whole": (lambda case: None, 4, "DB loaded from append only file"),
    "cut": (lambda case: case.cut(5), 3, "Truncating the AOF appendonly.aof.2.incr.aof at offset 77"),
    "zeros": (lambda case: case.more(bytes(5000)), 4, "Truncating the AOF appendonly.aof.2.incr.aof at offset 104"),
    "open": (
        lambda case: case.more(b"*1\r\n$5\r\nMULTI\r\n" + SET_Z),
        4,
        "Revert incomplete MULTI/EXEC transaction in AOF file appendonly.aof.2.incr.aof",
    ),
    "history": (_line("file appendonly.aof.1.base.rdb seq 1 type h\n"), 4, "Removing the history file"),
    "complaint": (lambda case: case.more(b"*3\r\n$5\r\nLPUSH\r\n$1\r\na\r\n$1\r\n1\r\n"), 4, "== CRITICAL =="),
}
REFUSED: dict[str, tuple[Callable[[Case], object], str]] = {
    "middle": (lambda case: case.poke(50, b"X"), "appendonly.aof.2.incr.aof: b'X' where '*' should be, at offset 50"),
    "swallowed": (_swallow, "appendonly.aof.2.incr.aof: an argument without its line end, at offset"),
    "inline": (lambda case: case.more(b"SET z 1\r\n"), "where '*' should be, at offset 104"),
    "unknown": (lambda case: case.more(b"*1\r\n$5\r\nBLURB\r\n"), "Unknown command 'BLURB' reading the append"),
    "not the last": (_third, "Fatal error: the truncated file is not the last file"),
    "missing increment": (lambda case: case.increment.unlink(), "Unable to obtain the AOF file appendonly.aof.2.incr"),
    "missing base": (lambda case: case.base.unlink(), "Unable to obtain the AOF file appendonly.aof.2.base.rdb length"),
    "short base": (lambda case: case.base.write_bytes(case.base.read_bytes()[:-12]), "Error reading the RDB preamble"),
    "doubled": (_line("file appendonly.aof.2.incr.aof seq 2 type i\n"), "Found a non-monotonic sequence number"),
    "no manifest": (lambda case: case.manifest.write_bytes(b""), "Found an empty AOF manifest"),
    "directory is a file": (
        lambda case: (shutil.rmtree(case.manifest.parent), case.manifest.parent.write_bytes(b"")),
        "Can't open or create append-only dir appendonlydir: Not a directory",
    ),
}  # fmt: skip


def start(case: Case, brood: Brood, *more: str) -> tuple[int, int, Path]:
    port = free_port()
    log = case.folder / "log"
    return brood.start(log, *arguments(case.folder, port), *more), port, log


@pytest.mark.parametrize("name", BELIEVED)
def test_what_a_crash_leaves_is_believed_up_to_the_last_whole_command(
    name: str, written: Path, brood: Brood, tmp_path: Path
) -> None:
    damage, keys, line = BELIEVED[name]
    folder = tmp_path / "copy"
    shutil.copytree(written, folder)
    case = Case(folder)
    damage(case)
    for turn in range(2):  # the second start finds a whole file
        pid, port, log = start(case, brood)
        wire = wait_ready(port, log)
        assert wire.call("DBSIZE") == keys + turn
        wire.call("SET", "more", "1")
        wire.close()
        brood.kill(pid)
        assert line in log.read_text()
        log.write_text("" if turn == 0 and name not in ("whole", "complaint") else log.read_text())
        line = "DB loaded from append only file"


@pytest.mark.parametrize("name", REFUSED)
def test_damage_is_refused_with_its_place_and_changes_no_file(
    name: str, written: Path, brood: Brood, tmp_path: Path
) -> None:
    damage, line = REFUSED[name]
    folder = tmp_path / "copy"
    shutil.copytree(written, folder)
    case = Case(folder)
    damage(case)
    before = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "log"}
    pid, _, log = start(case, brood)
    assert brood.wait(pid) == 1
    assert line in log.read_text(), log.read_text()[-2000:]
    assert "Ready to accept connections" not in log.read_text().split("Server initialized")[-1]
    after = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "log"}
    assert after == before


def test_a_cut_file_is_refused_where_aof_load_truncated_is_off(written: Path, brood: Brood, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(written, folder)
    case = Case(folder)
    case.cut(5)
    pid, _, log = start(case, brood, "--aof-load-truncated", "no")
    assert brood.wait(pid) == 1
    assert "it is sound up to offset 77" in log.read_text()


def test_clients_are_told_that_the_file_is_loading_and_how_far(written: Path, brood: Brood, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(written, folder)
    case = Case(folder)
    case.more(SET_Z * 20_000)
    pid, port, log = start(case, brood, "--key-load-delay", "100", "--loading-process-events-interval-bytes", "1024")
    deadline = time.monotonic() + 20
    while True:
        try:
            wire = Wire(port)
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.005)
    assert "LOADING" in str(wire.call("GET", "a"))
    info: dict[str, str] = {"loading": "1", "loading_loaded_bytes": "0"}
    while info["loading"] == "1" and info["loading_loaded_bytes"] == "0":
        text = wire.call("INFO", "persistence").decode()
        info = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    assert info["loading"] == "1"
    assert int(info["loading_total_bytes"]) == case.base.stat().st_size + case.increment.stat().st_size
    assert 0 < int(info["loading_loaded_bytes"]) < int(info["loading_total_bytes"])
    assert wire.call("CONFIG", "SET", "key-load-delay", "0") == b"OK"
    wait_ready(port, log).close()
    assert wire.call("DBSIZE") == 5
    wire.close()
    brood.kill(pid)


@pytest.mark.skipif(binary("valkey9") is None, reason="no Valkey 9 here")
@pytest.mark.parametrize("primary,replica", [("ours", "valkey9"), ("valkey9", "ours")])
def test_waitaof_counts_what_is_durable_on_the_other_engine(primary: str, replica: str, tmp_path: Path) -> None:
    first = Server(primary, tmp_path / "primary", *options()).start()
    second = Server(replica, tmp_path / "replica", *options()).start()
    second.follow(first)
    second.wait_linked()
    until(lambda: first.call("WAITAOF", 1, 1, 100) == [1, 1], "the replica's file is in use")
    for number in range(3):
        first.call("SET", "key", number)
        assert first.call("WAITAOF", 1, 1, 20_000) == [1, 1]
    assert "between 0 and 1" in str(first.call("WAITAOF", 2, 0, 1))
    assert "must be positive" in str(first.call("WAITAOF", 1, -1, 1))
    assert "timeout is negative" in str(first.call("WAITAOF", 1, 1, -1))
    assert "cannot be used with replica instances" in str(second.call("WAITAOF", 1, 0, 1))
    assert first.call("WAITAOF", 0, 2, 50) == [1, 1]
    assert first.call("CONFIG", "SET", "appendonly", "no") == b"OK"
    assert "numlocal is set but appendonly is disabled" in str(first.call("WAITAOF", 1, 0, 1))
    second.kill()
    first.kill()


@pytest.mark.parametrize("engine", ["ours", "redis7"])
@pytest.mark.parametrize("policy", ["always", "everysec", "no"])
def test_debug_aof_flush_sleep_delays_what_writes_and_nothing_else(engine: str, policy: str, tmp_path: Path) -> None:
    if engine == "redis7" and binary("redis7") is None:
        pytest.skip("no Redis here")
    directives = tuple(options(appendfsync=policy, enable_debug_command="yes"))
    with servers(tmp_path, engine, directives=directives) as (server,):

        def seconds(*words: str) -> float:
            begun = time.monotonic()
            server.call(*words)
            return time.monotonic() - begun

        assert server.call("DEBUG", "AOF-FLUSH-SLEEP", "300000") == b"OK"
        server.call("GET", "k")
        # The reply to a write may leave before the file is written; then the next request waits.
        assert seconds("SET", "k", "v") + seconds("GET", "k") >= 0.3
        assert min(seconds("GET", "k") for _ in range(3)) < 0.3
        for off in ("x", "0"):  # stock takes the digits that there are
            assert server.call("DEBUG", "AOF-FLUSH-SLEEP", off) == b"OK"
        assert min(seconds("SET", "k", "v") for _ in range(3)) < 0.3
