"""A server of its own process for tests: runtime.process.serve with a toy machine that speaks in lines.

python -m tests.support.toyserver '{"port": 7000, ...fields of ServeOptions}'

PING              PONG
KEYS n            fills its store with n keys of 64 bytes
SNAP delay        snapshot of the store to dump.rdb; answers "started PID" and "done LENGTH KEYS" or "failed WHY"
FEED              the same to this connection
SET               changes a key of the store
TICK ms           from now on an alarm every so many ms; TICKS: how many there were
DEAF              signals are only noted
LISTEN port       Services.try_listen; BIND address,address: try_bind; DIR path: try_directory
WATCH ms          the watchdog
SPIN ms           hangs in the machine
SLEEP ms, EXIT n, CRASH n, RAISE
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator

from replicator.core import effects as do
from replicator.core import events as told
from replicator.core.now import Now
from replicator.runtime.process import ServeOptions, Services, serve


class ToyServer:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.store: dict[bytes, bytes] = {}
        self.asker = 0
        self.tick_ms = 0
        self.tick_at_ms: int | None = None
        self.ticks = 0
        self.deaf = False
        self.generation = 0
        self.questions: dict[str, Callable[[str], str | None]] = {
            "LISTEN": lambda word: services.try_listen(int(word)),
            "BIND": lambda word: services.try_bind(tuple(word.split(","))),
            "DIR": services.try_directory,
        }
        services.log.write(do.Level.WARNING, f"Toy server starting, PID: {os.getpid()}")

    def handle(self, event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Started):
            return [do.Log(do.Level.NOTICE, "Ready to accept connections")]
        if isinstance(event, told.Received):
            answer: list[do.Effect] = []
            for line in event.data.splitlines():
                answer += self.command(event.conn, line.decode().split(), now)
            return answer
        if isinstance(event, told.Signalled) and not self.deaf:
            return [do.Log(do.Level.WARNING, "User requested shutdown..."), do.Exit(0)]
        if isinstance(event, told.SnapshotStarted):
            return self.say(f"started {event.pid} {event.fork_us}")
        if isinstance(event, told.SnapshotDone):
            return self.say(f"done {event.length} {event.keys}")
        if isinstance(event, told.SnapshotFailed):
            return self.say(f"failed {event.why}")
        return []

    def say(self, text: str) -> list[do.Effect]:
        return [do.Send(self.asker, text.encode() + b"\n")]

    def command(self, conn: int, words: list[str], now: Now) -> list[do.Effect]:
        name, number = words[0], int(words[1]) if len(words) > 1 and words[1].lstrip("-").isdigit() else 0
        ok: list[do.Effect] = [do.Send(conn, b"ok\n")]
        if name == "PING":
            return [do.Send(conn, b"PONG\n")]
        if name == "KEYS":
            self.store = {b"key:%d" % key: b"v" * 64 + b"%d" % key for key in range(number)}
        elif name == "SET":
            self.store[b"key:1"] = b"%d" % now.unix_ms
        elif name in ("SNAP", "FEED"):
            self.asker = conn if name == "SNAP" else self.asker
            self.generation += 1
            final, conns = ("dump.rdb", ()) if name == "SNAP" else ("", (conn,))
            return [do.StartSnapshot(self.generation, self.chunks, final, conns, number)]
        elif name == "TICK":
            self.tick_ms, self.tick_at_ms, self.ticks = number, now.mono_ms + number, 0
        elif name == "TICKS":
            return [do.Send(conn, b"%d\n" % self.ticks)]
        elif name == "DEAF":
            self.deaf = True
        elif name in self.questions:
            return [do.Send(conn, f"{self.questions[name](words[1])}\n".encode())]
        elif name == "WATCH":
            self.services.set_watchdog(number)
        elif name == "SPIN":
            end_s = time.monotonic() + number / 1000
            while time.monotonic() < end_s:
                pass
        elif name == "SLEEP":
            return [do.Sleep(number * 1000), *ok]
        elif name in ("EXIT", "CRASH"):
            return [do.Send(conn, b"bye\n"), do.Exit(number, crash=name == "CRASH")]
        elif name == "RAISE":
            raise ValueError("a bug of the machine")
        return ok

    def chunks(self) -> Iterator[tuple[bytes, int]]:
        part: list[bytes] = []
        for item in self.store.items():
            part += item
            if len(part) >= 200:
                yield b"".join(part), len(part) // 2
                part.clear()
        yield b"".join(part), len(part) // 2

    def deadline_ms(self) -> int | None:
        return self.tick_at_ms

    def advance(self, now: Now) -> list[do.Effect]:
        self.ticks += 1
        self.tick_at_ms = now.mono_ms + self.tick_ms
        return []

    def pull(self, conn: int, limit: int) -> bytes:
        return b""


if __name__ == "__main__":
    fields = json.loads(sys.argv[1])
    if "addresses" in fields:
        fields["addresses"] = tuple(fields["addresses"])
    raise SystemExit(serve(ToyServer, ServeOptions(**fields)))
