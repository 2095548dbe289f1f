"""DEBUG: what testers and operators turn, when enable-debug-command allows it."""

from __future__ import annotations

from collections.abc import Callable

from replicator.core import limits
from replicator.core.command_table.registry import ADMIN, LOADING, NO_SCRIPT, STALE, command
from replicator.core.commands.parts import Client
from replicator.core.effects import Exit, Level, Log, Sleep
from replicator.core.errors import NO_SUCH_KEY, NOT_AN_INTEGER, CommandError
from replicator.core.keyspace.digest import digest_keyspace, digest_value
from replicator.core.keyspace.encoding import encoding
from replicator.core.keyspace.serialize import neutral_value
from replicator.core.wire import reply
from replicator.core.wire.glob import matcher
from replicator.core.wire.numbers import c_int, parse_float, parse_int
from replicator.core.wire.rdb import RdbError, dump_payload


def _integer(text: bytes) -> int:
    value = parse_int(text)
    if value is None:
        raise CommandError(NOT_AN_INTEGER)
    return value


_LONGEST_SLEEP = 2**63 / 1_000_000  # seconds


def _sleep(ctx: Client, argv: list[bytes]) -> bytes:
    seconds = parse_float(argv[2]) or 0.0
    if not 0 < seconds < _LONGEST_SLEEP:  # what the system refuses to sleep for, stock does not sleep for at all
        return reply.OK
    ctx.server.turn.emit(Sleep(int(seconds * 1_000_000)))
    ctx.keyspace.late_ms += int(seconds * 1000)
    if not ctx.deny_blocking:
        ctx.keyspace.catch_up()
    return reply.OK


def _digest(ctx: Client, argv: list[bytes]) -> bytes:
    return reply.simple(digest_keyspace(ctx.keyspace))


def _digest_value(ctx: Client, argv: list[bytes]) -> bytes:
    return reply.array([reply.simple(digest_value(ctx.db, key)) for key in argv[2:]])


def _populate(ctx: Client, argv: list[bytes]) -> bytes:
    count = parse_int(argv[2])
    prefix = argv[3] if len(argv) > 3 else b"key"
    size = parse_int(argv[4]) if len(argv) > 4 else 0
    if count is None or count < 0 or size is None or not 0 <= size <= limits.MAX_BULK:
        raise CommandError("ERR value is out of range, must be positive")
    db = ctx.db
    for number in range(count):
        key = b"%b:%d" % (prefix, number)
        if key in db.values:
            continue
        value = b"value:%d" % number
        if size:
            value = value[:size].ljust(size, b"\0")
        db.put(key, value)
        db.changed(key)
        ctx.keyspace.uncounted += 1
    ctx.replicate_nothing()
    return reply.OK


