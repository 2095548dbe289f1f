"""Addresses of one run inside 127.0.0.0/8, its own as long as the run lives.

127.A.B.0/24 belongs to the run that listens on 127.A.B.254: n = 1 ... 49 is where node n is announced (the forwarder
listens there), 100 + n is what node n is bound to and connects from, 151 ... 250 are the clients.
"""

from __future__ import annotations

import os
import socket

from replicator.scenario.play.stage import StageError

GUARD_PORT = 6999
FIRST_PORT = 7001
NODES, CLIENTS = 49, 100


class Block:
    """A claimed /24. close() gives it back."""

    def __init__(self) -> None:
        self.guard = socket.socket()
        start = os.getpid() * 31
        for attempt in range(2000):
            number = (start + attempt * 7919) % (254 * 254)
            prefix = f"127.{1 + number // 254}.{1 + number % 254}"
            if prefix == "127.1.1":
                continue
            try:
                self.guard.bind((f"{prefix}.254", GUARD_PORT))
                self.guard.listen(1)
            except OSError:
                self.guard.close()
                self.guard = socket.socket()
                continue
            self.prefix = prefix
            return
        raise StageError("no addresses left in 127.0.0.0/8 (are these addresses local on this machine?)")

    def announced(self, node: int) -> str:
        """node: 0 for the first."""
        return f"{self.prefix}.{1 + node}"

    def private(self, node: int) -> str:
        return f"{self.prefix}.{101 + node}"

    def client(self, number: int) -> str:
        """number: 0 for the first."""
        return f"{self.prefix}.{151 + number}"

    def listener(self, node: int, port: int) -> socket.socket:
        """The announced address of the node, listened on. Raises OSError where somebody has the port on all
        addresses."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((self.announced(node), port))
            sock.listen(512)
            sock.setblocking(False)
        except OSError:
            sock.close()
            raise
        return sock

    def close(self) -> None:
        self.guard.close()
