"""ACL: users and what they may do.

The rules themselves live in core/clients/access.py, the users in core/clients/users.py.
"""

from __future__ import annotations

from functools import partial

from replicator.core.clients.access import Permissions
from replicator.core.command_table.registry import ADMIN, LOADING, NO_SCRIPT, STALE, command, container
from replicator.core.commands.parts import Client
from replicator.core.errors import NOT_AN_INTEGER, CommandError
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_int

_FLAGS = NO_SCRIPT | LOADING | STALE
_MOST_BITS = 4096
_DEFAULT_LOG = 10
_HELP = (
    "ACL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CAT [<category>]",
    "    List all commands that belong to <category>, or all command categories",
    "    when no category is specified.",
    "DELUSER <username> [<username> ...]",
    "    Delete a list of users.",
    "DRYRUN <username> <command> [<arg> ...]",
    "    Returns whether the user can execute the given command without executing the command.",
    "GETUSER <username>",
    "    Get the user's details.",
    "GENPASS [<bits>]",
    "    Generate a secure 256-bit user password. The optional `bits` argument can",
    "    be used to specify a different size.",
    "LIST",
    "    Show users details in config file format.",
    "LOAD",
    "    Reload users from the ACL file.",
    "LOG [<count> | RESET]",
    "    Show the ACL log entries.",
    "SAVE",
    "    Save the current config to the ACL file.",
    "SETUSER <username> <attribute> [<attribute> ...]",
    "    Create or modify a user with the specified attributes.",
    "USERS",
    "    List all the registered usernames.",
    "WHOAMI",
    "    Return the current connection username.",
    "HELP",
    "    Prints this help.",
)

container("acl", group="server", since="6.0.0", summary="A container for Access List Control commands ")
admin = partial(command, group="server", since="6.0.0", flags=ADMIN | _FLAGS, categories="admin dangerous")
plain = partial(command, group="server", since="6.0.0", flags=_FLAGS)


def _wrong_count(word: bytes) -> CommandError:
    shown = word.decode("utf-8", "surrogateescape")
    return CommandError(f"ERR unknown subcommand or wrong number of arguments for '{shown}'. Try ACL HELP.")


@plain(
    "acl|cat",
    arity=-2,
    complexity="O(1) since the categories and commands are a fixed set.",
    summary="List the ACL categories or the commands inside a category",
    arguments="[categoryname]",
)
def acl_cat(ctx: Client, argv: list[bytes]) -> bytes:
    """ACL CAT [category]"""
    table = ctx.server.users.table
    if len(argv) > 3:
        raise _wrong_count(argv[1])
    if len(argv) == 2:
        return reply.bulks([name.encode() for name in table.category])
    name = argv[2].lower().decode("utf-8", "surrogateescape")
    if name not in table.category:
        raise CommandError(f"ERR Unknown category '{argv[2].decode('utf-8', 'surrogateescape')}'")
    return reply.bulks([found.encode() for found in table.in_category(name)])


@plain(
    "acl|whoami",
    arity=2,
    complexity="O(1)",
    summary="Return the name of the user associated to the current connection",
)
def acl_whoami(ctx: Client, argv: list[bytes]) -> bytes:
    """ACL WHOAMI"""
    return reply.bulk(b"default" if ctx.user is None else ctx.user.name)


