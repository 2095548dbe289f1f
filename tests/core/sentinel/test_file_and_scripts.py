"""sentinel.conf read and written; the operator's scripts with their retries."""

from __future__ import annotations

import pytest

from replicator.core import events as told
from replicator.core.config.config import ConfigFileError
from tests.support.sentinels import CONF, FIRST, OTHERS, World, build, watched


def test_comments_order_and_foreign_lines_survive_a_rewrite() -> None:
    text = "# mine\nport 26379\n\n" + CONF.split("\n", 1)[1]
    text += "# its timeouts\nsentinel failover-timeout mymaster 5000\n"
    world = World(text)
    assert world.file is not None
    lines = world.file.split("\n")
    assert lines[:6] == [
        "# mine", "port 26379", "", "sentinel monitor mymaster 10.0.0.1 6379 2",
        "sentinel down-after-milliseconds mymaster 1000", "# its timeouts",
    ]  # fmt: skip
    assert "sentinel failover-timeout mymaster 5000" in lines
    again = World(world.file)
    assert again.file == world.file, "a rewrite of a rewrite changes nothing"


def test_options_may_stand_before_the_primary_they_speak_of() -> None:
    world = World("sentinel failover-timeout mymaster 7000\n" + CONF)
    assert world.fields("SENTINEL", "MASTER", "mymaster")["failover-timeout"] == "7000"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("sentinel nonsense", "Unrecognized sentinel configuration statement."),
        ("sentinel down-after-milliseconds other 5", "No such master with specified name."),
        ("sentinel down-after-milliseconds mymaster 0", "negative or zero time parameter."),
        ("sentinel monitor mymaster 10.0.0.1 6379 2", "Duplicate master name."),
        ("sentinel monitor other 10.0.0.1 6379 0", "Quorum must be 1 or greater."),
        ("sentinel monitor other 10.0.0.1 99999 1", "Invalid port number."),
        ("sentinel monitor other no-such-host 6379 1", "Invalid IP address or hostname specified"),
        ("sentinel myid short", "Malformed Sentinel id in myid option."),
    ],
)
def test_a_wrong_line_is_refused_with_its_number(line: str, reason: str) -> None:
    with pytest.raises(ConfigFileError) as problem:
        build(CONF + line + "\n")
    assert (str(problem.value), problem.value.line_number) == (reason, 4)


def test_a_script_that_cannot_be_run_is_refused() -> None:
    with pytest.raises(ConfigFileError, match="non existing or non executable"):
        build(CONF + "sentinel notification-script mymaster /nope\n", may_run=lambda path: False)


def test_of_a_failing_script_the_exit_code_says_whether_it_is_run_again() -> None:
    world = World(CONF + "sentinel notification-script mymaster /bin/tell\n")
    world.pass_time(200)
    first = world.scripts.pop()
    assert first.argv == ("/bin/tell", "+monitor", "master mymaster 10.0.0.1 6379 quorum 2")
    for retry in range(10):
        world.tell(told.ScriptStarted(first.number, 77))
        world.tell(told.ScriptEnded(first.number, 1, 0))
        world.pass_time(30_000 * 2**retry - 300)
        assert not [one for one in world.scripts if one.number == first.number], "not before its time"
        world.pass_time(600)
        assert [one for one in world.scripts if one.number == first.number] == [first]
        world.scripts.clear()
    world.tell(told.ScriptStarted(first.number, 77))
    world.tell(told.ScriptEnded(first.number, 1, 0))
    world.pass_time(30_000 * 2**11)
    assert not [one for one in world.scripts if one.number == first.number], "ten times are enough"


def test_a_script_that_runs_for_too_long_is_killed_and_one_with_another_code_is_not_run_again() -> None:
    world = World(CONF + "sentinel notification-script mymaster /bin/tell\n")
    world.pass_time(200)
    number = world.scripts.pop().number
    world.tell(told.ScriptStarted(number, 77))
    world.pass_time(59_000)
    assert number not in world.killed
    world.pass_time(2000)
    assert number in world.killed and world.logged("-script-timeout /bin/tell 77")
    world.tell(told.ScriptEnded(number, 2, 0))
    world.scripts.clear()
    world.pass_time(60_000)
    assert not [one for one in world.scripts if one.number == number]


def test_clients_scripts_are_told_of_a_new_configuration_as_observers() -> None:
    world, _ = watched(CONF + "sentinel client-reconfig-script mymaster /bin/point\n")
    world.hello(OTHERS[0], "10.0.0.101", epoch=3, config_epoch=3, at=FIRST[0])
    world.pass_time(200)
    (script,) = (one for one in world.scripts if one.argv[0] == "/bin/point")
    assert script.argv[1:] == ("mymaster", "observer", "start", "10.0.0.1", "6379", "10.0.0.2", "6379")


def test_host_names_are_understood_only_when_they_are_to_be_resolved() -> None:
    text = "sentinel resolve-hostnames yes\nsentinel announce-hostnames yes\n"
    world = World(text + "sentinel monitor mymaster db.local 6379 2\n", resolve={"db.local": "10.0.0.1"}.get)
    world.pass_time(200)
    assert ("10.0.0.1", 6379) in world.connects.values()
    assert world.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster") == [b"db.local", b"6379"]


def test_a_client_is_held_to_the_password_and_to_its_user() -> None:
    world = World(CONF + 'requirepass secret\nuser looker on >pw resetchannels -@all +sentinel|masters +ping\n')
    conn = world.client()
    assert str(world.ask(conn, "PING")).startswith("NOAUTH")
    assert str(world.ask(conn, "AUTH", "wrong")).startswith("WRONGPASS")
    assert world.ask(conn, "AUTH", "looker", "pw") == b"OK"
    assert isinstance(world.ask(conn, "SENTINEL", "MASTERS"), list)
    assert str(world.ask(conn, "SENTINEL", "FAILOVER", "mymaster")).startswith("NOPERM")
    assert world.call("AUTH", "secret") == b"OK"
