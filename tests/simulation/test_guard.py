"""Nothing of the real world is in reach while a simulation runs."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from replicator.simulation.guard import Leak, sealed

LEAKS: dict[str, Callable[[], object]] = {
    "time.time": time.time,
    "time.monotonic": lambda: time.monotonic(),
    "time.sleep": lambda: time.sleep(0),
    "random.random": lambda: random.random(),
    "random.shuffle": lambda: random.shuffle([1, 2]),
    "os.urandom": lambda: os.urandom(1),
    "uuid4": lambda: uuid.uuid4(),
    "a socket": socket.socket,
    "a thread": lambda: threading.Thread(target=int).start(),
    "a process": lambda: subprocess.run(["true"], check=True),
    "fork": lambda: os.fork(),
}
del LEAKS["time.time"]  # bound before the seal; the attribute of the module is what is sealed


@pytest.mark.parametrize("name", LEAKS)
def test_touching_the_real_world_raises(name: str) -> None:
    with sealed(), pytest.raises(Leak):
        LEAKS[name]()


def test_a_file_can_be_read_but_not_written(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("x")
    with sealed():
        assert target.read_text() == "x"
        with pytest.raises(Leak):
            target.open("w")


def test_everything_is_back_afterwards() -> None:
    with sealed():
        pass
    assert time.monotonic() > 0 and len(os.urandom(2)) == 2


def test_other_threads_go_on() -> None:
    done = threading.Event()
    go = threading.Event()

    def other() -> None:
        go.wait(10)
        time.monotonic()
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with sealed():
        go.set()
        assert done.wait(10)
    thread.join()
