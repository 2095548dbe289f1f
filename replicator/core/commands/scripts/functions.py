"""Functions: FCALL, FCALL_RO, FUNCTION."""

from __future__ import annotations

from replicator.core.command_table.registry import (
    ALLOW_BUSY,
    DENY_OOM,
    LOADING,
    NO_SCRIPT,
    STALE,
    WRITE,
    command,
    container,
)
from replicator.core.commands.parts import Caller
from replicator.core.commands.scripts.scripting import GROUP, key_count, prepared, register_runner
from replicator.core.errors import CommandError
from replicator.core.scripting import api
from replicator.core.scripting.api import Kind
from replicator.core.scripting.state import Function, Library, ScriptError, Scripting
from replicator.core.wire import reply
from replicator.core.wire.glob import matcher
from replicator.core.wire.rdb import BAD_PAYLOAD, RdbError
from replicator.core.wire.rdb.functions import NOT_A_FUNCTION, dump_functions, restore_functions

_CATEGORIES = "scripting"
_HELP = (
    "FUNCTION <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "LOAD [REPLACE] <FUNCTION CODE>",
    "    Create a new library with the given library name and code.",
    "DELETE <LIBRARY NAME>",
    "    Delete the given library.",
    "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
    "    Return general information on all the libraries:",
    "    * Library name",
    "    * The engine used to run the Library",
    "    * Library description",
    "    * Functions list",
    "    * Library code (if WITHCODE is given)",
    "    It also possible to get only function that matches a pattern using LIBRARYNAME argument.",
    "STATS",
    "    Return information about the current function running:",
    "    * Function name",
    "    * Command used to run the function",
    "    * Duration in MS that the function is running",
    "    If no function is running, return nil",
    "    In addition, returns a list of available engines.",
    "KILL",
    "    Kill the current running function.",
    "FLUSH [ASYNC|SYNC]",
    "    Delete all the libraries.",
    "    When called without the optional mode argument, the behavior is determined by the",
    "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
    "    * ASYNC: Asynchronously flush the libraries.",
    "    * SYNC: Synchronously flush the libraries.",
    "DUMP",
    "    Return a serialized payload representing the current libraries, can be restored using FUNCTION RESTORE "
    "command",
    "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
    "    Restore the libraries represented by the given payload, it is possible to give a restore policy to",
    "    control how to handle existing libraries (default APPEND):",
    "    * FLUSH: delete all existing libraries.",
    "    * APPEND: appends the restored libraries to the existing libraries. On collision, abort.",
    "    * REPLACE: appends the restored libraries to the existing libraries, On collision, replace the old",
    "      libraries with the new libraries (notice that even on this option there is a chance of failure",
    "      in case of functions name collision with another library).",
    "HELP",
    "    Prints this help.",
)


def _fcall(ctx: Caller, argv: list[bytes], read_only: bool) -> bytes:
    scripting = prepared(ctx)
    function: Function | None = scripting.functions.get(argv[1].lower())
    if function is None:
        raise CommandError("ERR Function not found")
    count = key_count(argv, "ERR Bad number of keys provided")
    try:
        return scripting.fcall(ctx, function, argv, count, read_only=read_only)
    except ScriptError as problem:
        raise problem.refusal() from None


def fcall(ctx: Caller, argv: list[bytes]) -> bytes:
    """FCALL function numkeys [key ...] [arg ...]"""
    return _fcall(ctx, argv, False)


def fcall_ro(ctx: Caller, argv: list[bytes]) -> bytes:
    """FCALL_RO function numkeys [key ...] [arg ...]"""
    return _fcall(ctx, argv, True)


register_runner("fcall", fcall, what="function", since="7.0.0", summary="Invoke a function")
register_runner("fcall_ro", fcall_ro, what="function", since="7.0.0", summary="Invoke a read-only function")

container("function", group=GROUP, since="7.0.0", summary="A container for function commands")


