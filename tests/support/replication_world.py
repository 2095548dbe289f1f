"""Whole nodes in one thread, joined by links that hand on their bytes in random portions: a dumb world for properties.

Time stands still unless `pass_time` is called; nothing moves unless `step` (a random link, disk or child does a little)
or `settle` (everything moves until nothing is left) is called.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import Any

import hiredis

from replicator.core import effects as do
from replicator.core import events as told
from replicator.core.config.config import Config, MemoryStore
from replicator.core.keyspace.digest import digest_keyspace
from replicator.core.node import Node
from replicator.core.now import Now
from replicator.core.surroundings import Surroundings

UNIX_EPOCH_MS = 1_700_000_000_000


@dataclass(eq=False)
class End:
    """One end of a connection. outgoing: bytes and Close marks on their way to the other end."""

    member: Member
    conn: int
    other: End | None = None
    outgoing: deque[bytes | None] = field(default_factory=deque)
    paused: bool = False
    streaming: bool = False
    closed: bool = False
    replies: bytearray = field(default_factory=bytearray)  # of a client without another end


@dataclass
class Child:
    """A snapshot being made: taken at once, handed over in portions."""

    effect: do.StartSnapshot
    data: bytes
    keys: int
    given: int = 0


class Member:
    """A process: a node, its files (which outlive it) and its connections."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.port = 7000 + number
        self.files: dict[str, bytes] = {}
        self.directives: list[tuple[str, str]] = []
        self.node: Node = None  # type: ignore[assignment]
        self.running = False
        self.ends: dict[int, End] = {}
        self.reading: dict[str, list[int]] = {}
        self.child: Child | None = None
        self.events: deque[told.Event] = deque()
        self.log: list[str] = []
        self.incarnation = 0
        self._conns = 0
        self._client: End | None = None

    def start(self) -> None:
        assert not self.running
        self.incarnation += 1
        config = Config(MemoryStore())
        config.load("\n".join(f"{name} {value}" for name, value in [("port", self.port), *self.directives]))
        chance = Random(f"{self.world.seed}/{self.number}/{self.incarnation}")
        self.node = Node(config, chance, Surroundings(pid=1000 * self.number + self.incarnation))
        self.running = True
        self.tell(told.Started())

    def stop(self) -> None:
        """The process is gone; its files stay."""
        self.running = False
        self._client = None
        self.child = None
        self.reading.clear()
        self.events.clear()
        for end in list(self.ends.values()):
            self.drop(end, tell=False)

    # -- the machine -------------------------------------------------------------------------------------------------

    def tell(self, event: told.Event) -> None:
        """Hand on an event, carry out what follows, and all that it brings about."""
        self.events.append(event)
        while self.events and self.running:
            self._carry_out(self.node.handle(self.events.popleft(), self.world.now))
        if self.running:
            self.node.check_invariants()

    def advance(self) -> None:
        for _ in range(50):
            when = self.node.deadline_ms()
            if not self.running or when is None or when > self.world.now.mono_ms:
                return
            self._carry_out(self.node.advance(self.world.now))
            while self.events and self.running:
                self._carry_out(self.node.handle(self.events.popleft(), self.world.now))
        raise AssertionError("the node never comes to rest")

    def _carry_out(self, effects: list[do.Effect]) -> None:
        for effect in effects:
            if self.running:
                getattr(self, "_" + type(effect).__name__.lower())(effect)

    # -- effects -----------------------------------------------------------------------------------------------------

    def _send(self, effect: do.Send) -> None:
        assert effect.data
        end = self.ends.get(effect.conn)
        if end is not None:
            if end.other is None:
                end.replies += effect.data
            else:
                end.outgoing.append(effect.data)

    def _close(self, effect: do.Close) -> None:
        end = self.ends.get(effect.conn)
        if end is None:
            return
        if effect.flush and end.other is not None:
            end.outgoing.append(None)
            end.streaming = False
            end.paused = True
        else:
            self.drop(end, tell=True)

    def _pausereading(self, effect: do.PauseReading) -> None:
        end = self.ends.get(effect.conn)
        if end is not None:
            end.paused = effect.paused

    def _connect(self, effect: do.Connect) -> None:
        assert effect.conn < 0 and effect.conn not in self.ends
        self.world.connecting.append((self, self.incarnation, effect))

    def _nodelay(self, effect: do.NoDelay) -> None:
        pass

    def _stream(self, effect: do.Stream) -> None:
        end = self.ends.get(effect.conn)
        if end is not None:
            end.streaming = True

    def _startsnapshot(self, effect: do.StartSnapshot) -> None:
        if self.child is not None:
            self.events.append(told.SnapshotFailed(effect.generation, "another child runs"))
            return
        portions = [item if isinstance(item, tuple) else (item, 1) for item in effect.chunks()]
        data = effect.prefix + b"".join(part for part, _ in portions) + effect.suffix
        self.child = Child(effect, data, sum(keys for _, keys in portions))
        self.events.append(told.SnapshotStarted(effect.generation, 99, 1))

    def _cancelsnapshot(self, effect: do.CancelSnapshot) -> None:
        if self.child is not None and self.child.effect.generation == effect.generation:
            self.child = None
            self.events.append(told.SnapshotFailed(effect.generation, "cancelled"))

    def _sendsnapshot(self, effect: do.SendSnapshot) -> None:
        end = self.ends.get(effect.conn)
        data = self.files.get(effect.name)
        if data is None:
            self.events.append(told.FileFailed(effect.name, "No such file or directory", True))
        elif end is not None:
            end.outgoing.append(effect.prefix.replace(b"%d", b"%d" % len(data)) + data)
            self.events.append(told.SnapshotSent(effect.conn, effect.generation))

    def _readfile(self, effect: do.ReadFile) -> None:
        if effect.name in self.files:
            self.reading[effect.name] = [effect.offset, effect.chunk]
        else:
            self.events.append(told.FileFailed(effect.name, "No such file or directory", True))

    def _stopreading(self, effect: do.StopReading) -> None:
        self.reading.pop(effect.name, None)

    def _appendfile(self, effect: do.AppendFile) -> None:
        self.files[effect.name] = (b"" if effect.first else self.files.get(effect.name, b"")) + effect.data

    def _syncfile(self, effect: do.SyncFile) -> None:
        pass

    def _commitfile(self, effect: do.CommitFile) -> None:
        self.files[effect.final_name] = self.files.pop(effect.name)
        self.events.append(told.FileCommitted(effect.name, effect.final_name))

    def _removefile(self, effect: do.RemoveFile) -> None:
        self.files.pop(effect.name, None)

    def _log(self, effect: do.Log) -> None:
        assert self.world.deceived or "CRITICAL" not in effect.message, effect.message
        self.log.append(effect.message)

    def _announce(self, effect: do.Announce) -> None:
        self.world.announced.append((self.number, effect.name, dict(effect.fields)))

    def _sleep(self, effect: do.Sleep) -> None:
        now = self.world.now
        ms = effect.duration_us // 1000
        self.world.now = Now(now.mono_ms + ms, now.unix_ms + ms)

    def _exit(self, effect: do.Exit) -> None:
        assert effect.code == 0, self.log[-10:]
        self.stop()

    # -- connections -------------------------------------------------------------------------------------------------

    def drop(self, end: End, *, tell: bool) -> None:
        """The connection ends: what is on its way to us is lost, what we sent still arrives."""
        if self.ends.pop(end.conn, None) is None:
            return
        end.closed = True
        end.streaming = False
        if tell:
            self.events.append(told.Closed(end.conn, "closed"))
        if end.other is not None and not end.other.closed:
            end.outgoing.append(None)

    def accept(self, other: End) -> None:
        self._conns += 1
        end = End(self, self._conns, other)
        other.other = end
        self.ends[end.conn] = end
        self.world.links.append(end)
        self.tell(told.Opened(end.conn, "127.0.0.1", 40000 + self._conns, "127.0.0.1", self.port))

    def call(self, *argv: bytes | str | int) -> Any:
        """A command of a client that stays; the reply, or None while the node lets it wait."""
        return self.pipeline([argv])[0]

    def pipeline(self, commands: list[Any]) -> list[Any]:
        if self._client is None or self._client.closed:
            self._conns += 1
            self._client = End(self, self._conns)
            self.ends[self._client.conn] = self._client
            self.tell(told.Opened(self._client.conn, "127.0.0.1", 50000, "127.0.0.1", self.port))
        client = self._client
        self.tell(told.Received(client.conn, b"".join(hiredis.pack_command(tuple(argv)) for argv in commands)))
        reader = hiredis.Reader()
        reader.feed(bytes(client.replies))
        client.replies.clear()
        answers = []
        while (answer := reader.gets()) is not False:
            answers.append(answer)
        if len(answers) < len(commands):  # it waits (a pause): the client gives up
            self._client = None
            if self.running:
                self.drop(client, tell=True)
                while self.events:
                    self.tell(self.events.popleft())
            answers += [None] * (len(commands) - len(answers))
        return answers

    def client(self) -> Client:
        """Another client, which stays."""
        self._conns += 1
        end = End(self, self._conns)
        self.ends[end.conn] = end
        self.tell(told.Opened(end.conn, "127.0.0.1", 50000 + self._conns, "127.0.0.1", self.port))
        return Client(end)

    def stream_since(self, offset: int) -> list[str]:
        """What stands in the replication stream behind that offset, a command a string."""
        window = self.node.history.window
        assert window is not None
        reader = hiredis.Reader()
        while data := window.read(offset, 1 << 20):
            reader.feed(data)
            offset += len(data)
        found = []
        while (argv := reader.gets()) is not False:
            found.append(b" ".join(argv).decode())
        return found

    # -- what can happen by itself -----------------------------------------------------------------------------------

    def work(self, chance: Random) -> bool:
        """A child or a file goes on a little; whether there was anything to do."""
        if self.child is not None:
            child, effect = self.child, self.child.effect
            size = chance.randrange(1, len(child.data) + 1)
            part = child.data[child.given : child.given + size]
            child.given += len(part)
            for conn in effect.conns:
                if part and conn in self.ends:
                    self.ends[conn].outgoing.append(part)
            if child.given == len(child.data):
                self.child = None
                if effect.final_name:
                    self.files[effect.final_name] = child.data
                self.events.append(told.SnapshotDone(effect.generation, len(child.data), 1, child.keys))
                there = [conn for conn in effect.conns if conn in self.ends]
                self.events.extend(told.SnapshotSent(conn, effect.generation) for conn in there)
                self.tell(self.events.popleft())
            return True
        for name, reading in self.reading.items():
            data = self.files[name]
            part = data[reading[0] : reading[0] + chance.randrange(1, reading[1])]
            at, reading[0] = reading[0], reading[0] + len(part)
            eof = reading[0] >= len(data)
            if eof:
                del self.reading[name]
            self.tell(told.FileChunk(name, at, part, len(data), eof))
            return True
        return False


