"""The RESP protocol on a server's side, sentence by sentence, held against ours and against Redis 7.0.

Source: https://redis.io/docs/latest/develop/reference/protocol-spec/ ; what it leaves open was asked of redis-server.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import Server, servers, until
from tests.support.stock import Wire, binary

ENGINES = ["ours", *(["redis7"] if binary("redis7") else [])]
PING = b"*1\r\n$4\r\nPING\r\n"


@pytest.fixture(scope="module", params=ENGINES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers(Path(tmp_path_factory.mktemp("protocol")), request.param) as (one,):
        yield one


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    one = Wire(server.port)
    yield one
    one.close()


def _exactly(wire: Wire, sent: bytes, expected: bytes) -> None:
    """The bytes that come for those sent, no more and no fewer."""
    wire.sock.sendall(sent + b"*2\r\n$4\r\nECHO\r\n$3\r\nend\r\n")
    end = b"$3\r\nend\r\n"
    got = b""
    while not got.endswith(end):
        data = wire.sock.recv(1 << 16)
        assert data, f"closed after {got!r}"
        got += data
    assert got.removesuffix(end) == expected


def _closing(wire: Wire, sent: bytes, expected: bytes) -> None:
    """The bytes that come before the server closes the connection."""
    wire.sock.sendall(sent)
    got = b""
    while data := wire.sock.recv(1 << 16):
        got += data
    assert got == expected


def test_a_client_sends_requests_as_an_array_of_bulk_strings(wire: Wire) -> None:
    _exactly(wire, b"*2\r\n$4\r\nECHO\r\n$5\r\nhello\r\n", b"$5\r\nhello\r\n")


def test_a_bulk_string_is_binary_safe(wire: Wire) -> None:
    data = bytes(range(256)) + b"\r\n$-1\r\n"
    _exactly(wire, b"*2\r\n$4\r\nECHO\r\n$%d\r\n%b\r\n" % (len(data), data), b"$%d\r\n%b\r\n" % (len(data), data))


def test_a_bulk_string_may_be_empty(wire: Wire) -> None:
    _exactly(wire, b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", b"$0\r\n\r\n")


def test_several_commands_may_be_sent_without_waiting_for_their_replies(wire: Wire) -> None:
    _exactly(wire, PING * 1000, b"+PONG\r\n" * 1000)


def test_an_empty_array_and_a_null_array_are_no_command(wire: Wire) -> None:
    _exactly(wire, b"*0\r\n*-1\r\n*-10\r\n" + PING, b"+PONG\r\n")


def test_an_inline_command_is_a_line_of_words(wire: Wire) -> None:
    _exactly(wire, b"PING\r\nECHO  x \r\nPING y\n", b"+PONG\r\n$1\r\nx\r\n$1\r\ny\r\n")


def test_an_empty_line_is_no_command(wire: Wire) -> None:
    _exactly(wire, b"\r\n\n   \r\nPING\r\n", b"+PONG\r\n")


def test_words_of_inline_commands_may_be_quoted(wire: Wire) -> None:
    _exactly(
        wire,
        b'ECHO "a\\x41\\n\\"b c"\r\nECHO \'d "e\\\' \\n\'\r\n',
        b'$8\r\naA\n"b c\r\n'.replace(b"$8", b"$7") + b"$9\r\nd \"e' \\n\r\n".replace(b"$9", b"$8"),
    )


def test_inline_and_other_commands_may_be_mixed(wire: Wire) -> None:
    _exactly(wire, b"PING a\r\n" + PING + b"PING b\r\n" + PING, b"$1\r\na\r\n+PONG\r\n$1\r\nb\r\n+PONG\r\n")


def test_the_names_of_commands_may_be_in_any_case(wire: Wire) -> None:
    _exactly(wire, b"*1\r\n$4\r\npInG\r\nping\r\n", b"+PONG\r\n+PONG\r\n")


@pytest.mark.parametrize("version", [2, 3])
def test_null_is_spelled_as_the_protocol_s_version_spells_it(wire: Wire, version: int) -> None:
    wire.call("HELLO", version)
    _exactly(wire, b"GET nosuchkey\r\nLPOP nosuchkey 1\r\n", (b"$-1\r\n*-1\r\n", b"_\r\n_\r\n")[version - 2])


@pytest.mark.parametrize("version", [2, 3])
def test_maps_and_doubles_are_spelled_as_the_protocol_s_version_spells_them(wire: Wire, version: int) -> None:
    wire.call("HELLO", version)
    wire.call("DEL", "z", "h")
    wire.call("ZADD", "z", "1.5", "m")
    wire.call("HSET", "h", "f", "v")
    expected = (b"$3\r\n1.5\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n", b",1.5\r\n%1\r\n$1\r\nf\r\n$1\r\nv\r\n")[version - 2]
    _exactly(wire, b"ZSCORE z m\r\nHGETALL h\r\n", expected)


@pytest.mark.parametrize("version", [2, 3])
def test_a_message_is_an_array_in_resp2_and_a_push_in_resp3(server: Server, wire: Wire, version: int) -> None:
    wire.call("HELLO", version)
    wire.sock.sendall(b"SUBSCRIBE c\r\n")
    mark = b"*>"[version - 2 : version - 1]
    assert wire.sock.recv(1 << 16) == mark + b"3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"
    assert server.call("PUBLISH", "c", "m") == 1
    assert wire.sock.recv(1 << 16) == mark + b"3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n"


@pytest.mark.parametrize("version", ["1", "4", "-2", "99"])
def test_an_unknown_version_is_refused_and_changes_nothing(wire: Wire, version: str) -> None:
    _exactly(
        wire, b"HELLO %b\r\nGET nosuchkey\r\n" % version.encode(), b"-NOPROTO unsupported protocol version\r\n$-1\r\n"
    )


def test_an_error_begins_with_a_word_in_capitals_and_stays_on_its_line(wire: Wire) -> None:
    _exactly(
        wire,
        b"*2\r\n$6\r\nno\r\nsu\r\n$3\r\na\nb\r\nLPUSH\r\n",
        b"-ERR unknown command 'no  su', with args beginning with: 'a b' \r\n"
        b"-ERR wrong number of arguments for 'lpush' command\r\n",
    )


# -- errors of the protocol: the error, nothing behind it, and the end of the connection -------------------------------

COUNTS = (
    "x",
    "1x",
    "",
    " 1",
    "1 ",
    "+1",
    "01",
    "00",
    "-0",
    "1.0",
    "2147483648",
    "9223372036854775808",
    "-9223372036854775809",
    "1" * 40,
    "*1",
)
LENGTHS = (
    "x",
    "1x",
    "",
    " 4",
    "+4",
    "04",
    "-1",
    "-2",
    "-0",
    "4.0",
    "536870913",
    "2000000000",
    "9223372036854775808",
    "1" * 40,
)
OTHERS = (
    b":1",
    b"+PING",
    b"-ERR x",
    b"*1",
    b"PING",
    b"",
    b" $4",
    b"%1",
    b"~1",
    b"_",
    b"#t",
    b",1.5",
    b"(1",
    b"=4",
    b">1",
    b"|1",
    b"!4",
    b"\xff",
    b"\x01",
)


@pytest.mark.parametrize("count", COUNTS)
def test_a_count_that_is_none_is_refused(wire: Wire, count: str) -> None:
    _closing(
        wire, PING + b"*%b\r\n" % count.encode() + PING, b"+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n"
    )


@pytest.mark.parametrize("length", LENGTHS)
def test_a_length_that_is_none_is_refused(wire: Wire, length: str) -> None:
    _closing(
        wire, PING + b"*1\r\n$%b\r\n" % length.encode() + PING, b"+PONG\r\n-ERR Protocol error: invalid bulk length\r\n"
    )


@pytest.mark.parametrize("other", OTHERS)
def test_whatever_is_no_bulk_string_is_refused_inside_a_request(wire: Wire, other: bytes) -> None:
    shown = other[:1] or b" "
    _closing(
        wire,
        PING + b"*1\r\n" + other + b"\r\n" + PING,
        b"+PONG\r\n-ERR Protocol error: expected '$', got '%b'\r\n" % shown,
    )


@pytest.mark.parametrize("line", [b'ECHO "a', b"ECHO 'a", b'ECHO "a"b', b"ECHO 'a'b", b'"', b'ECHO "a\\"'])
def test_quotes_that_do_not_balance_are_refused(wire: Wire, line: bytes) -> None:
    _closing(wire, PING + line + b"\r\n" + PING, b"+PONG\r\n-ERR Protocol error: unbalanced quotes in request\r\n")


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"x", "too big inline request"),
        (b"*1", "too big mbulk count string"),
        (b"*1\r\n$1", "too big bulk count string"),
        (b"*1\r\nx", "too big bulk count string"),
    ],
)
def test_a_line_without_end_is_refused(wire: Wire, start: bytes, what: str) -> None:
    _closing(wire, PING + start + b"1" * 80_000, b"+PONG\r\n-ERR Protocol error: %b\r\n" % what.encode())


def test_a_nested_map_with_a_list_as_key_is_no_request(wire: Wire) -> None:
    _closing(wire, b"*1\r\n%1\r\n*0\r\n$1\r\na\r\n", b"-ERR Protocol error: expected '$', got '%'\r\n")


def test_the_error_keeps_its_place_behind_a_command_that_waits(server: Server, wire: Wire) -> None:
    wire.sock.sendall(b"*3\r\n$5\r\nBLPOP\r\n$1\r\nl\r\n$1\r\n0\r\n" + PING + b"*1\r\n:1\r\n")
    until(lambda: server.info("clients")["blocked_clients"] == "1", "the client waits")
    assert server.call("RPUSH", "l", "x") == 1
    _closing(wire, b"", b"*2\r\n$1\r\nl\r\n$1\r\nx\r\n+PONG\r\n-ERR Protocol error: expected '$', got ':'\r\n")


@pytest.mark.parametrize(
    "announced",
    [
        b"*1000000000\r\n",
        b"*2147483647\r\n$1\r\nx\r\n",
        b"*1\r\n$536870912\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000000\r\nx",
    ],
)
def test_what_is_only_announced_takes_no_memory(server: Server, announced: bytes) -> None:
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status")

    def resident_kib() -> int:
        return int(status.read_text().split("VmRSS:")[1].split()[0])

    server.call("PING")
    before = resident_kib()
    wires = [Wire(server.port) for _ in range(20)]
    for one in wires:
        one.sock.sendall(PING + announced)
        assert one.read() == b"PONG"
    grown = resident_kib() - before
    for one in wires:
        one.close()
    assert grown < 20_000, f"20 announcements took {grown} KiB"


@pytest.mark.parametrize("mark", [b"*", b"~", b">", b"%", b"|"])
@pytest.mark.parametrize(
    "before", [b"*1\r\n", b"*2\r\n$4\r\nECHO\r\n", PING + b"*2\r\n$4\r\nECHO\r\n", b"*3\r\n$4\r\nECHO\r\n$1\r\naxx"]
)
def test_a_large_aggregate_inside_a_request_is_refused_before_it_takes_memory(
    server: Server, wire: Wire, before: bytes, mark: bytes
) -> None:
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status")

    def peak_kib() -> int:
        return int(status.read_text().split("VmHWM:")[1].split()[0])

    peak = peak_kib()
    pongs = b"+PONG\r\n" * before.startswith(PING)
    _closing(wire, before + mark + b"20000000\r\n", pongs + b"-ERR Protocol error: expected '$', got '%b'\r\n" % mark)
    assert peak_kib() - peak < 50_000


# -- before authentication ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=ENGINES)
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers(Path(tmp_path_factory.mktemp("guarded")), request.param) as (one,):
        assert one.call("CONFIG", "SET", "requirepass", "secret") == b"OK"
        yield one


@pytest.mark.parametrize(
    ("sent", "what"),
    [
        (b"*11\r\n", "unauthenticated multibulk length"),
        (b"*1\r\n$16385\r\n", "unauthenticated bulk length"),
        (b"*2147483648\r\n", "invalid multibulk length"),
    ],
)
def test_who_has_not_authenticated_is_held_to_small_requests(guarded: Server, sent: bytes, what: str) -> None:
    wire = Wire(guarded.port)
    _closing(
        wire, b"GET k\r\n" + sent, b"-NOAUTH Authentication required.\r\n-ERR Protocol error: %b\r\n" % what.encode()
    )
    wire.close()


def test_the_limits_end_with_auth_even_in_one_read(guarded: Server) -> None:
    wire = Wire(guarded.port)
    wire.sock.sendall(
        b"AUTH secret\r\n*2\r\n$4\r\nECHO\r\n$20000\r\n"
        + b"x" * 20_000
        + b"\r\n*12\r\n$3\r\nDEL\r\n"
        + b"$1\r\nk\r\n" * 11
    )
    assert [wire.read() for _ in range(3)] == [b"OK", b"x" * 20_000, 0]
    wire.close()
