"""A Sentinel without a world: the test answers its questions, commits its file (or does not), and moves its clock."""

from __future__ import annotations

from random import Random
from typing import Any

import hiredis

from replicator.core import effects as do
from replicator.core import events as told
from replicator.core.config.config import Config, MemoryStore
from replicator.core.now import Now
from replicator.core.sentinel.file import DEFAULT_PORT, separate
from replicator.core.sentinel.machine import Sentinel, Surroundings
from replicator.core.wire.request import RequestDecoder, encode

PATH = "/etc/sentinel.conf"
CONF = "port 26379\nsentinel monitor mymaster 10.0.0.1 6379 2\nsentinel down-after-milliseconds mymaster 1000\n"
MY_ID = "a" * 40
OTHERS = ("b" * 40, "c" * 40)


def build(text: str = CONF, seed: int = 0, **surroundings: Any) -> Sentinel:
    """A Sentinel with the configuration of this text. Raises ConfigFileError."""
    config = Config(MemoryStore(text, PATH))
    config.assign("port", DEFAULT_PORT)
    config.assign("protected-mode", False)
    rest, given, own = separate(text, [], PATH)
    config.load("\n".join((rest, *given)))
    surroundings.setdefault("config_file", PATH)
    return Sentinel(config, own, Random(seed), Surroundings(**surroundings), text)


class World:
    """Drives one Sentinel.

    questions: what it asked, by connection, decoded; logs and events: as they came. disk: "well", "slow" (nothing is
    committed until `commit`) or "fails".
    """

    def __init__(self, text: str = CONF, seed: int = 0, **surroundings: Any) -> None:
        self.sentinel = build(text, seed, **surroundings)
        self.now_ms = 1_000_000
        self.wall_off_ms = 1_700_000_000_000
        self.disk = "well"
        self.file: str | None = None
        self._written = ""
        self._commits: list[do.CommitFile] = []
        self.logs: list[str] = []
        self.connects: dict[int, tuple[str, int]] = {}
        self.up: dict[int, tuple[str, int]] = {}
        self._decoders: dict[int, RequestDecoder] = {}
        self.questions: dict[int, list[list[bytes]]] = {}
        self.readers: dict[int, hiredis.Reader] = {}
        self.closed: list[int] = []
        self.exits: list[do.Exit] = []
        self.scripts: list[do.RunScript] = []
        self.killed: list[int] = []
        self._clients = 0
        self.tell(told.Started())

    # -- driving -----------------------------------------------------------------------------------------------------

    @property
    def now(self) -> Now:
        return Now(self.now_ms, self.now_ms + self.wall_off_ms)

    def tell(self, event: told.Event) -> None:
        self._carry_out(self.sentinel.handle(event, self.now))

    def _carry_out(self, effects: list[do.Effect]) -> None:
        behind: list[told.Event] = []
        for effect in effects:
            match effect:
                case do.Log():
                    self.logs.append(effect.message)
                case do.Connect():
                    self.connects[effect.conn] = (effect.host, effect.port)
                case do.Send():
                    self._sent(effect)
                case do.Close():
                    self.closed.append(effect.conn)
                    self.up.pop(effect.conn, None)
                    self.connects.pop(effect.conn, None)
                    if effect.conn > 0:
                        behind.append(told.Closed(effect.conn, effect.why))
                case do.AppendFile():
                    self._written = effect.data.decode()
                case do.CommitFile():
                    self._commits.append(effect)
                case do.Exit():
                    self.exits.append(effect)
                case do.RunScript():
                    self.scripts.append(effect)
                case do.KillScript():
                    self.killed.append(effect.number)
                case _:
                    pass
        if self.disk != "slow":
            self.commit(behind)
        for event in behind:
            self.tell(event)

    def commit(self, behind: list[told.Event] | None = None) -> None:
        """Let the writes of the file end, well or not."""
        commits, self._commits = self._commits, []
        for effect in commits:
            if self.disk == "fails":
                event: told.Event = told.FileFailed(effect.name, "No space left on device", False)
            else:
                self.file = self._written
                event = told.FileCommitted(effect.name, effect.final_name)
            if behind is None:
                self.tell(event)
            else:
                behind.append(event)

    def _sent(self, effect: do.Send) -> None:
        if effect.conn < 0:
            decoder = self._decoders.setdefault(effect.conn, RequestDecoder())
            self.questions.setdefault(effect.conn, []).extend(decoder.feed(effect.data))
        else:
            self.readers[effect.conn].feed(effect.data)

    def pass_time(self, milliseconds: int) -> None:
        """Advance the clock, calling the machine whenever it has work."""
        end = self.now_ms + milliseconds
        while True:
            deadline = self.sentinel.deadline_ms()
            assert deadline is not None
            if deadline > end:
                break
            self.now_ms = max(self.now_ms, deadline)
            self._carry_out(self.sentinel.advance(self.now))
        self.now_ms = end

    # -- what it watches ---------------------------------------------------------------------------------------------

    def accept(self, *addresses: tuple[str, int]) -> None:
        """Let the connections that are being made stand (to these addresses; none: all)."""
        for conn, address in list(self.connects.items()):
            if not addresses or address in addresses:
                del self.connects[conn]
                self.up[conn] = address
                self.tell(told.Connected(conn, "10.0.0.100", 50_000 - conn))

    def take(self, address: tuple[str, int]) -> list[tuple[int, list[bytes]]]:
        """What was asked at an address and has not been taken yet, each with its connection."""
        found = []
        for conn, where in list(self.up.items()):
            if where == address:
                found += [(conn, argv) for argv in self.questions.pop(conn, [])]
        return found

    def say(self, conn: int, data: bytes) -> None:
        """Bytes from what it watches."""
        self.tell(told.Received(conn, data))

    def lose(self, address: tuple[str, int]) -> None:
        """All connections to the address break."""
        for conn, where in list(self.up.items()):
            if where == address:
                del self.up[conn]
                self.questions.pop(conn, None)
                self.tell(told.Closed(conn, "Connection reset by peer"))

    def hello(self, run_id: str, ip: str, *, epoch: int = 0, config_epoch: int = 0, at: str = "10.0.0.1",
              port: int = 6379) -> None:  # fmt: skip
        """Another Sentinel says hello, directly."""
        words = f"{ip},26379,{run_id},{epoch},mymaster,{at},{port},{config_epoch}"
        assert self.call("PUBLISH", "__sentinel__:hello", words) == 1

    # -- who asks it -------------------------------------------------------------------------------------------------

    def client(self) -> int:
        """A new client's connection."""
        self._clients += 1
        conn = self._clients
        self.readers[conn] = hiredis.Reader()
        self.tell(told.Opened(conn, "10.1.0.1", 1000 + conn, "10.0.0.100", 26379))
        return conn

    def ask(self, conn: int, *argv: str | int) -> Any:
        """Send a command; the answer if it is there, False if it is held back."""
        self.tell(told.Received(conn, encode(tuple(str(word).encode("utf-8", "surrogateescape") for word in argv))))
        return self.readers[conn].gets()

    def call(self, *argv: str | int) -> Any:
        """A command on a connection of its own."""
        return self.ask(self.client(), *argv)

    def fields(self, *argv: str) -> dict[str, str]:
        """The answer of SENTINEL MASTER."""
        words = [word.decode() for word in self.call(*argv)]
        return dict(zip(words[::2], words[1::2], strict=True))

    def logged(self, part: str) -> list[str]:
        """The lines that hold this."""
        return [line for line in self.logs if part in line]


