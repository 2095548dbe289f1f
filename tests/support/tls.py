"""Servers that speak TLS, ours and stock, with certificates made for the test."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from replicator.scenario.stages.certificates import Authority
from tests.support.servers import Server
from tests.support.stock import Wire, free_port


@dataclass(frozen=True, slots=True)
class Papers:
    """An authority's folder: ca.crt, server.crt and .key, client.crt and .key, and what else was issued."""

    folder: Path
    authority: Authority

    def issue(self, name: str, days: tuple[float, float] = (-1, 30)) -> tuple[str, str]:
        """Paths of a certificate and its key."""
        return self.authority.issue(name, days=days).save(self.folder, name)

    @property
    def ca(self) -> str:
        """The authority's certificate."""
        return str(self.folder / "ca.crt")

    def path(self, name: str) -> str:
        """A file of the folder."""
        return str(self.folder / name)

    def directives(self, name: str = "server") -> tuple[str, ...]:
        """What a server is started with to be known by the certificate of that name."""
        return (
            "--tls-cert-file", self.path(f"{name}.crt"), "--tls-key-file", self.path(f"{name}.key"),
            "--tls-ca-cert-file", self.ca,
        )  # fmt: skip

    def context(self, name: str | None = "client") -> ssl.SSLContext:
        """A client's context; name None: without a certificate."""
        context = ssl.create_default_context(cafile=self.ca)
        if name is not None:
            context.load_cert_chain(self.path(f"{name}.crt"), self.path(f"{name}.key"))
        return context


def make_papers(folder: Path, name: str = "test authority") -> Papers:
    """An authority, and certificates for a server and a client."""
    papers = Papers(folder, Authority(name))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ca.crt").write_text(papers.authority.cert)
    papers.issue("server")
    papers.issue("client")
    return papers


class TlsWire(Wire):
    """A blocking client over TLS."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        super().__init__(port)
        plain: socket.socket = self.sock
        try:
            self.sock = context.wrap_socket(plain, server_hostname="127.0.0.1")
        except BaseException:
            plain.close()
            raise


class TlsServer(Server):
    """A server whose only port is a TLS port."""

    def __init__(self, engine: str, folder: Path, papers: Papers, *directives: str, name: str = "server") -> None:
        super().__init__(engine, folder, *papers.directives(name), *directives)
        self.papers = papers
        self.directives = ("--port", "0", "--tls-port", str(self.port), *self.directives)

    def connect(self) -> Wire:
        return TlsWire(self.port, self.papers.context())


class TwoPorts(Server):
    """A server that is asked by its plain port and has a TLS port for others."""

    def __init__(self, engine: str, folder: Path, papers: Papers, *directives: str) -> None:
        self.tls_port = free_port()
        super().__init__(engine, folder, *papers.directives(), "--tls-port", str(self.tls_port), *directives)
