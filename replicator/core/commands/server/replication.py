"""Replication's own commands: REPLICAOF, ROLE, PSYNC, SYNC, REPLCONF, WAIT, FAILOVER."""

from __future__ import annotations

from replicator.core.command_table.context import PENDING
from replicator.core.command_table.registry import (
    ADMIN,
    ALLOW_BUSY,
    BLOCKING,
    FAST,
    LOADING,
    NO_ASYNC_LOADING,
    NO_MULTI,
    NO_SCRIPT,
    STALE,
    command,
)
from replicator.core.commands.parts import Client
from replicator.core.errors import NOT_AN_INTEGER, SYNTAX, CommandError, shown_in_error
from replicator.core.replication.primary import Link
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_int
from replicator.core.wire.request import split_words

GROUP = "server"


def _replicaof(ctx: Client, argv: list[bytes]) -> bytes:
    server = ctx.server
    if server.config["cluster-enabled"]:
        raise CommandError("ERR REPLICAOF not allowed in cluster mode.")
    if server.failover.running:
        raise CommandError("ERR REPLICAOF not allowed while failing over.")
    host, port = argv[1], argv[2]
    if host.lower() == b"no" and port.lower() == b"one":
        server.role.promote(ctx)
        return reply.OK
    if ctx.conn in server.primary.links:
        raise CommandError("ERR Command is not valid when client is a replica.")
    number = parse_int(port)
    if number is None or not 0 <= number <= 65535:
        raise CommandError("ERR Invalid master port")
    same = server.role.follow(ctx, _host(host), number)
    return b"+OK Already connected to specified master\r\n" if same else reply.OK


for _name, _since in (("replicaof", "5.0.0"), ("slaveof", "1.0.0")):
    command(
        _name,
        arity=3,
        flags=ADMIN | NO_SCRIPT | STALE | NO_ASYNC_LOADING,
        group=GROUP,
        since=_since,
        complexity="O(1)",
        summary="Configures a server as replica of another, or promotes it to a master.",
        categories="admin dangerous",
        arguments="host port",
    )(_replicaof)


@command(
    "role",
    arity=1,
    flags=NO_SCRIPT | LOADING | STALE | FAST,
    group=GROUP,
    since="2.8.12",
    complexity="O(1)",
    summary="Returns the replication role.",
    categories="admin dangerous",
)
def role(ctx: Client, argv: list[bytes]) -> bytes:
    """ROLE"""
    server = ctx.server
    server.outgoing.flush()
    offset = server.history.end
    replica = server.replica
    if replica.active:
        host, state = replica.primary_host.encode("utf-8", "surrogateescape"), replica.state.shown.encode()
        return b"*5\r\n$5\r\nslave\r\n$%d\r\n%b\r\n:%d\r\n$%d\r\n%b\r\n:%d\r\n" % (
            len(host), host, replica.primary_port, len(state), state, offset if replica.up else -1,
        )  # fmt: skip
    replicas: list[bytes] = server.primary.listed()
    return b"*3\r\n$6\r\nmaster\r\n:%d\r\n*%d\r\n%b" % (offset, len(replicas), b"".join(replicas))


@command(
    "psync",
    arity=-3,
    flags=ADMIN | NO_SCRIPT | NO_MULTI | NO_ASYNC_LOADING,
    group=GROUP,
    since="2.8.0",
    complexity="",
    summary="An internal command used in replication.",
    categories="admin dangerous",
    arguments="replicationid offset",
)
def psync(ctx: Client, argv: list[bytes]) -> bytes:
    """PSYNC replicationid offset [FAILOVER]"""
    return _sync(ctx, argv)


@command(
    "sync",
    arity=1,
    flags=ADMIN | NO_SCRIPT | NO_MULTI | NO_ASYNC_LOADING,
    group=GROUP,
    since="1.0.0",
    complexity="",
    summary="An internal command used in replication.",
    categories="admin dangerous",
)
def sync(ctx: Client, argv: list[bytes]) -> bytes:
    """SYNC"""
    return _sync(ctx, argv)


def _sync(ctx: Client, argv: list[bytes]) -> bytes:
    server = ctx.server
    if ctx.conn in server.primary.links:
        return PENDING
    asked_id, position = "?", -2
    failover = False
    if len(argv) > 1:
        asked_id = argv[1].decode("ascii", "replace").lower()  # of ids the case does not matter
        offset = parse_int(argv[2])
        if offset is None:
            server.syncing.log_wrong_offset(ctx)
            raise CommandError(NOT_AN_INTEGER)
        position = offset - 1
        failover = len(argv) > 3 and argv[3].lower() == b"failover"
    server.syncing.synchronize(ctx, asked_id, position, failover=failover, old=len(argv) == 1)
    return PENDING


