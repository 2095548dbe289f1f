"""The `replicator` command. Each subcommand parses, calls and prints; what it calls is imported when it runs.

Start-up time is part of the promise (a server answers within 300 ms of its start), so this module imports click alone;
the help of the lazily imported commands stands here as text.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from replicator import __version__

if TYPE_CHECKING:
    from replicator.targets import Target

# name -> (module, object in it, the line in --help)
LAZY_COMMANDS = {
    "scenario": ("replicator.scenario.cli", "scenario", "Play scripted failovers, list them, check their files."),
    "simulate": ("replicator.search.cli", "simulate", "Search seeds for a run in which an expectation fails."),
    "history": ("replicator.scenario.cli", "history", "Read the history that a scenario run has left."),
    "aof": ("replicator.aof_tool", "aof", "Look into append-only files."),
    "cluster": ("replicator.cluster_tool", "cluster", "Start and stop a cluster on this machine."),
    "explain": ("replicator.advice.cli", "explain", "Say what a running topology would lose, and why."),
    "forecast": ("replicator.advice.cli", "forecast", "Play failures of a running topology a thousand times each."),
    "rdb": ("replicator.rdb_tool", "rdb", "Look into snapshot files."),
}
# What tools that look for redis-server's version find; the data formats and messages are those of this version.
COMPATIBLE_VERSION = "7.0.15"

USAGE = """\
Usage: replicator server [/path/to/redis.conf] [--directive value ...] [-]
       replicator server - (read the configuration from standard input)
       replicator server -v or --version
       replicator server -h or --help

Takes exactly the arguments of redis-server: a configuration file and/or its directives, which outweigh the file's.

Examples:
       replicator server
       replicator server /etc/redis/6379.conf
       replicator server --port 7777
       replicator server --port 7777 --replicaof 127.0.0.1 8888
       replicator server /etc/redis/6379.conf --loglevel verbose --save ""
       echo 'maxmemory 128mb' | replicator server -
"""


SENTINEL_USAGE = """\
Usage: replicator sentinel /path/to/sentinel.conf [--directive value ...]
       replicator server /path/to/sentinel.conf --sentinel

Takes exactly the arguments of redis-sentinel. The file is rewritten as the Sentinel learns: it must be writable.

Example of a file:
       port 26379
       sentinel monitor mymaster 127.0.0.1 6379 2
       sentinel down-after-milliseconds mymaster 5000
       sentinel failover-timeout mymaster 60000
"""


class LazyCommand(click.Command):
    """A command of another module that is imported only when it is run (or its own --help is asked for)."""

    def __init__(self, name: str, module: str, attribute: str, short_help: str) -> None:
        super().__init__(name, short_help=short_help, help=short_help, add_help_option=False)
        self._target = (module, attribute)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The context of the real command: the one that click then invokes."""
        module, attribute = self._target
        loaded = getattr(import_module(module), attribute)
        assert isinstance(loaded, click.Command), loaded
        return loaded.make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that make_context has loaded."""
        return ctx.command.invoke(ctx)


class AddressType(click.ParamType[Any]):
    """HOST:PORT; [::1]:6379 for IPv6; a port alone is one of this machine."""

    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """(host, port) of the text."""
        if isinstance(value, tuple):
            return value
        if "://" in str(value):
            self.fail(f"{value!r} is not HOST:PORT", param, ctx)
        return TargetType().convert(value, param, ctx).address


class SecondsType(click.ParamType[Any]):
    """A number of seconds between two bounds; nan and the infinities are none."""

    name = "seconds"

    def __init__(self, least: float, most: float) -> None:
        self._least, self._most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number of the text."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = -1.0
        if not self._least <= seconds <= self._most:
            self.fail(f"{value!r} is not a number from {self._least:g} to {self._most:g}", param, ctx)
        return seconds


class TargetType(click.ParamType[Any]):
    """The same, or redis://USER:PASSWORD@HOST:PORT, rediss:// for TLS."""

    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Target:
        """The text's Target."""
        from replicator import targets

        if isinstance(value, targets.Target):
            return value
        try:
            return targets.parse(str(value))
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


