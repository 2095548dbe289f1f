"""The configuration of a node: names, defaults, typed values and CONFIG SET, judged by Redis 7.0 where there is one."""

from __future__ import annotations

from collections.abc import Iterator

import hiredis
import pytest

from replicator.core.config.config import SPECS, Config, ConfigError, ConfigFileError, MemoryStore
from replicator.core.config.table import DIRECTIVES
from tests.support.stock import Wire, binary, running

needs_redis7 = pytest.mark.skipif(binary("redis7") is None, reason="Redis 7.0 is not installed")


@pytest.fixture(scope="module")
def stock() -> Iterator[Wire]:
    with running("redis7", "--enable-protected-configs", "no") as port:
        wire = Wire(port)
        yield wire
        wire.close()


def settings(wire: Wire, pattern: str) -> dict[str, str]:
    flat = [item.decode("utf-8", "surrogateescape") for item in wire.call("CONFIG", "GET", pattern)]
    return dict(zip(flat[::2], flat[1::2], strict=True))


# Given to the stock server when it is started, so no defaults there.
STARTED_WITH = {"bind", "dir", "port", "save", "enable-debug-command"}


@needs_redis7
def test_names_and_defaults_are_those_of_redis_7(stock: Wire) -> None:
    config = Config()
    theirs = settings(stock, "*")
    ours = {name: config.text(name) for name in config.names("*")}
    assert ours.keys() == theirs.keys()
    assert {n: v for n, v in ours.items() if n not in STARTED_WITH} == {
        n: v for n, v in theirs.items() if n not in STARTED_WITH
    }
    assert config["save"] == ((3600, 1), (300, 100), (60, 10000))


@needs_redis7
@pytest.mark.parametrize("name", sorted(spec.name for spec in DIRECTIVES if spec.hidden))
def test_hidden_directives_have_the_defaults_of_redis_7(stock: Wire, name: str) -> None:
    assert settings(stock, name) == {name: Config().text(name)}


# What the machine or a part that we do not have decides about, not the value's form.
DECIDED_BY_THE_WORLD = {"bind", "port", "maxclients", "activedefrag", "watchdog-period", "appendonly", "requirepass"}
# A few values that every directive is offered, right for some and wrong for most.
VALUES = """foo YES no 0 1 -1 7 05 +5 1.5 99 101 1000 1kb 2MB 3g 16k k 10% 101% -5% 2147483647 2147483648
9223372036854775808
18446744073709551616 -2147483649 everysec Always nosave noeviction debug local allchannels KEA mnKx AE disabled swapdb
900|1 900|1|300|10 0|1 nosave|force|now save|nosave 1|2|3 -2001|0|0 normal|1kb|2kb|3 replica|0|0|0|pubsub|1|2|3 50|99.9
foo|1|2|3 normal|1|x|1 a/b {nothing} a_b x.y """.replace("\n", " ").split(" ")


# Redis takes such a maxmemory-clients for a negative number, and so for a percentage; here it is out of range.
BEYOND_64_BITS = ("9223372036854775808", "18446744073709551616")


@needs_redis7
def test_every_directive_takes_and_refuses_the_same_values_as_redis_7(stock: Wire) -> None:
    config = Config()
    differences = []
    for spec in DIRECTIVES:
        if spec.name in DECIDED_BY_THE_WORLD or spec.name.startswith("tls-"):
            continue
        for name in filter(None, (spec.name, spec.alias)):
            default = config.text(name)
            for value in VALUES:
                if spec.name == "maxmemory-clients" and value in BEYOND_64_BITS:
                    continue
                text = value.replace("|", " ")
                theirs, shown = stock.pipeline([
                    [b"CONFIG", b"SET", name.encode(), text.encode()], [b"CONFIG", b"GET", name.encode()]
                ])
                try:
                    config.set_many([(name, text)])
                    ours = b"OK"
                except ConfigError as problem:
                    ours = str(problem).encode()
                answer = str(theirs).encode() if isinstance(theirs, hiredis.ReplyError) else theirs
                ours_shown = config.text(name).encode()
                same = shown[1] == ours_shown or (spec.name in STARTED_WITH and ours != b"OK")
                if answer != ours or not same:
                    differences.append((name, text, answer, ours, shown[1], ours_shown))
            if not (spec.immutable or spec.protected):
                config.set_many([(name, default)])
                stock.call("CONFIG", "SET", name, default)
    assert not differences, "\n".join(map(str, differences))


