"""Do nodes agree? Whoever stands at the same offset of the same history holds the same data."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from replicator.scenario.verdict.history import Digest


def same_place(digests: Iterable[Digest]) -> list[tuple[Digest, Digest]]:
    """Every two digests of one replication id and offset."""
    by_place: dict[tuple[str, int], list[Digest]] = {}
    for digest in digests:
        by_place.setdefault((digest.replid, digest.offset), []).append(digest)
    return [pair for some in by_place.values() for pair in combinations(some, 2)]


def disagreements(pairs: Iterable[tuple[Digest, Digest]]) -> list[str]:
    """Those of same_place() that differ, in words."""
    return [
        f"{one.node} and {other.node} stood at offset {one.offset} of {one.replid}, and their data differ: "
        f"{one.digest} and {other.digest}"
        for one, other in pairs
        if one.digest != other.digest
    ]