class Client:
    """A connection to a member, of somebody who may have to wait."""

    def __init__(self, end: End) -> None:
        self.end = end
        self._reader = hiredis.Reader()

    def send(self, *argv: bytes | str | int) -> None:
        self.end.member.tell(told.Received(self.end.conn, hiredis.pack_command(tuple(argv))))

    def read(self) -> Any:
        """The next reply; False: there is none yet."""
        self._reader.feed(bytes(self.end.replies))
        self.end.replies.clear()
        return self._reader.gets()

    def call(self, *argv: bytes | str | int) -> Any:
        self.send(*argv)
        return self.read()


class World:
    """Members, links and the clock."""

    def __init__(self, seed: int | str, members: int) -> None:
        self.seed = seed
        self.chance = Random(f"{seed}/world")
        self.now = Now(1_000, UNIX_EPOCH_MS)
        self.links: list[End] = []  # accepted ends
        self.connecting: deque[tuple[Member, int, do.Connect]] = deque()
        self.announced: list[tuple[int, str, dict[str, Any]]] = []
        self.writable_replicas = False  # then the property does not hold, as in stock
        self.deceived = False  # a test plays peers: errors in the stream are theirs
        self.seen: dict[tuple[str, int], tuple[str, int]] = {}  # (id, offset) -> (digest, member), ever
        self.members = [Member(self, number) for number in range(members)]

    def start(self, *directives: tuple[str, str]) -> None:
        for member in self.members:
            member.directives = [*directives]
            member.start()
        self.settle()

    def pass_time(self, ms: int) -> None:
        self.now = Now(self.now.mono_ms + ms, self.now.unix_ms + ms)
        for member in self.members:
            if member.running:
                member.advance()

    def _connect_next(self) -> None:
        member, incarnation, effect = self.connecting.popleft()
        if not member.running or member.incarnation != incarnation:
            return
        target = next(
            (other for other in self.members if other.port == effect.port and other.running and other.node.ready), None
        )
        if target is None:
            member.tell(told.ConnectFailed(effect.conn, "Connection refused"))
            return
        end = End(member, effect.conn)
        member.ends[end.conn] = end
        target.accept(end)
        member.tell(told.Connected(end.conn, "127.0.0.1", 1))

    def _deliver(self, source: End, limit: int | None) -> bool:
        """Move bytes from this end to its other; whether anything moved."""
        target = source.other
        if target is None:
            return False
        if source.streaming and not source.outgoing and source.member.running:
            data = source.member.node.pull(source.conn, limit or 1 << 20)
            if data:
                source.outgoing.append(data)
        if target.closed:
            source.outgoing.clear()
            return False
        if not source.outgoing or (target.paused and source.outgoing[0] is not None):
            return False
        data = source.outgoing.popleft()
        if data is None:
            if not source.closed:  # a flushing close: now it is carried out
                source.closed = True
                if source.member.ends.pop(source.conn, None) is not None:
                    source.member.tell(told.Closed(source.conn, "closed"))
            if target.member.ends.pop(target.conn, None) is not None:
                target.closed = True
                target.member.tell(told.Closed(target.conn, "Connection reset by peer"))
            return True
        if limit is not None and len(data) > limit:
            source.outgoing.appendleft(data[limit:])
            data = data[:limit]
        target.member.tell(told.Received(target.conn, data))
        return True

    def step(self) -> bool:
        """Something random moves a little; whether anything did."""
        chance = self.chance
        kind = chance.random()
        if kind < 0.1 and self.connecting:
            self._connect_next()
            return True
        if kind < 0.3:
            return chance.choice(self.members).work(chance)
        self.links = [end for end in self.links if not (end.closed and end.other is not None and end.other.closed)]
        if not self.links:
            return False
        end = chance.choice(self.links)
        source = end if chance.random() < 0.5 or end.other is None else end.other
        return self._deliver(source, chance.choice((1, 3, 17, 100, 5000, None)))

    def cut(self) -> bool:
        """A random link breaks, for both ends, with all that is on its way; whether there was one."""
        live = [end for end in self.links if not end.closed]
        if live:
            end = self.chance.choice(live)
            for one in (end, end.other):
                assert one is not None
                one.outgoing.clear()
                if one.member.ends.pop(one.conn, None) is not None:
                    one.closed = True
                    one.member.tell(told.Closed(one.conn, "Connection reset by peer"))
        return bool(live)

    def settle(self, ms: int = 0) -> None:
        """Everything moves until nothing is left; repeated while so many milliseconds pass."""
        until = self.now.mono_ms + ms
        while True:
            moved = True
            while moved:
                moved = False
                while self.connecting:
                    self._connect_next()
                    moved = True
                for end in list(self.links):
                    for source in (end, end.other):
                        while source is not None and self._deliver(source, None):
                            moved = True
                for member in self.members:
                    while member.running and member.work(self.chance):
                        moved = True
            self.check()
            if self.now.mono_ms >= until:
                return
            self.pass_time(min(500, until - self.now.mono_ms))

    # -- the property ------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Same id and same offset, same data: of all members, now and ever."""
        if self.writable_replicas:
            return
        for member in self.members:
            node = member.node
            if not member.running or not node.ready or node.history.window is None:
                continue
            if node.replica.active and (not node.replica.resumable or node.loads.loading is not None):
                continue
            place = (node.history.id, node.outgoing.offset())
            digest = digest_keyspace(node.keyspace)
            known = self.seen.setdefault(place, (digest, member.number))
            assert known[0] == digest, (
                f"member {member.number} differs from member {known[1]} at {place}",
                member.log[-20:],
            )
