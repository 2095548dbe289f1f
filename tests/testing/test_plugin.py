"""The pytest plugin, in sessions of pytest of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from tests.support.servers import until
from tests.support.stock import binary

ROOT = Path(__file__).parents[2]
ENGINE = "redis" if binary("redis7") else "replicator"
PYTEST = [sys.executable, "-m", "pytest", "-p", "replicator.testing.plugin", "-p", "no:cacheprovider", "-q"]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}


def session(folder: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A session of pytest with this one file."""
    (folder / "test_it.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [*PYTEST, f"--topology-engine={ENGINE}", *options, "test_it.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, env=environment())


def test_the_plugin_is_announced_to_pytest() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (module,) = project["entry-points"]["pytest11"].values()
    assert hasattr(import_module(module), "pytest_addoption")


FAILOVER = """
import pytest

@pytest.mark.topology(replicas=1)
def test_a_crash(topology):
    client = topology.record(topology.client())
    client.set("order:1", "paid")
    topology.wait_synced()
    topology.primary.kill()
    failover = topology.wait_for_failover()
    assert (failover.before, failover.promoted) == ("a", "b")
    assert not topology.lost_writes()

def test_two_at_once(topology_of):
    one, other = topology_of(replicas=0), topology_of(replicas=0)
    one.client().set("a", 1)
    assert other.client().get("a") is None and one.address != other.address

def test_of_the_session(session_topology):
    session_topology.client().set("kept", 1)

def test_of_the_session_again(session_topology):
    assert session_topology.client().get("kept") == b"1"
"""


def test_fixtures_and_marker_start_what_they_say_and_end_it(tmp_path: Path) -> None:
    done = session(tmp_path, FAILOVER, "--strict-markers")
    assert "4 passed" in done.stdout, done.stdout + done.stderr


LOSS = """
def test_a_loss(topology):
    client = topology.record(topology.client())
    topology.wait_synced()
    topology.cut("a", "others")
    client.set("doomed", "1")
    topology.primary.kill()
    topology.wait_for_failover()
    assert not topology.lost_writes()
"""


def test_a_failing_test_is_told_what_happened(tmp_path: Path) -> None:
    done = session(tmp_path, LOSS, "--topology-report=pages")
    assert done.returncode == 1
    assert "doomed = 1: acknowledged by a" in done.stdout and "would have prevented it: WAIT 1" in done.stdout
    for told in ("topology 1: what happened", "a is killed (SIGKILL)", "is promoted at offset", "topology 1: log of b"):
        assert told in done.stdout
    (page,) = (tmp_path / "pages").iterdir()
    assert "doomed" in page.read_text() and str(page) in done.stdout


HANGING = """
import time

def test_it(topology):
    print("PIDS", *(node.pid for node in topology.nodes.values()), flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["SIGKILL", "SIGINT"])
def test_the_nodes_end_with_pytest_however_that_ends(tmp_path: Path, number: int) -> None:
    (tmp_path / "test_it.py").write_text(HANGING)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [*PYTEST, "-s", f"--topology-engine={ENGINE}", "test_it.py"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    ) as process:
        try:
            assert process.stdout is not None
            line = next(line for line in process.stdout if "PIDS" in line)
            pids = [int(word) for word in line.partition("PIDS")[2].split()]
            assert len(pids) == 3 and all(_runs(pid) for pid in pids)
            process.send_signal(number)
            process.stdout.read()
        finally:
            process.kill()
    until(lambda: not any(_runs(pid) for pid in pids), "all nodes have ended", 10)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_loading_the_plugin_loads_nothing_of_what_it_would_need() -> None:
    code = (
        "import sys, replicator.testing.plugin\n"
        "print(sorted(name for name in sys.modules if name.startswith('replicator') or name == 'trio'))"
    )
    begun_s = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout.strip() == "['replicator', 'replicator.testing', 'replicator.testing.plugin']"
    assert time.monotonic() - begun_s < 20
