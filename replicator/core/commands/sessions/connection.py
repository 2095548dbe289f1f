"""Connections: PING, ECHO, AUTH, HELLO, QUIT, RESET, TIME."""

from __future__ import annotations

from replicator.core.command_table.registry import ALLOW_BUSY, FAST, LOADING, NO_AUTH, NO_SCRIPT, STALE, command
from replicator.core.commands.parts import Client
from replicator.core.errors import SYNTAX, CommandError
from replicator.core.surroundings import REDIS_VERSION
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_int

GROUP = "connection"
_FLAGS = NO_SCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY


@command(
    "ping",
    arity=-1,
    flags=FAST,
    group=GROUP,
    since="1.0.0",
    complexity="O(1)",
    summary="Returns the server's liveliness response.",
    categories="connection",
    arguments="[message]",
)
def ping(ctx: Client, argv: list[bytes]) -> bytes:
    """PING [message]"""
    if len(argv) > 2:
        raise CommandError("ERR wrong number of arguments for 'ping' command")
    if (ctx.channels or ctx.patterns or ctx.shard_channels) and not ctx.resp3:
        return reply.bulks([b"pong", argv[1] if len(argv) == 2 else b""])
    return reply.PONG if len(argv) == 1 else reply.bulk(argv[1])


@command(
    "echo",
    arity=2,
    flags=LOADING | STALE | FAST,
    group=GROUP,
    since="1.0.0",
    complexity="O(1)",
    summary="Returns the given string.",
    categories="connection",
    arguments="message",
)
def echo(ctx: Client, argv: list[bytes]) -> bytes:
    """ECHO message"""
    return reply.bulk(argv[1])


def authenticate(ctx: Client, argv: list[bytes], user: bytes, password: bytes) -> None:
    """Log the caller in, or raise WRONGPASS."""
    ctx.argv, ctx.command = argv, ctx.server.table.resolve(argv)  # a failure is noted with what was asked
    if not ctx.server.users.authenticate(ctx, user, password):
        raise CommandError("WRONGPASS invalid username-password pair or user is disabled.")


@command(
    "auth",
    arity=-2,
    flags=_FLAGS,
    group=GROUP,
    since="1.0.0",
    complexity="O(N) where N is the number of passwords defined for the user",
    summary="Authenticates the connection.",
    categories="connection",
    arguments="[username] password",
)
def auth(ctx: Client, argv: list[bytes]) -> bytes:
    """AUTH [username] password"""
    if len(argv) > 3:
        raise CommandError(SYNTAX)
    if len(argv) == 2:
        if ctx.server.users.default.no_password:
            raise CommandError(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your "
                "configuration is correct?"
            )
        authenticate(ctx, argv, b"default", argv[1])
    else:
        authenticate(ctx, argv, argv[1], argv[2])
    return reply.OK


@command(
    "hello",
    arity=-1,
    flags=_FLAGS,
    group=GROUP,
    since="6.0.0",
    complexity="O(1)",
    summary="Handshakes with the server.",
    categories="connection",
    arguments="[protover [AUTH username password] [SETNAME clientname]]",
)
def hello(ctx: Client, argv: list[bytes]) -> bytes:
    """HELLO [protover [AUTH username password] [SETNAME clientname]]"""
    version: int | None = None
    if len(argv) > 1:
        version = parse_int(argv[1])
        if version is None:
            raise CommandError("ERR Protocol version is not an integer or out of range")
        if version not in (2, 3):
            raise CommandError("NOPROTO unsupported protocol version")
    login: tuple[bytes, bytes] | None = None
    name: bytes | None = None
    at = 2
    while at < len(argv):
        word, left = argv[at].lower(), len(argv) - at - 1
        if word == b"auth" and left >= 2:
            login = (argv[at + 1], argv[at + 2])
            at += 3
        elif word == b"setname" and left >= 1:
            name = argv[at + 1]
            at += 2
        else:
            raise CommandError(f"ERR Syntax error in HELLO option '{argv[at].decode('utf-8', 'replace')}'")
    if login is not None:
        authenticate(ctx, argv, *login)
    if not ctx.authenticated:
        raise CommandError(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> "
            "option can be used to authenticate the client and select the RESP protocol version at the same time"
        )
    if name is not None:
        check_name(name)
        ctx.name = name
    if version is not None:
        ctx.use_protocol(version)
    server = ctx.server
    items = [
        reply.bulk(b"server"),
        reply.bulk(b"redis"),
        reply.bulk(b"version"),
        reply.bulk(REDIS_VERSION.encode()),
        reply.bulk(b"proto"),
        reply.integer(3 if ctx.resp3 else 2),
        reply.bulk(b"id"),
        reply.integer(ctx.id),
        reply.bulk(b"mode"),
        reply.bulk(b"standalone" if server.cluster is None else b"cluster"),
        reply.bulk(b"role"),
        reply.bulk(b"replica" if server.replica.active else b"master"),
        reply.bulk(b"modules"),
        reply.EMPTY_ARRAY,
    ]
    return reply.mapping(items, ctx.resp3)


def check_name(name: bytes) -> None:
    """Raise if a client may not be called so."""
    if any(not 0x21 <= byte <= 0x7E for byte in name):
        raise CommandError("ERR Client names cannot contain spaces, newlines or special characters.")


@command(
    "quit",
    arity=-1,
    flags=_FLAGS,
    group=GROUP,
    since="1.0.0",
    complexity="O(1)",
    summary="Closes the connection.",
    categories="connection",
)
def quit_(ctx: Client, argv: list[bytes]) -> bytes:
    """QUIT"""
    ctx.close("quit")
    return reply.OK


@command(
    "reset",
    arity=1,
    flags=_FLAGS,
    group=GROUP,
    since="6.2.0",
    complexity="O(1)",
    summary="Resets the connection.",
    categories="connection",
)
def reset(ctx: Client, argv: list[bytes]) -> bytes:
    """RESET"""
    if ctx.conn in ctx.server.primary.links:
        raise CommandError("ERR can only reset normal client connections")
    server = ctx.server
    ctx.reset()
    server.pubsub.drop(ctx)
    server.tracker.disable(ctx)
    server.monitors.remove(ctx)
    server.users.greet(ctx)
    ctx.regate()
    return b"+RESET\r\n"


@command(
    "time",
    arity=1,
    flags=LOADING | STALE | FAST,
    group="server",
    since="2.6.0",
    complexity="O(1)",
    summary="Returns the server time.",
)
def time(ctx: Client, argv: list[bytes]) -> bytes:
    """TIME"""
    us = 1000 * ctx.keyspace.now_ms + ctx.server.scripting.time_in_script()
    return reply.bulks([b"%d" % (us // 1_000_000), b"%d" % (us % 1_000_000)])


