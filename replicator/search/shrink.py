"""Makes a failing run small: fewer faults (delta debugging), fewer clients, a shorter play, fewer drawn settings.

What the file itself says stays: its [config], its [topology], and, where what failed is an expectation of the file, its
steps. A counterexample to another question than the one that was asked answers nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from replicator.scenario.script.script import Fault, Script
from replicator.scenario.script.units import Milliseconds
from replicator.search.draw import shorter_load

RUNS_MOST = 150


@dataclass(slots=True)
class Shrunk:
    """The smallest script found that still fails in the same way; runs: how many were tried."""

    script: Script
    runs: int


def with_plan(script: Script, plan: list[Fault]) -> Script:
    """The script with these faults alone. An empty plan draws nothing either."""
    faults = msgspec.structs.replace(script.faults, plan=plan, kinds={} if not plan else script.faults.kinds)
    return msgspec.structs.replace(script, faults=faults)


def shrink(
    script: Script, fails: Callable[[Script], bool], runs_most: int = RUNS_MOST, said: Script | None = None,
    steps_stay: bool = True,
) -> Shrunk:  # fmt: skip
    """fails: whether a script still fails as the first one did. said: the file's own script, before anything was drawn.
    steps_stay: what failed depends on the file's steps."""
    said = script if said is None else said
    runs = 0

    def still(candidate: Script) -> bool:
        nonlocal runs
        if runs >= runs_most:
            return False
        runs += 1
        return fails(candidate)

    script = _fewer_faults(script, still)
    script = _as_said(script, still, said)
    for clients in (1, 2):
        candidate = shorter_load(script, clients)
        if candidate != script and still(candidate):
            script = candidate
            break
    script = _shorter(script, still, steps_stay)
    script = _plainer(script, still, said)
    if len(script.faults.plan) > 1:
        script = _fewer_faults(script, still)
    return Shrunk(script, runs)


def _fewer_faults(script: Script, still: Callable[[Script], bool]) -> Script:
    """ddmin over the plan; without any, if that fails as well."""
    plan = list(script.faults.plan)
    if plan and still(with_plan(script, [])):
        return with_plan(script, [])
    pieces = 2
    while len(plan) >= 2:
        size = -(-len(plan) // pieces)
        for begin in range(0, len(plan), size):
            rest = plan[:begin] + plan[begin + size :]
            if rest and still(with_plan(script, rest)):
                plan = rest
                pieces = max(2, pieces - 1)
                break
        else:
            if size == 1:
                break
            pieces = min(len(plan), pieces * 2)
    return with_plan(script, plan) if plan else script


def _as_said(script: Script, still: Callable[[Script], bool], said: Script) -> Script:
    """Topology and load as the file has them, where they were drawn and need not have been."""
    named = {fault.node for fault in script.faults.plan} | {fault.other for fault in script.faults.plan}
    if (script.topology, script.nodes) != (said.topology, said.nodes) and named <= {*said.upstreams(), "clients", ""}:
        candidate = msgspec.structs.replace(script, topology=said.topology, nodes=said.nodes)
        if still(candidate):
            script = candidate
    if script.workload != said.workload:
        candidate = msgspec.structs.replace(script, workload=said.workload)
        if still(candidate):
            script = candidate
    return script


def _shorter(script: Script, still: Callable[[Script], bool], steps_stay: bool) -> Script:
    """End the load soon after the last fault (and the last step, if they stay); leave out steps from the end."""
    last = max((int(fault.at) for fault in script.faults.plan), default=0)
    if steps_stay:
        last = max([last, *(int(step.at) for step in script.steps if step.at is not None)])
    for more in (200, 1000):
        # A step without a time of its own waits for what the load brings about: such a play keeps its length.
        if last + more < script.play_ms() and not (steps_stay and any(step.at is None for step in script.steps)):
            steps = script.steps if steps_stay else []
            candidate = msgspec.structs.replace(script, duration=Milliseconds(last + more), steps=steps)
            if still(candidate):
                return candidate
    while script.steps and not steps_stay:
        candidate = msgspec.structs.replace(script, steps=script.steps[:-1])
        if not still(candidate):
            break
        script = candidate
    return script


def _plainer(script: Script, still: Callable[[Script], bool], said: Script) -> Script:
    """Leave out drawn settings one by one."""
    for name in [one for one in script.config if one not in said.config]:
        config = {key: value for key, value in script.config.items() if key != name}
        candidate = msgspec.structs.replace(script, config=config)
        if still(candidate):
            script = candidate
    return script
