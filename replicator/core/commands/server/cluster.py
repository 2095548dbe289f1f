"""CLUSTER, READONLY, READWRITE and ASKING: their entries in the table; on a node without cluster they are refused.

What they do is the affair of core/cluster: orders.py changes the cluster, views.py tells of it.

The facts are those of COMMAND INFO and COMMAND DOCS of Redis 7.0.15.
"""

from __future__ import annotations

from replicator.core.command_table.registry import (
    ADMIN,
    FAST,
    LOADING,
    NO_ASYNC_LOADING,
    NO_SCRIPT,
    STALE,
    SeenRun,
    command,
    container,
)
from replicator.core.commands.parts import Client
from replicator.core.errors import CommandError
from replicator.core.wire import reply

GROUP = "cluster"
DISABLED = "ERR This instance has cluster support disabled"
_ORDER = ADMIN | STALE | NO_ASYNC_LOADING  # what changes the cluster
_NODES = "O(N) where N is the total number of Cluster nodes"
_SLOTS = "O(N) where N is the total number of hash slot arguments"
_RANGES = "O(N) where N is the total number of the slots between the start slot and end slot arguments."

# subcommand: (arity, flags, since, complexity, summary, arguments)
_SUBCOMMANDS: dict[str, tuple[int, int, str, str, str, str]] = {
    "addslots": (-3, _ORDER, "3.0.0", _SLOTS, "Assigns hash slots to this node.", "slot [slot ...]"),
    "addslotsrange": (
        -4, _ORDER, "7.0.0", _RANGES, "Assigns ranges of hash slots to this node.",
        "start-slot end-slot [start-slot end-slot ...]",
    ),
    "bumpepoch": (2, _ORDER, "3.0.0", "O(1)", "Advances the config epoch of the cluster.", ""),
    "count-failure-reports": (
        3, ADMIN | STALE, "3.0.0", "O(N) where N is the number of failure reports",
        "Returns how many nodes report that a node fails.", "node-id",
    ),
    "countkeysinslot": (3, STALE, "3.0.0", "O(1)", "Returns how many keys of this node are in a hash slot.", "slot"),
    "delslots": (-3, _ORDER, "3.0.0", _SLOTS, "Makes hash slots unassigned for this node.", "slot [slot ...]"),
    "delslotsrange": (
        -4, _ORDER, "7.0.0", _RANGES, "Makes ranges of hash slots unassigned for this node.",
        "start-slot end-slot [start-slot end-slot ...]",
    ),
    "failover": (-2, _ORDER, "3.0.0", "O(1)", "Lets a replica take its primary's place.", "[FORCE | TAKEOVER]"),
    "flushslots": (2, _ORDER, "3.0.0", "O(1)", "Makes all hash slots of this node unassigned.", ""),
    "forget": (3, _ORDER, "3.0.0", "O(1)", "Removes a node from the table of nodes.", "node-id"),
    "getkeysinslot": (
        4, STALE, "3.0.0", "O(log(N)) where N is the number of requested keys",
        "Returns keys of this node that are in a hash slot.", "slot count",
    ),
    "help": (2, LOADING | STALE, "5.0.0", "O(1)", "Returns helpful text about the subcommands.", ""),
    "info": (2, STALE, "3.0.0", "O(1)", "Returns the state of the cluster as this node sees it.", ""),
    "keyslot": (3, STALE, "3.0.0", "O(N) where N is the number of bytes in the key", "Returns a key's slot.", "key"),
    "links": (2, STALE, "7.0.0", _NODES, "Returns the links to and from the other nodes.", ""),
    "meet": (
        -4, _ORDER, "3.0.0", "O(1)", "Begins a handshake with another node.", "ip port [cluster_bus_port]",
    ),
    "myid": (2, STALE, "3.0.0", "O(1)", "Returns the id of this node.", ""),
    "nodes": (2, STALE, "3.0.0", _NODES, "Returns the table of nodes as nodes.conf has it.", ""),
    "replicas": (3, ADMIN | STALE, "5.0.0", "O(1)", "Returns the replicas of a primary.", "node-id"),
    "replicate": (3, _ORDER, "3.0.0", "O(1)", "Makes this node a replica of another one.", "node-id"),
    "reset": (
        -2, ADMIN | NO_SCRIPT | STALE, "3.0.0",
        "O(N) where N is the number of known nodes. The command may execute a FLUSHALL as a side effect.",
        "Makes this node forget its cluster.", "[HARD | SOFT]",
    ),
    "saveconfig": (2, _ORDER, "3.0.0", "O(1)", "Writes nodes.conf.", ""),
    "set-config-epoch": (3, _ORDER, "3.0.0", "O(1)", "Sets the config epoch of a new node.", "config-epoch"),
    "setslot": (
        -4, _ORDER, "3.0.0", "O(1)", "Binds a hash slot to a node, or begins or ends its move.",
        "slot <IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE>",
    ),
    "shards": (2, STALE, "7.0.0", "O(N) where N is the total number of cluster nodes", "Returns slots by shard.", ""),
    "slaves": (3, ADMIN | STALE, "3.0.0", "O(1)", "Returns the replicas of a primary.", "node-id"),
    "slots": (2, STALE, "3.0.0", _NODES, "Returns which nodes serve which hash slots.", ""),
}  # fmt: skip
# subcommand -> method of cluster.orders.Orders
_ORDERS = {
    "addslots": "add_slots", "addslotsrange": "add_ranges", "bumpepoch": "bump_epoch",
    "count-failure-reports": "failure_reports", "countkeysinslot": "count_keys", "delslots": "delete_slots",
    "delslotsrange": "delete_ranges", "failover": "failover", "flushslots": "flush_slots", "forget": "forget",
    "getkeysinslot": "list_keys", "keyslot": "key_slot", "meet": "meet", "replicate": "replicate", "reset": "reset",
    "saveconfig": "save_config", "set-config-epoch": "set_config_epoch", "setslot": "set_slot",
}  # fmt: skip
# subcommand -> method of cluster.views.Views
_VIEWS = {"info": "info", "links": "links", "nodes": "nodes", "shards": "shards", "slots": "slots"}
_HELP = (
    "CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ADDSLOTS <slot> [<slot> ...]",
    "    Assign slots to current node.",
    "ADDSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]",
    "    Assign slots which are between <start-slot> and <end-slot> to current node.",
    "BUMPEPOCH",
    "    Advance the cluster config epoch.",
    "COUNT-FAILURE-REPORTS <node-id>",
    "    Return number of failure reports for <node-id>.",
    "COUNTKEYSINSLOT <slot>",
    "    Return the number of keys in <slot>.",
    "DELSLOTS <slot> [<slot> ...]",
    "    Delete slots information from current node.",
    "DELSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]",
    "    Delete slots information which are between <start-slot> and <end-slot> from current node.",
    "FAILOVER [FORCE|TAKEOVER]",
    "    Promote current replica node to being a master.",
    "FORGET <node-id>",
    "    Remove a node from the cluster.",
    "GETKEYSINSLOT <slot> <count>",
    "    Return key names stored by current node in a slot.",
    "FLUSHSLOTS",
    "    Delete current node own slots information.",
    "INFO",
    "    Return information about the cluster.",
    "KEYSLOT <key>",
    "    Return the hash slot for <key>.",
    "MEET <ip> <port> [<bus-port>]",
    "    Connect nodes into a working cluster.",
    "MYID",
    "    Return the node id.",
    "NODES",
    "    Return cluster configuration seen by node. Output format:",
    "    <id> <ip:port> <flags> <master> <pings> <pongs> <epoch> <link> <slot> ...",
    "REPLICATE <node-id>",
    "    Configure current node as replica to <node-id>.",
    "RESET [HARD|SOFT]",
    "    Reset current node (default: soft).",
    "SET-CONFIG-EPOCH <epoch>",
    "    Set config epoch of current node.",
    "SETSLOT <slot> (IMPORTING <node-id>|MIGRATING <node-id>|STABLE|NODE <node-id>)",
    "    Set slot state.",
    "REPLICAS <node-id>",
    "    Return <node-id> replicas.",
    "SAVECONFIG",
    "    Force saving cluster configuration on disk.",
    "SLOTS",
    "    Return information about slots range mappings. Each range is made of:",
    "    start, end, master and replicas IP addresses, ports and ids",
    "SHARDS",
    "    Return information about slot range mappings and the nodes associated with them.",
    "LINKS",
    "    Return information about all network links between this node and its peers.",
    "    Output format is an array where each array element is a map containing attributes of a link",
    "HELP",
    "    Prints this help.",
)
_HISTORY = {
    "meet": (("4.0.0", "Added the optional `cluster_bus_port` argument."),),
    "slots": (("4.0.0", "Added node IDs."), ("7.0.0", "Added additional networking metadata field.")),
}


