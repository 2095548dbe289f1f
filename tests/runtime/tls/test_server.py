"""A server with a TLS port: who is let in, what is cut, what is changed while it runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hiredis
import pytest

from replicator.core import limits
from tests.support.servers import Server, until
from tests.support.stock import Wire, free_port
from tests.support.tls import Papers, TlsServer, TlsWire

needs_cli = pytest.mark.skipif(shutil.which("redis-cli") is None, reason="redis-cli is not installed")


@contextlib.contextmanager
def tls_server(folder: Path, papers: Papers, *directives: str, engine: str = "ours") -> Iterator[TlsServer]:
    server = TlsServer(engine, folder, papers, *directives)
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture(scope="module")
def server(papers: Papers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    """One that demands client certificates; tests put back what they change."""
    with tls_server(tmp_path_factory.mktemp("server"), papers) as made:
        yield made


def logged(server: TlsServer, before: int, text: str) -> str:
    """The log's lines behind `before` characters, once the text is in them."""
    until(lambda: text in server.log()[before:], f"{text!r} is logged: {server.log()[before:]}")
    return server.log()[before:]


def refused(server: TlsServer, context: ssl.SSLContext) -> None:
    """A client with that context gets no answer."""
    with pytest.raises((OSError, EOFError)):
        wire = TlsWire(server.port, context)
        with contextlib.closing(wire):
            wire.call("PING")


def test_a_client_with_a_certificate_is_served(server: TlsServer, papers: Papers) -> None:
    wire = TlsWire(server.port, papers.context())
    assert wire.call("SET", "a", b"\0\1" * 200_000) == b"OK"
    assert wire.call("GET", "a") == b"\0\1" * 200_000
    assert wire.pipeline([[b"ECHO", b"%d" % n] for n in range(2000)]) == [b"%d" % n for n in range(2000)]
    assert server.info()["tcp_port"] == str(server.port)
    assert wire.call("QUIT") == b"OK"
    assert wire.sock.recv(1) == b"", "ended by TLS's own goodbye"
    wire.close()


def test_clients_without_or_with_a_wrong_or_expired_certificate_are_refused_in_one_line(
    server: TlsServer, papers: Papers, other_papers: Papers
) -> None:
    papers.issue("expired", days=(-3, -1))
    wrong = papers.context(None)
    wrong.load_cert_chain(other_papers.path("client.crt"), other_papers.path("client.key"))
    for context, why in (
        (papers.context(None), "error:0A0000C7:SSL routines::peer did not return a certificate"),
        (papers.context("expired"), "error:0A000086:SSL routines::certificate verify failed (certificate has expired)"),
        (wrong, "error:0A000086:SSL routines::certificate verify failed (unable to get local issuer certificate)"),
    ):
        before = len(server.log())
        refused(server, context)
        lines = logged(server, before, why).strip().split("\n")
        assert len(lines) == 1 and f"# Error accepting a client connection: {why} (addr=127.0.0.1:" in lines[0]
    assert server.call("PING") == b"PONG"


@needs_cli
def test_redis_cli_speaks_to_it(server: TlsServer, papers: Papers) -> None:
    command = ["redis-cli", "--tls", "-p", str(server.port), "--cacert", papers.ca]
    own = ["--cert", papers.path("client.crt"), "--key", papers.path("client.key")]
    done = subprocess.run([*command, *own, "PING"], capture_output=True, text=True, timeout=20)
    assert done.stdout == "PONG\n", done.stderr
    done = subprocess.run([*command, "PING"], capture_output=True, text=True, timeout=20)
    assert "PONG" not in done.stdout


def test_redis_py_speaks_to_it(server: TlsServer, papers: Papers) -> None:
    redis = pytest.importorskip("redis")
    url = f"rediss://127.0.0.1:{server.port}?ssl_ca_certs={papers.ca}"
    options = {"ssl_certfile": papers.path("client.crt"), "ssl_keyfile": papers.path("client.key")}
    with redis.Redis.from_url(url, **options) as client:
        assert client.set("a", "1") and client.incr("a") == 2


