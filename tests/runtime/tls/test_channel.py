"""A channel does what a socket does, whatever pieces the stream comes in."""

from __future__ import annotations

import _ssl
import ctypes
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.core.limits import TLS_UNREAD_BYTES
from replicator.runtime.tls.channel import CHUNK_BYTES, Channel
from replicator.runtime.tls.texts import Broken
from tests.support.tls import Papers


class Pieces:
    """Stands for a socket: what its peer sent comes in pieces of given sizes, and it takes no more than its room."""

    def __init__(self) -> None:
        self.inbox = bytearray()
        self.sizes: list[int] = []
        self.room = 1 << 30
        self.peer: Pieces
        self.ended = False

    def recv(self, size: int) -> bytes:
        if not self.inbox:
            if self.ended:
                return b""
            raise BlockingIOError
        most = min(size, self.sizes.pop(0) if self.sizes else size)
        data = bytes(self.inbox[:most])
        del self.inbox[:most]
        return data

    def send(self, data: bytes | memoryview) -> int:
        taken = min(len(data), self.room)
        if not taken:
            raise BlockingIOError
        self.room -= taken
        self.peer.inbox += data[:taken]
        return taken

    def close(self) -> None:
        self.peer.ended = True


class Pair:
    """A server's and a client's channel, joined, their hands shaken."""

    def __init__(self, papers: Papers) -> None:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(papers.path("server.crt"), papers.path("server.key"))
        self.server_end, self.client_end = Pieces(), Pieces()
        self.server_end.peer, self.client_end.peer = self.client_end, self.server_end
        self.server = Channel(self.server_end, server, serves=True)  # type: ignore[arg-type]
        self.client = Channel(self.client_end, papers.context(), serves=False, name="127.0.0.1")  # type: ignore[arg-type]
        for _ in range(10):
            self.client.handshake(bool(self.client_end.inbox))
            if self.server.handshake(bool(self.server_end.inbox)):
                break
        self.client.handshake(False)
        with pytest.raises(BlockingIOError):
            self.client.recv(1 << 16)  # the tickets


@pytest.fixture
def pair(papers: Papers) -> Pair:
    return Pair(papers)


@given(
    messages=st.lists(st.integers(1, 40_000), min_size=1, max_size=6),
    sizes=st.lists(st.integers(1, 20_000), max_size=30),
)
@settings(max_examples=60, deadline=None)
def test_what_was_sent_comes_whole_in_whatever_pieces(papers: Papers, messages: list[int], sizes: list[int]) -> None:
    pair = Pair(papers)
    expected = b""
    for number, length in enumerate(messages):
        data = bytes((number + at) % 251 for at in range(length))
        expected += data
        assert pair.client.send(data) == length
    pair.server_end.sizes = list(sizes)
    received = b""
    while pair.server_end.inbox:
        try:
            received += pair.server.recv(1 << 16)
        except BlockingIOError:
            continue
    assert received == expected


@given(length=st.integers(1, 3 * CHUNK_BYTES), rooms=st.lists(st.integers(200, CHUNK_BYTES), min_size=1, max_size=9))
@settings(max_examples=60, deadline=None)
def test_what_a_full_socket_does_not_take_goes_out_later_in_order(
    papers: Papers, length: int, rooms: list[int]
) -> None:
    pair = Pair(papers)
    whole, received = bytes(at * 7 % 256 for at in range(length)), b""
    left, turn = memoryview(whole), 0
    while left:
        pair.server_end.room = rooms[turn % len(rooms)] + 1
        turn += 1
        try:
            if turn % 3:
                cut = turn * 997 % len(left)
                sent = pair.server.sendmsg([part for part in (left[:cut], left[cut:]) if part])
            else:
                sent = pair.server.send(left)
        except BlockingIOError:
            continue
        finally:
            while pair.client_end.inbox:
                try:
                    received += pair.client.recv(1 << 16)
                except BlockingIOError:
                    continue
        left = left[sent:]
    assert received == whole


