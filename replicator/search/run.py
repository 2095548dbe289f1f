"""One seed: drawn, played, judged."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import msgspec

from replicator.core.config.config import Config
from replicator.core.node import Node
from replicator.core.surroundings import Surroundings
from replicator.scenario.report.summary import silence_ms
from replicator.scenario.running import run_one
from replicator.scenario.script.load import alone, load
from replicator.scenario.script.script import Faults, Script
from replicator.scenario.script.units import Milliseconds
from replicator.scenario.stages.simulated import SimulatedStage
from replicator.scenario.verdict import expect
from replicator.scenario.verdict.explain import FAULT
from replicator.scenario.verdict.outcome import Outcome
from replicator.search.draw import draw_plan, vary

# In the safe phase every node must have caught up within this: the longest timeouts of the nodes lie below it.
CONVERGE_MS = 150_000
# Of simulation/patience.py: it raises for what the frame below it does.
_ONLOOKER = "look_on"

MakeNode = Callable[[Config, Random, Surroundings], Node]


@dataclass(slots=True)
class Seed:
    """What came of one seed of one scenario. objections: (what was violated, in which words)."""

    file: str
    variant: str
    seed: int
    objections: list[tuple[str, str]] = field(default_factory=list)
    trace_hash: str = ""
    events: int = 0
    virtual_ms: int = 0
    writes: int = 0
    lost: int = 0
    silence_ms: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    paths: dict[str, int] = field(default_factory=dict)
    compared_bytes: int = 0
    compared_data: int = 0

    @property
    def ok(self) -> bool:
        return not self.objections


def prepared(script: Script, seed: int) -> Script:
    """The script with everything drawn that this seed draws; playing it draws no more."""
    if script.faults.plan or not script.faults.kinds:
        return script
    if script.faults.vary:
        script = vary(script, seed)
    plan = draw_plan(script, seed)
    end = msgspec.structs.replace(script.end, converge=Milliseconds(max(CONVERGE_MS, script.end.converge)))
    faults = msgspec.structs.replace(script.faults, plan=plan)
    return msgspec.structs.replace(script, faults=faults, end=end)


def play(script: Script, variant: str, seed: int, make_node: MakeNode = Node) -> Outcome:
    """Plays the prepared script."""

    def stage(each: Script, name: str, number: int) -> SimulatedStage:
        return SimulatedStage(each, number, make_node=make_node)

    return run_one(script, variant, "", stage, seed, None, None)


def try_seed(script: Script, file: str, variant: str, seed: int, make_node: MakeNode = Node) -> Seed:
    """Plays and judges; an exception of the simulation itself is an objection, too."""
    found = Seed(file, variant, seed)
    try:
        outcome = play(script, variant, seed, make_node)
    except Exception as problem:
        frames = traceback.extract_tb(problem.__traceback__)
        where = next(frame.name for frame in reversed(frames) if frame.name != _ONLOOKER)
        found.objections.append((f"the play breaks ({type(problem).__name__} in {where})", traceback.format_exc()))
        return found
    found.objections = objections(outcome)
    details = outcome.details
    found.trace_hash, found.events, found.virtual_ms = details["trace_hash"], details["events"], details["virtual_ms"]
    found.writes, found.lost = outcome.verdict.acknowledged, len(outcome.verdict.lost)
    found.silence_ms = silence_ms(outcome)
    found.faults, found.paths = details["faults"], details["counts"]
    found.compared_bytes, found.compared_data = details["compared_bytes"], details["compared_data"]
    return found


def objections(outcome: Outcome) -> list[tuple[str, str]]:
    """What must hold in every run, and what the file expects. (Its steps may fail under drawn faults.)"""
    found: list[tuple[str, str]] = []
    for text in outcome.details["findings"]:
        found.append((_group(text), text))
    if not outcome.converged:
        found.append(("converged", f"not all nodes agree in the safe phase; roles: {outcome.nodes}"))
    if not outcome.consistent:
        digests = ", ".join(f"{one.node} {one.offset} {one.digest[:8]}" for one in outcome.digests)
        found.append(("consistent", f"same id and offset, other data: {digests}"))
    if outcome.unjudged:
        found.append(("readable", outcome.unjudged))
    for name, texts in outcome.verdict.anomalies().items():
        if texts and name != "stale_reads":
            found.append((name, "; ".join(texts[:5])))
    unexplained = [one for one in outcome.verdict.lost if one.why == FAULT]
    if unexplained and not outcome.script.configured("maxmemory"):
        told = ", ".join(f"{one.client} {one.key} = {one.value} on {one.acknowledged_by}" for one in unexplained[:5])
        found.append(("unexplained loss", f"{len(unexplained)} acknowledged writes are gone without a reason: {told}"))
    if outcome.script.faults.plan:
        judged = expect.of_file(outcome)
    else:
        expect.judge([outcome])
        judged = outcome.expectations
    found.extend((one.name, f"expected {one.expected}, actual {one.actual}") for one in judged if not one.ok)
    return found


def _group(finding: str) -> str:
    """Findings of one kind belong together whatever node, offset and id they speak of."""
    if "Traceback" in finding:
        lines = [line.strip() for line in finding.strip().splitlines()]
        places = [line.rpartition(", in ")[2] for line in lines if line.startswith("File ")]
        where = next((place for place in reversed(places) if place != _ONLOOKER), "")
        return f"exception: {lines[-1].split(':')[0]} in {where}"
    for words in ("other bytes", "data differs", "went back", "invariant", "acked ahead"):
        if words in finding:
            return words
    return finding.split(":")[0]


def scripts_of(path: str | Path, faults: Faults | None) -> list[tuple[str, Script]]:
    """The variants of a file, each without comparisons with other variants; faults: in place of the file's own. What
    the file expects was not written for those, and is left out."""
    _, variants = load(path)
    found: list[tuple[str, Script]] = []
    for name, script in variants:
        script = alone(script, name)
        if faults is not None and not script.faults.plan:
            script = msgspec.structs.replace(script, faults=faults, expect=[])
        found.append((name, script))
    return found
