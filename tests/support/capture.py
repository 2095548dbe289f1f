"""A relay on loopback that keeps all it passes on: what an eavesdropper between two nodes would have."""

from __future__ import annotations

import contextlib
import select
import socket
import threading


class Capture:
    """Listens on `port` and joins every connection to the target port. heard: all bytes of both directions."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.heard = bytearray()
        self._ended = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        others: dict[socket.socket, socket.socket] = {}
        with contextlib.ExitStack() as stack:
            while not self._ended.is_set():
                ready, _, _ = select.select([self._listener, self._woken, *others], [], [])
                for sock in ready:
                    if sock is self._listener:
                        near = stack.enter_context(sock.accept()[0])
                        with contextlib.suppress(OSError):
                            far = stack.enter_context(socket.create_connection(("127.0.0.1", self._target)))
                            others[near], others[far] = far, near
                    elif sock in others:
                        self._pass_on(sock, others)

    def _pass_on(self, sock: socket.socket, others: dict[socket.socket, socket.socket]) -> None:
        try:
            data = sock.recv(1 << 16)
            others[sock].sendall(data)
        except OSError:
            data = b""
        self.heard += data
        if not data:
            other = others.pop(sock)
            others.pop(other)
            sock.close()
            other.close()

    def close(self) -> None:
        """End the relay and its connections."""
        self._ended.set()
        self._wake.send(b"x")
        self._thread.join()
        for sock in (self._listener, self._wake, self._woken):
            sock.close()
