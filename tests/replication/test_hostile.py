"""Peers that lie, stall or talk nonsense: nothing crashes, hangs or grows, and old data stays where it may."""

from __future__ import annotations

import os
from random import Random

import hiredis
import pytest

from replicator.core import events as told
from replicator.core import limits
from replicator.core.replication.link import ReplicaState
from tests.support.replication_world import End, Member, World

LONG = 20 if os.environ.get("REPLICATOR_LONG") else 1
ID = b"a" * 40
MARK = b"m" * 40
BASE = (("repl-diskless-sync-delay", "0"), ("save", '""'), ("repl-timeout", "5"))


def payload(keys: int = 20) -> bytes:
    """A small honest snapshot."""
    world = World("payload", 1)
    world.start(*BASE)
    for number in range(keys):
        world.members[0].call("SET", f"k{number}", "x" * 50)
    return b"".join(world.members[0].node.snapshots.chunks())


HONEST = payload()


# -- the replica's side ------------------------------------------------------------------------------------------------


class Liar:
    """The primary that a node follows, played by the test."""

    def __init__(self, *directives: tuple[str, str]) -> None:
        self.world = World("liar", 1)
        self.world.deceived = True
        self.world.start(*BASE, *directives)
        self.member: Member = self.world.members[0]
        self.member.call("SET", "old", "data")
        self.member.call("REPLICAOF", "127.0.0.1", 9)
        self.end: End | None = None
        self.connect()

    @property
    def state(self) -> ReplicaState:
        return self.member.node.replica.state

    def connect(self) -> None:
        """Accept the node's next attempt."""
        for _ in range(20):
            if self.world.connecting:
                break
            self.world.pass_time(500)
        _, _, effect = self.world.connecting.popleft()
        self.end = End(self.member, effect.conn)
        self.member.ends[effect.conn] = self.end
        self.member.tell(told.Connected(effect.conn, "127.0.0.1", 1))

    @property
    def connected(self) -> bool:
        return self.end is not None and not self.end.closed

    def say(self, data: bytes) -> None:
        """Bytes from the primary, if it is still listened to."""
        assert self.end is not None
        if data and self.connected and not self.end.paused:
            self.member.tell(told.Received(self.end.conn, data))
        while self.member.running and self.member.work(self.world.chance):
            continue

    def shake_hands(self) -> None:
        """PING, REPLCONF and so on, up to PSYNC."""
        assert self.end is not None
        self.say(b"+PONG\r\n")
        while self.state is ReplicaState.HANDSHAKE:
            self.say(b"+OK\r\n")
        assert self.state is ReplicaState.PSYNC

    def replies(self) -> bytes:
        """All that the node has said on this connection."""
        assert self.end is not None
        return bytes(self.end.replies)

    def holds(self) -> dict[bytes, object]:
        return self.member.node.keyspace.databases[0].values


LIES = {
    "blank line": b"   \r\n",
    "full resync without figures": b"+FULLRESYNC\r\n",
    "short id": b"+FULLRESYNC abc 5\r\n",
    "negative offset": b"+FULLRESYNC " + ID + b" -5\r\n",
    "endless offset": b"+FULLRESYNC " + ID + b" " + b"9" * 5000 + b"\r\n",
    "continue with rubbish": b"+CONTINUE \xff\xfe\r\n*1\r\n$4\r\nPIN",
    "bulk for a header": b"+FULLRESYNC " + ID + b" 5\r\nnonsense\r\n",
    "endless length": b"+FULLRESYNC " + ID + b" 5\r\n$" + b"9" * 40 + b"\r\n",
    "negative length": b"+FULLRESYNC " + ID + b" 5\r\n$-1\r\n",
    "error for a payload": b"+FULLRESYNC " + ID + b" 5\r\n-ERR no\r\n",
    "short mark": b"+FULLRESYNC " + ID + b" 5\r\n$EOF:abc\r\n",
    "no rdb": b"+FULLRESYNC " + ID + b" 5\r\n$11\r\nnot an rdb!",
    "nothing": b"+FULLRESYNC " + ID + b" 5\r\n$0\r\n",
    "longer than announced": b"+FULLRESYNC " + ID + b" 5\r\n$%d\r\n" % (len(HONEST) - 9) + HONEST,
    "shorter than announced": b"+FULLRESYNC " + ID + b" 5\r\n$%d\r\n" % (len(HONEST) + 9) + HONEST + b"123456789",
    "other mark": b"+FULLRESYNC " + ID + b" 5\r\n$EOF:" + MARK + b"\r\n" + HONEST + b"n" * 40,
    "mark inside": b"+FULLRESYNC " + ID + b" 5\r\n$EOF:" + MARK + b"\r\n" + HONEST[:100] + MARK,
    "endless line": b"x" * 200_000,
    "endless line ends": b"\n" * 300_000 + b"+NOPE\r\n",
}


