"""LATENCY: spikes that the latency monitor has seen, and histograms of the commands' times.

Both are kept in core/command_table/statistics.py.
"""

from __future__ import annotations

from functools import partial

from replicator.core.command_table.registry import ADMIN, LOADING, NO_SCRIPT, STALE, command, container
from replicator.core.command_table.statistics import Spikes
from replicator.core.commands.parts import Client
from replicator.core.errors import CommandError
from replicator.core.wire import reply

_GRAPH_WIDTH = 80
_GRAPH_ROWS = 4
_MARKS = "_#"
_HELP = (
    "LATENCY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DOCTOR",
    "    Return a human readable latency analysis report.",
    "GRAPH <event>",
    "    Return an ASCII latency graph for the <event> class.",
    "HISTORY <event>",
    "    Return time-latency samples for the <event> class.",
    "LATEST",
    "    Return the latest latency samples for all events.",
    "RESET [<event> ...]",
    "    Reset latency data of one or more <event> classes.",
    "    (default: reset all data for all event classes)",
    "HISTOGRAM [COMMAND ...]",
    "    Return a cumulative distribution of latencies in the format of a histogram for the specified command names.",
    "    If no commands are specified then all histograms are replied.",
    "HELP",
    "    Prints this help.",
)
_DISABLED = (
    "I'm sorry, Dave, I can't do that. Latency monitoring is disabled in this Redis instance. You may use \"CONFIG SET "
    'latency-monitor-threshold <milliseconds>." in order to enable it. If we weren\'t in a deep space mission I\'d '
    "suggest to take a look at https://redis.io/topics/latency-monitor.\n"
)
_NOTHING = (
    "Dave, no latency spike was observed during the lifetime of this Redis instance, not in the slightest bit. I "
    "honestly think you ought to sit down calmly, take a stress pill, and think things over.\n"
)

container("latency", group="server", since="2.8.13", summary="A container for latency diagnostics commands")
admin = partial(
    command, group="server", flags=ADMIN | NO_SCRIPT | LOADING | STALE, categories="admin dangerous"
)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


@admin(
    "latency|latest",
    arity=2,
    since="2.8.13",
    complexity="O(1)",
    summary="Return the latest latency samples for all events.",
)
def latency_latest(ctx: Client, argv: list[bytes]) -> bytes:
    """LATENCY LATEST"""
    rows = []
    for event, spikes in ctx.server.statistics.spikes.items():
        second, ms = spikes.samples[-1]
        numbers = [reply.integer(number) for number in (second, ms, spikes.worst_ms)]
        rows.append(reply.array([reply.bulk(event.encode()), *numbers]))
    return reply.array(rows)


@admin(
    "latency|history",
    arity=3,
    since="2.8.13",
    complexity="O(1)",
    summary="Return timestamp-latency samples for the event.",
    arguments="event",
)
def latency_history(ctx: Client, argv: list[bytes]) -> bytes:
    """LATENCY HISTORY event"""
    spikes = ctx.server.statistics.spikes.get(_text(argv[2]))
    samples = [] if spikes is None else spikes.samples
    return reply.array([reply.array([reply.integer(second), reply.integer(ms)]) for second, ms in samples])


@admin(
    "latency|reset",
    arity=-2,
    since="2.8.13",
    complexity="O(1)",
    summary="Reset latency data for one or more events.",
    arguments="[event [event ...]]",
)
def latency_reset(ctx: Client, argv: list[bytes]) -> bytes:
    """LATENCY RESET [event ...]"""
    spikes = ctx.server.statistics.spikes
    names = [_text(word) for word in argv[2:]] or list(spikes)
    return reply.integer(sum(spikes.pop(name, None) is not None for name in names))


@admin(
    "latency|graph",
    arity=3,
    since="2.8.13",
    complexity="O(1)",
    summary="Return a latency graph for the event.",
    arguments="event",
    differs="The columns are drawn by our own rule.",
)
def latency_graph(ctx: Client, argv: list[bytes]) -> bytes:
    """LATENCY GRAPH event"""
    event = _text(argv[2])
    spikes = ctx.server.statistics.spikes.get(event)
    if spikes is None:
        raise CommandError(f"ERR No samples available for event '{event}'")
    now = ctx.server.turn.now.unix_ms // 1000
    return reply.verbatim(_graph(event, spikes, now).encode("utf-8", "surrogateescape"), ctx.resp3)


