"""Listening sockets: several addresses, IPv4 and IPv6, a unix socket; and the errors in stock's words."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from replicator.runtime.names import NAME_ERRORS, host_name

# How stock's `bind` writes "all addresses".
_ALL_V4 = "*"
_ALL_V6 = "::*"
DEFAULT_ADDRESSES = ("*", "-::*")
_UNAVAILABLE = frozenset(
    (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.ENOPROTOOPT)
)


class ListenError(Exception):
    """A listener could not be made. `lines` are what the log should say, the last of them the short reason."""

    def __init__(self, *lines: str) -> None:
        super().__init__(lines[-1])
        self.lines = lines


@dataclass(slots=True)
class Listener:
    """One listening socket. unix_path: "" for TCP. tls: what it accepts begins with a handshake. bus: other nodes of a
    cluster come here, not clients."""

    sock: socket.socket
    unix_path: str = ""
    tls: bool = False
    bus: bool = False
    resting: bool = False  # taken out of the poll because the process had no descriptor to accept with

    def close(self) -> None:
        """Close the socket; a unix socket's file is deleted."""
        self.sock.close()
        if self.unix_path:
            try:
                os.unlink(self.unix_path)
            except FileNotFoundError:
                pass  # somebody cleaned up before us


def listen_tcp(addresses: Iterable[str], port: int, backlog: int, *, tls: bool = False) -> list[Listener]:
    """Bind every address (an address that begins with "-" may be unavailable). Raises ListenError; then nothing is
    bound.

    Messages: as redis-server 7.0.15 prints them.
    """
    made: list[Listener] = []
    try:
        for address in addresses:
            optional = address.startswith("-")
            host = address[1:] if optional else address
            try:
                made.append(Listener(_bind(host, port, backlog), tls=tls))
            except NAME_ERRORS as error:
                number = error.errno if isinstance(error, OSError) else None
                if optional and number in _UNAVAILABLE:
                    continue
                what = os.strerror(number) if number and number > 0 else str(error)
                raise ListenError(
                    f"Warning: Could not create server TCP listening socket {host}:{port}: bind: {what}",
                    f"Failed listening on port {port} ({'TLS' if tls else 'TCP'}), aborting.",
                ) from error
    except BaseException:
        for listener in made:
            listener.close()
        raise
    return made


def _bind(host: str, port: int, backlog: int) -> socket.socket:
    if host == _ALL_V4:
        family, target = socket.AF_INET, "0.0.0.0"
    elif host == _ALL_V6:
        family, target = socket.AF_INET6, "::"
    else:
        found = socket.getaddrinfo(host_name(host), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, target = found[0][0], str(found[0][4][0])
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((target, port))
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def listen_bus(addresses: Iterable[str], port: int, backlog: int, *, tls: bool = False) -> list[Listener]:
    """Bind the port of a cluster's bus on every address. Raises ListenError; then nothing is bound."""
    if port > 65535:
        raise ListenError(
            "Redis port number too high for cluster mode. Cluster communication port, which is usually the port "
            f"number plus 10000, can't exceed 65535: {port}"
        )
    try:
        made = listen_tcp(addresses, port, backlog, tls=tls)
    except ListenError as error:
        *lines, _ = error.lines
        raise ListenError(*lines, f"Failed listening on port {port} (cluster), aborting.") from error
    for listener in made:
        listener.bus = True
    return made


def listen_unix(path: str, permissions: int, backlog: int) -> Listener:
    """Bind a unix socket; a socket file left from before is replaced. permissions: its mode, 0 to leave it. Raises
    ListenError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        try:
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                os.unlink(path)
        except FileNotFoundError:
            pass
        sock.bind(path)
        if permissions:
            os.chmod(path, permissions)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise ListenError(f"Failed opening Unix socket: bind: {error.strerror or error}") from error
    return Listener(sock, os.path.abspath(path))
