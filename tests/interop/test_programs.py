"""Software of others, unchanged: job queues and a cache; each puts in, retries, schedules and finishes 200 jobs.

`make interop` installs it (requirements-interop.txt, tests/interop/programs/package.json); without that these tests are
left out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import Server, servers, until

FOLDER = Path(__file__).parent / "programs"
PYTHON = Path(__file__).parents[2] / "build" / "interop" / "bin" / "python"
NODE = shutil.which("node")
LONG = bool(os.environ.get("REPLICATOR_LONG"))
COUNT = 200
BOUND = 120.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers(tmp_path_factory.mktemp("programs"), "ours", directives=("--maxmemory", "1gb")) as (one,):
        yield one
        assert "Traceback" not in one.log()


def environment(server: Server) -> dict[str, str]:
    url = f"redis://127.0.0.1:{server.port}/0"
    return {**os.environ, "INTEROP_PORT": str(server.port), "RQ_REDIS_URL": url, "PYTHONPATH": str(FOLDER)}


def finished(server: Server) -> None:
    """Every job is done, those that fail once at the second try, no other more than once."""
    assert server.call("SCARD", "interop:done") == COUNT
    flat = server.call("HGETALL", "interop:tries")
    tries = {int(number): int(count) for number, count in zip(flat[::2], flat[1::2], strict=True)}
    assert tries == {number: 2 if number % 10 == 0 else 1 for number in range(COUNT)}


@pytest.mark.skipif(not LONG or not PYTHON.exists(), reason="make interop installs the programs and runs them")
@pytest.mark.parametrize("program", ["rq", "celery", "dramatiq", "huey", "arq", "django"])
def test_a_program_finishes_its_jobs(server: Server, tmp_path: Path, program: str) -> None:
    server.call("FLUSHALL")
    known = environment(server)
    put = subprocess.run(
        [PYTHON, FOLDER / "enqueue.py", f"with_{program}"], env=known, cwd=tmp_path, capture_output=True, timeout=BOUND
    )
    assert put.returncode == 0, put.stderr.decode()
    arguments = json.loads(put.stdout.decode().splitlines()[-1])
    if not arguments:
        return finished(server)
    with open(tmp_path / "log", "wb") as log:
        worker = subprocess.Popen([PYTHON, *arguments], env=known, cwd=tmp_path, stdout=log, stderr=log)
    try:
        until(
            lambda: server.call("SCARD", "interop:done") == COUNT or worker.poll() is not None,
            f"{program} has done its jobs: {(tmp_path / 'log').read_text(errors='replace')[-3000:]}",
            BOUND,
        )
        assert worker.poll() is None, (tmp_path / "log").read_text(errors="replace")[-3000:]
        finished(server)
    finally:
        worker.terminate()
        try:
            worker.wait(20)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
    return None


@pytest.mark.skipif(
    NODE is None or not (FOLDER / "node_modules").exists(),
    reason="the programs are not installed: make interop does it",
)
@pytest.mark.parametrize("program", ["bullmq", "ioredis"])
def test_a_program_of_node_finishes_its_jobs(server: Server, program: str) -> None:
    assert NODE is not None
    server.call("FLUSHALL")
    done = subprocess.run(
        [NODE, FOLDER / f"with_{program}.mjs"], env=environment(server), cwd=FOLDER, capture_output=True, timeout=BOUND
    )
    assert done.returncode == 0, done.stderr.decode()
    finished(server)


@pytest.mark.parametrize("library", ["redis", "valkey"])
def test_a_queue_in_a_stream_finishes_its_jobs(server: Server, library: str) -> None:
    module = __import__(library)
    client = (module.Redis if library == "redis" else module.Valkey)(port=server.port, decode_responses=True)
    client.flushall()
    client.xgroup_create("jobs", "workers", id="0", mkstream=True)
    for number in range(COUNT):
        if number % 10 == 1:
            client.zadd("later", {str(number): time.time() + 1})
        else:
            client.xadd("jobs", {"number": number})
    deadline = time.monotonic() + BOUND
    while client.scard("interop:done") < COUNT:
        assert time.monotonic() < deadline
        for due in client.zrangebyscore("later", "-inf", time.time()):
            with client.pipeline() as both:
                both.zrem("later", due).xadd("jobs", {"number": due}).execute()
        entries = client.xreadgroup("workers", "one", {"jobs": ">"}, count=10, block=50)
        got = [entry for _, some in (entries.items() if isinstance(entries, dict) else entries) for entry in some]
        got += [entry for entry in client.xautoclaim("jobs", "workers", "two", min_idle_time=200)[1] if entry[1]]
        for id, fields in got:
            if client.hincrby("interop:tries", fields["number"], 1) == 1 and int(fields["number"]) % 10 == 0:
                continue  # fails: somebody else claims it
            client.sadd("interop:done", fields["number"])
            client.xack("jobs", "workers", id)
    assert client.xpending("jobs", "workers")["pending"] == 0
    client.close()
    finished(server)


def test_a_queue_of_coredis_finishes_its_jobs(server: Server, tmp_path: Path) -> None:
    server.call("FLUSHALL")
    done = subprocess.run(
        [sys.executable, FOLDER / "with_coredis.py"],
        env=environment(server),
        cwd=tmp_path,
        capture_output=True,
        timeout=BOUND,
    )
    assert done.returncode == 0, done.stderr.decode()
    finished(server)
