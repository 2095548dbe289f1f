"""What scripting and the node ask of each other, and the words both use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import MAY_REPLICATE, NO_SCRIPT, WRITE, Command

# Script and function flags, in the order in which FUNCTION LIST reports them.
NO_WRITES = 1
ALLOW_OOM = 2
ALLOW_STALE = 4
NO_CLUSTER = 8
ALLOW_CROSS_SLOT_KEYS = 16
FLAG_NAMES: tuple[tuple[bytes, int], ...] = (
    (b"no-writes", NO_WRITES),
    (b"allow-oom", ALLOW_OOM),
    (b"allow-stale", ALLOW_STALE),
    (b"no-cluster", NO_CLUSTER),
    (b"allow-cross-slot-keys", ALLOW_CROSS_SLOT_KEYS),
)
FLAGS = dict(FLAG_NAMES)

# redis.set_repl: who is told of the commands that follow.
REPLICATE_NONE = 0
REPLICATE_AOF = 1
REPLICATE_REPLICAS = 2
REPLICATE_ALL = 3

NO_MATCHING_SCRIPT = "NOSCRIPT No matching script. Please use EVAL."
NOT_BUSY = "NOTBUSY No scripts in execution right now."
UNKILLABLE = (
    "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the "
    "script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command."
)
UNKILLABLE_PRIMARY = (
    "UNKILLABLE The busy script was sent by a master instance in the context of replication and cannot be killed."
)
BUSY_EVAL = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
BUSY_FUNCTION = "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."
READ_ONLY_COMMAND_WRITES = "ERR Can not execute a script with write flag using *_ro command."
UNKNOWN_COMMAND = "ERR Unknown Redis command called from script"
WRONG_ARITY = "ERR Wrong number of args calling Redis command from script"
NOT_FROM_SCRIPT = "ERR This Redis command is not allowed from script"
READ_ONLY_SCRIPT = "ERR Write commands are not allowed from read-only scripts."
NO_ACCESS_COMMAND = "ERR The user executing the script can't run this command or subcommand"
NO_ACCESS_KEY = (
    "ERR The user executing the script can't access at least one of the keys mentioned in the command arguments"
)
NO_ACCESS_CHANNEL = "ERR The user executing the script can't publish to the channel mentioned in the command"


READ_ONLY_REPLICA = "READONLY You can't write against a read only replica."
STALE = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."
STALE_COMMAND = "ERR Can not execute the command on a stale replica"
OUT_OF_MEMORY = "OOM command not allowed when used memory > 'maxmemory'."
NOT_ON_CLUSTER = "ERR Can not run script on cluster, 'no-cluster' flag is set."


class Kind(Enum):
    """What runs."""

    EVAL = "eval"
    FUNCTION = "function"
    LOAD = "load"  # a library's code, by FUNCTION LOAD


@dataclass(slots=True)
class Run:
    """One running script: Context.script of the context in which its commands run."""

    kind: Kind
    name: bytes  # the script's sha1 in hex, or the function's name
    argv: list[bytes]  # the command that runs it
    flags: int
    legacy: bool  # an EVAL script without shebang: checks happen command by command
    read_only: bool  # commands that write are refused
    started_us: int
    from_primary: bool = False
    wrote: bool = False  # a write command was called: the script cannot be killed any more
    slow: bool = False  # it has run for longer than busy-reply-threshold: others get -BUSY
    killed: bool = False
    time_us: int = 0  # what it was last told of the time since its start
    replication: int = REPLICATE_ALL
    errors: set[bytes] = field(default_factory=set)  # that its commands answered with: they are counted already


def start_refusal(
    flags: int,
    legacy: bool,
    *,
    read_only_replica: bool,
    cannot_write: str | None,
    stale: bool,
    out_of_memory: bool,
    cluster: bool,
) -> str | None:
    """Why a script with these flags may not start in a node of this state (an error text), or None.

    legacy: without shebang; its commands are checked one by one. read_only_replica: we follow a primary and take no
    writes. cannot_write: what forbids writes otherwise (MISCONF, NOREPLICAS). stale: cut off from the primary and told
    not to serve stale data. out_of_memory: above maxmemory, and eviction did not help.
    """
    if not legacy:
        if cluster and flags & NO_CLUSTER:
            return NOT_ON_CLUSTER
        if not flags & NO_WRITES:
            if read_only_replica:
                return READ_ONLY_REPLICA
            if cannot_write is not None:
                return cannot_write
    if stale and not flags & ALLOW_STALE:
        return STALE
    if not legacy and out_of_memory and not flags & (NO_WRITES | ALLOW_OOM):
        return OUT_OF_MEMORY
    return None


# What DEBUG SET-DISABLE-DENY-SCRIPTS does not open to scripts: it is about a client's connection; a script has none.
_NEEDS_A_CLIENT = frozenset(
    (
        *("auth", "client", "discard", "eval", "eval_ro", "evalsha", "evalsha_ro", "exec", "failover", "fcall"),
        *("fcall_ro", "hello", "monitor", "multi", "psubscribe", "psync", "punsubscribe", "quit", "replconf", "reset"),
        *("save", "shutdown", "ssubscribe", "subscribe", "sunsubscribe", "sync", "unsubscribe", "unwatch", "wait"),
        *("watch", "migrate", "replicaof", "slaveof", "bgsave", "bgrewriteaof", "script", "function"),
    )
)
# May cause effects although they are no writes: refused in read-only scripts.
_EFFECTFUL = frozenset(("pfcount", "publish", "spublish"))


def refuse_in_script(run: Run, entry: Command | None, argv: list[bytes], *, lenient: bool = False) -> str | None:
    """Why the running script may not call this, by the command's own nature: an error text, or None.

    entry: the command or subcommand that argv names; a container without its subcommand counts as too few arguments.
    Access rules, roles and memory are the node's to check, behind this.
    """
    if entry is None:
        return UNKNOWN_COMMAND
    if entry.subcommands or not entry.least <= len(argv) <= entry.most:
        return WRONG_ARITY
    flags = entry.flags
    if flags & NO_SCRIPT and (not lenient or (entry.parent or entry.name) in _NEEDS_A_CLIENT):
        return NOT_FROM_SCRIPT
    if run.read_only and (flags & (WRITE | MAY_REPLICATE) or entry.name in _EFFECTFUL):
        return READ_ONLY_SCRIPT
    return None


class Host(Protocol):
    """What scripting asks of the node (execution/scripts.py)."""

    def busy_threshold_ms(self) -> int:
        """busy-reply-threshold: milliseconds after which a script is slow; 0 or less: never."""
        ...

    def run_script_command(self, ctx: Context, run: Run, argv: list[bytes]) -> bytes:
        """Run one command for the running script; its encoded reply in ctx's protocol (ctx.resp3). Never raises.

        ctx is the script's own context: ctx.db the database it has selected, ctx.user the caller's user,
        ctx.deny_blocking is True. The node, in this order,
        - finds the command, and refuses what refuse_in_script refuses;
        - checks ACL rules (NO_ACCESS_COMMAND, NO_ACCESS_KEY, NO_ACCESS_CHANNEL), unless ctx.is_primary_link;
        - for writes: the role (READ_ONLY_REPLICA), MISCONF, NOREPLICAS;
        - on a stale replica: STALE_COMMAND for a command without the stale flag (the script has ALLOW_STALE, or
          it would not run);
        - for DENY_OOM commands above maxmemory: OUT_OF_MEMORY, unless the run's flags have ALLOW_OOM or
          its `wrote` is already set;
        - cluster slots;
        - sets `wrote` for WRITE commands;
        - runs the command with keyspace.verbatim saved, set True, and restored behind it; appends argv as an effect
          of the database it began in if keyspace.dirty grew and verbatim stayed True.
        """
        ...

    def script_may_run(self, ctx: Context, argv: list[bytes]) -> bool | None:
        """redis.acl_check_cmd: whether ctx.user may run argv; None: there is no such command."""
        ...

    def script_refusal(self, ctx: Context, flags: int, legacy: bool) -> str | None:
        """start_refusal with the node's state."""
        ...

    def script_log(self, level: int, message: bytes) -> None:
        """redis.log: level 0 debug, 1 verbose, 2 notice, 3 warning."""
        ...

    def meter(self) -> int:
        """Microseconds of a clock that runs while a script does; only differences count."""
        ...


# Called while a slow script runs (see Scripting.on_slow); True kills the script.
OnSlow = Callable[[], bool]
