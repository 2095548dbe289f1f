"""Replication over TLS, between ours and stock in both directions; what an eavesdropper sees; papers that are wrong."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.capture import Capture
from tests.support.servers import Server, converge, until
from tests.support.stock import binary
from tests.support.tls import Papers, TlsServer, TwoPorts

SECRET = b"attack at dawn, by the eastern gate"
PAIRS = [("ours", "ours", "yes"), ("ours", "redis7", "no"), ("ours", "redis7", "yes"), ("redis7", "ours", "no")]


@contextlib.contextmanager
def ended(*servers: Server) -> Iterator[None]:
    try:
        yield
    finally:
        for server in servers:
            server.kill()


def eavesdropped(primary: Server, replica: Server) -> bytes:
    """Let the replica follow the primary through a full synchronization, the stream and a partial one; all that went
    over the wire."""
    with ended(primary, replica):
        primary.start()
        assert primary.call("SET", "before", SECRET * 5000) == b"OK"
        assert primary.call("DEBUG", "POPULATE", 20_000, "key", 150)
        replica.start()
        capture = Capture(primary.port)
        try:
            assert replica.call("REPLICAOF", "127.0.0.1", capture.port) == b"OK"
            converge(primary, replica)
            primary.call("SET", "after", SECRET)
            primary.call("CLIENT", "KILL", "TYPE", "replica")
            primary.call("APPEND", "after", SECRET)
            converge(primary, replica)
            until(lambda: primary.info("stats")["sync_partial_ok"] == "1", "it went on where it was")
            assert replica.call("GET", "after") == SECRET * 2
        finally:
            capture.close()
        return bytes(capture.heard)


@pytest.mark.parametrize(("primary", "replica", "diskless"), PAIRS)
def test_replication_over_tls_shows_no_plain_text(
    primary: str, replica: str, diskless: str, tmp_path: Path, papers: Papers
) -> None:
    if binary("redis7") is None:
        pytest.skip("Debian's redis-server is not installed")
    options = ("--tls-replication", "yes", "--repl-diskless-sync", diskless, "--rdbcompression", "no")
    heard = eavesdropped(
        TlsServer(primary, tmp_path / "primary", papers, *options),
        TlsServer(replica, tmp_path / "replica", papers, *options),
    )
    assert len(heard) > 2_000_000
    for telling in (SECRET[:12], b"REPLCONF", b"PSYNC", b"FULLRESYNC", b"REDIS0", b"key:1"):
        assert telling not in heard


def test_the_same_without_tls_shows_everything(tmp_path: Path) -> None:
    options = ("--rdbcompression", "no")
    heard = eavesdropped(Server("ours", tmp_path / "primary", *options), Server("ours", tmp_path / "replica", *options))
    for telling in (SECRET[:12], b"REPLCONF", b"PSYNC", b"FULLRESYNC", b"REDIS0", b"key:1"):
        assert telling in heard


@pytest.mark.parametrize(("side", "fault"), [("replica", "expired"), ("primary", "wrong")])
def test_a_wrong_or_expired_certificate_is_told_on_both_sides_and_tried_again_until_it_is_right(
    side: str, fault: str, tmp_path: Path, papers: Papers, other_papers: Papers
) -> None:
    cert, key = (str(tmp_path / name) for name in ("bad.crt", "bad.key"))
    if fault == "wrong":
        shutil.copy(other_papers.path("server.crt"), cert)
        shutil.copy(other_papers.path("server.key"), key)
    else:
        for path, target in zip(papers.issue("out-of-date", days=(-3, -1)), (cert, key), strict=True):
            shutil.copy(path, target)
    own = ("--tls-replication", "yes", "--tls-auth-clients", "yes")
    bad = (*own, "--tls-cert-file", cert, "--tls-key-file", key)
    # We ask both by ports that are not encrypted.
    primary = TwoPorts("ours", tmp_path / "primary", papers, *(bad if side == "primary" else own))
    replica = TwoPorts("ours", tmp_path / "replica", papers, *(bad if side == "replica" else own))
    with ended(primary, replica):
        primary.start()
        replica.start()
        assert replica.call("REPLICAOF", "127.0.0.1", primary.tls_port) == b"OK"
        refusal = "certificate has expired" if fault == "expired" else "unable to get local issuer certificate"
        alert = "sslv3 alert certificate expired" if fault == "expired" else "tlsv1 alert unknown ca"
        verifies, told = (primary, replica) if side == "replica" else (replica, primary)
        for server, said in ((verifies, f"certificate verify failed ({refusal})"), (told, alert)):
            until(lambda: server.log().count(said) >= 2, f"{said} is logged at every try: {server.log()}")  # noqa: B023
        assert replica.info("replication")["master_link_status"] == "down"
        good = papers.path("server.crt"), papers.path("server.key")
        faulty = primary if side == "primary" else replica
        assert faulty.call("CONFIG", "SET", "tls-cert-file", good[0], "tls-key-file", good[1]) == b"OK"
        replica.wait_linked()
