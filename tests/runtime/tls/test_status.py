"""`replicator status` over TLS."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from replicator.cli import main
from tests.support.tls import Papers, TlsServer


@pytest.fixture(scope="module")
def pair(papers: Papers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TlsServer, TlsServer]]:
    folder = tmp_path_factory.mktemp("pair")
    servers = [TlsServer("ours", folder / name, papers, "--tls-replication", "yes") for name in ("primary", "replica")]
    try:
        primary, replica = (server.start() for server in servers)
        replica.follow(primary)
        replica.wait_linked()
        yield primary, replica
    finally:
        for server in servers:
            server.kill()


def test_the_topology_is_shown_over_tls_from_any_of_its_nodes(
    pair: tuple[TlsServer, TlsServer], papers: Papers
) -> None:
    primary, replica = pair
    own = ["--cacert", papers.ca, "--cert", papers.path("client.crt"), "--key", papers.path("client.key"), "--json"]
    for where in ([f"rediss://127.0.0.1:{replica.port}"], [f"127.0.0.1:{replica.port}", "--tls", "--sni", "localhost"]):
        result = CliRunner().invoke(main, ["status", *where, *own])
        assert result.exit_code == 0, result.output
        found = json.loads(result.output)
        assert found["primary"] == f"127.0.0.1:{primary.port}"
        assert [(node["role"], node["reachable"]) for node in found["nodes"]] == [("primary", True), ("replica", True)]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ([], "closed the connection"),
        (["--tls"], "certificate verify failed"),
        (["--tls", "--insecure"], "certificate required"),
        (["--tls", "--cacert", "{ca}", "--cert", "{cert}", "--key", "{key}", "--sni", "elsewhere"], "elsewhere"),
    ],
)
def test_a_node_that_cannot_be_asked_is_told_with_the_reason(
    pair: tuple[TlsServer, TlsServer], papers: Papers, options: list[str], why: str
) -> None:
    words = {"ca": papers.ca, "cert": papers.path("client.crt"), "key": papers.path("client.key")}
    options = [option.format(**words) for option in options]
    result = CliRunner().invoke(main, ["status", f"127.0.0.1:{pair[0].port}", "--json", *options])
    assert result.exit_code == 1
    assert why in json.loads(result.output)["nodes"][0]["error"]


def test_options_that_do_not_fit_are_refused(papers: Papers) -> None:
    result = CliRunner().invoke(main, ["status", "127.0.0.1:1", "--tls", "--cert", papers.path("client.crt")])
    assert result.exit_code == 2 and "--cert and --key go together" in result.output