@command(
    "function|load",
    arity=-3,
    flags=WRITE | DENY_OOM | NO_SCRIPT,
    group=GROUP,
    since="7.0.0",
    complexity="O(1) (considering compilation time is redundant)",
    summary="Create a function with the given arguments (name, code, description)",
    categories=_CATEGORIES,
    arguments="[REPLACE] function-code",
)
def function_load(ctx: Caller, argv: list[bytes]) -> bytes:
    """FUNCTION LOAD [REPLACE] function-code"""
    replace = False
    for option in argv[2:-1]:
        if option.lower() != b"replace":
            raise CommandError(f"ERR Unknown option given: {_shown(option)}")
        replace = True
    try:
        name = ctx.server.scripting.load_library(argv[-1], replace=replace)
    except ScriptError as problem:
        raise problem.refusal() from None
    ctx.force_replication()
    return reply.bulk(name)


@command(
    "function|delete",
    arity=3,
    flags=WRITE | NO_SCRIPT,
    group=GROUP,
    since="7.0.0",
    complexity="O(1)",
    summary="Delete a function by name",
    categories=_CATEGORIES,
    arguments="library-name",
)
def function_delete(ctx: Caller, argv: list[bytes]) -> bytes:
    """FUNCTION DELETE library-name"""
    if not ctx.server.scripting.delete_library(argv[2]):
        raise CommandError("ERR Library not found")
    ctx.force_replication()
    return reply.OK


@command(
    "function|flush",
    arity=-2,
    flags=WRITE | NO_SCRIPT,
    group=GROUP,
    since="7.0.0",
    complexity="O(N) where N is the number of functions deleted",
    summary="Deleting all functions",
    categories=_CATEGORIES,
    arguments="[ASYNC|SYNC]",
)
def function_flush(ctx: Caller, argv: list[bytes]) -> bytes:
    """FUNCTION FLUSH [ASYNC|SYNC]"""
    if len(argv) > 3:
        raise CommandError(_wrong_arguments(argv))
    if len(argv) == 3 and argv[2].lower() not in (b"async", b"sync"):
        raise CommandError("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")
    ctx.server.scripting.flush_libraries()
    ctx.force_replication()
    return reply.OK


@command(
    "function|list",
    arity=-2,
    flags=NO_SCRIPT,
    group=GROUP,
    since="7.0.0",
    complexity="O(N) where N is the number of functions",
    summary="List information about all the functions",
    categories=_CATEGORIES,
    arguments="[LIBRARYNAME library-name-pattern] [WITHCODE]",
)
def function_list(ctx: Caller, argv: list[bytes]) -> bytes:
    """FUNCTION LIST [LIBRARYNAME library-name-pattern] [WITHCODE]"""
    with_code, pattern = False, None
    rest = argv[2:]
    while rest:
        option = rest.pop(0)
        if not with_code and option.lower() == b"withcode":
            with_code = True
        elif pattern is None and option.lower() == b"libraryname":
            if not rest:
                raise CommandError("ERR library name argument was not given")
            pattern = rest.pop(0)
        else:
            raise CommandError(f"ERR Unknown argument {_shown(option)}")
    matches = matcher(pattern, ignore_case=True) if pattern is not None else None
    scripting: Scripting = ctx.server.scripting
    return reply.array(
        [
            _described(ctx, library, with_code)
            for library in scripting.libraries.values()
            if matches is None or matches(library.name)
        ]
    )


def _described(ctx: Caller, library: Library, with_code: bool) -> bytes:
    functions = [
        reply.mapping(
            [
                reply.bulk(b"name"),
                reply.bulk(function.name),
                reply.bulk(b"description"),
                ctx.null if function.description is None else reply.bulk(function.description),
                reply.bulk(b"flags"),
                reply.set_of(
                    [b"+%b\r\n" % name for name, flag in api.FLAG_NAMES if function.flags & flag],
                    ctx.resp3,
                ),
            ],
            ctx.resp3,
        )
        for function in library.functions.values()
    ]
    items = [
        reply.bulk(b"library_name"),
        reply.bulk(library.name),
        reply.bulk(b"engine"),
        reply.bulk(b"LUA"),
        reply.bulk(b"functions"),
        reply.array(functions),
    ]
    if with_code:
        items += [reply.bulk(b"library_code"), reply.bulk(library.code)]
    return reply.mapping(items, ctx.resp3)


