"""Holds outcomes to what a scenario expects of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from replicator.scenario.script import bounds
from replicator.scenario.script.script import CHECKS, Expect
from replicator.scenario.script.units import human_ms
from replicator.scenario.verdict.outcome import Judged, Outcome

_TITLES = {
    "acknowledged": "acknowledged writes",
    "kept": "kept writes",
    "lost": "lost writes",
    "failed": "failed writes",
    "unknown": "writes of unknown fate",
    "unknown_kept": "writes of unknown fate that were kept",
    "duplicated": "duplicated elements",
    "reordered": "reordered elements",
    "phantom": "values that nobody wrote",
    "resurrected": "refused writes that are there",
    "stale_reads": "stale reads",
    "failovers": "failovers",
    "full_syncs": "full resynchronizations",
    "partial_syncs": "partial resynchronizations",
}

def judge(outcomes: Sequence[Outcome]) -> None:
    """Fills in the expectations of one scenario's outcomes (one per variant)."""
    by_name = {one.variant: one for one in outcomes}
    for outcome in outcomes:
        for step in outcome.steps:
            if not step.ok:
                name = f"step {step.index + 1}: {step.text}"
                outcome.expectations.append(Judged(name, "done", step.problem, False, outcome.variant))
        played, planned = len(outcome.steps), len(outcome.script.steps)
        if played < planned:
            outcome.expectations.append(
                Judged("all steps are played", str(planned), str(played), False, outcome.variant)
            )
        for finding in outcome.details.get("findings", ()):
            name = "no machine breaks, and the same offset means the same bytes"
            outcome.expectations.append(Judged(name, "no objection", finding, False, outcome.variant))
        outcome.expectations.extend(of_file(outcome, by_name))


def of_file(outcome: Outcome, by_name: dict[str, Outcome] | None = None) -> list[Judged]:
    """What the file expects of this outcome, in the file's order; by_name: the outcomes to compare it with."""
    others = {outcome.variant: outcome} if by_name is None else by_name
    own = [one for one in outcome.script.expect if one.variant in (None, outcome.variant)]
    return [_judged(one, outcome, others) for one in own]


def count(check: str, outcome: Outcome, node: str | None = None) -> int:
    """The number that a counting check compares."""
    verdict = outcome.verdict
    if check == "lost":
        return sum(1 for one in verdict.lost if node in (None, one.acknowledged_by))
    if check in ("full_syncs", "partial_syncs"):
        return len(outcome.synced(check.removesuffix("_syncs"), node))
    if check == "failovers":
        return len(outcome.failovers)
    anomalies = verdict.anomalies()
    return len(anomalies[check]) if check in anomalies else verdict.writes()[check]


def _judged(expect: Expect, outcome: Outcome, by_name: dict[str, Outcome]) -> Judged:
    check = next(name for name in CHECKS if getattr(expect, name) is not None)
    wanted: Any = getattr(expect, check)
    of = f" of {expect.node}" if expect.node else ""
    if check in _TITLES:
        bound = bounds.parse(wanted, by_name)
        actual = count(check, outcome, expect.node)

        def of_variant(name: str) -> int:
            return count(check, by_name[name], expect.node)

        expected = bound.text
        if bound.variant is not None:
            expected += f" ({of_variant(bound.variant)})"
        ok = bound.holds(actual, of_variant) and not (outcome.unjudged and check not in ("failovers", "full_syncs"))
        shown = f"{actual} ({outcome.unjudged})" if outcome.unjudged else str(actual)
        return Judged(expect.name or _TITLES[check] + of, expected, shown, ok, outcome.variant)
    title, expected, actual_text, ok = _other(check, wanted, outcome)
    return Judged(expect.name or title, expected, actual_text, ok, outcome.variant)


