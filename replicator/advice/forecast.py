"""From what was seen of a running topology to a scenario: the same nodes, settings, load and distances, four failures.

What cannot be seen is assumed, and `assumptions` says it: how soon a failure is noticed where no Sentinel was asked,
that a fifth of the clients never hear of a new primary, that a load beyond MOST_WRITES a second loses in proportion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from replicator.advice.facts import Facts, Look
from replicator.advice.rules import needed_backlog
from replicator.core.config.config import canonical
from replicator.scenario.script import directives
from replicator.scenario.script.dump import as_toml
from replicator.scenario.script.load import loads
from replicator.scenario.script.script import Script

# More writes a second are played as so many: what is lost grows with the rate, and a play takes time.
MOST_WRITES = 200.0
NOTICED_MS = 1000
_KEPT = (
    "min-replicas-to-write", "min-replicas-max-lag", "repl-backlog-size", "repl-timeout", "repl-ping-replica-period",
    "repl-diskless-sync", "repl-diskless-load", "replica-serve-stale-data", "client-output-buffer-limit", "appendonly",
    "appendfsync", "save",
)  # fmt: skip
# Behind a write stands its frame: the command's name, the key, the lengths.
_FRAME_BYTES = 60


@dataclass(frozen=True, slots=True)
class Forecast:
    """script: to be played. scale: what a lost write of the play stands for (1.0: itself)."""

    script: Script
    scale: float
    assumptions: list[str]

    def text(self) -> str:
        """As a scenario file."""
        return as_toml(self.script)


@dataclass(frozen=True, slots=True)
class Change:
    """A setting that may make a difference. config, workload: laid over the scenario's own."""

    name: str
    config: dict[str, Any]
    workload: dict[str, Any]

    def applied(self, script: Script) -> Script:
        """The script with the setting."""
        groups = [msgspec.structs.replace(group, **self.workload) for group in script.workloads]
        return msgspec.structs.replace(script, config={**script.config, **self.config}, workload=groups)


def _ms(number: float) -> str:
    return f"{max(1, round(number))}ms"


def _distance_ms(look: Look, replica: Facts) -> float:
    """How far the replica is behind its primary in time: by the bytes that it lacks, and by the way to it."""
    behind = replica.view.behind_bytes or 0
    lag = 1000 * behind / look.bytes_per_second if look.bytes_per_second > 0 else 0.0
    return min(5000.0, max(lag, replica.round_trip_ms / 2))


def _config(primary: Facts) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in _KEPT:
        value = primary.setting(name)
        known = canonical(name)
        if name in primary.config and not directives.problem(known, value):
            found[known] = value
    return found


def _failures(noticed_ms: int, replicas: list[str]) -> list[dict[str, Any]]:
    """The four variants, by their steps. Nodes: "a" is the primary."""
    promote: list[dict[str, Any]] = [{"promote": {"node": "best", "among": replicas}}, {"repoint": "others"}]
    noticed, later = _ms(noticed_ms), _ms(noticed_ms + 1000)
    found = [
        ("crash", "the primary is killed; when that is noticed the best replica is promoted", [
            {"at": "2s", "kill": "a"}, {"after": noticed, **promote[0]}, promote[1],
            {"after": "1s", "restart": {"node": "a", "replica_of": "primary"}}]),
        ("partition", "the primary loses its replicas and whoever watches it, not its clients; a replica is promoted", [
            {"at": "2s", "cut": {"between": ["a", "others"]}}, {"after": noticed, **promote[0]},
            *([{"repoint": {"nodes": replicas}}] if len(replicas) > 1 else []),
            {"after": later, "heal": "all"}, {"repoint": {"nodes": "a"}}]),
        ("pause", "the primary stands still and goes on after a replica was promoted", [
            {"at": "2s", "stop": "a"}, {"after": noticed, **promote[0]},
            *([{"repoint": {"nodes": replicas}}] if len(replicas) > 1 else []),
            {"after": "1s", "continue": "a"}, {"after": "1s", "repoint": {"nodes": "a"}}]),
        ("restart", "the primary is killed and started again at once, with what it has on disk", [
            {"at": "2s", "kill": "a"}, {"after": "300ms", "restart": {"node": "a"}}]),
    ]  # fmt: skip
    if not replicas:
        found = found[-1:]
    return [{"name": name, "about": about, "steps": steps} for name, about, steps in found]


