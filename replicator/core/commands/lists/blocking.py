"""Lists that are waited for: BLPOP, BRPOP, BLMPOP, BLMOVE, BRPOPLPUSH.

A caller that waits is run again when one of its keys changes (Context.block). It is then served from that very key
(ctx.ready_key): of several lists that one transaction filled, stock takes the one that was filled first. Something else
than a list that came to stand at a key does not end the waiting.

Source: https://redis.io/docs/latest/commands/blpop/
"""

from __future__ import annotations

from collections.abc import Sequence

from replicator.core.command_table.context import Context
from replicator.core.command_table.registry import BLOCKING, DENY_OOM, MOVABLE_KEYS, NO_SCRIPT, WRITE
from replicator.core.commands.blocking import counted_keys, timeout_ms
from replicator.core.commands.lists.lists import list_command, move, parse_multi_pop, parse_side, take, take_and_tell
from replicator.core.keyspace.values import List
from replicator.core.wire import reply

_TIMEOUT_HISTORY = (("6.0.0", "`timeout` is interpreted as a double instead of an integer."),)


def first_list(ctx: Context, keys: Sequence[bytes]) -> tuple[bytes, List] | None:
    """The first of the keys that has a list, and the list; raises WrongType if something else comes before it."""
    if ctx.retrying:
        key = ctx.ready_key
        value = ctx.db.find(key)
        return (key, value) if type(value) is List else None
    for key in keys:
        found = ctx.db.for_write(key, List)
        if found is not None:
            return key, found
    return None


def _pop(ctx: Context, argv: list[bytes], left: bool) -> bytes:
    timeout = timeout_ms(argv[-1])
    keys = argv[1:-1]
    found = first_list(ctx, keys)
    if found is None:
        return ctx.block(keys, timeout, ctx.null_array)
    key, value = found
    (element,) = take(ctx.db, key, value, left, 1)
    ctx.replicate(b"LPOP" if left else b"RPOP", key)
    return reply.bulks((key, element))


@list_command(
    "blpop",
    arity=-3,
    flags=WRITE | NO_SCRIPT | BLOCKING,
    keys=(1, -2, 1),
    access="RW",
    since="2.0.0",
    complexity="O(N) where N is the number of provided keys.",
    summary="Remove and get the first element in a list, or block until one is available",
    arguments="key [key ...] timeout",
    history=_TIMEOUT_HISTORY,
)
def blpop(ctx: Context, argv: list[bytes]) -> bytes:
    """BLPOP key [key ...] timeout"""
    return _pop(ctx, argv, True)


@list_command(
    "brpop",
    arity=-3,
    flags=WRITE | NO_SCRIPT | BLOCKING,
    keys=(1, -2, 1),
    access="RW",
    since="2.0.0",
    complexity="O(N) where N is the number of provided keys.",
    summary="Remove and get the last element in a list, or block until one is available",
    arguments="key [key ...] timeout",
    history=_TIMEOUT_HISTORY,
)
def brpop(ctx: Context, argv: list[bytes]) -> bytes:
    """BRPOP key [key ...] timeout"""
    return _pop(ctx, argv, False)


@list_command(
    "blmpop",
    arity=-5,
    flags=WRITE | BLOCKING | MOVABLE_KEYS,
    find_keys=lambda argv: counted_keys(argv, 2),
    access="RW",
    since="7.0.0",
    complexity="O(N+M) where N is the number of provided keys and M is the number of elements returned.",
    summary="Pop elements from a list, or block until one is available",
    arguments="timeout numkeys key [key ...] LEFT | RIGHT [COUNT count]",
)
def blmpop(ctx: Context, argv: list[bytes]) -> bytes:
    """BLMPOP timeout numkeys key [key ...] LEFT | RIGHT [COUNT count]"""
    keys, left, count = parse_multi_pop(argv, 2)
    timeout = timeout_ms(argv[1])
    found = first_list(ctx, keys)
    if found is None:
        return ctx.block(keys, timeout, ctx.null_array)
    return take_and_tell(ctx, found[0], found[1], left, count)


def _move(
    ctx: Context, source: bytes, destination: bytes, from_left: bool, to_left: bool, timeout: bytes, *effect: bytes
) -> bytes:
    wait_ms = timeout_ms(timeout)
    found = first_list(ctx, (source,))
    if found is None:
        # In a transaction stock answers as LMOVE does; after a timeout it answers with a null array.
        return ctx.block([source], wait_ms, ctx.null if ctx.deny_blocking else ctx.null_array)
    element = move(ctx.db, source, found[1], destination, from_left, to_left)
    ctx.replicate(*effect)
    return reply.bulk(element)


@list_command(
    "blmove",
    arity=6,
    flags=WRITE | DENY_OOM | NO_SCRIPT | BLOCKING,
    keys=(1, 2, 1),
    access="RW",
    since="6.2.0",
    complexity="O(1)",
    summary="Pop an element from a list, push it to another list and return it; or block until one is available",
    arguments="source destination LEFT | RIGHT LEFT | RIGHT timeout",
)
def blmove(ctx: Context, argv: list[bytes]) -> bytes:
    """BLMOVE source destination LEFT | RIGHT LEFT | RIGHT timeout"""
    from_left, to_left = parse_side(argv[3]), parse_side(argv[4])
    return _move(ctx, argv[1], argv[2], from_left, to_left, argv[5], b"LMOVE", argv[1], argv[2], argv[3], argv[4])


@list_command(
    "brpoplpush",
    arity=4,
    flags=WRITE | DENY_OOM | NO_SCRIPT | BLOCKING,
    keys=(1, 2, 1),
    access="RW",
    since="2.2.0",
    complexity="O(1)",
    summary="Pop an element from a list, push it to another list and return it; or block until one is available",
    arguments="source destination timeout",
    history=_TIMEOUT_HISTORY,
)
def brpoplpush(ctx: Context, argv: list[bytes]) -> bytes:
    """BRPOPLPUSH source destination timeout"""
    return _move(ctx, argv[1], argv[2], False, True, argv[3], b"RPOPLPUSH", argv[1], argv[2])
