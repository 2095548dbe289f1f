"""Scenarios whose nodes and clients speak TLS alone."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from replicator.scenario.cli import scenario
from replicator.scenario.play.stage import StageError
from replicator.scenario.stages import engines
from replicator.scenario.stages.certificates import Authority, Certificate
from tests.support.stock import binary

CRASH = """
title = "an encrypted crash"
duration = "1500ms"
[topology]
replicas = 1
tls = true
[workload]
clients = 2
[[steps]]
at = "500ms"
kill = "a"
[[steps]]
when = { down = "a" }
promote = "best"
[[steps]]
wait = { writable = true }
[[expect]]
failovers = 1
[[expect]]
phantom = 0
"""


def played(tmp_path: Path, *options: str) -> dict[str, Any]:
    file = tmp_path / "crash.toml"
    file.write_text(CRASH)
    kept = tmp_path / "kept"
    result = CliRunner().invoke(scenario, ["run", str(file), "--json", "-", "--quiet", "--keep", str(kept), *options])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize("on", ["live", "stock"])
def test_a_failover_is_played_over_tls_alone(tmp_path: Path, on: str) -> None:
    if on == "stock" and binary("redis7") is None:
        pytest.skip("Debian's redis-server is not installed")
    found = played(tmp_path, "--on", on)
    assert found["ok"] and found["writes"]["acknowledged"] > 20
    (folder,) = (tmp_path / "kept").iterdir()
    assert sorted(path.name for path in (folder / "tls").iterdir()) == [
        "ca.crt", "client.crt", "client.key", "node.crt", "node.key",
    ]  # fmt: skip
    assert (folder / "tls" / "node.key").stat().st_mode & 0o77 == 0
    assert "Error accepting a client connection" not in (folder / "b" / "log").read_text()


def test_sentinels_and_the_clients_that_ask_them_speak_tls_too(tmp_path: Path) -> None:
    file = tmp_path / "sentinels.toml"
    text = CRASH.replace("tls = true", 'tls = true\nsentinels = 3\ndown_after = "1s"').replace(
        'promote = "best"', 'note = ""'
    )
    file.write_text(text.replace("failovers = 1", 'failovers = ">= 1"'))
    result = CliRunner().invoke(
        scenario, ["run", str(file), "--json", "-", "--quiet", "--keep", str(tmp_path / "kept")]
    )
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "kept").iterdir()
    conf = (folder / "s1" / "data" / "sentinel.conf").read_text()
    assert "port 0" in conf and "tls-replication yes" in conf and "known-sentinel" in conf


def test_a_simulated_run_of_the_same_file_speaks_plainly(tmp_path: Path) -> None:
    assert played(tmp_path, "--on", "sim")["ok"]


def test_an_engine_without_tls_is_named(tmp_path: Path) -> None:
    path = binary("valkey9") or binary("redis6")
    if path is None:
        pytest.skip("there is no server without TLS here")
    with pytest.raises(StageError, match=r"was built without TLS; topology\.tls needs a server with it"):
        engines.check_tls(engines.stock(path))


def _greet(authority: Authority, served: Certificate, name: str, folder: Path) -> str:
    """Shake hands in memory; "" or why that failed."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*served.save(folder, "served"))
    client = ssl.create_default_context(cadata=authority.cert)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    bios = [ssl.MemoryBIO() for _ in range(4)]
    ends = [
        server.wrap_bio(bios[0], bios[1], server_side=True),
        client.wrap_bio(bios[1], bios[0], server_hostname=name),
    ]
    done = 0
    while done < 2:
        for end in (ends[1], ends[0]):
            try:
                end.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                done = 0
            except ssl.SSLError as problem:
                return str(problem)
    return ""


def test_issued_certificates_are_good_for_their_hosts_their_time_and_their_authority(tmp_path: Path) -> None:
    authority, other = Authority(), Authority()
    good = authority.issue("node", ["127.0.0.1", "::1", "node.example"])
    for name in ("127.0.0.1", "::1", "node.example"):
        assert _greet(authority, good, name, tmp_path) == ""
    assert "mismatch" in _greet(authority, good, "elsewhere.example", tmp_path)
    assert "expired" in _greet(authority, authority.issue("node", days=(-2, -1)), "127.0.0.1", tmp_path)
    assert "not yet valid" in _greet(authority, authority.issue("node", days=(1, 2)), "127.0.0.1", tmp_path)
    assert "verify failed" in _greet(authority, other.issue("node"), "127.0.0.1", tmp_path)
    far = authority.issue("node", days=(-1, 365 * 40))  # beyond 2049 the time is written otherwise
    assert _greet(authority, far, "127.0.0.1", tmp_path) == ""
