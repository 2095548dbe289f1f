"""Commands made from the table's own grammar, against a whole node: plain, in MULTI, from a script, in RESP3, from
somebody who has not said who he is.
"""

from __future__ import annotations

from random import Random
from typing import Any

import hiredis

from replicator.core.command_table.registry import REGISTRY
from replicator.core.events import OutputPending, Received
from replicator.core.limits import PARTS_AHEAD_BYTES
from tests.fuzz.steps import Steps
from tests.fuzz.target import INTERESTING, Target, mutated
from tests.support.nodes import LocalNode

KEYS = (b"s", b"n", b"l", b"t", b"h", b"z", b"x", b"p", b"g", b"missing", b"", b"\xff\0")
NUMBERS = (
    *(b"0", b"1", b"-1", b"2", b"10", b"100", b"-100", b"1000000", b"-20000000", b"2147483647", b"2147483648"),
    *(b"-2147483649", b"4294967296", b"9223372036854775807", b"-9223372036854775808", b"9223372036854775808"),
    *(b"1.5", b"-0", b"1e309", b"nan", b"inf", b"-inf", b"(1", b"[a", b"+", b"-", b"1-1", b"$", b">", b"*", b"9" * 400),
)
_TAKING_MS = 5  # for so long a client takes what it is sent
WORDS = tuple(
    (
        b"GET SET NX XX EX PX EXAT KEEPTTL COUNT MATCH LIMIT BY ASC DESC STORE WITHSCORES WITHVALUES REV BYSCORE "
        b"BYLEX LEFT RIGHT BEFORE AFTER MAXLEN MINID ~ = ID GROUP STREAMS NOACK BLOCK IDLE FORCE JUSTID MKSTREAM "
        b"ENTRIESREAD LASTID RANK WEIGHTS AGGREGATE MIN MAX SUM FROMMEMBER FROMLONLAT BYRADIUS BYBOX m km "
        b"WITHCOORD WITHDIST WITHHASH ANY CH INCR GT LT OVERFLOW WRAP SAT FAIL u8 i64 u63 REPLACE ABSTTL IDLETIME "
        b"FREQ DB ASYNC SYNC ON OFF YES NO RESET ALL TYPE string FILTERBY AND OR NOT XOR BIT BYTE LEN IDX "
        b"MINMATCHLEN WITHMATCHLEN KEYS AUTH AUTH2 COPY TO TIMEOUT ABORT NOSAVE LIB FUNCTION HELP DOCTOR STATS "
        b"USAGE SAMPLES CREATE"
    ).split()
)
# They end the process, leave for another primary, or wait for somebody: peers.py and the tests of these speak of them.
LEFT_OUT = frozenset(("shutdown", "replicaof", "slaveof", "failover", "debug", "monitor", "sync", "psync", "quit"))
_DEBUG = (
    b"SLEEP",
    b"JMAP",
    b"DIGEST",
    b"DIGEST-VALUE",
    b"OBJECT",
    b"STRINGMATCH-LEN",
    b"LISTPACK",
    b"LOG",
    b"PROTOCOL",
)
_SCRIPTS = (
    b"return redis.call(unpack(ARGV))",
    b"return redis.pcall(unpack(ARGV))",
    b"redis.setresp(3) return redis.pcall(unpack(ARGV))",
    b"redis.set_repl(redis.REPL_NONE) return {redis.pcall(unpack(ARGV)), redis.pcall(unpack(ARGV))}",
    b"return cjson.encode({redis.pcall(unpack(ARGV))})",
    b"return cmsgpack.pack(redis.pcall(unpack(ARGV)))",
)


def _names() -> list[bytes]:
    found = []
    for name, entry in REGISTRY.items():
        if name in LEFT_OUT or "|" in name:
            continue
        found += [b"%b %b" % (name.encode(), sub.encode()) for sub in entry.subcommands] or [name.encode()]
    return sorted(found)


NAMES = _names()


def _word(chance: Random) -> bytes:
    kind = chance.random()
    if kind < 0.4:
        return chance.choice(KEYS)
    if kind < 0.7:
        return chance.choice(NUMBERS)
    if kind < 0.88:
        return chance.choice(WORDS)
    if kind < 0.96:
        return chance.choice((b"a", b"b", b"m", b"f", b"c1", b"value", b"x" * 100, b"*", b"?[^", b"u", b"~*", b"+@all"))
    return chance.choice(INTERESTING)[:600]