def _other(check: str, wanted: Any, outcome: Outcome) -> tuple[str, str, str, bool]:
    """Title, expected, actual, ok of a check that does not count."""
    match check:
        case "writable_within" | "detected_within":
            field = "writable_at_ms" if check == "writable_within" else "detected_at_ms"
            title = "writable after a fault" if check == "writable_within" else "fault detected"
            took = [_took(failover, field) for failover in outcome.failovers]
            longest = max((ms for ms in took if ms is not None), default=None)
            ok = bool(took) and None not in took and longest is not None and longest <= wanted
            actual = "never" if None in took else ("no failover" if longest is None else human_ms(longest))
            return title, f"within {human_ms(wanted)}", actual, ok
        case "lost_within":
            oldest = oldest_lost_ms(outcome)
            title = "age of what is lost, at the fault"
            shown_age = "nothing is lost" if oldest is None else f"up to {human_ms(oldest)}"
            return title, f"at most {human_ms(wanted)}", shown_age, oldest is None or oldest <= wanted
        case "promoted":
            names = [failover.promoted for failover in outcome.failovers]
            return "promoted", wanted, ", ".join(names) or "nobody", names[-1:] == [wanted]
        case "consistent":
            actual = f"{'yes' if outcome.consistent else 'no'}, {len(outcome.pairs)} pairs compared"
            expected = "same id and offset: same data" if wanted else "data that differ"
            return "consistent", expected, actual, bool(outcome.pairs) and outcome.consistent == wanted
        case "converged":
            shown = {True: "all replicas at the same offset", False: "not at the same offset"}
            return "converged", shown[wanted], shown[outcome.converged], outcome.converged == wanted
        case "equal_digests":
            return _digests(wanted, outcome)
        case "role":
            role = outcome.nodes[wanted.node]
            return f"role of {wanted.node}", wanted.role, role, role == wanted.role
        case "log":
            return _log(wanted, outcome)
        case _:
            raise AssertionError(check)


def oldest_lost_ms(outcome: Outcome) -> int | None:
    """How long the oldest lost write had been confirmed when its node was next killed or lost power (or the play ended:
    then nothing excuses it)."""
    ends = [one for one in outcome.history.milestones if one.kind in ("kill", "power-loss", "unsynced")]
    ages = []
    operations = outcome.history.operations
    over = max((one.end_ms or 0 for one in operations), default=0)
    asked = {(one.client, one.key, one.value): one.invoke_ms for one in operations}
    for lost in outcome.verdict.lost:
        confirmed = lost.acknowledged_at_ms
        # Its answer may have been under way when the node that gave it was ended.
        begun = asked.get((lost.client, lost.key, lost.value), confirmed)
        later = [one.at_ms for one in ends if one.node == lost.acknowledged_by and one.at_ms >= begun]
        ages.append(max(0, min(later, default=over) - confirmed))
    return max(ages, default=None)


def _took(failover: Any, field: str) -> int | None:
    at_ms: int | None = getattr(failover, field)
    if at_ms is None:
        return None
    start: int = failover.promoted_at_ms if failover.fault_at_ms is None else failover.fault_at_ms
    return max(0, at_ms - start)


def _digests(wanted: bool | list[str], outcome: Outcome) -> tuple[str, str, str, bool]:
    found = {digest.node: digest.digest for digest in outcome.digests}
    names = wanted if isinstance(wanted, list) else list(found)
    missing = [name for name in names if name not in found]
    different = len({found[name] for name in names if name in found})
    actual = ", ".join(f"{name} {found[name][:8]}" if name in found else f"{name} none" for name in names)
    equal = not missing and len(names) > 1 and different == 1
    return "equal digests", "equal" if wanted else "different", actual, equal == bool(wanted)


def _log(wanted: Any, outcome: Outcome) -> tuple[str, str, str, bool]:
    pattern = wanted.matches if wanted.matches is not None else re.escape(wanted.contains)
    hits = sum(1 for at_ms, node, line in outcome.lines if node == wanted.node and re.search(pattern, line))
    text = wanted.contains if wanted.contains is not None else f"/{wanted.matches}/"
    return f"log of {wanted.node}", f"has {text!r}", f"{hits} lines", hits > 0