@pytest.mark.parametrize(
    "said", [b"PING\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"*1\r\n$4\r\nPING\r\n", b"\x80\x2e"]
)
def test_plain_text_on_the_tls_port_is_cut(server: TlsServer, said: bytes) -> None:
    before = len(server.log())
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(said)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while data := sock.recv(100):
                answer += data
        assert b"PONG" not in answer and b"ERR" not in answer
    logged(server, before, "# Error accepting a client connection: error:0A")
    assert server.call("PING") == b"PONG"


def test_a_record_that_breaks_off_harms_nobody(server: TlsServer, papers: Papers) -> None:
    before = int(server.info("clients")["connected_clients"])
    wires = [TlsWire(server.port, papers.context()) for _ in range(3)]
    for wire in wires:
        assert wire.call("PING") == b"PONG"
    plain = [socket.socket(fileno=os.dup(wire.sock.fileno())) for wire in wires]
    plain[0].sendall(b"\x17\x03\x03\x01\x00" + b"x" * 10)  # a record of 256 bytes, of which 10 come
    plain[0].shutdown(socket.SHUT_WR)
    plain[1].sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)  # whole, and nonsense
    plain[2].sendall(b"PING\r\n")
    until(lambda: int(server.info("clients")["connected_clients"]) == before, "all three are gone")
    for sock in (*plain, *wires):
        sock.close()


def test_a_flood_of_silent_connections_is_bounded_and_clients_get_through(server: TlsServer, papers: Papers) -> None:
    assert server.process is not None
    descriptors = Path(f"/proc/{server.process.pid}/fd")
    at_rest = len(list(descriptors.iterdir()))
    flood: list[socket.socket] = []
    try:
        for number in range(limits.TLS_HANDSHAKES + 300):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", server.port))
            flood.append(sock)
            if number % 3 == 0:
                with contextlib.suppress(OSError):
                    sock.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")  # the beginning of a ClientHello
        begun_s = time.monotonic()
        wire = TlsWire(server.port, papers.context())
        assert wire.call("PING") == b"PONG"
        assert time.monotonic() - begun_s < 5
        wire.close()
        assert len(list(descriptors.iterdir())) <= at_rest + limits.TLS_HANDSHAKES + 10
        assert server.call("PING") == b"PONG"
        # None of them lasts: after TLS_HANDSHAKE_MS all are cut.
        until(lambda: len(list(descriptors.iterdir())) <= at_rest + 2, "the silent ones are cut", 30)
    finally:
        for sock in flood:
            sock.close()