def refused(ctx: Client, argv: list[bytes]) -> bytes:
    """What a command of the cluster answers where there is none."""
    raise CommandError(DISABLED)


def _run(name: str) -> SeenRun[Client]:
    """The subcommand that a method of core/cluster answers: orders.<name> takes argv, views.<name> the protocol."""
    changing = name in _ORDERS

    def run(ctx: Client, argv: list[bytes]) -> bytes:
        cluster = ctx.server.cluster
        if cluster is None:
            return refused(ctx, argv)
        method = getattr(cluster.orders if changing else cluster.views, (_ORDERS if changing else _VIEWS)[name])
        answer: bytes = method(argv if changing else ctx.resp3)
        return answer

    return run


def _replicas(ctx: Client, argv: list[bytes]) -> bytes:
    cluster = ctx.server.cluster
    if cluster is None:
        return refused(ctx, argv)
    answer: bytes = cluster.views.replicas(argv[2])
    return answer


def _my_id(ctx: Client, argv: list[bytes]) -> bytes:
    cluster = ctx.server.cluster
    if cluster is None:
        return refused(ctx, argv)
    answer: bytes = cluster.views.my_id()
    return answer


def _help(ctx: Client, argv: list[bytes]) -> bytes:
    """CLUSTER HELP, which stock answers only where there is a cluster."""
    if ctx.server.cluster is None:
        return refused(ctx, argv)
    return reply.array([reply.simple(line) for line in _HELP])


