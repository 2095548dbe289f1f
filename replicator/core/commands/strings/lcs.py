"""LCS: the longest common subsequence of two strings.

One row of the dynamic programming table is one big integer: bit j tells that column j adds nothing to the row's length.
A row follows from the one before by an addition and three logical operations (Hyyrö 2004, "Bit-parallel LCS-length
computation revisited"), so 10,000 by 10,000 bytes take some milliseconds; and the way back through the table needs only
those bits.

Source: https://redis.io/docs/latest/commands/lcs/
"""

from __future__ import annotations

from dataclasses import dataclass

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import READONLY, command
from replicator.core.errors import NOT_AN_INTEGER, SYNTAX, CommandError
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_int

# Stock's table has four bytes a cell and must not be larger than this bulk limit; more would be refused there.
_CELL = 4


@dataclass(slots=True)
class _Wish:
    indexes: bool = False
    length_only: bool = False
    with_lengths: bool = False
    least: int = 0


@command(
    "lcs",
    arity=-3,
    flags=READONLY,
    keys=(1, 2, 1),
    access="RO",
    group="string",
    since="7.0.0",
    complexity="O(N*M) where N and M are the lengths of s1 and s2, respectively",
    summary="Find longest common substring",
    categories="string",
    arguments="key1 key2 [LEN] [IDX] [MINMATCHLEN len] [WITHMATCHLEN]",
    differs="O(N*M / 64), by a bit-parallel table.",
)
def lcs(ctx: Context, argv: list[bytes]) -> bytes:
    """LCS key1 key2 [LEN] [IDX] [MINMATCHLEN length] [WITHMATCHLEN]"""
    left, right = ctx.db.lookup(argv[1]), ctx.db.lookup(argv[2])
    if not isinstance(left, bytes | None) or not isinstance(right, bytes | None):
        raise CommandError("ERR The specified keys must contain string values")
    wish = _options(argv)
    left, right = left or b"", right or b""
    if (len(left) + 1) * (len(right) + 1) * _CELL > ctx.server.config["proto-max-bulk-len"]:
        raise CommandError("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
    rows = _rows(left, right)
    length = len(right) - rows[-1].bit_count()
    if wish.length_only:
        return reply.integer(length)
    matches = _matches(left, right, rows)
    if wish.indexes:
        return _index_reply(ctx, matches, wish, length)
    return reply.bulk(b"".join(left[start : start + run] for start, _, run in reversed(matches)))


def _options(argv: list[bytes]) -> _Wish:
    wish = _Wish()
    at = 3
    while at < len(argv):
        option = argv[at].upper()
        if option == b"IDX":
            wish.indexes = True
        elif option == b"LEN":
            wish.length_only = True
        elif option == b"WITHMATCHLEN":
            wish.with_lengths = True
        elif option == b"MINMATCHLEN" and at + 1 < len(argv):
            at += 1
            number = parse_int(argv[at])
            if number is None:
                raise CommandError(NOT_AN_INTEGER)
            wish.least = max(0, number)
        else:
            raise CommandError(SYNTAX)
        at += 1
    if wish.indexes and wish.length_only:
        raise CommandError("ERR If you want both the length and indexes, please just use IDX.")
    return wish


def _rows(left: bytes, right: bytes) -> list[int]:
    """For each prefix of `left` the row of bits: bit j is 0 where column j + 1 is one longer than column j."""
    places: dict[int, int] = {}
    for at, byte in enumerate(right):
        places[byte] = places.get(byte, 0) | 1 << at
    full = (1 << len(right)) - 1
    row = full
    rows = [row]
    for byte in left:
        hit = row & places.get(byte, 0)
        row = ((row + hit) | (row - hit)) & full
        rows.append(row)
    return rows


def _matches(left: bytes, right: bytes, rows: list[int]) -> list[tuple[int, int, int]]:
    """The runs of matching bytes from the last to the first: (place in left, place in right, length)."""
    runs: list[tuple[int, int, int]] = []
    i, j = len(left), len(right)
    while i and j:
        if left[i - 1] == right[j - 1]:
            i -= 1
            j -= 1
            if runs and runs[-1][0] == i + 1 and runs[-1][1] == j + 1:
                runs[-1] = (i, j, runs[-1][2] + 1)
            else:
                runs.append((i, j, 1))
        elif rows[i] >> (j - 1) & 1:
            j -= 1
        else:
            i -= 1
    return runs


def _index_reply(ctx: Context, matches: list[tuple[int, int, int]], wish: _Wish, length: int) -> bytes:
    shown = []
    for first, second, run in matches:
        if run < wish.least:
            continue
        ranges = [
            reply.array([reply.integer(first), reply.integer(first + run - 1)]),
            reply.array([reply.integer(second), reply.integer(second + run - 1)]),
        ]
        if wish.with_lengths:
            ranges.append(reply.integer(run))
        shown.append(reply.array(ranges))
    items = [reply.bulk(b"matches"), reply.array(shown), reply.bulk(b"len"), reply.integer(length)]
    return reply.mapping(items, ctx.resp3)
