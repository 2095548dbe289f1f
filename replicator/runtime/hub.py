"""The hub: one task, one epoll descriptor, all sockets of one machine.

A turn:

    poll -> read the clock once -> each ready socket: one recv, one Received, its effects at once
         -> what is due: the driver's timers, the machine's advance
         -> one chunk of each file being read
         -> pull for each stream whose socket has room
         -> sleep until the machine's deadline, a timer, or a socket

Between turns the loop polls again without passing through trio's scheduler (30-50 microseconds a time); it hands over
when nothing is ready, and every YIELD_S under full load, so that name look-ups and other tasks run.

Descriptors are closed at the end of a turn, never inside it: the numbers in the list of ready sockets stay true for the
turn.
"""

from __future__ import annotations

import heapq
import os
import select
import socket
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import trio

from replicator.core import effects as do
from replicator.core import events as told
from replicator.core.machine import Machine
from replicator.core.now import Now
from replicator.runtime import observe
from replicator.runtime.connect import Connector
from replicator.runtime.files import Files
from replicator.runtime.link import IN, READ_BYTES, READ_BYTES_MOST, FileItem
from replicator.runtime.links import GONE_BY_PEER, Links
from replicator.runtime.listeners import Listener
from replicator.runtime.scripts import Scripts
from replicator.runtime.snapshot import Snapshots
from replicator.runtime.sockets import Door, reason
from replicator.runtime.tls.channel import Channel
from replicator.runtime.tls.context import Tls
from replicator.runtime.tls.handshakes import Handshakes

# Ready sockets taken in one turn: the clock is read once a turn, so a turn must not grow with the number of clients.
READY_MOST: Final = 128
# Under full load other trio tasks run this often.
YIELD_S: Final = 0.01
# How long a process that has the thread to itself waits inside epoll before it asks trio to wait: a client that sends
# its next command at once is then served without the scheduler's detour.
LINGER_S: Final = 0.001

# What a read would tell of.
READABLE: Final = select.EPOLLIN | select.EPOLLERR | select.EPOLLHUP
# A sleep without any plan.
IDLE_MOST_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a hub ended: the machine's Exit effect."""

    code: int
    crash: bool


