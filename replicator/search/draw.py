"""Draws what goes wrong in one run: a plan of faults, and (vary) configuration, topology and load.

All of it is plain data of the script, drawn before the run begins: it can be printed, shrunk and archived. Faults
come in
clusters and around the moments when roles change: uniformly drawn ones hardly ever meet a full synchronization.
"""

from __future__ import annotations

from random import Random

import msgspec

from replicator.scenario.script.script import (
    LINK_FAULTS,
    Fault,
    FaultKind,
    NodePlan,
    Script,
    Workload,
    action_of,
)
from replicator.scenario.script.units import Bytes, Milliseconds

ALL_KINDS: dict[FaultKind, float] = {
    "kill": 3, "power-loss": 2, "wipe": 1, "restart": 2, "stop": 2, "cut": 2, "cut-one-way": 2, "reset": 2, "delay": 1,
    "throttle": 2, "drop-links": 3, "slow-disk": 1, "disk-error": 1, "disk-full": 1, "fork-error": 1, "child-kill": 2,
    "clock-step": 1, "promote": 3, "failover": 3, "repoint": 4, "save": 1, "resize": 2, "config": 3,
}  # fmt: skip
# What happens to Sentinels as well as to nodes. A wiped Sentinel has forgotten its votes: it would be another one.
OF_ANYBODY: tuple[FaultKind, ...] = (
    "kill", "power-loss", "restart", "stop", "cut", "cut-one-way", "reset", "delay", "slow-disk", "disk-error",
    "disk-full", "clock-step",
)  # fmt: skip
# Where Sentinels rule nobody else gives such orders, and no node comes back without its data.
OF_OPERATORS: tuple[FaultKind, ...] = ("promote", "failover", "repoint", "wipe", "config", "resize")
# How near to a moment of change an aimed fault comes.
AIMED_MS = 400
# Faults that wait for something to spoil; how many are left to find it by themselves, how soon the others do.
LYING_IN_WAIT: tuple[FaultKind, ...] = ("child-kill", "disk-error", "fork-error")
LEFT_ALONE = 0.25
OCCASION_MS = 100
# When faults begin unless it is said.
START_MS = 1000
_ROLE_STEPS = ("kill", "promote", "repoint", "restart", "shutdown")


def moments(script: Script) -> list[int]:
    """When roles change by the script, as far as the file says."""
    found: list[int] = []
    latest = 0
    for step in script.steps:
        latest = int(step.at) if step.at is not None else latest + int(step.after or 0)
        if action_of(step)[0] in _ROLE_STEPS:
            found.append(latest)
    return found


