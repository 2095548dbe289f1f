"""The live and the stock stage: every node a real process on this machine, the forwarder between them.

Whatever was started here is ended here, by its process id: at the end, at an error, at Ctrl-C; and should this process
itself be killed, the kernel ends the nodes (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
from collections import deque
from pathlib import Path
from random import Random
from typing import Any

import hiredis
import trio

from replicator.core.now import Now
from replicator.scenario.play import sentinel_file
from replicator.scenario.play.observe import Seen
from replicator.scenario.play.player import Player
from replicator.scenario.play.stage import (
    Answer,
    Ask,
    ContinueNode,
    EndNode,
    KillNode,
    LogLine,
    NodeEnded,
    Report,
    Request,
    SetRule,
    StageError,
    StartClient,
    StartNode,
    StopNode,
    WakeClients,
)
from replicator.scenario.play.workload import packed
from replicator.scenario.script.script import Script
from replicator.scenario.stages.addresses import FIRST_PORT, Block
from replicator.scenario.stages.certificates import Authority
from replicator.scenario.stages.encrypted import Speaker, encrypted
from replicator.scenario.stages.engines import Engine, check_tls, ours, stock
from replicator.scenario.stages.forwarder import Forwarder
from replicator.scenario.stages.hosting import Host

# "PID:ROLE DATE LEVEL message"; the date is "22 Nov 2026 14:35:44.058".
_LOG_PREFIX = re.compile(r"^\d+:[MSCX] \d+ \w+ \d+ [\d:.]+ [.\-*#] ")
LONGEST_LOG_LINE = 64 * 1024
# How long a node that was asked to end (SIGTERM) may take before it is killed; stock's shutdown-timeout is the same.
END_WITHIN_S = 10
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    _libc.prctl(_DEATH_SIGNAL, signal.SIGKILL)


class _Control:
    """The player's own connection to one node: commands in order, answers in order, past all rules."""

    def __init__(self, stage: ProcessStage, address: tuple[str, int]) -> None:
        self.stage, self.address = stage, address
        self.send_asks, self.asks = trio.open_memory_channel[Ask](1000)
        self.pending: deque[tuple[Ask, float]] = deque()

    async def run(self) -> None:
        """One connection after another, until cancelled."""
        async for ask in self.asks:
            sock = trio.socket.socket()
            sock.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
            why = f"no connection within {ask.timeout_ms} ms"
            self._expect(ask)
            raw = socket.socket(fileno=sock.fileno())
            try:
                with trio.move_on_after(ask.timeout_ms / 1000) as limit:
                    await sock.connect(self.address)
                    speaker: Speaker = sock
                    if self.stage.secure is not None:
                        speaker = await encrypted(raw, self.stage.secure, self.address[0])
                if not limit.cancelled_caught:
                    why = await self._serve(speaker, ask)
            except OSError as problem:
                why = (problem.strerror or str(problem)).lower()
            finally:
                raw.detach()
                sock.close()
            pending, self.pending = self.pending, deque()
            for each, _ in pending:
                self.stage.report(Answer(each.tag, None, why))

    def _expect(self, ask: Ask) -> None:
        self.pending.append((ask, trio.current_time() + ask.timeout_ms / 1000))

    async def _serve(self, sock: Speaker, first: Ask) -> str:
        """Until the connection breaks or an answer is late; what ended it."""
        reader = hiredis.Reader()
        ending: list[str] = []
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                ask: Ask = first
                if first.password:
                    # The answer to AUTH is passed over: a refusal shows in the next answer.
                    await self._send_all(sock, ("AUTH", first.password))
                while True:
                    await self._send_all(sock, ask.argv)
                    ask = await self.asks.receive()
                    self._expect(ask)

            async def receive() -> None:
                skip = 1 if first.password else 0
                while True:
                    data = await sock.recv(65536)
                    if not data:
                        ending.append("the node closed the connection")
                        nursery.cancel_scope.cancel()
                        return
                    reader.feed(data)
                    while (answer := reader.gets()) is not False:
                        if skip:
                            skip -= 1
                            continue
                        ask, _ = self.pending.popleft()
                        failed = isinstance(answer, Exception)
                        self.stage.report(
                            Answer(ask.tag, None if failed else answer, str(answer) if failed else "", failed)
                        )

            async def watch() -> None:
                while True:
                    late = self.pending[0][1] if self.pending else trio.current_time() + 0.05
                    await trio.sleep_until(late)
                    if self.pending and trio.current_time() >= self.pending[0][1]:
                        ending.append(f"no answer within {self.pending[0][0].timeout_ms} ms")
                        nursery.cancel_scope.cancel()
                        return

            async def guarded(work: Any) -> None:
                try:
                    await work()
                except (OSError, hiredis.ProtocolError) as problem:
                    ending.append(getattr(problem, "strerror", None) or str(problem))
                    nursery.cancel_scope.cancel()

            for work in (send, receive, watch):
                nursery.start_soon(guarded, work)
        return ending[0] if ending else "ended"

    @staticmethod
    async def _send_all(sock: Speaker, argv: tuple[str, ...]) -> None:
        data = packed(argv)
        while data:
            data = data[await sock.send(data) :]