@needs_redis7
@pytest.mark.parametrize(
    "words",
    [
        "nothing 1",
        "timeout 1 timeout 2",
        "timeout 1 TIMEOUT 2",
        "timeout 1 nothing 2 nothing 3",
        "timeout 31 hz abc",
        "timeout 32 databases 2",
        "timeout 33 dir /tmp",
        "dbfilename x.rdb",
        "SLAVE-priority 5 replica-priority 6",
        "repl-timeout abc timeout abc",
        "repl-ping-slave-period 8",
    ],
)
def test_a_set_of_several_is_all_or_nothing_with_stocks_words(stock: Wire, words: str) -> None:
    config = Config()
    theirs = stock.call("CONFIG", "SET", *words.split())
    parts = words.split()
    try:
        config.set_many(list(zip(parts[::2], parts[1::2], strict=True)))
        ours = "OK"
    except ConfigError as problem:
        ours = str(problem)
    assert (theirs.decode() if isinstance(theirs, bytes) else str(theirs)) == ours
    for name in ("timeout", "replica-priority", "repl-ping-replica-period"):
        assert settings(stock, name)[name] == config.text(name)
    stock.call("CONFIG", "SET", "timeout", "0", "replica-priority", "100", "repl-ping-replica-period", "10")


def test_values_are_typed() -> None:
    config = Config()
    config.load(
        'repl-timeout 7\nrepl-diskless-sync no\nmaxmemory 10mb\nmaxmemory-clients 5%\nsave 900 1 300 10\n'
        'bind 127.0.0.1 ::1\nreplicaof 10.0.0.1 6380\nnotify-keyspace-events EKx\n'
        'shutdown-on-sigterm now nosave\nunixsocketperm 700\n'
        'client-output-buffer-limit replica 1mb 2mb 3\nuser alice on >pw\nrename-command FLUSHALL ""\nloglevel debug\n'
    )
    assert config["repl-timeout"] == 7
    assert config["repl-diskless-sync"] is False
    assert config["maxmemory"] == 10 << 20
    assert config["maxmemory-clients"] == -5
    assert config["save"] == ((900, 1), (300, 10))
    assert config["bind"] == ("127.0.0.1", "::1")
    assert config["replicaof"] == ("10.0.0.1", "6380")
    assert config["notify-keyspace-events"] == "xKE"
    assert config["shutdown-on-sigterm"] == ("nosave", "now")
    assert config["unixsocketperm"] == 0o700
    assert config["client-output-buffer-limit"]["replica"] == (1 << 20, 2 << 20, 3)
    assert config["client-output-buffer-limit"]["normal"] == (0, 0, 0)
    assert config.users == (("alice", "on", ">pw"),)
    assert config.renames == (("FLUSHALL", ""),)
    assert config["loglevel"] == "debug"
    assert config.get("nothing", 5) == 5


def test_a_limit_for_clients_beyond_64_bits_is_out_of_range() -> None:
    for value in BEYOND_64_BITS:
        with pytest.raises(ConfigError, match="must be between 0 and 9223372036854775807"):
            Config().set_many([("maxmemory-clients", value)])


def test_a_callback_hears_only_of_changes() -> None:
    config, heard = Config(), list[int]()
    config.on_change("timeout", heard.append)
    config.set_many([("timeout", "0")])
    config.set_many([("timeout", "3"), ("hz", "20")])
    config.set_many([("hz", "30")])
    assert heard == [3]