def encryption_options(command: Any) -> Any:
    """--tls and its kin, as redis-cli has them."""
    for option in reversed((
        click.option("--tls", is_flag=True, help="Speak TLS (an address rediss://... does the same)."),
        click.option("--cacert", default="", metavar="FILE", help="Authorities to trust; the system's unless given."),
        click.option("--cert", default="", metavar="FILE", help="Certificate to show to the nodes."),
        click.option("--key", default="", metavar="FILE", help="Its private key."),
        click.option("--sni", default="", metavar="NAME", help="Server name to ask for, and to insist on."),
        click.option("--insecure", is_flag=True, help="Trust any certificate."),
    )):  # fmt: skip
        command = option(command)
    return command


def run_server(arguments: Iterable[str]) -> int:
    """Start a node with redis-server's arguments and serve until it ends; the exit code."""
    words = list(arguments)
    if words[:1] in (["-v"], ["--version"]):
        build = f"sha=00000000:0 malloc=libc bits=64 build=replicator-{__version__}"
        click.echo(f"Redis server v={COMPATIBLE_VERSION} {build}")
        return 0
    if words[:1] in (["-h"], ["--help"]):
        click.echo(USAGE, nl=False)
        return 0
    if "--sentinel" in (word.lower() for word in words):
        return run_sentinel(words)
    # Nothing that importing makes is garbage: looking for some would be a tenth of the start. serve() enables it.
    gc.disable()
    from replicator.config_file import CannotOpen, ConfigFileError, load

    try:
        config = load(words)
    except CannotOpen as problem:
        click.echo(f"replicator: {problem}", err=True)
        return 1
    except ConfigFileError as problem:
        click.echo(problem.report(), err=True, nl=False)
        return 1
    from replicator.server import run

    return run(config)


def run_sentinel(arguments: Iterable[str]) -> int:
    """Start a Sentinel with redis-sentinel's arguments and serve until it ends; the exit code."""
    words = list(arguments)
    if words[:1] in (["-v"], ["--version"]):
        return run_server(["--version"])
    if words[:1] in (["-h"], ["--help"]):
        click.echo(SENTINEL_USAGE, nl=False)
        return 0
    gc.disable()  # as in run_server
    from replicator.sentinel import run

    return run(words)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="replicator")
def main() -> None:
    """Redis-compatible replication, and the instrument that shows what a failover costs."""


for _name, (_module, _attribute, _help) in LAZY_COMMANDS.items():
    main.add_command(LazyCommand(_name, _module, _attribute, _help))


class ServerCommand(click.Command):
    """Hands every argument on as it came: redis-server's arguments are not click's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep all of args."""
        ctx.params["arguments"] = tuple(args)
        return []


@main.command(
    cls=ServerCommand, add_help_option=False, short_help="Start a node with exactly the arguments of redis-server."
)
def server(arguments: tuple[str, ...]) -> None:
    """Start a node; takes exactly the arguments of redis-server."""
    sys.exit(run_server(arguments))


@main.command(
    cls=ServerCommand, add_help_option=False, short_help="Start a Sentinel with exactly redis-sentinel's arguments."
)
def sentinel(arguments: tuple[str, ...]) -> None:
    """Start a Sentinel; takes exactly the arguments of redis-sentinel."""
    sys.exit(run_sentinel(arguments))


# (parameter, directive, help) of options that set one directive each
_COMMON = (
    ("--port", "port", "TCP port to listen on (6379 unless given)."),
    ("--bind", "bind", "Address to listen on; give it again for more. All of them unless given."),
    ("--dir", "dir", "Directory of the snapshot and the log; it is where the node works."),
    ("--password", "requirepass", "Password that clients of this node must give."),
    ("--backlog-size", "repl-backlog-size", "How much of the stream to keep for replicas that are away (64mb)."),
    ("--announce-ip", "replica-announce-ip", "Address under which a primary lists this node as its replica."),
    ("--announce-port", "replica-announce-port", "Port under which a primary lists this node as its replica."),
    ("--log-level", "loglevel", "debug, verbose, notice or warning."),
    ("--min-replicas-to-write", "min-replicas-to-write", "Refuse writes while fewer good replicas are there."),
    ("--min-replicas-max-lag", "min-replicas-max-lag", "Seconds of silence after which a replica is not good."),
)
_REPLICA = (("--primary-password", "masterauth", "Password that the primary asks for."),)