@pytest.mark.parametrize("load", ["disabled", "on-empty-db", "swapdb"])
@pytest.mark.parametrize("lie", LIES)
def test_a_lying_primary_is_left_and_its_lie_never_becomes_data(lie: str, load: str) -> None:
    liar = Liar(("repl-diskless-load", load))
    liar.shake_hands()
    liar.say(LIES[lie])
    liar.world.pass_time(6000)  # what only waits for more gives up
    assert liar.member.running
    assert not liar.connected
    assert not liar.member.node.replica.up
    assert liar.member.node.loads.loading is None
    if load == "swapdb":
        assert liar.holds() == {b"old": b"data"}
    else:
        assert liar.holds() in ({b"old": b"data"}, {})
    assert not [name for name in liar.member.files if name.startswith("temp")]
    # And an honest one is believed afterwards.
    liar.connect()
    liar.shake_hands()
    liar.say(b"+FULLRESYNC " + ID + b" 5\r\n$%d\r\n" % len(HONEST) + HONEST)
    assert liar.state is ReplicaState.CONNECTED
    assert len(liar.holds()) == 20
    assert (liar.member.node.history.id, liar.member.node.history.end) == (ID.decode(), 5)


@pytest.mark.parametrize("load", ["disabled", "swapdb"])
@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"+PONG\r\n",
        b"handshake",
        b"handshake+FULLRESYNC " + ID + b" 5\r\n",
        b"handshake+FULLRESYNC " + ID + b" 5\r\n$99\r\nRED",
    ],
    ids=["nothing", "a pong", "no answer to PSYNC", "no payload", "half a payload"],
)
def test_a_primary_that_stalls_is_left_after_repl_timeout(said: bytes, load: str) -> None:
    liar = Liar(("repl-diskless-load", load))
    if said.startswith(b"handshake"):
        liar.shake_hands()
    liar.say(said.removeprefix(b"handshake"))
    liar.world.pass_time(4000)
    assert liar.connected
    liar.world.pass_time(1500)
    assert not liar.connected
    liar.connect()
    assert liar.state is ReplicaState.PING


def test_a_sync_tried_in_vain_leaves_no_trace_in_a_link_that_is_continued() -> None:
    liar = Liar()
    honest_link(liar)
    liar.say(hiredis.pack_command(("SET", "k1", "1")))
    assert liar.end is not None
    for answer in (b"-NOPERM\r\n-NOPERM\r\n", b"+CONTINUE\r\n"):
        liar.member.drop(liar.end, tell=True)
        hear(liar.member)
        liar.connect()
        liar.shake_hands()
        liar.say(answer)
    assert liar.state is ReplicaState.CONNECTED
    place = liar.member.node.history.end
    assert liar.replies().endswith(hiredis.pack_command(("REPLCONF", "ACK", place)))
    liar.member.drop(liar.end, tell=True)
    hear(liar.member)
    liar.connect()
    liar.shake_hands()
    assert liar.replies().endswith(hiredis.pack_command(("PSYNC", ID, place + 1)))


