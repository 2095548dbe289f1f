"""Importing this module fills the registry: every family of commands, in one list."""

from __future__ import annotations

from replicator.core.commands import (
    connection,
    debug,
    dump,
    hashes,
    lists,
    lists_blocking,
    replication,
    server,
    sets,
    sets_algebra,
    sorted_sets,
    sorted_sets_algebra,
    sorted_sets_pops,
    sorted_sets_ranges,
    strings,
    transactions,
)

FAMILIES = (
    connection,
    debug,
    dump,
    hashes,
    lists,
    lists_blocking,
    replication,
    server,
    sets,
    sets_algebra,
    sorted_sets,
    sorted_sets_algebra,
    sorted_sets_pops,
    sorted_sets_ranges,
    strings,
    transactions,
)