def info(role: str = "master", run_id: str = "1" * 40, **more: object) -> bytes:
    """An answer to INFO."""
    pairs: dict[str, object] = {"run_id": run_id, "role": role, **more}
    text = "# Replication\r\n" + "".join(f"{name}:{value}\r\n" for name, value in pairs.items())
    return b"$%d\r\n%b\r\n" % (len(text), text.encode())


class Servers:
    """Plays the watched servers: answers PING and INFO of those that are up, notes everything else."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.infos: dict[tuple[str, int], bytes] = {}
        self.told: dict[tuple[str, int], list[list[bytes]]] = {}
        self.votes: dict[tuple[str, int], bytes] = {}
        self.mute: set[tuple[str, int]] = set()

    def serve(self, milliseconds: int, step_ms: int = 50) -> None:
        """Let time pass and everybody answer."""
        for _ in range(max(1, milliseconds // step_ms)):
            self.world.pass_time(step_ms)
            for address in {**self.infos, **self.votes}:
                if address not in self.mute:
                    self.world.accept(address)
                    self._answer(address)

    def _answer(self, address: tuple[str, int]) -> None:
        for conn, argv in self.world.take(address):
            name = argv[0].upper()
            if name == b"PING":
                self.world.say(conn, b"+PONG\r\n")
            elif name == b"INFO":
                self.world.say(conn, self.infos[address])
            elif name == b"SUBSCRIBE":
                self.world.say(conn, b"*3\r\n$9\r\nsubscribe\r\n$18\r\n__sentinel__:hello\r\n:1\r\n")
            elif name == b"SENTINEL":
                self.told.setdefault(address, []).append(argv)
                self.world.say(conn, self.votes[address])
            else:
                if name != b"PUBLISH" and argv[1:2] != [b"SETNAME"]:
                    self.told.setdefault(address, []).append(argv)
                self.world.say(conn, b"+OK\r\n")


PRIMARY, FIRST, SECOND = ("10.0.0.1", 6379), ("10.0.0.2", 6379), ("10.0.0.3", 6379)


def watched(text: str = CONF, **surroundings: Any) -> tuple[World, Servers]:
    """A Sentinel that watches a primary with two replicas, together with two others."""
    world = World(text, **surroundings)
    servers = Servers(world)
    listed = [f"ip={ip},port={port},state=online,offset=5,lag=0" for ip, port in (FIRST, SECOND)]
    replicas = {f"slave{at}": line for at, line in enumerate(listed)}
    servers.infos[PRIMARY] = info("master", connected_slaves=2, **replicas)
    for at, address in enumerate((FIRST, SECOND)):
        servers.infos[address] = replica_info(run_id=str(at + 2) * 40)
    for at, run_id in enumerate(OTHERS):
        servers.votes[(f"10.0.0.{101 + at}", 26379)] = opinion(0)
        world.hello(run_id, f"10.0.0.{101 + at}")
    servers.serve(500)
    return world, servers


def replica_info(*, run_id: str, of: tuple[str, int] = PRIMARY, status: str = "up", offset: int = 5,
                 priority: int = 100, **more: object) -> bytes:  # fmt: skip
    """INFO of a replica."""
    return info(
        "slave", run_id, master_host=of[0], master_port=of[1], master_link_status=status, slave_repl_offset=offset,
        slave_priority=priority, **more,
    )  # fmt: skip


def opinion(down: int, leader: str = "*", epoch: int = 0) -> bytes:
    """An answer to IS-MASTER-DOWN-BY-ADDR."""
    return b"*3\r\n:%d\r\n$%d\r\n%b\r\n:%d\r\n" % (down, len(leader), leader.encode(), epoch)
