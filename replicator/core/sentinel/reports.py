"""What a watched server says of itself in INFO: text -> the few fields that a Sentinel reads. Pure.

Unknown fields are passed over, so it does not matter which server of which version answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice

from replicator.core import limits


@dataclass(slots=True)
class InfoReport:
    """The fields that matter; those that were not there keep their defaults."""

    run_id: str = ""
    role: str = ""  # "master" or "slave"
    replicas: list[tuple[str, int]] = field(default_factory=list)  # of a primary: (ip, port)
    link_down_s: int | None = None
    primary_host: str = ""
    primary_port: int | None = None
    link_status: str = ""
    priority: int | None = None
    offset: int | None = None
    announced: int | None = None
    keys: int | None = None  # of all databases; None: it says nothing of them


def _number(text: str) -> int | None:
    try:
        return int(text) if len(text) <= 20 else None
    except ValueError:
        return None


def parse_info(text: str) -> InfoReport:
    """The report of one INFO answer."""
    report = InfoReport()
    for line in text.split("\r\n"):
        if line.startswith("run_id:") and len(line) >= 7 + 40:
            report.run_id = line[7:47]
        elif line.startswith("slave") and line[5:6].isdigit():
            _replica_line(line, report)
        elif line.startswith("master_link_down_since_seconds:"):
            report.link_down_s = _number(line[31:])
        elif line.startswith("role:"):
            report.role = {"master": "master", "slave": "slave"}.get(line[5:], report.role)
        elif line == "# Keyspace":
            report.keys = 0
        elif report.keys is not None and line.startswith("db"):
            report.keys += _keys(line)
        elif report.role == "slave":
            _of_replica(line, report)
    return report


def _keys(line: str) -> int:
    """db0:keys=12,expires=0,avg_ttl=0"""
    _, found, rest = line.partition(":keys=")
    return (_number(rest.partition(",")[0]) or 0) if found else 0


def _replica_line(line: str, report: InfoReport) -> None:
    """slave0:ip=127.0.0.1,port=6380,state=online,... (or of old servers slave0:127.0.0.1,6380,online)"""
    value = line.partition(":")[2]
    words = value.split(",")
    if "ip=" in value:
        named = dict(word.split("=", 1) for word in islice(words, 16) if "=" in word)
        host, port = named.get("ip", ""), _number(named.get("port", ""))
    else:
        host, port = words[0], _number(words[1]) if len(words) > 1 else None
    if host and port is not None and 0 < port < 65536 and len(report.replicas) < limits.MAX_SENTINEL_KNOWN:
        report.replicas.append((host, port))


def _of_replica(line: str, report: InfoReport) -> None:
    name, colon, value = line.partition(":")
    if not colon:
        return
    if name == "master_host":
        report.primary_host = value
    elif name == "master_port":
        report.primary_port = _number(value)
    elif name == "master_link_status":
        report.link_status = value
    elif name == "slave_priority":
        report.priority = _number(value)
    elif name == "slave_repl_offset":
        report.offset = _number(value)
    elif name == "replica_announced":
        report.announced = _number(value)


@dataclass(frozen=True, slots=True)
class Hello:
    """What a Sentinel says of itself and of one primary on the hello channel, every two seconds."""

    ip: str
    port: int
    run_id: str
    current_epoch: int
    primary_name: str
    primary_ip: str
    primary_port: int
    config_epoch: int

    def encode(self) -> bytes:
        """As it goes on the channel."""
        words = (
            self.ip, self.port, self.run_id, self.current_epoch,
            self.primary_name, self.primary_ip, self.primary_port, self.config_epoch,
        )  # fmt: skip
        return ",".join(map(str, words)).encode("utf-8", "surrogateescape")


def parse_hello(data: bytes) -> Hello | None:
    """The message, or None: it is none."""
    words = data.decode("utf-8", "surrogateescape").split(",")
    if len(words) != 8:
        return None
    port, epoch, primary_port, config_epoch = (_number(words[at]) for at in (1, 3, 6, 7))
    if port is None or epoch is None or primary_port is None or config_epoch is None:
        return None
    if not (0 <= port < 65536 and 0 <= primary_port < 65536 and 0 <= epoch < 2**63 and 0 <= config_epoch < 2**63):
        return None
    return Hello(words[0], port, words[2], epoch, words[4], words[5], primary_port, config_epoch)