class ProcessStage:
    """on: "live" or "stock". keep: where the nodes' folders and logs stay afterwards (None: they are removed)."""

    sample_ms = 25

    def __init__(self, on: str, engine: Engine, script: Script, seed: int, keep: Path | None = None) -> None:
        self.on, self.program, self.seed, self.keep = on, engine, seed, keep
        self.engine = engine.title
        self.block = Block()
        self._nodes = script.parties()
        self._sentinels = frozenset(script.sentinels())
        self._mixed = frozenset(script.topology.mixed)
        self._other = (ours() if on == "stock" else stock("redis")) if self._mixed else None
        self._clients = script.client_names()
        self._random = Random(f"{seed}/net")
        self._party = {self.block.private(index): node for index, node in enumerate(self._nodes)}
        self._party |= {self.block.client(index): name for index, name in enumerate(self._clients)}
        self.forwarder = Forwarder(self._party.get, self._random)
        self._listeners, self.port = self._listen()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._controls: dict[str, _Control] = {}
        self._hosts: list[Host] = []
        self._without_power: dict[str, None] = {}
        self._poke = trio.Event()
        self._folder = Path()
        self._papers: tuple[tuple[str, tuple[str, ...]], ...] = ()  # directives of TLS
        self.secure: ssl.SSLContext | None = None  # what clients trust, and are known by
        self._tls = script.topology.tls
        if self._tls:
            for program in filter(None, (engine, self._other)):
                check_tls(program)

    def _listen(self) -> tuple[dict[str, Any], int]:
        """The announced addresses of all nodes, on the first port that nobody holds on all addresses."""
        for port in range(FIRST_PORT, FIRST_PORT + 200):
            listeners: dict[str, Any] = {}
            try:
                for index, node in enumerate(self._nodes):
                    listeners[node] = self.block.listener(index, port)
                return listeners, port
            except OSError:
                for listener in listeners.values():
                    listener.close()
        self.block.close()
        raise StageError(f"no port between {FIRST_PORT} and {FIRST_PORT + 199} is free for the nodes")

    # What the player asks for.

    def address(self, node: str) -> tuple[str, int]:
        return self.block.announced(self._nodes.index(node)), self.port

    def source(self, client: str) -> str:
        return self.block.client(self._clients.index(client))

    def _program(self, node: str) -> Engine:
        """What the node is: the run's engine, or the other one where the script mixes them."""
        return self.program if self._other is None or node not in self._mixed else self._other

    def directives(self, node: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
        private = self.block.private(self._nodes.index(node))
        host, port = self.address(node)
        program = self._program(node)
        ports = self._papers or (("port", (str(port),)),)
        if node in self._sentinels:
            return (
                *ports, ("bind", (private,)), ("dir", (str(self._folder / node / "data"),)),
                ("protected-mode", ("no",)), ("sentinel", ("announce-ip", host)),
                ("sentinel", ("announce-port", str(port))),
                *((("bind-source-addr", (private,)),) if program.binds_source else ()),
            )  # fmt: skip
        found = [
            *ports, ("bind", (private,)),
            ("protected-mode", ("no",)), ("dir", (str(self._folder / node / "data"),)),
            ("replica-announce-ip", (host,)), ("replica-announce-port", (str(port),)),
        ]  # fmt: skip
        if program.binds_source:
            found.append(("bind-source-addr", (private,)))
        if program.guards_debug:
            found.append(("enable-debug-command", ("yes",)))
        return tuple(found)

    def now_ms(self) -> int:
        return int(trio.current_time() * 1000)

    def look(self, node: str) -> Seen | None:
        return None

    def settled(self) -> bool:
        return True

    def details(self) -> dict[str, Any]:
        found: dict[str, Any] = {"bytes_forwarded": self.forwarder.moved}
        if self.keep is not None:
            found["kept_in"] = str(self.keep)
        return found

    def play(self, player: Player) -> None:
        if self.keep is not None:
            self.keep.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="scenario-", dir=self.keep))
        try:
            if self._tls:
                self._make_papers()
            trio.run(self._run, player)
        except BaseExceptionGroup as group:
            raise _plainest(group) from group
        finally:
            self._end_all()
            for listener in self._listeners.values():
                listener.close()
            self.block.close()
            if self.keep is None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _make_papers(self) -> None:
        """An authority of this run, one certificate for all nodes and one for the clients."""
        folder = self._folder / "tls"
        authority = Authority()
        cert, key = authority.issue("node", self._met_at()).save(folder, "node")
        own_cert, own_key = authority.issue("client").save(folder, "client")
        trusted = folder / "ca.crt"
        trusted.write_text(authority.cert)
        self._papers = (
            ("port", ("0",)), ("tls-port", (str(self.port),)), ("tls-replication", ("yes",)),
            ("tls-cert-file", (cert,)), ("tls-key-file", (key,)), ("tls-ca-cert-file", (str(trusted),)),
        )  # fmt: skip
        self.secure = ssl.create_default_context(cadata=authority.cert)
        self.secure.load_cert_chain(own_cert, own_key)

    def _met_at(self) -> list[str]:
        """All addresses at which a node is met."""
        indices = range(len(self._nodes))
        return [host(index) for host in (self.block.announced, self.block.private) for index in indices]

    # The loop.

    async def _run(self, player: Player) -> None:
        self._player = player
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for index, node in enumerate(self._nodes):
                    control = self._controls[node] = _Control(self, (self.block.private(index), self.port))
                    nursery.start_soon(control.run)
                self._carry_out(player.begin(self._now()))
                while not player.finished:
                    self._poke = trio.Event()
                    deadline = player.deadline_ms()
                    with trio.move_on_at(float("inf") if deadline is None else deadline / 1000 + 0.0005):
                        await self._poke.wait()
                    self._carry_out(player.advance(self._now()))
                nursery.cancel_scope.cancel()
        finally:
            self.forwarder.shut_all()

    def _now(self) -> Now:
        now_ms = self.now_ms()
        return Now(now_ms, now_ms)

    def report(self, report: Report) -> None:
        if not self._player.finished:
            self._carry_out(self._player.handle(report, self._now()))
        self._poke.set()

    def _carry_out(self, requests: list[Request]) -> None:
        for request in requests:
            match request:
                case StartNode():
                    self._start(request)
                case KillNode(node=node, power_loss=power_loss):
                    if power_loss:
                        self._without_power[node] = None
                        self.forwarder.lose(node)
                    self._signal(node, signal.SIGKILL)
                case StopNode(node=node):
                    self._signal(node, signal.SIGSTOP)
                case ContinueNode(node=node):
                    self._signal(node, signal.SIGCONT)
                case EndNode(node=node):
                    self._signal(node, signal.SIGTERM)
                    self._nursery.start_soon(self._insist, self._processes[node])
                case Ask(node=node):
                    self._controls[node].send_asks.send_nowait(request)
                case SetRule(source=source, target=target, rule=rule):
                    self.forwarder.set(source, target, rule)
                case StartClient(client=client):
                    host = Host(client, self._now, self._nursery, self._poked, self.secure)
                    self._hosts.append(host)
                    self._nursery.start_soon(host.run)
                case WakeClients():
                    for host in self._hosts:
                        host.wake()

    def _poked(self) -> None:
        if self._player.watches_clients:
            self._poke.set()

    # Processes.

    def _start(self, request: StartNode) -> None:
        folder = self._folder / request.node
        data = folder / "data"
        if request.wipe and data.exists():
            shutil.rmtree(data)
        data.mkdir(parents=True, exist_ok=True)
        self.forwarder.end_silence(request.node)
        self._open(request.node)
        self._nursery.start_soon(self._tend, request, folder)

    def _open(self, node: str) -> None:
        """Callers reach the node's announced address from now on (and are reset until the node listens itself)."""
        index = self._nodes.index(node)
        listener = self._listeners.pop(node, None)
        if listener is None:
            self.forwarder.shut(node)
            listener = self.block.listener(index, self.port)
        private = (self.block.private(index), self.port)
        self._nursery.start_soon(self.forwarder.serve, listener, node, private, self._nursery)

    async def _tend(self, request: StartNode, folder: Path) -> None:
        """One life of a node: start, pass its log on, tell its end."""
        command = list(self._program(request.node).command)
        if request.sentinel:
            path = folder / "data" / sentinel_file.NAME
            if not path.exists():
                path.write_text(sentinel_file.text_of(request))
            command.extend((str(path), "--sentinel"))
        else:
            for name, arguments in request.directives:
                command.extend((f"--{name}", *arguments))
        environment = dict(os.environ)
        if self.on == "live" or self._mixed:
            # The node runs in a folder of its own and still finds the package that this process runs.
            root = str(Path(__file__).resolve().parents[3])
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH", ""))))
        try:
            # Not by a worker thread, as trio would: the death signal is sent when the thread that forked ends.
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,
                preexec_fn=_die_with_parent,
                env=environment,
            )
        except OSError as problem:
            raise StageError(f"{command[0]} cannot be started: {problem.strerror}") from None
        self._processes[request.node] = process
        assert process.stdout is not None
        stream = trio.lowlevel.FdStream(os.dup(process.stdout.fileno()))
        process.stdout.close()
        async with trio.open_nursery() as nursery, stream:
            log_read = trio.Event()
            nursery.start_soon(self._pass_log_on, request.node, stream, folder / "log", log_read)
            await _ended(process)
            # A child of the node may hold the pipe open for longer than the node lives.
            with trio.move_on_after(0.5):
                await log_read.wait()
            nursery.cancel_scope.cancel()
        if request.node not in self._without_power:
            self.forwarder.shut(request.node)
        self._without_power.pop(request.node, None)
        code = process.returncode
        if self._processes.get(request.node) is process:
            del self._processes[request.node]
        self._end_group(process.pid)
        self.report(NodeEnded(request.node, f"exit {code}" if code >= 0 else f"signal {-code}"))

    async def _pass_log_on(self, node: str, stream: trio.abc.ReceiveStream, path: Path, done: trio.Event) -> None:
        rest = b""
        with path.open("ab", buffering=0) as log:
            async for data in stream:
                log.write(data)
                *lines, rest = (rest + data).split(b"\n")
                rest = rest[-LONGEST_LOG_LINE:]
                for line in lines:
                    text = line.decode("utf-8", "replace").rstrip("\r")
                    self.report(LogLine(node, _LOG_PREFIX.sub("", text)))
        done.set()

    async def _insist(self, process: subprocess.Popen[bytes]) -> None:
        with trio.move_on_after(END_WITHIN_S):
            await _ended(process)
        if process.returncode is None:
            process.kill()

    def _signal(self, node: str, which: signal.Signals) -> None:
        process = self._processes.get(node)
        if process is not None and process.returncode is None:
            process.send_signal(which)

    @staticmethod
    def _end_group(pid: int) -> None:
        """Children that the node left behind (a snapshot) end too: each node leads a process group of its own."""
        try:
            os.killpg(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # nobody of the group is left

    def _end_all(self) -> None:
        for process in list(self._processes.values()):
            if process.returncode is None:
                process.kill()
            self._end_group(process.pid)
            process.wait()


async def _ended(process: subprocess.Popen[bytes]) -> None:
    """Until the process has ended; its exit code is there then."""
    if process.returncode is None:
        watch = os.pidfd_open(process.pid)
        try:
            await trio.lowlevel.wait_readable(watch)
        finally:
            os.close(watch)
        process.wait()


def _plainest(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What to raise for a group of exceptions: an interrupt, a StageError in it, or the group itself."""
    for wanted in (KeyboardInterrupt, StageError):
        found: BaseException | None = group.subgroup(wanted)
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        if found is not None:
            return found
    return group
