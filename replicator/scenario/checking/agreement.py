"""Do nodes agree? Whoever stands at the same offset of the same history holds the same data."""

from __future__ import annotations

from itertools import combinations

from replicator.scenario.history import Digest, History


def same_place(history: History) -> list[tuple[Digest, Digest]]:
    """Every two digests of one replication id and offset."""
    by_place: dict[tuple[str, int], list[Digest]] = {}
    for digest in history.digests:
        by_place.setdefault((digest.replid, digest.offset), []).append(digest)
    return [pair for digests in by_place.values() for pair in combinations(digests, 2)]


def disagreements(history: History) -> list[str]:
    """Those of same_place() that differ, in words."""
    return [
        f"{one.node} and {other.node} stood at offset {one.offset} of {one.replid}, and their data differ: "
        f"{one.digest} and {other.digest}"
        for one, other in same_place(history)
        if one.digest != other.digest
    ]
