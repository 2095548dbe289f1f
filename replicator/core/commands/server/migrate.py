"""MIGRATE: its words; what it does is in execution/transfers.py."""

from __future__ import annotations

from collections.abc import Sequence

from replicator.core.command_table.registry import MOVABLE_KEYS, WRITE, command
from replicator.core.commands.parts import Client
from replicator.core.errors import NOT_AN_INTEGER, SYNTAX, CommandError
from replicator.core.wire.numbers import parse_int

_DEFAULT_TIMEOUT_MS = 1000
_KEYS_NEED_EMPTY = "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string"


def _keys_at(argv: list[bytes]) -> Sequence[int]:
    """Where the keys stand: the third argument, or, if that is empty, what follows KEYS."""
    if len(argv) > 3 and argv[3]:
        return (3,)
    for at in range(len(argv) - 1, 5, -1):
        if argv[at].upper() == b"KEYS":
            return range(at + 1, len(argv))
    return ()


@command(
    "migrate",
    arity=-6,
    flags=WRITE | MOVABLE_KEYS,
    keys=(3, 3, 1),
    find_keys=_keys_at,
    group="generic",
    since="2.6.0",
    complexity=(
        "This command actually executes a DUMP+DEL in the source instance, and a RESTORE in the target instance. See "
        "the pages of these commands for time complexity. Also an O(N) data transfer between the two instances is "
        "performed."
    ),
    summary="Atomically transfer a key from a Redis instance to another one.",
    categories="keyspace dangerous",
    arguments=(
        'host port <key | ""> destination-db timeout [COPY] [REPLACE] [AUTH password | AUTH2 username password] '
        "[KEYS key [key ...]]"
    ),
    history=(
        ("3.0.0", "Added the `COPY` and `REPLACE` options."),
        ("3.0.6", "Added the `KEYS` option."),
        ("4.0.7", "Added the `AUTH` option."),
        ("6.0.0", "Added the `AUTH2` option."),
    ),
    differs="Other clients are served meanwhile, unless they would change the keys; refused in transactions and "
    "scripts, where stock has everybody wait for the other node.",
)
def migrate(ctx: Client, argv: list[bytes]) -> bytes:
    """MIGRATE host port key|"" destination-db timeout [option ...]"""
    keys = [argv[3]]
    copy = replace = False
    login: list[bytes] = []
    at = 6
    while at < len(argv):
        option = argv[at].upper()
        left = len(argv) - at - 1
        if option == b"COPY":
            copy = True
        elif option == b"REPLACE":
            replace = True
        elif option == b"AUTH" and left >= 1:
            login = [argv[at + 1]]
            at += 1
        elif option == b"AUTH2" and left >= 2:
            login = argv[at + 1 : at + 3]
            at += 2
        elif option == b"KEYS":
            if argv[3]:
                raise CommandError(_KEYS_NEED_EMPTY)
            keys = argv[at + 1 :]
            break
        else:
            raise CommandError(SYNTAX)
        at += 1
    timeout, db = parse_int(argv[5]), parse_int(argv[4])
    port = parse_int(argv[2])
    if timeout is None or db is None:
        raise CommandError(NOT_AN_INTEGER)
    if timeout <= 0:
        timeout = _DEFAULT_TIMEOUT_MS
    host = argv[1].decode("utf-8", "replace")
    number = port if port is not None and 0 < port < 65536 else 0
    return ctx.server.transfers.migrate(ctx, (host, number, db, timeout), keys, login, copy=copy, replace=replace)