@command(
    "function|stats",
    arity=2,
    flags=NO_SCRIPT | ALLOW_BUSY,
    group=GROUP,
    since="7.0.0",
    complexity="O(1)",
    summary="Return information about the function currently running (name, description, duration)",
    categories=_CATEGORIES,
)
def function_stats(ctx: Caller, argv: list[bytes]) -> bytes:
    """FUNCTION STATS"""
    scripting: Scripting = ctx.server.scripting
    run = scripting.running
    if run is not None and run.kind is Kind.EVAL:
        raise CommandError(api.BUSY_EVAL)
    running = ctx.null
    if run is not None and run.kind is Kind.FUNCTION:
        duration_ms = (ctx.server.meter() - run.started_us) // 1000
        running = reply.mapping(
            [
                reply.bulk(b"name"),
                reply.bulk(run.name),
                reply.bulk(b"command"),
                reply.bulks(run.argv),
                reply.bulk(b"duration_ms"),
                reply.integer(duration_ms),
            ],
            ctx.resp3,
        )
    counts = [
        reply.bulk(b"libraries_count"),
        reply.integer(len(scripting.libraries)),
        reply.bulk(b"functions_count"),
        reply.integer(len(scripting.functions)),
    ]
    engines = reply.mapping([reply.bulk(b"LUA"), reply.mapping(counts, ctx.resp3)], ctx.resp3)
    return reply.mapping([reply.bulk(b"running_script"), running, reply.bulk(b"engines"), engines], ctx.resp3)


@command(
    "function|kill",
    arity=2,
    flags=NO_SCRIPT | ALLOW_BUSY,
    group=GROUP,
    since="7.0.0",
    complexity="O(1)",
    summary="Kill the function currently in execution.",
    categories=_CATEGORIES,
)
def function_kill(ctx: Caller, argv: list[bytes]) -> bytes:
    """FUNCTION KILL"""
    try:
        ctx.server.scripting.kill(Kind.FUNCTION)
    except ScriptError as problem:
        raise problem.refusal() from None
    return reply.OK


@command(
    "function|dump",
    arity=2,
    flags=NO_SCRIPT,
    group=GROUP,
    since="7.0.0",
    complexity="O(N) where N is the number of functions",
    summary="Dump all functions into a serialized binary payload",
    categories=_CATEGORIES,
)
def function_dump(ctx: Caller, argv: list[bytes]) -> bytes:
    """FUNCTION DUMP"""
    return reply.bulk(dump_functions(ctx.server.scripting.library_codes()))


@command(
    "function|restore",
    arity=-3,
    flags=WRITE | DENY_OOM | NO_SCRIPT,
    group=GROUP,
    since="7.0.0",
    complexity="O(N) where N is the number of functions on the payload",
    summary="Restore all the functions on the given payload",
    categories=_CATEGORIES,
    arguments="serialized-value [FLUSH|APPEND|REPLACE]",
)
def function_restore(ctx: Caller, argv: list[bytes]) -> bytes:
    """FUNCTION RESTORE serialized-value [FLUSH|APPEND|REPLACE]"""
    if len(argv) > 4:
        raise CommandError(_wrong_arguments(argv))
    policy = argv[3].lower() if len(argv) == 4 else b"append"
    if policy not in (b"append", b"replace", b"flush"):
        raise CommandError("ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.")
    try:
        codes = restore_functions(argv[2])
        ctx.server.scripting.restore_libraries(codes, flush=policy == b"flush", replace=policy == b"replace")
    except RdbError as problem:
        known = problem.message in (BAD_PAYLOAD, NOT_A_FUNCTION)
        raise CommandError(f"ERR {problem.message if known else 'Failed loading library payload'}") from None
    except ScriptError as problem:
        raise problem.refusal() from None
    ctx.force_replication()
    return reply.OK


@command(
    "function|help",
    arity=2,
    flags=LOADING | STALE,
    group=GROUP,
    since="7.0.0",
    complexity="O(1)",
    summary="Show helpful text about the different subcommands",
    categories=_CATEGORIES,
)
def function_help(ctx: Caller, argv: list[bytes]) -> bytes:
    """FUNCTION HELP"""
    return reply.array([reply.simple(line) for line in _HELP])


def _wrong_arguments(argv: list[bytes]) -> str:
    return f"ERR unknown subcommand or wrong number of arguments for '{_shown(argv[1])}'. Try FUNCTION HELP."


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")