def window(script: Script) -> tuple[int, int]:
    """From when to when faults are drawn. A play that is over before their start would have none: there they start
    after a quarter of it. (What a file itself says is not moved so: loading refuses it.)"""
    faults = script.faults
    end = int(faults.stop) if faults.stop is not None else script.play_ms()
    begin = START_MS if faults.start is None else int(faults.start)
    return (begin if begin < end else end // 4), end


def draw_plan(script: Script, seed: int) -> list[Fault]:
    """The faults of this seed, in the order of their times."""
    faults = script.faults
    if faults.plan:
        return list(faults.plan)
    if not faults.kinds:
        return []
    chance = Random(f"{seed}/plan")
    begin, end = window(script)
    if end <= begin:
        return []
    expected = faults.per_minute * (end - begin) / 60_000
    count = max(1, int(chance.gauss(expected, expected / 3) + 0.5))
    weighed = {kind: much for kind, much in faults.kinds.items() if not (script.sentinels() and kind in OF_OPERATORS)}
    if not any(weighed.values()):
        return []
    kinds, weights = list(weighed), list(weighed.values())
    aims = [moment for moment in moments(script) if begin <= moment <= end]
    times: list[int] = []
    for _ in range(count):
        kind = chance.random()
        if times and kind < 0.45:
            at = times[chance.randrange(len(times))] + chance.randrange(AIMED_MS)
        elif aims and kind < 0.65:
            at = aims[chance.randrange(len(aims))] + chance.randrange(-AIMED_MS, 2 * AIMED_MS)
        else:
            at = chance.randrange(begin, end)
        times.append(min(max(at, begin), end))
    nodes, parties = list(script.upstreams()), script.parties()
    plan = []
    for at in times:
        drawn = chance.choices(kinds, weights)[0]
        plan.append(_fault(chance, at, drawn, parties if drawn in OF_ANYBODY else nodes, int(faults.longest)))
    plan += _occasions(plan, kinds, Random(f"{seed}/occasions"))
    return sorted(plan, key=lambda fault: fault.at)


def _occasions(plan: list[Fault], kinds: list[FaultKind], chance: Random) -> list[Fault]:
    """What most of the faults that lie in wait (for a child, a sync, the reading of a file) need to meet one: soon
    afterwards a snapshot of their node, or a restart, where such may be drawn.
    """
    found: list[Fault] = []
    for fault in plan:
        if fault.kind not in LYING_IN_WAIT or chance.random() < LEFT_ALONE:
            continue
        at = Milliseconds(fault.at + chance.randrange(OCCASION_MS))
        if fault.kind != "disk-error" or not fault.amount:
            how = chance.randrange(2) if fault.kind == "disk-error" else 0  # SAVE has no child
            found.append(Fault(at, "save", fault.node, amount=how))
        elif "restart" in kinds:
            found.append(Fault(at, "restart", fault.node, lasts=Milliseconds(chance.randrange(1, 300))))
    return found


def _fault(chance: Random, at: int, kind: FaultKind, nodes: list[str], longest: int) -> Fault:
    node = nodes[chance.randrange(len(nodes))]
    others = [one for one in nodes if one != node] or ["clients"]
    other = others[chance.randrange(len(others))]
    # Short ones are as likely as long ones: what matters differs by orders of magnitude.
    lasts = min(longest, int(10 ** chance.uniform(0.5, 4)))
    amount = 0
    match kind:
        case "cut" | "cut-one-way" | "reset" | "delay" | "throttle":
            if chance.random() < 0.15:
                other = "clients"
            amount = chance.choice((2_000, 10_000, 50_000)) if kind == "throttle" else chance.randrange(1, 300)
        case "slow-disk":
            amount = chance.randrange(1, 400)
        case "clock-step":
            amount = chance.choice((-1, 1)) * int(10 ** chance.uniform(1, 5))
        case "promote":
            amount = chance.choice((0, 50, 1000))
        case "failover":
            amount = chance.randrange(4)
        case "save" | "drop-links" | "disk-error":
            amount = chance.randrange(2)
        case "resize":
            amount = chance.choice((16_384, 16_384, 65_536, 1_048_576))
        case "config":
            amount = chance.randrange(1000)
        case _:
            pass
    if kind not in (*LINK_FAULTS, "repoint"):
        other = ""
    return Fault(Milliseconds(at), kind, node, other, Milliseconds(lasts), amount)


def vary(script: Script, seed: int) -> Script:
    """Another configuration, topology and load for this seed: what no default run would meet."""
    chance = Random(f"{seed}/vary")
    config = dict(script.config)
    for name, values in (
        ("repl-backlog-size", (16_384, 16_384, 65_536, 1_048_576)),
        ("repl-diskless-sync", (True, False)),
        ("repl-diskless-load", ("disabled", "on-empty-db", "swapdb")),
        ("repl-timeout", (2, 5, 60)),
        ("repl-ping-replica-period", (1, 10)),
        ("repl-backlog-ttl", (1, 3600)),
        ("rdb-key-save-delay", (0, 0, 50, 1000)),
        ("save", ("", "", "1 1", "1 50")),
        ("shutdown-timeout", (0, 1, 10)),
        ("rdb-del-sync-files", (False, True)),
    ):
        value = values[chance.randrange(len(values))]
        if name not in script.config:
            config[name] = value
    nodes = dict(script.nodes)
    topology = script.topology
    if not nodes:
        least = len(script.upstreams()) - 1 if script.steps else 1  # steps may name them
        replicas = max(least, chance.choice((1, 2, 2, 3)))
        topology = msgspec.structs.replace(topology, replicas=replicas)
        names = [chr(ord("a") + index) for index in range(replicas + 1)]
        for index, name in enumerate(names[2:], 2):
            if not script.steps and chance.random() < 0.4:
                nodes[name] = NodePlan(replica_of=names[chance.randrange(1, index)])
    kinds = ("register", "append", "counter", "mixed")
    workloads = [
        msgspec.structs.replace(
            group,
            kind=kinds[chance.randrange(4)],
            clients=chance.randrange(1, 4),
            rate=float(chance.choice((5, 20, 60))),
            keys=chance.choice((0, 0, 3)),
            value_size=Bytes(chance.choice((16, 64, 700))),
        )
        for group in script.workloads
    ]
    return msgspec.structs.replace(script, config=config, nodes=nodes, topology=topology, workload=workloads)


def shorter_load(script: Script, clients: int) -> Script:
    """The same with so many clients in each group at the most."""
    groups: list[Workload] = [
        msgspec.structs.replace(group, clients=min(group.clients, clients)) for group in script.workloads
    ]
    return msgspec.structs.replace(script, workload=groups)
