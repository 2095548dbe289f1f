"""SCAN, and what it shares with HSCAN, SSCAN and ZSCAN: the cursor, MATCH and COUNT.

    @command("sscan", arity=-3, ...)
    def sscan(ctx, argv):
        cursor = parse_cursor(argv[2])           # before the key is looked at, as stock does
        value = ctx.db.set(argv[1])
        if value is None:
            return EMPTY_SCAN                    # and no look at the options
        return scan_reply(ctx, argv, 2, value)   # the cursor stands in argv[2]

The cursor scheme is explained in keyspace/index.py. A collection in a compact encoding (listpack, intset) is returned
whole by one call whatever COUNT says, as stock does: pass its members as `whole`, in the order that stock shows.

Source: https://redis.io/docs/latest/commands/scan/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import READONLY, command
from replicator.core.errors import NOT_AN_INTEGER, SYNTAX, CommandError
from replicator.core.keyspace.index import Index
from replicator.core.keyspace.kinds import Kind
from replicator.core.wire import reply
from replicator.core.wire.glob import Matcher, matcher
from replicator.core.wire.numbers import parse_int

EMPTY_SCAN = reply.array([reply.bulk(b"0"), reply.EMPTY_ARRAY])
DEFAULT_COUNT = 10

Emit = Callable[[bytes], Sequence[bytes]]


def parse_cursor(text: bytes) -> int:
    """The cursor that a client sent; raises CommandError unless it is a 64-bit number."""
    digits = text[1:] if text[:1] in (b"+", b"-") else text
    if not text:
        return 0
    if not digits.isdigit() or len(digits) > 20 or int(digits) >= 2**64:
        raise CommandError("ERR invalid cursor")
    return int(text) % 2**64


def scan_reply(
    ctx: Context,
    argv: Sequence[bytes],
    start: int,
    index: Index | None,
    emit: Emit | None = None,
    *,
    whole: Iterable[bytes] | None = None,
) -> bytes:
    """The reply to one step of a scan: the next cursor and what was found.

    start: where the cursor stands in argv; options follow it. emit: what to show for a member (HSCAN: field and
    value), not given: the member alone. whole: instead of a step, show all these members and end (index not needed).
    Raises CommandError for options that are none.
    """
    match, count, _ = _options(argv, start + 1, typed=False)
    if whole is not None:
        cursor, members = 0, list(whole)
    else:
        assert index is not None
        cursor, members = index.scan(parse_cursor(argv[start]), count)
    if match is not None:
        members = [member for member in members if match(member)]
    if emit is None:
        found: Iterable[bytes] = members
    else:
        found = [item for member in members for item in emit(member)]
    return reply.array([reply.bulk(b"%d" % cursor), reply.bulks(found)])


def _options(argv: Sequence[bytes], at: int, *, typed: bool) -> tuple[Matcher | None, int, bytes | None]:
    match: Matcher | None = None
    count = DEFAULT_COUNT
    kind: bytes | None = None
    while at < len(argv):
        option = argv[at].upper()
        if at + 1 >= len(argv):
            raise CommandError(SYNTAX)
        value = argv[at + 1]
        if option == b"COUNT":
            number = parse_int(value)
            if number is None:
                raise CommandError(NOT_AN_INTEGER)
            if number < 1:
                raise CommandError(SYNTAX)
            count = number
        elif option == b"MATCH":
            match = None if value == b"*" else matcher(value)
        elif option == b"TYPE" and typed:
            kind = value.lower()
        else:
            raise CommandError(SYNTAX)
        at += 2
    return match, count, kind


@command(
    "scan",
    arity=-2,
    flags=READONLY,
    group="generic",
    since="2.8.0",
    complexity="O(1) for every call. O(N) for a complete iteration, N being the number of keys in the database.",
    summary="Iterates over the key names in the database.",
    categories="keyspace",
    arguments="cursor [MATCH pattern] [COUNT count] [TYPE type]",
    differs="The first SCAN or RANDOMKEY of a database numbers its keys: O(N) once, then about 100 bytes a key.",
    history=(("6.0.0", "Added the TYPE subcommand."),),
)
def scan(ctx: Context, argv: list[bytes]) -> bytes:
    """SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]"""
    cursor = parse_cursor(argv[1])
    match, count, kind = _options(argv, 2, typed=True)
    db = ctx.db
    cursor, keys = db.indexed_keys().scan(cursor, count)
    found = []
    for key in keys:
        if match is not None and not match(key):
            continue
        value = db.find(key) if kind is None else db.peek(key)
        if value is not None and (kind is None or kind_name(value) == kind):
            found.append(key)
    ctx.let_stand_apart()
    return reply.array([reply.bulk(b"%d" % cursor), reply.bulks(found)])


def kind_name(value: object) -> bytes:
    """What TYPE answers for a value."""
    if type(value) is bytes:
        return b"string"
    kind: Kind = value.kind  # type: ignore[attr-defined] # every other value class has it
    return kind.value.encode()