def test_what_is_reported_as_sent_is_with_the_system(pair: Pair) -> None:
    pair.server_end.room = 100
    with pytest.raises(BlockingIOError):
        pair.server.send(b"x" * 1000)
    assert pair.server.unsent
    pair.server_end.room = 10_000
    assert pair.server.send(b"x" * 1000) == 1000
    assert not pair.server.unsent
    assert pair.client.recv(1 << 16) == b"x" * 1000


def test_the_end_of_the_stream_is_read_behind_its_data(pair: Pair) -> None:
    pair.client.send(b"last words")
    pair.client.close()
    assert pair.server.recv(1 << 16) == b"last words"
    assert pair.server.recv(1 << 16) == b""


def test_a_paused_reader_learns_whether_words_or_only_the_end_wait(pair: Pair) -> None:
    with pytest.raises(BlockingIOError):
        pair.server.recv(1, socket.MSG_PEEK)
    pair.client.send(b"words")
    pair.client.close()
    assert pair.server.recv(1, socket.MSG_PEEK)
    assert pair.server.recv(1 << 16) == b"words"
    assert pair.server.recv(1, socket.MSG_PEEK) == b""


def test_a_damaged_record_breaks_the_connection_in_one_line(pair: Pair) -> None:
    pair.client.send(b"words")
    pair.server_end.inbox[-1] ^= 1
    with pytest.raises(Broken, match=r"^error:0A000119:SSL routines::decryption failed or bad record mac$"):
        pair.server.recv(1 << 16)
    with pytest.raises(Broken, match="bad record mac"):
        pair.client.recv(1 << 16)


def test_a_truncated_record_is_nothing_and_then_the_end(pair: Pair) -> None:
    pair.client.send(b"words")
    del pair.server_end.inbox[-3:]
    with pytest.raises(BlockingIOError):
        pair.server.recv(1 << 16)
    pair.server_end.ended = True
    assert pair.server.recv(1 << 16) == b""


def _ask_for_new_keys(channel: Channel) -> None:
    """SSL_key_update(SSL_KEY_UPDATE_REQUESTED), which Python has no name for: the SSL pointer is the second field of
    its object."""
    library: Any = ctypes.CDLL(_ssl.__file__)
    library.SSL_key_update.argtypes = [ctypes.c_void_p, ctypes.c_int]
    inner = channel._tls._sslobj
    pointer = ctypes.c_void_p.from_address(id(inner) + object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p))
    assert library.SSL_key_update(pointer, 1) == 1


def test_new_keys_are_answered_and_the_stream_goes_on(pair: Pair) -> None:
    _ask_for_new_keys(pair.client)
    pair.client.send(b"with new keys")
    assert pair.server.recv(1 << 16) == b"with new keys"
    pair.server.send(b"and back")
    assert pair.client.recv(1 << 16) == b"and back"


def test_a_peer_that_asks_for_new_keys_and_never_reads_is_cut(pair: Pair) -> None:
    pair.server_end.room = 0
    asked = 0
    with pytest.raises(Broken, match="new keys"):
        while asked < TLS_UNREAD_BYTES:
            _ask_for_new_keys(pair.client)
            pair.client.send(b"x")
            assert pair.server.recv(1 << 16) == b"x"
            asked += 1
    assert 1000 < asked < TLS_UNREAD_BYTES // 10


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"PING\r\n" * 10, "wrong version number"),
        (b"GET / HTTP/1.1\r\n\r\n", "http request"),
        (b"\x16\x03\x01\xff\xff" + b"\0" * 100, "length"),
    ],
)
def test_what_is_no_tls_is_refused_with_its_reason(
    papers: Papers, sockets: tuple[socket.socket, socket.socket], said: bytes, why: str
) -> None:
    ours, theirs = sockets
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(papers.path("server.crt"), papers.path("server.key"))
    channel = Channel(ours, context, serves=True)
    theirs.sendall(said)
    with pytest.raises(Broken, match=rf"^error:0A[0-9A-F]{{6}}:SSL routines::.*{why}"):
        channel.handshake(True)
