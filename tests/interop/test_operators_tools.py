"""What operators put beside a server, where Debian has it: HAProxy that finds the primary, the exporter of metrics."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.servers import Server, servers, until
from tests.support.stock import Wire, binary, free_port

HAPROXY, EXPORTER = shutil.which("haproxy"), shutil.which("prometheus-redis-exporter")
ROLE_CHECK = r"""
defaults
    mode tcp
    timeout connect 2s
    timeout client 20s
    timeout server 20s
listen primary
    bind 127.0.0.1:{port}
    option tcp-check
    tcp-check send PING\r\n
    tcp-check expect string +PONG
    tcp-check send info\ replication\r\n
    tcp-check expect string role:master
    tcp-check send QUIT\r\n
    tcp-check expect string +OK
"""


@contextmanager
def running(*command: str, log: Path) -> Iterator[None]:
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed on this machine")
@pytest.mark.parametrize("engine", ["ours", "redis7"])
def test_haproxy_leads_clients_to_the_primary_and_to_the_next_one(tmp_path: Path, engine: str) -> None:
    assert HAPROXY is not None
    if engine != "ours" and binary(engine) is None:
        pytest.skip(f"{engine}'s server is not installed on this machine")
    with servers(tmp_path, engine, engine) as (a, b):
        b.follow(a)
        b.wait_linked()
        port = free_port()
        config = ROLE_CHECK.format(port=port)
        config += "".join(f"    server n{one.port} 127.0.0.1:{one.port} check inter 100ms\n" for one in (a, b))
        (tmp_path / "haproxy.cfg").write_text(config)

        def leads_to() -> int:
            with contextlib.suppress(OSError, EOFError):
                wire = Wire(port, timeout=2)
                try:
                    return int(wire.call("CONFIG", "GET", "port")[1])
                finally:
                    wire.close()
            return 0

        with running(HAPROXY, "-db", "-f", str(tmp_path / "haproxy.cfg"), log=tmp_path / "log"):
            until(lambda: leads_to() == a.port, f"it leads to the primary: {(tmp_path / 'log').read_text()}")
            b.call("REPLICAOF", "NO", "ONE")
            a.follow(b)
            until(lambda: leads_to() == b.port, "it leads to the new primary")


def exported(server: Server, folder: Path) -> set[str]:
    """The names of the metrics that the exporter makes of a server."""
    assert EXPORTER is not None
    port = free_port()
    address = ("-redis.addr", f"redis://127.0.0.1:{server.port}", "-web.listen-address", f"127.0.0.1:{port}")

    def metrics() -> str:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page,
        ):
            text: str = page.read().decode()
            return text
        return ""

    with running(EXPORTER, *address, log=folder / "exporter.log"):
        text: str = until(metrics, "the exporter answers")
    assert "redis_up 1" in text
    return {re.split(r"[ {]", line)[0] for line in text.splitlines() if line and not line.startswith("#")}


@pytest.mark.skipif(EXPORTER is None, reason="prometheus-redis-exporter is not installed on this machine")
@pytest.mark.skipif(binary("redis7") is None, reason="redis7's server is not installed on this machine")
def test_an_exporter_makes_the_metrics_of_us_that_it_makes_of_stock(tmp_path: Path) -> None:
    with servers(tmp_path, "ours", "ours", "redis7", "redis7") as (a, b, c, d):
        for primary, replica in ((a, b), (c, d)):
            replica.follow(primary)
            replica.wait_linked()
            primary.call("SET", "k", "v", "EX", 1000)
            primary.call("XADD", "s", "*", "f", "v")
            primary.call("LPUSH", "l", "wrong for INCR")
            primary.call("INCR", "l")
            primary.call("WAIT", 1, 5000)
        for ours, stock in ((a, c), (b, d)):
            mine, theirs = exported(ours, tmp_path), exported(stock, tmp_path)
            assert mine == theirs, (mine - theirs, theirs - mine)
            assert len(mine) > 100
