"""Importing this module fills the registry: every family of commands, in one list."""

from __future__ import annotations

from replicator.core.commands import hashes
from replicator.core.commands.about import command
from replicator.core.commands.keys import databases, dump, expire, keys, object, scan, sort
from replicator.core.commands.lists import blocking, editing, lists
from replicator.core.commands.scripts import functions, scripting
from replicator.core.commands.server import (
    cluster,
    config,
    debug,
    durable,
    latency,
    memory,
    migrate,
    modules,
    replication,
    server,
    slowlog,
)
from replicator.core.commands.sessions import acl, clients, connection, monitor, pubsub, tracking, transactions
from replicator.core.commands.sets import algebra as sets_algebra
from replicator.core.commands.sets import sets
from replicator.core.commands.sorted_sets import algebra as sorted_sets_algebra
from replicator.core.commands.sorted_sets import geo, geo_search, pops, sorted_sets
from replicator.core.commands.sorted_sets import ranges as sorted_sets_ranges
from replicator.core.commands.streams import groups, read, streams
from replicator.core.commands.streams import info as streams_info
from replicator.core.commands.strings import bitfield, bits, counters, hyperloglog, lcs, strings
from replicator.core.commands.strings import ranges as string_ranges

# fmt: off
FAMILIES = (
    acl, bitfield, bits, blocking, clients, cluster, command, config, connection, counters, databases, debug,
    dump, durable, editing, expire, functions, geo, geo_search, groups, hashes, hyperloglog, keys, latency, lcs, lists,
    memory, migrate, modules, monitor, object, pops, pubsub, read, replication, scan, scripting, server, sets,
    sets_algebra, slowlog, sort, sorted_sets, sorted_sets_algebra, sorted_sets_ranges, streams, streams_info,
    string_ranges, strings, tracking, transactions,
)
# fmt: on
