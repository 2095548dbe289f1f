"""The hub's own cost: a toy machine that answers +PONG to every PING, against redis-server, side by side under
redis-benchmark.

    python benchmarks/hub.py [--requests N] [--rounds N]

Prints for -P 1 and -P 16 the rates of both (the best of the rounds, taken in turn) and their ratio. The toy machine
counts commands and no more, so the ratio says what the driver costs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import trio

from replicator.core.effects import Effect, Send
from replicator.core.events import Event, Received
from replicator.core.now import Now
from replicator.runtime.hub import LINGER_S, Hub
from replicator.runtime.listeners import listen_tcp


class Pong:
    """Answers +PONG to each request of redis-benchmark's PING_MBULK test, and what its CONFIG GET needs."""

    def handle(self, event: Event, now: Now) -> list[Effect]:
        if type(event) is Received:
            data = event.data
            if data.startswith(b"*3"):
                return [Send(event.conn, b"*0\r\n" * data.count(b"CONFIG"))]
            return [Send(event.conn, b"+PONG\r\n" * data.count(b"*1\r\n"))]
        return []

    def deadline_ms(self) -> int | None:
        return None

    def advance(self, now: Now) -> list[Effect]:
        return []

    def pull(self, conn: int, limit: int) -> bytes:
        return b""


def serve(port: int) -> None:
    hub = Hub(Pong(), linger_s=LINGER_S)
    hub.listen(listen_tcp(("127.0.0.1",), port, 511))
    trio.run(hub.run)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.02)  # polling: there is nothing to wait on before it listens
    raise TimeoutError(f"nobody listens on {port}")


def rate(port: int, pipeline: int, requests: int, clients: int) -> float:
    command = ["redis-benchmark", "-p", str(port), "-t", "ping_mbulk", "-n", str(requests), "-c", str(clients)]
    done = subprocess.run([*command, "-P", str(pipeline), "--csv"], capture_output=True, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1].split(",")[1].strip('"'))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    redis = shutil.which("redis-server")
    assert redis is not None, "redis-server is not installed"
    ours_port, theirs_port = free_port(), free_port()
    processes = [
        subprocess.Popen([sys.executable, os.path.abspath(__file__), "--serve", str(ours_port)]),
        subprocess.Popen(
            [redis, "--port", str(theirs_port), "--save", "", "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL
        ),
    ]
    try:
        wait_for(ours_port)
        wait_for(theirs_port)
        for pipeline in (1, 16):
            requests = options.requests * (1 if pipeline == 1 else 10)
            best = {ours_port: 0.0, theirs_port: 0.0}
            for _ in range(options.rounds):
                for port in best:
                    best[port] = max(best[port], rate(port, pipeline, requests, options.clients))
            ours, theirs = best[ours_port], best[theirs_port]
            print(f"-P {pipeline:2}: hub {ours:12,.0f}/s  redis-server {theirs:12,.0f}/s  ratio {ours / theirs:.2f}")
    finally:
        for process in processes:
            process.send_signal(signal.SIGKILL)
            process.wait()


if __name__ == "__main__":
    main()
