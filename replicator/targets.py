"""Where a command line points: HOST:PORT, or an address as client libraries have it; and how it is to be encrypted.

    redis://user:password@host:port      plain (valkey:// is the same)
    rediss://user:password@host:port     over TLS (valkeys://)
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_SCHEMES = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}
DEFAULT_PORT = 6379


@dataclass(frozen=True, slots=True)
class Target:
    """One node, and how it is spoken to."""

    host: str
    port: int
    tls: bool = False
    user: str = ""
    password: str = ""

    @property
    def address(self) -> tuple[str, int]:
        """(host, port)."""
        return self.host, self.port


def parse(text: str) -> Target:
    """A Target of the text. Raises ValueError with a sentence."""
    if "://" in text:
        return _parse_url(text)
    host, _, port = text.rpartition(":")
    if not _is_port(port) or (":" in host and not host.startswith("[")):
        raise ValueError(f"{text!r} is not HOST:PORT")
    return Target(host.strip("[]") or "127.0.0.1", int(port))


def _is_port(text: str) -> bool:
    return text.isdigit() and 0 < int(text) < 65536


def _parse_url(text: str) -> Target:
    try:
        parts = urlsplit(text)
        port = parts.port or DEFAULT_PORT
    except ValueError:
        raise ValueError(f"{text!r} is no address: its port is no port") from None
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"{text!r} is no address of a node; allowed: HOST:PORT, redis://..., rediss://...")
    return Target(
        parts.hostname or "127.0.0.1",
        port,
        _SCHEMES[parts.scheme],
        unquote(parts.username or ""),
        unquote(parts.password or ""),
    )


@dataclass(frozen=True, slots=True)
class Encryption:
    """How connections are encrypted: the options --tls and its kin, with redis-cli's names and meaning.

    cacert: whom to trust ("": whom the system trusts). cert, key: what to show. sni: the name to ask for. insecure:
    trust anybody. Like redis-cli it checks who signed a certificate and not whose it is, unless a name is given.
    """

    cacert: str = ""
    cert: str = ""
    key: str = ""
    sni: str = ""
    insecure: bool = False

    def context(self) -> ssl.SSLContext:
        """For all connections of one command. Raises ValueError with a sentence."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = bool(self.sni) and not self.insecure
        if self.insecure:
            context.verify_mode = ssl.CERT_NONE
        if bool(self.cert) != bool(self.key):
            raise ValueError("--cert and --key go together")
        try:
            if self.cacert:
                context.load_verify_locations(self.cacert)
            else:
                context.load_default_certs()
        except OSError as problem:
            raise ValueError(f"--cacert {self.cacert}: {problem.strerror or problem}") from None
        if self.cert:
            try:
                context.load_cert_chain(self.cert, self.key, _no_passphrase)
            except OSError as problem:
                raise ValueError(f"--cert {self.cert} --key {self.key}: {problem.strerror or problem}") from None
        return context


def _no_passphrase() -> str:
    raise ValueError("--key: the key is encrypted; nobody is asked for its pass phrase here")