class Hub:
    """Drives one machine. Give it listeners with `listen`, then await `run`."""

    def __init__(
        self,
        machine: Machine,
        *,
        clock: Callable[[], Now] = observe.clock,
        log: Callable[[do.Level, str], None] = lambda level, message: None,
        announce: Callable[[str, tuple[tuple[str, str | int | None], ...]], None] = lambda name, fields: None,
        directory: str = ".",
        keepalive_s: int = 300,
        linger_s: float = 0.0,
        relisten: Callable[[int], str | None] = lambda port: "no listener can be changed here",
        child_log: Callable[[do.Level, str], None] = lambda level, message: None,
        petted: Callable[[bool], None] | None = None,
        tls: Tls | None = None,
    ) -> None:
        """log: takes what effects.Log says. announce: takes effects.Announce. directory: where relative file names lie.

        keepalive_s: the tcp-keepalive directive (0: off). linger_s: LINGER_S for a process of its own, 0 where several
        hubs share a thread. relisten: carries effects.Listen out. child_log: takes what a snapshot's child has to say,
        in the child. petted: told True when a turn begins and False before the loop sleeps (a watchdog). tls: the
        contexts of TLS listeners and of connections that are to be encrypted.
        """
        self.machine = machine
        self.log = log
        self.child_log = child_log
        self.ended: Ended | None = None
        self.now = clock()
        self.linger_s = linger_s
        self._clock = clock
        self._announce = announce
        self._relisten = relisten
        self._petted = petted
        self._epoll = select.epoll()
        self._others: dict[int, Callable[[int], None]] = {}  # by descriptor: what to do when it is ready
        self._told: deque[told.Event] = deque()
        self._dying: list[socket.socket | Channel | int] = []
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._ticket = self._last_conn = 0
        self.more = False  # work is left over: do not sleep
        self._posted: deque[told.Event] = deque()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.watch(self._wake_fd, IN, self._woken)
        self.links = Links(self, self._epoll)
        self.door = Door(self, keepalive_s)
        self.tls = Tls() if tls is None else tls
        self.handshakes = Handshakes(self)
        self.files = Files(self._told.append, directory, self.post)
        self.snapshots = Snapshots(self, self.files)
        self.connector = Connector(self)
        self.scripts = Scripts(self)
        self._carry = self._duties()

    def _duties(self) -> dict[type[Any], Callable[[Any], None]]:
        """How each kind of effect is carried out."""
        return {
            do.Send: self.links.send,
            do.Close: self.links.close,
            do.PauseReading: self.links.pause_reading,
            do.Connect: self.connector.connect,
            do.NoDelay: self.links.no_delay,
            do.Stream: self.links.stream,
            do.StartSnapshot: self._start_snapshot,
            do.CancelSnapshot: self._cancel_snapshot,
            do.SendSnapshot: self._send_snapshot,
            do.ReadFile: self._read_file,
            do.StopReading: lambda effect: self.files.stop_reading(effect.name),
            do.AppendFile: lambda effect: self._file(self.files.append(effect.name, effect.data, effect.first)),
            do.SyncFile: self._sync_file,
            do.SyncLater: lambda effect: self.files.sync_later(effect.name, effect.ticket),
            do.TruncateFile: lambda effect: self._file(self.files.truncate(effect.name, effect.length)),
            do.CommitFile: self._commit_file,
            do.RemoveFile: lambda effect: self._file(self.files.remove(effect.name)),
            do.Log: lambda effect: self.log(effect.level, effect.message),
            do.Announce: lambda effect: self._announce(effect.name, effect.fields),
            do.Listen: lambda effect: self._listen(effect.port),
            do.Sleep: self._sleep,
            do.RunScript: self.scripts.run,
            do.KillScript: lambda effect: self.scripts.kill(effect.number),
            do.Exit: self._exit,
        }

    # --- what the driver's other parts use ----------------------------------------------------------------------------

    def watch(self, fd: int, mask: int, ready: Callable[[int], None]) -> None:
        """Call ready(mask) in a turn in which the descriptor is ready."""
        self._others[fd] = ready
        self._epoll.register(fd, mask)

    def unwatch(self, fd: int) -> None:
        """Forget a descriptor given to `watch`; harmless if it was forgotten before."""
        if self._others.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close_later(self, item: socket.socket | Channel | int) -> None:
        """Close a socket, an encrypted connection or a descriptor at the end of the turn, so that its number is not
        used again inside it."""
        self._dying.append(item)

    def after(self, delay_ms: int, call: Callable[[], None]) -> None:
        """Call once, delay_ms from now, in a turn."""
        self._ticket += 1
        heapq.heappush(self._timers, (self.now.mono_ms + delay_ms, self._ticket, call))

    def tell(self, event: told.Event) -> None:
        """Tell the machine, right behind the effects that are being carried out."""
        self._told.append(event)

    def post(self, event: told.Event) -> None:
        """Tell the machine from outside the loop (a signal handler, another task, another thread). Wakes the loop."""
        self._posted.append(event)
        self.wake()

    def arrivals(self) -> list[told.Event]:
        """Events that are there now, for a machine that is inside a call which takes long. They count as told: what it
        cannot take yet it has to give back by `tell`."""
        before = len(self._told)
        for fd, mask in self._epoll.poll(0, READY_MOST):
            link = self.links.by_fd.get(fd)
            if link is None:
                other = self._others.get(fd)
                if other is not None:
                    other(mask)
                continue
            if mask != IN:
                self.links.unusual(link, mask)
                if not mask & READABLE or self.links.by_fd.get(fd) is not link:
                    continue
            if not link.interest & IN:
                continue
            try:
                data = link.recv(link.read_bytes)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as error:
                self.links.lose(link, reason(error))
                continue
            if data:
                self._told.append(told.Received(link.conn, data))
            else:
                self.links.lose(link, GONE_BY_PEER)
        new = [self._told.pop() for _ in range(len(self._told) - before)]
        new.reverse()
        while self._posted:
            new.append(self._posted.popleft())
        return new

    def carry_out(self, effects: list[do.Effect]) -> None:
        """Carry effects out from inside a machine's call."""
        self._carry_out(effects)

    def wake(self) -> None:
        """End the loop's sleep. May be called from a signal handler or another thread."""
        os.eventfd_write(self._wake_fd, 1)

    def listen(self, listeners: Iterable[Listener]) -> None:
        """Accept from these as well."""
        for listener in listeners:
            self.door.open(listener)

    def next_conn(self) -> int:
        """A number for an accepted connection."""
        self._last_conn += 1
        return self._last_conn

    # --- the loop -----------------------------------------------------------------------------------------------------

    async def run(self) -> Ended:
        """Tell Started and serve until the machine exits. Everything is closed when it returns, raises or is
        cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self.connector.nursery = nursery
                await self._loop()
                nursery.cancel_scope.cancel()
        finally:
            self._shut()
        assert self.ended is not None
        return self.ended

    async def _loop(self) -> None:
        self.now = self._clock()
        self._told.append(told.Started())
        self._settle()
        self._finish_turn()
        poll = self._epoll.poll
        yielded_s = time.monotonic()
        while self.ended is None:
            wait_s = self._wait_s()
            if self._petted is not None and wait_s > 0:
                self._petted(False)
            ready = poll(min(wait_s, self.linger_s), READY_MOST)
            if not ready and wait_s > self.linger_s:
                self.now = self._clock()
                await self._idle(self._wait_s())
                yielded_s = time.monotonic()
                ready = poll(0, READY_MOST)
            elif time.monotonic() - yielded_s >= YIELD_S:
                await trio.lowlevel.checkpoint()
                yielded_s = time.monotonic()
            if self._petted is not None:
                self._petted(True)
            self.now = self._clock()
            self.more = False
            self._turn(ready)
            self._finish_turn()

    def _wait_s(self) -> float:
        """Seconds from self.now until something is due: 0 when work is left over, IDLE_MOST_S when nothing is
        planned."""
        if self.more or self._posted:
            return 0.0
        deadline_ms = self.machine.deadline_ms()
        if self._timers and (deadline_ms is None or self._timers[0][0] < deadline_ms):
            deadline_ms = self._timers[0][0]
        if deadline_ms is None:
            return IDLE_MOST_S
        # Whole milliseconds, rounded up: the machine's clock shows the deadline when the sleep ends, not just before
        # it.
        left_ms = deadline_ms - self.now.mono_ms
        return left_ms / 1000 if left_ms > 0 else 0.0

    async def _idle(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await trio.lowlevel.wait_readable(self._epoll.fileno())

    def _turn(self, ready: list[tuple[int, int]]) -> None:
        links = self.links.by_fd
        handle = self.machine.handle
        now = self.now
        received = told.Received
        send_effect = do.Send
        for fd, mask in ready:
            link = links.get(fd)
            if link is None:
                other = self._others.get(fd)
                if other is not None:
                    other(mask)
                    self._settle()
            else:
                if mask != IN:
                    self.links.unusual(link, mask)
                    if self._told:
                        self._settle()
                    if not mask & READABLE or links.get(fd) is not link:
                        continue
                if not link.interest & IN:
                    continue  # paused or being closed since the poll
                try:
                    data = link.recv(link.read_bytes)
                except (BlockingIOError, InterruptedError):
                    continue
                except OSError as error:
                    data = b""
                    self.links.lose(link, reason(error))
                else:
                    if not data:
                        self.links.lose(link, GONE_BY_PEER)
                if data:
                    if len(data) == link.read_bytes:
                        link.read_bytes = min(READ_BYTES_MOST, link.read_bytes * 4)
                    elif link.read_bytes != READ_BYTES:
                        link.read_bytes = READ_BYTES
                    answer = handle(received(link.conn, data), now)
                    if len(answer) == 1 and type(effect := answer[0]) is send_effect:
                        self.links.send_now(effect)
                    elif answer:
                        self._carry_out(answer)
                if self._told:
                    self._settle()
            if self.ended is not None:
                return

    def _finish_turn(self) -> None:
        """What follows the sockets in a turn: posted events, what is due, file chunks, streams, dead descriptors."""
        while self._posted and self.ended is None:
            self._told.append(self._posted.popleft())
            self._settle()
        now = self.now
        while self._timers and self._timers[0][0] <= now.mono_ms and self.ended is None:
            heapq.heappop(self._timers)[2]()
            self._settle()
        deadline_ms = self.machine.deadline_ms()
        if deadline_ms is not None and deadline_ms <= now.mono_ms and self.ended is None:
            self._carry_out(self.machine.advance(now))
            self._settle()
        if self.files.reading and self.ended is None:
            self.files.read_chunks()
            self._settle()
            self.more = self.more or bool(self.files.reading)
        if self.links.streams and self.ended is None:
            for link in list(self.links.streams.values()):
                if not link.queue:
                    self.links.pull(link)
            self._settle()
        if self._dying:
            self._close_dying()
            self.door.reopen()

    def _close_dying(self) -> None:
        for item in self._dying:
            if isinstance(item, int):
                os.close(item)
            else:
                item.close()
        self._dying.clear()

    def _woken(self, mask: int) -> None:
        try:
            os.eventfd_read(self._wake_fd)
        except BlockingIOError:
            pass  # two wake-ups were one

    # --- effects and what they bring about ----------------------------------------------------------------------------

    def _settle(self) -> None:
        """Tell the machine all that has happened while effects were carried out, until nothing is left."""
        queue = self._told
        while queue and self.ended is None:
            event = queue.popleft()
            if type(event) is told.FileFailed:
                self.files.forgive(event.name)
            self._carry_out(self.machine.handle(event, self.now))
            if self.links.withheld and not any(type(waiting) is told.FileFailed for waiting in queue):
                self.links.withheld = False
                self.links.flush_dirty()

    def _carry_out(self, effects: list[do.Effect]) -> None:
        carry = self._carry
        for effect in effects:
            carry[type(effect)](effect)
            if self.ended is not None:
                return
        if self.links.dirty and not self.links.withheld:
            self.links.flush_dirty()

    def _start_snapshot(self, effect: do.StartSnapshot) -> None:
        self.links.flush_dirty()
        self.snapshots.start(effect)

    def _cancel_snapshot(self, effect: do.CancelSnapshot) -> None:
        self.snapshots.cancel(effect.generation)

    def _send_snapshot(self, effect: do.SendSnapshot) -> None:
        link = self.links.get(effect.conn)
        if link is None:
            return
        opened = self.files.open_to_send(effect.name)
        if opened is None:
            self.links.withheld = True
            return
        fd, length = opened
        prefix = effect.prefix.replace(b"%d", b"%d" % length)
        if prefix:
            link.queue.append(prefix)
            link.pending += len(prefix)
        link.queue.append(FileItem(fd, length, effect.generation))
        self.links.flush_soon(link)

    def _read_file(self, effect: do.ReadFile) -> None:
        if self.files.start_reading(effect.name, effect.chunk, effect.offset):
            self.more = True

    def _file(self, well: bool) -> None:
        """A file operation was done, or failed: then nothing behind it leaves before the machine knows."""
        if not well:
            self.links.withheld = True

    def _sync_file(self, effect: do.SyncFile) -> None:
        self.links.flush_dirty()
        self._file(self.files.sync(effect.name))

    def _commit_file(self, effect: do.CommitFile) -> None:
        self.links.flush_dirty()
        self._file(self.files.commit(effect.name, effect.final_name, durable=effect.durable))

    def _listen(self, port: int) -> None:
        trouble = self._relisten(port)
        if trouble is not None:
            self.log(do.Level.WARNING, trouble)

    def _sleep(self, effect: do.Sleep) -> None:
        self.links.flush_dirty()
        time.sleep(effect.duration_us / 1_000_000)

    def _exit(self, effect: do.Exit) -> None:
        if not effect.crash:
            self.links.withheld = False
            self.links.flush_dirty()
            for link in list(self.links.streams.values()):
                if not link.queue:
                    self.links.pull(link)
        self.ended = Ended(effect.code, effect.crash)

    def _shut(self) -> None:
        """Close everything; each part is tried even if another fails."""
        parts: list[Callable[[], None]] = [
            self.snapshots.shut, self.scripts.shut, self.connector.shut, self.handshakes.shut, self.door.shut,
            self.files.shut,
        ]  # fmt: skip
        for link in self.links.by_fd.values():
            parts += [link.drop_queue, link.sock.close]
        parts.append(self._close_dying)
        parts += [lambda: os.close(self._wake_fd), self._epoll.close]
        for part in parts:
            try:
                part()
            except OSError:
                self.log(do.Level.WARNING, f"While ending: {traceback.format_exc(limit=1)}")
        self.links.by_fd.clear()
        self.links.by_conn.clear()
