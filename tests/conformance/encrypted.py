"""The live world with everything encrypted: TLS listeners, outgoing connections by TLS, and clients that are the
standard library's own SSLSocket."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from replicator.core import effects as do
from replicator.core import events as told
from replicator.core.machine import Machine
from replicator.core.now import Now
from replicator.runtime.tls.context import Tls, TlsSettings
from tests.conformance.live import LiveClient, LiveHost, LiveWorld
from tests.conformance.world import Client, Host
from tests.support.tls import Papers


class Encrypting:
    """A machine whose outgoing connections are to be encrypted."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.deadline_ms = machine.deadline_ms
        self.pull = machine.pull

    def handle(self, event: told.Event, now: Now) -> list[do.Effect]:
        return _encrypted(self._machine.handle(event, now))

    def advance(self, now: Now) -> list[do.Effect]:
        return _encrypted(self._machine.advance(now))


def _encrypted(effects: list[do.Effect]) -> list[do.Effect]:
    return [replace(effect, tls=True) if isinstance(effect, do.Connect) else effect for effect in effects]


class _Socket:
    """An SSLSocket that says BlockingIOError where a plain socket does, and can be half-closed."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._sock = sock
        self.fileno = sock.fileno
        self.setsockopt = sock.setsockopt
        self.close = sock.close

    def _blocking(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        except ssl.SSLEOFError:
            return b""  # the stream ended without TLS's own goodbye, which our half-close does not say either

    def send(self, data: bytes | memoryview) -> int:
        # The library must be offered the same bytes again: pieces are cut at the same places then.
        return int(self._blocking(self._sock.send, data[: 16 * 1024]))

    def recv(self, most: int) -> bytes:
        return bytes(self._blocking(self._sock.recv, most))

    def shutdown(self, how: int) -> None:
        socket.socket.shutdown(self._sock, how)


class EncryptedClient(LiveClient):
    """A client of a TLS listener."""

    def __init__(self, world: LiveWorld, address: tuple[str, int], papers: Papers) -> None:
        super().__init__(world, address)
        plain = self.sock
        plain.setblocking(True)
        plain.settimeout(10)
        encrypted = papers.context().wrap_socket(plain, server_hostname="127.0.0.1")
        encrypted.setblocking(False)
        self.sock = _Socket(encrypted)  # type: ignore[assignment]


    def take(self) -> bytes:
        """All that has come: a record at a time would be 16 KiB."""
        parts = []
        while part := super().take():
            parts.append(part)
        return b"".join(parts)


class EncryptedWorld(LiveWorld):
    """See above."""

    def __init__(self, papers: Papers) -> None:
        super().__init__()
        self.papers = papers

    def contexts(self) -> Tls:
        """Contexts of a host, client certificates demanded."""
        tls = Tls()
        tls.configure(
            TlsSettings(
                wanted=True,
                cert_file=self.papers.path("server.crt"),
                key_file=self.papers.path("server.key"),
                ca_cert_file=self.papers.ca,
            )
        )
        return tls

    def start(self, machine: Machine, **options: Any) -> LiveHost:
        return super().start(Encrypting(machine), tls=options.pop("tls", None) or self.contexts(), **options)

    def connect(self, host: Host) -> Client:
        client = EncryptedClient(self, host.address, self.papers)
        self.clients.append(client)
        return client