def _object(ctx: Client, argv: list[bytes]) -> bytes:
    value = ctx.db.values.get(argv[2])  # one that has expired is shown as well
    if value is None:
        raise CommandError(NO_SUCH_KEY)
    name = encoding(ctx.keyspace, value, ctx.server.config).decode()
    size = len(dump_payload(*neutral_value(value))) - 11
    idle = ctx.server.evictor.use_of(ctx.db.index, argv[2])[0] or 0
    text = f"Value at:0x{id(value) & 0:x} refcount:1 encoding:{name} serializedlength:{size} lru:0"
    text += f" lru_seconds_idle:{idle}"
    if name == "quicklist":
        fill = getattr(value, "fill", ctx.keyspace.list_fill)
        most = max(1, fill) if fill >= 0 else 128
        nodes = -(-len(value) // most)
        text += f" ql_nodes:{nodes} ql_avg_node:{len(value) / nodes:.2f} ql_listpack_max:{fill} ql_compressed:0"
    return reply.simple(text)


def _reload(ctx: Client, argv: list[bytes]) -> bytes:
    flags = {word.lower() for word in argv[2:]}
    if not flags <= {b"nosave", b"noflush", b"merge"}:
        raise CommandError("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.")
    try:
        ctx.server.reload.reload(save=b"nosave" not in flags)
    except RdbError as problem:
        raise CommandError(f"ERR Error trying to load the RDB dump, check server logs: {problem}") from None
    ctx.replicate_nothing()
    return reply.OK


def _load_aof(ctx: Client, argv: list[bytes]) -> bytes:
    return ctx.server.append_only.load_again(ctx)


def _flush_sleep(ctx: Client, argv: list[bytes]) -> bytes:
    """DEBUG AOF-FLUSH-SLEEP microseconds: the process sleeps before each write of the append-only file."""
    ctx.server.append_only.journal.flush_sleep_us = max(0, c_int(argv[2]))
    return reply.OK


def _change_id(ctx: Client, argv: list[bytes]) -> bytes:
    server = ctx.server
    server.outgoing.flush()
    server.turn.log(Level.NOTICE, "Changing replication IDs after receiving change-repl-id")
    server.history.forget(server.random)
    return reply.OK


def _active_expire(ctx: Client, argv: list[bytes]) -> bytes:
    ctx.server.expiry.active = argv[2] != b"0"
    return reply.OK


def _lenient_scripts(ctx: Client, argv: list[bytes]) -> bytes:
    ctx.server.scripting.lenient = (parse_int(argv[2]) or 0) != 0
    return reply.OK


def _replicate(ctx: Client, argv: list[bytes]) -> bytes:
    """DEBUG REPLICATE argv...: as it is, to replicas."""
    ctx.server.outgoing.tell_replicas(argv[2:])
    return reply.OK


def _log(ctx: Client, argv: list[bytes]) -> bytes:
    ctx.server.turn.emit(Log(Level.WARNING, f"DEBUG LOG: {argv[2].decode('utf-8', 'replace')}"))
    return reply.OK


def _protocol(ctx: Client, argv: list[bytes]) -> bytes:
    kind = argv[2].lower()
    resp3 = ctx.resp3
    numbers = [reply.integer(n) for n in range(3)]
    if kind == b"string":
        return reply.bulk(b"Hello World")
    if kind == b"integer":
        return reply.integer(12345)
    if kind == b"double":
        return reply.double(3.141, resp3)
    if kind == b"null":
        return ctx.null
    if kind == b"array":
        return reply.array(numbers)
    if kind == b"set":
        return reply.set_of(numbers, resp3)
    if kind == b"map":
        items = [part for n in range(3) for part in (reply.integer(n), reply.boolean(n == 1, resp3))]
        return reply.mapping(items, resp3)
    if kind == b"attrib":
        head = b"|1\r\n" + reply.bulk(b"key-popularity") + reply.array([reply.bulk(b"key:123"), reply.integer(90)])
        return (head if resp3 else b"") + reply.bulk(b"Some real reply following the attribute")
    if kind == b"push":
        if not resp3:
            raise CommandError("ERR RESP2 is not supported by this command")
        return reply.push([reply.bulk(b"server-cpu-usage"), reply.integer(42)], resp3)
    if kind == b"verbatim":
        return reply.verbatim(b"This is a verbatim\nstring", resp3)
    if kind in (b"true", b"false"):
        return reply.boolean(kind == b"true", resp3)
    if kind == b"bignum":
        number = b"1234567999999999999999999999999999999"
        return b"(" + number + b"\r\n" if resp3 else reply.bulk(number)
    raise CommandError(
        "ERR Wrong protocol type name. Please use one of the following: "
        "string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false"
    )


def _crash(ctx: Client, argv: list[bytes]) -> bytes:
    ctx.server.turn.last_effect(Exit(139 if argv[1].lower() == b"segfault" else 134, crash=True))
    return b""


def _error(ctx: Client, argv: list[bytes]) -> bytes:
    return reply.error(argv[2])


def _match(ctx: Client, argv: list[bytes]) -> bytes:
    stars, letters = _integer(argv[2]), _integer(argv[3])
    if not (0 <= stars <= limits.MAX_INLINE and 0 <= letters <= limits.MAX_INLINE):
        raise CommandError("ERR value is out of range")
    matcher(b"*" * stars)(b"a" * letters)
    return reply.OK


def _skip_checksum(ctx: Client, argv: list[bytes]) -> bytes:
    ctx.server.loads.skip_checksum = argv[2] != b"0"
    return reply.OK


def _pause_cron(ctx: Client, argv: list[bytes]) -> bytes:
    ctx.server.cron_paused = argv[2] != b"0"
    return reply.OK


def _nothing(ctx: Client, argv: list[bytes]) -> bytes:
    return reply.OK


def _stats(ctx: Client, argv: list[bytes]) -> bytes:
    index = _integer(argv[2])
    databases = ctx.keyspace.databases
    if not 0 <= index < len(databases):
        raise CommandError("ERR Out of range database")
    db = databases[index]
    text = (
        f"[Dictionary HT]\nHash table 0 stats (main hash table):\n table size: {max(4, len(db))}\n"
        f" number of elements: {len(db)}\n[Expires HT]\nHash table 0 stats (expires hash table):\n"
        f" table size: {max(4, len(db.expires))}\n number of elements: {len(db.expires)}\n"
    )
    return reply.verbatim(text.encode(), ctx.resp3)


def _listpack(ctx: Client, argv: list[bytes]) -> bytes:
    if ctx.db.find(argv[2]) is None:
        raise CommandError(NO_SUCH_KEY)
    return reply.simple("Listpack structure printed on stdout")


def _help(ctx: Client, argv: list[bytes]) -> bytes:
    lines = ["DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"]
    lines += [name.decode().upper() for name in sorted(_SUBCOMMANDS)]
    lines += ["HELP", "    Print this help."]
    return reply.array([reply.simple(line) for line in lines])


# name -> (function, least and most arguments behind the name)
_SUBCOMMANDS: dict[bytes, tuple[Callable[[Client, list[bytes]], bytes], int, int]] = {
    b"sleep": (_sleep, 1, 1),
    b"digest": (_digest, 0, 0),
    b"digest-value": (_digest_value, 0, 1 << 20),
    b"populate": (_populate, 1, 3),
    b"object": (_object, 1, 2),
    b"reload": (_reload, 0, 3),
    b"loadaof": (_load_aof, 0, 0),
    b"aof-flush-sleep": (_flush_sleep, 1, 1),
    b"change-repl-id": (_change_id, 0, 0),
    b"set-active-expire": (_active_expire, 1, 1),
    b"replicate": (_replicate, 1, 1 << 20),
    b"log": (_log, 1, 1),
    b"protocol": (_protocol, 1, 1),
    b"segfault": (_crash, 0, 0),
    b"panic": (_crash, 0, 0),
    b"assert": (_crash, 0, 0),
    b"error": (_error, 1, 1),
    b"stringmatch-len": (_match, 2, 2),
    b"set-skip-checksum-validation": (_skip_checksum, 1, 1),
    b"pause-cron": (_pause_cron, 1, 1),
    b"htstats": (_stats, 1, 2),
    b"htstats-key": (_listpack, 1, 2),
    b"listpack": (_listpack, 1, 1),
    b"ziplist": (_listpack, 1, 1),
    b"quicklist": (_listpack, 1, 2),
    b"quicklist-packed-threshold": (_nothing, 1, 1),
    b"replybuffer": (_nothing, 2, 2),
    b"jmap": (_nothing, 0, 0),
    b"set-disable-deny-scripts": (_lenient_scripts, 1, 1),
    b"config-rewrite-force-all": (_nothing, 0, 0),
    b"help": (_help, 0, 0),
}


@command(
    "debug",
    arity=-2,
    flags=ADMIN | NO_SCRIPT | LOADING | STALE,
    group="server",
    since="1.0.0",
    complexity="Depends on subcommand.",
    summary="A container for debugging commands.",
    categories="admin dangerous",
    arguments="subcommand [argument ...]",
)
def debug(ctx: Client, argv: list[bytes]) -> bytes:
    """DEBUG subcommand [argument ...]"""
    allowed = ctx.server.config["enable-debug-command"]
    if allowed == "no" or (allowed == "local" and not ctx.comes_from_here):
        raise CommandError(
            'ERR DEBUG command not allowed. If the enable-debug-command option is set to "local", you can run it '
            "from a local connection, otherwise you need to set this option in the configuration file, "
            "and then restart the server."
        )
    entry = _SUBCOMMANDS.get(argv[1].lower())
    if entry is None or not entry[1] <= len(argv) - 2 <= entry[2]:
        shown = argv[1][:128].decode("utf-8", "replace")
        raise CommandError(f"ERR unknown subcommand or wrong number of arguments for '{shown}'. Try DEBUG HELP.")
    return entry[0](ctx, argv)
