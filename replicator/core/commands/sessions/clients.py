"""CLIENT: who is connected, and what they may be told or made to do.

SETINFO, NO-TOUCH and the filter MAXAGE came after 7.0; clients of today send them, so they are here.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from replicator.core.command_table.registry import ADMIN, LOADING, NO_SCRIPT, STALE, command, container
from replicator.core.commands.parts import Client
from replicator.core.commands.sessions.connection import check_name
from replicator.core.errors import NOT_AN_INTEGER, SYNTAX, CommandError
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_int

_FLAGS = NO_SCRIPT | LOADING | STALE
_KINDS = {b"normal": "normal", b"master": "master", b"replica": "slave", b"slave": "slave", b"pubsub": "pubsub"}
_HELP = (
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CACHING (YES|NO)",
    "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
    "GETREDIR",
    "    Return the client ID we are redirecting to when tracking is enabled.",
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill connection made from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Kill connections. Options are:",
    "    * ADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made from the specified address",
    "    * LADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made to specified local address",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Kill connections by type.",
    "    * USER <username>",
    "      Kill connections authenticated by <username>.",
    "    * SKIPME (YES|NO)",
    "      Skip killing current connection (default: yes).",
    "    * MAXAGE <seconds>",
    "      Kill connections that are at least so old.",
    "LIST [options ...]",
    "    Return information about client connections. Options:",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Return clients of specified type.",
    "UNPAUSE",
    "    Stop the current client pause, resuming traffic.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Suspend all, or just write, clients for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETINFO (LIB-NAME|LIB-VER) <value>",
    "    Say which library the current connection is used by.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    Unblock the specified blocked client.",
    "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
    "         [OPTIN] [OPTOUT] [NOLOOP]",
    "    Control server assisted client side caching.",
    "TRACKINGINFO",
    "    Report tracking status for the current connection.",
    "NO-EVICT (ON|OFF)",
    "    Protect current client connection from eviction.",
    "NO-TOUCH (ON|OFF)",
    "    Let commands of the current connection not count as uses of the keys.",
    "HELP",
    "    Prints this help.",
)

container("client", group="connection", since="2.4.0", summary="A container for client connection commands")
admin = partial(command, group="connection", flags=ADMIN | _FLAGS, categories="admin dangerous connection")
plain = partial(command, group="connection", flags=_FLAGS, categories="connection")


def _kind(word: bytes) -> str:
    kind = _KINDS.get(word.lower())
    if kind is None:
        raise CommandError(f"ERR Unknown client type '{word.decode('utf-8', 'surrogateescape')}'")
    return kind


def _switch(word: bytes) -> bool:
    if word.lower() not in (b"on", b"off"):
        raise CommandError(SYNTAX)
    return word.lower() == b"on"


def _text(lines: list[str], ctx: Client) -> bytes:
    data = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
    return reply.verbatim(data, ctx.resp3)


@admin(
    "client|list",
    arity=-2,
    since="2.4.0",
    complexity="O(N) where N is the number of client connections",
    summary="Get the list of client connections",
    arguments="[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]",
    history=(
        ("2.8.12", "Added unique client `id` field."),
        ("5.0.0", "Added optional `TYPE` filter."),
        ("6.0.0", "Added `user` field."),
        ("6.2.0", "Added `argv-mem`, `tot-mem`, `laddr` and `redir` fields and the optional `ID` filter."),
        ("7.0.0", "Added `resp`, `multi-mem`, `rbs` and `rbp` fields."),
        ("7.0.3", "Added `ssub` field."),
    ),
    differs="Shows lib-name and lib-ver as later versions do; rbs and rbp are 0 (no such buffer), oll is 1 or 0.",
)
def client_list(ctx: Client, argv: list[bytes]) -> bytes:
    """CLIENT LIST [TYPE type] [ID client-id ...]"""
    clients = ctx.server.clients
    option = argv[2].lower() if len(argv) > 2 else b""
    if option == b"id" and len(argv) > 3:
        ids = [number for word in argv[3:] if (number := parse_int(word)) is not None]
        if len(ids) < len(argv) - 3:
            raise CommandError("ERR Invalid client ID")
        found = [session for id in ids if (session := ctx.server.roll.by_id.get(id)) is not None]
        return _text([clients.line(session, ctx) for session in found], ctx)
    if option == b"type" and len(argv) == 4:
        kind = _kind(argv[3])
        return _text([clients.line(one, ctx) for one in clients.all() if clients.kind(one) == kind], ctx)
    if option:
        raise CommandError(SYNTAX)
    return _text([clients.line(session, ctx) for session in clients.all()], ctx)


@plain(
    "client|info",
    arity=2,
    since="6.2.0",
    complexity="O(1)",
    summary="Returns information about the current client connection.",
)
def client_info(ctx: Client, argv: list[bytes]) -> bytes:
    """CLIENT INFO"""
    return _text([ctx.server.clients.line(ctx, ctx)], ctx)


@plain(
    "client|id",
    arity=2,
    since="5.0.0",
    complexity="O(1)",
    summary="Returns the client ID for the current connection",
)
def client_id(ctx: Client, argv: list[bytes]) -> bytes:
    """CLIENT ID"""
    return reply.integer(ctx.id)


@plain(
    "client|getname",
    arity=2,
    since="2.6.9",
    complexity="O(1)",
    summary="Get the current connection name",
)
def client_getname(ctx: Client, argv: list[bytes]) -> bytes:
    """CLIENT GETNAME"""
    return reply.bulk(ctx.name) if ctx.name else ctx.null


@plain(
    "client|setname",
    arity=3,
    since="2.6.9",
    complexity="O(1)",
    summary="Set the current connection name",
    arguments="connection-name",
)
def client_setname(ctx: Client, argv: list[bytes]) -> bytes:
    """CLIENT SETNAME name"""
    check_name(argv[2])
    ctx.name = argv[2]
    return reply.OK


@plain(
    "client|setinfo",
    arity=4,
    since="7.2.0",
    complexity="O(1)",
    summary="Sets information specific to the client or connection.",
    arguments="<LIB-NAME libname | LIB-VER libver>",
    differs="Not in 7.0; clients of today send it.",
)
def client_setinfo(ctx: Client, argv: list[bytes]) -> bytes:
    """CLIENT SETINFO LIB-NAME name | LIB-VER version"""
    option = argv[2].lower()
    if option not in (b"lib-name", b"lib-ver"):
        raise CommandError(f"ERR Unrecognized option '{argv[2].decode('utf-8', 'surrogateescape')}'")
    if any(not 0x21 <= byte <= 0x7E for byte in argv[3]):
        name = argv[2].decode()
        raise CommandError(f"ERR {name} cannot contain spaces, newlines or special characters.")
    if option == b"lib-name":
        ctx.lib_name = argv[3]
    else:
        ctx.lib_ver = argv[3]
    return reply.OK


def _options(ctx: Client, argv: list[bytes]) -> dict[str, Any]:
    """CLIENT KILL's filters, as fields of core.clients.Filter; skip: whether the caller is spared."""
    found: dict[str, Any] = {"skip": True}
    if len(argv) % 2:
        raise CommandError(SYNTAX)
    for at in range(2, len(argv), 2):
        option, value = argv[at].lower(), argv[at + 1]
        if option == b"id":
            number = parse_int(value)
            if number is None or number < 1:
                raise CommandError("ERR client-id should be greater than 0")
            found["id"] = number
        elif option == b"type":
            found["kind"] = _kind(value)
        elif option == b"addr":
            found["address"] = value.decode("utf-8", "surrogateescape")
        elif option == b"laddr":
            found["local_address"] = value.decode("utf-8", "surrogateescape")
        elif option == b"user":
            if value not in ctx.server.users.users:
                raise CommandError(f"ERR No such user '{value.decode('utf-8', 'surrogateescape')}'")
            found["user"] = value
        elif option == b"maxage":
            number = parse_int(value)
            if number is None or number < 1:
                raise CommandError("ERR maxage is not an integer or out of range")
            found["max_age"] = number
        elif option == b"skipme" and value.lower() in (b"yes", b"no"):
            found["skip"] = value.lower() == b"yes"
        else:
            raise CommandError(SYNTAX)
    return found


