"""Contexts from the tls-* directives, checked as stock checks them and refused in its words.

Source: redis.conf's section TLS/SSL; messages as redis-server 7.0.15 prints them.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from typing import Final

from replicator.runtime.tls import openssl
from replicator.runtime.tls.texts import text_of

_VERSIONS: Final = {
    "tlsv1": ssl.TLSVersion.TLSv1,
    "tlsv1.1": ssl.TLSVersion.TLSv1_1,
    "tlsv1.2": ssl.TLSVersion.TLSv1_2,
    "tlsv1.3": ssl.TLSVersion.TLSv1_3,
}
_LEFT_OUT: Final = {
    ssl.TLSVersion.TLSv1: ssl.OP_NO_TLSv1,
    ssl.TLSVersion.TLSv1_1: ssl.OP_NO_TLSv1_1,
    ssl.TLSVersion.TLSv1_2: ssl.OP_NO_TLSv1_2,
    ssl.TLSVersion.TLSv1_3: ssl.OP_NO_TLSv1_3,
}
# What stock offers where tls-protocols does not say.
_DEFAULT_VERSIONS: Final = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
_VERIFY: Final = {"yes": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "no": ssl.CERT_NONE}
_NO_PASSPHRASE: Final = "error:07880109:common libcrypto routines::interrupted or cancelled"
_NO_PEM: Final = "error:0480006C:PEM routines::no start line"
_NO_KEY: Final = "error:1E08010C:DECODER routines::unsupported"
_BAD_PASSPHRASE: Final = "error:1C800064:Provider routines::bad decrypt"


class TlsError(Exception):
    """The directives give no contexts; the text is the line that the log should say."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """The directives tls-*, without tls-port. wanted: a port, tls-replication or tls-cluster needs them."""

    wanted: bool = False
    cert_file: str = ""
    key_file: str = ""
    key_file_pass: str = ""
    client_cert_file: str = ""
    client_key_file: str = ""
    client_key_file_pass: str = ""
    ca_cert_file: str = ""
    ca_cert_dir: str = ""
    dh_params_file: str = ""
    protocols: str = ""
    ciphers: str = ""
    ciphersuites: str = ""
    prefer_server_ciphers: bool = False
    auth_clients: str = "yes"
    session_caching: bool = True
    session_cache_size: int = 20480
    session_cache_timeout: int = 300
    replication: bool = False
    cluster: bool = False


class Tls:
    """The contexts in force. Connections keep the one that they began with."""

    def __init__(self) -> None:
        self.server: ssl.SSLContext | None = None
        self.client: ssl.SSLContext | None = None
        self._settings = TlsSettings()
        self._refused = False

    def configure(self, settings: TlsSettings) -> None:
        """Put new contexts in force, made from the files as they are now. Raises TlsError; then the old ones stay."""
        if self._refused and settings == self._settings:
            self._refused = False  # the way back after a refusal: nothing was changed
            return
        if not settings.wanted:
            self._settings = settings  # what has been made stays, should a port be opened again
            return
        try:
            server = _context(settings, ssl.PROTOCOL_TLS_SERVER)
            client = _context(settings, ssl.PROTOCOL_TLS_CLIENT)
        except TlsError:
            self._refused = True
            raise
        self.server, self.client, self._settings, self._refused = server, client, settings, False


def _context(settings: TlsSettings, protocol: int) -> ssl.SSLContext:
    """One of the two contexts. Raises TlsError."""
    serves = protocol == ssl.PROTOCOL_TLS_SERVER
    _check_given(settings)
    context = ssl.SSLContext(protocol)
    _set_protocols(context, settings.protocols)
    if serves or not (settings.client_cert_file and settings.client_key_file):
        _load_chain(context, settings.cert_file, settings.key_file, settings.key_file_pass)
    else:
        _load_chain(context, settings.client_cert_file, settings.client_key_file, settings.client_key_file_pass)
    if not serves:
        context.check_hostname = False  # addresses are what primaries are known by; the CA decides, as with stock
    context.verify_mode = _VERIFY[settings.auth_clients] if serves else ssl.CERT_REQUIRED
    if settings.ca_cert_file or settings.ca_cert_dir:
        try:
            context.load_verify_locations(settings.ca_cert_file or None, settings.ca_cert_dir or None)
        except OSError as error:
            raise TlsError(f"Failed to configure CA certificate(s) file/directory: {text_of(error)}") from None
    _set_ciphers(context, settings)
    # Neither is worth its price: renegotiation lets a client make the server work, compression leaks what is secret.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if serves:
        if settings.prefer_server_ciphers:
            context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        else:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        openssl.set_session_cache(
            context,
            enabled=settings.session_caching,
            size=settings.session_cache_size,
            timeout_s=settings.session_cache_timeout,
        )
        _load_dh_params(context, settings.dh_params_file)
    return context


def _check_given(settings: TlsSettings) -> None:
    if not settings.cert_file:
        raise TlsError("No tls-cert-file configured!")
    if not settings.key_file:
        raise TlsError("No tls-key-file configured!")
    verifies = settings.auth_clients != "no" or settings.replication or settings.cluster
    if verifies and not (settings.ca_cert_file or settings.ca_cert_dir):
        raise TlsError(
            "Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-cluster, tls-replication or "
            "tls-auth-clients are enabled!"
        )


def _set_protocols(context: ssl.SSLContext, protocols: str) -> None:
    wanted = []
    for word in protocols.split():
        if word.lower() not in _VERSIONS:
            raise TlsError(
                "Invalid tls-protocols specified. Use a combination of 'TLSv1', 'TLSv1.1', 'TLSv1.2' and 'TLSv1.3'."
            )
        wanted.append(_VERSIONS[word.lower()])
    wanted = sorted(wanted or _DEFAULT_VERSIONS)
    context.minimum_version, context.maximum_version = wanted[0], wanted[-1]
    for version, option in _LEFT_OUT.items():
        if wanted[0] < version < wanted[-1] and version not in wanted:
            context.options |= option


class _NoPassphrase(Exception):
    """A key wants one and none is configured."""


def _load_chain(context: ssl.SSLContext, cert_file: str, key_file: str, passphrase: str) -> None:
    try:
        with open(cert_file, "rb") as file:
            if b"-----BEGIN" not in file.read():
                raise TlsError(f"Failed to load certificate: {cert_file}: {_NO_PEM}")
    except OSError as error:
        raise TlsError(f"Failed to load certificate: {cert_file}: {text_of(error)}") from None

    def ask() -> str:
        # Without this OpenSSL would ask at the terminal and wait.
        if not passphrase:
            raise _NoPassphrase
        return passphrase

    try:
        with open(key_file, "rb") as file:
            encrypted = b"ENCRYPTED" in file.read()
        context.load_cert_chain(cert_file, key_file, ask)
    except _NoPassphrase:
        why = _NO_PASSPHRASE
    except ssl.SSLError as error:
        # Python does not pass on why a key cannot be read.
        why = text_of(error) if error.reason else _BAD_PASSPHRASE if encrypted else _NO_KEY
    except OSError as error:
        why = text_of(error)
    else:
        return
    raise TlsError(f"Failed to load private key: {key_file}: {why}")


def _set_ciphers(context: ssl.SSLContext, settings: TlsSettings) -> None:
    if settings.ciphers:
        try:
            context.set_ciphers(settings.ciphers)
        except ssl.SSLError:
            raise TlsError(f"Failed to configure ciphers: {settings.ciphers}") from None
    if settings.ciphersuites and not openssl.set_ciphersuites(context, settings.ciphersuites):
        raise TlsError(f"Failed to configure ciphersuites: {settings.ciphersuites}")


def _load_dh_params(context: ssl.SSLContext, path: str) -> None:
    if not path:
        return
    try:
        context.load_dh_params(path)
    except ssl.SSLError:
        raise TlsError(f"{path}: failed to read DH params.") from None
    except OSError as error:
        raise TlsError(f"Failed to load {path}: {error.strerror or os.strerror(error.errno or 0)}") from None
