"""MODULE: there are none, and none can be loaded."""

from __future__ import annotations

from replicator.core.command_table.registry import (
    ADMIN,
    LOADING,
    NO_ASYNC_LOADING,
    NO_SCRIPT,
    STALE,
    command,
    container,
)
from replicator.core.commands.parts import Client
from replicator.core.errors import CommandError
from replicator.core.wire import reply

GROUP = "server"
_NOT_ALLOWED = (
    'ERR MODULE command not allowed. If the enable-module-command option is set to "local", you can run it from a '
    "local connection, otherwise you need to set this option in the configuration file, and then restart the server."
)
_CHANGES = ADMIN | NO_SCRIPT | NO_ASYNC_LOADING
_NONE = "Modules are not supported: refused, whatever enable-module-command says."
_HELP = (
    "MODULE <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "LIST",
    "    Return a list of loaded modules.",
    "LOAD <path> [<arg> ...]",
    "    Load a module library from <path>, passing to it any optional arguments.",
    "LOADEX <path> [[CONFIG NAME VALUE] [CONFIG NAME VALUE]] [ARGS ...]",
    "    Load a module library from <path>, while passing it module configurations and optional arguments.",
    "UNLOAD <name>",
    "    Unload a module.",
    "HELP",
    "    Prints this help.",
)


def _allowed(ctx: Client) -> bool:
    """Whether enable-module-command lets this caller try."""
    setting = ctx.server.config["enable-module-command"]
    return setting == "yes" or (setting == "local" and ctx.comes_from_here)


container("module", group=GROUP, since="4.0.0", summary="A container for commands of modules.")


@command(
    "module|list",
    arity=2,
    flags=ADMIN | NO_SCRIPT,
    group=GROUP,
    since="4.0.0",
    complexity="O(N) where N is the number of loaded modules.",
    summary="Returns the modules that are loaded.",
)
def module_list(ctx: Client, argv: list[bytes]) -> bytes:
    """MODULE LIST"""
    return reply.array([])


def _refuse(ctx: Client, argv: list[bytes]) -> bytes:
    if not _allowed(ctx):
        raise CommandError(_NOT_ALLOWED)
    if argv[1].lower() == b"unload":
        raise CommandError("ERR Error unloading module: no such module with that name")
    raise CommandError("ERR Error loading the extension. Please check the server logs.")


for _name, _arity, _since, _summary, _arguments in (
    ("load", -3, "4.0.0", "Loads a module.", "path [arg [arg ...]]"),
    (
        "loadex",
        -3,
        "7.0.0",
        "Loads a module with settings of its own.",
        "path [CONFIG name value [CONFIG name value ...]] [ARGS arg [arg ...]]",
    ),
    ("unload", 3, "4.0.0", "Unloads a module.", "name"),
):
    command(
        f"module|{_name}",
        arity=_arity,
        flags=_CHANGES,
        group=GROUP,
        since=_since,
        complexity="O(1)",
        summary=_summary,
        arguments=_arguments,
        differs=_NONE,
    )(_refuse)


@command(
    "module|help",
    arity=2,
    flags=LOADING | STALE,
    group=GROUP,
    since="5.0.0",
    complexity="O(1)",
    summary="Returns helpful text about the subcommands.",
)
def module_help(ctx: Client, argv: list[bytes]) -> bytes:
    """MODULE HELP"""
    return reply.array([reply.simple(line) for line in _HELP])
