"""The cluster bus over TLS, among ours and with stock."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tests.support.clusters import Member, port_pair
from tests.support.servers import until
from tests.support.stock import binary
from tests.support.tls import Papers, TwoPorts


@pytest.mark.parametrize("engines", [("ours", "ours"), ("ours", "redis7"), ("redis7", "ours")])
def test_nodes_meet_over_an_encrypted_bus_and_one_that_speaks_plainly_stays_outside(
    engines: tuple[str, str], tmp_path: Path, papers: Papers
) -> None:
    if "redis7" in engines and binary("redis7") is None:
        pytest.skip("Debian's redis-server is not installed")
    ports = [port_pair() for _ in range(3)]
    members = []
    for number, (engine, port) in enumerate(zip((*engines, "ours"), ports, strict=True)):
        cluster = "yes" if number < 2 else "no"
        own = (*papers.directives(), "--tls-port", str(port), "--tls-cluster", cluster)
        members.append(Member(engine, tmp_path / str(number), *own))
    with contextlib.ExitStack() as stack:
        for member in members:
            stack.callback(member.kill)
            member.start()
        first, second, outside = members
        assert first.call("CLUSTER", "MEET", "127.0.0.1", ports[1]) == b"OK"
        for one, other in ((first, second), (second, first)):
            until(lambda one=one, other=other: other.my_id() in one.nodes(), "they know each other")
            until(lambda one=one, other=other: one.nodes()[other.my_id()][7] == "connected", "they are linked")
        assert outside.call("CLUSTER", "MEET", "127.0.0.1", ports[1], ports[1] + 10000) == b"OK"
        if second.engine == "ours":  # stock says so at a level that is not logged
            until(lambda: "Error accepting a client connection" in second.log(), "it is cut")
        assert set(first.nodes()) == {first.my_id(), second.my_id()}


@pytest.mark.parametrize("target", ["ours", "redis7"])
def test_migrate_goes_over_tls_where_the_bus_does(target: str, tmp_path: Path, papers: Papers) -> None:
    if target != "ours" and binary(target) is None:
        pytest.skip("Debian's redis-server is not installed")
    here = TwoPorts("ours", tmp_path / "here", papers, "--tls-cluster", "yes")
    there = TwoPorts(target, tmp_path / "there", papers)
    with contextlib.ExitStack() as stack:
        for server in (here, there):
            stack.callback(server.kill)
            server.start()
        here.call("SET", "a", "1")
        assert here.call("MIGRATE", "127.0.0.1", there.tls_port, "a", 0, 5000) == b"OK"
        assert there.call("GET", "a") == b"1" and here.call("GET", "a") is None
