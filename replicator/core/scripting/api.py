"""What scripting and the node ask of each other, and the words both use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

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
NO_ACCESS_KEY = "ERR The user executing the script can't access at least one of the keys mentioned in the command arguments"
NO_ACCESS_CHANNEL = "ERR The user executing the script can't publish to the channel mentioned in the command"


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
    replication: int = REPLICATE_ALL


class Host(Protocol):
    """The node, as scripting uses it (ctx.server)."""

    scripting: Any

    def run_script_command(self, ctx: Any, argv: list[bytes]) -> bytes:
        """Run one command for the running script and return its encoded reply (in ctx's protocol, ctx.resp3); never raises.

        ctx: the script's own context: ctx.script is the Run, ctx.db the database it has selected, ctx.user the caller's
        user, ctx.deny_blocking is True. In this order the node: finds the command and refuses what
        commands.scripting.refuse_in_script refuses (unknown, arity, noscript, writes of a read-only script; it also marks
        Run.wrote); checks ACL rules (texts NO_ACCESS_*); for writes the disk and role state: `MISCONF ...`, `READONLY You can't write against
        a read only replica.`, `NOREPLICAS ...`; `MASTERDOWN ...` unless ctx.script.flags has ALLOW_STALE; `OOM command not allowed when used
        memory > 'maxmemory'.` for denyoom commands unless ALLOW_OOM or the script has written already; cluster slots. Then it
        runs the command with keyspace.verbatim saved, set True, and restored behind it, and appends argv as an effect of
        ctx.db if keyspace.dirty grew and verbatim stayed True.
        """
        ...

    def script_may_run(self, ctx: Any, argv: list[bytes]) -> bool | None:
        """redis.acl_check_cmd: whether ctx.user may run argv; None: there is no such command."""
        ...

    def script_refusal(self, ctx: Any, flags: int, legacy: bool) -> str | None:
        """Why a script may not start now (an error text), by its flags and the node's state, or None.

        For scripts with a shebang and for functions: a replica with replica-read-only refuses those without NO_WRITES, and so on. Legacy
        scripts are always started; their commands are checked one by one.
        """
        ...

    def script_log(self, level: int, message: bytes) -> None:
        """redis.log: level 0 debug, 1 verbose, 2 notice, 3 warning."""
        ...

    def meter(self) -> int:
        """Microseconds of a clock that runs while a script does; only differences count."""
        ...


# Called while a slow script runs (see Scripting.on_slow); True kills the script.
OnSlow = Callable[[], bool]
