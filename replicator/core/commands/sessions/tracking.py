"""CLIENT TRACKING and its kin: client-side caching as clients switch it on (see core/clients/tracking.py)."""

from __future__ import annotations

from replicator.core.commands.parts import Client
from replicator.core.commands.sessions.clients import plain
from replicator.core.errors import NOT_AN_INTEGER, SYNTAX, CommandError
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_int


def _redirect(ctx: Client, word: bytes) -> int:
    number = parse_int(word)
    if number is None:
        raise CommandError(NOT_AN_INTEGER)
    if number not in ctx.server.roll.by_id:
        raise CommandError("ERR The client ID you want redirect to does not exist")
    return number


@plain(
    "client|tracking",
    arity=-3,
    since="6.0.0",
    complexity="O(1). Some options may introduce additional complexity.",
    summary="Enable or disable server assisted client side caching support",
    arguments="<ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
    differs="SWAPDB invalidates all keys; a full table forgets its oldest key.",
)
def client_tracking(ctx: Client, argv: list[bytes]) -> bytes:
    """CLIENT TRACKING ON | OFF [REDIRECT id] [PREFIX prefix ...] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]"""
    tracker = ctx.server.tracker
    wanted = tracker.new()
    prefixes: list[bytes] = []
    at = 3
    while at < len(argv):
        option, left = argv[at].lower(), len(argv) - at - 1
        if option == b"redirect" and left:
            at += 1
            if wanted.redirect:
                raise CommandError("ERR A client can only redirect to a single other client")
            wanted.redirect = _redirect(ctx, argv[at])
        elif option == b"prefix" and left:
            at += 1
            prefixes.append(argv[at])
        elif option == b"bcast":
            wanted.broadcast = True
        elif option == b"optin":
            wanted.opt_in = True
        elif option == b"optout":
            wanted.opt_out = True
        elif option == b"noloop":
            wanted.no_loop = True
        else:
            raise CommandError(SYNTAX)
        at += 1
    switch = argv[2].lower()
    if switch == b"off":
        tracker.disable(ctx)
        return reply.OK
    if switch != b"on":
        raise CommandError(SYNTAX)
    if prefixes and not wanted.broadcast:
        raise CommandError("ERR PREFIX option requires BCAST mode to be enabled")
    if wanted.broadcast and (wanted.opt_in or wanted.opt_out):
        raise CommandError("ERR OPTIN and OPTOUT are not compatible with BCAST")
    if wanted.opt_in and wanted.opt_out:
        raise CommandError("ERR You can't specify both OPTIN mode and OPTOUT mode")
    tracker.enable(ctx, wanted, prefixes)
    return reply.OK


@plain(
    "client|caching",
    arity=3,
    since="6.0.0",
    complexity="O(1)",
    summary="Instruct the server about tracking or not keys in the next request",
    arguments="<YES | NO>",
)
def client_caching(ctx: Client, argv: list[bytes]) -> bytes:
    """CLIENT CACHING YES | NO"""
    tracking = ctx.tracking
    if tracking is None or not (tracking.opt_in or tracking.opt_out):
        raise CommandError(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode "
            "enabled"
        )
    word = argv[2].lower()
    if word == b"yes":
        if not tracking.opt_in:
            raise CommandError("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
        tracking.caching = True
    elif word == b"no":
        if not tracking.opt_out:
            raise CommandError("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
        tracking.caching = False
    else:
        raise CommandError(SYNTAX)
    return reply.OK


@plain(
    "client|getredir",
    arity=2,
    since="6.0.0",
    complexity="O(1)",
    summary="Get tracking notifications redirection client ID if any",
)
def client_getredir(ctx: Client, argv: list[bytes]) -> bytes:
    """CLIENT GETREDIR"""
    return reply.integer(-1 if ctx.tracking is None else ctx.tracking.redirect)


@plain(
    "client|trackinginfo",
    arity=2,
    since="6.2.0",
    complexity="O(1)",
    summary="Return information about server assisted client side caching for the current connection",
)
def client_trackinginfo(ctx: Client, argv: list[bytes]) -> bytes:
    """CLIENT TRACKINGINFO"""
    tracking = ctx.tracking
    flags = [b"off"] if tracking is None else tracking.flags()
    prefixes = [] if tracking is None else sorted(tracking.prefixes)
    items = [
        reply.bulk(b"flags"),
        reply.set_of([reply.bulk(flag) for flag in flags], ctx.resp3),
        reply.bulk(b"redirect"),
        reply.integer(-1 if tracking is None else tracking.redirect),
        reply.bulk(b"prefixes"),
        reply.bulks(prefixes),
    ]
    return reply.mapping(items, ctx.resp3)