# What the subcommands do.
RUNS: dict[str, SeenRun[Client]] = {name: _run(name) for name in (*_ORDERS, *_VIEWS)}
RUNS |= {"replicas": _replicas, "slaves": _replicas, "myid": _my_id, "help": _help}

container("cluster", group=GROUP, since="3.0.0", summary="A container for commands of the cluster.")
for _name, (_arity, _flags, _since, _complexity, _summary, _arguments) in _SUBCOMMANDS.items():
    command(
        f"cluster|{_name}",
        arity=_arity,
        flags=_flags,
        group=GROUP,
        since=_since,
        complexity=_complexity,
        summary=_summary,
        arguments=_arguments,
        history=_HISTORY.get(_name, ()),
    )(RUNS[_name])


def _mark(ctx: Client, argv: list[bytes], what: str, value: bool) -> bytes:
    """Remember what the client said about its commands to come."""
    if ctx.server.cluster is None:
        return refused(ctx, argv)
    setattr(ctx, what, value)
    ctx.subscriptions_changed()
    return reply.OK


@command(
    "asking",
    arity=1,
    flags=FAST,
    group=GROUP,
    since="3.0.0",
    complexity="O(1)",
    summary="Lets the next command go to a hash slot that is being imported.",
    categories="connection",
)
def asking(ctx: Client, argv: list[bytes]) -> bytes:
    """ASKING"""
    return _mark(ctx, argv, "asking", True)


@command(
    "readonly",
    arity=1,
    flags=LOADING | STALE | FAST,
    group=GROUP,
    since="3.0.0",
    complexity="O(1)",
    summary="Lets this connection read from a replica of the cluster.",
    categories="connection",
)
def readonly(ctx: Client, argv: list[bytes]) -> bytes:
    """READONLY"""
    return _mark(ctx, argv, "readonly", True)


@command(
    "readwrite",
    arity=1,
    flags=LOADING | STALE | FAST,
    group=GROUP,
    since="3.0.0",
    complexity="O(1)",
    summary="Ends what READONLY began.",
    categories="connection",
)
def readwrite(ctx: Client, argv: list[bytes]) -> bytes:
    """READWRITE"""
    return _mark(ctx, argv, "readonly", False)
