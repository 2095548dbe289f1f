"""`replicator cluster`: a cluster on this machine with one command, and its end with another.

`up` starts the nodes (each in a directory of its own below DIR), joins them and deals the slots as redis-cli does, and
waits until the cluster serves. What was started stands in DIR/cluster.json; `down` ends exactly these processes, and
`up` in the same DIR starts them again with what they had.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from replicator.status import Client, Unreachable

_BOUND_S = 60.0  # a cluster that does not stand by then will not
_SLOTS = 16384
_STATE = "cluster.json"


@dataclass(slots=True)
class Process:
    """A node that was started. started: when the system says its process began; with it a number is no other's."""

    port: int
    pid: int
    started: str


class NotUp(Exception):
    """The cluster could not be started; the text says why."""


def _started(pid: int) -> str:
    """When the process began, "" if there is none: numbers are used again."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            words = file.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if words[0] == "Z" else words[19]


def _alive(process: Process) -> bool:
    return _started(process.pid) == process.started != ""


def _free_ports(count: int, first: int) -> list[int]:
    """Ports from `first` on that are free, and whose bus port is."""
    found: list[int] = []
    port = first
    while len(found) < count:
        if port + 10000 > 65535:
            raise NotUp(f"no {count} free ports from {first} on")
        if all(_is_free(one) for one in (port, port + 10000)):
            found.append(port)
        port += 1
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _read(folder: Path) -> list[Process]:
    path = folder / _STATE
    if not path.exists():
        return []
    return [Process(**entry) for entry in json.loads(path.read_text())["nodes"]]


def _write(folder: Path, nodes: list[Process]) -> None:
    path = folder / _STATE
    path.with_suffix(".tmp").write_text(json.dumps({"nodes": [asdict(node) for node in nodes]}, indent=1))
    os.replace(path.with_suffix(".tmp"), path)


def _start(folder: Path, port: int, node_timeout_ms: int) -> Process:
    """One node, in the background, with its log in its directory."""
    own = folder / str(port)
    own.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "replicator", "server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(own),
        "--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout_ms), "--logfile", str(own / "log"),
        "--repl-diskless-sync-delay", "0",
    ]  # fmt: skip
    with open(own / "output", "ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    return Process(port, process.pid, _started(process.pid))


def _until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + _BOUND_S
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise NotUp(f"after {_BOUND_S:g} s still not: {what}")
        time.sleep(0.05)
    return value


def _call(port: int, *argv: str) -> Any:
    client = Client(("127.0.0.1", port))
    try:
        return client.call(*argv)
    finally:
        client.close()


def _answers(process: Process) -> bool:
    if not _alive(process):
        raise NotUp(f"the node on port {process.port} ended; see its log")
    try:
        return bool(_call(process.port, "PING") == "PONG")
    except Unreachable:
        return False


def _order(port: int, *argv: str) -> None:
    answer = _call(port, *argv)
    if answer != "OK":
        raise NotUp(f"the node on port {port} answered {' '.join(argv)} with: {answer}")


def _join(ports: list[int], primaries: int) -> None:
    """Deal the slots, let the nodes meet, and give each primary its replicas."""
    for number in range(primaries):
        first, last = round(number * _SLOTS / primaries), round((number + 1) * _SLOTS / primaries) - 1
        _order(ports[number], "CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
    for number, port in enumerate(ports):
        _order(port, "CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
    for port in ports[1:]:
        _order(port, "CLUSTER", "MEET", "127.0.0.1", str(ports[0]))

    def all_known() -> bool:
        texts = [str(_call(port, "CLUSTER", "NODES")) for port in ports]
        return all(text.count("\n") == len(ports) and "handshake" not in text for text in texts)

    _until(all_known, "every node knows every other")
    names = [str(_call(port, "CLUSTER", "MYID")) for port in ports[:primaries]]
    for number, port in enumerate(ports[primaries:]):
        _order(port, "CLUSTER", "REPLICATE", names[number % primaries])


def _serves(port: int) -> bool:
    return "cluster_state:ok" in str(_call(port, "CLUSTER", "INFO"))


def _linked(port: int) -> bool:
    return "master_link_status:up" in str(_call(port, "INFO", "replication"))


def _primaries(port: int) -> int:
    """How many nodes are primaries, for the one on that port."""
    return sum("master" in line.split()[2] for line in str(_call(port, "CLUSTER", "NODES")).splitlines())


def bring_up(folder: Path, primaries: int, replicas: int, first_port: int, node_timeout_ms: int) -> list[Process]:
    """Start a new cluster in the folder, or the one that was there; the processes. Raises NotUp."""
    known = _read(folder)
    if any(_alive(process) for process in known):
        raise NotUp(f"a cluster runs in {folder} already: replicator cluster down {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    ports = [process.port for process in known] or _free_ports(primaries * (1 + replicas), first_port)
    nodes: list[Process] = []
    try:
        for port in ports:
            nodes.append(_start(folder, port, node_timeout_ms))
        _write(folder, nodes)
        _until(lambda: all(map(_answers, nodes)), "every node answers")
        if not known:
            _join(ports, primaries)
        _until(lambda: all(map(_serves, ports)), "the cluster serves")
        if not known:
            _until(lambda: all(map(_linked, ports[primaries:])), "every replica follows its primary")
            _until(lambda: all(_primaries(port) == primaries for port in ports), "every node knows who follows whom")
    except (NotUp, Unreachable) as problem:
        _end(nodes)
        raise NotUp(str(problem)) from None
    return nodes


def _end(nodes: list[Process]) -> list[Process]:
    """Ask the processes to end, and make those end that do not; whom this met alive."""
    running = [process for process in nodes if _alive(process)]
    for process in running:
        os.kill(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + 15
    while any(map(_alive, running)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in running:
        if _alive(process):
            os.kill(process.pid, signal.SIGKILL)
    return running


@click.group(short_help="A cluster on this machine: up, down.")
def cluster() -> None:
    """Start and stop a cluster of several nodes on this machine."""


@cluster.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--primaries", default=3, show_default=True, type=click.IntRange(1, 100), help="How many shards.")
@click.option("--replicas", default=0, show_default=True, type=click.IntRange(0, 10), help="Replicas of each primary.")
@click.option("--port", default=7000, show_default=True, type=click.IntRange(1, 55535), help="The first port to try.")
@click.option(
    "--node-timeout", default=5000, show_default=True, type=click.IntRange(100, 600_000), help="In milliseconds."
)
def up(folder: Path, primaries: int, replicas: int, port: int, node_timeout: int) -> None:
    """Start a cluster whose nodes keep their files in DIR, and say how to reach and stop it.

    In a DIR that has one already, that one is started again; its size stays what it was.
    """
    try:
        nodes = bring_up(folder.absolute(), primaries, replicas, port, node_timeout)
    except NotUp as problem:
        click.echo(f"The cluster is not up: {problem}", err=True)
        sys.exit(1)
    click.echo(f"The cluster is up: {len(nodes)} nodes on ports {', '.join(str(node.port) for node in nodes)}.")
    click.echo(f"  talk to it:   redis-cli -c -p {nodes[0].port}")
    click.echo(f"  look at it:   replicator status 127.0.0.1:{nodes[0].port}")
    click.echo(f"  stop it:      replicator cluster down {folder}")


@cluster.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, exists=True, path_type=Path))
def down(folder: Path) -> None:
    """End the cluster that was started in DIR; its files stay."""
    nodes = _read(folder.absolute())
    if not nodes:
        click.echo(f"No cluster was started in {folder}.", err=True)
        sys.exit(1)
    ended = _end(nodes)
    click.echo(f"{len(ended)} of {len(nodes)} nodes were running and have ended; their files stay in {folder}.")