@admin(
    "client|kill",
    arity=-3,
    since="2.4.0",
    complexity="O(N) where N is the number of client connections",
    summary="Kill the connection of a client",
    arguments=(
        "<ip:port | <[ID client-id] | [TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] | [USER username] | "
        "[ADDR ip:port] | [LADDR ip:port] | [SKIPME yes/no] | [MAXAGE seconds] ...>>"
    ),
    history=(
        ("2.8.12", "Added new filter format."),
        ("2.8.12", "`ID` option."),
        ("3.2.0", "Added `master` type in for `TYPE` option."),
        ("5.0.0", "Replaced `slave` `TYPE` with `replica`. `slave` still supported for backward compatibility."),
        ("6.2.0", "`LADDR` option."),
    ),
    differs="MAXAGE of later versions is known.",
)
def client_kill(ctx: Client, argv: list[bytes]) -> bytes:
    """CLIENT KILL ip:port | option value ..."""
    clients = ctx.server.clients
    if len(argv) == 3:
        address = argv[2].decode("utf-8", "surrogateescape")
        found = [session for session in clients.all() if session.peer == address][:1]
        if not found:
            raise CommandError("ERR No such client")
        clients.kill(found[0], ctx)
        return reply.OK
    found = clients.matching(**_options(ctx, argv), caller=ctx)
    for session in found:
        clients.kill(session, ctx)
    return reply.integer(len(found))