def _age(seconds: int) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _graph(event: str, spikes: Spikes, now: int) -> str:
    """Columns between the lowest and the highest sample, each with its age written downwards."""
    samples = spikes.samples[-_GRAPH_WIDTH:]
    high, low = max(ms for _, ms in samples), min(ms for _, ms in samples)
    lines = [f"{event} - high {high} ms, low {low} ms (all time high {spikes.worst_ms} ms)", "-" * _GRAPH_WIDTH]
    levels = [(ms - low) * (2 * _GRAPH_ROWS - 1) // (high - low) if high > low else 0 for _, ms in samples]
    for row in range(_GRAPH_ROWS - 1, -1, -1):
        columns = [
            "|" if level >= 2 * row + 2 else _MARKS[level - 2 * row] if level >= 2 * row else " " for level in levels
        ]
        lines.append("".join(columns))
    ages = [_age(now - second) for second, _ in samples]
    lines.append("")
    lines += ["".join(age[at] if at < len(age) else " " for age in ages) for at in range(max(map(len, ages)))]
    return "\n".join(lines) + "\n"


@admin(
    "latency|doctor",
    arity=2,
    since="2.8.13",
    complexity="O(1)",
    summary="Return a human readable latency analysis report.",
    differs="The advice is our own.",
)
def latency_doctor(ctx: Client, argv: list[bytes]) -> bytes:
    """LATENCY DOCTOR"""
    statistics = ctx.server.statistics
    if not statistics.spikes:
        text = _NOTHING if ctx.server.config["latency-monitor-threshold"] else _DISABLED
    else:
        text = _report(statistics.spikes)
    return reply.verbatim(text.encode(), ctx.resp3)


def _report(spikes: dict[str, Spikes]) -> str:
    lines = [
        "Dave, I have observed latency spikes in this Redis instance. You don't mind talking about it, do you Dave?",
        "",
    ]
    for number, (event, found) in enumerate(spikes.items(), 1):
        values = [ms for _, ms in found.samples]
        average = sum(values) // len(values)
        deviation = sum(abs(ms - average) for ms in values) // len(values)
        seconds = max(1, found.samples[-1][0] - found.samples[0][0])
        lines.append(
            f"{number}. {event}: {len(values)} latency spikes (average {average}ms, mean deviation {deviation}ms, "
            f"period {seconds / len(values):.2f} sec). Worst all time event {found.worst_ms}ms."
        )
    lines += ["", "I have a few advices for you:", ""]
    if "command" in spikes or "fast-command" in spikes:
        lines.append(
            "- Check your Slow Log to understand what are the commands you are running which are too slow to execute. "
            "Please check https://redis.io/commands/slowlog for more information."
        )
    if "fork" in spikes:
        lines.append("- Snapshots stop the process for as long as it takes to fork: the more memory, the longer.")
    return "\n".join(lines) + "\n"


@admin(
    "latency|histogram",
    arity=-2,
    since="7.0.0",
    complexity="O(N) where N is the number of commands with latency information being retrieved.",
    summary="Return the cumulative distribution of latencies of a subset of commands or all.",
    arguments="[command [command ...]]",
    differs="Counts of commands with constant cost are scaled up from a sample.",
)
def latency_histogram(ctx: Client, argv: list[bytes]) -> bytes:
    """LATENCY HISTOGRAM [command ...]"""
    measured = ctx.server.statistics.ordered()
    if len(argv) == 2:
        names = list(measured)
    else:
        asked = [_text(word).lower() for word in argv[2:]]
        names = [name for word in asked for name in measured if name == word or name.startswith(f"{word}|")]
    items = []
    for name in names:
        one = measured[name]
        if not one.calls:
            continue
        buckets = [reply.integer(number) for pair in one.histogram() for number in pair]
        body = [
            reply.bulk(b"calls"),
            reply.integer(one.entry.calls),
            reply.bulk(b"histogram_usec"),
            reply.mapping(buckets, ctx.resp3),
        ]
        items += [reply.bulk(name.encode()), reply.mapping(body, ctx.resp3)]
    return reply.mapping(items, ctx.resp3)


@command(
    "latency|help",
    arity=2,
    flags=LOADING | STALE,
    group="server",
    since="2.8.13",
    complexity="O(1)",
    summary="Show helpful text about the different subcommands.",
)
def latency_help(ctx: Client, argv: list[bytes]) -> bytes:
    """LATENCY HELP"""
    return reply.array([reply.simple(line) for line in _HELP])