def test_line_ends_keep_a_waiting_replica_patient() -> None:
    liar = Liar()
    liar.shake_hands()
    liar.say(b"+FULLRESYNC " + ID + b" 5\r\n")
    for _ in range(10):
        liar.world.pass_time(4000)
        liar.say(b"\n")
    assert liar.connected


def test_nothing_that_the_stream_says_is_answered() -> None:
    liar = Liar()
    liar.shake_hands()
    liar.say(b"+FULLRESYNC " + ID + b" 0\r\n$%d\r\n" % len(HONEST) + HONEST)
    assert liar.end is not None
    liar.end.replies.clear()
    for argv in (("PING",), ("GET", "k1"), ("SUBSCRIBE", "c"), ("PUBLISH", "c", "m"), ("MONITOR",), ("NONSENSE",)):
        liar.say(hiredis.pack_command(argv))
    if liar.connected:
        liar.say(hiredis.pack_command(("REPLCONF", "GETACK", "*")))
    assert liar.end.replies.startswith(b"*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n")
    assert liar.end.replies.count(b"*") == 1


def honest_link(liar: Liar) -> None:
    """Up to the stream."""
    liar.shake_hands()
    liar.say(b"+FULLRESYNC " + ID + b" 0\r\n$%d\r\n" % len(HONEST) + HONEST)
    assert liar.state is ReplicaState.CONNECTED