def test_a_certificate_is_exchanged_under_load_without_a_lost_connection(tmp_path: Path, papers: Papers) -> None:
    cert, key = papers.issue("second")
    with tls_server(tmp_path, papers) as server:
        stop, counts, failures = threading.Event(), [0, 0], list[Exception]()

        def load(number: int) -> None:
            try:
                wire = TlsWire(server.port, papers.context())
                while not stop.is_set():
                    assert wire.pipeline([[b"INCR", b"n"]] * 16)
                    counts[number] += 16
                wire.close()
            except Exception as problem:
                failures.append(problem)

        threads = [threading.Thread(target=load, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        serials = {_serial(server, papers)}
        for pair in ((cert, key), (papers.path("server.crt"), papers.path("server.key"))) * 5:
            assert server.call("CONFIG", "SET", "tls-cert-file", pair[0], "tls-key-file", pair[1]) == b"OK"
            reached = [count + 160 for count in counts]
            until(lambda goal=reached: all(map(int.__ge__, counts, goal)) or failures, "the load goes on")
            serials.add(_serial(server, papers))
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures and len(serials) == 2
        assert server.call("GET", "n") == b"%d" % sum(counts)


def _serial(server: TlsServer, papers: Papers) -> Any:
    wire = TlsWire(server.port, papers.context())
    try:
        assert isinstance(wire.sock, ssl.SSLSocket)
        certificate = wire.sock.getpeercert()
        assert certificate is not None
        return certificate["serialNumber"]
    finally:
        wire.close()


def test_a_certificate_replaced_in_its_file_is_read_by_setting_the_same_name_again(
    tmp_path: Path, papers: Papers
) -> None:
    cert, key = papers.issue("changing")
    with tls_server(tmp_path, papers, "--tls-cert-file", cert, "--tls-key-file", key) as server:
        before = _serial(server, papers)
        papers.issue("changing")
        assert _serial(server, papers) == before
        assert server.call("CONFIG", "SET", "tls-cert-file", cert) == b"OK"
        assert _serial(server, papers) != before


SETTINGS: list[tuple[str, ...]] = [
    ("tls-cert-file", "missing"),
    ("tls-cert-file", "client.crt"),
    ("tls-cert-file", "client.crt", "tls-key-file", "client.key"),
    ("tls-cert-file", "server.crt", "tls-key-file", "server.key"),
    ("tls-protocols", "nothing"),
    ("tls-protocols", "TLSv1.2"),
    ("tls-protocols", ""),
    ("tls-ciphers", "nothing"),
    ("tls-ciphersuites", "nothing"),
    ("tls-ca-cert-file", ""),
    ("tls-auth-clients", "maybe"),
    ("tls-auth-clients", "optional"),
    ("tls-auth-clients", "no"),
    ("tls-auth-clients", "no", "tls-ca-cert-file", ""),
    ("tls-auth-clients", "yes", "tls-ca-cert-file", "ca.crt"),
    ("tls-port", "99999"),
    ("tls-port", "{taken}"),
    ("tls-session-caching", "maybe"),
    ("tls-session-cache-size", "-1"),
    ("tls-session-cache-timeout", "60"),
    ("tls-cluster", "yes"),
    ("tls-dh-params-file", "missing"),
    ("tls-prefer-server-ciphers", "yes"),
    ("tls-port", "0"),
    ("tls-replication", "yes"),
    ("tls-cluster", "no", "tls-replication", "no"),
    ("tls-cert-file", "missing"),
    ("tls-port", "{free}"),
    ("tls-cert-file", "server.crt"),
    ("tls-port", "{free}"),
]


def test_config_set_answers_and_logs_as_redis_7_does(tmp_path: Path, papers: Papers) -> None:
    answers, lines = [], []
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken, free = str(holder.getsockname()[1]), str(free_port())
        for engine in ("redis7", "ours"):
            folder = tmp_path / engine
            shutil.copytree(papers.folder, folder)
            server = TlsServer(engine, folder, papers)
            if engine == "redis7" and shutil.which("redis-server") is None:
                pytest.skip("Debian's redis-server is not installed")
            plain_port = free_port()
            try:
                server.start("--port", str(plain_port))
                before = len(server.log())
                with contextlib.closing(Wire(plain_port)) as wire:
                    found = []
                    for setting in SETTINGS:
                        words = [word.replace("{taken}", taken).replace("{free}", free) for word in setting]
                        answer = wire.call("CONFIG", "SET", *words)
                        found.append(f"{setting} {answer!r}")
                    found.append(str(wire.call("CONFIG", "GET", "tls-auth-clients")))
                if engine == "ours":
                    encrypted = TlsWire(int(free), papers.context())
                    assert encrypted.call("PING") == b"PONG"
                    encrypted.close()
                said = [line.partition(" # ")[2] for line in server.log()[before:].split("\n") if " # " in line]
                # Stock says a failed way back as well; ours does not fail.
                lines.append([line for line in dict.fromkeys(said) if "restored failed" not in line])
                answers.append(found)
            finally:
                server.kill()
    assert answers[1] == answers[0]
    assert lines[1] == lines[0]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed_for_as_long_as_the_cache_says(
    server: TlsServer, papers: Papers, version: ssl.TLSVersion
) -> None:
    assert server.call("CONFIG", "SET", "tls-session-cache-timeout", "77") == b"OK"
    context = papers.context()
    context.minimum_version = context.maximum_version = version
    session, resumed = None, []
    for _ in range(2):
        plain = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        with context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as sock:
            sock.sendall(hiredis.pack_command(("PING",)))
            assert sock.recv(100) == b"+PONG\r\n"
            resumed.append(sock.session_reused)
            session = sock.session
            assert session is not None and session.ticket_lifetime_hint == 77
    assert resumed == [False, True]
    assert server.call("CONFIG", "SET", "tls-session-cache-timeout", "300") == b"OK"


def test_a_blocked_client_that_goes_away_is_gone(server: TlsServer, papers: Papers) -> None:
    wire = TlsWire(server.port, papers.context())
    wire.send("BLPOP", "nothing", 0)
    until(lambda: server.info("clients")["blocked_clients"] == "1", "it is blocked")
    assert isinstance(wire.sock, ssl.SSLSocket)
    with contextlib.suppress(OSError):
        wire.sock.unwrap()  # says goodbye first: unread bytes before the end
    wire.close()
    until(lambda: server.info("clients")["blocked_clients"] == "0", "it is gone")


def test_a_server_without_a_certificate_does_not_start(tmp_path: Path) -> None:
    plain = Server("ours", tmp_path, "--tls-port", str(free_port()))
    plain.launch()
    assert plain.process is not None and plain.process.wait(20) == 1
    assert "# No tls-cert-file configured!" in plain.log()
    assert "# Failed to configure TLS. Check logs for more info." in plain.log()
    assert "Ready to accept" not in plain.log()
