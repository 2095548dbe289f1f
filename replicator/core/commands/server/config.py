"""CONFIG: read, change and save the configuration of a running node.

The node provides server.config (core/config/config.py, whose errors are CommandErrors) and
server.counters.
"""

from __future__ import annotations

from replicator.core.command_table.registry import ADMIN, LOADING, NO_SCRIPT, STALE, command, container
from replicator.core.commands.parts import Client
from replicator.core.errors import SYNTAX, CommandError
from replicator.core.wire import reply

GROUP = "server"
_TEXT = ("utf-8", "surrogateescape")  # any bytes survive the way to text and back
_FLAGS = ADMIN | NO_SCRIPT | LOADING | STALE
_HELP = (
    "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET <pattern>",
    "    Return parameters matching the glob-like <pattern> and their values.",
    "SET <directive> <value>",
    "    Set the configuration <directive> to <value>.",
    "RESETSTAT",
    "    Reset statistics reported by the INFO command.",
    "REWRITE",
    "    Rewrite the configuration file.",
    "HELP",
    "    Prints this help.",
)

container("config", group=GROUP, since="2.0.0", summary="A container for server configuration commands")


@command(
    "config|get",
    arity=-3,
    flags=_FLAGS,
    group=GROUP,
    since="2.0.0",
    complexity="O(N) when N is the number of configuration parameters provided",
    summary="Get the values of configuration parameters",
    categories="admin dangerous",
    arguments="parameter [parameter ...]",
    history=(("7.0.0", "Added the ability to pass multiple pattern parameters in one call"),),
)
def config_get(ctx: Client, argv: list[bytes]) -> bytes:
    """CONFIG GET parameter [parameter ...]"""
    config = ctx.server.config
    found: dict[str, str] = {}  # each name once, in the spelling that was asked for first
    for pattern in argv[2:]:
        for name in config.names(pattern.decode(*_TEXT)):
            found.setdefault(name.lower(), name)
    items = []
    for key, name in found.items():
        items += [reply.bulk(name.encode(*_TEXT)), reply.bulk(config.text(key).encode(*_TEXT))]
    return reply.mapping(items, ctx.resp3)


@command(
    "config|set",
    arity=-4,
    flags=_FLAGS,
    group=GROUP,
    since="2.0.0",
    complexity="O(N) when N is the number of configuration parameters provided",
    summary="Set configuration parameters to the given values",
    categories="admin dangerous",
    arguments="parameter value [parameter value ...]",
    history=(("7.0.0", "Added the ability to set multiple parameters in one call."),),
)
def config_set(ctx: Client, argv: list[bytes]) -> bytes:
    """CONFIG SET parameter value [parameter value ...]"""
    if len(argv) % 2:
        raise CommandError(SYNTAX)
    words = [argument.decode(*_TEXT) for argument in argv[2:]]
    config = ctx.server.config
    allowed = config["enable-protected-configs"]
    config.set_many(
        list(zip(words[::2], words[1::2], strict=True)),
        protected=allowed == "yes" or (allowed == "local" and ctx.comes_from_here),
    )
    return reply.OK


@command(
    "config|resetstat",
    arity=2,
    flags=_FLAGS,
    group=GROUP,
    since="2.0.0",
    complexity="O(1)",
    summary="Reset the stats returned by INFO",
    categories="admin dangerous",
)
def config_resetstat(ctx: Client, argv: list[bytes]) -> bytes:
    """CONFIG RESETSTAT"""
    ctx.server.counters.reset()
    return reply.OK


@command(
    "config|rewrite",
    arity=2,
    flags=_FLAGS,
    group=GROUP,
    since="2.8.0",
    complexity="O(1)",
    summary="Rewrite the configuration file with the in memory configuration",
    categories="admin dangerous",
)
def config_rewrite(ctx: Client, argv: list[bytes]) -> bytes:
    """CONFIG REWRITE"""
    ctx.server.config.save_file()
    return reply.OK


@command(
    "config|help",
    arity=2,
    flags=LOADING | STALE,
    group=GROUP,
    since="5.0.0",
    complexity="O(1)",
    summary="Show helpful text about the different subcommands",
)
def config_help(ctx: Client, argv: list[bytes]) -> bytes:
    """CONFIG HELP"""
    return reply.array([reply.simple(line) for line in _HELP])