ENDLESS = {
    "a transaction": (b"*1\r\n$5\r\nMULTI\r\n", hiredis.pack_command(("SET", "k1", "y" * 1000))),
    "a transaction of small things": (b"*1\r\n$5\r\nMULTI\r\n", hiredis.pack_command(("DEL", "k1")) * 50),
    "a command": (b"*2147483647\r\n$3\r\nDEL\r\n", b"$1000\r\n" + b"y" * 1000 + b"\r\n"),
    "a command of small things": (b"*2147483647\r\n$3\r\nDEL\r\n", b"$1\r\ny\r\n" * 100),
    "a value": (b"*3\r\n$3\r\nSET\r\n$2\r\nk1\r\n$536870912\r\n", b"y" * 1000),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_a_stream_that_keeps_something_open_without_end_is_left(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_UNAPPLIED", 200_000)
    liar = Liar()
    honest_link(liar)
    liar.say(hiredis.pack_command(("SET", "applied", "1")))
    before, offset = dict(liar.holds()), liar.member.node.history.end
    begin, more = ENDLESS[what]
    liar.say(begin)
    most = 0
    for _ in range(300):
        if not liar.connected:
            break
        liar.say(more)
        following = liar.member.node.applying
        most = max(most, len(following.unapplied) + limits.ARGUMENT_WEIGHT * sum(map(len, following.queue)))
    assert not liar.connected
    assert 10_000 < most <= 200_000
    assert liar.holds() == before and liar.member.node.history.end == offset
    assert any("more than a replica keeps: leaving it" in line for line in liar.member.log)
    following = liar.member.node.applying
    assert not following.unapplied and not following.queue
    # What was open must not come again and again by partial synchronizations.
    liar.connect()
    assert liar.end is not None
    liar.shake_hands()
    assert b"PSYNC\r\n$1\r\n?" in liar.replies()
    assert liar.holds() == before


def test_a_long_transaction_below_the_bound_is_applied_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_UNAPPLIED", 200_000)
    liar = Liar()
    honest_link(liar)
    for number in range(3):
        liar.say(b"*1\r\n$5\r\nMULTI\r\n")
        for _ in range(100):
            liar.say(hiredis.pack_command(("APPEND", "long", "y" * 1000)))
        assert len(liar.holds().get(b"long", b"")) == 100_000 * number  # type: ignore[arg-type]
        liar.say(b"*1\r\n$4\r\nEXEC\r\n")
    assert liar.connected
    assert len(liar.holds()[b"long"]) == 300_000  # type: ignore[arg-type]


@pytest.mark.parametrize("end", ["mark", "length"])
@pytest.mark.parametrize("load", ["on-empty-db", "swapdb"])
def test_a_payload_that_outgrows_memory_is_left_and_old_data_kept(load: str, end: str) -> None:
    liar = Liar(("repl-diskless-load", load))
    node = liar.member.node
    if load == "on-empty-db":
        node.keyspace.databases[0].clear()
    before = dict(liar.holds())
    held = [0]
    node.surroundings.memory = 1_000_000
    node.surroundings.resident = lambda: 500_000 + held[0]
    liar.shake_hands()
    mark = b"EOF:" + MARK if end == "mark" else b"9" * 11
    body = HONEST[: HONEST.index(b"\xfe")]
    liar.say(b"+FULLRESYNC " + ID + b" 5\r\n$" + mark + b"\r\n" + body)
    # One value that never ends: it says that it has 2**40 bytes.
    liar.say(b"\x00\x01k\x81" + (1 << 40).to_bytes(8, "big"))
    for _ in range(1000):
        if not liar.connected:
            break
        liar.say(b"y" * 1000)
        held[0] += 1000
    assert not liar.connected
    assert 400_000 <= held[0] <= 402_000
    assert node.loads.loading is None
    assert liar.holds() == before
    assert any("90% of the memory that this process may have is in use" in line for line in liar.member.log)
    # With room again, an honest payload is taken.
    held[0] = 0
    liar.connect()
    honest_link(liar)
    assert len(liar.holds()) == 20


def test_a_payload_that_fills_the_disk_is_left_and_its_file_removed() -> None:
    liar = Liar(("repl-diskless-load", "disabled"))
    liar.shake_hands()
    liar.say(b"+FULLRESYNC " + ID + b" 5\r\n$EOF:" + MARK + b"\r\n" + HONEST)
    (name,) = (name for name in liar.member.files if name.startswith("temp"))
    liar.member.tell(told.FileFailed(name, "No space left on device", False))
    assert not liar.connected
    assert name not in liar.member.files
    assert liar.holds() == {b"old": b"data"}
    assert any("No space left on device" in line for line in liar.member.log)
    liar.connect()
    honest_link(liar)


@pytest.mark.parametrize("seed", range(30 * LONG))
def test_a_primary_of_random_pieces_neither_crashes_nor_hangs_a_replica(seed: int) -> None:
    chance = Random(seed)
    liar = Liar(("repl-diskless-load", chance.choice(("disabled", "on-empty-db", "swapdb"))))
    pieces = [
        *LIES.values(),
        b"+PONG\r\n",
        b"+OK\r\n" * 4,
        b"-ERR\r\n",
        b"-NOMASTERLINK x\r\n",
        b"-LOADING x\r\n",
        b"+CONTINUE\r\n",
        b"+CONTINUE " + b"b" * 40 + b"\r\n",
        b"+FULLRESYNC " + ID + b" 7\r\n",
        b"$%d\r\n" % len(HONEST),
        b"$EOF:" + MARK + b"\r\n",
        HONEST,
        HONEST[: len(HONEST) // 2],
        MARK,
        b"\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\na",
        b"*1\r\n$5\r\nMULTI\r\n",
        b"*1\r\n$4\r\nEXEC\r\n",
        b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n",
        b"*2\r\n$6\r\nSELECT\r\n$2\r\n99\r\n",
        b"*-1\r\n",
        b"*1\r\n$99999999999\r\n",
    ]
    for _ in range(60):
        if not liar.connected:
            liar.connect()
            if chance.random() < 0.7:
                liar.shake_hands()
        data = chance.choice(pieces)
        while data and liar.connected:
            size = chance.choice((1, 7, 1000, len(data))) if len(data) < 5000 else len(data)
            liar.say(data[:size])
            data = data[size:]
        if chance.random() < 0.1:
            liar.world.pass_time(chance.choice((1, 1000, 6000)))
        assert liar.member.running
        liar.member.node.check_invariants()
    assert liar.member.call("PING") == b"PONG" or "LOADING" in str(liar.member.call("PING"))


# -- the primary's side ------------------------------------------------------------------------------------------------


def stranger(member: Member) -> End:
    """A connection played by the test."""
    member._conns += 1
    end = End(member, member._conns)
    member.ends[end.conn] = end
    member.tell(told.Opened(end.conn, "127.0.0.1", 1, "127.0.0.1", member.port))
    return end


def hear(member: Member) -> None:
    """Let the member hear all that waits for it."""
    while member.events:
        member.tell(member.events.popleft())


@pytest.mark.parametrize("seed", range(30 * LONG))
def test_replicas_of_random_requests_neither_crash_nor_hang_a_primary(seed: int) -> None:
    chance = Random(seed)
    world = World(f"hostile/{seed}", 1)
    world.start(*BASE, ("repl-backlog-size", "16kb"), ("repl-diskless-sync", chance.choice(("yes", "no"))))
    member = world.members[0]
    node = member.node
    ends: list[End] = []

    def number() -> str:
        end = node.history.end
        return str(chance.choice((0, -1, -2, 1, end, end + 1, end + 2, 2**62, 2**63, -(2**63), 10**30, "x", "")))

    def request() -> tuple[str, ...]:
        return chance.choice(
            [
                ("REPLCONF", "listening-port", number()),
                ("REPLCONF", "ip-address", "x" * chance.choice((1, 255, 256, 10_000))),
                ("REPLCONF", "capa", chance.choice(("eof", "psync2", "nonsense"))),
                ("REPLCONF", "ACK", number()),
                ("REPLCONF", "ACK", number(), "FACK", number()),
                ("REPLCONF", "GETACK", "*"),
                ("REPLCONF", "rdb-only", number()),
                ("REPLCONF", "rdb-filter-only", chance.choice(("", "functions", "x"))),
                ("REPLCONF", "nonsense"),
                ("PSYNC", chance.choice((node.history.id, node.history.id2, "?", "\xff", "")), number()),
                ("PSYNC", node.history.id, number(), chance.choice(("FAILOVER", "x"))),
                ("SYNC",),
                ("PING",),
                ("SET", "a", "b"),
                ("MULTI",),
                ("EXEC",),
                ("SUBSCRIBE", "c"),
                ("WAIT", "1", "1"),
                ("ROLE",),
                ("CLIENT", "REPLY", "OFF"),
            ]
        )

    for _ in range(150):
        ends = [end for end in ends if not end.closed]
        if len(ends) < 5:
            ends.append(stranger(member))
        end = chance.choice(ends)
        data = b"".join(hiredis.pack_command(request()) for _ in range(chance.randrange(1, 4)))
        if chance.random() < 0.1:
            data = data[: chance.randrange(len(data))] or b"\n"
        member.tell(told.Received(end.conn, data))
        if chance.random() < 0.3:
            member.call("SET", "k", "v" * chance.randrange(3000))
        if end.streaming and chance.random() < 0.5:
            assert isinstance(node.pull(end.conn, 1000), bytes)
        if chance.random() < 0.3:
            member.work(chance)
        if chance.random() < 0.1:
            world.pass_time(chance.choice((10, 1000, 6000)))
        if chance.random() < 0.1:
            member.drop(end, tell=True)
            hear(member)
        assert member.running
        assert not node.replica.active
        node.check_invariants()
    for end in ends:
        if not end.closed:
            member.drop(end, tell=True)
    hear(member)
    world.settle(3000)
    assert not node.primary.links
    assert node.history.window is None or node.history.window.memory <= 16 * 1024 + 128 * 1024
    assert member.call("GET", "k") is not None or member.call("PING") == b"PONG"
