"""One TLS connection over a non-blocking socket, by memory BIOs: recv and send as the socket has them.

What a link does with a socket it does with a channel: recv gives bytes of the application, b"" at the end, or raises
BlockingIOError; send takes bytes and says how many of them are with the system. Two things differ inside:

    recv    One read of the socket is decrypted whole at once, so nothing waits here that the poll does not know of,
            but for half a record (at most 16 KiB, OpenSSL keeps it).
    send    What is encrypted cannot be taken back. When the socket takes only part of it, the rest stays here and the
            caller is told BlockingIOError, as if nothing had gone; it comes again with the same bytes (a queue's head
            does), and when the rest is out it is told that they are gone. So "with the system" stays true, and what a
            connection holds here has the bound CHUNK_BYTES.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from os import pread
from typing import Final

from replicator.core.limits import TLS_UNREAD_BYTES
from replicator.runtime.tls.texts import UNEXPECTED_END, Broken, text_of

# Encrypted at one go: four full records, some 30 us.
CHUNK_BYTES: Final = 64 * 1024
# The most that one record carries.
_RECORD_BYTES: Final = 16 * 1024
_HANDSHAKE_READ: Final = 16 * 1024


class Channel:
    """See above. Errors of the socket and of TLS are OSErrors."""

    __slots__ = (
        "_early",
        "_ended",
        "_incoming",
        "_outgoing",
        "_partial",
        "_read",
        "_rest",
        "_sock",
        "_sock_recv",
        "_sock_send",
        "_taken",
        "_tls",
        "_write",
    )

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, serves: bool, name: str | None = None) -> None:
        """name: what a client asks for (SNI), and checks where the context says so."""
        self._sock = sock
        self._sock_recv = sock.recv
        self._sock_send = sock.send
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=serves, server_hostname=name)
        self._read = self._tls.read
        self._write = self._tls.write
        self._partial = False  # OpenSSL holds the beginning of a record
        self._ended = False  # the peer has said that nothing more comes
        self._early = b""  # decrypted before anybody asked
        self._rest: memoryview | bytes = b""  # encrypted, and not with the system yet
        self._taken = 0  # bytes of the caller that _rest stands for

    # --- handshake ----------------------------------------------------------------------------------------------------

    def handshake(self, readable: bool) -> bool:
        """Go on with the handshake; True: it is done. readable: the socket has something. Raises OSError.

        Not done: wait for the socket to be readable, or for room in it where `unsent`.
        """
        if self.unsent:
            self._push()
        if readable:
            raw = self._sock_recv(_HANDSHAKE_READ)
            if not raw:
                raise Broken(UNEXPECTED_END)
            self._incoming.write(raw)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            done = False
        except ssl.SSLError as error:
            self._push_quietly()  # the alert that tells the peer why
            raise Broken(text_of(error)) from None
        else:
            done = True
        self._push()
        if done and self._incoming.pending:
            self._early = self._decrypt()
        return done and not self.unsent

    @property
    def unsent(self) -> bool:
        """Something waits for room in the socket."""
        return bool(self._rest)

    @property
    def early(self) -> bool:
        """recv would give bytes without the socket being readable."""
        return bool(self._early)

    def _push(self) -> None:
        """Give the system what is encrypted; what it does not take stays in _rest. Raises OSError."""
        while True:
            if not self._rest:
                if not self._outgoing.pending:
                    return
                self._rest = self._outgoing.read()
            try:
                sent = self._sock_send(self._rest)
            except (BlockingIOError, InterruptedError):
                return
            self._rest = memoryview(self._rest)[sent:] if sent < len(self._rest) else b""

    def _push_quietly(self) -> None:
        try:
            self._push()
        except OSError:
            pass  # the connection ends for another reason

    # --- what a link does with a socket -------------------------------------------------------------------------------

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As socket.recv; with MSG_PEEK only whether there is anything. size: of the read below."""
        if flags:
            return self._peek()
        if self._early:
            data, self._early = self._early, b""
            return data
        raw = self._sock_recv(size)
        if not raw:
            return raw
        self._incoming.write(raw)
        data = self._decrypt()
        if data or self._ended:
            return data
        raise BlockingIOError

    def _decrypt(self) -> bytes:
        """All that came: b"" when it was no data of the application, or the end."""
        incoming, read = self._incoming, self._read
        try:
            # As much as came is asked for (a record is longer than what is in it): a full record's room costs more to
            # make than a short one to decrypt.
            data = read(_RECORD_BYTES if self._partial else incoming.pending)
        except ssl.SSLWantReadError:
            self._partial = True
            data = b""
        except OSError as error:
            self._push_quietly()
            raise Broken(text_of(error)) from None
        else:
            self._partial = False
            self._ended = not data
            if incoming.pending and data:
                data = self._decrypt_more(data)
        if self._outgoing.pending:
            self._answer()
        return data

    def _decrypt_more(self, first: bytes) -> bytes:
        parts = [first]
        try:
            while self._incoming.pending:
                data = self._read(_RECORD_BYTES)
                if not data:
                    self._ended = True
                    break
                parts.append(data)
        except ssl.SSLWantReadError:
            self._partial = True
        except OSError as error:
            self._push_quietly()
            raise Broken(text_of(error)) from None
        return b"".join(parts)

    def _answer(self) -> None:
        """What came has to be answered by TLS itself (new keys). A peer that asks and never reads is cut."""
        if not self._rest:
            self._push_quietly()
        if self._outgoing.pending > TLS_UNREAD_BYTES:
            raise Broken("it asks for new keys and does not read the answers")

    def _peek(self) -> bytes:
        while not self._early:
            raw = self._sock_recv(_HANDSHAKE_READ)
            if not raw:
                return b""
            self._incoming.write(raw)
            self._early = self._decrypt()
            if self._ended:
                return self._early
        return self._early

    def send(self, data: bytes | memoryview) -> int:
        """As socket.send."""
        if self._rest:
            return self._send_again(data)
        if len(data) > CHUNK_BYTES:
            return self._send_chunks(data)
        if self._send_chunk(data):
            return len(data)
        raise BlockingIOError

    def _send_chunk(self, chunk: bytes | memoryview) -> bool:
        """Encrypt it and give it to the system; False: part of it is in _rest."""
        try:
            taken = self._write(chunk)
        except OSError as error:
            raise Broken(text_of(error)) from None
        assert taken == len(chunk), "a memory BIO takes all"
        encrypted = self._outgoing.read()
        try:
            sent = self._sock_send(encrypted)
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent == len(encrypted):
            return True
        self._rest = memoryview(encrypted)[sent:]
        self._taken = taken
        return False

    def _send_chunks(self, data: bytes | memoryview) -> int:
        view = memoryview(data)
        sent = 0
        while sent < len(view):
            chunk = view[sent : sent + CHUNK_BYTES]
            if not self._send_chunk(chunk):
                if sent:
                    return sent
                raise BlockingIOError
            sent += len(chunk)
        return sent

    def _send_again(self, data: bytes | memoryview) -> int:
        """Bring the rest out, then go on behind what it stood for."""
        self._push()
        if self._rest:
            raise BlockingIOError
        taken, self._taken = self._taken, 0
        left = memoryview(data)[taken:]
        try:
            return taken + self.send(left) if left else taken
        except BlockingIOError:
            if taken:
                return taken
            raise

    def sendmsg(self, buffers: Sequence[bytes | memoryview]) -> int:
        """As socket.sendmsg, up to CHUNK_BYTES; a pipeline of small replies becomes one record."""
        if self._rest:
            return self._send_again(b"" if self._taken else buffers[0])
        gathered: list[memoryview] = []
        room = CHUNK_BYTES
        for buffer in buffers:
            view = memoryview(buffer)[:room]
            gathered.append(view)
            room -= len(view)
            if not room:
                break
        return self.send(b"".join(gathered))

    def sendfile(self, fd: int, position: int, count: int) -> int:
        """As os.sendfile to this connection: 0 at the end of the file."""
        if self._taken:
            return self._send_again(b"")
        data = pread(fd, min(count, CHUNK_BYTES), position)
        return self.send(data) if data else 0

    def bid_farewell(self) -> None:
        """Tell the peer that nothing more comes, as far as the socket takes it."""
        try:
            self._tls.unwrap()
        except OSError:
            pass  # the peer has not said the same yet, or the connection is broken
        if not self._rest:
            self._push_quietly()

    def close(self) -> None:
        """Say so, and close the socket."""
        self.bid_farewell()
        self._sock.close()
