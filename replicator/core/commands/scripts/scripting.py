"""Scripts: EVAL, EVALSHA, their read-only forms, SCRIPT; and what a script may not call."""

from __future__ import annotations

from replicator.core.clients import session
from replicator.core.command_table.registry import (
    ALLOW_BUSY,
    LOADING,
    MAY_REPLICATE,
    MOVABLE_KEYS,
    NO_MANDATORY_KEYS,
    NO_SCRIPT,
    READONLY,
    SKIP_MONITOR,
    STALE,
    SeenRun,
    command,
    container,
)
from replicator.core.commands.parts import Caller
from replicator.core.errors import NOT_AN_INTEGER, CommandError
from replicator.core.scripting import api
from replicator.core.scripting.api import Kind
from replicator.core.scripting.state import Script, ScriptError, Scripting
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_int

GROUP = "scripting"
_COMPLEXITY = "Depends on the script that is executed."
RUN_FLAGS = NO_SCRIPT | SKIP_MONITOR | STALE | NO_MANDATORY_KEYS | MOVABLE_KEYS
_HELP = (
    "SCRIPT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DEBUG (YES|SYNC|NO)",
    "    Set the debug mode for subsequent scripts executed.",
    "EXISTS <sha1> [<sha1> ...]",
    "    Return information about the existence of the scripts in the script cache.",
    "FLUSH [ASYNC|SYNC]",
    "    Flush the Lua scripts cache. Very dangerous on replicas.",
    "    When called without the optional mode argument, the behavior is determined by the",
    "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
    "    * ASYNC: Asynchronously flush the scripts cache.",
    "    * SYNC: Synchronously flush the scripts cache.",
    "KILL",
    "    Kill the currently executing Lua script.",
    "LOAD <script>",
    "    Load a script into the scripts cache without executing it.",
    "HELP",
    "    Prints this help.",
)




def find_keys(argv: list[bytes]) -> range:
    """Key positions: argv[2] says how many follow."""
    count = parse_int(argv[2]) if len(argv) > 2 else None
    if count is None or not 0 < count <= len(argv) - 3:
        return range(0)
    return range(3, 3 + count)


def key_count(argv: list[bytes], not_a_number: str) -> int:
    """The number of keys in argv[2], checked against what follows."""
    count = parse_int(argv[2])
    if count is None:
        raise CommandError(not_a_number)
    if count > len(argv) - 3:
        raise CommandError("ERR Number of keys can't be greater than number of args")
    if count < 0:
        raise CommandError("ERR Number of keys can't be negative")
    return count


def prepared(ctx: Caller) -> Scripting:
    """The node's scripting, with a context for what its scripts run."""
    scripting: Scripting = ctx.server.scripting
    if scripting.context is None:
        scripting.context = session.Caller(ctx.server, ctx.keyspace)
        scripting.context.deny_blocking = True
        scripting.context.authenticated = True
    return scripting


def _eval(ctx: Caller, argv: list[bytes], read_only: bool) -> bytes:
    scripting = prepared(ctx)
    count = key_count(argv, NOT_AN_INTEGER)
    try:
        return scripting.eval(ctx, scripting.script(argv[1]), argv, count, read_only=read_only)
    except ScriptError as problem:
        raise problem.refusal() from None


def _evalsha(ctx: Caller, argv: list[bytes], read_only: bool) -> bytes:
    scripting = prepared(ctx)
    count = key_count(argv, NOT_AN_INTEGER)
    script: Script | None = scripting.scripts.get(argv[1]) or scripting.scripts.get(argv[1].lower())
    if script is None:
        raise CommandError(api.NO_MATCHING_SCRIPT)
    try:
        return scripting.eval(ctx, script, argv, count, read_only=read_only)
    except ScriptError as problem:
        raise problem.refusal() from None


def eval_(ctx: Caller, argv: list[bytes]) -> bytes:
    """EVAL script numkeys [key ...] [arg ...]"""
    return _eval(ctx, argv, False)


def eval_ro(ctx: Caller, argv: list[bytes]) -> bytes:
    """EVAL_RO script numkeys [key ...] [arg ...]"""
    return _eval(ctx, argv, True)


def evalsha(ctx: Caller, argv: list[bytes]) -> bytes:
    """EVALSHA sha1 numkeys [key ...] [arg ...]"""
    return _evalsha(ctx, argv, False)


def evalsha_ro(ctx: Caller, argv: list[bytes]) -> bytes:
    """EVALSHA_RO sha1 numkeys [key ...] [arg ...]"""
    return _evalsha(ctx, argv, True)


