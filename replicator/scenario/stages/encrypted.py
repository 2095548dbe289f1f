"""Connections of the instrument itself, under trio, when the nodes speak TLS: a channel where a socket was."""

from __future__ import annotations

import socket
import ssl

import trio

from replicator.runtime.tls.channel import Channel


class Encrypted:
    """A connected socket whose hands are shaken, with the send and recv of a trio socket. `channel` sends without
    waiting."""

    def __init__(self, raw: socket.socket, channel: Channel) -> None:
        self.channel = channel
        self._raw = raw

    async def send(self, data: bytes) -> int:
        """As SocketType.send."""
        while True:
            try:
                return self.channel.send(data)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._raw)

    async def recv(self, most: int) -> bytes:
        """As SocketType.recv, but for `most`, which bounds the read below."""
        while True:
            try:
                return self.channel.recv(most)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._raw)


async def encrypted(raw: socket.socket, context: ssl.SSLContext, name: str) -> Encrypted:
    """Shake hands as a client, over a connected non-blocking socket. name: whom the certificate must be for. Raises
    OSError."""
    channel = Channel(raw, context, serves=False, name=name)
    readable = False
    while not channel.handshake(readable):
        readable = not channel.unsent
        await (trio.lowlevel.wait_readable(raw) if readable else trio.lowlevel.wait_writable(raw))
    return Encrypted(raw, channel)


Speaker = trio.socket.SocketType | Encrypted
