"""The table of commands: one registry that gives arity checks, flags, key positions, COMMAND DOCS and the manual.

    @command("get", arity=2, flags=READONLY | FAST, keys=(1, 1, 1), group="string", since="1.0.0",
             complexity="O(1)", summary="Returns the string value of a key.", categories="string")
    def get(ctx, argv):
        ...
        return reply

A command's function takes the caller's Context and argv (argv[0] is the name as sent) and returns its encoded reply.
It raises CommandError for an error reply, or WrongType; it must do so before it has changed anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import TypeAlias, TypeVar, cast

from replicator.core.command_table.context import Context

Run: TypeAlias = Callable[[Context, list[bytes]], bytes]
# A command may see more in its Context than every Context has (a Session): its flags say who can call it.
Seen = TypeVar("Seen", bound=Context)
SeenRun: TypeAlias = Callable[[Seen, list[bytes]], bytes]
# first key, last key (negative: counted from the end), step; (0, 0, 0): none; or a function argv -> key positions
KeySpec: TypeAlias = tuple[int, int, int]
FindKeys: TypeAlias = Callable[[list[bytes]], Sequence[int]]

WRITE = 1 << 0
READONLY = 1 << 1
DENY_OOM = 1 << 2
ADMIN = 1 << 3
PUBSUB = 1 << 4
NO_SCRIPT = 1 << 5
BLOCKING = 1 << 6
LOADING = 1 << 7  # allowed while loading
STALE = 1 << 8  # allowed while a replica is cut off and serves no stale data
SKIP_MONITOR = 1 << 9
SKIP_SLOWLOG = 1 << 10
ASKING = 1 << 11
FAST = 1 << 12
NO_AUTH = 1 << 13
MAY_REPLICATE = 1 << 14  # PUBLISH, EVAL: may cause effects without being a write
NO_MULTI = 1 << 15
MOVABLE_KEYS = 1 << 16
ALLOW_BUSY = 1 << 17
NO_ASYNC_LOADING = 1 << 18
NO_MANDATORY_KEYS = 1 << 19
SENTINEL = 1 << 20
ONLY_SENTINEL = 1 << 21

FLAG_NAMES = (
    (WRITE, "write"),
    (READONLY, "readonly"),
    (DENY_OOM, "denyoom"),
    (ADMIN, "admin"),
    (PUBSUB, "pubsub"),
    (NO_SCRIPT, "noscript"),
    (BLOCKING, "blocking"),
    (LOADING, "loading"),
    (STALE, "stale"),
    (SKIP_MONITOR, "skip_monitor"),
    (SKIP_SLOWLOG, "skip_slowlog"),
    (ASKING, "asking"),
    (FAST, "fast"),
    (NO_AUTH, "no_auth"),
    (MAY_REPLICATE, "may_replicate"),
    (NO_MULTI, "no_multi"),
    (MOVABLE_KEYS, "movablekeys"),
    (ALLOW_BUSY, "allow_busy"),
    (NO_ASYNC_LOADING, "no_async_loading"),
    (NO_MANDATORY_KEYS, "no_mandatory_keys"),
)


@dataclass(slots=True)
class Command:
    """One command or subcommand. The registry's own are never changed: each node works on copies that also count."""

    name: str  # lower case; a subcommand's is its own word
    run: Run
    arity: int  # as COMMAND reports it: negative is "at least"
    flags: int
    keys: KeySpec
    find_keys: FindKeys | None
    group: str
    since: str
    complexity: str
    summary: str
    categories: tuple[str, ...]
    differs: str = ""  # what differs from stock, for docs/commands.md
    parent: str = ""  # the container command of a subcommand
    subcommands: dict[str, Command] = field(default_factory=dict)
    arguments: str = ""  # the synopsis behind the name, as the documentation writes it
    history: tuple[tuple[str, str], ...] = ()  # (version, change)
    key_access: str = ""  # "RO", "RW", "OW", "RM" of the first key specification
    # filled per node
    least: int = 0
    most: int = 1 << 40
    calls: int = 0
    usec: int = 0
    rejected: int = 0
    failed: int = 0

    def copy(self) -> Command:
        """A node's own copy, counters at zero."""
        twin = Command(*_all_fields(self))  # dataclasses.replace takes many times as long, and there are hundreds
        twin.subcommands = {name: sub.copy() for name, sub in self.subcommands.items()} if self.subcommands else {}
        twin.least = abs(self.arity)
        twin.most = self.arity if self.arity >= 0 else 1 << 40
        return twin

    @property
    def full_name(self) -> str:
        """As INFO commandstats and ACLs spell it: "client|list"."""
        return f"{self.parent}|{self.name}" if self.parent else self.name

    def key_positions(self, argv: list[bytes]) -> Sequence[int]:
        """Where argv has keys."""
        if self.find_keys is not None:
            return self.find_keys(argv)
        first, last, step = self.keys
        if first == 0:
            return ()
        end = len(argv) + last if last < 0 else last
        return range(first, min(end, len(argv) - 1) + 1, step)


_all_fields = attrgetter(*(one.name for one in fields(Command)))


REGISTRY: dict[str, Command] = {}


def command(
    name: str,
    *,
    arity: int,
    flags: int = 0,
    keys: KeySpec = (0, 0, 0),
    find_keys: FindKeys | None = None,
    group: str,
    since: str,
    complexity: str,
    summary: str,
    categories: str = "",
    differs: str = "",
    arguments: str = "",
    access: str = "",
    history: tuple[tuple[str, str], ...] = (),
) -> Callable[[SeenRun[Seen]], SeenRun[Seen]]:
    """Register a function as a command ("get") or as a subcommand ("client|list"; its container is made if need be)."""

    def register(run: SeenRun[Seen]) -> SeenRun[Seen]:
        parent, _, own = name.rpartition("|")
        entry = Command(
            name=own,
            run=cast(Run, run),
            arity=arity,
            flags=flags,
            keys=keys,
            find_keys=find_keys,
            group=group,
            since=since,
            complexity=complexity,
            summary=summary,
            categories=tuple(categories.split()),
            differs=differs,
            parent=parent,
            arguments=arguments,
            key_access=access,
            history=history,
        )
        if parent:
            REGISTRY[parent].subcommands[own] = entry
        else:
            assert own not in REGISTRY, own
            REGISTRY[own] = entry
        return run

    return register


def _container(ctx: Context, argv: list[bytes]) -> bytes:
    raise AssertionError("the executor resolves subcommands")


def container(name: str, *, group: str, since: str, summary: str, flags: int = 0, categories: str = "") -> None:
    """Register a command that has only subcommands (CLIENT, CONFIG, OBJECT ...)."""
    command(
        name,
        arity=-2,
        flags=flags,
        group=group,
        since=since,
        complexity="Depends on subcommand.",
        summary=summary,
        categories=categories,
    )(_container)
