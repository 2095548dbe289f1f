"""Drives one machine in virtual time: the duties of core/machine.py, as runtime/hub.py fulfils them with a real system.

A turn: one event (bytes that came in, a connection, a file chunk ...), its effects in order, what these bring about,
then the streams are pulled and the alarm is set. The code itself takes no virtual time; what does (Sleep, a slow fsync,
a fork) makes the process busy: what happens meanwhile waits, as it does while the process is stopped.

Nothing that a machine emits after its end counts: `ended` is set before anything is torn down.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Final
from zlib import crc32

from replicator.core import effects as do
from replicator.core import events as told
from replicator.core.effects import Send
from replicator.core.events import Received
from replicator.core.limits import CLOSE_FLUSH_MS, OUTPUT_HELD_BYTES, PULL_BYTES
from replicator.core.machine import Machine
from replicator.simulation.alarm import Alarm
from replicator.simulation.calling import Calls
from replicator.simulation.clocks import Clock
from replicator.simulation.disk import Disk
from replicator.simulation.filing import Filing
from replicator.simulation.kernel import Kernel
from replicator.simulation.local import Local
from replicator.simulation.network import Network, Socket, draw_short
from replicator.simulation.parts import Costs, Hooks
from replicator.simulation.scripts import Scripts
from replicator.simulation.snapshots import Snapshots
from replicator.simulation.wire import Feed, Wire

READ_BYTES: Final = 64 * 1024
# The rest of a short read comes up to 10 to the power of so many microseconds later.
LATEST_REST: Final = 4.5
GONE_BY_PEER: Final = "Client closed connection"


class Process:
    """One life of a machine on one host."""

    __slots__ = (
        "_alarm", "_calls", "_carry", "_dirty", "_draw", "_files", "_handle", "_last_conn", "_number",
        "_short_reads", "_stepped", "_told", "_waiting", "_waking_us", "address",
        "busy_until_us", "chance", "clock", "costs", "disk", "ended", "hooks", "kernel", "locals", "machine",
        "name", "net", "now", "pid", "scripts", "snapshots", "stopped", "streams", "wires", "withheld",
    )  # fmt: skip

    def __init__(
        self, kernel: Kernel, net: Network, name: str, address: tuple[str, int], machine: Machine, *, clock: Clock,
        disk: Disk, chance: Random, hooks: Hooks, costs: Costs, pid: int = 1,
    ) -> None:  # fmt: skip
        """address: where it listens; port 0 listens nowhere."""
        self.kernel, self.net, self.name, self.address, self.machine = kernel, net, name, address, machine
        self.clock, self.disk, self.chance, self.hooks, self.costs, self.pid = clock, disk, chance, hooks, costs, pid
        self._number = crc32(name.encode())
        self._draw, self._short_reads = chance.random, costs.short_reads
        self.ended: tuple[int, str] | None = None
        self.stopped = False
        self.busy_until_us = 0
        self.now = clock.now()
        self.wires: dict[int, Wire] = {}
        self.streams: dict[int, Wire] = {}
        self.locals: dict[int, Local] = {}
        self._told: deque[told.Event] = deque()
        self._waiting: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._waking_us = -1
        self._calls = Calls(self)
        self._dirty: dict[int, Wire] = {}
        self.withheld = False
        self._handle = machine.handle
        self._alarm = Alarm(self)
        self._stepped = hooks.stepped
        self._files = Filing(self)
        self._last_conn = 0
        self.snapshots = Snapshots(self)
        self.scripts = Scripts(self)
        self._carry: dict[type[Any], Callable[[Any], None]] = {
            do.Send: self._send,
            do.Close: self._close,
            do.PauseReading: self._pause_reading,
            do.Connect: self._calls.connect,
            do.NoDelay: lambda effect: None,
            do.Stream: self._stream,
            do.StartSnapshot: self._start_snapshot,
            do.CancelSnapshot: lambda effect: self.snapshots.cancel(effect.generation),
            do.SendSnapshot: self._files.send_snapshot,
            do.ReadFile: self._files.read,
            do.StopReading: self._files.stop_reading,
            do.AppendFile: self._files.append,
            do.SyncFile: self._files.sync,
            do.SyncLater: self._files.sync_later,
            do.TruncateFile: self._files.truncate,
            do.CommitFile: self._files.commit,
            do.RemoveFile: lambda effect: disk.remove(effect.name),
            do.Log: self._log,
            do.Announce: self._announce,
            do.Listen: self._listen,
            do.Sleep: self._sleep,
            do.RunScript: self.scripts.run,
            do.KillScript: self.scripts.kill,
            do.Exit: self._exit,
        }

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Bind the listener and tell Started."""
        if self.address[1]:
            self.net.listeners[self.address] = self
        self.turn(told.Started())

    def _end(self, code: int, how: str, *, power: bool = False) -> None:
        if self.ended is not None:
            return
        self.ended = (code, how)
        if self.net.listeners.get(self.address) is self:
            del self.net.listeners[self.address]
        self._calls.shut()
        for wire in self.wires.values():
            if power:
                wire.sock.lose_power()
            else:
                wire.sock.close()
        if self.snapshots.shut(power=power):
            self.kernel.note(f"{self.name} child-ended")
        for local in self.locals.values():
            local.answered(None)
        self.locals.clear()
        self.kernel.note(f"{self.name} ended {how}")
        self.hooks.ended(code, how)

    def kill(self) -> None:
        """SIGKILL: the kernel closes the connections, the page cache stays."""
        self._end(137, "signal 9")

    def lose_power(self) -> None:
        """The machine is dark at once; its disk is torn by the caller."""
        self._end(137, "signal 9", power=True)

    def stop(self) -> None:
        """SIGSTOP."""
        self.stopped = True

    def go_on(self) -> None:
        """SIGCONT."""
        if self.stopped:
            self.stopped = False
            self._wake()

    def signal(self, name: str) -> None:
        """SIGTERM and the like, told to the machine when it runs."""
        self.later(self.turn, told.Signalled(name))

    @property
    def held_up(self) -> bool:
        """The process does not run now."""
        return self.stopped or self.busy_until_us > self.kernel.now_us

    def later(self, call: Callable[..., None], *arguments: Any) -> None:
        """Call now, or when the process runs again."""
        if self.ended is not None:
            return
        if self.stopped or self.busy_until_us > self.kernel.now_us or self._waiting:
            self._waiting.append((call, arguments))
            self._plan_waking()
        else:
            call(*arguments)

    def _plan_waking(self) -> None:
        if not self.stopped and self._waking_us != self.busy_until_us:
            self._waking_us = self.busy_until_us
            self.kernel.at(self.busy_until_us, self._wake)

    def _wake(self) -> None:
        self._waking_us = -1
        while self._waiting and self.ended is None:
            if self.held_up:
                self._plan_waking()
                return
            call, arguments = self._waiting.popleft()
            call(*arguments)

    def be_busy(self, duration_us: int) -> None:
        """The process stands still for so long, from now or from the end of what it is busy with."""
        self.busy_until_us = max(self.busy_until_us, self.kernel.now_us) + duration_us

    # -- turns -------------------------------------------------------------------------------------------------------

    def turn(self, event: told.Event) -> None:
        """Tell the machine of one event, carry out what it answers, and all that follows from it."""
        if self.ended is not None:
            return
        self.now = self.clock.now()
        self._trace(event)
        if type(event) is told.FileFailed:
            self._files.forgive(event.name)
        self._take_turn(event)

    def _take_turn(self, event: told.Event) -> None:
        try:
            handle = self._handle  # a local name: 3.11 finds what is called of an attribute slowly
            effects = handle(event, self.now)
            if effects or self._dirty:
                self._carry_out(effects)
            self._finish()
        except Exception:
            self._broke()

    def _broke(self) -> None:
        """A bug left the machine: a finding, and the process dies. The world goes on."""
        text = traceback.format_exc()
        self.kernel.note(f"{self.name} broke")
        self.hooks.broke(text)
        self._end(134, "signal 6")

    def _finish(self) -> None:
        if self._told:
            self._settle()
        if self.streams:
            for wire in tuple(self.streams.values()):
                if not wire.queue:
                    self._pull(wire)
            if self._told:
                self._settle()
        if self.ended is None:
            self._alarm.set()
            stepped = self._stepped
            if stepped is not None:
                stepped(self.now)

    def _settle(self) -> None:
        queue = self._told
        while queue and self.ended is None:
            if self.busy_until_us > self.kernel.now_us:
                # What the process has brought about itself is told when it runs again, before anything else.
                self._waiting.appendleft((self._settle_late, ()))
                self._plan_waking()
                return
            event = queue.popleft()
            self._trace(event)
            if type(event) is told.FileFailed:
                self._files.forgive(event.name)
            self._carry_out(self.machine.handle(event, self.now))
            if self.withheld and not any(type(waiting) is told.FileFailed for waiting in queue):
                self.withheld = False
                self.flush_dirty()

    def _settle_late(self) -> None:
        self.now = self.clock.now()
        try:
            self._finish()
        except Exception:
            self._broke()

    def tell(self, event: told.Event) -> None:
        """Tell the machine, right behind the effects that are being carried out."""
        self._told.append(event)

    def settle(self) -> None:
        """Tell what `tell` has gathered, as a turn of its own."""
        if self.ended is None and self._told:
            self.later(self._settle_late)

    def _carry_out(self, effects: list[do.Effect]) -> None:
        if len(effects) == 1 and type(only := effects[0]) is Send and not self._dirty and not self.withheld:
            # The usual turn: one answer to a connection that takes it at once.
            wire = self.wires.get(only.conn)
            if wire is not None and not wire.queue and wire.closing is None:
                data = only.data
                taken = wire.sock.send(data)
                if taken == len(data):
                    return
                wire.queue.append(data[taken:])
                wire.pending = len(data) - taken
                wire.blocked = True
                self.tell(told.OutputPending(wire.conn, wire.pending))
                self._mind(wire)
                return
        carry = self._carry
        for effect in effects:
            carry[type(effect)](effect)
            if self.ended is not None:
                return
        if self._dirty and not self.withheld:
            self.flush_dirty()

    def _trace(self, event: told.Event) -> None:
        if type(event) is Received:
            kernel = self.kernel
            kernel.checksum = crc32(event.data, kernel.checksum + kernel.now_us + self._number + event.conn)
        else:
            self.kernel.note(f"{self.name} {event!r}")

    def advance(self) -> None:
        """Let the machine do what is due, or what it finds to do."""
        if self.ended is not None:
            return
        self.now = self.clock.now()
        try:
            self._alarm.mind_spinning()
            effects = self.machine.advance(self.now)
            if effects or self._dirty:
                self._carry_out(effects)
            self._finish()
        except Exception:
            self._broke()

    # -- connections coming in ---------------------------------------------------------------------------------------

    def accepted(self, sock: Socket) -> None:
        """The listener has a new connection (network.Listener)."""
        sock.sink = self
        self.later(self._accept, sock)

    def _accept(self, sock: Socket) -> None:
        if sock.broken:
            return
        wire = self.adopt(self.next_conn(), sock)
        self.turn(told.Opened(wire.conn, *sock.remote, *sock.local))
        if sock.inbox or sock.ended:
            self.readable(sock)

    def adopt(self, conn: int, sock: Socket) -> Wire:
        """Take a socket under this number."""
        wire = Wire(conn, sock)
        self.wires[conn] = wire
        sock.sink, sock.owner = self, wire
        return wire

    def next_conn(self) -> int:
        """A number for a connection that comes in."""
        self._last_conn += 1
        return self._last_conn

    def poke(self) -> None:
        """Call the machine's advance whether or not anything is due: what it looks at has changed."""
        self.later(self.advance)

    # -- bytes coming in ---------------------------------------------------------------------------------------------

    def readable(self, sock: Socket) -> None:
        """Bytes or an end have come (network.Sink)."""
        wire = sock.owner
        if wire is None or wire.reading_planned:
            return
        if self.stopped or self.busy_until_us > self.kernel.now_us or self._waiting:
            wire.reading_planned = True
            self.later(self._read_late, wire)
        else:
            self._read(wire)

    def _read_late(self, wire: Wire) -> None:
        wire.reading_planned = False
        self._read(wire)

    def _read(self, wire: Wire) -> None:
        sock, kernel = wire.sock, self.kernel
        while sock.owner is wire and self.ended is None:
            if sock.broken:
                self._lose_in_turn(wire, sock.broken)
                return
            if wire.closing is not None:
                return
            if wire.paused or wire.held:
                if sock.ended and not sock.inbox and not wire.held:
                    self._lose_in_turn(wire, GONE_BY_PEER)
                return
            length = sock.inbox_bytes
            if not length:
                if sock.ended:
                    self._lose_in_turn(wire, GONE_BY_PEER)
                return
            draw = self._draw
            if length > 1 and draw() < self._short_reads:
                short, data = True, sock.take(draw_short(self.chance, min(length, READ_BYTES)))
            else:
                short, data = False, sock.take(READ_BYTES)
            # As `turn` has it, without what bytes never need: nearly all turns begin here.
            kernel.checksum = crc32(data, kernel.checksum + kernel.now_us + self._number + wire.conn)
            self.now = self.clock.now()
            self._take_turn(Received(wire.conn, data))
            if short or self.stopped or self.busy_until_us > kernel.now_us:
                if (sock.inbox or sock.ended) and sock.owner is wire:
                    wire.reading_planned = True
                    # Most rests follow at once, some late enough for something to happen in between.
                    rest_us = int(10 ** self.chance.uniform(0, LATEST_REST)) if short else 0
                    kernel.after(rest_us, self.later, self._read_late, wire)
                return
            if not (sock.inbox or sock.ended or sock.broken):
                return

    def _lose_in_turn(self, wire: Wire, why: str) -> None:
        self._lose(wire, why)
        self._settle_late()

    def _lose(self, wire: Wire, why: str) -> None:
        """The connection is gone: forget it, drop what waits, tell the machine."""
        if self.wires.pop(wire.conn, None) is None:
            return
        self.streams.pop(wire.conn, None)
        wire.sock.owner = None
        wire.queue.clear()
        wire.sock.close()
        self.tell(told.Closed(wire.conn, why if wire.closing is None else wire.closing))
        self.snapshots.dropped(wire.conn)

    def _pause_reading(self, effect: do.PauseReading) -> None:
        wire = self.wires.get(effect.conn)
        if wire is not None:
            wire.paused = effect.paused
            self._look_again(wire)

    def _look_again(self, wire: Wire) -> None:
        """Its reading may go on, or its end may be told, after this turn."""
        sock = wire.sock
        if not wire.reading_planned and (sock.inbox or sock.ended or sock.broken):
            wire.reading_planned = True
            self.kernel.after(0, self.later, self._read_late, wire)

    # -- bytes going out ---------------------------------------------------------------------------------------------

    def _send(self, effect: do.Send) -> None:
        conn = effect.conn
        wire = self.wires.get(conn)
        if wire is None:
            if (local := self.locals.get(conn)) is not None:
                local.answered(effect.data)
            return
        if wire.closing is not None:
            return
        wire.queue.append(effect.data)
        wire.pending += len(effect.data)
        self._dirty[conn] = wire

    def flush_dirty(self) -> None:
        """Try all that was sent in this call."""
        if self.withheld or not self._dirty:
            return
        dirty, self._dirty = self._dirty, {}
        for wire in dirty.values():
            if self.wires.get(wire.conn) is not wire:
                continue
            if wire.blocked:
                self.tell(told.OutputPending(wire.conn, wire.pending))
                self._mind(wire)
            else:
                self.flush(wire)

    def flush_soon(self, wire: Wire) -> None:
        """Flush the wire with the sends of this call."""
        if not wire.blocked:
            self._dirty[wire.conn] = wire

    def flush(self, wire: Wire) -> None:
        """Give the system what it takes, and tell what came of it."""
        pending, was_blocked = wire.pending, wire.blocked
        for generation in wire.drain():
            self.tell(told.SnapshotSent(wire.conn, generation))
            self.snapshots.served(wire.conn)
        self.snapshots.waited(wire, was_blocked)
        if wire.pending and (wire.pending != pending or not was_blocked):
            self.tell(told.OutputPending(wire.conn, wire.pending))
        elif was_blocked and pending and not wire.pending:
            self.tell(told.OutputPending(wire.conn, 0))
        if wire.closing is not None:
            if not wire.queue:
                self._finish_close(wire)
                return
            wire.progress_us = self.kernel.now_us
        if wire.blocked or was_blocked or wire.held:
            self._mind(wire)
        head = wire.queue[0] if wire.queue else None
        if type(head) is Feed and not head.chunks:
            self.snapshots.hungry()

    def room(self, sock: Socket) -> None:
        """The system takes more (network.Sink)."""
        if sock.owner is not None:
            self.later(self._room, sock.owner)

    def _room(self, wire: Wire) -> None:
        if self.wires.get(wire.conn) is wire:
            self.flush(wire)
            self._settle_late()

    def _mind(self, wire: Wire) -> None:
        if wire.pending > OUTPUT_HELD_BYTES:
            wire.held = not wire.streaming and wire.closing is None
        elif wire.held and wire.pending <= OUTPUT_HELD_BYTES // 2:
            wire.held = False
            self._look_again(wire)

    def _stream(self, effect: do.Stream) -> None:
        wire = self.wires.get(effect.conn)
        if wire is not None and wire.closing is None:
            wire.streaming = True
            self.streams[wire.conn] = wire
            if wire.held:
                wire.held = False
                self._look_again(wire)

    def _pull(self, wire: Wire) -> None:
        pull = self.machine.pull
        while not wire.queue and wire.sock.owner is wire:
            data = pull(wire.conn, PULL_BYTES)
            if not data:
                return
            taken = wire.sock.send(data)
            if taken == len(data):
                continue
            data = data[taken:]
            wire.queue.append(data)
            wire.pending += len(data)
            self.flush(wire)

    # -- ends --------------------------------------------------------------------------------------------------------

    def _close(self, effect: do.Close) -> None:
        if self._calls.give_up(effect.conn):
            self.tell(told.ConnectFailed(effect.conn, effect.why))
            return
        wire = self.wires.get(effect.conn)
        if wire is None:
            if (local := self.locals.pop(effect.conn, None)) is not None:
                self.tell(told.Closed(effect.conn, effect.why))
                local.answered(None)
            return
        if not self.withheld and wire.conn in self._dirty:
            del self._dirty[wire.conn]
            self.flush(wire)
        if not effect.flush:
            wire.closing = effect.why
            self._lose(wire, effect.why)
        elif wire.closing is None and self.wires.get(wire.conn) is wire:
            wire.closing = effect.why
            self.streams.pop(wire.conn, None)
            if not wire.queue:
                self._finish_close(wire)
                return
            wire.progress_us = self.kernel.now_us
            self.kernel.after(CLOSE_FLUSH_MS * 1000, self.later, self._check_closing, wire)

    def _finish_close(self, wire: Wire) -> None:
        assert wire.closing is not None
        # Unread requests are read away, so that no reset destroys what the peer has not read yet.
        wire.sock.take(1 << 30)
        self._lose(wire, wire.closing)

    def _check_closing(self, wire: Wire) -> None:
        if self.wires.get(wire.conn) is not wire:
            return
        left_us = wire.progress_us + CLOSE_FLUSH_MS * 1000 - self.kernel.now_us
        if left_us > 0:
            self.kernel.after(left_us, self.later, self._check_closing, wire)
        else:
            assert wire.closing is not None
            self._lose_in_turn(wire, wire.closing)

    # -- the rest ----------------------------------------------------------------------------------------------------

    def _start_snapshot(self, effect: do.StartSnapshot) -> None:
        self.flush_dirty()
        self.snapshots.start(effect)

    def _log(self, effect: do.Log) -> None:
        self.kernel.note(f"{self.name} L {effect.message}")
        self.hooks.log(effect.level, effect.message)

    def _announce(self, effect: do.Announce) -> None:
        self.hooks.announce(effect.name, effect.fields)

    def _listen(self, effect: do.Listen) -> None:
        if self.net.listeners.get(self.address) is self:
            del self.net.listeners[self.address]
        self.address = (self.address[0], effect.port)
        if effect.port:
            self.net.listeners[self.address] = self

    def _sleep(self, effect: do.Sleep) -> None:
        self.flush_dirty()
        self.be_busy(effect.duration_us)

    def _exit(self, effect: do.Exit) -> None:
        if not effect.crash:
            self.withheld = False
            self.flush_dirty()
            for wire in list(self.streams.values()):
                if not wire.queue:
                    self._pull(wire)
        self._end(effect.code, f"exit {effect.code}")