def register_runner(name: str, run: SeenRun[Caller], *, what: str, since: str, summary: str) -> None:
    """A command that runs a script: all six have the same shape."""
    read_only = name.endswith("_ro")
    command(
        name,
        arity=-3,
        flags=RUN_FLAGS | (READONLY if read_only else MAY_REPLICATE),
        find_keys=find_keys,
        access="RO" if read_only else "RW",
        group=GROUP,
        since=since,
        complexity=_COMPLEXITY if what != "function" else "Depends on the function that is executed.",
        summary=summary,
        categories="scripting",
        arguments=f"{what} numkeys [key [key ...]] [arg [arg ...]]",
    )(run)


register_runner("eval", eval_, what="script", since="2.6.0", summary="Execute a Lua script server side")
register_runner("eval_ro", eval_ro, what="script", since="7.0.0", summary="Execute a read-only Lua script server side")
register_runner("evalsha", evalsha, what="sha1", since="2.6.0", summary="Execute a Lua script server side")
register_runner(
    "evalsha_ro", evalsha_ro, what="sha1", since="7.0.0", summary="Execute a read-only Lua script server side"
)

container("script", group=GROUP, since="2.6.0", summary="A container for Lua scripts management commands")


@command(
    "script|load",
    arity=3,
    flags=NO_SCRIPT | STALE,
    group=GROUP,
    since="2.6.0",
    complexity="O(N) with N being the length in bytes of the script body.",
    summary="Load the specified Lua script into the script cache.",
    categories="scripting",
    arguments="script",
)
def script_load(ctx: Caller, argv: list[bytes]) -> bytes:
    """SCRIPT LOAD script"""
    try:
        return reply.bulk(ctx.server.scripting.script(argv[2], pin=True).sha)
    except ScriptError as problem:
        raise problem.refusal() from None


@command(
    "script|exists",
    arity=-3,
    flags=NO_SCRIPT,
    group=GROUP,
    since="2.6.0",
    complexity="O(N) with N being the number of scripts to check (so checking a single script is an O(1) operation).",
    summary="Check existence of scripts in the script cache.",
    categories="scripting",
    arguments="sha1 [sha1 ...]",
)
def script_exists(ctx: Caller, argv: list[bytes]) -> bytes:
    """SCRIPT EXISTS sha1 [sha1 ...]"""
    scripts = ctx.server.scripting.scripts
    return reply.array([reply.integer(sha.lower() in scripts) for sha in argv[2:]])


@command(
    "script|flush",
    arity=-2,
    flags=NO_SCRIPT,
    group=GROUP,
    since="2.6.0",
    complexity="O(N) with N being the number of scripts in cache",
    summary="Remove all the scripts from the script cache.",
    categories="scripting",
    arguments="[ASYNC|SYNC]",
    history=(("6.2.0", "Added the `ASYNC` and `SYNC` flushing mode modifiers."),),
)
def script_flush(ctx: Caller, argv: list[bytes]) -> bytes:
    """SCRIPT FLUSH [ASYNC|SYNC]"""
    if len(argv) > 3 or (len(argv) == 3 and argv[2].lower() not in (b"async", b"sync")):
        raise CommandError("ERR SCRIPT FLUSH only support SYNC|ASYNC option")
    ctx.server.scripting.flush_scripts()
    return reply.OK


@command(
    "script|kill",
    arity=2,
    flags=NO_SCRIPT | ALLOW_BUSY,
    group=GROUP,
    since="2.6.0",
    complexity="O(1)",
    summary="Kill the script currently in execution.",
    categories="scripting",
)
def script_kill(ctx: Caller, argv: list[bytes]) -> bytes:
    """SCRIPT KILL"""
    try:
        ctx.server.scripting.kill(Kind.EVAL)
    except ScriptError as problem:
        raise problem.refusal() from None
    return reply.OK


@command(
    "script|debug",
    arity=3,
    flags=NO_SCRIPT,
    group=GROUP,
    since="3.2.0",
    complexity="O(1)",
    summary="Set the debug mode for executed scripts.",
    categories="scripting",
    arguments="YES|SYNC|NO",
    differs="There is no debugger: YES and SYNC are refused.",
)
def script_debug(ctx: Caller, argv: list[bytes]) -> bytes:
    """SCRIPT DEBUG YES|SYNC|NO"""
    if argv[2].lower() not in (b"yes", b"sync", b"no"):
        raise CommandError("ERR Use SCRIPT DEBUG YES/SYNC/NO")
    if argv[2].lower() != b"no":
        raise CommandError("ERR The debugger of scripts (ldb) is not supported by this server")
    return reply.OK


@command(
    "script|help",
    arity=2,
    flags=LOADING | STALE,
    group=GROUP,
    since="5.0.0",
    complexity="O(1)",
    summary="Show helpful text about the different subcommands",
    categories="scripting",
)
def script_help(ctx: Caller, argv: list[bytes]) -> bytes:
    """SCRIPT HELP"""
    return reply.array([reply.simple(line) for line in _HELP])