@command(
    "replconf",
    arity=-1,
    flags=ADMIN | NO_SCRIPT | LOADING | STALE | ALLOW_BUSY,
    group=GROUP,
    since="3.0.0",
    complexity="O(1)",
    summary="An internal command for configuring the replication stream.",
    categories="admin dangerous",
)
def replconf(ctx: Client, argv: list[bytes]) -> bytes:
    """REPLCONF option value [option value ...]"""
    if len(argv) % 2 == 0:
        raise CommandError(SYNTAX)
    link = ctx.server.syncing.link_of(ctx)
    if len(argv) == 3 and argv[1] in (b"ACK", b"ack"):  # every second, from each replica
        return _ack(ctx, link, argv[2])
    if len(argv) == 5 and argv[1].lower() == b"ack" and argv[3].lower() == b"fack":
        durable = parse_int(argv[4])
        if durable is not None and durable > link.durable:
            link.durable = durable
        return _ack(ctx, link, argv[2])
    for option, value in zip(argv[1::2], argv[2::2], strict=True):
        name = option.lower()
        if name == b"listening-port":
            port = parse_int(value)
            if port is None:
                raise CommandError(NOT_AN_INTEGER)
            link.announce(port=port)
        elif name == b"ip-address":
            if len(value) >= 256:
                raise CommandError(
                    f"ERR REPLCONF ip-address provided by replica instance is too long: {len(value)} bytes"
                )
            link.announce(host=_host(value))
        elif name == b"capa":
            link.capabilities |= {b"eof": 1, b"psync2": 2}.get(value.lower(), 0)
            if value.lower() == b"rdb11":  # our own replicas say so; others ignore what they do not know
                link.rdb_version = 11
        elif name == b"ack":
            return _ack(ctx, link, value)
        elif name == b"getack":
            return PENDING  # only our primary may ask, and it does so in the stream
        elif name == b"rdb-only":
            number = parse_int(value)
            if number is None:
                raise CommandError(NOT_AN_INTEGER)
            if number not in (0, 1):
                raise CommandError("ERR value is out of range, value must between 0 and 1")
            link.rdb_only = number == 1
        elif name == b"rdb-filter-only":
            _filter(link, value)
        elif name == b"version":  # Valkey says it from 8 on
            major = parse_int(value.partition(b".")[0]) or 0
            link.rdb_version = 80 if major >= 9 else 11 if major >= 8 else link.rdb_version
        elif name in (b"rdb-channel", b"main-ch-client-id", b"set-rdb-client-id"):
            continue  # told by Valkey
        else:
            raise CommandError(f"ERR Unrecognized REPLCONF option: {option.decode('utf-8', 'replace')}")
    return reply.OK


def _filter(link: Link, value: bytes) -> None:
    """What the snapshot is to hold: nothing but what is named. A word that is unknown leaves what stands before it."""
    words = split_words(value)
    if words is None:
        raise CommandError("ERR Missing rdb-filter-only values")
    link.restrict(functions=False)
    for word in words:
        if word.lower() != b"functions":
            raise CommandError(f"ERR Unsupported rdb-filter-only option: {shown_in_error(word)}")
        link.restrict(functions=True)


def _ack(ctx: Client, link: Link, value: bytes) -> bytes:
    if ctx.conn not in ctx.server.primary.links:
        return PENDING
    position = parse_int(value)
    if position is not None:
        ctx.server.acknowledgements.acknowledged(link, position)
    return PENDING


@command(
    "wait",
    arity=3,
    flags=NO_SCRIPT | BLOCKING,
    group="generic",
    since="3.0.0",
    complexity="O(1)",
    summary="Blocks until the asynchronous replication of all preceding write commands sent by the connection is "
    "completed.",
    categories="connection",
    arguments="numreplicas timeout",
)
def wait(ctx: Client, argv: list[bytes]) -> bytes:
    """WAIT numreplicas timeout"""
    if ctx.server.replica.active:
        raise CommandError(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is "
            "configured to be writable (which is not the default) writes to replicas are just local and are not "
            "propagated."
        )
    wanted = parse_int(argv[1])
    if wanted is None:
        raise CommandError(NOT_AN_INTEGER)
    timeout = parse_int(argv[2])
    if timeout is None:
        raise CommandError("ERR timeout is not an integer or out of range")
    if timeout < 0:
        raise CommandError("ERR timeout is negative")
    answer = ctx.server.acknowledgements.wait(ctx, wanted, timeout)
    return answer


@command(
    "failover",
    arity=-1,
    flags=ADMIN | NO_SCRIPT | STALE,
    group=GROUP,
    since="6.2.0",
    complexity="O(1)",
    summary="Starts a coordinated failover from a server to one of its replicas.",
    categories="admin dangerous",
    arguments="[TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]",
)
def failover(ctx: Client, argv: list[bytes]) -> bytes:
    """FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]"""
    if ctx.server.config["cluster-enabled"]:
        raise CommandError("ERR FAILOVER not allowed in cluster mode. Use CLUSTER FAILOVER command instead.")
    target: tuple[str, int] | None = None
    timeout: int | None = None
    force = abort = False
    at = 1
    while at < len(argv):
        word = argv[at].lower()
        left = len(argv) - at - 1
        if word == b"timeout" and left >= 1 and timeout is None:
            timeout = parse_int(argv[at + 1])
            if timeout is None:
                raise CommandError(NOT_AN_INTEGER)
            if timeout <= 0:
                raise CommandError("ERR FAILOVER timeout must be greater than 0")
            at += 2
        elif word == b"abort" and len(argv) == 2:
            abort = True
            at += 1
        elif word == b"to" and left >= 2 and target is None:
            port = parse_int(argv[at + 2])
            if port is None:
                raise CommandError(NOT_AN_INTEGER)
            target = (_host(argv[at + 1]), port)
            at += 3
        elif word == b"force" and not force:
            force = True
            at += 1
        else:
            raise CommandError(SYNTAX)
    failover = ctx.server.failover
    answer: bytes
    if abort:
        answer = failover.abort()
        return answer
    answer = failover.begin(target, timeout, force=force)
    return answer


def _host(host: bytes) -> str:
    """The name of a host, in whatever bytes it was given; it ends at a NUL, as a string of C's does."""
    return host.partition(b"\0")[0].decode("utf-8", "surrogateescape")