@admin(
    "client|pause",
    arity=-3,
    since="3.0.0",
    complexity="O(1)",
    summary="Stop processing commands from clients for some time",
    arguments="timeout [WRITE | ALL]",
    history=(("6.2.0", "`CLIENT PAUSE WRITE` mode added along with the `mode` option."),),
)
def client_pause(ctx: Client, argv: list[bytes]) -> bytes:
    """CLIENT PAUSE timeout-ms [WRITE | ALL]"""
    mode = argv[3].lower() if len(argv) > 3 else b"all"
    if len(argv) > 4:
        shown = argv[1].decode("utf-8", "surrogateescape")
        raise CommandError(f"ERR unknown subcommand or wrong number of arguments for '{shown}'. Try CLIENT HELP.")
    if mode not in (b"write", b"all"):
        raise CommandError("ERR CLIENT PAUSE mode must be WRITE or ALL")
    timeout = parse_int(argv[2])
    if timeout is None:
        raise CommandError("ERR timeout is not an integer or out of range")
    if timeout < 0:
        raise CommandError("ERR timeout is negative")
    now = ctx.server.turn.now.mono_ms
    if timeout > (1 << 63) - 1 - now:
        raise CommandError("ERR timeout is out of range")
    ctx.server.pauses.pause(now + timeout, everything=mode == b"all")
    return reply.OK


@admin(
    "client|unpause",
    arity=2,
    since="6.2.0",
    complexity="O(N) Where N is the number of paused clients",
    summary="Resume processing of clients that were paused",
)
def client_unpause(ctx: Client, argv: list[bytes]) -> bytes:
    """CLIENT UNPAUSE"""
    ctx.server.pauses.unpause()
    return reply.OK


@plain(
    "client|reply",
    arity=3,
    since="3.2.0",
    complexity="O(1)",
    summary="Instruct the server whether to reply to commands",
    arguments="<ON | OFF | SKIP>",
)
def client_reply(ctx: Client, argv: list[bytes]) -> bytes:
    """CLIENT REPLY ON | OFF | SKIP"""
    if not ctx.server.clients.set_reply_mode(ctx, argv[2].lower()):
        raise CommandError(SYNTAX)
    return reply.OK


@admin(
    "client|no-evict",
    arity=3,
    since="7.0.0",
    complexity="O(1)",
    summary="Set client eviction mode for the current connection",
    arguments="<ON | OFF>",
)
def client_no_evict(ctx: Client, argv: list[bytes]) -> bytes:
    """CLIENT NO-EVICT ON | OFF"""
    ctx.server.clients.set_no_evict(ctx, _switch(argv[2]))
    return reply.OK


@plain(
    "client|no-touch",
    arity=3,
    since="7.2.0",
    complexity="O(1)",
    summary="Controls whether commands sent by the client affect the LRU/LFU of accessed keys.",
    arguments="<ON | OFF>",
    differs="Not in 7.0; as in 7.2.",
)
def client_no_touch(ctx: Client, argv: list[bytes]) -> bytes:
    """CLIENT NO-TOUCH ON | OFF"""
    ctx.server.clients.set_no_touch(ctx, _switch(argv[2]))
    return reply.OK


@admin(
    "client|unblock",
    arity=-3,
    since="5.0.0",
    complexity="O(log N) where N is the number of client connections",
    summary="Unblock a client blocked in a blocking command from a different connection",
    arguments="client-id [TIMEOUT | ERROR]",
    differs="A command that CLIENT PAUSE holds back is not unblocked: 0 (7.0 crashes there).",
)
def client_unblock(ctx: Client, argv: list[bytes]) -> bytes:
    """CLIENT UNBLOCK client-id [TIMEOUT | ERROR]"""
    how = argv[3].lower() if len(argv) == 4 else b"timeout"
    if len(argv) > 4:
        raise CommandError("ERR wrong number of arguments for 'client|unblock' command")
    if how not in (b"timeout", b"error"):
        raise CommandError("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    number = parse_int(argv[2])
    if number is None:
        raise CommandError(NOT_AN_INTEGER)
    session = ctx.server.roll.by_id.get(number)
    done = session is not None and ctx.server.clients.unblock(session, error=how == b"error")
    return reply.ONE if done else reply.ZERO


@command(
    "client|help",
    arity=2,
    group="connection",
    flags=LOADING | STALE,
    since="5.0.0",
    complexity="O(1)",
    summary="Show helpful text about the different subcommands",
    categories="connection",
)
def client_help(ctx: Client, argv: list[bytes]) -> bytes:
    """CLIENT HELP"""
    return reply.array([reply.simple(line) for line in _HELP])