@plain(
    "acl|genpass",
    arity=-2,
    complexity="O(1)",
    summary="Generate a pseudorandom secure password to use for ACL users",
    arguments="[bits]",
)
def acl_genpass(ctx: Client, argv: list[bytes]) -> bytes:
    """ACL GENPASS [bits]"""
    if len(argv) > 3:
        raise _wrong_count(argv[1])
    bits: int | None = 256
    if len(argv) == 3:
        bits = parse_int(argv[2])
        if bits is None:
            raise CommandError(NOT_AN_INTEGER)
        if not 0 < bits <= _MOST_BITS:
            raise CommandError(
                "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to "
                f"{_MOST_BITS}"
            )
    assert bits is not None
    digits = (bits + 3) // 4
    return reply.bulk(ctx.server.users.secret((digits + 1) // 2).hex()[:digits].encode())


@admin(
    "acl|users",
    arity=2,
    complexity="O(N). Where N is the number of configured users.",
    summary="List the username of all the configured ACL rules",
)
def acl_users(ctx: Client, argv: list[bytes]) -> bytes:
    """ACL USERS"""
    return reply.bulks(ctx.server.users.names())


@admin(
    "acl|list",
    arity=2,
    complexity="O(N). Where N is the number of configured users.",
    summary="List the current ACL rules in ACL config file format",
    differs="Rules for commands are told as they were given, without those that no longer matter.",
)
def acl_list(ctx: Client, argv: list[bytes]) -> bytes:
    """ACL LIST"""
    return reply.bulks([b"user " + line for line in ctx.server.users.descriptions()])


def _permissions(ctx: Client, permissions: Permissions) -> list[bytes]:
    return [
        reply.bulk(b"commands"),
        reply.bulk(permissions.shown_commands()),
        reply.bulk(b"keys"),
        reply.bulk(permissions.shown_keys()),
        reply.bulk(b"channels"),
        reply.bulk(permissions.shown_channels()),
    ]


@admin(
    "acl|getuser",
    arity=3,
    complexity="O(N). Where N is the number of password, command and pattern rules that the user has.",
    summary="Get the rules for a specific ACL user",
    arguments="username",
    history=(
        ("6.2.0", "Added Pub/Sub channel patterns."),
        (
            "7.0.0",
            "Added selectors and changed the format of key and channel patterns from a list to their rule "
            "representation.",
        ),
    ),
    differs="Rules for commands are told as they were given, without those that no longer matter.",
)
def acl_getuser(ctx: Client, argv: list[bytes]) -> bytes:
    """ACL GETUSER username"""
    user = ctx.server.users.users.get(argv[2])
    if user is None:
        return ctx.null
    selectors = [reply.mapping(_permissions(ctx, selector), ctx.resp3) for selector in user.selectors]
    items = [
        reply.bulk(b"flags"),
        reply.set_of([reply.bulk(flag) for flag in user.flags()], ctx.resp3),
        reply.bulk(b"passwords"),
        reply.bulks(user.hashes),
        *_permissions(ctx, user.root),
        reply.bulk(b"selectors"),
        reply.array(selectors),
    ]
    return reply.mapping(items, ctx.resp3)


@admin(
    "acl|setuser",
    arity=-3,
    complexity="O(N). Where N is the number of rules provided.",
    summary="Modify or create the rules for a specific ACL user",
    arguments="username [rule [rule ...]]",
    history=(
        ("6.2.0", "Added Pub/Sub channel patterns."),
        ("7.0.0", "Added selectors and key based permissions."),
    ),
)
def acl_setuser(ctx: Client, argv: list[bytes]) -> bytes:
    """ACL SETUSER username [rule ...]"""
    ctx.server.users.set_user(argv[2], argv[3:])
    return reply.OK


@admin(
    "acl|deluser",
    arity=-3,
    complexity="O(1) amortized time considering the typical user.",
    summary="Remove the specified ACL users and the associated rules",
    arguments="username [username ...]",
)
def acl_deluser(ctx: Client, argv: list[bytes]) -> bytes:
    """ACL DELUSER username [username ...]"""
    if b"default" in argv[2:]:
        raise CommandError("ERR The 'default' user cannot be removed")
    return reply.integer(sum(ctx.server.users.delete(name) for name in argv[2:]))


@admin(
    "acl|load",
    arity=2,
    complexity="O(N). Where N is the number of configured users.",
    summary="Reload the ACLs from the configured ACL file",
)
def acl_load(ctx: Client, argv: list[bytes]) -> bytes:
    """ACL LOAD"""
    ctx.server.users.load_file()
    return reply.OK


@admin(
    "acl|save",
    arity=2,
    complexity="O(N). Where N is the number of configured users.",
    summary="Save the current ACL rules in the configured ACL file",
)
def acl_save(ctx: Client, argv: list[bytes]) -> bytes:
    """ACL SAVE"""
    ctx.server.users.save_file()
    return reply.OK


@admin(
    "acl|log",
    arity=-2,
    complexity="O(N) with N being the number of entries shown.",
    summary="List latest events denied because of ACLs in place",
    arguments="[count | RESET]",
)
def acl_log(ctx: Client, argv: list[bytes]) -> bytes:
    """ACL LOG [count | RESET]"""
    users = ctx.server.users
    if len(argv) > 3:
        raise _wrong_count(argv[1])
    count: int | None = _DEFAULT_LOG
    if len(argv) == 3:
        if argv[2].lower() == b"reset":
            users.refusals.clear()
            return reply.OK
        count = parse_int(argv[2])
        if count is None:
            raise CommandError(NOT_AN_INTEGER)
    assert count is not None
    entries = []
    for entry in users.refusals[: max(0, count)]:
        age = (ctx.server.turn.now.unix_ms - entry.at_ms) / 1000
        items = [
            reply.bulk(b"count"),
            reply.integer(entry.count),
            reply.bulk(b"reason"),
            reply.bulk(entry.reason.encode()),
            reply.bulk(b"context"),
            reply.bulk(entry.context.encode()),
            reply.bulk(b"object"),
            reply.bulk(entry.item),
            reply.bulk(b"username"),
            reply.bulk(entry.user),
            reply.bulk(b"age-seconds"),
            reply.double(age, ctx.resp3),
            reply.bulk(b"client-info"),
            reply.bulk(entry.client.encode("utf-8", "surrogateescape")),
        ]
        entries.append(reply.mapping(items, ctx.resp3))
    return reply.array(entries)


@admin(
    "acl|dryrun",
    arity=-4,
    complexity="O(1).",
    summary="Returns whether the user can execute the given command without executing the command.",
    arguments="username command [arg [arg ...]]",
)
def acl_dryrun(ctx: Client, argv: list[bytes]) -> bytes:
    """ACL DRYRUN username command [arg ...]"""
    user = ctx.server.users.users.get(argv[2])
    if user is None:
        raise CommandError(f"ERR User '{argv[2].decode('utf-8', 'surrogateescape')}' not found")
    words = argv[3:]
    found = ctx.server.table.resolve(words)
    if found is None or (found.subcommands and len(words) > 1):
        raise CommandError(f"ERR Command '{words[0].decode('utf-8', 'surrogateescape')}' not found")
    if not found.least <= len(words) <= found.most or (found.subcommands and found.name != "command"):
        raise CommandError(f"ERR wrong number of arguments for '{found.full_name}' command")
    denial = user.denial(found, words)
    return reply.OK if denial is None else reply.bulk(denial.dry_text().encode("utf-8", "surrogateescape"))


@command(
    "acl|help",
    arity=2,
    flags=LOADING | STALE,
    group="server",
    since="6.0.0",
    complexity="O(1)",
    summary="Show helpful text about the different subcommands",
)
def acl_help(ctx: Client, argv: list[bytes]) -> bytes:
    """ACL HELP"""
    return reply.array([reply.simple(line) for line in _HELP])