def forecast(look: Look) -> Forecast:
    """The scenario of what was seen. Raises ValueError where there is no primary to speak of."""
    primary = look.primary
    if primary is None:
        raise ValueError("no primary answers: there is nothing to forecast")
    replicas = [chr(ord("b") + index) for index in range(min(8, len(look.replicas)))]
    writes = look.writes_per_second
    assumptions = []
    if writes < 1:
        writes = 10.0
        assumptions.append("nothing was written while it was watched: ten writes a second are assumed")
    size = look.bytes_per_second / writes - _FRAME_BYTES if look.bytes_per_second else 64
    played = min(writes, MOST_WRITES)
    if writes > played:
        assumptions.append(f"{writes:.0f} writes a second are played as {played:.0f}, and losses multiplied")
    after = look.sentinels[0].get("down-after-milliseconds", "") if look.sentinels else ""
    noticed = int(after) + 500 if after.isdigit() else NOTICED_MS
    if not after.isdigit():
        assumptions.append(f"a failure is noticed after {noticed} ms (no Sentinel was asked)")
    assumptions.append("a fifth of the load goes to the old primary as long as that answers")
    delays = [
        {"at": "0s", "delay": {"between": ["a", name], "delay": _ms(_distance_ms(look, node))}}
        for name, node in zip(replicas, look.replicas, strict=False)
    ]
    variants = _failures(noticed, replicas)
    for variant in variants:
        variant["steps"] = [*delays, *variant["steps"]]
    load = {"value_size": max(8, min(round(size), 1 << 20)), "timeout": "1s"}
    data = {
        "title": f"What {primary.name} and its replicas would lose",
        "about": f"Written from {len(look.nodes)} nodes that were seen at {writes:.0f} writes and "
        f"{look.bytes_per_second:.0f} bytes a second. " + "; ".join(assumptions) + ".",
        "duration": _ms(noticed + 6000),
        "topology": {"replicas": len(replicas)},
        "config": _config(primary),
        "workload": [
            {"name": "app", "clients": 4, "rate": played * 0.8 / 4, **load},
            {"name": "old", "clients": 1, "rate": max(0.1, played * 0.2), "target": "a", **load},
        ],
        "variants": variants,
    }
    script, _ = loads(_toml(data), "forecast")
    return Forecast(script, writes / played, assumptions)


def _toml(data: dict[str, Any]) -> str:
    """JSON's spelling of strings, numbers and lists is TOML's; tables are written inline."""

    def spelled(value: Any) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(f'"{name}" = {spelled(one)}' for name, one in value.items()) + " }"
        if isinstance(value, list):
            return "[" + ", ".join(spelled(one) for one in value) + "]"
        return msgspec.json.encode(value).decode()

    return "".join(f"{name} = {spelled(value)}\n" for name, value in data.items())


def changes(look: Look) -> list[Change]:
    """Settings that the topology does not have yet and that may make a difference."""
    primary = look.primary
    assert primary is not None
    found = []
    if look.replicas:
        if primary.sized("min-replicas-to-write") == 0:
            config: dict[str, Any] = {"min-replicas-to-write": 1, "min-replicas-max-lag": 1}
            found.append(Change("min-replicas-to-write 1, min-replicas-max-lag 1", config, {}))
        elif primary.sized("min-replicas-max-lag", 10) > 1:
            found.append(Change("min-replicas-max-lag 1", {"min-replicas-max-lag": 1}, {}))
        found.append(Change("WAIT 1 behind each write", {}, {"wait_replicas": 1}))
    if primary.setting("appendonly") != "yes" or primary.setting("appendfsync") != "always":
        durable = {"appendonly": "yes", "appendfsync": "always"}
        found.append(Change("appendonly yes, appendfsync always", durable, {}))
    size = needed_backlog(look.bytes_per_second)
    if primary.number("repl_backlog_size") < size:
        found.append(Change(f"repl-backlog-size {size}", {"repl-backlog-size": size}, {}))
    return found
