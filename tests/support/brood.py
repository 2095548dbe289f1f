"""Server processes that start at once: forked from a process that has imported everything.

    python -m tests.support.brood        reads lines of JSON from standard input: the arguments of a server, or a pid to
                                         be waited for; answers each with a number (the new pid, or the exit status)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path


class Brood:
    """The parent process and its servers."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.brood"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
        )
        self._running: set[int] = set()

    def _ask(self, what: object) -> int:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def start(self, log: Path, *arguments: str) -> int:
        """A server with these arguments; its pid."""
        pid = self._ask([str(log), *arguments])
        self._running.add(pid)
        return pid

    def wait(self, pid: int) -> int:
        """Wait for the end of a server; its exit code, or minus the signal that ended it."""
        self._running.discard(pid)
        return os.waitstatus_to_exitcode(self._ask(pid))

    def kill(self, pid: int) -> None:
        """SIGKILL, and wait."""
        os.kill(pid, signal.SIGKILL)
        self.wait(pid)

    def end(self) -> None:
        """End all."""
        for pid in list(self._running):
            self.kill(pid)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


def _main() -> None:
    import replicator.runtime.hub
    import replicator.server
    from replicator.cli import run_server

    assert replicator.server and replicator.runtime.hub
    answers = os.dup(1)
    for line in sys.stdin:
        what = json.loads(line)
        if isinstance(what, int):
            answer = os.waitpid(what, 0)[1]
        else:
            answer = os.fork()
            if not answer:
                log = os.open(what[0], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                for fd in (1, 2):
                    os.dup2(log, fd)
                os.close(answers)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                code = 1
                try:
                    code = run_server(what[1:])
                finally:
                    os._exit(code)
        os.write(answers, b"%d\n" % answer)


if __name__ == "__main__":
    _main()
