"""Makes a failing run small: fewer faults (delta debugging), simpler ones, fewer clients, a shorter play."""

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


def shrink(script: Script, fails: Callable[[Script], bool], runs_most: int = RUNS_MOST) -> Shrunk:
    """fails: whether a script still fails as the first one did."""
    runs = 0

    def still(candidate: Script) -> bool:
        nonlocal runs
        if runs >= runs_most:
            return False
        runs += 1
        return fails(candidate)

    script = _fewer_faults(script, still)
    for clients in (1, 2):
        candidate = shorter_load(script, clients)
        if candidate != script and still(candidate):
            script = candidate
            break
    script = _shorter(script, still)
    script = _plainer(script, still)
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


def _shorter(script: Script, still: Callable[[Script], bool]) -> Script:
    """End the load soon after the last fault; leave out steps from the end."""
    last = max((int(fault.at) for fault in script.faults.plan), default=0)
    for more in (200, 1000):
        if last + more < script.play_ms():
            candidate = msgspec.structs.replace(script, duration=Milliseconds(last + more), steps=[])
            if still(candidate):
                return candidate
    steps = list(script.steps)
    while steps:
        candidate = msgspec.structs.replace(script, steps=steps[:-1])
        if not still(candidate):
            break
        script, steps = candidate, steps[:-1]
    return script


def _plainer(script: Script, still: Callable[[Script], bool]) -> Script:
    """Leave out settings one by one."""
    for name in list(script.config):
        config = {key: value for key, value in script.config.items() if key != name}
        candidate = msgspec.structs.replace(script, config=config)
        if still(candidate):
            script = candidate
    return script
