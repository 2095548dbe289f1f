"""COMMAND: what commands there are, told from the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial

from replicator.core.command_table.categories import categories_of
from replicator.core.command_table.key_specs import NOTES, KeySpec, NoSuchKeys, key_uses, specs_of, tips_of
from replicator.core.command_table.registry import (
    BLOCKING,
    FLAG_NAMES,
    LOADING,
    MAY_REPLICATE,
    NO_ASYNC_LOADING,
    NO_MANDATORY_KEYS,
    STALE,
    Command,
    command,
)
from replicator.core.commands.about.synopsis import Argument, parse
from replicator.core.commands.parts import Caller
from replicator.core.errors import SYNTAX, CommandError
from replicator.core.wire import reply
from replicator.core.wire.glob import matcher

_FLAGS = LOADING | STALE
# Flags that steer us here but that stock does not show, and the other way round.
_HIDDEN = {
    "wait": BLOCKING,
    **dict.fromkeys(("publish", "spublish", "eval", "evalsha", "fcall", "pfcount"), MAY_REPLICATE),
}
_ALSO = dict.fromkeys(("psync", "sync", "replicaof", "slaveof"), NO_ASYNC_LOADING)
_SYSTEM = frozenset(("debug", "pfdebug", "pfselftest", "replconf", "restore-asking"))
_BY_RADIUS = "`GEOSEARCH` with the `BYRADIUS` argument"
_BY_MEMBER = "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments"
# command -> (deprecated since, replaced by)
DEPRECATED = {
    "substr": ("2.0.0", "`GETRANGE`"),
    "hmset": ("4.0.0", "`HSET` with multiple field-value pairs"),
    "slaveof": ("5.0.0", "`REPLICAOF`"),
    "cluster|slaves": ("5.0.0", "`CLUSTER REPLICAS`"),
    "cluster|slots": ("7.0.0", "`CLUSTER SHARDS`"),
    "brpoplpush": ("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments"),
    "rpoplpush": ("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments"),
    "getset": ("6.2.0", "`SET` with the `!GET` argument"),
    "georadius": ("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument"),
    "georadius_ro": ("6.2.0", _BY_RADIUS),
    "georadiusbymember": ("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments"),
    "georadiusbymember_ro": ("6.2.0", _BY_MEMBER),
    "zrangebyscore": ("6.2.0", "`ZRANGE` with the `BYSCORE` argument"),
    "zrevrangebyscore": ("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments"),
    "zrangebylex": ("6.2.0", "`ZRANGE` with the `BYLEX` argument"),
    "zrevrangebylex": ("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments"),
    "zrevrange": ("6.2.0", "`ZRANGE` with the `REV` argument"),
}
_HELP = (
    "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "(no subcommand)",
    "    Return details about all Redis commands.",
    "COUNT",
    "    Return the total number of commands in this Redis server.",
    "LIST",
    "    Return a list of all commands in this Redis server.",
    "INFO [<command-name> ...]",
    "    Return details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "DOCS [<command-name> ...]",
    "    Return documentation details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "GETKEYS <full-command>",
    "    Return the keys from a full Redis command.",
    "GETKEYSANDFLAGS <full-command>",
    "    Return the keys and the access flags from a full Redis command.",
    "HELP",
    "    Prints this help.",
)


def _simples(words: Iterable[str], resp3: bool) -> bytes:
    return reply.set_of([reply.simple(word) for word in words], resp3)


def _bulk(text: str) -> bytes:
    return reply.bulk(text.encode())


def shown_flags(entry: Command) -> list[str]:
    """The flags as COMMAND INFO names them."""
    flags = (entry.flags | _ALSO.get(entry.full_name, 0)) & ~_HIDDEN.get(entry.full_name, 0)
    return [name for flag, name in FLAG_NAMES if flags & flag]


def _key_spec(name: str, number: int, spec: KeySpec, resp3: bool) -> bytes:
    labels = {
        "index": ("index",),
        "keyword": ("keyword", "startfrom"),
        "range": ("lastkey", "keystep", "limit"),
        "keynum": ("keynumidx", "firstkey", "keystep"),
        "unknown": (),
    }
    items: list[bytes] = []
    note = NOTES.get((name, number))
    if note is not None:
        items += [_bulk("notes"), _bulk(note)]
    items += [_bulk("flags"), _simples(spec.flags, resp3)]
    for title, words in (("begin_search", spec.begin), ("find_keys", spec.find)):
        fields: list[bytes] = []
        for label, value in zip(labels[words[0]], words[1:], strict=True):
            fields += [_bulk(label), _bulk(value) if label == "keyword" else reply.integer(int(value))]
        how = [_bulk("type"), _bulk(words[0]), _bulk("spec"), reply.mapping(fields, resp3)]
        items += [_bulk(title), reply.mapping(how, resp3)]
    return reply.mapping(items, resp3)


def _info(entry: Command, resp3: bool) -> bytes:
    name = entry.full_name
    specs = [_key_spec(name, number, spec, resp3) for number, spec in enumerate(specs_of(name))]
    return reply.array(
        [
            _bulk(name),
            reply.integer(entry.arity),
            _simples(shown_flags(entry), resp3),
            *map(reply.integer, entry.keys),
            _simples([f"@{category}" for category in categories_of(entry)], resp3),
            reply.set_of([_bulk(tip) for tip in tips_of(name)], resp3),
            reply.set_of(specs, resp3),
            reply.set_of([_info(sub, resp3) for sub in entry.subcommands.values()], resp3),
        ]
    )


@cache
def arguments_of(synopsis: str) -> list[Argument]:
    """The argument tree of a synopsis; parsed once."""
    return parse(synopsis)


def _argument(argument: Argument, specs: int, number: int, resp3: bool) -> bytes:
    kind = argument.type if argument.type != "key" or specs else "string"
    items = [_bulk("name"), _bulk(argument.name), _bulk("type"), _bulk(kind)]
    if kind == "key":
        items += [_bulk("key_spec_index"), reply.integer(min(number, specs - 1))]
    if argument.token:
        items += [_bulk("token"), _bulk(argument.token)]
    flags = [name for name, holds in (("optional", argument.optional), ("multiple", argument.multiple)) if holds]
    if flags:
        items += [_bulk("flags"), _simples(flags, resp3)]
    if argument.parts:
        items += [_bulk("arguments"), _arguments(argument.parts, specs, resp3)]
    return reply.mapping(items, resp3)


def _arguments(arguments: list[Argument], specs: int, resp3: bool) -> bytes:
    encoded = []
    keys = 0
    for argument in arguments:
        encoded.append(_argument(argument, specs, keys, resp3))
        keys += argument.type == "key"
    return reply.array(encoded)


def _docs(entry: Command, resp3: bool) -> bytes:
    name = entry.full_name
    items = []
    for title, text in (
        ("summary", entry.summary),
        ("since", entry.since),
        ("group", entry.group),
        ("complexity", entry.complexity),
    ):
        items += [_bulk(title), _bulk(text)]
    if name in DEPRECATED:
        since, instead = DEPRECATED[name]
        items += [_bulk("doc_flags"), _simples(["deprecated"], resp3)]
        items += [_bulk("deprecated_since"), _bulk(since), _bulk("replaced_by"), _bulk(instead)]
    elif name in _SYSTEM:
        items += [_bulk("doc_flags"), _simples(["syscmd"], resp3)]
    if entry.history:
        changes = [reply.array([_bulk(version), _bulk(change)]) for version, change in entry.history]
        items += [_bulk("history"), reply.set_of(changes, resp3)]
    if entry.arguments:
        items += [_bulk("arguments"), _arguments(arguments_of(entry.arguments), len(specs_of(name)), resp3)]
    if entry.subcommands:
        subs = [part for sub in entry.subcommands.values() for part in (_bulk(sub.full_name), _docs(sub, resp3))]
        items += [_bulk("subcommands"), reply.mapping(subs, resp3)]
    return reply.mapping(items, resp3)


def _find(ctx: Caller, name: bytes) -> Command | None:
    parent, _, sub = name.lower().decode("utf-8", "replace").partition("|")
    entry: Command | None = ctx.server.table.commands.get(parent)
    return entry if entry is None or not sub else entry.subcommands.get(sub)


# Not made by container(): COMMAND alone is a command too.
@command(
    "command",
    arity=-1,
    flags=_FLAGS,
    group="server",
    since="2.8.13",
    complexity="O(N) where N is the total number of Redis commands",
    summary="Get array of Redis command details",
    categories="connection",
)
def command_(ctx: Caller, argv: list[bytes]) -> bytes:
    """COMMAND"""
    return reply.array([_info(entry, ctx.resp3) for entry in ctx.server.table.commands.values()])


sub = partial(command, group="server", flags=_FLAGS, categories="connection")


@sub("command|count", arity=2, since="2.8.13", complexity="O(1)", summary="Get total number of Redis commands")
def command_count(ctx: Caller, argv: list[bytes]) -> bytes:
    """COMMAND COUNT"""
    return reply.integer(len(ctx.server.table.commands))


@sub(
    "command|info",
    arity=-2,
    since="2.8.13",
    complexity="O(N) where N is the number of commands to look up",
    summary="Get array of specific Redis command details, or all when no argument is given.",
    arguments="[command-name [command-name ...]]",
    history=(("7.0.0", "Allowed to be called with no argument to get info on all commands."),),
)
def command_info(ctx: Caller, argv: list[bytes]) -> bytes:
    """COMMAND INFO [command-name ...]"""
    if len(argv) == 2:
        return command_(ctx, argv)
    found = [_find(ctx, name) for name in argv[2:]]
    return reply.array([ctx.null_array if entry is None else _info(entry, ctx.resp3) for entry in found])


@sub(
    "command|docs",
    arity=-2,
    since="7.0.0",
    complexity="O(N) where N is the number of commands to look up",
    summary="Get array of specific Redis command documentation",
    arguments="[command-name [command-name ...]]",
    differs="Arguments are derived from the synopsis; names of choices and blocks are made of their parts.",
)
def command_docs(ctx: Caller, argv: list[bytes]) -> bytes:
    """COMMAND DOCS [command-name ...]"""
    if len(argv) == 2:
        entries = list(ctx.server.table.commands.values())
    else:
        entries = [entry for entry in (_find(ctx, name) for name in argv[2:]) if entry is not None]
    items = [part for entry in entries for part in (_bulk(entry.full_name), _docs(entry, ctx.resp3))]
    return reply.mapping(items, ctx.resp3)


def _filter(kind: bytes, value: bytes) -> Callable[[Command], bool] | None:
    if kind == b"module":
        return lambda entry: False
    if kind == b"aclcat":
        category = value.lower().decode("utf-8", "replace")
        return lambda entry: category in categories_of(entry)
    if kind == b"pattern":
        matches = matcher(value, ignore_case=True)
        return lambda entry: matches(entry.full_name.encode())
    return None


@sub(
    "command|list",
    arity=-2,
    since="7.0.0",
    complexity="O(N) where N is the total number of Redis commands",
    summary="Get an array of Redis command names",
    arguments="[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
)
def command_list(ctx: Caller, argv: list[bytes]) -> bytes:
    """COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]"""
    wanted: Callable[[Command], bool] | None = None
    if len(argv) > 2:
        wanted = _filter(argv[3].lower(), argv[4]) if len(argv) == 5 and argv[2].lower() == b"filterby" else None
        if wanted is None:
            raise CommandError(SYNTAX)
    names = []
    for entry in ctx.server.table.commands.values():
        names += [one.full_name for one in (entry, *entry.subcommands.values()) if wanted is None or wanted(one)]
    return reply.bulks([name.encode() for name in names])


def _uses(ctx: Caller, words: list[bytes]) -> list[tuple[bytes, tuple[str, ...]]]:
    entry: Command | None = ctx.server.table.resolve(words)
    if entry is None:
        raise CommandError("ERR Invalid command specified")
    if not any(spec.flags != ("not_key",) for spec in specs_of(entry.full_name)):
        raise CommandError("ERR The command has no key arguments")
    if not entry.least <= len(words) <= entry.most:
        raise CommandError("ERR Invalid number of arguments specified for command")
    try:
        uses = key_uses(entry.full_name, words)
    except NoSuchKeys:
        uses = []
    if not uses and not entry.flags & NO_MANDATORY_KEYS:
        raise CommandError("ERR Invalid arguments specified for command")
    return [(words[at], flags) for at, flags in uses]


@sub(
    "command|getkeys",
    arity=-4,
    since="2.8.13",
    complexity="O(N) where N is the number of arguments to the command",
    summary="Extract keys given a full Redis command",
    arguments="command [arg [arg ...]]",
)
def command_getkeys(ctx: Caller, argv: list[bytes]) -> bytes:
    """COMMAND GETKEYS command [arg ...]"""
    return reply.bulks([key for key, _ in _uses(ctx, argv[2:])])


@sub(
    "command|getkeysandflags",
    arity=-4,
    since="7.0.0",
    complexity="O(N) where N is the number of arguments to the command",
    summary="Extract keys and access flags given a full Redis command",
    arguments="command [arg [arg ...]]",
)
def command_getkeysandflags(ctx: Caller, argv: list[bytes]) -> bytes:
    """COMMAND GETKEYSANDFLAGS command [arg ...]"""
    rows = [reply.array([reply.bulk(key), _simples(flags, ctx.resp3)]) for key, flags in _uses(ctx, argv[2:])]
    return reply.array(rows)


@sub(
    "command|help",
    arity=2,
    since="5.0.0",
    complexity="O(1)",
    summary="Show helpful text about the different subcommands",
)
def command_help(ctx: Caller, argv: list[bytes]) -> bytes:
    """COMMAND HELP"""
    return reply.array([reply.simple(line) for line in _HELP])
