"""`replicator cluster up` and `down`, and `replicator status` on what they started."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.clusters import port_pair
from tests.support.stock import Wire


def _replicator(*arguments: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "replicator", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_up_starts_a_cluster_status_shows_it_and_down_ends_exactly_that(tmp_path: Path) -> None:
    folder, port = tmp_path / "it", port_pair()
    told = _replicator(
        "cluster", "up", str(folder), "--primaries", "2", "--replicas", "1", "--port", str(port),
        "--node-timeout", "1000",
    )  # fmt: skip
    try:
        ports = [node["port"] for node in json.loads((folder / "cluster.json").read_text())["nodes"]]
        assert f"redis-cli -c -p {ports[0]}" in told
        assert f"replicator cluster down {folder}" in told
        assert "runs in" in _replicator("cluster", "up", str(folder), code=1)
        view = json.loads(_replicator("status", f"127.0.0.1:{ports[-1]}", "--json"))["cluster"]
        assert view["state"] == "ok"
        primaries = [member for member in view["members"] if member["role"] == "primary"]
        assert sorted(member["slot_count"] for member in primaries) == [8192, 8192]
        replicas = [member for member in view["members"] if member["role"] == "replica"]
        assert {member["primary_id"] for member in replicas} == {member["id"] for member in primaries}
        assert all(member["replication_link"] == "up" for member in replicas)
        shown = _replicator("status", f"127.0.0.1:{ports[0]}")
        assert "0-8191 (8192)" in shown
        assert "cluster ok: 16384 of 16384 slots assigned" in shown
    finally:
        assert "4 of 4 nodes" in _replicator("cluster", "down", str(folder))
    again = _replicator("cluster", "up", str(folder))
    try:
        assert all(str(one) in again for one in ports)
        wire = Wire(ports[0])
        assert b"cluster_state:ok" in wire.call("CLUSTER", "INFO")
        wire.close()
    finally:
        _replicator("cluster", "down", str(folder))
    assert "0 of 4 nodes" in _replicator("cluster", "down", str(folder))