def _options(command: Any, table: Iterable[tuple[str, str, str]]) -> Any:
    for flag, _, text in reversed(list(table)):
        several = flag == "--bind"
        command = click.option(flag, multiple=several, metavar="VALUE", help=text)(command)
    saves = click.option("--save", "save", flag_value="yes", help="Write snapshots unasked, as is the default.")
    no_saves = click.option("--no-save", "save", flag_value="no", help="Write no snapshots but those asked for.")
    rest = click.argument("directives", nargs=-1, type=click.UNPROCESSED)
    return rest(saves(no_saves(command)))


def _arguments(table: Iterable[tuple[str, str, str]], given: dict[str, Any], directives: Iterable[str]) -> list[str]:
    """redis-server's arguments for the options that were given."""
    words: list[str] = []
    for flag, directive, _ in table:
        value = given[flag[2:].replace("-", "_")]
        if value:
            words += [f"--{directive}", *([value] if isinstance(value, str) else value)]
    if given["save"]:
        words += ["--save", "" if given["save"] == "no" else "3600 1 300 100 60 10000"]
    for word in directives:
        name, equals, value = word.partition("=")
        words += [name, value] if equals and word.startswith("--") else [word]
    return words


_FRIENDLY = {"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]}


def primary(directives: tuple[str, ...], **given: Any) -> None:
    """Start a primary.

    Any directive of redis.conf may follow as --directive VALUE, as with `replicator server`.
    """
    sys.exit(run_server(_arguments(_COMMON, given, directives)))


def replica(address: tuple[str, int], read_only: bool, directives: tuple[str, ...], **given: Any) -> None:
    """Start a replica of the primary (or of the replica) at HOST:PORT.

    Any directive of redis.conf may follow as --directive VALUE, as with `replicator server`.
    """
    host, port = address
    words = _arguments((*_COMMON, *_REPLICA), given, directives)
    words += ["--replicaof", host, str(port), "--replica-read-only", "yes" if read_only else "no"]
    sys.exit(run_server(words))


main.command(context_settings=_FRIENDLY, short_help="Start a primary, with options that explain themselves.")(
    _options(primary, _COMMON)
)
main.command(context_settings=_FRIENDLY, short_help="Start a replica of the node at HOST:PORT.")(
    click.argument("address", metavar="HOST:PORT", type=AddressType())(
        click.option(
            "--read-only/--writable",
            default=True,
            help="Whether clients may write to the replica; what they write there is lost at the next full copy.",
        )(_options(replica, (*_COMMON, *_REPLICA)))
    )
)


@main.command(short_help="Show the topology as seen from any of its nodes.")
@click.argument("target", metavar="HOST:PORT", type=TargetType())
@click.option("--watch", is_flag=True, help="Look again and again until interrupted.")
@click.option("--interval", default=1.0, show_default=True, type=SecondsType(0.1, 86_400),
              help="Seconds between two looks of --watch.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one document a look.")
@click.option("--user", default="", help="The user to log in as, if not the default one.")
@click.option("--password", default="", envvar="REDISCLI_AUTH", help="Password of the nodes (or REDISCLI_AUTH).")
@encryption_options
def status(
    target: Target, watch: bool, interval: float, as_json: bool, user: str, password: str, tls: bool, **given: Any
) -> None:
    """Ask the node at HOST:PORT, its primary and all replicas, and show roles, ids, offsets, lag and the backlog.

    Exit code 0 if the node at HOST:PORT answered, 1 if not.
    """
    from replicator.status import Walk, show, watch_forever
    from replicator.targets import Encryption

    secure, sni = None, given["sni"]
    if tls or target.tls:
        try:
            secure = Encryption(**given).context()
        except ValueError as problem:
            raise click.UsageError(str(problem)) from None
    user, password = user or target.user, password or target.password

    def look() -> Walk:
        sample = min(0.5, interval)
        return Walk(target.address, user=user, password=password, sample_seconds=sample, secure=secure, sni=sni).run()

    if watch:
        watch_forever(look, interval, as_json=as_json)
        return
    walk = look()
    told = walk.asked.reachable and walk.asked.role != ""
    if as_json or told:
        show(walk, as_json=as_json)
    else:
        click.echo(f"{walk.asked.address}: {walk.asked.error}", err=True)
    sys.exit(0 if told else 1)
