"""The server itself: INFO, SAVE, BGSAVE, LASTSAVE, SHUTDOWN."""

from __future__ import annotations

from replicator.core.command_table.context import PENDING
from replicator.core.command_table.registry import (
    ADMIN,
    ALLOW_BUSY,
    FAST,
    LOADING,
    NO_ASYNC_LOADING,
    NO_MULTI,
    NO_SCRIPT,
    STALE,
    command,
)
from replicator.core.commands.parts import Client
from replicator.core.errors import SYNTAX, CommandError
from replicator.core.wire import reply

GROUP = "server"


@command(
    "info",
    arity=-1,
    flags=LOADING | STALE,
    group=GROUP,
    since="1.0.0",
    complexity="O(1)",
    summary="Returns information and statistics about the server.",
    categories="dangerous",
    arguments="[section [section ...]]",
)
def info(ctx: Client, argv: list[bytes]) -> bytes:
    """INFO [section [section ...]]"""
    sections = [word.decode("utf-8", "replace").lower() for word in argv[1:]]
    return reply.verbatim(ctx.server.report.info(sections), ctx.resp3)


@command(
    "save",
    arity=1,
    flags=ADMIN | NO_SCRIPT | NO_ASYNC_LOADING | NO_MULTI,
    group=GROUP,
    since="1.0.0",
    complexity="O(N) where N is the total number of keys in all databases",
    summary="Synchronously saves the database(s) to disk.",
    categories="admin dangerous",
)
def save(ctx: Client, argv: list[bytes]) -> bytes:
    """SAVE"""
    answer = ctx.server.saving.save(ctx)
    return answer


@command(
    "bgsave",
    arity=-1,
    flags=ADMIN | NO_SCRIPT | NO_ASYNC_LOADING,
    group=GROUP,
    since="1.0.0",
    complexity="O(1)",
    summary="Asynchronously saves the database(s) to disk.",
    categories="admin dangerous",
    arguments="[SCHEDULE]",
)
def bgsave(ctx: Client, argv: list[bytes]) -> bytes:
    """BGSAVE [SCHEDULE]"""
    if len(argv) > 2 or (len(argv) == 2 and argv[1].lower() != b"schedule"):
        raise CommandError(SYNTAX)
    snapshots = ctx.server.snapshots
    if snapshots.saving:
        raise CommandError("ERR Background save already in progress")
    if snapshots.running is not None or ctx.server.append_only.rewriter.running:
        if len(argv) == 2:
            snapshots.scheduled = True
            return reply.simple("Background saving scheduled")
        raise CommandError(
            "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to "
            "schedule a BGSAVE whenever possible."
        )
    snapshots.requested_save = True
    return reply.simple("Background saving started")


@command(
    "lastsave",
    arity=1,
    flags=LOADING | STALE | FAST,
    group=GROUP,
    since="1.0.0",
    complexity="O(1)",
    summary="Returns the Unix timestamp of the last successful save to disk.",
    categories="admin dangerous",
)
def lastsave(ctx: Client, argv: list[bytes]) -> bytes:
    """LASTSAVE"""
    return reply.integer(ctx.server.snapshots.last_save_s)


@command(
    "shutdown",
    arity=-1,
    flags=ADMIN | NO_SCRIPT | LOADING | STALE | NO_MULTI | ALLOW_BUSY,
    group=GROUP,
    since="1.0.0",
    complexity="O(N) when saving, where N is the total number of keys in all databases when saving data, "
    "otherwise O(1)",
    summary="Synchronously saves the database(s) to disk and shuts down the Redis server.",
    categories="admin dangerous",
    arguments="[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
)
def shutdown(ctx: Client, argv: list[bytes]) -> bytes:
    """SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]"""
    words = [word.lower() for word in argv[1:]]
    known = {b"nosave", b"save", b"now", b"force", b"abort"}
    if not set(words) <= known or (b"save" in words and b"nosave" in words):
        raise CommandError(SYNTAX)
    ending = ctx.server.shutdown
    answer: bytes
    if b"abort" in words:
        if len(words) > 1:
            raise CommandError(SYNTAX)
        answer = ending.abort()
        return answer
    if ctx.deny_blocking:
        raise CommandError("ERR SHUTDOWN without NOW or ABORT isn't allowed for DENY BLOCKING client")
    save: bool | None = True if b"save" in words else (False if b"nosave" in words else None)
    ending.begin(ctx, save=save, now=b"now" in words, force=b"force" in words)
    return PENDING