def test_a_callback_that_refuses_undoes_the_whole_set_and_tells_those_who_had_accepted() -> None:
    config, heard = Config(), list[tuple[str, object]]()

    def refuse(value: object) -> None:
        heard.append(("port", value))
        if value == 99:
            raise ConfigError("Unable to listen on this port")

    config.on_change("timeout", lambda value: heard.append(("timeout", value)))
    config.on_change("port", refuse)
    with pytest.raises(ConfigError, match="argument 'port'\\) - Unable to listen on this port"):
        config.set_many([("timeout", "5"), ("port", "99"), ("hz", "50")])
    assert (config["timeout"], config["port"], config["hz"]) == (0, 6379, 10)
    assert heard == [("timeout", 5), ("port", 99), ("timeout", 0), ("port", 6379)]


def test_the_directory_goes_back_when_a_set_fails() -> None:
    store = MemoryStore(directory="/data")
    config = Config(store)
    assert config["dir"] == "/data"
    with pytest.raises(ConfigError):
        config.set_many([("dir", "/other"), ("hz", "abc")], protected=True)
    assert (store.directory, config["dir"]) == ("/data", "/data")
    config.set_many([("dir", "sub")], protected=True)
    assert (store.directory, config["dir"]) == ("/data/sub", "/data/sub")


def test_names_of_later_servers_are_understood_but_not_listed() -> None:
    config = Config()
    config.load("primaryauth secret\ndual-channel-replication-enabled no\n")
    assert config["masterauth"] == "secret"
    assert config.text("primaryauth") == "secret"
    assert config.names("primary*") == []
    assert config.names("dual-channel-replication-enabled") == ["dual-channel-replication-enabled"]


def test_directives_without_effect_are_told_in_the_order_given() -> None:
    config = Config()
    config.load("jemalloc-bg-thread yes\nport 7000\nactiverehashing no\n")
    assert config.ineffective() == ["jemalloc-bg-thread", "activerehashing"]


def test_assign_sets_without_asking_anybody() -> None:
    config = Config()
    config.on_change("replica-announce-port", lambda value: pytest.fail("called back"))
    config.assign("replicaof", ("localhost", "7001"))
    config.assign("replica-announce-port", 5)
    assert config.text("slaveof") == "localhost 7001"


@pytest.mark.parametrize("spec", sorted(set(SPECS.values()), key=lambda spec: spec.name), ids=lambda spec: spec.name)
def test_every_default_can_be_written_down_and_read_again(spec: object) -> None:
    config, again = Config(), Config()
    name = spec.name  # type: ignore[attr-defined] # a Spec
    lines = spec.kind.lines(name, config[name], spec.default, True)  # type: ignore[attr-defined]
    again.load("\n".join(lines))
    assert again[name] == config[name]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("port 0\nbogus 1", 2, "Bad directive or wrong number of arguments"),
        ("port", 1, "wrong number of arguments"),
        ("port 1 2", 1, "wrong number of arguments"),
        ("\n\n  timeout 'a", 3, "Unbalanced quotes in configuration line"),
        ("save 900", 1, "Invalid save parameters"),
        ("user a on\nuser a off", 2, "Error in user declaration 'a': Duplicate user found. "
         "A user can only be defined once in config files"),
        ("include nowhere\ninclude itself", 2, "too many nested includes"),
    ],
)
def test_a_bad_line_is_told_with_its_number(text: str, line: int, reason: str) -> None:
    store = MemoryStore()
    store.files["itself"] = "include itself"
    with pytest.raises(ConfigFileError) as caught:
        Config(store).load(text)
    assert str(caught.value) == reason
    if "include" not in text:
        assert caught.value.line_number == line


def test_renaming_is_checked_against_the_commands_that_are_there() -> None:
    names = lambda: ["get", "set", "del"]  # noqa: E731 # a table of commands in one line
    config = Config()
    config.load("rename-command GET fetch\nrename-command DEL ''\nrename-command SET get\n", commands=names)
    assert config.renames == (("GET", "fetch"), ("DEL", ""), ("SET", "get"))
    with pytest.raises(ConfigFileError, match="No such command in rename-command"):
        Config().load("rename-command get ''\nrename-command get ''\n", commands=names)
    with pytest.raises(ConfigFileError, match="Target command name already exists"):
        Config().load("rename-command get set\n", commands=names)
