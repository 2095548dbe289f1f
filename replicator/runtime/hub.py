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
from replicator.core.limits import CLOSE_FLUSH_MS, OUTPUT_HELD_BYTES, PULL_BYTES
from replicator.core.machine import Machine
from replicator.core.now import Now
from replicator.runtime import observe
from replicator.runtime.connect import Connector
from replicator.runtime.files import Files
from replicator.runtime.link import IN, OUT, READ_BYTES, READ_BYTES_MOST, FeedItem, FileItem, Link
from replicator.runtime.listeners import Listener
from replicator.runtime.snapshot import Snapshots
from replicator.runtime.sockets import Door, reason, tune

# Ready sockets taken in one turn: the clock is read once a turn, so a turn must not grow with the number of clients.
READY_MOST: Final = 128
# Pulls for one stream in one turn; a replica far behind shares the loop with the clients.
PULLS_MOST: Final = 8
# Under full load other trio tasks run this often.
YIELD_S: Final = 0.01
# How long a process that has the thread to itself waits inside epoll before it asks trio to wait: a client that sends
# its next command at once is then served without the scheduler's detour.
LINGER_S: Final = 0.001

# A sleep without any plan.
IDLE_MOST_S: Final = 3600.0

GONE_BY_PEER: Final = "Client closed connection"


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
    ) -> None:
        """log: takes what effects.Log says. announce: takes effects.Announce. directory: where relative file names lie.

        keepalive_s: the tcp-keepalive directive (0: off). linger_s: LINGER_S for a process of its own, 0 where several
        hubs share a thread. relisten: carries effects.Listen out. child_log: takes what a snapshot's child has to say,
        in the child. petted: told True when a turn begins and False before the loop sleeps (a watchdog).
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
        self._links: dict[int, Link] = {}  # by descriptor
        self._conns: dict[int, Link] = {}  # by connection number
        self._others: dict[int, Callable[[int], None]] = {}  # by descriptor: what to do when it is ready
        self._streams: dict[int, Link] = {}
        self._told: deque[told.Event] = deque()
        self._dirty: dict[int, Link] = {}  # sends of this call that have not been tried yet
        self._withheld = False  # a file operation of this call failed: what was sent behind it waits for the machine
        self._dying: list[socket.socket | int] = []
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._ticket = 0
        self._last_conn = 0
        self._more = False  # work is left over: do not sleep
        self._posted: deque[told.Event] = deque()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.watch(self._wake_fd, IN, self._woken)
        self.door = Door(self, keepalive_s)
        self.files = Files(self._told.append, directory)
        self.snapshots = Snapshots(self, self.files)
        self.connector = Connector(self)
        self._carry: dict[type[Any], Callable[[Any], None]] = {
            do.Send: self._send,
            do.Close: self._close,
            do.PauseReading: self._pause_reading,
            do.Connect: self._connect,
            do.NoDelay: self._no_delay,
            do.Stream: self._stream,
            do.StartSnapshot: self._start_snapshot,
            do.CancelSnapshot: self._cancel_snapshot,
            do.SendSnapshot: self._send_snapshot,
            do.ReadFile: self._read_file,
            do.StopReading: lambda effect: self.files.stop_reading(effect.name),
            do.AppendFile: lambda effect: self._file(self.files.append(effect.name, effect.data, effect.first)),
            do.SyncFile: self._sync_file,
            do.CommitFile: self._commit_file,
            do.RemoveFile: lambda effect: self._file(self.files.remove(effect.name)),
            do.Log: lambda effect: self.log(effect.level, effect.message),
            do.Announce: lambda effect: self._announce(effect.name, effect.fields),
            do.Listen: lambda effect: self._listen(effect.port),
            do.Sleep: self._sleep,
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

    def close_later(self, item: socket.socket | int) -> None:
        """Close a socket or descriptor at the end of the turn, so that its number is not used again inside it."""
        self._dying.append(item)

    def after(self, delay_ms: int, call: Callable[[], None]) -> None:
        """Call once, delay_ms from now, in a turn."""
        self._ticket += 1
        heapq.heappush(self._timers, (self.now.mono_ms + delay_ms, self._ticket, call))

    def tell(self, event: told.Event) -> None:
        """Tell the machine, right behind the effects that are being carried out."""
        self._told.append(event)

    def post(self, event: told.Event) -> None:
        """Tell the machine from outside the loop (a signal handler, another task of the same thread). Wakes the
        loop."""
        self._posted.append(event)
        self.wake()

    def wake(self) -> None:
        """End the loop's sleep. May be called from a signal handler."""
        os.eventfd_write(self._wake_fd, 1)

    def flush_soon(self, link: Link) -> None:
        """Flush the link with the sends of the call whose effects are being carried out."""
        if not link.blocked:
            self._dirty[link.conn] = link

    def link(self, conn: int) -> Link | None:
        """The connection of that number, if it stands and is not being closed."""
        link = self._conns.get(conn)
        return None if link is None or link.closing is not None else link

    def listen(self, listeners: Iterable[Listener]) -> None:
        """Accept from these as well."""
        for listener in listeners:
            self.door.open(listener)

    def next_conn(self) -> int:
        """A number for an accepted connection."""
        self._last_conn += 1
        return self._last_conn

    def adopt(self, conn: int, sock: socket.socket, accepted: bool) -> Link:
        """Serve a connected non-blocking socket under that number."""
        link = Link(conn, sock, accepted)
        self._links[link.fd] = self._conns[conn] = link
        self._epoll.register(link.fd, IN)
        return link

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
            self._more = False
            self._turn(ready)
            self._finish_turn()

    def _wait_s(self) -> float:
        """Seconds from self.now until something is due: 0 when work is left over, IDLE_MOST_S when nothing is
        planned."""
        if self._more or self._posted:
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
        links = self._links
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
                    self._unusual(link, mask)
                    if self._told:
                        self._settle()
                    if not mask & IN or links.get(fd) is not link:
                        continue
                try:
                    data = link.recv(link.read_bytes)
                except (BlockingIOError, InterruptedError):
                    continue
                except OSError as error:
                    data = b""
                    self.lose(link, reason(error))
                else:
                    if not data:
                        self.lose(link, GONE_BY_PEER)
                if data:
                    if len(data) == link.read_bytes:
                        link.read_bytes = min(READ_BYTES_MOST, link.read_bytes * 4)
                    elif link.read_bytes != READ_BYTES:
                        link.read_bytes = READ_BYTES
                    answer = handle(received(link.conn, data), now)
                    if len(answer) == 1 and type(effect := answer[0]) is send_effect:
                        self._send_now(effect)
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
            self._more = self._more or bool(self.files.reading)
        if self._streams and self.ended is None:
            for link in list(self._streams.values()):
                if not link.queue:
                    self._pull(link)
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
            if self._withheld and not any(type(waiting) is told.FileFailed for waiting in queue):
                self._withheld = False
                self._flush_dirty()

    def _carry_out(self, effects: list[do.Effect]) -> None:
        carry = self._carry
        for effect in effects:
            carry[type(effect)](effect)
            if self.ended is not None:
                return
        if self._dirty and not self._withheld:
            self._flush_dirty()

    def _send(self, effect: do.Send) -> None:
        link = self._conns.get(effect.conn)
        if link is None or link.closing is not None:
            return
        link.queue.append(effect.data)
        link.pending += len(effect.data)
        self._dirty[link.conn] = link

    def _send_now(self, effect: do.Send) -> None:
        """The hot path: the only effect of a call, for a connection with nothing in the queue."""
        link = self._conns.get(effect.conn)
        if link is None or link.closing is not None:
            return
        data = effect.data
        if link.queue or self._withheld:
            self._send(effect)
            if not self._withheld:
                self._flush_dirty()
            return
        try:
            sent = link.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self.lose(link, reason(error))
            return
        if sent != len(data):
            link.queue.append(memoryview(data)[sent:])
            link.pending = len(data) - sent
            link.blocked = True
            self._told.append(told.OutputPending(link.conn, link.pending))
            self._mind(link)

    def _flush_dirty(self) -> None:
        if self._withheld:
            return
        dirty = list(self._dirty.values())
        self._dirty.clear()
        for link in dirty:
            if self._conns.get(link.conn) is not link:
                continue
            if link.blocked:
                self._told.append(told.OutputPending(link.conn, link.pending))
                self._mind(link)
            else:
                self.flush(link)

    def flush(self, link: Link) -> None:
        """Give the system what it takes of the link's queue, and tell what came of it."""
        pending = link.pending
        was_blocked = link.blocked
        try:
            finished = link.drain()
        except OSError as error:
            self.lose(link, reason(error))
            return
        for generation in finished:
            self._told.append(told.SnapshotSent(link.conn, generation))
            self.snapshots.served(link.conn)
        if link.pending and (link.pending != pending or not was_blocked):
            self._told.append(told.OutputPending(link.conn, link.pending))
        elif was_blocked and pending and not link.pending:
            self._told.append(told.OutputPending(link.conn, 0))
        if link.closing is not None:
            if not link.queue:
                self._finish_close(link)
                return
            link.progress_ms = self.now.mono_ms
        if link.blocked or was_blocked or link.held:
            self._mind(link)
        head = link.queue[0] if link.queue else None
        if type(head) is FeedItem and not head.chunks:
            self.snapshots.hungry()

    def _mind(self, link: Link) -> None:
        """Make the poll's interest in a link fit its state."""
        if link.pending > OUTPUT_HELD_BYTES:
            link.held = not link.streaming and not link.closing
        elif link.held and link.pending <= OUTPUT_HELD_BYTES // 2:
            link.held = False
        if link.closing is not None:
            mask = 0
        elif not link.paused and not link.held:
            mask = IN
            link.ended = False
        else:
            mask = 0 if link.ended else select.EPOLLRDHUP
        if link.blocked:
            mask |= OUT
        if mask != link.interest:
            link.interest = mask
            self._epoll.modify(link.fd, mask)

    def _unusual(self, link: Link, mask: int) -> None:
        """A link is ready for more than a plain read."""
        if mask & OUT:
            self.flush(link)
            if self._links.get(link.fd) is not link:
                return
        broken = mask & (select.EPOLLERR | select.EPOLLHUP)
        if link.interest & IN or not (broken or mask & select.EPOLLRDHUP):
            return  # the read will tell
        error = link.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error or broken:
            self.lose(link, os.strerror(error) if error else GONE_BY_PEER)
            return
        try:
            unread = link.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as failure:
            self.lose(link, reason(failure))
            return
        if unread:
            # What it said before it ended its side is still to be read: that end is told behind it.
            link.ended = True
            self._mind(link)
        elif not link.held:
            self.lose(link, GONE_BY_PEER)
        else:
            link.ended = True  # it said all it wanted and takes its replies: not gone
            self._mind(link)

    def lose(self, link: Link, why: str) -> None:
        """The connection is gone: forget it and tell the machine. What waited for it is dropped."""
        if self._links.pop(link.fd, None) is None:
            return
        self._conns.pop(link.conn, None)
        self._streams.pop(link.conn, None)
        self._epoll.unregister(link.fd)
        link.drop_queue()
        self._dying.append(link.sock)
        self._told.append(told.Closed(link.conn, why if link.closing is None else link.closing))
        self.snapshots.dropped(link.conn)

    def _close(self, effect: do.Close) -> None:
        if self.connector.cancel(effect.conn, effect.why):
            return
        link = self._conns.get(effect.conn)
        if link is None:
            return
        if not self._withheld and link.conn in self._dirty:
            del self._dirty[link.conn]
            self.flush(link)
        if not effect.flush:
            link.closing = effect.why
            self.lose(link, effect.why)
        elif link.closing is None and self._conns.get(effect.conn) is link:
            link.closing = effect.why
            self._streams.pop(link.conn, None)
            if not link.queue:
                self._finish_close(link)
                return
            link.progress_ms = self.now.mono_ms
            self._mind(link)
            self.after(CLOSE_FLUSH_MS, lambda: self._check_closing(link))

    def _finish_close(self, link: Link) -> None:
        """A flushing close has sent everything. Unread bytes would make the system answer with a reset that destroys
        what the peer has not read yet, so they are read away first, within bounds."""
        assert link.closing is not None
        self._links.pop(link.fd)
        self.door.part(link.sock, self._epoll)
        self._conns.pop(link.conn, None)
        self._told.append(told.Closed(link.conn, link.closing))
        self.snapshots.dropped(link.conn)

    def _check_closing(self, link: Link) -> None:
        """A closing connection whose peer takes nothing for CLOSE_FLUSH_MS is given up."""
        if self._links.get(link.fd) is not link:
            return
        left_ms = link.progress_ms + CLOSE_FLUSH_MS - self.now.mono_ms
        if left_ms > 0:
            self.after(left_ms, lambda: self._check_closing(link))
        else:
            assert link.closing is not None
            self.lose(link, link.closing)

    def _pause_reading(self, effect: do.PauseReading) -> None:
        link = self._conns.get(effect.conn)
        if link is not None:
            link.paused = effect.paused
            self._mind(link)

    def _connect(self, effect: do.Connect) -> None:
        self.connector.connect(effect)

    def connected(self, conn: int, sock: socket.socket) -> None:
        """An outgoing connection stands."""
        self.door.tune(sock)
        self.adopt(conn, sock, accepted=False)
        local = sock.getsockname()
        self._told.append(told.Connected(conn, str(local[0]), int(local[1])))

    def _no_delay(self, effect: do.NoDelay) -> None:
        link = self._conns.get(effect.conn)
        if link is not None and link.sock.family != socket.AF_UNIX:
            tune(link.sock, no_delay=effect.enabled)

    def _stream(self, effect: do.Stream) -> None:
        link = self._conns.get(effect.conn)
        if link is not None and link.closing is None:
            link.streaming = True
            self._streams[link.conn] = link
            if link.held:
                link.held = False
                self._mind(link)

    def _pull(self, link: Link) -> None:
        pull = self.machine.pull
        for _ in range(PULLS_MOST):
            data = pull(link.conn, PULL_BYTES)
            if not data:
                return
            link.queue.append(data)
            link.pending += len(data)
            self.flush(link)
            if link.queue or self._links.get(link.fd) is not link:
                return
        self._more = True

    def _start_snapshot(self, effect: do.StartSnapshot) -> None:
        self._flush_dirty()
        self.snapshots.start(effect)

    def _cancel_snapshot(self, effect: do.CancelSnapshot) -> None:
        self.snapshots.cancel(effect.generation)

    def _send_snapshot(self, effect: do.SendSnapshot) -> None:
        link = self.link(effect.conn)
        if link is None:
            return
        opened = self.files.open_to_send(effect.name)
        if opened is None:
            self._withheld = True
            return
        fd, length = opened
        prefix = effect.prefix.replace(b"%d", b"%d" % length)
        if prefix:
            link.queue.append(prefix)
            link.pending += len(prefix)
        link.queue.append(FileItem(fd, length, effect.generation))
        self.flush_soon(link)

    def _read_file(self, effect: do.ReadFile) -> None:
        if self.files.start_reading(effect.name, effect.chunk):
            self._more = True

    def _file(self, well: bool) -> None:
        """A file operation was done, or failed: then nothing behind it leaves before the machine knows."""
        if not well:
            self._withheld = True

    def _sync_file(self, effect: do.SyncFile) -> None:
        self._flush_dirty()
        self._file(self.files.sync(effect.name))

    def _commit_file(self, effect: do.CommitFile) -> None:
        self._flush_dirty()
        self._file(self.files.commit(effect.name, effect.final_name))

    def _listen(self, port: int) -> None:
        trouble = self._relisten(port)
        if trouble is not None:
            self.log(do.Level.WARNING, trouble)

    def _sleep(self, effect: do.Sleep) -> None:
        self._flush_dirty()
        time.sleep(effect.duration_us / 1_000_000)

    def _exit(self, effect: do.Exit) -> None:
        if not effect.crash:
            self._withheld = False
            self._flush_dirty()
        self.ended = Ended(effect.code, effect.crash)

    def _shut(self) -> None:
        """Close everything; each part is tried even if another fails."""
        parts: list[Callable[[], None]] = [self.snapshots.shut, self.connector.shut, self.door.shut, self.files.shut]
        for link in self._links.values():
            parts += [link.drop_queue, link.sock.close]
        parts.append(self._close_dying)
        parts += [lambda: os.close(self._wake_fd), self._epoll.close]
        for part in parts:
            try:
                part()
            except OSError:
                self.log(do.Level.WARNING, f"While ending: {traceback.format_exc(limit=1)}")
        self._links.clear()
        self._conns.clear()