def command(chance: Random) -> list[bytes]:
    """One command: a name of the table, and arguments about as many as it takes."""
    if chance.random() < 0.02:
        return [b"DEBUG", chance.choice(_DEBUG), *(_word(chance) for _ in range(chance.randrange(3)))]
    argv = chance.choice(NAMES).split(b" ")
    entry = REGISTRY[argv[0].decode()]
    if len(argv) > 1:
        entry = entry.subcommands[argv[1].decode()]
    wanted = max(0, entry.least - len(argv)) + chance.choice((0, 0, 0, 1, 2, 3, 6))
    if chance.random() < 0.05:
        wanted = chance.randrange(4)
    return [*argv, *(_word(chance) for _ in range(min(wanted, max(0, min(entry.most, 100) - len(argv) + 1))))]


def conversation(chance: Random) -> list[list[bytes]]:
    """Some commands of one client, in one of the ways in which they may come."""
    many = [command(chance) for _ in range(chance.choice((1, 3, 10, 30)))]
    kind = chance.randrange(8)
    if kind == 0:
        many = [[b"MULTI"], *many, [b"EXEC"]]
    elif kind == 1:
        many = [[chance.choice((b"EVAL", b"EVAL_RO")), chance.choice(_SCRIPTS), b"0", *argv] for argv in many]
    elif kind == 2:
        many = [[b"HELLO", b"3"], *many]
    elif kind == 3:
        many = [[b"CLIENT", b"TRACKING", b"ON", b"BCAST"], *many]
    elif kind == 4:
        many = [[b"SUBSCRIBE", b"c"], *many]
    return many


HONEST: tuple[tuple[str | bytes, ...], ...] = (
    ("SET", "s", "value"), ("SET", "n", "10"), ("RPUSH", "l", "a", "b", "c"), ("SADD", "t", "1", "2", "a"),
    ("HSET", "h", "f", "v", "n", "1"), ("ZADD", "z", "1", "a", "2.5", "b"), ("XADD", "x", "1-1", "f", "v"),
    ("XGROUP", "CREATE", "x", "g", "0"), ("PFADD", "p", "a"), ("GEOADD", "g", "13", "38", "m"),
    ("SET", "e", "1", "PX", "5"),
)  # fmt: skip


def fresh(*arguments: str) -> LocalNode:
    """A node with a little of each type, and small limits: how much fits into memory is not what is to be found."""
    node = LocalNode("--proto-max-bulk-len", "1mb", "--enable-debug-command", "yes", *arguments)
    client = node.open()
    for argv in HONEST:
        client.send(*argv)
    client.close()
    return node


class Room:
    """A node that lives for some inputs, because making one is dear."""

    def __init__(self, *arguments: str) -> None:
        self.arguments = arguments
        self.node: LocalNode | None = None
        self.left = 0

    def take(self) -> LocalNode:
        """The node; a fresh one after fifty inputs, or when it has ended."""
        if self.node is None or self.left == 0 or self.node.exit_code is not None:
            self.node, self.left = fresh(*self.arguments), 50
        self.left -= 1
        return self.node


def say(node: LocalNode, data: bytes) -> None:
    """Bytes of a new client, in two reads; it takes what comes for a while, then nothing; then its end."""
    client = node.open()
    half = len(data) // 3
    try:
        for piece in (data[:half], data[half:]):
            if piece and not client.closed and node.exit_code is None:
                with Steps(len(piece)):
                    node.handle(Received(client.conn, piece))
        for _ in range(_TAKING_MS):  # each is a turn of its own, and an answer in parts a part in each
            if node.exit_code is None:
                with Steps(1000):
                    node.advance(1)
        if node.exit_code is None:
            node.handle(OutputPending(client.conn, PARTS_AHEAD_BYTES + 1))  # it takes no more
            with Steps(1000):
                node.advance(150)
        _read(client)
    finally:
        if not client.closed and node.exit_code is None:
            client.close()


def _read(client: Any) -> None:
    """What came back is RESP (hiredis refuses replies nested deeper than it goes, and values that are no keys)."""
    try:
        client.read()
    except (hiredis.ProtocolError, TypeError):
        pass


_ROOM, _STRICT = Room(), Room("--requirepass", "secret")


def _alone(argvs: list[list[bytes]]) -> None:
    """Each input against the same data: a corpus is of no use if it hangs on what came before."""
    say(_ROOM.take(), b"".join(hiredis.pack_command(tuple(argv)) for argv in argvs))


def _mutated_conversation(chance: Random) -> bytes:
    data = b"".join(hiredis.pack_command(tuple(argv)) for argv in conversation(chance))
    return mutated(chance, data, (b"PING\r\n\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\ns\r\n$1\r\nv\r\n"))


TARGETS = {
    "commands": Target(conversation, _alone),
    "conversations": Target(_mutated_conversation, lambda data: say(_ROOM.take(), data)),
    "strangers": Target(_mutated_conversation, lambda data: say(_STRICT.take(), data)),
}
